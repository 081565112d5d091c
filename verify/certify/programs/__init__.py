"""Proofs about compiled sequence programs: translation validation by a checker of its own."""
