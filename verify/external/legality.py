"""Judge what was observed of a submission file; what could not be observed is said, not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyadder.verify.external.submission import Submission
from tinyadder.verify.legality import CHANCE, TOLERANCE, Finding

NOT_SEEN = "no module of the model was seen to turn integer tokens into logits while add() ran"


def foreign_legality(
    submission: Submission, pairs: Sequence[tuple[int, int]], *, seed: int = 0
) -> list[Finding]:
    """The findings of the checks that can be made from outside, on these pairs."""
    found = submission.ask("observe", pairs=[list(pair) for pair in pairs], seed=seed)
    accuracy = float(found["accuracy"])
    correct = f"{accuracy:.0%} of {len(pairs)} pairs are right"
    return [
        Finding("answers", accuracy == 1, accuracy, correct),
        _prefix(found),
        _one_token(found),
        _feedback(found),
        _ablation(found),
        Finding(**found["buffers"]),
        Finding(**found["dtype"]),
        _honesty(found),
        _swap(found, accuracy),
    ]


def _prefix(found: dict[str, Any]) -> Finding:
    change = found.get("prefix")
    if change is None:
        why = (
            NOT_SEEN
            if found["passes"] is None
            else "its passes do not give logits for every token of a growing text"
        )
        return Finding("prefix consistency", None, None, why)
    said = f"logits change by at most {change:.1e} of the largest when tokens follow"
    return Finding("prefix consistency", change <= TOLERANCE[found["float64"]], change, said)


def _one_token(found: dict[str, Any]) -> Finding:
    passes = found["passes"]
    if passes is None:
        return Finding("one token per pass", None, None, NOT_SEEN)
    fed = {"max": "the largest logit is fed back", "min": "the smallest logit is fed back"}.get(
        found["rule"]
    )
    grows = (
        "the text grows by one token a pass"
        if found["grows"]
        else "the text does not grow by one token a pass"
    )
    said = (
        f"{passes:.2f} passes per digit; {grows};"
        f" {fed or 'what is fed back is not the largest logit'}"
    )
    # A text of fixed width that is filled in may be honest, but which token a pass decides cannot
    # be seen.
    passed = False if passes < 1 else True if found["grows"] and fed else None
    return Finding("one token per pass", passed, passes, said)


def _feedback(found: dict[str, Any]) -> Finding:
    share = found.get("feedback")
    if share is None:
        why = (
            NOT_SEEN if found["passes"] is None else "it could not be seen which token is fed back"
        )
        return Finding("feedback", None, None, why)
    said = f"after random tokens the next is right in {share:.0%}"
    return Finding(
        "feedback", share < 1, share, said + ("" if share < 1 else ": it ignores its own output")
    )


def _ablation(found: dict[str, Any]) -> Finding:
    shares = {
        name: found[name]
        for name in ("no attention", "uniform attention")
        if found[name] is not None
    }
    if not shares:
        return Finding(
            "attention ablation", None, None, "no call of torch's softmax or attention was seen"
        )
    worst = max(shares.values())
    said = ", ".join(f"{share:.0%} right with {name}" for name, share in shares.items())
    return Finding("attention ablation", worst <= CHANCE, worst, said)


def _honesty(found: dict[str, Any]) -> Finding:
    share = found.get("random logits")
    if share is None:
        return Finding("decode honesty", None, None, NOT_SEEN)
    return Finding(
        "decode honesty", share <= CHANCE, share, f"{share:.0%} right with random logits"
    )


def _swap(found: dict[str, Any], accuracy: float) -> Finding:
    share = found["random weights"]
    if share is None:
        return Finding("weight swap", False, None, "the model has no floating-point parameters")
    said = f"{share:.0%} right with random weights in the same code; {accuracy:.0%} before"
    return Finding("weight swap", share <= CHANCE, share, said)
