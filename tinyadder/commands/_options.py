"""Arguments and options that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import Any

import click

from tinyadder.construction import construction_names, construction_summary
from tinyadder.errors import TinyadderError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def complete_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Completions of a partial NAME for the shell: constructions, files, folders."""
    from click.shell_completion import CompletionItem

    names = [name for name in construction_names() if name.startswith(begun)]
    items = [CompletionItem(name, help=construction_summary(name)) for name in names]
    return [*items, *([] if names else [CompletionItem(begun, type="file")])]


PICTURES = (".png", ".svg", ".pdf")
"""How the names of pictures end."""
SEED = click.IntRange(0, 2**31 - 1)
"""Seeds that every generator of random numbers takes."""

name_argument: Decorator = click.argument("name", metavar="NAME", shell_complete=complete_names)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output."
)
device_option: Decorator = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="cpu",
    show_default=True,
    help="Where the model runs; auto: on cuda if torch finds it.",
)

force_option: Decorator = click.option("--force", is_flag=True, help="Replace what is there.")
save_option: Decorator = click.option(
    "--save", is_flag=True, help="Write the result to results/, for the leaderboard."
)
threads_option: Decorator = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="CPU threads of torch.",
)

task_option: Decorator = click.option(
    "--task",
    metavar="FILE.py",
    help="Judge the model by the task in this file; needed for a folder without right answers.",
)


def construction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --digits, --base and -o key=value; the function gets them together as `options`."""

    def given(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        options = context.params.setdefault("options", {})
        if parameter.name == "option":
            options.update(key_value(text) for text in value)
        elif value is not None:
            options[parameter.name] = value

    for decorate in (
        click.option(
            "--digits", type=int, expose_value=False, callback=given, help="Digits of an operand."
        ),
        click.option(
            "--base", type=int, expose_value=False, callback=given, help="Base of the numbers."
        ),
        click.option(
            "-o",
            "--option",
            metavar="KEY=VALUE",
            multiple=True,
            expose_value=False,
            callback=given,
            help="Any other option of the construction.",
        ),
    ):
        function = decorate(function)
    return function


def model_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add NAME and the options of a construction, which the function gets as `name`, `options`."""
    return name_argument(construction_options(function))


def integer_option(*names: str, default: int, help: str, least: int = 1) -> Decorator:
    """An option that takes an integer from `least` on and shows its default."""
    kind = click.IntRange(least)
    return click.option(*names, type=kind, default=default, show_default=True, help=help)


def seed_option(help: str, default: int | None = 0) -> Decorator:
    """--seed, of what `help` says."""
    return click.option("--seed", type=SEED, default=default, show_default=True, help=help)


def seconds_option(help: str, default: float | None = None) -> Decorator:
    """--seconds, for what `help` says."""
    kind, shown = click.FloatRange(1, 86_400), default is not None
    return click.option("--seconds", type=kind, default=default, show_default=shown, help=help)


def path_option(name: str, help: str, *, there: bool = False) -> Decorator:
    """An option that takes a path, with `there` one of a file that exists."""
    kind = click.Path(exists=there, dir_okay=not there, path_type=Path)
    return click.option(name, type=kind, help=help)


def out_option(help: str) -> Decorator:
    """--out, a file or folder to write."""
    return path_option("--out", help)


def settings_option(help: str) -> Decorator:
    """--set KEY=VALUE, of what `help` says; the function gets the texts as `settings`."""
    return click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help=help)


def check_new(path: Path | None, force: bool, option: str = "--out") -> None:
    """Raises `TinyadderError` where `path`, given by `option`, is there and may not be replaced."""
    if path is not None and lexists(path) and not force:
        raise TinyadderError(f"{path} exists; give --force to replace it, or another {option}")


def check_picture(path: Path) -> None:
    """Raises `TinyadderError` where the name of a file says no format of pictures."""
    if path.suffix not in PICTURES:
        raise TinyadderError(f"'{path}' does not say a format; end it in {', '.join(PICTURES)}")


def check_submission_options(name: str, given: Mapping[str, object]) -> None:
    """Raises `TinyadderError` for options that a submission does not take: the first that has a
    value. Those of constructions stand as `-o`.
    """
    for option, value in given.items():
        if value:
            shown = f"-o {next(iter(value))}" if isinstance(value, Mapping) else option
            raise TinyadderError(f"{name} is a submission; it takes no {shown}")


def check_own_options(name: str, given: Mapping[str, object]) -> None:
    """Raises `TinyadderError` for options of submissions: the first that has a value."""
    for option, value in given.items():
        if value is not None:
            raise TinyadderError(f"{option} is for submissions; {name} is none")


def refuse_options(context: click.Context, problem: Sequence[str]) -> None:
    """A problem may begin with a minus, not with an option that there is not."""
    for word in problem:
        if word.startswith("--"):
            raise click.NoSuchOption(word, ctx=context)


def key_value(text: str, option: str = "-o") -> tuple[str, Any]:
    """The key and the value, read as JSON where it is some, of `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise TinyadderError(f"'{option} {text}' is not KEY=VALUE, e.g. {option} digits=4")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value
