"""The verifier's own greedy decoding of a stranger's model; used inside its process only.

The calls that the file's `add` makes are recorded (`recording`), and from them the format is
recovered (`formats`). With that any pairs are decoded in batches by calls of the model alone. What
cannot be recovered raises `NotRecovered` with the reason; then only the file's own `add` can be
asked. Nothing here says what is right.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from tinyadder.tasks.pairs import Pair
from tinyadder.verify.external.formats import Format, digits_of, recover, spread
from tinyadder.verify.external.recording import (
    DIGITS,
    Add,
    Call,
    NotRecovered,
    Pairs,
    TracedSum,
    logits_in,
    no_gradients,
    units_seen,
    watch,
)

RECORDED = 20
"""Pairs that `add` is watched on; a multiple of ten, so that every digit stands in every place."""
COMPARED = 20
"""Pairs on which the passes of our decoding are compared with those of `add`."""
PATIENCE = 3.0
"""Seconds that one sum may take while the format is recovered."""
CLOSE = 1e-4
"""What logits may differ by, in units of the largest of their row: rounding in float32, not more.
"""
BATCHES = (64, 256, 1024)
WIDTH = DIGITS + 1
"""Digits of a sum."""


@dataclass(frozen=True)
class Decoded:
    """What greedy decoding gave, a row a pair."""

    digits: np.ndarray
    """(n, 11) int8 digits of the answer, least significant first; -1 where a choice is no digit.
    An answer that ends early has zeros in front."""
    gaps: np.ndarray
    """(n, 11) float64: the chosen logit less the next best, of the choice that is this digit;
    NaN where there is none."""
    units: np.ndarray | None = None
    """(n, units) the largest that each hidden unit was given, where that was asked for and seen."""

    @property
    def answers(self) -> list[int | None]:
        """The numbers; None where something is no digit."""
        return [
            None if min(row) < 0 else sum(d * 10**i for i, d in enumerate(row))
            for row in self.digits.tolist()
        ]


@dataclass
class Decoder:
    """Decodes pairs by calls of the model alone.

    `rows` gives the logits of any tokens, `decode` the greedy answers of pairs, `forced` what is
    chosen after given answers, all in one pass (where `causal`).
    """

    format: Format
    call: Call
    """A recorded call, whose function and other arguments are used again."""
    batch: int = 1
    causal: bool = False
    """One row of logits a token, which later tokens do not change: a whole answer can be judged in
    one pass."""
    altered: list[tuple[int, int, int | None, int | None]] = field(default_factory=list)
    """(a, b, what `add` returned, what its own passes spell) where these differ although `add`
    made the very passes that we make."""

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (n, rows, outputs) of texts (n, length), in batches of at most `batch`."""
        found = []
        with no_gradients():
            for start in range(0, len(tokens), self.batch):
                some = tokens[start : start + self.batch]
                given, named = self.call.with_tokens(some)
                logits = logits_in(self.call.function(*given, **named))
                if logits is None or logits.size % len(some):
                    raise NotRecovered("its forward pass takes no batches")
                found.append(logits.reshape(len(some), -1, logits.shape[-1]))
        return np.concatenate(found)

    def tokens(self, step: int, pairs: Pairs, chosen: np.ndarray) -> np.ndarray:
        """The texts (n, length) of pass `step`, given the choices (n, >= step) before."""
        digits = {
            "a": digits_of([a for a, _ in pairs]),
            "b": digits_of([b for _, b in pairs]),
        }
        slots = self.format.passes[step]
        found = np.empty((len(pairs), len(slots)), dtype=np.int64)
        for p, slot in enumerate(slots):
            table = np.array(slot.table)
            if slot.kind == "constant":
                found[:, p] = table[0]
            elif slot.kind == "chosen":
                choice = chosen[:, slot.index]
                fed = table[np.clip(choice, 0, len(table) - 1)]
                # A choice that was never seen to be fed back is fed as it is.
                found[:, p] = np.where((choice < len(table)) & (fed >= 0), fed, choice)
            elif slot.kind == "column":
                found[:, p] = table[10 * digits["a"][:, slot.index] + digits["b"][:, slot.index]]
            else:
                found[:, p] = table[digits[slot.kind][:, slot.index]]
        return found

    def choose(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The choice of each row (..., outputs) and its lead over the next best, NaN where a logit
        is NaN.
        """
        rows = np.asarray(rows[..., : self.format.outputs], dtype=np.float64)
        if self.format.smallest:
            rows = -rows
        choice = rows.argmax(-1)
        best = np.partition(rows, -2, axis=-1)[..., -2:]
        with np.errstate(invalid="ignore"):
            return choice, np.where(np.isnan(rows).any(-1), np.nan, best[..., 1] - best[..., 0])

    def choices(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Greedy choices and their leads, (n, passes), batch by batch."""
        steps = len(self.format.passes)
        chosen = np.full((len(pairs), steps), -1, dtype=np.int64)
        gaps = np.full((len(pairs), steps), np.nan)
        for start in range(0, len(pairs), self.batch):
            some = slice(start, start + self.batch)
            for step in range(steps):
                rows = self.rows(self.tokens(step, pairs[some], chosen[some]))
                row = self.format.rows[step]
                chosen[some, step], gaps[some, step] = self.choose(rows[:, row])
        return chosen, gaps

    def decode(self, pairs: Pairs) -> Decoded:
        """Greedy answers."""
        return self.decoded(*self.choices(pairs))

    def forced(self, pairs: Pairs, answers: Sequence[int], *, units: bool = False) -> Decoded:
        """What is chosen at each digit after the digits of `answers` before it, in one pass; with
        `units` also what the hidden units were given.

        Only where `causal`. Up to the first digit that is not that of the answer this is what
        greedy decoding gives.
        """
        form = self.format
        steps = len(form.passes)
        back = {digit: choice for choice, digit in enumerate(form.digits) if digit >= 0}
        assert form.length is not None, "asked of causal decoders only"
        spelled = digits_of(answers, form.length, form.base)
        if form.order == "most":
            spelled = spelled[:, ::-1]
        chosen = np.zeros((len(pairs), steps), dtype=np.int64)
        chosen[:, : form.length] = np.vectorize(back.__getitem__, otypes=[np.int64])(spelled)
        last = form.length - 1
        logits, given = self._passes(self.tokens(last, pairs, chosen), units)
        choice, gap = self.choose(logits[:, -form.length :])
        return replace(self.decoded(choice, gap), units=given)

    def _passes(self, tokens: np.ndarray, units: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits, and what the hidden units were given, where that is the same kind of thing in
        every batch.
        """
        if not units:
            return self.rows(tokens), None
        logits, given = [], []
        for start in range(0, len(tokens), self.batch):
            some = tokens[start : start + self.batch]
            with units_seen(len(some)) as seen:
                logits.append(self.rows(some))
            given.append(np.concatenate(seen, 1) if seen else np.empty((len(some), 0)))
        same = len({part.shape[1] for part in given}) == 1
        return np.concatenate(logits), np.concatenate(given) if same else None

    def decoded(self, chosen: np.ndarray, gaps: np.ndarray) -> Decoded:
        """The answers that choices (n, passes) spell."""
        form, count = self.format, len(chosen)
        table = np.array([*form.digits, -1])
        read = table[np.minimum(chosen[:, form.skip :], len(form.digits))]
        leads = gaps[:, form.skip :]
        if form.length is not None:
            length = np.full(count, form.length)
        else:
            ends = np.isin(chosen[:, form.skip :], list(form.stops))
            length = np.where(ends.any(1), ends.argmax(1), ends.shape[1])
        step = 1 if form.base == 10 else 2
        digits = np.zeros((count, WIDTH), dtype=np.int8)
        found = np.full((count, WIDTH), np.nan)
        for place in range(WIDTH):
            i = place // step
            at = i if form.order == "least" else length - 1 - i
            at = np.clip(np.broadcast_to(at, count), 0, read.shape[1] - 1)
            value = read[np.arange(count), at]
            digit = np.where(value < 0, -1, value // 10 ** (place % step) % 10)
            inside = i < length
            digits[:, place] = np.where(inside, digit, 0)
            lead = leads[np.arange(count), at]
            found[:, place] = np.where(inside, lead, np.nan)
        digits[:, -1][(length == 0) | self._too_long(read, length, step)] = -1
        return Decoded(digits, found)

    def _too_long(self, read: np.ndarray, length: np.ndarray, step: int) -> np.ndarray:
        """Whether a digit that `Decoded` has no place for is not zero."""
        beyond = np.zeros(len(read), dtype=bool)
        for i in range(-(-WIDTH // step), read.shape[1]):
            at = i if self.format.order == "least" else length - 1 - i
            at = np.clip(np.broadcast_to(at, len(read)), 0, read.shape[1] - 1)
            beyond |= (i < length) & (read[np.arange(len(read)), at] != 0)
        return beyond

    @classmethod
    def of(cls, model: Any, add: Add, *, seed: int = 0) -> Decoder:
        """The decoder of this model, compared with `add` on a sample.

        Raises `NotRecovered` with the reason; whatever `add` raises is such a reason, too.
        """
        try:
            return cls._of(model, add, seed)
        except NotRecovered:
            raise
        except Exception as error:
            text = str(error).strip().partition("\n")[0][:120]
            raise NotRecovered(f"{type(error).__name__}: {text}") from error

    @classmethod
    def _of(cls, model: Any, add: Add, seed: int) -> Decoder:
        pairs = spread(RECORDED, seed)
        runs = watch(model, add, pairs[:1])
        if not runs[0].calls:
            raise NotRecovered("no call that turns integer tokens into logits was seen")
        began = time.monotonic()  # the first sum may have warmed something up
        runs += watch(model, add, pairs[1:2])
        if time.monotonic() - began > PATIENCE:
            raise NotRecovered(f"one sum takes more than {PATIENCE:g} s")
        runs += watch(model, add, pairs[2:])
        form = recover(runs, lambda more: watch(model, add, more))
        call = runs[0].calls[0]
        if any(run.cached for run in runs):
            call = replace(call, given=_bare(call), named={}, place=0)
        decoder = cls(form, call)
        decoder._compare(model, add, seed)
        decoder.causal = decoder._is_causal(runs, seed)
        return decoder

    def _compare(self, model: Any, add: Add, seed: int) -> None:
        """Our passes must be those of `add` on pairs it was not watched on; in batches, too, where
        the model takes them. Raises `NotRecovered`.
        """
        runs = watch(model, add, comparison(seed))
        pairs = [run.pair for run in runs]
        for batch in (COMPARED, 1):
            self.batch = batch
            with suppress(Exception):
                chosen, _ = self.choices(pairs)
                if self.same_passes(runs, chosen):
                    break
        else:
            raise NotRecovered("the passes that its tokens spell give other logits when repeated")
        answers = self.decoded(chosen, np.zeros(chosen.shape)).answers
        self.altered = [
            (*run.pair, run.answer, spelled)
            for run, spelled in zip(runs, answers, strict=True)
            if run.answer != spelled
        ]
        if len(self.altered) > len(runs) / 2:
            raise NotRecovered("what add returns is not spelled by the choices of its passes")
        if self.batch > 1:
            self.batch = self._fastest(pairs)

    def same_passes(self, runs: Sequence[TracedSum], chosen: np.ndarray) -> bool:
        """Whether each pass of `add` had the tokens and, but for rounding, the logits of ours."""
        for step in range(len(self.format.passes)):
            those = [n for n, run in enumerate(runs) if step < len(run.calls)]
            if not those:
                break
            texts = self.tokens(step, [runs[n].pair for n in those], chosen[those])
            if any(
                tuple(text) != runs[n].texts[step]
                for text, n in zip(texts.tolist(), those, strict=True)
            ):
                return False
            row = self.format.rows[step]
            ours = self.rows(texts)[:, row]
            theirs = np.stack([runs[n].calls[step].rows[row] for n in those])
            if not alike(ours, theirs):
                return False
        return True

    def _fastest(self, pairs: Pairs) -> int:
        """The batch that decodes most pairs a second."""
        best, most = self.batch, 0.0
        for batch in BATCHES:
            many = (list(pairs) * (batch // len(pairs) + 1))[:batch]
            texts = self.tokens(0, many, np.zeros((batch, 1), dtype=np.int64))
            self.batch, took = batch, float("inf")
            try:
                for _ in range(2):  # the first of a size may be slow
                    began = time.perf_counter()
                    self.rows(texts)
                    took = min(took, time.perf_counter() - began)
            except Exception:
                break
            if batch / took > most:
                best, most = batch, batch / took
        return best

    def _is_causal(self, runs: Sequence[TracedSum], seed: int) -> bool:
        """Whether there is one row of logits a token that no later tokens change, whatever they
        are.
        """
        form = self.format
        if (
            not form.grows
            or form.length is None
            or form.skip
            or form.base != 10
            or set(form.rows) != {-1}
            or set(range(10)) - set(form.digits)
        ):
            return False
        last = form.length - 1
        runs = [run for run in runs if len(run.calls) > last]
        texts = np.array([run.texts[last] for run in runs])
        first = texts.shape[1] - last
        other = np.array([token for token in form.passes[1][-1].table if token >= 0])
        random = np.random.default_rng(seed)
        cut = random.integers(first, texts.shape[1] + 1, len(texts))
        misled = np.where(
            np.arange(texts.shape[1]) >= cut[:, None], random.choice(other, texts.shape), texts
        )
        for given in (texts, misled):
            logits = self.rows(given)
            if logits.shape[1] != texts.shape[1]:
                return False
            for step in range(form.length):
                same = (given == texts)[:, : first + step].all(1)
                ours = logits[same, first + step - 1]
                theirs = [r.calls[step].rows[-1] for r, s in zip(runs, same, strict=True) if s]
                if theirs and not alike(ours, np.stack(theirs)):
                    return False
        return True


def _bare(call: Call) -> tuple[Any, ...]:
    """The tokens alone: without the caches and positions of decoding with a cache."""
    return (call.given[call.place] if isinstance(call.place, int) else call.named[call.place],)


def alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether logits (n, outputs) are the same but for rounding."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape or (np.isfinite(ours) != np.isfinite(theirs)).any():
        return False
    finite = np.isfinite(theirs)
    size = np.where(finite, np.abs(theirs), 0).max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return bool((np.where(finite, np.abs(ours - theirs), 0) <= CLOSE * size + 1e-30).all())


def comparison(seed: int) -> list[Pair]:
    """Pairs with carries, zeros and nines on which decodings are compared."""
    random = Random(seed + 1)
    top = 10**DIGITS - 1
    fixed = [(0, 0), (top, 1), (top, top), (0, 1), (5 * 10**9, 5 * 10**9), (1, top // 10)]
    lengths = [(random.randint(1, DIGITS), random.randint(1, DIGITS)) for _ in range(8)]
    short = [(random.randrange(10**m), random.randrange(10**n)) for m, n in lengths]
    rest = COMPARED - len(fixed) - len(short)
    return [*fixed, *short, *((random.randrange(top), random.randrange(top)) for _ in range(rest))]
