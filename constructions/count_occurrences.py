"""How often does 'a' occur? An exact sum and a parabola, one layer. 22 weights.

Scores of -40 keep the denominator of softmax1 at 1 + 4e-18 per token, so the head adds up what it
attends to: 1 for every 'a'. The readout 2 d y - d^2 is largest for the d nearest to the sum y.
"""

from tinyadder.construction import Construction
from tinyadder.dsl import Attention, Embed, Program, Stream, Unembed
from tinyadder.lang.gadgets import parabola_readout, sum_head
from tinyadder.tasks.counting import Counting


def construct(*, length: int = 9, letters: int = 3) -> Construction:
    """Exact for words of at most `length` <= 9 letters of an alphabet of `letters`. Raises
    `TinyadderError` beyond.
    """
    task = Counting(length=length, letters_used=letters)
    x = Stream(hit="1 on 'a'", count="how many 'a' so far")
    program = Program(
        task.vocabulary,
        x,
        Embed(hit={"a": 1}),
        Attention(count=sum_head(x.hit)),
        Unembed(argmax=parabola_readout(x.count, range(10))),
    )
    return Construction(
        program,
        task,
        {
            "hit": lambda problem, i: int(task.prompt(problem)[i] == "a"),
            "count": lambda problem, i: task.prompt(problem)[: i + 1].count("a"),
        },
    )
