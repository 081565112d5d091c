"""The tasks of sequence_tasks.json as programs: every vector by true decoding, verdicts, claims."""

import json
from pathlib import Path
from random import Random

import pytest

from tinyadder.commands.cases import Vector, run_vector
from tinyadder.construction import construct
from tinyadder.fields import from_json
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.verify.claims import check_claims

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).parent / "data" / "sequence_tasks.json"
TASKS = {task["name"]: task for task in json.loads(FILE.read_text())["tasks"]}
OPTIONS = {"long_addition": {"digits": 8}, "to_number": {"length": 5, "answers": "number"}}


def made(name):
    longest = max(len(vector["input"]) for vector in TASKS[name]["vectors"])
    return construct(
        str(ROOT / "constructions" / "programs" / f"{name}.py"),
        **OPTIONS.get(name, {"length": longest}),
    )


@pytest.mark.parametrize("name", TASKS)
def test_every_vector_is_right_in_meaning_and_weights(name):
    found = made(name)
    model = build(found.program)
    for vector in TASKS[name]["vectors"]:
        text = [tuple(t) if isinstance(t, list) else t for t in vector["input"]]
        meaning = found.source(text, causal=found.causal)
        assert all(b is None or a == b for a, b in zip(meaning, vector["output"], strict=True))
        away, right = run_vector(found, model, from_json(Vector, vector, "vector"))
        assert right, (vector, away)


SMALL = ["hist", "sort", "dyck2", "in_context", "palindrome", "first_index"]


@pytest.mark.parametrize("name", SMALL)
def test_structured_problems_are_decoded_rightly_and_lanes_keep_to_their_claims(name):
    found = made(name)
    model = build(found.program)
    problems = found.task.structured(Random(1), 60)
    given = answers(model, found.task, problems)
    wrong = [p for p, g in zip(problems, given, strict=True) if tuple(g) != found.task.answer(p)]
    assert wrong == []
    errors = check_claims(model, found.task, found.claims, problems[:6])
    bounds = {lane.name: lane.error for lane in found.lowering.lanes.values()}
    assert all(e.absolute <= bounds[e.lane] + 1e-12 for e in errors)


@pytest.mark.parametrize("name", ["sort_by_writing", "adder"])
def test_programs_that_read_what_they_wrote_are_decoded_rightly(name):
    found = construct(str(ROOT / "constructions" / "programs" / f"{name}.py"))
    model = build(found.program)
    problems = [*found.task.hard()[:80], *found.task.structured(Random(2), 80)]
    given = answers(model, found.task, problems)
    pairs = zip(problems, given, strict=True)
    assert [p for p, g in pairs if tuple(g) != tuple(found.task.answer(p))] == []
