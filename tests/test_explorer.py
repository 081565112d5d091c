"""The explorer page: small, whole, and equal to torch in every decision, run in a real browser."""

import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.inspect.explorer import PAGES, Exhibit, exhibit_to_json, model_to_json, page
from tinyadder.io.folder import load
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.layers import Options
from tinyadder.machine.transformer import BlockConfig, Config, Transformer

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)


def browse(folder, text, address=""):
    """The DOM of a page after its scripts have run."""
    (folder / "page.html").write_text(text)
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
        " --disable-sync"
    )
    command = [
        CHROMIUM,
        *flags.split(),
        "--disable-component-update",
        "--disable-quic",
        "--virtual-time-budget=60000",
    ]
    command += [
        f"--user-data-dir={folder}/user",
        "--dump-dom",
        f"file://{folder}/page.html{address}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=180).stdout


def exhibit(name, **options):
    made = construct(name, **options)
    return Exhibit(name, "about", build(made.program), made.task)


def trained_like(**options):
    """A decoder with trained options and random numbers, on the addition task."""
    task = construct("add10", digits=2).task
    config = Config(
        vocabulary=task.vocabulary,
        width=8,
        blocks=(BlockConfig(heads=2, d_head=4, d_value=4, hidden=6),) * 2,
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


HARNESS = """<!doctype html><pre id="out"></pre><script>%s</script><script>
const models = %s, cases = %s;
const wrong = [];
cases.forEach(([m, tokens, start, chosen, logits]) => {
  const model = models[m], run = forward(load(model), tokens);
  chosen.forEach((token, n) => {
    const row = run.logits[start + n - 1];
    let best = 0;
    row.forEach((v, k) => { if (v > row[best]) best = k; });
    const size = Math.max(...row.map(Math.abs));
    const off = logits ? Math.max(...row.map((v, k) => Math.abs(v - logits[n][k]))) / size : 0;
    if (model.outputs[best] === token && off <= 1e-9) return;
    wrong.push([model.name, tokens, n, best, token, off]);
  });
});
document.getElementById("out").textContent = JSON.stringify({ cases: cases.length, wrong });
</script>"""


def parity(folder, exhibits, per_model, with_logits=False):
    """Run the same texts in the browser and compare each decision with torch's."""
    cases = []
    for number, shown in enumerate(exhibits):
        hard = shown.task.hard()
        problems = [
            *hard[:: max(1, len(hard) // per_model)],
            *shown.task.structured(Random(5), per_model),
        ][:per_model]
        for problem, answer in zip(
            problems, answers(shown.model, shown.task, problems), strict=True
        ):
            prompt = shown.task.prompt(problem)
            tokens = shown.task.encode([[*prompt, *answer]])[0].tolist()
            logits = None
            if with_logits:
                with torch.no_grad():
                    logits = shown.model(torch.tensor([tokens]))[0, len(prompt) - 1 : -1].tolist()
            cases.append([number, tokens, len(prompt), tokens[len(prompt) :], logits])
    models = json.dumps([exhibit_to_json(shown) for shown in exhibits])
    dom = browse(folder, HARNESS % ((PAGES / "machine.js").read_text(), models, json.dumps(cases)))
    return json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', dom, re.S).group(1)))


@needs_browser
def test_every_decision_in_the_browser_is_the_decision_of_torch_on_2000_hard_cases(tmp_path):
    exhibits = [exhibit("add10"), exhibit("add10_gist"), exhibit("add10_95"), exhibit("deriv")]
    found = parity(tmp_path, exhibits, 500)
    assert found == {"cases": 2000, "wrong": []}


@needs_browser
def test_a_trained_float32_baseline_decides_in_the_browser_as_in_torch(tmp_path):
    model, described = load(
        Path(__file__).parents[1] / "baselines" / "addition10-tiny" / "seed-1" / "model"
    )
    assert parity(tmp_path, [Exhibit("tiny", "", model, described.task)], 200) == {
        "cases": 200,
        "wrong": [],
    }


@needs_browser
def test_trained_options_are_computed_as_in_torch(tmp_path):
    exhibits = [
        trained_like(
            softmax="softmax",
            positions="rotary",
            norm="rms",
            scaled=True,
            projected=True,
            activation="gelu",
        ),
        trained_like(
            positions="sinusoidal", norm="layer", norm_place="post", activation="silu", gated=False
        ),
        trained_like(positions="learned", context=40, biases=False, repeat=2),
        trained_like(positions="none", norm="rms", norm_place="post"),
    ]
    assert parity(tmp_path, exhibits, 20, with_logits=True) == {"cases": 80, "wrong": []}


@needs_browser
def test_a_planted_fault_in_the_page_is_noticed(tmp_path):
    shown = exhibit("add10", digits=2)
    original = exhibit_to_json

    def broken(given):
        data = original(given)
        data["readout"][3][2][0] *= 1.2
        return data

    globals()["exhibit_to_json"] = broken
    try:
        assert parity(tmp_path, [shown], 50)["wrong"]
    finally:
        globals()["exhibit_to_json"] = original


@needs_browser
def test_the_page_answers_steps_and_links_deep(tmp_path):
    text = page([exhibit("add10"), replace(exhibit("add10_gist"), first=[(4999999999, 0)])])
    dom = browse(tmp_path, text, "#add10/123%20%2B%20456/8")
    assert "answers 00000000579: right" in dom
    assert "'5' wins by 2.05e-8" in dom
    assert "adds 5.795e-8 to rest" in dom
    gist = browse(tmp_path, text, "#add10_gist")
    assert "answers 05000000000; right is 04999999999" in gist


TOUCH = """<pre id="seen"></pre><script>
const seen = [], said = () => $("verdict").textContent.slice(0, 19);
const look = () => [location.hash.split("/").pop(), $("problem").value, said()];
const press = (key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
press("ArrowRight"); seen.push(look());
press("ArrowLeft"); press("ArrowLeft"); seen.push(look());
const cell = [...document.querySelectorAll("#lanes td.lit")].pop();
cell.dispatchEvent(new MouseEvent("mouseenter", { clientX: 5, clientY: 5 }));
seen.push($("tip").textContent);
cell.dispatchEvent(new MouseEvent("mouseleave")); seen.push($("tip").hidden);
$("hard").click(); seen.push(look()[1]);
$("model").value = "add10_gist"; $("model").onchange(); seen.push(look());
document.getElementById("seen").textContent = JSON.stringify(seen);
</script></body>"""


@needs_browser
def test_keys_hover_hard_cases_and_the_choice_of_a_model_work(tmp_path):
    first = exhibit("add10")
    text = page([first, replace(exhibit("add10_gist"), first=[(4999999999, 0)])]).replace(
        "</body>", TOUCH
    )
    dom = browse(tmp_path, text, "#add10/123%20%2B%20456/8")
    right, left, tip, hidden, hard, other = json.loads(
        html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S).group(1))
    )
    assert right == ["9", "123 + 456", "answers 00000000579"] and left[0] == "7"
    assert tip.startswith("before 0\n+ 1 * 5.795e-8   (head output)\n= 5.795e-8") and hidden
    assert hard == first.task.show(exhibit_problem(first, 1))
    assert other == ["1", "4999999999 + 0", "answers 05000000000"]


def exhibit_problem(shown, number):
    """The problem that the page shows as its example `number`."""
    return shown.task.parse(exhibit_to_json(shown)["examples"][number][0])


@needs_browser
@pytest.mark.parametrize(
    "problem, said",
    [
        ("12345678901 + 1", "has 11 digits"),
        ("1 + x", "not a whole number in base 10"),
        ("5", "1 numbers given; this model adds 2"),
    ],
)
def test_the_page_says_what_is_wrong_with_a_problem(tmp_path, problem, said):
    assert said in browse(
        tmp_path,
        page([exhibit("add10")]),
        "#add10/" + problem.replace(" ", "%20").replace("+", "%2B"),
    )


def test_the_page_is_one_small_file_without_a_network():
    text = page([exhibit("add10"), exhibit("add10_gist"), exhibit("deriv")])
    assert len(text.encode()) < 80_000
    assert not re.search(r"""(src|href)\s*=|https?://|import\s*\(|fetch\(""", text)


def test_the_weights_in_the_page_are_exact_doubles():
    shown = exhibit("add10_95")
    text = page([shown])
    (data,) = json.loads(
        re.search(r'<script id="models" type="application/json">(.*?)</script>', text, re.S).group(
            1
        )
    )
    assert data["blocks"] == json.loads(json.dumps(model_to_json(shown.model)["blocks"]))


def test_an_explorer_of_nothing_is_refused():
    with pytest.raises(TinyadderError, match="at least one model"):
        page([])


def test_the_command_writes_one_file_and_does_not_overwrite_it(tmp_path):
    def explore(*arguments):
        command = [sys.executable, "-m", "tinyadder", "explore", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = explore("add10", "--digits", "3", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["models"] == ["add10"]
    again = explore("add10")
    assert again.returncode == 2 and "explorer.html exists; give --force" in again.stderr
    two = explore("add10", "add10_95", "--digits", "3", "--force")
    assert two.returncode == 2 and "belong to one construction" in two.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["explorer.html"]
