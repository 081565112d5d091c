"""The `tinyadder` command. Each verb is one file of `tinyadder/commands`, imported only when it is
called.

Exit codes: 0 good, 1 the model is wrong, 2 usage, 3 a missing extra.
"""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from pathlib import Path

import click

from tinyadder import __version__
from tinyadder.errors import TinyadderError, did_you_mean

COMMANDS = Path(__file__).parent / "commands"


class Verbs(click.Group):
    """Lists the files of the commands folder; a verb's file holds one click command named
    `command`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(path.stem for path in COMMANDS.glob("*.py") if not path.stem.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        return import_module(f"tinyadder.commands.{name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verbs = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in verbs:
            raise click.UsageError(f"no verb '{args[0]}'{did_you_mean(args[0], verbs)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(verb, _summary(COMMANDS / f"{verb}.py")) for verb in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)


def _summary(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


@click.group(cls=Verbs)
@click.version_option(__version__, prog_name="tinyadder")
def cli() -> None:
    """Write exact algorithms as the weights of small transformers; build, look inside, count,
    verify.
    """


def main(
    arguments: list[str] | None = None, command: click.Command = cli, name: str = "tinyadder"
) -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2, never a traceback."""
    try:
        code = command.main(
            arguments, name, standalone_mode=False, help_option_names=["-h", "--help"]
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        where = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"error: {error.format_message().rstrip('.')}{where}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except TinyadderError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has enough; closing it here keeps the interpreter from complaining
        # at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
