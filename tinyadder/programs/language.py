"""Sequence programs as values: tokens, positions, maps, selectors and what is read through them.

A program gives one value a position. Nothing here knows of lanes or weights: `program("hello")`
evaluates it in plain
Python (`meaning.py`), `compile` makes a transformer of it (`lower.py`), and the two are compared by
the verifier.

>>> x, i = tokens("abc"), indices()
>>> hist = (key(x) == x).count()
>>> hist("abcab")
[2, 2, 1, 2, 2]
>>> hist
count(key(x) == x)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from tinyadder.errors import TinyadderError
from tinyadder.programs.functions import (
    BOTH,
    CHOICE,
    EITHER,
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LARGER,
    LESS,
    LESS_EQUAL,
    MIRRORED,
    NEITHER,
    QUOTIENT,
    REMAINDER,
    SMALLER,
    TIMES,
    UNEQUAL,
    Function,
    Value,
    is_number,
    rational,
    table_function,
)
from tinyadder.programs.meaning import evaluate

AGGREGATES = ("count", "sum", "mean", "pick", "latest", "earliest")


# ---- sequences -----------------------------------------------------------------------------------

_nodes: WeakValueDictionary[tuple, Seq] = WeakValueDictionary()


class Seq:
    """One value a position. Immutable; equal programs are the same object.

    `op` is tokens, indices, constant, affine, map or one of AGGREGATES; `args` are the sequences it
    is made of,
    `data` what else it needs: the vocabulary, the constant, (factors, offset), the function,
    (selector, default).
    """

    op: str
    args: tuple[Seq, ...]
    data: Any
    __array_ufunc__ = None

    def __new__(cls, op: str, args: Sequence[Seq] = (), data: Any = None) -> Seq:
        marked = (data, type(data)) if op == "constant" else data
        name = (op, tuple(id(a) for a in args), marked)
        found = _nodes.get(name)
        if found is None:
            found = object.__new__(cls)
            found.op, found.args, found.data = op, tuple(args), data
            _nodes[name] = found
        return found

    # ---- operators ----

    def __add__(self, other: Any) -> Seq:
        return combine([(1, self), (1, other)])

    def __sub__(self, other: Any) -> Seq:
        return combine([(1, self), (-1, other)])

    def __rsub__(self, other: Any) -> Seq:
        return combine([(-1, self), (1, other)])

    def __neg__(self) -> Seq:
        return combine([(-1, self)])

    def __mul__(self, other: Any) -> Seq:
        if isinstance(other, int | float | Fraction):
            return combine([(rational(other), self)])
        return lift(TIMES, self, other)

    def __truediv__(self, other: Any) -> Seq:
        if isinstance(other, int | float | Fraction) and other != 0:
            return combine([(1 / Fraction(rational(other)), self)])
        raise TinyadderError(
            f"{self} / {other}: divide by a number that is not 0, or write lift(f, a, b)"
        )

    def __mod__(self, other: Any) -> Seq:
        return lift(REMAINDER, self, other)

    def __floordiv__(self, other: Any) -> Seq:
        return lift(QUOTIENT, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def _compare(self, other: Any, function: Function) -> Any:
        if isinstance(other, Key):
            return other._relate(self, MIRRORED[function])
        return lift(function, self, other)

    def __eq__(self, other: object) -> Any:
        return self._compare(other, EQUAL)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, UNEQUAL)

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, LESS)

    def __le__(self, other: Any) -> Any:
        return self._compare(other, LESS_EQUAL)

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, GREATER)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, GREATER_EQUAL)

    def __and__(self, other: Any) -> Seq:
        return lift(BOTH, self, other)

    def __or__(self, other: Any) -> Seq:
        return lift(EITHER, self, other)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Seq:
        return lift(NEITHER, self)

    def __hash__(self) -> int:
        return id(self) >> 4

    def __bool__(self) -> NoReturn:
        raise TinyadderError(
            f"{self} has one value a position, so it is neither true nor false: write & | ~ and "
            "where(c, a, b) "
            "in the place of and, or, not, if; and a < b < c as (a < b) & (b < c)"
        )

    def __iter__(self) -> NoReturn:
        raise TinyadderError(
            f"{self} has no fixed length to loop over; a selector reaches other positions"
        )

    def map(self, function: Callable[[Any], Any] | dict) -> Seq:
        """`function` of the value at each position: any Python function, or a table (a value it
        lacks cannot occur).
        """
        return lift(function, self)

    def __call__(self, text: Iterable[Any], *, causal: bool = False) -> list[Value]:
        """What the program means: its value at every position of `text`, in plain Python.

        With `causal` every selector sees positions up to its own only. Raises `TinyadderError` for
        a token that is
        not in the vocabulary, or a single `pick` that selects several positions.
        """
        return evaluate(walk(self), list(text), causal=causal)

    def __repr__(self) -> str:
        return show(self)

    @property
    def vocabulary(self) -> tuple[Value, ...]:
        """The tokens that the program reads, of all its `tokens(...)`."""
        found = dict.fromkeys(t for node in walk(self) if node.op == "tokens" for t in node.data)
        return tuple(found)


def tokens(vocabulary: Iterable[Any]) -> Seq:
    """The token at each position. `vocabulary` lists all that can occur: a string of letters, a
    range, a list.
    """
    listed = tuple(rational(token) for token in vocabulary)
    if not listed or len(set(listed)) != len(listed) or None in listed:
        raise TinyadderError(
            f"tokens({list(vocabulary)!r}): give at least one token, each once, none of them None"
        )
    return Seq("tokens", (), listed)


def indices() -> Seq:
    """The position itself: 0, 1, 2, ..."""
    return Seq("indices")


def constant(value: Any) -> Seq:
    """The same value everywhere; numbers and strings beside a sequence become one by themselves."""
    value = rational(value)
    try:
        hash(value)
    except TypeError:
        raise TinyadderError(
            f"{value!r} cannot be a value of a program; values are numbers, strings, tuples"
        ) from None
    return Seq("constant", (), value)


def sequence(value: Any) -> Seq:
    """A sequence as it is, a plain value as a constant. Raises `TinyadderError` for selectors and
    half a comparison.
    """
    if isinstance(value, Seq):
        return value
    if isinstance(value, Key):
        raise TinyadderError(
            f"{value} stands for the attended position; compare it: {value} == ..., and select by "
            "it"
        )
    if isinstance(value, Selector):
        raise TinyadderError(
            f"{value} is a selector, not a sequence: .count(), .sum(v), .mean(v), .pick(v) read it"
        )
    if callable(value):
        raise TinyadderError(
            f"{value!r} is a function; write x.map(f), or lift(f, a, b) for several sequences"
        )
    return constant(value)


def combine(terms: Iterable[tuple[Any, Any]], offset: Any = 0) -> Seq:
    """sum of factor * sequence + offset, exactly; an affine combination costs no unit."""
    factors: dict[Seq, Fraction] = {}
    total = Fraction(offset)
    for factor, term in terms:
        node = sequence(term)
        factor = Fraction(factor)
        parts = (
            zip(node.args, node.data[0], strict=True)
            if node.op == "affine"
            else [(node, Fraction(1))]
        )
        if node.op == "constant":
            if not is_number(node.data):
                raise TinyadderError(
                    f"{node.data!r} is not a number, so it cannot be added or scaled; use map or "
                    "lift"
                )
            total += factor * node.data
            continue
        for part, inner in parts:
            factors[part] = factors.get(part, Fraction(0)) + factor * inner
        if node.op == "affine":
            total += factor * node.data[1]
    kept = {node: factor for node, factor in factors.items() if factor}
    if not kept:
        return constant(rational(total))
    if list(kept.values()) == [1] and not total:
        return next(iter(kept))
    return Seq("affine", tuple(kept), (tuple(kept.values()), total))


def lift(function: Callable[..., Any] | dict | Function, *arguments: Any) -> Seq:
    """`function` of the values of several sequences, position by position: tabulated over what can
    occur.

    None in, None out: where one of the arguments has no value, the result has none.
    """
    if isinstance(function, dict):
        function = table_function({(rational(k),): rational(v) for k, v in function.items()})
    if not isinstance(function, Function):
        if not callable(function):
            raise TinyadderError(
                f"lift({function!r}, ...): the first argument is a function or a table (a dict)"
            )
        name = getattr(function, "__name__", "f")
        function = _functions.setdefault(
            function, Function(function, "f" if name == "<lambda>" else name)
        )
    args = [sequence(a) for a in arguments]
    if args and all(a.op == "constant" for a in args):
        return constant(function(*(a.data for a in args)))
    return Seq("map", args, function)


_functions: dict[Any, Function] = {}


def where(condition: Any, then: Any, otherwise: Any) -> Seq:
    """`then` where the condition holds, `otherwise` elsewhere."""
    return lift(CHOICE, condition, then, otherwise)


def minimum(a: Any, b: Any) -> Seq:
    """The smaller of the two, position by position."""
    return lift(SMALLER, a, b)


def maximum(a: Any, b: Any) -> Seq:
    """The larger of the two, position by position."""
    return lift(LARGER, a, b)


# ---- selectors -----------------------------------------------------------------------------------


class Key:
    """A sequence at the attended position, half of a comparison: `key(x) == y` selects where x
    there is y here.
    """

    def __init__(self, inner: Seq) -> None:
        self.inner = inner

    def _relate(self, other: Any, function: Function) -> Relation:
        if isinstance(other, Key):
            raise TinyadderError(
                f"{self} {function.name} {other}: both sides are at the attended position; "
                "compare inside: "
                f"key({self.inner} {function.name} {other.inner}) == True"
            )
        return Relation(self.inner, sequence(other), function)

    def __eq__(self, other: object) -> Any:
        return self._relate(other, EQUAL)

    def __ne__(self, other: object) -> Any:
        return self._relate(other, UNEQUAL)

    def __lt__(self, other: Any) -> Relation:
        return self._relate(other, LESS)

    def __le__(self, other: Any) -> Relation:
        return self._relate(other, LESS_EQUAL)

    def __gt__(self, other: Any) -> Relation:
        return self._relate(other, GREATER)

    def __ge__(self, other: Any) -> Relation:
        return self._relate(other, GREATER_EQUAL)

    def related(self, query: Any, function: Callable[[Any, Any], bool]) -> Relation:
        """Selects where `function(value there, value here)` is true: any relation."""
        made = _functions.setdefault(
            function, Function(function, getattr(function, "__name__", "f"), lazy=True)
        )
        return Relation(self.inner, sequence(query), made)

    def __hash__(self) -> int:
        return hash(("key", self.inner))

    def __bool__(self) -> NoReturn:
        raise TinyadderError(f"{self} alone selects nothing; compare it: {self} == True")

    def __repr__(self) -> str:
        return f"key({_bare(show(self.inner))})"


def key(value: Any) -> Key:
    """The value at the position that is looked at, to be compared with a value here."""
    return Key(sequence(value))


class Selector(ABC):
    """For each position, a set of positions. Selectors join by & | ~; reading one gives a
    sequence.
    """

    def __and__(self, other: Any) -> Selector:
        return Both(self, _selector(other))

    def __or__(self, other: Any) -> Selector:
        return Either(self, _selector(other))

    def __invert__(self) -> Selector:
        return Except(self)

    def __bool__(self) -> NoReturn:
        raise TinyadderError(
            f"{self} selects positions; join selectors by & | ~, not by and, or, not, and split a "
            "< b < c in two"
        )

    @abstractmethod
    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        """Whether position `there` is selected from `here`, where `columns` holds the value of
        every sequence at every position.
        """

    def count(self) -> Seq:
        """How many positions are selected."""
        return Seq("count", (), (self, 0))

    def sum(self, value: Any) -> Seq:
        """The sum of the selected values; 0 where none is selected."""
        return Seq("sum", (sequence(value),), (self, 0))

    def mean(self, value: Any, default: Any = 0) -> Seq:
        """The mean of the selected values, `default` where none is selected. A single value is
        itself, of any kind.
        """
        return Seq("mean", (sequence(value),), (self, rational(default)))

    def pick(self, value: Any, default: Any = None) -> Seq:
        """The value at the one selected position, `default` where none is; to select several is
        an error.
        """
        return Seq("pick", (sequence(value),), (self, rational(default)))

    def latest(self, value: Any, default: Any = None) -> Seq:
        """The value at the last of the selected positions, `default` where none is selected."""
        return Seq("latest", (sequence(value),), (self, rational(default)))

    def earliest(self, value: Any, default: Any = None) -> Seq:
        """The value at the first of the selected positions, `default` where none is selected."""
        return Seq("earliest", (sequence(value),), (self, rational(default)))


def _selector(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value
    raise TinyadderError(
        f"{value!r} is not a selector; compare the attended position with this one, as in key(x) "
        "== x, or a condition "
        "of this position only with everywhere: key(constant) ... is never needed, where(c, a, b) "
        "is"
    )


_relations: WeakValueDictionary[tuple, Selector] = WeakValueDictionary()


class Relation(Selector):
    """key(x) ? y: selects the positions where `function(x there, y here)` is true."""

    key: Seq
    query: Seq
    function: Function

    def __new__(cls, key: Seq, query: Seq, function: Function) -> Relation:
        return _kept(cls, "relation", key=key, query=query, function=function)

    def __repr__(self) -> str:
        if self.function in MIRRORED:
            return f"key({_bare(show(self.key))}) {self.function.name} {show(self.query)}"
        return (
            f"key({_bare(show(self.key))}).related({_bare(show(self.query))}, {self.function.name})"
        )

    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        return self.holds(columns[self.key][there], columns[self.query][here])

    def holds(self, there: Value, here: Value) -> bool:
        """Whether a position with the value `there` is selected from one with `here`; no order
        holds for None.
        """
        if self.function in (EQUAL, UNEQUAL):
            return (there == here) == (self.function is EQUAL)
        try:
            return bool(self.function(there, here))
        except TypeError as error:
            raise TinyadderError(
                f"{self} cannot compare {there!r} and {here!r}: {error}; map the values to numbers "
                "first"
            ) from error


class Both(Selector):
    left: Selector
    right: Selector

    def __new__(cls, left: Selector, right: Selector) -> Both:
        return _kept(cls, "both", left=left, right=right)

    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        return all(s.selects(columns, there, here) for s in (self.left, self.right))

    def __repr__(self) -> str:
        return f"{_joined(self.left)} & {_joined(self.right)}"


class Either(Selector):
    left: Selector
    right: Selector

    def __new__(cls, left: Selector, right: Selector) -> Either:
        return _kept(cls, "either", left=left, right=right)

    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        return any(s.selects(columns, there, here) for s in (self.left, self.right))

    def __repr__(self) -> str:
        return f"{_joined(self.left)} | {_joined(self.right)}"


class Except(Selector):
    inner: Selector

    def __new__(cls, inner: Selector) -> Except:
        return _kept(cls, "except", inner=inner)

    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        return not self.inner.selects(columns, there, here)

    def __repr__(self) -> str:
        return f"~{_joined(self.inner)}"


class Everywhere(Selector):
    def __new__(cls) -> Everywhere:
        return _kept(cls, "everywhere")

    def selects(self, columns: Mapping[Seq, list[Value]], there: int, here: int) -> bool:
        return True

    def __repr__(self) -> str:
        return "everywhere()"


def _kept(cls: type, kind: str, **fields: Any) -> Any:
    name = (kind, *(id(field) for field in fields.values()))
    found = _relations.get(name)
    if found is None:
        found = object.__new__(cls)
        for field, value in fields.items():
            object.__setattr__(found, field, value)
        _relations[name] = found
    return found


def everywhere() -> Selector:
    """Every position."""
    return Everywhere()


def prefix() -> Selector:
    """The positions up to this one, itself included: `key(indices()) <= indices()`."""
    return Relation(indices(), indices(), LESS_EQUAL)


# ---- walking and printing ------------------------------------------------------------------------


def relations(selector: Selector) -> list[Relation]:
    """The comparisons a selector is made of, each once."""
    if isinstance(selector, Relation):
        return [selector]
    if isinstance(selector, Both | Either):
        return list(dict.fromkeys([*relations(selector.left), *relations(selector.right)]))
    return relations(selector.inner) if isinstance(selector, Except) else []


def reads(node: Seq) -> list[Seq]:
    """The sequences that `node` is computed from, those of its selector included."""
    if node.op not in AGGREGATES:
        return list(node.args)
    found = [*node.args]
    for relation in relations(node.data[0]):
        found += [relation.key, relation.query]
    return found


def walk(program: Seq) -> list[Seq]:
    """Every sequence the program is made of, each once, arguments first."""
    found: dict[Seq, None] = {}
    stack = [(program, False)]
    while stack:
        node, done = stack.pop()
        if node in found:
            continue
        if done:
            found[node] = None
        else:
            stack.append((node, True))
            stack += [(arg, False) for arg in reads(node) if arg not in found]
    return list(found)


def show(node: Seq) -> str:
    """The program as an expression."""
    if node.op in ("tokens", "indices"):
        return {"tokens": "x", "indices": "i"}[node.op]
    if node.op == "constant":
        return repr(node.data) if not isinstance(node.data, Fraction) else str(node.data)
    if node.op == "affine":
        text = ""
        factors, offset = node.data
        for arg, factor in zip(node.args, factors, strict=True):
            size = "" if abs(factor) == 1 else f"{abs(factor)}*"
            sign = " - " if factor < 0 else " + "
            text += (sign if text else sign.strip(" +")) + size + show(arg)
        if offset:
            text += (" - " if offset < 0 else " + ") + str(abs(offset))
        return f"({text})"
    if node.op == "map":
        return node.data.show([show(a) if node.data.form else _bare(show(a)) for a in node.args])
    selector, default = node.data
    shown = [repr(selector), *(_bare(show(a)) for a in node.args)]
    if node.op not in ("count", "sum") and default != (0 if node.op == "mean" else None):
        shown.append(f"default={default!r}")
    return f"{node.op}({', '.join(shown)})"


def _bare(text: str) -> str:
    """Without one pair of parentheses around everything."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and position < len(text) - 1:
            return text
    return text[1:-1]


def _joined(selector: Selector) -> str:
    return repr(selector) if isinstance(selector, Everywhere | Except) else f"({selector!r})"
