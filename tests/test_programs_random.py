"""Random well-typed programs: the meaning, the task's own evaluator, and the weights agree."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.programs_strategy import KINDS, kinds, programs, texts
from tinyadder.machine.compile import build
from tinyadder.programs import Refused, compile, indices, key, tokens

LENGTH = 5


def disagreement(program, words, causal=False):
    """The first text on which weights, meaning and the task's evaluator do not agree, or None."""
    support = compile_as(program, causal)
    if support is None:
        return None
    made = support
    model = build(made.program)
    low, columns = made.lowering, list(made.program.stream.lanes)
    answers = made.task.graph["outputs"]
    codes = sorted(low.code(v) for v in answers) if answers else []
    gap = min((b - a for a, b in pairwise(codes)), default=Fraction(1))
    for word in words:
        meaning = program(word, causal=causal)
        own = made.task.values((tuple(word), len(word) - 1))
        kept = {}
        ids = torch.tensor([[made.program.vocabulary.index(t) for t in made.prompt(word)]])
        with torch.inference_mode():
            logits = model(ids, hook=lambda n, v, kept=kept: kept.setdefault(n, v))[0, -len(word) :]
        last = (
            f"blocks.{len(model.blocks) - 1}.hook_resid_post" if len(model.blocks) else "hook_embed"
        )
        stream = kept[last][0, -len(word) :]
        for place, value in enumerate(meaning):
            raw = float(low.answer.bias) + sum(
                float(w) * stream[place, columns.index(lane)].item() for lane, w in low.answer.terms
            )
            away = abs(raw - float(low.code(value)))
            said = made.program.output_tokens[int(logits[place].argmax())]
            right = said == answers[value] if answers else away < 1e-6
            if not (right and own[place] == value and away <= max(low.error(low.answer), 1e-12)):
                return word, place, value, own[place], raw, said
            assert away <= float(gap) / 4
    return None


def compile_as(program, causal):
    """The compiled program, with tokens as answers where they are few; None where it is refused."""
    for answers in ("tokens", "number"):
        try:
            return compile(program, length=LENGTH, causal=causal, answers=answers, vocabulary="abc")
        except Refused:
            continue
    return None


@settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=False
)
@given(programs(), st.lists(texts(LENGTH), min_size=6, max_size=10, unique=True), st.booleans())
def test_random_programs_compute_what_they_mean(program, words, causal):
    assert disagreement(program, words, causal) is None


def test_few_random_programs_are_refused():
    tried, refused = [], []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs())
    def count(program):
        tried.append(program)
        if compile_as(program, False) is None:
            refused.append(program)

    count()
    assert len(refused) <= len(tried) // 5, refused[:5]


def test_random_programs_are_of_every_kind():
    found = Counter()

    @seed(5)
    @settings(
        max_examples=900,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def count(program):
        found.update(kinds(program))

    count()
    assert set(found) == KINDS


def test_a_wrong_model_would_be_noticed(monkeypatch):
    """The planted fault: every penalty is a hundredth of what it should be."""
    from tinyadder.programs import selecting

    x = tokens("abc")
    program = (key(x) == x).count()
    assert disagreement(program, ["ab", "aabb"]) is None
    monkeypatch.setattr(selecting, "head_penalty", lambda *_: 1)
    assert disagreement(program, ["ab", "aabb"]) is not None


def test_labels_of_several_sequences_stay_level_at_separators():
    """Found by hypothesis: a label of (position, token) was positive at the separator."""
    x, i = tokens("abc"), indices()
    digit = x.map({"a": 0, "b": 1, "c": 2})
    program = ((key(i) <= i) | (key(x) == x)).latest(digit, default=0)
    assert disagreement(program, ["a", "b", "aa", "ab", "abc", "abcab"]) is None


def test_a_number_is_never_a_letter():
    """Found by random graphs: letters were coded 0, 1, 2 and matched positions."""
    x, i = tokens("abc"), indices()
    assert disagreement((key(i) == x).mean(i, default=0), ["a", "ab", "cba", "abcab"]) is None


def test_a_mean_of_values_that_may_be_missing_has_all_its_values():
    """Found by random graphs: None among the values hid the means of the numbers."""
    x, i = tokens("abc"), indices()
    digit = x.map({"a": 0, "b": 1, "c": 2})
    maybe = (key(i) <= digit).mean(digit, default=None)
    program = ((key(i) <= digit).mean(maybe, default=None)).map(lambda v: int(2 * v))
    assert disagreement(program, ["a", "bab", "cab", "abca", "cbacb"]) is None


@pytest.mark.parametrize("factor", [1, 2])
def test_thresholds_of_two_tokens_keep_the_small_one(factor):
    """Found by random graphs: e^26 and e^-26 were made of a column that held 0 and 2, as
    a + b x, and of e^-26 only rounding was left.
    """
    x, i = tokens("ab"), indices()
    bit = x.map({"a": 0, "b": 1})
    program = (key(i - bit * factor) < bit).count()
    assert disagreement(program, ["a", "b", "ba", "aab", "aba", "baa", "bba", "abbab"]) is None


def test_a_number_may_be_missing():
    x, i = tokens("abc"), indices()
    program = (key(x) != x).mean(i, default=None)
    made = compile(program, length=3, answers="number")
    assert program("ab") == [1, 0] and program("aa") == [None, None]
    assert made.program.output_tokens == ("<number>",)
