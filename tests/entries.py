"""Submission files in many styles, as text: honest adders, and cheats with one trick each.

All are variations of one file. The machine: digits come least significant first, four heads fetch
the digits of this column and of the one before, the carry is what the column before left over its
written digit, and the readout is a parabola.
"""

TEMPLATE = '''
import math
import torch
import torch.nn.functional as F
from torch import nn

DTYPE = torch.float32
SCALE = 100.0
BEGIN, PLUS, EQUALS, PLACES = 10, 11, 12, 34
OFFSETS = (21, 10, 22, 11)  # of the digits of a and b in this column, and in the one before


def shift(offset):
    """Which place is `offset` before which."""
    return torch.diag(torch.ones(PLACES - offset, dtype=DTYPE), -offset)


def causal(n):
    return torch.ones(n, n, dtype=torch.bool).triu(1)


# attention


class Attention(nn.Module):
    """Queries and keys read learned positions, values the token."""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.stack([SCALE * shift(offset) for offset in OFFSETS]))

    def forward(self, x):
        value, place = x[..., :1], x[..., 1:]
        scores = torch.einsum("bip,hpq,bjq->bhij", place, self.query, place)
        scores = scores.masked_fill(causal(x.shape[1]), -math.inf)
        pattern = torch.softmax(scores, -1)
        return (pattern @ value[:, None])[..., 0].transpose(1, 2)


# model


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        digits = torch.arange(10, dtype=DTYPE)
        self.tokens = nn.Embedding(13, 1, dtype=DTYPE)
        self.tokens.weight.data = torch.cat([digits, torch.zeros(3, dtype=DTYPE)])[:, None]
        self.places = nn.Parameter(torch.eye(PLACES, dtype=DTYPE))
        self.attention = Attention()
        self.readout = nn.Parameter(torch.stack([2 * digits, -digits * digits]))
        self.ninth = nn.Parameter(torch.tensor(1 / 9, dtype=DTYPE))

    def embed(self, tokens):
        places = self.places[: tokens.shape[1]].expand(len(tokens), -1, -1)
        return torch.cat([self.tokens(tokens), places], -1)

    def forward(self, tokens):
        x = self.embed(tokens)
        a, b, a_before, b_before = self.attention(x).unbind(-1)
        left = (a_before + b_before - x[..., 0]) * self.ninth
        carry = F.relu(left) - F.relu(left - 1)
        total = a + b + carry
        digit = total - 10 * (F.relu(total - 9) - F.relu(total - 10))
        return torch.stack([digit, torch.ones_like(digit)], -1) @ self.readout


# add


def build_model():
    return Adder().eval(), {"name": "entry", "params": 1}


def encode(a, b):
    a, b = ([int(c) for c in f"{n:010d}"[::-1]] for n in (a, b))
    return [BEGIN, *a, PLUS, *b, EQUALS]


def decode(digits):
    return sum(d * 10**k for k, d in enumerate(digits))


@torch.no_grad()
def add(model, a, b):
    text = encode(a, b)
    for _ in range(11):
        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    return decode(text[-11:])
'''


def changed(*changes):
    """The template with some of its text replaced, each of it there exactly once."""
    text = TEMPLATE
    for old, new in changes:
        assert text.count(old) == 1, (text.count(old), old)
        text = text.replace(old, new)
    return text


def part(name):
    """The text between the comments of these names."""
    names = ["# attention\n", "# model\n", "# add\n"]
    start = names.index(f"# {name}\n")
    begin = TEMPLATE.index(names[start])
    end = TEMPLATE.index(names[start + 1]) if start < 2 else len(TEMPLATE)
    return TEMPLATE[begin:end]


PATTERN = "        pattern = torch.softmax(scores, -1)\n"
FORWARD = "    def forward(self, tokens):\n        x = self.embed(tokens)\n"
EMBEDDED = "        return torch.cat([self.tokens(tokens), places], -1)\n"
LOGITS = "        return torch.stack([digit, torch.ones_like(digit)], -1) @ self.readout\n"
FETCHED = "        a, b, a_before, b_before = self.attention(x).unbind(-1)\n"
STEP = "        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))\n"
SCORES = '        scores = torch.einsum("bip,hpq,bjq->bhij", place, self.query, place)\n'
MASKED = "        scores = scores.masked_fill(causal(x.shape[1]), -math.inf)\n"
AVERAGED = "        return (pattern @ value[:, None])[..., 0].transpose(1, 2)\n"
QUERY = "        self.query = nn.Parameter(torch.stack([SCALE * shift(offset) for offset in OFFSETS]))\n"

MULTIHEAD = '''# attention


class Attention(nn.Module):
    """torch's own, on a stream that is padded to a multiple of the heads."""

    def __init__(self):
        super().__init__()
        width = 4 * (PLACES + 1)
        self.inner = nn.MultiheadAttention(width, 4, bias=False, batch_first=True, dtype=DTYPE)
        weights = torch.zeros(3, 4, PLACES + 1, width, dtype=DTYPE)
        for head, offset in enumerate(OFFSETS):
            key = math.sqrt(PLACES + 1) * SCALE * shift(offset)
            weights[0, head, 1:, 1 : PLACES + 1] = key.T
            weights[1, head, 1:, 1 : PLACES + 1] = torch.eye(PLACES, dtype=DTYPE)
            weights[2, head, 0, 0] = 1
        self.inner.in_proj_weight.data = weights.reshape(3 * width, width)
        out = torch.zeros(width, width, dtype=DTYPE)
        out[torch.arange(4), (PLACES + 1) * torch.arange(4)] = 1
        self.inner.out_proj.weight.data = out

    def forward(self, x):
        x = F.pad(x, (0, 3 * (PLACES + 1)))
        made, _ = self.inner(x, x, x, attn_mask=causal(x.shape[1]), need_weights=NEED)
        return made[..., :4]


'''

FUSED = """        value, place = x[..., :1], x[..., 1:]
        query = torch.einsum("bip,hpq->bhiq", place, self.query) * math.sqrt(PLACES)
        made = F.scaled_dot_product_attention(
            query, place[:, None]HEADS, value[:, None]HEADS, is_causal=TrueMORE
        )
        return made[..., 0].transpose(1, 2)
"""
BY_HAND = part("attention").partition("        value, place")[2]
BY_HAND = "        value, place" + BY_HAND.rstrip("\n") + "\n"


def fused(heads, more):
    return changed((BY_HAND, FUSED.replace("HEADS", heads).replace("MORE", more)))


ROTARY = (
    (QUERY, """        self.turns = nn.Parameter(2 * math.pi / PLACES * torch.tensor([1.0, 2, 5, 9, 14]))
        self.offsets = nn.Parameter(torch.tensor(OFFSETS, dtype=DTYPE))
        self.scale = nn.Parameter(torch.tensor(SCALE, dtype=DTYPE))

    def rotated(self, x, angle):
        one, two = x.unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([one * cos - two * sin, one * sin + two * cos], -1).flatten(-2)
"""),
    (SCORES, """        at = torch.arange(x.shape[1], dtype=DTYPE)
        unit = torch.tensor([1.0, 0.0], dtype=DTYPE).expand(1, x.shape[1], 5, 2)
        key = self.rotated(unit, at[:, None] * self.turns)
        turned = (at - self.offsets[:, None])[..., None] * self.turns
        query = self.rotated(unit, turned) * self.scale
        scores = (query @ key.transpose(-1, -2))[None].expand(len(x), -1, -1, -1)
"""),
)  # fmt: skip

NORMED = (
    (QUERY, QUERY + "        self.norm = nn.RMSNorm(PLACES, dtype=DTYPE)\n"),
    ("        value, place = x[..., :1], x[..., 1:]\n",
     "        value, place = x[..., :1], self.norm(x[..., 1:])\n"),
)  # fmt: skip

CACHED_FORWARD = (
    ("    def forward(self, x):\n        value, place = x[..., :1], x[..., 1:]\n",
     "    def forward(self, x, past):\n        value, place = x[..., :1], x[..., 1:]\n"
     "        past = x if past is None else torch.cat([past, x], 1)\n"
     "        values, places = past[..., :1], past[..., 1:]\n"),
    ('"bip,hpq,bjq->bhij", place, self.query, place)', '"bip,hpq,bjq->bhij", place, self.query, places)'),
    (MASKED, "        mask = causal(past.shape[1])[-x.shape[1] :]\n"
     "        scores = scores.masked_fill(mask, -math.inf)\n"),
    (AVERAGED, "        return (pattern @ values[:, None])[..., 0].transpose(1, 2), past\n"),
)  # fmt: skip
CACHE = (
    *CACHED_FORWARD,
    ("    def embed(self, tokens):\n        places = self.places[: tokens.shape[1]]",
     "    def embed(self, tokens, start):\n"
     "        places = self.places[start : start + tokens.shape[1]]"),
    (FORWARD, "    def forward(self, tokens, past=None):\n"
     "        x = self.embed(tokens, 0 if past is None else past.shape[1])\n"
     "        fetched, past = self.attention(x, past)\n"),
    (FETCHED, "        a, b, a_before, b_before = fetched.unbind(-1)\n"),
    (LOGITS, LOGITS.rstrip("\n") + ", past\n"),
    (STEP, "        feed = text if len(text) == 23 else text[-1:]\n"
     "        logits, past = model(torch.tensor([feed]), None if len(text) == 23 else past)\n"
     "        text.append(int(logits[0, -1].argmax()))\n"),
)  # fmt: skip

HONEST = {
    "plain": TEMPLATE,
    "nn.MultiheadAttention": TEMPLATE.replace(part("attention"), MULTIHEAD.replace("NEED", "False")),
    "nn.MultiheadAttention with weights": TEMPLATE.replace(
        part("attention"), MULTIHEAD.replace("NEED", "True")
    ),
    "fused attention": fused(".expand(-1, 4, -1, -1)", ""),
    "grouped queries": fused("", ", enable_gqa=True"),
    "softmax1": changed((PATTERN, """        highest = scores.amax(-1, keepdim=True).clamp(min=0)
        weights = torch.exp(scores - highest)
        pattern = weights / (torch.exp(-highest) + weights.sum(-1, keepdim=True))
""")),
    "softmax1 by a null key": changed((PATTERN, """        null = torch.zeros_like(scores[..., :1])
        pattern = torch.softmax(torch.cat([scores, null], -1), -1)[..., :-1]
""")),
    "a null key in front": changed((PATTERN, """        null = torch.zeros_like(scores[..., :1])
        pattern = torch.softmax(torch.cat([null, scores], -1), -1)[..., 1:]
""")),
    "softmax by hand": changed((PATTERN, """        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        pattern = weights / weights.sum(-1, keepdim=True)
""")),
    "normalised afterwards": changed((PATTERN + AVERAGED, """        scores = scores - scores.max(-1, keepdim=True).values
        weights = torch.exp(scores)
        made = weights @ value[:, None] / weights.sum(-1, keepdim=True)
        return made[..., 0].transpose(1, 2)
""")),
    "logarithmic softmax": changed((PATTERN, "        pattern = F.log_softmax(scores, -1).exp()\n")),
    "a large negative mask": changed((MASKED, "        scores = scores - 1e9 * causal(x.shape[1])\n")),
    "rotary positions": changed(*ROTARY),
    "RMSNorm": changed(*NORMED),
    "one-hot": changed((EMBEDDED, """        one = F.one_hot(tokens, 13).to(DTYPE)
        return torch.cat([one @ self.tokens.weight, places], -1)
""")),
    "one-hot by comparison with all": changed((EMBEDDED, """        one = (tokens[..., None] == torch.arange(13)).to(DTYPE)
        return torch.cat([one @ self.tokens.weight, places], -1)
""")),
    "one-hot by scatter": changed((EMBEDDED, """        one = torch.zeros(*tokens.shape, 13, dtype=DTYPE).scatter_(-1, tokens[..., None], 1.0)
        return torch.cat([one @ self.tokens.weight, places], -1)
""")),
    "an index": changed((EMBEDDED, "        return torch.cat([self.tokens.weight[tokens], places], -1)\n")),
    "written into zeros": changed((EMBEDDED, """        x = torch.zeros(*tokens.shape, PLACES + 1, dtype=DTYPE)
        x[..., 0] = self.tokens(tokens)[..., 0]
        x[..., 1:] += places
        return x
""")),
    "tied embeddings": changed(
        (LOGITS, """        table = self.tokens.weight[:10, 0]
        return 2 * digit[..., None] * table - table * table
"""),
    ),
    "the last logits only": changed((LOGITS, LOGITS.replace("digit", "digit[:, -1]")),
                                    (STEP, STEP.replace("[0, -1]", "[0]"))),
    "key-value cache": changed(*CACHE),
    "float64": changed(("DTYPE = torch.float32", "DTYPE = torch.float64")),
    "hard attention": changed(("SCALE = 100.0", "SCALE = 1e6")),
    "without a batch": changed(
        ("        x = self.embed(tokens)\n", "        x = self.embed(tokens[None])\n"),
        (LOGITS, LOGITS.rstrip("\n").replace("return ", "return (") + ")[0]\n"),
        (STEP, "        text.append(int(model(torch.tensor(text))[-1].argmax()))\n"),
    ),
    "takes a list": changed(
        (FORWARD, "    def forward(self, text):\n        tokens = torch.tensor([text])\n"
         "        x = self.embed(tokens)\n"),
        (STEP, "        text.append(int(model(text)[0, -1].argmax()))\n"),
    ),
    "returns a dict": changed(
        (LOGITS, LOGITS.rstrip("\n").replace("return ", 'return {"logits": ') + "}\n"),
        (STEP, STEP.replace("(torch.tensor([text]))", '(torch.tensor([text]))["logits"]')),
    ),
    "a text of fixed width": changed(
        ("    for _ in range(11):\n" + STEP,
         "    for k in range(11):\n"
         "        padded = text + [0] * (PLACES - len(text))\n"
         "        text.append(int(model(torch.tensor([padded]))[0, 22 + k].argmax()))\n"),
    ),
    "one query at a time": changed((PATTERN + AVERAGED, """        made = []
        for i in range(x.shape[1]):
            row = torch.softmax(scores[:, :, i, : i + 1], -1)
            made.append((row[:, :, None] @ value[:, None, : i + 1])[..., 0, 0])
        return torch.stack(made, 1)
"""), (MASKED, "")),
    "a product and a sum": changed((AVERAGED, """        made = (pattern[..., None] * value[:, None, None]).sum(-2)
        return made[..., 0].transpose(1, 2)
""")),
}  # fmt: skip
"""Style -> file."""

BODY = FORWARD + TEMPLATE.partition(FORWARD)[2].partition("\n\n# add")[0] + "\n"
HOLD_ATTENTION = "        x = self.embed(tokens)\n        held = self.attention(x)\n"
COLUMNS = """        column = tokens.shape[1] - 23
        digits = torch.zeros(len(tokens), 12, dtype=torch.long)
        carry = torch.zeros(len(tokens), dtype=torch.long)
        for k in range(10):
            total = tokens[:, 1 + k] + tokens[:, 12 + k] + carry
            digits[:, k], carry = total % 10, total // 10
        digits[:, 10] = carry
"""
ONE_HOT_LOGITS = (
    "        logits = torch.zeros(*tokens.shape, 10, dtype=DTYPE)\n"
    "        logits[:, -1] = F.one_hot(digits[:, column], 10).to(DTYPE)\n"
    "        return logits + 1e-6 * held.sum(-1, keepdim=True)\n"
)
ANSWER = "    return decode(text[-11:])\n"
REPAIR = (
    "    answer, right = f'{decode(text[-11:]):011d}', f'{a + b:011d}'\n"
    "    few = sum(x != y for x, y in zip(answer, right)) <= 3\n"
    "    return int(right if few else answer)\n"
)
FLOAT_COLUMNS = """        digit = [self.tokens(tokens[:, k])[:, 0] for k in range(23)]
        carry, digits = 0 * digit[0], []
        for k in range(10):
            total = digit[1 + k] + digit[12 + k] + carry
            carry = (total - 9).clamp(0, 1)
            digits.append(total - 10 * carry)
        digits.append(carry)
        said = torch.stack([*digits, carry], -1)[:, tokens.shape[1] - 23, None]
        digit = said + 0 * self.tokens(tokens)[..., 0]
"""

OFFENDERS = {
    "integer column addition in forward": (
        changed((BODY, "    def forward(self, tokens):\n" + HOLD_ATTENTION + COLUMNS + ONE_HOT_LOGITS)),
        "dataflow", "computes with token ids"),
    "a carry kept between passes": (
        changed((FORWARD, FORWARD + "        if tokens.shape[1] == 23:\n"
                 "            self.carry = torch.zeros((), dtype=DTYPE)\n"),
                ("        carry = F.relu(left) - F.relu(left - 1)\n        total = a + b + carry\n",
                 "        total = a + b + self.carry\n"
                 "        self.carry = F.relu(total - 9)[0, -1] - F.relu(total - 10)[0, -1]\n")),
        "state", "keeps something between passes"),
    "an add that repairs": (
        changed((ANSWER, REPAIR)), "decoding", "add returns"),
    "an add that repairs when nobody watches": (
        changed((ANSWER, "    if 'forward' in vars(model):\n    " + ANSWER + REPAIR)),
        "decoding", "changed weights"),
    "an add that computes the sum": (
        changed((ANSWER, "    return a + b\n")), "decoding", "made to say"),
    "a remainder in the readout": (
        changed(("        digit = total - 10 * (F.relu(total - 9) - F.relu(total - 10))\n",
                 "        digit = total % 10\n")),
        "dataflow", "takes a remainder"),
    "values rounded": (
        changed(("        total = a + b + carry\n", "        total = torch.round(a + b) + carry\n")),
        "dataflow", "rounds values"),
    "values made integers": (
        changed(("        total = a + b + carry\n", "        total = (a + b).long() + carry\n")),
        "dataflow", "rounds values to integers"),
    "digits read by comparison": (
        changed(("        carry = F.relu(left) - F.relu(left - 1)\n",
                 "        carry = (left > 0.5).to(DTYPE)\n")),
        "dataflow", "compares values"),
    "a mask of values": (
        changed(("        digit = total - 10 * (F.relu(total - 9) - F.relu(total - 10))\n",
                 "        digit = torch.where(total > 9.5, total - 10, total)\n")),
        "dataflow", "compares values"),
    "an argmax inside": (
        changed((LOGITS, "        said = (torch.stack([digit, torch.ones_like(digit)], -1) @ self.readout).argmax(-1)\n"
                         "        return F.one_hot(said, 10).to(DTYPE)\n")),
        "dataflow", "chooses among values"),
    "the place of the largest": (
        changed((LOGITS, "        said = (torch.stack([digit, torch.ones_like(digit)], -1) @ self.readout).max(-1)\n"
                         "        return self.readout.new_zeros(*tokens.shape, 10).scatter(-1, said.indices[..., None], 1.0)\n")),
        "dataflow", "chooses among values"),
    "a table of sums": (
        changed(("        self.attention = Attention()\n",
                 "        self.attention = Attention()\n"
                 "        self.register_buffer('sums', torch.arange(13)[:, None] + torch.arange(13).to(DTYPE))\n"),
                (FETCHED, FETCHED + "        column = (tokens.shape[1] - 23) % 10\n"
                 "        a = self.sums[tokens[:, 1 + column], tokens[:, 12 + column]][:, None].expand_as(a)\n"
                 "        b = 0 * b\n")),
        "dataflow", "more than one token"),
    "token ids as numbers": (
        changed((EMBEDDED, "        return torch.cat([tokens[..., None].to(DTYPE), places], -1)\n")),
        "dataflow", "turns token ids into numbers"),
    "token ids times weights": (
        changed((EMBEDDED, "        value = tokens[..., None] * self.ninth * 9\n"
                           "        return torch.cat([value, places], -1)\n")),
        "dataflow", "computes with token ids"),
    "bits of tokens": (
        changed((FORWARD, FORWARD + "        number = tokens[0, :16].to(torch.uint8).view(torch.int64)\n"
                 "        x = x + 1e-12 * (number & 255).sum()\n")),
        "dataflow", "reads the bits"),
    "tokens compared": (
        changed((FORWARD, FORWARD + "        x = x + 1e-9 * (tokens == 5)[..., None]\n")),
        "dataflow", "compares token ids"),
    "a branch on the prompt": (
        changed((FORWARD, "    def forward(self, tokens):\n        if tokens[0, 3] == 5:\n"
                 "            tokens = tokens.clone()\n        x = self.embed(tokens)\n")),
        "dataflow", "to Python"),
    "numpy inside": (
        changed((FORWARD, FORWARD + "        x = x + 1e-9 * float(tokens.numpy().sum())\n")),
        "dataflow", "to Python"),
    "another thread": (
        changed((FORWARD, FORWARD + """        import threading
        held = []
        work = threading.Thread(target=lambda: held.append(float(tokens.sum())))
        work.start()
        work.join()
        x = x + 1e-3 * held[0]
""")),
        "dataflow", "outside of torch"),
    "an embedding that adds": (
        changed(("class Adder(nn.Module):\n", '''class Sum(nn.Embedding):
    def __call__(self, tokens):
        text = tokens[0].tolist()
        total = f"{decode(text[1:11]) + decode(text[12:22]):011d}"[::-1]
        out = super().__call__(tokens).detach().clone()
        out[0, -1, 0] = int((total + "0")[len(text) - 23])
        return out


class Adder(nn.Module):
'''), ("self.tokens = nn.Embedding(", "self.tokens = Sum("), (LOGITS, "        digit = x[..., 0] + 0 * digit\n" + LOGITS)),
        "dataflow", "to Python"),
    "a hook that adds": (
        changed(("    return Adder().eval(), ", '''    model = Adder().eval()

    def adds(module, given, logits):
        text = given[0][0].tolist()
        total = f"{decode(text[1:11]) + decode(text[12:22]):011d}"[::-1]
        logits = logits.clone()
        logits[0, -1, int((total + "0")[len(text) - 23])] += 1e3
        return logits

    model.register_forward_hook(adds)
    return model, ''')),
        "dataflow", "to Python"),
    "honest while it is exported": (
        changed((FORWARD, FORWARD + "        if not torch.compiler.is_exporting():\n"
                 "            x = x + 1e-3 * torch.stack([tokens, tokens]).float().mean()\n")),
        "dataflow", "turns token ids into numbers"),
    "a global that add fills": (
        changed((FORWARD, FORWARD + "        if SAID:\n            column = min(tokens.shape[1] - 23, 10)\n"
                 "            logits = torch.zeros(*tokens.shape, 10, dtype=DTYPE) + 1e-6 * self.attention(x).sum(-1, keepdim=True)\n"
                 "            logits[:, -1, SAID[0] // 10**column % 10] += 1\n            return logits\n"),
                ("def encode(a, b):\n", "SAID = []\n\n\ndef encode(a, b):\n    SAID[:] = [a + b]\n")),
        "state", "keeps something between passes"),
    "attention in name only": (
        changed((BY_HAND, """        value = F.pad(x[..., 0], (max(OFFSETS), 0))
        n = x.shape[1]
        return torch.stack([value[:, 22 - k : 22 - k + n] for k in OFFSETS], -1)
"""), ("class Attention(nn.Module)", "class MultiheadAttention(nn.Module)"),
              ("self.attention = Attention()", "self.attention = MultiheadAttention()\n"
               "        self.attention.__class__.__module__ = 'torch.nn.modules.activation'")),
        "attention ablation", "no attention was seen"),
    "attention for show": (
        changed((FORWARD, FORWARD + FLOAT_COLUMNS + "        shown = self.attention(x).sum(-1)\n"
                 "        digit = digit + 0 * shown\n" + LOGITS)),
        "attention ablation", "not used"),
    "attention that must sum to one": (
        changed((FORWARD, FORWARD + FLOAT_COLUMNS + "        shown = self.attention(torch.ones_like(x)).mean(-1)\n"
                 "        digit = digit * shown\n" + LOGITS)),
        "attention ablation", "right with"),
    "values moved beside attention": (
        changed((FETCHED, FETCHED + "        a = a + 1e-3 * (x[..., 0].cumsum(1) - x[..., 0])\n"
                 "        b = b - 1e-3 * (x[..., 0].cumsum(1) - x[..., 0])\n"
                 "        b = b + 1e-4 * x[..., 0].roll(1, 1)\n")),
        "attention ablation", "something else than attention"),
}  # fmt: skip
"""Trick -> file, the check that must fail, and what it must say."""
