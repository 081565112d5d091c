"""The numbers to reach: the worst row is named, what is over says so."""

from benchmarks.verify import named, numbers_to_reach

ROW = {
    "model": "a",
    "verdict": "proved",
    "proof_cpu": 1.0,
    "check_cpu": 2.0,
    "compressed_bytes": 5000,
}


def test_options_stand_behind_the_name():
    assert named("add10:digits=2,base=3") == ("add10", {"digits": 2, "base": 3}) and named(
        "add10"
    ) == ("add10", {})


def test_the_slowest_row_decides_and_a_target_that_is_missed_says_over():
    slow = {**ROW, "model": "slow", "check_cpu": 11.0}
    refuted = {
        "model": "gist",
        "verdict": "refuted",
        "proof_cpu": 0.3,
        "check_cpu": 0.0,
        "compressed_bytes": 0,
    }
    lines = numbers_to_reach([ROW, slow, refuted])
    assert lines[0].endswith("2 proved, 1 refuted")
    assert (
        "ok   1 s of processor time (a)" in lines[1]
        and "OVER 11 s of processor time (slow)" in lines[2]
    )
    assert "ok   0.3 s of processor time (gist)" in lines[3] and "ok   5,000 bytes" in lines[4]


def test_no_proof_and_no_refutation_is_said():
    assert all(
        line.endswith("none") for line in numbers_to_reach([{**ROW, "verdict": "unknown"}])[1:5]
    )
