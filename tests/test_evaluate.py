"""Evaluation: beam search beside greedy decoding, tolerances, splits, legality; each with a planted
fault.
"""

import json
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner

from tinyadder.cli import cli
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.machine.answers import answers
from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.decode import beam_search, generate
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.derivative import Derivative
from tinyadder.tasks.real_product import RealProduct
from tinyadder.train.data import Source
from tinyadder.train.evaluate import evaluate, lines_as_published, problems_outside
from tinyadder.train.models import make_model
from tinyadder.train.recipe import ModelRecipe, Recipe, recipe_from

BASELINES = Path(__file__).parent.parent / "baselines"


# ---- beam search ---------------------------------------------------------------------------------


class Table(Transformer):
    """A model whose next-token probabilities are written down: by the text after the prompt of one
    token.
    """

    def __init__(self, probabilities: dict[str, dict[str, float]]) -> None:
        vocabulary = tuple("abc$")
        super().__init__(
            Config(vocabulary=vocabulary, width=1, blocks=(BlockConfig(),), outputs=(0, 1, 2, 3))
        )
        self.probabilities = probabilities

    def forward(self, tokens, *, past=None, hook=None):
        del past, hook
        logits = torch.full((*tokens.shape, 4), -30.0, dtype=torch.float64)
        for row, text in enumerate(tokens.tolist()):
            said = "".join("abc$"[i] for i in text[1:])
            for token, p in self.probabilities.get(said, {"$": 1.0}).items():
                logits[row, -1, "abc$".index(token)] = torch.tensor(p).log()
        return logits


def said(tokens: torch.Tensor) -> str:
    return "".join("abc$"[i] for i in tokens.tolist())


MISLED = {"": {"a": 0.6, "b": 0.4}, "a": {"a": 0.4, "b": 0.3, "c": 0.3}, "b": {"c": 0.9, "a": 0.1}}
"""Greedy takes a, then a: 0.24. The most probable text is bc: 0.36."""


def test_a_beam_finds_the_more_probable_text_that_greedy_decoding_misses():
    model, prompt = Table(MISLED), torch.tensor([[0]])
    assert said(generate(model, prompt, steps=5, end=3, cache=False)[0]) == "aa$"
    texts, logs = beam_search(model, prompt, 2, steps=5, end=3)
    assert [said(row) for row in texts[0]] == ["bc$", "aa$"]
    assert torch.allclose(logs.exp(), torch.tensor([[0.36, 0.24]], dtype=torch.float64))


def test_a_short_text_that_has_ended_competes_with_longer_ones():
    model = Table({"": {"$": 0.3, "a": 0.7}, "a": {"a": 0.4, "b": 0.6}, "ab": {"c": 0.5, "$": 0.5}})
    texts, logs = beam_search(model, torch.tensor([[0]]), 4, steps=4, end=3)
    found = {
        said(row): round(float(log.exp()), 4) for row, log in zip(texts[0], logs[0], strict=True)
    }
    assert found == {"$$$$": 0.3, "aa$$": 0.28, "ab$$": 0.21, "abc$": 0.21}


def test_where_there_are_fewer_texts_than_the_beam_is_wide_the_rest_has_probability_zero():
    model = Table({"": {"a": 0.5, "b": 0.5}})
    _, logs = beam_search(model, torch.tensor([[0]]), 90, steps=1)
    assert int((logs > -1).sum()) == 2 and int((logs == -torch.inf).sum()) == 86


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_a_beam_of_one_is_greedy_decoding_and_a_wider_one_is_never_less_probable(kind):
    task = Derivative(exponents=2)
    model = make_model(ModelRecipe(kind=kind, dtype="float64"), task, 1)
    prompts = torch.from_numpy(
        task.encode([task.prompt(p) for p in [(1, 2, 3), (3, 2, -1), (2, 5, 5)]][::2])
    )
    end = task.vocabulary.index("$")
    one, first = beam_search(model, prompts, 1, steps=8, end=end)
    assert torch.equal(one[:, 0], generate(model, prompts, steps=8, end=end)[:, : one.shape[2]])
    _, wide = beam_search(model, prompts, 3, steps=8, end=end)
    assert bool((wide[:, 0] >= first[:, 0] - 1e-9).all()) and bool((wide.diff(dim=1) <= 0).all())
    problems = task.balanced(Random(1), 5)
    assert len(answers(model, task, problems, beam=2)) == 5


@pytest.mark.parametrize("width", [0, -1, 101])
def test_a_senseless_width_is_refused(width):
    with pytest.raises(TinyadderError, match=rf"a beam of width {width}; expected 1 .. 100"):
        beam_search(Table(MISLED), torch.tensor([[0]]), width, steps=2)


# ---- tolerances ----------------------------------------------------------------------------------

REAL = RealProduct()


def test_products_are_rounded_half_to_even_from_the_exact_product():
    assert REAL.answer(((314, -2), (-271, 0))) == ("-", "851", "E0", "$")
    assert REAL.answer(((125, 0), (100, 0))) == ("+", "125", "E2", "$")
    for (x, e), (y, f) in [
        *REAL.hard(),
        *REAL.structured(Random(1), 2000),
        *REAL.uniform(Random(1), 2000),
    ]:
        cut = 10 ** (len(str(abs(x * y))) - 3)
        n, rest = divmod(abs(x * y), cut)
        n += 2 * rest > cut or (2 * rest == cut and n % 2)
        exponent = e + f + len(str(cut)) - 1 + (n == 1000)
        sign = "-" if x * y < 0 else "+"
        assert REAL.answer(((x, e), (y, f))) == (sign, str(n)[:3], f"E{exponent}", "$")


def test_real_numbers_are_read_as_people_write_them():
    assert REAL.parse("3.14 * -271") == REAL.parse(" 3.140 -2.71e2") == ((314, -2), (-271, 0))
    for problem in [*REAL.hard(), *REAL.structured(Random(2), 200)]:
        assert REAL.parse(REAL.show(problem)) == problem
    assert (
        REAL.show_answer(("-", "851", "E0", "$")) == "-851"
        and REAL.show_answer(("-", "$")) == "- $"
    )
    for text, said_ in (
        ("1 2 3", "has 3"),
        ("0 4", "'0' is not"),
        ("1234 5", "4 significant"),
        ("1e9 3", "too large"),
        ("nan 1", "'nan' is not"),
        ("1_0 2", "'1_0' is not"),
    ):
        with pytest.raises(TinyadderError, match=said_):
            REAL.parse(text)
    assert REAL.split_key(((314, -2), (-271, 0))) == REAL.split_key(((271, 3), (314, 1)))


def test_planted_near_misses_are_counted_by_the_tolerance_they_are_within(monkeypatch):
    problem = ((200, 0), (100, 0))  # 200 E2
    planted = [
        ("+", "200", "E2", "$"),
        ("+", "201", "E2", "$"),  # 0.5 %
        ("+", "202", "E2", "$"),  # 1 %
        ("+", "203", "E2", "$"),
        ("+", "210", "E2", "$"),  # 5 %
        ("-", "200", "E2", "$"),
        ("+", "200", "E3", "$"),
        ("+", "+", "E2", "$"),
    ]
    monkeypatch.setattr("tinyadder.train.evaluate.answers", lambda *_, **__: planted)
    model = make_model(ModelRecipe(width=4, heads=1, d_head=2, hidden=4), REAL, 1)
    score = evaluate(model, REAL, [problem] * len(planted))
    assert score.exact == 1 / 8 and score.within == {"0.5%": 2 / 8, "1.0%": 3 / 8, "5.0%": 5 / 8}


def test_tasks_with_exact_answers_have_no_tolerances():
    task = Addition(digits=1)
    assert (
        evaluate(make_model(ModelRecipe(width=8, hidden=8), task, 1), task, [(1, 2)]).within == {}
    )


# ---- splits --------------------------------------------------------------------------------------


def recipe(**data: object) -> Recipe:
    sections = {
        "task": {"name": "derivative", "exponents": 2, "coefficients": 3},
        "data": {"examples": 3000, **data},
    }
    return recipe_from(sections, name="r", where="r.toml")


def test_lines_split_as_published_are_mostly_lines_of_training():
    lines, seen = lines_as_published(recipe(), 1, 2000)
    # 20 % are held out; short polynomials repeat
    assert 0.7 < seen < 0.9 and len(set(lines)) < len(lines)
    strict = Source(recipe().task, "uniform", "test", 0.2, 1).distinct(100)
    shown = set(Source(recipe().task, "uniform", "train", 0.2, 1001).take(3000))
    assert not shown & set(strict)


def test_problems_out_of_distribution_are_of_a_kind_that_training_never_shows():
    task = recipe().task
    assert task.is_outside((1, 2, 3)) and task.is_outside((-1, -2, -3))
    assert not any(map(task.is_outside, [(1, 2, -3), (1, 2, 0), (0, 0, 0)]))
    outside = problems_outside(recipe(kind="inside"), 20)
    assert outside and all(map(task.is_outside, outside))
    shown = Source(task, "balanced", "train", 0.2, 1, kind="inside").take(3000)
    assert not any(map(task.is_outside, shown))
    # every term, with every coefficient, is shown elsewhere
    assert {(n, c) for p in shown for n, c in enumerate(p)} == set(product(range(3), range(-3, 4)))


def test_a_task_that_sets_nothing_apart_refuses_such_a_recipe():
    said_ = r"\[data\] kind = 'inside'; expected 'any': the task sets nothing apart"
    with pytest.raises(TinyadderError, match=said_):
        recipe_from(
            {"task": {"name": "addition"}, "data": {"kind": "inside"}}, name="r", where="r.toml"
        )
    with pytest.raises(TinyadderError, match="'addition' sets no problems apart"):
        problems_outside(recipe_from({"task": {"name": "addition"}}, name="r", where="r.toml"), 5)


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def few_problems_of_legality(monkeypatch):
    monkeypatch.setattr("tinyadder.commands.evaluate.LEGALITY", 20)


def run(*arguments: str):
    return CliRunner().invoke(cli, ["evaluate", *arguments, "--problems", "30", "--samples", "0"])


def test_evaluate_reports_legality_beam_and_splits(tmp_path):
    model, out, made = str(tmp_path / "m"), tmp_path / "e.json", recipe(kind="inside")
    options = {"recipe": made.to_json(), "seed": 1, "steps": 0}
    save(make_model(made.model, made.task, 1), made.task, model, name="r", options=options)
    plain = run(model, "--beam", "2", "--splits", "--out", str(out))
    assert plain.exit_code == 0, plain.output
    assert "legality (20 problems): " in plain.stdout and "beam search of width 2" in plain.stdout
    assert "as published (drawn like the training lines" in plain.stdout
    assert "outside (polynomials" in plain.stdout
    found = json.loads(out.read_text())
    assert len(found["legality"]["findings"]) == 8
    assert found["beam"]["width"] == 2
    assert set(found["splits"]) == {"as published", "outside", "wider"}
    assert found["splits"]["outside"]["left out of training"]
    assert found["splits"]["outside"]["ceiling"] == 1.0
    _, seen = lines_as_published(made, 1, 30)
    assert found["splits"]["as published"]["seen in training"] == seen > 0
    again = run(model, "--out", str(out))
    assert again.exit_code == 2 or isinstance(again.exception, TinyadderError)


def test_evaluate_says_what_does_not_apply_to_an_encoder_decoder():
    found = run(str(BASELINES / "gcd-encoder-decoder" / "seed-1" / "model"))
    assert "does not apply: prefix consistency of the prompt" in found.stdout, found.output


def test_evaluate_finds_a_model_that_looks_ahead(tmp_path, monkeypatch):
    from tinyadder.verify import legality

    assert "no check of 8 fails" in run("add10").stdout
    planted = legality.Finding("prefix consistency", False, 1.0, "it looks ahead")
    monkeypatch.setattr(legality, "prefix_consistency", lambda *_, **__: planted)
    found = run("add10", "--out", str(tmp_path / "e.json"))
    assert (
        "1 of 8 checks FAIL" in found.stdout
        and "FAILS: prefix consistency: it looks ahead" in found.stdout
    )
    assert json.loads((tmp_path / "e.json").read_text())["legality"]["legal"] is False


@pytest.mark.parametrize(
    ("arguments", "said_"),
    [
        (("add10", "--beam", "0"), "0 is not in the range"),
        (("add10", "--beam", "101"), "a beam of width 101; expected 1 .. 100"),
        (("add10", "--splits"), "add10 was not trained from a recipe"),
        (("add10", "--problems", "0"), "0 is not in the range"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(arguments, said_):
    found = CliRunner().invoke(cli, ["evaluate", *arguments])
    assert found.exit_code != 0 and said_ in found.output + str(found.exception)


def test_a_model_folder_of_real_numbers_prints_its_tolerances(tmp_path):
    save(
        make_model(ModelRecipe(width=8, hidden=8), REAL, 1),
        REAL,
        tmp_path / "m",
        name="x",
        options={},
    )
    assert load(tmp_path / "m")[1].task == REAL
    found = run(str(tmp_path / "m"))
    assert "within a relative error of 0.5%: " in found.stdout, found.output


def test_the_kept_step_times_are_at_most_a_fifth_above_those_of_torch():
    found = json.loads((BASELINES.parent / "benchmarks" / "train.json").read_text())
    assert {"command", "date", "torch", "machine"} <= set(found) and len(found["rows"]) == 7
    assert max(row["ratio"] for row in found["rows"]) <= 1.2
    assert max(row["parameters"] for row in found["rows"]) == 15_822_336  # derivax, as published
