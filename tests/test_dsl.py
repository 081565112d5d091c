"""The language: forms, prices, printing, JSON, and every misuse refused by a message that names the
way out.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyadder.construction import construct, construction_names
from tinyadder.dsl import (
    MLP,
    Attention,
    Embed,
    Head,
    Program,
    Stream,
    Unembed,
    concat,
    relu,
    shared,
    stack,
)
from tinyadder.errors import TinyadderError
from tinyadder.lang.serialization import program_from_json, program_to_json

X = Stream(digit="the digit", flag="1 on '+'", wide=("three candidates", 3))
EMBED = Embed(digit={"1": 1}, flag={"+": 1})
READ = Unembed(argmax=2 * X.digit)


def program(*sublayers, embed=EMBED, unembed=READ, stream=X):
    return Program("01+", stream, embed, *sublayers, unembed)


def refused(text, make):
    with pytest.raises(TinyadderError, match=text):
        make()


def test_forms_add_subtract_and_scale():
    assert repr(960 * X.flag - 1000) == "960*flag - 1000"
    assert repr(2 * (X.digit - X.flag) + X.flag) == "2*digit - flag"
    assert repr(-X.digit) == "-digit"
    assert repr(3 - X.digit) == "-digit + 3"
    assert repr(X.digit / 4) == "0.25*digit"
    assert repr(X.digit - X.digit) == "0"


def test_a_vector_times_a_lane_is_a_form_of_that_width():
    form = np.arange(3) * X.digit + X.wide
    assert form.width == 3
    assert [repr(row) for row in form] == ["wide", "digit + wide[1]", "2*digit + wide[2]"]
    assert repr(concat(X.digit, X.flag)[1]) == "flag"
    assert repr(X.wide[1:]) == "[wide[1]; wide[2]]"


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), st.floats(-1e3, 1e3))
def test_forms_evaluate_like_the_arithmetic_they_are_written_with(weights, bias):
    form = (
        sum((w * lane for w, lane in zip(weights, X.wide, strict=True)), start=bias * X.digit)
        + bias
    )
    row = form.rows[0]
    assert dict(row.weights) == {
        column: w
        for column, w in [*((("wide", i), w) for i, w in enumerate(weights)), (("digit", 0), bias)]
        if w != 0
    }
    assert row.bias == bias


def test_a_hidden_unit_costs_gate_up_and_down_once_however_many_lanes_it_writes():
    unit = relu(X.digit - 3) * X.flag
    once = program(MLP(digit=unit))
    twice = program(MLP(digit=unit, flag=-unit))
    again = program(MLP(digit=unit, flag=-(relu(X.digit - 3) * X.flag)))
    assert once.nonzero == 3 + 4  # embedding and readout; gate 1 and -3 with up 1 and down 1
    assert twice.nonzero == once.nonzero + 1
    assert again.nonzero == once.nonzero + 4


def test_the_factor_left_of_relu_is_its_down_weight_and_right_of_it_the_up_projection():
    ((hidden, down),) = (5 * relu(X.digit) * (X.flag + 2)).parts[0]
    assert down == 5 and hidden.up.bias == 2
    ((hidden, down),) = (-relu(X.digit) * 7).parts[0]
    assert down == -1 and hidden.up.bias == 7


def test_a_vector_left_of_one_unit_writes_that_unit_with_several_down_weights():
    assert program(MLP(wide=np.array([1, 2, 3]) * relu(X.digit) * X.flag)).nonzero == 3 + 2 + 3
    assert program(MLP(wide=relu(X.digit) * (np.array([1, 2, 3]) * X.flag))).nonzero == 3 + 3 * 3


def test_a_shared_number_is_priced_once_and_a_head_in_two_lanes_is_one_head():
    gain = shared(100)
    assert program(MLP(wide=relu(concat(X.digit, X.flag, X.digit)) * gain)).nonzero == 3 + 3 + 1 + 3
    head = Head(value=3 * X.digit)
    assert program(Attention(digit=head, flag=head)).nonzero == 3 + 1
    assert len(Attention(digit=head, flag=head).heads) == 1


def test_a_program_prints_its_equations_with_prices():
    text = str(construct("add10").program)
    assert "3  product += relu(digit) * weight" in text
    assert text.endswith("40  nonzero, and ALiBi slopes: 1")


@pytest.mark.parametrize("name", construction_names())
def test_every_construction_survives_json_bit_for_bit(name):
    original = construct(name).program
    data = json.loads(json.dumps(program_to_json(original)))
    copy = program_from_json(data)
    assert program_to_json(copy) == data
    assert str(copy) == str(original)


def test_a_damaged_program_is_refused_in_one_line():
    data = program_to_json(construct("add10").program)
    refused(
        "version 1 is expected, this is version 9",
        lambda: program_from_json({**data, "version": 9}),
    )
    refused(
        "damaged: KeyError 'units'.*build it again",
        lambda: program_from_json({**data, "sublayers": [{}]}),
    )
    refused("version 1 is expected, this is version list", lambda: program_from_json([]))


MISUSES = {
    "unknown lane read": (
        r"no lane 'digt' \(lanes: digit, flag, wide\); did you mean 'digit'\?",
        lambda: X.digt,
    ),
    "unknown lane written": (
        "writes lane 'flog', which the Stream does not declare.*did you mean 'flag'",
        lambda: program(Attention(flog=Head(value=X.digit))),
    ),
    "product of lanes": (
        r"product of two lanes is not affine; write relu\(a\) \* b",
        lambda: X.digit * X.flag,
    ),
    "product of three": (
        "a hidden unit is a product of two",
        lambda: relu(X.digit) * X.flag * X.digit,
    ),
    "unit left of lane": (
        r"not affine; write relu\(a\) \* b in an MLP",
        lambda: X.digit * relu(X.digit),
    ),
    "width mismatch": ("widths 3 and 2 do not fit", lambda: X.wide + concat(X.digit, X.flag)),
    "width of a write": (
        r"lane 'wide' has width 3, but 2 values are added",
        lambda: program(Attention(wide=Head(value=concat(X.digit, X.flag)))),
    ),
    "lane written twice": (
        "Attention writes lane 'flag' twice; add the two: flag=first [+] second",
        lambda: Attention({"flag": Head(value=X.digit)}, flag=Head(value=X.digit)),
    ),
    "non-finite weight": (
        "a weight is inf; every weight must be a finite number",
        lambda: math.inf * X.digit,
    ),
    "overflow": ("is inf; every weight", lambda: 1e308 * (10 * X.digit)),
    "nan in embedding": ("a weight is nan", lambda: Embed(digit={"1": math.nan})),
    "read before write": (
        "lane 'wide' is read but nobody writes it.*write it in Embed or in an earlier sublayer",
        lambda: program(MLP(digit=relu(X.wide[0]))),
    ),
    "linear MLP": (r"every hidden unit has a gate", lambda: MLP(digit=2 * X.flag)),
    "form in attention": ("expected a Head or a sum of heads", lambda: Attention(digit=X.flag)),
    "unit in a form": ("hidden units and heads are added to lanes", lambda: X.digit + relu(X.flag)),
    "head plus form": ("is not a head", lambda: Head(value=X.digit) + X.digit),
    "unit plus form": ("is not a hidden unit", lambda: relu(X.digit) + X.digit),
    "head dimension": (
        "the query has 1 rows and the key 2",
        lambda: Head(query=1, key=[X.digit, 1], value=X.digit),
    ),
    "shared scaled": (
        "would be a new weight, not the shared one",
        lambda: (shared(3) * X.digit) * 2,
    ),
    "shared added": (
        "would be a new weight, not the shared one",
        lambda: shared(3) * X.digit + X.digit,
    ),
    "shared slope": (
        "an ALiBi slope is a plain number",
        lambda: Head(value=X.digit, slope=shared(1)),
    ),
    "form in embedding": (
        "an embedding holds numbers, not forms",
        lambda: Embed(digit={"1": X.digit}),
    ),
    "not a mapping": ("give a mapping from tokens to numbers", lambda: Embed(digit=3)),
    "foreign token": (
        "no token 'x' in the vocabulary 0 1 [+]",
        lambda: program(embed=Embed(digit={"x": 1})),
    ),
    "two streams": (
        "two different streams|of another Stream",
        lambda: program(Attention(digit=Head(value=Stream(digit="d").digit))),
    ),
    "mixed streams": ("two different streams", lambda: X.digit + Stream(digit="d").digit),
    "token twice": ("names a token twice", lambda: Program("00", X, EMBED, READ)),
    "no readout": ("one Unembed last", lambda: Program("01+", X, EMBED)),
    "two readouts": ("argmax or argmin, not both", lambda: Unembed(argmax=X.digit, argmin=X.flag)),
    "empty readout": ("needs argmax=form, argmin=form or tied=tokens", lambda: Unembed()),
    "readout too wide": (
        "4 rows for a vocabulary of 3 tokens",
        lambda: program(unembed=Unembed(argmax=np.arange(4) * X.digit)),
    ),
    "tied beside too few rows": (
        "one row for each tied token",
        lambda: program(unembed=Unembed(tied="01+", argmax=np.arange(2) * X.digit)),
    ),
    "matrix": (r"a matrix of shape \(2, 2\)", lambda: np.eye(2) * X.digit),
    "lane name": ("cannot name a lane", lambda: Stream(lanes="x")),
    "lane width": (r"a width is an integer 1 \.\. 8192", lambda: Stream(a=("x", 0))),
    "no lanes": ("needs at least one lane", lambda: Stream()),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_every_misuse_is_refused_and_told_the_way_out(misuse):
    text, make = MISUSES[misuse]
    refused(text, make)


def test_a_lane_written_by_two_sublayers_is_a_sum_not_a_mistake():
    assert program(MLP(digit=relu(X.digit)), MLP(digit=relu(X.flag))).nonzero == 3 + 6


def test_a_bare_lane_is_wiring_and_costs_nothing_to_read():
    y = Stream(a="x", b="y")
    wired = Program("01", y, Embed(a={"0": 1}, b={"1": 1}), Unembed(argmax=(y.a, y.b)))
    weighed = Program("01", y, Embed(a={"0": 1}, b={"1": 1}), Unembed(argmax=concat(y.a, y.b)))
    assert (wired.nonzero, weighed.nonzero) == (2, 4)


def test_sums_of_different_lengths_are_stacked_into_the_rows_of_a_wide_lane():
    first, second = Head(value=X.digit), Head(value=2 * X.flag, slope=1)
    heads = stack(first, first + second, None)
    assert [len(part) for part in heads.parts] == [1, 2, 0]
    # each head is paid for once; the slope apart
    assert program(Attention(wide=heads)).nonzero == 3 + 2
    one, two = relu(X.digit) * X.flag, relu(X.flag) * X.digit
    units = stack(None, one + two, 2 * one)
    assert [len(part) for part in units.parts] == [0, 2, 1]
    wide = program(MLP(wide=units))
    assert wide.sublayers[0].units == [part[0] for part in units.parts[1]]


@pytest.mark.parametrize(
    "rows", [(), (None,), (Head(value=X.digit), relu(X.digit) * X.flag), (X.digit,)]
)
def test_what_cannot_be_stacked_is_refused(rows):
    with pytest.raises(TinyadderError, match="give sums of heads, or sums of relu"):
        stack(*rows)
