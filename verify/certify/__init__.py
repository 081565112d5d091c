"""Proof over every input: a prover (needs python-flint and torch) and an independent checker (`check.py`, needs neither)."""
