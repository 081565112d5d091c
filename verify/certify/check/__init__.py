"""The checker: a program of its own that decides whether a certificate proves a model right on
every problem.

    python -m tinyadder.verify.certify.check FOLDER [CERTIFICATE]

with exit code 0 proved, 1 rejected, 2 usage.

Standard library only, integers only, nothing shared with the prover. It reads `model.safetensors`
and `model.json` itself, builds the specification itself, recomputes every bound from the weights,
and takes from the certificate only where to split and what to bound. To be read in this order:

    intervals.py       intervals of integers, rounded outward; the numerics assumed of the model
    forms.py           separable forms: tables over the tokens of a text
    forward.py         the forward pass on forms, one rule for each kind of step
    proof.py           branches, claims, shortest paths: what makes a proof
    specifications.py  the tasks as automata, to be read against the grammar of each task
    files.py           reading files of strangers: bounded and strict
    model.py           weights and sizes from the two files
    certificate.py     that weights, task and certificate belong together
"""

from tinyadder.verify.certify.check.certificate import RULES, VERSION, check
from tinyadder.verify.certify.check.intervals import NUMERICS, Rejected

__all__ = ["NUMERICS", "RULES", "VERSION", "Rejected", "check"]
