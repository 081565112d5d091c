"""Faults for the tests of the checker, addressed in its syntax tree.

A fault is named by the function it is in, and by the kind of node it changes there; it stays where
it is when variables are renamed, lines wrapped, messages of other places changed. A fault that does
not find exactly one place is an error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

Change = Callable[[ast.AST], ast.AST | None]
"""What stands in the place of a node; None leaves it."""
Fault = Callable[[ast.Module], None]


@contextmanager
def planted(module: ModuleType, fault: Fault, modules: tuple[ModuleType, ...]) -> Iterator[None]:
    """`modules` with a fault in one of them, as a program of its own that ends with the block."""
    kept = {m: dict(vars(m)) for m in modules}
    try:
        for m in modules:
            tree = ast.parse(Path(str(m.__file__)).read_text())
            if m is module:
                fault(tree)
                ast.fix_missing_locations(tree)
            exec(compile(tree, str(m.__file__), "exec"), vars(m))
        yield
    finally:
        for m, names in kept.items():
            vars(m).clear()
            vars(m).update(names)


@contextmanager
def planted_method(cls: type, method: str, fault: Fault) -> Iterator[None]:
    """A class with a fault in one of its methods, for those who hold the class already."""
    module = sys.modules[cls.__module__]
    tree = ast.parse(Path(str(module.__file__)).read_text())
    fault(tree)
    names = dict(vars(module))
    alone = ast.Module([find(tree, f"{cls.__name__}.{method}")], [])  # type: ignore[list-item]
    exec(compile(ast.fix_missing_locations(alone), str(module.__file__), "exec"), names)
    right = getattr(cls, method)
    setattr(cls, method, names[method])
    try:
        yield
    finally:
        setattr(cls, method, right)


def find(tree: ast.Module, function: str) -> ast.AST:
    """The definition of `function`, or of `Class.method`."""
    place: ast.AST = tree
    for name in function.split("."):
        found = [
            node
            for node in ast.walk(place)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        ]
        assert len(found) == 1, f"{function}: {len(found)} definitions of {name}"
        place = found[0]
    return place


def within(function: str, change: Change, places: int = 1) -> Fault:
    """Apply `change` to every node of a function; it must change as many as `places` says."""

    def fault(tree: ast.Module) -> None:
        class Visitor(ast.NodeTransformer):
            changed = 0

            def generic_visit(self, node: ast.AST) -> ast.AST:
                node = super().generic_visit(node)
                other = change(node)
                self.changed += other is not None
                return node if other is None else other

        visitor = Visitor()
        visitor.visit(find(tree, function) if function else tree)
        assert visitor.changed == places, f"{function}: {visitor.changed} places"

    return fault


def expression(text: str) -> ast.expr:
    """The syntax tree of an expression."""
    return ast.parse(text, mode="eval").body


def rewritten(function: str, old: str, new: str) -> Fault:
    """Another expression in the place of one, which stands there once."""
    wanted = ast.unparse(expression(old))

    def change(node: ast.AST) -> ast.AST | None:
        here = isinstance(node, ast.expr) and ast.unparse(node) == wanted
        return expression(new) if here else None

    return within(function, change)


def name_of(node: ast.AST) -> str | None:
    """The last name of a variable, attribute or call."""
    node = node.func if isinstance(node, ast.Call) else node
    return getattr(node, "attr", getattr(node, "id", None))


# ---- kinds of faults -----------------------------------------------------------------------------


def assigned(name: str, value: str) -> Fault:
    """A constant of the module has another value."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Assign) and [name_of(t) for t in node.targets] == [name]:
            return ast.Assign(node.targets, expression(value))
        return None

    return within("", change)


def given(function: str, target: str, value: str) -> Fault:
    """A variable of a function, or several (`low, high`), is given another value."""

    def change(node: ast.AST) -> ast.AST | None:
        written = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).strip("()")
        if isinstance(node, ast.Assign) and written == target:
            return ast.Assign(node.targets, expression(value))
        return None

    return within(function, change)


def believed(function: str, message: str) -> Fault:
    """A condition of a proof, named by a part of its message, is not looked at."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Call) and name_of(node) == "need" and message in ast.unparse(node):
            return ast.Call(node.func, [expression("True"), node.args[1]], [])
        return None

    return within(function, change)


def dropped(function: str, callee: str, *, keep: int = -1) -> Fault:
    """`receiver.callee(..)` is `receiver`; with `keep`, `callee(..)` is that argument of it."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.Call) or name_of(node) != callee:
            return None
        if keep >= 0:
            return node.args[keep]
        assert isinstance(node.func, ast.Attribute)
        return node.func.value

    return within(function, change)


def instead(function: str, callee: str, value: str, *, places: int = 1) -> Fault:
    """A call is another expression."""

    def change(node: ast.AST) -> ast.AST | None:
        called = isinstance(node, ast.Call) and name_of(node) == callee
        return expression(value) if called else None

    return within(function, change, places)


def halved(function: str, callee: str) -> Fault:
    """The first argument of a call is half of it."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Call) and name_of(node) == callee:
            half = ast.BinOp(node.args[0], ast.FloorDiv(), ast.Constant(2))
            return ast.Call(node.func, [half, *node.args[1:]], node.keywords)
        return None

    return within(function, change)


def starting(function: str, callee: str, value: str) -> Fault:
    """A variable that starts with a call starts with another value."""

    def change(node: ast.AST) -> ast.AST | None:
        called = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node, ast.Assign) and called and name_of(node.value) == callee:
            return ast.Assign(node.targets, expression(value))
        return None

    return within(function, change)


def unpadded(function: str) -> Fault:
    """Both ends that a function returns are without what they are widened by."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Tuple):
            return None
        ends = node.value.elts
        if not all(isinstance(e, ast.BinOp) and isinstance(e.op, ast.Add | ast.Sub) for e in ends):
            return None
        return ast.Return(ast.Tuple([getattr(end, "left") for end in ends], ast.Load()))  # noqa: B009

    return within(function, change)


def grouped(function: str) -> Fault:
    """Of a sum `linear(i, [first, *rest])` the rest is summed by itself, and then added."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.Call) or name_of(node) != "linear":
            return None
        terms = node.args[1]
        if not isinstance(terms, ast.List) or len(terms.elts) != 2:
            return None
        first, rest = terms.elts
        assert isinstance(rest, ast.Starred)
        inner = ast.Call(node.func, [node.args[0], rest.value], [])
        both = ast.List([first, ast.Tuple([ast.Constant(1.0), inner], ast.Load())], ast.Load())
        return ast.Call(node.func, [node.args[0], both], [])

    return within(function, change)


def number(function: str, old: int, new: int, places: int = 1) -> Fault:
    """A number that is written in a function is another one."""

    def change(node: ast.AST) -> ast.AST | None:
        written = isinstance(node, ast.Constant) and type(node.value) is int and node.value == old
        return ast.Constant(new) if written else None

    return within(function, change, places)


def chosen(function: str, branch: bool, test: str = "") -> Fault:
    """`a if test else b` is a, or b; `test` is a name in it, where there are several."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.IfExp):
            return None
        names = {name_of(part) for part in ast.walk(node.test)}
        return (node.body if branch else node.orelse) if not test or test in names else None

    return within(function, change)


def swapped(function: str, test: str) -> Fault:
    """`a if test else b` is `b if test else a`."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.IfExp) and test in {name_of(part) for part in ast.walk(node.test)}:
            return ast.IfExp(node.test, node.orelse, node.body)
        return None

    return within(function, change)


def always(function: str, kind: type[ast.If] | type[ast.While], value: bool, nth: int = 0) -> Fault:
    """The nth `if` (or `while`) of a function is always taken, or never."""
    seen: list[ast.AST] = []

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, kind):
            return None
        seen.append(node)
        if len(seen) != nth + 1:
            return None
        node.test = ast.Constant(value)
        return node

    return within(function, change)


def compared(function: str, operator: type[ast.cmpop], other: ast.cmpop) -> Fault:
    """A comparison is another one."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Compare) and [type(o) for o in node.ops] == [operator]:
            return ast.Compare(node.left, [other], node.comparators)
        return None

    return within(function, change)


def inward(function: str, places: int) -> Fault:
    """What is rounded down is rounded up, and the other way round."""
    whole = (ast.RShift, ast.FloorDiv)

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Tuple):
            return None
        return ast.Return(ast.Tuple([mirrored(end) for end in node.value.elts], ast.Load()))

    def mirrored(end: ast.expr) -> ast.expr:
        negative = isinstance(end, ast.UnaryOp)
        division = end.operand if isinstance(end, ast.UnaryOp) else end
        if not isinstance(division, ast.BinOp) or not isinstance(division.op, whole):
            return end
        other = ast.BinOp(ast.UnaryOp(ast.USub(), division.left), division.op, division.right)
        return other if negative else ast.UnaryOp(ast.USub(), other)

    return within(function, change, places)


def paired(function: str) -> Fault:
    """Two nested loops of a list go side by side."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.ListComp) or len(node.generators) != 2:
            return None
        a, b = node.generators
        target = ast.Tuple([a.target, b.target], ast.Store())
        pairs = ast.Call(expression("zip"), [a.iter, b.iter], [])
        return ast.ListComp(node.elt, [ast.comprehension(target, pairs, [], 0)])

    return within(function, change)


def shorter(function: str) -> Fault:
    """The last element of a list that begins with `*` is missing."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Starred):
            return ast.List(node.elts[:-1], ast.Load())
        return None

    return within(function, change)


def weakened(function: str) -> Fault:
    """`x = a and b` is `x = b`, in a loop."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.For):
            return None
        for inner in node.body:
            if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.BoolOp):
                inner.value = inner.value.values[-1]
                return node
        return None

    return within(function, change)


def silent(function: str, value: str) -> Fault:
    """An error is a value that is returned."""

    def change(node: ast.AST) -> ast.AST | None:
        return ast.Return(expression(value)) if isinstance(node, ast.Raise) else None

    return within(function, change)


def looked_up(function: str, table: str, key: str) -> Fault:
    """Another entry of a table."""

    def change(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Subscript) and name_of(node.value) == table:
            return ast.Subscript(node.value, expression(key), node.ctx)
        return None

    return within(function, change)


def both(*faults: Fault) -> Fault:
    """One fault that needs two places."""

    def fault(tree: ast.Module) -> None:
        for one in faults:
            one(tree)

    return fault


def only_stated(function: str) -> Fault:
    """`min(f(part, children[name]) for name, part in parts.items())` of the stated children."""

    def change(node: ast.AST) -> ast.AST | None:
        if not isinstance(node, ast.GeneratorExp):
            return None
        (loop,) = node.generators
        assert isinstance(loop.target, ast.Tuple)
        stated = next(n for n in ast.walk(node.elt) if isinstance(n, ast.Subscript))
        loop.ifs.append(ast.Compare(stated.slice, [ast.In()], [stated.value]))
        return node

    return within(function, change)
