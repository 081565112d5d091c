"""Induction with two letters of context: what followed this pair of letters last time?"""

import tinyadder as ta
from tinyadder.lang.gadgets import previous_token_head, square


def follows(word):
    at = word.rfind(word[-2:], 0, len(word) - 1)
    return word[at + 2] if at >= 0 else "-"


task = ta.task(alphabet="abc", lengths=range(2, 8), answer=follows)
one_hot = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}


def construct():
    x = ta.Stream(letter="1 2 3", one=("one-hot", 3), last="", pair="", square="", next=("", 3))
    match = ta.Head(query=[120 * x.pair, -60], key=[x.pair, x.square], value=x.one, slope=3)
    embed = ta.Embed(letter={"a": 1, "b": 2, "c": 3}, one=one_hot)
    last = ta.Attention(last=previous_token_head(x.letter), pair=previous_token_head(4 * x.letter))
    pair = ta.Attention(pair=previous_token_head(x.last))
    read = ta.Unembed(argmax={"a": x.next[0], "b": x.next[1], "c": x.next[2], "-": 1e-13})
    rest = [embed, last, pair, ta.MLP(square=square(x.pair)), ta.Attention(next=match), read]
    return ta.Construction(ta.Program(task.vocabulary, x, *rest), task)
