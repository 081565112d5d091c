"""Numbers that stand in the code instead of in the weights: the literals that a model's values
depend on.

Read from the syntax tree, nothing is run. From the given roots every function, class and constant
that their code names is followed. Of the numbers found there these are free: 0, 1 and -1; integers
that only ever become a shape, a dimension, an index, a length or a loop bound; and what is printed,
asserted, raised or reported as metadata. `math.pi` and its like count as literals, and so does the
text in `float("2.5")`.

>>> source = '''
... WIDTH = 4
... GAIN = 60.0
... def build_model():
...     weight = torch.zeros(WIDTH, 2)
...     weight[3] = GAIN
...     return weight * 0.5
... '''
>>> [(found.value, found.line) for found in literals(source, ["build_model"])]
[(60.0, 3), (0.5, 7)]
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tinyadder.errors import TinyadderError

SHAPED = frozenset(
    (
        "arange",
        "empty",
        "enumerate",
        "expand",
        "eye",
        "len",
        "new_empty",
        "new_ones",
        "new_zeros",
        "ones",
        "range",
        "rand",
        "randint",
        "randn",
        "size",
        "to",
        "view",
        "zeros",
        "dim",
        "triu_indices",
        "tril_indices",
        "Linear",
        "Embedding",
        "LayerNorm",
        "RMSNorm",
        "Conv1d",
        "MultiheadAttention",
        "Stream",
    )
)
"""Called with integers that are shapes, dimensions, counts or indices; a `Stream` is called with
widths of lanes.
"""

SHAPED_AFTER = frozenset(
    (
        "broadcast_to",
        "chunk",
        "cat",
        "concat",
        "flatten",
        "flip",
        "gather",
        "index_select",
        "movedim",
        "narrow",
        "one_hot",
        "permute",
        "repeat",
        "repeat_interleave",
        "reshape",
        "roll",
        "rot90",
        "select",
        "softmax",
        "log_softmax",
        "split",
        "squeeze",
        "stack",
        "swapaxes",
        "tile",
        "topk",
        "transpose",
        "tril",
        "triu",
        "unbind",
        "unflatten",
        "unfold",
        "unsqueeze",
        "argmax",
        "argmin",
        "sum",
        "mean",
        "amax",
        "amin",
        "cumsum",
        "cumprod",
        "prod",
        "norm",
    )
)
"""The same, but as functions (`torch.stack([10 * x, y], 2)`, not `x.sum(2)`) their first argument
is a value.
"""

SHAPED_AT = {"full": 0, "new_full": 0, "linspace": 2}
"""Of these only one argument is a shape or a count, the others are values."""

SHAPED_WORDS = frozenset(
    (
        "dim",
        "dims",
        "axis",
        "size",
        "shape",
        "keepdim",
        "num_embeddings",
        "embedding_dim",
        "in_features",
        "out_features",
        "embed_dim",
        "num_heads",
        "normalized_shape",
        "diagonal",
        "steps",
        "start_dim",
        "end_dim",
        "chunks",
        "repeats",
        "num_classes",
        "kernel_size",
        "padding_idx",
        "dim0",
        "dim1",
        "device",
        "dtype",
        "requires_grad",
    )
)
"""Keywords of library functions whose integers are shapes; those of functions of the file itself
are followed.
"""

SILENT = frozenset(("print", "isinstance", "TinyadderError"))
CONSTANTS = frozenset(("pi", "e", "tau"))
LIBRARIES = frozenset(("math", "torch", "np", "numpy"))
MODULES = LIBRARIES | {"F", "nn.functional", "torch.nn.functional", "functional"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Literal:
    """One number in the code: its value, where it stands, and the function or class around it."""

    value: float
    line: int
    column: int
    where: str
    text: str
    """The line of source."""


def literals(
    source: str, roots: Iterable[str], *, unread: Mapping[str, int] | None = None
) -> list[Literal]:
    """The numbers that the definitions named in `roots`, and whatever they use, put into a model's
    values.

    `unread` says which arguments of a call are no part of the values: those from this position on.
    Raises `TinyadderError` for source that is no Python, or a root that it does not define.
    """
    tree, file = _read(source, roots, unread)
    reached = file.reach(roots)
    reader = _Reader(file)
    reader.visit_all(tree)
    lines = source.splitlines()
    result = []
    for number in reader.numbers:
        if (
            number.top in reached
            and number.value not in (0, 1, -1)
            and not reader.is_shape(number.use)
        ):
            result.append(
                Literal(
                    number.value,
                    number.line,
                    number.column,
                    number.where,
                    lines[number.line - 1].strip(),
                )
            )
    return sorted(result, key=lambda literal: (literal.line, literal.column))


def borrowed(
    source: str, roots: Iterable[str], *, unread: Mapping[str, int] | None = None
) -> dict[str, list[str]]:
    """What the definitions named in `roots`, and whatever they use, take from other modules: module
    -> names.

    >>> borrowed("from math import exp, log; construct = lambda: exp(2)", ["construct"])
    {'math': ['exp']}
    """
    tree, file = _read(source, roots, unread)
    named = {
        node.id
        for part in file.reach(roots)
        for node in ast.walk(part)
        if isinstance(node, ast.Name)
    }
    result: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            result.setdefault(node.module, []).extend(
                a.name for a in node.names if (a.asname or a.name) in named
            )
    return {module: names for module, names in result.items() if names}


def _read(
    source: str, roots: Iterable[str], unread: Mapping[str, int] | None
) -> tuple[ast.Module, _File]:
    """The syntax tree, without what is unread, and its top-level names; checks that the roots are
    among them.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise TinyadderError(f"the source is not Python: {error}") from error
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in (unread or {})
        ):
            del node.args[(unread or {})[node.func.id] :]
    file = _File(tree)
    for root in roots:
        if root not in file.definitions:
            raise TinyadderError(f"the source defines no '{root}'")
    return tree, file


class _File:
    """The top-level names of a file: definitions, and statements that assign constants."""

    def __init__(self, tree: ast.Module) -> None:
        self.definitions: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for name in _names(statement):
                self.definitions.setdefault(name, []).append(statement)
        every = [node for node in ast.walk(tree) if isinstance(node, Definition)]
        self.parameters = {node.name: _parameters(node) for node in every}
        """Parameter names by the simple name of every function and class, nested ones included."""

    def reach(self, roots: Iterable[str]) -> set[ast.stmt]:
        """The top-level statements that the roots need, directly or through others."""
        reached: set[ast.stmt] = set()
        pending = [statement for root in roots for statement in self.definitions[root]]
        while pending:
            statement = pending.pop()
            if statement in reached:
                continue
            reached.add(statement)
            for node in ast.walk(statement):
                name = node.id if isinstance(node, ast.Name) else None
                pending += self.definitions.get(name, []) if name else []
        return reached


def _names(statement: ast.stmt) -> Iterator[str]:
    """What a top-level statement defines, also inside `if`, `try`, `for` and `with`."""
    if isinstance(statement, Definition):
        yield statement.name
        return
    if isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, Definition):
            yield node.name
        elif isinstance(statement, ast.Expr | ast.AugAssign | ast.Assign) and isinstance(
            node, ast.Name
        ):
            yield node.id  # `TABLE[3] = 0.5` and `TABLE.fill_(2)` belong to TABLE


def _parameters(node: Definition) -> list[str]:
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                return _parameters(inner)
        return [
            f.target.id
            for f in node.body
            if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
        ]
    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    return given[1:] if given[:1] == ["self"] else given


@dataclass(frozen=True)
class _Number:
    value: float
    line: int
    column: int
    where: str
    top: ast.stmt
    use: str


VALUE, SHAPE = "value", "shape"


class _Reader:
    """Goes through a file and notes each number and each name with its use: a value, a shape, or a
    flow into a name.

    Names are simple names; attributes and keywords are names too: `config.width`,
    `Config(width=4)`.
    """

    def __init__(self, file: _File) -> None:
        self.file = file
        self.numbers: list[_Number] = []
        self.uses: dict[str, set[str]] = {}
        self.values: set[str] | None = None
        self.top: ast.stmt = ast.Pass()
        self.where: list[str] = []

    def is_shape(self, use: str) -> bool:
        """Whether this use ends in shapes only, whatever names it flows through; a name nobody
        reads ends nowhere.
        """
        if self.values is None:  # names that reach a value through any chain of flows
            self.values = {name for name, uses in self.uses.items() if VALUE in uses}
            while (
                more := {
                    n for n, uses in self.uses.items() if uses & {f"->{v}" for v in self.values}
                }
                - self.values
            ):
                self.values |= more
        return use == SHAPE or (use.startswith("->") and use[2:] not in self.values)

    def visit_all(self, tree: ast.Module) -> None:
        for statement in tree.body:
            self.top = statement
            self.visit(statement, VALUE)

    def visit(self, node: ast.AST, use: str) -> None:
        method = getattr(self, f"_{type(node).__name__}", None)
        if method:
            method(node, use)
        else:
            self.children(node, use)

    def children(self, node: ast.AST, use: str) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child, use)

    # ---- numbers and names --------------------------------------------------------------------

    def note(self, value: float, node: ast.expr, use: str) -> None:
        where = ".".join(self.where) or "the file"
        self.numbers.append(_Number(value, node.lineno, node.col_offset, where, self.top, use))

    def _Constant(self, node: ast.Constant, use: str) -> None:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            self.note(float(node.value), node, _floating(node.value, use))

    def _UnaryOp(self, node: ast.UnaryOp, use: str) -> None:
        inner = node.operand
        if (
            isinstance(node.op, ast.USub)
            and isinstance(inner, ast.Constant)
            and isinstance(inner.value, int | float)
        ):
            self.note(-float(inner.value), node, _floating(inner.value, use))
        else:
            self.visit(inner, use)

    def _Name(self, node: ast.Name, use: str) -> None:
        if isinstance(node.ctx, ast.Load):
            self.uses.setdefault(node.id, set()).add(use)

    def _Attribute(self, node: ast.Attribute, use: str) -> None:
        if (
            isinstance(node.value, ast.Name)
            and node.value.id in LIBRARIES
            and node.attr in CONSTANTS
        ):
            self.note(
                {"pi": 3.141592653589793, "e": 2.718281828459045, "tau": 6.283185307179586}[
                    node.attr
                ],
                node,
                use,
            )
        elif isinstance(node.ctx, ast.Load):
            self.uses.setdefault(node.attr, set()).add(use)
        self.visit(node.value, use if isinstance(node.value, ast.Call | ast.BinOp) else SHAPE)

    # ---- uses ---------------------------------------------------------------------------------

    def _Subscript(self, node: ast.Subscript, use: str) -> None:
        self.visit(node.value, use)
        self.visit(node.slice, SHAPE)

    def _Compare(self, node: ast.Compare, use: str) -> None:
        text = ast.unparse(node)
        sized = any(word in text for word in ("len(", ".shape", ".size(", ".ndim", ".dim("))
        self.children(node, SHAPE if sized else VALUE)

    def _Call(self, node: ast.Call, use: str) -> None:
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value, use if name in SHAPED | SHAPED_AFTER else VALUE)
        elif isinstance(node.func, ast.Name):
            pass
        else:
            self.visit(node.func, use)
        if name in SILENT:
            return
        if name == "float" and node.args and isinstance(node.args[0], ast.Constant):
            self._text(node.args[0], use)
            return
        known = self.file.parameters.get(name)
        for position, argument in enumerate(node.args):
            self.visit(argument, self._argument(node.func, name, known, position, use))
        for keyword in node.keywords:
            if known is not None and keyword.arg:
                self.visit(keyword.value, f"->{keyword.arg}")
            else:
                self.visit(
                    keyword.value,
                    SHAPE
                    if keyword.arg in SHAPED_WORDS or name in SHAPED | SHAPED_AFTER
                    else VALUE,
                )

    def _argument(
        self, func: ast.expr, name: str, known: list[str] | None, position: int, use: str
    ) -> str:
        """The use of an argument: a flow into a parameter of the file's own function, else by the
        function's name.
        """
        if known is not None:
            return f"->{known[position]}" if position < len(known) else VALUE
        if name in ("int", "max", "min", "abs", "tuple", "list", "Size"):
            return use
        as_method = isinstance(func, ast.Attribute) and ast.unparse(func.value) not in MODULES
        after = name in SHAPED_AFTER and (as_method or position > 0)
        return SHAPE if name in SHAPED or after or SHAPED_AT.get(name) == position else VALUE

    def _text(self, node: ast.Constant, use: str) -> None:
        try:
            self.note(float(node.value), node, VALUE)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            self.visit(node, use)

    def _Assign(self, node: ast.Assign, use: str) -> None:
        for target in node.targets:
            self.visit(target, VALUE)
        target = node.targets[0]
        if (
            isinstance(target, ast.Tuple)
            and isinstance(node.value, ast.Tuple)
            and len(target.elts) == len(node.value.elts)
        ):
            for one, value in zip(target.elts, node.value.elts, strict=True):
                self.visit(value, _flow(one))
        else:
            self.visit(node.value, _flow(target))

    def _AnnAssign(self, node: ast.AnnAssign, use: str) -> None:
        if node.value is not None:
            self.visit(node.value, _flow(node.target))

    def _AugAssign(self, node: ast.AugAssign, use: str) -> None:
        self.visit(node.target, VALUE)
        self.visit(node.value, _flow(node.target))

    def _keyword_defaults(self, arguments: ast.arguments) -> None:
        given = (*arguments.posonlyargs, *arguments.args)
        for parameter, default in zip(
            given[len(given) - len(arguments.defaults) :], arguments.defaults, strict=True
        ):
            self.visit(default, f"->{parameter.arg}")
        for parameter, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if value is not None:
                self.visit(value, f"->{parameter.arg}")

    # ---- statements ---------------------------------------------------------------------------

    def _FunctionDef(self, node: ast.FunctionDef, use: str) -> None:
        self._keyword_defaults(node.args)
        self.where.append(node.name)
        metadata = _metadata(node) if node.name == "build_model" else set()
        for statement in node.body:
            self._statement(statement, metadata)
        self.where.pop()

    _AsyncFunctionDef = _FunctionDef

    def _statement(self, statement: ast.stmt, metadata: set[ast.expr]) -> None:
        if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
            self.visit(statement.value.elts[0], VALUE)
        elif not (isinstance(statement, ast.Assign) and statement.value in metadata):
            self.visit(statement, VALUE)

    def _ClassDef(self, node: ast.ClassDef, use: str) -> None:
        self.where.append(node.name)
        for statement in node.body:
            self.visit(statement, VALUE)
        self.where.pop()

    def _For(self, node: ast.For, use: str) -> None:
        self.visit(node.iter, _flow(node.target))
        for statement in (*node.body, *node.orelse):
            self.visit(statement, VALUE)

    def _If(self, node: ast.If, use: str) -> None:
        if not all(isinstance(statement, ast.Raise) for statement in node.body):
            self.visit(node.test, VALUE)
        for statement in (*node.body, *node.orelse):
            self.visit(statement, VALUE)

    def _Assert(self, node: ast.Assert, use: str) -> None:
        pass

    def _Raise(self, node: ast.Raise, use: str) -> None:
        pass

    def _JoinedStr(self, node: ast.JoinedStr, use: str) -> None:
        pass


def _floating(value: float, use: str) -> str:
    """A float is never a shape, wherever it stands."""
    return VALUE if isinstance(value, float) and use == SHAPE else use


def _flow(target: Any) -> str:
    if isinstance(target, ast.Name):
        return f"->{target.id}"
    if isinstance(target, ast.Attribute):
        return f"->{target.attr}"
    return VALUE


def _metadata(node: ast.FunctionDef) -> set[ast.expr]:
    """The dict that `build_model` returns beside the model, where it is assigned to a name
    first.
    """
    returned = {
        ret.value.elts[1].id
        for ret in ast.walk(node)
        if isinstance(ret, ast.Return)
        and isinstance(ret.value, ast.Tuple)
        and len(ret.value.elts) > 1
        and isinstance(ret.value.elts[1], ast.Name)
    }
    return {
        statement.value
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in returned
    }
