"""Every export computes what the model computes: ONNX by decision, torch.export bit for bit, a
submission by itself.
"""

import importlib.util
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tinyadder.cli import main
from tinyadder.construction import construct
from tinyadder.errors import MissingExtra, TinyadderError
from tinyadder.escape import markdown
from tinyadder.io.export import FORMATS, ExportSource, write
from tinyadder.io.export.hub import card
from tinyadder.io.folder import load, save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.report.results import result, write_result
from tinyadder.verify.certify.check import check
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.count import ladder
from tinyadder.verify.verdict import Proved

ROOT = Path(__file__).parents[1]
ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def texts(made, count=60):
    problems = made.task.hard()
    problems = problems[:: max(1, len(problems) // count)][:count]
    return torch.from_numpy(
        made.task.encode([[*made.task.prompt(p), *made.task.answer(p)] for p in problems])
    )


def source(name, **options):
    made = construct(name, **options)
    return ExportSource(
        model=build(made.program),
        task=made.task,
        name=name,
        program=made.program,
        ladder=[("nonzero", made.program.nonzero, "weights other than 0")],
    )


def run(*arguments, folder):
    """`tinyadder export` in `folder`, in this process: importing torch again for each would take
    most of the time.
    """
    out, error = io.StringIO(), io.StringIO()
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(error),
        pytest.raises(SystemExit) as done,
    ):
        main(["export", *arguments])
    return SimpleNamespace(
        returncode=done.value.code, stdout=out.getvalue(), stderr=error.getvalue()
    )


TINY = ROOT / "baselines/addition10-tiny/seed-1/model"
ALONE = {
    "add10_95": ("add10_95", "--digits", "4", "--to", "torch", "--out", "add10_95.pt2"),
    "add10_smallest": ("add10_smallest", "--digits", "4", "--to", "torch", "--out", "least.pt2"),
    "tiny": (str(TINY), "--to", "torch", "--out", "tiny.pt2"),
    "gist": ("add10_gist", "--to", "onnx", "--out", "gist.onnx"),
    "lanes": ("add10", "--to", "onnx", "--out", "lanes.onnx", "--intermediate"),
}
PROGRAM = """
import contextlib, io, json, sys
from tinyadder.cli import main
done = {}
for name, arguments in json.load(sys.stdin).items():
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main(["export", *arguments])
        except SystemExit as left:
            done[name] = [left.code, out.getvalue(), error.getvalue()]
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The file of each of these exports, from a process of its own: the exporter of torch cannot
    trace the checks of shapes that the tests add. One process for all, since torch's exporters
    take longer to import than to run.
    """
    folder = tmp_path_factory.mktemp("alone")
    asked = {name: a for name, a in ALONE.items() if ONNX or "onnx" not in a}
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(
        command, cwd=folder, input=json.dumps(asked), capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    done = json.loads(run.stdout)

    def exported(name):
        file = ALONE[name][ALONE[name].index("--out") + 1]
        assert done[name] == [0, f"wrote {file}\n", ""]
        return folder / file

    return exported


@pytest.mark.parametrize("name", ["add10_95", "add10_smallest"])
def test_torch_export_is_bit_equal_at_any_batch_and_length(name, alone):
    made = construct(name, digits=4)
    model = build(made.program)
    again = torch.export.load(alone(name)).module()
    tokens = texts(made)
    with torch.no_grad():
        for part in (tokens, tokens[:1], tokens[:2], tokens[:7, :9], tokens[:1, :2]):
            assert torch.equal(again(part), model(part))


def test_a_trained_model_with_rotary_positions_is_exported_bit_for_bit(alone):
    model, described = load(TINY)
    assert model.config.options.positions == "rotary"
    again = torch.export.load(alone("tiny")).module()
    tokens = texts(described)
    with torch.no_grad():
        for part in (tokens, tokens[:1]):
            assert torch.equal(again(part), model(part))


def onnx_session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.skipif(not ONNX, reason="needs the extra: pip install 'tinyadder[onnx]'")
def test_onnx_decides_as_torch_and_says_how_to_ask_and_decode(alone):
    made = construct("add10_gist")
    model = build(made.program)
    session = onnx_session(alone("gist"))
    assert session.get_outputs()[0].type == "tensor(double)"
    tokens = texts(made)
    (found,) = session.run(None, {"tokens": tokens.numpy()})
    (single,) = session.run(None, {"tokens": tokens[:1].numpy()})
    assert np.array_equal(single[0, -12:].argmax(-1), found[0, -12:].argmax(-1))
    with torch.no_grad():
        expected = model(tokens).numpy()
    start = tokens.shape[1] - made.task.answer_length - 1
    assert np.array_equal(found[:, start:].argmax(-1), expected[:, start:].argmax(-1))

    # A program that knows nothing but the file: vocabulary, prompt and rule are in its metadata.
    kept = session.get_modelmeta().custom_metadata_map
    said = {key.removeprefix("tinyadder."): json.loads(kept[key]) for key in kept}
    assert said["task"]["name"] == "addition" and said["name"] == "add10_gist"
    assert "argmax" in said["decoding"] and ["low", 5] in said["lanes"]
    for problem, prompt, answer in said["examples"][:3]:
        ids = [said["vocabulary"].index(token) for token in prompt]
        for _ in range(said["answer_length"]):
            (logits,) = session.run(None, {"tokens": np.array([ids])})
            ids.append(said["outputs"][int(logits[0, -1].argmax())])
        emitted = "".join(said["vocabulary"][token] for token in ids[len(prompt) :])
        assert [emitted] == answers(model, made.task, [made.task.parse(problem)])
        assert int(answer) == sum(map(int, problem.split("+")))


@pytest.mark.skipif(not ONNX, reason="needs the extra: pip install 'tinyadder[onnx]'")
def test_onnx_gives_lanes_and_patterns_where_they_are_asked_for(alone):
    made = construct("add10")
    model, tokens = build(made.program), texts(made, 5)
    session = onnx_session(alone("lanes"))
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"tokens": tokens.numpy()}), strict=True))
    kept = {}
    with torch.no_grad():
        model(tokens, hook=lambda name, value: kept.setdefault(name, value))
    for layer in (0, 1):
        pattern = kept[f"blocks.{layer}.attn.hook_pattern"].numpy()
        np.testing.assert_allclose(
            found[f"blocks.{layer}.attn.hook_pattern"], pattern, rtol=1e-9, atol=1e-12
        )
        lanes = [found[f"blocks.{layer}.lane.{name}"] for name, _ in model.config.lanes]
        stream = kept[f"blocks.{layer}.hook_resid_post"].numpy()
        np.testing.assert_allclose(np.concatenate(lanes, -1), stream, rtol=1e-9, atol=1e-9)
    assert np.array_equal(found["logits"][:, -12:].argmax(-1), model(tokens)[:, -12:].argmax(-1))


def test_a_missing_extra_names_the_install_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"ONNX export needs: pip install 'tinyadder\[onnx\]'"):
        write("onnx", source("add10"), tmp_path / "m.onnx")
    assert MissingExtra.exit_code == 3 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["add10_95", "add10_smallest"])
def test_a_submission_runs_alone_in_an_empty_folder_and_is_honest(name, tmp_path):
    done = run(name, "--to", "submission", "--out", "s.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "by the public board's rule" in done.stdout and "nonzero + positional" in done.stdout
    script = (
        "import json, sys, s; model, meta = s.build_model();nonzero = sum(int(p.count_nonzero())"
        " for p in model.parameters());print(json.dumps([meta['params'], nonzero, s.add(model,"
        " 4999999999, 0), s.add(model, 9999999999, 1), s.generate(model,"
        " '^9999999999+0000000001=0', 3), 'tinyadder' in sys.modules]))"
    )
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {script}"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    params, nonzero, one, two, forced, leaked = json.loads(found.stdout)
    assert params == nonzero == ladder(build(construct(name).program))["board"]
    assert (one, two, leaked) == (4999999999, 10000000000, False)
    # after a wrong first digit the model goes on from there: it reads its own answer
    assert forced != "000"
    source = (tmp_path / "s.py").read_text()
    assert "nonzero + positional" in source and "import tinyadder" not in source


def test_the_submission_of_the_published_adder_keeps_its_mistake(tmp_path):
    assert run("add10_gist", "--to", "submission", "--out", "s.py", folder=tmp_path).returncode == 0
    spec = importlib.util.spec_from_file_location("submission_of_gist", tmp_path / "s.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, _ = module.build_model()
    assert module.add(model, 4999999999, 0) == 5000000000
    assert module.add(model, 123, 456) == 579


def test_a_submission_takes_no_operands_that_the_model_does_not_add(tmp_path):
    write("submission", source("add10", digits=3), tmp_path / "s.py")
    module = runpy.run_path(str(tmp_path / "s.py"))
    model, _ = module["build_model"]()
    assert module["add"](model, np.int64(999), 1) == 1000
    for pair in [(1000, 1), (-1, 1), (0, 10**10)]:
        with pytest.raises(ValueError, match="whole numbers of at most 3 digits"):
            module["add"](model, *pair)


HOSTILE = [
    'x"+str(__import__("os").mkdir("owned"))+"y',
    "a'b\"c",
    '"""',
    "{{ 7*7 }}",
    "\\",
    "</script>",
]
HOSTILE += ["a\n# b", "\x1b[2J", "\u202e", "${HOME}", "`id`", "../../escaped", "/absolute", "-rf"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_strings_of_a_stranger_are_strings_in_a_submission(hostile, tmp_path):
    """The name is checked on loading; were it not, it would still not become code."""
    given = replace(source("add10", digits=2), name=hostile, about=f"{hostile} {hostile}")
    write("submission", given, tmp_path / "s.py")
    with chdir(tmp_path):
        module = runpy.run_path(str(tmp_path / "s.py"))
        model, metadata = module["build_model"]()
    assert metadata["name"] == hostile and f"{hostile} {hostile}" in module["ABOUT"]
    assert module["add"](model, 12, 34) == 46 and os.listdir(tmp_path) == ["s.py"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_export_of_a_strangers_folder_writes_elsewhere_or_runs_code(kind, hostile, tmp_path):
    given = source("add10", digits=2)
    folder = tmp_path / "a" / "b" / "m"
    save(given.model, given.task, folder, name="fine", options={}, program=given.program)
    description = folder / "model.json"
    data = json.loads(description.read_text())
    description.write_text(json.dumps({**data, "name": hostile}))
    before = sorted(tmp_path.rglob("*"))
    done = run(str(folder), "--to", kind, "--force", folder=tmp_path / "a" / "b")
    assert done.returncode == 2 and "is no name of a model" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("hostile", HOSTILE)
def test_strings_of_a_stranger_are_text_in_a_card(hostile):
    lines = card(replace(source("add10", digits=2), about=hostile)).splitlines()
    assert lines[lines.index("# add10") + 2] == markdown(hostile)


def test_only_decimal_addition_of_two_numbers_is_a_submission(tmp_path):
    with pytest.raises(TinyadderError, match="two decimal numbers; compare does task 'comparison'"):
        write("submission", source("compare"), tmp_path / "s.py")


# ---- hub folders ---------------------------------------------------------------------------------


def test_a_hub_folder_is_a_model_folder_with_a_card(tmp_path):
    done = run("add10", "--digits", "4", "--to", "hub", "--out", "hub", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    readme = (tmp_path / "hub" / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: transformers") and "| nonzero | 40 |" in readme
    model, described = load(tmp_path / "hub")
    assert answers(model, described.task, [(9999, 1)]) == ["10000"]
    assert described.options == {"digits": 4} and described.program is not None
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["model_type"] == "tinyadder"


def test_a_hub_folder_replaces_its_own_files_and_no_others(tmp_path):
    assert (
        run("add10", "--digits", "4", "--to", "hub", "--out", "hub", folder=tmp_path).stderr == ""
    )
    (tmp_path / "hub" / ".git").mkdir()
    (tmp_path / "hub" / ".git" / "HEAD").write_text("mine")
    (tmp_path / "hub" / "notes.txt").write_text("mine")
    again = ("add10", "--digits", "5", "--to", "hub", "--out")
    assert "already holds a model; give --force" in run(*again, "hub", folder=tmp_path).stderr
    assert run(*again, "hub", "--force", folder=tmp_path).returncode == 0
    assert load(tmp_path / "hub")[1].options == {"digits": 5}
    assert run(*again, ".", "--force", folder=tmp_path / "hub").returncode == 0
    assert (tmp_path / "hub" / ".git" / "HEAD").read_text() == "mine"
    assert (tmp_path / "hub" / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = run("add10", "--to", "hub", "--out", ".", "--force", folder=tmp_path)
    assert done.returncode == 2 and "holds something else than a model" in done.stderr
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """The folder of a small adder with its certificate."""
    made, folder = construct("add10", digits=2), tmp_path_factory.mktemp("proved") / "model"
    model = build(made.program)
    save(model, made.task, folder, name="add10", options={"digits": 2}, program=made.program)
    assert isinstance(certify(model, made.task, folder).verdict, Proved)
    return folder


def test_the_card_says_proved_because_the_checker_does_and_the_certificate_comes_along(
    proved, tmp_path
):
    assert run(str(proved), "--to", "hub", "--out", "hub", folder=tmp_path).returncode == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "- **proved**: all 10,000 problems of addition" in card
    assert check(tmp_path / "hub")["problems"] == 10_000  # from the exported files alone


def test_weights_with_permuted_outputs_get_no_card_that_says_proved(proved, tmp_path):
    """The same weights and certificate; only the config says which logit is which token."""
    model, described = load(proved)
    swapped = Transformer(replace(model.config, outputs=(1, 0, *model.config.outputs[2:])))
    swapped.load_state_dict(model.state_dict())
    save(swapped, described.task, tmp_path / "model", name="add10", options={})
    shutil.copy(proved / "certificate.json", tmp_path / "model")
    assert run("model", "--to", "hub", "--out", "hub", folder=tmp_path).returncode == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert (
        "proved**" not in card and "**unknown** whether right on all: the checker rejects" in card
    )
    assert not (tmp_path / "hub" / "certificate.json").exists()


def test_results_of_the_current_directory_are_not_on_the_card(proved, tmp_path):
    made = construct("add10", digits=2)
    data = {
        "verdict": {"verdict": "proved", "domain": "everything", "certificate": None, "margin": 1}
    }
    found = result(build(made.program), made.task, "add10", "proved", data, command="a forger")
    write_result(found, tmp_path / "results")
    assert (
        run("add10", "-o", "digits=2", "--to", "hub", "--out", "card", folder=tmp_path).returncode
        == 0
    )
    card = (tmp_path / "card" / "README.md").read_text()
    assert "everything" not in card and "- none: no certificate lay beside the model" in card


TRANSFORMERS = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="needs the extra: pip install 'tinyadder[hub]'",
)


@TRANSFORMERS
@pytest.mark.parametrize("name", ["add10_95", "modular_add", "addition10-tiny", "real-product"])
def test_a_hub_folder_loads_with_the_classes_of_transformers(name, tmp_path, monkeypatch):
    """Shared numbers, tokens of several characters, trained models: logits equal in every bit."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained = ROOT / "baselines" / name / "seed-1" / "model"
    done = run(str(trained) if "-" in name else name, "--to", "hub", "--out", "h", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    mine, described = load(tmp_path / "h")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "h", trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "h", trust_remote_code=True)
    assert model.dtype == mine.embedding.dtype
    gap = "" if all(len(token) == 1 for token in described.task.vocabulary) else " "
    for problem in described.task.hard()[:3]:
        prompt = list(described.task.prompt(problem))
        asked = tokenizer(gap.join(prompt), return_tensors="pt")
        assert asked.input_ids.tolist() == described.task.encode([prompt]).tolist()
        with torch.no_grad():
            logits = model(**asked).logits
            assert torch.equal(logits[..., mine.outputs], mine(asked.input_ids))
        text = tokenizer.decode(model.generate(**asked)[0])
        (emitted,) = answers(mine, described.task, [problem])
        assert text == gap.join([*prompt, *emitted])
    with pytest.raises(ValueError, match="knows no padding"):
        model(asked.input_ids, attention_mask=torch.zeros_like(asked.input_ids))
    with pytest.raises(Exception, match="WordLevel error"):
        tokenizer("?")


@TRANSFORMERS
def test_a_hub_folder_with_other_weights_is_refused_and_one_trained_on_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    def from_folder(folder, **settings):
        return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **settings)

    assert run("add10", "--to", "hub", "--out", "h", folder=tmp_path).returncode == 0
    model = from_folder(tmp_path / "h")
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    model.save_pretrained(tmp_path / "trained")
    again = from_folder(tmp_path / "trained")
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    weights = load_file(tmp_path / "h/model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.count_nonzero())
    weights[name] = weights[name] * 2
    save_file(weights, tmp_path / "h/model.safetensors", metadata={"format": "pt"})
    for settings in ({}, {"output_loading_info": True}):
        with pytest.raises(ValueError, match=r"are not those that its config\.json names"):
            from_folder(tmp_path / "h", **settings)


def test_an_encoder_decoder_is_refused_and_not_exported_without_its_encoder(tmp_path):
    folder = ROOT / "baselines/gcd-encoder-decoder/seed-1/model"
    done = run(str(folder), "--to", "json", "--out", "x.json", folder=tmp_path)
    assert done.returncode == 2 and "only decoders are exported" in done.stderr
    model, described = load(folder)
    with pytest.raises(TinyadderError, match="EncoderDecoder cannot be shown"):
        write("json", ExportSource(model=model, task=described.task, name="x"), tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["submission", "llama", "gpt2"])
def test_a_format_for_programs_names_the_options_of_a_model_that_it_refuses(kind, tmp_path, capsys):
    forty = str(ROOT / "baselines" / "addition10-forty" / "seed-1" / "model")
    with pytest.raises(SystemExit, match="2"):
        main(["export", forty, "--to", kind, "--out", str(tmp_path / "x")])
    line = capsys.readouterr().err
    for option in ("embedding='circle'", "positions='waves'", "gains=False"):
        assert option in line
    assert line.count("\n") == 1 and not list(tmp_path.iterdir())


def test_json_holds_every_number(tmp_path):
    assert run("add10", "--to", "json", folder=tmp_path).returncode == 0
    data = json.loads((tmp_path / "add10.json").read_text())
    assert [lane for lane, _ in data["lanes"]] == ["digit", "flag", "weight", "product", "rest"]


def test_nothing_is_overwritten_and_refusals_are_one_line(tmp_path):
    (tmp_path / "add10.json").write_text("mine")
    for arguments, text in [
        (("add10", "--to", "json"), "add10.json exists; give --force"),
        (("add10", "--to", "json", "--out", "no/such/x.json"), "there is no folder"),
        (("compare", "--to", "submission"), "adds two decimal numbers"),
        (("add10", "--to", "json", "--out", "x", "--intermediate"), "belongs to --to onnx"),
        (("add10", "--to", "tensorflow"), "'tensorflow' is not one of"),
    ]:
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr, (
            done.stderr
        )
    assert (tmp_path / "add10.json").read_text() == "mine"
