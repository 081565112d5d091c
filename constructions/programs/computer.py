"""A computer: it runs any program that stands in its prompt, step by step, and writes its trace.

The state of the computer is what it has written. Every lookup is exact: the accumulator is the last
`=` or `!`, the line that runs is the one whose number equals the last `@`, and a cell of the memory
is the last store to its address. Scores are integers, and one position has all the weight, so that
no order of summation and no length up to the horizon changes a token.
"""

from typing import Annotated

from tinyadder.construction import Construction
from tinyadder.fields import Between
from tinyadder.programs import Seq, compile, key, maximum, prefix, tokens
from tinyadder.tasks.computer import INSTRUCTIONS, WRITTEN, Computer


def construct(
    *,
    word: Annotated[int, Between(3, 256)] = 256,
    length: Annotated[int, Between(16, 2**21)] = 4096,
    steps: Annotated[int, Between(1, 2**21)] = 1000,
) -> Construction:
    """Words are 0 .. `word` - 1; prompt and trace together have at most `length` tokens, the trace
    at most `steps`.
    """
    task = Computer(word=word, length=length, steps=steps)
    top = word - 1
    x = tokens(task.vocabulary)
    kinds = {token: kind_of(token) for token in task.vocabulary}
    number = x.map({t: int("".join(filter(str.isdecimal, t)) or 0) for t in task.vocabulary})

    def here(*chosen: str) -> Seq:
        return x.map({token: int(kind in chosen) for token, kind in kinds.items()})

    def last(value: Seq, *chosen: str, default: int = 0) -> Seq:
        return (prefix() & (key(here(*chosen)) == 1)).latest(value, default)

    # what was written last, of each kind
    label = last(number + word * here("#"), ":", "#")
    line, accumulator = last(number, "@", "run"), last(number, "=", "!")
    address, read = last(number, "["), last(number, "?", default=-1)
    # the line that runs; at `?` the value of the input with this number
    wanted = maximum(line - word * here("?"), 0) + (number + word) * here("?")
    fetch = prefix() & (key(here("0")) == 1) & (key(label) == wanted)
    n = fetch.latest(number, 0)
    does = {
        name: fetch.latest(last(x.map({t: int(t == name) for t in task.vocabulary}), "set"), 0)
        for name in list(INSTRUCTIONS)[1:]
    }
    # the memory: a store is an `=` after an address
    stores = maximum(here("=") + does["store"] + does["put"] - 1, 0)
    cell = stores * (address + 1) - 1
    first = (prefix() & (key(cell) == n)).latest(accumulator, 0)
    second = (prefix() & (key(cell) == first)).latest(accumulator, 0)
    # what every instruction makes of it
    code = {letter: word * place for place, letter in enumerate(WRITTEN)}
    carry, borrow = (accumulator + first > top) * 1, (accumulator < first) * 1
    following = read + 1 - (read == top) * 1
    result = (
        does["set"] * n
        + does["load"] * first
        + does["get"] * second
        + does["add"] * (accumulator + first - word * carry)
        + does["sub"] * (accumulator - first + word * borrow)
        + does["less"] * borrow
        + (does["jump"] + does["zero"]) * accumulator
        + does["out"] * (accumulator + code["!"])
        + does["store"] * (n + code["["])
        + does["put"] * (first + code["["])
        + does["in"] * (following + code["?"])
        + (1 - sum(list(does.values())[1:], does["set"])) * (5 * word)
    )
    jumps = does["jump"] + maximum(does["zero"] + (accumulator == 0) - 1, 0)
    goes = line + 1 - word * (line == top) + jumps * (n - line - 1 + word * (line == top))
    written = (
        here("@", "run") * result
        + here("=", "!") * (goes + code["@"])
        + here("[") * accumulator
        + here("?") * n
    )
    token = written.map(dict(enumerate(task.written)))
    names = {
        "number": number,
        "label": label,
        "line": line,
        "accumulator": accumulator,
        "address": address,
        "read": read,
        "operand": n,
        "first": first,
        "second": second,
        **{f"does_{name}": value for name, value in does.items()},
    }
    return compile(token, length=length, task=task, exact=True, names=names)


def kind_of(token: str) -> str:
    """`:` a line number, `#` the number of an input, `0` any other number, `set` an instruction,
    or the first letter of what is written.
    """
    if token in INSTRUCTIONS:
        return "set"
    if token in ("run", "end"):
        return token
    return ":" if token[-1] == ":" else "0" if token.isdecimal() else token[0]
