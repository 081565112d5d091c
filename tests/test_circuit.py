"""The circuit of a model: what is not an edge carries nothing, what is one matters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tinyadder as ta
from tinyadder.cli import main
from tinyadder.errors import TinyadderError
from tinyadder.inspect.circuit import prompt_pairs
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer

NAMES = ("count_occurrences", "add10", "induction", "maximum", "dyck1", "deriv")


def test_the_adder_is_the_circuit_that_its_equations_say():
    found = ta.load("add10").circuit()
    assert found.coarse() == {
        "input->a0.h0<v>",  # the flag becomes the place value
        "input->m0",  # the digit
        "a0.h0->m0",  # times the place value
        "m0->a1.h0<v>",  # summed
        "a1.h0->logits",
        "a0.h0->logits",
    }
    assert [node.name for node in found.nodes if node.kind == "lane"] == [
        "input.digit",
        "input.flag",
    ]
    assert str(found).startswith("add10: 6 nodes, 6 edges\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_sender_without_an_edge_to_a_reader_does_not_change_what_it_reads(name):
    """Every head and unit, one at a time: the readers that change are those with an edge, or after
    one of those."""
    m = ta.load(name)
    found = m.circuit()
    after = {node.name: {node.name} for node in found.nodes}
    for node in reversed(found.nodes):
        for edge in found.edges:
            if edge.sender == node.name:
                after[node.name] |= after[edge.receiver]
    text = found.pairs[0].clean
    tokens = torch.from_numpy(m.task.encode([text]))
    logits, clean = m.run_with_cache(tokens)
    for node in found.nodes:
        if node.kind not in ("head", "unit"):
            continue
        part = (node.layer, int(node.name.split(".")[1][1:]))
        with m.ablate(**{f"{node.kind}s": [part]}):
            changed_logits, changed = m.run_with_cache(tokens)
        for other in found.nodes:
            if other.kind == "head":
                layer, h = other.layer, int(other.name.split(".h")[1])
                names = [f"blocks.{layer}.attn.hook_{part}" for part in "qkv"]
                same = all(torch.equal(clean[n][:, h], changed[n][:, h]) for n in names)
            elif other.kind == "logits":
                same = torch.equal(logits, changed_logits)
            else:
                continue
            assert same or other.name in after[node.name], (node.name, other.name)


@pytest.mark.parametrize("name", ["add10", "induction", "parity_once", "multiply"])
def test_pairs_are_of_one_length_and_their_answers_differ(name):
    m = ta.load(name)
    pairs = prompt_pairs(m.task, 10)
    assert pairs and len({tuple(pair.clean) for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert len(pair.clean) == len(pair.corrupted) and pair.answer != pair.corrupted_answer
        for text, answer in ((pair.clean, pair.answer), (pair.corrupted, pair.corrupted_answer)):
            chosen = m(torch.from_numpy(m.task.encode([text])))[0, -1].argmax()
            assert m.task.vocabulary[m.module.outputs[chosen]] == answer


def test_a_tagger_has_pairs_too():
    found = ta.load(Path(__file__).parent / "circuits" / "seen.py").circuit(pairs=5)
    assert found.coarse() == {"input->a0.h0<v>", "a0.h0->logits"}
    assert {pair.answer for pair in found.pairs} == {"n", "y"}


def test_export_writes_it_as_data(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", "add10", "--to", "circuit", "--out", str(tmp_path / "c.json")])
    assert ended.value.code in (0, None)
    data = json.loads((tmp_path / "c.json").read_text())
    assert data["format"] == "tinyadder circuit" and len(data["edges"]) == 6
    assert data["edges"][0]["channel"] == "v" and data["pairs"][0]["clean"][0] == "^"


def test_a_model_with_norms_is_refused():
    from tinyadder.inspect.circuit import circuit

    config = Config(
        vocabulary=("a",),
        width=2,
        blocks=(BlockConfig(heads=1),),
        outputs=(0,),
        options=Options(norm="rms"),
    )
    with pytest.raises(TinyadderError, match="who reads what is not in the weights alone"):
        circuit(Transformer(config), ta.load("dyck1").task, "trained")
