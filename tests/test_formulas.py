"""Columns by formula: what they may hold, what they cost on each rung, that they are saved as data,
shown, and exported so that the file stores the scalars and computes the tables, bit for bit.
"""

import json
import runpy
from random import Random

import numpy as np
import pytest
import torch

from tinyadder.construction import construct
from tinyadder.dsl import (
    Attention,
    Embed,
    Head,
    Program,
    Stream,
    Unembed,
    derived,
    shared,
    token_value,
)
from tinyadder.errors import TinyadderError
from tinyadder.io.digest import model_digest
from tinyadder.io.export import ExportSource, write
from tinyadder.io.folder import load, save
from tinyadder.lang.serialization import program_from_json, program_to_json
from tinyadder.machine.compile import build
from tinyadder.machine.tensors import items
from tinyadder.verify.count import ladder

DIGITS = "0123456789"
d = token_value


def program(embed, readout=None, tied=()):
    """A program of two lanes, a flag's sum among them."""
    x = Stream(value="v", sum="s")
    made = readout(x) if readout else None
    head = Attention(sum=Head(value=x.value))
    return Program(DIGITS + "+", x, Embed(value=embed), head, Unembed(argmax=made, tied=tied))


@pytest.mark.parametrize(
    ("formula", "text", "at"),
    [
        (d, "d", [0, 1, 2, 9]),
        (d * (9 - d), "d * (9 - d)", [0, 8, 14, 0]),
        (d * (d + 1) / 2, "d * (d + 1) / 2", [0, 1, 3, 45]),
        (-d / 4, "(-d) / 4", [0, -0.25, -0.5, -2.25]),
        (d - (d - 1), "d - (d - 1)", [1, 1, 1, 1]),
        (12 / (d + 2) / 3, "12 / (d + 2) / 3", [2, 12 / 3 / 3, 1, 12 / 11 / 3]),
        (d * (6 / (d + 1)), "d * (6 / (d + 1))", [0, 3, 4, 9 * 0.6]),
        (shared(-2.5) * d + (-3), "shared(-2.5) * d + (-3)", [-3, -5.5, -8, -25.5]),
    ],
)
def test_a_formula_is_python_and_means_what_its_text_says(formula, text, at):
    assert str(formula) == text
    assert [formula.at(value) for value in (0, 1, 2, 9)] == at
    read = [eval(text, {"shared": float, "d": float(value)}) + 0.0 for value in (0, 1, 2, 9)]
    assert read == at


def test_no_entry_is_minus_zero():
    assert str((d * (9 - d) / shared(-10)).at(0)) == "0.0"


@pytest.mark.parametrize("number", [0.5, True, "2", np.float64(3), 2**60, float("nan")])
def test_a_number_that_would_be_stored_is_refused_until_it_is_shared(number):
    with pytest.raises(TinyadderError, match="whole numbers and shared weights"):
        derived(d * number, DIGITS)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: derived(1 / d, DIGITS), "at 0"),
        (lambda x: derived(d, "112"), "each once"),
        (lambda x: derived(d, ""), "each once"),
        (lambda x: derived(d, DIGITS) | {"3": 1}, "by the formula already"),
        (lambda x: derived(d, DIGITS) * 2, "one lane of width 1"),
        (lambda x: derived(d, DIGITS) * x.wide, "one lane of width 1"),
        (lambda x: derived(d, DIGITS) * x.low + derived(d, DIGITS) * x.low, "two columns"),
        (lambda x: Unembed(argmax=derived(d, "01") * x.low + derived(d, "0") * x.high), "same"),
        (lambda x: x.low * derived(d, DIGITS), "not affine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_column_is_said(make, said):
    with pytest.raises(TinyadderError, match=said):
        make(Stream(low="a", high="b", wide=("c", 2)))


def test_a_formula_of_any_size_is_refused():
    grown = d
    with pytest.raises(TinyadderError, match="more than 200 operations"):
        for _ in range(300):
            grown = grown + 1


def test_the_column_of_a_wide_lane_has_no_formula():
    x = Stream(wide=("w", 2))
    with pytest.raises(TinyadderError, match="a formula gives one"):
        Program("01", x, Embed(wide=derived(d, "01")), Unembed(argmax=x.wide))


def test_a_table_by_formula_is_priced_on_every_rung():
    written = program({c: int(c) / 4 for c in DIGITS if c != "0"} | {"+": 2.5}, tied=DIGITS)
    by_formula = program(derived(d / shared(4), DIGITS) | {"+": 2.5}, tied=DIGITS)
    before, after = (ladder(build(made)) for made in (written, by_formula))
    # ten entries of the column give way to one scalar
    assert after["stored"] == before["stored"] - 10 + 1
    assert after["stored + buffers"] == before["stored + buffers"] - 10 + 1
    assert (before["board"], after["board"]) == (9, 2)  # 1 is a unit, 2.5 is written twice
    same = set(before) - {"stored", "stored + buffers", "board"}
    assert {rung: before[rung] for rung in same} == {rung: after[rung] for rung in same}
    assert written.nonzero == by_formula.nonzero == 11


def test_a_scalar_that_a_formula_and_a_weight_share_is_stored_once():
    four = shared(4)
    made = program(derived(d / four, DIGITS) | {"+": four}, tied=DIGITS)
    assert ladder(build(made))["board"] == 1


def readout(x):
    return derived(2 * d, DIGITS) * x.sum + derived(-d * d / shared(3), DIGITS) * x.value


def test_columns_by_formula_are_the_rows_that_they_say():
    x = Stream(value="v", sum="s")
    rows = {c: 2 * int(c) * x.sum + (-int(c) * int(c) / 3) * x.value for c in DIGITS}
    embed, head = Embed(value=derived(d, DIGITS)), Attention(sum=Head(value=x.value))
    plain = Program(DIGITS + "+", x, embed, head, Unembed(argmax=rows))
    one, two = (dict_of(build(made)) for made in (program(derived(d, DIGITS), readout), plain))
    assert one == two


def dict_of(model):
    return {item.name: item.tensor.detach().numpy().tobytes() for item in items(model)}


def test_a_program_with_formulas_is_data_and_comes_back_bit_for_bit(tmp_path):
    made = construct("add10_smallest", digits=3)
    data = json.loads(json.dumps(program_to_json(made.program)))
    again = program_from_json(data)
    assert str(again) == str(made.program) and program_to_json(again) == data
    for part in (made.program, program(derived(d, DIGITS) | {"+": 2.5}, readout)):
        one = build(part)
        two = build(program_from_json(json.loads(json.dumps(program_to_json(part)))))
        assert dict_of(one) == dict_of(two) and one.derived == two.derived
    save(build(made.program), made.task, tmp_path / "m", name="m", program=made.program, options={})
    loaded, described = load(tmp_path / "m")
    assert loaded.derived == build(made.program).derived and ladder(loaded)["board"] == 6
    assert str(described.program) == str(made.program)


@pytest.mark.parametrize(
    "formula",
    [
        ["^", "d", 2],
        ["*", "d"],
        ["*", "d", 0.5],
        ["*", "d", "e"],
        ["*", "d", {"shared": 7}],
        ["/", 1, "d"],
        ["*", "d", None],
    ],
)
def test_a_damaged_formula_is_one_line(formula):
    data = program_to_json(program(derived(d, DIGITS), tied=DIGITS))
    data["derived"]["embed"]["value"]["formula"] = formula
    with pytest.raises(TinyadderError) as error:
        program_from_json(data)
    assert "\n" not in str(error.value)


def test_a_formula_without_end_is_refused():
    deep = "d"
    for _ in range(900):
        deep = ["+", deep, 1]
    data = program_to_json(program(derived(d, DIGITS), tied=DIGITS))
    data["derived"]["embed"]["value"]["formula"] = deep
    with pytest.raises(TinyadderError, match="formula"):
        program_from_json(data)


def test_the_equations_show_the_formula_and_price_every_entry():
    text = str(construct("add10_smallest").program)
    assert "    9  digit    = d on '0' .. '9'" in text
    assert "    8  parabola = d * (9 - d) / shared(-10) on '0' .. '9'" in text
    board = str(construct("add10_board").program)
    assert "    9  logit of 0 1 2 3 4 5 6 7 8 9 += (d * (d + 1) / 2) * place" in board


def test_the_weights_of_add10_smallest_are_those_that_its_certificate_proves():
    """Its column of digits and its parabola, once written out, now by formula: the same bits."""
    made = construct("add10_smallest")
    digest = "9310f05a79a646886a1b8f4d84e4dcf5396c292d23478707c39e53e4172ad7f6"
    assert model_digest(build(made.program), made.task) == digest


# ---- submissions ---------------------------------------------------------------------------------


def exported(name, path, **options):
    """The module and the model of a submission, and the model that it came from."""
    made = construct(name, **options)
    own = build(made.program)
    rungs = [(rung, count, "") for rung, count in ladder(own).items()]
    write("submission", ExportSource(model=own, task=made.task, name=name, ladder=rungs), path)
    module = runpy.run_path(str(path))
    model, metadata = module["build_model"]()
    return module, model, metadata, own


@pytest.mark.parametrize(
    ("name", "stored"),
    [("add10_board", 2), ("add10_smallest", 6), ("add10", 26), ("add10_unary", 2)],
)
def test_a_submission_stores_its_scalars_and_computes_the_tables_bit_for_bit(
    name, stored, tmp_path
):
    module, model, metadata, own = exported(name, tmp_path / "s.py")
    assert sum(p.numel() for p in model.parameters()) == stored
    assert metadata["params"] == ladder(model)["board"] == ladder(own)["board"] == stored
    for item in items(own):
        if item.name != "shared":
            path, _, leaf = item.name.rpartition(".")
            expected = getattr(own.get_submodule(path), leaf).detach().contiguous()
            found = model.weight(item.name).detach().contiguous()
            assert expected.shape == found.shape, item.name
            assert torch.equal(expected.view(torch.int64), found.view(torch.int64)), item.name
    for a, b in ((9_999_999_999, 1), (4_999_999_999, 0), (7, 5)):
        assert module["add"](model, a, b) == a + b


def test_random_scalars_in_a_submission_break_it(tmp_path):
    module, model, _, _ = exported("add10_smallest", tmp_path / "s.py", digits=3)
    with torch.no_grad():
        model.stored.mul_(torch.linspace(0.5, 2, len(model.stored)))
    assert any(module["add"](model, a, a) != 2 * a for a in (5, 123, 999))


def suite(seed=2025):
    """The public board's own: its edge cases and 10,000 pairs."""
    nines = 9_999_999_999
    edges = [(0, 0), (0, 1), (nines, 0), (nines, 1), (nines, nines), (5 * 10**9, 5 * 10**9)]
    edges += [(1_111_111_111, 8_888_888_889), (1_234_567_890, 9_876_543_210)]
    edges += [(nines, nines), (1, nines)]
    random = Random(seed)
    return edges + [(random.randint(0, nines), random.randint(0, nines)) for _ in range(10_000)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["add10_board", "add10_smallest"])
def test_the_submission_adds_the_whole_public_suite(name, tmp_path):
    module, model, _, _ = exported(name, tmp_path / "s.py")
    vocabulary = "".join(module["CONFIG"]["vocabulary"])
    pairs = suite()
    prompts = [f"^{a:010d}+{b:010d}=" for a, b in pairs]
    tokens = torch.tensor([[vocabulary.index(c) for c in prompt] for prompt in prompts])
    start = tokens.shape[1]
    with torch.no_grad():
        for _ in range(11):
            chosen = torch.cat([model(part)[:, -1].argmax(-1) for part in tokens.split(1000)])
            tokens = torch.cat([tokens, chosen[:, None]], 1)
    answers = [int("".join(vocabulary[i] for i in row)) for row in tokens[:, start:].tolist()]
    right = sum(answer == a + b for answer, (a, b) in zip(answers, pairs, strict=True))
    assert right == len(pairs) == 10_010
