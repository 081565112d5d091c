"""How many vowels are in a word?"""

import tinyadder as ta

task = ta.task(alphabet="abcde", lengths=range(1, 6), answer=lambda w: sum(c in "ae" for c in w))


def construct():
    x = ta.Stream(vowel="1 on a vowel", vowels="vowels so far")
    return ta.Construction(
        ta.Program(
            task.vocabulary,
            x,
            ta.Embed(vowel={"a": 1, "e": 1}),
            ta.Attention(vowels=ta.gadgets.sum_head(x.vowel)),
            ta.Unembed(argmax=ta.gadgets.parabola_readout(x.vowels, range(10))),
        ),
        task,
    )
