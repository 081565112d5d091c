"""The measured exp: an error is seen for what it is."""

import math
import sys

import pytest

from benchmarks import numerics


def test_errors_are_those_of_exact_arithmetic():
    xs = [0.0, -1.0, -40.0, -700.0]
    true = numerics.reference(xs)
    found = numerics.errors(xs, true, [math.exp(x) for x in xs])
    assert found.normal <= 1.1 and found.nearest == 1.0
    off = [math.exp(x) * (1 + 5 * 2.0**-52) for x in xs]
    planted = numerics.errors(xs, true, off)
    assert 9 < planted.normal < 11.1 and planted.nearest == 0.0
    assert numerics.line("path", planted).split()[1] == "WORSE"
    assert numerics.errors(xs, true, [1.0, math.nan, 0.0, 0.0]).normal == math.inf


def test_subnormal_results_are_measured_in_their_own_unit():
    xs = [-740.0]
    true = numerics.reference(xs)
    right = math.exp(-740.0)
    assert numerics.errors(xs, true, [right]).subnormal <= 0.51
    assert 1.4 < numerics.errors(xs, true, [right + 2 * 5e-324]).subnormal < 2.6


def test_points_are_never_positive_and_reach_from_0_to_the_smallest_number():
    xs = numerics.points(900, 0)
    assert max(xs) == 0 and min(xs) < -744 and len({*xs}) > 2000


def test_a_path_that_is_not_here_says_so():
    with pytest.raises(numerics.NotHere, match="no such thing"):
        numerics.asked([sys.executable, "-c", "import sys; sys.exit('no such thing')"], [0.0])
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert numerics.asked([sys.executable, "-c", code], [-1.5, 2.0]) == [-1.5, 2.0]
