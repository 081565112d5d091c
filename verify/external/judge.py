"""The verdict on a stranger's adder: what was asked, what was wrong, by whose decoding.

    judge(Submission("theirs.py"), seconds=60)

asks, as far as the time goes, the public suite (as the board runs it: its edge cases and 10,000
pairs, seed 2025), hard cases, structured samples, and where logits can be had a margin hunt. The
submission's process gives plain answers; right or wrong is decided here. A wrong answer counts when
the file's own `add` gives it, alone; or when `add` makes the very passes that we make and returns
another number than they spell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, NamedTuple, TypedDict

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.tasks.pairs import Pair
from tinyadder.text import Shown
from tinyadder.verify.external.answering import arrays
from tinyadder.verify.external.decoding import WIDTH
from tinyadder.verify.external.formats import digits_of
from tinyadder.verify.external.hunt import TASK, Ask, Hunt
from tinyadder.verify.external.submission import OutOfTime, Session, Submission
from tinyadder.verify.properties import UNIFORM, UNIFORM_SEED, CheckResult, Progress
from tinyadder.verify.verdict import Counterexample, Refuted, Sampled, Unknown, verdict_to_json

SECONDS = 60.0
STRUCTURED = 20_000
TRIED = 40
"""Sums that came out wrong of which one is looked for that the file's own `add` gets wrong."""
NARROW = 4
"""Narrowest sums that the file's own `add` is asked, now and then during the hunt."""
SUITE_SHARE = 0.2
"""Of the time, what the public suite may take step by step; the rest of it is asked in one pass a
sum, where the model allows that."""
PART_SHARE = 0.5
"""Of the time left, what one part may take, so that each is asked something where not all can be
asked in full."""
SHARE = 0.25
"""Of the time, what shrinking a counterexample may take."""
TURN = 0.4
"""Seconds that one request should take: how fine the progress and the end of the time are."""
GRACE = 5.0
"""Seconds past the end of the time after which a request that is still running is stopped."""
JOBS = "tinyadder.verify.external.answering:"

SUITE, HUNT = "public suite", "margin hunt"
BY_ADD = "by the file's own add"
BY_US = "in the verifier's decoding of the passes that the file's add makes; add returns"


class Prepared(TypedDict):
    """Of the job `prepare`."""

    format: str | None
    reason: str
    causal: bool
    batch: int
    altered: int


class Raw(TypedDict):
    """Of the job `decode`."""

    digits: bytes
    leads: bytes
    units: bytes


class Replayed(TypedDict):
    """Of the job `replay`."""

    digits: bytes
    leads: bytes
    same: bool


class Wrong(NamedTuple):
    """A confirmed failure: what came out instead of the sum, and by whose decoding."""

    pair: Pair
    got: str
    only: str

    @property
    def counterexample(self) -> Counterexample:
        a, b = self.pair
        return Counterexample(self.pair, f"{a} + {b}", str(a + b), terminal(self.got), self.only)


def stated(found: Counterexample) -> str:
    """The line of a refutation: the sum, expected, what came out, by whose decoding."""
    return f"{Refuted(replace(found, only=''))}, {found.only}"


class OutOfBudget(Exception):
    """The time for the verdict is over."""


@dataclass(frozen=True, repr=False)
class Judged(Shown):
    """A verdict on a submission and what it rests on."""

    verdict: Sampled | Refuted | Unknown
    parts: tuple[CheckResult, ...]
    """What was asked: "public suite", "hard cases", "structured", "margin hunt"."""
    suite: tuple[int, int]
    """Right answers to the public suite, and how many of it were asked."""
    decoding: str
    """By whose decoding most sums were asked, in words: the format found, or why there was none."""
    own: bool
    """Whether it was the verifier's own."""
    smallest: tuple[float, Pair] | None
    """The smallest margin seen, in logits, and its sum; None where no logits could be had."""
    sums_per_second: float
    seconds: float
    complete: bool
    """Whether every part was asked in full; a hunt always ends with the time."""
    unconfirmed: int
    """Sums that were wrong in batches of the verifier's, and right by `add`: rounding decides."""
    seed: int

    @property
    def counterexample(self) -> Counterexample | None:
        """The sum that refutes it."""
        return self.verdict.counterexample if isinstance(self.verdict, Refuted) else None

    def line(self) -> str:
        """The verdict and what was asked, one line."""
        if isinstance(self.verdict, Refuted):
            found = self.verdict.counterexample
            return stated(found)
        if isinstance(self.verdict, Unknown):
            return str(self.verdict)
        said = " · ".join(f"{part.asked:,} {part.name}" for part in self.parts if part.asked)
        margin = ""
        if self.smallest is not None:
            size, (a, b) = self.smallest
            margin = f"; smallest margin {size:.6g} at {a} + {b}"
        end = "" if self.complete else " (partial: the time was over)"
        return f"SAMPLED    {said}, seed {self.seed}: 0 wrong{margin}{end}"

    def lines(self, replay: str | None = None) -> list[str]:
        """Parts, verdict, and what to know of it; `replay` is the command that asks again."""
        indent = " " * 11
        right, asked = self.suite
        found = [f"{indent}{part}" for part in self.parts]
        found += [self.line(), f"{indent}decoding   {self.decoding}"]
        if asked:
            found.append(f"{indent}suite      {right:,} of {asked:,} right, {right / asked:.4%}")
        if self.unconfirmed:
            in_batch = f"{self.unconfirmed:,} sums are wrong in a batch and right by add"
            found.append(f"{indent}rounding   {in_batch}")
        if not self.complete and not isinstance(self.verdict, Sampled):
            found.append(f"{indent}partial    the time was over before all was asked")
        speed = f"{self.sums_per_second:,.0f} sums a second, {self.seconds:.1f} s"
        found.append(f"{indent}speed      {speed}")
        if replay and self.counterexample is not None:
            found.append(f"{indent}replay     {replay}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        margin, pair = self.smallest or (None, None)
        return {
            **verdict_to_json(self.verdict),
            "parts": [asdict(part) for part in self.parts],
            "suite": {"right": self.suite[0], "asked": self.suite[1]},
            "decoding": self.decoding,
            "own_decoding": self.own,
            "smallest_margin": margin,
            "narrowest": list(pair) if pair else None,
            "sums_per_second": self.sums_per_second,
            "seconds": self.seconds,
            "complete": self.complete,
            "unconfirmed": self.unconfirmed,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())


def judge(
    submission: Submission,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    structured: int = STRUCTURED,
    hunted: int | None = None,
    loading: float | None = None,
    progress: Progress | None = None,
) -> Judged:
    """The verdict on a submission, in about `seconds`, its start included; with `loading` the start
    has so many seconds of its own.

    `structured` samples are asked; the hunt ends after `hunted` sums, or with the time.

    Refuted with the smallest counterexample found, replayed by the file's own `add`; Sampled with
    what was asked; Unknown where not one answer came in time. Raises `TinyadderError`, one line,
    for a file that breaks the contract, crashes its process or hangs on the first sum.
    """
    if seconds <= 0 or structured < 1:
        raise TinyadderError(
            f"seconds={seconds:g}, structured={structured}; expected more than 0 of each"
        )
    with submission.session() as session:
        return Judge(session, seconds, seed, structured, hunted, loading, progress).verdict()


def ask_one(submission: Submission, pair: Pair, *, seconds: float = SECONDS) -> Refuted | Sampled:
    """The verdict on one sum: by the file's own `add`, and by the verifier's decoding of its
    passes. Raises `TinyadderError`, one line, as `judge` does, and where no answer came in time.
    """
    with submission.session() as session:
        asked = Judge(session, seconds)
        try:
            asked.prepare()
            wrong = asked.confirmed(pair)
        except OutOfBudget:
            raise TinyadderError(f"no answer within {seconds:g} s") from None
    return Sampled(1, 0) if wrong is None else Refuted(wrong.counterexample)


class Judge:
    """Asks a session, within a time, and decides."""

    def __init__(
        self,
        session: Session,
        seconds: float,
        seed: int = 0,
        structured: int = STRUCTURED,
        hunted: int | None = None,
        loading: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.session, self.seed = session, seed
        self.structured, self.hunted, self.loading = structured, hunted, loading
        self.progress = progress or (lambda name, done, total: None)
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.seconds = seconds
        self.parts: list[CheckResult] = []
        self.suite = (0, 0)
        self.smallest: tuple[float, Pair] | None = None
        self.unconfirmed: set[Pair] = set()
        self.asked, self.busy = 0, 0.0
        self.sizes = {"draft": 128, "greedy": 64, "add": 1}
        self.prepared: Prepared | None = None
        self.got: dict[Pair, int | str] = {}
        """What `add` returned instead of the sum."""
        self.trusted = set[Pair]()
        """Sums that came out wrong and were confirmed."""
        self.stopped = False
        """Whether the process was stopped, since a request took too long."""
        self.over = False
        """Whether the time ended a part."""

    # ---- asking ----------------------------------------------------------------------------------

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def prepare(self) -> None:
        """Recover how the file decodes; `own` is False where that fails."""
        limit = max(self.left, 0.1) if self.loading is None else self.loading
        try:
            self.prepared = self.session.ask(
                JOBS + "prepare", reply=Prepared, limit=limit, seed=self.seed
            )
        except OutOfTime:
            self.stopped = True
            raise OutOfBudget from None

    @property
    def own(self) -> bool:
        return self.prepared is not None and self.prepared["format"] is not None

    @property
    def causal(self) -> bool:
        return self.own and self.prepared is not None and self.prepared["causal"]

    def _timed(self, kind: str, count: int, ask: Callable[[float], Any]) -> Any:
        """What `ask` (given its limit) returns; the next request of this kind is sized by it."""
        if self.left <= 0 or self.stopped:
            raise OutOfBudget
        began = time.monotonic()
        try:
            found = ask(self.left + GRACE)
        except OutOfTime:
            self.stopped = True
            raise OutOfBudget from None
        took = time.monotonic() - began
        self.asked, self.busy = self.asked + count, self.busy + took
        wanted = TURN / max(took, 1e-4) * count
        self.sizes[kind] = int(min(max(1, wanted, count / 4), 4 * count, 4096))
        return found

    def margins(self, pairs: Sequence[Pair], *, drafts: bool) -> np.ndarray:
        """(n, 11) lead of the right digit at each place, negative by the lead of the wrong one
        where that is chosen; NaN where nothing is decided.

        By the verifier's decoding: with `drafts` each digit after the right ones before it.
        """
        return self._decoded(pairs, drafts)[0]

    def _decoded(
        self, pairs: Sequence[Pair], drafts: bool, units: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Margins, and (n, units) what the hidden units were given (none where it was not seen)."""
        answers = [a + b for a, b in pairs]
        raw: Raw = self._timed(
            "draft" if drafts else "greedy",
            len(pairs),
            lambda limit: self.session.ask(
                JOBS + "decode",
                reply=Raw,
                limit=limit,
                pairs=[list(pair) for pair in pairs],
                drafts=answers if drafts else None,
                units=units,
            ),
        )
        if len(raw["units"]) % (8 * len(pairs)):
            raise TinyadderError("the submission's process sent arrays of another size")
        given = np.frombuffer(raw["units"]).reshape(len(pairs), -1)
        return self._signed(raw["digits"], raw["leads"], answers), given

    def _signed(self, digits: bytes, leads: bytes, answers: Sequence[int]) -> np.ndarray:
        found = arrays(digits, leads, len(answers))
        if found is None:
            raise TinyadderError("the submission's process sent arrays of another size")
        right = digits_of(answers, WIDTH) == found[0]
        # A choice by no lead is still a choice.
        size = np.where(right, found[1], -np.maximum(np.nan_to_num(found[1], nan=1.0), 1e-300))
        return size

    def by_add(self, pairs: Sequence[Pair]) -> list[int | str]:
        """What the file's own `add` returns."""
        return self._timed("add", len(pairs), lambda limit: self.session.add(pairs))

    def wrong(self, pairs: Sequence[Pair], *, greedy: bool = False) -> list[Pair]:
        """Those of `pairs` that come out wrong, by the verifier's decoding where it has one.

        Where a whole answer can be judged in one pass it is, unless `greedy`; what comes out wrong
        or undecided that way is decoded step by step.
        """
        if not self.own:
            answers = self.by_add(pairs)
            self.got |= {p: got for p, got in zip(pairs, answers, strict=True) if got != sum(p)}
            return [p for p, got in zip(pairs, answers, strict=True) if got != sum(p)]
        drafts = self.causal and not greedy
        margins = self.margins(pairs, drafts=drafts)
        self.note(pairs, margins)
        doubtful = [pairs[n] for n in np.flatnonzero((margins <= 0).any(1)).tolist()]
        if not drafts or not doubtful:
            return [p for n, p in enumerate(pairs) if (margins[n] < 0).any()]
        found = []
        for some in _cut(doubtful, self.sizes["greedy"]):
            again = self.margins(some, drafts=False)
            found += [p for n, p in enumerate(some) if (again[n] < 0).any()]
        return found

    def note(self, pairs: Sequence[Pair], margins: np.ndarray) -> None:
        """Remember the smallest margin."""
        known = np.where(np.isnan(margins), np.inf, margins).min(1)
        row = int(known.argmin())
        if np.isfinite(known[row]) and (self.smallest is None or known[row] < self.smallest[0]):
            self.smallest = (float(known[row]), pairs[row])

    # ---- confirming ------------------------------------------------------------------------------

    def confirmed(self, pair: Pair) -> Wrong | None:
        """The failure, where the file's own `add` is wrong on this pair; or where it made the
        passes that we make, and they spell something else.
        """
        got = self.got[pair] if pair in self.got else self.by_add([pair])[0]
        if got != sum(pair):
            return Wrong(pair, str(got), BY_ADD)
        if self.own:
            replayed: Replayed = self._timed(
                "replay",
                1,
                lambda limit: self.session.ask(
                    JOBS + "replay", reply=Replayed, limit=limit, a=pair[0], b=pair[1]
                ),
            )
            margins = self._signed(replayed["digits"], replayed["leads"], [sum(pair)])
            if replayed["same"] and (margins < 0).any():
                digits = np.frombuffer(replayed["digits"], np.int8).tolist()
                spelled = "".join("?" if d < 0 else str(d) for d in digits[::-1]).lstrip("0") or "0"
                return Wrong(pair, spelled, f"{BY_US} {got}")
        self.unconfirmed.add(pair)
        return None

    def first_confirmed(self, pairs: Iterable[Pair]) -> Wrong | None:
        """The first of `TRIED` that is confirmed."""
        some = [pair for pair in pairs if pair not in self.unconfirmed][:TRIED]
        return next((found for pair in some if (found := self.confirmed(pair))), None)

    def shrink(self, wrong: Wrong) -> Wrong:
        """The same kind of failure on a pair as simple as can be found in the time left for it."""
        self._more_time()
        try:
            while True:
                simpler = [(a, b) for a, b in TASK.simpler(wrong.pair)]
                bad: list[Pair] = []
                # The simplest first, and no more than what is needed.
                for some in _cut(simpler, max(16, self.sizes["greedy" if self.own else "add"])):
                    self.progress("shrinking", 0, 1)
                    bad = self.wrong(some)
                    better = self.first_confirmed(bad)
                    if better is not None:
                        wrong = better
                        break
                else:
                    return wrong
        except OutOfBudget:
            return wrong

    # ---- the parts -------------------------------------------------------------------------------

    def part(self, name: str, pairs: Sequence[Pair], *, greedy: bool = False) -> list[Pair]:
        """Ask all of these, as far as the time goes, and keep count; the wrong ones."""
        wrong, done = list[Pair](), 0
        self.progress(name, 0, len(pairs))
        self.parts.append(CheckResult(name, 0, 0))
        began, most = time.monotonic(), PART_SHARE * self.left
        while done < len(pairs):
            if time.monotonic() - began > most:
                self.over = True
                break
            if self.causal and time.monotonic() - began > SUITE_SHARE * self.seconds:
                greedy = False
            kind = "add" if not self.own else "draft" if self.causal and not greedy else "greedy"
            some = pairs[done : done + self.sizes[kind]]
            try:
                wrong += self.wrong(some, greedy=greedy)
            except OutOfBudget:
                self.over = True
                break
            done += len(some)
            self.parts[-1] = CheckResult(name, done, len(wrong))
            if name == SUITE:
                self.suite = (done - len(wrong), done)
            self.progress(name, done, len(pairs))
        return wrong

    def hunt(self) -> Wrong | None:
        """The margin hunt until a confirmed failure or the end of the time."""
        drafts = self.causal
        hunt = Hunt(self._hunted(drafts), self.seed)
        self.parts.append(CheckResult(HUNT, 0, 0))
        narrow, turn = set[Pair](), 0
        unmet: list[Pair] = []
        met = 0
        budget = self.left
        try:
            while self.hunted is None or hunt.asked < self.hunted:
                hunt.round(max(64, self.sizes["draft" if drafts else "greedy"]))
                turn += 1
                unmet = sorted(hunt.wrong[met:], key=sum)
                found = self.first_confirmed(unmet)
                met, unmet = met + len(unmet), []
                if found is None and turn % 4 == 0:
                    some = [p for p in hunt.narrowest(4 * NARROW) if p not in narrow][:NARROW]
                    narrow.update(some)
                    answers = self.by_add(some)
                    wrong = [p for p, got in zip(some, answers, strict=True) if got != sum(p)]
                    found = self.first_confirmed(wrong)
                self.parts[-1] = CheckResult(HUNT, hunt.asked, int(found is not None))
                self.progress(HUNT, min(int(budget - self.left), int(budget)), int(budget))
                if found is not None:
                    return found
        except OutOfBudget:  # perhaps with something found that is not confirmed yet
            self._more_time()
            with suppress(OutOfBudget):
                return self.first_confirmed(unmet or hunt.wrong[met:])
        finally:
            self.parts[-1] = replace(self.parts[-1], asked=hunt.asked)
        return None

    def _hunted(self, drafts: bool) -> Ask:
        def ask(pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
            found = [
                self._decoded(some, drafts, units=True)
                for some in _cut(pairs, max(64, self.sizes["draft" if drafts else "greedy"]))
            ]
            margins = np.concatenate([part for part, _ in found])
            self.note(pairs, margins)
            same = len({given.shape[1] for _, given in found}) == 1
            none = np.empty((len(pairs), 0))
            return margins, np.concatenate([given for _, given in found]) if same else none

        return ask

    def verdict(self) -> Judged:
        """Ask the parts in turn, up to the first with a confirmed failure."""
        wrong: Wrong | None = None
        with suppress(OutOfBudget):
            self.progress("loading", 0, 1)
            self.prepare()
            self.progress("loading", 1, 1)
            if self.loading is not None:
                self.end = time.monotonic() + self.seconds
            wrong = self._parts()
        if wrong is not None:
            wrong = self.shrink(wrong)
        return self._judged(wrong)

    @staticmethod
    def suite_pairs() -> list[Pair]:
        """What the public board asks: its edge cases and 10,000 random pairs."""
        return [(a, b) for a, b in (*TASK.edges(), *TASK.uniform(Random(UNIFORM_SEED), UNIFORM))]

    def _parts(self) -> Wrong | None:
        hard = [(a, b) for a, b in TASK.hard()]
        Random(self.seed).shuffle(hard)
        drawn = [(a, b) for a, b in TASK.structured(Random(self.seed), self.structured)]
        for name, pairs in (
            (SUITE, self.suite_pairs()),
            ("hard cases", hard),
            ("structured", drawn),
        ):
            bad = self.part(name, pairs, greedy=name == SUITE)
            if bad:
                self._more_time()
            found = self.first_confirmed(bad)
            if found is not None:
                return found
        return self.hunt() if self.own else None

    def _more_time(self) -> None:
        """A little, to confirm and shrink what was found when the time was nearly over."""
        self.end = max(self.end, time.monotonic() + SHARE * self.seconds)

    def _judged(self, wrong: Wrong | None) -> Judged:
        seconds = time.monotonic() - self.began
        total = sum(part.asked for part in self.parts)
        verdict: Sampled | Refuted | Unknown
        if wrong is not None:
            verdict = Refuted(wrong.counterexample)
        elif total:
            verdict = Sampled(total, self.seed)
        else:
            verdict = Unknown(f"not one answer within {self.seconds:g} s")
        return Judged(
            verdict=verdict,
            parts=tuple(self.parts),
            suite=self.suite,
            decoding=self.described(),
            own=self.own,
            smallest=self.smallest,
            sums_per_second=self.asked / self.busy if self.busy else 0.0,
            seconds=seconds,
            complete=bool(self.parts) and not self.over,
            unconfirmed=len(self.unconfirmed),
            seed=self.seed,
        )

    def described(self) -> str:
        """By whose decoding most sums are asked, in words."""
        if self.prepared is None:
            return "none"
        if not self.own:
            return terminal(
                "the file's own add, one sum at a time, since the verifier's could not be used:"
                f" {self.prepared['reason']}; without logits there is no margin hunt"
            )
        batch, altered = self.prepared["batch"], self.prepared["altered"]
        single = "one by one" if batch == 1 else f"in batches of {batch:,}"
        found = f"the verifier's own, {single}: {self.prepared['format']}"
        if altered:
            found += f"; on {altered} sums add returned something else than its passes spell"
        return terminal(found)


def _cut(pairs: Sequence[Pair], size: int) -> list[list[Pair]]:
    """Lists of at most `size`."""
    return [list(pairs[start : start + size]) for start in range(0, len(pairs), size)]
