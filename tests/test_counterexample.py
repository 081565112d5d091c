"""A counterexample is a problem that comes out wrong when somebody asks it again; where only one
decoding or one batch gets it wrong, it says which.
"""

import json

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.machine import answers as asking
from tinyadder.machine.answers import answers, is_right
from tinyadder.machine.compile import build
from tinyadder.verify import counterexample, exhaustive, properties
from tinyadder.verify.certify import prove
from tinyadder.verify.counterexample import (
    fails_alone,
    first_difference,
    in_company,
    refutation,
    wrong_answer,
)
from tinyadder.verify.exhaustive import Shard, covers, is_sound, pack, read_shards, sweep
from tinyadder.verify.properties import verify
from tinyadder.verify.verdict import Exhaustive, Refuted


@pytest.fixture(scope="module")
def adder():
    made = construct("add10", digits=2)
    return build(made.program), made.task


def spoil(monkeypatch, wrong):
    """Let the model answer "999" where `wrong(problem, batch, cached)` says so."""
    real = asking.answers

    def spoilt(model, task, problems, *, batch=asking.BATCH, cache=True):
        given = real(model, task, problems, batch=batch, cache=cache)
        size = min(batch, len(problems))
        return [
            "999" if wrong(problem, size, cache) else answer
            for problem, answer in zip(problems, given, strict=True)
        ]

    for module in (counterexample, properties, exhaustive, prove):
        monkeypatch.setattr(module, "answers", spoilt)


CASES = {
    "every way": (lambda size, cached: True, ""),
    "no cache": (lambda size, cached: not cached, "in full decoding, alone: answer token 1"),
    "a cache": (lambda size, cached: cached, "in cached decoding, alone: answer token 1"),
    "company": (
        lambda size, cached: size >= 5 and cached,
        "in cached decoding, in a batch of 8 copies of itself: answer token 1",
    ),
    "much company": (
        lambda size, cached: size >= 100 and not cached,
        "in full decoding, as problem 13 of a batch of 500 (0 + 0 .. 4 + 99): answer token 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_counterexample_says_by_which_decoding_batch_and_position_it_fails(
    adder, monkeypatch, case
):
    model, task = adder
    when, only = CASES[case]
    spoil(monkeypatch, lambda problem, size, cached: problem == (0, 12) and when(size, cached))
    company = [task.domain().problem(i) for i in range(500)]
    found = wrong_answer(model, task, (0, 12), in_company(model, task, (0, 12), company, 4096))
    assert (found.got, found.only) == ("999", only)
    assert str(found) == "0 + 12   expected 012, model 999" + (f" (only {only})" if only else "")
    assert (
        wrong_answer(model, task, (0, 13), in_company(model, task, (0, 13), company, 4096)) is None
    )


def test_of_many_wrong_problems_one_that_fails_alone_is_shown(adder, monkeypatch):
    model, task = adder
    batched, alone = [(0, b) for b in range(1, 5)], (0, 7)
    spoil(monkeypatch, lambda p, size, _: p == alone or (p in batched and size > 1))
    found = refutation(model, task, [*batched, alone])
    assert (found.problem, found.only) == (alone, "")
    assert refutation(model, task, batched).only.startswith("in cached decoding, in a batch of 2")
    assert refutation(model, task, [(3, 3)]) is None


def test_the_verifier_finds_and_keeps_one_that_fails_alone(adder, monkeypatch):
    spoil(
        monkeypatch,
        lambda p, size, _: p == (90, 9) or (p in [(0, b) for b in range(50)] and size > 1),
    )
    found = verify(*adder)
    assert isinstance(found.verdict, Refuted)
    assert (found.verdict.counterexample.problem, found.verdict.counterexample.only) == (
        (90, 9),
        "",
    )


def test_the_verifier_says_so_where_only_a_batch_is_wrong(adder, monkeypatch):
    spoil(monkeypatch, lambda p, size, cached: p == (5, 9) and size > 4000 and cached)
    found = verify(*adder)
    assert found.verdict.counterexample.only == (
        "in cached decoding, as problem 510 of a batch of 4,096 (0 + 0 .. 40 + 95): answer token 1"
    )


def test_the_sweep_prefers_one_that_fails_alone_and_says_of_another_how(
    adder, tmp_path, monkeypatch
):
    model, task = adder
    texts = task.domain().texts
    planted = {(0, 2): 2, (0, 5): 5}

    def scored(model, sequences, start):
        chosen = sequences[:, start:].clone()
        for index in planted.values():
            row = torch.from_numpy(texts(index, index + 1)[0])
            chosen[(sequences == row).all(1), 1] = 9
        return chosen

    monkeypatch.setattr(exhaustive, "score", scored)
    found = sweep(pack(model, task, {}), folder=tmp_path / "batch").verdict.counterexample
    only = (
        "after the right tokens, in the batch of problems 0 .. 9,999 of the domain: answer token 2"
    )
    assert (found.problem, found.only) == ((0, 2), only)
    assert found.got == "092"
    spoil(monkeypatch, lambda p, size, _: p == (0, 5))
    found = sweep(pack(model, task, {}), folder=tmp_path / "alone").verdict.counterexample
    assert (found.problem, found.only) == ((0, 5), "")


def test_a_model_that_rounding_decides_is_refuted_by_a_problem_that_fails_alone():
    """add10 with 13 digits and no half unit decides ties: some sums are wrong in a batch only."""
    made = construct("add10", digits=13)
    model, task = build(made.program), made.task
    with torch.no_grad():
        model.embedding[task.vocabulary.index("+"), 0] = 0
    found = verify(model, task, count=1000, examples=10).verdict.counterexample
    assert found.only == "" and fails_alone(model, task, found.problem)
    problems = task.hard()[:400]
    emitted = answers(model, task, problems)
    for problem, answer in zip(problems, emitted, strict=True):
        if not is_right(task, problem, answer) and not fails_alone(model, task, problem):
            ways = in_company(model, task, problem, problems, 4096)
            assert " decoding, " in wrong_answer(model, task, problem, ways).only


@pytest.mark.parametrize(
    ("expected", "got", "at"),
    [("123", "193", 1), ("12", "123", 2), ("123", "12", 2), ("1", "1", 1)],
)
def test_where_two_answers_differ(expected, got, at):
    assert first_difference(expected, got) == at


# ---- shards --------------------------------------------------------------------------------------


def edited(data):
    """Every edit of a shard that found 7 of its problems wrong, by name."""
    return {
        "0 wrong": {**data, "wrong": 0},
        "0 wrong and none listed": {**data, "wrong": 0, "first": []},
        "fewer wrong than listed": {**data, "wrong": 3},
        "more wrong than problems": {**data, "wrong": 5000},
        "a negative number wrong": {**data, "wrong": -7},
        "a truth for a number": {**data, "wrong": True, "first": data["first"][:1]},
        "a fraction": {**data, "wrong": 7.0},
        "an index of another shard": {**data, "first": [*data["first"][:-1], 9999]},
        "an index twice": {**data, "first": [data["first"][0], *data["first"][:-1]]},
        "another range": {**data, "start": 0, "stop": 1000},
        "a longer range": {**data, "stop": data["stop"] + 1},
        "an empty range": {**data, "stop": data["start"]},
        "fewer decoded": {**data, "decoded": 0},
        "no time": {**data, "seconds": -1},
        "endless time": {**data, "seconds": float("inf")},
        "a field too many": {**data, "note": "trust me"},
        "a field too few": {key: value for key, value in data.items() if key != "decoded"},
        "no object": [],
        "deep": None,
    }


SEVEN = {(21, k) for k in range(7)}


@pytest.mark.parametrize("reseal", [False, True], ids=["as edited", "sealed anew"])
@pytest.mark.parametrize("edit", edited({"first": [0], "stop": 0, "start": 0}))
def test_an_edited_shard_is_done_again(adder, tmp_path, monkeypatch, edit, reseal):
    if reseal and edit == "0 wrong and none listed":
        pytest.skip("who computes the seal anew has written a shard of their own")
    spoil(monkeypatch, lambda p, *_: False)
    real = exhaustive._wrong
    domain = adder[1].domain()
    planted = {i for i in range(2000, 3000) if domain.problem(i) in SEVEN}
    monkeypatch.setattr(exhaustive, "_wrong", lambda *a: real(*a) | (planted & set(range(*a[3:]))))
    job = pack(*adder, {})
    exhaustive.check_shard(job, 2000, 3000, str(tmp_path))  # not the folder of the sweep: no seal
    place = tmp_path / job.key
    place.mkdir()
    exhaustive.check_shard(job, 2000, 3000, str(place))
    (path,) = place.iterdir()
    data = json.loads(path.read_text())
    assert data.pop("wrong") == 7 and read_shards(place, 1000)
    data["wrong"] = 7
    changed = edited(data)[edit]
    if reseal and isinstance(changed, dict) and changed.keys() == data.keys():
        shard = {k: v for k, v in changed.items() if k != "seal"}
        shard = Shard(**{**shard, "first": tuple(shard["first"])})
        changed["seal"] = exhaustive._seal(place, shard)
    path.write_text("[" * 100_000 if edit == "deep" else json.dumps(changed))
    assert read_shards(place, 1000) == {}


def test_zero_written_into_a_shard_does_not_make_a_wrong_model_right(tmp_path):
    made = construct("add10", digits=2)
    model, task = build(made.program), made.task
    with torch.no_grad():
        model.embedding[task.vocabulary.index("9"), 0] = 8
    job = pack(model, task, {})
    first = sweep(job, folder=tmp_path, shard=2000)
    assert first.wrong
    for path in (tmp_path / job.key).iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "wrong": 0, "first": []}))
    again = sweep(job, folder=tmp_path, shard=2000)
    assert (again.wrong, again.verdict) == (first.wrong, first.verdict)


def test_a_shard_of_another_sweep_is_not_taken(adder, tmp_path):
    job, part = pack(*adder, {}), pack(*adder, {"digits": 1})
    sweep(part, folder=tmp_path)
    (tmp_path / job.key).mkdir()
    for path in (tmp_path / part.key).iterdir():
        (tmp_path / job.key / path.name).write_bytes(path.read_bytes())
    assert read_shards(tmp_path / job.key, exhaustive.SHARD) == {}
    assert sweep(job, folder=tmp_path).verdict == Exhaustive(
        "the pairs of numbers of at most 2 digits", 10_000
    )


@pytest.mark.parametrize(
    ("ranges", "size", "whole"),
    [
        ([(0, 5), (5, 9)], 9, True),
        ([(0, 5), (6, 9)], 9, False),
        ([(0, 5), (4, 9)], 9, False),
        ([(1, 9)], 9, False),
        ([(0, 9)], 10, False),
        ([(0, 5), (5, 5), (5, 9)], 9, False),
        ([], 9, False),
        ([(0, 9), (0, 9)], 9, False),
    ],
)
def test_shards_must_hold_every_problem_once(ranges, size, whole):
    shards = [Shard(start, stop, 0, (), 1, 0.0) for start, stop in ranges]
    assert covers(shards, size) is whole


def test_a_sound_shard_is_sound():
    assert is_sound(Shard(2000, 3000, 12, tuple(range(2000, 2010)), 1, 0.5), 1000)
    assert is_sound(Shard(0, 1000, 0, (), 1, 0), 1000)
