"""Trace a run: what the query of one answer digit attends to, how the lanes change, which token
wins.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.named import Loaded, find, load_model

if TYPE_CHECKING:
    from tinyadder.inspect.trace import AnswerStep, HeadStep, SublayerStep, UnitStep
    from tinyadder.machine.config import Options

SHOWN_VALUES = 12
"""Components of a wide lane or value that are printed; --json has all."""


@click.command("trace", short_help=__doc__, context_settings={"ignore_unknown_options": True})
@opt.model_argument
@click.argument("problem", nargs=-1, required=True)
@opt.device_option
@click.option(
    "--digit", type=int, metavar="K", help="Which answer token to look into, counted from 0."
)
@opt.json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    digit: int | None,
    problem: tuple[str, ...],
    options: dict[str, Any],
    device: str,
    as_json: bool,
) -> None:
    """Trace how NAME (a construction or a model folder) answers a problem: tinyadder trace add10
    123 456 --digit 8.

    Without --digit: every answer token with its margin. With it, for that token: per head the
    tokens its query attends to (weight * value = contribution), the lanes before and after each
    sublayer, hidden units, logits and margin.
    """
    opt.refuse_options(context, problem)
    asked = find(name, options).task.parse(
        " ".join(problem)
    )  # a mistake is said before torch is imported
    loaded = load_model(name, options, device)
    from tinyadder.inspect.trace import trace, trace_all

    steps = trace_all(loaded.model, loaded.task, asked) if digit is None else []
    step = trace(loaded.model, loaded.task, asked, digit) if digit is not None else steps[-1]
    if as_json:
        echo_json([asdict(s) for s in steps] if digit is None else asdict(step))
        return
    answer = f"{''.join(step.answer)} = {loaded.task.show_answer(step.answer)}"
    if step.right is None:
        verdict = "the right answer is not known here"
    else:
        verdict = "right" if step.answer == step.right else f"wrong, {''.join(step.right)} is right"
    echo(f"{shown_model(loaded)}   {loaded.task.show(asked)}   answer {answer} ({verdict})\n")
    if digit is None:
        _show_all(
            steps,
            shlex.join([name, *problem, *(f"-o{key}={value}" for key, value in options.items())]),
        )
    else:
        _show(loaded, step)


def _show_all(steps: Sequence[AnswerStep], asked: str) -> None:
    show_table(
        "every answer token",
        {
            "": "right",
            "read": "left",
            "emits": "left",
            "logit": "right",
            "runner-up": "left",
            "margin": "right",
        },
        [
            (
                str(step.index),
                "".join(step.text),
                repr(step.chosen),
                show(step.logits[step.chosen]),
                repr(step.runner_up),
                show(step.margin),
            )
            for step in steps
        ],
    )
    echo(f"\nnext      tinyadder trace {asked} --digit {steps[-1].index}", err=True)


def show(number: float) -> str:
    """A number of any size in at most 11 characters: 0.38, 2.35385e+17, -1e-08."""
    return "0" if number == 0 else f"{number:.6g}"


def _vector(numbers: Sequence[float]) -> str:
    shown = " ".join(show(number) for number in numbers[:SHOWN_VALUES])
    return shown + (f" .. ({len(numbers)} in all)" if len(numbers) > SHOWN_VALUES else "")


def _show(loaded: Loaded, step: AnswerStep) -> None:
    text = "".join(step.text)
    echo(
        f"read   {text}   emits {step.chosen!r}, answer token {step.index}, query at position"
        f" {len(step.text) - 1}"
    )
    blocks = loaded.program.blocks if loaded.program is not None else []
    config = loaded.model.config
    for sublayer in step.sublayers:
        _section(
            f"layer {sublayer.layer}: {'attention' if sublayer.kind == 'attention' else 'MLP'}"
        )
        if sublayer.kind == "attention":
            written = blocks[sublayer.layer][0] if blocks else None
            for head in sublayer.heads:
                _show_head(head, "" if written is None else str(written.heads[head.head]))
        else:
            layers = config.blocks
            _show_units(sublayer.units, config.options_of(layers[sublayer.layer % len(layers)]))
        _show_lanes(sublayer)
    _show_logits(step, "logit = -cost" if loaded.model.config.argmin else "logit")


def _section(title: str) -> None:
    click.secho("\n" + f"== {title} ".ljust(80, "="), bold=True)


def _show_head(head: HeadStep, equation: str) -> None:
    attended = [token for token in head.tokens if any(token.contribution)]
    echo(f"\nhead {head.head} -> {', '.join(head.lanes)}" + (f":   {equation}" if equation else ""))
    show_table(
        f"query {_vector(head.query) or 'none: scores depend on the distance alone'};"
        f" {show(head.nothing)} of the attention goes to no token",
        {
            "position": "right",
            "token": "left",
            "score": "right",
            "weight": "right",
            "* value": "right",
            "= contribution": "right",
        },
        [
            (
                str(t.position),
                repr(t.token),
                show(t.score),
                show(t.weight),
                _vector(t.value),
                _vector(t.contribution),
            )
            for t in attended
        ]
        + [("", "", "", "", "sum", _vector(head.output))],
    )
    silent = len(head.tokens) - len(attended)
    if silent:
        echo(f"{silent} other token{'s' * (silent != 1)} contribute{'s' * (silent == 1)} 0")


def _show_units(units: Sequence[UnitStep], options: Options) -> None:
    on = [unit for unit in units if unit.output]
    off = len(units) - len(on)
    echo()
    if not on:
        echo("the hidden unit gives 0" if off == 1 else f"all {off} hidden units give 0")
        return
    show_table(
        f"hidden units: {options.activation}(gate){' * up' if options.gated else ''} = output, then"
        " what the down weights add",
        {"unit": "right", "gate": "right", "up": "right", "output": "right", "adds": "left"},
        [
            (
                str(u.unit),
                show(u.gate),
                show(u.up),
                show(u.output),
                ", ".join(f"{show(added)} to {lane}" for lane, added in u.added.items()),
            )
            for u in on
        ],
    )
    if off:
        echo(f"{off} other unit{'s give' if off > 1 else ' gives'} 0")


def _show_lanes(sublayer: SublayerStep) -> None:
    rows = []
    for lane, before in sublayer.before.items():
        after = sublayer.after[lane]
        changed = "" if before == after else "->"
        rows.append((lane, _vector(before), changed, _vector(after) if changed else ""))
    echo()
    show_table(
        "lanes at the query", {"lane": "left", "before": "left", "": "left", "after": "left"}, rows
    )


def _show_logits(step: AnswerStep, heading: str) -> None:
    _section("logits")
    best = step.logits[step.chosen]
    show_table(
        f"margin {show(step.margin)}: {step.chosen!r} over {step.runner_up!r}",
        {"token": "left", heading: "right", "below the best": "right", "": "left"},
        [
            (
                repr(token),
                show(logit),
                show(best - logit),
                "emitted" if token == step.chosen else "",
            )
            for token, logit in step.logits.items()
        ],
    )
