"""Start a construction of your own: write a commented file that builds and runs but is still
wrong.
"""

from __future__ import annotations

import keyword
import re
import shlex
from os.path import lexists
from pathlib import Path

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import echo, echo_json
from tinyadder.construction import construction_names
from tinyadder.errors import TinyadderError
from tinyadder.io.files import write_text

SKELETON = '''"""NAME: say in one line what it does; `tinyadder list` shows this line.

Say here why it works: what each lane holds, what each head attends to, where every constant comes
from. This skeleton adds up all the digits it has seen and subtracts 10 once the sum reaches 10.
That is not addition: `tinyadder verify ./NAME.py` finds two numbers that it adds wrongly.
"""

import tinyadder as ta
from tinyadder.lang.gadgets import parabola_readout, step, sum_head
from tinyadder.tasks.addition import Addition


def construct(*, digits: int = 2) -> ta.Construction:
    """Say for which options it is exact, and raise ta.TinyadderError for the others."""
    # The task: prompts and right answers. After '^12+34=' the answer is '046', one token per step,
    # each fed back. For a task of your own: ta.task(alphabet="ab", lengths=range(1, 9),
    # answer=lambda word: str(word.count("a"))).
    task = Addition(digits=digits)

    # The residual stream: named lanes with their meaning. Each holds one value per token.
    x = ta.Stream(
        digit="the digit, 0 on other tokens",
        total="sum of the digits so far, minus 10 once it reaches 10",
    )

    program = ta.Program(
        task.vocabulary,
        x,
        # What each token writes into the stream; everything else is 0.
        ta.Embed(digit={str(d): d for d in range(1, 10)}),
        # Heads add to lanes: a weighted sum over this token and those before it. sum_head(v) is
        # Head(query=1, key=-40, value=exp(40) * v); with a slope, earlier tokens count less.
        ta.Attention(total=sum_head(x.digit)),
        # Hidden units add to lanes: sums of relu(a) * b, at each token. step(..) is two of them.
        ta.MLP(total=-10 * step(x.total, at=9.5, width=1)),
        # One row for each of the first tokens of the vocabulary; the largest wins.
        ta.Unembed(argmax=parabola_readout(x.total, range(10))),
    )
    # There may be more attention and MLP sublayers. `tinyadder show ./NAME.py` prints the equations
    # and their prices.
    return ta.Construction(program, task, claims(task))


def claims(task):
    """The exact value of each lane at a position of prompt + right answer.

    `tinyadder claims ./NAME.py` compares them with the model.
    """

    def digit(problem, position):
        text = task.prompt(problem) + task.answer(problem)
        return int(text[position]) if text[position].isdigit() else 0

    def total(problem, position):
        added = sum(digit(problem, i) for i in range(position + 1))
        return added - 10 * (added >= 10)

    return {"digit": digit, "total": total}
'''


@click.command("new", short_help=__doc__)
@click.argument("name", metavar="NAME")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="The folder to write it into [default: this one].",
)
@opt.json_option
def command(name: str, folder: Path, as_json: bool) -> None:
    """Write NAME.py: a small construction to change step by step. It builds and runs, and verify
    refutes it.

    Every command takes such a file, wherever it is: tinyadder build ./NAME.py. An existing file is
    never overwritten.
    """
    _check(name)
    if name in construction_names():
        raise TinyadderError(f"there is a construction '{name}' already; choose another name")
    if not folder.is_dir():
        kind = "no folder" if folder.exists() else "not there"
        raise TinyadderError(
            f"cannot write into {folder}: it is {kind}; give another folder with --dir"
        )
    path = folder / f"{name}.py"
    if lexists(path):
        raise TinyadderError(
            f"{path} exists and is left as it is; choose another name or move it away"
        )
    way_out = "choose another name, or another folder with --dir"
    write_text(path, SKELETON.replace("NAME", name), way_out=way_out, replace=False)
    shown = shlex.quote(str(path) if path.is_absolute() or folder != Path(".") else f"./{path}")
    steps = [f"tinyadder show {shown}", f"tinyadder run {shown} 12 34", f"tinyadder verify {shown}"]
    if as_json:
        echo_json({"wrote": str(path), "next": steps})
        return
    echo(str(path))
    echo("next      " + "   ·   ".join(steps), err=True)


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise TinyadderError(
            f"'{name}' cannot name a construction; take small letters, digits and '_', a letter"
            " first, e.g. my_adder"
        )
