"""The `tinyadder` command. Each subcommand is one file in `tinyadder/commands`, imported only when
it is called.

Exit codes: 0 good, 1 the model is wrong, 2 usage, 3 a missing extra, 4 undecided.
"""

from __future__ import annotations

import ast
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

import click

from tinyadder import __version__
from tinyadder.errors import TinyadderError, did_you_mean, missing_extra
from tinyadder.escape import terminal
from tinyadder.plain import first_paragraph

COMMANDS = Path(__file__).parent / "commands"


class Commands(click.Group):
    """Lists the files of the commands folder; each holds one click command named `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(path.stem for path in COMMANDS.glob("*.py") if not path.stem.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        return import_module(f"tinyadder.commands.{name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            raise click.UsageError(f"no command '{args[0]}'{did_you_mean(args[0], names)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _summary(COMMANDS / f"{name}.py")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _summary(path: Path) -> str:
    return first_paragraph(ast.get_docstring(ast.parse(path.read_text())) or "")


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="tinyadder")
def cli() -> None:
    """Write exact algorithms as the weights of small transformers; build, look inside, count,
    verify.

    Exit codes: 0 good, 1 the model is wrong (refuted), 2 a mistake in what was given, 3 a missing
    extra, 4 undecided, 70 a bug.
    """


def main(
    arguments: list[str] | None = None, command: click.Command = cli, name: str = "tinyadder"
) -> None:
    """Run a command and exit with its code; a user's mistake is one line on standard error.

    A reader of standard output that has enough (`| head`) ends it silently with 141, as the signal
    SIGPIPE would. A traceback is a bug of tinyadder, with code 70.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where a terminal has no '·'
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments, command, name)
        if sys.stdout is None:
            raise TinyadderError("standard output is closed; nothing could be printed")
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.UsageError as error:
        where = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        code = _say(f"error: {error.format_message().rstrip('.')}{where}", 2)
    except click.ClickException as error:
        code = _say(f"error: {error.format_message()}", error.exit_code)
    except TinyadderError as error:
        code = _say(f"error: {error}", error.exit_code)
    except ModuleNotFoundError as error:
        extra = missing_extra(error)
        if extra is None:
            raise
        code = _say(f"error: {extra}", extra.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = _say("interrupted", 130)
    except BrokenPipeError:
        code = 141
    except OSError as error:  # of standard output, a full disk above all
        where = f"{error.filename}: " if error.filename else "standard output: "
        code = _say(f"error: {where}{error.strerror or error}", 2)
    except Exception:
        traceback.print_exc()
        code = _say("error: this is a bug of tinyadder; please report it with the lines above", 70)
    _close_output()
    sys.exit(code)


def _run(arguments: list[str], command: click.Command, name: str) -> int:
    """The exit code of a command. Unlike `click.Command.main` it lets a broken pipe through."""
    if "_TINYADDER_COMPLETE" in os.environ:
        command.main(arguments, name)
    try:
        with command.make_context(
            name, list(arguments), help_option_names=["-h", "--help"]
        ) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return code if isinstance(code, int) else 0


def _say(line: str, code: int) -> int:
    """Print one line on standard error, where there is one, and give `code` back."""
    with suppress(OSError):
        click.echo(terminal(line), err=True)
    return code


def _close_output() -> None:
    """Flush what can be flushed; what cannot, the interpreter shall not complain about."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
