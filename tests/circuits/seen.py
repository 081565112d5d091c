"""A tagger: at every letter, has there been an 'a' yet?"""

import tinyadder as ta


def tags(word):
    return ["y" if "a" in word[:i] else "n" for i in range(1, len(word) + 1)]


task = ta.task(alphabet="abc", lengths=range(1, 7), answer=tags, positions=True)


def construct():
    x = ta.Stream(a="1 on 'a'", seen="how many 'a' so far")
    rest = [
        ta.Embed(a={"a": 1}),
        ta.Attention(seen=ta.gadgets.sum_head(x.a)),
        ta.Unembed(argmax={"y": x.seen - 0.5, "n": 0}),
    ]
    return ta.Construction(ta.Program(task.vocabulary, x, *rest), task)
