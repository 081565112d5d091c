"""The certificates of all proved rows are committed, and the checker accepts them.

CI checks a part of them again: those that the last commit touched, all where it touched the
checker, and every fifth of the others in turn; `python -m benchmarks.verify --committed` all.
"""

import os
from pathlib import Path

import pytest

from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.report.certificates import certificate_file, recheck
from tinyadder.report.results import Result, read_results
from tinyadder.verify.verdict import Proved

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results"
TURNS = 5


def proved() -> list[Result]:
    """The results that say proved."""
    results = [r for r in read_results(FOLDER) if r.kind == "proved"]
    return [r for r in results if r.data["verdict"]["verdict"] == "proved"]


def chosen(results: list[Result], changed: list[str], commit: str) -> list[Result]:
    """Those whose certificates are checked after a commit that changed these files."""
    if any(path.startswith("verify/certify/") for path in changed):
        return results
    turn = int(commit[:8] or "0", 16) % TURNS

    def touched(result: Result) -> bool:
        certificate = certificate_file(Path("results"), result.model, result.options)
        mine = {certificate.as_posix(), f"constructions/{result.model}.py"}
        return not mine.isdisjoint(changed)

    return [r for i, r in enumerate(results) if touched(r) or i % TURNS == turn]


CHANGED = os.environ.get("TINYADDER_CHANGED", "").split()
WRITTEN: list[Result] = []
LONG: list[Result] = []
"""Proved constructions, and those whose check takes minutes; tests/test_boxes.py has the trained
model.
"""
for _result in proved():
    if "/seed-" not in _result.model:
        (LONG if (_result.data["check_seconds"] or 0) > 60 else WRITTEN).append(_result)
NOW = chosen(WRITTEN, CHANGED, os.environ.get("TINYADDER_COMMIT", ""))


def name(result: Result) -> str:
    path = certificate_file(FOLDER, result.model, result.options).relative_to(FOLDER)
    return path.as_posix().removesuffix(".json.gz")


def test_every_proved_row_has_its_certificate_and_no_certificate_is_left_over():
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json.gz")}
    assert files == {f"{name(result)}.json.gz" for result in proved()}


@pytest.mark.parametrize(
    "result", [*NOW, *(pytest.param(r, marks=pytest.mark.slow) for r in LONG)], ids=name
)
def test_the_checker_accepts_the_committed_certificate(result):
    made = construct(result.model, **result.options)
    certificate = certificate_file(FOLDER, result.model, result.options)
    verdict = recheck(build(made.program), made.task, certificate)
    assert isinstance(verdict, Proved), verdict
    stated = result.data["verdict"]
    assert (verdict.domain, verdict.margin) == (stated["domain"], stated["margin"])


def test_what_a_commit_touched_is_checked_after_it():
    every = proved()
    turns = [chosen(every, [], f"{turn:08x}") for turn in range(TURNS)]
    assert sorted(name(r) for turn in turns for r in turn) == sorted(map(name, every))
    assert chosen(every, ["verify/certify/check/forms.py"], "") == every
    for path in ("constructions/compare.py", "results/certificates/compare.json.gz"):
        found = {name(r) for turn in range(TURNS) for r in chosen(every, [path], f"{turn:08x}")}
        for turn in range(TURNS):
            now = chosen(every, [path], f"{turn:08x}")
            assert "certificates/compare" in map(name, now)
        assert found == set(map(name, every))
    assert chosen([], ["README.md"], "") == []
