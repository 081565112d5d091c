"""Every check of legality passes an honest model and catches the one that is built to fail it."""

from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tinyadder.construction import construct
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.tasks.addition import DIGITS
from tinyadder.tasks.custom import custom_task
from tinyadder.verify import legality as checks


@pytest.fixture
def made():
    construction = construct("add10", digits=3)
    return build(construction.program), construction.task


@pytest.fixture(scope="module")
def problems():
    return construct("add10", digits=3).task.uniform(Random(1), 40)


class ParallelAdder(nn.Module):
    """Reads both numbers off the prompt, adds them, and deals out a digit a pass, whatever it wrote
    before.
    """

    def __init__(self, task):
        super().__init__()
        self.task, self.outputs = task, torch.arange(10)
        self.config = SimpleNamespace(vocabulary=task.vocabulary)

    def forward(self, tokens, hook=None):
        width, start = self.task.digits, 2 * self.task.digits + 2
        logits = torch.zeros(*tokens.shape, 10)
        for row, text in enumerate(tokens.tolist()):
            a, b = (int("".join(map(str, text[at : at + width]))) for at in (1, width + 2))
            for k, digit in enumerate(self.task.answer((a, b))[: len(text) - start]):
                logits[row, start + k, int(digit)] = 1
        return logits


@pytest.mark.parametrize("name", ["add10", "add10_95"])
def test_honest_models_pass_every_check(name, problems):
    made = construct(name, digits=3)
    findings = checks.legality(build(made.program), made.task, problems)
    assert [f.check for f in findings if f.passed is not True] == []
    assert len(findings) == 8


def test_a_model_that_looks_ahead_fails_prefix_consistency(made, problems):
    model, task = made
    attention = model.blocks[0].attention
    attention.position_scores = lambda queries, keys: torch.zeros(
        1, queries, keys, dtype=torch.float64
    )
    found = checks.prefix_consistency(model, task, problems)
    assert found.passed is False and found.measured > 1e-3 and "looks ahead" in found.said


def all_at_once(model, task, problems):
    """One pass for the whole answer."""
    model(torch.tensor(task.encode([task.prompt(problems[0])])))
    return [task.answer(problem) for problem in problems]


def two_a_pass(model, task, problems):
    emitted = answers(model, task, problems, cache=False)
    text = [*task.prompt(problems[0]), *emitted[0]]
    model(torch.tensor(task.encode([text])))
    return emitted


@pytest.mark.parametrize("decode", [all_at_once, lambda m, t, ps: [t.answer(p) for p in ps]])
def test_a_loop_that_saves_passes_fails_one_token_per_pass(decode, made, problems):
    assert checks.one_token_per_pass(*made, problems, decode=decode).passed is False


def test_a_pass_more_than_tokens_is_no_fault(made, problems):
    assert checks.one_token_per_pass(*made, problems, decode=two_a_pass).passed is True


def test_a_parallel_adder_in_a_loop_ignores_its_own_output(made, problems):
    found = checks.feedback(ParallelAdder(made[1]), made[1], problems)
    assert (found.passed, found.measured) == (False, 1.0) and "ignores its own output" in found.said
    assert checks.feedback(*made, problems).measured < 0.5


def test_a_model_that_does_not_need_its_attention_fails_the_ablation(made, problems):
    assert checks.attention_ablation(ParallelAdder(made[1]), made[1], problems).passed is False


def test_a_table_in_a_buffer_is_found(made):
    model, _ = made
    model.register_buffer("table", torch.full((3, 34, 34), -0.5, dtype=torch.float64))
    found = checks.buffers(model)
    assert (found.passed, found.measured) == (False, 3 * 34 * 34) and "table" in found.said


def test_a_second_dtype_is_found(made):
    model, _ = made
    model.blocks[0].hidden_table = torch.zeros(3)
    assert checks.dtype(model).passed is False


def adds_itself(model, task, problems, *, run_model=True):
    """Reads the prompt and computes the digits of the sum; runs the model for show."""
    found = []
    for problem in problems:
        prompt = task.prompt(problem)
        if run_model:
            answers(model, task, [problem], cache=False)
        a, b = (int(number) for number in prompt[1:-1].split("+"))
        found.append("".join(DIGITS[int(d)] for d in f"{a + b:0{task.answer_length}d}"))
    return found


def test_a_loop_that_computes_the_sum_is_caught_by_random_logits_and_by_other_weights(
    made, problems
):
    problems = problems[:8]
    assert adds_itself(*made, problems) == answers(*made, problems)
    assert checks.decode_honesty(*made, problems, decode=adds_itself).passed is False
    quick = partial(adds_itself, run_model=False)
    assert checks.weight_swap(*made, problems, decode=quick).passed is False


def test_the_coded_model_answers_in_code_also_with_ties_and_a_tied_readout(problems):
    for name in ("add10", "add10_95", "add10_gist"):
        made = construct(name)
        found = checks.weight_swap(build(made.program), made.task, made.task.uniform(Random(2), 30))
        assert found.passed and found.measured == 1


# ---- taggers -------------------------------------------------------------------------------------


@pytest.fixture
def tagger():
    """A model that says at every letter whether there has been an 'a' yet, and 40 words."""
    construction = construct(str(Path(__file__).parent / "circuits" / "seen.py"))
    task = construction.task
    return build(construction.program), task, task.uniform(Random(0), 40)


def test_an_honest_tagger_passes_and_what_taggers_do_not_have_is_not_observed(tagger):
    found = {f.check: f.passed for f in checks.legality(*tagger)}
    unseen = {"feedback", "weight swap"}  # nothing is written; words and tags have other letters
    assert found == {check: None if check in unseen else True for check in found}


@pytest.mark.parametrize(
    "decode",
    [
        lambda m, t, ps: [t.answer(p) for p in ps],
        lambda m, t, ps: [emitted[::-1] for emitted in answers(m, t, ps, cache=False)],
        two_a_pass,
    ],
    ids=["no pass", "not its argmax", "two passes"],
)
def test_a_tagger_s_loop_makes_one_pass_and_takes_its_argmax(decode, tagger):
    assert checks.one_token_per_pass(*tagger).measured < 1
    found = checks.one_token_per_pass(*tagger, decode=decode)
    assert found.passed is False and "over the prompt, each at its position" in found.said


def test_a_tagger_that_looks_ahead_fails_prefix_consistency(tagger):
    model, task, problems = tagger
    forward = model.forward

    def ahead(tokens, **rest):
        """The last letter of the text decides everywhere."""
        return forward(tokens, **rest) + 3.0 * tokens[:, -1:, None]

    model.forward = ahead
    assert checks.prefix_consistency(model, task, problems).passed is False


def test_a_tagger_that_does_not_need_its_attention_fails_the_ablation(tagger):
    """Its tags say of each letter by itself whether it is an 'a'."""
    model, _, _ = tagger
    alone = custom_task(
        alphabet="abc",
        lengths=range(1, 7),
        answer=lambda word: ["y" if letter == "a" else "n" for letter in word],
        positions=True,
    )
    with torch.no_grad():
        model.unembedding.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))  # 'y' reads the letter
    found = checks.attention_ablation(model, alone, alone.uniform(Random(0), 40))
    assert found.passed is False
