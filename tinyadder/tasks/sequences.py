"""The task of a sequence program: given a text up to a position, what is the program's value there?

The program is data: a graph of nodes that this file evaluates by itself, apart from the front end
that wrote it. A program that looks ahead is asked in the last of `copies` + 1 copies of the text,
with a separator between them.

abca  ->  2                          copies = 0: the value at the last position
abca | ab  ->  1                     copies = 1: the value at the position of b
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from itertools import product
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw, Task

SEPARATOR = "|"
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "*": operator.mul,
    "%": operator.mod,
    "//": operator.floordiv,
    "minimum": min,
    "maximum": max,
    "&": lambda a, b: bool(a and b),
    "|": lambda a, b: bool(a or b),
    "~": lambda a: not a,
}
"""Functions that a node names; every other function is a table."""

Word = tuple[tuple[str, ...], int]
"""A problem: the tokens of the text, and the position that is asked about."""


# ---- the meaning of a graph ----------------------------------------------------------------------


def value_from_json(value: Any) -> Any:
    """Lists are tuples, and {"ratio": [a, b]} is the fraction a / b."""
    if isinstance(value, dict):
        return Fraction(*value["ratio"])
    return tuple(map(value_from_json, value)) if isinstance(value, list) else value


def value_to_json(value: Any) -> Any:
    """The inverse of `value_from_json`."""
    if isinstance(value, Fraction):
        return {"ratio": [value.numerator, value.denominator]}
    return [value_to_json(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=256)
def read_graph(text: str) -> dict[str, Any]:
    """The program with its tables as dictionaries. Raises `TinyadderError` where it is not such a
    graph.
    """
    try:
        graph = json.loads(text)
        for node in graph["nodes"]:
            if "table" in node:
                rows = [tuple(map(value_from_json, row)) for row in node["table"]]
                node["table"] = {row[:-1]: row[-1] for row in rows}
            for field in ("value", "default", "factors", "offset"):
                if field in node:
                    node[field] = value_from_json(node[field])
            if "pairs" in node:
                node["pairs"] = {tuple(map(value_from_json, pair)) for pair in node["pairs"]}
        for field in ("inputs", "outputs"):
            graph[field] = {value_from_json(value): name for value, name in graph[field]}
        return graph
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TinyadderError(
            f"the program of this task is not a graph of nodes: {error!r}"
        ) from error


def evaluate(graph: dict[str, Any], text: Sequence[Any]) -> list[Any]:
    """The program's value at every position of `text`."""
    columns: list[list[Any]] = []
    for node in graph["nodes"]:
        columns.append(_column(node, [columns[i] for i in node["inputs"]], text, graph["causal"]))
    return columns[graph["output"]]


def _column(
    node: dict[str, Any], inputs: list[list[Any]], text: Sequence[Any], causal: bool
) -> list[Any]:
    op, places = node["op"], range(len(text))
    if op == "tokens":
        return list(text)
    if op == "indices":
        return list(places)
    if op == "constant":
        return [node["value"] for _ in places]
    if op == "affine":
        return [None if None in row else _affine(node, row) for row in zip(*inputs, strict=True)]
    if op == "map":
        return [_mapped(node, row) for row in zip(*inputs, strict=True)]
    if op in ("relation", "both", "either", "except", "everywhere"):
        return _selector(node, inputs, causal, len(text))
    chosen = [[k for k in places if k in row] for row in inputs[0]]
    if op == "count":
        return [len(row) for row in chosen]
    return [_aggregated(op, [inputs[1][k] for k in row], node.get("default")) for row in chosen]


def _affine(node: dict[str, Any], row: Sequence[Any]) -> Any:
    return sum((f * v for f, v in zip(node["factors"], row, strict=True)), Fraction(node["offset"]))


def _mapped(node: dict[str, Any], row: Sequence[Any]) -> Any:
    if node.get("function") == "where":
        return None if row[0] is None else row[1] if row[0] else row[2]
    if "function" in node:
        return None if None in row else FUNCTIONS[node["function"]](*row)
    return node["table"].get(tuple(row))


def _selector(
    node: dict[str, Any], inputs: list[list[Any]], causal: bool, length: int
) -> list[Any]:
    op = node["op"]
    seen = [frozenset(range(here + 1 if causal else length)) for here in range(length)]
    if op == "everywhere":
        return list(seen)
    if op == "both":
        return [a & b for a, b in zip(*inputs, strict=True)]
    if op == "either":
        return [a | b for a, b in zip(*inputs, strict=True)]
    if op == "except":
        return [all_ - inner for all_, inner in zip(seen, inputs[0], strict=True)]
    keys, queries = inputs
    return [
        frozenset(k for k in seen[q] if _holds(node, keys[k], queries[q])) for q in range(length)
    ]


def _holds(node: dict[str, Any], there: Any, here: Any) -> bool:
    if "pairs" in node:
        return (there, here) in node["pairs"]
    if node["function"] in ("==", "!="):
        return (there == here) == (node["function"] == "==")
    return there is not None and here is not None and FUNCTIONS[node["function"]](there, here)


def _aggregated(op: str, chosen: list[Any], default: Any) -> Any:
    if op == "sum":
        return sum(chosen, Fraction(0))
    if not chosen:
        return default
    if op == "latest":
        return chosen[-1]
    if op == "earliest" or len(chosen) == 1:
        return chosen[0]
    if op == "pick":
        raise TinyadderError(f"`pick` selects {len(chosen)} positions")
    return sum(chosen, Fraction(0)) / len(chosen)


# ---- the task ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequences(Task):
    """`program` is the graph as JSON; texts have 1 to `length` tokens and are read `copies` times
    before the answer.
    """

    program: str
    length: Annotated[int, Between(1, 100_000)] = 10
    copies: Annotated[int, Between(0, 100)] = 0
    steps: Annotated[int, Between(0, 100_000)] = 0
    """The most tokens that a program writes after the start token; 0 where it answers in place."""

    def __post_init__(self) -> None:
        super().__post_init__()
        read_graph(self.program)

    @property
    def graph(self) -> dict[str, Any]:
        return read_graph(self.program)

    @property
    def letters(self) -> tuple[str, ...]:
        """The tokens a text is made of."""
        marks = (self.graph.get("start"), self.graph.get("end"))
        return tuple(name for name in self.graph["inputs"].values() if name not in marks)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        answers = self.graph["outputs"].values() or ["<number>"]
        middle = [SEPARATOR] if self.copies else []
        return tuple(dict.fromkeys([*self.graph["inputs"].values(), *middle, *answers]))

    @property
    def end(self) -> str | None:
        return self.graph.get("end")

    @property
    def answer_length(self) -> int:
        return max(1, self.steps)

    @property
    def joined(self) -> str:
        """What stands between tokens when they are written."""
        return (
            "" if all(len(letter) == 1 and not letter.isspace() for letter in self.letters) else " "
        )

    def values(self, problem: Word) -> list[Any]:
        """The program's value at every position of the problem's text."""
        back = {name: value for value, name in self.graph["inputs"].items()}
        return evaluate(self.graph, [back[token] for token in problem[0]])

    def prompt(self, problem: Word) -> tuple[str, ...]:
        text, position = problem
        if self.steps:
            return (*text, self.graph["start"])
        tokens: list[str] = []
        for _ in range(self.copies):
            tokens += [*text, SEPARATOR]
        return (*tokens, *text[: position + 1])

    def answer(self, problem: Word) -> tuple[str, ...]:
        names = self.graph["outputs"]
        if not names:
            raise TinyadderError(
                "this program answers with a number in the logit of <number>, not with a token: "
                "model.read(text) gives "
                "it; compile with fewer values for tokens"
            )
        if self.steps:
            return self._written(problem, names)
        return (names[self.values(problem)[problem[1]]],)

    def _written(self, problem: Word, names: dict[Any, str]) -> tuple[str, ...]:
        """What the program writes after the prompt, reading what it has written so far."""
        back = {name: value for value, name in self.graph["inputs"].items()}
        text = [back[token] for token in self.prompt(problem)]
        written: list[str] = []
        while len(written) < self.steps and (not written or written[-1] != self.end):
            value = evaluate(self.graph, text)[-1]
            written.append(names[value])
            text.append(back.get(names[value], value))
        return tuple(written)

    def check(self, problem: Any) -> Word:
        takes = (
            f"this task takes 1 to {self.length} of {' '.join(self.letters[:20])}, and a position"
        )
        try:
            word, position = problem
            word = tuple(word)
        except (TypeError, ValueError):
            raise TinyadderError(f"{problem!r} is not (tokens, position); {takes}") from None
        for place, token in enumerate(word, 1):
            if token not in self.letters:
                raise TinyadderError(f"token {place}: {token!r} is not allowed; {takes}")
        if not 1 <= len(word) <= self.length:
            raise TinyadderError(f"{len(word)} tokens; {takes}")
        last = len(word) - 1
        if not isinstance(position, int) or not (0 if self.copies else last) <= position <= last:
            asked = f"0 .. {last}" if self.copies else f"{last}, the last"
            raise TinyadderError(f"position {position}; of this text the task asks about {asked}")
        return word, position

    def parse(self, text: str) -> Word:
        """`abca`, or `abca@2` for the position 2; longer tokens are parted by blanks."""
        body, at, place = text.strip().rpartition("@")
        if not at or not place.isdigit():
            body, place = text.strip(), ""
        word = tuple(body.split() if self.joined else body)
        return self.check((word, int(place) if place else len(word) - 1))

    def show(self, problem: Word) -> str:
        text, position = problem
        return self.joined.join(text) + (f"@{position}" if self.copies else "")

    def show_answer(self, answer: Sequence[str]) -> str:
        return " ".join(answer)

    # ---- problems ----

    def _problem(self, random: Random, text: Sequence[str]) -> Word:
        return tuple(text), random.randrange(len(text)) if self.copies else len(text) - 1

    def uniform(self, random: Random, count: int) -> list[Word]:
        return [
            self._problem(random, random.choices(self.letters, k=random.randint(1, self.length)))
            for _ in range(count)
        ]

    def draws(self) -> list[Draw]:
        """In turn: any word, runs of few letters, a permutation of the letters, a short word
        repeated.
        """
        texts: tuple[Callable[[Random, int], list[str]], ...] = (
            lambda random, length: random.choices(self.letters, k=length),
            self._runs,
            lambda random, length: random.sample(self.letters, len(self.letters)),
            lambda random, length: random.choices(self.letters, k=random.randint(1, 4)) * length,
        )
        return [partial(self._drawn, text=text) for text in texts]

    def _drawn(self, random: Random, text: Callable[[Random, int], list[str]]) -> Word:
        length = random.randint(1, self.length) if random.random() < 0.6 else self.length
        return self._problem(random, text(random, length)[:length])

    def _runs(self, random: Random, length: int) -> list[str]:
        few = random.choices(self.letters, k=random.randint(1, 3))
        text: list[str] = []
        while len(text) < length:
            text += [random.choice(few)] * random.randint(1, 4)
        return text

    def hard(self) -> list[Word]:
        """All texts of one and two tokens (few letters), constant ones, and those with one other
        token at an end.
        """
        texts: list[tuple[str, ...]] = [(a,) for a in self.letters]
        if len(self.letters) <= 12 and self.length > 1:
            texts += list(product(self.letters, repeat=2))
        few = self.letters[:3] + self.letters[-1:]
        for length in {self.length, (self.length + 1) // 2}:
            for a, b in product(few, repeat=2):
                texts += [
                    (a,) * length,
                    ((b,) + (a,) * length)[:length],
                    (a,) * (length - 1) + (b,),
                ]
            texts.append((self.letters * length)[:length])
        asked = [
            (t, p)
            for t in dict.fromkeys(texts)
            for p in ({0, len(t) // 2, len(t) - 1} if self.copies else {len(t) - 1})
        ]
        return list(dict.fromkeys(asked))

    def simpler(self, problem: Word) -> list[Word]:
        """One token less, or one token nearer to the first of the alphabet."""
        text, position = problem
        rank = {letter: i for i, letter in enumerate(self.letters)}
        problems = [
            ((*text[:i], *text[i + 1 :]), position - (i < position)) for i in range(len(text))
        ]
        problems = [(t, p if self.copies else len(t) - 1) for t, p in problems if t and p < len(t)]
        for i, letter in enumerate(text):
            problems += [
                ((*text[:i], other, *text[i + 1 :]), position)
                for other in self.letters[: rank[letter]]
            ]
        return sorted(set(problems), key=lambda w: (len(w[0]), [rank[t] for t in w[0]], w[1]))

    def domain(self, **limits: int) -> Domain:
        """Every text of at most `length` tokens and, where copies are read, every position;
        shorter ones first.
        """
        length = limits.pop("length", self.length)
        if limits or not 1 <= length <= self.length:
            given = f"length={length}" if not limits else f"'{next(iter(limits))}'"
            raise TinyadderError(
                f"the domain of this task takes length=1 .. {self.length}; {given} was given"
            )
        base = len(self.letters)
        counts = [base**n * (n if self.copies else 1) for n in range(1, length + 1)]

        def problem(index: int) -> Word:
            for n, count in enumerate(counts, 1):
                if index < count:
                    number, position = divmod(index, n) if self.copies else (index, n - 1)
                    return tuple(
                        self.letters[number // base**i % base] for i in reversed(range(n))
                    ), position
                index -= count
            raise IndexError(index)

        asked = ", at every position" if self.copies else ""
        return Domain(f"texts of at most {length} of {base} tokens{asked}", sum(counts), problem)


TASK = Sequences
