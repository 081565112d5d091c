"""The ladder: known answers, for our own models, for any module, and for submission files run in a
sandbox.
"""

import json
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from tests.submissions import BROKEN, HONEST, ROUTED, TWENTY, TWENTY_EIGHT
from tinyadder.commands.count import command
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.encoder import empty_model
from tinyadder.verify.count import counted_literals, definition, hang_on, ladder, weights
from tinyadder.verify.count.claims import matched
from tinyadder.verify.count.code import construction_code, machine_code
from tinyadder.verify.external.submission import Submission


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that writes a submission and returns its path."""
    folder = tmp_path_factory.mktemp("submissions")

    def write(name, text):
        path = folder / f"{name}.py"
        path.write_text(text)
        return path

    return write


def test_the_published_adder_is_95_and_96_with_its_slope():
    counts = ladder(build(construct("add10_gist").program))
    assert (counts["nonzero"], counts["nonzero + positional"]) == (95, 96)


@pytest.mark.parametrize("name", ["add10", "add10_95", "add10_gist"])
def test_equations_and_tensors_count_the_same(name):
    program = construct(name).program
    assert ladder(build(program))["nonzero"] == program.nonzero


def test_every_number_is_listed_where_it_sits():
    model = build(construct("add10").program)
    counts, listed = ladder(model), weights(model)
    for rung in ("nonzero", "nonzero + positional", "with wiring"):
        upto = ("nonzero", "nonzero + positional", "with wiring")[
            : ("nonzero", "nonzero + positional", "with wiring").index(rung) + 1
        ]
        assert sum(number.rung in upto for number in listed) == counts[rung]
    assert any(number.place == "layer 0, head 0 (-> weight): ALiBi slope" for number in listed)


def test_strict_counts_what_a_construction_is_written_with():
    code = construction_code("add10")
    assert {-40.0, 40.0, 0.5} <= {literal.value for literal in code}
    model = build(construct("add10").program)
    counts, counted = ladder(model, code), counted_literals(model, code)
    assert counts["strict"] == counts["stored + buffers"] + len(counted)
    # the key bias -40 is a weight that stands in the file, 40 in e^40 is not one
    assert 40.0 in {c.value for c in counted} and -40.0 not in {c.value for c in counted}


def test_strict_follows_a_construction_into_the_gadgets_that_it_uses_and_into_no_others():
    places = {(literal.value, literal.where) for literal in construction_code("count_occurrences")}
    # 2 d y - d^2, and the ROOM of a sum
    assert {(2.0, "parabola_readout"), (40.0, "the file")} <= places
    assert not {where for _, where in places} & {"match_head", "previous_token_head", "step"}


@pytest.mark.parametrize("coder", [False, True], ids=["decoder", "encoder-decoder"])
def test_strict_follows_the_imports_of_the_machine_that_a_trained_model_runs_on(coder):
    sizes = BlockConfig(heads=1, hidden=1)
    options = Options(norm="rms", positions="rotary", softmax="softmax")
    made = {"vocabulary": ("0", "1"), "width": 2, "blocks": (sizes,), "outputs": (0,)}
    model = empty_model(Config(**made, options=options, encoder=(sizes,) if coder else ()))
    code = machine_code(model)
    found = {literal.where for literal in code}
    assert {"norm", "sinusoids", "_turns", "MultiHeadAttention.forward"} <= found
    assert ("OpenAttention.attend" in found) == coder
    assert len({(c.where, c.line, c.column) for c in code}) == len(code)
    assert "norm" not in {c.where for c in machine_code()}


def test_a_literal_counts_once_however_many_modules_import_it():
    code = construction_code("add10_27")
    places = [(literal.where, literal.line, literal.column, literal.text) for literal in code]
    assert len(places) == len(set(places))


def test_a_tie_counts_once_and_a_view_counts_once():
    model = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    model[1].weight = model[0].weight
    model.register_buffer("again", model[0].weight.detach()[0])
    counts = ladder(model)
    assert (counts["numel"], counts["stored"], counts["stored + buffers"]) == (9, 9, 9)


def test_tensors_hidden_outside_the_parameters_are_found():
    model = nn.Linear(2, 2, bias=False)
    before = ladder(model)
    model.tables = {"low": [torch.tensor([3.0, 0.0])]}
    model.rope_theta = 3.5
    model.route = torch.eye(2)
    hang_on(model, {"TABLE": torch.full((5,), 2.0)})
    after = ladder(model)
    assert after["stored + buffers"] == before["stored + buffers"] + 2 + 4 + 5 + 1
    assert after["nonzero + positional"] == before["nonzero + positional"] + 1
    assert after["with wiring"] == after["nonzero + positional"] + 2
    assert after["stored"] == before["stored"]
    assert {number.tensor for number in weights(model)} >= {"tables.low.0", "route", "rope_theta"}


def test_a_causal_mask_is_no_wiring():
    model = nn.Linear(1, 1)
    model.register_buffer("mask", torch.ones(4, 4).tril())
    assert ladder(model)["with wiring"] == ladder(model)["nonzero"]


def test_every_rung_says_what_it_counts():
    for rung in (*ladder(nn.Linear(1, 1), []), "claimed"):
        assert definition(rung).endswith(".") and "\n" not in definition(rung)


def test_a_submission_with_a_mask_that_routes_is_counted_on_every_rung(written):
    counts = counts_of(written("routed", ROUTED))
    assert (counts["numel"], counts["nonzero"], counts["distinct"]) == (141, 48, 33)
    assert counts["stored + buffers"] == 141 + 3 * 34 * 34
    assert "claimed" not in counts


def counts_of(path):
    """What `tinyadder count` says of a submission file."""
    return json.loads(
        CliRunner().invoke(command, [str(path), "--json"], catch_exceptions=False).stdout
    )["counts"]


def test_a_submission_can_be_20_on_every_rung_but_the_strict_one(written):
    counts = counts_of(written("twenty", TWENTY))
    assert {count for rung, count in counts.items() if rung != "strict"} == {20}
    # 0.5; -40; the ids 10 9 13 10 11 13; the half unit, -10; e^40 twice; the base; 10
    assert counts["strict"] == 20 + 14


def test_a_submission_that_claims_28_can_have_24_elements(written):
    counts = counts_of(written("twenty_eight", TWENTY_EIGHT))
    assert (counts["claimed"], counts["numel"], counts["nonzero"]) == (28, 24, 24)
    assert counts["distinct absolute"] == 23 and counts["strict"] > 28


def test_the_stand_in_for_20_adds(written):
    pairs = [(0, 0), (9999999999, 9999999999), (4999999999, 0), (6369999421, 8056000578)]
    assert Submission(written("adds", TWENTY)).add(pairs) == [a + b for a, b in pairs]


def test_the_command_counts_a_submission_and_says_that_it_runs_code(written):
    result = CliRunner().invoke(command, [str(written("honest", HONEST)), "--json", "--why"])
    assert result.exit_code == 0 and "it is code, by whoever wrote it" in result.stderr
    data = json.loads(result.stdout)
    counts = data["counts"]
    # 9 digits, 2 + 1 + 1 flags and the half unit, the gain, 9 + 9 rows of the readout
    assert counts["stored"] == 28 + 1 + 20
    assert counts["nonzero"] == 9 + 4 + 1 + 18
    assert counts["claimed"] == 12
    values = [n["value"] for n in data["weights"] if n["rung"] == "strict"]
    # 5e-11 and -10 are weights where they stand: only what computes others is counted again
    assert sorted(values) == sorted([40, 10, 2, 40, 10])
    assert counts["strict"] == counts["stored + buffers"] + len(values)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_submission_is_one_line_and_never_a_hang(name, written):
    text, said = BROKEN[name]
    began = time.monotonic()
    path = str(written(name.replace(" ", "_"), text))
    with pytest.raises(TinyadderError, match=said) as error:
        CliRunner().invoke(
            command, [path, "--seconds", "30" if name != "hang" else "2"], catch_exceptions=False
        )
    assert "\n" not in str(error.value) and time.monotonic() - began < 60


def test_a_file_that_is_not_there_is_said():
    with pytest.raises(TinyadderError, match="is not there; a submission has build_model"):
        Submission(Path("nowhere.py"))


JUNK = """
import torch

def build_model():
    print("x" * 10**6)
    return torch.nn.Linear(1, 1)

def add(model, a, b):
    return [a + b, "junk", True, torch.tensor(7)][a]
"""
"""Answers with something else than an integer, and prints a lot."""


def test_answers_that_are_no_integers_come_back_as_what_they_are(written):
    answers = Submission(written("junk", JUNK)).add([(0, 5), (1, 5), (2, 5), (3, 5)])
    assert answers == [5, "'junk'", "True", 7]


def test_a_claim_is_matched_with_the_rungs_that_give_it(written):
    zeros = ROUTED.replace("return Model()", 'return Model(), {"params": 34}')
    text = CliRunner().invoke(command, [str(written("claims_34", zeros))]).stdout
    assert text.splitlines()[-1] == "claims 34: equals distinct + zero"


def test_a_claim_that_no_rung_gives_is_said_beside_what_is_stored(written):
    text = CliRunner().invoke(command, [str(written("claims_28", TWENTY_EIGHT))]).stdout
    assert text.splitlines()[-1] == "claims 28: no rung; stored is 24"


def test_a_claim_can_be_what_several_rungs_count():
    counts = {"stored": 20, "nonzero": 20, "distinct": 19, "claimed": 20}
    assert matched(20, counts).rungs == ("stored", "nonzero")
    assert str(matched(21, counts)) == "claims 21: no rung; stored is 20"
