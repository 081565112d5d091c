"""Watch a stranger's model while its own `add` runs, and call it without it; used inside its
process (`tinyadder.verify.external.worker`) only.

What is found goes to the asker as plain facts; nothing here says what is right. What cannot be seen
is None, never guessed.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random
from types import MethodType
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from tinyadder.verify.count.beside import as_module
from tinyadder.verify.external import recording
from tinyadder.verify.external.attention import PatternChange, attention
from tinyadder.verify.external.dataflow import DataflowGraph
from tinyadder.verify.external.decoding import WIDTH, Decoder
from tinyadder.verify.external.entry import LoadedSubmission, ReportProgress
from tinyadder.verify.external.formats import Format
from tinyadder.verify.external.operations import executed, exported
from tinyadder.verify.external.recording import Call, NotRecovered, Pairs, TracedSum
from tinyadder.verify.legality import Finding, buffers, dtype

CHANGES: tuple[PatternChange, ...] = ("no", "uniform", "own")
PERTURBED = (1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0)
"""By how much weights are changed to make the model err."""
BEYOND = 1e300
"""A difference that is none of numbers; finite, since it goes through JSON."""
Unsaid = tuple[int, int, int | None, int | str]


class Repeatability(msgspec.Struct):
    """Largest change of logits, in units of the largest, when the same text is given again."""

    repeated: float
    """Twice in a row, in shuffled order."""
    fresh: float | None
    """To a copy of the model that never ran; None where it cannot be copied."""
    texts: int
    cached: bool
    """Whether `add` feeds single tokens and a cache, so that its own passes round otherwise."""


class Attended(msgspec.Struct):
    """What was seen of attention."""

    lines: list[str]
    """Of one pass: the line of each softmax or its like."""
    change: dict[PatternChange, float]
    """Largest change of logits, in units of the largest, without it and with other weights."""
    right: dict[PatternChange, float]
    """Share of sums right with changed attention."""
    mixed: float | None
    """Change of the last logits when other tokens change although every position attends to
    itself only."""


class Seen(msgspec.Struct, kw_only=True):
    """Everything that was observed of one submission."""

    answers: list[int | str]
    """Of `add`."""
    decoded: list[int | None] | None = None
    """The verifier's own greedy answers, had before `add` was given the pairs; None: the format of
    the passes was not recovered."""
    format: str = ""
    """In words; or why it was not recovered."""
    module: bool = False
    """Whether the model is a torch module, or holds one."""
    float64: bool = False
    passes: float | None = None
    """Per digit of an answer."""
    grows: bool = False
    rule: Literal["max", "min"] | None = None
    """Which logit is fed back."""
    rows: Literal["all", "last", "other"] = "other"
    """Whether a pass gives logits for every token, or for the last one only."""
    prefix: float | None = None
    feedback: float | None = None
    told: int = 0
    """Sums for which the model was made to give wrong digits."""
    untold: list[Unsaid] = []
    """Of these: a, b, what the choices of the passes spell, what `add` returned instead."""
    erred: int = 0
    """Sums that the model got wrong after its weights were changed a little."""
    repaired: list[Unsaid] = []
    """Of these: a, b, the verifier's answer, the right one that `add` returned nevertheless."""
    random_logits: float | None = None
    random_weights: float | None = None
    replaceable: bool = True
    """Whether other weights could be given to the model from outside."""
    state: Repeatability | None = None
    attended: Attended | None = None
    buffers: Finding | None = None
    dtype: Finding | None = None


class Recordings(msgspec.Struct):
    """What a pass does with its tokens."""

    executed: DataflowGraph | None
    """The operations of one pass that was watched."""
    unexplained: float | None
    """Largest difference of logits, in units of the largest, when these operations are run on
    other tokens and compared with the model."""
    graph: DataflowGraph | None
    """The graph of torch.export."""
    how: str
    """Of the graph: for which lengths; or why there is none."""
    differs: float | None
    """As `unexplained`, of the graph."""


def observe(
    entry: LoadedSubmission, report: ReportProgress, pairs: list[list[int]], seed: int
) -> Seen:
    """The job of that name: all but the operations."""
    del report
    return seen(entry.model, entry.add, [(a, b) for a, b in pairs], seed)


def record(
    entry: LoadedSubmission, report: ReportProgress, pairs: list[list[int]], seed: int
) -> Recordings:
    """The job of that name: the operations of a pass, executed and exported."""
    del report
    return recordings(entry.model, entry.add, [(a, b) for a, b in pairs], seed)


# ---- calls ---------------------------------------------------------------------------------------


def torch_call(call: Call) -> Callable[[Tensor], Tensor]:
    """The recorded call as a function of tokens (1, length): logits (..., outputs)."""
    own, function = taken(call), call.function
    owner = getattr(function, "__self__", None)
    if isinstance(owner, nn.Module) and function.__name__ == "forward":
        function = owner  # hooks belong to the pass

    def called(tokens: Tensor) -> Tensor:
        put: Any = tokens
        if isinstance(own, Tensor):
            put = tokens.to(own.dtype) if own.ndim > 1 else tokens.to(own.dtype)[0]
        elif isinstance(own, list | tuple):
            nested = bool(own) and isinstance(own[0], list | tuple)
            with torch._C.DisableTorchFunction():  # not the model's doing, so not recorded
                put = type(own)(tokens.tolist() if nested else tokens[0].tolist())
        elif isinstance(own, np.ndarray):
            with torch._C.DisableTorchFunction():
                put = tokens.numpy().astype(own.dtype).reshape((-1,) if own.ndim == 1 else (1, -1))
        else:  # an array of another library
            flat = tokens.numpy().astype(np.int32)
            put = type(own)(flat[0] if getattr(own, "ndim", 2) == 1 else flat)
        given, named = list(call.given), dict(call.named)
        if isinstance(call.place, int):
            given[call.place] = put
        else:
            named[call.place] = put
        found = _logits(function(*given, **named))
        return found if isinstance(found, Tensor) else torch.from_numpy(np.array(found, float))

    return called


def _logits(output: Any) -> Any:
    """The logits in what a pass returned."""
    if isinstance(output, tuple):
        return output[0]
    if isinstance(output, dict):
        return output["logits"]
    return output if isinstance(output, Tensor | np.ndarray) else getattr(output, "logits", output)


def of_torch(call: Call) -> bool:
    """Whether the pass is computed by torch, as far as its result tells."""
    with torch.no_grad():
        return isinstance(_logits(call.function(*call.given, **call.named)), Tensor)


def taken(call: Call) -> Any:
    """What the call was given as tokens."""
    return call.given[call.place] if isinstance(call.place, int) else call.named[call.place]


def bare(run: TracedSum) -> Call:
    """The first call of a run, without the caches of decoding with one."""
    call = run.calls[0]
    if not run.cached:
        return call
    return replace(call, given=(taken(call),), named={}, place=0)


def on_copy(call: Call, model: Any, other: Any) -> Call | None:
    """The same call on another copy of the model; None where it is not known how."""
    given = tuple(other if x is model else x for x in call.given)
    function = call.function
    if isinstance(function, MethodType):
        owner = function.__self__
        places = zip(
            [model, *recording.modules_in(model)],
            [other, *recording.modules_in(other)],
            strict=True,
        )
        place = next((there for here, there in places if here is owner), None)
        if place is None:
            return None
        function = MethodType(function.__func__, place)
    elif not any(x is model for x in call.given):
        return None
    return replace(call, function=function, given=given)


def apart(one: Tensor | np.ndarray, other: Tensor | np.ndarray) -> float:
    """Largest difference in units of the largest; `BEYOND` where one is no number and the other
    is, or the shapes differ.
    """
    a, b = (np.asarray(x.detach() if isinstance(x, Tensor) else x, float) for x in (one, other))
    if a.shape != b.shape:
        return BEYOND
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    if not (np.isfinite(a[~same]).all() and np.isfinite(b[~same]).all()):
        return BEYOND
    finite = np.abs(a[np.isfinite(a)])
    size = max(float(finite.max(initial=0.0)), 1e-300)
    return min(float(np.abs(a[~same] - b[~same]).max() / size), BEYOND)


@contextmanager
def around(model: Any, add: Any, call: Call, change: Callable[..., Any]) -> Iterator[None]:
    """While `add` runs, let `change(tokens, run)` stand for each pass; `run()` is the pass."""

    def wrapped(*given: Any, **named: Any) -> Any:
        own = named.get(call.place) if isinstance(call.place, str) else given[call.place]
        return change(recording.tokens_in(own), lambda: call.function(*given, **named))

    with recording.wrapped(model, add, lambda f: wrapped if f == call.function else f):
        yield


# ---- facts ---------------------------------------------------------------------------------------


def seen(model: Any, add: Any, pairs: Pairs, seed: int) -> Seen:
    """Every measurement on these pairs."""
    torch.manual_seed(seed)
    random = Random(seed)
    fresh, held = copied(model), as_module(model)
    decoder, decoded = None, None
    try:
        decoder = Decoder.of(model, add, seed=seed)
        words = str(decoder.format)
        decoded = decoder.decode(pairs).answers
    except NotRecovered as why:
        words = str(why)
    runs = _runs(model, add, pairs)
    answers = [_plain(run.answer) for run in runs]
    facts = Seen(
        answers=answers,
        decoded=decoded,
        format=words,
        module=bool(recording.modules_in(model)),
        random_weights=_random_weights(model, add, pairs, held),
        replaceable=_replaceable(model),
        buffers=buffers(held),
        dtype=dtype(held),
    )
    if not all(run.calls for run in runs):
        return facts
    call = bare(runs[0])
    facts.float64 = runs[0].calls[0].rows.dtype == np.float64
    facts.passes = sum(len(run.calls) for run in runs) / sum(len(str(a + b)) for a, b in pairs)
    facts.rows = _rows(runs)
    facts.grows = all(_grows(run) for run in runs)
    facts.rule = _rule(runs)
    facts.prefix = _prefix(call, runs, decoder, random)
    facts.state = state(call, model, fresh, runs, random)
    facts.random_logits = _random_logits(model, add, call, pairs)
    if decoder is not None:
        facts.rule = "min" if decoder.format.smallest else "max"
        facts.grows = decoder.format.grows
        facts.feedback = _feedback(decoder, pairs, random)
        facts.told, facts.untold = _told(model, add, decoder, pairs, random)
        facts.untold += [
            (a, b, said, _plain(got))
            for a, b, got, said in decoder.altered
            if said is not None and not _agree(said, _plain(got))
        ]
        facts.erred, facts.repaired = _perturbed(model, add, decoder, held, random)
    facts.attended = attended(model, add, call, decoder, runs, random)
    return facts


def _plain(answer: int | None) -> int | str:
    return "no whole number" if answer is None else answer


def copied(model: Any) -> Any:
    """A copy of the model that shares nothing with it; None where it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:
        return None


def _runs(model: Any, add: Any, pairs: Pairs) -> list[TracedSum]:
    """Runs of `add`; one that raises has no answer and the passes until then are lost."""
    runs = []
    for pair in pairs:
        try:
            runs += recording.watch(model, add, [pair])
        except Exception:
            runs.append(TracedSum(pair, (), None))
    return runs


def _rows(runs: Sequence[TracedSum]) -> Literal["all", "last", "other"]:
    counts = {(len(call.rows), len(call.tokens)) for run in runs for call in run.calls}
    if all(rows == tokens for rows, tokens in counts):
        return "all"
    return "last" if all(rows == 1 for rows, _ in counts) else "other"


def _grows(run: TracedSum) -> bool:
    """Every text is the one before and one token more."""
    return all(
        len(after) == len(before) + 1 and after[:-1] == before
        for before, after in zip(run.texts, run.texts[1:], strict=False)
    )


def _rule(runs: Sequence[TracedSum]) -> Literal["max", "min"] | None:
    for rule in ("max", "min"):
        steps = [
            (int(getattr(before.rows[-1], f"arg{rule}")()), after[-1])
            for run in runs
            for before, after in zip(run.calls, run.texts[1:], strict=False)
        ]
        if steps and all(chosen == token for chosen, token in steps):
            return rule
    return None


def _prefix(
    call: Call, runs: Sequence[TracedSum], decoder: Decoder | None, random: Random
) -> float | None:
    """The largest change of the logits after a token when other tokens follow it.

    Compared are texts of one length, whose passes are the same computation; a text that ends
    there only counts where another token is chosen, since sums of another length round otherwise.
    A model that gives the last logits only is called prefix by prefix: nothing follows.
    """
    kind = _rows(runs)
    if kind == "last":
        return 0.0
    grows = all(_grows(run) for run in runs)
    if kind == "other" or (not grows and decoder is None):
        return None
    worst, give = 0.0, torch_call(call)
    known = sorted({token for r in runs for t in r.texts for token in t})
    with torch.no_grad(), suppress(Exception):
        for run in runs[:4]:
            text = run.texts[-1]
            whole = give(torch.tensor([text])).reshape(len(text), -1)
            for step, before in enumerate(run.texts[:-1]):
                n = len(before) if grows or decoder is None else decoder.format.rows[step] + 1
                other = [*before[:n], *(random.choice(known) for _ in text[n:])]
                kept = whole if grows else give(torch.tensor([before])).reshape(len(before), -1)
                worst = max(worst, _changed_rows(give(torch.tensor([other])), kept[:n]))
                if grows:
                    alone = give(torch.tensor([before])).reshape(n, -1)[-1]
                    sign = -1 if decoder is not None and decoder.format.smallest else 1
                    if (sign * alone).argmax() != (sign * whole[n - 1]).argmax():
                        worst = max(worst, apart(alone, whole[n - 1]))
        return worst
    return None


def _changed_rows(logits: Tensor, kept: Tensor) -> float:
    rows = logits.reshape(-1, logits.shape[-1])[: len(kept)]
    return max(apart(a, b) for a, b in zip(rows, kept, strict=True))


def state(
    call: Call, model: Any, fresh: Any, runs: Sequence[TracedSum], random: Random
) -> Repeatability:
    """Texts of all runs again, shuffled, each twice; and some to a fresh copy each."""
    texts = [(run.texts[k], run.calls[k].rows) for run in runs for k in range(len(run.calls))]
    random.shuffle(texts)
    texts = texts[:60]
    copies = [None if fresh is None else copied(fresh) for _ in texts[:8]]
    others = [None if other is None else on_copy(call, model, other) for other in copies]
    again = [_again(call, *part) for part in texts for _ in range(2)]
    anew = [
        None if other is None else _again(other, *part)
        for other, part in zip(others, texts, strict=False)
    ]
    # A copy that cannot run (arrays of some libraries cannot be copied) says nothing.
    known = [change for change in anew if change is not None and change < BEYOND]
    all_anew = max(known) if len(known) == len(anew) else None
    return Repeatability(max(again), all_anew, len(texts), any(run.cached for run in runs))


def _again(call: Call, text: tuple[int, ...], rows: np.ndarray) -> float:
    """How far the logits of a text are from those it had: of the last tokens, as many as it had."""
    try:
        with torch.no_grad():
            logits = torch_call(call)(torch.tensor([text]))
    except Exception:
        return BEYOND
    return apart(rows, logits.reshape(-1, logits.shape[-1])[-len(rows) :])


def _share(model: Any, add: Any, pairs: Pairs) -> float:
    """The share of pairs that `add` gets right; an exception counts as wrong."""
    right = 0
    for a, b in pairs:
        with suppress(Exception), torch.no_grad():
            right += recording.whole(add(model, a, b)) == a + b
    return right / len(pairs)


def _with_logits(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What a pass returned, with its logits changed."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple):
        return (_with_logits(output[0], change), *output[1:])
    if isinstance(output, dict):
        return {**output, "logits": _with_logits(output["logits"], change)}
    if hasattr(output, "logits"):
        output.logits = _with_logits(output.logits, change)
        return output
    made = change(torch.from_numpy(np.array(output))).numpy()
    return made if isinstance(output, np.ndarray) else type(output)(made)


def _random_logits(model: Any, add: Any, call: Call, pairs: Pairs) -> float:
    def noise(_: Any, run: Callable[[], Any]) -> Any:
        return _with_logits(run(), torch.rand_like)

    with around(model, add, call, noise):
        return _share(model, add, pairs)


def _feedback(decoder: Decoder, pairs: Pairs, random: Random) -> float | None:
    """The share of choices that stay as they were although every choice before was replaced by a
    random other one.
    """
    chosen, _ = decoder.choices(pairs)
    spoken = sorted(set(chosen.reshape(-1).tolist()))
    if len(spoken) < 2 or chosen.shape[1] < 2:
        return None
    others = {choice: [s for s in spoken if s != choice] for choice in spoken}
    other = np.array([[random.choice(others[c]) for c in row] for row in chosen.tolist()])
    same = []
    for step in range(1, chosen.shape[1]):
        rows = decoder.rows(decoder.tokens(step, pairs, other))[:, decoder.format.rows[step]]
        same.append(decoder.choose(rows)[0] == chosen[:, step])
    return float(np.mean(same))


def _told(
    model: Any, add: Any, decoder: Decoder, pairs: Pairs, random: Random
) -> tuple[int, list[Unsaid]]:
    """Make the model give wrong digits, one, two, some, all, and see whether `add` returns them."""
    form, count, untold = decoder.format, 0, list[Unsaid]()
    steps = len(form.passes)
    spoken = [choice for choice, digit in enumerate(form.digits) if digit >= 0]
    wrong = [{k} for k in range(steps)] + [
        set(random.sample(range(steps), min(n, steps))) for n in (2, 2, 3, 4, 6, steps)
    ]
    for number, places in enumerate(wrong):
        pair = pairs[number % len(pairs)]
        made: list[int] = []

        def mislead(
            _: Any, run: Callable[[], Any], places: set[int] = places, made: list[int] = made
        ) -> Any:
            step = len(made)

            def swapped(logits: Tensor) -> Tensor:
                changed = logits.detach().clone()
                row = changed.reshape(-1, changed.shape[-1])[
                    form.rows[step] if step < steps else -1
                ]
                choice = int(decoder.choose(row.double().numpy())[0])
                if step in places and choice in spoken:
                    other = random.choice([c for c in spoken if c != choice])
                    row[[choice, other]] = row[[other, choice]]
                    choice = int(decoder.choose(row.double().numpy())[0])
                made.append(choice)
                return changed

            return _with_logits(run(), swapped)

        answer: int | str = "an error"
        with suppress(Exception), around(model, add, decoder.call, mislead), torch.no_grad():
            answer = _plain(recording.whole(add(model, *pair)))
        if made:
            count += 1
            spelled = read(form, made)
            if spelled is not None and not _agree(spelled, answer):
                untold.append((*pair, spelled, answer))
    return count, untold


def read(form: Format, choices: Sequence[int]) -> int | None:
    """The number that choices spell, also where it has more digits than a sum; None where one is
    no digit.
    """
    spelled = list(choices[form.skip :][: form.length])
    if form.length is None:
        spelled = spelled[: next((i for i, c in enumerate(spelled) if c in form.stops), None)]
    digits = [form.digits[c] if 0 <= c < len(form.digits) else -1 for c in spelled]
    if not digits or min(digits) < 0:
        return None
    digits = digits if form.order == "least" else digits[::-1]
    return sum(digit * form.base**place for place, digit in enumerate(digits))


def _agree(spelled: int, answer: int | str) -> bool:
    """Whether `add` returned these digits; more than a sum has (read or not, always 0) are none."""
    return not isinstance(answer, str) and (spelled - answer) % 10**WIDTH == 0


@contextmanager
def _other_weights(held: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[int]:
    """Every floating-point parameter replaced by a change of it; yields how many there are."""
    kept = [(p, p.detach().clone()) for p in held.parameters() if p.is_floating_point()]
    try:
        with torch.no_grad():
            for parameter, values in kept:
                parameter.copy_(change(values))
        yield len(kept)
    finally:
        with torch.no_grad():
            for parameter, values in kept:
                parameter.copy_(values)


def _perturbed(
    model: Any, add: Any, decoder: Decoder, held: nn.Module, random: Random
) -> tuple[int, list[Unsaid]]:
    """Change the weights until the model errs, and see whether `add` errs with it.

    Errors of few digits come first: those an `add` may repair unseen.
    """
    pairs = [(random.randrange(10**10), random.randrange(10**10)) for _ in range(24)]
    count, repaired = 0, list[Unsaid]()
    for size in PERTURBED:
        with (
            suppress(Exception),
            _other_weights(held, lambda w, size=size: w * (1 + size * torch.randn_like(w))),  # type: ignore[misc]
        ):
            given = decoder.decode(pairs).answers
            wrong = [(p, s) for p, s in zip(pairs, given, strict=True) if s != sum(p)]
            wrong.sort(key=lambda found: _digits_apart(sum(found[0]), found[1]))
            for pair, spelled in wrong[:4]:
                answer: int | str = "an error"
                with suppress(Exception), torch.no_grad():
                    answer = _plain(recording.whole(add(model, *pair)))
                count += 1
                if answer == sum(pair):
                    repaired.append((*pair, spelled, answer))
    return count, repaired


def _digits_apart(right: int, other: int | None) -> int:
    """How many digits of two sums differ; 99 where the other is none."""
    if other is None:
        return 99
    return sum(a != b for a, b in zip(f"{right:011d}", f"{other:011d}", strict=False))


def _random_weights(model: Any, add: Any, pairs: Pairs, held: nn.Module) -> float | None:
    """The share right with every parameter's entries replaced by random ones of the same size."""
    if not any(p.is_floating_point() for p in held.parameters()):
        return None

    def anew(values: Tensor) -> Tensor:
        size = float(values.abs().mean()) if values.numel() else 0.0
        return torch.randn_like(values) * (size if size > 0 else 1)

    with _other_weights(held, anew):
        return _share(model, add, pairs)


def _replaceable(model: Any) -> bool:
    """Whether the model computes with the tensors that `as_module` shows: those of torch and numpy
    are its own, those of other libraries are copies.
    """
    others = any(name in sys.modules for name in ("mlx.core", "jax"))
    return isinstance(model, nn.Module) or bool(recording.modules_in(model)) or not others


def attended(
    model: Any,
    add: Any,
    call: Call,
    decoder: Decoder | None,
    runs: Sequence[TracedSum],
    random: Random,
) -> Attended | None:
    """Attention of the passes, and what is left without it."""
    give = torch_call(call)
    if not of_torch(call):
        return None
    text = list(_text(model, runs))
    tokens = torch.tensor([text])
    try:
        with attention(len(text)) as found:
            logits = give(tokens)
    except Exception:
        return None
    facts = Attended(found.lines, {}, {}, None)
    if not found.lines:
        return facts
    pairs = [run.pair for run in runs]
    for change in CHANGES:
        with suppress(Exception):
            with attention(len(text), change):
                facts.change[change] = apart(logits, give(tokens))
            facts.right[change] = (
                _right(decoder, pairs, change)
                if decoder is not None
                else _right_by_add(model, add, call, pairs, change)
            )
    with suppress(Exception):
        facts.mixed = _mixed(give, decoder, runs, random)
    return facts


def _mixed(
    give: Callable[[Tensor], Tensor],
    decoder: Decoder | None,
    runs: Sequence[TracedSum],
    random: Random,
) -> float:
    """Largest change of the logits at a place that is read when all other tokens change, although
    every position attends to itself only.
    """
    known = sorted({token for run in runs for text in run.texts for token in text})
    worst = 0.0
    for step in random.sample(range(len(runs[0].texts)), min(4, len(runs[0].texts))):
        text = runs[0].texts[step]
        place = (len(text) if decoder is None else decoder.format.rows[step] % len(text) + 1) - 1
        rows = []
        for _ in range(2):
            other = [random.choice(known) for _ in text]
            other[place] = text[place]
            with attention(len(text), "own"):
                logits = give(torch.tensor([other]))
            logits = logits.reshape(-1, logits.shape[-1])
            rows.append(logits[place if len(logits) == len(text) else -1])
        worst = max(worst, apart(*rows))
    return worst


def _text(model: Any, runs: Sequence[TracedSum]) -> tuple[int, ...]:
    """A text whose length is no size of a weight, so that a key axis cannot be mistaken."""
    sizes = {n for p in as_module(model).parameters() for n in p.shape}
    texts = [text for run in runs for text in run.texts]
    return next((text for text in texts if len(text) not in sizes), texts[0])


def _right(decoder: Decoder, pairs: Pairs, change: PatternChange) -> float:
    """The share of the verifier's answers that are right with attention changed."""
    other = replace(decoder)

    def rows(tokens: np.ndarray) -> np.ndarray:
        with attention(tokens.shape[-1], change):
            return decoder.rows(tokens)

    other.rows = rows  # type: ignore[method-assign]
    answers = other.decode(pairs).answers
    return sum(s == sum(p) for p, s in zip(pairs, answers, strict=True)) / len(pairs)


def _right_by_add(model: Any, add: Any, call: Call, pairs: Pairs, change: PatternChange) -> float:
    length = 0

    def attending(tokens: np.ndarray | None, run: Callable[[], Any]) -> Any:
        nonlocal length
        given = 1 if tokens is None else tokens.shape[-1]
        length = length + 1 if given == 1 and length > 1 else given  # one more, with a cache
        with attention(length, change):
            return run()

    with around(model, add, call, attending):
        return _share(model, add, pairs)


# ---- operations ----------------------------------------------------------------------------------


def recordings(model: Any, add: Any, pairs: Pairs, seed: int) -> Recordings:
    """The operations of one pass, watched and exported, each run again on other texts."""
    runs = [run for run in _runs(model, add, pairs) if run.calls]
    if not runs:
        return Recordings(None, None, None, "no pass over tokens was seen", None)
    call = bare(runs[0])
    if not of_torch(call):
        return Recordings(None, None, None, "its forward pass is not torch's", None)
    give = torch_call(call)
    text = runs[0].texts[min(2, len(runs[0].texts) - 1)]
    others = [t for run in runs for t in run.texts if len(t) == len(text)]
    known = sorted({token for t in others for token in t})
    random = Random(seed)
    others += [tuple(random.choice(known) for _ in text[:-1]) + text[-1:] for _ in range(4)]
    tokens = [torch.tensor([t]) for t in others[:16]]
    with torch.no_grad():
        logits = [give(t) for t in tokens]
        recorded = executed(give, torch.tensor([text]))
        watched = DataflowGraph(recorded.operations, recorded.logits)
        unexplained = _worst(recorded.again, tokens, logits)
        if not isinstance(taken(call), Tensor):
            kind = type(taken(call)).__name__
            return Recordings(watched, unexplained, None, f"its forward pass takes a {kind}", None)
        found = exported(model, give, torch.tensor([text]))
        if isinstance(found, str):
            return Recordings(watched, unexplained, None, found, None)
        graph = DataflowGraph(found.operations, found.logits)
        return Recordings(
            watched, unexplained, graph, found.how, _worst(found.call, tokens, logits)
        )


def _worst(call: Callable[[Tensor], Tensor], tokens: list[Tensor], logits: list[Tensor]) -> float:
    try:
        return max(apart(b, call(t)) for t, b in zip(tokens, logits, strict=True))
    except Exception:
        return BEYOND
