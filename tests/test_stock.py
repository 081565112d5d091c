"""Programs in stock architectures of transformers: loaded without remote code, right where the
program is, refused by name where the class has nothing for a part.
"""

import json
from itertools import product
from random import Random

import pytest
import torch
from click.testing import CliRunner

import tinyadder as ta
from tinyadder.cli import cli
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.export import stock
from tinyadder.io.export.stock import START, convert
from tinyadder.machine.compile import build
from tinyadder.programs import compile, everywhere, indices, key, prefix, tokens, where

transformers = pytest.importorskip("transformers")
x, i = tokens("abc"), indices()
HIST = compile((key(x) == x).count(), length=4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_folder_is_loaded_by_the_stock_classes_and_generates_the_answers(family, tmp_path):
    (tmp_path / "hist.py").write_text(
        "from tinyadder.programs import compile, key, tokens\n"
        "x = tokens('abc')\nmodel = compile((key(x) == x).count(), length=4)\n"
    )
    out = tmp_path / "stock"
    command = ["export", str(tmp_path / "hist.py"), "--to", family, "--out", str(out)]
    found = CliRunner().invoke(cli, [*command, "--rotate", "3"])
    assert found.exit_code == 0, found.output
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert type(model).__module__.startswith("transformers.models.")
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    for problem in HIST.task.hard()[::7]:
        prompt = tokenizer("".join(HIST.task.prompt(problem)), return_tensors="pt")
        assert tokenizer.convert_ids_to_tokens(prompt.input_ids[0])[0] == START
        ids = model.generate(**prompt, max_new_tokens=1, do_sample=False)
        assert tokenizer.decode(ids[0, -1]) == HIST.task.answer(problem)[0]
    lanes = json.loads((out / "lanes.json").read_text())
    assert "count" in lanes and len(lanes["count"]) == model.config.hidden_size
    assert sum(abs(v) > 1e-6 for v in lanes["count"]) > 2  # turned: no neuron of its own


def test_a_direction_holds_what_the_lane_holds():
    model, task = build(HIST.program), HIST.task
    found, layout = convert(model, task, "llama", rotate=1, problems=task.hard()[:10])
    (prompt,) = [task.prompt(p) for p in task.hard() if len(p[0]) == 4][:1]
    ids = [model.config.vocabulary.index(token) for token in prompt]
    seen = {}
    model(torch.tensor([ids]), hook=lambda name, value: seen.setdefault(name, value))
    last = found.config.num_hidden_layers - 1
    stream = []
    found.model.layers[last].register_forward_hook(lambda *args: stream.append(args[2]))
    with torch.no_grad():
        found.model(torch.tensor([[len(model.config.vocabulary), *ids]]), use_cache=False)
    names = [name for name, width in model.config.lanes for _ in range(width)]
    direction = torch.tensor(layout.directions(names)["count"])
    held = stream[0][0, 1:].double() @ direction.double()
    column = names.index("count")
    assert torch.allclose(held, seen[f"blocks.{last}.hook_resid_post"][0, :, column], atol=1e-2)


@pytest.mark.parametrize(
    ("family", "name", "reason"),
    [
        ("llama", "parity", "by an ALiBi slope, and a LLaMA has nothing for that"),
        ("gpt2", "parity", "multiplies two values, and a GPT-2 has no gate; llama has"),
    ],
)
def test_what_a_class_cannot_hold_is_refused_by_name(family, name, reason):
    made = construct(name)
    with pytest.raises(TinyadderError, match=reason):
        convert(build(made.program), made.task, family)


def test_a_slope_is_a_lane_of_positions_in_gpt2():
    made = compile((prefix() & (key(x) != "b")).latest(x, default="b"), length=5, causal=True)
    stock_model, _ = convert(build(made.program), made.task, "gpt2")  # and tried on problems
    assert type(stock_model).__name__ == "GPT2LMHeadModel"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_sum_is_read_without_what_the_norm_leaves(family):
    """Found while it was written: weights of e^64 read what LayerNorm rounds at <s>."""
    made = compile(everywhere().count(), length=12, vocabulary="ab")
    _, layout = convert(build(made.program), made.task, family)  # and tried on problems
    assert layout.family == family


def test_a_conversion_that_answers_wrongly_is_refused():
    model = build(HIST.program)
    with pytest.raises(TinyadderError, match=r"answers \d+ of \d+ problems wrongly, first"):
        convert(model, HIST.task, "llama", noise=0.3, problems=HIST.task.hard()[:10])


def test_a_text_longer_than_the_table_of_positions_is_refused(monkeypatch):
    monkeypatch.setattr(stock, "POSITIONS", 5)
    with pytest.raises(TinyadderError, match=r"has \d+ tokens, and the stock model reads 4;"):
        convert(build(HIST.program), HIST.task, "gpt2")


def test_options_of_stock_classes_belong_to_them():
    found = CliRunner().invoke(cli, ["export", "add10", "--to", "json", "--noise", "0.1"])
    assert isinstance(found.exception, TinyadderError) and "--to llama" in str(found.exception)


def test_from_python_the_ground_truth_comes_beside_the_model():
    found, directions = ta.to_transformers(HIST, "llama", rotate=2)
    assert {"count", "token"} <= set(directions)
    lengths = [torch.tensor(direction).norm().item() for direction in directions.values()]
    assert lengths == pytest.approx([1.0] * len(lengths), abs=1e-6)
    assert len(directions["count"]) == found.config.hidden_size


FOR_A_CLASS = {
    "count": ((key(x) == x).count(), 12, False),
    "reverse": ((key(i) == everywhere().count() - 1 - i).pick(x), 8, False),
    "first": ((prefix() & (key(x) == x)).earliest(i), 12, True),
    "product": (prefix().sum(x == "a") * i, 5, True),
    "choice": (where(x == "a", prefix().sum(x == "b"), i), 6, True),
    "mean": (prefix().mean(x == "a").map(lambda share: share > 0.5), 8, True),
}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", FOR_A_CLASS)
def test_a_program_compiled_for_a_class_is_right_in_it(name, family):
    program, length, causal = FOR_A_CLASS[name]
    made = compile(program, length=length, causal=causal, target=family)
    problems = made.task.structured(Random(3), 25)
    convert(build(made.program), made.task, family, problems=problems)


@pytest.mark.parametrize(
    ("family", "part"), [("llama", lambda p: p.slopes), ("gpt2", lambda p: "* (" in str(p))]
)
def test_what_a_class_lacks_is_made_of_other_parts(family, part):
    program, length, causal = FOR_A_CLASS["first" if family == "llama" else "product"]
    options = {"length": length, "causal": causal}
    assert part(compile(program, **options).program)
    assert not part(compile(program, **options, target=family).program)


def test_the_horizon_of_a_class_is_shorter_and_printed(tmp_path):
    (tmp_path / "hist.py").write_text(
        "from tinyadder.programs import compile, key, tokens\n"
        "x = tokens('abc')\nmodel = compile((key(x) == x).count(), length=4)\n"
    )
    out = tmp_path / "stock"
    command = ["export", str(tmp_path / "hist.py"), "--to", "llama", "--out", str(out)]
    found = CliRunner().invoke(cli, command)
    assert "exact to 4 tokens" in found.output and "horizon 227: count" in found.output
    with pytest.raises(TinyadderError, match=r"known to 0\.25 only at length 228"):
        compile((key(x) == x).count(), length=228, target="llama")
    assert "as a stock LLaMA in float32" in compile(x, length=3, target="llama").explain()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"target": "gpt3"}, r"compile to tinyadder, gpt2, llama; did you mean 'gpt2'"),
        ({"target": "llama", "exact": True}, "a stock LLaMA in float32 rounds"),
    ],
)
def test_a_target_that_cannot_be_is_refused(options, reason):
    with pytest.raises(TinyadderError, match=reason):
        compile(prefix().latest(x), length=3, causal=True, **options)


CHANGED = [
    ("llama", {"rotate": 5}),
    ("gpt2", {"rotate": 6, "superpose": 13}),
    ("llama", {"superpose": 10, "noise": 1e-9}),
]


@pytest.mark.parametrize(("family", "changes"), CHANGED)
def test_every_short_text_is_decoded_rightly_from_changed_weights(family, changes):
    backwards = (key(i) == everywhere().count() - 1 - i).pick(x)
    made = compile((key(backwards) == x).count() * (x != "b"), length=3)
    found, directions = ta.to_transformers(made, family, **changes)
    shared = made.compiled_for(family, superpose=changes.get("superpose"))
    assert {column.name for column in shared.columns} <= set(directions)
    if "superpose" in changes:
        assert len(shared.columns) <= changes["superpose"] < len(shared.column_of)
    ids = {token: n for n, token in enumerate(shared.program.vocabulary)}
    for n in (1, 2, 3):
        for word in product("abc", repeat=n):
            prompt = torch.tensor([[len(ids), *(ids[t] for t in shared.prompt(word))]])
            with torch.no_grad():
                given = found(prompt).logits[0, -n:].argmax(-1)
            answers = [shared.task.graph["outputs"][v] for v in made.source(word)]
            assert [shared.program.vocabulary[t] for t in given] == answers


def test_lanes_that_are_needed_at_once_cannot_be_superposed():
    backwards = (key(i) == everywhere().count() - 1 - i).pick(x)
    with pytest.raises(TinyadderError, match=r"superpose=2: the program has \d+ lanes, and \d+"):
        ta.to_transformers(compile(backwards, length=3), "llama", superpose=2)
    with pytest.raises(TinyadderError, match="takes a program"):
        ta.to_transformers(construct("parity"), "llama", superpose=2)


def test_the_ground_truth_is_a_file(tmp_path):
    (tmp_path / "back.py").write_text(
        "from tinyadder.programs import compile, everywhere, indices, key, tokens\n"
        "x, i = tokens('ab'), indices()\n"
        "back = (key(i) == everywhere().count() - 1 - i).pick(x)\n"
        "model = compile((key(back) == x).count(), length=3)\n"
    )
    out = tmp_path / "stock"
    command = ["export", str(tmp_path / "back.py"), "--to", "gpt2", "--out", str(out)]
    found = CliRunner().invoke(cli, [*command, "--superpose", "9", "--rotate", "1"])
    assert found.exit_code == 0, (found.output, found.exception)
    truth, lanes = (json.loads((out / f"{name}.json").read_text()) for name in ("circuit", "lanes"))
    assert truth["rotate"] == 1 and truth["edges"] and set(truth["columns"]) <= set(lanes)
    several = [held for held in truth["columns"].values() if len(held) > 1]
    assert several and all(held[0]["cleared"].endswith("MLP") for held in several)
