"""Sort a word of digits: d weighs B^-d, and the weight that is left tells the smallest digit. 27
weights, no slope.

With B = length + 1 all digits above d together weigh less than one d, so the sum M of what is still
to write lies between B^-d and B^(1-d) exactly when the smallest digit left is d. Digits behind '='
weigh -B^-d and are taken away as they are written; 9 weighs nothing: it is written when nothing
else is left. The readout is the embedding: logit_d = B^-d M - T_d with the T_d that make d and d+1
equal at M = B^-d (1 - 1/2B), half-way between the last d+1 and the first d.

Layer 0 marks '=' and everything behind it with -2; layer 1 averages the weights, and the mark of
'=' for T_d, at one scale.
"""

from fractions import Fraction

import numpy as np

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, concat, relu
from tinyadder.lang.gadgets import mean_head, sum_head
from tinyadder.tasks.options import check_option
from tinyadder.tasks.rewriting import Rewriting

LARGEST = 20
"""With 20 digits the lightest weighs 21^-8 = 3e-11, still 10^4 times the rounding of the sum."""


def construct(*, length: int = 5) -> Construction:
    """Exact for words of 1 to 20 digits. Raises `TinyadderError` beyond."""
    check_option("sort_digits", "length", length, 1, LARGEST)
    x = Stream(
        weight="B^-d, negative behind '='; at a query, gain times the weight left / (i+2)",
        offset="T_d of the digit; at a query, -gain / (i+2)",
        equals="1 on '='",
        behind="-2 from '=' on",
    )
    base = length + 1
    weight = np.array([*(float(base) ** -np.arange(9)), 0])
    gap = -np.diff(weight)
    offset = [float(sum(gap[d:] * weight[d:9] * (1 - 0.5 / base))) for d in range(9)]
    gain = 1e30  # drowns the token's own weight and offset
    rest = mean_head(gain * concat(x.weight, -x.equals))
    program = Program(
        Rewriting(length=length).vocabulary,
        x,
        Embed(
            weight={str(d): weight[d] for d in range(9)},
            offset={str(d): offset[d] for d in range(9)},
            equals={"=": 1},
        ),
        Attention(behind=sum_head(-2 * x.equals)),
        MLP(weight=relu(x.weight) * x.behind),
        Attention(weight=rest[0], offset=rest[1]),
        Unembed(tied="0123456789"),
    )
    task = Rewriting(length=length, how="sort")
    return Construction(program, task, _claims(task, gain))


def _claims(task: Rewriting, gain: float) -> dict[str, LaneClaim]:
    """Marks everywhere; the weight that is left at the queries, what the token carries itself left
    out.
    """
    first, base = task.length + 1, task.length + 1

    def weight(problem: str, i: int) -> Fraction | None:
        if i < first:
            return None
        left = task.answer(problem)[i - first :]
        return int(gain) * sum(Fraction(d != "9", base ** int(d)) for d in left) / Fraction(i + 2)

    return {
        "weight": weight,
        "offset": lambda problem, i: -Fraction(int(gain), i + 2) if i >= first else None,
        "equals": lambda problem, i: int(i == first),
        "behind": lambda problem, i: -2 * (i >= first),
    }
