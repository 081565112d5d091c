"""Where a program is compiled to: the machine of this project, or a stock class of transformers.

A stock class rounds more and lacks parts, so a program for it has other numbers: smaller scores,
positions instead of ALiBi slopes, hinges instead of gated units, and a shorter horizon. The weights
of the class itself are written by `tinyadder.io.export.stock`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyadder.errors import TinyadderError, did_you_mean


@dataclass(frozen=True)
class Target:
    """What the lowering has to know of an architecture."""

    name: str
    about: str
    unit: float
    """The relative error of an operation."""
    base: int
    """Scores of selected positions: -base for sums, where softmax1 is linear, +base for means,
    where its own 1 is the empty case. e^-base n is below the unit.
    """
    room: int
    """Unselected positions lie this far below what matters, beside ln n."""
    step: int
    """ALiBi slope of latest and earliest: the next selected position weighs e^-step."""
    sharp: int
    """Neighbouring classes of a nested relation differ by a factor e^sharp."""
    classes: int
    """Classes of a nested relation that one row tells apart: e^(sharp * classes) is finite."""
    snap: float
    """Errors beyond this part of the gap are removed where a function of the number is made."""
    slopes: bool = True
    """Whether heads have ALiBi slopes."""
    gates: bool = True
    """Whether a hidden unit can multiply two values."""
    stock: bool = False
    """Whether it is a class of transformers, with norms."""
    drift: float = 0.0
    """What norms change of a number that is read, relative to it: all lanes at once."""


TARGETS = {
    "tinyadder": Target("tinyadder", "", 2.0**-53, 64, 40, 48, 46, 14, 2.0**-20),
    "gpt2": Target(
        "gpt2",
        "a stock GPT-2 in float64",
        2.0**-50,
        24,
        24,
        24,
        16,
        5,
        2.0**-12,
        gates=False,
        stock=True,
        drift=2.0**-32,
    ),
    "llama": Target(
        "llama",
        "a stock LLaMA in float32",
        2.0**-24,
        24,
        20,
        20,
        16,
        5,
        2.0**-12,
        slopes=False,
        stock=True,
    ),
}


def target_of(name: str) -> Target:
    """The target with this name. Raises `TinyadderError` for another name."""
    if name not in TARGETS:
        known = ", ".join(TARGETS)
        raise TinyadderError(
            f"target={name!r}: programs compile to {known}{did_you_mean(name, TARGETS)}"
        )
    return TARGETS[name]
