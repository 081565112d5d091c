"""benchmarks.options: one switch a run, and a line and a record of each."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks import options
from benchmarks.options import SWITCHES, main, switched
from tinyadder.errors import TinyadderError
from tinyadder.train.recipe import read_recipe


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_what_it_says_and_nothing_else(name):
    plain, other = switched("none", 10).to_json(), switched(name, 10).to_json()
    changed = {
        (section, key)
        for section in ("model", "data", "train")
        for key in plain[section]
        if plain[section][key] != other[section][key]
    }
    section, change = SWITCHES[name]
    assert changed == {(section, key) for key in change if plain[section][key] != change[key]}
    assert bool(changed) == (name != "none") and other["task"] == plain["task"]


def test_an_unknown_option_is_refused():
    with pytest.raises(TinyadderError, match="no option 'dropuot'; did you mean 'dropout'"):
        switched("dropuot", 10)


def test_a_run_is_one_line_and_one_record(tmp_path, monkeypatch):
    recipe = read_recipe("addition3-reversed")
    little = replace(recipe, data=replace(recipe.data, examples=500, validation=20, test=50))
    monkeypatch.setattr(options, "read_recipe", lambda name: little)
    out = tmp_path / "runs.json"
    asked = ["--steps", "1", "--seed", "3", "--only", "bf16", "--out", str(out)]
    done = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert done.output.startswith("bf16") and "seed 3" in done.output
    (run,) = json.loads(out.read_text())["runs"]
    assert (run["changed"], run["steps"], run["problems"]) == (
        {"train": {"precision": "bf16"}},
        1,
        50,
    )
    assert run["exact"] < 0.5
