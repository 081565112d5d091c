"""What a stranger wrote into a name, a problem, an option or a reason is shown by every output of
the project, and has no effect there: the page, table or screen is built as with an ordinary word.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.test_escape import HOSTILE, parsed
from tinyadder.cli import main
from tinyadder.commands import _output
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.inspect.explorer import Exhibit
from tinyadder.inspect.explorer import page as explorer_page
from tinyadder.io.export import ExportSource, hub
from tinyadder.machine.compile import build
from tinyadder.report.board import board_html, board_markdown, claimed_number
from tinyadder.report.leaderboard import Entry, LeaderboardRow, Standing, public_field
from tinyadder.report.page import report_html
from tinyadder.report.results import Result
from tinyadder.report.tables import (
    README_COUNTS,
    SHOWN,
    adders_table,
    markdown_verdict,
    report_markdown,
)
from tinyadder.verify.external.board import BoardFinding, BoardRow, Listed
from tinyadder.verify.verdict import Counterexample, Exhaustive, Proved, Refuted, Unknown

MADE = construct("add10", digits=1)
MODEL = build(MADE.program)
PLAIN = "word"


def row(text: str) -> LeaderboardRow:
    """A row of the leaderboard with `text` wherever a results file could put one."""
    wrong = Counterexample((1, 1), text, text, (text, text), text)
    legal = [{"check": text, "passed": passed, "said": text} for passed in (True, False, None)]
    return LeaderboardRow(
        name="add10",
        trained=False,
        task=f"addition (digits 10, base 10, order most, operands 2) {text}",
        counts=dict.fromkeys((*SHOWN, *README_COUNTS, "numel"), 7),
        digest="",
        results=(
            Result("add10", "legality", "", {"findings": legal}, text, date=text),
            Result("add10", "verified", "", {}, text, date=text, versions={text: text}),
        ),
        findings=(
            Standing(Exhaustive(text, 7), {text: text}, of=10**9),
            Standing(Proved(text, text, 0.5), {text: text}),
            Standing(Unknown(text), {text: text}),
            Standing(Refuted(wrong), {text: text}, share={"wrong": 1, "count": 2, "domain": text}),
        ),
    )


def card(text: str) -> str:
    """The card of a hub folder, without its head."""
    verdict = markdown_verdict(Standing(Unknown(text), {text: text}))
    source = ExportSource(model=MODEL, task=MADE.task, name="add10", about=text, verdict=verdict)
    return hub.card(source).partition("---\n# ")[2]


def entry(text: str) -> BoardRow:
    """A row of the board with `text` wherever an entry or a manifest could put one."""
    listed = Listed(text, text, text, "trained", 7, *[text] * 5, sha256={text: text}, notes=text)
    return BoardRow(
        listed,
        *(text, text, 1.0, 0, text, text, "refuted", text),
        pair=(9, 1),
        got=text,
        replay=text,
        asked={text: 1},
        counts={text: 7},
        claim=text,
        legality=tuple(BoardFinding(text, passed, text) for passed in (True, False, None)),
        failed={text: text},
    )


def of_the_field(text: str) -> BoardRow:
    """The same for an entry of the public list."""
    one = next(one for one in public_field() if claimed_number(one))
    known = {"author": one["author"], "kind": one["category"], "claim": claimed_number(one)}
    made = entry(text)
    return replace(made, listed=replace(made.listed, **known))


MARKDOWN = {
    "the board": lambda text: board_markdown([entry(text)]),
    "LEADERBOARD.md": lambda text: report_markdown([row(text)]).partition("## The public")[0],
    "the table of the README": lambda text: adders_table([row(text)]),
    "the model card": card,
}
HTML = {
    "the page of the board": lambda text: board_html([entry(text)]),
    "the page of the report": lambda text: report_html(
        [Entry("add10", MODEL, MADE.task, False, None)],
        [row(text)],
        [of_the_field(text)],
        pictures=False,
    ),
    "the explorer": lambda text: explorer_page([Exhibit(text, text, MODEL, MADE.task)]),
    "a verdict in a notebook": lambda text: Unknown(text)._repr_html_(),
}


def structure(source: str) -> list[str]:
    """The blocks of a Markdown text, and what is in their lines, runs of text as one."""
    found: list[str] = []
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source):
        found.append(block.type)
        for child in block.children or ():
            kind = child.type.replace("text_special", "text")
            if kind != "text" or found[-1] != "text":
                found.append(kind)
    return found


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("output", MARKDOWN)
def test_markdown_is_built_as_with_a_word(output, hostile):
    plain, other = MARKDOWN[output](PLAIN), MARKDOWN[output](hostile)
    assert structure(other) == structure(plain)
    assert len(other.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("output", HTML)
def test_html_is_built_as_with_a_word(output, hostile):
    plain, other = parsed(HTML[output](PLAIN)), parsed(HTML[output](hostile))
    assert other.tags == plain.tags


TERMINAL = {
    "a line": lambda text: _output.echo(f"model {text}"),
    "a table": lambda text: _output.show_table(text, {"a": "left", "b": "right"}, [(text, text)]),
    "JSON": lambda text: _output.echo_json({text: [text]}),
    "a result that was written": lambda text: _output.echo(
        str(Refuted(Counterexample((1, 1), text, text, text, text)))
    ),
}


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("output", TERMINAL)
def test_nothing_printed_commands_a_terminal(output, hostile, capsys):
    TERMINAL[output](hostile)
    shown = capsys.readouterr().out
    assert shown.replace("\n", "").isprintable()
    if output == "JSON":
        assert json.loads(shown) == {hostile: [hostile]}


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_an_error_is_one_line_that_commands_no_terminal(hostile, capsys, monkeypatch):
    def fail(*_):
        raise TinyadderError(f"no model {hostile}")

    monkeypatch.setattr("tinyadder.commands.show.find", fail)
    with pytest.raises(SystemExit):
        main(["show", "add10"])
    error = capsys.readouterr().err
    assert error == f"error: no model {terminal(hostile)}\n" and error[:-1].isprintable()


def test_no_verb_prints_around_the_echo():
    files = {path.name: path.read_text() for path in Path(_output.__file__).parent.glob("*.py")}
    around = {
        name for name, text in files.items() if re.search(r"click\.echo|(?<![\w.])print\(", text)
    }
    assert around == {"_output.py"}, "use echo of tinyadder/commands/_output.py"


def test_these_checks_would_notice_what_is_not_escaped():
    plain = "| a |\n| - |\n| word |\n"
    assert structure(plain.replace("word", HOSTILE[0])) != structure(plain)
    assert structure(plain.replace("word", "*x*")) != structure(plain)
    assert not HOSTILE[7].isprintable()
