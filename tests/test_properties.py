"""The judge: right models pass it at any size, every planted fault is refuted with a wrong answer
that replays.
"""

import math
from random import Random

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.verify.counterexample import explain, plain_answers
from tinyadder.verify.exact import ExactTransformer
from tinyadder.verify.properties import CheckResult, Grader, samples, verify
from tinyadder.verify.verdict import Exhaustive, Refuted, Sampled

RIGHT = ["add10", "add10_95"]
FOUND_AT = {digits: counterexamples(Addition(digits=digits)) for digits in (1, 4, 8, 10, 13)}


def model_of(name, **options):
    """The built model and its task."""
    construction = construct(name, **options)
    return build(construction.program), construction.task


def quick(model, task, **options):
    """`verify` with few samples."""
    return verify(model, task, **{"count": 1500, "examples": 20, **options})


@pytest.mark.parametrize("digits", FOUND_AT)
@pytest.mark.parametrize("name", RIGHT)
def test_no_structured_problem_is_wrong(name, digits):
    judge = Grader(*model_of(name, digits=digits))

    @settings(max_examples=6, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(judge.task.strategy(), min_size=20, max_size=60))
    @example(FOUND_AT[digits])
    @example(judge.task.edges())
    def check(problems):
        assert judge.wrong(problems) == []

    check()


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("name", RIGHT)
def test_every_pair_of_one_and_two_digits_is_right(name, digits):
    found = verify(*model_of(name, digits=digits))
    assert found.verdict == Exhaustive(Addition(digits=digits).domain().name, 100**digits)
    assert [part.asked for part in found.parts] == [100**digits] * 2


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_adder_is_sampled_and_its_parts_add_up(name):
    found = quick(*model_of(name, digits=5), seed=3)
    assert isinstance(found.verdict, Sampled) and found.verdict.seed == 3 and found.report is None
    assert [part.name for part in found.parts] == [
        "public suite",
        "hard cases",
        "plain forward",
        "structured",
        "search",
    ]
    assert [part.wrong for part in found.parts] == [0] * 5
    asked = {part.name: part.asked for part in found.parts}
    assert asked["public suite"] == 10_010 and asked["structured"] == 1500 and asked["search"] >= 15
    assert found.verdict.count <= sum(asked.values()) - asked["plain forward"]


def test_the_published_adder_is_refuted_although_it_passes_the_public_suite():
    found = quick(*model_of("add10_gist"))
    assert found.parts[0] == CheckResult("public suite", 10_010, 0)
    assert found.parts[-1].wrong > 0
    assert isinstance(found.verdict, Refuted)
    a, b = found.verdict.counterexample.problem
    assert b == 0 and a <= 49999999


# ---- planted faults ------------------------------------------------------------------------------


def refuted(found):
    """The counterexample, after checking that the verdict is Refuted and that its problem
    replays.
    """
    assert isinstance(found.verdict, Refuted), found.verdict
    said = found.verdict.counterexample
    assert tuple(said.got) != tuple(said.expected)
    return said


def spoil(model, name, index, change):
    """Apply `change` to one entry of the parameter called `name`."""
    with torch.no_grad():
        entry = model.get_parameter(name)[index]
        entry.copy_(change(entry))


FAULTS = {
    "a gain off by a thousandth": ("blocks.1.attention.value", (0, 0, 3), lambda v: v * 1.001),
    "a gain off by a millionth": ("blocks.1.attention.value", (0, 0, 3), lambda v: v * (1 + 1e-6)),
    "a gain off by a billionth": ("blocks.1.attention.value", (0, 0, 3), lambda v: v * (1 + 1e-9)),
    "a digit embedded a little too large": ("embedding", (9, 0), lambda v: v * (1 + 1e-7)),
    "a number that was zero": ("blocks.0.mlp.up", (0, 0), lambda v: v + 1e-3),
    "a sign": ("unembedding", (4, 4), torch.neg),
    "a weight that is NaN": ("blocks.0.attention.value", (0, 0, 1), lambda v: v * math.nan),
    "an infinite weight": ("blocks.0.attention.value", (0, 0, 1), lambda v: v * math.inf),
    "a logit that is always NaN": ("unembedding", (0, 2), lambda v: v * math.nan),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_spoilt_number_of_the_readable_adder_is_refuted(fault):
    model, task = model_of("add10")
    spoil(model, *FAULTS[fault])
    said = refuted(quick(model, task))
    (again,) = answers(model, task, [said.problem], batch=1)
    assert again != task.answer(said.problem) or "?" in said.got


@pytest.mark.parametrize("fault", ["a sign", "a weight that is NaN", "a logit that is always NaN"])
def test_a_small_adder_with_a_spoilt_number_is_refuted_not_exhausted(fault):
    model, task = model_of("add10", digits=2)
    spoil(model, *FAULTS[fault])
    refuted(quick(model, task))


def test_nan_that_only_the_plain_forward_pass_meets_is_refuted():
    """0 * NaN: a weight on a column that is still empty, which prepared inference leaves out."""
    model, task = model_of("add10")
    column = dict(construct("add10").program.stream.columns())["rest", 0]
    spoil(model, "blocks.0.mlp.gate", (0, column), lambda v: v * math.nan)
    assert "?" in refuted(quick(model, task)).got


def test_a_model_without_weights_is_refuted():
    model, task = model_of("add10")
    said = refuted(quick(Transformer(model.config).eval(), task))
    assert set(said.got) == {"0"}


def test_the_weights_of_another_task_are_refuted():
    model, _ = model_of("add10", digits=4)
    refuted(quick(model, Addition(digits=5)))


def test_a_model_that_knows_a_table_of_all_but_one_sum_is_refuted_with_that_sum():
    """Right on 99 of 100 problems: a lookup table in the test's hands, judged through the same
    code.
    """
    model, task = model_of("add10", digits=1)
    judge = Grader(model, task)
    every = [task.domain().problem(i) for i in range(100)]
    table = {problem: task.answer(problem) for problem in every} | {(7, 5): "13"}
    assert judge.unlike(every, [table[problem] for problem in every]) == [(7, 5)]


@pytest.mark.parametrize("gain", [9e6, 9.5e6, 9.59e6])
def test_needles_are_found(gain):
    """The published adder with a larger gain is wrong on far fewer pairs (at 9.59e6 on 4 of
    10^13).
    """
    model, task = model_of("add10_gist")
    with torch.no_grad():
        model.blocks[1].mlp.gate.mul_(gain / 1e4)
    refuted(quick(model, task, count=40_000))


def test_a_model_of_another_vocabulary_is_an_error():
    model, _ = model_of("add10")
    with pytest.raises(
        TinyadderError, match=r"the model has the vocabulary 0 1 .*they must be equal"
    ):
        verify(model, Addition(base=2))


@pytest.mark.parametrize("options", [{"count": 0}, {"examples": 0}])
def test_nothing_to_ask_is_an_error(options):
    with pytest.raises(TinyadderError, match="expected an integer >= 1"):
        verify(*model_of("add10"), **options)


# ---- its parts -----------------------------------------------------------------------------------


def test_samples_are_different_new_and_repeatable():
    task = Addition(digits=3)
    known = set(task.hard())
    found = list(samples(task, 5, 3000, known))
    assert len(set(found)) == 3000 and not known & set(found)
    assert found == list(samples(task, 5, 3000, known))
    assert found != list(samples(task, 6, 3000, known))


def test_a_sampler_with_nothing_more_to_give_ends():
    found = list(samples(Addition(digits=1), 0, 10_000, set()))
    assert len(found) == len(set(found)) == 100


def test_the_search_alone_finds_and_shrinks_a_wrong_sum():
    model, task = model_of("add10_gist")
    judge = Grader(model, task)
    (found,) = judge.search(3000, seed=3)
    assert judge.wrong([found]) == [found]
    assert sum(digit != "0" for n in found for digit in str(n)) <= 16


@pytest.mark.parametrize("pair", [pair for pair in FOUND_AT[10] if max(pair) > 10**8][:6])
def test_a_found_counterexample_shrinks_until_nothing_simpler_is_wrong(pair):
    judge = Grader(*model_of("add10_gist"))
    if judge.wrong([pair]):
        a, b = judge.shrink(pair)
        assert b == 0 and sum(digit != "0" for digit in str(a)) <= 8
        assert judge.wrong([(a, b)]) and not judge.wrong(judge.task.simpler((a, b)))


def test_progress_counts_up_to_the_total_of_every_part():
    calls = []
    quick(*model_of("add10", digits=3), progress=lambda *call: calls.append(call))
    for name in ("public suite", "hard cases", "plain forward", "structured"):
        done = [(d, t) for n, d, t in calls if n == name]
        assert done[0][0] == 0 and done[-1][0] == done[-1][1]


# ---- the report ----------------------------------------------------------------------------------


def test_the_report_on_the_published_adder_blames_the_algorithm():
    model, task = model_of("add10_gist")
    report = explain(model, task, (4999999999, 0))
    assert report.counterexample.got == "05000000000"
    assert (report.position, report.right, report.chosen, report.exact) == (1, "4", "5", "5")
    assert report.cause == "algorithm" and report.exact_margin < 0
    assert math.isclose(report.margin, report.exact_margin, rel_tol=1e-3)
    assert math.isclose(report.margin, report.right_logit - report.chosen_logit)
    assert "".join(report.forced) == "05999999999"
    assert report.batches == {1: "05000000000", 64: "05000000000"}
    text = "\n".join(report.lines("tinyadder run x"))
    assert "answer token 2 of 11: '5' for '4'; teacher-forced agrees (05999999999)" in text
    assert (
        "4.999999999 places of this digit are left to write, 1e-09 from the nearest whole number"
        in text
    )
    assert "the algorithm: in real arithmetic the same weights also choose '5'" in text
    assert "replay     tinyadder run x" in text


def test_the_report_says_what_exact_arithmetic_says():
    """Without its half unit the readable adder decides ties; rounding decides them well up to 12
    digits, not at 13.
    """
    model, task = model_of("add10", digits=13)
    spoil(model, "embedding", (13, 0), torch.zeros_like)
    report = quick(model, task).report
    prompt = task.prompt(report.counterexample.problem)
    answer = task.answer(report.counterexample.problem)
    (tokens,) = task.encode([[*prompt, *answer[: report.position]]]).tolist()
    ((token, _),) = ExactTransformer(model).choices(tokens, len(tokens) - 1)
    assert token == report.exact and token is not None
    assert report.cause == ("rounding" if token == report.right else "algorithm")
    assert (report.exact_margin > 0) == (report.cause == "rounding")


def test_the_report_on_a_model_of_nan_says_that_there_are_no_numbers():
    model, task = model_of("add10")
    spoil(model, *FAULTS["a weight that is NaN"])
    report = quick(model, task).report
    assert report.margin is None and report.exact is None
    assert "logits     not numbers (NaN or infinity)" in "\n".join(report.lines())
    assert set(report.forced) == {"?"}


def test_there_is_nothing_to_explain_where_the_model_is_right():
    with pytest.raises(TinyadderError, match=r"123 \+ 456 is answered rightly"):
        explain(*model_of("add10"), (123, 456))


# ---- exact arithmetic ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add10", "add10_95", "add10_gist", "parity", "reverse"])
def test_exact_arithmetic_and_the_plain_forward_pass_agree(name):
    model, task = model_of(name)
    network = ExactTransformer(model)
    for problem in Random(0).sample(task.hard(), 4) + task.uniform(Random(0), 2):
        prompt, answer = task.prompt(problem), task.answer(problem)
        (tokens,) = task.encode([[*prompt, *answer[:-1]]]).tolist()
        exact = network.choices(tokens, len(prompt) - 1)
        assert tuple(token for token, _ in exact) == plain_answers(model, task, [problem])[0]
        with torch.inference_mode():
            rounded = model(torch.tensor([tokens]))[0, len(prompt) - 1 :].tolist()
        for (_, balls), row in zip(exact, rounded, strict=True):
            size = max(abs(number) for number in row)
            assert all(
                abs(float(ball) - number) <= 1e-4 * size
                for ball, number in zip(balls, row, strict=True)
            )


def test_exact_arithmetic_encloses_the_answer_at_any_precision():
    model, task = model_of("add10")
    (tokens,) = task.encode([task.prompt((4999999999, 0))]).tolist()
    network = ExactTransformer(model)
    (rough,), (fine,) = (
        network.logits(tokens, len(tokens) - 1, bits=128),
        network.logits(tokens, len(tokens) - 1, bits=512),
    )
    assert all(a.overlaps(b) for a, b in zip(rough, fine, strict=True))
    assert all(float(b.rad()) <= float(a.rad()) for a, b in zip(rough, fine, strict=True))


def test_a_tie_has_no_exact_choice():
    model, task = model_of("add10", digits=1)
    (tokens,) = task.encode([task.prompt((1, 2))]).tolist()
    ((token, _),) = ExactTransformer(Transformer(model.config)).choices(tokens, len(tokens) - 1)
    assert token is None


def test_models_with_options_of_trained_decoders_are_refused():
    from dataclasses import replace

    from tinyadder.machine.config import Options

    model, _ = model_of("add10")
    trained = Transformer(replace(model.config, options=Options(softmax="softmax")))
    with pytest.raises(
        TinyadderError, match="exact arithmetic covers the machine of written programs"
    ):
        ExactTransformer(trained)
