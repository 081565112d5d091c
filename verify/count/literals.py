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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

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

CONTAINED = frozenset(("copy", "get", "items", "keys", "values"))
"""Methods of a container that give what is in it."""
FORBIDS = {"masked_fill": 1e4, "masked_fill_": 1e4, "where": 1e8, "full": 1e8, "full_like": 1e8}
"""Of these a number that is negative and at least as large masks."""
KEEPING = frozenset(
    (
        "append",
        "array",
        "as_tensor",
        "asarray",
        "constant_",
        "copy_",
        "extend",
        "fill_",
        "full",
        "full_like",
        "from_numpy",
        "load_state_dict",
        "Parameter",
        "ParameterDict",
        "ParameterList",
        "register_buffer",
        "register_parameter",
        "tensor",
        "update",
        "Embed",
        "Head",
        "Unembed",
        "shared",
    )
)
"""Functions of a library, and methods, that store a number as it is written; others compute."""
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
    written: bool = False
    """It stands by itself (no operand of arithmetic) in code that makes the model: if a stored
    weight has this value, it is that weight as written."""
    file: str = ""
    """The module that was followed to it, "" for the file itself."""


def literals(
    source: str,
    roots: Iterable[str],
    *,
    unread: Mapping[str, int] | None = None,
    find: Find | None = None,
    module: str = "",
) -> list[Literal]:
    """The numbers that the definitions named in `roots`, and whatever they use, put into a model's
    values; through imports into every module whose source `find` gives, each number once.

    `unread` says which arguments of a call are no part of the values: those from this position on;
    `module` is the dotted name of the source, where it is in a package. Raises `TinyadderError` for
    source that is no Python, or a root that it does not define.
    """
    files = {module: _File(_tree(source, unread), source)}
    needed: dict[str, set[str]] = {module: set(roots)}
    for root in needed[module]:
        if root not in files[module].definitions and root not in files[module].imported:
            raise TinyadderError(f"the source defines no '{root}'")
    pending = [module] if find else []
    edges: list[tuple[str, str, str]] = []
    while pending and find:
        here = pending.pop()
        package = f"{here}.__init__"
        importer = package if here and find(package) is not None else here
        for other, names in files[here].borrowed(needed[here]).items():
            for place, wanted in _taken(_absolute(other, importer), names, files, unread, find):
                edges += [(here, place, name) for name in wanted]
                if not wanted <= needed.setdefault(place, set()):
                    needed[place] |= wanted
                    pending.append(place)
    result, valued = list[Literal](), dict[str, set[str]]()
    for place, wanted in needed.items():
        reader = _LiteralReader(files[place])
        reader.visit_all(files[place].tree)
        for name in valued.get(place, ()):
            reader.uses.setdefault(name, set()).add(VALUE)
        for here, there, name in edges:
            if here == place and any(
                not reader.is_shape(f"->{local}") for local in files[here].called(name)
            ):
                valued.setdefault(there, set()).add(name)
        result += _of(files[place], reader, wanted, "" if place == module else place)
    return result


Find = Callable[[str], str | None]
"""Dotted name of a module -> its source, None where it is not followed."""


def _taken(
    module: str,
    names: Mapping[str, set[str]],
    files: dict[str, _File],
    unread: Mapping[str, int] | None,
    find: Find,
) -> Iterator[tuple[str, set[str]]]:
    """(module, names needed of it) for what is imported from `module`: names that it defines, and
    modules that lie in it.
    """
    here = _opened(module, files, unread, find) if module else None
    for name, attributes in names.items():
        known = here is not None and (name in here.definitions or name in here.imported)
        inner = f"{module}.{name}".strip(".")
        if here is not None and name == WHOLE:
            yield module, attributes or set(here.definitions)
        elif known:
            yield module, {name}
        elif _opened(inner, files, unread, find) is not None:
            yield inner, attributes or set(files[inner].definitions)


def _opened(
    module: str, files: dict[str, _File], unread: Mapping[str, int] | None, find: Find
) -> _File | None:
    if module not in files:
        source = find(module)
        if source is None:
            return None
        files[module] = _File(_tree(source, unread), source)
    return files[module]


def _absolute(module: str, importer: str) -> str:
    """`..weights`, imported by `pkg.sub.file`, is `pkg.weights`.

    >>> _absolute(".weights", ""), _absolute("..weights", "pkg.sub.file")
    ('weights', 'pkg.weights')
    """
    name = module.lstrip(".")
    level = len(module) - len(name)
    if not level:
        return module
    package = importer.split(".")[:-level]
    return ".".join([*package, name]).strip(".")


def _of(file: _File, reader: _LiteralReader, names: set[str], module: str) -> list[Literal]:
    """The literals that the definitions of these names put into values."""
    reached = file.reach(names)
    lines = file.source.splitlines()
    building = file.building(names)
    result = []
    for number in reader.numbers:
        if (
            number.top in reached
            and number.value not in (0, 1, -1)
            and isfinite(number.value)
            and not reader.is_shape(number.use)
        ):
            around = set(number.where.split(".")) & file.functions.keys()
            result.append(
                Literal(
                    number.value,
                    number.line,
                    number.column,
                    number.where,
                    lines[number.line - 1].strip(),
                    number.alone and (not around or bool(around & building)),
                    module,
                )
            )
    return sorted(result, key=lambda literal: (literal.line, literal.column))


def _tree(source: str, unread: Mapping[str, int] | None) -> ast.Module:
    """The syntax tree, without what is unread."""
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
    return tree


WHOLE = "*"
"""In place of a name: the module itself, by `import module` or `from module import *`."""
RUNNING = frozenset(("forward", "__call__", "add"))
MAKING = frozenset(("__init__", "__post_init__", "__new__"))


class _File:
    """The top-level names of a file: definitions, statements that assign constants, imports."""

    def __init__(self, tree: ast.Module, source: str) -> None:
        self.tree, self.source = tree, source
        self.definitions: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for name in _names(statement):
                self.definitions.setdefault(name, []).append(statement)
        every: list[Definition] = [n for n in ast.walk(tree) if isinstance(n, Definition)]
        self.parameters = {node.name: _parameters(node) for node in every}
        """Parameter names by the simple name of every function and class, nested ones included."""
        self.functions: dict[str, list[ast.AST]] = {}
        for defined in every:
            if not isinstance(defined, ast.ClassDef):
                self.functions.setdefault(defined.name, []).append(defined)
        self.imported: dict[str, tuple[str, str]] = {}
        """Name in this file -> (module, with a dot a level, and name there)."""
        self.stars: list[str] = []
        for node in ast.walk(tree):
            self._note_import(node)

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == WHOLE:
                    self.stars.append(module)
                else:
                    self.imported[alias.asname or alias.name] = (module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                self.imported[name] = (alias.name, WHOLE)

    def called(self, there: str) -> set[str]:
        """What this file calls a name of another module."""
        return {there} | {here for here, (_, name) in self.imported.items() if name == there}

    def from_library(self, name: str) -> bool:
        """Whether a name is imported from a library that computes."""
        return self.imported.get(name, ("",))[0].partition(".")[0] in LIBRARIES

    def reach(self, roots: Iterable[str]) -> set[ast.stmt]:
        """The top-level statements that the roots need, directly or through others."""
        reached: set[ast.stmt] = set()
        pending = [statement for root in roots for statement in self.definitions.get(root, [])]
        while pending:
            statement = pending.pop()
            if statement in reached:
                continue
            reached.add(statement)
            for node in ast.walk(statement):
                name = node.id if isinstance(node, ast.Name) else None
                pending += self.definitions.get(name, []) if name else []
        return reached

    def borrowed(self, roots: Iterable[str]) -> dict[str, dict[str, set[str]]]:
        """What the roots, and whatever they use, take from other modules: module -> name there ->
        attributes that are read of it.
        """
        roots = set(roots)
        names, attributes = set(roots), dict[str, set[str]]()
        for part in self.reach(roots):
            for node in ast.walk(part):
                if isinstance(node, ast.Name):
                    names.add(node.id)
                elif isinstance(node, ast.Attribute):
                    attributes.setdefault(_leftmost(node), set()).add(node.attr)
        result: dict[str, dict[str, set[str]]] = {}
        for name in names & self.imported.keys():
            module, there = self.imported[name]
            result.setdefault(module, {})[there] = attributes.get(name, set())
        for module in self.stars:
            result.setdefault(module, {})[WHOLE] = names - self.definitions.keys()
        return result

    def building(self, roots: Iterable[str]) -> set[str]:
        """Names of the functions that run when the model is made, not when it is asked."""
        found = set[str]()
        pending = {*roots, *MAKING} & self.functions.keys()
        while pending:
            found |= pending
            nodes = [node for name in pending for node in self.functions[name]]
            pending = {
                name
                for node in nodes
                for call in ast.walk(node)
                if isinstance(call, ast.Call)
                for name in [getattr(call.func, "attr", getattr(call.func, "id", ""))]
                if name in self.functions and name not in RUNNING
            } - found
        return found


def _leftmost(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


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
    alone: bool


VALUE, SHAPE = "value", "shape"


class _LiteralReader:
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
        self.operands = 0

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

    def flow(self, target: ast.expr) -> str:
        """The use of what is assigned to this: a flow into a name, or into each of several."""
        if isinstance(target, ast.Name):
            return f"->{target.id}"
        if isinstance(target, ast.Attribute):
            return f"->{target.attr}"
        if not isinstance(target, ast.Tuple | ast.List):
            return VALUE
        flows = {self.flow(one) for one in target.elts}
        if VALUE in flows:
            return VALUE
        both = "|".join(sorted(flow[2:] for flow in flows))
        self.uses.setdefault(both, set()).update(flows)
        return f"->{both}"

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
        self.numbers.append(
            _Number(value, node.lineno, node.col_offset, where, self.top, use, not self.operands)
        )

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

    def _BinOp(self, node: ast.BinOp, use: str) -> None:
        self.operands += 1
        self.children(node, use)
        self.operands -= 1

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
        members = all(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
        self.operands += 1
        self.children(node, SHAPE if sized or members else VALUE)
        self.operands -= 1

    def _Call(self, node: ast.Call, use: str) -> None:
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if isinstance(node.func, ast.Attribute):
            passed = name in SHAPED | SHAPED_AFTER | CONTAINED
            self.visit(node.func.value, use if passed else VALUE)
        elif isinstance(node.func, ast.Name):
            pass
        else:
            self.visit(node.func, use)
        if name in SILENT:
            return
        if name == "float" and node.args and isinstance(node.args[0], ast.Constant):
            self._text(node.args[0], use)
            return
        if name in FORBIDS:
            self._forbid(node, FORBIDS[name])
        known = self.file.parameters.get(name)
        library = isinstance(node.func, ast.Attribute) or self.file.from_library(name)
        computes = library and name not in KEEPING and known is None
        self.operands += computes
        self.visit_arguments(node, name, known, use)
        self.operands -= computes

    def visit_arguments(self, node: ast.Call, name: str, known: list[str] | None, use: str) -> None:
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

    def _forbid(self, node: ast.Call, least: float) -> None:
        """A mask's large negative number says "not here", as -inf does: it is no weight."""
        for argument in node.args:
            if isinstance(argument, ast.UnaryOp) and isinstance(argument.op, ast.USub):
                inner = argument.operand
                number = inner.value if isinstance(inner, ast.Constant) else None
                if isinstance(number, int | float) and number >= least:
                    argument.operand = ast.copy_location(ast.Constant(0), inner)

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
                self.visit(value, self.flow(one))
        else:
            self.visit(node.value, self.flow(target))

    def _AnnAssign(self, node: ast.AnnAssign, use: str) -> None:
        if node.value is not None:
            self.visit(node.value, self.flow(node.target))

    def _AugAssign(self, node: ast.AugAssign, use: str) -> None:
        self.visit(node.target, VALUE)
        self.operands += 1
        self.visit(node.value, self.flow(node.target))
        self.operands -= 1

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
        metadata = _metadata(node) if node.name == "build_model" else []
        for statement in node.body:
            if isinstance(statement, ast.Assign) and statement.value in metadata:
                continue
            if isinstance(statement, ast.Return) and statement.value in metadata:
                assert isinstance(statement.value, ast.Tuple)
                self.visit(statement.value.elts[0], VALUE)
            else:
                self.visit(statement, VALUE)
        self.where.pop()

    _AsyncFunctionDef = _FunctionDef

    def _ClassDef(self, node: ast.ClassDef, use: str) -> None:
        self.where.append(node.name)
        for statement in node.body:
            self.visit(statement, VALUE)
        self.where.pop()

    def _For(self, node: ast.For, use: str) -> None:
        self.visit(node.iter, self.flow(node.target))
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


def _metadata(node: ast.FunctionDef) -> list[ast.expr]:
    """The pairs `model, metadata` that `build_model` returns, of which only the model is read, and
    the dict of metadata where it is assigned to a name first.
    """
    returned = [
        statement.value
        for statement in ast.walk(node)
        if isinstance(statement, ast.Return)
        and isinstance(statement.value, ast.Tuple)
        and len(statement.value.elts) > 1
    ]
    names = {pair.elts[1].id for pair in returned if isinstance(pair.elts[1], ast.Name)}
    assigned = [
        statement.value
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in names
    ]
    return [*returned, *assigned]
