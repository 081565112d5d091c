"""The checker: sound rules, no tampered certificate accepted, and every fault planted in it is
noticed.
"""

import ast
import copy
import hashlib
import itertools
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace

import pytest
import torch
from flint import arb, ctx

from tests import planting
from tests.test_certify import BY_TEXT, SMALL_TASKS
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks import task_from_json
from tinyadder.tasks.addition import Addition
from tinyadder.verify.certify import forms as prover_forms
from tinyadder.verify.certify import machine, prove, spec
from tinyadder.verify.certify.check import (
    certificate,
    files,
    forms,
    forward,
    intervals,
    model,
    proof,
    specifications,
)
from tinyadder.verify.certify.check.__main__ import main
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.verdict import Proved, Unknown

ROOT = Path(__file__).parents[1]
KERNEL = (intervals, forms, forward, proof)
MODULES = (intervals, files, forms, model, specifications, forward, proof, certificate)
"""Every module of the checker, those it imports before it."""
LINES, CODE = 800, 540
"""The kernel stays below: lines, and lines that are neither empty nor documentation."""
ALL, FILE = 5000, 700
"""The whole checker stays below: lines, and lines of one file."""


def folder_of(root: Path, name: str, **options) -> Path:
    made = construct(name, **options)
    model, folder = build(made.program), root / f"{name}_{'_'.join(map(str, options.values()))}"
    save(model, made.task, folder, name=name, options=options, program=made.program)
    assert isinstance(certify(model, made.task, folder).verdict, Proved)
    return folder


def certified(root: Path) -> dict[str, Path]:
    """Folders with accepted certificates, one for every kind of split."""
    return {
        "plain": folder_of(root, "add10", digits=1),
        "phase": folder_of(root, "add10_95", digits=1),
        "again": folder_of(root, "copy_digits", length=7),
        "state": folder_of(root, "parity_once", length=4),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return certified(tmp_path_factory.mktemp("certified"))


# ---- it stands alone -----------------------------------------------------------------------------


def test_it_runs_without_any_installed_package(folders):
    """In an isolated interpreter that may load the standard library and the checker's own files
    only.
    """
    code = (
        "import sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        outer = ('tinyadder', 'tinyadder.verify', 'tinyadder.verify.certify')\n"
        "        ours = name in outer or name.startswith('tinyadder.verify.certify.check')\n"
        "        packages = ('torch', 'numpy', 'flint', 'tinyadder', 'safetensors', 'click')\n"
        "        if name.partition('.')[0] in packages and not ours:\n"
        "            raise ImportError('forbidden: ' + name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tinyadder.verify.certify.check.__main__ import main\n"
        f"sys.exit(main([{str(folders['plain'])!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith("PROVED     addition (digits=1")
        and "all 100 problems" in done.stdout
    )


def test_bad_usage_and_missing_folders_are_said_plainly(tmp_path, capsys):
    assert main([]) == 2 and main(["--help"]) == 2
    assert main([str(tmp_path)]) == 1
    assert "REJECTED" in capsys.readouterr().out


def code_lines(source: str) -> int:
    """Lines that are neither empty nor a comment nor part of a documentation string."""
    tree = ast.parse(source)
    texts = [
        n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
    ]
    documentation = {
        line for n in texts for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(
        bool(line.strip()) and line.strip()[0] != "#" and k not in documentation
        for k, line in lines
    )


def test_what_must_be_trusted_stays_short():
    sources = [Path(module.__file__).read_text() for module in KERNEL]
    assert sum(len(source.splitlines()) for source in sources) < LINES
    assert sum(map(code_lines, sources)) < CODE
    files = Path(forward.__file__).parent.glob("*.py")
    lengths = [len(file.read_text().splitlines()) for file in files]
    assert sum(lengths) < ALL and max(lengths) <= FILE
    page = " ".join((ROOT / "docs" / "proofs.md").read_text().split())
    assert f"fewer than {LINES} lines, {CODE} of them code" in page
    assert f"fewer than {ALL:,} lines, at most {FILE} a file" in page
    assert all(f"`{Path(module.__file__).name}`" in page for module in KERNEL)


# ---- arithmetic ----------------------------------------------------------------------------------


def interval(random: Random) -> tuple[tuple[int, int], Fraction]:
    """An interval of the checker and a number in it."""
    low = random.randint(-(2**1500), 2**1500) >> random.randrange(1500)
    high = low + (random.getrandbits(random.randrange(1, 1400)) if random.random() < 0.7 else 0)
    return (low, high), Fraction(random.randint(low, high), intervals.ONE)


def inside(value: Fraction, found: tuple[int, int]) -> bool:
    return Fraction(found[0], intervals.ONE) <= value <= Fraction(found[1], intervals.ONE)


def arithmetic_encloses() -> None:
    random = Random(0)
    for _ in range(3000):
        (a, x), (b, y) = interval(random), interval(random)
        assert (
            inside(x + y, intervals.add(a, b))
            and inside(x * y, intervals.mul(a, b))
            and inside(-x, intervals.neg(a))
        )
        around = intervals.join([a, b])
        assert (
            abs(x) * intervals.ONE <= intervals.size(a) and inside(x, around) and inside(y, around)
        )
        if b[0] > 0:
            assert inside(x / y, intervals.over(a, b))


def exponentials_enclose() -> None:
    random = Random(1)
    with ctx.workprec(4000):
        for k in range(300):
            x = -random.getrandbits(intervals.F + random.randrange(11)) if k else 0
            low, high = intervals.exp_of(x)
            true = (arb(x) / arb(intervals.ONE)).exp() * arb(intervals.ONE)
            assert arb(low) <= true <= arb(high)
            assert high - low <= 3


def roundings_enclose() -> None:
    """Sums of random doubles, in random order, lie in what rule LINEAR gives for them; single
    roundings too.
    """
    random = Random(2)
    for _ in range(1000):
        n = random.randrange(1, 9)
        ws = [random.choice((1.0, 2.0, random.uniform(-3, 3), 0.5)) for _ in range(n)]
        xs = [
            random.choice((1.0, 3.0, random.uniform(-1, 1) * 10.0 ** random.randrange(-9, 9)))
            for _ in range(n)
        ]
        scaled = all(abs(math.frexp(w)[0]) == 0.5 for w in ws)
        found = intervals.rounded_sum(
            [
                intervals.mul(intervals.exact(w), intervals.exact(x))
                for w, x in zip(ws, xs, strict=True)
            ],
            scaled,
        )
        for _ in range(5):
            order = random.sample(range(n), n)
            total = 0.0
            for k in order:
                total += ws[k] * xs[k]
            assert inside(Fraction(total), found)
        fused = float(sum(Fraction(w) * Fraction(x) for w, x in zip(ws, xs, strict=True)))
        assert inside(Fraction(fused), found)


def the_bound_of_sums_is_attained() -> None:
    """1 and n times 2^-53: summed from the large end nothing is added, from the small end nearly n
    units.
    """
    terms = [1.0, *[2.0**-53] * 6, 2.0**-60]
    found = intervals.rounded_sum(
        [intervals.mul(intervals.exact(t), intervals.exact(1.0)) for t in terms], True
    )
    for order in (terms, terms[::-1]):
        total = 0.0
        for term in order:
            total += term
        assert inside(Fraction(total), found)


def single_operations_enclose() -> None:
    """Numbers with more digits than a float64 has, rounded to the nearest; the worst exp that the
    model may have.
    """
    random = Random(6)
    for _ in range(300):
        x = random.randint(-(1 << 300), 1 << 300)
        rounded = Fraction(x / (1 << 200))
        point = (x << (intervals.F - 200),) * 2
        assert inside(rounded, intervals.once(point)) and inside(rounded, intervals.nearest(point))
        y = -(random.getrandbits(60) << (intervals.F - 60))
        low, high = intervals.exp((y, y))
        middle = Fraction(intervals.exp_of(y)[0], intervals.ONE)
        for sign in (1, -1):
            assert low <= middle * (1 + sign * Fraction(1, 2**51)) * intervals.ONE <= high


def the_largest_errors_are_allowed() -> None:
    """Results as far off as the numerics allow, by hand: a little less room is too little."""
    u, one = Fraction(1, 2**53), intervals.ONE
    halfway = (one + (one >> 53),) * 2  # 1 + 2^-53: rounds to 1, off by nearly u
    assert inside(Fraction(1), intervals.once(halfway))
    assert inside(Fraction(1) + 2 * u, intervals.once(halfway))
    third = intervals.over((one, one), (3 * one, 3 * one))
    for sign in (1, -1):
        assert inside(Fraction(1, 3) * (1 + sign * u), intervals.once(third))
    for x in (0.0, -1.0, -0.5, -40.0, -700.0):
        true = Fraction(sum(intervals.exp_of(intervals.exact(x)[0])), 2 * one)
        for sign in (1, -1):
            worst = true * (1 + sign * Fraction(1, 2**51) * (1 - Fraction(1, 2**40)))
            assert inside(worst, intervals.exp(intervals.exact(x)))


# ---- the rules -----------------------------------------------------------------------------------

TEXTS = ["ab", "ab", "ab"]


def value_of(view, form, text: str) -> tuple[int, int]:
    """The form for one text, symbols replaced."""
    form = view.expand(form)
    for p, token in enumerate(text):
        form = form.at(p, token)
    assert form.constant
    return form.c


def random_form(random: Random, positions) -> tuple[forms.Affine, Callable[[str], float]]:
    """A separable form of known float64 numbers with one table, and its value for a text."""
    p = random.choice(positions)
    table = {t: random.uniform(-3, 3) for t in "ab"}
    return forms.Affine(
        tables={p: {t: intervals.exact(x) for t, x in table.items()}}
    ), lambda text: table[text[p]]


def shuffled_sum(random: Random, terms: list[float]) -> float:
    random.shuffle(terms)
    total = 0.0
    for term in terms:
        total += term
    return total


def a_view(**parts) -> forward.ForwardPass:
    return forward.ForwardPass(SimpleNamespace(**parts), TEXTS)


def sums_and_products_of_forms_enclose() -> None:
    """LINEAR and MUL, at the position of the token and elsewhere, for every text."""
    random, view = Random(3), a_view()
    for _ in range(150):
        positions = random.choice(((2,), (0, 1, 2)))
        made = [random_form(random, positions) for _ in range(random.randrange(1, 5))]
        weights = [random.choice((1.0, -2.0, random.uniform(-3, 3))) for _ in made]
        bias = random.choice((0.0, random.uniform(-1, 1)))
        found = view.linear(
            2, [(w, form) for w, (form, _) in zip(weights, made, strict=True)], bias
        )
        (a, of_a), (b, of_b) = random_form(random, (0, 1, 2)), random_form(random, (0, 1, 2))
        product = view.product(2, a, b)
        for text in map("".join, itertools.product("ab", repeat=3)):
            terms = [*(w * of(text) for w, (_, of) in zip(weights, made, strict=True)), bias]
            assert inside(Fraction(shuffled_sum(random, terms)), value_of(view, found, text))
            assert inside(Fraction(of_a(text) * of_b(text)), value_of(view, product, text))


def factors_of_forms_enclose() -> None:
    """One unknown factor of a form with a symbol; a known factor of a form, rounded to the
    nearest.
    """
    random = Random(4)
    for _ in range(100):
        view, (inner, of) = a_view(), random_form(random, (0,))
        symbol = view.named(("x",), inner)
        low, high = sorted((random.uniform(-1, 1), random.uniform(-1, 1)))
        found = view.scaled(symbol, (intervals.exact(low)[0], intervals.exact(high)[1]))
        product = view.product(2, forms.Affine(intervals.exact(low)), symbol)
        for text in ("abb", "bab"):
            for factor in (low, high):
                assert inside(Fraction(factor) * Fraction(of(text)), value_of(view, found, text))
            assert inside(Fraction(low * of(text)), value_of(view, product, text))


def gates_enclose() -> None:
    """RELU: a chord at other positions; at the query the sign must be known, and is the one that is
    claimed.
    """
    random = Random(5)
    for _ in range(100):
        gate, of = random_form(random, (0,))
        base = a_view()
        query = forward.ForwardPass(base.model, TEXTS, 2, base)
        for text in ("abb", "bab"):
            assert inside(
                Fraction(max(0.0, of(text))), value_of(base, base.relu(0, 1, 0, gate), text)
            )
            low, high = (of(t) for t in sorted(("abb", "bab"), key=of))
            if low < 0 < high:
                with pytest.raises(forward.OpenSign):
                    query.relu(0, 2, 0, gate)
                on = query.part("phases", (0, 0), of(text) > 0).relu(0, 2, 0, gate)
                assert inside(Fraction(max(0.0, of(text))), value_of(query, on, text))


def a_head(random: Random) -> SimpleNamespace:
    """A model of one head. Queries and keys read column 0, in eighths, so that scores are known;
    values column 1.

    Half of the heads look at the position only, less at farther ones.
    """

    def eighths(n: int) -> list[float]:
        return [random.randrange(-32, 33) / 8 for _ in range(n)]

    def some(n: int) -> list[float]:
        return [random.uniform(-2, 2) for _ in range(n)]

    (q, k), (query_bias, key_bias), (slope, v) = eighths(2), eighths(2), some(2)
    if random.random() < 0.5:
        q, query_bias, slope = 0.0, 0.0, random.uniform(1, 4)
    layer = SimpleNamespace(
        query=[[[q, 0.0]]],
        query_bias=[[query_bias]],
        key=[[[k, 0.0]]],
        key_bias=[[key_bias]],
        value=[[[0.0, v]]],
        value_bias=[[0.0]],
        slopes=[slope],
        wiring=[[[0.0, 1.0]]],
        gate=[],
        up=[],
        down=[],
    )
    readout = {"a": some(2), "b": some(2)}
    return SimpleNamespace(
        vocabulary=["a", "b"],
        outputs=["a", "b"],
        width=2,
        layers=[layer],
        embedding=[[*eighths(1), *some(1)] for _ in range(2)],
        logit=lambda token: (readout[token], 0.0),
    )


def logits_of(net: SimpleNamespace, x: list[float], random: Random) -> Fraction:
    """The margin of 'a' over 'b', each logit summed in some order."""
    a, b = (
        shuffled_sum(random, [w * v for w, v in zip(net.logit(t)[0], x, strict=True)]) for t in "ab"
    )
    return Fraction(a) - Fraction(b)


def model_exp(x: float, sign: int) -> float:
    """A float64 that a model may have for exp x, as far off as it may be, to the side of `sign`."""
    true = Fraction(sum(intervals.exp_of(intervals.exact(x)[0])), 2 * intervals.ONE)
    return float(true * (1 + sign * (Fraction(1, 2**51) - Fraction(1, 2**53))))


def attention_encloses() -> None:
    """EMBED, ALIBI, ATTN: sums in any order, the exp of one share as much too large as may be, the
    others too small.
    """
    random = Random(8)
    for _ in range(250):
        net = a_head(random)
        layer = net.layers[0]
        view = forward.ForwardPass(net, TEXTS, 2, forward.ForwardPass(net, TEXTS))
        text = "".join(random.choice("ab") for _ in TEXTS)
        x = [net.embedding["ab".index(token)] for token in text]
        query = layer.query[0][0][0] * x[2][0] + layer.query_bias[0][0]
        keys = [layer.key[0][0][0] * x[j][0] + layer.key_bias[0][0] for j in range(3)]
        scores = [query * key + layer.slopes[0] * (j - 2) for j, key in enumerate(keys)]
        top, sign = max(0.0, *scores), random.choice((1, -1))
        chosen = min(range(3), key=scores.__getitem__)
        weights = [model_exp(s - top, sign if j == chosen else -sign) for j, s in enumerate(scores)]
        total = shuffled_sum(random, [*weights, model_exp(-top, -sign)])
        for j, form in enumerate(view.weights(0, 2, 0, text[2])):
            assert inside(Fraction(weights[j] / total), value_of(view, form, text))


def sums_of_values_enclose() -> None:
    """ATTN with known shares: products and sums of values."""
    random = Random(10)
    for _ in range(100):
        net = a_head(random)
        view = forward.ForwardPass(net, TEXTS, 2, forward.ForwardPass(net, TEXTS))
        shares = [random.random() for _ in TEXTS]
        for token in ("a", "b", None):
            view.memo["weights", 0, 2, 0, token] = [
                forms.Affine(intervals.exact(p)) for p in shares
            ]
        for text in ("aba", "bba"):
            values = [
                net.layers[0].value[0][0][1] * net.embedding["ab".index(token)][1] for token in text
            ]
            mixed = shuffled_sum(random, [p * v for p, v in zip(shares, values, strict=True)])
            assert inside(Fraction(mixed), value_of(view, view.mixed(0, 2, 0, 0), text))


def the_stream_is_one_sum() -> None:
    """LINEAR for the residual stream: what is added may be added to the stream one by one."""
    wires, large = [2.0**-6] * 64, 2.0**48  # each is lost beside 2^48, their sum is not
    for heads in (False, True):
        layer = SimpleNamespace(gate=[], up=[], down=[], slopes=[], wiring=[])
        if heads:
            layer.slopes = [0.0] * len(wires)
            layer.wiring = [[[w]] for w in wires]
            for name in ("query", "key", "value"):
                setattr(layer, name, [[[0.0]]] * len(wires))
                setattr(layer, f"{name}_bias", [[1.0]] * len(wires))
        else:
            layer.gate = layer.up = [[0.0]] * len(wires)
            layer.gate_bias = layer.up_bias = [1.0] * len(wires)
            layer.down = [wires]
        embedding = [[large], [large + 2]]
        net = SimpleNamespace(vocabulary=["a", "b"], width=1, layers=[layer], embedding=embedding)
        view = forward.ForwardPass(net, ["ab"], 0, forward.ForwardPass(net, ["ab"]))
        for head in range(len(layer.slopes)):  # shares that are known exactly
            view.memo["weights", 0, 0, head, None] = [forms.Affine((intervals.ONE, intervals.ONE))]
        found = view.before(1, 0, 0)
        for text, [x] in zip("ab", embedding, strict=True):
            for terms in ([x, *wires], [*wires, x]):
                assert inside(Fraction(reduce(float.__add__, terms)), value_of(view, found, text))


def readings_enclose() -> None:
    """READ with nothing but its own rounding: logits of known numbers."""
    random = Random(9)
    for _ in range(200):
        net = a_head(random)
        net.layers = []
        view = forward.ForwardPass(net, TEXTS, 2, forward.ForwardPass(net, TEXTS))
        for text in ("aba", "abb"):
            margin = logits_of(net, net.embedding["ab".index(text[2])], random)
            assert inside(margin, value_of(view, view.margin("a", "b"), text))


def bounds_are_those_of_all_texts() -> None:
    """PATH: the least value over the texts of a branch, by brute force; a state and a token
    restrict the texts.
    """
    random = Random(7)
    parity = {"name": "parity", "options": {"length": 3, "steps": True}}
    _, [(_, stages)] = specifications.specify(parity)
    checker = proof.TreeChecker(SimpleNamespace(outputs=["0", "1"]), stages)
    paths: list[tuple[int, tuple]] = [(0, ())]
    for _, moves in stages:
        paths = [
            (to, (*done, (s, to, token)))
            for state, done in paths
            for s, to, token in moves
            if s == state
        ]
    assert len(paths) == 8
    for _ in range(50):
        tables = {
            p: {t: intervals.exact(random.uniform(-1, 1)) for t in checker.texts[p]}
            for p in range(len(stages))
        }
        stage, token = random.randrange(1, 7), random.choice("01")
        view = checker.base.part("states", stage, 0).part("tokens", 2, token)
        costs = []
        for _, done in paths:
            read = {p: move for (p, _), move in zip(stages, done, strict=True)}
            if done[stage][1] == 0 and read[2][2] == token:
                costs.append(sum(tables[p][move[2]][0] for p, move in read.items()))
        assert checker.least(view, forms.Affine(tables=tables)) == min(costs, default=None)


def test_every_rule_encloses_what_it_is_about():
    arithmetic_encloses()
    exponentials_enclose()
    roundings_enclose()
    the_bound_of_sums_is_attained()
    single_operations_enclose()
    the_largest_errors_are_allowed()
    sums_and_products_of_forms_enclose()
    factors_of_forms_enclose()
    gates_enclose()
    attention_encloses()
    sums_of_values_enclose()
    the_stream_is_one_sum()
    readings_enclose()
    bounds_are_those_of_all_texts()


# ---- reading the files ---------------------------------------------------------------------------


def split_readout(tmp_path: Path) -> tuple[Transformer, Path]:
    """An adder whose readout is stored in parts that cancel, and its folder.

    torch adds 2^57 - 8 - 2^57 from left to right: 0. With exact sums it would be -8, which takes
    back a bias of 8 for the digit 9; so torch answers 9 too often.
    """
    made = construct("add10", digits=1)
    plain, task = build(made.program), made.task
    width, outputs = plain.config.width, list(plain.config.outputs)
    config = replace(plain.config, width=width + 2, tied=True, readout_wiring=True, lanes=())
    model = Transformer(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            source = plain.state_dict().get(name)
            if source is not None:
                tensor[tuple(slice(n) for n in source.shape)] = source
        model.embedding[[task.vocabulary.index(t) for t in "=01"], width:] = 1.0
        model.unembedding -= model.embedding[outputs]
        nine = task.vocabulary.index("9")
        model.embedding[nine, width] = -8.0
        model.unembedding[outputs.index(nine), width] = 2.0**57
        model.readout_wiring[outputs.index(nine), width] = -(2.0**57)
        model.unembedding[outputs.index(nine), width + 1] = 8.0
    folder = Path(tempfile.mkdtemp(dir=tmp_path)) / "split"
    save(model, task, folder, name="split", options={})
    return model, folder


def readouts_are_added_as_torch_does() -> None:
    with tempfile.TemporaryDirectory() as place:
        built, folder = split_readout(Path(place))
        assert model.ProgramModel(folder).readout == built.unembed_matrix().tolist()


def test_a_readout_in_parts_is_added_as_torch_does():
    readouts_are_added_as_torch_does()


ADDITION = {"digits": 1, "base": 10, "order": "most", "operands": 2, "padding": 0}
STRANGE = [
    {"name": "parity", "options": {"length": 4, "steps": "False"}},
    {"name": "parity", "options": {"length": 4, "steps": 1}},
    {"name": "parity", "options": {"length": True, "steps": True}},
    {"name": "parity", "options": {"length": 4.0, "steps": True}},
    {"name": "parity", "options": {"length": 0, "steps": True}},
    {"name": "parity", "options": {"length": 4, "steps": True, "more": 1}},
    {"name": "parity", "options": [4, True]},
    {"name": ["parity"], "options": {}},
    {"name": "rewriting", "options": {"length": 2, "how": "shuffle"}},
    {"name": "rewriting", "options": {"length": 2, "how": ["copy"]}},
    {"name": "addition", "options": ADDITION | {"order": "least\nPROVED     addition: all"}},
    {"name": "addition", "options": ADDITION | {"base": 37}},
]
"""Tasks that the loader refuses, too."""
INCOMPLETE = [{"name": "parity", "options": {"length": 4}}, {"name": "parity"}]
"""The loader fills these in; a certificate says everything."""


def strange_options_are_rejected() -> None:
    for task in [*STRANGE, *INCOMPLETE]:
        try:
            specifications.specify(task)
        except certificate.Rejected:
            continue
        except Exception as error:
            raise AssertionError(f"{task}: not refused, but {error!r}") from error
        raise AssertionError(f"{task} has a specification")


def test_every_option_of_a_task_has_its_type_and_its_range():
    strange_options_are_rejected()
    for task in STRANGE:
        with pytest.raises((TinyadderError, TypeError)):
            task_from_json(task)


def text_of(folder: Path) -> str:
    return (folder / "model.json").read_text()


def weights_with(folder: Path, header: bytes) -> bytes:
    """The file of weights under another header; `header` stands for the old one where it is %b."""
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    new = header.replace(b"%b", data[8 : 8 + length].rstrip(b" "))
    return struct.pack("<Q", len(new)) + new + data[8 + length :]


def again(folder: Path, tmp_path: Path, described: str | bytes | None, weights: bytes) -> Path:
    """A folder with these files, `model.json` naming the weights."""
    other = Path(tempfile.mkdtemp(dir=tmp_path))
    (other / "model.safetensors").write_bytes(weights)
    old = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    text = text_of(folder) if described is None else described
    raw = text.encode() if isinstance(text, str) else text
    named = raw.replace(old.encode(), hashlib.sha256(weights).hexdigest().encode())
    (other / "model.json").write_bytes(named)
    return other


HEADERS = {
    "UTF-16": lambda header: header.decode().encode("utf-16"),
    "a mark before it": lambda header: "\ufeff".encode() + header,
    "zeros behind it": lambda header: header + b"\0" * 8,
    "a blank before it": lambda header: b" " + header,
    "no UTF-8": lambda header: header.replace(b"embedding", b"embedd\xffng"),
    "a key twice": lambda header: (
        header[:-1] + b',"embedding":' + json.dumps(json.loads(header)["embedding"]).encode() + b"}"
    ),
    "another entry": lambda header: header.replace(b'"dtype"', b'"other":1,"dtype"', 1),
    "a shape of floats": lambda header: header.replace(b'"shape":[', b'"shape":[1.0,', 1),
    "a hole": lambda header: header.replace(b'"data_offsets":[0,', b'"data_offsets":[8,', 1),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_two_readers_may_read_in_two_ways_is_rejected(folders, tmp_path, kind):
    folder = folders["plain"]
    header = HEADERS[kind](weights_with(folder, b"%b")[8:].partition(b"}}")[0] + b"}}")
    other = again(folder, tmp_path, None, weights_with(folder, header))
    with pytest.raises(certificate.Rejected):
        certificate.check(other, folder / "certificate.json")
    same_header = again(folder, tmp_path, None, weights_with(folder, b"%b"))
    certificate.check(same_header, folder / "certificate.json")  # these copies are read otherwise


CONFIGS = {
    "an unknown key": {"sliding_window": 4},
    "a vocabulary in another order": {"vocabulary": lambda v: [v[1], v[0], *v[2:]]},
    "a vocabulary of another task": {"vocabulary": lambda v: [*v[:-1], "x"]},
    "a token that is no string": {"vocabulary": lambda v: [0, *v[1:]]},
    "an id outside the vocabulary": {"outputs": lambda v: [*v[:-1], 99]},
    "an id that counts from the end": {"outputs": lambda v: [*v[:-1], -6]},
    "an id that is true": {"outputs": lambda v: [v[0], True, *v[2:]]},
    "outputs in another order": {"outputs": lambda v: v[::-1]},
    "the smallest readout wins": {"argmin": True},
    "a word for true": {"argmin": "False"},
    "one for true": {"unembedding": 1},
    "a width that is no integer": {"width": 5.0},
    "shared numbers that are not there": {"shared": 3},
    "ties of nothing": {"ties": [["embedding", 0, 0]]},
    "an encoder": {"encoder": [{"heads": 1}]},
    "another separator": {"separator": 1},
    "an unknown option": {"options": {"window": 4}},
    "an option of another type": {"options": {"repeat": True}},
    "a block with an unknown size": {"blocks": [{"heads": 1, "experts": 2}, {"heads": 1}]},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_another_config_under_the_same_weights_is_rejected(folders, tmp_path, kind):
    folder = folders["plain"]
    described = json.loads(text_of(folder))
    for key, value in CONFIGS[kind].items():
        old = described["config"].get(key)
        described["config"][key] = value(old) if callable(value) else value
    weights = (folder / "model.safetensors").read_bytes()
    other = again(folder, tmp_path, json.dumps(described), weights)
    with pytest.raises(certificate.Rejected):
        certificate.check(other, folder / "certificate.json")


def test_a_description_that_leaves_out_what_is_usual_is_the_same_model(folders, tmp_path):
    """And one that was written before an option of the machine was there."""
    folder = folders["plain"]
    described = json.loads(text_of(folder))
    for key in ("options", "encoder", "separator", "ties", "shared", "argmin", "tied"):
        del described["config"][key]
    weights = (folder / "model.safetensors").read_bytes()
    other = again(folder, tmp_path, json.dumps(described), weights)
    found = [certificate.check(f, folder / "certificate.json") for f in (folder, other)]
    assert found[0] == found[1]


def test_json_with_a_key_twice_or_no_json_at_all_is_rejected(folders, tmp_path):
    folder, weights = folders["plain"], (folders["plain"] / "model.safetensors").read_bytes()
    for old, new in (
        ('"dtype": "float64"', '"dtype": "float64", "dtype": "float64"'),
        ('"argmin": false', '"argmin": false, "argmin": false'),
        ('"argmin": false', '"argmin": NaN'),
        ('"version": 1', '"version": 1.0'),
        ('"version": 1', '"version": true'),
    ):
        assert old in text_of(folder)
        other = again(folder, tmp_path, text_of(folder).replace(old, new), weights)
        with pytest.raises(certificate.Rejected):
            certificate.check(other, folder / "certificate.json")
    for encoding in ("utf-16", "utf-8-sig"):
        other = again(folder, tmp_path, text_of(folder).encode(encoding), weights)
        with pytest.raises(certificate.Rejected):
            certificate.check(other, folder / "certificate.json")


def test_a_tie_that_is_written_twice_is_rejected(tmp_path):
    made, folder = construct("add10_unary"), tmp_path / "tied"
    save(build(made.program), made.task, folder, name="x", options={}, program=made.program)
    model.ProgramModel(folder)
    described = json.loads(text_of(folder))
    tie = described["config"]["ties"][0]
    described["config"]["ties"].append(tie)
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(certificate.Rejected, match="tied twice"):
        model.ProgramModel(folder)


def test_files_that_are_too_large_are_not_read(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 100)
    with pytest.raises(certificate.Rejected, match="more than 100 bytes"):
        certificate.check(folders["plain"])


def test_no_string_of_a_file_ends_the_line_or_hides_in_it(folders, tmp_path, capsys):
    """A crafted task cannot print a verdict line of its own."""
    lie = "x\nPROVED     addition (digits=10): all 100,000,000,000,000,000,000 problems\x1b[2A"
    folder, weights = folders["plain"], (folders["plain"] / "model.safetensors").read_bytes()
    for change in (
        {"task": {"name": lie, "options": {}}},
        {"task": {"name": "addition", "options": {"order": lie}}},
        {"dtype": lie},
        {lie: 1},
    ):
        described = {**json.loads(text_of(folder)), **change}
        if lie in described:
            described["config"][lie] = described.pop(lie)
        assert main([str(again(folder, tmp_path, json.dumps(described), weights))]) == 1
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and said.startswith("REJECTED   ") and "\x1b" not in said
        assert said.isascii()


# ---- specifications ------------------------------------------------------------------------------


def specifications_agree() -> None:
    """The checker's own specifications are those of the prover, which agree with the oracles
    (test_certify).
    """
    for name, options in [
        *SMALL_TASKS,
        *BY_TEXT,
        ("addition", {"digits": 10}),
        ("addition", {"digits": 3, "base": 3, "operands": 9}),
    ]:
        task = task_from_json({"name": name, "options": options})
        vocabulary, mine = specifications.specify(task.to_json())
        assert vocabulary == list(task.vocabulary)
        theirs = [s.to_json() for s in spec.specifications(task)]
        assert theirs == [
            {
                "start": start,
                "length": len(stages),
                "stages": [
                    {"position": p, "edges": [list(m) for m in moves]} for p, moves in stages
                ],
            }
            for start, stages in mine
        ]


def test_the_specifications_of_prover_and_checker_are_the_same():
    specifications_agree()


# ---- tampering -----------------------------------------------------------------------------------


def sealed(cert: dict) -> dict:
    content = {key: value for key, value in cert.items() if key != "sha256"}
    return {**content, "sha256": hashlib.sha256(certificate.canonical(content)).hexdigest()}


def classes(data, path=()):
    """One path for every class of fields: list indices, tokens and states are not told apart."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from classes(value, (*path, key))
        yield path
    elif isinstance(data, list):
        for k, value in enumerate(data):
            yield from classes(value, (*path, k))
        yield path
    else:
        yield path


def shape_of(path) -> tuple:
    loose = {
        "children",
        "entries",
        "tensors",
        "stages",
        "edges",
        "parts",
        "positions",
        "claims",
        "options",
    }
    found = []
    for before, key in itertools.pairwise(("", *path)):
        found.append("*" if isinstance(key, int) or before in loose - {"options"} else key)
    return tuple(found)


def tampered(value):
    """Values that could do harm in the place of `value`."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + (1 << 40)]
    if value is None:
        return [1 << 40]
    if isinstance(value, str):
        if "0x" in value:
            return [(float.fromhex(value) + abs(float.fromhex(value)) + 1).hex(), "nan", "inf"]
        return [value + "x"]
    if isinstance(value, list):
        return [value[:-1], [*value, *value[:1]]] if value else []
    return [dict(list(value.items())[:-1])] if value else []


def put(data, path, value):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def rejected(folder: Path, cert: dict, tmp_path: Path) -> bool:
    file = tmp_path / "tampered.json"
    file.write_text(json.dumps(cert))
    try:
        certificate.check(folder, file)
    except certificate.Rejected:
        return True
    return False


@pytest.mark.parametrize("kind", ["plain", "phase", "again", "state"])
def test_every_class_of_fields_tampered_is_rejected_even_with_a_fresh_seal(folders, kind, tmp_path):
    original = json.loads((folders[kind] / "certificate.json").read_text())
    assert not rejected(folders[kind], sealed(original), tmp_path)
    unchecked = {
        ("versions", "python"),
        ("versions", "torch"),
        ("versions", "python-flint"),
        ("versions",),
    }
    seen, tried = set(), 0
    for path in classes(original):
        if not path or path[0] == "sha256" or shape_of(path) in seen or path in unchecked:
            continue
        seen.add(shape_of(path))
        value = original
        for key in path:
            value = value[key]
        for other in [[]] if path[-1] == "claims" and value else tampered(value):
            edited = copy.deepcopy(original)
            put(edited, path, other)
            if path[-1] == "claims" and (not value or kind != "plain"):  # some are more than needed
                continue
            tried += 1
            assert rejected(folders[kind], sealed(edited), tmp_path), "/".join(map(str, path))
    assert tried >= 30


def test_an_edit_without_a_fresh_seal_is_rejected_whatever_it_is(folders, tmp_path):
    original = json.loads((folders["plain"] / "certificate.json").read_text())
    for path in (("versions", "torch"), ("rules", 0)):
        edited = copy.deepcopy(original)
        put(edited, path, "x")
        assert rejected(folders["plain"], edited, tmp_path)


def test_a_truncated_certificate_or_file_of_weights_is_rejected(folders, tmp_path):
    folder = folders["plain"]
    text = (folder / "certificate.json").read_bytes()
    for size in (0, 10, len(text) // 2, len(text) - 3):
        (tmp_path / "cut.json").write_bytes(text[:size])
        with pytest.raises(certificate.Rejected):
            certificate.check(folder, tmp_path / "cut.json")
    weights = (folder / "model.safetensors").read_bytes()
    other = tmp_path / "cut"
    other.mkdir()
    for size in (0, 8, 100, len(weights) - 8):
        (other / "model.safetensors").write_bytes(weights[:size])
        described = json.loads((folder / "model.json").read_text())
        described["weights"]["sha256"] = hashlib.sha256(weights[:size]).hexdigest()
        (other / "model.json").write_text(json.dumps(described))
        with pytest.raises(certificate.Rejected):
            certificate.check(other, folder / "certificate.json")


def test_a_certificate_for_other_weights_says_so(folders, tmp_path):
    made = construct("add10", digits=1)
    model = build(made.program)
    with torch.no_grad():
        model.unembedding[3, 4] *= 1 + 2**-50
    save(model, made.task, tmp_path / "other", name="other", options={})
    with pytest.raises(certificate.Rejected, match="it proves nothing about it"):
        certificate.check(tmp_path / "other", folders["plain"] / "certificate.json")


@pytest.mark.parametrize("part", ["softmax", "norm", "repeat", "biases"])
def test_a_description_with_another_option_is_rejected(folders, tmp_path, part):
    folder = tmp_path / "options"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(
        (folders["plain"] / "model.safetensors").read_bytes()
    )
    described = json.loads((folders["plain"] / "model.json").read_text())
    described["config"]["options"][part] = "other"
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(certificate.Rejected, match="no rule covers"):
        certificate.check(folder, folders["plain"] / "certificate.json")


def test_a_tie_that_the_model_may_read_in_another_way_is_rejected(tmp_path):
    """torch counts a negative index from the end."""
    made, folder = construct("add10_unary"), tmp_path / "tied"
    save(
        build(made.program), made.task, folder, name="add10_unary", options={}, program=made.program
    )
    described = json.loads((folder / "model.json").read_text())
    assert described["config"]["ties"]
    described["config"]["ties"][0][1] = -1
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(certificate.Rejected, match="not an integer"):
        model.ProgramModel(folder)


# ---- faults planted in prover and checker --------------------------------------------------------


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """An adder in which '=' subtracts too much and '+' adds so little that the rounding just eats
    the margin.
    """
    made = construct("add10", digits=1)
    model = build(made.program)
    low, high = 0.0, 0.05
    with torch.no_grad():
        model.embedding[10, 1] *= 1 + 1e-2
        for _ in range(50):
            model.embedding[13, 0] = (low + high) / 2
            if prove.prove(model, made.task, most_texts=0).verdict is None:
                high = (low + high) / 2
            else:
                low = (low + high) / 2
        model.embedding[13, 0] = low
    assert 1e-3 < low < high < 0.04
    folder = tmp_path_factory.mktemp("edge") / "model"
    save(model, made.task, folder, name="edge", options={})
    return folder, model


def edge_is_not_proved(edge) -> None:
    assert prove.prove(edge[1], Addition(digits=1), most_texts=0).certificate is None


def wrong_model_is_not_proved(tmp_path: Path) -> None:
    """Wrong in the last answer digit only: '9' has the logit of '8', and a little."""
    made = construct("add10", digits=1)
    model = build(made.program)
    with torch.no_grad():
        model.embedding[13, 0] = 0.0
        model.embedding[10, 1] *= (
            1.1  # '=' subtracts too much: exact remainders fall below their boundary
        )
    save(model, made.task, tmp_path / "wrong", name="wrong", options={}, force=True)
    for most in (0, prove.TEXTS):  # by branches only, and text by text
        verdict = certify(model, made.task, tmp_path / "wrong", most).verdict
        assert not isinstance(verdict, Proved)


def forged_is_rejected(folders, tmp_path: Path, change, kind: str = "plain") -> None:
    cert = json.loads((folders[kind] / "certificate.json").read_text())
    change(cert)
    assert rejected(folders[kind], sealed(cert), tmp_path)


def first_node(cert: dict) -> dict:
    return next(
        node for node in cert["parts"][0]["positions"][0]["children"].values() if node["claims"]
    )


def renew(cert: dict) -> None:
    """Make the margin of the whole that of the leaves."""
    cert["margin"] = min(
        prove.leaf_margins(tree) for part in cert["parts"] for tree in part["positions"]
    ).hex()


def raise_bound(cert: dict) -> None:
    claim = first_node(cert)["claims"][0]
    claim["low"] = (float.fromhex(claim["low"]) + 1e-3).hex()


def cut_branch(cert: dict) -> None:
    """No text is in the branch, it says, though there are some."""
    node = first_node(cert)
    node["claims"][0]["low"] = node["margin"] = None
    renew(cert)


def rename(cert: dict) -> None:
    """Another config or task under the same weights is another model."""
    cert["model"] = "0" * 64


def drop_position(cert: dict) -> None:
    del cert["parts"][0]["positions"][-1]
    renew(cert)


def drop_digit(cert: dict) -> None:
    children = cert["parts"][0]["positions"][-1]["children"]
    del children[max(children)]
    renew(cert)


def overstate(cert: dict) -> None:
    cert["margin"] = (2 * float.fromhex(cert["margin"])).hex()


def overstate_leaves(cert: dict) -> None:
    for tree in cert["parts"][0]["positions"]:
        for node in tree["children"].values():
            node["margin"] = (1e6).hex()
    renew(cert)


def cut_split(kind: str) -> Callable[[dict], None]:
    """Drop the last branch of the first split of this kind."""

    def cut(node: dict) -> bool:
        if "split" in node and node["split"][0] == kind:
            node["children"].pop(list(node["children"])[-1])
            return True
        return any(cut(child) for child in node.get("children", {}).values())

    def change(cert: dict) -> None:
        assert any(cut(tree) for tree in cert["parts"][0]["positions"])
        renew(cert)

    return change


FORGERIES = [raise_bound, cut_branch, drop_position, drop_digit, overstate, overstate_leaves]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_certificates_are_rejected(folders, tmp_path, forgery):
    forged_is_rejected(folders, tmp_path, forgery)


@pytest.mark.parametrize("kind", ["phase", "state"])
def test_a_certificate_with_a_branch_cut_off_is_rejected(folders, tmp_path, kind):
    forged_is_rejected(folders, tmp_path, cut_split(kind), kind)


def overflow_is_noticed() -> None:
    """A column of 2^600 times a weight of 2^500: no float64."""
    layer = SimpleNamespace(
        slopes=[],
        wiring=[],
        gate=[[2.0**500]],
        gate_bias=[0.0],
        up=[[1.0]],
        up_bias=[0.0],
        down=[[1.0]],
    )
    net = SimpleNamespace(
        width=1, embedding=[[2.0**600]], layers=[layer], readout=[[1.0]], readout_bias=[0.0]
    )
    with pytest.raises(certificate.Rejected, match="overflow"):
        model.no_overflow(net, 5)


def test_a_number_that_may_overflow_is_rejected():
    overflow_is_noticed()


def signs_of_claims_count() -> None:
    """The right token is 'b', 'a' has the larger logit by 2: a bound of the margin from above is
    none from below.
    """
    logits = {"a": ([1.0], 0.0), "b": ([-1.0], 0.0)}
    net = SimpleNamespace(
        vocabulary=["a", "b"],
        outputs=["a", "b"],
        width=1,
        layers=[],
        embedding=[[1.0], [1.0]],
        logit=logits.get,
    )
    checker = proof.TreeChecker(net, [(0, [(0, 0, "a")]), (1, [(0, 0, "b")])])
    leaf = {
        "claims": [{"of": ["margin", "b", "a"], "sign": -1, "low": (1.0).hex()}],
        "margin": (1.0).hex(),
    }
    with pytest.raises(certificate.Rejected, match="a margin is not proved"):
        checker.position({"position": 0, "children": {"b": leaf}}, 0)


def test_a_bound_from_above_is_not_taken_for_one_from_below():
    signs_of_claims_count()


def test_an_adder_at_the_edge_is_not_proved_and_a_wrong_one_neither(edge, monkeypatch, tmp_path):
    edge_is_not_proved(edge)
    wrong_model_is_not_proved(tmp_path)


def in_prover(patch, name: str, value) -> None:
    for module in (machine, prover_forms):
        if hasattr(module, name):
            patch.setattr(module, name, value)


MUTANTS = {
    "drop the rounding of sums": ("gamma", lambda n: machine.ZERO),
    "round sums once": ("gamma", lambda n: machine.UNIT if n else machine.ZERO),
    "no error of exp": ("EXP", machine.ZERO),
    "no error of quotients": ("UNIT", machine.ZERO),
    "balls without radius": ("within", lambda radius: machine.ZERO),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_prover_that_forgets_a_rounding_proves_too_much_and_the_checker_catches_it(
    edge, monkeypatch, name
):
    edge_is_not_proved(edge)
    in_prover(monkeypatch, *MUTANTS[name])
    with pytest.raises(AssertionError):
        edge_is_not_proved(edge)
    verdict = certify(edge[1], Addition(digits=1), edge[0], most_texts=0).verdict
    assert isinstance(verdict, Unknown)


def rules(check: Callable[[], None]) -> Callable:
    return lambda folders, tmp_path: check()


def forgery(change: Callable[[dict], None], kind: str = "plain") -> Callable:
    return lambda folders, tmp_path: forged_is_rejected(folders, tmp_path, change, kind)


FAULTS: dict[str, tuple[ModuleType, planting.Fault, Callable]] = {
    "products rounded inward": (
        intervals,
        planting.inward("mul", places=1),
        rules(arithmetic_encloses),
    ),
    "a product of two ends only": (intervals, planting.paired("mul"), rules(arithmetic_encloses)),
    "quotients rounded inward": (
        intervals,
        planting.inward("over", places=1),
        rules(arithmetic_encloses),
    ),
    "exp without its error": (
        intervals,
        planting.unpadded("exp_of"),
        rules(exponentials_enclose),
    ),
    "exp of the model is exact": (
        intervals,
        planting.assigned("EXP", "0"),
        rules(the_largest_errors_are_allowed),
    ),
    "exp of the model is off by half as much": (
        intervals,
        planting.assigned("EXP", "ONE >> 52"),
        rules(the_largest_errors_are_allowed),
    ),
    "operations of the model are exact": (
        intervals,
        planting.assigned("UNIT", "0"),
        rules(the_largest_errors_are_allowed),
    ),
    "operations of the model are off by half as much": (
        intervals,
        planting.assigned("UNIT", "ONE >> 54"),
        rules(the_largest_errors_are_allowed),
    ),
    "single operations are exact": (
        intervals,
        planting.instead("once", "wider", "a"),
        rules(single_operations_enclose),
    ),
    "known results are not rounded": (
        intervals,
        planting.instead("nearest", "exact", "a"),
        rules(single_operations_enclose),
    ),
    "sums round half as much": (
        intervals,
        planting.halved("rounding", "gamma"),
        rules(the_bound_of_sums_is_attained),
    ),
    "any grid is fine enough": (
        intervals,
        planting.number("rounded_sum", 53, 60),
        rules(roundings_enclose),
    ),
    "EMBED: always the first token": (
        forward,
        planting.looked_up("ForwardPass.before", "embedding", "0"),
        rules(readings_enclose),
    ),
    "LINEAR: forms are summed without rounding": (
        forward,
        planting.dropped("ForwardPass.linear", "wider"),
        rules(sums_and_products_of_forms_enclose),
    ),
    "LINEAR: a bias is forgotten": (
        forward,
        planting.chosen("ForwardPass.linear", False),
        rules(sums_and_products_of_forms_enclose),
    ),
    "LINEAR: units are summed before the stream is added": (
        forward,
        planting.grouped("ForwardPass.before"),
        rules(the_stream_is_one_sum),
    ),
    "LINEAR: heads are summed before the stream is added": (
        forward,
        planting.grouped("ForwardPass.middle"),
        rules(the_stream_is_one_sum),
    ),
    "MUL: a number times a form does not round": (
        forward,
        planting.dropped("ForwardPass.product", "wider"),
        rules(factors_of_forms_enclose),
    ),
    "MUL: an unknown factor is its middle": (
        forward,
        planting.dropped("ForwardPass.scaled", "wider"),
        rules(factors_of_forms_enclose),
    ),
    "MUL: one case stands for all tokens": (
        forms,
        planting.always("merged", ast.If, True),
        rules(sums_and_products_of_forms_enclose),
    ),
    "RELU: the chord has no width": (
        forward,
        planting.dropped("ForwardPass.relu", "plus"),
        rules(gates_enclose),
    ),
    "RELU: phases the wrong way round": (
        forward,
        planting.swapped("ForwardPass.relu", "fixed"),
        rules(gates_enclose),
    ),
    "RELU: an open sign is taken for negative": (
        forward,
        planting.silent("ForwardPass.relu", "Affine()"),
        rules(gates_enclose),
    ),
    "ALIBI: the slope is forgotten": (
        forward,
        planting.shorter("ForwardPass.weights.score"),
        rules(attention_encloses),
    ),
    "ATTN: the distance to the largest score does not round": (
        forward,
        planting.chosen("ForwardPass.weights.weight", False),
        rules(attention_encloses),
    ),
    "ATTN: the sum of the weights does not round": (
        forward,
        planting.dropped("ForwardPass.weights", "spread", keep=0),
        rules(attention_encloses),
    ),
    "ATTN: softmax instead of softmax1": (
        forward,
        planting.starting("ForwardPass.weights", "exp", "iv.ZERO"),
        rules(attention_encloses),
    ),
    "ATTN: the values are summed without rounding": (
        forward,
        planting.dropped("ForwardPass.attend", "spread", keep=0),
        rules(sums_of_values_enclose),
    ),
    "READ: logits do not round": (
        forward,
        planting.dropped("ForwardPass.margin", "wider"),
        rules(readings_enclose),
    ),
    "PATH: the longest path": (
        proof,
        planting.compared("TreeChecker.least", ast.Lt, ast.Gt()),
        rules(bounds_are_those_of_all_texts),
    ),
    "PATH: no text is in a branch": (
        proof,
        planting.always("TreeChecker.least", ast.If, False, nth=1),
        rules(bounds_are_those_of_all_texts),
    ),
    "a sum may overflow": (
        model,
        planting.believed("no_overflow", "may overflow"),
        rules(overflow_is_noticed),
    ),
    "floats are added as `sum` does from Python 3.12 on": (
        model,
        planting.instead("ProgramModel.read_out", "reduce", "__import__('math').fsum(column)"),
        rules(readouts_are_added_as_torch_does),
    ),
    "addition: an answer has a digit less": (
        specifications,
        planting.always("addition", ast.While, False),
        rules(specifications_agree),
    ),
    "comparison: the last digits that differ decide": (
        specifications,
        planting.chosen("larger", False, "so_far"),
        rules(specifications_agree),
    ),
    "an option may be anything": (
        specifications,
        planting.believed("specify", "is not possible"),
        rules(strange_options_are_rejected),
    ),
    "an option may have another type": (
        specifications,
        planting.weakened("specify"),
        rules(strange_options_are_rejected),
    ),
    "a claim is believed": (
        proof,
        planting.believed("TreeChecker.claim", "larger than what holds"),
        forgery(raise_bound),
    ),
    "a claim that a branch is empty is believed": (
        proof,
        planting.believed("TreeChecker.claim", "claimed to be empty"),
        forgery(cut_branch),
    ),
    "the sign of a claim is ignored": (
        proof,
        planting.chosen("TreeChecker.claim", True),
        rules(signs_of_claims_count),
    ),
    "a margin may be anything": (
        proof,
        planting.believed("TreeChecker.branch", "margin is not proved"),
        forgery(overstate_leaves),
    ),
    "the margin of the whole is believed": (
        certificate,
        planting.believed("judge", "not the smallest"),
        forgery(overstate),
    ),
    "a certificate may name another model": (
        certificate,
        planting.dropped("judge", "same", keep=0),
        forgery(rename),
    ),
    "a digit may be missing": (
        proof,
        planting.both(
            planting.believed("TreeChecker.branches", "is missing"),
            planting.only_stated("TreeChecker.branches"),
        ),
        forgery(drop_digit),
    ),
    "a phase may be missing": (
        proof,
        planting.both(
            planting.believed("TreeChecker.branches", "is missing"),
            planting.only_stated("TreeChecker.branches"),
        ),
        forgery(cut_split("phase"), "phase"),
    ),
    "a state may be missing": (
        proof,
        planting.both(
            planting.believed("TreeChecker.branches", "is missing"),
            planting.only_stated("TreeChecker.branches"),
        ),
        forgery(cut_split("state"), "state"),
    ),
    "a position may be missing": (
        certificate,
        planting.believed("every_branch", "a position is missing"),
        forgery(drop_position),
    ),
}
"""Name: (module, fault, what must notice it)."""


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_planted_in_the_checker_is_noticed(folders, tmp_path, name):
    module, fault, noticed = FAULTS[name]
    with (
        planting.planted(module, fault, MODULES),
        pytest.raises((AssertionError, pytest.fail.Exception)),
    ):
        noticed(folders, tmp_path)


def test_the_prover_and_the_checker_name_the_same_rules():
    assert prove.RULES is certificate.RULES and prove.NUMERICS is intervals.NUMERICS


def test_a_full_disk_and_a_closed_pipe_are_not_a_verdict(folders):
    command = [sys.executable, "-m", "tinyadder.verify.certify.check", str(folders["plain"])]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "error: cannot write the verdict: No space left on device"
    ]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
