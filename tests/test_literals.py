"""Numbers in the code are found wherever they flow into a value, and shapes stay free."""

import pytest

from tinyadder.errors import TinyadderError
from tinyadder.verify.count.literals import literals


def values(source, roots=("build_model",)):
    return [found.value for found in literals(source, roots)]


def test_zero_and_one_are_free_and_every_other_value_counts():
    assert values(
        "def build_model():\n    return [0, 1, -1, 0.0, 1.0, -1.0, 2, -2, 0.5, 1e3]\n"
    ) == [2, -2, 0.5, 1000]


@pytest.mark.parametrize(
    "line",
    [
        "torch.zeros(5, 7)",
        "x[3]",
        "x[:, 2:4]",
        "torch.arange(10)",
        "x.view(3, -1, 4)",
        "nn.Linear(5, 3, bias=False)",
        "x.sum(dim=2)",
        "x.softmax(3)",
        "[x for i in range(12)]",
        "torch.full((5, 3), 1.0)",
        "nn.Module(dim=7)",
    ],
)
def test_integers_that_are_shapes_are_free(line):
    assert values(f"def build_model():\n    return {line}\n") == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("torch.full((5, 3), 2.5)", [2.5]),
        ("torch.tensor([3, 4])", [3, 4]),
        ("x.masked_fill(m, -30)", [-30]),
        ("x.clamp(min=2)", [2]),
        ("x ** 2", [2]),
        ("math.pi * x", [3.141592653589793]),
        ("float('2.5')", [2.5]),
        ("torch.zeros(5).fill_(60)", [60]),
        ("torch.arange(10) * 10", [10]),
        ("torch.tensor([7.0]).view(1, 1)", [7]),
        ("torch.zeros(3.5)", [3.5]),
        ("torch.stack([x * 10, y / 2], 3)", [10, 2]),
        ("sum([x * 7])", [7]),
        ("F.softmax(x * 30, 2)", [30]),
        ("(x * 10).sum(3)", [10]),
        ("torch.cat((x, torch.tensor([5])), dim=2)", [5]),
    ],
)
def test_numbers_that_become_values_count(line, found):
    assert values(f"def build_model():\n    return {line}\n") == found


def test_a_name_is_a_shape_only_if_every_use_of_it_is():
    source = "WIDTH = 5\nTENS = 10\ndef build_model():\n    return torch.zeros(WIDTH, TENS), {}\n"
    assert values(source) == []
    assert values(source.replace("TENS),", "TENS) * TENS,")) == [10]


def test_sizes_flow_through_constructors_and_attributes():
    source = """
class Model(nn.Module):
    def __init__(self, width, gain=2.0, heads=3):
        self.width, self.heads = width, heads
        self.weight = nn.Parameter(torch.zeros(width, self.heads))
        self.scale = gain
    def forward(self, x):
        return x.view(self.width, -1) * self.scale + 0.25
def build_model():
    return Model(5, gain=60.0)
"""
    assert values(source) == [2.0, 0.25, 60.0]


def test_only_what_the_model_uses_counts():
    source = """
SCALE, UNUSED = 4.5, 7.5
def helper(): return SCALE
def add(model, a, b): return a * 99 + 3.5
def build_model():
    model = helper()
    assert model < 12.5
    if model > 77: raise ValueError(88)
    print(6.5)
    metadata = {"params": 20, "accuracy": 99.5}
    return model, metadata
if __name__ == "__main__":
    print(add(build_model(), 123, 456))
"""
    assert values(source) == [4.5]


def test_every_part_of_a_tuple_counts_that_another_function_returns():
    """Of `return model, metadata` only the model is read, and only in `build_model`."""
    source = """
def parts(): return 0.25, [0.5, 8.5]
def build_model():
    gain, rest = parts()
    return gain * torch.tensor(rest), {"params": 3}
"""
    assert values(source) == [0.25, 0.5, 8.5]


def test_a_number_hidden_in_a_table_at_the_top_is_found_with_its_place():
    source = "TABLE = torch.zeros(3)\nTABLE[2] = 0.125\ndef build_model():\n    return TABLE\n"
    found = literals(source, ["build_model"])
    assert [(one.value, one.line, one.where, one.text) for one in found] == [
        (0.125, 2, "the file", "TABLE[2] = 0.125")
    ]


@pytest.mark.parametrize(
    ("source", "said"), [("def (", "not Python"), ("x = 1", "defines no 'build_model'")]
)
def test_what_cannot_be_read_is_said(source, said):
    with pytest.raises(TinyadderError, match=said):
        values(source)


def test_what_a_call_is_given_beside_the_values_can_be_left_unread():
    """The claims of a construction are the third argument of `Construction`, and no weights."""
    source = (
        "def claims():\n    return 7\n\ndef construct():\n    return Construction(5 * x, task,"
        " claims(), 3)\n"
    )
    read = [found.value for found in literals(source, ["construct"])]
    left = [found.value for found in literals(source, ["construct"], unread={"Construction": 2})]
    assert (read, left) == ([7, 5, 3], [5])
