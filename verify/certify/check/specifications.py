"""The tasks as automata: every text (prompt and right answer) of a task is one path, every path is
one text.

These tables are to be read against the grammar of each task. A specification is (length of the
prompt, stages); a stage is (position in the text, step), and a step gives for a state the tokens
that may stand there, each with the next state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import gcd
from string import ascii_lowercase
from typing import Any

from tinyadder.verify.certify.check.intervals import need

Moves = list[tuple[int, int, str]]
Step = Callable[[Any], Iterable[tuple[str, Any]]]
Automaton = tuple[int, list[tuple[int, Moves]]]
DIGITS = "0123456789"
SYMBOLS = DIGITS + ascii_lowercase
LARGEST = 1 << 21
"""Moves of one stage."""

TASKS: dict[str, tuple[dict[str, Any], Callable, Callable]] = {}
"""Name -> (what each option may be, its vocabulary, its specifications)."""


def task(vocabulary: Callable[..., Iterable[str]], **options: range | tuple) -> Callable:
    """A function of the options that gives the specifications, one for each length of the texts."""

    def known(function: Callable) -> Callable:
        TASKS[function.__name__] = options, vocabulary, function
        return function

    return known


def specify(task: Any) -> tuple[list[str], list[Automaton]]:
    """Vocabulary and specifications of `{"name": .., "options": ..}`.

    Every option has its type and lies in its range: True is not 1, and "False" neither.
    """
    need(type(task) is dict and set(task) == {"name", "options"}, "the task is not described")
    name, options = task["name"], task["options"]
    need(type(name) is str and name in TASKS, f"no specification of task {name!r:.60}")
    allowed, vocabulary, function = TASKS[name]
    fits = type(options) is dict and set(options) == set(allowed)
    need(fits, f"task {name}: the options are {[*allowed]}")
    for option, choices in allowed.items():
        given = options[option]
        fits = type(given) is type(choices[0]) and given in choices
        need(fits, f"task {name}: {option}={given!r:.60} is not possible")
    return [*vocabulary(**options)], function(**options)


def automaton(
    start: int, stages: Sequence[tuple[int, Step]], first: Any, accept: Callable = lambda _: True
):
    """(start, [(position, [(from, to, token)])]): moves on accepted paths, states numbered by first
    use, from 0.
    """
    layers, reached = [], {first}
    for _, step in stages:
        layers.append({(state, token): after for state in reached for token, after in step(state)})
        need(len(layers[-1]) <= LARGEST, "the specification has too many moves")
        reached = set(layers[-1].values())
    alive = {state for state in reached if accept(state)}
    for t in reversed(range(len(layers))):
        layers[t] = {move: after for move, after in layers[t].items() if after in alive}
        alive = {state for state, _ in layers[t]}
    numbers, found = {first: 0}, []
    for (position, _), moves in zip(stages, layers, strict=True):
        after: dict[Any, int] = {}
        ordered = sorted((numbers[state], token, to) for (state, token), to in moves.items())
        found.append(
            (position, [(s, after.setdefault(to, len(after)), token) for s, token, to in ordered])
        )
        numbers = after
    return start, found


def count(stages: list[tuple[int, Moves]]) -> int:
    """The number of paths."""
    ways = {0: 1}
    for _, moves in stages:
        after: dict[int, int] = {}
        for s, to, _ in moves:
            after[to] = after.get(to, 0) + ways[s]
        ways = after
    return sum(ways.values())


def step(
    tokens: Callable[[Any], Iterable[str]] | str, after: Callable[[Any, str], Any] = lambda s, _: s
) -> Step:
    """`tokens` may stand here, in some state or in all; `after` gives the next state, the same if
    not given.
    """
    return lambda s: [(t, after(s, t)) for t in (tokens if isinstance(tokens, str) else tokens(s))]


def marks(text: str, *positions: int) -> list[tuple[int, Step]]:
    """Fixed tokens, one a position."""
    return [(p, step(mark)) for p, mark in zip(positions, text, strict=True)]


# ---- linear equations between numbers ------------------------------------------------------------


def linear(
    start: int, fixed: list[tuple[int, Step]], weights: Sequence[tuple[int, int, int]]
) -> Automaton:
    """Texts with sum of weight * digit = 0; `weights` lists (position, weight, number of digits).
    The state is the sum.

    It is kept if the digits to come can make it zero: it is a multiple of their common divisor and
    within reach.
    """
    stages = list(fixed)
    for n, (position, weight, choices) in enumerate(weights):
        rest = [(w, c - 1) for _, w, c in weights[n + 1 :]]
        grid = gcd(*(w for w, _ in rest)) if rest else 0
        least, most = sum(min(0, w * c) for w, c in rest), sum(max(0, w * c) for w, c in rest)

        def digit(s, weight=weight, choices=choices, grid=grid, least=least, most=most):
            sums = ((SYMBOLS[d], s + weight * d) for d in range(choices))
            return [
                (t, s)
                for t, s in sums
                if (s % grid == 0 if grid else s == 0) and least <= -s <= most
            ]

        stages.append((position, digit))
    return automaton(start, stages, 0, lambda s: s == 0)


@task(
    lambda base, **_: (*SYMBOLS[:base], *"=^$+"),
    digits=range(1, 1001),
    base=range(2, 37),
    order=("most", "least"),
    operands=range(2, 101),
    padding=range(1001),
)
def addition(digits: int, base: int, order: str, operands: int, padding: int) -> list[Automaton]:
    """^ a + b = s: the operands minus the answer is zero, padding zeros before (or after) the
    digits.
    """
    width, answer = digits + padding, 1
    while base**answer <= operands * (base**digits - 1):
        answer += 1
    start, weights = 1 + operands * (width + 1), []
    for column in range(max(width, answer)):
        for k in range(operands + 1):
            length = width if k < operands else answer
            if column < length:
                at = 1 + k * (width + 1) + (length - 1 - column if order == "most" else column)
                choices = base if column < digits or k == operands else 1
                weights.append((at, base**column * (1 if k < operands else -1), choices))
    plus = range(width + 1, start - 1, width + 1)
    return [linear(start, marks("^" + "+" * len(plus) + "=", 0, *plus, start - 1), weights)]


@task(lambda **_: DIGITS + "=^$-", digits=range(1, 101))
def subtraction(digits: int) -> list[Automaton]:
    """^ a - b = s: a - b - s = 0, so a >= b."""
    lasts = ((digits, 1), (2 * digits + 1, -1), (3 * digits + 2, -1))
    weights = [
        (last - column, sign * 10**column, 10) for column in range(digits) for last, sign in lasts
    ]
    return [linear(2 * digits + 3, marks("^=-", 0, 2 * digits + 2, digits + 1), weights)]


@task(lambda **_: DIGITS + "=^$", digits=range(1, 101), factor=range(1, 10**6 + 1))
def scaling(digits: int, factor: int) -> list[Automaton]:
    """^ a = s: factor * a - s = 0."""
    answer, weights = len(str(factor * (10**digits - 1))), []
    for column in range(answer):
        weights += [(digits - column, factor * 10**column, 10)] if column < digits else []
        weights.append((digits + 1 + answer - column, -(10**column), 10))
    return [linear(digits + 2, marks("^=", 0, digits + 1), weights)]


@task(lambda **_: DIGITS + "=^$", digits=range(1, 401), radix=range(2, 10))
def conversion(digits: int, radix: int) -> list[Automaton]:
    """^ a = s, a in base `radix`: a - s = 0, large weights first, so that few sums are within
    reach.
    """
    answer = len(str(radix**digits - 1))
    weights = [(1 + p, radix ** (digits - 1 - p), radix) for p in range(digits)]
    weights += [(digits + 1 + answer - column, -(10**column), 10) for column in range(answer)]
    weights.sort(key=lambda weight: -abs(weight[1]))
    return [linear(digits + 2, marks("^=", 0, digits + 1), weights)]


# ---- states of their own -------------------------------------------------------------------------


@task(lambda **_: DIGITS + "=^$*", digits=range(1, 101), second=range(101))
def multiplication(digits: int, second: int) -> list[Automaton]:
    """^ a * b = s with one digit b: the state is b, and the carry into the column."""
    need(
        (second or digits) == 1, "this checker has no specification of products of two long numbers"
    )
    stages = marks("^=*", 0, digits + 3, digits + 1)
    stages.append((digits + 2, step(DIGITS, lambda _, t: (int(t), 0))))
    for column in range(digits + 1):
        digit = step(DIGITS, lambda s, t: (s[0], s[1] + s[0] * int(t)))
        stages += [(digits - column, digit)] if column < digits else []
        stages.append(
            (
                2 * digits + 4 - column,
                step(lambda s: str(s[1] % 10), lambda s, _: (s[0], s[1] // 10)),
            )
        )
    return [automaton(digits + 4, stages, (0, 0), lambda s: s[1] == 0)]


def larger(so_far: str, a: str, b: str) -> str:
    """Which of two numbers is larger: '<' the second; decided by the first digits that differ."""
    return so_far if so_far != "=" else "<" if a < b else ">" if a > b else "="


@task(lambda **_: "<=>" + DIGITS + "?:^", digits=range(1, 101))
def comparison(digits: int) -> list[Automaton]:
    """^ a ? b : sign, from the most significant digit; the state is the sign so far, and a digit of
    a if it matters.
    """
    stages = marks("^?:", 0, digits + 1, 2 * digits + 2)
    for p in range(digits):
        stages.append((1 + p, step(DIGITS, lambda s, a: (s[0], a if s[0] == "=" else ""))))
        stages.append((digits + 2 + p, step(DIGITS, lambda s, b: (larger(s[0], s[1], b), ""))))
    stages.append((2 * digits + 3, step(lambda s: s[0])))
    return [automaton(2 * digits + 3, stages, ("=", ""))]


@task(lambda **_: DIGITS + ",:^", digits=range(1, 101))
def maximum(digits: int) -> list[Automaton]:
    """^ a , b : the larger; the state is the sign so far, and the digit of a, then of the
    larger.
    """
    stages = marks("^,:", 0, digits + 1, 2 * digits + 2)
    for p in range(digits):
        stages.append((1 + p, step(DIGITS, lambda s, a: (s[0], a))))
        stages.append(
            (
                digits + 2 + p,
                step(DIGITS, lambda s, b: (c := larger(s[0], s[1], b), b if c == "<" else s[1])),
            )
        )
        stages.append((2 * digits + 3 + p, step(lambda s: s[1], lambda s, _: (s[0], ""))))
    return [automaton(2 * digits + 3, stages, ("=", ""))]


@task(lambda modulus: (*map(str, range(modulus)), *"+=^"), modulus=range(2, 1001))
def modular_addition(modulus: int) -> list[Automaton]:
    """^ a + b = s, each one token; the state is the sum."""
    number = step(lambda _: [str(r) for r in range(modulus)], lambda s, t: (s + int(t)) % modulus)
    said = step(lambda s: [str(s)], lambda s, t: 0)
    return [
        automaton(
            5,
            [*marks("^", 0), (1, number), *marks("+", 2), (3, number), *marks("=", 4), (5, said)],
            0,
        )
    ]


def word(length: int, stages: list[tuple[int, Step]], first: Any) -> Automaton:
    """^ word = answer."""
    return automaton(length + 2, [*marks("^=", 0, length + 1), *stages], first)


@task(
    lambda letters_used, **_: DIGITS + ascii_lowercase[:letters_used] + "=^",
    length=range(1, 10),
    letters_used=range(2, 27),
)
def counting(length: int, letters_used: int) -> list[Automaton]:
    """The number of 'a' in words of at most `length` letters: one token."""
    letter = step(ascii_lowercase[:letters_used], lambda s, t: s + (t == "a"))
    said = step(lambda s: [str(s)], lambda s, t: 0)
    return [
        word(n, [*((p, letter) for p in range(1, n + 1)), (n + 2, said)], 0)
        for n in range(1, length + 1)
    ]


@task(lambda **_: "01=^", length=range(1, 10_001), steps=(True, False))
def parity(length: int, steps: bool) -> list[Automaton]:
    """Bits, then their parity; with steps that of every beginning."""
    bit, said = step("01", lambda s, t: s + int(t)), step(lambda s: str(s % 2), lambda s, _: s % 2)
    if steps:
        return [
            word(
                length,
                [x for p in range(1, length + 1) for x in ((p, bit), (length + 1 + p, said))],
                0,
            )
        ]
    return [word(length, [*((p, bit) for p in range(1, length + 1)), (length + 2, said)], 0)]


@task(lambda **_: DIGITS + "=^", length=range(1, 101), how=("copy", "reverse", "sort"))
def rewriting(length: int, how: str) -> list[Automaton]:
    """Copy or reverse: every digit and its copy one after the other; the state is what is read and
    not yet written.

    Sorted: all digits first, then the least of them again and again.
    """
    if how == "sort":
        insert = step(DIGITS, lambda s, t: "".join(sorted(s + t)))
        least = step(lambda s: s[0], lambda s, t: s[1:])
        positions = range(1, length + 1)
        return [
            word(
                length,
                [*((p, insert) for p in positions), *((length + 1 + p, least) for p in positions)],
                "",
            )
        ]
    digit, copy, stages = step(DIGITS, lambda s, t: t), step(lambda s: s, lambda s, t: ""), []
    for p in range(1, length + 1):
        stages += [(p, digit), (length + 1 + p if how == "copy" else 2 * length + 2 - p, copy)]
    return [word(length, stages, "")]


@task(lambda **_: DIGITS + "=:+-", exponents=range(1, 10))
def derivative_coefficients(exponents: int) -> list[Automaton]:
    """: s c s c .. = then s t o for every n c_n, n = exponents .. 1; the state is what is left to
    write.
    """
    start = 2 * exponents + 4
    stages = marks(":=", 0, start - 1)
    for slot in range(exponents + 1):
        n = exponents - slot
        term = {t: f"{n * int(t):02}" if n else "" for t in DIGITS}

        def said(state: str, t: str, term: dict[str, str] = term) -> str:
            return state + term[t] if term[t] else ""

        stages.append((1 + 2 * slot, step("+-", lambda _, t: t)))
        stages.append((2 + 2 * slot, step(lambda s: DIGITS[s == "-" :], said)))
        if n:
            stages += [
                (start + 3 * slot + k, step(lambda s: s[0], lambda s, t: s[1:])) for k in range(3)
            ]
    return [automaton(start, stages, "")]


@task(lambda **_: "yn()=^", length=range(1, 1001))
def dyck_validity(length: int) -> list[Automaton]:
    """Parentheses, then y if they are balanced: the state is how many are open, -1 if one closed
    nothing.
    """
    letter = step("()", lambda s, t: s if s < 0 else s + 1 if t == "(" else s - 1)
    said = step(lambda s: "n" if s else "y", lambda s, t: 0)
    return [
        word(n, [*((p, letter) for p in range(1, n + 1)), (n + 2, said)], 0)
        for n in range(1, length + 1)
    ]


@task(
    lambda kinds, **_: ")]}>"[:kinds] + "$" + "([{<"[:kinds] + "^",
    kinds=range(1, 5),
    length=range(1, 1001),
    depth=range(1, 1001),
)
def dyck_completion(kinds: int, length: int, depth: int) -> list[Automaton]:
    """^ beginning, then what closes it, then $; the state is what closes it, innermost last. One
    specification for each length of the beginning, and how many brackets are open after it.
    """
    need(depth <= length, "more brackets may be open than there are")
    closer = dict(zip("([{<"[:kinds], ")]}>", strict=False))

    def may_stand(s: str) -> str:
        return ("".join(closer) if len(s) < depth else "") + s[-1:]

    letter = step(may_stand, lambda s, t: s + closer[t] if t in closer else s[:-1])
    close, end = step(lambda s: s[-1:], lambda s, t: s[:-1]), step(lambda s: "" if s else "$")
    return [
        automaton(
            n + 1,
            [
                *marks("^", 0),
                *((p, letter) for p in range(1, n + 1)),
                *((p, close) for p in range(n + 1, n + opened + 1)),
                (n + opened + 1, end),
            ],
            "",
        )
        for n in range(1, length + 1)
        for opened in range(n % 2, min(n, depth) + 1, 2)
    ]


@task(lambda alphabet: ascii_lowercase[:alphabet] + "^", alphabet=range(2, 27))
def recall(alphabet: int) -> list[Automaton]:
    """^ different letters, one of them again, and what followed it; the state is the letters, then
    the answer.
    """
    letters = ascii_lowercase[:alphabet]
    new = step(lambda s: [x for x in letters if x not in s], lambda s, t: s + t)
    again = step(lambda s: s, lambda s, t: (s + t)[s.index(t) + 1])
    return [
        automaton(
            n + 1,
            [
                *marks("^", 0),
                *((p, new) for p in range(1, n)),
                (n, again),
                (n + 1, step(lambda s: s, lambda s, t: "")),
            ],
            "",
        )
        for n in range(2, alphabet + 2)
    ]


@task(lambda **_: DIGITS + ":=^", degree=range(1, 10))
def polynomial_value(degree: int) -> list[Automaton]:
    """^ x : coefficients = value; the state is x and the value so far, then what is left to write
    of it.
    """
    start, places = degree + 5, len(str(sum(9 ** (k + 1) for k in range(degree + 1))))
    horner = step(DIGITS, lambda s, t: (s[0], s[0] * s[1] + int(t)))
    last = step(DIGITS, lambda s, t: f"{s[0] * s[1] + int(t):0{places}}")
    said = step(lambda s: s[0], lambda s, t: s[1:])
    return [
        automaton(
            start,
            [
                *marks("^:=", 0, 2, start - 1),
                (1, step(DIGITS, lambda s, t: (int(t), 0))),
                *((3 + p, horner) for p in range(degree)),
                (3 + degree, last),
                *((start + p, said) for p in range(places)),
            ],
            "",
        )
    ]
