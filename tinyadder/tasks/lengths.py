"""Batches of token sequences: what goes through a model together has one length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def by_length(
    pairs: Iterable[tuple[Sequence[str], Sequence[str]]], most: int | None = None
) -> Iterator[list[int]]:
    """The indices of `pairs` (prompt, answer) in groups of equal lengths of both, in the order in
    which the lengths come up; with `most`, in groups of at most so many.

    >>> list(by_length([("^1=", "1"), ("^12=", "12"), ("^3=", "3"), ("^4=", "4")], most=2))
    [[0, 2], [3], [1]]
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (prompt, answer) in enumerate(pairs):
        groups.setdefault((len(prompt), len(answer)), []).append(i)
    for group in groups.values():
        size = most or len(group)
        yield from (group[at : at + size] for at in range(0, len(group), size))
