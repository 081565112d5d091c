"""A task as a stranger's module reads it: which token ids its texts are, and what its logits stand
for.

A mark of the prompt that stands at one place in every text tells nothing; the module's vocabulary
may lack it, and then it is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinyadder.verify.certify.check import tables
from tinyadder.verify.certify.check.intervals import need
from tinyadder.verify.certify.check.specifications import Automaton, Moves, count, specify

NAME = "tokens"
MOST = 1 << 16
"""Tokens of a vocabulary, and logits."""


class Asked(NamedTuple):
    """One answer token: the module reads as many tokens as stand before it."""

    stages: list[tuple[int, Moves]]
    """Of the whole text; tokens are ids, as text."""
    place: int
    """The position of the answer token."""


def read_task(task: Any) -> tuple[list[str], list[Automaton]]:
    """Vocabulary and specifications: of a task that this checker knows, or of a table."""
    table = type(task) is dict and task.get("name") == tables.NAME
    return tables.specify(task) if table else specify(task)


def asked(options: Any) -> tuple[list[str], list[Asked]]:
    """What each logit stands for (the id of a token, or a name that is none), and every answer
    token of every specification.

    `options` has `task`, `vocabulary` (the tokens by id) and `outputs` (by logit the token that it
    stands for, null for none). Tokens that are outputs only have ids beyond the vocabulary: no
    module reads them. Raises `Rejected` where they do not fit.
    """
    need(set(options) == {"task", "vocabulary", "outputs"}, "the options of the task are others")
    vocabulary, outputs = options["vocabulary"], options["outputs"]
    for tokens in (vocabulary, [t for t in outputs if t is not None]):
        fits = type(tokens) is list and 0 < len(tokens) <= MOST
        need(fits and all(type(t) is str for t in tokens), "a vocabulary is no list of tokens")
        need(len(set(tokens)) == len(tokens), "a token stands twice in a vocabulary")
    every = [*vocabulary, *(t for t in outputs if t is not None and t not in vocabulary)]
    ids = {token: str(n) for n, token in enumerate(every)}
    logits = [f"-{n}" if t is None else ids.get(t, f"-{n}") for n, t in enumerate(outputs)]
    found = []
    for start, stages in read_task(options["task"])[1]:
        begin, written = without_marks(start, stages, ids)
        for place in range(begin, len(written)):
            answers = {token for p, moves in written if p == place for _, _, token in moves}
            need(answers <= {*logits}, "an answer has no logit")
            found.append(Asked(written, place))
    return logits, found


def without_marks(
    start: int, stages: list[tuple[int, Moves]], ids: dict[str, str]
) -> tuple[int, list[tuple[int, Moves]]]:
    """The specification in ids, without the marks of the prompt that the vocabulary lacks."""
    lacking = {p for p, moves in stages if not {t for _, _, t in moves} <= ids.keys()}
    for position, moves in stages:
        if position in lacking:
            tokens = sorted({token for _, _, token in moves})
            mark = position < start and len(tokens) == 1
            need(mark, f"the vocabulary lacks tokens that the task needs: {tokens!r:.80}")
    place = {p: n for n, p in enumerate(sorted({p for p, _ in stages} - lacking))}
    found: list[tuple[int, Moves]] = []
    first = 0
    for position, moves in stages:
        if position not in lacking:
            here = [(s, to, ids[token]) for s, to, token in moves]
            if not found:
                here = [(0, to, token) for s, to, token in here if s == first]
            found.append((place[position], here))
            continue
        onward = {s: to for s, to, _ in moves}
        if found:
            last, before = found[-1]
            found[-1] = last, [(s, onward[to], token) for s, to, token in before]
        else:
            first = onward[first]
    need(len(found) > 0, "nothing of the texts is left")
    return len([p for p in place if p < start]), found


def lengths(every: list[Asked]) -> list[int]:
    """How many tokens each pass of the module reads."""
    return sorted({one.place for one in every})


def lengths_of(passes: list[Any], every: list[Asked]) -> list[int]:
    """The same, if the passes of a graph are these, each read at its last token."""
    found = lengths(every)
    read = [(length, row) for _, _, length, row, _ in passes]
    need(read == [(n, n - 1) for n in found], "the passes are not those of the task")
    return found


def problems(every: list[Asked]) -> int:
    """How many texts there are."""
    first = {id(one.stages): one.stages for one in every}
    return sum(count(stages) for stages in first.values())
