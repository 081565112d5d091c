"""Every field that comes from a file or a command line has a type, a set of values and bounds,
checked first of all.
"""

from __future__ import annotations

import math
import time
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from importlib import import_module
from inspect import signature
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, check_fields, checked, from_json
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.tasks import task_from_json, task_names
from tinyadder.train.recipe import DataRecipe, ModelRecipe, TrainRecipe

HUGE = [10**16, 10**5000, -1, -(10**12), True, None, 1.5, math.nan, math.inf, "x", "10", [], {}]
"""Given for an integer: each is refused before anything is made of it."""


CONFIGS, RECIPES = (Options, BlockConfig, Config), (ModelRecipe, DataRecipe, TrainRecipe)


def unbounded(hint: Any) -> bool:
    """Whether an annotation lets in integers of any size."""
    if get_origin(hint) is Annotated:
        return False
    return hint is int or any(unbounded(part) for part in get_args(hint))


@pytest.mark.parametrize("kind", [*CONFIGS, *RECIPES, *task_names()])
def test_every_integer_has_a_bound_in_its_annotation(kind):
    kind = import_module(f"tinyadder.tasks.{kind}").TASK if isinstance(kind, str) else kind
    hints = get_type_hints(kind, include_extras=True)
    loose = [field.name for field in fields(kind) if unbounded(hints[field.name])]
    assert loose == []


def test_an_integer_without_a_bound_would_be_noticed():
    assert (
        unbounded(int)
        and unbounded(tuple[str, int])
        and unbounded(tuple[int, ...])
        and unbounded(int | None)
    )
    assert not unbounded(Annotated[int, Between(1, 2)]) and not unbounded(
        tuple[Annotated[int, Between(1, 2)], ...]
    )


TASK_OPTIONS = [
    (name, field.name)
    for name in task_names()
    for field in fields(import_module(f"tinyadder.tasks.{name}").TASK)
    # not options: what `custom` knows of the answers
    if field.name not in ("oracle", "table", "examples", "digest")
]


@pytest.mark.parametrize(("name", "option"), TASK_OPTIONS)
def test_a_task_takes_no_option_of_another_type_or_size(name, option):
    task = import_module(f"tinyadder.tasks.{name}").TASK
    needed = {f.name: "x" for f in fields(task) if f.default is MISSING}
    kind = get_type_hints(task)[option]
    began = time.monotonic()
    for value in HUGE if kind is int else [3, None, [], math.nan, "\x1b[31m"]:
        with pytest.raises(TinyadderError, match=f"{option}|prompt|end") as refused:
            task_from_json({"name": name, "options": {**needed, option: value}})
        assert str(refused.value).isprintable() and len(str(refused.value)) < 300
    assert time.monotonic() - began < 2


CONSTRUCTION_OPTIONS = [
    (name, option)
    for name in construction_names()
    for option in signature(import_module(f"tinyadder.constructions.{name}").construct).parameters
]


@pytest.mark.parametrize(("name", "option"), CONSTRUCTION_OPTIONS)
def test_a_construction_takes_no_option_of_another_type_or_size(name, option):
    began = time.monotonic()
    function = import_module(f"tinyadder.constructions.{name}").construct
    kind = signature(function, eval_str=True).parameters[option].annotation
    whole = (get_args(kind)[0] if get_origin(kind) is Annotated else kind) is int
    assert whole or kind is bool or get_origin(kind) is Literal
    for value in HUGE if whole else [3, None, [], math.nan, "x"]:
        with pytest.raises(TinyadderError):
            construct(name, **{option: value})
    assert time.monotonic() - began < 2


WITHOUT_ANNOTATIONS = """
import tinyadder as ta

task = ta.task(alphabet="ab", lengths=1, answer=lambda word: word, prompt="{}", outputs="ab")


def construct(size=3, gain=1.0, word="a", flag=False, other=None, *, digits: int = 2):
    x = ta.Stream(letter="1 on 'a', -1 on 'b'")
    read = ta.Unembed(argmax={"a": x.letter, "b": -1 * x.letter})
    embed = ta.Embed(letter={"a": 1, "b": -1})
    return ta.Construction(ta.Program(task.vocabulary, x, embed, read), task)
"""


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("size", [4, np.int64(4)], ["x", 10**12, 2.5, True, None, [1], math.nan]),
        ("gain", [2, 0.5, np.float32(2)], ["x", math.nan, math.inf, True, None]),
        ("word", ["", "b"], [3, None, True, ["a"]]),
        ("flag", [True], [1, "true", None]),
        ("other", [1, "x", None, [1]], [10**12, math.nan, {}]),
        ("digits", [3], ["x", 10**12]),
    ],
)
def test_an_option_without_an_annotation_is_checked_against_its_default(
    option, good, bad, tmp_path
):
    (tmp_path / "mine.py").write_text(WITHOUT_ANNOTATIONS)
    name = str(tmp_path / "mine.py")
    for value in good:
        construct(name, **{option: value})
    for value in bad:
        with pytest.raises(TinyadderError, match=rf"mine\.py: {option}=.*, expected ") as refused:
            construct(name, **{option: value})
        assert "\n" not in str(refused.value)


def test_numbers_of_numpy_are_numbers():
    assert construct("add10", digits=np.int64(3)).task == construct("add10", digits=3).task
    assert type(construct("add10", digits=np.int64(3)).task.digits) is int
    assert (
        checked(np.float32(0.5), float, "x") == 0.5 and checked(Fraction(1, 2), float, "x") == 0.5
    )


CONFIG = Config(
    vocabulary=("0", "1"), width=2, blocks=(BlockConfig(heads=1, hidden=1),), outputs=(0,)
).to_json()

WRONG = [
    (
        ("options", "positions"),
        "rope",
        "options: positions='rope', expected 'alibi', 'none', 'sinusoidal', ",
    ),
    (
        ("options", "softmax"),
        "sofmax1",
        "expected 'softmax1' or 'softmax'; did you mean 'softmax1'?",
    ),
    (("options", "norm"), "group", "options: norm='group', expected 'none', 'layer' or 'rms'"),
    (("options", "repeat"), 0, "options: repeat=0, expected an integer 1 .. 1000"),
    (("options", "repeat"), 10**9, "options: repeat=1000000000, expected an integer 1 .. 1000"),
    (("options", "rotary_base"), math.nan, "options: rotary_base=nan, expected a number 1e-06 .. "),
    (("options", "gated"), 1, "options: gated=1, expected True or False"),
    (("options", "magic"), 1, "options has no 'magic'"),
    (("argmin",), "false", "config: argmin='false', expected True or False"),
    (("minimum",), False, "config has no 'minimum'"),
    (("width",), 10**12, "config: width=1000000000000, expected an integer 1 .. 8192"),
    (
        ("blocks",),
        [{"heads": 10**6}],
        "config: blocks[0]: heads=1000000, expected an integer 0 .. 4096",
    ),
    (("blocks",), [{"tails": 1}], "config: blocks[0] has no 'tails'"),
    (("blocks",), 7, "config: blocks=7, expected"),
    (("outputs",), [-1], "config: outputs=[-1], expected"),
    (("outputs",), [0.0], "config: outputs=[0.0], expected"),
    (("ties",), [["embedding", -1, 0]], "config: ties=[['embedding', -1, 0]], expected"),
    (("vocabulary",), ["0", 1], "config: vocabulary=['0', 1], expected"),
    (
        ("encoder",),
        [None],
        "config: encoder[0] is None, expected an object with heads, d_head, d_value, hidden",
    ),
    (("options",), [], "config: options is [], expected an object with softmax, "),
]


@pytest.mark.parametrize(
    ("place", "value", "said"), WRONG, ids=[f"{'.'.join(w[0])}={w[1]}" for w in WRONG]
)
def test_a_config_with_a_field_that_does_not_fit_is_refused(place, value, said):
    data = {**CONFIG, "options": dict(CONFIG["options"])}
    (data if len(place) == 1 else data[place[0]])[place[-1]] = value
    with pytest.raises(TinyadderError) as refused:
        Config.from_json(data)
    assert said in str(refused.value)


def test_a_config_without_a_field_says_which():
    with pytest.raises(TinyadderError, match="config lacks one of width"):
        Config.from_json({key: value for key, value in CONFIG.items() if key != "width"})


def test_a_config_comes_back_as_it_was():
    assert Config.from_json(CONFIG).to_json() == CONFIG
    with pytest.raises(TinyadderError, match="options: repeat=0, expected"):
        Options(repeat=0)  # in Python too, not from files alone


def test_values_are_what_the_annotation_says():
    @dataclass(frozen=True)
    class Sizes:
        count: Annotated[int, Between(0, 5)] = 0
        rates: tuple[float, ...] = ()

        def __post_init__(self) -> None:
            check_fields(self, "sizes")

    found = Sizes(np.int8(3), [1, 0.5])
    assert (found.count, found.rates) == (3, (1.0, 0.5)) and type(found.count) is int
    with pytest.raises(TinyadderError, match=r"sizes: rates=\[1, nan\], expected"):
        Sizes(1, [1, math.nan])
    with pytest.raises(TinyadderError, match="x is 3, expected an object with count, rates"):
        from_json(Sizes, 3, "x")
