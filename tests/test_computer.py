"""The computer of constructions/programs: its trace, its weights, and what is proved of them."""

import sys
from itertools import islice, pairwise
from math import prod
from pathlib import Path
from random import Random

import pytest
import torch

from tinyadder.commands._answering import Answerer
from tinyadder.construction import construct
from tinyadder.dsl import Attention, Embed, Head, Program, Stream, Unembed
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import save
from tinyadder.machine import single
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.indexed import IndexedDecoder
from tinyadder.programs import Refused, compile, key, prefix, tokens
from tinyadder.tasks.computer import INSTRUCTIONS, Computer
from tinyadder.verify.certify.check import Rejected
from tinyadder.verify.certify.programs import __main__ as command
from tinyadder.verify.certify.programs import computer as checker
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.verdict import Proved, Unknown

FILE = Path(__file__).parents[1] / "constructions" / "programs" / "computer.py"


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def small():
    made = construct(str(FILE), word=6, length=120, steps=80)
    return made, build(made.program)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("multiply | 7 9", "63"),
        ("multiply | 0 9", "0"),
        ("gcd | 84 36", "12"),
        ("gcd | 0 5", "5"),
        ("primes | 30", "2 3 5 7 11 13 17 19 23 29"),
        ("game | 12 3 2 1", "12 1 8 2 4 3 0"),
        ("", "nothing"),
        ("in; out; in; out | 5", "5 0"),
    ],
)
def test_the_examples_compute_what_they_say(text, printed):
    task = Computer(length=20_000, steps=15_000)
    assert task.show_answer(task.answer(task.parse(text))) == printed


def test_every_token_of_the_trace_is_right(small):
    made, model = small
    problems = [*made.task.hard(), *made.task.structured(Random(3), 40)]
    problems.append(made.task.parse("in 0; again: sub 1; out 0; zero 5; jump 1 | 3"))
    given = answers(model, made.task, problems)
    assert [tuple(g) for g in given] == [made.task.answer(p) for p in problems]


def test_a_problem_is_read_back_as_it_is_shown():
    task = Computer(word=16)
    for problem in [*task.hard(), *task.uniform(Random(1), 50)]:
        assert task.parse(task.show(problem)) == problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ad 3", "line 0: 'ad' is not one of"),
        ("add 300", "line 0: 300 is not a number from 0 to 255"),
        ("jump nowhere", "line 0: 'nowhere' is not a number"),
        ("add 3 4", "line 0: 'add 3 4'"),
        ("in | x", "the input: 'x' is not a number"),
    ],
)
def test_a_wrong_program_is_refused_in_one_line(text, message):
    with pytest.raises(TinyadderError, match=message):
        Computer().parse(text)


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        ("multiply | 3 4", 16, "multiply has 16 lines and needs word=17 or more; here word=16"),
        ("gcd | 12 9", 16, "gcd has 22 lines and needs word=23 or more; here word=16"),
        ("halt; halt; halt; halt", 3, "this program has 4 lines and needs word=4 or more"),
    ],
)
def test_a_program_with_more_lines_than_words_is_refused(text, word, message):
    """At word=16 multiply would begin again behind its last line, and never end."""
    with pytest.raises(TinyadderError, match=message):
        Computer(word=word).parse(text)
    assert Computer(word=word + 10).parse(text)


def test_lengths_at_which_scores_are_not_integers_any_more_are_refused():
    x = tokens(range(600))
    found = (prefix() & (key(x) == x)).latest(x, 0)
    assert compile(found, length=90_000, causal=True, exact=True).length == 90_000
    with pytest.raises(Refused, match="float64 holds every integer to 2\\^53"):
        compile(found, length=2**24, causal=True, exact=True)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: prefix().count(),
        lambda x: prefix().sum(x),
        lambda x: prefix().mean(x),
        lambda x: (prefix() & (key(x) == 1)).latest(x / 2, 0),
    ],
)
def test_what_is_not_a_lookup_of_integers_is_not_exact(program):
    with pytest.raises(Refused, match="exact"):
        x = tokens(range(4))
        compile(program(x), length=5, causal=True, exact=True, vocabulary=range(4))


# ---- the proof -----------------------------------------------------------------------------------


def judged(made, model, folder):
    save(model, made.task, folder, name="computer", options={}, program=made.program)
    return certify(model, made.task, folder).verdict


def test_every_program_on_every_input_is_proved(small, tmp_path, capsys):
    made, model = small
    verdict = judged(made, model, tmp_path / "model")
    assert isinstance(verdict, Proved), verdict
    assert verdict.domain == (
        "every program and every input of numbers 0 .. 5, token by token, prompt and trace of at "
        "most 120 tokens"
    )
    assert command.main([str(tmp_path / "model")]) == 0
    said = "PROVED     every program and input, texts of at most 120 tokens, margin 1\n"
    assert capsys.readouterr().out == said


FAULTS = {
    "embedding": ("embedding", "is not affine"),
    "a slope": ("blocks.0.attention.slopes", "slope"),
    "a query": ("blocks.2.attention.query", ""),
    "a key": ("blocks.2.attention.key", ""),
    "a value": ("blocks.0.attention.value", ""),
    "a gate": ("blocks.6.mlp.gate", ""),
    "a bias": ("blocks.5.mlp.gate_bias", ""),
    "an up": ("blocks.6.mlp.up", ""),
    "a down": ("blocks.5.mlp.down", ""),
    "the readout": ("unembedding", "readout"),
}


EARLY = ("embedding", "a key", "a slope")
"""Faults that are noticed before the forward pass of all descriptions."""


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[] if f in EARLY else pytest.mark.slow) for f in FAULTS]
)
def test_one_weight_that_is_off_is_noticed(small, tmp_path, fault):
    made, _ = small
    name, reason = FAULTS[fault]
    model = build(made.program)
    weight = dict(model.named_parameters()).get(name)
    weight = dict(model.named_buffers())[name] if weight is None else weight
    flat = weight.data.view(-1)
    place = int(flat.nonzero()[-1])
    flat[place] = flat[place] / 2 if fault == "a slope" else flat[place] + 1
    verdict = judged(made, model, tmp_path / "model")
    assert isinstance(verdict, Unknown), verdict
    assert reason in str(verdict)


def test_a_length_beyond_what_the_scores_allow_is_not_proved(small, tmp_path):
    made, model = small
    longer = Computer(word=6, length=122, steps=80)
    save(model, longer, tmp_path / "model", name="computer", options={}, program=made.program)
    verdict = certify(model, longer, tmp_path / "model").verdict
    assert "a far position scores too low beyond 121" in str(verdict)


@pytest.mark.parametrize("word", [3, 5, 256])
def test_the_table_of_the_checker_is_what_the_computer_does(word):
    """Each case of the table against a run of the independent interpreter, on random states."""
    random, task = Random(word), Computer(word=word, length=1000, steps=900)
    for _ in range(60):
        problem = task.uniform(random, 1)[0]
        tokens = [*task.prompt(problem), *task.answer(problem)]
        for at in range(tokens.index("run"), len(tokens) - 1):
            place, state = described(problem, tokens[: at + 1], word)
            cases = following(place, word)
            fitting = [
                (letter, value(number, state))
                for facts, letter, number in cases
                if all(value(fact, state) >= 0 for fact in facts)
            ]
            assert len(fitting) == 1, (place, state)
            letter, number = fitting[0]
            assert tokens[at + 1] == ("end" if letter == "end" else f"{letter}{number}")


def value(poly, state):
    return sum(factor * prod(state[name] for name in monomial) for monomial, factor in poly.items())


def following(place, word):
    if place.kind in ("run", "@"):
        return checker.instruction(place.does or "halt", word)
    if place.kind in "[?":
        return checker.second_token(place.does)
    return checker.next_line(place.does, word)


def described(problem, tokens, word):
    """What a position is described by, read off the text by the rules of the lookups."""
    lines, values = problem
    state = {"line": 0, "accumulator": 0, "address": 0, "read": -1}
    memory = {}
    for token in tokens[tokens.index("run") :]:
        kind, number = checker_kind(token), int("".join(filter(str.isdecimal, token)) or 0)
        if kind in ("@", "run"):
            state["line"] = number
            name, n = (*lines, *[("halt", 0)] * word)[number]
        elif kind in "=!":
            state["accumulator"] = number
            if kind == "=" and name in ("store", "put"):
                memory[state["address"]] = number
        else:
            state["address" if kind == "[" else "read"] = number
    if kind == "?":
        n = values[number] if number < len(values) else 0
    state |= {"n": n, "number": number, "first": memory.get(n, 0)}
    state["second"] = memory.get(state["first"], 0)
    return checker.Place(kind, "" if name == "halt" else name), state


def checker_kind(token):
    return token if token in ("run", "end") or token in INSTRUCTIONS else token[0]


# ---- the induction -------------------------------------------------------------------------------

INDUCTION = sys.modules["tinyadder.verify.certify.programs.induction"]
STEPPED = {
    *(checker.Place(kind, does) for kind in ("run", "@", "?") for does in ("", *checker.NAMES)),
    *(checker.Place("[", does) for does in ("store", "put")),
    *(checker.Place("!" if does == "out" else "=", does) for does in checker.NAMES),
}
"""Kinds of positions at which a step is checked."""


def premises(word=6, stepped=STEPPED):
    """How many premises of the induction are checked, of steps that hold at these positions."""
    names = ("number", "line", "accumulator", "address", "n", "first", "second")
    steps = checker.ComputerChecker.__new__(checker.ComputerChecker)
    steps.word = word
    steps.ranges = {**dict.fromkeys(names, (0, word - 1)), "read": (-1, word - 1)}
    return INDUCTION.over_the_trace(word, set(stepped), steps.is_word)


@pytest.mark.parametrize("word", [3, 6, 256])
def test_every_premise_of_the_induction_holds(word):
    assert premises(word) > 80


def test_a_position_that_is_reached_without_a_step_is_noticed():
    """Until now `?` was stepped from in lines with `in` only; what it fetches is an input, beside
    which the last instruction of the program stands.
    """
    lacking = [p for p in STEPPED if p != checker.Place("?", "store")]
    with pytest.raises(Rejected, match=r"no step was checked at Place\(kind='\?', does='store'\)"):
        premises(stepped=lacking)


def looks(change):
    """The lookups of a computer, with a change."""

    def changed(word, usual=INDUCTION.lookups):
        found = {lookup.name: lookup for lookup in usual(word)}
        change(found)
        return list(found.values())

    return changed


def starts_with_an_input(found):
    value, _, here = found["read"].values[0]
    found["read"].values = [(value, 0, here)]


def reads_prompts(found):
    found["accumulator"].kinds = ("=", "!", "0")


def stores_always(found):
    for name in ("first", "second"):
        found[name].key = lambda place: (
            checker.symbol("address") if place.kind == "=" else (checker.constant(-1))
        )


def shares_labels(found):
    _, default, here = found["label"].values[0]
    found["label"].values = [(lambda place: checker.symbol("number"), default, here)]


def forgets_prints(found):
    found["accumulator"].kinds = ("=",)


LIES = {
    "first value": (starts_with_an_input, "read is 0 at first"),
    "prompt": (reads_prompts, "of a prompt write the register accumulator"),
    "labels": (shares_labels, "share labels"),
    "stores": (stores_always, "stores, and comes behind"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lookups_that_do_not_read_the_registers_back_are_noticed(lie, monkeypatch):
    change, reason = LIES[lie]
    monkeypatch.setattr(INDUCTION, "lookups", looks(change))
    with pytest.raises(Rejected, match=reason):
        premises()


def test_a_print_need_not_be_read_as_the_accumulator(monkeypatch):
    """`!` repeats what the accumulator was, so no premise fails where it is not read."""
    monkeypatch.setattr(INDUCTION, "lookups", looks(forgets_prints))
    assert premises() > 80


STEPS = {
    "an address too high": (
        "instruction",
        "put",
        lambda cases: [(f, x, checker.add((1, n), (1, checker.constant(1)))) for f, x, n in cases],
        "is no word",
    ),
    "another number": ("instruction", "load", lambda _: [([], "=", checker.symbol("n"))], "do"),
    "a case too few": ("instruction", "add", lambda cases: cases[:1], "has no case"),
    "never the next line": (
        "next_line",
        "zero",
        lambda cases: [([], "@", checker.symbol("n"))],
        "do",
    ),
    "no value behind an address": (
        "second_token",
        "store",
        lambda _: [([], "=", checker.symbol("n"))],
        "do",
    ),
}


@pytest.mark.parametrize("fault", STEPS)
def test_steps_that_do_not_do_what_the_machine_does_are_noticed(fault, monkeypatch):
    function, name, change, reason = STEPS[fault]
    usual = getattr(INDUCTION, function)

    def changed(does, *word):
        cases = usual(does, *word)
        return change(cases) if does == name else cases

    monkeypatch.setattr(INDUCTION, function, changed)
    with pytest.raises(Rejected, match=reason):
        premises()


@pytest.mark.parametrize("word", [3, 7])
def test_the_machine_of_the_induction_is_the_interpreter(word):
    """Every case of its table against the trace of the interpreter, instruction by instruction."""
    random, task = Random(word), Computer(word=word, length=1000, steps=900)
    for _ in range(40):
        problem = task.uniform(random, 1)[0]
        text = [*task.prompt(problem), *task.answer(problem)]
        lines = [n for n, token in enumerate(text) if token == "run" or token[0] == "@"]
        for at, after in pairwise(lines):
            place, state = described(problem, text[: at + 1], word)
            if not place.does:
                continue
            values = problem[1]
            state["input"] = (*values, *[0] * word)[min(state["read"] + 1, word - 1)]
            (effect,) = [
                effect
                for facts, effect in INDUCTION.machine(place.does, word)
                if all(value(fact, state) >= 0 for fact in facts)
            ]
            _, then = described(problem, text[: after + 1], word)
            for register in ("line", "accumulator", "read"):
                meant = value(effect.after.get(register, checker.symbol(register)), state)
                assert then[register] == meant, (place, register)
            written = [token for token in text[at + 1 : after] if token[0] == "["]
            stored = [] if effect.store is None else [f"[{value(effect.store[0], state)}"]
            assert written == stored
            printed = [token for token in text[at + 1 : after] if token[0] == "!"]
            said = [] if effect.printed is None else [f"!{value(effect.printed, state)}"]
            assert printed == said


# ---- decoding by index ---------------------------------------------------------------------------


def test_the_index_gives_the_tokens_of_the_plain_decoder_and_of_the_interpreter(small):
    made, model = small
    ids = {token: n for n, token in enumerate(made.task.vocabulary)}
    decoder = IndexedDecoder(made.program)
    problems = [*made.task.hard(), *made.task.structured(Random(7), 20)]
    for problem, plain in zip(problems, answers(model, made.task, problems), strict=True):
        prompt = [ids[token] for token in made.task.prompt(problem)]
        found = decoder.decode(prompt, made.task.steps, ids["end"])
        assert [made.task.vocabulary[n] for n in found] == list(plain)


def test_what_a_user_runs_is_decoded_by_index_and_where_that_stops_by_torch(monkeypatch):
    monkeypatch.setattr(single, "LARGEST", 0)  # as if it were too large to be written out
    answerer = Answerer(str(FILE), {"word": 6, "length": 120, "steps": 80}, "cpu")
    problems = answerer.task.hard()[:4]
    right = [answerer.task.answer(problem) for problem in problems]
    assert list(map(tuple, answerer.answers(problems))) == right
    assert answerer.indexed and answerer.few(10_000) and answerer.loaded is None

    def stop(*_):
        raise TinyadderError("two positions share the weight of a head")

    monkeypatch.setattr(answerer.single, "decode", stop)
    assert list(map(tuple, answerer.answers(problems))) == right
    assert answerer.loaded is not None


def test_a_long_run_by_index_is_the_interpreters():
    made = construct(str(FILE), word=6, length=4000, steps=3000)
    ids = {token: n for n, token in enumerate(made.task.vocabulary)}
    problem = made.task.parse("set 1; store 2; load 1; add 2; put 1; jump 2")
    prompt = [ids[token] for token in made.task.prompt(problem)]
    found = islice(IndexedDecoder(made.program).stream(prompt), 3000)
    right = islice(made.task.trace(problem), 3000)
    assert [made.task.vocabulary[n] for n in found] == list(right)


def test_heads_that_average_have_no_index():
    x = tokens("ab")
    with pytest.raises(TinyadderError, match="exact=True"):
        IndexedDecoder(compile((key(x) == x).count(), length=4, causal=True).program)


def test_beyond_its_length_the_index_stops_and_does_not_guess(small):
    made, _ = small
    ids = {token: n for n, token in enumerate(made.task.vocabulary)}
    prompt = [ids[token] for token in made.task.prompt(made.task.parse("jump 0"))]
    with pytest.raises(TinyadderError, match=r"position 1[2-9]"):
        IndexedDecoder(made.program).decode(prompt, 400)


def test_two_positions_that_share_a_head_end_the_run():
    lanes = Stream(score="what the key is")
    head = Head(query=1, key=lanes.score, value=1, slope=746)
    shared = Program(
        "ab",
        lanes,
        Embed(score={"a": 2000, "b": 1300}),
        Attention(score=head),
        Unembed(argmax={"a": lanes.score, "b": 0.0 * lanes.score}),
    )
    with pytest.raises(TinyadderError, match="position 1: two positions share"):
        IndexedDecoder(shared).decode([0, 1], 1)
