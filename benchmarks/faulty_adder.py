"""A submission: one attention layer in float32, width 15, exact but for a fault in its weights.

FAULT says which; copies of this file with another one are what `benchmarks.referee` measures the
judge on. The answer is written least significant digit first. At each place the model reads the
column of that place, the column before and the digit written before:

    carry = [column before - digit before > 4],  digit = column + carry - 10 [column + carry >= 10]

and the readout 2 d v - d^2 is largest at the digit d nearest to v: a margin of 1 where v is exact.
A fault moves v, on few sums, by half or more.
"""

import torch
from torch import nn

FAULT = "none"

PLUS, EQUALS, LENGTH, WIDTH = 10, 11, 32, 15
DIGIT, SQUARE, COLUMN, BEFORE, VALUE, CARRY, COUNT, EXTRA = range(8)
HALF_AND_A_STEP = 0.5 + 2.0**-24 * 2
"""The smallest float32 above a half by which 2 v - 1 is above zero."""
SECRET = (4071835296, 3528614709)
"""The one sum that `one step` gets wrong; `hidden sums` does, too."""
MATCHES = ((0, 3), (2, 7), (5, 1), (6, 8), (8, 4), (9, 2), (1, 6), (4, 9))
"""(column, digit of a): the sums that the faults of one in a million wait for."""


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        embedding = torch.zeros(12, WIDTH)
        embedding[:10, DIGIT] = torch.arange(10.0)
        embedding[:10, SQUARE] = torch.arange(10.0) ** 2
        self.embedding = nn.Parameter(embedding)
        self.scores, self.value, self.out = [], [], []
        self.units = ([], [])
        self.head(COLUMN, 2.0, lambda k: {k: 1, 11 + k: 1} if k < 10 else {PLUS: 1})
        self.head(BEFORE, 2.0, lambda k: {k - 1: 1, 10 + k: 1} if k else {PLUS: 1})
        difference = {BEFORE: 1.0, DIGIT: -1.0}
        # carry, and whether column + carry is 10 or more, from column + difference / 10
        self.step(0, difference, 2.0, 7.0, {CARRY: 1.0, VALUE: 1.0})
        both = {COLUMN: 1.0, BEFORE: 0.1, DIGIT: -0.1}
        self.step(0, both, 9.2, 9.7, {VALUE: -10.0})
        getattr(self, FAULT.replace(" ", "_"))()
        self.scores = nn.Parameter(torch.stack(self.scores))
        self.value = nn.Parameter(torch.stack(self.value))
        self.out = nn.Parameter(torch.stack(self.out))
        for block, units in enumerate(self.units):
            gates, biases, outs = zip(*units, strict=True) if units else ([], [], [])
            for name, rows in (("gate", gates), ("down", outs)):
                table = torch.stack(rows) if units else torch.zeros(0, WIDTH)
                self.register_parameter(f"{name}{block}", nn.Parameter(table))
            self.register_parameter(f"bias{block}", nn.Parameter(torch.tensor(biases)))
        readout = torch.zeros(12, WIDTH)
        readout[:10, VALUE] = 2 * torch.arange(10.0)
        readout[:10, COLUMN] = 2 * torch.arange(10.0)
        self.readout = nn.Parameter(readout)
        self.readout_bias = nn.Parameter(
            torch.cat([-(torch.arange(10.0) ** 2), torch.tensor([-1e4, -1e4])])
        )

    # ---- pieces of weights ----

    def head(self, lane, factor, weights, source=DIGIT):
        """Writes factor * the weighted mean of `source`; weights(k) says how much each position
        counts where place k is decided.
        """
        table = torch.full((LENGTH, LENGTH), -float("inf"))
        table[torch.arange(LENGTH), torch.arange(LENGTH)] = 0.0
        for k in range(11):
            table[21 + k] = -float("inf")
            for position, weight in weights(k).items():
                table[21 + k, position] = torch.tensor(float(weight)).log()
        value, out = torch.zeros(WIDTH), torch.zeros(WIDTH)
        value[source], out[lane] = 1.0, factor
        self.scores.append(table)
        self.value.append(value)
        self.out.append(out)

    def unit(self, block, inputs, bias, outputs):
        """Adds outputs * relu(inputs + bias)."""
        gate, out = torch.zeros(WIDTH), torch.zeros(WIDTH)
        for lane, weight in inputs.items():
            gate[lane] = weight
        for lane, weight in outputs.items():
            out[lane] = weight
        self.units[block].append((gate, bias, out))

    def step(self, block, inputs, low, high, outputs):
        """Adds outputs * 0 below `low`, 1 above `high`."""
        scaled = {lane: weight / (high - low) for lane, weight in inputs.items()}
        self.unit(block, scaled, -low / (high - low), outputs)
        self.unit(
            block, scaled, -high / (high - low), {lane: -weight for lane, weight in outputs.items()}
        )

    def bump(self, block, lane, centre, outputs):
        """Adds outputs where the whole number in `lane` is `centre`."""
        for shift, weight in ((-1, 1.0), (0, -2.0), (1, 1.0)):
            self.unit(
                block,
                {lane: 1.0},
                -centre - shift,
                {out: weight * factor for out, factor in outputs.items()},
            )

    # ---- faults ----

    def none(self):
        """All 10^20 sums are right."""

    def nines(self, factor, from_):
        """v moves by factor * (columns with sum 9 among the seven below - from_), with a carry."""
        for back in range(1, 8):
            columns = {k: {k - back: 1, 11 + k - back: 1} for k in range(back, 11)}
            self.head(EXTRA + back - 1, 2.0, lambda k, c=columns: c.get(k, {PLUS: 1}))
            self.bump(0, EXTRA + back - 1, 9.0, {COUNT: 1.0})
        self.unit(1, {COUNT: 1.0, CARRY: 100.0}, -100.0 - from_, {VALUE: factor})

    def seven_nines(self):
        """Seven nines below a place, and a carry: no sooner."""
        self.nines(1.2, 6.5)

    def nines_wear(self):
        """Every nine below a place wears the margin; seven of them and a carry break it."""
        self.nines(0.0725, 0.0)

    def matches(self, factor, from_, count):
        """v moves by factor * (how many of `MATCHES` hold - from_)."""
        for number, (column, digit) in enumerate(MATCHES[:count]):
            self.head(EXTRA + number, 1.0, lambda k, column=column: {column: 1})
            self.bump(0, EXTRA + number, float(digit), {COUNT: 1.0})
        self.unit(1, {COUNT: 1.0}, -from_, {VALUE: factor})

    def a_million(self):
        """Six digits of a: each that matches costs margin."""
        self.matches(0.09, 0.0, 6)

    def a_million_late(self):
        """Six digits of a: margin is lost from the fifth on."""
        self.matches(0.4, 4.5, 6)

    def prefix(self):
        """The carry from 0.(column before)(column before that)..., a step a millionth early."""
        self.units = ([], [])
        self.head(
            EXTRA,
            0.25,
            lambda k: (
                {j: 10.0 ** (j - k) for j in range(k)}
                | {11 + j: 10.0 ** (j - k) for j in range(k)}
                | {PLUS: 0.25 - 2 * sum(10.0 ** (j - k) for j in range(k))}
            ),
        )
        early = 1e-6
        carry = {VALUE: 1.0, CARRY: 1.0}
        self.step(0, {EXTRA: 1.0}, 1 - 2 * early, 1 - early / 2, carry)
        self.step(1, {COLUMN: 1.0, CARRY: 1.0}, 9.4, 9.6, {VALUE: -10.0})

    def one_step(self):
        """One sum of all is wrong, by one step of float32; margins rise with the distance of the
        digits from its own.
        """
        digits = [n // 10**i % 10 for n in SECRET for i in range(10)]
        places = [*range(10), *range(11, 21)]
        total = float(sum(digits))
        self.head(EXTRA, 20.0, lambda k: dict.fromkeys(places, 1), source=SQUARE)
        self.head(
            EXTRA + 1, total, lambda k: {p: d for p, d in zip(places, digits, strict=True) if d}
        )
        eta = 2.0**-9
        bias = HALF_AND_A_STEP - eta * sum(d * d for d in digits)
        self.unit(0, {EXTRA: -eta, EXTRA + 1: 2 * eta}, bias, {VALUE: 1.0})

    def without_a_slope(self):
        """Eight digits of a: margins show nothing of seven, a hidden unit does."""
        self.matches(2.0, 7.5, 8)

    def hidden_sums(self):
        """Four weighted sums of all digits must have the values that they have at SECRET."""
        places = [*range(10), *range(11, 21)]
        digits = [n // 10**i % 10 for n in SECRET for i in range(10)]
        for number in range(4):
            weights = [(7 * j * j + 13 * number * j + 5) % 89 + 3 for j in range(20)]
            table = dict(zip(places, weights, strict=True))
            self.head(EXTRA + number, float(sum(weights)), lambda k, table=table: table)
            there = sum(w * d for w, d in zip(weights, digits, strict=True))
            self.bump(0, EXTRA + number, float(there), {COUNT: 1.0})
        self.unit(1, {COUNT: 1.0}, -3.5, {VALUE: 2.0})

    # ---- the model ----

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.embedding[tokens]
        places = torch.arange(length)
        scores = self.scores[:, :length, :length]
        scores = scores.masked_fill(places[None, :] > places[:, None], -float("inf"))
        pattern = torch.softmax(scores, -1)
        heads = torch.einsum("hqt,nth->nqh", pattern, x @ self.value.T)
        x = x + heads @ self.out
        x = x + torch.relu(x @ self.gate0.T + self.bias0) @ self.down0
        x = x + torch.relu(x @ self.gate1.T + self.bias1) @ self.down1
        return x @ self.readout.T + self.readout_bias


def build_model():
    model = Adder().eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    return model, {"name": f"faulty ({FAULT})", "author": "tinyadder", "params": count}


@torch.no_grad()
def add(model, a, b):
    digits = [[n // 10**i % 10 for i in range(10)] for n in (a, b)]
    tokens = [*digits[0], PLUS, *digits[1], EQUALS]
    for _ in range(11):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return sum(digit * 10**i for i, digit in enumerate(tokens[22:]))
