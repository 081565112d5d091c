"""The derivative tasks: the exact oracle, the grammar and its messages, both orders, samplers."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinyadder.errors import TinyadderError
from tinyadder.tasks import task_from_json
from tinyadder.tasks.derivative import Derivative, derivative, write
from tinyadder.tasks.derivative_coefficients import DerivativeCoefficients

CANONICAL = Derivative()
PRINTED = Derivative(order="printed")
WIDE = Derivative(coefficients=99, exponents=9)
SLOTS = DerivativeCoefficients()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("-3x^3+4x^2-4", "-9x^2+8x"),
        ("0", "0"),
        ("4", "0"),
        ("-x", "-1"),
        ("5x^5-x", "25x^4-1"),
        ("x^2+x+1", "2x+1"),
        ("-x^2+4x", "-2x+4"),
        ("-x+4", "-1"),
    ],
)
def test_the_derivative_of_a_polynomial_is_written_as_a_person_writes_it(text, answer):
    problem = CANONICAL.parse(text)
    assert CANONICAL.prompt(problem) == f":{text}="
    assert CANONICAL.answer(problem) == answer + "$"
    assert CANONICAL.show_answer(CANONICAL.answer(problem)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("4-x", "-1"),
        ("-x^2+4x", "4-2x"),
        ("1-5x^5", "-25x^4"),
        ("-x^2+4x-1", "4-2x"),
        ("x+4", "1"),
        ("x^2-4", "2x"),
    ],
)
def test_the_printed_order_puts_a_positive_constant_before_a_single_negative_term(text, answer):
    assert PRINTED.show_answer(PRINTED.answer(PRINTED.parse(text))) == answer


BAD = [
    ("", "empty"),
    ("3x + 4", "character 3 (' '): terms are written without spaces"),
    ("3*x", "character 2 ('*'): a product is written without '*'"),
    ("x**2", "character 2 ('*'): a power is written x^2"),
    ("1/2x", "character 2 ('/'): coefficients are whole numbers, not fractions"),
    ("0.5x", "character 2 ('.'): coefficients are whole numbers"),
    ("x²", "character 2 ('²'): an exponent is written after '^'"),
    ("x^6", "character 3 ('6'): exponents go up to 5"),
    ("12x", "character 1 ('1'): coefficients go from -5 to 5"),
    ("x-" + "9" * 5000, "character 3 ('9'): coefficients go from -5 to 5"),
    ("4+x", "character 2 ('+'): exponents fall"),
    ("4-x", "character 2 ('-'): exponents fall"),
    ("x+x", "character 2 ('+'): each exponent occurs once"),
    ("−x", "not the minus sign of the keyboard"),
    ("0x+3", "character 1 ('0'): zero terms are left out"),
    ("x+0", "character 3 ('0'): zero terms are left out"),
    ("-0", "character 2 ('0'): zero terms"),
    ("05", "character 1 ('0'): zero terms are left out and numbers have no leading zero"),
    ("+x", "character 1 ('+'): the first term has no '+'"),
    ("1x", "character 1 ('1'): a coefficient 1 is not written"),
    ("x^1", "character 3 ('1'): an exponent 1 is not written"),
    ("x^0", "character 3 ('0'): x^0 is not written"),
    ("x^", "the end: after '^' comes the exponent"),
    ("x^-1", "character 3 ('-'): after '^' comes the exponent"),
    ("3^2", "character 2 ('^'): an exponent belongs to an 'x'"),
    ("x3", "character 2 ('3'): between two terms"),
    ("x+-3", "character 3 ('-'): after a sign"),
    ("x-", "the end: after a sign"),
    ("y^2", "the variable is 'x'"),
    ("x^2=", "without '='"),
    ("x!", "only digits, 'x', '^', '+' and '-' occur"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[text[:12] for text, _ in BAD])
def test_a_polynomial_outside_the_grammar_is_refused_with_position_rule_and_what_is_accepted(
    text, said
):
    with pytest.raises(TinyadderError) as error:
        CANONICAL.parse(text)
    assert said in str(error.value)
    assert (
        "accepted: terms in falling exponents 5 .. 0, coefficients -5 .. 5, e.g. '-3x^3+4x^2-1'"
        in str(error.value)
    )
    assert "\n" not in str(error.value)


def test_the_printed_order_refuses_the_canonical_writing_of_a_swapped_polynomial():
    with pytest.raises(
        TinyadderError, match=r"at character 1 \('-'\): a positive constant stands before"
    ):
        PRINTED.parse("-x+4")


@pytest.mark.parametrize(
    "task", [CANONICAL, PRINTED, WIDE, Derivative(coefficients=1, exponents=1)], ids=repr
)
def test_the_example_in_a_message_is_itself_accepted(task):
    with pytest.raises(TinyadderError) as error:
        task.parse("")
    task.parse(str(error.value).rpartition("e.g. ")[2].strip("'"))


@given(st.data())
def test_every_polynomial_is_read_back_from_its_writing(data):
    task = data.draw(st.sampled_from([CANONICAL, PRINTED, WIDE, SLOTS]))
    problem = data.draw(task.strategy())
    assert task.parse(task.show(problem)) == problem


@example("1-1")
@given(st.text(alphabet="x^+-0159 ", max_size=8))
def test_a_text_is_either_refused_or_the_only_writing_of_its_polynomial(text):
    for task in (CANONICAL, PRINTED):
        try:
            problem = task.parse(text)
        except TinyadderError:
            continue
        assert task.show(problem) == text.strip()


@given(WIDE.strategy(), st.integers(-3, 3))
def test_the_oracle_agrees_with_the_difference_quotient_taken_exactly(problem, at):
    """p(at + h) - p(at) = h p'(at) mod h^2, checked with h larger than any coefficient that can
    appear.
    """
    h = 10**12
    value = lambda p, x: sum(c * x**n for n, c in enumerate(p))  # noqa: E731
    assert (
        value(problem, at + h) - value(problem, at) - h * value(derivative(problem), at)
    ) % h**2 == 0


@pytest.mark.parametrize("task", [CANONICAL, PRINTED, WIDE, SLOTS], ids=repr)
def test_samples_lie_in_the_domain_and_answers_fit(task):
    problems = [*task.structured(Random(1), 300), *task.uniform(Random(1), 300), *task.hard()]
    for problem in problems:
        assert task.parse(task.show(problem)) == problem
        answer = task.answer(problem)
        assert len(answer) <= task.answer_length
        assert set(answer) | set(task.prompt(problem)) <= set(task.vocabulary)
    assert task.structured(Random(7), 20) == task.structured(Random(7), 20)
    assert len(set(task.hard())) == len(task.hard())
    assert (0,) * (task.exponents + 1) in task.hard()


def test_the_longest_answer_has_the_stated_length():
    assert CANONICAL.answer_length == len("-25x^4-20x^3-15x^2-10x-5$")


def test_begin_and_end_tokens_are_not_signs_of_the_grammar():
    assert CANONICAL.prompt(CANONICAL.parse("x"))[0] not in "x^+-0123456789="
    assert CANONICAL.end not in "x^+-0123456789="


@pytest.mark.parametrize("task", [CANONICAL, PRINTED, WIDE, SLOTS], ids=repr)
def test_a_task_comes_back_from_its_data(task):
    assert task_from_json(task.to_json()) == task


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coefficients": 0}, "coefficients=0"),
        ({"exponents": 2.5}, "exponents=2.5"),
        ({"order": "up"}, "'canonical' or 'printed'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(TinyadderError, match=said):
        Derivative(**options)
    with pytest.raises(TinyadderError, match="exponents=10"):
        DerivativeCoefficients(exponents=10)


def test_slots_hold_sign_tens_and_ones():
    problem = SLOTS.parse("9x^5-3x^3+4")
    assert SLOTS.prompt(problem) == ":+9+0-3+0+0+4="
    assert SLOTS.answer(problem) == "+45+00-09+00+00"
    assert SLOTS.show_answer("+45+00-09+00+00") == "45x^4-9x^2"
    assert SLOTS.show_answer("+45+0") == "+45+0"


def test_writing_leaves_out_ones_and_zero_terms():
    assert write((1, -1, 0, 1)) == "x^3-x+1"


def test_the_domain_counts_every_polynomial_once():
    domain = CANONICAL.domain(exponents=2, coefficients=3)
    assert domain.size == 7**3
    found = {domain.problem(i) for i in range(domain.size)}
    assert len(found) == domain.size
    assert all(len(p) == 6 and max(map(abs, p)) <= 3 and p[3:] == (0, 0, 0) for p in found)
    assert CANONICAL.domain().size == 11**6
    assert WIDE.domain().problem(199**10 - 1) == (99,) * 10


def test_the_domain_within_a_number_of_terms_counts_every_such_polynomial_once():
    domain = CANONICAL.domain(exponents=3, coefficients=2, terms=2)
    found = [domain.problem(i) for i in range(domain.size)]
    every = CANONICAL.domain(exponents=3, coefficients=2)
    few = {p for p in map(every.problem, range(every.size)) if sum(c != 0 for c in p) <= 2}
    assert len(found) == len(few) and set(found) == few
    assert found[0] == (0,) * 6
    assert domain.name.endswith("coefficients -2 .. 2 with at most 2 terms")
    assert WIDE.domain(terms=2).size == 1 + 10 * 198 + 45 * 198**2


@pytest.mark.parametrize(
    "limits", [{"exponents": 6}, {"coefficients": 0}, {"terms": 7}, {"digits": 3}]
)
def test_a_domain_outside_the_task_is_refused(limits):
    with pytest.raises(
        TinyadderError, match=r"takes exponents=0 \.\. 5, coefficients=1 \.\. 5 and terms=0"
    ):
        CANONICAL.domain(**limits)


@given(CANONICAL.strategy())
def test_simpler_problems_end(problem):
    size = lambda p: (sum(map(abs, p)), sum(c < 0 for c in p))  # noqa: E731
    assert all(size(simpler) < size(problem) for simpler in CANONICAL.simpler(problem))
