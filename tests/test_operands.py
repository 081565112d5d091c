"""Samplers and strategies of operands: in range, repeatable, and they really reach chains and
boundaries.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.tasks import operands as ops
from tinyadder.tasks.addition import Addition
from tinyadder.verify.properties import Grader

SHAPES = [(1, 2, 2), (10, 10, 2), (4, 2, 3), (3, 7, 5), (6, 10, 4), (2, 36, 2)]
"""(digits, base, operands)"""


def task_of(digits, base, operands):
    return Addition(digits=digits, base=base, operands=operands)


def strategy(*shape):
    return task_of(*shape).strategy()


def drawn(strategy, count, start=0):
    """`count` values that hypothesis draws from `strategy`."""
    found = []

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found


def carries(pair, digits, base):
    """The carry into each column of a sum, least significant column first; the last is the carry
    out.
    """
    found, carry = [], 0
    for place in range(digits):
        carry = (sum(n // base**place % base for n in pair) + carry) // base
        found.append(carry)
    return found


def longest(flags):
    """Length of the longest run of true values."""
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


def chain(pair, digits=10, base=10):
    """The most columns in a row that hand a carry on: column sum base - 1 with a carry coming
    in.
    """
    columns = [sum(n // base**place % base for n in pair) for place in range(digits)]
    into = [0, *carries(pair, digits, base)]
    return longest(s == base - 1 and c > 0 for s, c in zip(columns, into, strict=False))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "sampler", sorted(set(ops.TURNS), key=lambda f: f.__name__), ids=lambda f: f.__name__
)
def test_every_sampled_operand_is_in_range(sampler, shape):
    digits, base, count = shape
    random = Random(1)
    for _ in range(500):
        found = sampler(random, *shape)
        assert len(found) == count
        assert all(0 <= n < base**digits for n in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_operand_of_the_strategy_is_in_range(shape):
    digits, base, count = shape

    @settings(max_examples=300, database=None)
    @given(strategy(*shape))
    def check(found):
        assert len(found) == count
        assert all(isinstance(n, int) and 0 <= n < base**digits for n in found)

    check()


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_and_hard_cases_are_different_and_in_range(shape):
    digits, base, count = shape
    hard = ops.hard(*shape)
    assert len(set(hard)) == len(hard)
    assert all(
        len(p) == count and all(0 <= n < base**digits for n in p)
        for p in [*hard, *ops.edges(*shape)]
    )
    assert len(ops.edges(*shape)) == 10


def test_samples_repeat_with_their_seed_and_differ_with_another():
    def draw(start):
        return Addition().structured(Random(start), 600)

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_chunks_of_one_generator_continue_instead_of_repeating():
    random = Random(0)
    first, second = (Addition().structured(random, 600) for _ in range(2))
    assert len(set(first) & set(second)) < 60


def test_sums_first_lie_beside_a_boundary_of_a_digit():
    random = Random(3)
    for _ in range(500):
        total = sum(ops.sum_first(random, 10, 10, 2))
        assert any(min(total % 10**j, -total % 10**j) <= 3 for j in range(11))
    beside = [sum(ops.sum_first(random, 10, 10, 2)) for _ in range(2000)]
    assert sum(min(t % 10**8, -t % 10**8) <= 3 for t in beside) > 200


def test_chains_of_every_length_are_sampled():
    random = Random(5)
    lengths = [chain(ops.carry_chain(random, 10, 10, 2)) for _ in range(6000)]
    assert set(lengths) >= set(range(9))
    plain = [chain(ops.plain(random, 10, 10, 2)) for _ in range(6000)]
    assert sum(n >= 4 for n in lengths) > 50 * max(1, sum(n >= 4 for n in plain))


def test_samples_reach_carries_and_no_carries_in_every_column():
    pairs = Addition().structured(Random(0), 3000)
    for column in range(10):
        share = sum(carries(pair, 10, 10)[column] for pair in pairs) / len(pairs)
        assert 0.1 < share < 0.9


def test_the_strategy_reaches_long_chains_boundaries_and_both_carries_out():
    pairs = drawn(strategy(10, 10, 2), 1500)
    assert max(map(chain, pairs)) >= 7
    assert {carries(pair, 10, 10)[-1] for pair in pairs} == {0, 1}
    assert sum(min(sum(p) % 10**7, -sum(p) % 10**7) <= 3 and sum(p) > 10**7 for p in pairs) > 10
    assert len(set(pairs)) > 250


def test_every_pair_of_a_tiny_size_comes_out_of_the_strategy():
    assert set(drawn(strategy(2, 2, 2), 500)) == {(a, b) for a in range(4) for b in range(4)}


def test_what_the_strategy_finds_shrinks_to_few_digits_and_zero_at_the_end():
    """As the verifier shrinks: hypothesis first, then `simpler` as long as it helps."""

    def smallest(wanted):
        limits = settings(max_examples=2000, database=None)
        pair = find(strategy(10, 10, 2), wanted, settings=limits, random=Random(0))
        while better := next(filter(wanted, ops.simpler(pair, 10, 10)), None):
            pair = better
        return pair

    assert smallest(lambda p: sum(p) >= 10**6) == (10**6, 0)
    pair = smallest(lambda p: chain(p) >= 3)
    assert sum(digit != "0" for n in pair for digit in str(n)) <= 5


def test_uniform_pairs_miss_what_samples_find():
    construction = construct("add10_gist")
    judge = Grader(build(construction.program), construction.task)
    structured = list(dict.fromkeys(construction.task.structured(Random(0), 6000)))
    assert len(judge.wrong(structured)) / len(structured) > 0.03
    assert judge.wrong(construction.task.uniform(Random(0), 6000)) == []


# ---- shrinking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_simpler_operands_are_in_range_strictly_simpler_and_sorted(shape):
    digits, base, count = shape
    random = Random(2)
    for found in task_of(*shape).structured(random, 60):
        candidates = ops.simpler(found, digits, base)
        ranks = [ops.complexity(c, base) for c in candidates]
        assert ranks == sorted(set(ranks))
        assert all(rank < ops.complexity(found, base) for rank in ranks)
        assert all(len(c) == count and all(0 <= n < base**digits for n in c) for c in candidates)


def test_nothing_is_simpler_than_zero():
    assert ops.simpler((0, 0, 0), 5, 10) == []


@given(st.tuples(st.integers(1, 10**10 - 1), st.integers(0, 10**10 - 1)))
def test_everything_else_has_something_simpler(pair):
    assert (0, 0) in ops.simpler(pair, 10, 10)


def test_splitting_a_sum_gives_it_back():
    for total in range(3 * 99 + 1):
        for cut in (0, total // 3, total, 99):
            found = ops.split(total, cut, 2, 10, 4)
            assert sum(found) == total and max(found) <= 99


def test_the_edges_are_those_of_the_public_checker():
    assert Addition().edges() == [
        (0, 0),
        (0, 1),
        (9999999999, 0),
        (9999999999, 1),
        (9999999999, 9999999999),
        (5000000000, 5000000000),
        (1111111111, 8888888889),
        (1234567890, 9876543210),
        (9999999999, 9999999999),
        (1, 9999999999),
    ]


def test_the_hard_list_holds_boundaries_runs_and_complements():
    assert {(4999999999, 0), (99990000, 0), (3000, 9999996999), (7 * 10**9 - 3, 1)} <= set(
        ops.hard(10, 10, 2)
    )
