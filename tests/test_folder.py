"""A model folder gives back every bit, and whatever is not a sound model folder is refused with one
line.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import describe, load, save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.tensors import tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition


def saved(folder, name="add10_95", **options):
    construction = construct(name, **options)
    model = build(construction.program)
    save(model, construction.task, folder, name=name, options=options, program=construction.program)
    return model


@pytest.fixture
def folder(tmp_path):
    saved(tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Change the tensors of a folder and renew the hash, as somebody would who means it."""
    file = folder / "model.safetensors"
    tensors = change(from_bytes(file.read_bytes()))
    file.write_bytes(to_bytes(tensors, metadata={"format": "pt"}))
    describe_again(
        folder,
        lambda data: data["weights"].update(sha256=hashlib.sha256(file.read_bytes()).hexdigest()),
    )


def describe_again(folder, change):
    file = folder / "model.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


# ---- round trip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", construction_names())
def test_every_construction_comes_back_bit_for_bit(name, tmp_path):
    model = saved(tmp_path / "model", name)
    again, described = load(tmp_path / "model")
    before, after = tensors_of(model), tensors_of(again)
    assert before.keys() == after.keys()
    for key in before:
        assert before[key].dtype == after[key].dtype
        assert before[key].detach().numpy().tobytes() == after[key].detach().numpy().tobytes()
    assert again.config == model.config
    assert str(described.program) == str(construct(name).program)
    assert described.task == construct(name).task


def test_a_shared_number_is_one_parameter_again(folder):
    model, _ = load(folder)
    shared = [name for name, _ in model.named_parameters() if name.endswith("shared")]
    assert shared == ["shared"] and model.shared.shape == (1,)
    down = model.blocks[1].mlp
    with torch.no_grad():
        model.shared.fill_(7.0)
    assert int((down.up_bias == 7).sum()) == 20


def test_negative_zero_and_the_smallest_number_survive(tmp_path):
    config = Config(vocabulary=Addition().vocabulary, width=2, blocks=(), outputs=(0,))
    model = Transformer(config)
    with torch.no_grad():
        model.embedding[0] = torch.tensor([-0.0, 5e-324], dtype=torch.float64)
    save(model, Addition(), tmp_path / "m", name="odd", options={})
    again, described = load(tmp_path / "m")
    assert str(again.embedding[0].tolist()) == "[-0.0, 5e-324]"
    assert described.program is None


def test_a_float32_model_stays_float32(tmp_path):
    block = BlockConfig(heads=1, hidden=2)
    model = Transformer(
        Config(vocabulary=Addition().vocabulary, width=3, blocks=(block,), outputs=(0, 1)),
        torch.float32,
    )
    save(model, Addition(), tmp_path / "m", name="learned", options={})
    again, described = load(tmp_path / "m")
    assert described.dtype == "float32" and again.embedding.dtype == torch.float32


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        saved(tmp_path / name)
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_loaded_model_answers_as_the_built_one(tmp_path):
    model = saved(tmp_path / "m", "add10_gist")
    again, described = load(tmp_path / "m")
    pairs = [(4999999999, 0), (123, 456), (9999999999, 9999999999)]
    assert answers(again, described.task, pairs) == answers(model, described.task, pairs)
    assert answers(again, described.task, pairs)[0] == "05000000000"


def test_a_folder_loads_where_no_constructions_are_installed(folder):
    code = (
        "import sys; sys.modules['constructions'] = None\n"
        "from tinyadder.io.folder import load\nfrom tinyadder.machine.answers import answers\n"
        f"model, said = load({str(folder)!r})\nprint(answers(model, said.task, [(123, 456)]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "['00000000579']", run.stderr


# ---- writing -------------------------------------------------------------------------------------


def test_an_existing_model_is_kept_unless_forced(folder):
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(TinyadderError, match="already holds a model; give --force"):
        saved(folder, "add10")
    assert (folder / "model.safetensors").read_bytes() == before
    construction = construct("add10")
    model = build(construction.program)
    save(
        model,
        construction.task,
        folder,
        name="add10",
        options={},
        program=construction.program,
        force=True,
    )
    assert load(folder)[1].name == "add10"


def test_forcing_keeps_the_other_files_of_the_folder(folder):
    (folder / "notes.txt").write_text("mine")
    construction = construct("add10")
    save(
        build(construction.program), construction.task, folder, name="add10", options={}, force=True
    )
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "photo.jpg").write_text("")
    construction = construct("add10")
    with pytest.raises(TinyadderError, match="holds something else than a model"):
        save(
            build(construction.program),
            construction.task,
            tmp_path,
            name="add10",
            options={},
            force=True,
        )
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "m").write_text("")
    with pytest.raises(TinyadderError, match="is a file, not a folder"):
        saved(tmp_path / "m")


def test_a_place_that_cannot_be_written_is_refused():
    with pytest.raises(TinyadderError, match=r"cannot write .*; choose another --out"):
        saved("/proc/nothing/here")


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinyadder.io.files.os.rename", fail)
    with pytest.raises(TinyadderError, match="No space left on device"):
        saved(tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("a fault of ours")], ids=str
)
def test_what_is_written_beside_replaces_the_file_only_when_all_of_it_is_there(tmp_path, error):
    path = tmp_path / "new" / "results.json"
    with atomic_write(path) as part:
        part.write_text("first")
        assert not path.exists() and part.suffix == ".json"
    said = "cannot write .*results.json: No space left on device; choose another --out"
    with (
        pytest.raises(ValueError, match=said if isinstance(error, OSError) else "a fault of ours"),
        atomic_write(path) as part,
    ):
        part.write_text("half of the sec")
        raise error
    assert path.read_text() == "first" and os.listdir(path.parent) == ["results.json"]


def test_a_model_with_nan_is_not_written(tmp_path):
    construction = construct("add10")
    model = build(construction.program)
    with torch.no_grad():
        model.embedding[0, 0] = torch.nan
    with pytest.raises(TinyadderError, match="'embedding' holds NaN"):
        save(model, construction.task, tmp_path / "m", name="add10", options={})
    assert os.listdir(tmp_path) == []


# ---- reading what is damaged or foreign ----------------------------------------------------------


def first(tensors):
    return sorted(tensors)[0]


def with_nan(tensors):
    tensors[first(tensors)].view(-1)[0] = float("nan")
    return tensors


def another_weight(tensors):
    tensors["embedding"][1, 2] = 11.0
    return tensors


TENSORS = {
    "wrong shape": (
        lambda t: {**t, "embedding": t["embedding"][:, :-1].clone()},
        "'embedding' has shape",
    ),
    "missing": (
        lambda t: {k: v for k, v in t.items() if k != "embedding"},
        "lacks tensor 'embedding'",
    ),
    "extra": (
        lambda t: {**t, "more": torch.zeros(2)},
        "a tensor 'more' that this model does not have",
    ),
    "dtype": (
        lambda t: {**t, "embedding": t["embedding"].float()},
        "'embedding' is float32, expected float64",
    ),
    "nan": (with_nan, "holds NaN or infinity"),
    "not the equations": (
        another_weight,
        "'embedding' is not what the equations in model.json give",
    ),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_tensors_that_do_not_fit_are_refused(fault, folder):
    change, said = TENSORS[fault]
    rewrite(folder, change)
    with pytest.raises(TinyadderError, match=said):
        load(folder)


def test_a_truncated_file_is_refused_at_every_length(folder):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    for length in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(
            TinyadderError, match=r"model\.safetensors is not a sound safetensors file"
        ):
            load(folder)


def test_one_flipped_bit_is_refused(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        TinyadderError, match=r"is not the file that model\.json describes: sha256 .*; build"
    ):
        load(folder)


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(TinyadderError, match=r"cannot read .*No such file"):
        load(folder)


DESCRIPTIONS = {
    "format": (lambda d: d.update(format="cake"), "is not the description of a tinyadder model"),
    "version": (lambda d: d.update(version=99), "has version 99, this tinyadder reads version 1"),
    "no version": (lambda d: d.pop("version"), "has version None"),
    "no config": (lambda d: d.pop("config"), "model.json lacks one of config"),
    "config of a list": (lambda d: d.update(config=[]), "model.json: config=\\[\\], expected"),
    "unknown config": (lambda d: d["config"].update(magic=1), "is damaged: config: .*magic"),
    "width of text": (lambda d: d["config"].update(width="wide"), "is damaged: config"),
    "output outside": (
        lambda d: d["config"].update(outputs=[99]),
        "an output token outside the vocabulary",
    ),
    "tie outside": (lambda d: d["config"]["ties"][0].__setitem__(1, 10**6), "is damaged: ties: "),
    "tie to nothing": (
        lambda d: d["config"]["ties"][0].__setitem__(0, "blocks.9.no"),
        "is damaged: config",
    ),
    "huge": (
        lambda d: d["config"].update(width=10**12),
        "width=1000000000000, expected an integer 1 .. 8192",
    ),
    "large": (lambda d: d["config"].update(width=8192), "has shape"),
    "task": (lambda d: d["task"].update(name="chess"), "unknown task 'chess'"),
    "task options": (lambda d: d["task"]["options"].update(digits=0), "digits=0, expected"),
    "another task": (
        lambda d: d["task"]["options"].update(base=7),
        "vocabulary is not that of its task",
    ),
    "dtype": (
        lambda d: d.update(dtype="float8"),
        "model.json: dtype='float8', expected 'float64', 'float32' or 'bfloat16'",
    ),
    "program version": (
        lambda d: d["program"].update(version=7),
        "a program of version 1 is expected",
    ),
    "program": (lambda d: d["program"].pop("embed"), "the program data is damaged"),
    "program number": (lambda d: d["program"]["shared"].__setitem__(0, float("nan")), "finite"),
    "hash": (
        lambda d: d.update(weights=3),
        "model.json: weights is 3, expected an object with file, sha256",
    ),
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_descriptions_that_are_damaged_are_refused(fault, folder):
    change, said = DESCRIPTIONS[fault]
    describe_again(folder, change)
    with pytest.raises(TinyadderError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_description_that_is_no_json_object_is_refused(content, folder):
    (folder / "model.json").write_bytes(content)
    with pytest.raises(TinyadderError, match=r"model\.json is (damaged|not the description)"):
        describe(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_only_regular_files_of_the_folder_itself_are_read(name, folder, tmp_path):
    """A pipe would wait for ever, /dev/zero never ends, a link may lead to what is private."""
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(TinyadderError, match=r"it is a pipe|has no model\.json"):
        load(folder)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(TinyadderError, match=r"out of its folder|has no model\.json"):
        load(folder)
    file.unlink()
    file.mkdir()
    with pytest.raises(TinyadderError, match=r"it is a folder|has no model\.json"):
        load(folder)
    file.rmdir()
    (tmp_path / "elsewhere").write_bytes(content)
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TinyadderError, match="is a link out of its folder"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "limit"), [("model.json", "MOST_DESCRIPTION"), ("model.safetensors", "MOST_WEIGHTS")]
)
def test_longer_files_than_any_model_has_are_not_read(name, limit, folder, monkeypatch):
    monkeypatch.setattr(f"tinyadder.io.folder.{limit}", (folder / name).stat().st_size - 1)
    with pytest.raises(TinyadderError, match=rf"{name} is longer than .* bytes"):
        load(folder)


def test_short_equations_of_a_large_machine_are_refused(folder, monkeypatch):
    monkeypatch.setattr("tinyadder.machine.compile.MOST", 100)
    with pytest.raises(TinyadderError, match="a program of more than 100 dense weights"):
        load(folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(TinyadderError, match="is not a folder"):
        load(tmp_path / "nothing")
    with pytest.raises(TinyadderError, match=r"is not a model folder: it has no model\.json"):
        load(tmp_path)
