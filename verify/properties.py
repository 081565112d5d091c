"""Ask a model many problems by true greedy decoding: the public suite, hard cases, structured
samples, a search.

`verify` gives a typed verdict: Exhaustive where every problem of the task was asked, Sampled where
none of those asked was wrong, Refuted with the smallest counterexample it could find. The search is
hypothesis', which also shrinks what it finds; `Task.simpler` shrinks what was found anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory

from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers, is_right
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import whole
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown
from tinyadder.verify.counterexample import (
    TRIED,
    FailureReport,
    Way,
    explain,
    fails_alone,
    in_company,
    plain_answers,
)
from tinyadder.verify.verdict import Exhaustive, Refuted, Sampled, Verdict

CHUNK = 4096
SMALL = 100_000
"""A task with at most so many problems is asked all of them."""
UNIFORM, UNIFORM_SEED = 10_000, 2025
"""What the public AdderBoard checker asks besides its edge cases; with this seed the ten-digit
pairs are the same.
"""
STALE = 20
"""Chunks of samples without a single new problem before the sampler counts as exhausted."""

Progress = Callable[[str, int, int], None]
"""Called with the part's name, problems done, problems in all."""


@dataclass(frozen=True)
class CheckResult:
    """What one part of the verification asked, and how many answers were wrong; it ends after the
    first chunk with a problem that also fails alone.
    """

    name: str
    asked: int
    wrong: int

    def __str__(self) -> str:
        return f"{self.name:16} {self.asked:>9,} asked, {self.wrong:,} wrong"


@dataclass(frozen=True, repr=False)
class Verification(Shown):
    """The verdict, the parts it rests on, and the report on a counterexample, if there is one."""

    verdict: Verdict
    parts: tuple[CheckResult, ...]
    report: FailureReport | None = None

    def lines(self, replay: str | None = None) -> list[str]:
        """The parts, the verdict and the report; `replay` is the command that shows the
        counterexample again.
        """
        told = self.report.lines(replay) if self.report else []
        return [f"           {part}" for part in self.parts] + [
            str(self.verdict),
            *(f"           {s}" for s in told),
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def verify(
    model: Transformer,
    task: Task,
    *,
    count: int = 200_000,
    seed: int = 0,
    examples: int = 500,
    progress: Progress | None = None,
) -> Verification:
    """Ask `model` the problems of `task` and give the verdict.

    All of them where there are at most 100,000. Otherwise, up to the first part with a wrong
    answer: the public suite (edges and 10,000 uniform problems), the hard list, `count` structured
    samples (none of them asked before), and `examples` problems of a hypothesis search. Every
    answer is decoded greedily from the prompt alone; the hard list and what the search asks (or
    everything, where everything is asked) also go through the plain forward pass, in which NaN or
    infinity among the logits is wrong as well. Raises `TinyadderError` where model and task have
    different vocabularies, or count < 1.
    """
    if model.config.vocabulary != task.vocabulary:
        has, speaks = " ".join(model.config.vocabulary), " ".join(task.vocabulary)
        raise TinyadderError(
            f"the model has the vocabulary {has}, task '{task.name}' has {speaks}; they must be"
            " equal"
        )
    check_oracle(task)
    count, examples = whole(count, "count", 1), whole(examples, "examples", 1)
    seed = whole(seed, "seed")
    judge = Grader(model, task, progress)
    domain = task.domain()
    if domain is not None and domain.size <= SMALL:
        every = [domain.problem(i) for i in range(domain.size)]
        wrong = judge.ask("every problem", every) or judge.ask_plainly("plain forward", every)
        if not wrong:
            return Verification(Exhaustive(domain.name, domain.size), tuple(judge.parts))
    else:
        suite = [*task.edges(), *task.uniform(Random(UNIFORM_SEED), UNIFORM)]
        wrong = (
            judge.ask("public suite" if task.edges() else "uniform", suite)
            or judge.ask("hard cases", task.hard())
            or judge.ask_plainly("plain forward", task.hard())
            or judge.ask("structured", samples(task, seed, count, judge.asked), count)
            or judge.search(examples, seed)
        )
        if not wrong:
            return Verification(Sampled(len(judge.asked), seed), tuple(judge.parts))
    smallest = judge.shrink(wrong[0])
    if not task.simpler(wrong[0]) and judge.parts[-1].name != "search":
        # this task leaves shrinking to hypothesis
        smallest = (judge.search(examples, seed) or [smallest])[0]
    report = explain(model, task, smallest, judge.ways(smallest))
    return Verification(Refuted(report.counterexample), tuple(judge.parts), report)


def check_oracle(task: Task) -> None:
    """Raise `TinyadderError` for a task that was saved without its right answers: nothing can be
    judged by it.
    """
    if not task.has_oracle:
        raise TinyadderError(
            "the right answers of this model's task are not known here: its folder holds some"
            " answers and not the function that gives them; name the file that defines the task:"
            " --task ./FILE.py"
        )


def samples(task: Task, seed: int, count: int, known: set[Problem]) -> Iterator[Problem]:
    """`count` different structured problems that are not among `known`; fewer where the sampler has
    no more to give.
    """
    random, given, stale = Random(seed), 0, 0
    seen = set[Problem]()
    while given < count and stale < STALE:
        stale += 1
        for problem in task.structured(random, CHUNK):
            if problem not in known and problem not in seen and given < count:
                seen.add(problem)
                given, stale = given + 1, 0
                yield problem


class Grader:
    """Decides whether a model answers problems rightly, and keeps count."""

    def __init__(self, model: Transformer, task: Task, progress: Progress | None = None) -> None:
        self.model, self.task = model, task
        self.progress = progress or (lambda name, done, total: None)
        self.asked: set[Problem] = set()
        self.parts: list[CheckResult] = []
        self.company: list[Problem] = []
        """The chunk that was asked last: what a problem may have been wrong in company of."""

    def wrong(self, problems: Sequence[Problem]) -> list[Problem]:
        """Those of `problems` that greedy decoding from the prompt alone answers wrongly."""
        self.asked.update(problems)
        found = answers(self.model, self.task, problems, batch=CHUNK)
        return self.unlike(problems, found)

    def plainly_wrong(self, problems: Sequence[Problem]) -> list[Problem]:
        """Those with a wrong token, or logits that are no numbers, in the plain forward pass
        (teacher-forced).
        """
        return self.unlike(problems, plain_answers(self.model, self.task, problems))

    def unlike(self, problems: Sequence[Problem], found: Sequence[Sequence[str]]) -> list[Problem]:
        pairs = zip(problems, found, strict=True)
        return [problem for problem, answer in pairs if not is_right(self.task, problem, answer)]

    def ask(
        self, name: str, problems: Iterable[Problem], total: int | None = None
    ) -> list[Problem]:
        """The wrong ones of the first chunk in which one fails alone, that one first, else of the
        first with any; notes the part.
        """
        return self._run(name, problems, total, self.wrong)

    def ask_plainly(self, name: str, problems: Sequence[Problem]) -> list[Problem]:
        """The same with the plain forward pass."""
        return self._run(name, problems, None, self.plainly_wrong)

    def _run(
        self,
        name: str,
        problems: Iterable[Problem],
        total: int | None,
        judge: Callable[[list[Problem]], list[Problem]],
    ) -> list[Problem]:
        if total is None:
            problems = list(problems)
            total = len(problems)
        asked, count, tried, wrong = 0, 0, 0, list[Problem]()
        self.progress(name, 0, total)
        for chunk in chunks(problems):
            found = judge(chunk)
            asked, count = asked + len(chunk), count + len(found)
            self.progress(name, asked, total)
            alone = self.alone(found[: TRIED - tried]) if found else None
            tried += len(found)
            if alone is not None or (found and not wrong):
                wrong, self.company = found, chunk
            if alone is not None:
                wrong = [alone, *(problem for problem in found if problem != alone)]
                break
        self.parts.append(CheckResult(name, asked, count))
        return wrong

    def search(self, examples: int, seed: int) -> list[Problem]:
        """Let hypothesis look for a wrong answer among `examples` problems and shrink it; one
        problem, or none.
        """
        from hypothesis import Phase, find, settings
        from hypothesis.errors import NoSuchExample

        found, tried = list[Problem](), 0

        def wrong(problem: Problem) -> bool:
            nonlocal tried
            tried += 1
            self.progress("search", min(tried, examples), examples)
            return bool(self.wrong([problem])) or bool(self.plainly_wrong([problem]))

        phases = (Phase.generate, Phase.shrink)
        limits = settings(
            max_examples=examples, deadline=None, database=None, phases=phases, derandomize=False
        )
        with suppress(NoSuchExample), _storage_elsewhere():
            found = [find(self.task.strategy(), wrong, settings=limits, random=Random(seed))]
        self.parts.append(CheckResult("search", tried, len(found)))
        return found

    def alone(self, wrong: Sequence[Problem]) -> Problem | None:
        """The first of these that fails alone, cached and in full."""
        return next((p for p in wrong if fails_alone(self.model, self.task, p)), None)

    def ways(self, problem: Problem) -> list[Way]:
        """The ways of asking `problem` as it was asked last, where it was among others."""
        if problem not in self.company:
            return []
        return in_company(self.model, self.task, problem, self.company, CHUNK)

    def shrink(self, problem: Problem) -> Problem:
        """A problem as simple as can be found that fails alone; `problem` where none is simpler.

        Greedy descent: of the candidates of `Task.simpler`, decoded in one batch, the simplest
        wrong one that also fails alone, again and again.
        """
        while True:
            simpler = self.alone(self.wrong(self.task.simpler(problem))[:TRIED])
            if simpler is None:
                return problem
            problem = simpler


@contextmanager
def _storage_elsewhere() -> Iterator[None]:
    """What hypothesis keeps goes to a folder that is deleted, not to `.hypothesis` in this one."""
    from hypothesis import configuration

    before = getattr(configuration, "__hypothesis_home_directory", None)
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        configuration.set_hypothesis_home_dir(scratch)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)


def chunks(problems: Iterable[Problem], size: int = CHUNK) -> Iterator[list[Problem]]:
    """Lists of at most `size` problems."""
    chunk: list[Problem] = []
    for problem in problems:
        chunk.append(problem)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
