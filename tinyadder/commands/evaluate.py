"""Evaluate a model: exact match by decoding, token accuracy, by trait, hard cases, legality,
counts, verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.errors import TinyadderError
from tinyadder.io.files import write_text
from tinyadder.named import load_model
from tinyadder.tasks import Problem, Task, task_from_json

if TYPE_CHECKING:
    from tinyadder.machine.transformer import Transformer
    from tinyadder.train.recipe import Recipe

SAMPLES = "Structured samples of the verifier; 0 skips it."
LEGALITY = 200
"""Problems of the legality checks: as many as `tinyadder legality` takes."""
PREFIX = (
    "prefix consistency of the prompt: the encoder reads all of it; the answer's prefixes are"
    " checked"
)


@click.command("evaluate", short_help=__doc__)
@opt.model_argument
@opt.integer_option("--problems", "count", default=10_000, help="Held-out problems to decode.")
@opt.seed_option("Draw other held-out problems. [default: those of the recipe, or 1]", None)
@opt.path_option(
    "--file", "Problems from this file instead: .jsonl, or a text with one a line.", there=True
)
@opt.path_option("--answers", "With --file: the right answers, one a line.", there=True)
@opt.settings_option(
    "Judge by the task with this option, e.g. coefficients=8; the vocabulary stays."
)
@opt.integer_option("--samples", default=20_000, help=SAMPLES, least=0)
@click.option(
    "--within",
    "tolerances",
    type=click.FloatRange(0, 1e6),
    multiple=True,
    help="Relative error within which a rounded number counts, e.g. 0.02; may be repeated."
    " [default: 0.005 0.01 0.05]",
)
@opt.integer_option(
    "--beam", default=1, help="Also decode by beam search of this width (1: greedy only)."
)
@click.option(
    "--splits",
    is_flag=True,
    help="Also judge on lines split as is published, and out of distribution.",
)
@opt.out_option("Also write the results as JSON to this file.")
@opt.force_option
@opt.threads_option
@opt.device_option
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    count: int,
    seed: int | None,
    file: Path | None,
    answers: Path | None,
    settings: tuple[str, ...],
    samples: int,
    tolerances: tuple[float, ...],
    beam: int,
    splits: bool,
    out: Path | None,
    force: bool,
    threads: int,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate NAME (a construction or a model folder) on problems it was never shown.

    Exact match is by greedy decoding from the prompt alone; token accuracy is given beside it. A
    trained model is judged on the test split of its recipe, with --seed on other problems of it,
    none of which training showed. Then come the task's hard cases, the legality checks, the counts
    and the verifier's verdict.
    """
    if file is not None and seed is not None:
        raise click.UsageError("--seed draws problems and --file reads them; give one of the two")
    if answers is not None and file is None:
        raise click.UsageError("--answers are those to the problems of --file; give both")
    opt.check_new(out, force)
    import torch

    from tinyadder.machine.decode import check_beam
    from tinyadder.train.evaluate import TOLERANCES, circumstances, evaluate, recipe_of
    from tinyadder.verify.count import ladder

    loaded = load_model(name, options, device=device)
    check_beam(loaded.model, beam)
    torch.set_num_threads(threads)
    task, model = _with(loaded.task, settings), loaded.model
    recipe = recipe_of(loaded.options, name) if loaded.folder is not None else None
    if splits and recipe is None:
        raise TinyadderError(
            f"--splits needs to know what was shown in training; {name} was not trained from a"
            " recipe"
        )
    problems = _problems(task, recipe, file, answers, count, seed)
    score = partial(evaluate, model, task, problems, tolerances=tolerances or TOLERANCES)
    hard = evaluate(model, task, task.hard())
    options_given = [
        *(f" --set {text}" for text in settings),
        *([f" --seed {seed}"] if seed is not None else []),
        *([f" --file {file}"] if file else []),
        " --splits" * splits,
    ]
    result: dict[str, Any] = {
        "model": shown_model(loaded),
        "task": task.to_json(),
        "problems": str(file) if file else _drawn(recipe is not None, seed),
        "score": score().to_json(),
        "hard cases": {"problems": hard.problems, "exact": hard.exact, "wrong": list(hard.wrong)},
        "counts": ladder(model),
        "training": {k: v for k, v in loaded.options.items() if k != "recipe"} if recipe else None,
        "command": f"tinyadder evaluate {name} --problems {count}{''.join(options_given)}",
        **circumstances(),
        "legality": _judge_legality(model, task),
    }
    if beam > 1:
        wide = score(beam=beam)
        result["beam"] = {"width": beam} | {
            key: getattr(wide, key) for key in ("exact", "within", "seconds")
        }
    if recipe is not None and splits:
        result["splits"] = _judge_splits(model, task, recipe, int(loaded.options["seed"]), count)
    if samples:
        result["verdict"] = _judge(model, task, samples)
    if out is not None:
        write_text(out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        echo_json(result)
    else:
        _show(result)


def _problems(
    task: Task,
    recipe: Recipe | None,
    file: Path | None,
    answers: Path | None,
    count: int,
    seed: int | None,
) -> Sequence[Problem]:
    """Those of the file, or held-out ones of the recipe."""
    from tinyadder.train.evaluate import test_problems
    from tinyadder.train.files import read_problems

    if file is None:
        return test_problems(task, recipe, count=count, seed=seed)
    return read_problems(task, str(file), "" if answers is None else str(answers))


def _judge(model: Transformer, task: Task, samples: int) -> dict[str, Any]:
    """The verifier's verdict, as JSON."""
    from tinyadder.verify.properties import verify
    from tinyadder.verify.verdict import verdict_to_json

    verdict = verify(model, task, count=samples).verdict
    return verdict_to_json(verdict) | {"text": str(verdict)}


def _judge_legality(model: Transformer, task: Task) -> dict[str, Any]:
    """The findings of the legality checks, as JSON."""
    from tinyadder.machine.encoder import EncoderDecoder
    from tinyadder.verify.legality import legality

    findings = legality(model, task, task.uniform(Random(0), LEGALITY))
    return {
        "problems": LEGALITY,
        "legal": all(finding.passed is not False for finding in findings),
        "findings": [vars(finding) for finding in findings],
        "does not apply": [PREFIX] if isinstance(model, EncoderDecoder) else [],
    }


def _judge_splits(
    model: Transformer, task: Task, recipe: Recipe, seed: int, count: int
) -> dict[str, Any]:
    """The scores on lines split as is published and on problems out of distribution, as JSON."""
    from tinyadder.train.evaluate import (
        evaluate,
        lines_as_published,
        problems_beyond,
        problems_outside,
    )

    lines, seen = lines_as_published(recipe, seed, count)
    splits = {"as published": evaluate(model, task, lines).to_json() | {"seen in training": seen}}
    if task.outside:
        outside = evaluate(model, task, problems_outside(recipe, count)).to_json()
        left_out = recipe.data.kind == "inside"
        splits["outside"] = outside | {"kind": task.outside, "left out of training": left_out}
    if task.wider is not None:
        beyond = problems_beyond(task, task.wider, count)
        splits["wider"] = evaluate(model, task.wider, beyond).to_json()
    return splits


def _drawn(trained: bool, seed: int | None) -> str:
    """Where the problems came from, in words."""
    if not trained:
        return f"balanced, seed {1 if seed is None else seed}"
    return "test split of its recipe" + (f", drawn with seed {seed}" if seed is not None else "")


def _with(task: Task, settings: Sequence[str]) -> Task:
    """The task with these options. Raises `TinyadderError` for what it does not take, and where the
    tokens would be others.
    """
    options = dict(opt.key_value(text, "--set") for text in settings)
    described = task.to_json()
    other = task_from_json({**described, "options": described["options"] | options})
    if other.vocabulary != task.vocabulary:
        raise TinyadderError(
            f"with {', '.join(settings)} the task has other tokens than the model; set options that"
            " leave the vocabulary as it is"
        )
    return other


def _show(result: Mapping[str, Any]) -> None:
    score, hard = result["score"], result["hard cases"]
    rows = [("all", "", score["problems"], score["exact"], score["chance"])]
    rows += [
        (trait, value, group["problems"], group["exact"], group["chance"])
        for trait, values in score["by"].items()
        for value, group in values.items()
    ]
    show_table(
        f"{result['model']} on {result['problems']}",
        {
            "trait": "left",
            "value": "right",
            "problems": "right",
            "exact match": "right",
            "chance": "right",
        },
        [
            (trait, value, f"{n:,}", f"{exact:.4%}", f"{chance:.4%}")
            for trait, value, n, exact, chance in rows
        ],
    )
    echo(
        f"token accuracy (teacher-forced) {score['tokens']:.4%}, ceiling of exact match"
        f" {score['ceiling']:.2%}"
    )
    echo(
        f"hard cases: {hard['exact']:.4%} of {hard['problems']:,} (some may have been in training)"
    )
    if score["within"]:
        echo(
            "within a relative error of "
            + ", ".join(f"{t}: {part:.4%}" for t, part in score["within"].items())
        )
    if "beam" in result:
        beam = result["beam"]
        echo(f"exact match by beam search of width {beam['width']}: {beam['exact']:.4%}")
    for line in (*_split_lines(result.get("splits", {})), *_legality_lines(result["legality"])):
        echo(line)
    counts = result["counts"].items()
    echo("parameters: " + ", ".join(f"{rung} {count:,}" for rung, count in counts))
    for wrong in score["wrong"][:3]:
        echo(f"  wrong: {wrong['problem']}   expected {wrong['expected']}, model {wrong['got']}")
    if "verdict" in result:
        echo(result["verdict"]["text"])


def _legality_lines(legality: Mapping[str, Any]) -> list[str]:
    """One line, and one for each check that fails, could not be observed or does not apply."""
    findings = legality["findings"]
    failed, unseen = ([f for f in findings if f["passed"] is passed] for passed in (False, None))
    result = (
        f"{len(failed)} of {len(findings)} checks FAIL"
        if failed
        else f"no check of {len(findings)} fails"
    )
    return [
        f"legality ({legality['problems']} problems): {result}",
        *(f"  FAILS: {f['check']}: {f['said']}" for f in failed),
        *(f"  not observed: {f['check']}: {f['said']}" for f in unseen),
        *(f"  does not apply: {check}" for check in legality["does not apply"]),
    ]


def _split_lines(splits: Mapping[str, Any]) -> list[str]:
    """One line for each further set of problems, with its chance level and ceiling."""
    lines = []
    for name, score in splits.items():
        if name == "outside":
            known = "left out of" if score["left out of training"] else "not left out of"
            about = f"{score['kind']}, {known} training"
        elif name == "wider":
            about = "with numbers larger than any of training"
        else:
            about = (
                f"drawn like the training lines, {score['seen in training']:.2%} of them shown in"
                " training"
            )
        lines.append(
            f"{name} ({about}): exact match {score['exact']:.4%} of {score['problems']:,}, token"
            f" accuracy {score['tokens']:.4%}, chance {score['chance']:.4%}, ceiling"
            f" {score['ceiling']:.2%}"
        )
    return lines
