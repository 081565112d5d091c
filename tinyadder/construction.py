"""Constructions: a program with its task. Each is one Python file, in the package
`tinyadder.constructions` or in any folder.

A file that defines `construct` is a construction. Loading it runs it, with the rights of the user.
"""

from __future__ import annotations

import ast
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from inspect import Parameter, signature
from pathlib import Path
from types import ModuleType
from typing import Any

from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.fields import checked
from tinyadder.io.files import read_bytes
from tinyadder.plain import first_paragraph
from tinyadder.tasks.base import Problem, Task

LaneClaim = Callable[[Problem, int], Fraction | int | Sequence[Fraction | int] | None]
"""The exact value a lane should hold after the last layer at a position of prompt + right answer: a
rational (for a wide lane one per column), or None where nothing is claimed. It is not a parameter;
`tinyadder.verify.claims` compares it with the model."""


MOST_SOURCE = 2**22
"""Bytes of a Python file."""
DIGIT_VALUES: Mapping[str, int] = {str(d): d for d in range(10)}
"""The table of a lane that holds the decimal digit."""


def token_at(task: Task, problem: Problem, position: int) -> str:
    """The token at `position` of prompt + right answer: what claims are made of."""
    prompt = task.prompt(problem)
    return (
        prompt[position] if position < len(prompt) else task.answer(problem)[position - len(prompt)]
    )


def token_claim(
    task: Task, table: Mapping[str, float | Fraction]
) -> Callable[[Problem, int], Fraction]:
    """The claim that a lane holds `table[token]`, 0 at other tokens: a lane that only the embedding
    writes.

    >>> from tinyadder.tasks.addition import Addition
    >>> flag = token_claim(Addition(digits=1), {"^": 1, "+": 1, "=": -10})
    >>> [int(flag((4, 5), position)) for position in range(5)]
    [1, 0, 1, 0, -10]
    """
    return lambda problem, position: Fraction(table.get(token_at(task, problem, position), 0))


@dataclass(frozen=True)
class Construction:
    """An exact algorithm: a program, the task it must compute, and optionally what its lanes
    mean.
    """

    program: Program
    task: Task
    claims: Mapping[str, LaneClaim] | None = None
    """The exact value of each lane."""

    def compiled_for(self, target: str, *, superpose: int | None = None) -> Construction:
        """What is to be converted to the architecture `target`: itself, where the equations are
        written by hand. A compiled program has other equations for other architectures, and with
        `superpose` its lanes share at most so many columns. Raises `TinyadderError` where that
        cannot be.
        """
        if superpose is not None:
            raise TinyadderError(
                "superpose= takes a program that tinyadder.programs.compile made; lanes that are "
                "written by hand have a column each"
            )
        return self


@cache
def construction_folder() -> Path:
    """The folder of the package `tinyadder.constructions`."""
    return Path(next(iter(import_module("tinyadder.constructions").__path__)))


def construction_names() -> list[str]:
    """The files of `constructions/`, in alphabetical order."""
    return sorted(
        path.stem for path in construction_folder().glob("*.py") if not path.stem.startswith("_")
    )


def is_file_name(name: str) -> bool:
    """Whether a NAME means a Python file."""
    return name.endswith(".py")


def model_name(name: str) -> str:
    """The name of a construction: its NAME, or for a file the name without folder and suffix."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", Path(name).stem) if is_file_name(name) else name


def construction_summary(name: str) -> str:
    """The first paragraph of the file's docstring, read without running the file; empty if it has
    none.

    Raises `TinyadderError` for a file that cannot be read or is not Python.
    """
    path = Path(name) if is_file_name(name) else construction_folder() / f"{name}.py"
    return first_paragraph(ast.get_docstring(parse_file(path)) or "")


def construction_introduction(name: str) -> str:
    """The paragraph of the file's docstring that says how it works, as one line.

    It is the first paragraph of prose after the summary: neither indented nor a list. Empty if
    there is none.
    """
    path = Path(name) if is_file_name(name) else construction_folder() / f"{name}.py"
    paragraphs = (ast.get_docstring(parse_file(path)) or "").split("\n\n")[1:]
    prose = (text for text in paragraphs if text[:1] not in (" ", "-", "*", ""))
    return " ".join(next(prose, "").replace("`", "").split())


def parse_file(path: Path) -> ast.Module:
    """The syntax tree of a Python file. Raises `TinyadderError` if it cannot be read or has a
    syntax error.
    """
    try:
        return ast.parse(read_source(path), str(path))
    except SyntaxError as error:
        raise TinyadderError(f"{path}, line {error.lineno or 1}: {error.msg}") from error
    except TinyadderError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:  # the latter: nested too deeply
        reason = str(error) or "nested too deeply"
        raise TinyadderError(f"{path} is not a Python file: {reason}") from error


def read_source(path: Path) -> bytes:
    """The text of a Python file. Raises `TinyadderError` where it cannot be read or is longer than
    any that a person writes.
    """
    return read_bytes(path, most=MOST_SOURCE)


def defined(path: Path) -> set[str]:
    """The functions and variables that a Python file defines, read without running it; "*" where
    it imports all of another module.
    """
    return set(_defined(parse_file(path)))


def _defined(block: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(block):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _defined(node)


SUBMISSION = frozenset({"build_model", "add"})
"""What a submission defines."""


def is_submission(name: str) -> bool:
    """Whether NAME means a submission, which defines `build_model` and `add`, and no construction:
    a Python file, a folder with such a file in it (and no model of ours), the import path of such a
    module (`pkg.mod`), or one of these with `:NAME` behind, an object there.

    Nothing is run. Raises `TinyadderError` where a file cannot be read.
    """
    if is_file_name(name):
        names = defined(Path(name))
        return "construct" not in names and not names.isdisjoint(SUBMISSION)
    if Path(name).is_dir():
        return not (Path(name) / "model.json").exists() and bool(submissions_in(Path(name)))
    before, colon, _ = name.rpartition(":")
    if colon:
        return Path(before).exists() or module_file(before) is not None
    if name in construction_names():
        return False
    file = module_file(name)
    return file is not None and defined(file) >= SUBMISSION


def submissions_in(folder: Path) -> list[Path]:
    """The Python files in a folder (not below it) that define `build_model` and `add`, as far as
    that can be seen without running them; alone the one called `submission` or `__init__`, where
    there are several.
    """
    files = []
    for path in sorted(folder.glob("*.py")):
        try:
            names = defined(path)
        except TinyadderError:
            continue
        if names >= SUBMISSION or ("*" in names and not names.isdisjoint(SUBMISSION)):
            files.append(path)
    named = [path for path in files if path.stem in ("submission", "__init__")]
    return named if len(named) == 1 else files


def module_file(name: str) -> Path | None:
    """The Python file of a module by its import path, found as `import` finds it, from the current
    folder on, but without running any package on the way; None where there is none.
    """
    places = [str(Path.cwd()), *sys.path]
    file = None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, places) if part.isidentifier() else None
        if spec is None:
            return None
        file, places = spec.origin, list(spec.submodule_search_locations or [])
    return Path(file) if file is not None and file.endswith(".py") else None


def construct(name: str, **options: Any) -> Construction:
    """The construction NAME: `tinyadder/constructions/NAME.py`, or any Python file ("./mine.py").

    `options` are passed to the file's function `construct(*, digits=10, ...)`. Raises
    `TinyadderError`, one line, for an unknown name, an unknown option, a value for which the
    construction is not exact, and a file that cannot be read, is not a construction, or fails
    (with file, line and message).
    """
    if is_file_name(name):
        return _construct_file(Path(name), options)
    if name not in construction_names():
        names = construction_names()
        hint = did_you_mean(name, names)
        if {".", ":"} & set(name):
            hint = ", and no submission that can be imported from here (pkg.mod, pkg.mod:OBJECT)"
        raise TinyadderError(f"unknown construction '{name}'{hint} (tinyadder list)")
    function = import_module(f"tinyadder.constructions.{name}").construct
    return function(**_options(name, function, options))


def _options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, checked against the annotations of `function`, or against its defaults where it
    has none; a plain `int` is within -10^6 .. 10^6.
    """
    try:
        known = signature(function, eval_str=True).parameters
    except (NameError, TypeError, ValueError, SyntaxError) as error:  # of an annotation
        raise TinyadderError(
            f"{name}: an annotation of construct(...) cannot be read: {error}"
        ) from error
    for option in options:
        if option not in known:
            takes = ", ".join(known) or "none"
            raise TinyadderError(
                f"{name} has no option '{option}'{did_you_mean(option, known)} (options: {takes})"
            )
    return {
        option: checked(value, _hint(known[option]), f"{name}: {option}")
        for option, value in options.items()
    }


def _hint(parameter: Parameter) -> Any:
    """The annotation of an option; where it has none, the type of its default."""
    if parameter.annotation is not Parameter.empty:
        return parameter.annotation
    kind = type(parameter.default)
    return kind if kind in (bool, int, float, str) else bool | int | float | str | list | None


def _construct_file(path: Path, options: Mapping[str, Any]) -> Construction:
    names = defined(path)
    if "construct" not in names and "model" not in names:
        if {"build_model", "add"} <= names:
            raise TinyadderError(
                f"{path} defines build_model and add: a submission, which this command does not "
                "take; a construction defines construct (tinyadder new writes one)"
            )
        raise TinyadderError(
            f"{path} defines no function construct and no variable model; tinyadder new NAME writes"
            " a file that does"
        )
    with _one_line(path):
        names_of = _run_file(path)
        function = names_of.get("construct", lambda: names_of["model"])
    if not callable(function):
        raise TinyadderError(
            f"{path}: construct is a {type(function).__name__}; expected a function"
        )
    given = _options(str(path), function, options)
    with _one_line(path):
        made = function(**given)
    if not isinstance(made, Construction):
        raise TinyadderError(
            f"{path}: construct() returned {type(made).__name__}; expected "
            "a Construction(program, task)"
        )
    if made.program.vocabulary != made.task.vocabulary:
        raise TinyadderError(
            f"{path}: the program has the vocabulary {' '.join(made.program.vocabulary)}, its task "
            f"{' '.join(made.task.vocabulary)}; make it Program(task.vocabulary, ...)"
        )
    return made


def _run_file(path: Path) -> dict[str, Any]:
    """The global names of a Python file after running it. It can import files in its folder, which
    come after everything installed.

    The module is removed from `sys.modules`, so that worker processes are sent its functions and
    not their names.
    """
    module = ModuleType(f"tinyadder.files.{path.stem}")
    module.__file__ = str(path)
    folder = str(path.resolve().parent)
    sys.modules[module.__name__] = module
    sys.path.append(folder)
    try:
        exec(compile(read_source(path), str(path), "exec"), module.__dict__)
    finally:
        if folder in sys.path:  # the file may have changed it
            sys.path.remove(folder)
        del sys.modules[module.__name__]
    return module.__dict__


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn whatever a user's file raises into one line: file, line, message."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        where = f"{path}, line {lines[-1]}" if lines else f"{path}"
        text = " ".join(str(error).split())
        if not isinstance(error, TinyadderError):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise TinyadderError(f"{where}: {text}") from error
