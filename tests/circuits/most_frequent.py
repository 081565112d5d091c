"""Which letter is the most frequent? Of several, the first of the alphabet."""

import tinyadder as ta

task = ta.task(alphabet="abc", lengths=range(1, 8), answer=lambda word: max("abc", key=word.count))


def construct():
    x = ta.Stream(letter=("one-hot letter", 3), often=("how often each letter occurred", 3))
    return ta.Construction(
        ta.Program(
            task.vocabulary,
            x,
            ta.Embed(letter={"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}),
            ta.Attention(often=ta.gadgets.sum_head(x.letter)),
            ta.Unembed(argmax={c: x.often[i] - 0.25 * i for i, c in enumerate("abc")}),
        ),
        task,
    )
