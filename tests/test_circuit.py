"""The circuit of a model: what is not an edge carries nothing, what is one matters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import tinyadder as ta
from tinyadder.cli import main
from tinyadder.errors import TinyadderError
from tinyadder.inspect.circuit import prompt_pairs
from tinyadder.inspect.trace import lane_columns
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer

NAMES = ("count_occurrences", "add10", "induction", "maximum", "dyck1")


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


def part_of(node):
    """A head or unit as (layer, index)."""
    return node.layer, int(re.split("[hn]", node.name)[-1])


def read_by(node, logits, cache):
    """What a node reads (heads), or what it makes of it (units, logits), by channel."""
    if node.kind == "logits":
        return {"": logits}
    layer, index = part_of(node)
    if node.kind == "head":
        return {c: cache[f"blocks.{layer}.attn.hook_{c}"][:, index] for c in "qkv"}
    return {"": cache[f"blocks.{layer}.mlp.hook_post"][..., index]}


def direct_effects(m, circuit, text):
    """(sender, receiver, channel) where the receiver reads something else without the sender, while
    every other part is kept as it was."""
    tokens = torch.from_numpy(m.task.encode([text]))
    logits, clean = m.run_with_cache(tokens)
    parts = [node for node in circuit.nodes if node.kind in ("head", "unit")]
    places = {(node.kind, node.layer) for node in circuit.nodes if node.kind != "lane"}
    found = set()
    for sender in circuit.nodes:
        if sender.kind == "logits":
            continue
        if sender.kind == "lane":
            removed = {"lanes": [(sender.writes[0], "hook_embed")]}
        else:
            removed = {f"{sender.kind}s": [part_of(sender)]}
        for place in places:
            kept = [n for n in parts if n != sender and (n.kind, n.layer) != place]
            heads = [part_of(node) for node in kept if node.kind == "head"]
            units = [part_of(node) for node in kept if node.kind == "unit"]
            with m.patch(clean, heads=heads, units=units), m.ablate(**removed):
                changed_logits, changed = m.run_with_cache(tokens)
            for reader in circuit.nodes:
                if (reader.kind, reader.layer) != place or reader == sender:
                    continue
                before = read_by(reader, logits, clean)
                after = read_by(reader, changed_logits, changed)
                found |= {
                    (sender.name, reader.name, channel)
                    for channel in before
                    if not torch.equal(before[channel], after[channel])
                }
    return found


def edges_of(circuit):
    return {(edge.sender, edge.receiver, edge.channel) for edge in circuit.edges}


@pytest.mark.parametrize("name", NAMES)
def test_without_an_edge_nothing_goes_from_one_part_to_another(name):
    m = ta.load(name)
    circuit = m.circuit(pairs=1)
    assert direct_effects(m, circuit, circuit.pairs[0].clean) <= edges_of(circuit)


@pytest.mark.parametrize("name", ["count_occurrences", "add10", "induction"])
def test_along_every_edge_something_goes(name):
    """So an edge too few, or one too many, would be noticed here or above."""
    m = ta.load(name)
    circuit = m.circuit(pairs=3)
    seen = set().union(*(direct_effects(m, circuit, pair.clean) for pair in circuit.pairs))
    assert seen == edges_of(circuit)


def test_a_circuit_of_other_weights_is_noticed():
    """The planted fault: one weight of the model changes, and the circuit said before is wrong."""
    m = ta.load("add10")
    circuit = m.circuit(pairs=1)
    digit = lane_columns(m.module.config, "digit")
    with torch.no_grad():  # the second head attends by what the digit is, too
        m.module.blocks[1].attention.query[0, 0, digit] = 1.0
    effects = direct_effects(m, circuit, circuit.pairs[0].clean)
    assert ("input.digit", "a1.h0", "q") in effects - edges_of(circuit)
    assert effects <= edges_of(m.circuit(pairs=1))


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


@pytest.mark.parametrize("name", ["dyck1", "induction", "maximum"])
def test_as_many_pairs_are_found_as_were_asked_for(name):
    task = ta.load(name).task
    assert [len(prompt_pairs(task, count)) for count in (1, 5)] == [1, 5]


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


@pytest.mark.parametrize("own", [None, Options(norm="rms")], ids=["all", "one layer"])
def test_a_model_with_norms_is_refused(own):
    from tinyadder.inspect.circuit import circuit

    config = Config(
        vocabulary=("a",),
        width=2,
        blocks=(BlockConfig(heads=1), BlockConfig(heads=1, options=own)),
        outputs=(0,),
        options=Options() if own else Options(norm="rms"),
    )
    with pytest.raises(TinyadderError, match="who reads what is not in the weights alone"):
        circuit(Transformer(config), ta.load("dyck1").task, "trained")
