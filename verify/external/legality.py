"""Judge what was observed of a submission file; what could not be observed is said, not guessed.

The process of the submission reports facts (`observe.Seen`, `observe.Recordings`); the verdicts are
made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.verify.external import dataflow
from tinyadder.verify.external.observe import Recordings, Seen
from tinyadder.verify.external.submission import OutOfTime, Submission
from tinyadder.verify.legality import CHANCE, TOLERANCE, Finding

NOT_SEEN = "no call that turns integer tokens into logits was seen while add() ran"
SAME = 1e-6
"""What logits may differ by, in units of the largest, where the very same computation is made
twice: next to nothing.
"""
SHOWN = 3
"""Faults that a finding names; the others are counted."""
WORDS = {"no": "no attention", "uniform": "uniform attention", "own": "its own position only"}


def foreign_legality(
    submission: Submission, pairs: Sequence[tuple[int, int]], *, seed: int = 0
) -> list[Finding]:
    """The findings of the checks that can be made from outside, on these pairs."""
    job: dict[str, Any] = {"pairs": [list(pair) for pair in pairs], "seed": seed}
    with submission.session() as session:
        seen = session.ask("observe", reply=Seen, **job)
        told = [seen.answers, seen.answers if seen.decoded is None else seen.decoded]
        if any(len(answers) != len(pairs) for answers in told):
            raise TinyadderError(f"{submission.given}: its process answered another question")
        try:
            recordings: Recordings | str = session.ask("record", reply=Recordings, **job)
        except OutOfTime:
            raise
        except TinyadderError as error:
            recordings = str(error)
    return judged(seen, recordings, pairs)


def judged(
    seen: Seen, recordings: Recordings | str, pairs: Sequence[tuple[int, int]]
) -> list[Finding]:
    """All findings; `recordings` is why there are none, where there are none."""
    right = sum(answer == a + b for (a, b), answer in zip(pairs, seen.answers, strict=True))
    accuracy = right / len(pairs)
    correct = f"{accuracy:.0%} of {len(pairs)} pairs are right"
    return [
        Finding("answers", accuracy == 1, accuracy, correct),
        decoding(seen, pairs),
        dataflow_finding(seen, recordings),
        state(seen),
        attention(seen),
        _prefix(seen),
        _one_token(seen),
        _feedback(seen),
        *(replace(f, check=n) for n, f in (("buffers", seen.buffers), ("dtype", seen.dtype)) if f),
        _honesty(seen),
        _swap(seen, accuracy),
    ]


def _listed(parts: Iterable[object]) -> str:
    """The first few, and how many more."""
    every = [str(part) for part in parts]
    more = f"; and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return "; ".join(every[:SHOWN]) + more


def decoding(seen: Seen, pairs: Sequence[tuple[int, int]]) -> Finding:
    """`add` returns what the model says: the verifier's own decoding gives the same answers, also
    where the model was made to err.
    """
    check = "decoding"
    if seen.decoded is None:
        said = f"the passes of add could not be recovered: {seen.format}"
        return Finding(check, None, None, said)
    other = [
        f"{a} + {b}: the model says {ours}, add returns {theirs}"
        for (a, b), ours, theirs in zip(pairs, seen.decoded, seen.answers, strict=True)
        if ours != theirs and (ours is not None or theirs == a + b)
    ]
    for how, found in (("made to say", seen.untold), ("with changed weights", seen.repaired)):
        other += [f"{a} + {b}: {how} {said}, add returns {got}" for a, b, said, got in found]
    if other:
        said = f"add does not return what the model says: {_listed(other)}"
        return Finding(check, False, len(other), said)
    said = (
        f"add returns what the model says ({len(pairs)} sums decoded by the verifier, {seen.told}"
        f" with wrong digits, {seen.erred} with changed weights); {seen.format}"
    )
    return Finding(check, True, 0, said)


def dataflow_finding(seen: Seen, recordings: Recordings | str) -> Finding:
    """Tokens are looked up and nothing else, and what is made of them goes through a network."""
    check = "dataflow"
    if isinstance(recordings, str):
        return Finding(check, False, None, f"the operations could not be recorded: {recordings}")
    watched, graph = recordings.executed, recordings.graph
    if watched is None and graph is None:
        return Finding(check, None, None, recordings.how)
    how = f"does not export ({recordings.how}); operations of a pass that was watched"
    if graph is not None:
        how = f"torch.export graph, {recordings.how}: {len(graph.operations)} operations"
    faults = _faults(recordings, TOLERANCE[seen.float64])
    if faults:
        return Finding(check, False, len(faults), f"{_listed(faults)} [{how}]")
    shown = graph or watched
    assert shown is not None
    count = dataflow.lookups(shown)
    places = "one place" if count == 1 else f"{count} places"
    said = f"token ids are looked up in {places} and used nowhere else; then only operations of a"
    return Finding(check, True, 0, f"{said} network [{how}]")


def _faults(recordings: Recordings, tolerance: float) -> list[dataflow.Fault]:
    """What the operations do that they must not, and what they do not explain."""
    faults = list[dataflow.Fault]()
    if recordings.executed is not None:
        faults = dataflow.faults(recordings.executed)
    if recordings.graph is not None and not faults:  # lines of a watched pass are more exact
        faults = dataflow.faults(recordings.graph)
    if recordings.differs is not None and recordings.differs > tolerance:
        why = f"gives other logits when it is exported ({recordings.differs:.1e} of the largest)"
        faults.append(dataflow.Fault("the module", "", why))
    if not faults and recordings.unexplained is not None and recordings.unexplained > SAME:
        why = (
            "passes something on outside of torch, or between passes: its operations, run on other"
            f" tokens, give other logits than it does ({recordings.unexplained:.1e} of the largest)"
        )
        faults.append(dataflow.Fault("the forward pass", "", why))
    return faults


def state(seen: Seen) -> Finding:
    """The same text gives the same logits: again, in another order, from a copy that never ran."""
    check, found = "state", seen.state
    if found is None:
        return Finding(check, None, None, NOT_SEEN)
    tolerance = TOLERANCE[seen.float64] if found.cached else SAME
    said = f"{found.texts} texts again, shuffled, each twice"
    fresh, repeated = found.fresh, found.repeated
    if fresh is not None and fresh > tolerance:
        said += f": a copy of the model that never ran gives logits that differ by {fresh:.1e}"
        said += " of the largest: it keeps something between passes"
        return Finding(check, False, fresh, said)
    if repeated > tolerance:
        said += f": logits change by {repeated:.1e} of the largest"
        if fresh is None:
            return Finding(check, False, repeated, f"{said}: it keeps something between passes")
        said += ", but a fresh copy of the model for every text gives the logits that add saw"
        return Finding(check, True, repeated, f"{said}: what it keeps is a cache")
    said += "" if fresh is None else ", and to fresh copies of the model"
    said += f": the same logits within {repeated:.1e}"
    return Finding(check, True, max(repeated, fresh or 0), said)


def attention(seen: Seen) -> Finding:
    """Attention is there, it is used, and nothing else carries tokens from place to place."""
    check, found = "attention ablation", seen.attended
    if found is None:
        if seen.module:
            return Finding(check, False, None, f"no attention was seen: {NOT_SEEN}")
        why = NOT_SEEN if seen.passes is None else "its forward pass is not torch's"
        return Finding(check, None, None, why)
    if not found.lines:
        said = "no attention was seen: no softmax or exponential of scores whose keys are the text"
        return Finding(check, False, None, said)
    where = f"({len(found.lines)} a pass, at {_listed(sorted(set(found.lines)))})"
    most = max(found.change.values(), default=0.0)
    if found.change and most <= SAME:
        said = f"attention is there {where} and not used: no logit changes without it"
        return Finding(check, False, most, said)
    said = ", ".join(f"{share:.0%} right with {WORDS[name]}" for name, share in found.right.items())
    worst = max(found.right.values(), default=0.0)
    if worst > CHANCE:
        return Finding(check, False, worst, f"{said}: the sum is not had by attention {where}")
    if found.mixed is not None and found.mixed > SAME:
        said = (
            "with every position attending to itself only, the last logits still change by"
            f" {found.mixed:.1e} of the largest with the tokens before: something else than"
            f" attention moves them {where}"
        )
        return Finding(check, False, found.mixed, said)
    return Finding(check, True, worst, f"{said}; nothing else moves what the tokens say {where}")


def _prefix(seen: Seen) -> Finding:
    check, change = "prefix consistency", seen.prefix
    if change is None:
        why = NOT_SEEN
        if seen.passes is not None:
            why = "its passes do not give logits for every token of a growing text"
        return Finding(check, None, None, why)
    if seen.rows == "last":
        said = "called prefix by prefix: it gives the last logits only, so nothing follows"
        return Finding(check, True, 0.0, said)
    said = f"logits change by at most {change:.1e} of the largest when tokens follow"
    return Finding(check, change <= TOLERANCE[seen.float64], change, said)


def _one_token(seen: Seen) -> Finding:
    passes = seen.passes
    if passes is None:
        return Finding("one token per pass", None, None, NOT_SEEN)
    fed = {"max": "the largest logit is fed back", "min": "the smallest logit is fed back"}.get(
        seen.rule or ""
    )
    grows = "the text grows by one token a pass"
    if not seen.grows:
        filled = "one place of the text is filled in a pass"
        grows = filled if seen.decoded is not None else "the text does not grow by one token a pass"
    said = (
        f"{passes:.2f} passes per digit; {grows};"
        f" {fed or 'what is fed back is not the largest logit'}"
    )
    # Of a text of fixed width that is filled in, only the recovered format tells which token a
    # pass decides.
    recovered = seen.decoded is not None
    passed = False if passes < 1 else True if recovered or (seen.grows and fed) else None
    return Finding("one token per pass", passed, passes, said)


def _feedback(seen: Seen) -> Finding:
    share = seen.feedback
    if share is None:
        why = NOT_SEEN if seen.passes is None else "it could not be seen which token is fed back"
        return Finding("feedback", None, None, why)
    said = f"after random tokens the next is right in {share:.0%}"
    return Finding(
        "feedback", share < 1, share, said + ("" if share < 1 else ": it ignores its own output")
    )


def _honesty(seen: Seen) -> Finding:
    share = seen.random_logits
    if share is None:
        return Finding("decode honesty", None, None, NOT_SEEN)
    return Finding(
        "decode honesty", share <= CHANCE, share, f"{share:.0%} right with random logits"
    )


def _swap(seen: Seen, accuracy: float) -> Finding:
    share = seen.random_weights
    if not seen.replaceable and share != 0:
        said = "its weights are in another library, and could not be replaced from outside"
        return Finding("weight swap", None, None, said)
    if share is None:
        return Finding("weight swap", False, None, "the model has no floating-point parameters")
    said = f"{share:.0%} right with random weights in the same code; {accuracy:.0%} before"
    return Finding("weight swap", share <= CHANCE, share, said)
