"""Answers of the right types with anything in them: what is made of them is a result or one line,
never a traceback.
"""

from __future__ import annotations

from base64 import b64encode
from random import Random

import msgspec
import pytest
from msgspec import inspect

from tinyadder.errors import TinyadderError
from tinyadder.verify.count import RUNGS
from tinyadder.verify.count.foreign import count_submission
from tinyadder.verify.external.judge import judge
from tinyadder.verify.external.legality import foreign_legality
from tinyadder.verify.external.submission import Session, Submission

STRINGS = ("", "no", "stored", "torch.ops.aten.add", "-1", "\x1b[2J", "PROVED", "x" * 300)
NUMBERS = (0, 1, -1, 2, 3, 12, 10**6, 2**62)


def anything(kind, random, depth=0):
    """A value (of JSON) of a type as `msgspec.inspect` describes it."""

    def more(part):
        return anything(part, random, depth + 1)

    size = random.choice((0, 1, 2, 3, 12)) if depth < 5 else 0
    match kind:
        case inspect.IntType():
            return random.choice(NUMBERS)
        case inspect.FloatType():
            return random.choice((*NUMBERS, 0.5, 1e-9, -1e300))
        case inspect.BoolType():
            return random.random() < 0.5
        case inspect.BytesType():
            some = bytes(random.choice((0, 1, 9, 10, 255)) for _ in range(size * 11))
            return b64encode(some).decode()
        case inspect.StrType():
            return random.choice(STRINGS)
        case inspect.NoneType():
            return None
        case inspect.LiteralType():
            return random.choice(kind.values)
        case inspect.UnionType():
            return more(random.choice(kind.types))
        case inspect.ListType() | inspect.VarTupleType():
            return [more(kind.item_type) for _ in range(size)]
        case inspect.TupleType():
            return [more(part) for part in kind.item_types]
        case inspect.DictType(inspect.StrType(), inspect.IntType()) if random.random() < 0.8:
            return {rung: random.choice(NUMBERS) for rung in (*RUNGS, "strict")}
        case inspect.DictType():
            return {more(kind.key_type): more(kind.value_type) for _ in range(size)}
        case inspect.StructType() if kind.array_like:
            return [more(field.type) for field in kind.fields]
        case inspect.StructType() | inspect.TypedDictType() | inspect.DataclassType():
            tag = {kind.tag_field: kind.tag} if getattr(kind, "tag_field", None) else {}
            return tag | {field.encode_name: more(field.type) for field in kind.fields}
        case inspect.AnyType():
            return random.choice((None, 3, 0.5, "x", [], {}, [1, [2]], {"a": {"b": None}}))
    raise AssertionError(f"no values of {kind}")


@pytest.fixture
def forged(monkeypatch, tmp_path):
    """A submission whose process answers every question with the next of random answers; with the
    seed it is one of.
    """
    (tmp_path / "planted.py").write_text("def build_model(): pass\ndef add(model, a, b): pass\n")

    def make(seed):
        random = Random(seed)

        def answer(session, nonce, reply, seconds, watch):
            value = anything(inspect.type_info(reply), random)
            return msgspec.json.decode(msgspec.json.encode(value), type=reply)

        monkeypatch.setattr(Session, "_start", lambda session, namespaces: None)
        monkeypatch.setattr(Session, "close", lambda session: None)
        monkeypatch.setattr(Session, "_closed", False, raising=False)
        monkeypatch.setattr(Session, "_unsent", b"", raising=False)
        monkeypatch.setattr(Session, "_answer", answer)
        return Submission(tmp_path / "planted.py")

    return make


def legality(submission):
    for finding in foreign_legality(submission, [(1, 2), (3, 4)]):
        assert str(finding)
        assert finding.passed in (True, False, None)


def counts(submission):
    with submission.session() as session:
        found = count_submission(session, submission.place, why=True)
    assert all(isinstance(count, int) for count in found.counts.values())


def answers(submission):
    found = submission.add([(1, 2), (3, 4)])
    assert len(found) == 2


def verdict(submission):
    assert judge(submission, seconds=0.1, structured=10).verdict


@pytest.mark.parametrize(
    ("made", "seeds"),
    [(legality, 100), (counts, 100), (answers, 100), (verdict, 20)],
    ids=lambda made: getattr(made, "__name__", ""),
)
def test_whatever_an_answer_says_there_is_no_traceback(made, seeds, forged):
    ends = []
    for seed in range(seeds):
        try:
            made(forged(seed))
            ends.append("")
        except TinyadderError as error:
            ends.append(str(error))
    assert made is verdict or "" in ends  # arrays of the right size are not made by chance
    assert all("\n" not in end and "\x1b" not in end for end in ends)
