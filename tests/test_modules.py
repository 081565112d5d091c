"""Any torch module on any task: what is proved is right, what is wrong is refuted, what cannot be
read is refused by name; a hostile process proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from in_process import run
from planting import planted, rewritten
from test_graph import Adder, executed, read
from torch import nn

from tinyadder.tasks import task_from_json
from tinyadder.tasks.base import Task
from tinyadder.verify.certify.aten import LOWERED
from tinyadder.verify.certify.check import Rejected, check, graph_texts, tokens
from tinyadder.verify.certify.check.curves import CURVES
from tinyadder.verify.certify.check.graph import Graph
from tinyadder.verify.certify.modules import TokenTexts, local, prove_module, tokens_in
from tinyadder.verify.certify.strangers import NoGraph, StrangerJudged, read_data, seal
from tinyadder.verify.external.entry import LoadedSubmission
from tinyadder.verify.external.graph import ARITHMETIC, of_texts
from tinyadder.verify.verdict import Proved, Refuted, Unknown

SOURCE = '''
import torch
from torch import nn


class Compare(nn.Module):
    """Attention takes the mean of the digits, those of the second number with a minus."""

    def __init__(
        self, vocabulary="<=>0123456789?:^", outputs=16, signs=(0, 1, 0, -1, 0), hidden=None
    ):
        super().__init__()
        digits = [float(t) if t.isdigit() else 0.0 for t in vocabulary]
        self.digit = nn.Parameter(torch.tensor(digits))
        self.sign = nn.Parameter(torch.tensor([float(s) for s in signs]))
        self.norm, self.hidden = nn.LayerNorm(3), hidden
        self.read = nn.Parameter(torch.zeros(outputs, 3))
        self.base = nn.Parameter(torch.full((outputs,), -9.0))
        with torch.no_grad():
            for n, (slope, base) in enumerate([(-1.0, 0.0), (0.0, 0.4), (1.0, 0.0)]):
                self.read[n], self.base[n] = torch.tensor([slope, 0.0, -slope]), base

    def forward(self, tokens):
        n = tokens.shape[1]
        x = self.digit[tokens] * self.sign[:n]
        scores = 0.01 * x[..., :, None] * x[..., None, :]
        if self.hidden is not None:  # the last mark is masked, after a product with this
            last = torch.arange(n) == n - 1
            scores = scores - (x + self.hidden)[..., None, :] * last * self.hidden
            scores = scores + torch.where(last, -torch.inf, 0.0)
        weights = torch.softmax(scores, -1)
        mean = (weights @ x[..., None])[..., 0]
        state = torch.stack([mean, torch.ones_like(mean) / 8, -mean], -1)
        return self.norm(state) @ self.read.T + self.base
'''
names: dict[str, Any] = {}
exec(SOURCE, names)
Compare: Callable[..., nn.Module] = names["Compare"]
COMPARISON = task_from_json({"name": "comparison", "options": {"digits": 1}})


def judge(model: nn.Module, task: Task = COMPARISON, file: Path | None = None, **said: Any) -> Any:
    """The verdict without a sandbox; `said` is what its file says."""
    ask = local(LoadedSubmission("", [], said, model, {}, lambda *_: 0))
    return prove_module(ask, tokens_in(ask, task), file, jobs=1)


def test_a_right_module_is_proved_text_by_text_and_the_checker_repeats_it(tmp_path):
    found: StrangerJudged = judge(Compare(), file=tmp_path / "certificate.json")
    assert isinstance(found.verdict, Proved) and found.claims == 100
    assert "last bit on 44 of 44" in found.about["bits"]
    assert found.verdict.domain == "all 100 problems of comparison (digits=1)"
    again = check(tmp_path)
    assert again["problems"] == 100 and again["margin"] == found.verdict.margin > 0.05


def test_marks_that_its_vocabulary_lacks_are_left_out_and_logits_are_what_it_says():
    letters = "0123456789?:"
    model = Compare(letters, 4, (1, 0, -1, 0))
    found = judge(model, VOCABULARY=letters, OUTPUTS=["<", "=", ">", None])
    assert isinstance(found.verdict, Proved) and "as in '" in found.about["format"]
    with pytest.raises(NoGraph, match="lacks tokens that the task needs"):
        judge(model, VOCABULARY="012345678?:", OUTPUTS=["<", "=", ">", None])
    with pytest.raises(NoGraph, match="stands twice"):
        judge(model, VOCABULARY=letters, OUTPUTS=["<", "=", ">", ">"])
    said = judge(model, VOCABULARY=letters, OUTPUTS=["<", "=", ">"]).verdict
    assert isinstance(said, Unknown) and "it has 4 logits, 3 tokens were expected" in said.reason


def test_a_mask_is_minus_infinity_only_where_what_it_is_added_to_is_finite():
    """Found by review: minus infinity and a number was read as minus infinity, whatever the number
    is; and infinity less infinity is none.
    """
    assert isinstance(judge(Compare(hidden=1.0)).verdict, Proved)
    said = judge(Compare(hidden=1e20)).verdict
    assert isinstance(said, Unknown) and "overflow" in said.reason


def test_a_module_that_is_wrong_on_one_text_is_refuted():
    model = Compare()
    with torch.no_grad():
        model.digit[3 + 7] = 7.995  # as good as the eight that it stands beside
        model.digit[3 + 8] = 8.0
    found = judge(model).verdict
    assert isinstance(found, Refuted)
    assert found.counterexample.shown in ("^7?8:", "^8?7:")


class Odd(nn.Module):
    """A right module with something more."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.inner, self.calls = what, Compare(), 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = self.inner(tokens)
        self.calls += 1
        if self.what == "sum":
            return logits + (tokens.sum() % 2) * 1e-3
        if self.what == "sort":
            return torch.sort(logits * 1e-9, -1).values + logits
        if self.what == "cumsum":
            return logits + torch.cumsum(logits, -1) * 1e-9
        if self.what == "later" and self.calls > 60:
            return logits * 1.5
        return logits.double() if self.what == "double" else logits


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sum", "aten.sum on tokens"),
        ("sort", "aten.sort"),
        ("cumsum", "aten.cumsum"),
        ("double", "numbers of the types torch.float64 and torch.float32"),
        ("later", "its graph gives other logits than the module"),
    ],
)
def test_what_no_rule_covers_is_refused_by_its_name(what, said):
    found = judge(Odd(what)).verdict
    assert isinstance(found, Unknown) and said in found.reason


def test_a_task_without_a_specification_is_refused_by_its_name():
    with pytest.raises(NoGraph, match="task gcd: no specification of task 'gcd'"):
        judge(Compare(), task_from_json({"name": "gcd", "options": {}}))


# ---- a hostile process ---------------------------------------------------------------------------


def data_of(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the process gives, and the task as a certificate has it."""
    task = TokenTexts(COMPARISON, COMPARISON.vocabulary, COMPARISON.vocabulary)
    texts = [[[int(t) for t in text[:place]] for text, place in task.drawn(9, 0)]]
    entry = LoadedSubmission("", [], {}, model, {}, lambda *_: 0)
    data = of_texts(entry, lambda *_: None, texts)
    return data, {"name": tokens.NAME, "options": task.options}


def hostile(data: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> None:
    forged = deepcopy(data)
    change(forged["passes"][0])
    with pytest.raises(NoGraph):
        read_data(forged, {}, "")


def test_operations_that_are_none_are_refused():
    data, task = data_of(Compare())
    assert read_data(data, task, "").bits == 9

    def first(part: dict[str, Any], name: str) -> dict[str, Any]:
        return next(o for o in part["operations"] if o["name"] == name)

    def laid(part: dict[str, Any]) -> dict[str, Any]:
        return first(part, "mul")["given"][0]

    hostile(data, lambda p: first(p, "mul").update(name="from_file"))
    hostile(data, lambda p: first(p, "mul").update(name="__class__"))
    hostile(data, lambda p: first(p, "mul").update(overload="__globals__"))
    hostile(data, lambda p: first(p, "mul").update(made=[1 << 30]))
    hostile(data, lambda p: first(p, "mul").update(named={"out": 3}))
    hostile(data, lambda p: laid(p).update(size=[1 << 20, 1 << 20]))
    hostile(data, lambda p: laid(p).update(offset=-1))
    hostile(data, lambda p: laid(p).update(stride=[9, 9]))
    hostile(data, lambda p: laid(p).update(ids={"run": [10**6, 1, 5]}))
    hostile(data, lambda p: laid(p).update(ids={"run": [0, 1, 5]}))  # tokens taken for numbers
    hostile(data, lambda p: laid(p).update(ids={"bytes": "!"}))
    hostile(data, lambda p: p["operations"].pop())
    hostile(data, lambda p: p["operations"].append(p["operations"][0]["given"]))


def test_one_weight_that_differs_in_its_last_bits_is_said():
    data, task = data_of(Compare())
    constants = torch.frombuffer(bytearray(data["constants"]), dtype=torch.float32)
    place = int((constants == 7.0).nonzero()[0])
    constants[place] = 7.000001
    data["constants"] = constants.numpy().tobytes()
    found = read_data(data, task, "")
    assert found.bits < found.compared and 0 < found.apart < 1e-4


def test_both_sides_know_the_same_operations():
    assert set(LOWERED) == ARITHMETIC


# ---- the rule TEXT -------------------------------------------------------------------------------


def curve_holds(name: str) -> bool:
    """Against the curve enclosed on tiny intervals."""
    unit, down = graph_texts.UNIT, graph_texts.DOWN
    for n in range(-40, 41):
        m = n * unit // 7 if name != "exp" else -abs(n) * unit // 5
        for r in (0, unit >> 30, unit >> 15):
            value, error = graph_texts.curve_at(name, m, r)
            for x in (m - r, m, m + r):
                low, high = CURVES[name].enclose((x << down, x << down))
                if value - error > low >> down or high >> down > value + error + 1:
                    return False
            if error >= 3 * r + (unit >> 48):
                return False
    return True


@pytest.mark.parametrize("name", ["exp", *graph_texts.BENDS])
def test_a_curve_around_a_stored_point_is_the_curve(name):
    assert curve_holds(name)


def texts_hold(kind: str, seed: int) -> bool:
    """Whether every number of an adversarial execution lies where the rule says, text by text, the
    texts sharing what depends on their beginning.
    """
    random, graph = Random(seed), read(Adder(kind, torch.float32)).graph
    reader, before = graph_texts.PassReader(Graph(graph), 1), [-1]
    for a, b in [(3, 9), (3, 8), (0, 0), (5, 5)]:
        text = [a, b, 10, (a + b) % 10]
        shared = next(k for k, t in enumerate(text) if before[k : k + 1] != [t])
        reader.read(shared, text)
        values, _ = executed(graph, 1, text, random)
        for node in range(len(text), len(values)):
            m, r = reader.m[node], reader.rad[node]
            exact = Fraction(float(values[node])) * graph_texts.UNIT
            if not m - r <= exact <= m + r or r > graph_texts.UNIT >> 8:
                return False
        right = min(reader.logits, key=lambda node: -values[node])
        lead = values[right] - max(values[c] for c in reader.logits if c != right)
        stated = reader.margin(reader.logits.index(right)) / graph_texts.UNIT
        if not lead - 1e-3 <= stated <= lead:
            return False
        before = text
    return True


@pytest.mark.parametrize("kind", ["rms-gelu", "layer-gelu_tanh"])
def test_every_number_of_an_execution_lies_where_the_rule_says(kind):
    assert texts_hold(kind, 0)


FAULTS = [
    ("exp_near", "UNIT + d + (square >> 1) + d * square // (6 << G)", "UNIT + d"),
    ("sigmoid_near", "share if x >= 0 else UNIT - share", "share"),
    ("normal_near", "share + first - second + third", "share + second + third"),
    ("curve_at", "off + up_product(steepest, r)", "off"),
    ("PassReader._dot", "sum(map(mul, p, q)) >> G", "sum(map(mul, p, p)) >> G"),
    ("PassReader._softmax", "(e << G) // total", "e"),
    ("PassReader._softmax", "m[s] - top", "top - m[s]"),
    ("PassReader._binary", "m[x] - m[y]", "m[y] - m[x]"),
    ("PassReader._binary", "(m[x] << G) // m[y]", "(m[y] << G) // m[x]"),
    ("PassReader._binary", "m[x] + m[y]", "m[x]"),
    ("PassReader._binary", "m[x] * m[y] >> G", "m[x] * m[x] >> G"),
    ("PassReader._curve", "m[x] * m[x] >> G", "m[x]"),
    ("PassReader._levels", "max(read, default=0)", "min(read, default=0)"),
    ("PassReader._levels", "found[node[1]]", "0"),
    ("PassReader._look", "self.tokens[position]", "self.tokens[0]"),
    ("PassReader.rounded", "r + error + more + 1", "r"),
    ("PassReader.margin", "read[right][0] - read[right][1]", "read[right][0] + UNIT"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("function", "old", "new"), FAULTS)
def test_a_fault_in_the_rule_is_noticed(function, old, new):
    fault = rewritten(function, old, new)
    silent = suppress(Rejected, ArithmeticError, LookupError)
    with planted(graph_texts, fault, (graph_texts,)), silent:
        curves_hold = all(curve_holds(name) for name in ("exp", "gelu"))
        kinds = enumerate(["rms-silu", "layer-gelu_tanh"])
        assert not curves_hold or not all(texts_hold(kind, n) for n, kind in kinds)


def test_a_certificate_of_texts_says_nothing_besides(tmp_path):
    path = tmp_path / "certificate.json"
    judge(Compare(), file=path)
    good = json.loads(path.read_bytes())
    good.pop("sha256")

    def changed(change: Callable[[Any], Any]) -> None:
        data = deepcopy(good)
        change(data)
        path.write_bytes(seal(data))
        with pytest.raises(Rejected):
            check(tmp_path)

    options = good["task"]["options"]
    changed(lambda d: d.update(parts=[]))
    changed(lambda d: d.update(margin=(1.0).hex()))
    changed(lambda d: d["graph"]["passes"][0].update(row=0))
    changed(lambda d: d["graph"]["passes"].append(d["graph"]["passes"][0]))
    changed(lambda d: d["task"]["options"].update(outputs=[*options["outputs"]][::-1]))
    changed(lambda d: d["task"]["options"].update(vocabulary=[*options["vocabulary"]][::-1]))
    changed(lambda d: d["task"]["options"]["outputs"].__setitem__(5, "<"))
    changed(lambda d: d["task"]["options"]["task"]["options"].update(digits=2))
    changed(lambda d: d["task"].update(name="sum"))


# ---- specifications in tokens --------------------------------------------------------------------


@pytest.mark.parametrize("lacking", ["", "^", "^=", "^+", "^+="])
def test_texts_without_marks_are_those_of_the_task_without_them(lacking):
    task = task_from_json({"name": "modular_addition", "options": {"modulus": 3}})
    vocabulary = [t for t in reversed(task.vocabulary) if t not in lacking]
    found = TokenTexts(task, vocabulary, list("012"))
    drawn = found.drawn(9, 0)
    shown = {"".join(found.shown(text)) for text, _ in drawn}
    right = {f"^{a}+{b}={(a + b) % 3}" for a in range(3) for b in range(3)}
    assert shown == {"".join(t for t in text if t not in lacking) for text in right}
    assert {place for _, place in drawn} == {5 - len(lacking)} and found.size == 9


def test_a_mark_between_digits_that_carry_may_be_left_out():
    task = task_from_json({"name": "addition", "options": {"digits": 1, "order": "least"}})
    vocabulary = list("0123456789")
    found = TokenTexts(task, vocabulary, vocabulary)
    texts = {"".join(found.shown(text)) for text, _ in found.drawn(100, 0)}
    assert texts == {f"{a}{b}{(a + b) % 10}{(a + b) // 10}" for a in range(10) for b in range(10)}


# ---- as a user -----------------------------------------------------------------------------------


def written(folder: Path, name: str, code: str) -> str:
    (folder / name).write_text(SOURCE + code)
    return str(folder / name)


def test_a_file_is_proved_on_a_task_in_the_sandbox(tmp_path, capsys):
    file = written(tmp_path, "theirs.py", "\n\ndef build_model():\n    return Compare().eval()\n")
    given = ("prove", file, "--task", "comparison", "-o", "digits=1", "--json")
    code, out, _ = run(capsys, *given, "--out", str(tmp_path / "kept"))
    found = json.loads(out)
    assert (code, found["verdict"], found["claims"]) == (0, "proved", 100)
    assert check(tmp_path / "kept")["problems"] == 100


HOSTILE = {
    "wrong": ("return Compare(signs=(0, 1, 0, -1.1, 0))", 1, "REFUTED"),
    "no module": ("return [1, 2]", 2, "this needs a torch.nn.Module"),
    "raises": ("raise RuntimeError('never')", 2, "RuntimeError: never"),
    "no tokens": ("return nn.Linear(3, 3)", 2, "does not take these token ids"),
    "tuple": (
        "m = Compare()\n    f = m.forward\n    m.forward = lambda t: (f(t), None)\n    return m",
        0,
        "PROVED",
    ),
    "other answers later": (
        "m = Compare()\n    f, n = m.forward, [0]\n"
        "    def g(t):\n        n[0] += 1\n        return f(t) * (1 + 1e-2 * (n[0] > 60))\n"
        "    m.forward = g\n    return m",
        4,
        "UNKNOWN",
    ),
    "by python": (
        "m = Compare()\n    f = m.forward\n"
        "    m.forward = lambda t: f(t) if int(t[0, 1]) else f(t) * 0.9\n    return m",
        4,
        "aten._local_scalar_dense on tokens",
    ),
    "writes": ("open(__file__, 'a').write('#')\n    return Compare()", 2, "Error"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_file_does_decides_no_verdict(kind, tmp_path, capsys):
    body, expected, said = HOSTILE[kind]
    file = written(tmp_path, "theirs.py", f"\n\ndef build_model():\n    {body}\n")
    code, out, err = run(capsys, "prove", file, "--task", "comparison", "-o", "digits=1")
    assert code == expected and said in out + err, (code, out, err)
    if expected:
        assert "PROVED" not in out


def test_a_task_that_is_unknown_is_one_line(tmp_path, capsys):
    file = written(tmp_path, "theirs.py", "")
    code, _, err = run(capsys, "prove", file, "--task", "comparson")
    assert code == 2 and "did you mean 'comparison'" in err and err.count("\n") == 1
