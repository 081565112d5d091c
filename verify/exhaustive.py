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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.io.files import write_text
from tinyadder.io.text import read_json
from tinyadder.machine.answers import BATCH as ANSWERS
from tinyadder.machine.answers import answers, forced_answers, is_right
from tinyadder.machine.config import Config
from tinyadder.machine.decode import score
from tinyadder.machine.encoder import empty_model
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import whole
from tinyadder.tasks.base import Domain, Problem, Task
from tinyadder.verify.counterexample import Way, in_company, refutation, wrong_answer
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
MOST_SHARD = 2**20
"""Bytes of the file of a shard."""
MOST = 10**11
"""Larger domains are refused: at 10^6 problems a second this is a day."""

SweepProgress = Callable[[int, int, int], None]
"""Called with problems done, problems in all, wrong ones so far."""


@dataclass(frozen=True)
class Job:
    """All a worker needs, as plain data: the model's shape and weights, the task, the part of its
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
    domain = task.domain(**{name: whole(limit, name) for name, limit in limits.items()})
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
        replayed = _spaced(start, stop)
        problems = [domain.problem(i) for i in replayed]
        emitted = answers(model, job.task, problems, cache=False)
        pairs = zip(replayed, problems, emitted, strict=True)
        wrong |= {i for i, problem, got in pairs if not is_right(job.task, problem, got)}
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
        found = enumerate(forced_answers(model, task, problems, batch=BATCH))
        return {start + i for i, got in found if not is_right(task, problems[i], got)}
    texts, chosen = _scored(model, task, domain, start, stop)
    miss = (chosen != texts[:, -chosen.shape[1] :]).any(1)
    return {start + int(i) for i in miss.nonzero()[:, 0]} if bool(miss.any()) else set()


def _scored(
    model: Transformer, task: Task, domain: Domain, start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """Token ids of the problems start .. stop - 1, and the tokens that the model chooses at their
    answer positions.
    """
    assert domain.texts is not None
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
    return texts, score(model, texts, len(prompt))


def _as_swept(job: Job, model: Transformer, domain: Domain, index: int, shard: Shard) -> list[Way]:
    """The ways in which the sweep asked the problem with this index."""
    task, problem = job.task, domain.problem(index)
    at = shard.start + (index - shard.start) // BATCH * BATCH
    stop = min(at + BATCH, shard.stop)

    def forced() -> Sequence[str]:
        if domain.texts is None:
            problems = [domain.problem(i) for i in range(at, stop)]
            return forced_answers(model, task, problems, batch=BATCH)[index - at]
        chosen = _scored(model, task, domain, at, stop)[1][index - at].tolist()
        tokens = tuple(task.vocabulary[token] for token in chosen)
        return "".join(tokens) if isinstance(task.answer(problem), str) else tokens

    name = f"after the right tokens, in the batch of problems {at:,} .. {stop - 1:,} of the domain"
    ways: list[Way] = [(name, forced)]
    if index % SPACING == 0:
        spaced = [domain.problem(i) for i in _spaced(shard.start, shard.stop)]
        ways += in_company(model, task, problem, spaced, ANSWERS)
    return ways


def _spaced(start: int, stop: int) -> range:
    """Indices of the problems of a shard that are also decoded."""
    return range(-(-start // SPACING) * SPACING, stop, SPACING)


# ---- shard files ---------------------------------------------------------------------------------


def write_shard(folder: Path, shard: Shard) -> None:
    """Write the result of a shard of the sweep whose key `folder` is named after."""
    path = folder / f"shard-{shard.start:015d}.json"
    text = json.dumps({**asdict(shard), "seal": _seal(folder, shard)}) + "\n"
    write_text(path, text, way_out="give another folder")


def _seal(folder: Path, shard: Shard) -> str:
    """A digest of the shard and the key of its sweep: an edited shard, or one that was copied from
    another sweep, does not have it. It keeps nobody out who computes it anew.
    """
    return hashlib.sha256(json.dumps([folder.name, asdict(shard)]).encode()).hexdigest()[:16]


def read_shards(folder: Path, size: int) -> dict[int, Shard]:
    """The finished shards in `folder`, by start.

    A damaged or edited file, one of another shard size, and one that contradicts itself count as
    not done: their problems are checked again.
    """
    found = {}
    for path in folder.glob("shard-*.json"):
        try:
            data = read_json(path, most=MOST_SHARD)
            seal = data.pop("seal")
            shard = Shard(**{**data, "first": tuple(data["first"])})
            if seal == _seal(folder, shard) and is_sound(shard, size):
                found[shard.start] = shard
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def is_sound(shard: Shard, size: int) -> bool:
    """Whether the numbers of a shard of at most `size` problems fit together."""
    start, stop, wrong, first = shard.start, shard.stop, shard.wrong, shard.first
    whole = (start, stop, wrong, shard.decoded, *first)
    return (
        all(type(number) is int for number in whole)
        and 0 <= start < stop <= start + size
        and start % size == 0
        and 0 <= wrong <= stop - start
        and len(first) == min(wrong, LISTED)
        and list(first) == sorted(set(first))
        and all(start <= index < stop for index in first)
        and shard.decoded == len(_spaced(start, stop))
        and 0 <= shard.seconds < float("inf")
    )


def covers(shards: Sequence[Shard], size: int) -> bool:
    """Whether the shards, in this order, hold every problem of a domain of `size` exactly once."""
    starts, stops = [s.start for s in shards], [s.stop for s in shards]
    return [*starts, size] == [0, *stops] and all(s.start < s.stop for s in shards)


def forget(job: Job, folder: Path) -> None:
    """Remove the finished shards of this sweep."""
    for path in (folder / job.key).glob("shard-*.json"):
        path.unlink()


def sweep(
    job: Job,
    *,
    folder: Path,
    workers: int = 1,
    shard: int = SHARD,
    progress: SweepProgress | None = None,
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
    # ray hands back a whole list: portions, so that a kill loses one of them
    portion = 4 * effective_n_jobs(workers)
    for at in range(0, len(calls), portion):
        yield from Parallel(n_jobs=workers)(calls[at : at + portion])


def _merge(job: Job, model: Transformer, domain: Domain, shards: list[Shard]) -> Sweep:
    if not covers(shards, domain.size):
        raise TinyadderError(
            "the shards do not hold every problem once; begin again with --restart"
        )
    wrong = sum(s.wrong for s in shards)
    listed = {domain.problem(i): (i, s) for s in shards for i in s.first}

    def as_swept(problem: Problem) -> list[Way]:
        return _as_swept(job, model, domain, *listed[problem])

    examples = []
    for problem in list(listed)[:LISTED]:
        example = wrong_answer(model, job.task, problem, as_swept(problem))
        if example is None:
            raise TinyadderError(
                f"a shard says that {job.task.show(problem)} is answered wrongly, and it is not;"
                " begin again with --restart"
            )
        examples.append(example)
    decoded = sum(s.decoded for s in shards)
    method = (
        f"{job.dtype} on {job.device}, batches of {BATCH}: every problem teacher-forced by"
        f" tinyadder.machine.decode.score (greedy decoding where every token is right); {decoded:,}"
        " also decoded through the plain forward pass"
    )
    failing = refutation(model, job.task, list(listed), as_swept) if wrong else None
    verdict = Refuted(failing) if failing else Exhaustive(domain.name, domain.size)
    seconds = sum(s.seconds for s in shards)
    return Sweep(
        verdict, domain.name, domain.size, wrong, tuple(examples), decoded, method, seconds
    )


def sweep_to_json(sweep: Sweep) -> dict[str, Any]:
    """The sweep as plain data, the verdict under its type."""
    from tinyadder.verify.verdict import verdict_to_json

    return {**asdict(sweep), "verdict": verdict_to_json(sweep.verdict)}
