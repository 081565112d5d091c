"""Are the parentheses balanced? Depth is a mean of +1 and -1, and a second mean remembers every
dip. 8 weights.

Equal scores give depth / (i+2) at position i: its sign is right, and that is all it takes. A unit
keeps the dips below 0; layer 1 averages them, enlarged so that one dip anywhere outweighs the depth
at '='. Any depth left, or any dip, says 'n'; a constant at '=' says 'y' against silence. No query,
no key, no slope, no unembedding: both answers are wired to lanes.
"""

from fractions import Fraction

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, relu
from tinyadder.lang.gadgets import mean_head
from tinyadder.tasks.dyck_validity import DyckValidity


def construct(*, length: int = 15) -> Construction:
    """Exact for words of at most `length` <= 1000 parentheses. Raises `TinyadderError` beyond."""
    task = DyckValidity(length=length)
    x = Stream(
        yes="1 / (2 length + 6) at '=': less than a depth of 1 gives there",
        no="depth / (i+2); at '=' also the dips",
        step="+1 on '(', -1 on ')'",
        dip="relu(-depth) / (i+2)",
    )
    program = Program(
        task.vocabulary,
        x,
        Embed(yes={"=": 0.5 / (length + 3)}, step={"(": 1, ")": -1}),
        Attention(no=mean_head(x.step)),
        MLP(dip=relu(-x.no)),
        Attention(no=mean_head(2 * (length + 3) ** 2 * x.dip)),
        Unembed(argmax=(x.yes, x.no)),
    )
    return Construction(program, task, _claims(task))


def _claims(task: DyckValidity) -> dict[str, LaneClaim]:
    def mean(problem: str, i: int) -> Fraction:
        read = task.prompt(problem)[: i + 1]
        return Fraction(read.count("(") - read.count(")"), i + 2)

    def dip(problem: str, i: int) -> Fraction:
        return max(Fraction(0), -mean(problem, i))

    def no(problem: str, i: int) -> Fraction:
        dips = sum((dip(problem, j) for j in range(i + 1)), Fraction(0))
        return mean(problem, i) + 2 * (task.length + 3) ** 2 * dips / (i + 2)

    return {
        "yes": lambda problem, i: Fraction(i == len(problem) + 1, 2 * task.length + 6),
        "no": no,
        "step": lambda problem, i: {"(": 1, ")": -1}.get(task.prompt(problem)[i], 0),
        "dip": dip,
    }
