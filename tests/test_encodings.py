"""Encodings: what is written is read back, and what is no encoding is refused kindly."""

import math
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_UP, Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyadder.encodings import (
    Bounded,
    Characters,
    Complex,
    Encoding,
    Floats,
    Integers,
    Matrices,
    Polynomials,
    Reals,
    Vectors,
    within,
)
from tinyadder.errors import TinyadderError
from tinyadder.tasks.derivative import Derivative

REALS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e90, max_value=1e90).filter(
    lambda x: x == 0 or abs(x) > 1e-80
)


def round_trip(encoding: Encoding, value):
    tokens = encoding.encode(value)
    assert set(tokens) <= set(encoding.vocabulary)
    return encoding.decode(tokens)


@given(st.integers(), st.integers(2, 1000), st.booleans())
@example(0, 2, False)
@example(-1000, 1000, True)
def test_integers_of_any_size_in_any_base_come_back(value, base, least):
    assert round_trip(Integers(base, least), value) == value


@given(st.integers(-50, 50))
def test_bounded_integers_come_back_as_one_token(value):
    assert round_trip(Bounded(-50, 50), value) == value and len(Bounded(-50, 50).encode(value)) == 1


@given(st.text("0123456789x^+-"))
def test_texts_come_back(value):
    assert round_trip(Characters("0123456789x^+-"), value) == value


@given(st.tuples(*[st.integers(-5, 5)] * 6))
def test_polynomials_by_character_come_back_through_their_task(problem):
    task = Derivative(order="printed")
    assert task.parse(round_trip(Characters("0123456789x^+-"), task.show(problem))) == problem


@given(st.lists(st.integers(-(10**9), 10**9), max_size=20), st.sampled_from([10, 1000]))
@example([], 10)
def test_polynomials_by_number_come_back_without_their_zeros_at_the_top(coefficients, base):
    while coefficients and coefficients[-1] == 0:
        coefficients.pop()
    assert round_trip(Polynomials(Integers(base)), coefficients) == tuple(coefficients)
    assert Polynomials(Integers(base)).encode([*coefficients, 0, 0]) == Polynomials(
        Integers(base)
    ).encode(coefficients)


@given(REALS, st.integers(1, 15))
@example(9.995, 3)
@example(-0.0, 3)
@example(1e-80, 15)
def test_reals_come_back_within_half_a_unit_of_the_last_digit(value, digits):
    again = round_trip(Reals(digits), value)
    assert within(value, again, relative=0.5000001 * 10.0 ** (1 - digits))
    assert round_trip(Reals(digits), again) == again


@given(REALS, REALS)
def test_complex_numbers_are_two_reals(real, imaginary):
    again = round_trip(Complex(Reals(5)), complex(real, imaginary))
    assert within(real, again.real, relative=0.51e-4) and within(
        imaginary, again.imag, relative=0.51e-4
    )


def test_the_conventions_are_those_of_the_literature():
    assert Integers(1000).encode(-3124) == ["-", "3", "124"]
    assert Reals(3).encode(-3.14) == ["-", "314", "E-2"]
    assert Complex().encode(1 - 2j) == ["+", "100", "E-2", "-", "200", "E-2"]
    assert Reals(5).encode(12.3456) == ["+", "12", "346", "E-3"]
    assert Integers(10, least=True).encode(120) == ["+", "0", "2", "1"]
    assert Polynomials().encode([-4, 0, 2]) == ["N3", "-", "4", "+", "0", "+", "2"]


@pytest.mark.parametrize(
    ("encoding", "value", "said"),
    [
        (Characters("ab"), "abc", r"'abc': character 3 \('c'\)"),
        (Bounded(0, 9), 10, r"10 is outside 0 \.\. 9"),
        (Bounded(0, 9), 1.5, "whole numbers; 1.5"),
        (Integers(10), True, "whole numbers; True"),
        (Reals(), math.nan, "nan is not a finite real number"),
        (Reals(), math.inf, "inf is not a finite real number"),
        (Reals(), 10**400, r"10\^400 is too large"),
        (Reals(limit=5), 1e9, r"needs the exponent 7; this encoding has -5 \.\. 5"),
        (Complex(), "1+2j", "is not a complex number"),
        (Polynomials(most=2), [1, 2, 3], "3 coefficients; this encoding writes at most 2"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(encoding, value, said):
    with pytest.raises(TinyadderError, match=said):
        encoding.encode(value)


@pytest.mark.parametrize(
    ("encoding", "tokens"),
    [
        (Characters("ab"), ["a", "c"]),
        (Bounded(0, 9), []),
        (Bounded(0, 9), ["1", "2"]),
        (Bounded(0, 9), ["x"]),
        *(
            (Integers(10), t)
            for t in ([], ["+"], ["1"], ["+", "12"], ["-", "0"], ["+", "0", "1"], ["+", "+"])
        ),
        (Integers(10, least=True), ["+", "1", "0"]),
        *(
            (Reals(), t)
            for t in ([], ["+", "314"], ["+", "31", "E0"], ["+", "31x", "E0"], ["+", "314", "Ex"])
        ),
        *(
            (Reals(), t)
            for t in (
                ["+", "314", "E999"],
                ["+", "314", "E-0"],
                ["+", "314", "E00"],
                ["+", "³¹⁴", "E0"],
            )
        ),
        (Complex(), ["+", "314", "E0"]),
        *(
            (Polynomials(), t)
            for t in ([], ["+"], ["N2", "+", "1"], ["N1", "1", "+"], ["N1", "+", "0"], ["N99"])
        ),
    ],
    ids=str,
)
def test_tokens_that_write_nothing_are_refused_whatever_a_model_emits(encoding, tokens):
    with pytest.raises(TinyadderError, match="no encoding; expected"):
        encoding.decode(tokens)


@given(
    st.lists(st.sampled_from([*Reals(2).vocabulary[:60], "E0", "E-3", "N2", "+", "-"]), max_size=8)
)
def test_decoding_never_fails_otherwise(tokens):
    for encoding in (
        Integers(10),
        Integers(1000, least=True),
        Reals(2),
        Complex(Reals(2)),
        Polynomials(),
    ):
        try:
            value = encoding.decode(tokens)
        except TinyadderError:
            continue
        assert encoding.decode(encoding.encode(value)) == value


@pytest.mark.parametrize(
    "tokens", [["+", "012", "E0"], ["+", "000", "E1"], ["-", "000", "E0"], ["-", "001", "E-3"]]
)
def test_reals_that_no_number_is_written_as_are_refused(tokens):
    with pytest.raises(TinyadderError, match="no leading zero"):
        Reals().decode(tokens)


@given(
    st.lists(st.sampled_from(["0", "1", "9", "05", "50", "000", "012", "314"]), max_size=2),
    st.sampled_from("+-"),
    st.integers(-100, 100),
)
def test_what_decodes_is_exactly_what_encodes(groups, sign, power):
    for encoding in (Reals(1), Reals(2), Reals(3), Reals(5)):
        tokens = [sign, *groups, f"E{power}"]
        try:
            value = encoding.decode(tokens)
        except TinyadderError:
            continue
        assert encoding.encode(value) == tokens


@given(REALS, st.integers(1, 9), st.sampled_from([ROUND_UP, ROUND_DOWN, ROUND_CEILING]))
@example(2.5, 1, ROUND_UP)
@example(123456.5, 6, ROUND_UP)
def test_the_decimal_context_around_has_no_say(value, digits, rounding):
    expected = Reals(digits).encode(value)
    with localcontext(Context(prec=2, rounding=rounding, traps=[])):
        for same in (value, Decimal(value), Fraction(value), np.float64(value)):
            assert Reals(digits).encode(same) == expected


@given(st.fractions(min_value=-(10**6), max_value=10**6), st.integers(1, 15))
def test_fractions_are_rounded_half_to_even(value, digits):
    sign, *groups, power = Reals(digits).encode(value)
    mantissa, unit = int("".join(groups)), Fraction(10) ** int(power[1:])
    assert abs(abs(value) - mantissa * unit) <= unit / 2
    if abs(abs(value) - mantissa * unit) == unit / 2:
        assert mantissa % 2 == 0 or mantissa == 10 ** (digits - 1)  # 9.5 -> 10 of the next power
    assert (sign == "-") == (value < 0)


@pytest.mark.parametrize(
    "value",
    [Decimal("1e-999999999"), Decimal("1e999999999"), 10**5000],
    ids=["small", "large", "long"],
)
def test_numbers_too_large_or_small_to_be_expanded_are_refused_at_once(value):
    with pytest.raises(TinyadderError, match=r"too large|needs the exponent"):
        Reals().encode(value)


@pytest.mark.parametrize(
    ("encoding", "value", "same"),
    [
        (Integers(10), np.int64(-12), -12),
        (Bounded(0, 9), torch.tensor(7), 7),
        (Reals(), np.float32(0.5), 0.5),
        (Reals(), torch.tensor(2.5), 2.5),
        (Reals(), np.array(3), 3),
        (Complex(), np.complex128(1 + 2j), 1 + 2j),
        (Complex(), torch.tensor(1 + 2j), 1 + 2j),
        (Complex(), np.float64(4.0), 4),
        (Polynomials(), np.array([1, 2]), [1, 2]),
    ],
)
def test_numbers_of_other_libraries_are_numbers(encoding, value, same):
    assert encoding.encode(value) == encoding.encode(same)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bounded(0, 10**12),
        lambda: Reals(limit=10**9),
        lambda: Reals(digits="3"),
        lambda: Polynomials(most=10**9),
        lambda: Integers(2.0),
    ],
)
def test_vocabularies_without_end_are_refused_before_they_are_made(make):
    with pytest.raises(TinyadderError, match=r"expected|whole numbers"):
        make()


def test_a_base_or_precision_out_of_range_is_refused():
    with pytest.raises(TinyadderError, match=r"the base: 1001, expected 2 \.\. 1000"):
        Integers(1001)
    with pytest.raises(TinyadderError, match=r"significant digits: 16, expected 1 \.\. 15"):
        Reals(16)


def test_the_tolerance_is_relative_or_absolute():
    assert within(100.0, 100.9, relative=0.01) and not within(100.0, 101.1, relative=0.01)
    assert within(0.0, 0.001, absolute=0.01) and not within(0.0, 0.001, relative=0.5)
    assert within(3 + 4j, 3.04 + 4j, relative=0.01) and not within(3 + 4j, 3 + 4.06j, relative=0.01)


# ---- three significant digits, vectors, matrices -------------------------------------------------

FORMS = ("P10", "P1000", "B1999", "FP15")
SIZES = {"P10": 12 + 15, "P1000": 903 + 15, "B1999": 1801 + 15, "FP15": 27_001}
TOKENS = {"P10": 5, "P1000": 3, "B1999": 2, "FP15": 1}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, database=None, deadline=None)
@given(st.floats(1e-5, 9e9), st.booleans())
def test_three_digits_come_back_within_half_a_per_cent_in_every_form(form, size, negative):
    encoding, value = Floats(form), -size if negative else size
    tokens = encoding.encode(value)
    assert len(tokens) == TOKENS[form] and set(tokens) <= set(encoding.vocabulary)
    assert within(value, encoding.decode(tokens), relative=0.005)
    assert encoding.encode(encoding.decode(tokens)) == tokens


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_published_number_of_tokens_and_writes_zero(form):
    encoding = Floats(form)
    assert len(set(encoding.vocabulary)) == len(encoding.vocabulary) == SIZES[form]
    assert encoding.decode(encoding.encode(0)) == 0
    for tokens in ([], ["+"], ["E0"], ["+", "314"], ["314"], ["FP314"], ["x"] * TOKENS[form]):
        with pytest.raises(TinyadderError):
            encoding.decode(tokens)


ENTRIES = {
    "base 10": (Integers(10), st.integers(-(10**6), 10**6)),
    "base 1000": (Integers(1000), st.integers(-(10**6), 10**6)),
    "FP15": (Floats("FP15"), st.integers(-999, 999).map(float)),
    "B1999": (Floats("B1999"), st.integers(-999, 999).map(float)),
    "complex": (Complex(Floats("P1000")), st.integers(-99, 99).map(lambda n: complex(n, 2))),
}


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=40, database=None, deadline=None)
@given(data=st.data())
def test_vectors_and_matrices_come_back(name, data):
    entry, values = ENTRIES[name]
    vector = tuple(data.draw(st.lists(values, max_size=4)))
    encoding = Vectors(entry)
    assert encoding.decode(encoding.encode(vector)) == vector
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    matrix = tuple(tuple(data.draw(values) for _ in range(columns)) for _ in range(rows))
    matrices = Matrices(entry)
    tokens = matrices.encode(matrix)
    assert matrices.decode(tokens) == matrix and set(tokens) <= set(matrices.vocabulary)


def test_vectors_and_matrices_that_are_none_are_refused():
    vectors, matrices = Vectors(Integers(10), most=3), Matrices(Integers(10), most=2)
    for tokens in ([], ["V4"], ["V2", "+", "1"], ["V0", "+", "1"], ["V1"], ["+", "1"]):
        with pytest.raises(TinyadderError):
            vectors.decode(tokens)
    for tokens in ([], ["V1"], ["V0", "V1"], ["V1", "V2", "+", "1"], ["V3", "V1", "+", "1"]):
        with pytest.raises(TinyadderError):
            matrices.decode(tokens)
    with pytest.raises(TinyadderError, match="4 entries; this encoding writes at most 3"):
        vectors.encode((1, 2, 3, 4))
    with pytest.raises(TinyadderError, match=r"rows of \[1, 2\] entries"):
        matrices.encode(((1, 2), (3,)))
    with pytest.raises(TinyadderError, match="a matrix of 3 x 1"):
        matrices.encode(((1,), (2,), (3,)))
    with pytest.raises(TinyadderError, match="expected P10, P1000, B1999 or FP15"):
        Floats("P100")
