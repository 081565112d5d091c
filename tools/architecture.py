"""The rooms of the package: which module is in which, and which room may import which others.

`tests/test_architecture.py` holds every import to this table; `python -m tools.renew architecture`
draws it (docs/architecture.md, docs/pictures/architecture.svg).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANY = "any package"


@dataclass(frozen=True)
class Room:
    """Modules that belong together. `imports` are rooms; of other packages the standard library is
    free.
    """

    name: str
    modules: str
    """A regular expression."""
    about: str
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


def _tinyadder(name: str, modules: str, about: str, imports: str = "", packages: str = "") -> Room:
    """`imports` and `packages` are words; a room with a name of two words is written with a _."""
    listed = (ANY,) if packages == ANY else tuple(packages.split())
    rooms = tuple(word.replace("_", " ") for word in imports.split())
    return Room(name, rf"tinyadder\.{modules}", about, rooms, listed)


MODEL = "basics fields files language tasks construction machine compile single decode answers"
TABLE = (
    _tinyadder(
        "basics",
        "(errors|plain|escape|text)",
        "the errors a user sees; text, made plain or made safe",
    ),
    _tinyadder("fields", "fields", "values checked against annotations", "basics", "msgspec"),
    _tinyadder(
        "files",
        r"io\.(files|text)",
        "files read with a bound, written whole or not at all",
        "basics",
        "filelock",
    ),
    _tinyadder(
        "language",
        r"(dsl|lang|lang\.(forms|formulas|sublayers|program|printing|serialization))",
        "programs as equations: forms, sublayers, printing, JSON",
        "basics",
        "numpy",
    ),
    _tinyadder("gadgets", r"lang\.gadgets", "pieces of programs", "basics language", "numpy"),
    _tinyadder("encodings", "encodings", "numbers and polynomials as tokens", "basics"),
    _tinyadder(
        "tasks",
        r"tasks(\..*)?",
        "problems, right answers, how they are drawn: one file a task",
        "basics fields encodings",
        "numpy jaxtyping hypothesis",
    ),
    _tinyadder(
        "construction",
        "construction",
        "a program with its task and what its lanes mean",
        "basics fields files language tasks",
    ),
    _tinyadder(
        "programs",
        r"programs(\..*)?",
        "sequence functions compiled to programs",
        "basics language construction tasks",
        "numpy",
    ),
    _tinyadder(
        "machine",
        r"machine(\.(config|fused|layers|transformer|encoder|inference|tensors))?",
        "the transformer, its sizes and options, its tensors",
        "basics fields",
        "numpy torch jaxtyping",
    ),
    _tinyadder(
        "compile",
        r"machine\.compile",
        "programs to weights",
        "basics language machine",
        "numpy torch",
    ),
    _tinyadder(
        "single",
        r"machine\.(reference|single|indexed)",
        "programs run without torch",
        "basics language",
        "numpy jaxtyping",
    ),
    _tinyadder(
        "decode",
        r"machine\.decode",
        "tokens from a model, greedy, sampled or by beam",
        "basics machine",
        "torch jaxtyping",
    ),
    _tinyadder(
        "answers",
        r"machine\.answers",
        "a model asked the problems of a task",
        "basics tasks machine decode",
        "torch",
    ),
    _tinyadder(
        "storage",
        r"(named|io|io\.(folder|digest))",
        "model folders, and models by name",
        "basics fields files language tasks construction machine compile",
        ANY,
    ),
    _tinyadder(
        "inspect",
        r"inspect(\..*)?",
        "traces, patching, plots, the explorer",
        f"{MODEL} storage",
        ANY,
    ),
    _tinyadder(
        "exports",
        r"io\..*",
        "models in the formats of others",
        f"{MODEL} storage inspect",
        ANY,
    ),
    _tinyadder("train", r"train(\.(?!prove).*)?", "models by training", f"{MODEL} storage", ANY),
    _tinyadder(
        "checker",
        r"verify\.certify\.check(\..*)?",
        "decides whether a certificate proves; a program of its own",
    ),
    _tinyadder(
        "program checker",
        r"verify\.certify\.programs\.(check|meaning|texts|computer|instructions|induction|__main__)",
        "the same for programs compiled from functions",
        "checker",
    ),
    _tinyadder(
        "verify",
        r"verify(\..*)?",
        "counts, tests, claims, proofs, verdicts",
        f"{MODEL} storage checker program_checker",
        ANY,
    ),
    _tinyadder(
        "train to a proof",
        r"train\.prove(_.*)?",
        "rounds of counterexamples, until the prover finds a proof",
        f"{MODEL} storage train checker verify",
        ANY,
    ),
    _tinyadder(
        "report",
        r"report(\..*)?",
        "results, leaderboard, tables, pages",
        f"{MODEL} storage inspect verify checker program_checker",
        ANY,
    ),
    Room(
        "front",
        r"tinyadder(\.(model|pictures))?",
        "the public names: tinyadder.load(..), Model, its pictures",
        (
            *f"{MODEL} gadgets programs storage inspect exports train checker verify".split(),
            "train to a proof",
        ),
        (ANY,),
    ),
    _tinyadder(
        "constructions",
        r"constructions(\..*)?",
        "the shelf: one file a construction",
        "basics fields language gadgets tasks construction programs",
        "numpy",
    ),
    _tinyadder(
        "commands",
        r"(commands(\..*)?|cli|build|__main__)",
        "the command line: one file a verb",
        f"{MODEL} gadgets encodings programs storage inspect exports train train_to_a_proof checker"
        " program_checker verify report front",
        ANY,
    ),
)
"""From the ground up: a room imports rooms above its line only. The first that fits a module is
its room.
"""


@cache
def room_of(module: str) -> Room | None:
    """The room of a module of the project, None for any other."""
    return next((room for room in TABLE if re.fullmatch(room.modules, module)), None)


def sources() -> dict[str, str]:
    """Module name -> source, for every file of the package."""
    files = {}
    for folder, package in (
        ("tinyadder", ()),
        ("constructions", ("tinyadder",)),
        ("verify", ("tinyadder",)),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            parts = (*package, *path.relative_to(ROOT).with_suffix("").parts)
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return files


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _imports(source: str, running: bool) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The import statements of a file at any level; with `running` without those that only the
    type checker reads.
    """
    statements = list[ast.Import | ast.ImportFrom]()
    inside: list[ast.AST] = [_tree(source)]
    while inside:
        node = inside.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            statements.append(node)
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (running and typed):
            inside += ast.iter_child_nodes(node)
    return tuple(statements)


def imports(source: str, modules: Mapping[str, str], *, running: bool = False) -> Iterator[str]:
    """Every module that a file imports; `from package import module` names the module."""
    for node in _imports(source, running):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert node.level == 0 and node.module is not None, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in inner)


def forbidden_imports(files: Mapping[str, str]) -> list[str]:
    """Imports that the table does not allow, as `importer -> imported`."""
    wrong = []
    for name, source in files.items():
        mine = room_of(name)
        assert mine is not None, name
        for imported in imports(source, files):
            theirs = room_of(imported)
            if theirs is None:
                free = (*mine.packages, *sys.stdlib_module_names)
                fits = ANY in mine.packages or imported.partition(".")[0] in free
            else:
                fits = theirs is mine or theirs.name in mine.imports
            if not fits:
                wrong.append(f"{name} -> {imported}")
    return wrong


def defined_twice(files: Mapping[str, str]) -> dict[str, list[str]]:
    """Classes, and other names of types in modules, that stand in two places -> the modules."""
    places: dict[str, list[str]] = {}
    for module, source in sorted(files.items()):
        tree = _tree(source)
        names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        for name in names:
            if re.fullmatch("_?[A-Z][a-z][A-Za-z]*", name):
                places.setdefault(name, []).append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


def circles(files: Mapping[str, str]) -> list[list[str]]:
    """Modules that import one another, at the top or within functions (not for the type checker
    only), as one list a circle.
    """
    graph = {
        name: {other for other in imports(source, files, running=True) if other in files} - {name}
        for name, source in files.items()
    }
    while free := [name for name, targets in graph.items() if not targets & graph.keys()]:
        for name in free:
            del graph[name]
    chains = []
    while graph:
        walk = [min(graph)]
        while walk[-1] not in walk[:-1]:
            walk.append(min(graph[walk[-1]] & graph.keys()))
        circle = walk[walk.index(walk[-1]) + 1 :]
        chains.append(circle)
        for name in circle:
            del graph[name]
        while free := [name for name, targets in graph.items() if not targets & graph.keys()]:
            for name in free:
                del graph[name]
    return chains


# ---- the picture ---------------------------------------------------------------------------------

WIDTH, HEIGHT, GAP, DROP = 118, 34, 18, 46


def floors() -> list[list[str]]:
    """The rooms by height: the ground floor imports nothing, every other one floor more than the
    highest room it imports.
    """
    height: dict[str, int] = {}
    for room in TABLE:
        height[room.name] = 1 + max((height[name] for name in room.imports), default=-1)
    return [
        [n for n, h in height.items() if h == floor] for floor in range(max(height.values()) + 1)
    ]


def arrows() -> list[tuple[str, str]]:
    """(importer, imported), without those that follow from others: a way over a third room."""
    below: dict[str, set[str]] = {}
    for room in TABLE:
        below[room.name] = set(room.imports).union(*(below[name] for name in room.imports))
    return [
        (room.name, name)
        for room in TABLE
        for name in room.imports
        if not any(name in below[other] for other in room.imports if other != name)
    ]


def picture() -> str:
    """The table as an SVG drawing, the ground floor at the bottom."""
    rows = floors()[::-1]
    whole = max(len(row) * (WIDTH + GAP) + GAP for row in rows)
    place = {}
    for y, row in enumerate(rows):
        left = (whole - len(row) * (WIDTH + GAP) + GAP) / 2
        for x, name in enumerate(row):
            place[name] = (left + x * (WIDTH + GAP), GAP + y * (HEIGHT + DROP))
    tall = len(rows) * (HEIGHT + DROP) - DROP + 2 * GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:g} {tall:g}"'
        ' font-family="sans-serif" font-size="13">',
        "<title>Which room of tinyadder imports which</title>",
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">'
        '<path d="M0,0 L7,3 L0,6 z" fill="#888"/></marker></defs>',
        f'<rect width="{whole:g}" height="{tall:g}" fill="white"/>',
    ]
    for upper, lower in arrows():
        (x1, y1), (x2, y2) = place[upper], place[lower]
        lines.append(
            f'<line x1="{x1 + WIDTH / 2:g}" y1="{y1 + HEIGHT:g}" x2="{x2 + WIDTH / 2:g}"'
            f' y2="{y2:g}" stroke="#888" marker-end="url(#tip)"/>'
        )
    for name, (a, b) in place.items():
        lines.append(
            f'<rect x="{a:g}" y="{b:g}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="#eef4fb"'
            ' stroke="#36c"/>'
            f'<text x="{a + WIDTH / 2:g}" y="{b + HEIGHT / 2 + 5:g}" text-anchor="middle">{name}'
            "</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


def table() -> str:
    """The rooms as a Markdown table, from the top down."""
    lines = ["| room | what is in it | imports | packages |", "| --- | --- | --- | --- |"]
    for room in TABLE[::-1]:
        near = [lower for upper, lower in arrows() if upper == room.name]
        also = [name for name in room.imports if name not in near]
        named = ", ".join(near) + (f"; also {', '.join(also)}" if also else "")
        packages = ", ".join(room.packages)
        lines.append(f"| {room.name} | {room.about} | {named or '-'} | {packages or '-'} |")
    return "\n".join(lines)


MARKS = ("<!-- rooms -->", "<!-- /rooms -->")


def drawn(page: str) -> str:
    """The page with today's table between its marks."""
    start, end = (page.index(mark) for mark in MARKS)
    return f"{page[:start]}{MARKS[0]}\n{table()}\n{page[end:]}"
