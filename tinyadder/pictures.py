"""Pictures of a model: what each kind is drawn from, for `Model.plot` and `tinyadder plot`.

`tinyadder/inspect/plot` draws; here runs, problems, certificates and logs are brought to it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.escape import html
from tinyadder.inspect.plot import KINDS
from tinyadder.io.folder import describe
from tinyadder.named import Loaded, is_folder_name
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_MODELS = tuple(kind for kind, about in KINDS.items() if about.of != "report")
"""The kinds of picture that a model has."""
ASKED, DRAWN = 4000, 4
"""Problems of margins and accuracy by default; for accuracy so many times as many are drawn, of
which groups of equal size are chosen.
"""
FEWEST = 30
"""A group of fewer problems goes together with a neighbour."""
CERTIFICATE = "certificate.json"
LOGS = {"curves": "log.jsonl", "rounds": "rounds.jsonl"}
"""What a run writes beside its model."""
LARGEST = 2**28
"""Bytes of a certificate that is read."""


@dataclass(frozen=True, repr=False)
class Picture(Shown):
    """A picture that a notebook displays. `figure` is the matplotlib figure; `save` writes a
    file.
    """

    figure: Figure
    title: str

    def __str__(self) -> str:
        return f"picture of {self.title}; .save('FILE.png') writes it"

    def save(self, path: str | Path) -> None:
        """Write a .png, .svg or .pdf file, depending on the suffix."""
        write(self.figure, Path(path), Path(path).suffix)

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.figure.savefig(written, format="png", dpi=100)
        return written.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<img alt="{html(self.title)}" src="data:image/png;base64,{data}">'


def write(figure: Figure, path: Path, suffix: str) -> None:
    """Write a picture in the format of `suffix`, with all that it says as its description: for
    readers who do not see it, and to tell whether it is still true.
    """
    told = "\n".join(words_of(figure))
    metadata = {
        ".png": {"Description": told, "Software": None},
        ".svg": {"Description": told, "Date": None},
    }
    figure.savefig(path, dpi=160, format=suffix[1:], metadata=metadata.get(suffix))


def words_of(figure: Figure) -> list[str]:
    """Every text of a picture: title, titles of panels, labels, tokens and values."""
    texts = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        texts += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        texts += [text.get_text() for text in (*ticks, *axes.texts)]
    return [" ".join(text.split()) for text in texts if text.strip()]


def takes_problem(kind: str) -> bool:
    """Whether a picture shows one run."""
    return KINDS[kind].of in ("run", "step")


def picture(
    loaded: Loaded,
    kind: str,
    problem: Problem | None = None,
    *,
    digit: int | None = None,
    count: int = ASKED,
) -> Picture:
    """The picture of this kind of a model.

    A run is that of `problem`, or of the task's example; a step is that of answer token `digit`
    (from 0), or of one that tells something. Raises `TinyadderError` for a kind that a model does
    not have, a problem for a kind that shows no run, and what cannot be drawn.
    """
    if kind not in OF_MODELS:
        raise TinyadderError(
            f"no picture '{kind}'{did_you_mean(kind, OF_MODELS)} (pictures: {', '.join(OF_MODELS)})"
        )
    if not takes_problem(kind):
        if problem is not None:
            shown = loaded.task.show(problem)
            raise TinyadderError(f"'{kind}' does not show one run; leave out the problem {shown}")
        return Picture(_of_many(loaded, kind, count), f"{kind} of {loaded.name}")
    asked = loaded.task.example() if problem is None else problem
    title = f"{kind} of {loaded.name}, {loaded.task.show(asked)}"
    return Picture(_of_run(loaded, kind, asked, digit), title)


def _of_run(loaded: Loaded, kind: str, problem: Problem, digit: int | None) -> Figure:
    model, task = loaded.model, loaded.task
    if kind == "lanes":
        from tinyadder.inspect.plot.lanes import lanes

        return lanes(model, task, problem)
    if kind == "attention":
        from tinyadder.inspect.plot.attention import attention

        return attention(model, task, problem)
    index = _telling(loaded, problem) if digit is None else digit
    if kind == "contributions":
        from tinyadder.inspect.plot.contributions import contributions

        return contributions(model, task, problem, index)
    from tinyadder.inspect.plot.logits import logits

    return logits(model, task, problem, index)


def _telling(loaded: Loaded, problem: Problem) -> int:
    """The first wrong token of the answer, else one after the first that is no zero and no end."""
    from tinyadder.machine.answers import answers

    (answer,) = answers(loaded.model, loaded.task, [problem])
    right = loaded.task.expected(problem) or answer
    wrong = [n for n, (a, b) in enumerate(zip(answer, right, strict=False)) if a != b]
    dull = ("0", loaded.task.end)
    later = [n for n, token in enumerate(answer) if n > 0 and token not in dull]
    return [*wrong, *later, len(answer) - 1][0]


def _of_many(loaded: Loaded, kind: str, count: int) -> Figure:
    if kind == "weights":
        from tinyadder.inspect.plot.weights import weights

        return weights(loaded.model)
    if kind == "flow":
        from tinyadder.inspect.plot.flow import flow

        return flow(loaded.model, loaded.task)
    if kind == "margins":
        from tinyadder.inspect.plot.margins import margins

        return margins(loaded.model, loaded.task, count=count)
    if kind == "accuracy":
        return _accuracy(loaded, count)
    if kind == "proof":
        return _proof(loaded)
    return of_log(kind, loaded.folder or Path(loaded.name))


def _accuracy(loaded: Loaded, count: int) -> Figure:
    """Exact match by true decoding, on problems that were never shown in training."""
    from tinyadder.inspect.plot.accuracy import accuracy
    from tinyadder.machine.answers import answers, is_right
    from tinyadder.train.evaluate import recipe_of, test_problems

    task = loaded.task
    recipe = recipe_of(loaded.options, loaded.name) if loaded.folder is not None else None
    groups = balanced(task, test_problems(task, recipe, count=DRAWN * count, seed=1), count)
    if not groups:
        raise TinyadderError(f"task '{task.name}' has no traits to group its problems by")
    asked = list(dict.fromkeys(p for by in groups.values() for ps in by.values() for p in ps))
    emitted = answers(loaded.model, task, asked)
    right = {p: is_right(task, p, a) for p, a in zip(asked, emitted, strict=True)}
    by = {
        trait: {value: (sum(right[p] for p in ps), len(ps)) for value, ps in groups_of.items()}
        for trait, groups_of in groups.items()
    }
    wrong, kind = len(asked) - sum(right.values()), " never shown in training" if recipe else ""
    title = f"{loaded.name}: {wrong:,} of {len(asked):,} problems{kind} come out wrong"
    return accuracy(by, f"{title}, groups of equal size where there are enough problems")


def balanced(
    task: Task, problems: Sequence[Problem], count: int
) -> dict[str, dict[str, list[Problem]]]:
    """Trait -> value -> problems: about `count` in all, groups as equal as `problems` allow.

    A group takes its first problems, at most as many as make `count` when all groups are full.
    """
    by_trait: dict[str, dict[int, list[Problem]]] = {}
    for problem in problems:
        for trait, value in task.traits(problem).items():
            by_trait.setdefault(trait, {}).setdefault(value, []).append(problem)
    chosen: dict[str, dict[str, list[Problem]]] = {}
    for trait, by in by_trait.items():
        groups = _merged(sorted(by.items()))
        share = _share([len(group) for group in groups.values()], count // len(by_trait))
        chosen[trait] = {value: group[:share] for value, group in groups.items()}
    return chosen


def _merged(groups: Sequence[tuple[int, list[Problem]]]) -> dict[str, list[Problem]]:
    """Groups by their values, in order; of neighbours too few go together: "8 .. 10".

    >>> {value: len(g) for value, g in _merged([(0, [1] * 90), (1, [2] * 30), (2, [3])]).items()}
    {'0': 90, '1 .. 2': 31}
    """
    joined: list[tuple[int, int, list[Problem]]] = []
    for value, group in groups:
        if joined and min(len(joined[-1][2]), len(group)) < FEWEST:
            first, _, before = joined.pop()
            joined.append((first, value, [*before, *group]))
        else:
            joined.append((value, value, group))
    return {
        str(first) if first == last else f"{first} .. {last}": group
        for first, last, group in joined
    }


def _share(sizes: Sequence[int], count: int) -> int:
    """The largest n with sum(min(n, size)) <= count, at least 1.

    >>> _share([100, 100, 4], 60)
    28
    """
    most, left = 1, count
    for number, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - number)
        if size >= share:
            return max(1, share)
        most, left = size, left - size
    return max(1, most)


def _proof(loaded: Loaded) -> Figure:
    """The certificate beside the model where the checker accepts it, else one that is made now."""
    from tinyadder.inspect.plot.proof import proof
    from tinyadder.io.text import read_json
    from tinyadder.verify.certify.check import Rejected, check
    from tinyadder.verify.certify.prove import certify
    from tinyadder.verify.verdict import Proved

    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        loaded.save(folder)
        beside = None if loaded.folder is None else loaded.folder / CERTIFICATE
        if beside is not None and beside.is_file():
            try:
                checked = check(folder, beside)
            except Rejected:
                pass  # of other weights, say; what is drawn must be proved of these
            else:
                domain = Proved.by_checker(checked, None).domain
                return proof(read_json(beside, most=LARGEST), _in_short(domain), checked["unit"])
        judged = certify(loaded.model, loaded.task, folder)
        if not isinstance(judged.verdict, Proved):
            raise TinyadderError(f"there is no proof to draw: {judged.verdict}")
        made = read_json(folder / CERTIFICATE, most=LARGEST)
        return proof(made, _in_short(judged.verdict.domain), judged.unit)


def _in_short(domain: str) -> str:
    """A domain without the options of the task."""
    return domain.partition(" (")[0]


def of_log(kind: str, folder: Path) -> Figure:
    """Of the log of a run (curves) or of its rounds of counterexamples (rounds), which lies beside
    the model in `folder`, or in its own folder. Raises `TinyadderError` where there is none.
    """
    from tinyadder.inspect.plot.curves import curves
    from tinyadder.inspect.plot.rounds import rounds
    from tinyadder.train.log import read_log
    from tinyadder.train.prove import read_rounds

    if not is_folder_name(str(folder)):
        raise TinyadderError(
            f"{kind} are of a trained model's folder; '{folder}' is none: its weights were written"
        )
    name = LOGS[kind]
    logs = [path for path in (folder / name, folder.parent / name) if path.is_file()]
    if not logs:
        describe(str(folder))  # says what is wrong with a folder that is none
        maker = "tinyadder train --prove" if kind == "rounds" else "tinyadder train"
        raise TinyadderError(
            f"{folder} has no {name} beside it; a model that {maker} makes has one"
        )
    parts = folder.parts
    of_run = len(parts) > 1 and parts[-1] in ("model", "proved")
    called = "/".join(parts[-3:-1] if of_run else parts[-1:])
    if kind == "rounds":
        return rounds(read_rounds(logs[0]), called)
    return curves(read_log(logs[0]), called)
