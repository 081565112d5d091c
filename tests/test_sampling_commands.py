"""run and chat: answers that are drawn, cut, completed, given with probabilities; devices."""

import json
from math import exp, log
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner

from tinyadder.cli import cli
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.machine.decode import generate, log_probabilities
from tinyadder.named import use_device
from tinyadder.tasks.addition_steps import AdditionSteps
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.data import encode
from tinyadder.train.evaluate import evaluate
from tinyadder.train.models import make_model
from tinyadder.train.recipe import ModelRecipe, recipe_from
from tinyadder.train.steps import Batch, Processes, Stepper

MODEL = str(Path(__file__).parent.parent / "baselines" / "addition3-reasoning" / "seed-1" / "model")


def run(*words, text=None):
    return CliRunner().invoke(cli, list(words), input=text)


@pytest.fixture(scope="module", params=["decoder", "encoder-decoder"])
def untrained(request, tmp_path_factory):
    task = Derivative(exponents=2)
    folder = tmp_path_factory.mktemp(request.param) / "m"
    save(make_model(ModelRecipe(kind=request.param), task, 1), task, folder, name="m", options={})
    return str(folder)


def test_probabilities_are_those_of_the_softmax_and_add_up_to_the_log_of_the_answer():
    found = json.loads(run("run", MODEL, "99+21=", "--probabilities", "--json").output)
    assert found["answer"] == "120" and found["correct"]
    assert len(found["tokens"]) == len(found["log probabilities"])
    model, described = load(Path(MODEL))
    task = described.task
    whole = torch.from_numpy(task.encode([task.prompt((99, 21)) + task.answer((99, 21))]))
    start = len(task.prompt((99, 21)))
    logits = model(whole)[0].double()
    for n, given in enumerate(found["log probabilities"]):
        p = torch.softmax(logits[start - 1 + n], -1)
        chosen = (model.outputs == whole[0, start + n]).nonzero().item()
        assert given == pytest.approx(log(p[chosen].item()), abs=1e-4)
    shown = run("run", MODEL, "99 21", "--probabilities").output.splitlines()
    assert shown[0] == "120" and shown[1].startswith("< 1.0000") and shown[2].startswith("log p -")
    assert exp(sum(found["log probabilities"])) > 0.99


def test_temperature_draws_by_the_seed_and_top_1_and_0_are_greedy(untrained):
    def said(*words):
        return run("run", untrained, "3x^2-1", *words).output.splitlines()[0]

    drawn = [said("--temperature", "3", "--seed", str(seed)) for seed in range(6)]
    assert len(set(drawn)) > 1 and drawn[0] == said("--temperature", "3", "--seed", "0")
    greedy = said()
    assert greedy == said("--temperature", "5", "--top-k", "1") == said("--probabilities")
    assert said("--max-new-tokens", "2") == greedy[:2]
    for words in (("--temperature", "-1"), ("--top-k", "0"), ("--max-new-tokens", "0")):
        assert run("run", untrained, "3x", *words).exit_code == 2


def test_an_unfinished_prompt_is_completed_token_by_token():
    assert run("run", MODEL, "--complete", "7+1=").output == "7+1=<7+1=8>8$\n"
    cut = json.loads(
        run("run", MODEL, "--complete", "<7+1=", "--max-new-tokens", "2", "--json").output
    )
    assert cut["begun"] == "<7+1=" and len(cut["completed"]) == len("<7+1=") + 2
    assert "token 'y' is not in the vocabulary" in str(
        run("run", MODEL, "--complete", "y").exception
    )


def test_chat_takes_the_same_options_and_goes_on_after_an_error():
    said = run("chat", MODEL, "--probabilities", text="99+21=\nno\n1 + 2\n")
    assert "log p" in said.output and "\n120\n" in said.stdout
    done = run("chat", MODEL, "--complete", "--json", text="7+1=\nq\n")
    assert json.loads(done.stdout.splitlines()[0])["completed"] == "7+1=<7+1=8>8$"


def test_a_program_has_no_probabilities_and_a_stream_is_not_drawn():
    assert "no log-probabilities" in str(run("run", "add10", "1", "2", "--probabilities").exception)
    assert run("run", MODEL, "-", "--temperature", "1", text="1 2\n").exit_code == 2


def test_auto_is_the_device_there_is_and_cuda_without_one_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device("auto") == "cpu"
    assert run("run", MODEL, "1 2", "--device", "auto").output == "3\n"
    for words in (("run", MODEL, "1 2"), ("train", "addition3-reversed")):
        refused = run(*words, "--device", "cuda")
        assert isinstance(refused.exception, TinyadderError)
        assert "finds no CUDA device here; give --device cpu, or auto" in str(refused.exception)


def test_a_probability_of_a_token_without_a_logit_is_zero():
    task = AdditionSteps(digits=1)
    model = make_model(ModelRecipe(outputs="0123456789"), task, 1)
    prompt = torch.from_numpy(task.encode([task.prompt((1, 2))]))
    other = torch.tensor([[task.vocabulary.index("=")]])
    assert log_probabilities(model, torch.cat([prompt, other], 1), prompt.shape[1]) == -torch.inf
    one = generate(model, prompt, steps=3)
    assert bool((log_probabilities(model, torch.cat([prompt, one], 1), prompt.shape[1]) < 0).all())


# ---- options of training -------------------------------------------------------------------------


def stepper(**train):
    recipe = recipe_from(
        {
            "task": {"name": "addition_steps", "digits": 1},
            "model": {"initial": "xavier", "width": 8, "heads": 1},
            "train": {"steps": 50, "warmup": 0, "learning_rate": 0.01, **train},
        },
        name="r",
        where="r",
    )
    model = make_model(recipe.model, recipe.task, 1)
    return Stepper(model, recipe.train, 1, Processes()), recipe.task


def test_the_loss_on_the_whole_text_trains_prompts_too():
    _, task = stepper()
    examples = encode(task, [(1, 2), (3, 4)])
    answer, whole = examples.answer_mask(), examples.text_mask()
    assert (whole | ~answer).all() and whole.sum() == answer.sum() + 2 * len(
        task.prompt((1, 2))
    ) - 2
    model = make_model(ModelRecipe(), task, 1)
    batch = Batch.of(examples, model, torch.device("cpu"), whole=True)
    assert torch.equal(batch.mask, torch.from_numpy(whole))


@pytest.mark.parametrize("precision", ["full", "bf16", "fp16"])
def test_every_precision_learns(precision):
    made, task = stepper(precision=precision)
    examples = encode(task, task.uniform(Random(1), 32))
    losses = [made.advance(examples, step)[0] for step in range(1, 31)]
    assert losses[-1] < 0.8 * losses[0]


def test_xavier_matrices_are_within_their_bound_and_not_all_small():
    task = Derivative(exponents=2)
    model = make_model(ModelRecipe(initial="xavier", width=16, heads=2, d_head=8), task, 1)
    bound = (6 / 32) ** 0.5
    query = model.blocks[0].attention.query.detach()
    assert float(query.abs().max()) <= bound and float(query.abs().max()) > 0.9 * bound
    assert float(query.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_tolerances_of_the_metric_are_chosen():
    from tinyadder.tasks.real_product import RealProduct

    task = RealProduct(digits=1, exponents=0)
    model = make_model(ModelRecipe(), task, 1)
    score = evaluate(model, task, task.uniform(Random(1), 20), tolerances=(0.02, 10.0))
    assert list(score.within) == ["2%", "1000%"]
