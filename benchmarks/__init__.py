"""Measurements, each a command that prints ratios within one run: `python -m benchmarks.decode`."""
