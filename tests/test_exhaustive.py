"""Exhaustive sweeps: exact counts, planted faults, resuming after a kill, the same verdict for any
workers.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.tasks.addition import Addition
from tinyadder.verify import exhaustive
from tinyadder.verify.exhaustive import pack, read_shards, sweep, sweep_to_json
from tinyadder.verify.verdict import Exhaustive, Refuted


@pytest.fixture(scope="module")
def good():
    made = construct("add10", digits=2)
    return build(made.program), made.task


@pytest.fixture(scope="module")
def faulty():
    """add10 for two digits with the half unit taken away and a digit weighed a little wrong: some
    sums fail.
    """
    made = construct("add10", digits=2)
    model = build(made.program)
    with torch.no_grad():
        model.embedding[7, 0] -= 0.06
    return model, made.task


PAIRS = "the pairs of numbers of at most 2 digits"


def told(result):
    """What a sweep says, without how long it took."""
    return {**sweep_to_json(result), "seconds": None}


def test_a_right_model_is_right_on_every_pair(good, tmp_path):
    result = sweep(pack(*good, {}), folder=tmp_path)
    assert result.verdict == Exhaustive(PAIRS, 10_000)
    assert (result.count, result.wrong, result.decoded) == (10_000, 0, 10)


def test_the_count_of_wrong_pairs_is_that_of_brute_force(faulty, tmp_path):
    model, task = faulty
    result = sweep(pack(model, task, {}), folder=tmp_path, shard=2000)
    problems = [(a, b) for a in range(100) for b in range(100)]
    wrong = [
        p
        for p, got in zip(problems, answers(model, task, problems), strict=True)
        if got != task.answer(p)
    ]
    assert 0 < result.wrong == len(wrong) < 10_000
    assert [e.problem for e in result.examples] == wrong[:10]
    assert isinstance(result.verdict, Refuted)
    assert result.verdict.counterexample.problem == wrong[0]
    assert result.verdict.counterexample.got != task.answer(wrong[0])


def test_other_numbers_of_operands_are_swept_as_well(good, faulty, tmp_path):
    task = Addition(digits=1, operands=3)
    result = sweep(pack(good[0], task, {}), folder=tmp_path)
    assert result.verdict == Exhaustive("the triples of numbers of at most 1 digit", 1000)
    pairs = replace(task, operands=2, digits=2)
    assert sweep(pack(faulty[0], pairs, {}), folder=tmp_path).wrong > 0


def test_a_task_of_another_vocabulary_is_refused(good):
    with pytest.raises(TinyadderError, match="build it for the task"):
        pack(good[0], Addition(digits=2, base=7), {})


def test_a_finished_shard_is_never_done_again(good, tmp_path, monkeypatch):
    job = pack(*good, {})
    first = sweep(job, folder=tmp_path, shard=1000)
    kept = sorted((tmp_path / job.key).glob("shard-*.json"))
    kept[3].unlink()
    kept[5].write_text("{")
    ran = []
    check = exhaustive.check_shard
    monkeypatch.setattr(
        exhaustive, "check_shard", lambda job, at, *rest: (ran.append(at), check(job, at, *rest))[1]
    )
    assert told(sweep(job, folder=tmp_path, shard=1000)) == told(first)
    assert sorted(ran) == [3000, 5000]


def test_shards_of_another_model_are_not_taken(good, faulty, tmp_path):
    sweep(pack(*good, {}), folder=tmp_path)
    assert sweep(pack(*faulty, {}), folder=tmp_path).wrong > 0


def test_any_number_of_workers_gives_the_same_verdict(faulty, tmp_path):
    job = pack(*faulty, {})
    one, two = (sweep(job, folder=tmp_path / str(n), workers=n, shard=3000) for n in (1, 2))
    assert told(one) == told(two)


SLOW_SWEEP = """
import sys, time
from pathlib import Path
from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.verify.exhaustive import pack, sweep

def slowly(done, *_):
    print(done, flush=True)
    time.sleep(0.05)

made = construct("add10", digits=2)
job = pack(build(made.program), made.task, {})
sweep(job, folder=Path(sys.argv[1]), shard=1000, progress=slowly)
"""
"""Sweeps add10 of two digits and prints how far it is."""


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SLOW_SWEEP)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    while int(process.stdout.readline()) < 3000:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = construct("add10", digits=2)
    job = pack(build(made.program), made.task, {})
    before = {s.start: s for s in read_shards(tmp_path / job.key, 1000).values()}
    assert 3 <= len(before) < 10
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / job.key).glob("shard-*.json")}
    time.sleep(0.01)
    assert sweep(job, folder=tmp_path, shard=1000).verdict == Exhaustive(PAIRS, 10_000)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_sweep_runs_on_a_dask_cluster(faulty, tmp_path):
    distributed = pytest.importorskip("distributed", reason="pip install 'tinyadder[cluster]'")
    from joblib import parallel_config

    job = pack(*faulty, {})
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        far = sweep(job, folder=tmp_path / "dask", workers=-1, shard=2000)
    assert told(far) == told(sweep(job, folder=tmp_path / "here", shard=2000))


def test_a_sweep_runs_on_a_local_ray(faulty, tmp_path):
    ray = pytest.importorskip("ray", reason="pip install 'tinyadder[cluster-ray]'")
    from joblib import parallel_config
    from ray.util.joblib import register_ray

    job = pack(*faulty, {})
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with parallel_config(backend="ray"):
            far = sweep(job, folder=tmp_path / "ray", workers=-1, shard=1000)
    finally:
        ray.shutdown()
    assert told(far) == told(sweep(job, folder=tmp_path / "here", shard=1000))


def test_a_backend_that_only_gives_lists_gets_the_shards_in_portions(faulty, tmp_path):
    """As ray's: a sweep that stops after the first portion has kept it."""
    from joblib import parallel_config, register_parallel_backend
    from joblib.parallel import SequentialBackend

    class Lists(SequentialBackend):
        supports_return_generator = False

    register_parallel_backend("lists", Lists)
    job, seen = pack(*faulty, {}), []
    with parallel_config(backend="lists"):
        far = sweep(
            job, folder=tmp_path / "far", shard=1000, progress=lambda done, *_: seen.append(done)
        )
    assert told(far) == told(sweep(job, folder=tmp_path / "here", shard=1000))
    assert seen == [1000 * n for n in range(11)]


def test_a_cluster_that_is_not_there_or_not_installed_is_one_line(monkeypatch):
    from click.testing import CliRunner

    from tinyadder.commands.exhaust import command
    from tinyadder.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tinyadder\[cluster-ray\]'"):
        CliRunner().invoke(
            command, ["add10", "--digits", "1", "--scheduler", "ray"], catch_exceptions=False
        )
    pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(TinyadderError, match="no cluster answers there"),
    ):
        CliRunner().invoke(
            command,
            ["add10", "--digits", "1", "--scheduler", "tcp://127.0.0.1:9"],
            catch_exceptions=False,
        )


@dataclass(frozen=True)
class Unbounded(Addition):
    """A task nobody can count off."""

    def domain(self, **limits):
        return None


def test_a_task_without_a_domain_and_a_domain_too_large_are_refused(good, tmp_path):
    with pytest.raises(TinyadderError, match="no domain that can be counted off"):
        sweep(pack(good[0], Unbounded(), {}), folder=tmp_path)
    with pytest.raises(TinyadderError, match=r"1e\+20 problems are too many"):
        sweep(pack(good[0], Addition(), {}), folder=tmp_path)
    with pytest.raises(TinyadderError, match="shard=0"):
        sweep(pack(*good, {}), folder=tmp_path, shard=0)


def test_the_result_is_plain_data(faulty, tmp_path):
    data = sweep_to_json(sweep(pack(*faulty, {}), folder=tmp_path))
    assert json.loads(json.dumps(data))["verdict"]["verdict"] == "refuted"
