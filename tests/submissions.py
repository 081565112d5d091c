"""Submission files for the tests, as text: one honest adder, and others with one fault each."""

LOOP = """

def add(model, a, b):
    text = [VOCABULARY.index(c) for c in f"^{a:010d}+{b:010d}="]
    start = len(text)
    for _ in range(11):
        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    return int("".join(VOCABULARY[t] for t in text[start:]))
"""

HONEST = (
    '''
import math
import torch
from torch import nn

VOCABULARY = "0123456789=^$+"


class Adder(nn.Module):
    """The remainder machine: digits weighed by place, plus in the operands, minus in the answer."""

    def __init__(self):
        super().__init__()
        embedding = torch.zeros(14, 2, dtype=torch.float64)
        embedding[:10, 0] = torch.arange(10)
        embedding[13] = torch.tensor([5e-11, 1])
        embedding[11, 1] = 1
        embedding[10, 1] = -10
        self.embedding = nn.Parameter(embedding)
        self.gain = nn.Parameter(torch.tensor(math.exp(40), dtype=torch.float64))
        digits = torch.arange(10).double()
        self.unembedding = nn.Parameter(torch.stack([10.0 * digits, digits * (digits + 1) / 2]))

    def attend(self, values, slope):
        place = torch.arange(values.shape[-1], dtype=torch.float64)
        scores = slope * (place - place[:, None]) - 40.0
        scores = scores.masked_fill(place > place[:, None], -math.inf)
        nothing = torch.zeros(len(place), 1, dtype=torch.float64)  # a key for softmax1
        return torch.softmax(torch.cat([scores, nothing], -1), -1)[:, :-1] @ values[..., None]

    def forward(self, tokens):
        digit, flag = self.embedding[tokens].unbind(-1)
        weight = self.attend(self.gain * flag, math.log(10))[..., 0]
        rest = self.attend(self.gain * torch.relu(digit) * weight, 0.0)[..., 0]
        return torch.stack([rest, weight], -1) @ self.unembedding.double()


def build_model():
    return Adder(), {"name": "stand-in", "params": 12}
'''
    + LOOP
)

ROUTED = '''
import torch
from torch import nn


class Model(nn.Module):
    """141 elements of parameters, 48 of them not zero, 33 different values; a mask routes."""

    def __init__(self):
        super().__init__()
        weights = torch.zeros(141)
        weights[:33] = torch.arange(2, 35)
        weights[33:48] = torch.arange(2, 17)
        self.weights = nn.Parameter(weights)
        self.register_buffer("mask", torch.rand(3, 34, 34, dtype=torch.float64) - 2)

    def forward(self, x):
        return x * self.weights


def build_model():
    return Model()


def add(model, a, b):
    return a + b
'''

_ADDER = (
    '''
import math
import torch
from torch import nn

VOCABULARY = "0123456789=^$+"


class Adder(nn.Module):
    """The remainder machine: ten digits, ten centres of what a digit may leave, and `rest`."""

    def __init__(self):
        super().__init__()
        self.digits = nn.Parameter(torch.arange(1, 11).double())  # one too many, taken off below
        self.centres = nn.Parameter(torch.arange(10).double() + 0.5)
        self.rest = REST

    def attend(self, values, slope):
        place = torch.arange(values.shape[-1], dtype=torch.float64)
        scores = slope * (place - place[:, None]) - DEPTH
        scores = scores.masked_fill(place > place[:, None], -math.inf)
        nothing = torch.zeros(len(place), 1, dtype=torch.float64)
        return torch.softmax(torch.cat([scores, nothing], -1), -1)[:, :-1] @ values[..., None]

    def forward(self, tokens):
        digit = torch.where(tokens < 10, self.digits[tokens.clamp(max=9)] - 1, 0 * self.digits[0])
        digit = torch.where(tokens == 13, HALF_UNIT, digit)
        flag = torch.where(tokens == 10, BACK, ((tokens == 11) | (tokens == 13)).double())
        weight = self.attend(GAIN * flag, math.log(10))[..., 0]
        rest = self.attend(GAIN * digit * weight, 0.0)[..., 0]
        return -(rest[..., None] * 10.0 + weight[..., None] * self.centres).abs()


def build_model():
    return Adder(), {"name": "stand-in", "params": CLAIM}
'''
    + LOOP
)


def _adder(**numbers):
    """The file with these in place of the names in capitals."""
    text = _ADDER
    for name, number in numbers.items():
        text = text.replace(name, number)
    return text


# what gives a digit its weight is written in the code
TWENTY = _adder(
    REST="None", HALF_UNIT="5e-11", BACK="-10.0", GAIN="math.exp(40)", DEPTH="40.0", CLAIM="20"
)
# four more numbers are parameters, and the claim has four of the code on top
TWENTY_EIGHT = _adder(
    REST="nn.Parameter(torch.tensor([5e-11, -10.0, math.exp(40), 40.0], dtype=torch.float64))",
    **{name: f"self.rest[{i}]" for i, name in enumerate(("HALF_UNIT", "BACK", "GAIN", "DEPTH"))},
    CLAIM="28",
)

PARALLEL = """
import torch
from torch import nn


class Model(nn.Module):
    \"\"\"Adds the numbers of the prompt by integer arithmetic and deals out the digits.\"\"\"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, tokens):
        logits = torch.zeros(1, tokens.shape[1], 14)
        number = lambda digits: int("".join(str(int(d)) for d in digits))
        total = f"{number(tokens[0, 1:11]) + number(tokens[0, 12:22]):011d}"
        for k in range(22, tokens.shape[1]):
            logits[0, k, int(total[min(k - 22, 10)])] = 1
        return logits


def build_model():
    return Model()


def add(model, a, b):
    text = ["0123456789=^$+".index(c) for c in f"^{a:010d}+{b:010d}="]
    for _ in range(11):
        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    return int("".join(str(t) for t in text[23:]))
"""

PRETENDS = HONEST.replace(
    'return int("".join(VOCABULARY[t] for t in text[start:]))', "return a + b"
)
assert PRETENDS != HONEST

BROKEN = {
    "crash": (
        "def build_model():\n    raise RuntimeError('no weights')\ndef add(m, a, b): return 0\n",
        "no weights",
    ),
    "syntax": ("def build_model(:\n", "line 1: invalid syntax"),
    "no add": ("def build_model(): pass\n", r"defines no function add\(\)"),
    "no model": ("def build_model(): return 3\ndef add(m, a, b): return 0\n", "returned a int"),
    "exit": (
        "import os\ndef build_model(): os._exit(7)\ndef add(m, a, b): return 0\n",
        "exit code 7",
    ),
    "quit": ("def build_model(): raise SystemExit\ndef add(m, a, b): return 0\n", "SystemExit"),
    "hang": (
        "def build_model():\n    while True: pass\ndef add(m, a, b): return 0\n",
        "did not finish within|processor",
    ),
    "memory": (
        "def build_model(): return bytearray(10**11)\ndef add(m, a, b): return 0\n",
        "more memory",
    ),
    "abort": ("import os\ndef build_model(): os.abort()\ndef add(m, a, b): return 0\n", "signal 6"),
}
"""What build_model does -> the file, and what is said of it."""
