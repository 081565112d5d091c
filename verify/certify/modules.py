"""Prove or refute any torch module on a task: a stranger's in the sandbox, or a model of ours.

The module takes token ids and gives logits of the next token. Texts are those of the checker's
specification of the task. The module is asked first; then its graph is read, compared with it, and
proved by branches, or text by text.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypedDict

import msgspec

from tinyadder.tasks.base import Task
from tinyadder.verify.certify.boxes import Undecided, text_of
from tinyadder.verify.certify.check import texts as check_texts
from tinyadder.verify.certify.check import tokens
from tinyadder.verify.certify.check.graph import Graph, assumed
from tinyadder.verify.certify.check.graph_texts import UNIT, PassReader
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.check.specifications import count
from tinyadder.verify.certify.graph_boxes import prove_graph
from tinyadder.verify.certify.strangers import (
    NoGraph,
    OperationsData,
    Read,
    StrangerJudged,
    about,
    certified,
    read_data,
)
from tinyadder.verify.verdict import Counterexample, Refuted, Unknown, domain_in_words

ASKED = 100_000
"""The most texts that are all asked, and may be proved one by one."""
SAMPLED = 4_000
"""Texts that are asked where there are more."""
COMPARED = 60
"""Texts of each length on which graph and module are compared."""
FEW = 2_000
"""So many texts are proved one by one at once; of more, branches are tried first."""
TRIED = 10
"""Texts of each length that are tried text by text where there are too many."""
BATCH = 1024
JOBS = "tinyadder.verify.external.graph"


class AskJob(Protocol):
    """`Session.ask`: run a job where the module is, and have its reply as this type."""

    def __call__(self, do: str, *, reply: Any, limit: float | None = None, **job: Any) -> Any: ...


class TokensData(TypedDict):
    vocabulary: list[str | None]
    outputs: list[str | None]


class ChoicesData(TypedDict):
    outputs: int
    choices: list[list[int]]


Text = tuple[str, ...]
"""The ids of prompt and right answer, as text."""


class TokenTexts:
    """The texts of a task in the token ids of a module."""

    def __init__(self, task: Task, vocabulary: Sequence[str], outputs: Sequence[str | None]):
        self.task = task
        self.vocabulary = list(vocabulary)
        self.options = {
            "task": task.to_json(),
            "vocabulary": self.vocabulary,
            "outputs": list(outputs),
        }
        self.outputs = list(outputs)
        try:
            self.logits, self.asked = tokens.asked(self.options)
        except Rejected as reason:
            raise NoGraph(f"task {task.name}: {reason}") from None
        first: dict[int, tokens.Asked] = {}
        for one in self.asked:
            first.setdefault(id(one.stages), one)
        self.parts = [*first.values()]
        """The first answer token of each specification."""
        self.size = tokens.problems(self.asked)

    def drawn(self, number: int, seed: int) -> list[tuple[Text, int]]:
        """So many texts, each with the length of its prompt; all of them where there are no
        more.
        """
        found: list[tuple[Text, int]] = []
        if self.size <= number:
            for part in self.parts:
                found += [(text, part.place) for text in check_texts.texts(part.stages)]
            return found
        random = Random(seed)
        sizes = [count(part.stages) for part in self.parts]
        for part in random.choices(self.parts, sizes, k=number):
            found.append((tuple(text_of(part.stages, {}, random)), part.place))
        return found

    def hard(self, seed: int) -> list[tuple[Text, int]]:
        """The hard cases of the task, and structured ones."""
        problems = [*self.task.hard(), *self.task.structured(Random(seed), SAMPLED)]
        ids = {token: str(n) for n, token in enumerate(self.tokens)}
        found = []
        for problem in problems:
            prompt = [ids[t] for t in self.task.prompt(problem) if t in ids]
            text = (*prompt, *(ids[t] for t in self.task.answer(problem)))
            found.append((text, len(prompt)))
        return found

    @property
    def tokens(self) -> list[str]:
        """Tokens by id: the vocabulary, then what is an output only."""
        rest = (t for t in self.outputs if t is not None and t not in self.vocabulary)
        return [*self.vocabulary, *rest]

    def shown(self, ids: Sequence[str]) -> list[str]:
        """Ids as the tokens they are."""
        every = self.tokens
        return [every[int(n)] for n in ids]

    def chosen(self, choices: Sequence[int]) -> list[str]:
        """What logits stand for."""
        known = dict(enumerate(self.outputs))
        return [known.get(c) or "?" for c in choices]


def failure(
    ask: AskJob, domain: TokenTexts, drawn: list[tuple[Text, int]]
) -> Counterexample | None:
    """The first text that the module answers wrongly, asked alone."""
    known = {str(n) for n in range(len(domain.vocabulary))}
    fed = [int(name) if name in known else -1 for name in domain.logits]
    groups: dict[tuple[int, int], list[Text]] = defaultdict(list)
    for text, place in drawn:
        groups[place, len(text)].append(text)

    def choices(prompts: list[list[int]], steps: int, batch: int) -> list[list[int]]:
        data: ChoicesData = ask(
            f"{JOBS}:greedy",
            reply=ChoicesData,
            limit=600.0,
            prompts=prompts,
            steps=steps,
            fed=fed,
            batch=batch,
        )
        if data["outputs"] != len(domain.logits):
            raise NoGraph(
                f"it has {data['outputs']} logits, {len(domain.logits)} tokens were expected;"
                " OUTPUTS of the file says which token each stands for"
            )
        if [len(row) for row in data["choices"]] != [steps] * len(prompts):
            raise NoGraph("its process gave another number of answers")
        return data["choices"]

    for (place, length), some in groups.items():
        prompts = [[int(t) for t in text[:place]] for text in some]
        right = [[domain.logits.index(t) for t in text[place:]] for text in some]
        for n, row in enumerate(choices(prompts, length - place, BATCH)):
            if row == right[n]:
                continue
            (alone,) = choices([prompts[n]], length - place, 1)
            if alone != right[n]:
                said = domain.chosen(alone)
                problem = "".join(domain.shown(some[n][:place]))
                return Counterexample(problem, problem, domain.shown(some[n][place:]), said)
    return None


def read_module(ask: AskJob, domain: TokenTexts, seed: int = 0) -> Read:
    """The graph of a module, compared with it on texts of every length that it will read."""
    random = Random(seed)
    drawn = []
    for place in tokens.lengths(domain.asked):
        ways = [one for one in domain.asked if one.place == place]
        few = {
            tuple(text_of(random.choice(ways).stages, {}, random)[:place]) for _ in range(COMPARED)
        }
        drawn.append([[int(t) for t in text] for text in sorted(few)])
    data: OperationsData = ask(f"{JOBS}:of_texts", reply=OperationsData, limit=600.0, texts=drawn)
    if data["reason"]:
        raise NoGraph(data["reason"])
    task = {"name": tokens.NAME, "options": domain.options}
    first = domain.shown(domain.drawn(1, seed)[0][0]) if domain.size > ASKED else None
    shown = "".join(first) if first else "".join(domain.shown(domain.drawn(ASKED, seed)[0][0]))
    return read_data(data, task, f"the tokens of the task, as in {shown!r}")


def prove_module(
    ask: AskJob, domain: TokenTexts, file: Path | None = None, *, jobs: int = -1, seed: int = 0
) -> StrangerJudged:
    """Prove a module right on every text of a task, or refute it by one that it answers wrongly.
    With `file` the certificate is kept there. Raises `TinyadderError` as `Session.ask` does.
    """
    began = time.perf_counter()

    def unknown(reason: object, read: Read | None = None) -> StrangerJudged:
        spent = time.perf_counter() - began
        what = ({}, {}) if read is None else (read.about, assumed(Graph(read.graph).rounding))
        return StrangerJudged(Unknown(str(reason)), *what, spent)

    everything = domain.size <= ASKED
    try:
        drawn = domain.drawn(ASKED if everything else SAMPLED, seed)
        wrong = failure(ask, domain, drawn if everything else [*domain.hard(seed), *drawn])
        if wrong is not None:
            return StrangerJudged(Refuted(wrong), {}, {}, time.perf_counter() - began)
        read = read_module(ask, domain, seed)
    except NoGraph as reason:
        return unknown(reason)
    right = "every text" if everything else "the hard cases and a sample of texts"
    read = replace(read, about=about(read, f"the verifier's own greedy loop; right on {right}"))
    parts, why = None, ""
    if domain.size > FEW:
        try:
            parts = prove_graph(read.graph, read.task, jobs)
        except Undecided as undecided:
            texts = [(tuple(text), place_of(domain, undecided)) for text in undecided.texts]
            wrong = failure(ask, domain, texts)
            if wrong is not None:
                return StrangerJudged(Refuted(wrong), {}, {}, time.perf_counter() - began)
            why = undecided.reason
        except Rejected as reason:
            why = str(reason)
        if parts is None and not everything:
            return unknown(f"{why}; {too_many(read, domain, seed)}", read)
    domain_name = domain_in_words(domain.size, domain.task.to_json())
    return certified(read, parts, domain_name, file, began)


def too_many(read: Read, domain: TokenTexts, seed: int) -> str:
    """What going through every text by itself would take, from texts drawn at random: in words."""
    graph, lengths = Graph(read.graph), tokens.lengths(domain.asked)
    random, began, tried, margins = Random(seed), time.process_time(), 0, list[int]()
    try:
        for which, place in enumerate(lengths):
            ways = [one for one in domain.asked if one.place == place]
            reader = PassReader(graph, which)
            for _ in range(TRIED):
                text = text_of(random.choice(ways).stages, {}, random)
                reader.read(0, [int(t) for t in text[:place]])
                margins.append(reader.margin(domain.logits.index(text[place])))
                tried += place
    except Rejected as reason:
        return f"text by text: {reason}"
    each = (time.process_time() - began) / tried
    share = sum(1 + place - lengths[0] for place in lengths)  # tokens behind a common beginning
    hours = each * share * domain.size / 3600
    return (
        f"{domain.size:,} texts are too many to be gone through one by one (the smallest margin of"
        f" {len(margins):,} answer tokens drawn at random is {min(margins) / UNIT:.3g}; all would"
        f" take about {hours:.1f} hours, {each * 1e3:.2f} ms a token)"
    )


def place_of(domain: TokenTexts, undecided: Undecided) -> int:
    """The length of the prompt of the texts of an undecided branch."""
    length = len(undecided.texts[0])
    return next(part.place for part in domain.parts if len(part.stages) == length)


def tokens_in(ask: AskJob, task: Task) -> TokenTexts:
    """The texts of a task as the file of a module wants them: `VOCABULARY` lists its tokens by id,
    `OUTPUTS` by logit; both are the vocabulary of the task where the file says nothing.
    """
    data: TokensData = ask(f"{JOBS}:tokens_of", reply=TokensData)
    vocabulary = data["vocabulary"] or list(task.vocabulary)
    names = [t if t is not None else f"(none {n})" for n, t in enumerate(vocabulary)]
    return TokenTexts(task, names, data["outputs"] or names)


def local(entry: Any) -> AskJob:
    """Jobs in this very process, for a model of ours, whose folder is data only."""
    from importlib import import_module

    def ask(do: str, *, reply: Any, limit: float | None = None, **job: Any) -> Any:
        module, _, name = do.partition(":")
        found = getattr(import_module(module), name)(entry, lambda *_: None, **job)
        return msgspec.convert(msgspec.json.decode(msgspec.json.encode(found)), reply)

    return ask
