"""Trained baselines: the same tasks, the same `Transformer`, numbers found by gradient descent.

recipe.py (what to train, from TOML), data.py (examples, strict splits, the leak check), models.py
(empty models and their first numbers), loop.py (training), checkpoint.py, evaluate.py.
"""
