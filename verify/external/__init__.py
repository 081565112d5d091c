"""Judging models that we did not write: a limited process runs them, we keep the verdict."""
