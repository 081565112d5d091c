"""An induction head: what followed this letter last time? 2n + 14 weights and 2 slopes for n
letters, tied readout.

The circuit that trained transformers grow, with every weight known. Layer 0: each token attends to
the token before it (a steep head, less a steeper one that attends to the token itself). Layer 1:
the query looks for a token whose predecessor is the query's own letter, score -l (letter_i -
previous_j)^2, and copies that token's letter. Letters are the numbers 1 .. n, so a wrong key misses
by at least 1; softmax1's own 1 counts like a key at 0, which no letter is. The readout is the
embedding: logit_a = a y - (a^2 - 1) / 2, the a nearest to what was copied.
"""

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, concat
from tinyadder.lang.gadgets import match_head, previous_token_head, square
from tinyadder.tasks.recall import Recall


def construct(*, alphabet: int = 6) -> Construction:
    """Exact for alphabets of 2 to 26 letters. Raises `TinyadderError` beyond."""
    task = Recall(alphabet=alphabet)
    x = Stream(
        letter=(
            "1 for a, 2 for b, ..; at a query drowned by the letter that followed this one before"
        ),
        half="letter^2 - 1; at a query drowned by -1/2",
        previous="the letter before this token",
        square="previous^2",
    )
    gain = 1e12  # drowns the query's own letter
    copied = concat(gain * x.letter, -0.5 * gain)
    following = match_head(x.letter, x.previous, x.square, copied, sharpness=40)
    program = Program(
        task.vocabulary,
        x,
        Embed(
            letter={a: i for i, a in enumerate(task.letters, 1)},
            half={a: i * i - 1 for i, a in enumerate(task.letters, 1)},
        ),
        Attention(previous=previous_token_head(x.letter)),
        MLP(square=square(x.previous)),
        Attention(letter=following[0], half=following[1]),
        Unembed(tied=task.letters),
    )
    return Construction(program, task, _claims(task, int(gain)))


def _claims(task: Recall, gain: int) -> dict[str, LaneClaim]:
    """The token before, everywhere; what is copied to the query, whose own letter is left out."""

    def before(problem: str, i: int) -> int:
        return task.letters.index(problem[i - 2]) + 1 if i >= 2 else 0

    def copied(problem: str, i: int) -> int | None:
        return gain * (task.letters.index(task.answer(problem)) + 1) if i == len(problem) else None

    return {
        "previous": before,
        "square": lambda problem, i: before(problem, i) ** 2,
        "letter": copied,
        "half": lambda problem, i: -gain // 2 if i == len(problem) else None,
    }
