"""A folder of submissions becomes a table; whatever an entry does, the others are judged, and what
is finished is kept.
"""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from tests.submissions import HONEST
from tests.test_escape import parsed
from tinyadder.commands.board import command
from tinyadder.errors import TinyadderError
from tinyadder.report import board as tables
from tinyadder.verify.external import board
from tinyadder.verify.external.board import (
    BoardFinding,
    BoardRow,
    Listed,
    board_entries,
    judge_board,
    measure,
    read_row,
    row_file,
)

ADDER = "def build_model(): return {}\ndef add(model, a, b): return a + b\n"


@pytest.fixture
def folder(tmp_path):
    """Entries of every form: a file, a folder with one, nested, with several, with none."""
    made = tmp_path / "entries"
    for name, text in {
        "flat.py": ADDER,
        "verify.py": "import flat\nmodel = flat.build_model()\nflat.add(model, 1, 2)\n",
        "alone/model.py": ADDER,
        "alone/helper.py": "x = 1",
        "deep/a/b/submission_9p.py": ADDER,
        "deep/a/b/train.py": "pass",
        "several/one.py": ADDER,
        "several/two.py": ADDER,
        "named/submission.py": ADDER,
        "named/older.py": ADDER,
        "none/readme.md": "nothing",
        "broken/entry.py": "def build_model(: pass\ndef add(model, a, b): pass",
        "guarded/entry.py": "if True:\n    def build_model(): pass\n    add = build_model\n",
        "imported/entry.py": "from x import add, build_model\n",
        ".git/x.py": ADDER,
        "__pycache__/x.py": ADDER,
    }.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


@pytest.fixture
def steps(monkeypatch):
    """What is asked of entries, replaced: each test says what comes out."""
    asked: list[str] = []

    def verdict(entry, row):
        asked.append(entry.name)
        if entry.name == "broken/entry" or entry.name == "broken":
            raise TinyadderError(f"{entry.path}: SyntaxError: invalid syntax (line 1)")
        if entry.name == "alone":
            raise KeyError("a bug")
        return {"verdict": "sampled", "text": "10 sums, 0 wrong", "margin": 0.5}

    monkeypatch.setattr(board, "STEPS", {"verdict": verdict})
    return asked


def run(*arguments):
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


# ---- what is in a folder -------------------------------------------------------------------------


def test_every_file_and_subfolder_with_an_add_is_an_entry_and_a_subfolder_without_one_says_so(
    folder,
):
    found = {entry.name: entry for entry in board_entries(folder)}
    assert found.keys() == {
        *("flat", "alone", "deep", "several/one", "several/two", "named", "none", "broken"),
        *("guarded", "imported"),
    }
    assert found["deep"].path == folder / "deep/a/b/submission_9p.py"
    assert found["named"].path == folder / "named/submission.py"
    assert found["none"].reason == "no Python file in none defines add(model, a, b)"
    assert all(not entry.reason for name, entry in found.items() if name != "none")


def test_the_hash_of_an_entry_is_of_its_files_alone(folder):
    before = {entry.name: entry.digest for entry in board_entries(folder)}
    (folder / "alone/weights.bin").write_bytes(b"1")
    (folder / "beside.npz").write_bytes(b"2")
    after = {entry.name: entry.digest for entry in board_entries(folder)}
    assert [name for name in before if before[name] != after[name]] == ["alone"]
    (folder / "flat.py").write_text(ADDER + "# loads beside.npz\n")
    mentions = {entry.name: entry.digest for entry in board_entries(folder)}["flat"]
    (folder / "beside.npz").write_bytes(b"3")
    assert {entry.name: entry.digest for entry in board_entries(folder)}["flat"] != mentions


def test_an_entry_of_too_many_bytes_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(board, "MOST_BYTES", 2**20)
    with (folder / "alone/big.bin").open("wb") as stream:
        stream.truncate(2**21)
    (entry,) = [entry for entry in board_entries(folder) if entry.name == "alone"]
    assert entry.reason == "it is more than 2,000 files or 1 MiB" and not entry.digest


def test_a_manifest_says_who_made_an_entry_and_its_order_counts(folder):
    (folder / "board.toml").write_text(
        '[[entry]]\nname = "mine"\nfile = "several/two.py"\nauthor = "A"\nclaim = 9\n'
        'kind = "trained"\n[[entry]]\nname = "flat"\n[[entry]]\nname = "gone"\n'
    )
    found = board_entries(folder)
    assert [entry.name for entry in found[:3]] == ["mine", "flat", "gone"]
    assert (found[0].listed.author, found[0].listed.claim) == ("A", 9)
    assert found[2].reason == "gone.py is not in the folder"
    assert "several" not in [entry.name for entry in found]  # its folder is listed


def test_another_file_than_that_of_the_manifest_is_not_judged(folder, steps, tmp_path):
    import hashlib

    right = hashlib.sha256(ADDER.encode()).hexdigest()
    (folder / "board.toml").write_text(
        f'[[entry]]\nname = "flat"\nsha256 = {{ "flat.py" = "{right}" }}\n'
        f'[[entry]]\nname = "named"\nsha256 = {{ "named/older.py" = "{right[::-1]}" }}\n'
    )
    found = {entry.name: entry for entry in board_entries(folder)}
    assert not found["flat"].reason
    assert found["named"].reason.startswith("named/older.py is not the file of the manifest")
    rows = {row.name: row for row in judge_board([found["named"]], tmp_path / "o", seconds=1)}
    assert rows["named"].reason and "named" not in steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[entry]", "is no TOML"),
        ("[entries]\n", "has 'entries', expected [[entry]] tables only"),
        ("[[entry]]\nname = 'a'\nclam = 3\n", "entry 1 has no 'clam'; did you mean 'claim'?"),
        ("[[entry]]\nclaim = 3\n", "lacks one of name"),
        ("[[entry]]\nname = 'a'\nclaim = 'x'\n", "claim='x', expected"),
        ("[[entry]]\nname = 'a'\nkind = 'magic'\n", "kind='magic'"),
        ("[[entry]]\nname = '../a'\n", "has the name '../a'"),
        ("[[entry]]\nname = 'a'\n[[entry]]\nname = 'a'\n", "lists 'a' twice"),
        ("[[entry]]\nname = 'a'\nfile = '../../etc/passwd'\n", "does not name a file in"),
        ("[[entry]]\nname = 'a'\nfile = 'flat.py'\nsha256 = {'/etc/passwd' = ''}\n", "not name"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_line(folder, text, said):
    (folder / "board.toml").write_text(text)
    with pytest.raises(TinyadderError) as raised:
        board_entries(folder)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_folder_without_entries_or_that_is_none_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "not there"):
        with pytest.raises(TinyadderError, match=r"no entry|no folder"):
            board_entries(folder)


def test_an_unknown_name_is_answered_with_the_closest(folder):
    with pytest.raises(TinyadderError, match="has no entry 'flatt'; did you mean 'flat'"):
        board_entries(folder, only=["flatt"])


# ---- a run ---------------------------------------------------------------------------------------


def test_no_entry_ends_the_run_and_each_reason_is_in_its_row(folder, steps, tmp_path):
    rows = {
        row.name: row for row in judge_board(board_entries(folder), tmp_path / "out", seconds=1)
    }
    assert rows["flat"].verdict == "sampled" and not rows["flat"].reason
    assert rows["broken"].reason == "SyntaxError: invalid syntax (line 1)"
    assert rows["alone"].reason == "tinyadder failed (KeyError: 'a bug'); please report it"
    assert rows["none"].reason.startswith("no Python file")
    assert str(tmp_path) not in json.dumps([tables.board_json([row]) for row in rows.values()])


def test_a_finished_row_is_used_again_until_files_code_or_time_change(
    folder, steps, tmp_path, monkeypatch
):
    def judged(**options):
        steps.clear()
        entries = board_entries(folder, only=["flat", "named"])
        rows = list(judge_board(entries, tmp_path / "out", **{"seconds": 1, **options}))
        assert all(row.verdict for row in rows)
        return list(steps)

    assert judged() == ["flat", "named"]
    assert judged() == []
    assert judged(again=True) == ["flat", "named"]
    (folder / "flat.py").write_text(ADDER + "\n")
    assert judged() == ["flat"]
    assert judged(seconds=2) == ["flat", "named"]
    monkeypatch.setattr(board, "judge_version", lambda: "another")
    assert judged(seconds=2) == ["flat", "named"]


def test_a_stopped_run_keeps_what_is_finished_and_goes_on_there(
    folder, steps, tmp_path, monkeypatch
):
    out = tmp_path / "out"

    def stop(entry, row):
        if entry.name == "named":
            raise KeyboardInterrupt
        return {"verdict": "sampled"}

    arguments = (folder, "--out", out, "--only", "flat", "--only", "named")
    kept = board.STEPS
    monkeypatch.setattr(board, "STEPS", {"verdict": stop})
    stopped = run(*arguments)
    assert stopped.exit_code == 1 and "wrote" in stopped.stderr
    assert [row.name for row in tables.read_board(out / "board.json")] == ["flat"]
    monkeypatch.setattr(board, "STEPS", kept)
    assert run(*arguments).exit_code == 0
    assert steps == ["named"]
    assert [row.name for row in tables.read_board(out / "board.json")] == ["flat", "named"]


def test_the_verb_writes_three_tables_and_says_where_it_is(folder, steps, tmp_path):
    out = tmp_path / "out"
    done = run(folder, "--out", out, "--seconds", "1")
    assert done.exit_code == 0
    assert "10/10" in done.stderr and "broken: not judged: SyntaxError" in done.stderr
    assert done.stdout.startswith("10 entries: 7 sampled, 3 not judged\n")
    assert sorted(path.name for path in out.iterdir()) == [
        *("board.html", "board.json", "board.md", "entries")
    ]
    again = run(folder, "--out", out, "--seconds", "1", "--only", "flat", "--json")
    assert len(json.loads(again.stdout)["rows"]) == 10  # the others are still there


def test_what_we_did_not_write_is_left_as_it_is(folder, steps, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "board.md").write_text("my notes")
    with pytest.raises(TinyadderError, match=r"board\.md was not written by tinyadder board"):
        run(folder, "--out", out)
    assert (out / "board.md").read_text() == "my notes" and not steps
    with pytest.raises(TinyadderError, match="inside of"):
        run(folder, "--out", folder / "out")
    (out / "board.md").unlink()
    (out / "entries").mkdir()
    (out / "entries/flat.json").write_text("[]")
    with pytest.raises(TinyadderError, match=r"flat\.json is \[\], expected an object"):
        run(folder, "--out", out)
    assert (out / "entries/flat.json").read_text() == "[]" and not steps


def test_a_folder_with_a_name_that_is_no_file_name_is_an_entry_too(tmp_path, steps):
    folder = tmp_path / "entries"
    name = "<script> \x1b[2J | .."
    (folder / name).mkdir(parents=True)
    (folder / name / "submission.py").write_text(ADDER)
    done = run(folder, "--out", tmp_path / "out")
    assert done.exit_code == 0 and "\x1b" not in done.stdout + done.stderr
    assert row_file(tmp_path / "out", name).parent == tmp_path / "out" / "entries"
    assert read_row(row_file(tmp_path / "out", name)).name == name
    assert not any(
        "script" in str(tag) for tag in parsed((tmp_path / "out/board.html").read_text()).tags[9:-1]
    )


def test_steps_that_fail_leave_the_others(monkeypatch, folder):
    def fails(entry, row):
        raise TinyadderError("it asked for more memory than it may use")

    monkeypatch.setattr(
        board, "STEPS", {"verdict": lambda *_: {"verdict": "sampled"}, "counts": fails}
    )
    (entry,) = board_entries(folder, only=["flat"])
    row = measure(entry, BoardRow(entry.listed, "", "", 1, 0, ""))
    assert row.verdict == "sampled" and not row.reason
    assert row.failed == {"counts": "it asked for more memory than it may use"}


# ---- tables --------------------------------------------------------------------------------------

ROW = BoardRow(
    Listed("two", author="B", kind="trained", claim=57, link="https://example.org/a_(b)"),
    digest="d",
    version="1+abc",
    seconds=60,
    seed=0,
    date="2026-11-28",
    verdict="refuted",
    text="refuted",
    pair=(9, 1),
    got="11",
    replay="tinyadder verify two.py --pair '9 + 1'",
    margin=0.125,
    per_second=1234.5,
    counts={"board": 57, "stored": 60, "nonzero": 58, "strict": 70},
    claim="claims 57: equals board",
    legality=(
        BoardFinding("a", True, ""),
        BoardFinding("b", False, ""),
        BoardFinding("c", None, ""),
    ),
)
OTHER = BoardRow(Listed("one"), "d", "1+abc", 60, 0, "2026-11-28", reason="it hangs")


def test_the_table_has_the_claim_beside_what_was_measured():
    text = tables.board_table([OTHER, ROW])
    first, second = text.splitlines()[2:]
    assert "[two](https://example.org/a_b)" in first
    for cell in (
        *("claims 57: equals board", "57", "60", "**refuted**: 9 + 1 gives 11, not 10"),
        *("0.125", "1 of 3 pass; fails b; not observed: c", "1,234"),
    ):
        assert f"| {cell} |" in first
    assert "**not judged**: it hangs" in second


def test_of_many_rungs_that_give_the_claim_those_that_say_most_are_named():
    row = replace(ROW, claim="claims 57: equals numel, stored, board, distinct")
    assert tables.format_claim(row) == "claims 57: equals stored, board and 2 more"
    assert tables.format_claim(replace(ROW, claim="claims 57: no rung; stored is 60")) == (
        "claims 57: no rung; stored is 60"
    )


def test_every_refutation_has_its_command():
    assert tables.replay_list([OTHER, ROW]) == (
        "- two: 9 + 1 gives 11, not 10: `tinyadder verify two.py --pair '9 + 1'`"
    )


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://x/)<b> [", "file:///etc/passwd", "//x"]
)
def test_a_link_leads_to_the_web_or_nowhere(link):
    row = replace(ROW, listed=replace(ROW.listed, link=link))
    tokens = MarkdownIt("commonmark").enable("table").parse(tables.board_table([row]))
    inline = [child for token in tokens for child in token.children or ()]
    targets = [token.attrs["href"] for token in inline if token.type == "link_open"]
    assert targets == (["https://x/b["] if link.startswith("https") else []) or targets == [
        "https://x/b%5B"
    ]
    assert not any(token.type.startswith("html") for token in inline)


def test_a_row_is_read_as_it_was_written(tmp_path):
    (tmp_path / "r.json").write_text(board.row_json(ROW))
    assert read_row(tmp_path / "r.json") == ROW


@pytest.mark.slow
def test_an_honest_file_is_counted_and_checked(tmp_path):
    (tmp_path / "honest.py").write_text(HONEST)
    (entry,) = board_entries(tmp_path)
    row = measure(entry, BoardRow(entry.listed, "", "", 5, 0, ""))
    assert row.counts["stored"] == 49 and row.claim.startswith("claims 12")
    assert row.legality and all(finding.passed is not False for finding in row.legality)
