"""The checker: sound arithmetic, no tampered certificate accepted, and every fault planted in it is noticed."""

import copy
import hashlib
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import torch
from flint import arb, ctx

from tinyadder.compile import build
from tinyadder.construction import construct
from tinyadder.folder import save
from tinyadder.tasks import task_from_json
from tinyadder.tasks.addition import Addition
from verify.certify import check, forms, machine, network, paths, prove, spec
from verify.certify.prove import certify, write_certificate
from verify.verdict import Proved, Unknown

from test_certify import SMALL_TASKS  # isort: skip


def folder_of(root: Path, name: str, **options) -> Path:
    made = construct(name, **options)
    model, folder = build(made.program), root / f"{name}_{'_'.join(map(str, options.values()))}"
    save(model, made.task, folder, name=name, options=options, program=made.program)
    assert isinstance(certify(model, made.task, folder).verdict, Proved)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders with accepted certificates, one for every kind of split."""
    root = tmp_path_factory.mktemp("certified")
    return {
        "plain": folder_of(root, "add10", digits=1),
        "phase": folder_of(root, "add10_95", digits=1),
        "again": folder_of(root, "copy_digits", length=7),
        "state": folder_of(root, "parity_once", length=4),
    }


# ---- it stands alone ------------------------------------------------------------------------------


def test_it_runs_without_any_installed_package(folders):
    """In an isolated interpreter that sees the standard library and the folder verify only."""
    code = (
        "import sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'numpy', 'flint', 'tinyadder', 'safetensors', 'click'):\n"
        "            raise ImportError('forbidden: ' + name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"sys.path.insert(0, {str(Path(check.__file__).parents[2])!r})\n"
        "from verify.certify.check import main\n"
        f"sys.exit(main([{str(folders['plain'])!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PROVED     addition (digits=1") and "all 100 problems" in done.stdout


def test_bad_usage_and_missing_folders_are_said_plainly(tmp_path, capsys):
    assert check.main([]) == 2 and check.main(["--help"]) == 2
    assert check.main([str(tmp_path)]) == 1
    assert "REJECTED" in capsys.readouterr().out


# ---- arithmetic -----------------------------------------------------------------------------------


def interval(random: Random) -> tuple[tuple[int, int], Fraction]:
    """An interval of the checker and a number in it."""
    low = random.randint(-(2**1500), 2**1500) >> random.randrange(1500)
    high = low + (random.getrandbits(random.randrange(1, 1400)) if random.random() < 0.7 else 0)
    return (low, high), Fraction(random.randint(low, high), check.ONE)


def inside(value: Fraction, found: tuple[int, int]) -> bool:
    return Fraction(found[0], check.ONE) <= value <= Fraction(found[1], check.ONE)


def arithmetic_encloses() -> None:
    random = Random(0)
    for _ in range(3000):
        (a, x), (b, y) = interval(random), interval(random)
        assert inside(x + y, check.add(a, b)) and inside(x * y, check.mul(a, b)) and inside(-x, check.neg(a))
        assert abs(x) * check.ONE <= check.size(a) and inside(x, check.join([a, b])) and inside(y, check.join([a, b]))
        if b[0] > 0:
            assert inside(x / y, check.over(a, b))


def exponentials_enclose() -> None:
    ctx.prec = 4000
    random = Random(1)
    try:
        for k in range(300):
            x = -random.getrandbits(1400 + random.randrange(11)) if k else 0
            low, high = check.exp(x)
            true = (arb(x) / arb(check.ONE)).exp() * arb(check.ONE)
            assert arb(low) <= true <= arb(high)
            assert high - low <= 2 + (high >> 150)
    finally:
        ctx.prec = 192


def roundings_enclose() -> None:
    """Sums of random doubles, in random order, lie in what rule LINEAR gives for them; single roundings too."""
    random = Random(2)
    for _ in range(1000):
        n = random.randrange(1, 9)
        ws = [random.choice((1.0, 2.0, random.uniform(-3, 3), 0.5)) for _ in range(n)]
        xs = [random.choice((1.0, 3.0, random.uniform(-1, 1) * 10.0 ** random.randrange(-9, 9))) for _ in range(n)]
        scaled = all(abs(math.frexp(w)[0]) == 0.5 for w in ws)
        found = check.rounded_sum(
            [check.mul(check.exact(w), check.exact(x)) for w, x in zip(ws, xs, strict=True)], scaled
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
    """1 and n times 2^-53: summed from the large end nothing is added, from the small end nearly n units."""
    terms = [1.0, *[2.0**-53] * 6, 2.0**-60]
    found = check.rounded_sum([check.mul(check.exact(t), check.exact(1.0)) for t in terms], True)
    for order in (terms, terms[::-1]):
        total = 0.0
        for term in order:
            total += term
        assert inside(Fraction(total), found)


def test_every_operation_encloses_the_exact_result():
    arithmetic_encloses()
    exponentials_enclose()
    roundings_enclose()
    the_bound_of_sums_is_attained()


# ---- specifications -------------------------------------------------------------------------------


def specifications_agree() -> None:
    """The checker's own specifications are those of the prover, which agree with the oracles (test_certify)."""
    for name, options in [
        *SMALL_TASKS,
        ("addition", {"digits": 10}),
        ("addition", {"digits": 3, "base": 3, "operands": 9}),
    ]:
        task = task_from_json({"name": name, "options": options})
        mine = check.TASKS[name](**task.to_json()["options"])
        theirs = [s.to_json() for s in spec.specifications(task)]
        assert theirs == [
            {
                "start": start,
                "length": len(stages),
                "stages": [{"position": p, "edges": [list(m) for m in moves]} for p, moves in stages],
            }
            for start, stages in mine
        ]  # fmt: skip


def test_the_specifications_of_prover_and_checker_are_the_same():
    specifications_agree()


# ---- tampering ------------------------------------------------------------------------------------


def sealed(certificate: dict) -> dict:
    content = {key: value for key, value in certificate.items() if key != "sha256"}
    return {**content, "sha256": hashlib.sha256(check.canonical(content)).hexdigest()}


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
        "potentials",
        "parts",
        "positions",
        "claims",
        "options",
    }
    found = []
    for before, key in zip(("", *path), path, strict=False):
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
            return [(2 * float.fromhex(value)).hex(), "nan", "inf"]
        return [value + "x"]
    if isinstance(value, list):
        return [value[:-1], [*value, *value[:1]]] if value else []
    return [dict(list(value.items())[:-1])] if value else []


def put(data, path, value):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def rejected(folder: Path, certificate: dict, tmp_path: Path) -> bool:
    file = tmp_path / "tampered.json"
    file.write_text(json.dumps(certificate))
    try:
        check.check(folder, file)
    except check.Rejected:
        return True
    return False


@pytest.mark.parametrize("kind", ["plain", "phase", "again", "state"])
def test_every_class_of_fields_tampered_is_rejected_even_with_a_fresh_seal(folders, kind, tmp_path):
    original = json.loads((folders[kind] / "certificate.json").read_text())
    assert not rejected(folders[kind], sealed(original), tmp_path)
    unchecked = {("versions", "python"), ("versions", "torch"), ("versions", "python-flint"), ("versions",)}
    seen, tried = set(), 0
    for path in classes(original):
        if (
            not path
            or path[0] == "sha256"
            or shape_of(path) in seen
            or path in unchecked
            or (path[0] == "rules" and path[1:])
        ):
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
    for path in (("versions", "torch"), ("rules", "READ")):
        edited = copy.deepcopy(original)
        put(edited, path, "x")
        assert rejected(folders["plain"], edited, tmp_path)


def test_a_truncated_certificate_or_file_of_weights_is_rejected(folders, tmp_path):
    folder = folders["plain"]
    text = (folder / "certificate.json").read_bytes()
    for size in (0, 10, len(text) // 2, len(text) - 3):
        (tmp_path / "cut.json").write_bytes(text[:size])
        with pytest.raises(check.Rejected):
            check.check(folder, tmp_path / "cut.json")
    weights = (folder / "model.safetensors").read_bytes()
    other = tmp_path / "cut"
    other.mkdir()
    for size in (0, 8, 100, len(weights) - 8):
        (other / "model.safetensors").write_bytes(weights[:size])
        described = json.loads((folder / "model.json").read_text())
        described["weights"]["sha256"] = hashlib.sha256(weights[:size]).hexdigest()
        (other / "model.json").write_text(json.dumps(described))
        with pytest.raises(check.Rejected):
            check.check(other, folder / "certificate.json")


def test_a_certificate_for_other_weights_says_so(folders, tmp_path):
    made = construct("add10", digits=1)
    model = build(made.program)
    with torch.no_grad():
        model.unembedding[3, 4] *= 1 + 2**-50
    save(model, made.task, tmp_path / "other", name="other", options={})
    with pytest.raises(check.Rejected, match="it proves nothing about it"):
        check.check(tmp_path / "other", folders["plain"] / "certificate.json")


@pytest.mark.parametrize("part", ["softmax", "norm", "repeat", "biases"])
def test_a_description_with_another_option_is_rejected(folders, tmp_path, part):
    folder = tmp_path / "options"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((folders["plain"] / "model.safetensors").read_bytes())
    described = json.loads((folders["plain"] / "model.json").read_text())
    described["config"]["options"][part] = "other"
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(check.Rejected, match="no rule covers"):
        check.check(folder, folders["plain"] / "certificate.json")


# ---- faults planted in prover and checker ---------------------------------------------------------


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """An adder in which '=' subtracts too much and '+' adds so little that the rounding just eats the margin."""
    made = construct("add10", digits=1)
    model = build(made.program)
    low, high = 0.0, 0.05
    with torch.no_grad():
        model.embedding[10, 1] *= 1 + 1e-2
        for _ in range(50):
            model.embedding[13, 0] = (low + high) / 2
            if prove.prove(model, made.task).verdict is None:
                high = (low + high) / 2
            else:
                low = (low + high) / 2
        model.embedding[13, 0] = low
    assert 1e-3 < low < high < 0.04
    folder = tmp_path_factory.mktemp("edge") / "model"
    save(model, made.task, folder, name="edge", options={})
    return folder, model


def edge_is_not_proved(edge) -> None:
    assert prove.prove(edge[1], Addition(digits=1)).certificate is None


def wrong_model_is_not_proved(tmp_path: Path) -> None:
    """Wrong in the last answer digit only: '9' has the logit of '8', and a little."""
    made = construct("add10", digits=1)
    model = build(made.program)
    with torch.no_grad():
        model.embedding[13, 0] = 0.0
        model.embedding[10, 1] *= 1.1  # '=' subtracts too much: exact remainders fall below their boundary
    save(model, made.task, tmp_path / "wrong", name="wrong", options={}, force=True)
    assert not isinstance(certify(model, made.task, tmp_path / "wrong").verdict, Proved)


def forged_is_rejected(folders, tmp_path: Path, change) -> None:
    certificate = json.loads((folders["plain"] / "certificate.json").read_text())
    change(certificate)
    assert rejected(folders["plain"], sealed(certificate), tmp_path)


def first_claim(certificate: dict) -> dict:
    return next(c for node in certificate["parts"][0]["positions"][0]["children"].values() for c in node["claims"])


def raise_potentials(certificate: dict) -> None:
    claim = first_claim(certificate)
    claim["potentials"][-1] = [None if x is None else x + 1000 for x in claim["potentials"][-1]]
    claim["low"] += 1000


def raise_start(certificate: dict) -> None:
    claim = first_claim(certificate)
    claim["potentials"] = [[None if x is None else x + (1 << 30) for x in row] for row in claim["potentials"]]
    claim["low"] += 1 << 30


def cut_branch(certificate: dict) -> None:
    """No text is in the branch, it says, though there are some."""
    trees = certificate["parts"][0]["positions"]
    node = next(node for node in trees[0]["children"].values() if node["claims"])
    claim = node["claims"][0]
    claim["potentials"] = [[0], *[[None] * len(row) for row in claim["potentials"][1:]]]
    claim["low"] = node["margin"] = None
    certificate["margin"] = min(prove.leaf_margins(tree) for tree in trees).hex()


def drop_position(certificate: dict) -> None:
    del certificate["parts"][0]["positions"][-1]


def drop_digit(certificate: dict) -> None:
    children = certificate["parts"][0]["positions"][-1]["children"]
    del children[max(children)]


def overstate(certificate: dict) -> None:
    certificate["margin"] = (2 * float.fromhex(certificate["margin"])).hex()


FORGERIES = [raise_potentials, raise_start, cut_branch, drop_position, drop_digit, overstate]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_certificates_are_rejected(folders, tmp_path, forgery):
    forged_is_rejected(folders, tmp_path, forgery)


def test_an_adder_at_the_edge_is_not_proved_and_a_wrong_one_neither(edge, tmp_path):
    edge_is_not_proved(edge)
    wrong_model_is_not_proved(tmp_path)


def in_prover(patch, name: str, value) -> None:
    for module in (machine, forms):
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
def test_a_prover_that_forgets_a_rounding_proves_too_much_and_the_checker_catches_it(edge, monkeypatch, name):
    edge_is_not_proved(edge)
    in_prover(monkeypatch, *MUTANTS[name])
    with pytest.raises(AssertionError):
        edge_is_not_proved(edge)
    assert isinstance(certify(edge[1], Addition(digits=1), edge[0]).verdict, Unknown)


def inward_mul(a, b):
    ends = [x * y for x in a for y in b]
    return -(-min(ends) >> check.F), max(ends) >> check.F


def careless_least(self, view, form, claim, tokens, states):
    ends = [x for x in claim["potentials"][-1] if x is not None]
    return min(ends) << (check.F + claim["exponent"]) if ends else None


def forgetful_step(original):
    """The specification of addition without the carry: every column is added by itself."""

    def addition(digits, base, order, operands, padding):
        [(start, stages)] = original(digits, base, order, operands, padding)
        return [(start, [(p, [m for m in moves if m[0] == 0]) for p, moves in stages])]

    return addition


def mutate_need(skipped: str):
    honest = check.need

    def need(fact, otherwise):
        if skipped not in otherwise:
            honest(fact, otherwise)

    return need


CHECKER_MUTANTS = {
    "round products inward": ("mul", inward_mul, lambda f, t: arithmetic_encloses()),
    "round quotients inward": (
        "over", lambda a, b: ((a[0] << check.F) // b[0], (a[1] << check.F) // b[1]), lambda f, t: arithmetic_encloses(),
    ),
    "exp too narrow": (
        "exp", lambda x: ((v := int(math.exp(x / check.ONE) * 2**60) << (check.F - 60)), v),
        lambda f, t: exponentials_enclose(),
    ),
    "results are exact": ("nearest", lambda a: a, lambda f, t: roundings_enclose()),
    "gamma one short": (
        "gamma", lambda n: (n - 1) << (check.F - 53) if n > 1 else 0,
        lambda f, t: (roundings_enclose(), the_bound_of_sums_is_attained()),
    ),
    "forget the carry": ("addition", forgetful_step(check.addition), lambda f, t: specifications_agree()),
    "a margin may be negative": (
        "need", mutate_need("a margin is"), lambda f, t: forged_is_rejected(f, t, lambda c: overstate_leaf(c)),
    ),
    "a position may be missing": (
        "need", mutate_need("position"), lambda f, t: forged_is_rejected(f, t, drop_position_and_margin),
    ),
    "branches may be missing": (
        "need", mutate_need("branches are missing"), lambda f, t: forged_is_rejected(f, t, drop_digit),
    ),
    "the first potential is free": (
        "need", mutate_need("a first potential"), lambda f, t: forged_is_rejected(f, t, raise_start),
    ),
    "the overall margin is free": (
        "need", mutate_need("not the smallest"), lambda f, t: forged_is_rejected(f, t, overstate),
    ),
}  # fmt: skip


def overstate_leaf(certificate: dict) -> None:
    for tree in certificate["parts"][0]["positions"]:
        for node in tree["children"].values():
            node["margin"] = (1e6).hex()
    certificate["margin"] = (1e6).hex()


def drop_position_and_margin(certificate: dict) -> None:
    positions = certificate["parts"][0]["positions"]
    del positions[-1]
    leaves = [float.fromhex(node["margin"]) for tree in positions for node in tree["children"].values()]
    certificate["margin"] = min(leaves).hex()


@pytest.mark.parametrize("name", CHECKER_MUTANTS)
def test_every_fault_planted_in_the_checker_is_noticed(folders, monkeypatch, tmp_path, name):
    target, replacement, noticed = CHECKER_MUTANTS[name]
    noticed(folders, tmp_path)  # the honest checker passes
    monkeypatch.setattr(check, target, replacement)
    if target == "addition":
        monkeypatch.setitem(check.TASKS, "addition", replacement)
    with pytest.raises(AssertionError):
        noticed(folders, tmp_path)


def test_a_checker_that_believes_potentials_accepts_forged_ones(folders, monkeypatch, tmp_path):
    monkeypatch.setattr(check.Checker, "least", careless_least)
    with pytest.raises(AssertionError):
        forged_is_rejected(folders, tmp_path, cut_branch)


def test_a_checker_that_skips_a_phase_or_a_state_accepts_half_a_proof(folders, monkeypatch, tmp_path):
    for kind, missing in (("phase", "a phase is missing"), ("state", "a state is missing")):
        certificate = json.loads((folders[kind] / "certificate.json").read_text())

        def cut(node):
            if "split" in node and node["split"][0] == kind:  # noqa: B023
                node["children"].pop(list(node["children"])[-1])
                return True
            return any(cut(child) for child in node.get("children", {}).values())

        assert any(cut(tree) for tree in certificate["parts"][0]["positions"])
        certificate["margin"] = min(prove.leaf_margins(tree) for tree in certificate["parts"][0]["positions"]).hex()
        assert rejected(folders[kind], sealed(certificate), tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(check, "need", mutate_need(missing))
            assert not rejected(folders[kind], sealed(certificate), tmp_path)


def test_the_prover_and_the_checker_name_the_same_rules():
    assert set(machine.RULES) == check.RULES and prove.NUMERICS == check.NUMERICS
    assert network and paths and write_certificate  # the modules under test
