"""Rule TEXT for compiled programs: every text by itself, the program evaluated from its graph."""

import ast
import json
import sys
from fractions import Fraction
from itertools import product

import planting
import pytest
import torch

import tinyadder.verify.certify.programs.texts  # noqa: F401  (the module, below)
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.programs import compile, everywhere, indices, key, prefix, tokens
from tinyadder.tasks import sequences
from tinyadder.verify.certify.check import Rejected
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.programs.check import check
from tinyadder.verify.certify.programs.meaning import Meaning
from tinyadder.verify.certify.programs.prove import certify_program
from tinyadder.verify.verdict import Proved, Unknown

TEXTS = sys.modules["tinyadder.verify.certify.programs.texts"]
x, i = tokens("abc"), indices()
PROGRAMS = {
    "hist": ((key(x) == x).count(), {}),
    "ranked": ((key((key(x) < x).count()) == i).pick(x), {}),
    "share": (prefix().mean(x == "a"), {"causal": True}),
    "number": (prefix().mean(x == "a"), {"causal": True, "answers": "number"}),
    "nearest": ((prefix() & (key(x) != "b")).latest(x, default="b"), {"causal": True}),
    "first": ((key(x) != "b").earliest(x, default="b"), {}),
    "summed": (prefix().sum(x.map({"a": 1, "b": -1, "c": 0})) * i, {"causal": True}),
}
MADE = {name: compile(program, length=2, **how) for name, (program, how) in PROGRAMS.items()}


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def folder_of(name, place, change=lambda model: None):
    """The model of a program in a folder, with a certificate that asks for every text."""
    made, folder = MADE[name], place / name
    model = build(made.program)
    change(model)
    save(model, made.task, folder, name=name, options={}, force=folder.exists())
    described = ProgramModel(folder)
    digest = described.digest(described.to_json()["sha256"])
    certificate = {"format": "tinyadder program proof", "model": digest, "rule": "TEXT"}
    (folder / "certificate.json").write_text(json.dumps(certificate))
    return folder


def meaning_of(name):
    task = MADE[name].task
    return Meaning(json.loads(task.program), task.length, task.copies)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_text_of_a_small_program_is_proved(name, tmp_path):
    found = check(folder_of(name, tmp_path))
    assert found["margin"] > 0.01 and found["counted"] == "tokens of texts"
    assert found["problems"] == MADE[name].task.domain().size
    assert found["partial"] == (name == "ranked")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_means_what_the_task_says(name):
    meaning, graph = meaning_of(name), MADE[name].task.graph
    for text in (t for n in (1, 2) for t in product("abc", repeat=n)):
        try:
            right = sequences.evaluate(graph, list(text))
        except TinyadderError:
            with pytest.raises(TEXTS.NoValue):
                TEXTS.evaluate(meaning, text)
        else:
            assert TEXTS.evaluate(meaning, text) == right


def off(model):
    """One weight of the readout is another."""
    model.unembedding.data.view(-1)[-1] *= -1.5


@pytest.mark.parametrize("name", ["hist", "number"])
def test_a_wrong_model_is_not_proved(name, tmp_path):
    made, model = MADE[name], build(MADE[name].program)
    off(model)
    domain = made.task.domain()
    if name == "hist":
        problems = [domain.problem(n) for n in range(domain.size)]
        given = answers(model, made.task, problems)
        assert any(tuple(g) != made.task.answer(p) for g, p in zip(given, problems, strict=True))
    with pytest.raises(Rejected, match="another answer may be given"):
        check(folder_of(name, tmp_path, off))


FAULTS = {
    "the answer": planting.believed("_TextChecker.text", "another answer"),
    "the last position only": planting.within(
        "_TextChecker.text",
        lambda node: (
            planting.expression("place >= len(prompt)")
            if isinstance(node, ast.Compare) and ast.unparse(node) == "place >= first"
            else None
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_with_which_a_wrong_model_passes_is_noticed(fault, tmp_path):
    folder = folder_of("hist", tmp_path, off)
    task = MADE["hist"].task
    with planting.planted(TEXTS, FAULTS[fault], (TEXTS,)):
        meaning = Meaning(json.loads(task.program), task.length, task.copies)
        TEXTS.every_text(ProgramModel(folder), meaning)  # passes: so the check itself decides


def test_programs_of_too_many_texts_are_not_gone_through(tmp_path, monkeypatch):
    folder = folder_of("hist", tmp_path)
    monkeypatch.setattr(TEXTS, "MOST_TEXTS", 11)
    with pytest.raises(Rejected, match="12 texts to go through, more than 11"):
        check(folder)


def test_what_has_no_proof_by_columns_is_proved_text_by_text(tmp_path):
    """The column of a node is not named, so that rule SELECT has nothing to look at."""
    made = MADE["hist"]
    graph = json.loads(made.task.program)
    del graph["hints"]
    task = type(made.task)(json.dumps(graph), made.task.length, made.task.copies)
    model = build(made.program)
    save(model, task, tmp_path / "m", name="m", options={})
    judged = certify_program(model, task, tmp_path / "m")
    assert isinstance(judged["verdict"], Proved) and judged["counted"] == "tokens of texts"
    judged = certify_program(model, task, tmp_path / "m", 0)
    assert isinstance(judged["verdict"], Unknown) and "which lane" in str(judged["verdict"])
    assert not (tmp_path / "m" / "certificate.json").exists()


def test_a_mean_of_fractions_is_exact():
    meaning = meaning_of("share")
    assert TEXTS.evaluate(meaning, "ab") == [1, Fraction(1, 2)]


def test_the_length_counts_every_position():
    made = compile(everywhere().count(), length=2, vocabulary="ab")
    meaning = Meaning(json.loads(made.task.program), 2, made.task.copies)
    assert TEXTS.evaluate(meaning, "ab") == [2, 2]
