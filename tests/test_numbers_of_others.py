"""Integers of numpy and torch, arrays and tensors without axes among them, are numbers wherever the
public functions take one: they give what Python's own give.
"""

import warnings

import numpy as np
import pytest
import torch

import tinyadder as ta
from tinyadder.errors import TinyadderError
from tinyadder.inspect.trace import trace
from tinyadder.machine.decode import generate
from tinyadder.programs import compile, constant, indices, key, tokens, where
from tinyadder.tasks.addition import Addition
from tinyadder.verify.exhaustive import domain_of

MODEL = ta.load("add10", digits=2)
TASK = MODEL.task
PROMPT = torch.from_numpy(TASK.encode([TASK.prompt((1, 2))]))
LANE = ta.Stream(a="a lane").a
X = tokens("abc")
WORDS = {"alphabet": "ab", "lengths": 2}


def ablated(n, **places):
    with MODEL.ablate(**places):
        return MODEL.generate("1+2")


def patched(n):
    with MODEL.patch(n(0), heads=[(n(1), "rest")], positions=[n(3)]):
        return MODEL.generate("1+2")


PLACES = {
    "load": lambda n: ta.load("add10", digits=n(2)).generate("1+2"),
    "generate": lambda n: MODEL.generate([(n(1), n(2)), (n(3), n(4))]),
    "trace": lambda n: str(MODEL.trace((n(1), n(2)))),
    "trace, a token": lambda n: trace(MODEL.module, TASK, (1, 2), n(0)).chosen,
    "ablate": lambda n: ablated(n, heads=[(n(1), "rest")], positions=[n(3), n(4)]),
    "patch": patched,
    "cache, a lane": lambda n: MODEL.run_with_cache("1+2")[1].lane(n(0)).sum(),
    "cache, a layer": lambda n: MODEL.run_with_cache("1+2")[1]["pattern", n(0)].sum(),
    "verify": lambda n: str(MODEL.verify(count=n(5), examples=n(2), seed=n(1)).verdict),
    "generate, steps": lambda n: generate(MODEL.module, PROMPT, steps=n(2)).tolist(),
    "a task": lambda n: Addition(digits=n(2)).answer((12, 34)),
    "a problem": lambda n: TASK.check((n(12), n(34))),
    "a domain": lambda n: domain_of(TASK, {"digits": n(1)}).size,
    "lengths": lambda n: ta.task(alphabet="ab", lengths=n(2), answer=len).answer("ab"),
    "an answer": lambda n: ta.task(answer=lambda w: n(w.count("a")), **WORDS).answer("ab"),
    "a program's length": lambda n: compile((key(X) == X).count(), length=n(3)).prompt("ab"),
    "a term": lambda n: ((key(X) == X).count() + n(1))("ab"),
    "a factor": lambda n: (indices() * n(2))("ab"),
    "a constant": lambda n: constant(n(2))("ab"),
    "a comparison": lambda n: (key(indices()) == n(0)).count()("ab"),
    "tokens": lambda n: (tokens([n(1), n(2)]) + 1)([n(1), n(2)]),
    "where": lambda n: where(X == "a", n(1), n(0))("ab"),
    "a weight": lambda n: str(LANE * n(2) + n(1)),
    "a shared weight": lambda n: ta.shared(n(2)).value,
    "an embedding": lambda n: ta.Embed(a={"a": n(1)}).lanes,
    "a head": lambda n: str(ta.Head(query=n(1), key=n(1), value=LANE, slope=n(2))),
    "a readout": lambda n: str(ta.gadgets.parabola_readout(LANE, [n(0), n(1)])),
}
KINDS = {"numpy": np.int64, "small": np.uint8, "array": np.array, "tensor": torch.tensor}


@pytest.mark.parametrize("place", PLACES)
def test_they_give_what_numbers_of_python_give(place):
    expected = PLACES[place](int)
    for kind in KINDS.values():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert PLACES[place](kind) == expected, kind


REFUSED = ["a domain", "lengths", "a program's length", "load", "verify"]


@pytest.mark.parametrize("place", REFUSED)
@pytest.mark.parametrize("value", [True, 2.5, "2", None, [2], np.array([2]), np.bool_(True)])
def test_what_is_no_integer_is_refused(place, value):
    with pytest.raises(TinyadderError, match=r"expected|takes") as refused:
        PLACES[place](lambda _: value)
    assert "\n" not in str(refused.value)


def test_a_constant_is_patched_in_to_the_last_bit():
    with MODEL.patch(0.1, lanes=["rest"]):
        assert set(MODEL.run_with_cache("1+2")[1].lane("rest").flatten().tolist()) == {0.1}
    for source in ("x", None, True, [0.1], np.array([0.1])):
        with pytest.raises(TinyadderError, match="no number and no cache"), MODEL.patch(source):
            pass
