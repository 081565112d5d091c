"""Rule TEXT of the checker: every text by itself, in intervals around all that may be computed."""

import ast
import json
import sys
from fractions import Fraction

import pytest
import torch

import tinyadder.verify.certify.check.texts  # noqa: F401  (the module, below)
from tests import planting
from tests.test_check import rejected, sealed
from tinyadder.construction import construct
from tinyadder.inspect.trace import run_with_cache
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.verify.certify import check as checker
from tinyadder.verify.certify import prove as provers
from tinyadder.verify.certify.check import Rejected, check
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.check.specifications import specify
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.verdict import Proved, Unknown

TEXTS = sys.modules["tinyadder.verify.certify.check.texts"]
MADE = {
    "modular_add": {"modulus": 5},
    "induction": {"alphabet": 3},
    "dyck1": {"length": 4},
    "dyck_k": {"length": 4, "depth": 2},
    "poly_eval": {"degree": 1},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    for name, options in MADE.items():
        made = construct(name, **options)
        save(build(made.program), made.task, place / name, name=name, options=options)
    return place


@pytest.mark.parametrize(
    "name",
    [*(n for n in MADE if n != "poly_eval"), pytest.param("poly_eval", marks=pytest.mark.slow)],
)
def test_every_text_of_a_small_construction_is_proved(folders, name):
    made = construct(name, **MADE[name])
    verdict = certify(build(made.program), made.task, folders / name).verdict
    assert isinstance(verdict, Proved), verdict
    assert verdict.domain.startswith(f"all {made.task.domain().size:,} problems")
    certificate = json.loads((folders / name / "certificate.json").read_text())
    assert certificate["rules"] == ["TEXT"] and certificate["parts"] is None


def strays(folder, name, options):
    """How many numbers of the stream lie outside of their interval, over all problems."""
    made, found = construct(name, **options), 0
    model, reader = build(made.program), TEXTS.Reader(ProgramModel(folder))
    last = f"blocks.{len(model.blocks) - 1}.hook_resid_post"
    domain = made.task.domain()
    for n in range(0, domain.size, max(1, domain.size // 40)):
        problem = domain.problem(n)
        text = [*made.task.prompt(problem), *made.task.answer(problem)]
        ids = torch.tensor([[model.config.vocabulary.index(token) for token in text]])
        _, cache = run_with_cache(model, ids)
        reader.forget(0)
        for i, token in enumerate(text):
            for value, (low, high) in zip(
                cache[last][0, i].tolist(), reader.next(token), strict=True
            ):
                found += not low <= Fraction(value) * TEXTS.ONE <= high
    return found


@pytest.mark.parametrize("name", MADE)
def test_what_the_model_computes_lies_in_the_intervals(folders, name):
    assert strays(folders / name, name, MADE[name]) == 0


def left_out(node):
    return ast.Pass() if isinstance(node, ast.Delete) else None


FAULTS = {
    "ATTN: the exponential": planting.instead("CachedHead.attend", "exp", "(ONE, ONE)", places=2),
    "ATTN: the quotient": planting.instead("CachedHead.attend", "once", "(0, 0)"),
    "ALIBI": planting.instead("CachedHead.attend", "nearest", "ZERO"),
    "RELU": planting.instead("Reader.next", "max", "high", places=2),
    "what is forgotten": planting.within("Reader.forget", left_out),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_intervals_is_noticed(folders, name):
    with planting.planted(TEXTS, FAULTS[name], (TEXTS,)):
        assert any(strays(folders / made, made, MADE[made]) for made in ("dyck1", "poly_eval"))


def test_a_readout_that_is_not_looked_at_is_noticed(tmp_path):
    made = construct("dyck1", length=2)
    model = build(made.program)
    model.embedding.data.neg_()
    save(model, made.task, tmp_path / "m", name="m", options={})
    _, found = specify(made.task.to_json())
    read = ProgramModel(tmp_path / "m"), *found[-1]
    with pytest.raises(Rejected, match="may not have the largest logit"):
        TEXTS.smallest_margin(*read)
    for fault in (
        planting.instead("Reader.margin", "max", "-ONE << 99"),
        planting.believed("smallest_margin", "largest logit"),
    ):
        with planting.planted(TEXTS, fault, (TEXTS,)):
            TEXTS.smallest_margin(*read)


def test_a_wrong_model_is_not_proved(folders, tmp_path):
    made = construct("dyck1", length=3)
    model = build(made.program)
    flat = model.embedding.data.view(-1)
    proved = refuted = 0
    problems = [made.task.domain().problem(n) for n in range(made.task.domain().size)]
    for at in flat.nonzero()[:, 0].tolist():
        kept = flat[at].item()
        for factor in (-1.0, 0.9, 1.1):
            flat[at] = kept * factor
            folder = tmp_path / "m"
            save(model, made.task, folder, name="m", options={}, force=folder.exists())
            verdict = certify(model, made.task, folder).verdict
            given = zip(problems, answers(model, made.task, problems), strict=True)
            right = all(tuple(got) == tuple(made.task.answer(p)) for p, got in given)
            assert right or not isinstance(verdict, Proved)
            proved, refuted = proved + isinstance(verdict, Proved), refuted + (not right)
        flat[at] = kept
    assert proved > 0 and refuted > 0


def test_forged_certificates_are_rejected(folders, tmp_path):
    folder = folders / "modular_add"
    made = construct("modular_add", **MADE["modular_add"])
    assert isinstance(certify(build(made.program), made.task, folder).verdict, Proved)
    certificate = json.loads((folder / "certificate.json").read_text())
    for change in (
        {"parts": []},
        {"margin": (0.5).hex()},
        {"rules": ["TEXT", "TEXT"]},
        {"rules": []},
        {"task": {"name": "modular_addition", "options": {"modulus": 4}}},
        {"model": "0" * 64},
    ):
        assert rejected(folder, sealed({**certificate, **change}), tmp_path)


def test_a_text_too_many_is_unknown_not_slow_and_says_the_way_out(monkeypatch, folders):
    made = construct("modular_add", **MADE["modular_add"])
    folder = folders / "modular_add"
    verdict = certify(build(made.program), made.task, folder, most_texts=24).verdict
    assert isinstance(verdict, Unknown) and "no rule splits" in verdict.reason
    assert verdict.reason.endswith("`tinyadder prove` then goes through all texts, one by one")
    monkeypatch.setattr(TEXTS, "MOST", 24)
    verdict = certify(build(made.program), made.task, folder, most_texts=25).verdict
    assert isinstance(verdict, Unknown) and "more than 24 texts" in verdict.reason


def test_what_the_checker_rejects_by_branches_it_is_given_text_by_text(monkeypatch, tmp_path):
    made = construct("add10", digits=1)
    save(build(made.program), made.task, tmp_path / "m", name="m", options={})
    searches, offered = [], []

    def searched(*given):
        searches.append(given)
        return search(*given)

    def rejecting(folder):
        offered.append(json.loads((folder / "certificate.json").read_text())["rules"])
        if offered[-1] != ["TEXT"]:
            raise Rejected("planted")
        return check(folder)

    search = provers.prove_program
    monkeypatch.setattr(provers, "prove_program", searched)
    monkeypatch.setattr(checker, "check", rejecting)
    verdict = certify(build(made.program), made.task, tmp_path / "m").verdict
    assert isinstance(verdict, Proved) and len(offered) == 2 and len(searches) == 1
    verdict = certify(build(made.program), made.task, tmp_path / "m", most_texts=99).verdict
    assert str(verdict) == "UNKNOWN    the checker rejected the certificate: planted"


def test_an_option_of_the_task_outside_of_its_range_is_rejected(folders, tmp_path):
    described = json.loads((folders / "dyck_k" / "model.json").read_text())
    described["task"]["options"]["depth"] = 5  # more than the length
    (folders / "dyck_k" / "certificate.json").write_text("{}")
    copy = tmp_path / "m"
    copy.mkdir()
    for file in ("model.safetensors", "certificate.json"):
        (copy / file).write_bytes((folders / "dyck_k" / file).read_bytes())
    (copy / "model.json").write_text(json.dumps(described))
    with pytest.raises(Rejected):
        check(copy)
