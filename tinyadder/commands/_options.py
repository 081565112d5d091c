"""Arguments and options that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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
    found = [CompletionItem(name, help=construction_summary(name)) for name in names]
    return [*found, *([] if names else [CompletionItem(begun, type="file")])]


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


def seed_option(help: str, default: int = 0) -> Decorator:
    """--seed, of what `help` says."""
    return click.option("--seed", type=SEED, default=default, show_default=True, help=help)


def seconds_option(help: str, default: float | None = None) -> Decorator:
    """--seconds, for what `help` says."""
    kind, shown = click.FloatRange(1, 86_400), default is not None
    return click.option("--seconds", type=kind, default=default, show_default=shown, help=help)


def out_option(help: str) -> Decorator:
    """--out, a file that is also written."""
    return click.option("--out", type=click.Path(path_type=Path), help=help)


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
