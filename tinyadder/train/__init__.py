"""Trained baselines: the same tasks, the same `Transformer`, weights from gradient descent.

recipe.py (what to train, from TOML), data.py (examples, strict splits, the leak check), models.py
(empty models and their initial weights), loop.py (a run, put together of deal.py, steps.py,
validation.py, state.py, log.py), checkpoint.py, evaluate.py.
"""
