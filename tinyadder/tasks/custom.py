"""A task from a few lines: words over an alphabet, a prompt format, and a function that gives the
right answer.

    custom_task(alphabet="abcde", lengths=range(1, 9), answer=lambda word: str(sum(c in "ae" for c
    in word)))

As data a custom task is its options and what is known of its answers: all of them (a table) where
the words are few, else examples. Loaded from data without a table it has no oracle: it can be run
and looked at, not judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.plain import as_int, as_real
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.options import check_option
from tinyadder.tasks.words import Words

END = "$"
"""Ends an answer where answers are of different lengths."""
TABLE = 1_000_000
"""The most words whose answers are saved as a table."""
EXAMPLES = 200
"""Words that are saved with their answers where a table would be too long."""
LONGEST, LARGEST = 10_000, 1_000
"""Bounds of a word and of an alphabet."""

Oracle = Callable[[str], Any]
"""The right answer to a word: a string (or a number), with `positions` one token for each
letter.
"""


@dataclass(frozen=True)
class Custom(Words):
    """Words over `alphabet` of `shortest` .. `longest` letters; answers of at most `width` of the
    tokens `outputs`.
    """

    alphabet: str = "ab"
    shortest: Annotated[int, Between(1, LONGEST)] = 1
    longest: Annotated[int, Between(1, LONGEST)] = 4
    outputs: str = "0123456789"
    width: Annotated[int, Between(1, LONGEST)] = 1
    stop: str = ""
    """The token that ends an answer; empty where all answers have `width` tokens."""
    form: str = "^{}="
    """The prompt; {} is the word."""
    positions: bool = False
    """A tagger: one answer token for each letter, read at its position in one pass."""
    oracle: Oracle | None = field(default=None, compare=False, repr=False)
    table: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """The answers to all words, in the order of the domain."""
    examples: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    """Some words with their answers, where neither the oracle nor all answers are known."""
    digest: str = field(default="", compare=False, repr=False)
    """Tells two oracles apart where the answers themselves are not saved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("custom", "shortest", self.shortest, 1, self.longest)
        for name in ("alphabet", "outputs"):
            tokens = getattr(self, name)
            if (
                not isinstance(tokens, str)
                or not 0 < len(tokens) <= LARGEST
                or len(set(tokens)) < len(tokens)
            ):
                raise TinyadderError(
                    f"a task: {name}={tokens!r:.40}, expected a string of different characters,"
                    " e.g. 'abc'"
                )
            if bad := [c for c in tokens if c.isspace() or not c.isprintable()]:
                raise TinyadderError(
                    f"a task: {name} holds {bad[0]!r}; every token is one visible character"
                )
        if not isinstance(self.form, str) or self.form.count("{}") != 1 or len(self.form) > LARGEST:
            raise TinyadderError(
                f"a task: prompt={self.form!r:.40}, expected the place of the word once: '^{{}}='"
            )
        if not isinstance(self.positions, bool):
            raise TinyadderError(
                f"a task: positions={self.positions!r:.40}, expected True or False"
            )
        if (
            not isinstance(self.stop, str)
            or len(self.stop) > 1
            or (self.stop and self.stop in self.outputs)
        ):
            raise TinyadderError(
                f"a task: end={self.stop!r:.40}, expected one character that is in no answer"
            )
        if self.table is not None and len(self.table) != self.domain().size:
            raise TinyadderError(
                f"a task: a table of {len(self.table)} answers for {self.domain().size} words"
            )

    # ---- what a model is given and gives ---------------------------------------------------------

    @property
    def letters(self) -> str:
        return self.alphabet

    @property
    def lengths(self) -> range:
        return range(self.shortest, self.longest + 1)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # type: ignore[override]
        """The tokens of answers first, then the letters, then what else stands in a prompt."""
        others = self.form.replace("{}", "")[::-1] + self.stop
        first = [token for token in self.outputs if token not in self.alphabet]
        return tuple(dict.fromkeys([*first, *self.alphabet, *others]))

    @property
    def end(self) -> str | None:
        return self.stop or None

    @property
    def answer_length(self) -> int:
        return self.longest if self.positions else self.width + len(self.stop)

    def prompt(self, problem: str) -> str:
        return self.form.replace("{}", problem)

    def read_at(self, problem: str) -> range | None:
        if not self.positions:
            return None
        first = self.form.index("{}")
        return range(first, first + len(problem))

    def parse(self, text: str) -> str:
        before, after = self.form.split("{}")
        word = text.strip()
        whole = (
            word.startswith(before)
            and word.endswith(after)
            and len(word) - len(before + after) in self.lengths
        )
        return super().parse(
            word[len(before) : len(word) - len(after)] if whole and before + after else word
        )

    # ---- right answers ---------------------------------------------------------------------------

    @property
    def has_oracle(self) -> bool:
        return self.oracle is not None or self.table is not None

    def answer(self, problem: str) -> str:
        if self.oracle is not None:
            return self._checked(problem, self.oracle)
        if self.table is not None:
            return self.table[self._index(problem)]
        if problem in self._known:
            return self._known[problem]
        raise TinyadderError(
            f"the right answer to '{problem:.40}' is not known here: the model's folder holds"
            f" {len(self.examples)} answers of its task and not the function; give the file that"
            " defines it: --task ./FILE.py"
        )

    @cached_property
    def _known(self) -> Mapping[str, str]:
        return dict(self.examples)

    def _checked(self, problem: str, oracle: Oracle) -> str:
        tokens = _tokens(problem, oracle)
        if self.positions and len(tokens) != len(problem):
            raise TinyadderError(
                f"the answer to '{problem:.40}' has {len(tokens)} tokens; with positions=True it"
                f" has one for each of the {len(problem)} letters"
            )
        if unknown := [token for token in tokens if token not in self.outputs]:
            raise TinyadderError(
                f"the answer to '{problem:.40}' holds {unknown[0]!r}; this task answers with"
                f" {' '.join(self.outputs)}: name all of them, outputs='...'"
            )
        if not self.positions and (
            len(tokens) > self.width or (len(tokens) < self.width and not self.stop)
        ):
            raise TinyadderError(
                f"the answer to '{problem:.40}' has {len(tokens)} tokens, others {self.width}; give"
                " answer_length= (the most), and end='$' where answers are of different lengths"
            )
        return tokens + self.stop

    def _index(self, word: str) -> int:
        """The place of `word` in the domain."""
        base, rank = len(self.alphabet), {letter: i for i, letter in enumerate(self.alphabet)}
        value = 0
        for letter in word:
            value = value * base + rank[letter]
        return value + sum(base**n for n in range(self.shortest, len(word)))

    def hard(self) -> list[str]:
        return (
            [word for word, _ in self.examples]
            if not self.has_oracle and self.examples
            else super().hard()
        )

    # ---- as data ---------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        kept = ("oracle", "table", "examples", "digest")
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in kept}
        known: dict[str, Any] = {"table": None, "examples": [list(pair) for pair in self.examples]}
        if self.has_oracle and self.domain().size <= TABLE:
            known["table"] = " ".join(self._answers)
        elif self.has_oracle:
            words = [*super().hard(), *self.structured(Random(0), EXAMPLES)][: 2 * EXAMPLES]
            known["examples"] = [[word, self.answer(word)] for word in dict.fromkeys(words)]
        digest = hashlib.sha256(repr((known, _code(self.oracle))).encode()).hexdigest()[:16]
        return {"name": self.name, "options": options, **known, "digest": self.digest or digest}

    @cached_property
    def _answers(self) -> tuple[str, ...]:
        if self.table is not None:
            return self.table
        domain = self.domain()
        return tuple(self.answer(domain.problem(i)) for i in range(domain.size))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Custom:
        """The task that `to_json` described. Raises `TinyadderError` for options and answers that
        do not fit.
        """
        options, table, examples = (
            data.get("options", {}),
            data.get("table"),
            data.get("examples", []),
        )
        known = {f.name for f in fields(cls)} - {"oracle", "table", "examples", "digest"}
        if not isinstance(options, dict) or set(options) - known:
            raise TinyadderError(
                f"task 'custom' takes the options {', '.join(sorted(known))}; got {options!r:.60}"
            )
        if not isinstance(table, str | None) or not all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(text, str) for text in pair)
            for pair in (examples if isinstance(examples, list) else [None])
        ):
            raise TinyadderError(
                "task 'custom': its table is one string, its examples are pairs of strings"
            )
        task = cls(
            **options,
            table=None if table is None else tuple(table.split(" ")),
            examples=tuple((word, answer) for word, answer in examples),
            digest=str(data.get("digest", ""))[:64],
        )
        answers = [*(task.table or ()), *(answer for _, answer in task.examples)]
        if odd := [
            a
            for a in answers
            if len(a) > task.answer_length or not set(a) <= {*task.outputs, task.stop}
        ]:
            raise TinyadderError(
                f"task 'custom': {odd[0]!r:.40} is no answer of {' '.join(task.outputs)}"
            )
        return task


def _tokens(problem: str, oracle: Oracle) -> str:
    """The oracle's answer as a string of tokens. Raises `TinyadderError` where it fails or gives
    something else.
    """
    try:
        given = oracle(problem)
    except Exception as error:
        raise TinyadderError(
            f"the answer to '{problem:.40}' fails: {type(error).__name__}: {error}"
        ) from error
    number = as_real(given)
    parts = given if isinstance(given, list | tuple) else str(given if number is None else number)
    tokens = [str(part) for part in parts]
    if not tokens or any(len(token) != 1 for token in tokens):
        raise TinyadderError(
            f"the answer to '{problem:.40}' is {given!r:.60}; expected a string, or a list of"
            " single characters"
        )
    return "".join(tokens)


def _code(oracle: Oracle | None) -> str:
    code = getattr(oracle, "__code__", None)
    return (
        ""
        if code is None
        else f"{code.co_code.hex()} {[c for c in code.co_consts if not hasattr(c, 'co_code')]}"
    )


def custom_task(
    *,
    alphabet: str,
    lengths: range | int,
    answer: Oracle,
    positions: bool = False,
    prompt: str | None = None,
    outputs: str | None = None,
    answer_length: int | None = None,
    end: str | None = None,
) -> Custom:
    """A task over words: every word of `alphabet` whose length is in `lengths`, `answer(word)` the
    right answer.

    `positions=True`: `answer` gives one token for each letter, and the model's logits at each
    letter are judged (a tagger). `prompt` says where the word stands, '^{}=' unless given ('^{}'
    for a tagger). The tokens of answers (`outputs`), their length and the token that ends them
    (`end`: none, or '$' where lengths differ) are read off the answers to all words if those are at
    most 20,000, else to the hard list and 1,000 samples: give them where that is not enough.

    Raises `TinyadderError` for an alphabet, lengths or a prompt that make no task, and for an
    answer that is not a string of known tokens.

    >>> count = lambda word: sum(c in "ae" for c in word)
    >>> vowels = custom_task(alphabet="abcde", lengths=range(1, 9), answer=count)
    >>> vowels.prompt("bead"), vowels.answer("bead"), "".join(vowels.vocabulary)
    ('^bead=', '2', '0123456789abcde=^')
    """
    one = as_int(lengths)
    reach = lengths if one is None else range(one, one + 1)
    if not isinstance(reach, range) or reach.step != 1 or not reach:
        raise TinyadderError(
            f"a task: lengths={lengths!r}, expected a number or a range, e.g. range(1, 9)"
        )
    if not callable(answer):
        raise TinyadderError(f"a task: answer={answer!r:.40}, expected a function of a word")
    form = prompt if prompt is not None else "^{}" if positions else "^{}="
    shape = Custom(
        alphabet=alphabet, shortest=reach[0], longest=reach[-1], positions=positions, form=form
    )
    answers = [_tokens(word, answer) for word in _probe(shape)]
    width = max(map(len, answers))
    if outputs is None:
        seen = sorted(set("".join(answers)))
        outputs = "0123456789" if all(token in "0123456789" for token in seen) else "".join(seen)
    return Custom(
        alphabet=alphabet,
        shortest=reach[0],
        longest=reach[-1],
        outputs=outputs,
        width=1 if positions else answer_length or width,
        stop=end if end is not None else END * (not positions and min(map(len, answers)) < width),
        form=form,
        positions=positions,
        oracle=answer,
    )


def _probe(task: Custom) -> Iterable[str]:
    """Words whose answers show what answers look like."""
    domain = task.domain()
    if domain.size <= 20_000:
        return [domain.problem(i) for i in range(domain.size)]
    return dict.fromkeys([*task.hard(), *task.structured(Random(0), 1000)])


def as_data(task: Task) -> Task:
    """A task that can be saved: `task`, or a custom task with the same prompts where its class is
    in a user's file.

    Its problems are then whole prompts, and only some answers are known. Raises `TinyadderError`
    for tokens of several characters, or a task that reads its answer from a part of the prompt.
    """
    if type(task).__module__.startswith("tinyadder.tasks."):
        return task
    if any(len(token) != 1 for token in task.vocabulary):
        raise TinyadderError(
            f"task '{task.name}' has tokens of several characters; a task in a file has single ones"
        )
    problems: list[Problem] = list(
        dict.fromkeys([*task.hard(), *task.structured(Random(0), EXAMPLES)])
    )[: 2 * EXAMPLES]
    prompts = ["".join(task.prompt(problem)) for problem in problems]
    answers = ["".join(task.answer(problem)) for problem in problems]
    if any(
        task.read_at(problem) not in (None, range(len(p)))
        for problem, p in zip(problems, prompts, strict=True)
    ):
        raise TinyadderError(
            f"task '{task.name}' reads its answers from a part of the prompt; use"
            " tinyadder.task(...)"
        )
    end = task.end or ""
    return Custom(
        alphabet="".join(task.vocabulary),
        shortest=min(map(len, prompts)),
        longest=max(map(len, prompts)),
        outputs="".join(token for token in task.vocabulary if token != end),
        width=max(1, task.answer_length - len(end)),
        stop=end,
        form="{}",
        positions=task.read_at(problems[0]) is not None,
        examples=tuple(zip(prompts, answers, strict=True)),
    )


TASK = Custom
