"""Each gadget alone in a tiny program, against exact arithmetic: its stated error bound holds, and
is not too loose.
"""

from fractions import Fraction
from itertools import pairwise
from math import exp

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed
from tinyadder.errors import TinyadderError
from tinyadder.lang import gadgets
from tinyadder.machine.compile import build
from tinyadder.verify.count import ladder

U = 2.0**-53
few = settings(max_examples=40)
values = st.integers(-9, 9).map(float) | st.floats(-100, 100).map(lambda v: round(v, 6))
texts = st.lists(values, min_size=1, max_size=40)


def outcome(sublayers, tokens):
    """Lane `out` behind `sublayers(x)`, at every position of a text whose token t carries tokens[t]
    in lane `v`.

    Lane `k` carries a second number where tokens are pairs.
    """
    pairs = [t if isinstance(t, tuple) else (t, 0.0) for t in tokens]
    x = Stream(v="value", k="key", square="k^2", out="result")
    names = [f"t{i}" for i in range(len(pairs))]
    embed = Embed(
        v={n: v for n, (v, _) in zip(names, pairs, strict=True)},
        k={n: k for n, (_, k) in zip(names, pairs, strict=True)},
    )
    program = Program(names, x, embed, *sublayers(x), Unembed(argmax={names[0]: x.out}))
    seen = {}
    build(program)(
        torch.arange(len(pairs))[None], hook=lambda name, value: seen.setdefault(name, value)
    )
    last = f"blocks.{len(program.blocks) - 1}.hook_resid_post"
    return seen[last][0, :, -1].tolist()


def errors(got, exact):
    return [abs(Fraction(g) - e) for g, e in zip(got, exact, strict=True)]


def magnitude(exact_terms):
    return sum((abs(term) for term in exact_terms), Fraction(0))


# ---- heads ---------------------------------------------------------------------------------------


@few
@given(texts)
def test_mean_head_gives_the_mean_of_the_tokens_so_far_and_one_zero(tokens):
    got = outcome(lambda x: [Attention(out=gadgets.mean_head(x.v))], tokens)
    for i, g in enumerate(got):
        exact = sum(map(Fraction, tokens[: i + 1])) / (i + 2)
        assert abs(Fraction(g) - exact) <= (i + 4) * U * max(map(abs, tokens))


@few
@given(texts, st.sampled_from([5.0, 10.0, 40.0, 300.0]))
def test_sum_head_gives_the_sum_within_its_stated_bound(tokens, room):
    got = outcome(lambda x: [Attention(out=gadgets.sum_head(x.v, room=room))], tokens)
    for i, g in enumerate(got):
        terms = list(map(Fraction, tokens[: i + 1]))
        # exp() of the score and e^room are each right to an ulp; the score itself is exact
        bound = ((i + 1) * exp(-room) + (i + 8) * U) * float(magnitude(terms))
        assert abs(float(Fraction(g) - sum(terms))) <= bound


def test_the_bound_of_sum_head_is_reached_where_there_is_little_room():
    got = outcome(lambda x: [Attention(out=gadgets.sum_head(x.v, room=5.0))], [1.0] * 10)
    bound = [(i + 1) * exp(-5) * (i + 1) for i in range(10)]
    assert all(
        abs(g - (i + 1)) > 0.9 * b / (1 + 10 * exp(-5))
        for i, (g, b) in enumerate(zip(got, bound, strict=True))
    )


@few
@given(texts, st.sampled_from([1.5, 2.0, 10.0, 1e5]), st.sampled_from([10.0, 40.0]))
def test_place_value_head_weighs_tokens_by_distance_within_its_stated_bound(tokens, base, room):
    got = outcome(
        lambda x: [Attention(out=gadgets.place_value_head(x.v, base=base, room=room))], tokens
    )
    for i, g in enumerate(got):
        terms = [Fraction(v) / Fraction(base) ** (i - j) for j, v in enumerate(tokens[: i + 1])]
        distance = max((i - j for j, v in enumerate(tokens[: i + 1]) if v), default=0)
        bound = base / (base - 1) * exp(-room) + (room + 2 * distance * np.log(base) + i + 8) * U
        assert abs(float(Fraction(g) - sum(terms))) <= bound * float(magnitude(terms))


@few
@given(texts, st.sampled_from([3.0, 10.0, 18.0, 25.0]))
def test_previous_token_head_gives_the_token_before_within_its_stated_bound(tokens, sharpness):
    got = outcome(
        lambda x: [Attention(out=gadgets.previous_token_head(x.v, sharpness=sharpness))], tokens
    )
    bound = 1.1 * exp(-sharpness) + 16 * exp(sharpness) * U + 2 * exp(sharpness - gadgets.ROOM)
    for g, before in zip(got, [0.0, *tokens], strict=False):
        assert abs(g - before) <= bound * max(map(abs, tokens))


def test_the_bound_of_previous_token_head_is_within_a_factor_of_three():
    got = outcome(
        lambda x: [Attention(out=gadgets.previous_token_head(x.v, sharpness=5.0))], [1.0] * 20
    )
    assert got[-1] - 1 > 1.1 * exp(-5) / 3


@st.composite
def keyed(draw):
    """Tokens (value, key >= 0); the last one is the query and carries its key with no match of its
    own.
    """
    size = draw(st.integers(2, 12))
    keys = draw(st.lists(st.integers(1, 8), min_size=size, max_size=size))
    return [(draw(values), float(k)) for k in keys]


@few
@given(keyed(), st.sampled_from([20.0, 50.0]))
@example([(1.0, 3.0), (5.0, 3.0), (9.0, 4.0)], 20.0)
def test_match_head_gives_the_mean_of_the_values_with_the_key_asked_for(tokens, sharpness):
    sublayers = lambda x: [  # noqa: E731
        MLP(square=gadgets.square(x.k)),
        Attention(out=gadgets.match_head(x.k, x.k, x.square, x.v, sharpness=sharpness)),
    ]
    got = outcome(sublayers, tokens)
    largest = max(abs(v) for v, _ in tokens)
    for i, (_, q) in enumerate(tokens):
        matched = [Fraction(v) for v, k in tokens[: i + 1] if k == q]
        exact = sum(matched) / len(matched)
        bound = ((i + 1) * exp(-sharpness) + exp(-sharpness * q * q)) * 2 * largest / len(matched)
        bound += sharpness * q * q * U * 8 * largest
        assert abs(float(Fraction(got[i]) - exact)) <= bound


def test_match_head_takes_the_nearest_key_where_none_matches():
    tokens = [(7.0, 1.0), (5.0, 4.0), (0.0, 3.4)]
    sublayers = lambda x: [  # noqa: E731
        MLP(square=gadgets.square(x.k)),
        Attention(out=gadgets.match_head(x.k + 0.2, x.k, x.square, x.v, sharpness=200.0)),
    ]
    assert outcome(sublayers, tokens)[-1] == pytest.approx(0.0, abs=0.02)  # itself, 0.2 away
    assert outcome(sublayers, [*tokens[:2], (0.0, 3.9)])[-1] == pytest.approx(5.0, abs=0.02)


@few
@given(texts, st.sampled_from([-1.5, 0.0, 2.0]), st.sampled_from([5.0, 60.0]))
def test_threshold_head_gives_its_value_above_the_threshold_and_zero_below(tokens, at, sharpness):
    got = outcome(
        lambda x: [Attention(out=gadgets.threshold_head(x.v, 3.0, at=at, sharpness=sharpness))],
        tokens,
    )
    for i, (g, v) in enumerate(zip(got, tokens, strict=True)):
        s = sharpness * (v - at)
        exact, part = (3.0, exp(-s) / (i + 1)) if s > 0 else (0.0, (i + 1) * exp(s))
        if s != 0:
            assert abs(g - exact) <= 3 * part + (i + 8) * 3 * U


# ---- units ---------------------------------------------------------------------------------------


@few
@given(texts, values)
def test_hinge_is_what_lies_above_its_bend(tokens, at):
    got = outcome(lambda x: [MLP(out=gadgets.hinge(x.v, at=at))], tokens)
    for g, v in zip(got, tokens, strict=True):
        exact = max(Fraction(0), Fraction(v) - Fraction(at))
        assert abs(Fraction(g) - exact) <= 2 * Fraction(U) * (abs(Fraction(v)) + abs(Fraction(at)))


@few
@given(texts, values, st.sampled_from([0.25, 1.0, 3.0]))
def test_step_rises_from_zero_to_one_over_its_width(tokens, at, width):
    got = outcome(lambda x: [MLP(out=gadgets.step(x.v, at=at, width=width))], tokens)
    for g, v in zip(got, tokens, strict=True):
        inside = (Fraction(v) - Fraction(at)) / Fraction(width) + Fraction(1, 2)
        exact = min(max(inside, Fraction(0)), Fraction(1))
        assert abs(float(Fraction(g) - exact)) <= 8 * U * (abs(v) + abs(at) + width) / width
        if v <= at - width:
            assert g == 0


@few
@given(texts)
def test_the_absolute_value_is_exact(tokens):
    assert outcome(lambda x: [MLP(out=gadgets.absolute(x.v))], tokens) == [abs(v) for v in tokens]


@few
@given(texts)
def test_square_squares_what_is_positive_and_drops_the_rest(tokens):
    got = outcome(lambda x: [MLP(out=gadgets.square(x.v))], tokens)
    for g, v in zip(got, tokens, strict=True):
        exact = max(Fraction(0), Fraction(v)) ** 2
        assert abs(Fraction(g) - exact) <= 3 * Fraction(U) * exact


@few
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=12), st.integers(-5, 5), st.data())
def test_table_lookup_gives_every_entry_exactly_and_zero_outside(table, start, data):
    assume(any(table))
    asked = data.draw(st.lists(st.integers(-3, len(table) - 1), min_size=1, max_size=8))
    got = outcome(
        lambda x: [MLP(out=gadgets.table_lookup(x.v, table, start=start))],
        [float(start + k) for k in asked],
    )
    assert got == [table[k] if k >= 0 else 0 for k in asked]  # whole numbers: no rounding at all


@few
@given(
    st.lists(st.floats(-10, 10).map(lambda v: round(v, 3)), min_size=2, max_size=10),
    st.floats(-0.1, 0.1),
    st.data(),
)
def test_between_entries_a_table_is_off_by_the_steepest_step_at_most(table, slip, data):
    assume(any(table))
    k = data.draw(st.integers(0, len(table) - 2))
    got = outcome(lambda x: [MLP(out=gadgets.table_lookup(x.v, table))], [k + slip])[0]
    padded = [0.0, *table]
    steepest = max(abs(b - a) for a, b in pairwise(padded))
    changes = np.abs(np.diff([0.0, 0.0, *table], 2)).sum()
    rounding = 4 * U * (abs(k) + 1 + len(table)) * changes
    assert abs(got - table[k]) <= abs(slip) * steepest * (1 + 1e-9) + rounding


@few
@given(st.integers(0, 30), st.floats(-0.499, 0.499))
def test_parabola_readout_takes_the_nearest_with_the_stated_lead(d, slip):
    x = Stream(v="value")
    wanted = range(31)
    program = Program(
        [*map(str, wanted)],
        x,
        Embed(v={"0": d + slip}),
        Unembed(argmax=gadgets.parabola_readout(x.v, wanted)),
    )
    logits = build(program)(torch.tensor([[0]]))[0, 0]
    first, second = logits.topk(2).values.tolist()
    assert int(logits.argmax()) == d
    assert first - second >= 1 - 2 * abs(slip) - 16 * U * 31**2


@few
@given(st.floats(0.001, 11), st.sampled_from([1e-9, 0.1, 7.0, 1e18]), st.floats(1e-6, 1e6))
def test_floor_readout_takes_the_digit_below(y, scale, p):
    assume(abs(y - round(y)) > 1e-6)
    digit, place = gadgets.floor_readout(scale)
    logits = [digit.get(str(d), 0) * y * p * scale - place.get(str(d), 0) * p for d in range(10)]
    assert max(range(10), key=logits.__getitem__) == min(int(y), 9)
    assert len(digit) + len(place) == 18


# ---- prices and refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sublayers", "price", "slopes"),
    [
        (lambda x: [Attention(out=gadgets.mean_head(x.v))], 1, 0),
        (lambda x: [Attention(out=gadgets.sum_head(x.v))], 3, 0),
        (lambda x: [Attention(out=gadgets.place_value_head(x.v, base=10))], 3, 1),
        (lambda x: [Attention(out=gadgets.previous_token_head(x.v))], 6, 2),
        (lambda x: [Attention(out=gadgets.match_head(x.k, x.k, x.square, x.v, sharpness=9))], 5, 0),
        (lambda x: [Attention(out=gadgets.threshold_head(x.v, 3, at=0.5, sharpness=9))], 4, 0),
        (lambda x: [MLP(out=gadgets.hinge(x.v, at=2))], 4, 0),
        (lambda x: [MLP(out=gadgets.hinge(x.v, at=0))], 3, 0),
        (lambda x: [MLP(out=gadgets.step(x.v, at=2, width=1))], 8, 0),
        (lambda x: [MLP(out=gadgets.absolute(x.v))], 6, 0),
        (lambda x: [MLP(out=gadgets.square(x.v))], 3, 0),
        (lambda x: [MLP(out=gadgets.table_lookup(x.v, [0, 1, 0, 1], start=1))], 12, 0),
    ],
)
def test_a_gadget_costs_what_its_equations_say(sublayers, price, slopes):
    x = Stream(v="value", k="key", square="k^2", out="result")
    embed = Embed(v={"a": 1}, k={"a": 1}, square={"a": 1})
    program = Program("ab", x, embed, *sublayers(x), Unembed(argmax={"a": x.out}))
    counted = ladder(build(program))
    assert program.nonzero == counted["nonzero"] == 4 + price
    assert program.slopes == counted["nonzero + positional"] - counted["nonzero"] == slopes


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda v: gadgets.sum_head(v, room=0), "room=0, expected 0 < room <= 300"),
        (lambda v: gadgets.sum_head(v, room=1000), "room=1000"),
        (lambda v: gadgets.place_value_head(v, base=1), "base=1, expected more than 1"),
        (lambda v: gadgets.previous_token_head(v, sharpness=40), "sharpness=40, expected 3 .. 30"),
        (
            lambda v: gadgets.match_head(v, v, v, v, sharpness=-1),
            "sharpness=-1, expected a positive number",
        ),
        (
            lambda v: gadgets.threshold_head(v, 1, at=0, sharpness=0),
            "sharpness=0, expected a positive number",
        ),
        (lambda v: gadgets.step(v, at=0, width=0), "width=0, expected a positive number"),
        (lambda v: gadgets.table_lookup(v, [0, 0]), "every value is 0"),
    ],
)
def test_a_value_out_of_range_is_refused(call, said):
    with pytest.raises(TinyadderError, match=said):
        call(Stream(v="value").v)


def test_a_wrong_head_breaks_the_bound():
    """The planted fault: a value 10^-12 too large is far outside what sum_head promises."""
    got = outcome(lambda x: [Attention(out=gadgets.sum_head((1 + 1e-12) * x.v))], [1.0] * 5)
    assert abs(got[-1] - 5) > 10 * (5 * exp(-40) + 12 * U) * 5
