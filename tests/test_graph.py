"""Graphs of strangers' modules: what is read is what the module computes, every number of an
execution lies in what the checker says, and only what is right is proved.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from tests import planting
from tinyadder.construction import construct
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.report.certificates import recheck
from tinyadder.verify.certify.boxes import Undecided
from tinyadder.verify.certify.check import check, curves, sums
from tinyadder.verify.certify.check import graph as rules
from tinyadder.verify.certify.check.affine import SymbolForm, Symbols
from tinyadder.verify.certify.check.boxes import GRID
from tinyadder.verify.certify.check.files import canonical
from tinyadder.verify.certify.check.graph import Graph, Reading
from tinyadder.verify.certify.check.graph_boxes import GraphTree
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.check.units import ONE, F, exact
from tinyadder.verify.certify.graph_boxes import GraphSearch, grow_pass, prove_graph, symbols
from tinyadder.verify.certify.strangers import NoGraph, Read, certificate_of, read_data, runs, seal
from tinyadder.verify.external.graph import Constants, OperationRefused, Tape, one_pass
from tinyadder.verify.verdict import Unknown

DIGIT_TABLE = list(range(10))
PASSES = [  # a b = ; then what was chosen, and the carry
    [["a", 0, DIGIT_TABLE], ["b", 0, DIGIT_TABLE], ["constant", 0, [10]], ["sum", 0, DIGIT_TABLE]],
    [
        *[["a", 0, DIGIT_TABLE], ["b", 0, DIGIT_TABLE], ["constant", 0, [10]]],
        *[["sum", 0, DIGIT_TABLE], ["sum", 1, DIGIT_TABLE]],
    ],
]
OPTIONS = {"digits": 1, "smallest": False, "passes": PASSES}


class Adder(nn.Module):
    """Adds two digits: attention takes their mean, two ramps the carry, a parabola the digit.

    `kind` names a norm and an activation that a small part of the logits goes through.
    """

    def __init__(self, kind: str = "plain", dtype: torch.dtype = torch.float32, seed: int = 0):
        super().__init__()
        self.kind, self.mask = kind, "filled"
        generator = torch.Generator().manual_seed(seed)
        digits = torch.arange(11, dtype=dtype)
        digits[10] = 0
        self.factor = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=dtype)
        self.digit = nn.Parameter(digits)
        self.place = nn.Parameter(torch.tensor([1.0, 1.0, -30.0, -30.0], dtype=dtype))
        self.late = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype))
        self.small = nn.Parameter(torch.randn(4, 4, generator=generator, dtype=dtype) * 0.3)
        self.out = nn.Parameter(torch.randn(4, 10, generator=generator, dtype=dtype) * 0.02)
        self.weight = nn.Parameter(1 + torch.randn(4, generator=generator, dtype=dtype) * 0.1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, n = self.digit[tokens], tokens.shape[-1]
        query = 1 + 0.01 * x
        scores = query[..., :, None] * (self.place[:n] + 0.0 * x)[..., None, :]
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        if self.mask == "filled":
            scores = scores.masked_fill(mask, -torch.inf)
        else:  # and the third token counts as masked, after what is given
            mask[:, 2] = True
            added = torch.zeros(n, n, dtype=x.dtype).masked_fill(mask, float(self.mask))
            scores = scores * self.factor[:n] + added
        weights = torch.softmax(scores, -1)
        total = 2 * (weights @ x[..., None])[..., 0]
        carry = torch.relu(total - 9) - torch.relu(total - 10)
        late = self.late[:n]
        digit = torch.relu(total - 10 * carry - 100 * late) + torch.relu(carry - 100 * (1 - late))
        choices = torch.arange(10, dtype=x.dtype)
        logits = digit[..., None] * choices - choices * choices / 2
        return logits if self.kind == "plain" else logits + self.more(total, carry, x)

    def more(self, total: torch.Tensor, carry: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        norm, act = self.kind.split("-")
        one = torch.ones_like(x)
        y = torch.stack([total / 10, carry, (x - total) * 0.037, one], -1) @ self.small
        y = y + torch.stack([x / 7, x * x / 50, one, x / 3], -1) @ self.small
        if norm == "layer":
            y = nn.functional.layer_norm(y, (4,), self.weight, self.weight / 2, 1e-5)
        else:
            y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight
        functions = {"gelu_tanh": lambda z: nn.functional.gelu(z, approximate="tanh")}
        function = functions.get(act) or getattr(torch, act, None) or getattr(nn.functional, act)
        return function(y) @ self.out


def texts_of(step: int, every: list[tuple[int, int]] | None = None) -> torch.Tensor:
    pairs = every or [(a, b) for a in range(10) for b in range(10)]
    return torch.tensor([[a, b, 10, (a + b) % 10][: 3 + step] for a, b in pairs])


def data_of(model: nn.Module) -> dict[str, Any]:
    """What the job in the sandbox would give, without torch.export."""
    constants: Constants | None = None
    passes, logits = [], []
    with torch.no_grad():
        for step in range(2):
            texts = texts_of(step)
            answers = torch.cat([model(text[None])[:, -1] for text in texts])
            constants = constants or Constants(answers.dtype)
            passes.append(one_pass(model, texts, -1, None, constants))
            logits.append(answers.numpy().tobytes())
    assert constants is not None
    return {
        "exported": True,
        "why": "",
        "fused": 0.0,
        "dtype": str(constants.dtype).removeprefix("torch."),
        "constants": b"".join(constants.values),
        "passes": passes,
        "logits": logits,
    }


TASK = {"name": "sum", "options": OPTIONS}


def read(model: nn.Module) -> Read:
    return read_data(data_of(model), TASK, "one digit")


KINDS = [
    "plain",
    "rms-silu",
    "rms-gelu",
    "layer-gelu_tanh",
    "layer-tanh",
    "rms-sigmoid",
    "layer-relu",
]


# ---- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_gives_the_logits_of_the_module(kind):
    found = read(Adder(kind))
    assert found.compared == found.bits == 200 and found.apart == 0 and not found.first
    assert found.largest_difference < 1e-5
    json.dumps(found.graph)


def test_a_graph_that_computes_something_else_is_refused():
    data = data_of(Adder("rms-silu"))
    constants = np.frombuffer(data["constants"], np.float32).copy()
    constants[np.argmax(np.abs(constants) == 9)] = 9.5
    data["constants"] = constants.tobytes()
    with pytest.raises(NoGraph, match="gives other logits than the module"):
        read_data(data, TASK, "one digit")


class Odd(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.inner = what, Adder()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = self.inner(tokens)
        if self.what == "sum":
            return logits + (tokens.sum() % 10)
        if self.what == "sort":
            return torch.sort(logits, -1).values
        if self.what == "item":
            return logits * float(logits[0, 0, 0])
        if self.what == "double":
            return logits.double()
        return torch.where(logits > 0, logits, -logits)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sum", "aten.sum on tokens"),
        ("sort", "aten.sort"),
        ("item", "aten._local_scalar_dense"),
        ("double", "change of the type"),
        ("where", "aten.gt"),
    ],
)
def test_an_operation_that_no_rule_covers_is_refused_by_name(what, said):
    with pytest.raises(OperationRefused, match=said), torch.no_grad():
        one_pass(Odd(what), texts_of(0), -1, None, Constants(torch.float32))


def test_numbers_written_in_place_are_followed():
    class InPlace(nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = torch.arange(11.0)[tokens]
            y = torch.zeros(1, 3, 2)
            y[..., 0] = 2 * x
            y[:, 1:, 1] = x[:, :-1]
            y[:, :1] += 1
            return torch.cat([y, y.flip(-1)], -1)

    constants = Constants(torch.float32)
    tape, tokens = Tape(constants), torch.tensor([[3, 4, 10]])
    tape.watch(tokens)
    with tape:
        out = InPlace()(tokens)
    steps = [operation["name"] for operation in tape.operations]
    assert steps.count("look") == 1 and steps.count("mul") == 1 and steps.count("add") == 1
    ids = tape.ids(out)[0]
    assert ids[1, 0] == ids[1, 3] and ids[1, 1] == ids[1, 2] and ids[0, 1] != ids[1, 1]


def test_runs_write_every_list_of_integers():
    random = Random(0)
    for _ in range(200):
        values = [random.randint(-4, 4) for _ in range(random.randint(1, 12))]
        assert rules.runs(runs(np.array(values)), -4, 4) == values
    assert runs(np.arange(5, 1000, 3)) == [5, 3, 332]


# ---- the specification ---------------------------------------------------------------------------


def spelled(stages: list, start: int) -> set[tuple[str, ...]]:
    """All texts of a specification."""
    found = {(0, ())}
    for position, moves in stages:
        found = {
            (to, (*text, (position, token)))
            for state, text in found
            for s, to, token in moves
            if s == state
        }
    return {tuple(t for _, t in sorted(text)) for _, text in found}


def two_digits(most: bool, column: bool) -> dict[str, Any]:
    """A format of two digits, the sum written from either end, operands digit by digit or by
    column.
    """
    order = [2, 1, 0] if most else [0, 1, 2]
    pair = [10 * a + b for a in range(10) for b in range(10)]
    prompt: list[list[Any]]
    if column:
        prompt = [["column", n, pair] for n in (1, 0)]
    else:
        prompt = [[kind, n, DIGIT_TABLE] for kind in "ab" for n in (1, 0)]
    prompt.append(["constant", 0, [200]])
    answer = [["sum", n, DIGIT_TABLE] for n in order]
    return {
        "digits": 2,
        "smallest": False,
        "passes": [[*prompt, *answer[: k + 1]] for k in range(3)],
    }


@pytest.mark.parametrize(("most", "column"), [(False, True), (True, False)])
def test_a_format_has_exactly_the_texts_of_all_sums(most, column):
    options = two_digits(most, column)
    for k, (_, stages) in enumerate(sums.passes(options)):
        right = set()
        for a in range(100):
            for b in range(100):
                ones = [10 * (a // 10) + b // 10, 10 * (a % 10) + b % 10]
                digits = [a // 10, a % 10, b // 10, b % 10]
                answer = f"{a + b:03d}" if most else f"{a + b:03d}"[::-1]
                text = [*(ones if column else digits), 200, *answer[: k + 1]]
                right.add(tuple(map(str, text)))
        assert spelled(stages, 0) == right


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p[0].pop(0), "do not stand once each"),
        (lambda p: p[0].insert(0, p[0][0]), "do not stand once each"),
        (lambda p: p.pop(), "do not write every digit once"),
        (lambda p: p[0].__setitem__(0, ["a", 0, [0] * 10]), "one token stands for two digits"),
        (lambda p: p[1].__setitem__(3, ["sum", 0, [1] * 10]), "two digits of the sum"),
        (lambda p: p[0].__setitem__(0, ["c", 0, DIGIT_TABLE]), "a place of kind"),
    ],
)
def test_a_format_that_is_none_is_rejected(change, said):
    options = deepcopy(OPTIONS)
    change(options["passes"])
    with pytest.raises(Rejected, match=said):
        sums.passes(options)


# ---- curves and forms ----------------------------------------------------------------------------

EXACT = {
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "exp": mpmath.exp,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2,
    "gelu_tanh": lambda x: (
        x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + x**3 * mpmath.mpf("0.044715"))))
    ),
    "relu": lambda x: max(x, mpmath.mpf(0)),
}


def inside(interval: tuple[int, int], x: Any, slack: int = 0) -> bool:
    with mpmath.workprec(1200):
        unit = int(mpmath.floor(mpmath.mpf(x) * mpmath.mpf(2) ** F))
        return interval[0] - slack <= unit <= interval[1] + slack


@pytest.mark.parametrize("name", curves.CURVES)
def test_curves_hold_values_slopes_and_bends(name):
    random, curve, function = Random(name), curves.CURVES[name], EXACT[name]
    with mpmath.workprec(1200):
        for _ in range(4):
            low = random.uniform(-9, 9)
            low = abs(low) + 1e-3 if name in ("sqrt", "rsqrt", "reciprocal") else low
            width = random.choice([1e-6, 0.1, 2.0])
            whole = exact(low)[0], exact(low + width)[1]
            assert inside(curve.enclose(exact(low)), function(mpmath.mpf(low)))
            if name != "relu":
                assert inside(curve.slope(exact(low)[0]), mpmath.diff(function, low), ONE >> 200)
            for k in range(3):
                x = mpmath.mpf(low) + mpmath.mpf(width) * k / 3
                assert inside(curve.enclose(whole), function(x)), (name, low, width)
                if name != "relu":
                    bend = mpmath.diff(function, x, 2)
                    assert inside(curve.bend(whole), bend, ONE >> 100), (name, low, width)


@pytest.mark.parametrize(("name", "bound"), [("gelu", 0.7979), ("gelu_tanh", 0.81), ("silu", 0.5)])
def test_no_second_derivative_is_beyond_its_bound(name, bound):
    function = EXACT[name]
    with mpmath.workdps(30):
        bends = [abs(mpmath.diff(function, mpmath.mpf(k) / 20, 2)) for k in range(-160, 161)]
        assert bound * 0.98 < max(bends) <= bound


def curve_of_a_symbol(name: str) -> Any:
    return lambda s, f, g: (s.curve(f, name), lambda x, y: EXACT[name](x))


def curve_of_a_square(name: str) -> Any:
    """Of x^2 + 1/2, which is positive."""
    return lambda s, f, g: (
        s.curve(s.linear([((ONE, ONE), s.square(f)), (exact(0.5), ONE_FORM)], 0), name),
        lambda x, y: EXACT[name](x * x + mpmath.mpf(0.5)),
    )


FORM_RULES = {
    "product": lambda s, f, g: (s.product(f, g), lambda x, y: x * y),
    "square": lambda s, f, g: (s.square(f), lambda x, y: x * x),
    "linear": lambda s, f, g: (
        s.linear([(exact(0.3), f), (exact(-1.7), g)], 0),
        lambda x, y: mpmath.mpf(0.3) * x - mpmath.mpf(1.7) * y,
    ),
    **{
        name: curve_of_a_symbol(name)
        for name in ("silu", "gelu", "gelu_tanh", "tanh", "sigmoid", "exp", "relu")
    },
    **{name: curve_of_a_square(name) for name in ("sqrt", "rsqrt", "reciprocal")},
}
ONE_FORM = SymbolForm((ONE, ONE), {}, (ONE, ONE))


def form_holds(name: str, seed: int) -> bool:
    """Whether a form of two symbols holds the values at random points of the box: by its interval
    and by its slopes.
    """
    random = Random(seed)
    middles = [random.choice([0.005, random.uniform(-2, 2)]) for _ in range(2)]
    radii = [random.choice([0.01, 0.3, 1.5]) for _ in range(2)]
    symbols = Symbols([exact(r)[1] for r in radii])
    f, g = (symbols.symbol(s, exact(m)[0]) for s, m in enumerate(middles))
    try:
        form, value = FORM_RULES[name](symbols, f, g)
    except Rejected:  # two enclosures that do not meet
        return False
    with mpmath.workprec(1200):
        for _ in range(6):
            d = [r * random.choice([-1, 1, random.uniform(-1, 1)]) for r in radii]
            x, y = (mpmath.mpf(m) + e for m, e in zip(middles, d, strict=True))
            true = value(x, y)
            slope = sum(mpmath.mpf(a) / ONE * d[s] for s, a in form.slopes.items())
            if not inside(form.r, true, 2) or not inside(form.c, true - slope, 2**64):
                return False
    return True


@pytest.mark.parametrize("name", FORM_RULES)
def test_forms_hold_what_they_are_of(name):
    assert all(form_holds(name, seed) for seed in range(5))


PLANTED_FORMS = {
    "product: no rest": ("product", planting.given, "rest", "0"),
    "square: no rest": ("square", planting.instead, "linear", "self.linear(terms, 0, natural)"),
    "linear: one end": ("linear", planting.given, "low, high", "(low + a, high + a - a // 2)"),
    "curve: a quarter": ("curve", planting.given, "squared", "(away * away >> F) // 4"),
    "relu: half a gap": ("relu", planting.given, "gap", "-(chord * low >> F) // 2"),
    "made: no radius": ("made", planting.given, "away", "0"),
}


@pytest.mark.parametrize("name", PLANTED_FORMS)
def test_a_fault_in_a_rule_of_forms_is_noticed(name):
    method, kind, *changed = PLANTED_FORMS[name]
    with planting.planted_method(Symbols, method, kind(f"Symbols.{method}", *changed)):
        assert not all(form_holds(rule, seed) for rule in FORM_RULES for seed in range(5))


# ---- numbers of executions -----------------------------------------------------------------------


def executed(graph: dict[str, Any], which: int, text: list[int], random: Random) -> Any:
    """Every node of a pass as one execution computes it: sums in some order, exp and the like a few
    last bits off; and per softmax the exponentials.
    """
    kind = {"float32": np.float32, "float64": np.float64}[graph["dtype"]]
    constants = [
        kind(float.fromhex(c)) if c != "-inf" else kind(-np.inf) for c in graph["constants"]
    ]
    nodes = Graph(graph).passes[which][0]
    values: list[Any] = []
    powers: dict[int, list[Any]] = {}

    def get(a: int) -> Any:
        return values[a] if a >= 0 else constants[-1 - a]

    def added(terms: list[Any]) -> Any:
        random.shuffle(terms)
        total = terms[0]
        for term in terms[1:]:
            total = kind(total + term)
        return total

    def off(x: float, ulps: int) -> Any:
        value = kind(x)
        toward = kind(np.inf if random.random() < 0.5 else -np.inf)
        for _ in range(random.randint(0, ulps)):
            value = np.nextafter(value, toward)
        return value

    with np.errstate(all="ignore"):
        for node in nodes:
            op = node[0]
            if op == "token":
                values.append(text[node[1]])
            elif op == "look":
                values.append(get(node[2][text[node[1]]]))
            elif op == "softmax":
                _, group, index, serial = node
                if serial not in powers:
                    scores = [get(a) for a in group]
                    top = max(scores)
                    powers[serial] = [
                        off(np.exp(np.float64(kind(s - top))), 2) if np.isfinite(s) else kind(0)
                        for s in scores
                    ]
                values.append(kind(powers[serial][index] / added(list(powers[serial]))))
            else:
                given = [get(a) for a in node[1]]
                if op in ("sum", "dot"):
                    k = len(given) // 2
                    pairs = zip(given[:k], given[k:], strict=True)
                    terms = given if op == "sum" else [kind(a * b) for a, b in pairs]
                    values.append(added(list(terms)))
                elif op in ("add", "sub", "mul", "div", "neg", "square", "relu"):
                    a, b = (*given, kind(0))[:2]
                    found = {
                        "add": a + b,
                        "sub": a - b,
                        "mul": a * b,
                        "div": a / b if b else a,
                        "neg": -a,
                        "square": a * a,
                        "relu": max(a, kind(0)),
                    }[op]
                    values.append(kind(found))
                else:
                    x = float(given[0])
                    values.append(off(float(EXACT[op](mpmath.mpf(x))), 1))
    return values, powers


def mean_of(reading: Reading, mean: Any, values: Any, powers: Any) -> tuple[int, int]:
    """The exact mean that an execution has, in units, and how far it may be off."""
    total = mpmath.mpf(mean.shift[0]) / ONE
    p = [mpmath.mpf(float(x)) for x in powers[mean.softmax]]
    for node, factor in mean.nodes:
        parts = reading.values(node).items()
        top = sum(p[i] * mpmath.mpf(float(values[v])) for i, v in parts)
        total += mpmath.mpf(factor[0]) / ONE * top / sum(p)
    return int(total * ONE), mean.error


def nodes_hold(model: nn.Module, seed: int) -> bool:
    """Whether every number of an execution lies in what the checker says of it, with boxes around
    the exact means of this very execution.
    """
    random, graph = Random(seed), read(model).graph
    with mpmath.workprec(1200):
        return all(pass_holds(graph, which, random) for which in range(2))


def pass_holds(graph: dict[str, Any], which: int, random: Random) -> bool:
    reading = Reading(Graph(graph), which, smallest=False)
    reading.texts = [[str(t) for t in range(11)] for _ in range(reading.length)]
    for _ in range(2):
        a, b = random.randrange(10), random.randrange(10)
        text = [a, b, 10, (a + b) % 10][: 3 + which]
        values, powers = executed(graph, which, text, random)
        reading.enter(str(text[-1]))
        reading.symbols = symbols(reading)
        means = {
            node: mean_of(reading, mean, values, powers)
            for node in range(reading.length, len(reading.nodes))
            if not reading.local(node) and (mean := reading.mean(node)) is not None
        }
        for node, (exact_mean, error) in means.items():
            near = exact_mean - error - 1, exact_mean + error + 1
            if not inside(near, float(values[node])):
                return False
        box = [(means[s][0] - (ONE >> 60), means[s][0] + (ONE >> 60)) for s in reading.symbols]
        form, _ = reading.forms(box)
        tokens = dict(enumerate(map(str, text)))
        below: set[int] = set()
        waiting = list(reading.logits)
        while waiting:
            node = waiting.pop()
            if node in below or node < 0:
                continue
            below.add(node)
            if not inside(form(node).r, float(values[node])):
                return False
            if node not in reading.symbols and not reading.local(node):
                waiting += reading.nodes[node][1]
        for node, what in enumerate(reading.nodes):
            plain = what[0] not in ("token", "softmax") and len(reading.positions[node]) <= 2
            reached = plain and "softmax" not in str(what) and not _after_softmax(reading, node)
            if reached and not inside(reading.value(node, tokens), float(values[node])):
                return False
    return True


def _after_softmax(reading: Reading, node: int) -> bool:
    what = reading.nodes[node]
    if what[0] in ("softmax", "token"):
        return what[0] == "softmax"
    if what[0] == "look":
        return False
    return any(_after_softmax(reading, a) for a in what[1] if a >= 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_an_execution_lies_in_what_the_checker_says(kind):
    dtype = torch.float64 if KINDS.index(kind) % 2 else torch.float32
    assert nodes_hold(Adder(kind, dtype), 1)


PLANTED_RULES = {
    "operations do not round": ("rounded", planting.instead, "gamma", "0"),
    "softmax does not round": ("mixed", planting.instead, "gamma", "0"),
    "the shift of a mean is lost": ("combined", planting.given, "shift", "shift"),
    "a factor of a mean is lost": (
        *("combined", planting.given),
        *("nodes[node]", "add(nodes.get(node, ZERO), factor)"),
    ),
    "sums do not round": ("computed", planting.instead, "sum_error", "0"),
    "nothing is divided": ("computed", planting.instead, "quotient", "x[0]"),
    "one value has all the weights": (
        *("values", planting.given),
        *("found[self.nodes[weight][2]]", "found.get(0, value)"),
    ),
    "a difference is a sum": ("found_mean", planting.chosen, True, "op"),
}


@pytest.mark.parametrize("name", PLANTED_RULES)
def test_a_fault_in_a_rule_of_graphs_is_noticed(name):
    method, kind, *changed = PLANTED_RULES[name]
    fault = kind(f"Reading.{method}", *changed)
    with (
        planting.planted_method(Reading, method, fault),
        suppress(Rejected, LookupError),  # what is not enclosed at all is noticed, too
    ):
        assert not all(nodes_hold(Adder("rms-silu", torch.float32), seed) for seed in range(3))


# ---- proofs --------------------------------------------------------------------------------------


def proved(model: nn.Module, folder: Path) -> dict[str, Any]:
    found = read(model)
    path = folder / "certificate.json"
    path.write_bytes(certificate_of(found, prove_graph(found.graph, TASK, 1)))
    return check(folder)


@pytest.mark.parametrize(
    "kind", ["plain", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_an_adder_of_two_digits_is_proved(kind, tmp_path):
    found = proved(Adder(kind), tmp_path)
    assert found["problems"] == 100 and found["margin"] > 0.05


def test_a_graph_proves_nothing_about_a_model_that_it_lies_beside(tmp_path):
    certificate = tmp_path / "certificate.json"
    proved(Adder("plain"), tmp_path)
    made = construct("add10", digits=2)
    said = recheck(build(made.program), made.task, certificate)
    assert isinstance(said, Unknown) and "it is about its own graph" in said.reason
    save(build(made.program), made.task, tmp_path / "model", name="model", options={})
    with pytest.raises(Rejected, match="it is about its own graph"):
        check(tmp_path / "model", certificate)


def searched(kind: str) -> tuple[GraphSearch, list[Any]]:
    """A search after its first level of leaves, and these."""
    found = read(Adder(kind))
    _, stages = sums.passes(OPTIONS)[0]
    search = GraphSearch(Reading(Graph(found.graph), 0, smallest=False), stages)
    near, order = search.order(search.tree.i)
    search.tree.begin([search.tree.i], near)
    search.split_order = [3, 2, *(j for j in order if j != 2)]
    leaves = [search.branch({3: str((a + b) % 10), 2: "10", 0: str(a)}) for a, b in PAIRS]
    search.bound(leaves)
    return search, leaves


PAIRS = [(3, 4), (0, 0), (9, 9), (5, 7)]


@pytest.mark.parametrize("kind", ["plain", "rms-gelu", "layer-gelu_tanh", "layer-tanh"])
def test_margins_of_many_boxes_are_those_that_the_checker_finds(kind):
    search, leaves = searched(kind)
    found = search.margins([(search.kind(b), b.box) for b in leaves])
    for branch, margin in zip(leaves, found, strict=True):
        own, right = search.kind(branch)
        search.reading.enter(own)
        sides = [int(side) << GRID for side in branch.box]
        judged = search.reading.margin([*zip(sides[::2], sides[1::2], strict=True)], right)
        assert margin == pytest.approx(judged / ONE, rel=1e-9, abs=1e-9)


def test_sides_of_many_boxes_hold_and_are_tight():
    search, leaves = searched("rms-gelu")
    tree = search.tree
    for branch in leaves:
        own = branch.tokens[tree.i]
        for n, side in enumerate(map(int, branch.box)):
            sign = -1 if n % 2 else 1
            for bound, holds in ((side, True), (side + 2 * sign, False)):
                costs, far = tree.side_costs(own, n // 2, bound << GRID, sign)
                assert (tree.least(branch.moves, costs) + far >= 0) is holds


def test_leaves_share_cells_and_no_cell_has_a_smaller_margin_than_a_leaf():
    search, leaves = searched("plain")
    search.margin = min(search.margins([(search.kind(b), b.box) for b in leaves]))
    twice = [*leaves, *deepcopy(leaves)]
    cells = search.cells(twice)
    assert len(cells) == len(leaves)
    for branch in twice:
        box = cells[branch.cell][0]
        assert all(low <= side for low, side in zip(box[::2], branch.box[::2], strict=True))
        assert search.margins([(search.kind(branch), box)])[0] >= search.margin


def masked(amount: str, factor: float = 1.0) -> Any:
    """What the search says of a pass whose mask is added to the scores."""
    model = Adder()
    model.mask = amount
    if amount == "-inf":
        model.factor[2] = factor
    found = read(model)
    with np.errstate(all="ignore"):
        part = grow_pass(found.graph, TASK, 0)
    if isinstance(part, dict):
        _, stages = sums.passes(OPTIONS)[0]
        assert GraphTree(Reading(Graph(found.graph), 0, smallest=False), stages).part(part) > 0
    return part


def test_a_score_to_which_minus_infinity_is_added_is_masked():
    assert isinstance(masked("-inf"), dict)
    assert isinstance(masked("-1000"), dict)


def test_a_masked_score_that_may_overflow_is_refused():
    said = masked("-inf", 1e38)
    assert isinstance(said, Rejected) and "overflow" in str(said)


def test_an_adder_that_is_wrong_once_is_not_proved():
    model = Adder("rms-gelu")
    with torch.no_grad():
        model.digit[7] += 0.6
    found = read(model)
    assert isinstance(grow_pass(found.graph, TASK, 0), Undecided)


def test_a_certificate_that_was_changed_is_rejected(tmp_path):
    proved(Adder("plain"), tmp_path)
    path = tmp_path / "certificate.json"
    good = json.loads(path.read_bytes())
    good.pop("sha256")

    def changed(change: Any) -> None:
        data = deepcopy(good)
        change(data)
        path.write_bytes(seal(data))
        with pytest.raises(Rejected):
            check(tmp_path)

    def constant(data: Any) -> None:
        k = next(k for k, c in enumerate(data["graph"]["constants"]) if float.fromhex(c) == 9)
        data["graph"]["constants"][k] = (9.7).hex()

    def outside(data: Any) -> None:
        data["parts"][0]["cells"][0][0][0] = 10**9

    def another_cell(data: Any) -> None:
        """Every leaf names the cell of the first one."""
        text = json.dumps(data["parts"][1]["tree"])
        data["parts"][1]["tree"] = json.loads(re.sub(r"\b\d+(?=[,\]])", "0", text))

    changed(constant)
    changed(outside)
    changed(another_cell)
    changed(lambda d: d["parts"][0]["cells"].pop())
    changed(lambda d: d["parts"][0].update(symbols=[0]))
    changed(lambda d: d["parts"].pop())
    changed(lambda d: d["task"]["options"]["passes"][0].pop(0))
    changed(lambda d: d["rules"].pop())
    changed(lambda d: d.update(margin=(1e9).hex()))
    changed(lambda d: d["graph"]["passes"][0].update(logits=[2, 1, 9]))
    changed(lambda d: d["graph"]["passes"][0]["steps"].pop())
    path.write_bytes(canonical({**good, "sha256": "0" * 64}))
    with pytest.raises(Rejected, match="edited or truncated"):
        check(tmp_path)
