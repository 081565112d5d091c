"""The explorer page, run in a real browser: whole, small, equal to torch, open to everybody."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

import tinyadder
from tests.in_process import run
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.inspect.explorer import (
    KNOWN,
    PAGES,
    Exhibit,
    Explorer,
    ProofFiles,
    exhibit_of,
    exhibit_to_json,
    model_to_json,
    page,
)
from tinyadder.io.folder import load, save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer
from tinyadder.named import load_model
from tinyadder.verify.certify.prove import certify

ROOT = Path(__file__).parents[1]
NODE = shutil.which("node")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_node = pytest.mark.skipif(NODE is None, reason="needs node: apt-get install nodejs")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)


def browse(folder, text, address="", script="", width=1600):
    """What the page's own `script` gave to `seen` last, and the DOM after all scripts."""
    added = f"""<pre id="seen"></pre><script>
const seen = (data) => (document.getElementById("seen").textContent = JSON.stringify(data));
{script}</script></body>"""
    (folder / "page.html").write_text(text.replace("</body>", added), encoding="utf-8")
    flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
    flags += " disable-sync disable-component-update"
    command = [
        CHROMIUM,
        *(f"--{flag}" for flag in flags.split()),
        "--virtual-time-budget=60000",
    ]
    command += [f"--user-data-dir={folder}/user", f"--window-size={width},1200", "--dump-dom"]
    command += [f"file://{folder}/page.html{address}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=240).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found[1])) if found[1] else None, dom


def exhibit(name, first=(), **options):
    shown = exhibit_of(load_model(name, options))
    return replace(shown, first=[shown.task.parse(text) for text in first])


@pytest.fixture(scope="module")
def add10():
    return exhibit("add10", ["123 + 456"])


@pytest.fixture(scope="module")
def gist():
    return exhibit("add10_gist", ["4999999999 + 0"])


def trained_like(own=None, **options):
    """A decoder with trained options and random weights; `own` are those of its second layer."""
    task = construct("add10", digits=2).task
    config = Config(
        vocabulary=task.vocabulary,
        width=8,
        blocks=tuple(
            BlockConfig(heads=2, d_head=4, d_value=4, hidden=6, options=layer and Options(**layer))
            for layer in (None, own)
        ),
        outputs=tuple(range(len(task.vocabulary))),
        options=Options(**options),
    )
    model = Transformer(config, torch.float64)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=random, dtype=torch.float64) * 0.7
            )
    return Exhibit("trained-" + "-".join(map(str, options.values())), "", model.eval(), task)


OPTIONS = [
    {
        "softmax": "softmax",
        "positions": "rotary",
        "norm": "rms",
        "scaled": True,
        "projected": True,
        "activation": "gelu",
    },
    {
        "positions": "sinusoidal",
        "norm": "layer",
        "norm_place": "post",
        "activation": "silu",
        "gated": False,
    },
    {"positions": "learned", "context": 40, "biases": False, "repeat": 2},
    {"positions": "none", "norm": "rms", "norm_place": "post"},
    {"own": {"positions": "rotary", "activation": "silu", "scaled": True, "softmax": "softmax"}},
    {
        "positions": "waves",
        "rotary_base": 3.0,
        "embedding": "circle",
        "norm": "rms",
        "gains": False,
    },
    {"norm": "layer", "gains": False, "own": {"positions": "waves", "biases": False}},
]


# ---- the page computes what torch computes -------------------------------------------------------

PARITY = """
const { models, cases } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const loaded = models.map(load), wrong = [];
for (const [m, prompt, answer, logits] of cases) {
  const model = loaded[m], done = decode(model, Array.from(prompt));
  const rows = done.run.logits.slice(done.first), size = (row) => Math.max(...row.map(Math.abs));
  const offs = (logits ?? []).flatMap((row, n) =>
    row.map((v, k) => Math.abs(v - rows[n][k]) / size(row)));
  const off = Math.max(0, ...offs), same = done.answer.join("|") === Array.from(answer).join("|");
  if (!same || off > 1e-9) wrong.push([model.name, prompt, answer, done.answer, off]);
}
process.stdout.write(JSON.stringify({ cases: cases.length, wrong }));
"""


def parity(exhibits, per_model, with_logits=False, spoil=lambda data: data):
    """Answer the same problems in JavaScript and compare each answer (and logit) with torch's."""
    cases = []
    for number, shown in enumerate(exhibits):
        task, hard = shown.task, shown.task.hard()
        problems = [
            *hard[:: max(1, len(hard) // per_model)],
            *task.structured(Random(5), per_model),
        ][:per_model]
        for problem, answer in zip(problems, answers(shown.model, task, problems), strict=True):
            prompt, logits = task.prompt(problem), None
            if with_logits:
                tokens = torch.tensor(task.encode([[*prompt, *answer[:-1]]]))
                with torch.no_grad():
                    logits = shown.model(tokens)[0, len(prompt) - 1 :].tolist()
            cases.append([number, list(prompt), list(answer), logits])
    data = {"models": [spoil(exhibit_to_json(shown)) for shown in exhibits], "cases": cases}
    script = (PAGES / "machine.js").read_text() + PARITY
    done = subprocess.run(
        [NODE, "-e", script], input=json.dumps(data), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_every_answer_in_javascript_is_that_of_torch_on_1000_hard_cases(add10, gist):
    assert parity([add10, gist, exhibit("add10_95"), exhibit("deriv")], 250) == {
        "cases": 1000,
        "wrong": [],
    }


@needs_node
def test_every_construction_answers_in_javascript_as_in_torch():
    shown = [exhibit(name) for name in construction_names()]
    assert parity(shown, 4) == {"cases": 4 * len(shown), "wrong": []}


@needs_node
def test_a_trained_float32_baseline_answers_in_javascript_as_in_torch():
    model, described = load(ROOT / "baselines" / "addition10-tiny" / "seed-1" / "model")
    assert parity([Exhibit("tiny", "", model, described.task)], 100) == {"cases": 100, "wrong": []}


@needs_node
def test_trained_options_are_computed_as_in_torch():
    assert parity([trained_like(**o) for o in OPTIONS], 20, with_logits=True) == {
        "cases": 140,
        "wrong": [],
    }


@needs_node
def test_a_planted_fault_in_the_page_is_noticed():
    def spoil(data):
        data["readout"]["unembedding"][3][2][0] *= 1.2
        return data

    assert parity([exhibit("add10", digits=2)], 50, spoil=spoil)["wrong"]


# ---- what a visitor sees -------------------------------------------------------------------------

TEXT = 'const text = (id) => document.getElementById(id).textContent.replace(/\\s+/g, " ");\n'


@needs_browser
def test_it_opens_on_an_interesting_step_and_links_deep(tmp_path, add10, gist):
    look = (
        TEXT
        + """seen([text("verdict"), text("where"), text("why"), location.hash,
      text("introduction")]);"""
    )
    (verdict, where, why, address, said), _ = browse(tmp_path, page([add10, gist]), "", look)
    assert verdict == "answers 00000000579, that is 579: right"
    # the 5, not the first 0
    assert where.startswith("answer token 9 of 11 · layer 1 attention · position 30")
    assert why.startswith(
        "With '00000000' written, 579 of the answer remains; in units of this place (10^2) that is"
    )
    assert (
        "5.79. The floor of it, 5, is the token to write, and '5' has the largest logit, 2.05e-8"
        " ahead of '6'" in why
    )
    assert address == "#add10/123%20%2B%20456/8/3/30/4" and said.startswith(
        "Every digit is weighed by its place value"
    )
    (_, where, *_), _ = browse(
        tmp_path, page([add10, gist]), "#add10/123%20%2B%20456/9/2/14/3", look
    )
    assert where == "answer token 10 of 11 · layer 0 MLP · position 14 '0'"


@needs_browser
def test_a_wrong_answer_stands_beside_the_right_one_and_opens_where_it_goes_wrong(
    tmp_path, add10, gist
):
    look = (
        TEXT
        + """seen([text("verdict"), text("answers"), text("why"),
      [...document.querySelectorAll("#answers .wrong")].map((node) => node.ariaLabel),
      state.digit]);"""
    )
    (verdict, shown, why, wrong, digit), _ = browse(
        tmp_path, page([add10, gist]), "#add10_gist", look
    )
    assert (
        verdict == "answers 05000000000, that is 5000000000: wrong, right is 04999999999,"
        " that is 4999999999"
    )
    assert shown == "model05000000000right04999999999" and digit == 1
    assert wrong[0] == "answer token 2: 5, wrong, right is 4"
    assert "The floor of it, 4, is the token to write, and the model gives '5': its logit is" in why


@needs_browser
def test_the_sum_of_a_cell_is_shown_term_by_term_and_each_term_leads_to_its_cell(tmp_path, add10):
    look = (
        TEXT
        + """
const sums = () => [...document.querySelectorAll(".sum")].map((node) => node.textContent);
const first = [text("sum-title"), sums()];
document.querySelector(".sum button").click();
const then = [text("where"), text("sum-title"), sums()];
document.querySelector('[data-at="3 2"]').click();
seen([first, then, [text("where"), text("sum-title"), document.activeElement.dataset.at]]);"""
    )
    (first, then, clicked), _ = browse(tmp_path, page([add10]), "#add10/123%20%2B%20456/8", look)
    title, terms = first
    assert title == "The sum that made rest at 30 '0', layer 1 attention"
    assert (
        terms[0].startswith("8 '1': 4.24835e-18 × 2.35385e9 = 1e-8") and terms[-1] == "sum5.795e-8"
    )
    where, title, terms = then  # the cell that the value was read from
    assert where == "answer token 9 of 11 · layer 0 MLP · position 8 '1'"
    assert title == "The sum that made product at 8 '1', layer 0 MLP"
    assert terms[0] == "unit 0: relu(1) × 1e-8 = 1e-8"
    where, title, place = clicked
    assert where == "answer token 9 of 11 · layer 0 MLP · position 3 '0'"
    assert (title, place) == ("The sum that made weight at 3 '0', layer 0 MLP", "3 2")


@needs_browser
def test_steps_by_sublayer_and_token_keys_and_playback(tmp_path, add10):
    look = (
        TEXT
        + """
const at = () => [state.digit, state.stage], all = [];
const press = (key, shiftKey, node = document.body) =>
  node.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
press("ArrowRight"); all.push(at());
press("ArrowRight"); all.push(at());
press("ArrowLeft"); press("ArrowLeft"); all.push(at());
press("ArrowRight", true); all.push(at());
document.querySelector('[data-move="digit -1"]').click(); all.push(at());
document.querySelectorAll("#prompt button")[12].click(); all.push([state.token, text("where")]);
const grid = document.querySelector("[role=grid]");
press("ArrowUp", false, grid); all.push(state.token);
document.getElementById("play").click();
const pressed = () => document.getElementById("play").ariaPressed;
setTimeout(() => { all.push(at(), pressed()); seen(all); }, 2000);"""
    )
    found, _ = browse(tmp_path, page([add10]), "#add10/123%20%2B%20456/8/3", look)
    assert found[:5] == [[8, 4], [9, 0], [8, 3], [9, 3], [8, 3]]
    assert (
        found[5] == [12, "answer token 9 of 11 · layer 1 attention · position 12 '0'"]
        and found[6] == 11
    )
    assert found[7] == [9, 0] and found[8] == "true"  # two steps played


@needs_browser
def test_a_number_is_changed_its_consequence_seen_and_undone(tmp_path, add10):
    look = (
        TEXT
        + """
go(0, 30);
const labels = [...document.querySelectorAll(".numbers label")];
const label = labels.find((node) => node.textContent === "flag on '='");
const input = document.getElementById(label.htmlFor), before = input.value;
input.value = "-9"; input.onchange();
const values = [...document.querySelectorAll("input.changed")].map((n) => n.value);
const changed = [text("verdict"), text("changes"), values];
[...document.querySelectorAll("#changes button")][0].click();
const undone = [text("verdict"), text("changes")];
const other = document.getElementById(label.htmlFor);
other.value = "x"; other.onchange();
seen([before, changed, undone, text("error")]);"""
    )
    (before, changed, undone, error), _ = browse(
        tmp_path, page([add10]), "#add10/123%20%2B%20456/8", look
    )
    assert before == "-10"
    assert "wrong, right is 00000000579" in changed[0]
    assert changed[1].startswith("Changed by youflag on '=': -10 → -9") and changed[2] == ["-9"]
    assert undone == ["answers 00000000579, that is 579: right", ""]
    assert error == "'x' is not a number, e.g. 0, -1.5, 2e3"


@needs_browser
def test_a_tied_number_is_changed_everywhere_it_is_read(tmp_path):
    look = """const number = allNumbers(state.model).find((n) => n.tie !== null);
const same = () =>
  allNumbers(state.model).filter((n) => n.tie === number.tie).map((n) => n.row[n.k]);
const before = same(); change(number, 0.25); const after = same(); undo(state.model);
const different = (list) => new Set(list).size;
seen([before.length, different(before), different(after), after[0],
  String(same()) === String(before)]);"""
    (places, before, after, value, back), _ = browse(
        tmp_path, page([exhibit("add10_unary")]), "", look
    )
    assert places > 1 and before == after == 1 and value == 0.25 and back


@needs_browser
def test_break_it_finds_the_wrong_sum_or_a_number_without_which_there_is_one(tmp_path, add10, gist):
    look = (
        TEXT
        + """
document.getElementById("break").click();
const broken = [text("verdict"), text("error"), state.model.edits?.length ?? 0];
while (state.model.edits?.length) undo(state.model);
chooseModel("add10_gist", "1 + 1");
document.getElementById("break").click();
document.getElementById("hard").click();
seen([broken, [state.text, text("verdict")]]);"""
    )
    (broken, _), _ = browse(tmp_path, page([add10, gist]), "", look)
    assert ": wrong, right is" in broken[0] and broken[2] == 1
    assert "the page set a number to 0" in broken[1]


@needs_browser
def test_another_model_leaves_nothing_of_the_one_before(tmp_path, add10):
    parity_model = exhibit("parity_once", length=4)
    look = (
        TEXT
        + """document.getElementById("model").value = "parity_once";
document.getElementById("model").onchange();
const clone = document.body.cloneNode(true);
clone.querySelectorAll("script, select").forEach((node) => node.remove());
seen([clone.textContent, location.hash]);"""
    )
    (shown, address), _ = browse(tmp_path, page([add10, parity_model]), "", look)
    assert address.startswith("#parity_once/")
    for left in ("place value", "123 + 456", "00000000579", "Every digit is weighed"):
        assert left not in shown


@needs_browser
def test_least_significant_first_answers_read_as_numbers_and_are_explained_by_carries(tmp_path):
    look = TEXT + 'seen([text("verdict"), text("why")]);'
    shown = exhibit("add_any", digits=4)
    (verdict, why), _ = browse(tmp_path, page([shown]), "#add_any/958%20%2B%2067/1", look)
    assert verdict == "answers 52010, that is 1025: right"
    assert why.startswith(
        "Digits come least significant first: column 1 adds 5 + 6 and the carry 1, which is 12."
    )


@needs_browser
@pytest.mark.parametrize(
    ("name", "problem", "said"),
    [
        ("add10", "12345678901 + 1", "has 11 digits"),
        ("add10", "1 + x", "not a whole number in base 10"),
        ("add10", "5", "1 number given; this model adds 2"),
        ("subtract", "1 - 2", "the answer would be negative"),
        ("subtract", "7 - 5", ""),
        ("binary_to_decimal", "102", "'2' in '102' is not a digit of this task (0 1)"),
        ("parity_once", "01x", "'x' is not a token of this model"),
        ("deriv_coeff", "x^9", "choose a problem from the list"),
    ],
)
def test_the_page_says_what_is_wrong_with_a_problem(tmp_path, name, problem, said):
    look = TEXT + f'ask({json.dumps(problem)}); seen([text("error"), text("verdict")]);'
    (error, verdict), _ = browse(tmp_path, page([exhibit(name)]), "", look)
    assert said in error and bool(said) == bool(error)
    assert said or verdict.endswith("that is 2: right")


@needs_browser
def test_every_step_of_every_kind_of_model_can_be_drawn(tmp_path):
    """Each construction and kind of trained decoder: all sublayers, four answer tokens."""
    shown = [exhibit(name) for name in construction_names()] + [trained_like(**o) for o in OPTIONS]
    look = """const failed = [];
window.onerror = (message) => failed.push(message);
for (const model of MODELS) {
  try {
    chooseModel(model.name);
    for (let stage = 0; stage < stages().length; stage++) go(stage, query());
    for (let n = 0; n < Math.min(4, state.done.answer.length); n++) move("digit", n - state.digit);
    const shown = document.querySelector("main").textContent;
    if (/NaN|undefined|null/.test(shown)) throw Error("a gap in the page");
  } catch (error) { failed.push([model.name, error.message]); }
}
seen(failed);"""
    found, _ = browse(tmp_path, page(shown), "", look)
    assert found == []


@needs_browser
@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(tmp_path, add10, gist, width):
    look = """const wide = [];
for (const model of MODELS) {
  chooseModel(model.name);
  for (let stage = 0; stage < stages().length; stage++) {
    go(stage, query());
    wide.push(document.documentElement.scrollWidth);
  }
}
seen([innerWidth, Math.max(...wide)]);"""
    style = f"width:{width}px;height:1000px;border:0"
    frame = f'<!doctype html><body><iframe style="{style}" srcdoc="PAGE"></iframe></body>'
    inner = page([add10, gist]).replace(
        "</body>",
        "<script>const seen = (d) => parent.postMessage(JSON.stringify(d), '*');"
        f"{look}</script></body>",
    )
    text = frame.replace("PAGE", html.escape(inner, quote=True))
    (window, widest), _ = browse(
        tmp_path, text, "", "onmessage = (event) => seen(JSON.parse(event.data));"
    )
    assert window == width and widest <= width


# ---- the proof -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A small adder with its certificate, as an exhibit."""
    folder = tmp_path_factory.mktemp("certified") / "model"
    made = construct("add10", digits=1)
    model = build(made.program)
    save(model, made.task, folder, name="add10", options={"digits": 1}, program=made.program)
    certify(model, made.task, folder)
    return exhibit_of(load_model(str(folder)))


CHECK = (
    TEXT
    + """const wait = () => new Promise((resume) => setTimeout(resume, 200));
const press = async () => {
  document.getElementById("check").click();
  do await wait(); while (/^checking/.test(text("proved")));
  return text("proved");
};
"""
)


@needs_browser
def test_the_proof_is_checked_in_the_browser_for_the_weights_that_the_page_runs(
    tmp_path, certified
):
    look = (
        CHECK
        + """(async () => {
  const first = await press();
  change(allNumbers(state.model)[0], 2);
  const changed = await press();
  undo(state.model);
  state.model.embed[3][1][0] += 1e-15;
  const moved = await press();
  seen([first, changed, moved]);
})();"""
    )
    (first, changed, moved), _ = browse(tmp_path, page([certified]), "", look)
    assert first.startswith(
        "PROVED, checked here in your browser: the right token has the largest logit in all"
        " 100 problems"
    )
    assert "not of the weights that this page runs: you have changed some" in changed
    assert "not of the weights that this page runs: they differ" in moved


@needs_browser
def test_a_tampered_proof_is_rejected_in_the_browser(tmp_path, certified):
    assert certified.proof is not None and certified.proof.certificate is not None
    certificate = certified.proof.certificate
    forged = certificate.replace(b'"margin":"0x1.', b'"margin":"0x1.f', 1)
    assert forged != certificate
    shown = replace(
        certified, proof=ProofFiles(certified.proof.weights, certified.proof.description, forged)
    )
    found, _ = browse(tmp_path, page([shown]), "", CHECK + "press().then(seen);")
    assert found == "REJECTED: the certificate was edited or truncated"


# ---- accessibility -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def axe(request):
    """The source of axe-core, from npm, once into pytest's cache; no part of this project."""
    folder = Path(request.config.cache.mkdir("axe-core"))
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("needs npm to fetch axe-core")
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "axe-core@4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode:
            pytest.skip("axe-core cannot be fetched from the npm registry here")
    return file.read_text()


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier_at_level_aa(tmp_path, axe, certified, gist, theme):
    look = (
        axe
        + f"""
document.documentElement.dataset.theme = "{theme}";
(async () => {{
  const found = [];
  for (const model of MODELS)
    for (const stage of model === MODELS[0] ? [1, 4] : [0, 2]) {{
      chooseModel(model.name);
      state.open = true;
      go(stage, query());
      const levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
      const {{ violations }} = await axe.run(document, {{ runOnly: levels }});
      found.push(...violations.map(({{ id, nodes: [node] }}) =>
        [model.name, stage, id, node.html.slice(0, 200), node.failureSummary]));
    }}
  seen(found);
}})();"""
    )
    found, _ = browse(tmp_path, page([gist, certified]), "", look)
    assert found == []


@needs_browser
def test_a_planted_barrier_is_found_by_axe(tmp_path, axe, certified):
    look = (
        axe
        + """
document.getElementById("introduction").style.color = "#ddd";
document.getElementById("problem").insertAdjacentHTML("afterend", "<input>");
axe.run(document, { runOnly: ["wcag2a", "wcag2aa"] }).then(({ violations }) =>
  seen(violations.map((v) => v.id)));"""
    )
    found, _ = browse(tmp_path, page([certified]), "", look)
    assert {"color-contrast", "label"} <= set(found)


# ---- one file ------------------------------------------------------------------------------------


def test_the_page_is_one_file_below_150_kb_with_four_models_and_has_no_network(add10, gist):
    tiny, described = load(ROOT / "baselines" / "addition10-tiny" / "seed-1" / "model")
    text = page([add10, gist, exhibit("deriv"), Exhibit("tiny", "", tiny, described.task)])
    assert len(text.encode()) < 150_000
    assert "default-src 'none'" in text
    assert not re.search(
        r"""(src|href)\s*=\s*["']|https?://(?!www\.w3\.org/2000/svg)|import\s*\(|fetch\(""", text
    )


def test_the_weights_in_the_page_are_exact_doubles():
    shown = exhibit("add10_95")
    data = json.loads(
        re.search(
            r'<script id="models" type="application/json">(.*?)</script>', page([shown]), re.S
        )[1]
    )
    assert data["models"][0]["blocks"] == json.loads(
        json.dumps(model_to_json(shown.model)["blocks"])
    )


HOSTILE = [
    "</script><script>x=1</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    '"]};x=1;//',
    "&lt;\u2028",
]


@needs_browser
def test_a_hostile_name_is_shown_and_nothing_else(tmp_path):
    base = exhibit("add10", digits=1)
    shown = [replace(base, name=name, about=name, introduction=name) for name in HOSTILE]
    text = page(shown, "</script>")
    assert "<!--" not in text and text.count("<script") == 4 == text.count("</script>")
    look = """const entries = [...document.querySelectorAll("#model option")];
const names = entries.map((o) => o.textContent);
const texts = MODELS.map((model) => {
  chooseModel(model.name);
  return [document.getElementById("about").textContent, names.includes(model.name)];
});
seen([texts, document.images.length, typeof x]);"""
    (texts, images, x), _ = browse(tmp_path, text, "", look)
    assert texts == [[name, True] for name in HOSTILE] and images == 0 and x == "undefined"


def test_a_notebook_shows_it_in_a_frame_that_can_run_nothing_outside(add10):
    shown = Explorer([add10], "12 + 34", height=700)._repr_html_()
    assert (
        shown.startswith("<iframe ")
        and 'sandbox="allow-scripts"' in shown
        and "height: 700px" in shown
    )
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1]) == page([add10], "12 + 34")


@needs_browser
def test_in_a_frame_it_opens_on_the_problem_given(tmp_path, add10):
    inner = page([add10], "12 + 34").replace(
        "</body>", "<script>parent.postMessage($('verdict').textContent, '*')</script></body>"
    )
    source = html.escape(inner)
    frame = (
        f'<!doctype html><body><iframe sandbox="allow-scripts" srcdoc="{source}"></iframe></body>'
    )
    found, _ = browse(tmp_path, frame, "", "onmessage = (event) => seen(event.data);")
    assert found == "answers 00000000046, that is 46: right"


@needs_browser
def test_the_front_door_explores_any_problem_of_any_task(tmp_path):
    shown = tinyadder.load("deriv_coeff", exponents=2).explore("2x^2-3x")
    assert str(shown).startswith("explorer of deriv_coeff") and "srcdoc" in shown._repr_html_()
    shown.save(tmp_path / "kept.html")
    text = (tmp_path / "kept.html").read_text()
    (asked, verdict), _ = browse(tmp_path, text, "", TEXT + 'seen([state.text, text("verdict")]);')
    assert asked == "2x^2-3x" and verdict.endswith(": right")


def test_a_model_with_an_option_that_the_page_does_not_know_is_refused(monkeypatch):
    reversed_adder = str(ROOT / "baselines" / "addition3-reversed" / "seed-1" / "model")
    exhibit = exhibit_of(load_model(reversed_adder), [])
    assert exhibit.model.config.options.norm == "rms" and page([exhibit])
    monkeypatch.setattr("tinyadder.inspect.explorer.KNOWN", KNOWN - {"norm"})
    with pytest.raises(TinyadderError, match="does not know the option 'norm'"):
        page([exhibit])


def test_an_explorer_of_nothing_is_refused():
    with pytest.raises(TinyadderError, match="at least one model"):
        page([])


def test_the_command_writes_one_file_and_does_not_overwrite_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "explore", "add10", "--digits", "3", "--json")
    assert code == 0 and json.loads(out)["models"] == ["add10"]
    code, _, error = run(capsys, "explore", "add10", "--digits", "3")
    assert code == 2 and "add10-digits3-explorer.html exists; give --force" in error
    code, _, error = run(capsys, "explore", "add10")
    assert code == 0, error  # another model, another file
    code, _, error = run(capsys, "explore", "add10", "add10_95", "--digits", "3", "--force")
    assert code == 2 and "belong to one construction" in error
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["add10-digits3-explorer.html", "add10-explorer.html"]


def test_files_about_models_are_named_apart():
    from tinyadder.commands._models import file_name
    from tinyadder.named import find

    baseline = find(str(ROOT / "baselines" / "addition3-reversed" / "seed-1" / "model"))
    names = [
        file_name(find("add10")),
        file_name(find("add10", {"digits": 3})),
        file_name(baseline),
    ]
    assert names == ["add10", "add10-digits3", "addition3-reversed-seed-1"]
