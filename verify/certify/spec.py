"""Specifications: an automaton whose accepted paths are exactly the texts (prompt, right answer) of
a task.

A specification visits every position of the text once, in an order of its own (addition: column by
column from the least significant); stage t reads the token at one position and moves from state to
state. It is deterministic, every state lies on an accepted path, and it is plain data. A separable
function of the text, a sum of one table per position, is then minimised exactly by a shortest path.

    >>> from tinyadder.tasks.addition import Addition
    >>> [spec] = specifications(Addition(digits=2))
    >>> spec.count(), spec.length, spec.start
    (10000, 10, 7)
    >>> "".join(spec.sample(Random(0)))[:7].count("+")
    1

A new specification is one function that returns `relation(...)`: the order of positions, and for
each the moves that a state allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from math import comb
from random import Random
from typing import Any, cast

from tinyadder.tasks.base import Problem, Task

State = Hashable
Step = Callable[[Any], Iterable[tuple[str, State]]]
"""The moves out of a state: (token, next state)."""
LARGEST = 5000
"""The most states of a specification whose states number more than the text is long; shortest paths
visit them all.
"""


WORDS = 200_000
"""The most words of a table of answers."""


class NoSpecification(Exception):
    """The task has no specification automaton, or the format does not fit one; the text says
    why.
    """


@dataclass(frozen=True)
class Stage:
    """One position of the text and the moves (from state, to state, token) that read it; states are
    numbers.
    """

    position: int
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Specification:
    """Texts of `length` tokens of which the first `start` are the prompt. Stage 0 begins in state
    0.
    """

    start: int
    length: int
    stages: tuple[Stage, ...]
    problem: Callable[[Sequence[str]], Problem]
    """The problem of the task that a text states."""

    def to_json(self) -> dict[str, Any]:
        """Plain data: what `digest` is the hash of."""
        stages = [
            {"position": s.position, "edges": [list(edge) for edge in s.edges]} for s in self.stages
        ]
        return {"start": self.start, "length": self.length, "stages": stages}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """The tokens that some text has at each position."""
        found: list[tuple[str, ...]] = [()] * self.length
        for stage in self.stages:
            found[stage.position] = tuple(sorted({token for _, _, token in stage.edges}))
        return tuple(found)

    @cached_property
    def _completions(self) -> list[dict[int, int]]:
        """For each stage and state, how many ways lead to the end."""
        counts: list[dict[int, int]] = [{dst: 1 for _, dst, _ in self.stages[-1].edges}]
        for stage in reversed(self.stages):
            found: dict[int, int] = {}
            for src, dst, _ in stage.edges:
                found[src] = found.get(src, 0) + counts[0][dst]
            counts.insert(0, found)
        return counts

    def count(self) -> int:
        """The number of texts, which is the number of problems."""
        return self._completions[0][0]

    def sample(self, random: Random) -> tuple[str, ...]:
        """One text, all equally likely."""
        text, state = [""] * self.length, 0
        for stage, after in zip(self.stages, self._completions[1:], strict=True):
            moves = [(dst, token) for src, dst, token in stage.edges if src == state]
            state, text[stage.position] = random.choices(moves, [after[dst] for dst, _ in moves])[0]
        return tuple(text)

    def texts(self) -> Iterable[tuple[str, ...]]:
        """Every text; for small ones."""
        states: list[tuple[int, tuple[tuple[int, str], ...]]] = [(0, ())]
        for stage in self.stages:
            states = [
                (dst, (*read, (stage.position, token)))
                for state, read in states
                for src, dst, token in stage.edges
                if src == state
            ]
        return (tuple(token for _, token in sorted(read)) for _, read in states)

    def has(self, text: Sequence[str]) -> bool:
        """Whether this is one of the texts."""
        if len(text) != self.length:
            return False
        state: int | None = 0
        for stage in self.stages:
            token = text[stage.position]
            state = next((dst for src, dst, t in stage.edges if (src, t) == (state, token)), None)
        return state is not None


def relation(
    start: int,
    stages: Sequence[tuple[int, Step]],
    first: State,
    accept: Callable[[Any], bool],
    problem: Callable[[Sequence[str]], Problem],
) -> Specification:
    """The specification with these stages: dead states removed, states numbered in the order of
    their first use.
    """
    layers: list[list[tuple[State, State, str]]] = []
    reached: set[State] = {first}
    for _, step in stages:
        edges = [(state, after, token) for state in reached for token, after in step(state)]
        layers.append(edges)
        reached = {after for _, after, _ in edges}
    alive = {state for state in reached if accept(state)}
    for t in reversed(range(len(layers))):
        layers[t] = [edge for edge in layers[t] if edge[1] in alive]
        alive = {src for src, _, _ in layers[t]}
    if not alive:
        raise NoSpecification("no text satisfies the specification")
    numbers: dict[State, int] = {first: 0}
    done = []
    for (position, _), edges in zip(stages, layers, strict=True):
        after: dict[State, int] = {}
        rows = []
        for src, dst, token in sorted(edges, key=lambda edge: (numbers[edge[0]], edge[2])):
            rows.append((numbers[src], after.setdefault(dst, len(after)), token))
        if len({(src, token) for src, _, token in rows}) < len(rows):
            raise NoSpecification(
                f"two moves of one state read the same token at position {position}"
            )
        done.append(Stage(position, tuple(rows)))
        numbers = after
    length = len(stages)
    if sorted(stage.position for stage in done) != list(range(length)):
        raise NoSpecification("the stages do not visit every position once")
    return Specification(start, length, tuple(done), problem)


def read(token: str) -> Step:
    """The move that reads one fixed token and keeps the state."""
    return lambda state: [(token, state)]


def _addition(task: Any) -> Specification:
    """Columns from the least significant; the state is the sum of the column so far, then its
    carry.
    """
    from tinyadder.tasks.addition import DIGITS

    base, digits, width = task.base, task.digits, task.digits + task.padding
    answer = task.answer_length
    start = 1 + task.operands * (width + 1)

    def place(first: int, size: int, column: int) -> int:
        """The position of the digit of weight base^column in a number of `size` tokens from `first`
        on.
        """
        return first + (size - 1 - column if task.order == "most" else column)

    def operand(column: int, total: int) -> Iterable[tuple[str, State]]:
        return [(DIGITS[d], total + d) for d in range(base if column < digits else 1)]

    def written(total: int) -> Iterable[tuple[str, State]]:
        return [(DIGITS[total % base], total // base)]

    marks = [0, *(1 + k * (width + 1) + width for k in range(task.operands))]
    stages: list[tuple[int, Step]] = [
        (position, read("^" if position == 0 else "=" if position == start - 1 else "+"))
        for position in marks
    ]
    for column in range(max(width, answer)):
        if column < width:
            for k in range(task.operands):
                stages.append((place(1 + k * (width + 1), width, column), partial(operand, column)))
        if column < answer:
            stages.append((place(start, answer, column), written))

    def problem(text: Sequence[str]) -> Problem:
        numbers = "".join(text[1 : start - 1]).split("+")
        return tuple(int(n if task.order == "most" else n[::-1], base) for n in numbers)

    return relation(start, stages, 0, lambda carry: carry == 0, problem)


def _comparison(task: Any) -> Specification:
    """From the most significant digit; the state is the digit of a that waits, and which number is
    larger so far.
    """
    n = task.digits
    stages: list[tuple[int, Step]] = [(0, read("^")), (n + 1, read("?")), (2 * n + 2, read(":"))]
    for p in range(n):
        stages.append(
            (1 + p, lambda so: [(str(d), (so, d if so == "=" else 0)) for d in range(10)])
        )
        stages.append(
            (
                n + 2 + p,
                lambda at: [
                    (str(d), at[0] if at[0] != "=" else _sign(at[1], d)) for d in range(10)
                ],
            )
        )
    stages.append((2 * n + 3, lambda so: [(so, so)]))
    return relation(
        2 * n + 3, stages, "=", lambda so: True, lambda text: _pair(text[1 : 2 * n + 2], "?")
    )


def _sign(a: int, b: int) -> str:
    return "<" if a < b else ">" if a > b else "="


def _pair(text: Sequence[str], between: str) -> tuple[int, int]:
    a, _, b = "".join(text).partition(between)
    return int(a), int(b)


def _maximum(task: Any) -> Specification:
    """From the most significant digit; the state is which number is larger so far, and the digits
    of the column.
    """
    n = task.digits
    stages: list[tuple[int, Step]] = [(0, read("^")), (n + 1, read(",")), (2 * n + 2, read(":"))]

    def second(at: tuple[str, int]) -> Iterable[tuple[str, State]]:
        for d in range(10):
            so = at[0] if at[0] != "=" else _sign(at[1], d)
            yield str(d), (so, d if so == "<" else at[1])

    for p in range(n):
        stages.append((1 + p, lambda so: [(str(d), (so, d)) for d in range(10)]))
        stages.append((n + 2 + p, second))
        stages.append((2 * n + 3 + p, lambda at: [(str(at[1]), at[0])]))
    return relation(
        2 * n + 3, stages, "=", lambda so: True, lambda text: _pair(text[1 : 2 * n + 2], ",")
    )


def _modular_addition(task: Any) -> Specification:
    """The state is the sum so far, modulo the modulus."""
    p = task.modulus
    number: Step = lambda s: [(str(d), (s + d) % p) for d in range(p)]  # noqa: E731
    stages = [
        (0, read("^")),
        (1, number),
        (2, read("+")),
        (3, number),
        (4, read("=")),
        (5, lambda s: [(str(s), 0)]),
    ]
    return relation(5, stages, 0, lambda s: True, lambda text: (int(text[1]), int(text[3])))


def _words(
    task: Any, stages: Sequence[tuple[int, Step]], n: int, first: State = 0
) -> Specification:
    """`^ word = answer` for words of n letters, given the stages of the letters and the answer from
    `first` on.
    """
    marks = [(0, read("^")), (n + 1, read("="))]
    return relation(
        n + 2, [*marks, *stages], first, lambda s: True, lambda text: "".join(text[1 : n + 1])
    )


def _counting(task: Any, n: int) -> Specification:
    """The state is the number of 'a' so far."""
    letter: Step = lambda s: [(x, s + (x == "a")) for x in task.letters]  # noqa: E731
    return _words(task, [*((1 + p, letter) for p in range(n)), (n + 2, lambda s: [(str(s), 0)])], n)


def _parity(task: Any, n: int) -> Specification:
    """The state is the parity of the bits so far, written after every bit; without steps it is
    their number.
    """
    bit: Step = lambda s: [(str(b), s + b) for b in (0, 1)]  # noqa: E731
    said: Step = lambda s: [(str(s % 2), s % 2)]  # noqa: E731
    if not task.steps:
        return _words(task, [*((1 + p, bit) for p in range(n)), (n + 2, said)], n)
    return _words(task, [stage for p in range(n) for stage in ((1 + p, bit), (n + 2 + p, said))], n)


def _rewriting(task: Any, n: int) -> Specification:
    """Every letter and its copy one after the other; the state is the letter."""
    if task.how == "sort":
        return _sorting(task, n)
    letter: Step = lambda s: [(x, x) for x in task.letters]  # noqa: E731
    said: Step = lambda s: [(s, 0)]  # noqa: E731
    answer = range(n + 2, 2 * n + 2) if task.how == "copy" else range(2 * n + 1, n + 1, -1)
    return _words(
        task, [stage for p, at in enumerate(answer) for stage in ((1 + p, letter), (at, said))], n
    )


def _sorting(task: Any, n: int) -> Specification:
    """The state is the multiset of letters that are read and not yet written."""
    if (states := comb(n + len(task.letters) - 1, n)) > LARGEST:
        raise NoSpecification(
            f"sorting {n} digits needs {states:,} states, one for every multiset; at most"
            f" {LARGEST:,}"
        )
    letter: Step = lambda s: [(x, tuple(sorted((*s, x)))) for x in task.letters]  # noqa: E731
    least: Step = lambda s: [(s[0], s[1:])]  # noqa: E731
    return _words(
        task, [*((1 + p, letter) for p in range(n)), *((n + 2 + p, least) for p in range(n))], n, ()
    )


def _signed(n: int, sign: str) -> Iterable[tuple[str, State]]:
    return [(str(c), (sign, n * c)) for c in range(sign == "-", 10)]


def _derivative_coefficients(task: Any) -> Specification:
    """Slot by slot: sign and digit of c_n, then sign, tens and ones of n c_n; the state is what is
    left of it.
    """
    top = task.exponents
    start = 2 + 2 * (top + 1)
    stages: list[tuple[int, Step]] = [(0, read(":")), (start - 1, read("="))]
    for slot, n in enumerate(range(top, -1, -1)):
        stages.append((1 + 2 * slot, lambda _: [("+", "+"), ("-", "-")]))
        if not n:
            stages.append(
                (2 + 2 * slot, lambda sign: [(str(c), 0) for c in range(sign == "-", 10)])
            )
            continue
        stages.append((2 + 2 * slot, partial(_signed, n)))
        at = start + 3 * slot
        stages.append((at, lambda state: [state]))
        stages.append((at + 1, lambda value: [(str(value // 10), value % 10)]))
        stages.append((at + 2, lambda ones: [(str(ones), 0)]))

    def problem(text: Sequence[str]) -> Problem:
        return tuple(int(text[p] + text[p + 1]) for p in range(start - 3, 0, -2))

    return relation(start, stages, 0, lambda _: True, problem)


def _reckoning(task: Any, multiple: Callable[[int, int], int]) -> Specification:
    """`^ a . b = s` or `^ a = s`, by columns from the least significant: digits of a and b, then of
    s.

    The state is what carries, and b where b is one digit that multiplies. `multiple(b, d)` is what
    digit d of a adds.
    """
    width, answer = task.widths[0], task.answer_length
    two, single = len(task.widths) == 2, task.sign == "*"
    second = width + 2
    start = second + (task.widths[1] + 1 if two else 0)
    stages: list[tuple[int, Step]] = [(0, read("^")), (start - 1, read("="))]
    if two:
        stages.append((width + 1, read(task.sign)))
    if single:
        stages.append((second, lambda _: [(str(b), (b, 0)) for b in range(10)]))

    def digit_of_a(state: tuple[int, int]) -> Iterable[tuple[str, State]]:
        return [(str(d), (state[0], state[1] + multiple(state[0], d))) for d in range(10)]

    def digit_of_b(state: tuple[int, int]) -> Iterable[tuple[str, State]]:
        return [(str(d), (state[0], state[1] - d)) for d in range(10)]

    def written(state: tuple[int, int]) -> Iterable[tuple[str, State]]:
        return [(str(state[1] % 10), (state[0], state[1] // 10))]

    for column in range(max(width, answer)):
        if column < width:
            stages.append((width - column, digit_of_a))
        if two and not single:
            stages.append((second + width - 1 - column, digit_of_b))
        stages.append((start + answer - 1 - column, written))

    def problem(text: Sequence[str]) -> Problem:
        return tuple(int(n) for n in "".join(text[1 : start - 1]).split(task.sign or "="))

    return relation(start, stages, (0, 0), lambda state: state[1] == 0, problem)


def _subtraction(task: Any) -> Specification:
    return _reckoning(task, lambda _, digit: digit)


def _scaling(task: Any) -> Specification:
    return _reckoning(task, lambda _, digit: task.factor * digit)


def _multiplication(task: Any) -> Specification:
    if task.widths[1] != 1:
        raise NoSpecification(
            "columns of a product of two long numbers overlap; only n x 1 digit has a specification"
        )
    return _reckoning(task, lambda b, digit: b * digit)


def _conversion(task: Any) -> Specification:
    """Digits of both numbers by the size of their weights, largest first; the state is value read -
    value written.
    """
    n, answer = task.digits, task.answer_length
    if task.greatest > LARGEST**2:
        raise NoSpecification(
            f"conversion of numbers up to {task.greatest:,}: at most {LARGEST**2:,} has a few"
            " thousand states"
        )
    weights = [(task.radix ** (n - 1 - p), 1 + p, task.radix) for p in range(n)]
    weights += [(-(10 ** (answer - 1 - q)), n + 2 + q, 10) for q in range(answer)]
    weights.sort(key=lambda weight: -abs(weight[0]))
    stages: list[tuple[int, Step]] = [(0, read("^")), (n + 1, read("="))]
    for k, (weight, position, digits) in enumerate(weights):
        rest = [w * (d - 1) for w, _, d in weights[k + 1 :]]
        least, most = -sum(w for w in rest if w > 0), -sum(w for w in rest if w < 0)

        def digit(
            total: int,
            weight: int = weight,
            digits: int = digits,
            least: int = least,
            most: int = most,
        ) -> Iterable[tuple[str, State]]:
            after = ((str(d), total + weight * d) for d in range(digits))
            return [(token, total) for token, total in after if least <= total <= most]

        stages.append((position, digit))

    def problem(text: Sequence[str]) -> Problem:
        return (int("".join(text[1 : n + 1]), task.radix),)

    return relation(n + 2, stages, 0, lambda total: total == 0, problem)


def _dyck_validity(task: Any, n: int) -> Specification:
    """The state is the depth, and None from the first ')' on that closes nothing."""

    def letter(depth: int | None) -> Iterable[tuple[str, State]]:
        return [
            ("(", None if depth is None else depth + 1),
            (")", depth - 1 if depth else None),
        ]

    said: Step = lambda depth: [("y" if depth == 0 else "n", 0)]  # noqa: E731
    return _words(task, [*((1 + p, letter) for p in range(n)), (n + 2, said)], n)


def _dyck_completions(task: Any) -> list[Specification]:
    """By the length of the beginning and of its completion; the state is the stack of closers."""

    def letter(stack: tuple[str, ...]) -> Iterable[tuple[str, State]]:
        found: list[tuple[str, State]] = [(stack[-1], stack[:-1])] if stack else []
        if len(stack) < task.depth:
            pairs = zip(task.openers, task.closers, strict=True)
            found += [(opener, (*stack, closer)) for opener, closer in pairs]
        return found

    closing: Step = lambda stack: [(stack[-1], stack[:-1])] if stack else []  # noqa: E731
    ending: Step = lambda stack: [] if stack else [(task.end, ())]  # noqa: E731
    found = []
    for n in task.lengths:
        for opened in range(n % 2, min(n, task.depth) + 1, 2):
            stages: list[tuple[int, Step]] = [(0, read("^"))]
            stages += [(1 + p, letter) for p in range(n)]
            stages += [(n + 1 + p, closing) for p in range(opened)]
            stages.append((n + 1 + opened, ending))
            found.append(
                relation(
                    n + 1,
                    stages,
                    (),
                    lambda _: True,
                    lambda text, n=n: "".join(text[1 : n + 1]),  # type: ignore[misc]
                )
            )
    return found


def _recall(task: Any, n: int) -> Specification:
    """The state is the letters so far; behind the last, which was there before, the answer."""
    new: Step = lambda word: [(x, (*word, x)) for x in task.letters if x not in word]  # noqa: E731
    again: Step = lambda word: [  # noqa: E731
        (x, (*word, x)[place + 1]) for place, x in enumerate(word)
    ]
    stages: list[tuple[int, Step]] = [(0, read("^")), *((1 + p, new) for p in range(n - 1))]
    stages += [(n, again), (n + 1, lambda letter: [(letter, ())])]
    return relation(n + 1, stages, (), lambda _: True, lambda text: "".join(text[1 : n + 1]))


def _polynomial_value(task: Any) -> Specification:
    """The state is x and the value of the coefficients so far, then what is left to write."""
    degree, places = task.degree, task.answer_length
    stages: list[tuple[int, Step]] = [(0, read("^")), (2, read(":")), (degree + 4, read("="))]
    stages.append((1, lambda _: [(str(x), (x, 0)) for x in range(10)]))

    def coefficient(state: tuple[int, int]) -> list[tuple[str, tuple[int, int]]]:
        x, value = state
        return [(str(c), (x, value * x + c)) for c in range(10)]

    def last(state: tuple[int, int]) -> Iterable[tuple[str, State]]:
        return [(token, (0, value)) for token, (_, value) in coefficient(state)]

    def written(state: tuple[int, int], place: int) -> Iterable[tuple[str, State]]:
        digit, rest = divmod(state[1], 10**place)
        return [(str(digit), (0, rest))]

    stages += [*((3 + p, coefficient) for p in range(degree)), (3 + degree, last)]
    stages += [(degree + 5 + p, partial(written, place=places - 1 - p)) for p in range(places)]
    return relation(
        degree + 5,
        stages,
        (0, 0),
        lambda _: True,
        lambda text: text[1] + "".join(text[3 : degree + 4]),
    )


_ONE: dict[str, Callable[[Any], Specification]] = {
    "addition": _addition,
    "comparison": _comparison,
    "maximum": _maximum,
    "modular_addition": _modular_addition,
    "derivative_coefficients": _derivative_coefficients,
    "subtraction": _subtraction,
    "scaling": _scaling,
    "multiplication": _multiplication,
    "conversion": _conversion,
    "polynomial_value": _polynomial_value,
}
_WORDS: dict[str, Callable[[Any, int], Specification]] = {
    "counting": _counting,
    "parity": _parity,
    "rewriting": _rewriting,
    "dyck_validity": _dyck_validity,
    "recall": _recall,
}


def _table(task: Any) -> list[Specification]:
    """Words with a table of their answers, one specification for each length of word and answer.

    The state is what the word may still come to: the answers to all words that go on from here.
    """
    if task.positions:
        raise NoSpecification("a proof is about tasks with one answer, not one at every letter")
    if task.domain().size > WORDS:
        raise NoSpecification(
            f"{task.domain().size:,} words; a proof goes through a table of at most {WORDS:,}"
        )
    if not task.has_oracle:
        raise NoSpecification("the right answers are not known; give the task's file: --task FILE")
    before, after = task.form.split("{}")
    found = []
    for n in task.lengths:
        words = map("".join, product(task.letters, repeat=n))
        known = tuple(task.answer(word) for word in words)
        for size in sorted({len(answer) for answer in known}):
            found.append(_tabled(task, n, size, known, before, after))
    return found


def _tabled(
    task: Any, n: int, size: int, known: tuple[str, ...], before: str, after: str
) -> Specification:
    """The words of n letters whose answers, with the token that ends them, have `size` tokens."""

    def letter(state: State) -> Iterable[tuple[str, State]]:
        answers = cast("tuple[str, ...]", state)
        part = len(answers) // len(task.letters)
        for i, token in enumerate(task.letters):
            yield token, answers[i * part : (i + 1) * part]

    def answer(state: State) -> Iterable[tuple[str, State]]:
        [left] = cast("tuple[str]", state)
        return [(left[0], (left[1:],))] if left else []

    start = len(before) + n + len(after)
    stages: list[tuple[int, Step]] = [(p, read(token)) for p, token in enumerate(before)]
    stages += [(len(before) + p, letter) for p in range(n)]
    stages += [(start - len(after) + p, read(token)) for p, token in enumerate(after)]
    stages += [(start + p, answer) for p in range(size)]
    first = tuple(answer if len(answer) == size else "" for answer in known)
    return relation(
        start,
        stages,
        first,
        lambda state: state == ("",),
        lambda text: "".join(text[len(before) : len(before) + n]),
    )


def specifications(task: Task) -> list[Specification]:
    """The specifications of `task`, one for each length of its texts. Raises `NoSpecification`
    where there is none.
    """
    if task.name in _ONE:
        return [_ONE[task.name](task)]
    if task.name in _WORDS:
        return [_WORDS[task.name](task, n) for n in task.lengths]  # type: ignore[attr-defined]
    if task.name == "dyck_completion":
        return _dyck_completions(task)
    if task.name == "custom":
        return _table(task)
    known = ", ".join([*_ONE, *_WORDS, "dyck_completion", "custom"])
    raise NoSpecification(f"task '{task.name}' has no specification automaton (there are: {known})")
