"""The verifier's own decoding of a stranger's model: formats, batches, and what is refused."""

import numpy as np
import pytest

from tests.stranger import LOOP, RESULT, loaded
from tinyadder.verify.external.decoding import Decoder
from tinyadder.verify.external.formats import spread
from tinyadder.verify.external.recording import NotRecovered, recorded

PAIRS = spread(20, seed=5)
RIGHT = [a + b for a, b in PAIRS]

GENERATE = """def generate(self, tokens):
        for _ in range(11):
            row = self.forward(tokens)[:, -1]
            tokens = torch.cat([tokens, row.argmax(-1, keepdim=True)], 1)
        return tokens

    def forward"""
BESIDE = """def logits_of(model, tokens):
    return model.hidden(tokens)[0]

def build_model"""
UNBATCHED = "tokens = tokens[None]; n, length = tokens.shape"
READ, RETURN, SHAPE = "logits[0, -1]", "return logits\n", "n, length = tokens.shape"
FORMATS = {
    "last logits only": [(RETURN, "return logits[:, -1]\n"), (READ, "logits[0]")],
    "a tuple": [(RETURN, "return logits, None\n"), (READ, "logits[0][0, -1]")],
    "an object": [
        (RETURN, "return type('Output', (), {'logits': logits})\n"),
        (READ, "logits.logits[0, -1]"),
    ],
    "the smallest": [("= -(torch", "= (torch"), ("argmax", "argmin")],
    "most significant first": [
        ("(place - 22)", "(32 - place)"),
        ("enumerate(tokens[23:])", "enumerate(tokens[:22:-1])"),
    ],
    "no batch": [("tensor([tokens])", "tensor(tokens)"), (SHAPE, UNBATCHED)],
    "batches refused": [(SHAPE, SHAPE + "; assert n == 1")],
    "a plain object": [("(nn.Module)", ""), ("def forward", "def __call__")],
    "a method": [("def forward", "def step"), (" model(", " model.step(")],
    "generate in the model": [
        (LOOP, "    tokens = model.generate(torch.tensor([tokens]))[0].tolist()\n"),
        ("def forward", GENERATE),
    ],
    "a function beside it": [
        ("def build_model", BESIDE),
        ("def forward", "def hidden"),
        (RETURN, "return [logits]\n"),
        (" model(torch", " logits_of(model, torch"),
    ],
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_recovered_and_any_pairs_are_decoded(name):
    model, add = loaded(*FORMATS[name])
    decoder = Decoder.of(model, add)
    assert decoder.decode(PAIRS).answers == RIGHT and not decoder.altered
    assert (decoder.batch == 1) == (name in ("batches refused", "no batch"))
    assert decoder.causal == (name != "last logits only")
    assert str(decoder.format).startswith("prompt of 23 tokens ('11' a 0..9 '10' b 0..9 '11')")


def test_leads_are_those_of_the_logits_and_one_pass_gives_what_greedy_decoding_gives():
    model, add = loaded(("- digit[:, None]).abs()", "- digit[:, None]).abs() * (place - 20)"))
    decoder = Decoder.of(model, add)
    greedy, forced = decoder.decode(PAIRS), decoder.forced(PAIRS, RIGHT)
    assert (greedy.gaps == np.arange(2, 13)).all() and (forced.gaps == greedy.gaps).all()
    assert (forced.digits == greedy.digits).all()
    wrong = decoder.forced(PAIRS[:1], [RIGHT[0] + 1])  # the model goes on by itself: digits stay
    assert (wrong.digits == greedy.digits[:1]).all()


FILLED = """
    for k in range(23, 34):
        logits = model(torch.tensor([tokens + [0] * (34 - len(tokens))]))
        tokens.append(int(logits[0, k - 1].argmax()))
"""


def test_a_text_of_fixed_width_that_is_filled_in():
    decoder = Decoder.of(*loaded((LOOP, FILLED)))
    assert decoder.decode(PAIRS).answers == RIGHT and not decoder.causal
    assert "is filled in" in str(decoder.format)


def test_pairs_of_digits_as_tokens_and_tokens_that_are_no_digits():
    model, add = loaded(
        ("[n // 10**i % 10 for i in range(10)]", "n"),
        (
            "[11, *digits(a), 10, *digits(b), 11]",
            "[110] * 12 + [10 * (a // 10**i % 10) + b // 10**i % 10 for i in range(10)] + [120]",
        ),
        ("(tokens[:, 1:11] * powers).sum(1)", "(tokens[:, 12:22] // 10 * powers).sum(1)"),
        ("(tokens[:, 12:22] * powers).sum(1)", "(tokens[:, 12:22] % 10 * powers).sum(1)"),
        ("int(logits[0, -1].argmax())", "int(logits[0, -1].argmax()) + 200"),
        ("sum(d *", "sum((d - 200) *"),
    )
    decoder = Decoder.of(model, add)
    assert decoder.decode(PAIRS).answers == RIGHT and "column 0..9" in str(decoder.format)


CACHED = """
    given, cache = tokens, None
    for _ in range(11):
        logits, cache = model(torch.tensor([given]), cache=cache)
        given = [int(logits[0, -1].argmax())]
        tokens += given
"""


def test_a_cache_of_the_text_before_is_done_without():
    joined = "tokens = tokens if cache is None else torch.cat([cache, tokens], 1)\n        "
    model, add = loaded(
        ("def forward(self, tokens)", "def forward(self, tokens, cache=None)"),
        (SHAPE, joined + SHAPE),
        (RETURN, "return logits, tokens\n"),
        (LOOP, CACHED),
    )
    assert Decoder.of(model, add).decode(PAIRS).answers == RIGHT


STOPPING = """
    for _ in range(12):
        choice = int(model(torch.tensor([tokens]))[0, -1].argmax())
        if choice == 11:
            break
        tokens.append(choice)
"""


def test_answers_of_any_length_end_at_a_stop():
    end = "digit[(total < 10 ** (place - 22)) & (place > 22)] = 11; logits[:, place] = "
    decoder = Decoder.of(*loaded(("logits[:, place] = ", end), (LOOP, STOPPING)))
    short = [(0, 7), (12, 5), (99, 1), (9999999999, 1)]
    assert decoder.format.length is None and decoder.decode(short).answers == [7, 17, 100, 10**10]
    assert decoder.format.read([7, 1, 11, 3]) == 17 and decoder.format.read([7, 10, 11]) is None
    assert decoder.decode(PAIRS).answers == RIGHT


STATE = "self.k = getattr(self, 'k', 0) + 0.01; "
REFUSED = {
    "a sum written into the prompt": (
        [("prompt(a, b)\n", "prompt(a, b)\n    tokens[0] = 12 + (a + b) % 7\n")],
        "token 1 of pass 1 is no function of a digit",
    ),
    "an answer that is not the model's": ([(RESULT, "return 3 * a + b")], "not spelled by"),
    "no model": ([(LOOP, ""), (RESULT, "return a + b")], "no call that turns integer tokens into"),
    "one pass": (
        [("range(11)", "range(1)"), (RESULT, "return a + b")],
        "one pass of the model gives the whole answer",
    ),
    "another choice": ([("argmax())", "argmax()) // 2")], "not the largest logit"),
    "state between passes": (
        [(SHAPE, STATE + SHAPE), ("digit[:, None])", "digit[:, None] + self.k)")],
        "other logits when repeated",
    ),
    "a crash": ([("tokens = prompt(a, b)", "tokens = [*prompt(a, b), []]")], "Error: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_recovered_is_refused_with_the_reason(name):
    changes, said = REFUSED[name]
    with pytest.raises(NotRecovered, match=said):
        Decoder.of(*loaded(*changes))


def test_an_add_that_repairs_the_answer_is_noticed():
    model, add = loaded(
        ("digit = total //", "digit = (total + (total % 10**6 == 0)) //"),
        (RESULT, RESULT.replace("return", "s =") + "\n    return s - (s % 10**6 == 1)"),
    )
    decoder = Decoder.of(model, add)
    assert (0, 0, 0, 1) in decoder.altered
    assert decoder.decode([(1500000, 500000)]).answers == [2000001]
    assert add(model, 1500000, 500000) == 2000000


def test_a_model_that_copies_what_follows_is_not_causal():
    copies = "logits[:, :-1] += 2.0 * nn.functional.one_hot(tokens[:, 1:], 12)\n        "
    decoder = Decoder.of(*loaded((RETURN, copies + RETURN)))
    assert decoder.decode(PAIRS).answers == RIGHT and not decoder.causal


def test_recording_leaves_everything_as_it_was():
    model, add = loaded(("(nn.Module)", ""), ("def forward", "def __call__"))
    kind, names = type(model), dict(add.__globals__)
    with recorded(model, add) as recorder:
        add(model, 1, 2)
        assert len(recorder.calls) == 11 and type(model) is not kind
    assert type(model) is kind and vars(model) == {} and add.__globals__ == names
