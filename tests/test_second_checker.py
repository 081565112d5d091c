"""The second checker (JavaScript): it agrees with the first on certificates, on tampered ones, on
random forms.
"""

import base64
import copy
import hashlib
import json
import shutil
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from flint import arb, ctx

from tests import planting_js
from tests.test_certify import SMALL_TASKS
from tests.test_check import (
    CONFIGS,
    FORGERIES,
    HEADERS,
    INCOMPLETE,
    STRANGE,
    a_head,
    again,
    classes,
    cut_split,
    folder_of,
    put,
    sealed,
    shape_of,
    tampered,
    weights_with,
)
from tinyadder.construction import construct
from tinyadder.inspect.explorer import PAGES
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.report.certificates import read_certificate
from tinyadder.tasks import task_from_json
from tinyadder.verify.certify.check import certificate, forms, forward, intervals, specifications

CHECKER = PAGES / "checker.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node: apt-get install nodejs")
FILES = ("model.safetensors", "model.json", "certificate.json")

PROVED = {
    "add10": {"digits": 2},
    "add10_27": {"digits": 1},
    "add10_28": {"digits": 2},
    "add10_95": {"digits": 1},
    "add10_board": {"digits": 1},
    "add10_smallest": {"digits": 1},
    "add_any": {"digits": 2},
    "add_base": {"digits": 2, "base": 3, "operands": 3},
    "binary_to_decimal": {"digits": 4},
    "compare": {"digits": 1},
    "copy_digits": {"length": 2},
    "count_occurrences": {"length": 2},
    "deriv_coeff": {"exponents": 2},
    "maximum": {"digits": 1},
    "multiply": {"digits": 1, "second": 1},
    "parity": {"length": 3},
    "parity_once": {"length": 4},
    "reverse": {"length": 2},
    "sort_digits": {"length": 2},
    "subtract": {"digits": 2},
    "times_constant": {"digits": 2},
}
"""Every construction that is proved, at a size at which that is quick; `add10_unary` has one size,
ten digits.
"""


def node(script: str, cases: list, checker: str | None = None) -> list:
    """`script` gives for each case a result; `Check` is the second checker."""
    harness = f"""
{CHECKER.read_text() if checker is None else checker}
const answer = (({script}));
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(cases.map((given) => answer(given))));
"""
    command = [NODE, "--stack-size=4000", "-e", harness]
    done = subprocess.run(
        command, input=json.dumps(cases), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


JUDGE = """(files) => {
  try {
    const found = Check.check(...files.map((file) => Buffer.from(file, "base64")));
    return ["proved", found.task.name, String(found.problems), String(found.margin),
      found.claims, found.sha256];
  } catch (reason) {
    if (!(reason instanceof Check.Rejected)) throw reason;
    return ["rejected", reason.message];
  }
}"""


def encoded(folder: Path, **other: bytes) -> list[str]:
    """The files of a folder (weights, description, certificate) as base64, some of them
    replaced.
    """
    files = dict(zip(("weights", "description", "certificate"), FILES, strict=True))
    return [
        base64.b64encode(other.get(key, (folder / name).read_bytes())).decode()
        for key, name in files.items()
    ]


def second(cases: list[list[str]]) -> list[list]:
    """What the checker in JavaScript says of the files of each case."""
    found = node(JUDGE, cases)
    return [
        [*said[:3], float(said[3]), *said[4:]] if said[0] == "proved" else said for said in found
    ]


def first(
    folder: Path, certificate_bytes: bytes | None = None, tmp_path: Path | None = None
) -> list:
    """What the checker in Python says, in the words of `JUDGE`."""
    file = folder / "certificate.json"
    if certificate_bytes is not None:
        file = tmp_path / "certificate.json"
        file.write_bytes(certificate_bytes)
    try:
        found = certificate.check(folder, file)
    except certificate.Rejected as reason:
        return ["rejected", str(reason)]
    return [
        "proved",
        found["task"]["name"],
        str(found["problems"]),
        found["margin"],
        found["claims"],
        found["sha256"],
    ]


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """The folder of a proved construction, by name; proved when it is first asked for."""
    root = tmp_path_factory.mktemp("proved")
    return lru_cache(None)(lambda name: folder_of(root, name, **PROVED[name]))


def test_both_checkers_say_the_same_of_every_proved_construction(proved):
    found = second([encoded(proved(name)) for name in PROVED])
    assert dict(zip(PROVED, found, strict=True)) == {name: first(proved(name)) for name in PROVED}
    assert {verdict for verdict, *_ in found} == {"proved"}


COMMITTED = [
    file
    for file in sorted((Path(__file__).parents[1] / "results" / "certificates").glob("*.json.gz"))
    if json.loads(read_certificate(file))["rules"] != ["TEXT"]  # no rule of the second checker
]
QUICK = {"compare", "copy_digits", "count_occurrences", "add10", "add10_smallest"}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=() if file.name.partition(".")[0] in QUICK else pytest.mark.slow)
        for file in COMMITTED
    ],
    ids=lambda file: file.name.partition(".")[0],
)
def test_both_checkers_accept_the_committed_certificates(file, tmp_path):
    name, *options = file.name.partition(".")[0].split("-")
    made = construct(
        name, **{key: json.loads(value) for key, value in (o.split("=") for o in options)}
    )
    folder = tmp_path / "model"
    save(build(made.program), made.task, folder, name=name, options={})
    (folder / "certificate.json").write_bytes(read_certificate(file))
    [found] = second([encoded(folder)])
    assert found[0] == "proved" and found == first(folder)


def test_certificates_are_committed():
    assert {file.name.partition(".")[0] for file in COMMITTED} >= QUICK


# ---- tampered certificates -----------------------------------------------------------------------


def tampered_ones(original: dict):
    """Every harm to every class of fields, sealed again; and the forgeries of
    tests/test_check.py.
    """
    seen = set()
    for path in classes(original):
        if not path or shape_of(path) in seen:
            continue
        seen.add(shape_of(path))
        value = original
        for key in path:
            value = value[key]
        for other in tampered(value):
            edited = copy.deepcopy(original)
            put(edited, path, other)
            yield "/".join(map(str, path)), edited if path[0] == "sha256" else sealed(edited)
    for forgery in [*FORGERIES, cut_split("phase"), cut_split("state")]:
        edited = copy.deepcopy(original)
        try:
            forgery(edited)
        except (AssertionError, LookupError, StopIteration, TypeError, ValueError):
            continue  # it has no such place
        yield forgery.__name__, sealed(edited)


@pytest.mark.parametrize("name", ["add10", "add10_95", "copy_digits", "parity_once"])
def test_both_checkers_say_the_same_of_every_tampered_certificate(proved, name, tmp_path):
    folder = proved(name)
    ones = dict(tampered_ones(json.loads((folder / "certificate.json").read_text())))
    assert len(ones) >= 40
    texts = [json.dumps(cert).encode() for cert in ones.values()]
    found = second([encoded(folder, certificate=text) for text in texts])
    mine = {path: verdict for path, (verdict, *_) in zip(ones, found, strict=True)}
    assert mine == {
        path: first(folder, text, tmp_path)[0] for path, text in zip(ones, texts, strict=True)
    }
    # versions, and claims more than needed, may change
    assert sum(verdict == "rejected" for verdict in mine.values()) >= 0.7 * len(mine)


def test_damaged_files_are_rejected_and_not_a_crash(proved):
    folder = proved("add10")
    weights, described, text = ((folder / name).read_bytes() for name in FILES)
    deep = b"[" * 100_000
    cases = [
        encoded(folder, certificate=text[:size]) for size in (0, 10, len(text) // 2, len(text) - 3)
    ]
    cases += [encoded(folder, weights=weights[:size]) for size in (0, 8, 100, len(weights) - 8)]
    cases += [
        encoded(folder, description=described[:-3]),
        encoded(folder, certificate=deep),
        encoded(folder, description=deep),
    ]
    cases += [encoded(folder, certificate=text.replace(b'"rules"', b'"rules": 0, "rules"', 1))]
    assert [verdict for verdict, *_ in second(cases)] == ["rejected"] * len(cases)


def same_verdicts(folder: Path, others: dict[str, Path]) -> dict[str, str]:
    """What both checkers say of other model files under the certificate of `folder`."""
    text = (folder / "certificate.json").read_bytes()
    for other in others.values():
        (other / "certificate.json").write_bytes(text)
    found = second([encoded(other) for other in others.values()])
    verdicts = {kind: verdict for kind, (verdict, *_) in zip(others, found, strict=True)}
    assert verdicts == {kind: first(other)[0] for kind, other in others.items()}
    return verdicts


def test_both_refuse_headers_and_configs_that_two_readers_may_read_in_two_ways(proved, tmp_path):
    folder, others = proved("add10"), {}
    weights, described = ((folder / name).read_bytes() for name in FILES[:2])
    for kind, change in HEADERS.items():
        header = change(weights_with(folder, b"%b")[8:].partition(b"}}")[0] + b"}}")
        others[kind] = again(folder, tmp_path, None, weights_with(folder, header))
    for kind, changes in CONFIGS.items():
        edited = json.loads(described)
        for key, value in changes.items():
            old = edited["config"].get(key)
            edited["config"][key] = value(old) if callable(value) else value
        others[kind] = again(folder, tmp_path, json.dumps(edited), weights)
    assert set(same_verdicts(folder, others).values()) == {"rejected"}


def test_both_say_the_same_of_200_descriptions_with_an_error_in_them(proved, tmp_path):
    folder, random, others = proved("add10"), Random(22), {}
    weights, described = ((folder / name).read_bytes() for name in FILES[:2])
    for n in range(200):
        edited = bytearray(described)
        at = random.randrange(len(edited))
        part = bytes(
            random.choice(b'0123456789"[]{},:.eE- truefalsn\\xu')
            for _ in range(random.randrange(3))
        )
        edited[at : at + random.randrange(3)] = part
        others[str(n)] = again(folder, tmp_path, bytes(edited), weights)
    assert set(same_verdicts(folder, others).values()) == {"proved", "rejected"}


def test_a_number_with_a_fraction_is_refused_by_both_wherever_it_stands(proved, tmp_path):
    """Two languages write 1e16 in two ways, so no hash could be of it."""
    original = json.loads((proved("add10") / "certificate.json").read_text())
    for version in (1e16, 1.0, 0.5):
        edited = sealed({**original, "versions": {"python": version}})
        text = json.dumps(edited).encode()
        [[verdict, _]] = second([encoded(proved("add10"), certificate=text)])
        assert verdict == first(proved("add10"), text, tmp_path)[0] == "rejected"


def test_a_certificate_of_another_model_is_rejected(proved):
    certificate_of_28 = (proved("add10_28") / "certificate.json").read_bytes()
    [[verdict, reason]] = second([encoded(proved("add10"), certificate=certificate_of_28)])
    assert verdict == "rejected" and "it proves nothing about it" in reason


def test_the_command_line_prints_a_verdict_and_exit_codes(proved, tmp_path):
    def run(*arguments):
        done = subprocess.run(
            [NODE, CHECKER, *arguments], capture_output=True, text=True, timeout=100
        )
        return done.returncode, done.stdout

    code, said = run(proved("add10"))
    assert code == 0 and said.startswith('PROVED     addition (digits=2, base=10, order="most"')
    assert "all 10,000 problems" in said
    code, said = run(proved("add10"), proved("add10_28") / "certificate.json")
    assert code == 1 and said.startswith("REJECTED   ")
    assert run(tmp_path)[0] == 1 and run()[0] == 2 and run("--help")[0] == 2


# ---- random forms --------------------------------------------------------------------------------

TEXTS = ["ab", "ab", "ab"]
FORMS = """([kind, ...given]) => {
  const big = (s) => (s[0] === "-" ? -BigInt("0x" + s.slice(1)) : BigInt("0x" + s));
  const interval = ([low, high]) => [big(low), big(high)], show = (a) => a.map((x) => x.toString(16));
  const number = (hex) => { // the eight bytes of a float64
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt("0x" + hex));
    return view.getFloat64(0);
  };
  const form = ({ c, tables, symbols }) => new Check.Form(interval(c),
    new Map(Object.entries(tables).map(([p, t]) => [+p, new Map(Object.entries(t).map(([k, x]) => [k, interval(x)]))])),
    new Map(Object.entries(symbols).map(([s, x]) => [s, interval(x)])));
  const entries = (map, rule) => Object.fromEntries([...map].map(([k, x]) => [k, rule(x)]));
  const out = ({ c, tables, symbols }) =>
    ({ c: show(c), tables: entries(tables, (t) => entries(t, show)), symbols: entries(symbols, show) });
  const view = (query, symbols) => {
    const base = new Check.View({}, ["ab", "ab", "ab"].map((t) => [...t]));
    const found = query ? new Check.View({}, base.texts, 2, base) : base;
    for (const [name, inner] of Object.entries(symbols ?? {})) found.named(name, form(inner));
    return found;
  };
  const rules = {
    exact: (x) => show(Check.exact(number(x))),
    mul: (a, b) => show(Check.mul(interval(a), interval(b))),
    over: (a, b) => show(Check.over(interval(a), interval(b))),
    nearest: (a) => show(Check.nearest(interval(a))),
    sum: (list, unrounded) => show(Check.roundedSum(list.map(interval), unrounded)),
    exp: (x) => show(Check.expOf(big(x))),
    linear: (terms, bias, symbols) =>
      out(view(true, symbols).linear(2, terms.map(([w, f]) => [number(w), form(f)]), number(bias))),
    product: (a, b, symbols) => out(view(true, symbols).product(2, form(a), form(b))),
    relu: (gate) => out(view(false).relu(0, 1, 0, form(gate))),
  };
  return rules[kind](...given);
}"""


def hexadecimal(interval: tuple[int, int]) -> list[str]:
    return [f"{x:x}" for x in interval]


def bits(x: float) -> str:
    return struct.pack(">d", x).hex()


def plain(form: forms.Affine) -> dict:
    return {
        "c": hexadecimal(form.c),
        "tables": {
            str(p): {t: hexadecimal(x) for t, x in table.items()}
            for p, table in form.tables.items()
        },
        "symbols": {s: hexadecimal(x) for s, x in form.symbols.items()},
    }


def random_interval(random: Random) -> tuple[int, int]:
    low = random.randint(-(2**1500), 2**1500) >> random.randrange(1500)
    return low, low + (
        random.getrandbits(random.randrange(1, 1400)) if random.random() < 0.7 else 0
    )


def random_number(random: Random) -> float:
    return random.choice(
        (
            0.0,
            1.0,
            -2.0,
            0.5,
            random.uniform(-3, 3),
            random.uniform(-1, 1) * 10.0 ** random.randrange(-300, 280),
        )
    )


def random_form(random: Random, symbols: list[str]) -> forms.Affine:
    def entry() -> tuple[int, int]:
        x = intervals.exact(random_number(random))
        return (
            x
            if random.random() < 0.7
            else intervals.wider(x, random.getrandbits(random.randrange(900)))
        )

    tables = {p: {t: entry() for t in "ab"} for p in range(3) if random.random() < 0.4}
    return forms.Affine(entry(), tables, {s: entry() for s in symbols if random.random() < 0.5})


def a_case(random: Random) -> tuple[list, object]:
    """A question for the second checker, and what the first one answers."""
    kind = random.choice(
        ("exact", "mul", "over", "nearest", "sum", *["linear", "product", "relu"] * 3)
    )
    a, b, x = random_interval(random), random_interval(random), random_number(random)
    if kind == "exact":
        return [kind, bits(x)], hexadecimal(intervals.exact(x))
    if kind == "mul":
        return [kind, hexadecimal(a), hexadecimal(b)], hexadecimal(intervals.mul(a, b))
    if kind == "over":
        b = (abs(b[0]) + 1, abs(b[0]) + 1 + b[1] - b[0])
        return [kind, hexadecimal(a), hexadecimal(b)], hexadecimal(intervals.over(a, b))
    if kind == "nearest":
        a = (a[0], a[0]) if random.random() < 0.8 else a
        if random.random() < 0.3:  # a tie between two float64
            a = ((random.getrandbits(53) << 200) + (1 << 199),) * 2
        return [kind, hexadecimal(a)], hexadecimal(intervals.nearest(a))
    if kind == "sum":
        few = [intervals.exact(random_number(random)) for _ in range(random.randrange(6))]
        few += [random_interval(random)] if random.random() < 0.3 else []
        unrounded = random.random() < 0.5
        return [kind, [hexadecimal(p) for p in few], unrounded], hexadecimal(
            intervals.rounded_sum(few, unrounded)
        )
    texts = [list(t) for t in TEXTS]
    base = forward.ForwardPass(SimpleNamespace(), texts)
    if kind == "relu":
        gate = random_form(random, [])
        return [kind, plain(gate)], plain(base.relu(0, 1, 0, gate))
    query, inner = forward.ForwardPass(SimpleNamespace(), texts, 2, base), random_form(random, [])
    query.named("s", inner)
    known = {"s": plain(inner)}
    if kind == "product":
        left, right = random_form(random, ["s"]), random_form(random, ["s"])
        if random.random() < 0.3:
            left = forms.Affine(left.c)
        return [kind, plain(left), plain(right), known], plain(query.product(2, left, right))
    terms = [
        (random_number(random), random_form(random, ["s"])) for _ in range(random.randrange(5))
    ]
    if random.random() < 0.3:
        terms = [
            (w, forms.Affine(f.c, {p: t for p, t in f.tables.items() if p == 2})) for w, f in terms
        ]
    bias = random_number(random)
    asked = [kind, [[bits(w), plain(form)] for w, form in terms], bits(bias), known]
    return asked, plain(query.linear(2, terms, bias))


def disagreements(checker: str | None = None, count: int = 9000) -> list:
    random = Random(20)
    asked, expected = zip(*(a_case(random) for _ in range(count)), strict=True)
    return [
        (a, f, e)
        for a, f, e in zip(asked, node(FORMS, list(asked), checker), expected, strict=True)
        if f != e
    ]


def test_both_checkers_compute_the_same_of_9000_random_intervals_and_forms():
    assert disagreements() == []


def test_both_enclose_1000_exponentials_and_differ_by_less_than_four_units():
    random = Random(21)
    xs = [0, -1, -(900 << 900), -(900 << 900) - 1]
    xs += [-(random.getrandbits(intervals.F + random.randrange(-60, 11))) for _ in range(996)]
    found = node(FORMS, [["exp", f"{x:x}"] for x in xs])
    with ctx.workprec(4000):
        for x, ends in zip(xs, found, strict=True):
            low, high = (int(end, 16) for end in ends)
            true = (arb(x) / arb(intervals.ONE)).exp() * arb(intervals.ONE)
            assert arb(low) <= true <= arb(high)
            assert abs(low - intervals.exp_of(x)[0]) < 4 and abs(high - intervals.exp_of(x)[1]) < 4


MODELS = """([net, readout, phases]) => {
  const logit = (token) => ({ row: readout[token], bias: 0 }), texts = ["ab", "ab", "ab"].map((t) => [...t]);
  const model = { ...net, logit, outputs: net.vocabulary }, base = new Check.View(model, texts);
  let view = new Check.View(model, texts, 2, base);
  for (const [n, on] of phases) view = view.part("phases", JSON.stringify([0, n]), on);
  const show = (a) => a.map((x) => x.toString(16)), tables = (t) => Object.fromEntries([...t].map(([k, x]) => [k, show(x)]));
  const out = ({ c, tables: t }) => ({ c: show(c), tables: Object.fromEntries([...t].map(([p, x]) => [p, tables(x)])) });
  const forms = [...["a", "b"].flatMap((t) => view.weights(0, 2, 0, t)), view.mixed(0, 2, 0, 0), view.before(1, 2, 0),
    view.before(1, 2, 1), view.before(1, 1, 1), view.margin("a", "b")];
  return forms.map((form) => out(view.expand(form)));
}"""


def a_model(random: Random) -> tuple[SimpleNamespace, list[tuple[int, bool]]]:
    """The model of one head of tests/test_check.py with two hidden units, and signs of their gates."""
    net = a_head(random)
    layer = net.layers[0]
    for name in ("gate", "up"):
        rows = [[random.choice((0.0, 1.0, random.uniform(-2, 2))) for _ in "ab"] for _ in "12"]
        setattr(layer, name, rows)
        setattr(layer, f"{name}_bias", [random.choice((0.0, random.uniform(-2, 2))) for _ in "12"])
    layer.down = [[random.choice((0.0, random.uniform(-2, 2))) for _ in "12"] for _ in "ab"]
    return net, [(n, random.random() < 0.5) for n in range(2)]


def near(mine: list[str], theirs: list[str]) -> bool:
    """Whether two intervals are the same but for what their exponentials may differ by, 2^-800."""
    pairs = [(int(a, 16), int(b, 16)) for a, b in zip(mine, theirs, strict=True)]
    return all(abs(a - b) <= (1 << 100) + (abs(b) >> 800) for a, b in pairs)


def far_models(checker: str | None = None, count: int = 150) -> list[int]:
    """The random models for which the two checkers compute different forms."""
    random, asked, expected = Random(23), [], []
    for _ in range(count):
        net, phases = a_model(random)
        data = {key: getattr(net, key) for key in ("vocabulary", "width", "embedding")}
        data["layers"] = [vars(net.layers[0])]
        asked.append([data, {t: net.logit(t)[0] for t in "ab"}, phases])
        view = forward.ForwardPass(
            net, [list(t) for t in TEXTS], 2, forward.ForwardPass(net, [list(t) for t in TEXTS])
        )
        for n, on in phases:
            view = view.part("phases", (0, n), on)
        found = [form for t in "ab" for form in view.weights(0, 2, 0, t)]
        found += [view.mixed(0, 2, 0, 0), view.before(1, 2, 0), view.before(1, 2, 1)]
        found += [view.before(1, 1, 1), view.margin("a", "b")]
        expected.append([plain(view.expand(form)) for form in found])
    far = []
    for k, (mine, theirs) in enumerate(zip(node(MODELS, asked, checker), expected, strict=True)):
        for one, other in zip(mine, theirs, strict=True):
            same = one["tables"].keys() == other["tables"].keys() and near(one["c"], other["c"])
            tables = [(one["tables"][p], other["tables"][p]) for p in one["tables"]] if same else []
            if not same or not all(near(a[t], b[t]) for a, b in tables for t in b):
                far.append(k)
                break
    return far


def test_both_checkers_compute_the_same_of_150_random_models():
    """Attention, gates with their sign fixed, units, the stream, margins."""
    assert far_models() == []


FAULTS = {
    "products rounded inward": planting_js.instead("mul", "up", "({0} >> {1})"),
    "quotients rounded inward": planting_js.instead("over", "floor", "-floor(-({0}), {1})", nth=0),
    "ties go up": planting_js.swapped("nearest", "&(?= 1n)", "|"),
    "sums do not round": planting_js.instead("roundedSum", "wider", "{0}"),
    "a bias is forgotten": planting_js.never("linear", nth=0),
    "products of forms do not round": planting_js.dropped("product", "wider"),
    "an unknown factor is its middle": planting_js.dropped("scaled", "wider"),
    "the chord has no width": planting_js.dropped("relu", "plus"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_planted_in_the_second_checker_is_a_disagreement(name):
    assert disagreements(FAULTS[name](CHECKER.read_text()), 500)


MODEL_FAULTS = {
    "no error of exp": planting_js.instead("exp", "spread", "{0}"),
    "no error of quotients": planting_js.instead("weights", "once", "{0}"),
    "the sum of the weights does not round": planting_js.instead("weights", "spread", "{0}"),
    "the distance to the largest score does not round": planting_js.instead("weights", "up", "0n"),
    "softmax instead of softmax1": planting_js.instead("weights", "exp", "NOTHING", nth=1),
    "the slope is forgotten": planting_js.instead("weights", "roundedSum", "roundedSum(terms)"),
    "values are summed without rounding": planting_js.instead("attend", "gamma", "0n"),
    "phases the wrong way round": planting_js.swapped("relu", r"phase(?= \?)", "!phase"),
    "logits do not round": planting_js.dropped("margin", "wider"),
}


@pytest.mark.parametrize("name", MODEL_FAULTS)
def test_a_fault_planted_in_a_rule_of_the_second_checker_is_a_disagreement(name):
    assert far_models(MODEL_FAULTS[name](CHECKER.read_text()), 30)


@pytest.mark.parametrize(
    "fault",
    [
        planting_js.instead("mul", "gamma", "0n"),  # no such call
        planting_js.instead("over", "floor", "0n"),  # two
        planting_js.dropped("multiply", "wider"),  # no such function
        planting_js.instead("mul", "up", "up({0}, {1})"),  # nothing changes
    ],
)
def test_a_fault_for_which_there_is_no_place_is_an_error(fault):
    with pytest.raises(AssertionError):
        fault(CHECKER.read_text())


# ---- tasks ---------------------------------------------------------------------------------------


def test_both_have_the_same_specifications():
    cases, expected = [], []
    for name, options in [
        *SMALL_TASKS,
        ("addition", {"digits": 10}),
        ("addition", {"digits": 3, "base": 3, "operands": 9}),
    ]:
        task = task_from_json({"name": name, "options": options}).to_json()
        cases.append(task)
        expected.append(json.loads(json.dumps(specifications.specify(task))))
    assert node("(task) => Check.specify(task)", cases) == expected


def test_strange_options_of_a_task_are_rejected_by_both():
    refused = """(text) => {
      const task = Check.readJson(Buffer.from(text), true);
      try { Check.specify(task); } catch (error) { return error instanceof Check.Rejected; }
      return false;
    }"""
    texts = [json.dumps(task) for task in [*STRANGE, *INCOMPLETE]]
    assert node(refused, texts) == [True] * len(texts)


def test_hashes_and_canonical_json_are_those_of_python():
    random = Random(3)
    texts = [
        "",
        "a" * 55,
        "a" * 56,
        "a" * 64,
        *(
            "".join(chr(random.randrange(1, 0x11000)) for _ in range(random.randrange(200)))
            for _ in range(40)
        ),
    ]
    texts = [t.encode("utf-8", "replace").decode() for t in texts]
    found = node(
        "(t) => [Check.sha256(Buffer.from(t)), Check.canonical({ [t]: [t, 1, true, null], b: 0 })]",
        texts,
    )
    assert found == [
        [
            hashlib.sha256(t.encode()).hexdigest(),
            certificate.canonical({t: [t, 1, True, None], "b": 0}).decode(),
        ]
        for t in texts
    ]
