"""The numbers of a construction trained in its equations: what is kept, what is trained, and that
the prover proves what comes out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.lang.serialization import program_to_json
from tinyadder.machine.compile import build
from tinyadder.named import load_model
from tinyadder.train.evaluate import recipe_of
from tinyadder.train.loop import Run, model_from
from tinyadder.train.newton import _loss, _rows
from tinyadder.train.recipe import Recipe, read_recipe, recipe_from
from tinyadder.train.skeleton import Skeleton
from tinyadder.train.structure import StructureRecipe
from tinyadder.verify.certify.check import check
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.verdict import Proved, Refuted

SMALL: dict[str, dict[str, object]] = {
    "structure": {
        "name": "add10",
        "options": {"digits": 2},
        "fixed": ["query", "key", "slope", "embedding"],
    },
    "data": {"distribution": "mixed", "examples": 900, "validation": 100, "test": 100},
    "train": {"steps": 200, "batch": 30, "check_every": 5, "checkpoint_every": 5, "patience": 6},
}
"""23 numbers of a two-digit adder."""


def small(**changes: object) -> Recipe:
    sections = {**SMALL, "structure": {**SMALL["structure"], **changes}}
    return recipe_from(sections, name="small", where="small.toml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return Run(small(), 1, tmp_path_factory.mktemp("structured")).train()


def skeleton(name: str, **options: object) -> Skeleton:
    made = construct(name, **options)
    return Skeleton(made.program, made.task)


# ---- the equations -------------------------------------------------------------------------------

NAMES = ("add_base", "add10", "add10_95", "add10_smallest", "add10_board", "add_any", "deriv_coeff")


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_a_skeleton_are_those_of_the_construction(name):
    found = skeleton(name)
    built = build(construct(name).program)
    values = found.values_in(found.model())
    assert values == [number.value for number in found.numbers]
    again = build(found.with_values(values))
    assert torch.equal(again.unembed_matrix(), built.unembed_matrix())
    assert torch.equal(again.embedding, built.embedding)


def test_a_number_put_into_the_model_is_the_number_in_the_equations():
    found = skeleton("add10", digits=2)
    values = torch.tensor([number.value for number in found.numbers]) * 1.5
    model = found.model()
    found.put(model, values)
    assert found.values_in(model) == values.tolist()
    rebuilt = build(found.with_values(values.tolist()))
    for one, other in zip(model.state_dict().values(), rebuilt.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_shared_weight_is_one_number_and_stays_shared():
    found = skeleton("add10_95")
    assert [n.part for n in found.numbers].count("shared") == build(found.program).config.shared > 0


def test_the_prior_keeps_signs_and_magnitudes_of_kinds_and_what_is_fixed():
    found = skeleton("add_base", tied=True)
    recipe = StructureRecipe(name="add_base")
    start = found.start(recipe, seed=1)
    free = found.free(recipe)
    assert len(free) == 27 and len(found.numbers) == 32
    for n, number in enumerate(found.numbers):
        if n in free:
            assert start[n] * number.value > 0 and start[n] != number.value
        else:
            assert start[n] == number.value
    sizes = found.magnitudes()
    digits = [n for n, number in enumerate(found.numbers) if number.site == "embedding digit"]
    assert len({sizes[n] for n in digits[:9]}) == 1  # the digits begin alike ..
    assert sizes[digits[9]] < 1e-9  # .. and the half unit on '+' is another kind
    assert start == found.start(recipe, seed=1) != found.start(recipe, seed=2)


def test_random_signs_are_drawn():
    found = skeleton("add_base", tied=True)
    start = found.start(StructureRecipe(name="add_base", signs="random"), seed=1)
    signs = [v * n.value > 0 for v, n in zip(start, found.numbers, strict=True)]
    assert 5 < signs.count(False) < 22


# ---- the step ------------------------------------------------------------------------------------


def test_the_gradient_and_the_curvature_are_those_of_the_cross_entropy():
    torch.manual_seed(0)
    weights = torch.randn(4, dtype=torch.float64)
    jacobian, targets = torch.randn(7, 3, 4, dtype=torch.float64), torch.randint(3, (7,))

    def loss(w: torch.Tensor) -> torch.Tensor:
        return _loss(jacobian @ w, targets)

    rows, errors = _rows(jacobian @ weights, jacobian, targets)
    # logits that are linear in the weights: Gauss-Newton's curvature is the Hessian
    torch.testing.assert_close(rows.T @ errors, torch.func.grad(loss)(weights))
    torch.testing.assert_close(rows.T @ rows, torch.autograd.functional.hessian(loss, weights))


# ---- trained and proved --------------------------------------------------------------------------


def test_a_trained_skeleton_is_proved_on_all_sums(trained, tmp_path):
    model, described = load(trained)
    made = construct("add10", digits=2)
    assert described.program is not None and described.program.nonzero == made.program.nonzero
    assert program_to_json(described.program) != program_to_json(made.program)
    save(model, described.task, tmp_path / "model", name="small", options={})
    judged = certify(model, described.task, tmp_path / "model")
    assert isinstance(judged.verdict, Proved), judged.verdict
    assert check(tmp_path / "model")["problems"] == 10_000


def test_a_wrong_trained_number_is_refuted(trained, tmp_path):
    _, described = load(trained)
    found = Skeleton(described.program, described.task)
    values = [number.value for number in found.numbers]
    sites = [number.site for number in found.numbers]
    values[sites.index("readout rest") + 6] *= 1.1  # the 7 is chosen too early
    model = build(found.with_values(values))
    save(model, described.task, tmp_path / "model", name="small", options={})
    assert isinstance(certify(model, described.task, tmp_path / "model").verdict, Refuted)


def test_every_command_reads_it_like_any_other_model(trained):
    loaded = load_model(str(trained))
    assert loaded.program is not None
    recipe = recipe_of(loaded.options, "small")
    assert recipe is not None and recipe.structure == small().structure
    assert recipe.task == loaded.task


# ---- the run -------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_the_run_that_was_never_interrupted(tmp_path):
    whole, parts = Run(small(), 1, tmp_path / "whole"), Run(small(), 1, tmp_path / "parts")
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        parts.advance()
    parts.write()
    again = Run(small(), 1, tmp_path / "parts")
    again.resume()
    for _ in range(3):
        again.advance()
    assert again.skeleton.values_in(again.model) == whole.skeleton.values_in(whole.model)
    again.write()
    with pytest.raises(TinyadderError, match=r"another run.*\[structure\] spread is 1.0 there"):
        Run(small(spread=2), 1, tmp_path / "parts").resume()


def test_fixed_numbers_are_not_moved(tmp_path):
    run = Run(small(fixed=["query", "key", "slope", "value"]), 1, tmp_path)
    before = run.skeleton.values_in(run.model)
    for _ in range(3):
        run.advance()
    after = run.skeleton.values_in(run.model)
    for number, old, new in zip(run.skeleton.numbers, before, after, strict=True):
        fixed = number.part in ("query", "key", "slope", "value")
        assert (old == new) == fixed, number


def test_training_goes_on_from_a_trained_skeleton_only(trained, tmp_path):
    run = Run(small(), 2, tmp_path, start=trained)
    assert run.skeleton.values_in(run.model) == Skeleton(
        load(trained)[1].program, run.recipe.task
    ).values_in(load(trained)[0])
    other = skeleton("add_base", digits=2)
    with pytest.raises(TinyadderError, match="has another"):
        model_from(trained, small(), other)


def test_the_log_says_how_many_tokens_are_trained(trained):
    lines = [json.loads(line) for line in (trained.parent / "log.jsonl").read_text().splitlines()]
    assert [line["answer tokens"] for line in lines][-1] == 3
    assert lines[-1]["validation exact"] == 1


BAD = [
    ({"structure": {}}, "[structure] needs name"),
    ({"structure": {"name": "add_bas"}}, "unknown construction 'add_bas'; did you mean"),
    ({"structure": {"name": "add_base", "options": {"digit": 3}}}, "no option 'digit'"),
    ({"structure": {"name": "add_base", "spread": -1}}, "[structure] spread=-1, expected"),
    ({"structure": {"name": "add_base", "fixed": ["keys"]}}, "[structure] fixed="),
    ({"structure": {"name": "add_base", "sign": "given"}}, "no key 'sign'; did you mean"),
    ({"structure": {"name": "add_base"}, "model": {"width": 3}}, "leave out [model]"),
    (
        {"structure": {"name": "add_base"}, "train": {"learning_rate": 0.1}},
        "[train] learning_rate = 0.1 is of gradient descent",
    ),
    ({"structure": 3}, "[structure] needs name"),
]


@pytest.mark.parametrize(("data", "said"), BAD)
def test_a_bad_structure_is_one_line_that_says_what_is_wrong(data, said):
    with pytest.raises(TinyadderError) as error:
        recipe_from(data, name="bad", where="bad.toml")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_leaves_nothing_to_train_or_has_no_equations_is_refused(tmp_path):
    every = ["query", "key", "slope", "value", "gate", "up", "down", "embedding", "readout"]
    with pytest.raises(TinyadderError, match="leaves no number of add10 to train"):
        Run(small(fixed=every), 1, tmp_path)
    folder = "baselines/addition10-tiny/seed-1/model"
    with pytest.raises(TinyadderError, match="a trained model has no equations"):
        Run(recipe_from({"structure": {"name": folder}}, name="x", where="x"), 1, tmp_path)
    task = small().task
    wrong = replace(small(), task=replace(task, digits=3))
    with pytest.raises(TinyadderError, match="is not the task of add10"):
        Run(wrong, 1, tmp_path)


def test_a_device_is_refused_in_one_line(tmp_path):
    with pytest.raises(TinyadderError, match="by one process on the CPU"):
        Run(small(), 1, tmp_path, device="meta")


def test_the_recipes_of_the_package_train_the_numbers_they_say():
    recipe = read_recipe("addition2-structured")
    assert recipe.structure is not None
    found = skeleton("add10", digits=2)
    assert f"{len(found.free(recipe.structure))} of its numbers" in recipe.summary
