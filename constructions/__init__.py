"""Exact transformers, one per file; each file has `construct(**options) -> Construction`."""
