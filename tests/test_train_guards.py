"""Guards that would have caught what is wrong with published baselines; each is shown to catch its
planted defect.
"""

import os
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import nn

from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.machine import layers
from tinyadder.machine.answers import answers
from tinyadder.machine.decode import generate
from tinyadder.machine.encoder import EncoderDecoder
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks import task_from_json, task_names
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.addition_steps import AdditionSteps
from tinyadder.tasks.derivative import Derivative
from tinyadder.tasks.gcd import Gcd
from tinyadder.train.data import Source, encode
from tinyadder.train.evaluate import ceiling_of, chance_of
from tinyadder.train.models import make_model
from tinyadder.train.recipe import TRAINED, ModelRecipe
from tinyadder.train.steps import Batch, answer_loss

PAPER = {
    "norm": "layer",
    "norm_place": "post",
    "activation": "relu",
    "gated": False,
    "biases": True,
}
MODELS = {
    "decoder": ModelRecipe(dtype="float64"),
    "alibi": ModelRecipe(
        dtype="float64",
        options=replace(
            TRAINED, positions="alibi", softmax="softmax1", norm="none", activation="relu"
        ),
    ),
    "learned": ModelRecipe(
        dtype="float64", tied=True, options=replace(TRAINED, positions="learned", context=80)
    ),
    "encoder-decoder": ModelRecipe(
        kind="encoder-decoder",
        dtype="float64",
        options=replace(TRAINED, positions="sinusoidal", **PAPER),
    ),
    "encoder-decoder, pre, rotary": ModelRecipe(kind="encoder-decoder", dtype="float64"),
}
TASK = Derivative(exponents=3)


def batch_for(model: Transformer, count: int = 24) -> Batch:
    return Batch.of(encode(TASK, TASK.balanced(Random(1), count)), model, torch.device("cpu"))


def loss_of(model: Transformer, batch: Batch) -> torch.Tensor:
    return answer_loss(model(batch.tokens[:, :-1]), batch) / batch.mask.sum()


# ---- positions -----------------------------------------------------------------------------------


def repeated_rows(table: torch.Tensor) -> list[tuple[int, int]]:
    """Pairs of positions that the table does not tell apart."""
    same = (table[:, None] - table).abs().amax(-1) < 1e-6
    return [(i, j) for i, j in same.nonzero().tolist() if i < j]


@pytest.mark.parametrize("width", [4, 16, 32, 512])
def test_every_row_of_the_sinusoids_differs(width):
    assert repeated_rows(layers.sinusoids(torch.arange(200), width, torch.float32)) == []


@pytest.mark.parametrize("name", ["learned", "encoder-decoder"])
def test_every_row_of_a_model_s_table_differs_and_two_equal_ones_are_caught(name):
    model = make_model(MODELS[name], TASK, 1)
    assert repeated_rows(model.position_rows(0, 80).detach()) == []
    table = model.position_rows(0, 80).detach().clone()
    table[7] = table[3]
    assert repeated_rows(table) == [(3, 7)]


def test_every_position_turns_rotary_rows_otherwise():
    turned = layers.rotate(torch.ones(1, 1, 200, 8, dtype=torch.float64), 0, 10000.0)[0, 0]
    assert repeated_rows(turned) == [] and repeated_rows(turned.round()) != []


def test_a_table_of_whole_numbers_is_caught():
    table = layers.sinusoids(torch.arange(60), 512, torch.float64).int()  # what derivax does
    kept = set(range(60)) - {j for _, j in repeated_rows(table.double())}
    assert repeated_rows(table.double()) and len(kept) < 10


def test_exchanging_two_tokens_of_the_prompt_changes_what_is_predicted():
    for name, recipe in MODELS.items():
        model = make_model(recipe, TASK, 1)
        one, other = (
            torch.from_numpy(TASK.encode([f":{p}=3"])) for p in ("4x^3-5x^2", "5x^3-4x^2")
        )
        assert not torch.allclose(model(one)[:, -1], model(other)[:, -1], atol=1e-6), name


# ---- gradients -----------------------------------------------------------------------------------


def without_gradient(model: nn.Module) -> list[str]:
    return [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not bool((p.grad != 0).any())
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient_on_random_problems(name):
    model = make_model(MODELS[name], TASK, 1)
    loss_of(model, batch_for(model)).backward()
    assert without_gradient(model) == []


def test_an_encoder_whose_feed_forward_is_not_used_is_caught(monkeypatch):
    from tinyadder.machine import encoder

    monkeypatch.setattr(
        encoder.EncoderBlock, "encode", lambda self, x, mask: x + self.attention.attend(x, x, mask)
    )
    model = make_model(MODELS["encoder-decoder"], TASK, 1)
    loss_of(model, batch_for(model)).backward()
    assert {"encoder.0.mlp.gate", "encoder.1.mlp.down"} <= set(without_gradient(model))


def worst_gradient_error(model: Transformer, step: float = 1e-6) -> float:
    """Largest difference between backward's gradient along random directions and the difference
    quotient, relative.
    """
    batch, worst, random = batch_for(model, 4), 0.0, torch.Generator().manual_seed(0)
    loss_of(model, batch).backward()
    for p in model.parameters():
        assert p.grad is not None
        direction = torch.randn(p.shape, generator=random, dtype=p.dtype)
        with torch.no_grad():
            values = []
            for sign in (1, -2):
                p.add_(direction, alpha=sign * step)
                values.append(float(loss_of(model, batch)))
            p.add_(direction, alpha=step)
        measured, said = (values[0] - values[1]) / (2 * step), float((p.grad * direction).sum())
        worst = max(worst, abs(measured - said) / (abs(measured) + abs(said) + 1e-4))
    return worst


@pytest.mark.parametrize(
    "name", [name for name, recipe in MODELS.items() if recipe.options.activation != "relu"]
)
def test_the_gradient_is_that_of_the_loss(name):
    assert worst_gradient_error(make_model(MODELS[name], TASK, 1)) < 1e-5


def test_a_softmax_with_a_wrong_gradient_is_caught(monkeypatch):
    from tinyadder.machine import transformer

    def wrong(scores):
        weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True))
        return weights / weights.sum(-1, keepdim=True).detach()

    monkeypatch.setattr(transformer, "softmax", wrong)
    assert worst_gradient_error(make_model(MODELS["decoder"], TASK, 1)) > 1e-3


def test_our_softmax_is_that_of_torch():
    scores = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    masked = scores.masked_fill(torch.ones(5, 7).triu(3).bool(), -torch.inf)
    ours, theirs = layers.softmax(masked), torch.softmax(masked, -1)
    assert torch.allclose(ours, theirs)
    weights = torch.randn(5, 7, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((found * weights).sum(), scores, retain_graph=True)[0]
        for found in (ours, theirs)
    ]
    assert torch.allclose(*gradients)


# ---- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_end_token_is_obeyed(name):
    model, end = make_model(MODELS[name], TASK, 1), TASK.vocabulary.index("$")
    prompts = torch.from_numpy(TASK.encode([TASK.prompt(p) for p in [(2, 2, 3, 4), (4, 3, 2, 2)]]))
    with torch.no_grad():
        free = generate(model, prompts, steps=12)
        first = int(free[0, 3])
    stopped = generate(model, prompts, steps=12, end=first)
    at = stopped[0].tolist().index(first)
    assert (stopped[0, at:] == first).all() and stopped[0, :at].tolist() == free[0, :at].tolist()
    emitted = answers(model, TASK, [(1, 2, 3, 4)])[0]
    assert "$" not in emitted[:-1] and len(emitted) <= TASK.answer_length
    assert end == TASK.vocabulary.index(TASK.end)


def goes_on(row: list[int], end: int) -> bool:
    """Whether anything but the end token follows it."""
    return any(token != end for token in row[row.index(end) :])


def test_a_decoder_that_ignores_the_end_token_is_caught():
    model = make_model(MODELS["decoder"], TASK, 1)
    prompts = torch.from_numpy(TASK.encode([TASK.prompt((2, 2, 3, 4))]))
    ignoring = generate(model, prompts, steps=12)[0].tolist()
    end = next(token for token in ignoring if token != ignoring[-1])
    assert goes_on(ignoring, end)
    assert not goes_on(generate(model, prompts, steps=12, end=end)[0].tolist(), end)


# ---- data ----------------------------------------------------------------------------------------


class ByWorker(Source):
    """The planted fault: what is drawn depends on the process that draws it."""

    def chunk(self, number):
        return Source(self.task, self.distribution, self.split, self.held_out, os.getpid()).chunk(
            number
        )


def test_problems_that_depend_on_the_worker_are_caught():
    for kind, same in ((Source, True), (ByWorker, False)):
        source = kind(Addition(digits=3), "uniform", "train", 0.2, 7)
        assert (source.take(3000) == source.take(3000, workers=2)) is same


GIVEN = {"custom", "sequences"}
"""Tasks whose answers are a function that somebody gives; they have no default."""


@pytest.mark.parametrize("name", sorted({*task_names()} - GIVEN))
def test_every_task_has_a_chance_level_and_a_ceiling(name):
    """A constant answer is right now and then; the best function of the prompt is right always."""
    task = task_from_json({"name": name})
    problems = task.balanced(Random(1), 300)
    assert 0 < chance_of(task, problems) <= ceiling_of(task, problems) == 1.0


# ---- the encoder-decoder -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("encoder")])
def test_prompts_of_different_length_in_one_batch_do_not_see_their_padding(name):
    model = make_model(MODELS[name], TASK, 1)
    examples = encode(TASK, TASK.balanced(Random(2), 8))
    tokens = torch.from_numpy(examples.tokens)
    together = model(tokens)
    for row, (prompt, length) in enumerate(zip(examples.prompt, examples.length, strict=True)):
        alone = model(tokens[row : row + 1, :length])[0, prompt - 1 :]
        assert torch.allclose(alone, together[row, prompt - 1 : length])


@pytest.mark.parametrize("name", MODELS)
def test_decoding_with_the_cache_is_decoding_the_whole_text_again(name):
    model = make_model(MODELS[name], TASK, 3)
    problems = TASK.balanced(Random(3), 12)
    assert answers(model, TASK, problems) == answers(model, TASK, problems, cache=False)


def test_the_encoder_sees_the_whole_prompt_and_the_decoder_not_the_future():
    model = make_model(MODELS["encoder-decoder"], TASK, 1)
    text = torch.from_numpy(TASK.encode([":4x^3-5x^2=12x^2"]))
    early, late = text.clone(), text.clone()
    early[0, 1], late[0, -1] = TASK.vocabulary.index("3"), TASK.vocabulary.index("9")
    assert not torch.allclose(model(text)[0, 11], model(early)[0, 11])
    assert torch.allclose(model(text)[0, :-1], model(late)[0, :-1])


def test_an_encoder_decoder_is_saved_and_loaded_as_a_model_folder(tmp_path):
    model = make_model(MODELS["encoder-decoder"], TASK, 1).eval()
    save(model, TASK, tmp_path / "m", name="x", options={})
    again, _ = load(tmp_path / "m")
    assert isinstance(again, EncoderDecoder)
    text = torch.from_numpy(TASK.encode([":4x^3-5x^2=12x^2"]))
    assert torch.equal(model(text), again(text))


def test_an_encoder_decoder_needs_prompts_with_an_end_of_their_own():
    class Open(Addition):
        def prompt(self, problem):
            return super().prompt(problem)[:-1]

    recipe = ModelRecipe(kind="encoder-decoder")
    with pytest.raises(TinyadderError, match="do not end in a token of their own"):
        make_model(recipe, Open(digits=2), 1)
    with pytest.raises(TinyadderError, match="without its last token"):
        make_model(recipe, TASK, 1)(torch.from_numpy(TASK.encode([":4x"])))
    with pytest.raises(TinyadderError, match="expected repeat=1"):
        make_model(ModelRecipe(kind="encoder-decoder", options=replace(TRAINED, repeat=2)), TASK, 1)


@pytest.mark.parametrize(
    "task", [Addition(digits=3), AdditionSteps(), Derivative(), Gcd(base=30)], ids=str
)
def test_every_kind_of_model_decodes_every_trained_task(task):
    for kind in ("decoder", "encoder-decoder"):
        model = make_model(ModelRecipe(kind=kind, width=8, hidden=8), task, 1)
        for emitted in answers(model, task, task.balanced(Random(1), 5)):
            assert 1 <= len(emitted) <= task.answer_length
            task.show_answer(emitted)


def test_gcd_is_asked_and_answered_in_tokens_of_base_b():
    task = Gcd(base=30)
    assert task.prompt((14, 210)) == ("^", "+", "14", ",", "+", "7", "0", "=")
    assert (
        task.answer((14, 210)) == ("+", "14", "$")
        and task.show_answer(task.answer((14, 210))) == "14"
    )
    assert task.parse("14, 21") == task.parse("14 21") == (14, 21)
    assert task.show_answer(("+", "$", "=")) == "+ $ ="
    for text, said in (
        ("14", "has 1 number"),
        ("0 3", "0 is outside 1"),
        ("5 x", "'x' is not a whole number"),
    ):
        with pytest.raises(TinyadderError, match=said):
            task.parse(text)
    problems = [*task.hard(), *task.balanced(Random(1), 500), *task.uniform(Random(1), 500)]
    assert all(1 <= a <= 1000 and 1 <= b <= 1000 for a, b in problems)
    assert task.split_key((3, 9)) == task.split_key((9, 3)) and task.traits((6, 9)) == {"gcd": 3}
