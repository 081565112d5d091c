"""Every problem of a finite domain, in shards: over processes or a cluster, resumable, the same
verdict for any number.

A shard is a range of problem indices. Its result is one small JSON file, written beside and renamed
into place, so a finished shard is never redone and never half there. Every problem is scored by
`tinyadder.machine.decode.score`, teacher-forced over `prompt + right answer` (equal to greedy
decoding, by induction, exactly when every token is right), and every `SPACING`-th is also decoded
greedily, token by token, through the plain forward pass over the whole text.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.machine.answers import answers, forced_answers
from tinyadder.machine.decode import score
from tinyadder.machine.encoder import empty_model
from tinyadder.machine.transformer import Config, Transformer
from tinyadder.tasks.base import Domain, Task
from tinyadder.verify.properties import check_oracle
from tinyadder.verify.verdict import Counterexample, Exhaustive, Refuted

BATCH = 10_000
"""Problems a batch; scoring cuts it into what suits the device."""
SHARD = 1_000_000
"""Problems a shard: a second or so of work is the most that a kill costs each worker."""
SPACING = 1000
"""Every 1000th problem is also decoded autoregressively."""
LISTED = 10
"""Wrong problems that are kept, the ones with the lowest indices."""
MOST = 10**11
"""Larger domains are refused: at 10^6 problems a second this is a day."""

Progress = Callable[[int, int, int], None]
"""Called with problems done, problems in all, wrong ones so far."""


@dataclass(frozen=True)
class Job:
    """All a worker needs, as plain data: the model's shape and numbers, the task, the part of its
    domain.
    """

    config: Config
    weights: bytes
    """The state dict in safetensors format."""
    dtype: str
    task: Task
    limits: tuple[tuple[str, int], ...]
    device: str

    @property
    def key(self) -> str:
        """A digest of what decides the results; results with another key belong to another
        sweep.
        """
        said = [
            self.config.to_json(),
            self.dtype,
            self.task.to_json(),
            self.limits,
            self.device,
            BATCH,
            SPACING,
            torch.__version__,
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode() + self.weights).hexdigest()[
            :16
        ]


@dataclass(frozen=True)
class Shard:
    """What was found among the problems start .. stop - 1."""

    start: int
    stop: int
    wrong: int
    first: tuple[int, ...]
    """Indices of the first wrong problems."""
    decoded: int
    """Problems that were also decoded autoregressively."""
    seconds: float


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: the verdict, exact counts, and how they were found."""

    verdict: Exhaustive | Refuted
    domain: str
    count: int
    wrong: int
    examples: tuple[Counterexample, ...]
    decoded: int
    method: str
    seconds: float
    """Processor time, summed over the shards."""


def pack(model: Transformer, task: Task, limits: dict[str, int], device: str = "cpu") -> Job:
    """The job of checking `model` on the part of the domain of `task` that `limits` names.

    Raises `TinyadderError` where model and task have different vocabularies.
    """
    from safetensors.torch import save

    if model.config.vocabulary != task.vocabulary:
        has, speaks = " ".join(model.config.vocabulary), " ".join(task.vocabulary)
        raise TinyadderError(
            f"the model has the vocabulary {has}, task '{task.name}' has {speaks}; build it for the"
            " task"
        )
    state = {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in model.state_dict().items()
    }
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return Job(model.config, save(state), dtype, task, tuple(sorted(limits.items())), device)


@lru_cache(maxsize=2)
def _unpack(job: Job) -> tuple[Transformer, Domain]:
    from safetensors.torch import load

    model = empty_model(job.config, getattr(torch, job.dtype))
    model.load_state_dict(load(job.weights))
    return model.to(job.device).eval(), domain_of(job.task, dict(job.limits))


def domain_of(task: Task, limits: dict[str, int]) -> Domain:
    """The domain of `task` within `limits`. Raises `TinyadderError` where it has none, or one that
    is too large.
    """
    check_oracle(task)
    domain = task.domain(**limits)
    if domain is None:
        raise TinyadderError(
            f"task '{task.name}' has no domain that can be counted off; use sampled or proved"
            " verdicts"
        )
    if domain.size > MOST:
        raise TinyadderError(
            f"{domain.name}: {domain.size:.3g} problems are too many to try (at most {MOST:.0e});"
            " limit the digits, or prove the model on all inputs"
        )
    return domain


def check_shard(job: Job, start: int, stop: int, folder: str | None = None) -> Shard:
    """Check the problems start .. stop - 1; where `folder` is reachable the result is written there
    as well.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        model, domain = _unpack(job)
        wrong = set[int]()
        for at in range(start, stop, BATCH):
            wrong |= _wrong(model, job.task, domain, at, min(at + BATCH, stop))
        replayed = list(range(-(-start // SPACING) * SPACING, stop, SPACING))
        problems = [domain.problem(i) for i in replayed]
        emitted = answers(model, job.task, problems, cache=False)
        pairs = zip(replayed, problems, emitted, strict=True)
        wrong |= {i for i, problem, got in pairs if tuple(got) != tuple(job.task.answer(problem))}
        listed = tuple(sorted(wrong)[:LISTED])
        shard = Shard(start, stop, len(wrong), listed, len(replayed), time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    if folder is not None and Path(folder).is_dir():
        write_shard(Path(folder), shard)
    return shard


def _wrong(model: Transformer, task: Task, domain: Domain, start: int, stop: int) -> set[int]:
    """Indices of the problems of which some answer token is chosen wrongly, given the right ones
    before it.
    """
    if domain.texts is None:
        problems = [domain.problem(i) for i in range(start, stop)]
        found = forced_answers(model, task, problems, batch=BATCH)
        right = [tuple(task.answer(problem)) for problem in problems]
        return {
            start + i
            for i, (got, want) in enumerate(zip(found, right, strict=True))
            if tuple(got) != want
        }
    ids = domain.texts(start, stop)
    problem = domain.problem(start)
    prompt, answer = task.prompt(problem), task.answer(problem)
    if not np.array_equal(
        ids[:1], task.encode([[*prompt, *answer]])
    ):  # the arrays are a second way to the same text
        raise TinyadderError(
            f"task '{task.name}': the arrays of its domain differ from its texts at {problem}"
        )
    texts = torch.from_numpy(ids).to(model.outputs.device)
    miss = (score(model, texts, len(prompt)) != texts[:, len(prompt) :]).any(1)
    return {start + int(i) for i in miss.nonzero()[:, 0]} if bool(miss.any()) else set()


# ---- shard files ---------------------------------------------------------------------------------


def write_shard(folder: Path, shard: Shard) -> None:
    """Write the result of a shard."""
    with atomic_write(
        folder / f"shard-{shard.start:015d}.json", way_out="give another folder"
    ) as part:
        part.write_text(json.dumps(asdict(shard)) + "\n")


def read_shards(folder: Path, size: int) -> dict[int, Shard]:
    """The finished shards in `folder`, by start; a damaged file or one of another shard size counts
    as not done.
    """
    found = {}
    for path in folder.glob("shard-*.json"):
        try:
            data = json.loads(path.read_text())
            shard = Shard(**{**data, "first": tuple(data["first"])})
        except (ValueError, TypeError, KeyError):
            continue
        if shard.start % size == 0 and shard.start < shard.stop <= shard.start + size:
            found[shard.start] = shard
    return found


def sweep(
    job: Job,
    *,
    folder: Path,
    workers: int = 1,
    shard: int = SHARD,
    progress: Progress | None = None,
) -> Sweep:
    """Check every problem of the job's domain and give the verdict; finished shards in `folder` are
    taken as they are.

    `workers` processes of this machine, or what the joblib backend in force says (dask, ray):
    results do not depend on it. Raises `TinyadderError` for a domain that cannot be counted off.
    """
    from joblib import delayed

    if shard < 1 or workers == 0:
        raise TinyadderError(
            f"shard={shard}, workers={workers}; a shard has at least 1 problem, workers are >= 1"
            " or -1"
        )
    model, domain = _unpack(job)
    place = folder / job.key
    place.mkdir(parents=True, exist_ok=True)
    done = read_shards(place, shard)
    ranges = [(at, min(at + shard, domain.size)) for at in range(0, domain.size, shard)]
    done = {at: done[at] for at, stop in ranges if at in done and done[at].stop == stop}
    left = [(at, stop) for at, stop in ranges if at not in done]

    def report() -> None:
        if progress:
            kept = done.values()
            progress(sum(s.stop - s.start for s in kept), domain.size, sum(s.wrong for s in kept))

    report()
    for found in _run(
        [delayed(check_shard)(job, at, stop, str(place)) for at, stop in left], workers
    ):
        if not (place / f"shard-{found.start:015d}.json").exists():  # a worker on another machine
            write_shard(place, found)
        done[found.start] = found
        report()
    return _merge(job, model, domain, [done[at] for at, _ in ranges])


def _run(calls: list[Any], workers: int) -> Iterator[Shard]:
    """The results of joblib calls, each as it is done, by the backend in force."""
    from joblib import Parallel, effective_n_jobs
    from joblib.parallel import get_active_backend

    if get_active_backend()[0].supports_return_generator:
        yield from Parallel(
            n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs"
        )(calls)
        return
    portion = 4 * effective_n_jobs(
        workers
    )  # ray hands back a whole list: portions, so that a kill loses one of them
    for at in range(0, len(calls), portion):
        yield from Parallel(n_jobs=workers)(calls[at : at + portion])


def _merge(job: Job, model: Transformer, domain: Domain, shards: list[Shard]) -> Sweep:
    wrong = sum(s.wrong for s in shards)
    problems = [domain.problem(i) for s in shards for i in s.first][:LISTED]
    emitted = answers(model, job.task, problems, batch=1)
    examples = tuple(
        Counterexample(problem, job.task.show(problem), job.task.answer(problem), got)
        for problem, got in zip(problems, emitted, strict=True)
    )
    # A token decided by rounding may come out right when its problem runs alone: prefer one that
    # fails alone, too.
    failing = [e for e in examples if tuple(e.expected) != tuple(e.got)] or list(examples)
    decoded = sum(s.decoded for s in shards)
    method = (
        f"{job.dtype} on {job.device}, batches of {BATCH}: every problem teacher-forced by"
        f" tinyadder.machine.decode.score (greedy decoding where every token is right); {decoded:,}"
        " also decoded through the plain forward pass"
    )
    verdict = Refuted(failing[0]) if wrong else Exhaustive(domain.name, domain.size)
    seconds = sum(s.seconds for s in shards)
    return Sweep(verdict, domain.name, domain.size, wrong, examples, decoded, method, seconds)


def sweep_to_json(sweep: Sweep) -> dict[str, Any]:
    """The sweep as plain data, the verdict under its type."""
    from tinyadder.verify.verdict import verdict_to_json

    return {**asdict(sweep), "verdict": verdict_to_json(sweep.verdict)}
