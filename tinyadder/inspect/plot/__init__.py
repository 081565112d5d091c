"""Pictures of a model: one module a kind, with a function of the same name that returns a
matplotlib Figure and shows nothing by itself.

A picture is 5.6 inches wide with letters of 7 points and more, so that it can be read on a phone;
its title is a sentence. `KINDS` says what there is and imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Subject = Literal["run", "step", "model", "problems", "proof", "log", "report"]
"""One run, one step of it, the weights, many problems, a certificate, a training log, or what
`tinyadder report --json` prints.
"""


@dataclass(frozen=True)
class PictureKind:
    """A kind of picture: what it is of, and the question it answers."""

    of: Subject
    about: str


KINDS = {
    "lanes": PictureKind("run", "what every token holds in every lane"),
    "attention": PictureKind("run", "which tokens each head attends to"),
    "contributions": PictureKind("step", "what each head takes from each token: weight x value"),
    "logits": PictureKind("step", "which token wins a step, and by how much"),
    "weights": PictureKind("model", "every weight, by the lanes it reads and writes"),
    "flow": PictureKind("model", "which part writes, which part reads each lane: the circuit"),
    "margins": PictureKind("problems", "how close the decisions on many problems are"),
    "accuracy": PictureKind("problems", "how often it is right, by traits of the problems"),
    "proof": PictureKind("proof", "the cases of a proof, and where the margin is smallest"),
    "curves": PictureKind("log", "loss and exact match while it was trained"),
    "rounds": PictureKind(
        "log", "the counterexamples found and trained on, until there is a proof"
    ),
    "leaderboard": PictureKind("report", "the counts of every model by every convention"),
}
