"""The tasks of the RASP paper, of Tracr and of Transformer Programs, as programs of ten lines."""
