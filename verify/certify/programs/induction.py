"""The induction over the trace: the premises under which one right step makes every token right.

Rule STEP says what is written at a position, given what the lookups read there. That every text of
a program and its trace is the computer's then needs, and this checks:

START   at `run` every register is what it is at first: no token of a prompt is of a kind that
        writes it, and the default of its lookup is that value. Lines and inputs have labels apart.
REACH   from `run` on, every kind of position that a step can lead to has its own step, and a case
        of it for every state: cases are pairs of a fact and its opposite.
RANGE   the number of a written token is a word, so that the token is the one meant, and the next
        position is described by the ranges that the step was checked for.
EFFECT  the tokens of an instruction, each written as STEP says and each changing the registers as
        the lookups read them, together change them as the table MACHINE says, which says for each
        instruction at once what it does.

By induction over the positions of the trace: the lookups read the registers of the computer, so the
next token is the computer's (STEP), and with it the registers are right at the next position.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tinyadder.verify.certify.check.intervals import need
from tinyadder.verify.certify.programs.instructions import (
    KINDS,
    NAMES,
    WRITTEN,
    Lookup,
    Outcome,
    Place,
    Poly,
    add,
    constant,
    instruction,
    lookups,
    next_line,
    second_token,
    symbol,
    times,
)

Registers = dict[str, Poly]
"""Register -> its value, in symbols of what the registers, operand and cells were before."""
AT_FIRST = {"line": 0, "accumulator": 0, "read": -1}
"""The registers at `run`: of the last line, accumulator, and the number of the last input."""
PROMPT = [":", "#", "0", "halt", *NAMES]
"""Kinds of the tokens before `run`."""


@dataclass(frozen=True)
class Effect:
    """What an instruction does to the registers; `store`: (address, value); `printed`: a value."""

    after: Registers = field(default_factory=dict)
    store: tuple[Poly, Poly] | None = None
    printed: Poly | None = None


GuardedEffect = tuple[list[Poly], Effect]
"""Where these are not negative, this happens."""


def machine(name: str, word: int) -> list[GuardedEffect]:
    """What the instruction does. `n` is its number, `first` the cell n, `second` the cell whose
    number is in cell n, `input` the value of the input that is next, 0 behind its end.
    """
    a, n, first, second = map(symbol, ("accumulator", "n", "first", "second"))
    line, last, given = map(symbol, ("line", "read", "input"))
    top = constant(word - 1)

    def becomes(value: Poly) -> Effect:
        return Effect({"accumulator": value})

    def if_(fact: Poly, then: Effect, otherwise: Effect) -> list[GuardedEffect]:
        return [([fact], then), ([opposite(fact)], otherwise)]

    total, rest = add((1, a), (1, first)), add((1, a), (-1, first))
    cases: dict[str, list[GuardedEffect]] = {
        "set": [([], becomes(n))],
        "load": [([], becomes(first))],
        "get": [([], becomes(second))],
        "add": if_(
            add((1, top), (-1, total)),
            becomes(total),
            becomes(add((1, total), (1, constant(-word)))),
        ),
        "sub": if_(rest, becomes(rest), becomes(add((1, rest), (1, constant(word))))),
        "less": if_(rest, becomes(constant(0)), becomes(constant(1))),
        "store": [([], Effect(store=(n, a)))],
        "put": [([], Effect(store=(first, a)))],
        "out": [([], Effect(printed=a))],
        "jump": [([], Effect({"line": n}))],
        "zero": if_(add((-1, a)), Effect({"line": n}), Effect()),
        "in": if_(
            add((1, top), (-1, last), (1, constant(-1))),
            Effect({"accumulator": given, "read": add((1, last), (1, constant(1)))}),
            Effect({"accumulator": given, "read": last}),
        ),
    }
    following = if_(
        add((1, top), (-1, line), (1, constant(-1))),
        Effect({"line": add((1, line), (1, constant(1)))}),
        Effect({"line": add((1, line), (1, constant(1 - word)))}),
    )
    found = []
    for facts, effect in cases[name]:
        if "line" in effect.after:
            found.append((facts, effect))
            continue
        for more, go in following:
            after = {**effect.after, **go.after}
            found.append(([*facts, *more], Effect(after, effect.store, effect.printed)))
    return found


def opposite(fact: Poly) -> Poly:
    """Not negative exactly where the fact is, of integers: -fact - 1."""
    return add((-1, fact), (1, constant(-1)))


def placed(poly: Poly, state: Mapping[str, Poly]) -> Poly:
    """The polynomial with the values of its symbols in their places."""
    found: Poly = {}
    for monomial, factor in poly.items():
        part = constant(factor)
        for name in monomial:
            part = times(part, state.get(name, symbol(name)))
        found = add((1, found), (1, part))
    return found


def steps(place: Place, word: int) -> list[Outcome]:
    """What STEP says is written at a position of this kind. Rejected where it says nothing."""
    if place.kind in ("run", "@"):
        return instruction(place.does or "halt", word)
    if place.kind in "[?":
        return second_token("in" if place.kind == "?" else place.does)
    need(place.kind in "=!" and bool(place.does), f"no step is stated at {place}")
    return next_line(place.does, word)


class Induction:
    """The premises, for words of one size; `bounded(number, facts)`: whether it is a word where the
    facts are not negative.
    """

    def __init__(self, word: int, bounded: Callable[[Poly, Sequence[Poly]], bool]) -> None:
        self.word, self.bounded = word, bounded
        self.lookups = {lookup.name: lookup for lookup in lookups(word)}
        self.registers = [x for x in self.lookups.values() if x.name in (*AT_FIRST, "address")]
        self.checked = 0

    def run(self, stepped: set[Place]) -> None:
        """Check every premise; `stepped` are the kinds of positions that STEP was checked for."""
        self.start()
        self.reach(stepped)
        for name in NAMES:
            self.effect(name)

    # ---- START ----

    def start(self) -> None:
        for lookup in self.registers:
            need(lookup.key is None and lookup.kinds is not None, f"{lookup.name} is no register")
            early = [kind for kind in PROMPT if kind in (lookup.kinds or ())]
            need(not early, f"tokens {early} of a prompt write the register {lookup.name}")
            ((value, default, _),) = lookup.values
            if "run" in (lookup.kinds or ()):
                default = value(Place("run", "")).get((), 0)
            first = AT_FIRST.get(lookup.name, default)
            need(default == first, f"the register {lookup.name} is {default} at first")
            self.checked += 1
        for kind in (*PROMPT, "run"):
            for does in ("", *NAMES):
                need(not self.stores(Place(kind, does)), f"a token {kind!r} of a prompt stores")
        # a label is the number of a line, or a word more than that of an input
        fetch, label = self.lookups["fetch"], self.lookups["label"].values[0][0]
        lines, inputs = label(Place(":", "")), label(Place("#", ""))
        need(lines == symbol("number"), "a line has another label")
        need(inputs == add((1, lines), (1, constant(self.word))), "lines and inputs share labels")
        need(fetch.key is not None and fetch.query is not None, "lines are not looked up")

    def fetched(self, kind: str, does: str = "") -> Poly:
        """The label of what is looked up at a position of this kind."""
        query = self.lookups["fetch"].query
        assert query is not None
        return query(Place(kind, does))

    def stores(self, place: Place) -> bool:
        """Whether later positions can find a value here: whether its cell is not -1."""
        keys = {self._key(self.lookups[name])(place) == constant(-1) for name in CELLS}
        need(len(keys) == 1, "cells are stored for one lookup and not for another")
        return keys == {False}

    def _key(self, lookup: Lookup) -> Callable[[Place], Poly]:
        need(lookup.key is not None and lookup.kinds is None, f"{lookup.name} is no cell")
        assert lookup.key is not None
        return lookup.key

    # ---- REACH ----

    def reach(self, stepped: set[Place]) -> None:
        """Every place that steps lead to is stepped from, and stores only behind its address."""
        everything = ("", *NAMES)
        todo = {Place("run", does) for does in everything}
        seen = set(todo)
        while todo:
            place = todo.pop()
            need(place in stepped, f"no step was checked at {place}")
            cases = steps(place, self.word)
            need(covered([facts for facts, *_ in cases]), f"a state at {place} has no case")
            self.checked += 1
            for facts, letter, number in cases:
                if letter == "end":
                    continue
                need(letter in WRITTEN, f"{letter!r} is no kind of token")
                if letter != "@":  # of a line any step leads to any line
                    need(self.bounded(number, facts), f"the number written at {place} is no word")
                for after in self.next(place, letter):
                    if self.stores(after):
                        need(place.kind == "[", f"{after} stores, and comes behind {place}")
                    if after not in seen:
                        seen.add(after)
                        todo.add(after)

    def next(self, place: Place, letter: str) -> list[Place]:
        """The places that a token with this letter may be, written at `place`."""
        if letter == "@" or self.fetched(letter) != symbol("line"):
            return [Place(letter, does) for does in ("", *NAMES)]
        if self.fetched(place.kind) == symbol("line"):
            return [Place(letter, place.does)]  # of the same line
        return [Place(letter, "in")]  # behind the number of an input, which `in` alone writes

    # ---- EFFECT ----

    def effect(self, name: str) -> None:
        """The tokens of an instruction do what the machine does, in every case."""
        stated = machine(name, self.word)
        need(covered([facts for facts, _ in stated]), f"{name}: a state has no case")
        found = self.traces(Place("@", name), {}, [], Effect())
        for facts, effect in stated:
            met = 0
            for others, other in found:
                if contradict(facts, others):
                    continue
                met += 1
                same = all(
                    at(effect.after, register) == at(other.after, register) for register in AT_FIRST
                )
                same = same and (effect.store, effect.printed) == (other.store, other.printed)
                need(same, f"the tokens of {name!r} do {other}, and the machine {effect}")
                self.checked += 1
            need(met > 0, f"{name}: a case of the machine is never met")

    def traces(
        self, place: Place, state: Registers, facts: list[Poly], done: Effect
    ) -> list[GuardedEffect]:
        """Everything that the tokens from `place` to the next line can do."""
        found: list[GuardedEffect] = []
        here = dict(state)
        if self.fetched(place.kind) != symbol("line"):
            here["n"] = symbol("input")
        for given, letter, number in steps(place, self.word):
            now = [*facts, *(placed(fact, here) for fact in given)]
            value, after = placed(number, here), dict(state)
            if letter == "?":
                need(at(after, "read") == symbol("read"), "two inputs are read at once")
            then = Place(letter, place.does)
            for lookup in self.registers:
                if letter in (lookup.kinds or ()):
                    after[lookup.name] = value
            store, printed = done.store, value if letter == "!" else done.printed
            if self.stores(then):
                need(store is None, "two values are stored at once")
                store = at(after, "address"), at(after, "accumulator")
            effect = Effect(after, store, printed)
            if letter == "@":
                found.append((now, effect))
            else:
                found += self.traces(then, after, now, effect)
        return found


CELLS = ("first", "second")
"""Lookups of the memory."""


def at(state: Mapping[str, Poly], register: str) -> Poly:
    return state.get(register, symbol(register))


def contradict(a: Sequence[Poly], b: Sequence[Poly]) -> bool:
    """Whether no state meets the facts of both: one is the opposite of another."""
    return any(opposite(x) == y for x, y in product(a, b))


def covered(cases: Sequence[Sequence[Poly]]) -> bool:
    """Whether every state meets all facts of some case: by a fact, and by its opposite."""
    if any(not facts for facts in cases):
        return True
    if not cases:
        return False
    fact = cases[0][0]
    other = opposite(fact)

    def where(holds: Poly, fails: Poly) -> list[list[Poly]]:
        return [[f for f in facts if f != holds] for facts in cases if fails not in facts]

    return covered(where(fact, other)) and covered(where(other, fact))


def over_the_trace(
    word: int, stepped: set[Place], bounded: Callable[[Poly, Sequence[Poly]], bool]
) -> int:
    """Check every premise of the induction; how many were checked. Raises `Rejected`."""
    induction = Induction(word, bounded)
    induction.run(stepped)
    need(set(KINDS) == {*PROMPT, "run", *WRITTEN}, "a kind of token is in no part of a text")
    return induction.checked
