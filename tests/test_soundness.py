"""Proved but wrong: what once was is tried for ever; every program that runs a model keeps the
margin that is proved.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.test_check import FORGERIES, certified, sealed, split_readout
from tinyadder.construction import construct
from tinyadder.inspect.explorer import PAGES, model_to_json
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig
from tinyadder.machine.inference import prepare
from tinyadder.machine.transformer import Transformer
from tinyadder.verify.certify.network import read_network
from tinyadder.verify.certify.prove import certify, prove
from tinyadder.verify.verdict import Proved, Unknown

ROOT = Path(__file__).parents[1]
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node: apt-get install nodejs")


# ---- other Pythons -------------------------------------------------------------------------------


def pythons() -> list[Path]:
    """One interpreter for each Python from 3.11 on that is installed here, this one first."""
    found = {sys.version_info[:2]: Path(sys.executable)}
    candidates = [Path(p) for minor in range(11, 20) if (p := shutil.which(f"python3.{minor}"))]
    for place in (Path.home() / ".pyenv" / "versions", Path.home() / ".local/share/uv/python"):
        candidates += sorted(place.glob("*3.*/bin/python3")) if place.is_dir() else []
    for candidate in candidates:
        code = "import sys; print(*sys.version_info[:2])"
        said = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True)
        if said.returncode == 0:
            major, minor = map(int, said.stdout.split())
            if (major, minor) >= (3, 11):
                found.setdefault((major, minor), candidate)
    return [found[version] for version in sorted(found)]


def checked(python: Path, *cases: tuple[Path, Path]) -> list[str]:
    """What the checker's command says first of each (folder, certificate), in an isolated
    interpreter without any package.
    """
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tinyadder.verify.certify.check.__main__ import main\n"
        "for case in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    print('exit', main([*case]))\n"
    )
    files = [file for case in cases for file in case]
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-c", code, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    verdicts = [line for line in lines if line.startswith(("PROVED", "REJECTED"))]
    assert [line for line in lines if line.startswith("exit")] == [
        f"exit {int(line.startswith('REJECTED'))}" for line in verdicts
    ]
    return verdicts


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    """A model that answers 9 + 9 = 19, and a certificate that holds if floats are added exactly."""
    model, folder = split_readout(tmp_path_factory.mktemp("forged"))
    task = construct("add10", digits=1).task
    with pytest.MonkeyPatch.context() as patch:
        from tinyadder.verify.certify import prove as prover

        def compensated(model):
            network = read_network(model)
            network.readout[9, model.config.width - 2] = -8.0
            return network

        patch.setattr(prover, "read_network", compensated)
        found = prove(model, task)
    assert found.certificate is not None
    (folder / "certificate.json").write_text(json.dumps(found.certificate))
    return model, task, folder


each_python = pytest.mark.parametrize("python", pythons(), ids=lambda path: path.parent.parent.name)


@each_python
def test_no_python_accepts_a_certificate_that_holds_for_exact_sums_only(forged, python):
    model, task, folder = forged
    assert "".join(answers(model, task, [(9, 9)])[0]) == "19"
    assert checked(python, (folder, folder / "certificate.json"))[0].startswith("REJECTED")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return certified(tmp_path_factory.mktemp("certified"))


@each_python
def test_every_python_accepts_what_is_proved_and_rejects_what_is_forged(folders, python, tmp_path):
    """A certificate with every kind of split, and every forgery of one."""
    cases = [(folder, folder / "certificate.json") for folder in folders.values()]
    for k, forgery in enumerate(FORGERIES):
        certificate = json.loads((folders["plain"] / "certificate.json").read_text())
        forgery(certificate)
        file = tmp_path / f"{k}.json"
        file.write_text(json.dumps(sealed(certificate)))
        cases.append((folders["plain"], file))
    said = [line.split()[0] for line in checked(python, *cases)]
    assert said == ["PROVED"] * len(folders) + ["REJECTED"] * len(FORGERIES)


# ---- every program that runs a model -------------------------------------------------------------


def texts(task, problems) -> torch.Tensor:
    """Token ids of prompt and right answer."""
    return torch.from_numpy(task.encode([[*task.prompt(p), *task.answer(p)] for p in problems]))


def eager(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens)


def one_at_a_time(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(row[None]) for row in tokens])


def cached(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    past = model.new_past()
    return torch.cat([model(column[:, None], past=past) for column in tokens.T], 1)


def prepared(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """The batched decoder (tinyadder/machine/inference.py)."""
    inference = prepare(model)
    assert inference is not None
    inference.restart(tokens.shape[1], len(tokens))
    return inference.extend(tokens.T.contiguous(), tokens.shape[1]).permute(2, 1, 0)


PAGE = """
const [model, texts] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const given = load(model);
process.stdout.write(JSON.stringify(texts.map((text) => forward(given, text).logits)));
"""


def explorer_page(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """The script of the page, run by V8."""
    script = (PAGES / "machine.js").read_text() + PAGE
    given = json.dumps([model_to_json(model), tokens.tolist()])
    done = subprocess.run(
        [str(NODE), "-e", script], input=given, capture_output=True, text=True, check=True
    )
    return torch.tensor(json.loads(done.stdout), dtype=torch.float64)


EXPORTED = """
import importlib.util, json, sys, torch
from pathlib import Path
from tinyadder.io.export import ExportSource, write
from tinyadder.io.folder import load
way, folder, tokens = sys.argv[1], Path(sys.argv[2]), torch.tensor(json.load(sys.stdin))
model, described = load(folder)
out = folder.parent / {"torch": "m.pt2", "onnx": "m.onnx", "submission": "m.py"}.get(way, "m")
if way != "compiled":
    ladder = [("nonzero", 1, "")]
    source = ExportSource(model=model, task=described.task, name="x", ladder=ladder)
    write(way, source, out)
torch.set_num_threads(1)
with torch.no_grad():
    if way == "compiled":
        logits = torch.compile(model)(tokens)
    elif way == "torch":
        logits = torch.export.load(out).module()(tokens)
    elif way == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        logits = torch.from_numpy(session.run(None, {"tokens": tokens.numpy()})[0])
    elif way == "submission":
        spec = importlib.util.spec_from_file_location("submission", out)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        logits = module.build_model()[0](tokens)
    else:
        from transformers import AutoModelForCausalLM
        loaded = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)
        logits = loaded(tokens).logits[..., model.outputs]
print(json.dumps(logits.tolist()))
"""


def in_a_process(way: str) -> Callable[[Transformer, torch.Tensor], torch.Tensor]:
    """What traces the model cannot trace the checks of shapes that the tests add."""

    def run(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            save(model, construct("add_any", digits=1).task, folder, name="x", options={})
            done = subprocess.run(
                [sys.executable, "-c", EXPORTED, way, folder],
                input=json.dumps(tokens.tolist()),
                capture_output=True,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": f"{place}/modules"},
                check=False,
            )
        assert done.returncode == 0, done.stderr[-2000:]
        return torch.tensor(json.loads(done.stdout.splitlines()[-1]), dtype=torch.float64)

    return run


def having(*packages: str) -> pytest.MarkDecorator:
    """Skip where one of these is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


SLOW, ONNX = pytest.mark.slow, having("onnx", "onnxscript", "onnxruntime")
PROGRAMS = [
    pytest.param(eager, id="torch eager"),
    pytest.param(one_at_a_time, id="torch eager, one text at a time"),
    pytest.param(cached, id="torch eager, cached"),
    pytest.param(prepared, id="batched decoder"),
    pytest.param(explorer_page, id="explorer page", marks=needs_node),
    pytest.param(in_a_process("submission"), id="submission"),
    pytest.param(in_a_process("torch"), id="torch.export", marks=SLOW),
    pytest.param(in_a_process("compiled"), id="torch.compile", marks=SLOW),
    pytest.param(in_a_process("onnx"), id="ONNX", marks=[ONNX, SLOW]),
    pytest.param(in_a_process("hub"), id="hub class", marks=[having("transformers"), SLOW]),
]


def margins(logits: torch.Tensor, model: Transformer, tokens: torch.Tensor, start: int):
    """Of every answer token: the logit of the right one less the largest of the others."""
    right = torch.tensor([model.config.outputs.index(t) for t in tokens[:, start:].flatten()])
    rows = logits[:, start - 1 : -1].reshape(len(right), -1).clone()
    mine = rows.gather(1, right[:, None])[:, 0]
    rows.scatter_(1, right[:, None], -torch.inf)
    return mine - rows.amax(1)


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A model with every kind of sublayer, its task, the margin that the checker proved."""
    made = construct("add_any", digits=1)
    model, folder = build(made.program), tmp_path_factory.mktemp("proved") / "model"
    save(model, made.task, folder, name="add_any", options={"digits": 1}, program=made.program)
    verdict = certify(model, made.task, folder).verdict
    assert isinstance(verdict, Proved)
    return model, made.task, verdict.margin


@torch.no_grad()
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_keeps_the_margin_that_is_proved_on_every_problem(adder, program):
    model, task, proved = adder
    problems = [(a, b) for a in range(10) for b in range(10)]
    tokens = texts(task, problems)
    start = len(task.prompt(problems[0]))
    found = margins(program(model, tokens), model, tokens, start)
    assert proved <= found.min() <= 1.01 * proved


# ---- the residual stream is one sum --------------------------------------------------------------


def large_and_back(plain: Transformer) -> Transformer:
    """`plain`, and behind it 2^48, 64 units of 1/64 and -(2^48 + 1) added to the column it reads.

    The units come to 1 if they are summed first; one by one each is lost beside 2^48.
    """
    added = ([2.0**48], [2.0**-6] * 64, [-(2.0**48) - 1])
    blocks = tuple(BlockConfig(hidden=len(units)) for units in added)
    model = Transformer(replace(plain.config, blocks=plain.config.blocks + blocks))
    model.load_state_dict(plain.state_dict(), strict=False)
    names = [lane for lane, width in plain.config.lanes for _ in range(width)]
    with torch.no_grad():
        for units, block in zip(added, model.blocks[-3:], strict=True):
            block.mlp.gate_bias.fill_(1.0)
            block.mlp.up_bias.fill_(1.0)
            block.mlp.down[names.index("column")] = torch.tensor(units, dtype=torch.float64)
    return model.eval()


@needs_node
@torch.no_grad()
def test_an_adder_that_torch_runs_right_and_the_page_runs_wrong_is_unknown(adder, tmp_path):
    plain, task, _ = adder
    model = large_and_back(plain)
    problems = [(a, b) for a in range(10) for b in range(10)]
    tokens, start = texts(task, problems), len(task.prompt((0, 0)))

    def wrong(program) -> int:
        found = margins(program(model, tokens), model, tokens, start) <= 0
        return int(found.reshape(len(problems), -1).any(1).sum())

    assert wrong(eager) == wrong(cached) == wrong(prepared) == 0
    assert wrong(explorer_page) == 99
    save(model, task, tmp_path / "model", name="lean", options={})
    verdict = certify(model, task, tmp_path / "model").verdict  # text by text, here
    assert isinstance(verdict, Unknown) and "may not have the largest logit" in verdict.reason
    verdict = prove(model, task, most_texts=0).verdict  # by branches
    assert isinstance(verdict, Unknown) and "the margin is bounded below by" in verdict.reason
