"""Start a construction of your own: write a commented file that already builds and runs, and is
wrong.
"""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path

import click

from tinyadder.commands._common import echo_json, json_option
from tinyadder.construction import construction_folder, construction_names
from tinyadder.errors import TinyadderError

SKELETON = '''"""NAME: say in one line what it does; `tinyadder list` shows this line.

Say here why it works: what each lane holds, what each head attends to, where every constant comes
from. This skeleton adds up all digits it has seen and takes 10 away from 10 on. That is not
addition: `tinyadder verify NAME` shows you a pair of numbers for which it is wrong.
"""

from tinyadder.construction import DIGIT_VALUES, LaneClaim, Construction, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed
from tinyadder.lang.gadgets import parabola_readout, step, sum_head
from tinyadder.tasks.addition import Addition


def construct(*, digits: int = 2) -> Construction:
    """Say on which options it is exact, and raise TinyadderError for the others."""
    # The task: prompt and right answer. '^12+34=' is continued with '046', one token a step, each
    # fed back.
    task = Addition(digits=digits)

    # The residual stream: named lanes with their meaning. Every token carries one number in each.
    x = Stream(
        digit="the digit, 0 on other tokens",
        total="sum of the digits so far, less 10 from 10 on",
    )

    program = Program(
        task.vocabulary,
        x,
        # What each token writes into the stream; what is not named is 0.
        Embed(digit={str(d): d for d in range(1, 10)}),
        # Heads add to lanes: a weighted sum over this token and those before it. sum_head(v) is
        # Head(query=1, key=-40, value=exp(40) * v); give a Head a slope to make the past fade.
        Attention(total=sum_head(x.digit)),
        # Hidden units add to lanes: sums of relu(a) * b, token by token. step(..) is two of them.
        MLP(total=-10 * step(x.total, at=9.5, width=1)),
        # One row for each of the first tokens of the vocabulary; the largest is the next token.
        Unembed(argmax=parabola_readout(x.total, range(10))),
    )
    # More attention and MLP sublayers may stand between. `tinyadder show NAME` prints equations and
    # prices.
    return Construction(program, task, _claims(task))


def _claims(task: Addition) -> dict[str, LaneClaim]:
    """What the lanes mean, exactly, at a position of prompt + right answer; `tinyadder claims NAME`
    compares.
    """
    digit = token_claim(task, DIGIT_VALUES)

    def total(problem: tuple[int, ...], position: int) -> int:
        found = sum(int(digit(problem, i)) for i in range(position + 1))
        return found - 10 * (found >= 10)

    return {"digit": digit, "total": total}
'''


@click.command("new", short_help=__doc__)
@click.argument("name", metavar="NAME")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="Where to write it; unless given, beside the constructions, where every verb finds it.",
)
@json_option
def command(name: str, folder: Path | None, as_json: bool) -> None:
    """Write NAME.py: a small construction to change step by step. It builds, runs, and verify
    refutes it.

    A file that exists is never overwritten.
    """
    path = (folder or construction_folder()) / f"{name}.py"
    _check(name)
    if folder is None and name in construction_names():
        raise TinyadderError(
            f"there is a construction '{name}' already ({path}); choose another name"
        )
    _write(path, SKELETON.replace("NAME", name))
    steps = [f"tinyadder show {name}", f"tinyadder run {name} 12 34", f"tinyadder verify {name}"]
    if as_json:
        echo_json({"wrote": str(path), "next": steps})
        return
    click.echo(path)
    found = folder is None or folder.resolve() == construction_folder().resolve()
    said = (
        "   ·   ".join(steps) if found else f"move it to {construction_folder()}, then: {steps[0]}"
    )
    click.echo(f"next      {said}", err=True)


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise TinyadderError(
            f"'{name}' cannot name a construction; take small letters, digits and '_', a letter"
            " first, e.g. my_adder"
        )


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.link(beside, path)  # unlike a rename, refuses a file that is there
    except FileExistsError:
        raise TinyadderError(
            f"{path} exists and is left as it is; choose another name or move it away"
        ) from None
    except OSError as error:
        raise TinyadderError(
            f"cannot write {path}: {error.strerror}; give another folder with --dir"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
