"""A stranger's model is legal when its tokens are looked up, attention moves what they say, nothing
is kept between passes and `add` returns what the model says; each cheat is found, by name and line.
"""

from dataclasses import replace
from random import Random

import pytest
import torch

from tests import submissions
from tests.entries import CHEATS, HONEST
from tinyadder.construction import construct
from tinyadder.io.export import ExportSource, write
from tinyadder.machine.compile import build
from tinyadder.verify.external import dataflow, observe
from tinyadder.verify.external.attention import attention as watching
from tinyadder.verify.external.dataflow import DataflowGraph, Operation
from tinyadder.verify.external.decoding import Decoder
from tinyadder.verify.external.entry import load
from tinyadder.verify.external.legality import (
    _swap,
    attention,
    dataflow_finding,
    decoding,
    foreign_legality,
    judged,
    state,
)
from tinyadder.verify.external.observe import Seen, recordings, seen
from tinyadder.verify.external.operations import executed
from tinyadder.verify.external.recording import watch
from tinyadder.verify.external.submission import Submission

RANDOM = Random(3)
PAIRS = [(RANDOM.randrange(10**10), RANDOM.randrange(10**10)) for _ in range(6)]


@pytest.fixture
def loaded(tmp_path):
    """The entry that a text is, loaded in this process."""

    def load_text(text):
        file = tmp_path / "entry.py"
        file.write_text(text)
        return load(str(file), [str(tmp_path)], "", "")

    return load_text


@pytest.fixture
def unexported(monkeypatch):
    """Without torch.export, which takes a second or more for each module."""
    monkeypatch.setattr(observe, "exported", lambda *_: "not tried")


def quick(entry, pairs=PAIRS[:1]):
    """What costs little to see of an entry: attention and state; the rest is blank."""
    runs = watch(entry.model, entry.add, pairs)
    call, random = observe.bare(runs[0]), Random(0)
    fresh = observe.copied(entry.model)
    return Seen(
        answers=[],
        float64=runs[0].calls[0].rows.dtype == float,
        passes=1.0,
        state=observe.state(call, entry.model, fresh, runs, random),
        attended=observe.attended(entry.model, entry.add, call, None, runs, random),
    )


# ---- honest entries ------------------------------------------------------------------------------


@pytest.mark.parametrize("style", HONEST)
def test_honest_entries_of_every_style_raise_no_alarm(style, loaded, unexported):
    entry = loaded(HONEST[style])
    facts = quick(entry)
    found = recordings(entry.model, entry.add, PAIRS[:1], 0)
    assert found.unexplained == 0
    assert dataflow_finding(facts, found).passed
    assert facts.attended.mixed == 0
    assert attention(facts).passed
    assert state(facts).passed


@pytest.mark.slow
@pytest.mark.parametrize("style", HONEST)
def test_honest_entries_pass_every_check(style, loaded):
    entry = loaded(HONEST[style])
    findings = judged(
        seen(entry.model, entry.add, PAIRS, 0), recordings(entry.model, entry.add, PAIRS, 0), PAIRS
    )
    assert all(finding.passed for finding in findings), [str(f) for f in findings]


def test_an_honest_file_passes_every_check_in_its_sandbox(tmp_path):
    file = tmp_path / "honest.py"
    file.write_text(submissions.HONEST)
    found = {f.check: f for f in foreign_legality(Submission(file), PAIRS[:4])}
    assert {check: f.passed for check, f in found.items()} == dict.fromkeys(found, True)
    assert 0 < found["feedback"].measured < 0.8 and found["one token per pass"].measured >= 1
    assert "torch.export graph, any batch and any length" in found["dataflow"].said


# ---- cheats --------------------------------------------------------------------------------------

QUICK = {name: cheat for name, cheat in CHEATS.items() if cheat.fails != "decoding"}


@pytest.mark.parametrize("name", QUICK)
def test_a_cheat_fails_its_check_by_name(name, loaded, unexported):
    cheat, entry = CHEATS[name], loaded(CHEATS[name].text)
    if cheat.fails == "dataflow":
        finding = dataflow_finding(
            Seen(answers=[]), recordings(entry.model, entry.add, PAIRS[:1], 0)
        )
    else:
        finding = {"state": state, "attention ablation": attention}[cheat.fails](
            quick(entry, PAIRS[:2])
        )
    assert finding.passed is False and cheat.said in finding.said, finding


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_fails_when_everything_is_asked(name, loaded):
    cheat, entry = CHEATS[name], loaded(CHEATS[name].text)
    findings = {
        finding.check: finding
        for finding in judged(
            seen(entry.model, entry.add, PAIRS, 0),
            recordings(loaded(cheat.text).model, entry.add, PAIRS, 0),
            PAIRS,
        )
    }
    assert findings[cheat.fails].passed is False, findings[cheat.fails]
    assert cheat.said in findings[cheat.fails].said, findings[cheat.fails]


def test_an_add_that_repairs_a_few_digits_is_told_wrong_ones(loaded):
    cheat = CHEATS["an add that repairs"]
    entry = loaded(cheat.text)
    facts = seen(entry.model, entry.add, PAIRS[:3], 0)
    assert facts.answers == facts.decoded and facts.told > 11
    assert len({(said, got) for _, _, said, got in facts.untold}) > 8
    finding = decoding(facts, PAIRS[:3])
    assert finding.passed is False and "made to say" in finding.said


def test_an_add_that_chooses_a_twelfth_token_need_not_read_it(loaded):
    text = HONEST["plain"].replace("range(11)", "range(12)").replace("[-11:]", "[-12:-1]")
    assert text.count("range(12)") == text.count("[-12:-1]") == 1
    entry = loaded(text)
    decoder = Decoder.of(entry.model, entry.add)
    decoder.format = replace(decoder.format, length=12)  # as where the twelfth is always a zero
    told, untold = observe._told(entry.model, entry.add, decoder, PAIRS, Random(0))
    assert len(decoder.format.passes) == 12 and told > 12 and untold == []


def test_a_parallel_adder_fails_every_check_of_its_kind(loaded, unexported):
    entry = loaded(submissions.PARALLEL)
    facts = seen(entry.model, entry.add, PAIRS[:3], 0)
    findings = judged(facts, recordings(entry.model, entry.add, PAIRS[:3], 0), PAIRS[:3])
    failed = {f.check: f for f in findings if f.passed is False}
    assert set(failed) == {"dataflow", "attention ablation", "feedback", "weight swap"}
    assert "to Python" in failed["dataflow"].said
    assert "no attention was seen" in failed["attention ablation"].said


# ---- what the process reports --------------------------------------------------------------------


def recording(*steps, tokens="int64"):
    """Operations in a row, the tokens into the first: (name, options) or (name, reads)."""
    operations = []
    for value, (name, kind, *reads) in enumerate(steps, 1):
        given = reads[0] if reads else {"self": [value - 1]}
        operations.append(Operation(name, given, {}, [value], [(value, kind)], f"model.py:{value}"))
    return DataflowGraph(operations, len(steps), tokens)


EMBED = ("aten.embedding.default", "float32", {"weight": ["free"], "indices": [0]})


@pytest.mark.parametrize(
    "step",
    [
        ("aten.floor.default", "float32"),
        ("aten.fmod.Scalar", "float32"),
        ("aten.sign.default", "float32"),
        ("aten.gt.Scalar", "bool"),
        ("aten.argmax.default", "int64"),
        ("aten.to.dtype", "int32"),
        ("aten.nonzero.default", "int64"),
        ("aten.where.self", "float32", {"condition": [1], "self": ["free"], "other": ["free"]}),
        ("aten.gather.default", "float32", {"self": [1], "index": [0]}),
        ("mine.secret.default", "float32"),
    ],
    ids=lambda step: step[0],
)
def test_what_no_network_does_with_values_is_named_with_its_line(step):
    (fault,) = dataflow.faults(recording(EMBED, step))
    assert fault.operation == step[0] and fault.line == "model.py:2"


@pytest.mark.parametrize(
    "step",
    [
        ("aten.add.Tensor", "int64", {"self": [0], "other": [0]}),
        ("aten.bitwise_and.Scalar", "int64"),
        ("aten.lt.Scalar", "bool"),
        ("aten.eq.Scalar", "bool"),
        ("aten._to_copy.default", "float32"),
        ("aten.view.dtype", "int64"),
        ("aten.sum.default", "int64"),
        ("aten._local_scalar_dense.default", "int"),
        ("aten.index.Tensor", "float32", {"self": ["free"], "indices": [0, 0]}),
    ],
    ids=lambda step: step[0],
)
def test_token_ids_are_looked_up_and_nothing_else(step):
    (fault,) = dataflow.faults(recording(step))
    assert fault.operation == step[0] and fault.line == "model.py:1"


def test_what_networks_do_is_no_fault():
    product = ("aten.matmul.default", "float32", {"self": [1], "other": ["free"]})
    names = ("_softmax", "gelu", "clamp", "amax", "rsqrt", "native_layer_norm", "relu_")
    steps = [EMBED, product, *((f"aten.{name}.default", "float32") for name in names)]
    assert dataflow.faults(recording(*steps)) == []
    one_hot = ("one_hot", "int64")
    assert dataflow.faults(recording(one_hot, ("aten.to.dtype", "float32"), product)) == []
    assert dataflow.faults(recording(product, tokens="float32")) == []  # one-hot rows as input


def test_an_operation_that_leads_nowhere_is_no_fault_unless_python_gets_it():
    found = recording(EMBED, ("aten.argmax.default", "int64"))
    assert dataflow.faults(DataflowGraph(found.operations, 1)) == []
    found = recording(EMBED, ("aten.item.default", "float"))
    (fault,) = dataflow.faults(DataflowGraph(found.operations, 1))
    assert "to Python" in fault.why


def test_logits_that_no_token_leads_to_are_a_fault():
    (fault,) = dataflow.faults(DataflowGraph([], None))
    assert "derive from no token" in fault.why


# ---- our own exports -----------------------------------------------------------------------------


OURS = ["add10", "add10_smallest", "add10_95"]
MORE = ["add10_27", "add10_28", "add10_gist", "add10_unary", "add_any", "add_base"]


@pytest.mark.parametrize(
    "name", [*OURS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_our_own_submissions_are_seen_to_use_their_attention(name, tmp_path, unexported):
    file = tmp_path / "entry.py"
    write("submission", exported_source(name), file)
    entry = load(str(file), [str(tmp_path)], "", "")
    facts = quick(entry, PAIRS[:1])
    assert len(facts.attended.lines) == 2 and attention(facts).passed
    found = recordings(entry.model, entry.add, PAIRS[:1], 0)
    assert dataflow_finding(facts, found).passed and found.unexplained == 0


def exported_source(name, **options):
    made = construct(name, **options)
    ladder = [("nonzero", made.program.nonzero, "weights other than 0")]
    model = build(made.program)
    return ExportSource(model=model, task=made.task, name=name, program=made.program, ladder=ladder)


def test_our_models_themselves_are_seen_to_use_attention():
    source = exported_source("add10", digits=2)
    tokens = torch.from_numpy(source.task.encode([source.task.prompt(source.task.hard()[0])]))
    with watching(tokens.shape[1]) as found:
        source.model(tokens)
    assert len(found.lines) == 2
    recorded = executed(source.model, tokens)
    assert dataflow.faults(DataflowGraph(recorded.operations, recorded.logits)) == []


def test_weights_that_cannot_be_replaced_accuse_nobody():
    facts = Seen(answers=[], random_weights=1.0, replaceable=False)
    assert _swap(facts, 1.0).passed is None
    facts.replaceable = True
    assert _swap(facts, 1.0).passed is False
