"""Proof over every input: a prover (python-flint, torch) and an independent checker (`check`,
standard library).
"""
