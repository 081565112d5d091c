"""A program as a skeleton: its equations stay, other numbers stand in them.

Every number of the equations has a part ("value", "slope", ..), and a site, the place that it
shares with its like: the entries of one lane of the embedding, the weights by which one head reads
one lane, one column of the readout. A shared weight is one number. Columns by formula become
tables, whose entries are numbers like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tinyadder.dsl import Embed, Program, Unembed
from tinyadder.errors import TinyadderError
from tinyadder.lang.serialization import program_from_json, program_to_json
from tinyadder.machine.compile import build
from tinyadder.machine.tensors import items, tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.named import find
from tinyadder.tasks.base import Task
from tinyadder.tasks.custom import as_data
from tinyadder.train.recipe import Recipe
from tinyadder.train.structure import StructureRecipe

SCORES = ("query", "key", "slope")
"""Parts that stand in an exponent: a number is added to them where others are multiplied."""
ALIKE = 10.0
"""Numbers of a site are of one kind if each is at most so many times the next smaller one."""


@dataclass(frozen=True)
class EquationNumber:
    """One number of the equations."""

    part: str
    site: str
    value: float


class Skeleton:
    """The equations of `program` and where their numbers stand in the tensors of its model."""

    def __init__(self, program: Program, task: Task) -> None:
        self.task = task
        self.program = _without_formulas(program)
        places = list(_places(program_to_json(self.program)))
        self.numbers = [
            EquationNumber(part, site, float(at[key])) for part, site, at, key in places
        ]

    def with_values(self, values: Sequence[float]) -> Program:
        """The equations with these numbers; weights that are 0 are left out.

        Raises `TinyadderError` for one that is not finite.
        """
        if not all(map(math.isfinite, values)):
            raise TinyadderError("a number of the equations is not finite")
        data = program_to_json(self.program)
        for (_, _, at, key), value in zip(_places(data), values, strict=True):
            at[key] = float(value)
        return program_from_json(_without_zeros(data))

    def model(self) -> Transformer:
        """The model of the equations as the construction has them."""
        return build(self.program)

    @cached_property
    def entries(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Stored name of a tensor -> (flat indices, the number that stands at each)."""
        marks = [float(2 + n) for n in range(len(self.numbers))]  # 0 and 1 stand elsewhere, too
        marked = build(self.with_values(marks))
        entries = {}
        for item in items(marked):
            if item.name.endswith("wiring"):  # counts of heads, not numbers of the equations
                continue
            flat = item.tensor.detach().reshape(-1)
            at = (flat >= 2).nonzero()[:, 0]
            if len(at):
                entries[item.stored] = (at, flat[at].long() - 2)
        return entries

    def values_in(self, model: Transformer) -> list[float]:
        """The numbers that stand in the tensors of `model`."""
        tensors, values = tensors_of(model), [0.0] * len(self.numbers)
        for name, (at, numbers) in self.entries.items():
            flat = tensors[name].detach().reshape(-1)[at].tolist()
            for number, value in zip(numbers.tolist(), flat, strict=True):
                values[number] = value
        return values

    def put(self, model: Transformer, values: Tensor) -> None:
        """Write the numbers into the tensors of `model`."""
        tensors = tensors_of(model)
        with torch.no_grad():
            for name, (at, numbers) in self.entries.items():
                flat = tensors[name].view(-1)
                flat[at.to(flat.device)] = values[numbers].to(flat)

    def free(self, recipe: StructureRecipe) -> list[int]:
        """The numbers that are trained. Raises `TinyadderError` where there are none."""
        free = [n for n, number in enumerate(self.numbers) if number.part not in recipe.fixed]
        if not free:
            raise TinyadderError(
                f"[structure] fixed = {list(recipe.fixed)!r} leaves no number of {recipe.name} to"
                " train; leave some of them out"
            )
        return free

    def magnitudes(self, factor: float = ALIKE) -> list[float]:
        """For each number the geometric mean of the sizes of its kind: the numbers of its site that
        are within `factor` of one another, from one to the next.
        """
        sites: dict[str, list[int]] = {}
        for n, number in enumerate(self.numbers):
            sites.setdefault(number.site, []).append(n)
        result = [0.0] * len(self.numbers)
        for members in sites.values():
            sizes = {n: abs(self.numbers[n].value) for n in members}
            for kind in _kinds(sizes, factor):
                mean = math.exp(sum(math.log(sizes[n]) for n in kind) / len(kind))
                for n in kind:
                    result[n] = mean
        return result

    def units(self, recipe: StructureRecipe) -> list[float]:
        """What changes of the free numbers are added in; 0 where they are factors."""
        sizes = self._sizes(recipe) if recipe.signs == "random" else [0.0] * len(self.numbers)
        return [1.0 if self.numbers[n].part in SCORES else sizes[n] for n in self.free(recipe)]

    def _sizes(self, recipe: StructureRecipe) -> list[float]:
        return self.magnitudes(ALIKE if recipe.alike == "kind" else math.inf)

    def start(self, recipe: StructureRecipe, seed: int) -> list[float]:
        """The numbers before training: the free ones drawn from the prior of the recipe."""
        random = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(self.numbers), generator=random, dtype=torch.float64).tolist()
        coins = torch.randint(2, (len(self.numbers),), generator=random).tolist()
        values = [number.value for number in self.numbers]
        sizes = self._sizes(recipe)
        for n in self.free(recipe):
            number = self.numbers[n]
            if number.part in SCORES:
                values[n] = number.value + recipe.shift * noise[n]
                continue
            sign = 2 * coins[n] - 1 if recipe.signs == "random" else math.copysign(1, number.value)
            values[n] = sign * sizes[n] * math.exp(recipe.spread * noise[n])
        return values


def _kinds(sizes: Mapping[int, float], factor: float) -> Iterator[list[int]]:
    """The numbers by size, cut where one is more than `factor` times the one before."""
    kind = list[int]()
    for n in sorted(sizes, key=sizes.__getitem__):
        if kind and sizes[n] > factor * sizes[kind[-1]] * (1 + 1e-9):
            yield kind
            kind = []
        kind.append(n)
    yield kind


def skeleton_of(recipe: Recipe) -> Skeleton:
    """The skeleton of a structured recipe. Raises `TinyadderError` for an unknown construction, one
    without equations, and one of another task than the recipe's.
    """
    assert recipe.structure is not None
    named = find(recipe.structure.name, dict(recipe.structure.options))
    if named.program is None:
        raise TinyadderError(
            f"[structure] name = '{recipe.structure.name}': a trained model has no equations; give"
            " a construction, or a folder that one was built to"
        )
    if as_data(named.task).to_json() != recipe.task.to_json():
        raise TinyadderError(
            f"[task] is not the task of {recipe.structure.name}; leave [task] out, it comes with"
            " the construction"
        )
    return Skeleton(named.program, named.task)


# ---- where numbers stand in a program as JSON ----------------------------------------------------

NumberPlace = tuple[str, str, Any, Any]
"""Part, site, and the container and key under which the number stands."""


def _places(data: dict[str, Any]) -> Iterator[NumberPlace]:
    """Every number of a program in the order of its equations; shared weights last, each once."""
    for lane, table in data["embed"].items():
        for weights in table.values():
            for i in range(len(weights)):
                if _is_number(weights[i]):
                    yield "embedding", f"embedding {lane}", weights, i
    for layer, sublayer in enumerate(data["sublayers"]):
        yield from (_of_heads if "heads" in sublayer else _of_units)(sublayer, f"sublayer {layer}")
    yield from _of_rows("readout", "readout", _readout_rows(data))
    for i in range(len(data["shared"])):
        yield "shared", f"shared {i}", data["shared"], i


def _readout_rows(data: dict[str, Any]) -> list[Any]:
    return [] if data["unembed"]["wired"] else data["unembed"]["form"]


def _is_number(weight: Any) -> bool:
    return not isinstance(weight, dict) and weight != 0


def _of_rows(part: str, site: str, rows: list[Any]) -> Iterator[NumberPlace]:
    for row in rows:
        for weight in row["weights"]:
            if _is_number(weight[2]):
                yield part, f"{site} {weight[0]}", weight, 2
        if _is_number(row["bias"]):
            yield part, f"{site} bias", row, "bias"


def _of_heads(sublayer: Any, where: str) -> Iterator[NumberPlace]:
    for number, head in enumerate(sublayer["heads"]):
        for part in ("query", "key", "value"):
            yield from _of_rows(part, f"{where} head {number} {part}", head[part])
        if head["slope"]:
            yield "slope", f"{where} head {number} slope", head, "slope"


def _of_units(sublayer: Any, where: str) -> Iterator[NumberPlace]:
    for part in ("gate", "up"):
        yield from _of_rows(part, f"{where} {part}", [unit[part] for unit in sublayer["units"]])
    for lane, parts in sublayer["lanes"].items():
        for units in parts:
            for pair in units:
                if _is_number(pair[1]):
                    yield "down", f"{where} down {lane}", pair, 1


def _without_zeros(data: dict[str, Any]) -> dict[str, Any]:
    """Drop the weights that are 0 from the rows: they are no terms of the equations."""
    rows = list(_readout_rows(data))
    for sublayer in data["sublayers"]:
        for head in sublayer.get("heads", ()):
            rows += [row for part in ("query", "key", "value") for row in head[part]]
        for unit in sublayer.get("units", ()):
            rows += [unit["gate"], unit["up"]]
    for row in rows:
        row["weights"] = [weight for weight in row["weights"] if weight[2] != 0]
    return data


def _without_formulas(program: Program) -> Program:
    """The same numbers, written out where a formula computed them."""
    if not program.embed.derived and not program.unembed.derived:
        return program
    readout: dict[str, Any] = {"tied": program.unembed.tied}
    if program.unembed.form.rows:
        form = program.unembed.form
        table = dict(zip(program.output_tokens, form, strict=True))
        readout["argmin" if program.unembed.argmin else "argmax"] = table
    return Program(
        program.vocabulary,
        program.stream,
        Embed(program.embed.lanes),
        *program.sublayers,
        Unembed(**readout),
    )
