"""Running a program: a computer with an accumulator and a memory, its trace written out as tokens.

    0: in 0  1: add 3  2: out 0  #0 41  run      =41 @1 =41 @2 !41 @3 end

The prompt is the program, a line at a time (number, instruction, operand), then the input (number,
value), then `run`. The answer is what the computer does: after every instruction the accumulator
(`=`, or `!` where it is printed) and the number of the next line (`@`); before it, where the
instruction stores, the address (`[`), and where it reads input, which one (`?`); in the end `end`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.fields import Between
from tinyadder.plain import as_int, short
from tinyadder.tasks.base import Draw, Task

INSTRUCTIONS = {
    "halt": "stop",
    "set": "the accumulator becomes n",
    "load": "the accumulator becomes cell n",
    "store": "cell n becomes the accumulator",
    "get": "the accumulator becomes the cell whose number is in cell n",
    "put": "the cell whose number is in cell n becomes the accumulator",
    "add": "cell n is added to the accumulator, modulo the word",
    "sub": "cell n is subtracted from the accumulator, modulo the word",
    "less": "the accumulator becomes 1 if it is less than cell n, else 0",
    "jump": "line n is next",
    "zero": "line n is next if the accumulator is 0",
    "in": "the accumulator becomes the next value of the input, 0 after its end",
    "out": "the accumulator is printed",
}
"""What each instruction does with its operand n. A line that is not there halts."""
WRITTEN = "=@![?"
"""The first letters of the tokens that an answer is made of."""

ProgramAndInput = tuple[tuple[tuple[str, int], ...], tuple[int, ...]]
"""A problem: the lines (instruction, operand), and the input."""

EXAMPLES = {
    "multiply": "in; store 1; in; store 2; set 1; store 5; again: load 2; zero done; sub 5; "
    "store 2; load 4; add 1; store 4; jump again; done: load 4; out",
    "gcd": "in; store 1; in; store 2; again: load 2; zero done; load 1; less 2; zero minus; "
    "load 1; store 3; load 2; store 1; load 3; store 2; jump again; minus: load 1; sub 2; "
    "store 1; jump again; done: load 1; out",
    "primes": "in; store 1; set 1; store 9; set 2; store 2; next: load 2; less 1; zero done; "
    "set 2; store 3; try: load 3; less 2; zero prime; load 2; minus: store 4; less 3; zero more; "
    "load 4; zero composite; load 3; add 9; store 3; jump try; more: load 4; sub 3; jump minus; "
    "prime: load 2; out; composite: load 2; add 9; store 2; jump next; done: halt",
    "game": "in; store 1; set 4; store 3; turn: load 1; out; zero done; in; store 2; load 1; "
    "sub 2; store 1; zero done; load 3; sub 2; out; store 2; load 1; sub 2; store 1; jump turn; "
    "done: halt",
}
"""Programs by name. `game`: of a heap (the first value) both take 1 to 3 in turn, and whoever takes
the last wins; the computer prints the heap, reads what you take, prints what it takes.
"""


@dataclass(frozen=True)
class Computer(Task):
    """Words are 0 .. `word` - 1: values, addresses and line numbers. An answer has at most `steps`
    tokens (what does not end by then is cut off), prompt and answer together at most `length`.
    """

    word: Annotated[int, Between(3, 256)] = 256
    length: Annotated[int, Between(16, 2**21)] = 4096
    steps: Annotated[int, Between(1, 2**21)] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps >= self.length:
            raise TinyadderError(
                f"steps={self.steps}, length={self.length}: an answer is shorter than the whole"
            )

    # ---- tokens

    @cached_property
    def _vocabulary(self) -> tuple[str, ...]:
        numbers = [str(n) for n in range(self.word)]
        written = [letter + n for letter in WRITTEN for n in numbers]
        prompt = [*(n + ":" for n in numbers), *("#" + n for n in numbers)]
        return (*prompt, *INSTRUCTIONS, *numbers, "run", *written, "end")

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self._vocabulary

    @property
    def written(self) -> tuple[str, ...]:
        """The tokens of answers, in the order of their codes."""
        return self.vocabulary[-5 * self.word - 1 :]

    @property
    def end(self) -> str:
        return "end"

    @property
    def answer_length(self) -> int:
        return self.steps

    def prompt(self, problem: ProgramAndInput) -> tuple[str, ...]:
        lines, values = problem
        tokens: list[str] = []
        for number, (instruction, operand) in enumerate(lines):
            tokens += [f"{number}:", instruction, str(operand)]
        for number, value in enumerate(values):
            tokens += [f"#{number}", str(value)]
        return (*tokens, "run")

    def answer(self, problem: ProgramAndInput) -> tuple[str, ...]:
        return tuple(islice(self.trace(problem), self.steps))

    # ---- the computer

    def trace(self, problem: ProgramAndInput) -> Iterator[str]:
        """The trace, token by token; without an end where the program has none."""
        lines, values = problem
        word, memory = self.word, [0] * self.word
        line = accumulator = read = 0
        while line < len(lines) and lines[line][0] != "halt":
            name, n = lines[line]
            following = (line + 1) % word
            if name == "set":
                accumulator = n
            elif name == "load":
                accumulator = memory[n]
            elif name == "get":
                accumulator = memory[memory[n]]
            elif name == "add":
                accumulator = (accumulator + memory[n]) % word
            elif name == "sub":
                accumulator = (accumulator - memory[n]) % word
            elif name == "less":
                accumulator = int(accumulator < memory[n])
            elif name in ("store", "put"):
                address = n if name == "store" else memory[n]
                memory[address] = accumulator
                yield f"[{address}"
            elif name == "in":
                yield f"?{read}"
                accumulator = values[read] if read < len(values) else 0
                read = min(read + 1, word - 1)
            elif name == "jump" or (name == "zero" and accumulator == 0):
                following = n
            yield f"{'!' if name == 'out' else '='}{accumulator}"
            line = following
            yield f"@{line}"
        yield "end"

    # ---- to and from people

    def check(self, problem: Any) -> ProgramAndInput:
        takes = f"lines (instruction, 0 .. {self.word - 1}), and an input of such numbers"
        try:
            lines, values = problem
            lines, values = tuple((name, n) for name, n in lines), tuple(values)
        except (TypeError, ValueError):
            raise TinyadderError(
                f"{short(problem)} is not a program; this task takes {takes}"
            ) from None
        checked = []
        for place, (name, n) in enumerate(lines):
            if name not in INSTRUCTIONS:
                known = " ".join(INSTRUCTIONS)
                hint = did_you_mean(str(name)[:20], [*INSTRUCTIONS])
                raise TinyadderError(f"line {place}: {short(name)} is not one of {known}{hint}")
            checked.append((name, self._number(n, f"line {place}")))
        result = tuple(checked), tuple(self._number(v, "the input") for v in values)
        if len(lines) > self.word:
            raise TinyadderError(f"{len(lines)} lines; at most {self.word} have a number")
        if len(values) >= self.word:
            raise TinyadderError(f"an input of {len(values)} values; at most {self.word - 1}")
        most = self.length - self.steps
        if len(self.prompt(result)) > most:
            raise TinyadderError(
                f"a prompt of {len(self.prompt(result))} tokens; at most {most} here, since the "
                f"answer may take {self.steps} of {self.length}"
            )
        return result

    def _number(self, given: Any, where: str) -> int:
        number = as_int(given)
        if number is None or not 0 <= number < self.word:
            top = self.word - 1
            raise TinyadderError(f"{where}: {short(given)} is not a number from 0 to {top}")
        return number

    def parse(self, text: str) -> ProgramAndInput:
        """`in; store 1; again: load 1; out; jump again | 3 4`: lines, and the input after a `|`.

        A name before a `:` stands for its line. The name of a program in EXAMPLES, and `| 3 4`,
        is that program.
        """
        body, _, given = text.partition("|")
        parts = [part.strip() for part in EXAMPLES.get(body.strip(), body).split(";")]
        labels: dict[str, int] = {}
        lines: list[list[str]] = []
        for part in [part for part in parts if part]:
            *names, rest = part.split(":")
            labels |= {name.strip(): len(lines) for name in names}
            lines.append(rest.split())
        name, count = body.strip(), len(lines)
        behind = name in EXAMPLES and lines[-1] != ["halt"]  # it ends where no line is
        if count + behind > self.word:
            raise TinyadderError(
                f"{name if name in EXAMPLES else 'this program'} has {count} lines and needs "
                f"word={count + behind} or more; here word={self.word}"
            )
        program = []
        for place, line in enumerate(lines):
            if not 1 <= len(line) <= 2:
                raise TinyadderError(
                    f"line {place}: {short(' '.join(line))}; a line is an instruction and "
                    "a number, as in `add 3`, and lines are parted by ;"
                )
            operand: Any = line[1] if len(line) == 2 else 0
            operand = labels.get(operand, operand)
            program.append((line[0], _read(operand)))
        values = [_read(v) for v in given.replace(",", " ").split()]
        return self.check((program, values))

    def show(self, problem: ProgramAndInput) -> str:
        lines, values = problem
        text = "; ".join(f"{name} {n}" for name, n in lines)
        return " | ".join([text, " ".join(map(str, values))]) if values else text

    def show_answer(self, answer: Sequence[str]) -> str:
        """What was printed."""
        printed = " ".join(token[1:] for token in answer if token[:1] == "!")
        ended = bool(answer) and answer[-1] == "end"
        return (printed or "nothing") + ("" if ended else " ...")

    def format_answer(self, answer: Sequence[str]) -> str:
        return " ".join(answer)

    # ---- problems

    def _lines(self, random: Random, count: int, cells: int) -> ProgramAndInput:
        """Lines that jump ahead only, so that they end, about few cells."""
        lines = []
        for place in range(count):
            name, n = random.choice([*INSTRUCTIONS]), random.randrange(min(cells, self.word))
            if name in ("jump", "zero"):
                n = random.randint(place + 1, count)
            elif name == "set":
                n = random.randrange(self.word)
            lines.append((name, n))
        values = (random.randrange(self.word) for _ in range(random.randrange(min(4, self.word))))
        return tuple(lines), tuple(values)

    def uniform(self, random: Random, count: int) -> list[ProgramAndInput]:
        most = max(1, min(10, self.word - 1, (self.length - self.steps - 9) // 3))
        return [
            self._lines(random, random.randint(1, most), random.choice((2, 4, self.word)))
            for _ in range(count)
        ]

    def draws(self) -> list[Draw]:
        """In turn: any lines that end, and few lines about values beside 0 and the largest."""
        return [lambda random: self.uniform(random, 1)[0], self._edges]

    def _edges(self, random: Random) -> ProgramAndInput:
        word, low = self.word, (0, 1, self.word - 2, self.word - 1)
        a, b = (random.choice((*low, random.randrange(word))) for _ in range(2))
        name = random.choice(("add", "sub", "less", "load", "get"))
        lines = [("set", a), ("store", 1), ("set", b), (name, 1), ("out", 0)][: self.word]
        return tuple(lines), ()

    def hard(self) -> list[ProgramAndInput]:
        """No line, a jump to nowhere, every instruction at the ends of what there is, no input."""
        top = self.word - 1
        texts = ["", "halt", f"jump {top}", "in; out", "in; in; out | 1", f"zero {top}; out"]
        for name in ("add", "sub", "less", "load", "get"):
            pairs = [(top, 1), (0, 1), (top, top), (0, 0), (1, 0)]
            texts += [f"set {b}; store {top}; set {a}; {name} {top}; out" for a, b in pairs]
        texts += [f"set {top}; store 0; put 0; get 0; out", f"set 1; zero {top}; out; load 1"]
        problems = []
        for text in texts:
            if text.count(";") < self.word:
                problems.append(self.parse(text))
        if 5 <= self.word <= 16:  # the line after the last is the first
            rest = [("load", 0)] * (self.word - 5)
            problems.append(
                ((("load", 0), ("zero", 3), ("halt", 0), ("set", 1), ("store", 0), *rest), ())
            )
        return [
            p for p in dict.fromkeys(problems) if len(self.prompt(p)) <= self.length - self.steps
        ]

    def simpler(self, problem: ProgramAndInput) -> list[ProgramAndInput]:
        """Without a line or a value, or with a smaller number in one."""
        lines, values = problem
        problems = [((*lines[:k], *lines[k + 1 :]), values) for k in range(len(lines))]
        problems += [(lines, (*values[:k], *values[k + 1 :])) for k in range(len(values))]
        for k, (name, n) in enumerate(lines):
            problems += [
                ((*lines[:k], (name, m), *lines[k + 1 :]), values) for m in {0, n // 2} - {n}
            ]
        return problems


def _read(text: Any) -> Any:
    """The number that is written; as it is where it is none, or far too long."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 20 else text


TASK = Computer
