"""compile(program, length=n): from a sequence program to a construction, with its price list and
its horizon.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

from tinyadder.construction import Construction, LaneClaim
from tinyadder.errors import TinyadderError
from tinyadder.plain import as_int, short
from tinyadder.programs.columns import SharedColumn, clearing, columns, live
from tinyadder.programs.emit import emit
from tinyadder.programs.export import hints, to_graph, token_names
from tinyadder.programs.functions import Value, is_number, rational
from tinyadder.programs.language import Selector, Seq, sequence, show, walk
from tinyadder.programs.lines import Line
from tinyadder.programs.lower import LoweredLane, Lowering
from tinyadder.programs.targets import target_of
from tinyadder.programs.values import Refused, Span
from tinyadder.tasks.base import Task
from tinyadder.tasks.sequences import SEPARATOR, Sequences, Word

TOKENS = 4096
"""Answers with more values than this are numbers in the logit of one token."""


@dataclass(frozen=True)
class Compiled(Construction):
    """A construction made from a sequence program."""

    source: Any = None
    """The program as it was written."""
    length: int = 0
    causal: bool = False
    lowering: Any = field(default=None, repr=False, compare=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What `compile` was asked for, `target` apart."""
    columns: tuple[SharedColumn, ...] = field(default=(), repr=False, compare=False)

    @property
    def target(self) -> str:
        """The name of the architecture that the weights are for."""
        return self.lowering.target.name

    @property
    def column_of(self) -> dict[str, str]:
        """The column of the residual stream that holds each lane."""
        return {lane.name: column.name for column in self.columns for lane in column.lanes}

    def glossary(self) -> dict[str, list[dict[str, str]]]:
        """What each column of the residual stream holds, one lane after another, as data: the lane,
        its meaning, where it is written, and where the column is cleared of it.
        """
        found: dict[str, list[dict[str, str]]] = {}
        for column in self.columns:
            layers = [*(f"layer {layer} MLP" for layer, _ in clearing(self.lowering, column)), ""]
            found[column.name] = [
                {
                    "lane": lane.name,
                    "meaning": lane.meaning,
                    "written": written_at(lane.time),
                    "cleared": cleared,
                }
                for lane, cleared in zip(column.lanes, layers, strict=True)
            ]
        return found

    def compiled_for(self, target: str, *, superpose: int | None = None) -> Compiled:
        """The same program, compiled for another target, its lanes in at most `superpose` columns.
        Raises `Refused` as `compile` does, and where more lanes are needed at once.
        """
        if superpose is None:
            return (
                self
                if target == self.target
                else compile(self.source, **self.options, target=target)
            )
        made = compile(self.source, **{**self.options, "width": "min"}, target=target)
        lanes, needed = len(made.column_of), len(made.columns)
        if not needed <= superpose < lanes:
            raise Refused(
                f"superpose={superpose}: the program has {lanes} lanes, and {needed} are needed at "
                f"the same time; give a number from {needed} to {lanes - 1}"
                if needed < lanes
                else f"superpose={superpose}: all {lanes} lanes are needed at the same time"
            )
        return made

    @property
    def copies(self) -> int:
        """How many copies of the text are read before the one in which the answers stand."""
        return self.lowering.copies

    def explain(self) -> str:
        """The price list: what every lane is for, where it is made, how exact it is and what it
        costs.
        """
        return explain(self)

    def horizon(self, limit: int = 1000) -> Horizon:
        """The largest length for which `compile` vouches, tried up to `limit`, and what stops it
        there.
        """
        return horizon(self.source, causal=self.causal, limit=limit, target=self.target)

    def prompt(self, text: Any) -> list[str]:
        """The tokens that the model reads to answer at every position of `text`.

        Raises `TinyadderError` for a text beyond the length that was vouched for.
        """
        if len(text) > self.length:
            raise TinyadderError(
                f"a text of {len(text)} tokens; this model is exact to {self.length}: compile it "
                f"with length={len(text)}"
            )
        names = self.task.graph["inputs"]  # type: ignore[attr-defined]
        unknown = [token for token in text if rational(token) not in names]
        if unknown or not len(text):
            given = f"token {unknown[0]!r}" if unknown else "an empty text"
            raise TinyadderError(f"{given}; this program reads {' '.join(names.values())}")
        word = [names[rational(token)] for token in text]
        found: list[str] = []
        for _ in range(self.copies):
            found += [*word, SEPARATOR]
        return [*found, *word]


def compile(
    program: Seq,
    *,
    length: int = 10,
    causal: bool = False,
    answers: str = "tokens",
    vocabulary: Any = None,
    start: Any = None,
    end: Any = None,
    steps: int | None = None,
    task: Task | None = None,
    exact: bool = False,
    names: Mapping[str, Seq] | None = None,
    target: str = "tinyadder",
    width: str = "each",
) -> Compiled:
    """The construction that computes `program` on every text of 1 to `length` tokens.

    `causal`: selectors see positions up to their own only. `answers`: "tokens" (one for each
    value), or "number" (the logit of the only output is the value). `vocabulary`: the tokens of a
    text, where the program does not read them.

    With `start` the program writes: a prompt is a text and `start`, the value at the last position
    is the next token, and it is read again, until `end` or `steps` tokens (default `length`) are
    written. With `task` the prompts, the answers and the vocabulary are those of that task, and
    `length` is its longest prompt and answer. Such programs are causal.

    With `exact` every score is an integer and every head puts all its weight on one position, so
    that the model computes integers and does not round, in whatever order it adds up. Such a
    program looks values up (`latest`, `earliest`, a single `pick`) and counts nothing. `names`
    gives the lanes of some sequences a name.

    `width`: "each" lane has a column of its own, or "min": lanes that are not needed at the same
    time share one, and hidden units clear it in between.

    `target`: "tinyadder", or "gpt2" or "llama", stock classes of transformers. These round more,
    and lack parts: a LLaMA has no slopes, a GPT-2 no unit that multiplies. So the weights are made
    of other parts, and the horizon is shorter. The model of the class itself is made by
    `tinyadder.to_transformers`, its folder by `tinyadder export --to`.

    Raises `Refused`, a `TinyadderError`, where the program is not exact to this length: with the
    node, the number that is short and the way out.
    """
    if isinstance(program, Selector) or not isinstance(program, Seq):
        program = sequence(program)
    found = as_int(length)
    if found is None or found < 1:
        raise TinyadderError(
            f"length={short(length)}, expected a positive integer: the longest text the model must "
            "be right on"
        )
    length = found
    if width not in ("each", "min"):
        raise TinyadderError(f"width={width!r}, expected 'each' or 'min'")
    if answers not in ("tokens", "number"):
        raise TinyadderError(f"answers={answers!r}, expected 'tokens' or 'number'")
    letters = tuple(dict.fromkeys([*program.vocabulary, *(map(rational, vocabulary or ()))]))
    if not letters:
        raise TinyadderError(
            f"{show(program)} reads no tokens, so give vocabulary=: what a text is made of"
        )
    writes = start is not None or task is not None
    steps = (length if steps is None else steps) if start is not None else 0
    options = {
        "length": length,
        "causal": causal,
        "answers": answers,
        "vocabulary": vocabulary,
        "start": start,
        "end": end,
        "steps": steps if start is not None else None,
        "task": task,
        "exact": exact,
        "names": names,
        "width": width,
    }
    machine = target_of(target)
    if exact and machine.stock:
        raise Refused(
            f"exact=True: {machine.about} rounds every number that it reads; compile it for "
            "target='tinyadder'"
        )
    low = Lowering(program, length + steps, causal or writes, exact, names, machine)
    listed = _answers(low, program, answers)
    check_answer(low, listed, program)
    shared = columns(low, width == "min")
    token_of = token_names(letters)
    outputs = token_names([*letters, *listed])
    words = [(value, outputs[value]) for value in listed]
    if task is not None:
        words = [(value, name) for value, name in words if name in task.vocabulary]
        unknown = [name for name in token_of.values() if name not in task.vocabulary]
        if unknown:
            raise TinyadderError(
                f"the program reads {' '.join(unknown)}, which task '{task.name}' does not have: "
                f"{' '.join(task.vocabulary)}"
            )
        made = emit(low, token_of, words, task.vocabulary, shared)
        return Compiled(made, task, None, program, length, True, low, options, tuple(shared))
    graph, places = to_graph(program, low.values, token_of, words)
    graph["hints"] = hints(low, places, shared)
    if start is not None:
        graph |= {"start": token_of[rational(start)], "end": None if end is None else outputs[end]}
    data = json.dumps(graph, separators=(",", ":"))
    made_task = Sequences(data, length, low.copies, steps)
    made = emit(low, token_of, words, made_task.vocabulary, shared)
    claims = None if writes else claims_of(low, made_task, shared)
    return Compiled(
        made, made_task, claims, program, length, causal or writes, low, options, tuple(shared)
    )


def _answers(low: Lowering, program: Seq, answers: str) -> list[Value]:
    """The values that have a token, in the order of their codes; none where a number is read."""
    support = low.values.support(program)
    if answers == "number":
        listed = [] if isinstance(support, Span) else [v for v in support if v is not None]
        if not all(map(is_number, listed)):  # where there is no value, the number means nothing
            raise Refused(
                f"{show(program)} is not always a number, so it cannot be read from a logit; give "
                "answers='tokens'"
            )
        return []
    if isinstance(support, Span) or len(support) > TOKENS:
        many = str(support) if isinstance(support, Span) else f"{len(support):,} values"
        raise Refused(
            f"{show(program)} can be any of {many}, more than {TOKENS:,} tokens; give "
            "answers='number'"
        )
    return sorted(support, key=low.code)


def check_answer(low: Lowering, listed: list[Value], program: Seq) -> None:
    """Raises `Refused` where the answers lie too near to one another for the error of the line
    that holds them.
    """
    codes = [low.code(value) for value in listed]
    gap = min((b - a for a, b in itertools.pairwise(codes)), default=Fraction(1))
    error = low.error(low.answer)
    if low.target.stock:  # a logit 2 c y - c^2 is rounded, too, and leads the next one by gap^2
        error += 24 * low.target.unit * float(max(map(abs, codes), default=0)) ** 2 / float(gap)
    if error >= float(gap) / 4:
        raise Refused(
            f"{show(program)} is known to {error:.2g} only at length {low.length}, and its values "
            f"lie {float(gap):.3g} "
            "apart; give a smaller length"
        )


# ---- claims --------------------------------------------------------------------------------------


def claims_of(low: Lowering, task: Sequences, shared: list[SharedColumn]) -> dict[str, LaneClaim]:
    """Per column the exact value of its last lane at a position, from the meaning of the program;
    None where a copy does not know it.
    """
    return {column.name: _claim(low, task, column.lanes[-1].name) for column in shared}


def _claim(low: Lowering, task: Sequences, name: str) -> LaneClaim:
    def claim(problem: Word, position: int) -> Fraction | None:
        return _Exact(low, task, problem).lane(name, position)

    return claim


class _Exact:
    """The exact values of lanes over one problem."""

    def __init__(self, low: Lowering, task: Sequences, problem: Word) -> None:
        back = {name: value for value, name in task.graph["inputs"].items()}
        self.low, self.text = low, [back[token] for token in problem[0]]
        self.columns: dict[Seq, list[Value]] = {}

    def place(self, position: int) -> tuple[int, int | None]:
        """(copy, position in it), None at a separator."""
        copy, at = divmod(position, len(self.text) + 1)
        return copy, at if at < len(self.text) else None

    def lane(self, name: str, position: int) -> Fraction | None:
        lane, (copy, at) = self.low.lanes[name], self.place(position)
        if name == "copy":
            return Fraction(copy) if at is not None else Fraction(2 * copy + 1, 2)
        if lane.head is None and not lane.units:
            return lane.separator if at is None else lane.embed.get(self.text[at], Fraction(0))
        if lane.defines is None:
            total = Fraction(0)
            for gate, up, down in lane.units:
                values = [self.line(line, position) for line in (gate, up) if line is not None]
                if None in values:
                    return None
                total += down * max(values[0], Fraction(0)) * (values[1] if up is not None else 1)  # type: ignore
            return total
        node, line = lane.defines
        if at is None or copy < self.low.level(node):
            return None
        if node not in self.columns:
            self.columns[node] = node(self.text, causal=self.low.causal)
        rest = self.line(Line(tuple(t for t in line.terms if t[0] != name), line.bias), position)
        return (
            None
            if rest is None
            else (self.low.code(self.columns[node][at]) - rest) / dict(line.terms)[name]
        )

    def line(self, line: Line, position: int) -> Fraction | None:
        total = line.bias
        for name, weight in line.terms:
            value = self.lane(name, position)
            if value is None:
                return None
            total += weight * value
        return total


# ---- the price list ------------------------------------------------------------------------------


def show_support(support: Any) -> str:
    """A value set in a few words: `0 .. 10`, `a b c`, `33 numbers 0 .. 1`."""
    if isinstance(support, Span):
        return str(support)
    if all(is_number(v) for v in support):
        numbers = sorted(support)
        if len(numbers) > 2 and numbers == list(
            range(floor(numbers[0]), floor(numbers[0]) + len(numbers))
        ):
            return f"{numbers[0]} .. {numbers[-1]}"
        if len(numbers) > 4:
            return f"{len(numbers)} numbers {numbers[0]} .. {numbers[-1]}"
    return " ".join(map(str, support[:6])) + (
        f" and {len(support) - 6} more" if len(support) > 6 else ""
    )


def lane_price(lane: LoweredLane, seen: set[Any], low: Lowering) -> int:
    """Nonzero weights that the lane's writers add; heads and units that several lanes share are
    counted once.
    """
    found = sum(number != 0 for number in lane.embed.values()) + (
        low.copies > 0 and lane.separator != 0
    )
    for gate, up, _ in lane.units:
        found += 1
        if (gate, up) not in seen:
            seen.add((gate, up))
            found += gate.price + (1 if up is None else up.price) - (up is None)
            found += up is None
    if lane.head is not None:
        head, row = lane.head
        if head not in seen:
            seen.add(head)
            found += sum(q.price + k.price for q, k in head.rows)
        if (head, row) not in seen:
            seen.add((head, row))
            found += head.values[row][0].price
    return found


def written_at(time: int) -> str:
    """The sublayer that writes a lane."""
    if time == 0:
        return "embedding"
    return f"layer {(time - 1) // 2} " + ("MLP" if time % 2 == 0 else "attention")


def explain(made: Compiled) -> str:
    """One line a lane, in the order of the layers."""
    low: Lowering = made.lowering
    seen: set[Any] = set()
    rows = [("lane", "made in", "holds", "values", "copy", "error", "weights", "why")]
    for lane in sorted(live(low), key=lambda lane: lane.time):
        node = lane.defines[0] if lane.defines else None
        where = written_at(lane.time)
        values = (
            show_support(low.values.support(node))
            if node is not None
            else f"{lane.low} .. {lane.high}"
        )
        level = str(low.level(node)) if node is not None else ""
        rows.append(
            (
                lane.name,
                where,
                lane.meaning,
                values if len(values) < 40 else values[:37] + "...",
                level,
                f"{lane.error:.1e}",
                str(lane_price(lane, seen, low)),
                lane.why,
            )
        )
    shape = made.program
    heads = sum(len(a.heads) for a, _ in shape.blocks if a)
    units = sum(len(m.units) for _, m in shape.blocks if m)
    copies = f"{made.copies + 1} copies of the text" if made.copies else "the text once"
    machine = f" as {low.target.about}" if low.target.about else ""
    lines = [
        f"{show(made.source)}",
        f"exact for 1 .. {made.length} tokens{machine}; reads {copies}; "
        f"{len(shape.blocks)} layers, {heads} heads, {units} units, "
        f"width {shape.stream.width}, {shape.nonzero} nonzero weights, {shape.slopes} slopes",
        "",
    ]
    for column in made.columns:
        if len(column.lanes) > 1:
            several = ", then ".join(lane.name for lane in column.lanes)
            units = sum(1 + (lane.low < 0 or lane.error > 0) for lane in column.lanes[:-1])
            lines[-1:] = [f"{column.name} holds {several}; {units} units clear it between", ""]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    widths[2] = min(widths[2], 60)
    for row in rows:
        cells = [cell if len(cell) <= 60 else cell[:57] + "..." for cell in row]
        lines.append(
            "  ".join(
                [*(c.ljust(w) for c, w in zip(cells, widths, strict=False)), cells[-1]]
            ).rstrip()
        )
    picks = [
        node
        for node in walk(made.source)
        if node.op == "pick" and not low.values.single(node.data[0])
    ]
    for node in picks:
        lines.append(f"to be kept by the text: {show(node)} must select at most one position")
    return "\n".join(lines)


# ---- horizon -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Horizon:
    """The largest length that compiles, and why the next does not (empty where the search ended
    at its limit).
    """

    length: int
    reason: str

    def __str__(self) -> str:
        return f"{self.length}: {self.reason}" if self.reason else f"at least {self.length}"


def horizon(
    program: Seq, *, causal: bool = False, limit: int = 1000, target: str = "tinyadder"
) -> Horizon:
    """Doubling and bisection over `compile`."""

    def refused(length: int) -> str:
        try:
            low = Lowering(program, length, causal, target=target_of(target))
            support = low.values.support(program)
            check_answer(
                low, [] if isinstance(support, Span) else sorted(support, key=low.code), program
            )
        except Refused as error:
            return str(error)
        return ""

    good, length, reason = 0, 1, ""
    while length <= limit:
        reason = refused(length)
        if reason:
            break
        good, length = length, min(2 * length, limit) if length < limit else limit + 1
    if not reason:
        return Horizon(good, "")
    bad = length
    while bad - good > 1:
        middle = (good + bad) // 2
        said = refused(middle)
        if said:
            bad, reason = middle, said
        else:
            good = middle
    return Horizon(good, reason)
