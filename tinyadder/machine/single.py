"""One text at a time, without torch: a program written out as a page of scalar Python.

`SingleDecoder(program)` writes the arithmetic of the program out, position by position, with the
keys and values of earlier positions kept, and compiles it. Only weights and positions in lists get
into that source, never a name from the program. Everything that does not depend on the text is
worked out once: of a head whose queries and keys read no lane, the whole attention pattern; of an
output, the lanes it reads.

It is the function of `Transformer.forward` with sums in another order: logits agree to rounding,
decisions are equal wherever the margin is above that (tests/test_single.py compares decisions on
every construction). Where a logit is not finite or two are equal, it gives no answer (None) and
torch decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite
from operator import mul
from typing import Any

from tinyadder.dsl import MLP, Attention, Head, Program
from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import AffineRow, value_of

LARGEST = 20_000
"""Terms of a program that is written out; a larger one is better run as matrices."""

Start = Callable[[], tuple[Callable[[int], None], Callable[[int], list[float]]]]
"""Begins a text: `feed(token)`, and `logits(token)` after it."""


class SingleDecoder:
    """Greedy decoding of one text of a program, thousands of short ones a second.

    Raises `TinyadderError` for a program of more than 20,000 nonzero weights.
    """

    def __init__(self, program: Program) -> None:
        if (
            program.nonzero * max(1, len(program.output_tokens)) > 50 * LARGEST
            or program.nonzero > LARGEST
        ):
            raise TinyadderError(
                f"a program of {program.nonzero:,} weights is not written out; run it with torch"
            )
        ids = {token: i for i, token in enumerate(program.vocabulary)}
        self.outputs = [ids[token] for token in program.output_tokens]
        writer = _SourceWriter(program)
        self.source = writer.source()
        names: dict[str, Any] = {
            "exp": exp,
            "mul": mul,
            "patterns": writer.patterns,
        }
        exec(compile(self.source, "<a program as scalar Python>", "exec"), names)
        self.start: Start = names["start"]

    def decode(self, prompt: Sequence[int], steps: int, end: int | None = None) -> list[int] | None:
        """At most `steps` token ids after `prompt`, `end` included; None where logits tie."""
        feed, logits = self.start()
        for token in prompt[:-1]:
            feed(token)
        token, emitted = prompt[-1], []
        for _ in range(steps):
            values = logits(token)
            best = max(values)
            if not isfinite(sum(values)) or values.count(best) > 1:
                return None
            token = self.outputs[values.index(best)]
            emitted.append(token)
            if token == end:
                break
        return emitted


def _indented(lines: Sequence[str], deep: int = 1) -> list[str]:
    return ["    " * deep + line for line in lines]


def _softmax1(scores: list[float]) -> list[float]:
    """exp(s_j) / (1 + sum_k exp(s_k)), shifted by max(0, max_k s_k)."""
    highest = max(0.0, max(scores))
    weights = [exp(score - highest) for score in scores]
    total = exp(-highest) + sum(weights)
    return [weight / total for weight in weights]


class _Patterns:
    """The attention pattern of a head that depends on positions alone, made row by row."""

    def __init__(self, score: float, slope: float) -> None:
        self.score, self.slope, self.rows = score, slope, list[list[float]]()

    def __getitem__(self, t: int) -> list[float]:
        while len(self.rows) <= t:
            n = len(self.rows)
            self.rows.append(_softmax1([self.score + self.slope * (j - n) for j in range(n + 1)]))
        return self.rows[t]


@dataclass(frozen=True)
class _Kept:
    """What a head keeps of the positions so far: the names of lists."""

    number: int
    keys: list[str]
    """None where its queries and keys read no lane."""
    values: list[str]
    shared: bool
    """Positions of equal keys share an entry."""
    rare: set[str] = field(default_factory=set)
    """Lists of values without zeros; their positions are in the list of that name after a j."""


class _SourceWriter:
    """Writes the source of `start()`: the functions feed(token) and logits(token) of a new text."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.columns = program.stream.columns()
        self.patterns: list[_Patterns] = []
        self.lists: list[str] = []
        self.mappings: list[str] = []
        self.kept = 0
        self.body: list[str] = []
        self.known: set[int] = set()
        self.of_token: dict[int, list[float]] = {}
        """What a column holds after each token, where the embedding alone has written it."""

    def source(self) -> str:
        self.embedding()
        last = max(
            (n for n, s in enumerate(self.program.sublayers) if isinstance(s, Attention)),
            default=-1,
        )
        feed = ["pass"] if last < 0 else []
        for n, sublayer in enumerate(self.program.sublayers):
            if isinstance(sublayer, Attention):
                kept = self.attention(sublayer)
                if n == last:
                    feed = [*self.body[:kept]]
            else:
                self.mlp(sublayer)
        self.readout()
        lists = [f"{name} = []" for name in self.lists]
        lists += [f"{name} = {{}}" for name in self.mappings]
        # t is the position of the token; a list that every layer has counts them
        count = ["t = len(seen)", "seen.append(token)"]
        page = ["def start():", *_indented(["seen = []", *lists])]
        page += ["    def feed(token):", *_indented([*count, *feed], 2)]
        page += ["    def logits(token):", *_indented([*count, *self.body], 2)]
        return "\n".join([*page, "    return feed, logits"])

    # ---- parts -----------------------------------------------------------------------------------

    def embedding(self) -> None:
        for lane, table in self.program.embed.lanes.items():
            width = self.program.stream.lanes[lane].width
            for i in range(width):
                column = self.columns[lane, i]
                values = []
                for token in self.program.vocabulary:
                    weights = table.get(token, (0.0,))
                    values.append(value_of(weights[i if len(weights) > 1 else 0]))
                self.body.append(f"x{column} = ({', '.join(map(_number, values))},)[token]")
                self.known.add(column)
                self.of_token[column] = values

    def attention(self, attention: Attention) -> int:
        """Writes the attention; after how many lines of the body its keys and values are kept."""
        kept = [self.keep(head) for head in attention.heads]
        lines = len(self.body)
        for number, (head, what) in enumerate(zip(attention.heads, kept, strict=True)):
            self.attend(number, head, what)
        written = [
            (self.columns[lane, i], [f"m{attention.heads.index(head)}_{row}" for head, row in part])
            for lane, output in attention.lanes.items()
            for i, part in self.parts(lane, output.parts)
        ]
        self.add(written)
        return lines

    def keep(self, head: Head) -> _Kept:
        """Writes what a head keeps of a position."""
        number = self.kept = self.kept + 1
        constant = not any(row.weights for form in (head.query, head.key) for row in form.rows)
        keys = [] if constant else [f"k{number}_{i}" for i in range(head.key.width)]
        values = [f"v{number}_{i}" for i in range(head.value.width)]
        kept = _Kept(number, keys, values, not constant and head.slope <= 0)
        rows = [*([] if constant else head.key.rows), *head.value.rows]
        pairs = [*zip([*keys, *values], map(self.row, rows), strict=True)]
        self.lists += [name for name, _ in pairs]
        if kept.shared:
            self.keep_shared(kept, pairs, head.slope)
            return kept
        for (name, expression), row in zip(pairs, rows, strict=True):
            if constant and self.is_rare(row):
                kept.rare.add(name)
                self.lists.append(f"j{name}")
                self.body += [
                    f"v = {expression}",
                    "if v:",
                    f"    {name}.append(v)",
                    f"    j{name}.append(t)",
                ]
            else:
                self.body.append(f"{name}.append({expression})")
        return kept

    def keep_shared(self, kept: _Kept, pairs: list[tuple[str, str]], slope: float) -> None:
        """Positions of equal keys share an entry: few keys are different. What they have together
        is that of the first of them times n, their number or (with a slope) the sum of
        exp(slope * (j - first)), a fall from 1.
        """
        n, first, entries = f"n{kept.number}", f"first{kept.number}", f"entries{kept.number}"
        self.lists += [n, first]
        self.mappings.append(entries)
        names = [f"{name[0]}{i}" for i, (name, _) in enumerate(pairs)]
        self.body += [
            *(f"{name} = {row}" for name, (_, row) in zip(names, pairs, strict=True)),
            f"key = {', '.join(name for name in names if name[0] == 'k')}",
            f"entry = {entries}.get(key)",
            "if entry is None:",
            f"    {entries}[key] = len({n})",
            f"    {n}.append(1.0)",
            *([f"    {first}.append(t)"] if slope else []),
            *(f"    {long}.append({name})" for name, (long, _) in zip(names, pairs, strict=True)),
            "else:",
        ]
        times = ""
        if slope:
            self.body.append(f"    e = exp({_number(slope)} * (t - {first}[entry]))")
            times = "e * "
        self.body.append(f"    {n}[entry] += {'e' if slope else '1.0'}")
        self.body += [
            f"    {long}[entry] += {times}{name}"
            for name, (long, _) in zip(names, pairs, strict=True)
            if name[0] == "v"
        ]

    def is_rare(self, row: AffineRow) -> bool:
        """Whether a row is known from the token, and 0 for most tokens."""
        known = [self.columns[column] for column, _ in row.weights]
        if row.bias or not all(column in self.of_token for column in known):
            return False
        tables = [self.of_token[column] for column in known]
        written = sum(any(entries) for entries in zip(*tables, strict=True))
        return 3 * written < len(self.program.vocabulary)

    def attend(self, number: int, head: Head, kept: _Kept) -> None:
        """Writes what head `number` reads at position t: m{number}_0, m{number}_1, ..."""
        read = [(f"m{number}_{i}", name) for i, name in enumerate(kept.values)]
        if not kept.keys:
            pairs = zip(head.query.rows, head.key.rows, strict=True)
            constant = sum(value_of(q.bias) * value_of(k.bias) for q, k in pairs)
            self.patterns.append(_Patterns(constant, head.slope))
            self.body.append(f"w = patterns[{len(self.patterns) - 1}][t]")
            for m, name in read:
                weights = f"[w[j] for j in j{name}]" if name in kept.rare else "w"
                self.body.append(f"{m} = sum(map(mul, {weights}, {name}))")
            return
        for i, row in enumerate(head.query.rows):
            self.body.append(f"q{i} = {self.row(row)}")
        terms = [f"q{i} * a{i}" for i in range(len(kept.keys))]
        names, lists = [f"a{i}" for i in range(len(kept.keys))], list(kept.keys)
        if head.slope:
            terms.append(f"{_number(head.slope)} * (j - t)")
            names.append("j")
            lists.append(f"first{kept.number}" if kept.shared else f"range(len({kept.keys[0]}))")
        one = len(lists) == 1
        items = lists[0] if one else f"zip({', '.join(lists)})"
        counts = f"n{kept.number}" if kept.shared else ""
        self.body += [
            f"w = [{' + '.join(terms)} for {', '.join(names)} in {items}]",
            "high = max(w)",
            "if high < 0.0: high = 0.0",
            "w = [exp(a - high) for a in w]",
            f"all = exp(-high) + sum({f'map(mul, w, {counts})' if counts else 'w'})",
            *(f"{m} = sum(map(mul, w, {name})) / all" for m, name in read),
        ]

    def mlp(self, mlp: MLP) -> None:
        units = mlp.units
        position = {id(unit): n for n, unit in enumerate(units)}
        for n, unit in enumerate(units):
            self.body.append(f"g{n} = {self.row(unit.gate)}")
            # NaN stays NaN
            self.body.append(f"u{n} = g{n} * ({self.row(unit.up)}) if g{n} > 0 else 0.0 * g{n}")
        written = []
        for lane, output in mlp.lanes.items():
            for i, part in self.parts(lane, output.parts):
                units_of = [(value_of(down), f"u{position[id(unit)]}") for unit, down in part]
                written.append((self.columns[lane, i], [_times(*unit) for unit in units_of]))
        self.add(written)

    def parts(self, lane: str, parts: Sequence[Any]) -> list[tuple[int, Any]]:
        """(component, its terms) of a lane; one list of terms may stand for all components."""
        width = self.program.stream.lanes[lane].width
        return [(i, parts[i if len(parts) > 1 else 0]) for i in range(width)]

    def add(self, written: list[tuple[int, list[str]]]) -> None:
        """All columns of a sublayer are written after all of it was read."""
        for column, terms in written:
            if terms:
                before = [f"x{column}"] if column in self.known else []
                self.body.append(f"x{column} = {' + '.join([*before, *terms])}")
                self.known.add(column)
                self.of_token.pop(column, None)

    def readout(self) -> None:
        unembed, tokens = self.program.unembed, self.program.output_tokens
        rows: list[list[str]] = [[] for _ in tokens]
        if unembed.form.rows:
            one = unembed.form.width == 1
            for n in range(len(tokens)):
                rows[n].append(self.row(unembed.form.rows[0 if one else n]))
        if unembed.tied:
            for lane, table in self.program.embed.lanes.items():
                for n, token in enumerate(tokens):
                    weights = table.get(token, (0.0,))
                    for i in range(self.program.stream.lanes[lane].width):
                        value = value_of(weights[i if len(weights) > 1 else 0])
                        if value:
                            rows[n].append(_times(value, f"x{self.columns[lane, i]}"))
        sign = "-" if unembed.argmin else ""
        values = [f"{sign}({' + '.join(row) or '0.0'})" for row in rows]
        self.body.append(f"return [{', '.join(values)}]")

    def row(self, row: AffineRow) -> str:
        """An affine row as an expression; columns that nothing has written yet are left out."""
        terms = [
            _times(value_of(weight), f"x{self.columns[column]}")
            for column, weight in row.weights
            if self.columns[column] in self.known
        ]
        if row.bias != 0 or not terms:
            terms.append(_number(value_of(row.bias)))
        return " + ".join(terms)


def _times(factor: float, name: str) -> str:
    return name if factor == 1 else f"{_number(factor)} * {name}"


def _number(value: float) -> str:
    """A finite float as source that reads back bit for bit."""
    if not isfinite(value):
        raise TinyadderError(f"a program holds {value}; every weight must be finite")
    return f"({float(value)!r})" if value < 0 else repr(float(value))
