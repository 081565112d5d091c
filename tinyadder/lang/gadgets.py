"""Gadgets: heads, hidden units and readouts that most exact constructions share, each with its
range and error bound.

A gadget is a plain function that returns what you would have written yourself (a Head, a sum of
heads, hidden units, a form); it hides no number, so `print(program)` and the counts are those of
the equations. "Costs" are the nonzero weights a gadget adds beside those of the forms it is given,
slopes apart. Bounds hold for the machine in float64: u = 2^-53 is its rounding, i >= j are
positions, V the largest |value| that the head sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import AffineForm, as_form
from tinyadder.lang.sublayers import Head, Outputs, Units, relu

ROOM = 40.0
"""How far scores lie below 0 where softmax1 is to be linear: its denominator is then 1 + n e^-40 =
1 + 4e-18 n.
"""

# ---- heads ---------------------------------------------------------------------------------------


def mean_head(value: Any) -> Head:
    """sum_{j<=i} v_j / (i + 2): all scores are 0, and softmax1 counts one token more than there is.

    Costs nothing. Error at most (i + 4) u V. Source: softmax1 with equal scores.
    """
    return Head(value=value)


def sum_head(value: Any, *, room: float = ROOM) -> Head:
    """sum_{j<=i} v_j, a plain sum: every score is -room, every value is e^room v.

    Costs 2 (query 1, key -room). The result is the sum times 1 / (1 + (i + 1) e^-room), so it errs
    by at most ((i + 1) e^-room + (i + 8) u) sum_j |v_j|. Raises `TinyadderError` unless 0 < room <=
    300.
    """
    return Head(query=1, key=-_room(room), value=exp(room) * as_form(value))


def place_value_head(value: Any, *, base: float, room: float = ROOM) -> Head:
    """sum_{j<=i} base^(j-i) v_j: the ALiBi slope ln base divides by `base` with every token that
    follows.

    Costs 2 and a slope. Errs by at most (base / (base - 1) e^-room + (room + 2 D ln base + i + 8)
    u) times the sum of base^(j-i) |v_j|, with D the distance of the farthest token that counts. A
    flag as value makes place weights; digits make a number. Raises `TinyadderError` unless base > 1
    and 0 < room <= 300.
    """
    if not base > 1:
        raise TinyadderError(
            f"place_value_head: base={base}, expected more than 1; for a plain sum take sum_head"
        )
    return Head(query=1, key=-_room(room), value=exp(room) * as_form(value), slope=log(base))


def previous_token_head(value: Any, *, sharpness: float = 18.0, room: float = ROOM) -> Outputs:
    """v_(i-1), and 0 at the first token: a steep head, and a steeper one that takes the token
    itself out again.

    The first head attends to token i - k as e^(s(1-k)) v; the second, of slope 10 s, attends to
    little but token i and subtracts it. Costs 4, the value twice, and two slopes; add the sum to a
    lane of its own (it takes no row index). Errs by at most (1.1 e^-s + 16 e^s u + 2 e^(s-room)) V:
    the tokens before the previous one, the rounding of what cancels, and softmax1. The default s =
    18 about balances them, at 1.4e-7 V. Raises `TinyadderError` unless 3 <= sharpness <= 30 and 0 <
    room <= 300.
    """
    if not 3 <= sharpness <= 30:
        raise TinyadderError(
            f"previous_token_head: sharpness={sharpness}, expected 3 .. 30; below it blurs, above"
            " it rounding wins"
        )
    gain = exp(_room(room) + sharpness) * as_form(value)
    near = Head(query=1, key=-room, value=gain, slope=sharpness)
    itself = Head(query=1, key=-room, value=-gain, slope=10 * sharpness)
    return near + itself


def match_head(query: Any, key: Any, key_square: Any, value: Any, *, sharpness: float) -> Head:
    """The mean of v_j over the tokens with key_j = query_i: score -l (q - k)^2 up to the row
    constant l q^2.

    l is `sharpness`; the score is written 2 l q k - l k^2, with head dimension 2, and `key_square`
    reads k^2 from a lane (relu(k) * k in an earlier MLP, for k >= 0). Costs 1 beside the forms. If
    m >= 1 keys match exactly and the others miss by at least g, it errs by at most ((i + 1) e^(-l
    g^2) + e^(-l q^2)) 2 V / m (+ rounding l q^2 u 8 V): softmax1's own 1 counts like a key at 0, so
    q must be well away from 0, or nothing match there. Where no key matches the nearest one wins.
    Raises `TinyadderError` unless sharpness > 0.
    """
    if not sharpness > 0:
        raise TinyadderError(f"match_head: sharpness={sharpness}, expected a positive number")
    return Head(
        query=[2 * sharpness * as_form(query), -sharpness], key=[key, key_square], value=value
    )


def threshold_head(form: Any, height: Any, *, at: float, sharpness: float) -> Head:
    """height where form > at, 0 where form < at: softmax1 of equal scores is a sigmoid. Needs no
    MLP.

    Every token gets the score s = sharpness * (form_i - at), so the head gives height / (1 + e^-s /
    (i + 1)). Costs 2 beside the forms and the height. Errs by at most |height| times e^-s / (i + 1)
    above and (i + 1) e^s below. `height` is a constant (a form averages over the tokens). Raises
    `TinyadderError` unless sharpness > 0.
    """
    if not sharpness > 0:
        raise TinyadderError(f"threshold_head: sharpness={sharpness}, expected a positive number")
    return Head(query=sharpness * (as_form(form) - at), key=1, value=height)


def _room(room: float) -> float:
    if not 0 < room <= 300:
        raise TinyadderError(
            f"room={room}, expected 0 < room <= 300: e^room has to stay a float64 with space for"
            " values"
        )
    return float(room)


# ---- hidden units --------------------------------------------------------------------------------


def hinge(form: Any, *, at: float) -> Units:
    """max(0, form - at). One unit; costs 3 beside the form (2 at 0). Errs by at most 2 u (|form| +
    |at|).
    """
    return relu(as_form(form) - at)


def step(form: Any, *, at: float, width: float) -> Units:
    """0 up to at - width/2, 1 from at + width/2 on, straight between: the difference of two hinges
    over the width.

    Two units; costs 6 beside the form, read twice. Exactly 0 below (but for the rounding of form -
    at); above it errs by at most 8 u (|form| + |at|) / width. Raises `TinyadderError` unless width
    > 0.
    """
    if not width > 0:
        raise TinyadderError(f"step: width={width}, expected a positive number")
    low, high = hinge(form, at=at - width / 2), hinge(form, at=at + width / 2)
    return (1 / width) * low + (-1 / width) * high


def absolute(form: Any) -> Units:
    """|form| = relu(form) + relu(-form). Two units; costs 4 beside the form, read twice. Exact."""
    return relu(form) + relu(-as_form(form))


def square(form: Any) -> Units:
    """form^2 where form >= 0, else 0: relu(form) * form. One unit; costs 1 beside the form.

    The form is read twice. Relative error 3 u beside the form's own.
    """
    return relu(form) * form


def table_lookup(form: Any, values: Sequence[float], *, start: int = 0) -> Units:
    """values[k] where form = start + k, straight lines between; 0 up to start - 1, the last line
    goes on above.

    One hinge wherever the slope changes: f = sum_k c_k relu(form - (start - 1 + k)) with c the
    second differences of (0, 0, *values). Each hinge costs at most 3 beside the form, which each
    one reads. Where the form errs by e < 1 the result errs by at most e times the steepest slope,
    and rounding adds 4 u (|form| + |start| + len(values)) sum |c|. Raises `TinyadderError` for an
    empty table or a constant one of zeros.
    """
    changes = np.diff(np.array([0.0, 0.0, *values]), 2)
    kept = [(k, float(change)) for k, change in enumerate(changes) if change != 0]
    if not kept:
        raise TinyadderError(
            "table_lookup: every value is 0 or there is none; give at least one that is not"
        )
    first, *rest = [change * hinge(form, at=start - 1 + k) for k, change in kept]
    for unit in rest:
        first = first + unit
    return first


# ---- readout -------------------------------------------------------------------------------------


def parabola_readout(form: Any, values: Sequence[float]) -> AffineForm:
    """One row for each of `values`, 2 d y - d^2 = y^2 - (y - d)^2: the argmax is the value nearest
    to y = form.

    Costs 1 for each value that is not 0, beside the form's weights in each row. If y errs by e from
    an integer d among integer values, the logit of d leads by at least 1 - 2 e. Rounding: 4 u
    max(d^2, 2 |d y|).
    """
    d = np.asarray(values, dtype=float)
    return 2 * d * as_form(form) - d**2


def floor_readout(scale: float) -> tuple[dict[str, float], dict[str, float]]:
    """What the digits embed in two lanes for a tied readout: d, and `scale` d(d+1)/2.

    Where a query holds q in the first lane and -p in the second, logit_d = d q - p scale d(d+1)/2
    rises with d while d < q / (p scale): the argmax is the floor of q / (p scale), at most 9. Costs
    18.
    """
    digits = range(1, 10)
    return {str(d): d for d in digits}, {str(d): scale * d * (d + 1) / 2 for d in digits}
