"""Is the word a palindrome? Read it as a number in base 3 from both ends, and compare."""

import tinyadder as ta
from tinyadder.lang.gadgets import absolute, place_value_head, sum_head

task = ta.task(alphabet="ab", lengths=range(1, 9), answer=lambda w: "y" if w == w[::-1] else "n")


def construct():
    x = ta.Stream(
        letter="1, 2", start="^", place="3^-i", term="its", ahead="sum", back="other", gap="gap"
    )
    back = place_value_head(x.letter, base=3)
    rest = [
        ta.Embed(letter={"a": 1, "b": 2}, start={"^": 1}),
        ta.Attention(place=place_value_head(x.start, base=3), back=back),
        ta.MLP(term=ta.relu(x.letter) * x.place),
        ta.Attention(ahead=sum_head(x.term)),
        ta.MLP(gap=absolute(x.ahead - x.back)),
        ta.Unembed(argmax={"y": 0.001, "n": x.gap}),
    ]
    return ta.Construction(ta.Program(task.vocabulary, x, *rest), task)
