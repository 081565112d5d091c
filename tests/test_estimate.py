"""How often a stranger's adder is wrong: strata, exact intervals, the estimate and its command."""

import json
from math import comb
from random import Random

import pytest

from tests.in_process import run
from tests.stranger import FILE, PLAIN, Stranger
from tinyadder.errors import TinyadderError
from tinyadder.verify.external.estimate import (
    ALL,
    STRATA,
    Stratum,
    chain_of,
    count,
    drawn,
    estimate,
    exact_interval,
    interval,
    size,
)


def test_strata_are_counted_exactly():
    pairs = [(a, b) for a in range(100) for b in range(100)]
    for chain in range(3):
        assert count(2, (0, 0, 0), chain) == sum(chain_of(pair) == chain for pair in pairs)
    assert sum(map(size, range(STRATA))) == ALL


def test_sums_of_a_stratum_are_drawn_evenly():
    random = Random(1)
    for chain in range(STRATA):
        assert {chain_of(drawn(random, chain)) for _ in range(20)} == {chain}
    # Of the pairs without a carry, 55 of 100 can stand in each column: each as often.
    last = [(a % 10, b % 10) for a, b in (drawn(random, 0) for _ in range(5500))]
    seen = [last.count(pair) for pair in set(last)]
    assert len(seen) == 55 and min(seen) > 50 and max(seen) < 160


@pytest.mark.parametrize(("wrong", "asked"), [(0, 50), (3, 50), (49, 50), (50, 50), (300, 9000)])
def test_the_ends_of_an_exact_interval_miss_with_half_of_the_error(wrong, asked):
    low, high = exact_interval(wrong, asked, 0.02)

    def at_most(k, p):
        return sum(comb(asked, i) * p**i * (1 - p) ** (asked - i) for i in range(k + 1))

    assert 0 <= low < high <= 1
    if asked == 50 and wrong:
        assert 1 - at_most(wrong - 1, low) == pytest.approx(0.01, rel=1e-9)
    if asked == 50 and wrong < asked:
        assert at_most(wrong, high) == pytest.approx(0.01, rel=1e-9)
    assert (low == 0) == (wrong == 0) and (high == 1) == (wrong == asked)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    sizes, truth = [size(chain) / ALL for chain in range(STRATA)], 0.0
    shares = [0.0] * 6 + [0.001, 0.01, 0.1, 0.3, 0.5]
    truth = sum(s * p for s, p in zip(sizes, shares, strict=True))
    random, missed = Random(7), 0
    for _ in range(40):
        asked = 60
        wrong = [sum(random.random() < p for _ in range(asked)) for p in shares]
        strata = [Stratum(c, size(c), asked, wrong[c]) for c in range(STRATA)]
        uniform = (700, sum(random.random() < truth for _ in range(700)))
        low, high = interval(strata, uniform, 0.2)
        missed += not low <= truth <= high
    assert missed <= 8


def test_strata_find_a_rare_failure_that_uniform_sums_miss():
    strata = [Stratum(c, size(c), 1000, 400 * (c == 10)) for c in range(STRATA)]
    low, high = interval(strata, (10_000, 8), 0.05)
    truth = 0.4 * size(10) / ALL
    assert 0 < low < truth < high < 0.003


def test_a_wrong_adder_is_estimated_and_an_example_given():
    wrong = "digit = (total + 11111111111 * (total % 10 == 7).long())"
    found = estimate(Stranger(("digit = total", wrong), text=FILE), sums=2000)
    assert 0 < found.low < 0.1 < found.high < 1 and found.low < found.share < found.high
    assert sum(found.example) % 10 == 7 and found.lines()[0].startswith("wrong      about 0.")
    assert "(95% confidence)" in str(found) and "longest run of carries 10:" in str(found)


def test_what_add_gets_right_is_not_counted():
    odd = "digit = (total + 5 * ((total % 997 == 3) & torch.tensor(n > 1)).long())"
    found = estimate(Stranger(("digit = total", odd)), sums=3000)
    assert found.wrong == 0 and found.low == 0 < found.high


def test_a_right_adder_has_no_lower_end():
    found = estimate(Stranger(text=PLAIN), sums=2000)
    assert (found.wrong, found.share, found.low, found.example) == (0, 0, 0, None)
    assert 0 < found.high < 1 and found.asked > 1000


@pytest.mark.parametrize("given", [{"seconds": 0}, {"confidence": 1.0}])
def test_no_time_and_no_error_are_refused(given):
    with pytest.raises(TinyadderError, match="expected more than 0"):
        estimate(Stranger(text=PLAIN), **given)


def test_failures_takes_a_file(capsys, tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(PLAIN.replace("a + b", "a + b + (a % 2)"))
    code, out, _ = run(capsys, "failures", str(file), "--seconds", "4", "--json")
    found = json.loads(out)
    assert code == 1 and found["low"] < 0.5 < found["high"] and len(found["strata"]) == STRATA
