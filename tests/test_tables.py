"""A task that is a table of words and answers: its texts, and proofs about it."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import tinyadder as ta
from tests import planting
from tests.test_check import sealed
from tinyadder.io.folder import save
from tinyadder.verify.certify.check import Rejected, check, tables
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.check.texts import texts
from tinyadder.verify.certify.prove import certify, prove
from tinyadder.verify.certify.spec import NoSpecification, specifications
from tinyadder.verify.verdict import Proved, Refuted, Unknown

CIRCUITS = Path(__file__).parent / "circuits"
TASKS = {
    "one token": ta.task(alphabet="abc", lengths=range(1, 4), answer=lambda w: w.count("a")),
    "one length": ta.task(alphabet="ab", lengths=range(3, 4), answer=lambda w: w[::-1]),
    "two lengths of answers": ta.task(
        alphabet="ab",
        lengths=range(1, 5),
        answer=lambda w: "ab"[: 1 + w.count("b") % 2],
        end="$",
    ),
    "no mark around the word": ta.task(
        alphabet="ba", lengths=range(2, 4), answer=max, prompt="{}", outputs="ab"
    ),
    "letters that are marks": ta.task(
        alphabet="=^", lengths=range(1, 3), answer=lambda w: w[0], prompt="^{}=="
    ),
}


def spelled(task):
    """Every prompt with its right answer, one character a token."""
    domain = task.domain()
    words = [domain.problem(n) for n in range(domain.size)]
    return sorted((*task.prompt(w), *task.answer(w)) for w in words)


def read(task):
    """The same by the automata of the checker."""
    _, found = tables.specify(task.to_json())
    return sorted(text for _, stages in found for text in texts(stages))


@pytest.mark.parametrize("name", TASKS)
def test_the_texts_of_a_table_are_all_words_with_their_answers(name):
    task = TASKS[name]
    assert read(task) == spelled(task)
    assert tuple(tables.specify(task.to_json())[0]) == task.vocabulary


@pytest.mark.parametrize("name", TASKS)
def test_prover_and_checker_have_the_same_automata(name):
    _, found = tables.specify(TASKS[name].to_json())
    mine = specifications(TASKS[name])
    for spec, (start, stages) in zip(mine, found, strict=True):
        moves = [(stage.position, [tuple(edge) for edge in stage.edges]) for stage in spec.stages]
        assert spec.start == start and moves == stages
        text = next(iter(spec.texts()))
        assert TASKS[name].prompt(spec.problem(text)) == "".join(text[:start])


@pytest.mark.parametrize(
    "fault",
    [
        planting.instead("texts", "enumerate", "enumerate(alphabet[::-1])"),
        planting.instead("specify", "sorted", "[len(block[0])]"),
    ],
    ids=["letters in another order", "answers of one length only"],
)
def test_a_fault_in_the_reading_of_tables_is_noticed(fault):
    module = sys.modules["tinyadder.verify.certify.check.tables"]
    with planting.planted(module, fault, (module,)):
        assert any(read(task) != spelled(task) for task in TASKS.values())


def palindromes():
    """Model, task, program: words of at most 4 letters, so that a proof is quick."""
    m = ta.load(str(CIRCUITS / "palindrome.py"))
    task = ta.task(alphabet="ab", lengths=range(1, 5), answer=m.task.oracle)
    return m.module, task, m.program


def kept(folder, model, task, program=None):
    save(model, task, folder, name="mine", options={}, program=program, force=True)
    return folder


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    model, task, program = palindromes()
    folder = kept(tmp_path_factory.mktemp("tables") / "m", model, task, program)
    assert isinstance(verdict := certify(model, task, folder).verdict, Proved), verdict
    assert verdict.domain == (
        "all 30 words of 1 .. 4 letters of a b, by the table of right answers in model.json"
    )
    return folder


@pytest.mark.parametrize("name", ["vowels", "most_frequent"])
def test_a_circuit_in_a_file_is_proved_by_branches(name):
    proof = ta.load(str(CIRCUITS / f"{name}.py")).prove()
    assert isinstance(proof, Proved), proof


def test_a_model_that_is_wrong_on_one_word_is_refuted_with_this_word(tmp_path):
    model, task, program = palindromes()
    other = ta.task(
        alphabet="ab",
        lengths=range(1, 5),
        answer=lambda w: "y" if w == "abb" else task.oracle(w),
    )
    verdict = certify(model, other, kept(tmp_path / "m", model, other, program)).verdict
    assert isinstance(verdict, Refuted) and verdict.counterexample.shown == "abb"


def test_texts_of_one_length_are_told_apart_and_an_automaton_without_a_choice_is_no_error():
    task = ta.task(alphabet="ab", lengths=range(2, 4), answer=lambda w: "aa"[len(w) - 2 :], end="$")
    specs = specifications(task)
    assert len({spec.length for spec in specs}) == 1 < len(specs)
    for spec in specs:
        for text in spec.texts():
            [one] = [other for other in specs if other.has(text)]
            assert one is spec and not spec.has(text[:-1]) and not spec.has((*text[:-1], "b"))
    x = ta.Stream(a="1 on 'a'", count="how many 'a' so far")
    rest = [
        ta.Embed(a={"a": 1}),
        ta.Attention(count=ta.gadgets.sum_head(x.a)),
        ta.Unembed(argmax={"a": x.count - 1.5, "$": 0}),
    ]
    made = ta.Construction(ta.Program(task.vocabulary, x, *rest), task)
    verdict = prove(ta.load(made).module, task, most_texts=0).verdict
    assert isinstance(verdict, Refuted) and verdict.counterexample.shown in ("bb", "ab", "ba")


def test_a_certificate_of_another_table_is_rejected_even_with_a_fresh_seal(proved, tmp_path):
    about = json.loads((proved / "model.json").read_text())
    answers = about["task"]["table"].split(" ")
    answers[9] = {"y": "n", "n": "y"}[answers[9]]
    about["task"]["table"] = " ".join(answers)
    (tmp_path / "model.json").write_text(json.dumps(about))
    shutil.copy(proved / "model.safetensors", tmp_path)
    certificate = json.loads((proved / "certificate.json").read_text())

    def reason():
        (tmp_path / "certificate.json").write_text(json.dumps(sealed(certificate)))
        with pytest.raises(Rejected) as rejected:
            check(tmp_path)
        return str(rejected.value)

    assert reason() == "the certificate is of another model"
    model = ProgramModel(tmp_path)
    certificate["model"] = model.digest(model.to_json()["sha256"])
    assert reason() == "the certificate is of another task"
    certificate["task"] = about["task"]
    assert "may not have the largest logit" in reason()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"table": None}, "the table of the right answers is not in model.json"),
        ({"table": "y n y"}, "the table is too short or too long"),
        ({"table": " ".join("y" * 31)}, "the table is too long"),
        ({"table": " ".join("x" * 30)}, "no answer: 'x'"),
        ({"table": " ".join(["yy"] * 30)}, "no answer: 'yy'"),
        ({"alphabet": "aa"}, "a token stands twice"),
        ({"positions": True}, "an answer at every letter"),
        ({"positions": 0}, "options"),
        ({"form": "^="}, "the place of the word"),
        ({"stop": "y"}, "the end of an answer"),
        ({"stop": "$"}, "an answer without its end"),
        ({"longest": 10**9}, "the lengths of words"),
        ({"longest": True}, "options"),
    ],
)
def test_a_table_that_is_none_is_rejected_in_one_line(proved, change, reason):
    task = json.loads((proved / "model.json").read_text())["task"]
    for key, value in change.items():
        (task if key == "table" else task["options"])[key] = value
    with pytest.raises(Rejected, match=reason):
        tables.specify(task)


def test_a_tagger_and_a_task_of_too_many_words_stay_unknown():
    tagger = ta.load(str(CIRCUITS / "seen.py"))
    assert isinstance(verdict := tagger.prove(), Unknown)
    assert "not one at every letter" in verdict.reason
    long = ta.task(
        alphabet="ab", lengths=range(1, 19), answer=lambda w: "y", outputs="y", answer_length=1
    )
    with pytest.raises(NoSpecification, match="524,286 words"):
        specifications(long)
