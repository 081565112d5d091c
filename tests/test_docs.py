"""The pages in docs do what they say: Python prints what stands below it, commands print what
stands below them.

`python -m tools.renew pages` renews the outputs.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import asdict

import pytest

from tinyadder.cli import cli
from tinyadder.train.recipe import read_recipe
from tools.pages import (
    BLOCK,
    DOCS,
    ROOT,
    commands_of,
    console,
    files_of,
    renewed,
    scratch,
    settled,
)


def blocks(*kinds: str) -> list[tuple[str, str]]:
    """(page, block) for every block of these kinds."""
    return [
        (page.relative_to(ROOT / "docs").as_posix(), block)
        for page in DOCS
        for kind, block in BLOCK.findall(page.read_text())
        if kind in kinds
    ]


@pytest.fixture
def in_scratch():
    with scratch():
        yield


def python_only(text: str) -> str:
    """A page without its console blocks, which have a test of their own."""
    return re.sub(r"```console\n.*?```", "", text, flags=re.S)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_python_runs_and_prints_what_stands_below_it(page, in_scratch):
    text = python_only(page.read_text())
    assert settled(renewed(text)) == settled(text), "python -m tools.renew pages"


@pytest.mark.parametrize(("page", "block"), blocks("console"))
def test_commands_print_what_stands_below_them(page, block):
    files = files_of((ROOT / "docs" / page).read_text())
    assert console(block, files) == block, "python -m tools.renew pages"


@pytest.mark.parametrize(("page", "block"), blocks("sh"))
def test_commands_that_are_only_shown_have_verbs_and_options_that_exist(page, block):
    for line in block.splitlines():
        program, verb, *words = shlex.split(line)
        assert program == "tinyadder" and verb in cli.list_commands(None), line
        command = cli.get_command(None, verb)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize(("page", "block"), blocks("toml"))
def test_a_recipe_that_is_shown_is_read_as_one(page, block, tmp_path):
    (tmp_path / "recipe.toml").write_text(block)
    recipe = read_recipe(str(tmp_path / "recipe.toml"))
    shown = tomllib.loads(block)
    for section in shown.keys() & {"structure", "data", "train"}:
        read = asdict(getattr(recipe, section))
        assert {key: settled_value(read[key]) for key in shown[section]} == shown[section]


def settled_value(value: object) -> object:
    """A value of a recipe as TOML has it: tuples are lists."""
    return json.loads(json.dumps(value))


def test_every_link_and_picture_is_there():
    links = [
        (page, link) for page in DOCS for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    ]
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
    named = [
        name
        for page in DOCS
        for name in re.findall(
            r"`((?:notebooks|docs|verify|tinyadder|tests)/[\w/.]+)`", page.read_text()
        )
    ]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_a_file_that_a_page_shows_is_run_there(page):
    text = page.read_text()
    commands = [line for kind, block in BLOCK.findall(text) for line in commands_of(block)]
    assert all(any(f"./{name}" in command for command in commands) for name in files_of(text))


def test_no_block_is_of_a_kind_that_nothing_runs():
    """Sphinx's own blocks, ```{name}, are its affair."""
    directive = re.compile(r"^```\{.*?^```$", re.M | re.S)
    texts = [directive.sub("", page.read_text()) for page in DOCS]
    fence = re.compile(r"^```(\w*)\n.*?^```$", re.M | re.S)
    kinds = {kind for text in texts for kind in fence.findall(text)}
    assert kinds <= {"python", "text", "console", "sh", "toml"}


def test_an_output_that_is_no_longer_true_would_be_noticed(in_scratch):
    text = "```python\nprint(2 + 2)\n```\n\n```text\n5\n```\n"
    assert renewed(text) == text.replace("5", "4")


def test_the_page_of_the_api_has_every_public_name_once_with_an_example():
    import tinyadder as ta

    text = (ROOT / "docs" / "api.md").read_text()
    sections = re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert sorted(name for name, _ in sections) == sorted(ta.__all__)
    for name, section in sections:
        code = "".join(block for kind, block in BLOCK.findall(section) if kind == "python")
        assert f"ta.{name}" in code or (name == "Model" and "m.generate" in code), name


TEST = re.compile(r"\b(test_\w+)\.py(?:::|`, `)(test_\w+)")


def missing_tests(text: str) -> list[str]:
    """The tests that a page names and that are not in the file it names."""
    found = []
    for file, name in TEST.findall(text):
        path = ROOT / "tests" / f"{file}.py"
        if not path.is_file() or f"def {name}(" not in path.read_text():
            found.append(f"{file}.py::{name}")
    return found


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page):
    assert missing_tests(page.read_text()) == []


def test_a_test_that_is_not_there_would_be_noticed():
    assert missing_tests("see `test_docs.py::test_nothing`") == ["test_docs.py::test_nothing"]
    assert TEST.search((ROOT / "docs" / "trust.md").read_text())
