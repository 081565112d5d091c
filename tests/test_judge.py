"""Verdicts on strangers: what is asked, what counts as wrong, by whose decoding, within a time."""

import json
import shlex
import time
from random import Random

import numpy as np
import pytest

from benchmarks.faulty_adder import MATCHES, SECRET
from benchmarks.referee import FAULTS, text_of
from tests.in_process import run
from tests.stranger import FILE, PLAIN, RESULT, Stranger, loaded
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.verify.external import judge as judging
from tinyadder.verify.external.decoding import Decoder
from tinyadder.verify.external.formats import digits_of
from tinyadder.verify.external.hunt import KEPT, Hunt, cells_of, described
from tinyadder.verify.external.judge import BY_ADD, Judge, ask_one, judge
from tinyadder.verify.external.submission import OutOfTime
from tinyadder.verify.verdict import Refuted, Sampled, Unknown


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A suite of 60 sums and 40 hard cases; the real ones are asked where a test says so."""
    suite, hard = Judge.suite_pairs()[:60], judging.TASK.hard()[:40]
    monkeypatch.setattr(Judge, "suite_pairs", staticmethod(lambda: suite))
    monkeypatch.setattr(type(judging.TASK), "hard", lambda self: hard)


def judged(*changes, text=FILE, seconds=60.0, structured=50):
    return judge(Stranger(*changes, text=text), seconds=seconds, structured=structured, hunted=400)


def wrong_where(condition):
    """The change by which every digit is one too large where a condition on `total` holds."""
    return ("digit = total", f"digit = (total + 11111111111 * ({condition}).long())")


def test_a_right_adder_is_sampled_and_the_line_says_what_was_asked():
    found = judged(("- digit[:, None]).abs()", "- digit[:, None]).abs() * 0.5"))
    assert isinstance(found.verdict, Sampled) and found.own and found.complete
    assert [part.name for part in found.parts] == [
        "public suite",
        "hard cases",
        "structured",
        "margin hunt",
    ]
    assert [part.asked for part in found.parts[:3]] == [60, 40, 50]
    assert found.verdict.count == sum(part.asked for part in found.parts) > 200
    assert found.suite == (60, 60) and found.smallest[0] == 0.5
    assert found.line().startswith("SAMPLED    60 public suite · 40 hard cases · 50 structured · ")
    assert "seed 0: 0 wrong; smallest margin 0.5 at " in found.line()
    assert "the verifier's own, in batches of" in str(found) and "sums a second" in str(found)
    assert json.loads(json.dumps(found.to_json()))["smallest_margin"] == 0.5


def test_the_whole_suite_is_that_of_the_board(monkeypatch):
    monkeypatch.undo()
    pairs = Judge.suite_pairs()
    assert len(pairs) == 10_010 and pairs[:2] == [(0, 0), (0, 1)]
    board = Random(2025)
    assert pairs[10:12] == [tuple(board.randint(0, 9_999_999_999) for _ in "ab") for _ in "12"]


def test_a_wrong_adder_is_refuted_by_a_small_sum_that_its_own_add_gets_wrong():
    found = judged(wrong_where("(total >= 900) & (total % 7 == 3)"))
    assert found.line() == f"REFUTED    920 + 0   expected 920, model 11111112031, {BY_ADD}"
    assert found.parts[-1].name == "public suite" and found.suite[0] < found.suite[1] == 60
    assert found.to_json()["counterexample"]["only"] == BY_ADD


def test_an_add_that_repairs_what_the_model_gets_wrong_is_refuted_by_the_verifiers_decoding():
    found = judged(
        wrong_where("total % 10 == 7"),
        (RESULT, "return a + b if (a + b) % 10 == 7 else " + RESULT.removeprefix("return ")),
    )
    assert isinstance(found.verdict, Refuted) and found.counterexample.shown == "7 + 0"
    assert "in the verifier's decoding of the passes that the file's add makes" in found.line()
    assert found.line().endswith("add returns 7") and "add returned something else" in str(found)


def test_what_is_wrong_in_a_batch_only_refutes_nothing():
    stranger = Stranger(wrong_where("(total == 4999999999) & torch.tensor(n > 1)"))
    asked = Judge(stranger.inside, 60.0)
    asked.prepare()
    bad = asked.part("public suite", [(1, 2), (4999999999, 0)], greedy=True)
    assert bad == [(4999999999, 0)] and asked.first_confirmed(bad) is None
    assert asked.unconfirmed == {(4999999999, 0)}


def test_an_adder_without_a_model_is_asked_by_its_own_add_and_not_hunted():
    found = judged(text=PLAIN)
    assert isinstance(found.verdict, Sampled) and not found.own and found.smallest is None
    assert [part.name for part in found.parts] == ["public suite", "hard cases", "structured"]
    assert "without logits there is no margin hunt" in found.decoding
    wrong = judged(text=PLAIN.replace("a + b", "a + b - (a == 77 and 1 // (b - b))"))
    assert isinstance(wrong.verdict, Sampled)
    wrong = judged(text=PLAIN.replace("a + b", "a + b if a < 5 else 1 // (b - b)"))
    assert (
        wrong.line() == f"REFUTED    10 + 0   expected 10, model raises ZeroDivisionError, {BY_ADD}"
    )


def test_floats_and_texts_are_judged_as_the_board_does():
    assert isinstance(judged(text=PLAIN.replace("a + b", "float(a + b)")).verdict, Sampled)
    found = judged(text=PLAIN.replace("a + b", "str(a + b)"))
    assert found.line() == f"REFUTED    0 + 0   expected 0, model '0', {BY_ADD}"


def test_when_the_time_is_over_the_verdict_is_partial():
    slow = PLAIN.replace("return a", "import time; time.sleep(0.02); return a")
    found = judged(text=slow, seconds=0.5)
    assert isinstance(found.verdict, Sampled) and not found.complete and found.parts[0].asked < 60
    assert found.line().endswith("0 wrong (partial: the time was over)")
    bad = judged(text=slow.replace("a + b", "a + b + (b == 1)"), seconds=0.5)
    assert bad.line() == f"REFUTED    0 + 1   expected 1, model 2, {BY_ADD}"


def test_where_not_all_can_be_asked_every_class_of_sums_is_asked_some():
    slow = PLAIN.replace("return a", "import time; time.sleep(0.05); return a")
    found = judged(text=slow, seconds=4)
    asked = {part.name: part.asked for part in found.parts}
    assert 0 < asked["public suite"] < 60 and asked["hard cases"] > 0 and asked["structured"] > 0
    assert not found.complete


def test_a_start_with_a_time_of_its_own_takes_none_of_the_sums(monkeypatch):
    stranger = Stranger(text=PLAIN)
    ask = stranger.inside.ask

    def late(do, **job):
        if do.endswith("prepare"):
            time.sleep(1)
        return ask(do, **job)

    monkeypatch.setattr(stranger.inside, "ask", late)
    found = judge(stranger, seconds=0.8, structured=50)
    assert isinstance(found.verdict, Unknown)
    found = judge(stranger, seconds=0.8, structured=50, loading=60)
    assert isinstance(found.verdict, Sampled)


def test_without_one_answer_in_time_nothing_is_known():
    class Silent(Stranger):
        def __init__(self):
            super().__init__(text=PLAIN)
            self.inside.ask = self.late

        def late(self, *_, **__):
            raise OutOfTime("late")

    found = judge(Silent(), seconds=1)
    assert isinstance(found.verdict, Unknown) and "not one answer within 1 s" in str(found)


def test_arrays_of_another_size_are_no_answers():
    stranger = Stranger()
    asked = Judge(stranger.inside, 10.0)
    asked.prepare()
    ask = stranger.inside.ask
    stranger.inside.ask = lambda *given, **named: ask(*given, **named) | {"leads": b"8 bytes."}
    with pytest.raises(TinyadderError, match="arrays of another size"):
        asked.margins([(1, 2)], drafts=False)


def test_one_sum_is_asked_alone():
    stranger = Stranger(wrong_where("total == 5"))
    assert isinstance(ask_one(stranger, (2, 2)), Sampled)
    assert ask_one(stranger, (2, 3)).counterexample.got == "11111111116"


@pytest.mark.parametrize("given", [{"seconds": 0}, {"structured": 0}])
def test_no_time_and_no_samples_are_refused(given):
    with pytest.raises(TinyadderError, match="expected more than 0"):
        judge(Stranger(text=PLAIN), **given)


# ---- the hunt ------------------------------------------------------------------------------------


def test_a_cell_is_a_place_with_the_nines_below_it_and_the_carry_into_it():
    a, b = digits_of([9_995, 123]), digits_of([6, 456])
    found = [[described(cell) for cell in row] for row in cells_of(a, b)]
    assert found[0][:3] == [
        "place 0, 0 nines below, carry 0",
        "place 1, 0 nines below, carry 1",
        "place 2, 1 nines below, carry 1",
    ]
    assert found[0][4] == "place 4, 3 nines below, carry 1"
    assert found[1][1] == "place 1, 1 nines below, carry 0"


def slope(secret):
    """Margins that rise with the distance of the digits from one sum, negative at it."""
    digits = np.concatenate([digits_of([n])[0] for n in secret])

    def ask(pairs):
        a, b = (digits_of([pair[which] for pair in pairs]) for which in (0, 1))
        away = np.abs(np.concatenate([a, b], 1) - digits).sum(1)
        return np.tile(np.where(away, away, -1.0)[:, None], 11), np.empty((len(pairs), 0))

    return ask


def test_the_hunt_climbs_to_the_one_sum_of_all_that_is_wrong():
    hunt = Hunt(slope(SECRET))
    while not hunt.wrong:
        hunt.round(500)
        assert hunt.asked < 50_000
    assert set(hunt.wrong) == {SECRET} and hunt.smallest() == (-1.0, SECRET)
    counts = np.bincount(hunt.cell)
    assert counts.max() == KEPT and (counts > 0).sum() > 100


def test_the_hunt_starts_with_every_run_of_nines_that_meets_a_carry():
    a, b = zip(*Hunt(slope(SECRET)).chains(0), strict=True)
    cells = set(cells_of(digits_of(a), digits_of(b)).reshape(-1).tolist())
    missing = {
        (place, run, carry)
        for place in range(11)
        for run in range(place + 1)
        for carry in (0, 1)
        if (place * 11 + run) * 2 + carry not in cells
    }
    assert missing == {(place, place, 1) for place in range(11)}  # no carry comes into place 0


def test_the_hunt_wakes_a_unit_that_was_silent():
    def ask(pairs):
        away = slope(SECRET)(pairs)[0][:, 0]
        given = np.stack([5.0 - away, away], 1)  # the first is silent far from the sum
        return np.where(away < 5, -1.0, 1.0)[:, None].repeat(11, 1), given

    hunt = Hunt(ask)
    while not hunt.wrong:
        hunt.round(500)
        assert hunt.asked < 100_000
    assert "hidden unit 0" in {described(cell) for cell in hunt.cell}
    assert "hidden unit 1" not in {described(cell) for cell in hunt.cell}


def test_two_hunts_with_one_seed_ask_the_same():
    first, second = Hunt(slope(SECRET), seed=3), Hunt(slope(SECRET), seed=3)
    for _ in range(3):
        first.round(300)
        second.round(300)
    assert first.known == second.known


# ---- adders with a fault in their weights --------------------------------------------------------

WRONG = {
    "seven nines": ((32204431, 67795569), (3220443, 6779557)),
    "nines wear": ((32204431, 67795569), (3220443, 6779557)),
    "a million": ((2408100703, 0), (2408100704, 0)),
    "a million late": ((2408100703, 0), (2408100704, 0)),
    "prefix": ((999999, 0), (99999, 0)),
    "one step": (SECRET, (SECRET[0], SECRET[1] + 1)),
    "hidden sums": (SECRET, (SECRET[0], SECRET[1] + 1)),
    "without a slope": ((sum(d * 10**c for c, d in MATCHES), 0), (2408100703, 0)),
}
"""Fault -> a sum it gets wrong, and one beside it that it gets right."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_adder_is_wrong_where_it_is_said_to_be_and_right_beside_it(fault):
    model, add = loaded(text=text_of(fault))
    wrong, right = WRONG[fault]
    assert add(model, *wrong) != sum(wrong) and add(model, *right) == sum(right)


def test_without_a_fault_the_adder_is_right_on_hard_cases():
    model, add = loaded(text=text_of("none"))
    decoder = Decoder.of(model, add)
    pairs = [
        *judging.TASK.hard(),
        *judging.TASK.structured(Random(1), 500),
        *counterexamples(Addition()),
    ]
    found = decoder.forced(pairs, [a + b for a, b in pairs])
    assert found.answers == [a + b for a, b in pairs] and found.gaps.min() > 0.99
    assert decoder.batch > 1 and decoder.causal


@pytest.mark.slow
def test_the_hunt_alone_refutes_a_fault_of_one_step():
    asked = Judge(Stranger(text=text_of("one step")).inside, 60.0)
    asked.prepare()
    assert asked.hunt().pair == SECRET


# ---- the command ---------------------------------------------------------------------------------


def test_verify_takes_a_file_and_its_replay_line_shows_the_failure(capsys, tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(PLAIN.replace("a + b", "a + b + (a > 9)"))
    code, out, err = run(capsys, "verify", str(file), "--seconds", "5", "--json")
    found = json.loads(out)
    assert code == 1 and "it is code" in err
    assert found["counterexample"]["shown"] == "10 + 0" and found["verdict"] == "refuted"
    assert found["suite"]["asked"] == 60 > found["suite"]["right"]
    assert found["replay"] == f"tinyadder verify {file} --problem '10 + 0'"
    code, out, _ = run(capsys, "verify", str(file), "--problem", "10 + 0")
    assert (code, out) == (1, f"REFUTED    10 + 0   expected 10, model 11, {BY_ADD}\n")
    code, out, _ = run(capsys, "verify", str(tmp_path), "--problem", "9 + 9")
    assert (code, out) == (0, "right      9 + 9 = 18\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("verify theirs.py --examples 3", "is a submission; it takes no --examples"),
        ("verify theirs.py -o digits=3", "is a submission; it takes no -o digits"),
        ("verify theirs.py --problem '1 2 3'", "this model adds 2"),
        ("verify add10 --seconds 3", "--seconds is for submissions; add10 is none"),
        ("verify add10 --problem '1 2'", "--problem is for submissions; add10 is none"),
        ("failures theirs.py --save", "is a submission; it takes no --save"),
        ("failures theirs.py -o digits=3", "is a submission; it takes no -o digits"),
        ("failures add10 --seed 3", "--seed is for submissions; add10 is none"),
    ],
)
def test_options_of_the_other_kind_are_refused(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text(PLAIN)
    code, out, err = run(capsys, *shlex.split(arguments))
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_what_a_hunt_finds_in_its_last_moment_is_still_confirmed():
    asked = Judge(Stranger(wrong_where("total % 100 == 0")).inside, 60.0)
    asked.prepare()
    first = asked.first_confirmed

    def late(pairs):
        if pairs:
            asked.end, asked.first_confirmed = 0.0, first
        return first(pairs)

    asked.first_confirmed = late  # the time is over when the first failure is to be confirmed
    assert sum(asked.hunt().pair) % 100 == 0


def test_a_hunt_ends_with_the_time():
    asked = Judge(Stranger(text=text_of("none")).inside, 60.0)
    asked.prepare()
    asked.end = time.monotonic() + 0.5
    assert asked.hunt() is None and asked.parts[-1].asked > 0
    assert time.monotonic() - asked.end < 5
