"""The machine: layers, the transformer, decoding, and the compiler from programs to weights."""
