"""Judges: they know Program and Transformer, never a particular construction."""
