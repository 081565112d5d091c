"""The command line as people meet it: results on stdout, one line for a mistake, exit codes, torch
only when needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from unittest import mock

import click
import pytest
import torch

from tinyadder.cli import cli, main
from tinyadder.construction import construction_names
from tinyadder.io.folder import save
from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition


def process(*arguments, cwd=None, module="tinyadder"):
    """Run the command in a process of its own, as a person does."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def tinyadder(*arguments, cwd=None, stdin=""):
    """Run the command in this process, which has paid for torch already."""
    out, said = io.StringIO(), io.StringIO()
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    with (
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
        mock.patch(
            "sys.stdin",
            io.TextIOWrapper(io.BytesIO(given)),
        ),
        pytest.raises(SystemExit) as left,
    ):
        main(list(arguments))
    return subprocess.CompletedProcess(arguments, left.value.code, out.getvalue(), said.getvalue())


def refused(run):
    """The one line that a mistake is answered with."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == "" and "Traceback" not in run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with add10 for two digits in out/add10, as the build command leaves it, and what it
    printed.
    """
    folder = tmp_path_factory.mktemp("built")
    run = process("add10", "--digits", "2", cwd=folder, module="tinyadder.build")
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


# ---- light ---------------------------------------------------------------------------------------

HEAVY = """
import sys
from tinyadder.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = ("torch", "matplotlib", "hypothesis", "flint", "scipy")
print("HEAVY", [module for module in heavy if module in sys.modules])
"""
"""Runs the command and prints what it imported that takes long."""


@pytest.mark.parametrize(
    "arguments",
    ["--help", "list", "show add10", "run add10 --help", "show ad10", "sho", "build add10 --x"],
)
def test_help_list_show_and_mistakes_need_neither_torch_nor_hypothesis(arguments):
    run = subprocess.run(
        [sys.executable, "-c", HEAVY, *arguments.split()], capture_output=True, text=True
    )
    assert run.stdout.splitlines()[-1] == "HEAVY []", run.stdout + run.stderr


# ---- verbs ---------------------------------------------------------------------------------------


def test_help_names_every_verb_with_its_summary():
    run = tinyadder("--help")
    for verb in ("build", "count", "list", "run", "show", "trace", "verify"):
        assert f"\n  {verb} " in run.stdout
    assert run.returncode == 0


def test_every_verb_has_help_and_json():
    context = click.Context(cli)
    for verb in cli.list_commands(context):
        command = cli.get_command(context, verb)
        assert command.help, verb
        options = {option for parameter in command.params for option in parameter.opts}
        assert verb == "chat" or "--json" in options, verb


def test_no_arguments_show_the_help():
    run = process()
    assert run.returncode == 2 and "Commands:" in run.stdout + run.stderr


def test_list_has_a_line_for_every_construction():
    run = tinyadder("list")
    lines = {line.split()[0]: line.split() for line in run.stdout.splitlines()[2:]}
    assert list(lines) == construction_names()
    assert lines["add10"][1:5] == ["addition", "40", "41", "2"]
    assert not any(line.endswith(" ") for line in run.stdout.splitlines())


def test_list_as_json_has_the_counts_of_every_construction():
    rows = {row["name"]: row for row in json.loads(tinyadder("list", "--json").stdout)}
    assert rows["add10_95"]["nonzero"] == 95 and rows["add10_95"]["nonzero + positional"] == 96


def test_show_prices_every_line_and_explains_every_lane():
    out = tinyadder("show", "add10").stdout
    assert "    3  product += relu(digit) * weight\n" in out
    assert "flag     1 on '^' and '+', -10 on '='" in out
    data = json.loads(tinyadder("show", "add10", "--json").stdout)
    assert sum(line["price"] for line in data["equations"]) == data["nonzero"] == 40


def test_run_prints_the_answer_alone():
    run = process("run", "add10", "123", "456")
    assert (run.stdout, run.stderr, run.returncode) == ("579\n", "", 0)


def test_run_says_when_the_model_is_wrong():
    run = tinyadder("run", "add10_gist", "4999999999", "0")
    assert (run.stdout, run.returncode) == ("5000000000\n", 1)
    assert run.stderr == "wrong: 4999999999 + 0 = 4999999999, not 5000000000\n"


def test_run_reads_lines_and_goes_on_after_bad_ones():
    run = tinyadder(
        "run",
        "add10",
        "-",
        stdin="1 2\n\nfoo bar\r\n 3 + 4\n9999999999 9999999999\n1 2 3\n-1 2\n7 8",
    )
    assert run.stdout.splitlines() == ["3", "7", "19999999998", "15"]
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        "line 2: the problem is empty; give 2 numbers, e.g. '12 34'",
        "line 3: 'foo' is not a whole number in base 10; this model takes 0 .. 9999999999",
        "line 6: '1 2 3' has 3 numbers; this model adds 2, e.g. '12 34'",
        "line 7: '-1' is negative; this model takes 0 .. 9999999999",
        "4 of 8 lines could not be read",
    ]


def test_run_keeps_the_order_over_many_batches():
    pairs = [(i * 7919 % 10**10, i * 104729**2 % 10**10) for i in range(5000)]
    run = tinyadder("run", "add10", "-", stdin="".join(f"{a} {b}\n" for a, b in pairs))
    assert run.stdout.split() == [str(a + b) for a, b in pairs] and run.returncode == 0


def test_run_of_no_lines_prints_nothing():
    run = tinyadder("run", "add10", "-", stdin="")
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)


def test_run_as_json_has_one_object_a_line():
    run = tinyadder("run", "add10_gist", "-", "--json", stdin="1 2\nx\n4999999999 0\n")
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3]
    assert records[0]["answer"] == "3"
    assert "x" in records[1]["error"]
    assert records[2]["correct"] is False
    assert json.loads(tinyadder("run", "add10", "1", "2", "--json").stdout)["answer"] == "3"


def test_run_survives_a_reader_that_stops():
    add = f"{shlex.quote(sys.executable)} -m tinyadder run add10 -"
    command = f"seq 3000 | sed 's/$/ 1/' | {add} | head -n 1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert (run.stdout, run.stderr) == ("2\n", "")


def test_trace_shows_contributions_lanes_and_margin():
    run = tinyadder("trace", "add10", "123", "456", "--digit", "8")
    assert run.returncode == 0
    assert "answer 00000000579 = 579 (right)" in run.stdout
    assert "margin 2.05e-08: '5' over '6'" in run.stdout
    attended = [line.split() for line in run.stdout.splitlines() if line.split()[1:2] == ["'4'"]]
    assert attended == [["19", "'4'", "-40", "4.24835e-18", "9.41541e+09", "4e-08"]]
    data = json.loads(tinyadder("trace", "add10", "123", "456", "--digit", "8", "--json").stdout)
    assert data["chosen"] == "5" and data["sublayers"][2]["heads"][0]["lanes"] == ["rest"]


def test_count_agrees_with_the_equations_and_lists_every_number():
    data = json.loads(tinyadder("count", "add10_95", "--why", "--json").stdout)
    counts, weights = data["counts"], data["weights"]
    rungs = ("nonzero", "nonzero + positional", "with wiring")
    assert [counts[rung] for rung in rungs] == [95, 96, 118]
    listed = [weight["rung"] for weight in weights]
    assert [listed.count(rung) for rung in rungs] == [95, 1, 22]
    (shared,) = [weight for weight in weights if weight["tie"]]
    assert shared["value"] == 100
    assert shared["tie"].startswith("read at 20 places")
    out = tinyadder("count", "add10_95", "--why").stdout
    assert "layer 0, head 0 (-> place): key reads mark" in out


# ---- build and model folders ---------------------------------------------------------------------


def test_build_says_what_it_did(model):
    lines = {line.split()[0]: line for line in model[1].splitlines()}
    assert list(lines)[:3] == ["built", "counted", "verified"]
    assert {"wrote", "next"} <= set(lines)
    assert "add10 (digits=2) · 2 layers · 2 heads · 1 hidden unit" in lines["built"]
    assert "1 hidden unit · lanes digit flag weight product rest" in lines["built"]
    assert "nonzero 40 · nonzero + positional 41" in lines["counted"]
    assert "0 wrong" in lines["verified"]
    assert lines["proved"].startswith("proved    all 10,000 problems of addition (digits=2,")
    files = "certificate.json  model.json  model.safetensors"
    assert lines["wrote"] == f"wrote     out/add10/   {files}"


def test_a_folder_stands_wherever_a_name_does(model):
    folder, _ = model
    for arguments in ("run out/add10 12 34", "run ./out/add10 12 34"):
        assert tinyadder(*arguments.split(), cwd=folder).stdout == "46\n"
    shown = tinyadder("show", "out/add10", cwd=folder).stdout
    assert shown.startswith("out/add10   addition (digits=2,")
    counted = json.loads(tinyadder("count", "out/add10", "--json", cwd=folder).stdout)
    assert counted["counts"]["nonzero"] == 40
    traced = tinyadder("trace", "out/add10", "12", "34", cwd=folder).stdout
    assert "answer 046 = 46 (right)" in traced


def test_a_model_without_equations_runs_and_is_traced_but_cannot_be_shown(tmp_path):
    task = Addition(digits=2)
    sizes = Config(
        vocabulary=task.vocabulary,
        width=4,
        blocks=(BlockConfig(heads=1, hidden=3),),
        outputs=tuple(range(14)),
    )
    model = Transformer(sizes, torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    save(model, task, tmp_path / "learned", name="learned", options={})
    run = tinyadder("run", "./learned", "12", "34", cwd=tmp_path)
    assert (run.stdout, run.returncode) == ("0\n", 1)
    assert run.stderr.startswith("wrong: 12 + 34 = 46, not ")
    traced = tinyadder("trace", "./learned", "12", "34", "--digit", "1", cwd=tmp_path).stdout
    assert "stream  0.5 0.5 0.5 0.5  ->" in traced and "head 0 -> " in traced
    assert "nonzero" in tinyadder("count", "./learned", cwd=tmp_path).stdout
    said = refused(tinyadder("show", "./learned", cwd=tmp_path))
    reason = "learned has no equations, because it was trained"
    assert said == f"{reason}; tinyadder count ./learned counts them"


def test_a_wrong_model_that_replaces_a_proved_one_is_shown_wrong_and_leaves_no_certificate(
    tmp_path,
):
    run = tinyadder("build", "add10", "--digits", "1", "--out", "one", "--json", cwd=tmp_path)
    data = json.loads(run.stdout)
    assert run.returncode == 0 and data["counts"]["nonzero"] == 40
    assert (data["verdict"]["verdict"], data["proof"]["verdict"]) == ("exhaustive", "proved")
    assert (tmp_path / "one" / "certificate.json").exists()
    run = tinyadder("build", "add10_gist", "--out", "one", "--force", cwd=tmp_path)
    assert run.returncode == 1
    refuted = [line for line in run.stdout.splitlines() if line.startswith("refuted")]
    assert any("expected" in line for line in refuted)
    assert sorted(os.listdir(tmp_path / "one")) == ["model.json", "model.safetensors"]


# ---- bad input -----------------------------------------------------------------------------------

MISTAKES = {
    "show ad10": "unknown construction 'ad10'; did you mean 'add10'? (tinyadder list)",
    "shw add10": "no command 'shw'; did you mean 'show'? (tinyadder --help)",
    "show add10 --digit 3": (
        "No such option '--digit'. Did you mean '--digits'? (tinyadder show --help)"
    ),
    "show add10 --digits 99": "add10 with 99 digits: float64 keeps it exact for 1 .. 13 digits",
    "show add10 --digits ten": (
        "Invalid value for '--digits': 'ten' is not a valid integer (tinyadder show --help)"
    ),
    "show add10 -o digit=3": (
        "add10 has no option 'digit'; did you mean 'digits'? (options: digits)"
    ),
    "show add10 -o digits": "'-o digits' is not KEY=VALUE, e.g. -o digits=4",
    "show": "Missing argument 'NAME' (tinyadder show --help)",
    "show no/such/folder": (
        "no/such/folder is not a folder; a model folder holds model.json and model.safetensors"
    ),
    "run add10 12345678901 1": (
        "'12345678901' has 11 digits; this model takes 0 .. 9999999999; add10 -o digits=11 takes it"
    ),
    "run add10 -5 1": "'-5' is negative; this model takes 0 .. 9999999999",
    "run add10 five 1": "'five' is not a whole number in base 10; this model takes 0 .. 9999999999",
    "run add10 1.5 1": "'1.5' is not a whole number in base 10; this model takes 0 .. 9999999999",
    "run add10 ''": "the problem is empty; give 2 numbers, e.g. '12 34'",
    "run add10": (
        "no problem given; write it after NAME, or - to read standard input (tinyadder run --help)"
    ),
    "run add10 1": "'1' has 1 number; this model adds 2, e.g. '12 34'",
    "run add10 1 2 --devise cpu": "No such option '--devise' (tinyadder run --help)",
    "run add10 1 2 --device abacus": (
        "Invalid value for '--device': 'abacus' is not one of 'cpu', 'cuda', 'auto'"
        " (tinyadder run --help)"
    ),
    "trace add10 1 2 --digit 11": "the answer 00000000003 has tokens 0 .. 10, there is no 11",
    "build add10 --out /proc/none": (
        "cannot write /proc/none: No such file or directory; choose another --out"
    ),
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(arguments):
    assert refused(tinyadder(*shlex.split(arguments))) == MISTAKES[arguments]


@pytest.mark.parametrize("arguments", ["show ad10", "build add10 --out /proc/none"])
def test_a_process_that_is_refused_ends_in_that_line(arguments):
    assert refused(process(*shlex.split(arguments))) == MISTAKES[arguments]


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    said = refused(tinyadder("run", "add10", "1", "2", "--device", "cuda"))
    assert "finds no CUDA device here; give --device cpu" in said


def test_the_same_model_is_left_unchanged_and_another_needs_force(model):
    folder, _ = model
    before = (folder / "out/add10/model.json").read_bytes()
    again = tinyadder("build", "add10", "--digits", "2", cwd=folder)
    assert again.returncode == 0 and "\nunchanged out/add10/   certificate.json" in again.stdout
    said = refused(tinyadder("build", "add10", "--digits", "3", cwd=folder))
    assert said == "out/add10 already holds a model; give --force to replace it, or another --out"
    assert (folder / "out/add10/model.json").read_bytes() == before


def test_options_do_not_go_with_a_folder(model):
    folder, _ = model
    said = refused(tinyadder("run", "out/add10", "1", "2", "--digits", "4", cwd=folder))
    built = "out/add10 is a model folder, built already"
    assert said == f"{built}; options (digits) belong to a construction"


def test_a_corrupted_folder_is_one_line(model, tmp_path):
    folder, _ = model
    (tmp_path / "bad").mkdir()
    for file in ("model.json", "model.safetensors"):
        (tmp_path / "bad" / file).write_bytes((folder / "out/add10" / file).read_bytes()[:-9])
    assert "is damaged" in refused(tinyadder("run", "./bad", "1", "2", cwd=tmp_path))
    (tmp_path / "bad/model.json").write_bytes((folder / "out/add10/model.json").read_bytes())
    said = refused(tinyadder("run", "./bad", "1", "2", cwd=tmp_path))
    assert "is not a sound safetensors file" in said


def test_a_search_leaves_nothing_in_the_current_folder(tmp_path):
    """hypothesis keeps a folder `.hypothesis` where it runs, unless it is told another place."""
    run = process(
        *("verify", "add10", "--digits", "4", "--count", "1", "--examples", "5"), cwd=tmp_path
    )
    assert run.returncode == 0 and "search" in run.stdout, run.stderr
    assert os.listdir(tmp_path) == []
