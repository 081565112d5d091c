"""The section [structure] of a recipe: a construction, and which of its numbers are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between

PartName = Literal[
    "embedding", "query", "key", "slope", "value", "gate", "up", "down", "readout", "shared"
]
"""Where in the equations a number stands."""


@dataclass(frozen=True, kw_only=True)
class StructureRecipe:
    """What is taken from a construction, how the rest begins, and how it is trained
    (tinyadder/train/newton.py).
    """

    name: str
    """A construction, a Python file that defines one, or a folder that one was built to."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the construction."""
    fixed: tuple[PartName, ...] = ("query", "key", "slope")
    """Parts whose numbers stay as they are in the construction; all others are trained."""
    signs: Literal["given", "random"] = "given"
    """Of the trained numbers at the start: those of the construction, or drawn."""
    alike: Literal["kind", "site"] = "kind"
    """Which numbers begin at one magnitude, their geometric mean: those of one site (the entries of
    a lane of the embedding, the weights by which a head reads a lane, a column of the readout) that
    are within a factor of 10 of one another, from one to the next; or all of a site.
    """
    spread: Annotated[float, Between(0, 10)] = 1.0
    """A number begins at exp(spread * N(0, 1)) times the magnitude of its kind."""
    shift: Annotated[float, Between(0, 10)] = 0.0
    """Queries, keys and slopes, where they are trained, begin at the construction's number plus
    shift * N(0, 1): they stand in an exponent.
    """
    gain: Annotated[float, Between(1e-3, 1e3)] = 4.0
    """What the model's own scale of the logits is multiplied by in the loss."""
    memory: Annotated[float, Between(0, 0.999)] = 0.8
    """Part of the curvature that is kept from step to step."""
    sharpen: Annotated[float, Between(0.01, 1)] = 0.8
    """What the scales of all tokens are multiplied by in a step, down to the finest, once all are
    trained and while the loss is small.
    """
    ends: Literal["sharpen", "margins"] = "sharpen"
    """How training goes on once all tokens are trained and the loss is small: with sinking scales,
    or by linear programmes over the margins (tinyadder/train/margins.py).
    """
    sample: Annotated[int, Between(1, 10**6)] = 60
    """So many problems of a batch, at most, give a Gauss-Newton step; the others of a larger batch
    are searched for wrong answers in the end.
    """
    first: Annotated[int, Between(1, 1000)] = 2
    """So many tokens of each answer are trained from the start; the first alone is often learned by
    its frequency, with nothing of the prompt left in the model.
    """
    ready: Annotated[float, Between(0, 1)] = 0.9
    """The next token of the answers is trained when so many of each token so far are right."""


TRAIN_KEYS = {
    "steps",
    "batch",
    "seeds",
    "stop_at",
    "patience",
    "log_every",
    "check_every",
    "checkpoint_every",
}
"""The keys of [train] that a structured recipe has, too; the others are of gradient descent."""


def check_train_keys(train: dict[str, Any], defaults: dict[str, Any], where: str) -> None:
    """Raise `TinyadderError` for a key of [train] that a structured recipe does not read."""
    for key, value in train.items():
        if key not in TRAIN_KEYS and value != defaults[key]:
            raise TinyadderError(
                f"{where}: [train] {key} = {value!r} is of gradient descent, and [structure] is"
                " trained by Gauss-Newton steps; leave it out (the keys of both:"
                f" {', '.join(sorted(TRAIN_KEYS))})"
            )
