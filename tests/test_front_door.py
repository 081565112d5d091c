"""The front door: `import tinyadder`, a circuit in any file, tasks from a few lines, one-line
errors.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import pydoc
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import find

import tinyadder as ta
from tinyadder.cli import main
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

CIRCUITS = Path(__file__).parent / "circuits"
FOUR = ("vowels", "most_frequent", "induction2", "palindrome")


def run(*arguments, folder):
    """A command in `folder`, in this process, which has paid for torch."""
    out, error = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    return SimpleNamespace(code=left.value.code, out=out.getvalue(), error=error.getvalue())


def line(done):
    """The one line that a mistake is answered with."""
    assert done.code == 2 and done.out == "", (done.out, done.error)
    (only,) = done.error.splitlines()
    return only.removeprefix("error: ")


@pytest.fixture(scope="module")
def m():
    return ta.load("add10")


# ---- import tinyadder
# -----------------------------------------------------------------------------


def test_the_import_is_light_and_dir_and_help_show_the_real_names():
    code = "import sys, tinyadder as ta; print('torch' in sys.modules, {*ta.__all__} <= {*dir(ta)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False True\n", done.stderr
    text = pydoc.plain(pydoc.render_doc(ta))
    assert all(name in text for name in ta.__all__)


def test_every_public_name_is_there_and_known_to_a_type_checker():
    assert all(getattr(ta, name) is not None for name in ta.__all__)
    tree = ast.parse(Path(ta.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    stated = {
        a.asname for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names
    }
    assert stated == set(ta.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error_with_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'laod'; did you mean 'load'"):
        ta.laod  # noqa: B018


def test_text_in_text_out_and_a_batch_is_a_list(m):
    assert m.generate("123+456") == "579"
    assert m.generate(["123 456", (1, 2), "9999999999+1"]) == ["579", "3", "10000000000"]
    assert m.generate("^0000000123+0000000456=") == "00000000579"
    assert m.generate((np.int64(5), np.int32(6))) == "11"


def test_token_ids_are_taken_where_text_is(m):
    tokens = m.to_tokens("123+456")
    assert torch.equal(
        m.generate(tokens)[0], m.to_tokens("^0000000123+0000000456=00000000579")[0, 23:]
    )
    assert torch.equal(m(tokens), m("123+456"))
    assert m.to_str_tokens("1+2")[:3] == ["^", "0", "0"]


def test_an_answer_written_from_its_last_digit_on_is_a_number_with_the_raw_text_beside():
    answer = ta.load("add_any", digits=3).generate("12+34")
    assert answer == "46" and answer.raw == "6400"
    assert repr(answer) == "'46' (raw '6400')"


def test_the_cache_has_short_names_lanes_and_a_short_print(m):
    logits, cache = m.run_with_cache("123+456")
    assert torch.equal(logits, m("123+456"))
    assert cache["pattern", 0] is cache["blocks.0.attn.hook_pattern"]
    assert cache["resid_post", -1] is cache["blocks.1.hook_resid_post"]
    assert cache.lane("rest").shape == (1, 23, 1)
    assert list(cache) == ta.model.activation_names(m.module.config)
    shown = str(cache).splitlines()
    assert shown[0].split() == ["activation", "shape"] and len(shown) == 1 + len(cache)
    assert repr(cache) == str(cache) and "tensor(" not in str(cache)


def test_hooks_see_and_change_activations(m):
    seen = []

    def silence(value, hook):
        seen.append((hook.name, hook.layer()))
        return torch.zeros_like(value)

    hooks = [("blocks.1.attn.hook_z", silence)]
    with m.ablate(heads=[(1, 0)]):
        ablated = m("123+456")
    assert torch.equal(m.run_with_hooks("123+456", fwd_hooks=hooks), ablated)
    assert seen == [("blocks.1.attn.hook_z", 1)]
    assert not torch.equal(ablated, m("123+456"))
    with m.hooks([(lambda name: name.endswith("hook_z"), lambda value, hook: None)]):
        assert m.generate("123+456") == "579"


def test_a_patch_carries_an_activation_from_another_run(m):
    _, other = m.run_with_cache("111+111")
    with m.patch(other, lanes=["rest"]):
        patched = m("123+456")
    assert torch.equal(patched[0, -1].argmax(), m("111+111")[0, -1].argmax())


def test_everything_shows_itself_in_a_notebook(m):
    small = ta.load("add10", digits=2)
    for shown in (
        m,
        m.count(),
        m.trace("1+2"),
        small.verify(),
        m.plot("lanes", "1+2"),
    ):
        assert shown._repr_html_().startswith(("<pre>", "<img "))
        assert repr(shown) == str(shown)
    assert m.count()["nonzero"] == 40
    assert [step.chosen for step in m.trace("123+456")] == list("00000000579")
    assert repr(m) == "Model('add10': addition, built, 2 layers, width 5)"


def test_prove_keeps_the_certificate_where_it_is_told_to(m, tmp_path):
    from tinyadder.verify.certify.check.__main__ import main as check_main

    small = ta.load("add10", digits=2)
    verdict = small.prove(tmp_path / "kept")
    assert isinstance(verdict, ta.Proved) and Path(verdict.certificate).is_file()
    assert check_main([str(tmp_path / "kept")]) == 0
    assert "not kept" in small.prove().certificate


MISTAKES = {
    "operands too large": (lambda m: m.generate((10**10, 1)), "outside 0 .. 9999999999"),
    "negative operands": (lambda m: m.generate((-456, 1)), "outside 0 .. 9999999999"),
    "negative in text": (lambda m: m.generate("-456+1"), "is negative"),
    "a float": (lambda m: m.generate((1.5, 1)), "1.5"),
    "half a problem": (lambda m: m.generate("1+"), "is not a whole number"),
    "an id out of range": (lambda m: m.generate(torch.tensor([[99]])), "token id 99 is outside"),
    "a negative id": (lambda m: m(torch.tensor([[-1]])), "token id -1 is outside"),
    "ids that are no integers": (lambda m: m(torch.tensor([[0.5]])), "expected integers"),
    "texts of two lengths": (lambda m: m(["^1", "^12"]), "."),
    "an activation": (lambda m: m.run_with_cache("1+2")[1]["patern", 0], "did you mean 'pattern'"),
    "an activation by name": (
        lambda m: m.run_with_cache("1+2")[1]["blocks.0.hook"],
        "no activation",
    ),
    "a hook's place": (
        lambda m: m.run_with_hooks("1+2", fwd_hooks=[("x", None)]),
        "no activation 'x'",
    ),
    "a lane": (lambda m: m.run_with_cache("1+2")[1].lane("rets"), "did you mean 'rest'"),
    "a picture": (lambda m: m.plot("lane", "1+2"), "did you mean 'lanes'"),
    "a name": (lambda m: ta.load("ad10"), "did you mean 'add10'"),
    "an option": (lambda m: ta.load("add10", digit=4), "did you mean 'digits'"),
    "a folder": (lambda m: ta.load("./nothing/there"), "is not a folder"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_a_tinyadder_error_that_says_what_is_accepted(kind, m):
    mistake, text = MISTAKES[kind]
    with pytest.raises(TinyadderError, match=text):
        mistake(m)


# ---- a circuit in any file
# ------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOUR)
def test_a_circuit_with_its_task_is_one_file_of_25_lines_and_every_command_takes_it(name, tmp_path):
    assert len((CIRCUITS / f"{name}.py").read_text().splitlines()) <= 25
    shutil.copy(CIRCUITS / f"{name}.py", tmp_path)
    file = f"./{name}.py"
    assert file in run("list", folder=tmp_path).out
    assert "custom" in run("list", file, folder=tmp_path).out
    built = run("build", file, folder=tmp_path)
    assert built.code == 0 and "0 wrong   (exhaustive)" in built.out, built.error
    (tmp_path / "away").mkdir()
    (tmp_path / "out" / name).rename(tmp_path / "away" / "model")
    (tmp_path / f"{name}.py").rename(tmp_path / "away" / f"{name}.py")
    away = tmp_path / "away"
    word = ta.load(tmp_path / "away" / f"{name}.py").task.hard()[-1]
    for where in (file, "./model"):
        assert run("run", where, word, folder=away).code == 0
        assert "nonzero" in run("count", where, folder=away).out
        assert "EXHAUSTIVE" in run("verify", where, folder=away).out
        assert "EXHAUSTIVE" in run("exhaust", where, folder=away).out
        assert "(right)" in run("trace", where, word, folder=away).out
        assert run("show", where, folder=away).code == 0
        assert run("explore", where, "--force", folder=away).code == 0
        assert run("export", where, "--to", "json", "--force", folder=away).code == 0
        assert run("export", where, "--to", "hub", "--force", folder=away).code == 0
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_tagger_is_judged_at_every_position(tmp_path):
    shutil.copy(CIRCUITS / "seen.py", tmp_path)
    m = ta.load(tmp_path / "seen.py")
    assert m.generate("bcab") == "nnyy"
    assert m.generate(["bcab", "b"]) == ["nnyy", "n"]
    assert isinstance(m.verify().verdict, ta.Exhaustive)
    with m.ablate(lanes=["seen"]):
        wrong = m.verify()
    assert isinstance(wrong.verdict, ta.Refuted) and wrong.verdict.counterexample.shown == "a"
    assert run("build", "./seen.py", folder=tmp_path).code == 0  # undecided by proof: no mistake
    for where in ("./seen.py", "out/seen"):
        assert run("run", where, "bcab", folder=tmp_path).out == "nnyy\n"
        assert "EXHAUSTIVE" in run("verify", where, folder=tmp_path).out
        assert "EXHAUSTIVE" in run("exhaust", where, folder=tmp_path).out
        assert "answer nnyy = nnyy (right)" in run("trace", where, "bcab", folder=tmp_path).out
        assert run("explore", where, "--force", folder=tmp_path).code == 0
        assert run("plot", where, "attention", "bcab", "--force", folder=tmp_path).code == 0


PASS = "def construct():\n    pass\n"
FILES = {
    "def construct(:\n": ", line 1: invalid syntax",
    f"import nosuch\n{PASS}": ", line 1: ModuleNotFoundError: No module named 'nosuch'",
    f"x = 1\ny = x / 0\n{PASS}": ", line 2: ZeroDivisionError: division by zero",
    f"import sys\nsys.exit(3)\n{PASS}": ", line 2: SystemExit: 3",
    "def construct():\n    raise ValueError('no\\nway')\n": ", line 2: ValueError: no way",
    "def construct():\n    return 3\n": ": construct() returned int; expected",
    "construct = 3\n": ": construct is a int; expected a function",
    "x = 3\n": " defines no function construct and no variable model; tinyadder new",
    "def build_model(): pass\ndef add(m, a, b): pass\n": " defines build_model and add: a subm",
    "\x00": ", line 1: source code string cannot contain null bytes",
}
"""What stands in a file -> what is said after its name."""


@pytest.mark.parametrize("text", FILES)
def test_a_file_that_fails_is_one_line_and_never_breaks_the_list(text, tmp_path):
    (tmp_path / "f.py").write_text(text)
    said = line(run("run", "./f.py", "1 2", folder=tmp_path))
    assert said.startswith(f"f.py{FILES[text]}"), said
    listed = run("list", folder=tmp_path)
    assert listed.code == 0 and "add10" in listed.out
    assert run("list", "./f.py", folder=tmp_path).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.py"]


def test_a_file_that_is_not_there_is_said(tmp_path):
    assert (
        line(run("show", "./none.py", folder=tmp_path))
        == "cannot read none.py: No such file or directory"
    )


def test_listing_a_folder_runs_none_of_its_files(tmp_path):
    (tmp_path / "trap.py").write_text("open('ran', 'w')\ndef construct(): pass\n")
    assert "./trap.py" in run("list", folder=tmp_path).out
    assert not (tmp_path / "ran").exists()


def test_a_file_may_import_the_file_beside_it_and_takes_options(tmp_path):
    shutil.copy(CIRCUITS / "vowels.py", tmp_path / "base.py")
    (tmp_path / "mine.py").write_text(
        "import base\ndef construct(*, n=1):\n    return base.construct()\n"
    )
    assert run("run", "./mine.py", "abe", "-o", "n=2", folder=tmp_path).out == "2\n"
    assert "no option 'm'" in line(run("run", "./mine.py", "abe", "-o", "m=2", folder=tmp_path))
    assert str(tmp_path) not in sys.path and "base" in sys.modules
    del sys.modules["base"]


def test_a_program_of_another_vocabulary_than_its_task_is_refused(tmp_path):
    text = (
        (CIRCUITS / "vowels.py")
        .read_text()
        .replace("            task.vocabulary", "            '0123456789abcde=^x'")
    )
    (tmp_path / "f.py").write_text(text)
    assert "make it Program(task.vocabulary, ...)" in line(run("show", "./f.py", folder=tmp_path))


def test_a_submission_file_and_a_construction_file_are_told_apart(tmp_path):
    shutil.copy(CIRCUITS / "vowels.py", tmp_path)
    assert "strict" in run("count", "./vowels.py", folder=tmp_path).out
    assert "running" not in run("count", "./vowels.py", folder=tmp_path).error
    assert (
        "no check of 8 fails"
        in run("legality", "./vowels.py", "--problems", "8", folder=tmp_path).out
    )


@pytest.mark.parametrize(
    ("begun", "completed"),
    [
        ("build add10_2", "plain,add10_27\nplain,add10_28\n"),
        ("run ./v", "file,./v\n"),
        ("list add_b", "plain,add_base\n"),
        ("trac", "plain,trace\n"),
    ],
)
def test_the_shell_completes_commands_names_and_files(begun, completed, monkeypatch):
    words = f"tinyadder {begun}"
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_TINYADDER_COMPLETE", "bash_complete")
    written = io.BytesIO()
    out = io.TextIOWrapper(written, write_through=True)
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 0 and written.getvalue().decode() == completed


# ---- tasks from a few lines
# -----------------------------------------------------------------------


def word_task(**changed):
    given = {"alphabet": "ab", "lengths": range(1, 5), "answer": lambda word: word.count("a")}
    return ta.task(**given | changed)


def test_a_task_has_prompt_samplers_domain_and_strategy():
    from random import Random

    task = word_task()
    assert (task.prompt("ab"), task.answer("ab"), task.parse(" ab "), task.parse("^ab=")) == (
        "^ab=",
        "1",
        "ab",
        "ab",
    )
    every = {task.domain().problem(i) for i in range(task.domain().size)}
    assert len(every) == 2 + 4 + 8 + 16
    for words in (task.hard(), task.uniform(Random(0), 50), task.structured(Random(0), 50)):
        assert set(words) <= every
    assert find(task.strategy(), lambda word: len(word) == 4) in every


def test_answers_of_different_lengths_end_in_a_token_of_their_own():
    task = word_task(lengths=range(1, 12), answer=lambda word: str(len(word)))
    assert (task.end, task.answer("a" * 11), task.show_answer("11$"), task.answer_length) == (
        "$",
        "11$",
        "11",
        3,
    )


def test_a_task_with_few_words_is_saved_with_every_answer():
    from tinyadder.tasks import task_from_json

    again = task_from_json(json.loads(json.dumps(word_task().to_json())))
    assert again.has_oracle and again.answer("abaa") == "3" and again.oracle is None
    assert again == word_task() and again.to_json() == word_task().to_json() | {
        "digest": again.digest
    }


@pytest.fixture
def large(tmp_path):
    """A model of more words than are saved, in a folder, and the file that it came from."""
    text = (CIRCUITS / "vowels.py").read_text().replace("range(1, 6)", "range(1, 10)")
    (tmp_path / "large.py").write_text(text)
    ta.load(tmp_path / "large.py").save(tmp_path / "model")
    return tmp_path


def test_a_folder_without_the_oracle_runs_and_verify_says_what_it_lacks(large):
    assert run("run", "model/", "abeab", folder=large).out == "3\n"
    assert (
        "the right answer is not known here" in run("trace", "model/", "abeabcd", folder=large).out
    )
    assert run("explore", "model/", folder=large).code == 0
    for verb in ("verify", "exhaust"):
        assert "--task ./FILE.py" in line(run(verb, "model/", folder=large))
    judged = run(
        "verify", "model/", "--task", "./large.py", "--count", "50", "--examples", "5", folder=large
    )
    assert judged.code == 0 and "SAMPLED" in judged.out and "public suite" not in judged.out


def test_the_task_of_another_vocabulary_is_refused(large):
    shutil.copy(CIRCUITS / "palindrome.py", large)
    assert "its vocabulary is" in line(
        run("verify", "model/", "--task", "./palindrome.py", folder=large)
    )


TASKS = {
    "no letters": ({"alphabet": ""}, "alphabet=''"),
    "a letter twice": ({"alphabet": "aa"}, "different characters"),
    "a space": ({"alphabet": "a b"}, "visible character"),
    "no lengths": ({"lengths": range(0)}, "lengths=range"),
    "lengths in steps": ({"lengths": range(1, 9, 2)}, "lengths=range"),
    "length 0": ({"lengths": range(3)}, "shortest=0"),
    "no function": ({"answer": "a"}, "expected a function"),
    "an answer that fails": ({"answer": lambda word: 1 / 0}, "fails: ZeroDivisionError"),
    "an empty answer": ({"answer": lambda word: ""}, "expected a string"),
    "tokens of two characters": ({"answer": lambda word: ["ab"]}, "single characters"),
    "an unnamed token": ({"answer": lambda word: "x", "outputs": "yz"}, "name all of them"),
    "a prompt without the word": ({"prompt": "^="}, "the place of the word"),
    "too few tags": ({"answer": lambda word: "y", "positions": True}, "one for each"),
    "an end that is in answers": ({"end": "1"}, "that is in no answer"),
}


@pytest.mark.parametrize("kind", TASKS)
def test_what_makes_no_task_is_refused(kind):
    given, text = TASKS[kind]
    with pytest.raises(TinyadderError, match=text):
        task = word_task(**given)
        task.answer("ab")


DAMAGED = {
    "an option": lambda data: data["options"].update(alfabet="ab"),
    "a table that is too short": lambda data: data.update(table="1 2"),
    "a table of other tokens": lambda data: data.update(table=data["table"].replace("0", "x")),
    "a table that is a list": lambda data: data.update(table=["1"]),
    "examples that are none": lambda data: data.update(table=None, examples=[["a"]]),
    "a length without bound": lambda data: data["options"].update(longest=10**9),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_task_is_refused(kind):
    from tinyadder.tasks import task_from_json

    data = json.loads(json.dumps(word_task().to_json()))
    DAMAGED[kind](data)
    with pytest.raises(TinyadderError):
        task_from_json(data)


def test_a_task_class_in_a_file_is_saved_as_prompts_with_known_answers(tmp_path):
    (tmp_path / "f.py").write_text(
        "from dataclasses import dataclass\n"
        "import tinyadder as ta\n"
        "from tinyadder.tasks.counting import Counting\n"
        "from tinyadder.constructions.count_occurrences import construct as theirs\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Counting):\n    pass\n"
        "def construct():\n    return ta.Construction(theirs().program, Mine())\n"
    )
    ta.load(tmp_path / "f.py").save(tmp_path / "model")
    m = ta.load(tmp_path / "model")
    assert m.task.name == "custom" and m.generate("^abca=") == "2"
    assert "--task ./FILE.py" in line(run("verify", "model/", folder=tmp_path))
    judged = run(
        "verify", "model/", "--task", "./f.py", "--count", "50", "--examples", "5", folder=tmp_path
    )
    assert judged.code == 0, judged.error


def test_two_builds_of_a_changed_oracle_are_two_sweeps(tmp_path):
    from tinyadder.verify.exhaustive import pack

    files = [(CIRCUITS / "vowels.py").read_text().replace("range(1, 6)", "range(1, 10)")]
    files.append(files[0].replace('in "ae"', 'in "ab"'))
    keys = set()
    for i, text in enumerate(files):
        (tmp_path / f"f{i}.py").write_text(text)
        m = ta.load(tmp_path / f"f{i}.py")
        keys.add(pack(ta.load(tmp_path / "f0.py").module, m.task, {}).key)
    assert len(keys) == 2


# ---- models made and changed in Python -----------------------------------------------------------


def made_here():
    """A construction that is in no file."""
    task = ta.task(alphabet="ab", lengths=range(1, 4), answer=lambda word: word.count("a"))
    x = ta.Stream(a="1 on 'a'", count="how many")
    rest = [
        ta.Embed(a={"a": 1}),
        ta.Attention(count=ta.gadgets.sum_head(x.a)),
        ta.Unembed(argmax=ta.gadgets.parabola_readout(x.count, range(4))),
    ]
    return ta.Construction(ta.Program(task.vocabulary, x, *rest), task)


def test_a_construction_made_in_python_is_a_model_like_any_other(tmp_path):
    m = ta.load(made_here())
    assert repr(m) == "Model('unnamed': custom, built, 1 layer, width 2)"
    assert m.generate(["aba", "b"]) == ["2", "0"] and m.count()["nonzero"] == 10
    assert isinstance(m.verify().verdict, ta.Exhaustive)
    assert len(m.circuit(pairs=2).edges) == 2 and "unnamed" in str(m.explore("aba"))
    m.save(tmp_path / "model")
    again = ta.load(tmp_path / "model")
    assert again.generate("aba") == "2" and again.program is not None
    with pytest.raises(TinyadderError, match="takes no options and no task"):
        ta.load(made_here(), digits=3)
    other = ta.Construction(made_here().program, Addition(digits=2))
    with pytest.raises(TinyadderError, match="make it Program"):
        ta.load(other)


def test_a_model_whose_weights_were_changed_is_saved_as_it_is(tmp_path):
    """Once the equations went with it, and nothing could load the folder."""
    m = ta.load("add10", digits=2)
    with torch.no_grad():
        m.module.embedding[7, 0] *= 1.5
    m.save(tmp_path / "changed")
    again = ta.load(tmp_path / "changed")
    assert again.program is None and torch.equal(again.module.embedding, m.module.embedding)
    assert isinstance(m.prove(), ta.Refuted)
