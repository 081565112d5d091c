"""The page of the report shows what was counted and found, in one file without a network, and
escapes what it shows.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from tinyadder.cli import main
from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.report import leaderboard
from tinyadder.report import tables as leaderboard_tables
from tinyadder.report.leaderboard import Entry, LeaderboardRow, Standing, own_models, row
from tinyadder.report.page import code, equations_of, report_html
from tinyadder.report.results import read_results, result
from tinyadder.verify.count import definition
from tinyadder.verify.verdict import Counterexample, Refuted

ROOT = Path(__file__).parents[1]
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def models() -> list[Entry]:
    made = {name: construct(name) for name in ("add10", "add10_gist", "parity")}
    trained = own_models(ROOT / "baselines", ["addition3-reversed/seed-1"])
    return [
        *(Entry(name, build(m.program), m.task, False, None) for name, m in made.items()),
        *trained,
    ]


@pytest.fixture(scope="module")
def rows() -> list[tuple[Entry, LeaderboardRow]]:
    results = read_results(ROOT / "results")
    return [(model, row(model, results, ROOT / "results")) for model in models()]


@pytest.fixture(scope="module")
def page(rows) -> str:
    return report_html(*zip(*rows, strict=True))


def without_pictures(page: str) -> str:
    return re.sub(r"data:image/png;base64,[\w+/=]+", "", page)


def test_every_count_equation_verdict_and_claim_is_on_the_page(rows, page):
    for model, found in rows:
        for rung in leaderboard_tables.SHOWN:
            assert f'data-n="{float(found.counts[rung])}"' in page
        if not model.trained:
            assert str(construct(model.name).program).splitlines()[0] in page
    assert "3  rest += head 0: query 1, key -40" in page
    assert all(
        definition(rung).partition(":")[0] in unescape(page)
        for rung in leaderboard_tables.SHOWN
        if "`" not in definition(rung)
    )
    assert page.count("<img ") == 4 + 1
    assert all(
        entry["author"] in page for entry in leaderboard.public_field() if entry["author"].isalnum()
    )


def test_every_lane_of_a_written_model_is_explained(page):
    for lane in construct("add10").program.stream.lanes.values():
        meaning = f"<td>{html.escape(lane.meaning)}</td>".replace("&#x27;", "&#39;")
        assert f'<th scope="row">{lane.name}</th>{meaning}' in page


def test_a_trained_model_has_its_formulas():
    """Those of its options: of two models that differ, the lines that differ."""
    model = own_models(ROOT / "baselines", ["addition10-tiny/seed-1"])[0].model
    config = model.config
    text = equations_of(config)
    assert "s_j = R_i q_i . R_j k_j / sqrt(4),  p_j = exp(s_j) / sum_k exp(s_k),  j <= i" in text
    assert "x += D (silu(G rmsnorm(x)) * (U rmsnorm(x)))    3 hidden units" in text
    assert text.endswith("logits = E rmsnorm(x)")
    plain = replace(config.options, norm_place="post", positions="alibi", gated=False)
    changed = equations_of(replace(config, options=plain))
    assert "x = rmsnorm(x + D (silu(G x)))" in changed and "+ slope * (j - i)" in changed


def test_backticks_are_code_and_everything_else_is_escaped(page):
    assert "`" not in without_pictures(page).partition("<script>")[0]
    assert str(code("a `x < 1` <b>")) == "a <code>x &lt; 1</code> &lt;b&gt;"


def test_tables_scroll_by_themselves_and_with_the_keyboard(page):
    assert page.count("<table") == page.count('<div class="scroll" tabindex="0" role="region"')


def test_claims_of_others_are_not_in_the_table_of_what_was_measured(page):
    board = page[page.index('id="board"') : page.index('id="models"')]
    assert board.count("<tr>") == 1 + 4
    assert not any(entry["author"] in board for entry in leaderboard.public_field())


def test_the_page_is_one_small_file_without_a_network(page):
    assert len(without_pictures(page).encode()) < 300_000
    assert not re.search(
        r"""(src|href)=["'](?!#|data:)|https?://[^ ]*\.(js|css)|@import|url\(""", page
    )


def test_the_band_counts_the_strongest_verdicts(rows, page):
    band = re.findall(r'<div class="([\w ]+)"><b>(\d+)</b>', page)
    strongest = [found.strongest for _, found in rows]
    assert dict(band) == {word: str(strongest.count(word)) for word in strongest}


def test_what_a_model_is_called_or_answers_is_escaped(rows):
    model, found = rows[0]
    evil = result(
        model.model, model.task, "add10", "verified", {}, command="<script>bad()</script>"
    )
    wrong = Standing(Refuted(Counterexample(None, "<u>1</u>", "2", "</pre>")), {})
    row = LeaderboardRow("add10", False, "<i>task</i>", found.counts, "", (evil,), (wrong,))
    text = report_html([model], [row], pictures=False)
    assert "<script>bad" not in text and "<u>1</u>" not in text and "<i>task" not in text
    assert "&lt;u&gt;1&lt;/u&gt; gives &lt;/pre&gt;, not 2" in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_click_on_a_heading_sorts_and_a_link_opens_a_model(page, tmp_path):
    click = (
        "<script>[...board.querySelectorAll('button')].find((b) => b.textContent ==="
        " 'stored').click();</script>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", click + "</body>"))
    address = (tmp_path / "page.html").as_uri() + "#parity"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", address]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    body = seen[seen.index("<tbody") : seen.index("</tbody")]
    stored = [
        re.findall(r'data-n="([\d.]+)"', line)[leaderboard_tables.SHOWN.index("stored")]
        for line in body.split("</tr>")[:-1]
    ]
    assert len(stored) == 4 and stored == sorted(stored, key=float)
    assert re.search(r'<details id="parity"[^>]* open', seen)


def test_the_command_writes_the_page(tmp_path, monkeypatch):
    adder = models()[0]
    monkeypatch.setattr(leaderboard, "own_models", lambda baselines, names=(): [adder])
    page = tmp_path / "new" / "report.html"
    with pytest.raises(SystemExit) as done:
        main(["report", "--root", str(tmp_path), "--html", str(page)])
    assert done.value.code == 0
    assert "<title>tinyadder: report</title>" in page.read_text()
