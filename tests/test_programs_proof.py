"""Proofs of compiled programs: what is proved is right, and no wrong model is ever proved."""

import json
from fractions import Fraction
from itertools import product
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.programs_strategy import programs
from tests.test_programs_columns import length_as_position
from tinyadder.construction import construct
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.programs import Refused, compile, indices, key, prefix, tokens
from tinyadder.verify.certify.check import Rejected
from tinyadder.verify.certify.programs.check import (
    Column,
    ProgramChecker,
    check,
    exactly,
    exp_of,
    fixed,
)
from tinyadder.verify.certify.programs.meaning import Meaning
from tinyadder.verify.certify.programs.prove import certify_program
from tinyadder.verify.verdict import Proved

ROOT = Path(__file__).parents[1]


def judge(model, task, folder, most_texts=0):
    save(model, task, folder, name="x", options={}, force=folder.exists())
    return certify_program(model, task, folder, most_texts)["verdict"]


def wrong(model, task):
    """The problems of the whole domain that the model answers wrongly."""
    domain = task.domain()
    problems = [domain.problem(n) for n in range(domain.size)]
    pairs = zip(problems, answers(model, task, problems), strict=True)
    return [p for p, given in pairs if tuple(given) != task.answer(p)]


@pytest.mark.parametrize("name", ["hist2", "palindrome", "dyck1"])
def test_programs_whose_lanes_share_columns_are_proved_and_right(name, tmp_path):
    each = construct(str(ROOT / "constructions" / "programs" / f"{name}.py"), length=3)
    least = compile(each.source, **{**each.options, "width": "min"})
    assert least.program.stream.width < each.program.stream.width
    model = build(least.program)
    assert isinstance(judge(model, least.task, tmp_path / name), Proved)
    assert not wrong(model, least.task)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("shift", 10),
        ("first_index", 10),
        ("cumulative_sum", 8),
        ("majority_so_far", 10),
        ("parity_so_far", 10),
        ("dyck1", 10),
        ("dyck2", 5),
        ("in_context", 10),
        ("shuffle_dyck2_ptf", 6),
        ("length", 10),
        ("hist", 10),
        ("reverse", 10),
        ("minimum", 5),
        ("palindrome", 5),
        ("sort", 5),
    ],
)
def test_programs_are_proved_for_every_text(name, length, tmp_path):
    made = construct(str(ROOT / "constructions" / "programs" / f"{name}.py"), length=length)
    verdict = judge(build(made.program), made.task, tmp_path / "m")
    assert isinstance(verdict, Proved), verdict
    assert f"{made.task.domain().size:,}" in verdict.domain
    assert verdict.margin > 0.9


x, i = tokens("abc"), indices()
counts = (key(x) == x).count()
SMALL = {
    "hist": compile((key(x) == x).count(), length=3),
    "previous": compile((key(i) == i - 1).pick(x, default="c"), length=4, causal=True),
    "share": compile(prefix().mean(x == "a"), length=4, causal=True),
    "reverse": compile((key(i) == 2 - i).latest(x, default="a"), length=3),
    "shared": compile((key(counts) == counts).count(), length=2, width="min"),
}
CHANGES = {
    "zero": lambda w: 0.0,
    "negated": lambda w: -w,
    "a little more": lambda w: w * 1.001,
    "half more": lambda w: w * 1.5,
    "one less": lambda w: w - 1,
}


@pytest.mark.parametrize(
    ("name", "count"),
    [("hist", 4), ("share", 3), *(pytest.param(n, 12, marks=pytest.mark.slow) for n in SMALL)],
)
def test_no_mutant_is_proved_that_a_text_refutes(name, count, tmp_path):
    made = SMALL[name]
    model = build(made.program)
    assert isinstance(judge(model, made.task, tmp_path / "m"), Proved)
    random, counts = Random(0), {"proved": 0, "refuted": 0, "unknown": 0}
    entries = [
        (parameter.data.view(-1), int(at))
        for parameter in model.parameters()
        for at in parameter.data.view(-1).nonzero()[:, 0]
    ]
    for flat, at in random.sample(entries, min(len(entries), count)):
        kept = flat[at].item()
        for change in CHANGES.values():
            flat[at] = change(kept)
            proved = isinstance(judge(model, made.task, tmp_path / "m"), Proved)
            refuted = bool(wrong(model, made.task))
            assert not (proved and refuted), (flat, at, kept)
            counts["proved" if proved else "refuted" if refuted else "unknown"] += 1
        flat[at] = kept
    assert counts["refuted"] > 2 and counts["proved"] + counts["unknown"] > 0, counts


def test_a_weight_that_depends_on_the_query_is_not_proved(tmp_path):
    """Found by the mutants: 128 -> 128.128 gives each token another weight in its sum."""
    made = SMALL["hist"]
    model = build(made.program)
    query = model.blocks[1].attention.query.data.view(-1)
    at = int((query == 128.0).nonzero()[0])
    query[at] = 128.128
    assert wrong(model, made.task) != []
    assert not isinstance(judge(model, made.task, tmp_path / "m"), Proved)


def test_lying_hints_are_rejected(tmp_path):
    made = SMALL["hist"]
    assert isinstance(judge(build(made.program), made.task, tmp_path / "m"), Proved)
    file = tmp_path / "m" / "certificate.json"
    honest = json.loads(file.read_text())
    (count,) = [h for h in honest["heads"] if h["lane"] == "count"]
    for change in ({"node": "index"}, {"own": True}, {"shift": [1, 1]}, {"node": "copy"}):
        heads = [h | change if h["lane"] == "count" else h for h in honest["heads"]]
        file.write_text(json.dumps(honest | {"heads": heads}))
        with pytest.raises(Rejected):
            check(tmp_path / "m")
    file.write_text(json.dumps(honest | {"heads": [h for h in honest["heads"] if h != count]}))
    with pytest.raises(Rejected, match="nothing is said of column"):
        check(tmp_path / "m")
    file.write_text(json.dumps(honest | {"model": "0" * 64}))
    with pytest.raises(Rejected, match="other weights"):
        check(tmp_path / "m")


def test_a_task_that_means_something_else_is_not_proved(tmp_path):
    hist, prefix_hist = SMALL["hist"], compile((prefix() & (key(x) == x)).count(), length=3)
    model = build(hist.program)
    other = prefix_hist.task
    assert model.config.vocabulary != other.vocabulary or not isinstance(
        judge(model, other, tmp_path / "m"), Proved
    )
    causal = compile((key(x) == x).count(), length=3, causal=True)
    graph = json.loads(causal.task.program)
    graph["causal"] = False  # now the program may look ahead, and the model does not
    lying = type(causal.task)(json.dumps(graph), 3, 0)
    assert not isinstance(judge(build(causal.program), lying, tmp_path / "n"), Proved)


def test_a_query_that_selects_nothing_must_stay_silent(tmp_path):
    """Found by review: only queries that select something were held against the others."""
    after = x.map({"a": "b", "b": "c", "c": "d"}.get)
    made = compile((key(x) == after).count(), length=3)
    model = build(made.program)
    assert isinstance(judge(model, made.task, tmp_path / "m"), Proved)
    embedding = model.embedding.data
    letters = {t: made.task.vocabulary.index(t) for t in "abc"}
    refuted = 0
    for column in range(embedding.shape[1]):  # c looks for what a or b looks for
        for other in "ab":
            kept = embedding[letters["c"], column].item()
            embedding[letters["c"], column] = embedding[letters[other], column]
            if wrong(model, made.task):
                refuted += 1
                assert not isinstance(judge(model, made.task, tmp_path / "m"), Proved)
            embedding[letters["c"], column] = kept
    assert refuted > 0


@pytest.mark.parametrize(
    ("tensor", "at", "factor", "said"),
    [
        ("embedding", 17, 10, "an unselected position with a higher score"),
        ("blocks.1.attention.key_bias", 0, 12, "not a normal number"),
        ("blocks.0.attention.key_bias", 0, 12, "not a normal number"),
    ],
)
def test_a_sum_is_bounded_only_where_its_bound_holds(tensor, at, factor, said, tmp_path):
    """Found by review: the leak of unselected positions was bounded for lower scores only, and
    rounding for normal numbers only.
    """
    model = build(SMALL["hist"].program)
    dict(model.named_parameters())[tensor].data.view(-1)[at] *= factor
    assert said in str(judge(model, SMALL["hist"].task, tmp_path / "m"))


def test_copies_are_counted_only_by_a_value_that_is_known_in_every_copy():
    """Found by review: a hidden unit that is 0 at tokens from the second copy on was believed to
    be 0 in the first.
    """
    counter = ProgramChecker(
        SimpleNamespace(), SimpleNamespace(copies=1, length=3), {"codes": [], "heads": []}
    )

    def column(number, separator, level=0):
        boxes = [(number, number), (number, number), (separator, separator)]
        held, mark = exactly(Fraction(number)), fixed(exactly(Fraction(separator)))
        return Column((), {(): held}, boxes, [mark], level)

    one, low = column(1.0, 1.0), column(-64.0, -64.0)
    held = column(0.0, float(1 / exp_of(Fraction(-64))))
    assert counter.copies([one], [low], held, 0.0).table[(1,)][0] == 1
    held.level = 1
    held.boxes[0] = (0.0, 5.0)
    with pytest.raises(Rejected, match="not known in every copy"):
        counter.copies([one], [low], held, 0.0)


def test_positions_are_not_counted_in_the_copy_before(tmp_path):
    """Found by review: a head that finds the length was taken for one that finds the position."""
    model, task = length_as_position()
    assert wrong(model, task) != []
    verdict = judge(model, task, tmp_path / "m")
    assert "positions are counted in the copy before" in str(verdict)


def test_two_tokens_with_one_value_are_refused():
    """Only the weights of one of them would be looked at."""
    graph = json.loads(SMALL["hist"].task.program)
    Meaning(graph, 3, 1)
    graph["inputs"].append([graph["inputs"][0][0], "other"])
    with pytest.raises(Rejected, match="two tokens have one value"):
        Meaning(graph, 3, 1)


RANKS = {
    "stable": ((key(x) < x).count() + (prefix() & (key(x) == x)).count() - 1, True, True),
    "not stable": ((key(x) < x).count(), True, False),
    "from 1": ((key(x) < x).count() + (prefix() & (key(x) == x)).count(), False, False),
    "overlapping": ((key(x) <= x).count() + (prefix() & (key(x) == x)).count() - 1, False, False),
    "equal ones reversed": (
        (key(x) < x).count() + ((key(i) >= i) & (key(x) == x)).count() - 1,
        True,
        True,
    ),
    "no order": ((key(x) != x).count(), True, False),
    "twice": (2 * (key(x) < x).count(), False, False),
}


@pytest.mark.parametrize(("node", "inside", "distinct"), RANKS.values(), ids=RANKS)
def test_a_rank_is_what_it_is_said_to_be(node, inside, distinct):
    graph = json.loads(compile(node, length=3).task.program)
    meaning = Meaning(graph, 3, 1)
    rank = meaning.rank(graph["output"])
    assert (rank.inside, rank.distinct) == (inside, distinct)
    for text in (t for n in (1, 2, 3) for t in product("abc", repeat=n)):
        values = node(text)
        assert not inside or {*values} <= {*range(len(text))}
        assert not distinct or len({*values}) == len(text)


def test_a_pick_that_may_select_two_is_proved_only_where_it_has_a_value(tmp_path):
    rank = (key(x) < x).count()
    made = compile((key(rank) == i).pick(x), length=3)
    verdict = judge(build(made.program), made.task, tmp_path / "m")
    assert isinstance(verdict, Proved) and "wherever the program has a value" in verdict.domain
    stable = compile((key(RANKS["stable"][0]) == i).pick(x), length=3)
    verdict = judge(build(stable.program), stable.task, tmp_path / "n")
    assert isinstance(verdict, Proved) and "wherever" not in verdict.domain


def test_a_mean_of_what_is_no_number_is_refused(tmp_path):
    made = compile((key(x) == x).mean(x, default="a"), length=3)
    assert "not numbers" in str(judge(build(made.program), made.task, tmp_path / "m"))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.booleans())
def test_a_random_program_that_is_proved_is_right_on_every_text(tmp_path_factory, program, causal):
    try:
        made = compile(program, length=3, causal=causal, vocabulary="abc")
    except Refused:
        return
    model = build(made.program)
    if isinstance(judge(model, made.task, tmp_path_factory.mktemp("m") / "m"), Proved):
        assert wrong(model, made.task) == []


def test_numbers_are_proved_to_a_quarter_of_their_distance(tmp_path):
    made = compile(prefix().mean(x == "a"), length=4, causal=True, answers="number")
    model = build(made.program)
    verdict = judge(model, made.task, tmp_path / "m")
    assert isinstance(verdict, Proved) and "quarter" in verdict.domain
    model.unembedding.data *= 1.2  # 1 is read as 1.2, and the least distance is 1/12
    assert not isinstance(judge(model, made.task, tmp_path / "m"), Proved)
