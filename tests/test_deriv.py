"""The derivative constructions: right on samples and edges, priced, and wrong once a number they
need is taken away.
"""

import json
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.derivative_sweep import check
from tinyadder.commands import run
from tinyadder.commands._models import parse
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.digest import model_digest
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.report.results import find_result
from tinyadder.verify.claims import check_readout

PRICES = {
    "deriv": (96, 1),
    "deriv_printed": (114, 1),
    "deriv_printed, wide": (183, 2),
    "deriv_wide": (158, 2),
    "deriv_coeff": (64, 2),
}
"""Nonzero weights and ALiBi slopes; their sum is the price in nonzero + positional."""
NAMES = sorted(PRICES)
WIDE = {"coefficients": 99, "exponents": 9}
MADE = {
    name: construct("deriv_printed", **WIDE) if "," in name else construct(name) for name in NAMES
}
MODELS = {name: build(MADE[name].program) for name in NAMES}


def wrong(name, problems):
    task = MADE[name].task
    pairs = zip(problems, answers(MODELS[name], task, problems), strict=True)
    return [(task.show(problem), got) for problem, got in pairs if got != task.answer(problem)]


@pytest.mark.parametrize("name", NAMES)
def test_the_price_is_the_same_in_equations_and_in_tensors(name):
    weights, slopes = PRICES[name]
    assert MADE[name].program.nonzero == weights
    assert sum(int((p != 0).sum()) for p in MODELS[name].parameters()) == weights
    assert (
        sum(int((b != 0).sum()) for n, b in MODELS[name].named_buffers() if n.endswith("slopes"))
        == slopes
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_edges_are_all_right(name):
    task = MADE[name].task
    problems = [
        *Random(2).sample(task.hard(), 100 if "wide" in name else 400),
        *task.structured(Random(3), 100),
        *task.uniform(Random(4), 50),
    ]
    assert wrong(name, problems) == []


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_polynomial_is_differentiated(name, data):
    assert (
        wrong(name, data.draw(st.lists(MADE[name].task.strategy(), min_size=1, max_size=4))) == []
    )


@pytest.mark.parametrize(
    "problem", [(0,) * 6, (-4, 0, 0, 0, 0, 0), (5, 4, -1, 0, 0, 0), (-5, 4, -5, 3, -2, 5)]
)
def test_decoding_with_and_without_the_cache_agrees(problem):
    for name in ("deriv", "deriv_printed"):
        task, model = MADE[name].task, MODELS[name]
        assert (
            answers(model, task, [problem], cache=False)
            == answers(model, task, [problem])
            == [task.answer(problem)]
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4-x", "-1"),
        ("-x^2+4x", "4-2x"),
        ("-x^2+4x-1", "4-2x"),
        ("-x^5+x", "1-5x^4"),
        ("x^3-x^2+x", "3x^2-2x+1"),
        ("-x^3+x^2-x", "-3x^2+2x-1"),
        ("-x^2-4x", "-2x-4"),
        ("-x^3+x^2", "-3x^2+2x"),
        ("5-5x^5", "-25x^4"),
    ],
)
def test_the_printed_order_is_read_and_written(text, said):
    task = MADE["deriv_printed"].task
    assert answers(MODELS["deriv_printed"], task, [task.parse(text)]) == [said + "$"]


PUBLIC = {
    "x^2-2x+4": "2x-2",
    "-2x^3+x+5": "1-6x^2",
    "2-3x": "-3",
    "-x^2+4x-2": "4-2x",
    "3-x^3": "-3x^2",
    "-4x": "-4",
}
"""Lines as the public data has them: problems in one file, answers in another."""


def compared(tmp_path, problems, answers, *options):
    (tmp_path / "outputs.txt").write_text("\n".join(answers) + "\n")
    arguments = ["deriv_printed", "-", "--answers", str(tmp_path / "outputs.txt"), *options]
    return CliRunner().invoke(
        run.command, arguments, input="\n".join(problems), standalone_mode=False
    )


def test_public_data_files_are_run_as_they_are(tmp_path):
    found = compared(tmp_path, PUBLIC, PUBLIC.values())
    assert (found.return_value, found.output) == (
        0,
        f"6 of 6 answers are those of {tmp_path / 'outputs.txt'}\n",
    )


def test_answers_of_a_file_that_differ_and_lines_that_cannot_be_read_are_named_by_line(tmp_path):
    wrong = compared(tmp_path, PUBLIC, ["2x-2", "-6x^2+1", *list(PUBLIC.values())[2:]])
    assert wrong.return_value == 1
    assert "line 2: -2x^3+x+5 gives 1-6x^2, the file says -6x^2+1\n5 of 6" in wrong.output
    outside = compared(tmp_path, ["x", "-8x^3-4x-6"], ["1", "-24x^2-4"], "--json")
    assert outside.return_value == 2
    data = json.loads(outside.stdout)
    assert (data["problems"], data["agree"], data["unlike"]) == (2, 1, [])
    assert (
        data["bad lines"][0]["line"] == 2 and "character 2 ('8')" in data["bad lines"][0]["error"]
    )


PUBLIC_WIDE = {
    "8x^3-7x": "24x^2-7",
    "-8x^3+12x-6": "12-24x^2",
    "20-3x^7": "-21x^6",
    "-x^9+20x+99": "20-9x^8",
    "-12x^2+x": "1-24x",
    "-7x^2+99x": "99-14x",
}
"""Lines of its files out of distribution: larger coefficients and exponents."""


def test_public_files_out_of_distribution_are_run_as_they_are(tmp_path):
    options = [word for key, value in WIDE.items() for word in ("-o", f"{key}={value}")]
    for lines in (PUBLIC, PUBLIC_WIDE):
        found = compared(tmp_path, lines, lines.values(), *options)
        assert found.output.startswith("6 of 6 answers are those of")


def test_a_line_that_another_construction_takes_is_refused_with_its_name():
    def said(name, text):
        with pytest.raises(TinyadderError) as error:
            parse(construct(name).task, text)
        return str(error.value).rpartition("; ")[2]

    assert said("deriv", "3-5x") == "deriv_printed takes it"
    assert said("deriv", "8x^3") == "deriv_wide takes it"
    assert said("deriv_printed", "-8x^3") == (
        "deriv_printed -o coefficients=99 -o exponents=9 takes it"
    )
    assert said("deriv_coeff", "12x") == "accepted: terms in falling exponents 5 .. 0, " + (
        "coefficients -9 .. 9, e.g. '-3x^3+4x^2-1'"
    )


def test_options_of_the_printed_one_are_those_of_the_wide_one_and_no_more():
    assert construct("deriv_printed", coefficients=4, exponents=3).program.nonzero == 114
    for option, value in (("coefficients", 100), ("exponents", 10), ("exponents", "9")):
        with pytest.raises(TinyadderError, match=f"deriv_printed: {option}="):
            construct("deriv_printed", **{option: value})


def test_files_of_different_lengths_are_refused(tmp_path):
    found = compared(tmp_path, PUBLIC, ["1"])
    assert isinstance(found.exception, TinyadderError)
    assert "has 1 lines and standard input 6; give one answer for each problem" in str(
        found.exception
    )


def test_every_swapped_polynomial_and_every_swapped_answer_is_right():
    own = range(1, 6)
    read = [tuple({0: a, n: -b}.get(m, 0) for m in range(6)) for a in own for b in own for n in own]
    written = [
        tuple({0: c, 1: a, n: -b}.get(m, 0) for m in range(6))
        for a in own
        for b in own
        for n in (2, 3, 4, 5)
        for c in (-1, 0, 2)
    ]
    task = MADE["deriv_printed"].task
    assert all(task.show(p)[0].isdigit() for p in read)
    assert all(task.answer(p)[0].isdigit() for p in written)
    assert wrong("deriv_printed", read + written) == []


def test_swapped_answers_of_every_constant_are_right_in_the_wide_one():
    """Each constant and each coefficient of the negative term, every exponent, with and without a
    constant in the input; and beside them those that are not swapped, for a sign or a third x.
    """
    problems = []
    for a in range(1, 100):
        for b in {1, a, (7 * a) % 99 + 1, 99}:
            n = 2 + (a + b) % 8
            terms = {0: (0, 5, -99)[(a + b) % 3], 1: a, n: -b}
            problems.append(terms)
            if b == 99:
                problems += [terms | {1: -a}, terms | {n: b}, terms | {9: 1, 8: -b, 7: 0}]
    written = [tuple(terms.get(m, 0) for m in range(10)) for terms in problems]
    task = MADE["deriv_printed, wide"].task
    assert sum(task.answer(p)[0].isdigit() and "-" in task.answer(p) for p in written) >= 300
    assert wrong("deriv_printed, wide", written) == []


def test_every_coefficient_and_exponent_of_the_wide_one_is_right_before_every_kind_of_term():
    problems = []
    for n in range(10):
        for c in range(1, 100):
            follow = ({}, {n - 1: 1}, {n - 1: -1}) if n and c % 9 == 0 else ({},)
            c *= (-1) ** c
            problems += [tuple({n: c, **rest}.get(m, 0) for m in range(10)) for rest in follow]
    assert wrong("deriv_wide", list(dict.fromkeys(problems))) == []


def every_place_of_every_term():
    """Each term n, c (n >= 1) after any number of terms, the first with and without sign, before
    each kind of term.
    """
    for n in range(1, 10):
        for before in range(10 - n):
            for lead in (-1, 1):
                dense = {
                    n + 1 + i: lead if i == before - 1 else 7 * (-1) ** i for i in range(before)
                }
                after = [{}, {0: 1}, {0: -1}, *([{n - 1: 1}, {n - 1: -1}] if n > 1 else [])]
                for c in range(1, 100):
                    for follow in after:
                        sign = lead if not before else (-1) ** c
                        yield tuple({**dense, n: sign * c, **follow}.get(m, 0) for m in range(10))


@pytest.mark.slow
def test_every_term_of_the_wide_one_is_right_at_every_place_before_every_kind_of_term():
    assert wrong("deriv_wide", list(dict.fromkeys(every_place_of_every_term()))) == []


@pytest.mark.slow
def test_the_claims_decide_every_local_situation_of_the_wide_one():
    """What a token is chosen from depends on a term, what is written of it, and the kind of the
    next term.
    """
    made, found = MADE["deriv_wide"], []
    for n in range(1, 10):
        for c in [c for size in range(1, 100) for c in (size, -size)]:
            after = [{}, {0: 1}, {0: -1}, *([{n - 1: 1}, {n - 1: -1}] if n > 1 else [])]
            found += [tuple({n: c, **follow}.get(m, 0) for m in range(10)) for follow in after]
    # where errors are largest
    dense = [tuple((-1) ** k * c for k in range(10)) for c in (99, 12, 1, -5, -10)]
    read = check_readout(
        MODELS["deriv_wide"], made.task, made.claims, [*found, *dense, (0,) * 10, (99,) * 10]
    )
    assert read.wrong == 0
    assert read.margin > 0.9
    assert read.room > 20


@pytest.mark.parametrize("exponents", [1, 2, 9])
def test_the_slots_work_for_every_number_of_exponents(exponents):
    made = construct("deriv_coeff", exponents=exponents)
    problems = [*made.task.hard()[:400], *made.task.uniform(Random(5), 300)]
    assert answers(build(made.program), made.task, problems) == [
        made.task.answer(p) for p in problems
    ]
    with pytest.raises(TinyadderError, match="exponents=10"):
        construct("deriv_coeff", exponents=10)


@pytest.mark.parametrize(
    ("place", "token", "lane", "text"),
    [
        ("the digit 6 that tells '16' is written", "6", "digit", "4x^4"),
        ("the digit 0 that tells '10' and '20' are written", "0", "digit", "5x^2"),
        ("the minus", "-", "minus", "x^2-x"),
        ("the caret", "^", "caret", "x^3"),
        ("the start after '='", "=", "start", "3x^2"),
        ("what cancels the head's look at itself", "^", "past", "5x^5"),
    ],
)
def test_a_number_taken_away_is_noticed(place, token, lane, text):
    made = MADE["deriv"]
    model = build(made.program)
    task, columns = made.task, made.program.stream.columns()
    with torch.no_grad():
        model.embedding[task.vocabulary.index(token), columns[lane, 0]] = 0
    problem = task.parse(text)
    assert answers(model, task, [problem]) != [task.answer(problem)], place
    assert check(model, task, [problem])["wrong"] == 1
    assert check(model, task, [problem])["gap"] < 0


def test_the_sweep_measures_a_positive_gap_where_all_is_right():
    made = MADE["deriv"]
    found = check(MODELS["deriv"], made.task, made.task.structured(Random(1), 60))
    assert found["wrong"] == 0
    assert found["gap"] > 0.5


def test_the_committed_sweep_is_of_this_model_and_found_nothing_wrong():
    found = find_result("deriv", "exhaustive-decoded", Path(__file__).parents[1] / "results")
    assert found.digest == model_digest(MODELS["deriv"], MADE["deriv"].task)
    assert found.data["verdict"]["verdict"] == "exhaustive"
    assert found.data["decoded"] == 11**6
    assert found.data["wrong"] == 0
    assert found.data["smallest_logit_gap"] > 0.5
