"""`tinyadder new`: what it writes builds, runs and is refuted; it overwrites nothing and refuses
bad names.
"""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from tinyadder.cli import main
from tinyadder.commands.new import command
from tinyadder.construction import construction_folder
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.verify.claims import check_claims
from tinyadder.verify.properties import verify
from tinyadder.verify.verdict import Refuted


def exit_code(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_skeleton_builds_runs_and_is_refuted(tmp_path):
    result = CliRunner().invoke(command, ["my_adder", "--dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    module = load(tmp_path / "my_adder.py")
    made = module.construct()
    model = build(made.program)
    assert answers(model, made.task, [(0, 0)]) == ["000"]
    verdict = verify(model, made.task, count=100, examples=10).verdict
    assert isinstance(verdict, Refuted)
    found = check_claims(model, made.task, made.claims, made.task.hard()[:20])
    assert {errors.lane for errors in found} == set(made.program.stream.lanes)
    assert max(errors.absolute for errors in found) < 1e-9
    assert (
        module.__doc__.startswith("my_adder: ")
        and "NAME" not in (tmp_path / "my_adder.py").read_text()
    )


def test_every_part_of_the_skeleton_is_explained(tmp_path):
    assert exit_code("new", "first", "--dir", tmp_path) == 0
    text = (tmp_path / "first.py").read_text()
    for part in ("Stream(", "Embed(", "Attention(", "MLP(", "Unembed("):
        before = text[: text.rindex(part)].splitlines()
        assert any("#" in line for line in before[-4:]), part


def test_a_file_that_exists_is_left_as_it_is(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text("precious")
    assert exit_code("new", "mine", "--dir", tmp_path) == 2
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    assert "exists and is left as it is" in capsys.readouterr().err


def test_a_construction_is_not_shadowed(capsys):
    before = (construction_folder() / "add10.py").read_text()
    assert exit_code("new", "add10") == 2
    assert "already" in capsys.readouterr().err
    assert (construction_folder() / "add10.py").read_text() == before


@pytest.mark.parametrize("name", ["My", "a-b", "_hidden", "1st", "for", "a/b", "../up", "été", ""])
def test_a_bad_name_is_refused_with_a_good_one(name, tmp_path, capsys):
    assert exit_code("new", name, "--dir", tmp_path) == 2
    assert "e.g. my_adder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path, capsys):
    assert exit_code("new", "mine", "--dir", tmp_path / "nowhere") == 2
    assert "give another folder with --dir" in capsys.readouterr().err


def test_json_names_the_file_and_the_next_steps(tmp_path):
    result = CliRunner().invoke(command, ["mine", "--dir", str(tmp_path), "--json"])
    assert json.loads(result.stdout)["wrote"] == str(tmp_path / "mine.py")
