"""What needs an extra says so in one line, and decoding needs none."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tinyadder.errors import EXTRA_OF, missing_extra

ROOT = Path(__file__).parents[1]
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from tinyadder.cli import main
main(sys.argv[1:])
"""


def without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line where no package of `EXTRA_OF` is installed."""
    code = WITHOUT % (sorted(EXTRA_OF),)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [(("run", "add10", "123", "456"), "579"), (("show", "add10"), "nonzero"), (("list",), "add10")],
    ids=str,
)
def test_decoding_and_printing_need_no_extra(arguments, printed):
    done = without_extras(*arguments)
    assert done.returncode == 0 and printed in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("plot", "add10", "weights"), "plot"),
        (("prove", "add10"), "prove"),
        (("verify", "add10"), "prove"),
    ],
    ids=str,
)
def test_what_needs_an_extra_names_it_in_one_line(arguments, extra):
    done = without_extras(*arguments)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: this needs ") and f"'tinyadder[{extra}]'" in line


def test_every_extra_that_is_named_is_one_of_the_package_and_brings_what_is_missing():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    names = {"flint": "python-flint"}
    for package, extra in EXTRA_OF.items():
        brought = [re.split("[>[]", text)[0] for text in extras[extra]]
        assert names.get(package, package) in brought


def test_another_missing_module_is_a_bug():
    assert missing_extra(ModuleNotFoundError("", name="tinyadder.nowhere")) is None
