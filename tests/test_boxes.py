"""The rules for one block of softmax attention, against executions of the machine in both formats.

Every intermediate that torch computes, in any order of sums and any batch, lies in what the rule
says of it; a rule that is wrong in one place is noticed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import mpmath
import pytest
import torch

from tinyadder.io.folder import load, save
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer
from tinyadder.report.certificates import read_certificate, recheck
from tinyadder.tasks.addition import Addition
from tinyadder.verify.certify.check import block as rules
from tinyadder.verify.certify.check import curves
from tinyadder.verify.certify.check.block import BlockModel
from tinyadder.verify.certify.check.boxes import GRID, Tree
from tinyadder.verify.certify.check.certificate import every_branch
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.check.specifications import addition, specify
from tinyadder.verify.certify.check.units import ONE, F, exact
from tinyadder.verify.verdict import Proved, Unknown

ROOT = Path(__file__).parents[1]
mpmath.mp.prec = 1200  # finer than the units of the checker
TASK = {"digits": 2, "base": 10, "order": "least", "operands": 2, "padding": 0}
VOCABULARY = Addition(**TASK).vocabulary


def units(x: object) -> int:
    """A real number in units of 2^-F, cut."""
    return int(mpmath.floor(mpmath.mpf(x) * mpmath.mpf(2) ** F))


def holds(interval: tuple[int, int], x: object) -> bool:
    return interval[0] <= units(x) and units(x) <= interval[1]


# ---- curves ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_curves_hold_the_exact_values_and_are_narrow(seed):
    random = Random(seed)
    for _ in range(40):
        x = random.choice([random.uniform(-30, 30), random.uniform(-2, 2), random.gauss(0, 1e-3)])
        point = exact(x)
        checks = {
            "silu": (curves.silu(point), x / (1 + mpmath.exp(-mpmath.mpf(x)))),
            "exp": (curves.exp_point(point[0]), mpmath.exp(mpmath.mpf(x))),
        }
        if x > 0:
            checks["root"] = (curves.inverse_root(point), 1 / mpmath.sqrt(mpmath.mpf(x)))
        for name, (found, value) in checks.items():
            assert holds(found, value), (name, x)
            assert found[1] - found[0] <= max(abs(units(value)) >> 100, ONE >> 100), (name, x)


def test_silu_of_an_interval_holds_its_least_value():
    for low, high in [(-3, 1), (-1.2785, -1.2784), (-1.5, -1.1), (-2, -1.27846), (0.5, 2)]:
        found = curves.silu((exact(low)[0], exact(high)[1]))
        for n in range(101):
            x = mpmath.mpf(low) + (mpmath.mpf(high) - low) * n / 100
            assert holds(found, x / (1 + mpmath.exp(-x)))
    # where silu turns: its slope changes sign in the bracket
    slope = lambda x: mpmath.diff(lambda y: y / (1 + mpmath.exp(-y)), x)  # noqa: E731
    low, high = (mpmath.mpf(x) / ONE for x in curves.LEAST_SILU)
    assert slope(low) < 0 < slope(high)


def test_turns_hold_cos_and_sin():
    for position, pair, pairs, base in [(0, 0, 2, 3), (33, 1, 2, 3), (99, 0, 1, 10), (57, 3, 8, 7)]:
        angle = position * mpmath.mpf(base) ** (-mpmath.mpf(pair) / pairs)
        cos, sin = curves.turn(position, pair, pairs, base)
        assert holds(cos, mpmath.cos(angle)) and holds(sin, mpmath.sin(angle))
        assert cos[1] - cos[0] < ONE >> 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cos_and_sin_of_torch_are_as_exact_as_a_circle_assumes(dtype):
    """On whole, strided and single tensors, with a factor of 2 to spare."""
    bits = {torch.float32: 24, torch.float64: 53}[dtype]
    random = torch.Generator().manual_seed(0)
    angles = torch.empty(300, dtype=dtype).uniform_(-99, 99, generator=random)
    wide = torch.stack([angles, angles], 1)
    for name in ("cos", "sin"):
        computed, exactly = getattr(torch, name), getattr(mpmath, name)
        ways = [
            computed(angles),
            computed(wide)[:, 1],
            computed(wide[:, 1]),
            torch.stack([computed(a.clone()) for a in angles]),
        ]
        for n, angle in enumerate(angles.tolist()):
            true = exactly(mpmath.mpf(angle))
            errors = [abs(mpmath.mpf(float(way[n])) - true) * 2**bits for way in ways]
            assert max(errors) <= rules.CIRCLE / 2


# ---- the rules against executions --------------------------------------------------------------


def random_model(
    seed: int, dtype: torch.dtype = torch.float32, heads: int = 1, **changes: Any
) -> Transformer:
    options = Options(
        softmax="softmax",
        positions="rotary",
        rotary_base=3.0,
        scaled=True,
        projected=True,
        norm="rms",
        activation="silu",
    )
    options = replace(options, **changes)
    config = Config(
        vocabulary=VOCABULARY,
        width=4,
        blocks=(BlockConfig(heads=heads, d_head=4, d_value=4, hidden=3),),
        outputs=tuple(range(10)),
        unembedding=False,
        tied=True,
        options=options,
    )
    model = Transformer(config, dtype)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        scale = 1.0 if "norm" in name else 1.5
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale
        parameter.data = (noise + ("norm" in name)).to(dtype)
    return model


CIRCLE = {"positions": "waves", "embedding": "circle", "gains": False, "biases": False}
"""A model whose tables are computed."""


def block_of(model: Transformer, **changes: object) -> BlockModel:
    """The checker's reading of a saved model, with other options in model.json if given."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save(model, Addition(**TASK), folder, name="model", options={})
        if changes:
            described = json.loads((folder / "model.json").read_text())
            described["config"]["options"] |= changes
            (folder / "model.json").write_text(json.dumps(described))
        return BlockModel(folder)


def random_text(random: Random) -> list[str]:
    a, b = random.randrange(100), random.randrange(100)
    return list(
        f"^{a:02}"[:1] + f"{a:02}"[::-1] + "+" + f"{b:02}"[::-1] + "=" + f"{a + b:03}"[::-1]
    )


def hooks(model: Transformer, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, value: torch.Tensor) -> torch.Tensor:
        seen[name] = value.detach().double()
        return value

    with torch.no_grad():
        seen["logits"] = model(tokens, hook=keep).double()
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("seed", "heads", "changes"), [(1, 1, {}), (2, 1, {}), (3, 2, {}), (4, 2, CIRCLE)]
)
def test_rows_and_scores_of_torch_lie_in_the_intervals(seed, heads, changes, dtype):
    model = random_model(seed, dtype, heads, **changes)
    block, random = block_of(model), Random(seed)
    for batch in (1, 2, 7):
        texts = [random_text(random) for _ in range(batch)]
        tokens = torch.tensor([[VOCABULARY.index(t) for t in text] for text in texts])
        seen = hooks(model, tokens)
        for b, text in enumerate(texts):
            for j, token in enumerate(text):
                for interval, x in zip(block.row[token], seen["hook_embed"][b, j], strict=True):
                    assert holds(interval, float(x))
            for h in range(heads):
                for j, token in enumerate(text):
                    rows = block.heads_of_token[token]
                    for name, hook in (("query", "q"), ("key", "k"), ("value", "v")):
                        for r, interval in enumerate(rows[name][h]):
                            x = float(seen[f"blocks.0.attn.hook_{hook}"][b, h, j, r])
                            assert holds(interval, x)
                    i = len(text) - 1
                    score = float(seen["blocks.0.attn.hook_attn_scores"][b, h, i, j])
                    assert holds(block.score(h, i, text[i], j, token), score)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("seed", "changes"), [(0, {}), (1, {}), (2, {}), (3, {}), (4, CIRCLE)])
def test_margins_of_torch_are_no_smaller_than_those_of_a_box(seed, changes, dtype):
    """From the stream after attention on: a point box, and the least `BlockModel.margin`."""
    model = random_model(seed, dtype, **changes)
    block, random = block_of(model), Random(seed)
    texts = [random_text(random) for _ in range(30)]
    tokens = torch.tensor([[VOCABULARY.index(t) for t in text] for text in texts])
    seen = hooks(model, tokens)
    for b in range(len(texts)):
        x = seen["blocks.0.hook_resid_mid"][b, -1]
        after = seen["blocks.0.hook_resid_post"][b, -1]
        root = float((after.square().mean() + 1e-6).sqrt())
        logits = seen["logits"][b, -1]
        right = int(logits.argmax())
        margin = float(logits[right] - logits[logits.argsort()[-2]]) * root
        bound = block.margin([exact(float(v)) for v in x], VOCABULARY[right]) / ONE
        assert bound <= margin * (1 + 1e-5) + 1e-4
        assert bound >= margin - (0.02 if dtype == torch.float32 else 1e-8) * (1 + abs(margin))


def grown(model: Transformer, i: int):
    """What attention writes at position i, as torch has it and as the costs of a leaf bound it."""
    from tinyadder.verify.certify.boxes import Search

    block = block_of(model)
    [(_, stages)] = addition(**TASK)
    search = Search(block, stages)
    search.tree.begin([i], range(i + 1))
    search.float_tables = {}
    return block, search


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_what_attention_writes_lies_in_the_box_of_its_branch(seed, dtype):
    model, random = random_model(seed, dtype), Random(seed)
    i = 7
    block, search = grown(model, i)
    tree = search.tree
    for _ in range(6):
        text = random_text(random)
        fixed = {j: text[j] for j in (i, i + 1, 1, 2)}
        moves = tree.moves(fixed)
        assert moves is not None
        tokens = torch.tensor([[VOCABULARY.index(t) for t in text[: i + 1]]])
        x = hooks(model, tokens)["blocks.0.hook_resid_mid"][0, -1]
        error = tree.rounding_of(text[i])
        for k in range(block.width):
            low, high = (search.side(text[i], 0, k, sign, moves) << GRID for sign in (1, -1))
            row = block.row[text[i]][k]
            assert row[0] + low - error[k] <= units(float(x[k])) <= row[1] + high + error[k]


# ---- planted faults ------------------------------------------------------------


def test_a_norm_that_forgets_its_epsilon_is_noticed(monkeypatch):
    model = random_model(1)
    model.embedding.data *= 1e-3
    monkeypatch.setattr(rules, "EPSILON", (0, 0))
    block = block_of(model)
    x = hooks(model, torch.tensor([[3]]))["blocks.0.attn.hook_q"][0, 0, 0]
    inside = [
        holds(a, float(v)) for a, v in zip(block.heads_of_token["3"]["query"][0], x, strict=True)
    ]
    assert not all(inside)


def test_rounding_that_is_forgotten_is_noticed(monkeypatch):
    """With exact arithmetic in place of binary32, torch's numbers lie outside."""
    model = random_model(1)
    monkeypatch.setitem(rules.ROUNDING, "float32", rules.ROUNDING["float64"])
    block, wrong = block_of(model), 0
    for token in VOCABULARY:
        seen = hooks(model, torch.tensor([[VOCABULARY.index(token)]]))["blocks.0.attn.hook_q"]
        for a, v in zip(block.heads_of_token[token]["query"][0], seen[0, 0, 0], strict=True):
            wrong += not holds(a, float(v))
    assert wrong > 20


@pytest.mark.parametrize("fault", ["place", "distance", "wave", "cos"])
def test_a_rule_of_computed_tables_that_is_wrong_in_one_place_is_noticed(fault, monkeypatch):
    model = random_model(1, torch.float64, **CIRCLE)
    turn, cos_sin = rules.turn, rules.cos_sin
    wrong = {
        "place": ("cos_sin", lambda angle: cos_sin(tuple(end + (ONE >> 30) for end in angle))),
        "distance": ("turn", lambda position, *rest: turn(position + 1, *rest)),
        "wave": ("turn", lambda position, pair, pairs, base: turn(position, 1 - pair, pairs, base)),
        "cos": ("cos_sin", lambda angle: cos_sin(angle)[::-1]),
    }[fault]
    monkeypatch.setattr(rules, *wrong)
    block, text = block_of(model), list("^21+43=640")
    seen = hooks(model, torch.tensor([[VOCABULARY.index(t) for t in text]]))
    rows = [(block.row[t], seen["hook_embed"][0, j]) for j, t in enumerate(text)]
    inside = [holds(a, float(x)) for row, xs in rows for a, x in zip(row, xs, strict=True)]
    scores = seen["blocks.0.attn.hook_attn_scores"][0, 0, -1]
    inside += [holds(block.score(0, 9, "0", j, t), float(scores[j])) for j, t in enumerate(text)]
    assert not all(inside)


def test_an_option_or_tensor_that_no_rule_covers_is_refused():
    model = random_model(1)
    for change in (
        {"norm": "layer"},
        {"positions": "alibi"},
        {"softmax": "softmax1"},
        {"activation": "gelu"},
        {"repeat": 2},
        {"embedding": "circle"},
        {"positions": "waves"},
        {"gains": 0},
        {"scaled": 1},
        {"surprise": 1},
    ):
        with pytest.raises(Rejected):
            block_of(model, **change)


def test_a_side_that_does_not_hold_is_refused():
    """Sides of a box that lie two steps of the grid further in than what holds."""
    model = random_model(2)
    i = 7
    block, search = grown(model, i)
    tree, text = search.tree, list("^21+43=64")
    text = [*text, "0"]  # 12 + 34 = 046, least significant first
    fixed = {i: text[i], i + 1: text[i + 1], 1: text[1], 4: text[4]}
    moves = tree.moves(fixed)
    assert moves is not None
    sides = [
        search.side(text[i], 0, k, sign, moves) for k in range(block.width) for sign in (1, -1)
    ]
    for n, step in enumerate((1, -1) * block.width):
        moved = list(sides)
        moved[n] += step * 2
        with pytest.raises(Rejected, match="side of a box"):
            tree.leaf([moved, 0], fixed, moves)
    assert isinstance(tree, Tree)


def test_a_path_of_torch_that_is_worse_than_assumed_of_binary32_is_noticed(monkeypatch):
    from benchmarks import numerics32

    found = numerics32.measure("default", 2000, 0)
    assert not isinstance(found, str) and len(found) == 36
    assert all(error <= numerics32.ASSUMED[name] for name, _, error in found)
    assert any(error > 0.5 for _, _, error in found)  # the errors are those of binary32
    monkeypatch.setattr(numerics32, "measure", lambda *_: [("silu", "whole", 12.5)])
    assert numerics32.main([]) == 1


# ---- the proved trained adder --------------------------------------------------------------


MODEL = ROOT / "baselines" / "addition10-tiny" / "seed-1" / "model"
CERTIFICATE = ROOT / "results" / "certificates" / "addition10-tiny" / "seed-1.json.gz"


def test_the_committed_proof_of_a_trained_adder_holds_where_the_answer_begins():
    """The first of its eleven positions; `pytest -m slow` and `tinyadder report` check all."""
    certificate = json.loads(read_certificate(CERTIFICATE))
    block = BlockModel(MODEL)
    [(start, stages)] = specify(block.task)[1]
    tree = certificate["parts"][0]["positions"][0]
    assert certificate["model"] == block.digest(block.to_json()["sha256"])
    assert tree["positions"] == [start - 1] and Tree(block, stages).position(tree) > 0
    tree["margin"] = (float.fromhex(tree["margin"]) * 1.001).hex()
    with pytest.raises(Rejected, match="margin"):
        Tree(block, stages).position(tree)


def test_one_tree_serves_positions_whose_moves_are_among_its_own_and_no_others():
    """SHIFT: a column in the middle has every move of the first column, where no carry comes in;
    the first has not all of the middle one's, and the last carry is another matter.
    """
    block = BlockModel(MODEL)
    [(start, stages)] = specify(block.task)[1]
    tree = Tree(block, stages)
    middle = start + 1
    near = (middle - 22, middle - 21, middle - 11, middle - 10, middle)  # two columns
    tree.begin([middle, middle - 1, middle + 1, middle + 7], near)
    for others in ([middle - 2], [middle + 8], [middle], [middle + 1, middle + 1]):
        with pytest.raises(Rejected):
            tree.begin([middle, *others], near)
    with pytest.raises(Rejected):
        tree.begin([middle - 1, middle], [j - 1 for j in near])


def test_a_shared_tree_holds_the_weights_of_every_position_it_serves():
    block = BlockModel(MODEL)
    [(start, stages)] = specify(block.task)[1]
    tree, i = Tree(block, stages), start + 1
    near, shifts = (i - 22, i - 21, i - 11, i - 10, i), (0, -1, 3, 6)
    tree.begin([i + shift for shift in shifts], near)
    for n, (rows, weight, hull) in enumerate(tree.table("7")):
        for own_rows, own_weight, own_hull in (tree.table_at("7", s)[n] for s in shifts):
            assert weight >= own_weight
            for j, row in own_rows.items():
                for token, ((low, high), _) in row.items():
                    (least, most), _ = rows[j][token]
                    assert least <= low and high <= most
            for (low, high), (least, most) in zip(own_hull, hull, strict=True):
                assert least <= low and high <= most


def test_a_certificate_that_leaves_out_a_position_is_rejected():
    certificate = json.loads(read_certificate(CERTIFICATE))
    specifications = specify(BlockModel(MODEL).task)[1]
    shared = max(certificate["parts"][0]["positions"], key=lambda tree: len(tree["positions"]))
    shared["positions"].pop(2)
    with pytest.raises(Rejected, match="not each position once"):
        every_branch(BlockModel(MODEL), specifications, certificate["parts"])


def test_one_weight_that_differs_in_its_last_bit_is_another_model(tmp_path):
    model, described = load(MODEL)
    with torch.no_grad():
        model.embedding[0, 0] = torch.nextafter(model.embedding[0, 0], torch.tensor(9.0))
    verdict = recheck(model, described.task, CERTIFICATE)
    assert isinstance(verdict, Unknown) and "proves nothing" in verdict.reason


@pytest.mark.slow
def test_a_trained_adder_is_proved_on_all_sums_of_ten_digits():
    model, described = load(MODEL)
    verdict = recheck(model, described.task, CERTIFICATE)
    assert isinstance(verdict, Proved) and f"{10**20:,}" in verdict.domain
