"""A task that is a table: words over an alphabet, and the answer to each, as they stand in
model.json.

Words are in the order of their length, then of the alphabet. So the answers to all words that
begin alike stand side by side, and such a run of answers is the state of the automaton: beginnings
with the same run need not be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyadder.verify.certify.check.intervals import need
from tinyadder.verify.certify.check.specifications import Automaton, automaton, marks, step

NAME = "custom"
MOST = 200_000
"""The most words of a table."""
OPTIONS = {
    "alphabet": str,
    "shortest": int,
    "longest": int,
    "outputs": str,
    "width": int,
    "stop": str,
    "form": str,
    "positions": bool,
}


def specify(task: dict[str, Any]) -> tuple[list[str], list[Automaton]]:
    """Vocabulary and specifications, one for each length of word and answer."""
    parts = {"name", "options", "table", "examples", "digest"}
    need(set(task) == parts, "the task is not described")
    o, table = task["options"], task["table"]
    fits = type(o) is dict and set(o) == set(OPTIONS)
    need(fits and all(type(o[k]) is kind for k, kind in OPTIONS.items()), "task custom: options")
    need(type(table) is str, "the table of the right answers is not in model.json")
    need(not o["positions"], "the task asks for an answer at every letter")
    alphabet, outputs, stop = o["alphabet"], o["outputs"], o["stop"]
    distinct = all(s and len(set(s)) == len(s) for s in (alphabet, outputs))
    need(distinct, "task custom: a token stands twice")
    need(len(stop) < 2 and stop not in [*outputs], "task custom: the end of an answer")
    need(o["form"].count("{}") == 1, "task custom: the place of the word")
    before, after = o["form"].split("{}")
    need(1 <= o["shortest"] <= o["longest"] <= 100, "task custom: the lengths of words")

    ended = table.split(" ")
    need(all(answer.endswith(stop) for answer in ended), "an answer without its end")
    answers = [answer.removesuffix(stop) for answer in ended]
    for answer in answers:
        long_enough = len(answer) <= o["width"] if stop else len(answer) == o["width"] > 0
        need(long_enough and set(answer) <= set(outputs), f"no answer: {answer!r:.40}")
    found = []
    for letters in range(o["shortest"], o["longest"] + 1):
        words = len(alphabet) ** letters
        need(words <= MOST and words <= len(answers), "the table is too short or too long")
        block, answers = answers[:words], answers[words:]
        for size in sorted({len(answer) for answer in block}):
            run = tuple(answer if len(answer) == size else None for answer in block)
            found.append(texts(run, alphabet, letters, before, after, size, stop))
    need(not answers, "the table is too long")
    others = (before + after)[::-1] + stop
    first = [token for token in outputs if token not in alphabet]
    return [*dict.fromkeys([*first, *alphabet, *others])], found


def texts(
    run: Sequence[str | None],
    alphabet: str,
    letters: int,
    before: str,
    after: str,
    size: int,
    stop: str,
) -> Automaton:
    """`before` word `after` answer `stop`; None in place of an answer of another length."""

    def letter(run: Sequence[str | None]) -> list[tuple[str, Any]]:
        share = len(run) // len(alphabet)
        return [(t, run[i * share : (i + 1) * share]) for i, t in enumerate(alphabet)]

    spelled = step(
        lambda run: run[0][0] if run[0] else "",
        lambda run, _: (run[0][1:],),
    )
    word = range(len(before), len(before) + letters)
    start = len(before) + letters + len(after)
    stages = [
        *marks(before, *range(len(before))),
        *((p, letter) for p in word),
        *marks(after, *range(word.stop, start)),
        *((p, spelled) for p in range(start, start + size)),
        *marks(stop, *range(start + size, start + size + len(stop))),
    ]
    return automaton(start, stages, tuple(run), lambda run: run == ("",))
