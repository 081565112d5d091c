"""The scalar decoder decides as torch does, on every construction, without torch."""

import subprocess
import sys
from math import inf, nan
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyadder.construction import construct, construction_names
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.machine import single
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.reference import reference_logits
from tinyadder.machine.single import SingleDecoder

NAMES = construction_names()
ADD10 = construct("add10")
ADD10_MODULE = build(ADD10.program)


def problems_of(task, count):
    hard = task.hard()
    kept = hard if len(hard) <= count else Random(1).sample(hard, count)
    return list(
        dict.fromkeys([*kept, *task.structured(Random(2), count), *task.uniform(Random(3), count)])
    )


def single_answers(made, problems):
    """The answers of the scalar decoder; None where it leaves the choice to torch."""
    decoder, task = SingleDecoder(made.program), made.task
    end = None if task.end is None else task.vocabulary.index(task.end)
    found = []
    for problem in problems:
        (row,) = task.encode([task.prompt(problem)]).tolist()
        emitted = decoder.decode(row, task.answer_length, end)
        found.append(None if emitted is None else task.decode(emitted))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_construction_decides_as_torch_does(name):
    made = construct(name)
    problems = problems_of(made.task, 8 if made.task.name == "derivative" else 40)
    mine, torchs = single_answers(made, problems), answers(build(made.program), made.task, problems)
    assert [answer for answer in mine if answer is not None] == [
        t for m, t in zip(mine, torchs, strict=True) if m
    ]
    assert sum(answer is None for answer in mine) <= len(mine) // 100


def test_it_is_wrong_where_the_model_is_wrong():
    assert single_answers(construct("add10_gist"), [(4999999999, 0)]) == ["05000000000"]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**10 - 1), st.integers(0, 10**10 - 1)), min_size=1, max_size=5
    )
)
def test_sums_of_any_operands_are_decided_as_torch_decides_them(pairs):
    assert single_answers(ADD10, pairs) == answers(ADD10_MODULE, ADD10.task, pairs)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_reference(name):
    made = construct(name)
    decoder = SingleDecoder(made.program)
    problem = made.task.hard()[len(made.task.hard()) // 2]
    text = [*made.task.prompt(problem), *made.task.answer(problem)]
    expected = reference_logits(made.program, text)[-1]
    feed, logits = decoder.start()
    *before, last = made.task.encode([text])[0].tolist()
    for token in before:
        feed(token)
    found = logits(last)
    # Ten digits cancel in a remainder: what is left of its terms may be 1e-10 of them.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert int(np.argmax(found)) == int(np.argmax(expected))


# ---- what decides nothing, and what is too large -------------------------------------------------


def tiny(slope=0.0, scale=1.0, readout="argmax"):
    x = Stream(a="1 on 'a'", b="mixed")
    head = Head(query=x.a, key=x.a, value=x.a + 1, slope=slope)
    read = {
        "argmax": {"argmax": x.b * [1, -1]},
        "argmin": {"argmin": x.b * [1, 2]},
        "tied": {"tied": ("a", "b")},
    }
    return Program(
        "ab",
        x,
        Embed(a={"a": scale}),
        Attention(b=head),
        MLP(b=relu(x.a) * x.b),
        Unembed(**read[readout]),
    )


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.2])
@pytest.mark.parametrize("readout", ["argmax", "argmin", "tied"])
def test_small_programs_with_scores_slopes_and_ties_agree_with_the_reference(slope, readout):
    program = tiny(slope, readout=readout)
    feed, logits = SingleDecoder(program).start()
    for token in (0, 1, 0, 0):
        feed(token)
    np.testing.assert_allclose(
        logits(1), reference_logits(program, "abaab")[-1], rtol=1e-12, atol=1e-300
    )


def test_equal_logits_decide_nothing():
    x = Stream(a="1 on 'a'")
    program = Program("ab", x, Embed(a={"a": 1}), Unembed(argmax=x.a * [1, 1]))
    assert SingleDecoder(program).decode([0], 1) is None


def test_logits_that_overflow_decide_nothing():
    assert SingleDecoder(tiny(scale=1e200)).decode([0], 1) is None


def test_a_program_too_large_to_write_out_is_refused(monkeypatch):
    monkeypatch.setattr(single, "LARGEST", 3)
    with pytest.raises(TinyadderError, match="run it with torch"):
        SingleDecoder(tiny())


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_only_finite_numbers_get_into_the_source(value):
    with pytest.raises(TinyadderError, match="must be finite"):
        single._number(value)


def test_no_name_of_the_program_gets_into_the_source():
    x = Stream(odd="import os")
    program = Program(
        ["a", "'+__import__('os')+'"], x, Embed(odd={"a": 1}), Unembed(argmax=x.odd * [1, 2])
    )
    assert (
        "import" not in SingleDecoder(program).source and "odd" not in SingleDecoder(program).source
    )


def test_it_is_made_and_run_without_torch():
    code = (
        "import sys\nfrom tinyadder.construction import construct\n"
        "from tinyadder.machine.single import SingleDecoder\n"
        "m = construct('add10')\nd = SingleDecoder(m.program)\n"
        "prompt = m.task.encode([m.task.prompt((123, 456))])[0].tolist()\n"
        "print(m.task.decode(d.decode(prompt, 11)), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "00000000579 False\n", run.stderr
