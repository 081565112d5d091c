"""Jobs inside a submission's process that answer sums by the verifier's own decoding.

`prepare` first, once a session; then `decode` and `replay` use what it recovered. All give plain
values, arrays as bytes; what is right is decided by `tinyadder.verify.external.judge`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyadder.verify.external.decoding import WIDTH, Decoded, Decoder
from tinyadder.verify.external.entry import LoadedSubmission, ReportProgress
from tinyadder.verify.external.recording import NotRecovered, watch

_prepared: list[Decoder] = []


def _decoder() -> Decoder:
    if not _prepared:
        raise NotRecovered("asked to decode before it was prepared")
    return _prepared[0]


def prepare(entry: LoadedSubmission, report: ReportProgress, seed: int) -> dict[str, Any]:
    """Recover the format; `reason` says why it could not be.

    `rounding` is what logits of one text may differ by between batches, in units of the largest.
    """
    _prepared.clear()
    try:
        decoder = Decoder.of(entry.model, entry.add, seed=seed)
    except NotRecovered as why:
        return {"format": None, "reason": str(why)[:200], "causal": False, "batch": 0, "altered": 0}
    _prepared.append(decoder)
    return {
        "format": str(decoder.format),
        "reason": "",
        "causal": decoder.causal,
        "batch": decoder.batch,
        "altered": len(decoder.altered),
    }


def decode(
    entry: LoadedSubmission,
    report: ReportProgress,
    pairs: list[list[int]],
    drafts: list[int] | None = None,
    units: bool = False,
) -> dict[str, Any]:
    """Digits (least significant first, -1 none) and leads of the answers, as bytes of int8 and
    float64 arrays (n, 11).

    Greedy without `drafts`. With them, one answer a pair, what is chosen after the digits of the
    draft before it, in one pass; the answer is the draft where every digit is its. With `units`
    also what each hidden unit was given, bytes of a float64 array (n, units), maybe empty.
    """
    asked = [(a, b) for a, b in pairs]
    decoder = _decoder()
    if drafts is None:
        return _packed(decoder.decode(asked))
    return _packed(decoder.forced(asked, drafts, units=units))


def _packed(found: Decoded) -> dict[str, Any]:
    given = b"" if found.units is None else found.units.tobytes()
    return {"digits": found.digits.tobytes(), "leads": found.gaps.tobytes(), "units": given}


def replay(entry: LoadedSubmission, report: ReportProgress, a: int, b: int) -> dict[str, Any]:
    """One pair alone: the digits by our decoding, and whether the file's `add`, watched, made the
    very passes that we make (the same tokens, logits the same but for rounding).
    """
    decoder = _decoder()
    batch = decoder.batch
    decoder.batch = 1
    try:
        chosen, gaps = decoder.choices([(a, b)])
        found = decoder.decoded(chosen, gaps)
        try:
            same = decoder.same_passes(watch(entry.model, entry.add, [(a, b)]), chosen)
        except Exception:  # of a stranger's add
            same = False
    finally:
        decoder.batch = batch
    return {"digits": found.digits.tobytes(), "leads": found.gaps.tobytes(), "same": same}


def arrays(digits: bytes, leads: bytes, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The two arrays (count, 11) that these bytes hold; None where they are of another size."""
    if len(digits) != count * WIDTH or len(leads) != 8 * count * WIDTH:
        return None
    shape = (count, WIDTH)
    return np.frombuffer(digits, np.int8).reshape(shape), np.frombuffer(leads).reshape(shape)
