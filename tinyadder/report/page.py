"""`report.html`: the leaderboard as one file for people. No network; without scripts only the
sorting is missing.

Verdict band, counts by every convention, per model the equations with their prices, attention and
certificate; how things were counted, where they were measured, the commands that make each part
again, and what others claim, apart.
"""

from __future__ import annotations

import base64
import io
import platform
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tinyadder.construction import construct, construction_summary
from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer
from tinyadder.report.board import FIELD_HEADS, field_cells
from tinyadder.report.leaderboard import FIELD_DATE, STRONGEST, Entry, LeaderboardRow, public_field
from tinyadder.report.tables import (
    SHOWN,
    Group,
    format_verdict,
    groups,
    mean_and_worst,
    mean_counts,
    percent,
    whole,
)
from tinyadder.tasks.base import Problem, Task
from tinyadder.verify.count import definition
from tinyadder.verify.external.board import BoardRow
from tinyadder.verify.verdict import Proved

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

DPI = 100
"""Of the pictures: the smallest that is legible, in as many colours as a colour map needs."""
SMALL = 3
"""Digits of the instance whose attention is drawn: ten make token sequences too long for a small
picture.
"""


def report_html(
    models: Sequence[Entry],
    rows: Sequence[LeaderboardRow],
    board: Sequence[BoardRow] = (),
    *,
    pictures: bool = True,
) -> str:
    """The page for these models and their rows (in the same order), as the text of one HTML file.

    Seeds of one recipe are one entry: mean and worst counts, the verdict of the worst; the first
    seed is drawn.
    """
    from jinja2 import Environment, FileSystemLoader

    folder = Path(__file__).parent
    of = {row.name: model for model, row in zip(models, rows, strict=True)}
    ordered = sorted(groups(rows), key=lambda group: group.rows[0].trained)
    shown = [_model(group, of, pictures) for group in ordered]
    tally = Counter(entry["strongest"] for entry in shown)
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    return environment.get_template("report.html.jinja").render(
        models=shown,
        written=sum(not entry["trained"] for entry in shown),
        rungs=SHOWN,
        chart=_chart(rows) if pictures else None,
        tally=[(word, tally[word]) for word in STRONGEST if tally[word]],
        conventions=[(rung, definition(rung)) for rung in (rows[0].counts if rows else {})],
        field=field_cells(public_field(), board),
        field_heads=FIELD_HEADS,
        field_date=FIELD_DATE,
        page_environment={
            "python": platform.python_version(),
            **{
                package: version(package)
                for package in ("tinyadder", "torch", "numpy", "matplotlib")
            },
            "machine": f"{platform.system()} {platform.machine()}",
        },
        measured=sorted(
            {
                (r.date, *(f"{k} {v}" for k, v in r.versions.items()))
                for row in rows
                for r in row.results
            }
        ),
    )


def _model(group: Group, models: dict[str, Entry], pictures: bool) -> dict[str, Any]:
    """What the page shows of one model, or of the seeds of one recipe."""
    row, model = group.rows[0], models[group.rows[0].name]
    made = None if row.trained else construct(row.name)
    several = len(group.rows) > 1
    proof = row.of("proved")
    proved = [f.verdict for f in row.findings if isinstance(f.verdict, Proved) and not f.options]
    certificate = None
    if proof is not None and proved:
        certificate = {
            "margin": f"{proved[0].margin:.6g}",
            **{
                key: proof.data.get(key)
                for key in ("proof_seconds", "check_seconds", "certificate_bytes")
            },
            "command": f"tinyadder prove {shlex.quote(model.given)} --out FOLDER && "
            "python -m tinyadder.verify.certify.check FOLDER",
        }
    return {
        "name": group.label,
        "anchor": group.name.replace("/", "-"),
        "given": [models[member.name].given for member in group.rows],
        "trained": row.trained,
        "about": "" if row.trained else construction_summary(row.name),
        "task": row.task,
        "counts": {rung: _count(group, rung) for rung in SHOWN},
        "strongest": group.strongest,
        "verdicts": [
            (f"seed {seed}: " if several else "") + format_verdict(finding)
            for seed, member in zip(group.seeds or [""], group.rows, strict=True)
            for finding in member.verdicts()
        ],
        "exact": _exact(group),
        "results": [(r.kind, r.command, r.date) for member in group.rows for r in member.results],
        "legality": (legal.data["findings"] if (legal := row.of("legality")) else []),
        "certificate": certificate,
        "lanes": [] if made is None else _lanes(made.program),
        "equations": equations_of(model.model.config) if made is None else str(made.program),
        "picture": _picture(model) if pictures else None,
    }


def _lanes(program: Program) -> list[tuple[str, str]]:
    """(lane, what it means) of every lane of a program."""
    return [(lane.name, lane.meaning) for lane in program.stream.lanes.values()]


def code(text: object) -> Markup:
    """Text as HTML, with what stands between backticks set as code. For words of this package only:
    in what a results file or a stranger wrote a backtick is a backtick.

    >>> print(code("`x < 1` of <b>"))
    <code>x &lt; 1</code> of &lt;b&gt;
    """
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def _count(group: Group, rung: str) -> tuple[float, str]:
    """The mean count of a rung, to sort by, and what is shown: `7,118 (worst 7,120)`."""
    values = [row.counts[rung] for row in group.rows]
    return sum(values) / len(values), mean_and_worst(values, whole)


def _exact(group: Group) -> list[str]:
    """Exact match of trained models, in words: mean and worst of the seeds."""
    evaluations = [row.evaluation for row in group.rows if row.evaluation]
    return [
        f"{part}: {mean_and_worst(exact, percent, lowest=True)} exact, {count:,} problems"
        for part in ("held out", "hard cases")
        if evaluations
        for exact in [[evaluation[part]["exact"] for evaluation in evaluations]]
        for count in [evaluations[0][part]["problems"]]
    ]


def _chart(rows: Sequence[LeaderboardRow]) -> str:
    """Every model's counts as dumbbells, as a PNG in a data URI."""
    from tinyadder.inspect.plot.leaderboard import leaderboard

    counts = mean_counts(
        [(row.name, row.trained, {rung: row.counts[rung] for rung in SHOWN}) for row in rows]
    )
    return _png(leaderboard(counts), dpi=110)


SOFTMAX = {
    "softmax": "exp(s_j) / sum_k exp(s_k)",
    "softmax1": "exp(s_j) / (1 + sum_k exp(s_k))",
}
POSITIONS = {"learned": " + P[position]", "sinusoidal": " + sinusoids(position)"}


def equations_of(config: Config) -> str:
    """What a trained model computes, in the formulas of tinyadder/machine/transformer.py: its lanes
    have no names, and its weights are matrices (capitals).
    """
    norm = _norm(config.options)
    final = f"{norm}(x)" if norm and config.options.norm_place == "pre" else "x"
    lines = [
        f"{len(config.vocabulary)} tokens, residual stream x of width {config.width}",
        f"x = E[token]{POSITIONS.get(config.options.positions, '')}",
    ]
    if config.encoder:
        lines.append(
            f"an encoder of {len(config.encoder)} layers reads the problem, without a mask; every"
            " layer below attends to it as well"
        )
    for depth, block in enumerate(config.blocks):
        lines += [f"layer {depth}", *_block_equations(block, config.options_of(block))]
    if config.options.repeat > 1:
        lines.append(f"all layers {config.options.repeat} times, with the same weights")
    return "\n".join([*lines, f"logits = {'E' if config.tied else 'U'} {final}"])


def _norm(options: Options) -> str:
    return {"none": "", "layer": "layernorm", "rms": "rmsnorm"}[options.norm]


def _block_equations(block: BlockConfig, options: Options) -> Iterator[str]:
    norm = _norm(options)
    read = f"{norm}(x)" if norm and options.norm_place == "pre" else "x"

    def added(text: str) -> str:
        post = norm and options.norm_place == "post"
        return f"x = {norm}(x + {text})" if post else f"x += {text}"

    if block.heads:
        turned = "R_i q_i . R_j k_j" if options.positions == "rotary" else "q_i . k_j"
        scaled = f" / sqrt({block.d_head})" if options.scaled else ""
        alibi = " + slope * (j - i)" if options.positions == "alibi" else ""
        bias = ", with biases" if options.biases else ""
        yield f"  q, k, v = Q {read}, K {read}, V {read}{bias}"
        yield f"  s_j = {turned}{scaled}{alibi},  p_j = {SOFTMAX[options.softmax]},  j <= i"
        heads = "1 head" if block.heads == 1 else f"{block.heads} heads"
        yield f"  {added('O sum_j p_j v_j')}    {heads} of {block.d_head} rows"
    if block.hidden:
        gate = f"{options.activation}(G {read})"
        units = f"{gate} * (U {read})" if options.gated else gate
        yield f"  {added(f'D ({units})')}    {block.hidden} hidden units"


def _picture(model: Entry) -> dict[str, str] | None:
    """Attention of all heads on one problem as a PNG in a data URI, and the command for it."""
    from tinyadder.inspect.plot.attention import attention

    asked, task, options = _small(model)
    problem: Problem = task.uniform(Random(0), 1)[0]
    try:
        figure = attention(asked, task, problem)
    except TinyadderError:
        return None  # a model without attention
    command = shlex.join(
        ["tinyadder", "plot", model.given, "attention", task.show(problem), *options]
    )
    shown = task.show(problem) + (f", {' '.join(options)}" if options else "")
    return {"uri": _png(figure), "command": command, "text": shown}


def _small(model: Entry) -> tuple[Transformer, Task, list[str]]:
    """The model to draw and the options that make it: fewer digits where it takes them."""
    from importlib import import_module

    if (
        not model.trained
        and "digits"
        in signature(import_module(f"tinyadder.constructions.{model.name}").construct).parameters
    ):
        try:
            made = construct(model.name, digits=SMALL)
        except TinyadderError:
            return model.model, model.task, []
        return build(made.program), made.task, ["--digits", str(SMALL)]
    return model.model, model.task, []


def _png(figure: Figure, dpi: int = DPI) -> str:
    """The picture as a data URI."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, pil_kwargs={"optimize": True})
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
