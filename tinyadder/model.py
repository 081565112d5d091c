"""`Model`: everything that can be done with a model, built or trained, in one class.

    m = load("add10"); m.generate("123+456"); m.count(); m.verify(); m.trace("123+456");
    m.plot("lanes", "123+456"); m.explore("123+456")

Activation names and hook signatures are TransformerLens's (Nanda and Bloom 2022), so code reads the
same in both. Input and output are text; a tensor of token ids [batch, length] is accepted wherever
text is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

import torch
from torch import Tensor

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.inspect import patching, trace
from tinyadder.inspect.trace import ActivationCache, AnswerStep, activation_names
from tinyadder.io.folder import first_difference, save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.decode import check_tokens, generate
from tinyadder.machine.tensors import tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.named import Loaded, load_model, use_device
from tinyadder.pictures import ASKED, Picture, picture
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown, format_table

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer
    from transformers import PreTrainedModel

    from tinyadder.inspect.circuit import Circuit
    from tinyadder.inspect.explorer import Explorer
    from tinyadder.verify.properties import Verification
    from tinyadder.verify.verdict import Proved, Refuted, Unknown

Input = str | Problem | Sequence[str | Problem] | Tensor
"""A problem as the task writes it ("123+456") or as data ((123, 456)), a raw prompt, a list of
these, or token ids.
"""
HookFunction = Callable[[Tensor, "HookPoint"], Tensor | None]
"""Is called with an activation and its hook point; returns a replacement, or None to keep the
activation.
"""

UNNAMED = "unnamed"
"""The name of a model that is built from a `Construction` in no file."""


def load(
    name: str | Path | Construction,
    *,
    device: str = "cpu",
    task: str | None = None,
    **options: Any,
) -> Model:
    """Load the model NAME: a construction ("add10"), a Python file that defines `construct`
    ("./mine.py"), or a model folder; or build a `Construction` made in Python.

    `options` are passed to the construction (digits=4). `task` names a Python file whose task the
    model is judged by. A file is run; a folder is only read. Raises `TinyadderError` for anything
    else.

    >>> load("add10", digits=3).generate("12+34")
    '46'
    """
    if isinstance(name, Construction):
        if options or task:
            raise TinyadderError(
                "load(Construction(..)) takes no options and no task; give them to what made it"
            )
        return Model(_build(name, device))
    return Model(load_model(str(name), options, device, task))


def _build(made: Construction, device: str) -> Loaded:
    """The model of a construction that is in no file."""
    if made.program.vocabulary != made.task.vocabulary:
        raise TinyadderError(
            f"the program has the vocabulary {' '.join(made.program.vocabulary)}, its task "
            f"{' '.join(made.task.vocabulary)}; make it Program(task.vocabulary, ...)"
        )
    device = use_device(device)
    model = build(made.program, device=device)
    return Loaded(made.task, made.program, UNNAMED, {}, None, made.claims, model=model)


def to_transformer_lens(model: Model, *, length: int | None = None) -> HookedTransformer:
    """The model as a TransformerLens `HookedTransformer`, with the same logits and activation
    names.

    It reads at most `length` tokens; the default is the longest prompt of the task's hard list
    with its answer. The residual stream has two more columns, `position` and `one` (see
    `tinyadder.io.lens`). Raises `TinyadderError` naming the part that the class cannot represent
    (norms, rotary positions, an encoder), and `MissingExtra` without TransformerLens.
    """
    from tinyadder.io.lens import hooked_transformer

    if length is None:
        longest = max(len(model.task.prompt(problem)) for problem in model.task.hard())
        length = longest + model.task.answer_length
    return hooked_transformer(model.module, length=length)


def to_transformers(
    model: Model | Construction,
    family: Literal["llama", "gpt2"],
    *,
    rotate: int | None = None,
    superpose: int | None = None,
    noise: float = 0.0,
) -> tuple[PreTrainedModel, dict[str, list[float]]]:
    """The model as a stock class of transformers, and the direction of each of its lanes in the
    hidden states: a model whose circuit is known, to test methods of interpretability on.

    A `Model` is converted with the weights it has. A compiled program is compiled for the class,
    with smaller scores and without the parts that the class lacks.

    `superpose` lets the lanes of a compiled program share at most so many columns, one after
    another: more lanes than dimensions, and exact all the same. `rotate` (a seed) turns the
    residual stream by a random orthogonal matrix, `noise` multiplies every weight of attention and
    MLP by 1 + noise times a standard normal number. How norms and positions are held:
    `tinyadder.io.export.stock`. Raises `TinyadderError` with the part that the class cannot hold,
    or the first of 200 problems that it answers wrongly.
    """
    from tinyadder.io.export.stock import convert
    from tinyadder.machine.tensors import columns

    if isinstance(model, Construction):
        made = model.compiled_for(family, superpose=superpose)
        module, task = build(made.program), made.task
    elif superpose is not None:
        raise TinyadderError("superpose= takes the compiled program, not a model made of it")
    else:
        module, task = model.module, model.task
    stock, layout = convert(module, task, family, rotate=rotate, noise=noise)
    return stock, layout.directions(columns(module))


class Answer(str):
    """An answer as a person reads it; `raw` holds the tokens as the model emitted them."""

    raw: str

    def __new__(cls, text: str, raw: str) -> Answer:
        answer = super().__new__(cls, text)
        answer.raw = raw
        return answer

    def __repr__(self) -> str:
        """Shows the raw tokens too where they differ: a number written last digit first."""
        plain = self.raw.endswith(self) or self.raw[:-1].endswith(self)  # with or without an end
        return super().__repr__() if plain else f"{super().__repr__()} (raw {self.raw!r})"


class Counts(Shown, dict[str, int]):
    """Parameter counts by convention: a dictionary that prints as a table."""

    def __str__(self) -> str:
        rows = [(rung, f"{count:,}") for rung, count in self.items()]
        return format_table("", {"convention": "left", "parameters": "right"}, rows)


class Trace(Shown, list[AnswerStep]):
    """The steps of an answer, one per token: a list that prints as a table. `trace[k]` emits token
    k.
    """

    def __init__(self, steps: Sequence[AnswerStep], title: str) -> None:
        super().__init__(steps)
        self.title = title

    def __str__(self) -> str:
        columns = {
            "": "right",
            "read": "left",
            "emits": "left",
            "runner-up": "left",
            "margin": "right",
        }
        rows = [
            (str(s.index), "".join(s.text), s.chosen, s.runner_up, f"{s.margin:.6g}") for s in self
        ]
        return format_table(self.title, columns, rows)


@dataclass(frozen=True)
class HookPoint:
    """Where an activation is, as TransformerLens passes it to hook functions."""

    name: str

    def layer(self) -> int:
        """The layer in "blocks.LAYER.". Raises `TinyadderError` outside the layers."""
        if not self.name.startswith("blocks."):
            raise TinyadderError(f"{self.name} is in no layer")
        return int(self.name.split(".")[1])


class Model(Shown):
    """A model with its task. Attributes: `module` (the weights), `task`, `name`, `options`,
    `source`, and for a construction `program` and `claims`.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.module: Transformer = loaded.model
        self.task: Task = loaded.task
        self.program: Program | None = loaded.program
        """The equations; None for a trained model."""
        self.claims: Mapping[str, LaneClaim] | None = loaded.claims
        """The exact value of each lane, where the construction states it."""
        self.name: str = loaded.name
        self.options: dict[str, Any] = loaded.options
        self.source: Path | None = loaded.folder or loaded.file
        """The folder or file it was loaded from; None for a construction of the toolkit."""

    def __str__(self) -> str:
        config = self.module.config
        layers = len(config.blocks) * config.options.repeat
        size = f"{layers} layer{'s' * (layers != 1)}, width {config.width}"
        made = "trained" if self.program is None else "built"
        return f"Model({str(self.source or self.name)!r}: {self.task.name}, {made}, {size})"

    # ---- text and tokens ---------------------------------------------------------------------

    def to_tokens(self, text: Input) -> Tensor:
        """Token ids [batch, length] of a prompt; for a problem, of the prompt the task makes of it.

        Raises `TinyadderError` for anything else, for prompts of different lengths, and for ids
        outside the vocabulary.
        """
        if isinstance(text, Tensor):
            tokens = text[None] if text.ndim == 1 else text
        else:
            prompts = [self._prompt(item) for item in (text if isinstance(text, list) else [text])]
            tokens = torch.from_numpy(self.task.encode(prompts)).to(self.module.outputs.device)
        check_tokens(self.module, tokens)
        return tokens

    def to_str_tokens(self, text: Input) -> list[str]:
        """The tokens of one prompt as strings: labels for its positions."""
        (row,) = self.to_tokens(text).tolist()
        return [self.task.vocabulary[token] for token in row]

    def problem(self, text: str | Problem) -> Problem:
        """Parse a problem, or check one that is given as data. Raises `TinyadderError` with what
        the task accepts.
        """
        return self.task.parse(text) if isinstance(text, str) else self.task.check(text)

    def _is_raw(self, text: Any) -> bool:
        """Whether a string is a raw prompt: not a problem of the task, and it begins with the token
        that all prompts begin with.
        """
        if (
            not isinstance(text, str)
            or text[:1] not in self._first
            or set(text) - set(self.task.vocabulary)
        ):
            return False
        try:
            self.task.parse(text)
        except TinyadderError:
            return True
        return False

    @cached_property
    def _first(self) -> set[str]:
        """The token that every prompt begins with; empty if they begin with different ones."""
        first = {self.task.prompt(problem)[0] for problem in self.task.hard()[:100]}
        return first if len(first) == 1 else set()

    def _prompt(self, text: str | Problem) -> Sequence[str]:
        return text if self._is_raw(text) else self.task.prompt(self.problem(text))

    # ---- running -----------------------------------------------------------------------------

    def __call__(self, text: Input) -> Tensor:
        """Logits [batch, position, output token]; the columns are `module.config.outputs`."""
        with torch.inference_mode():
            return self.module(self.to_tokens(text))

    def generate(self, text: Input) -> Any:
        """Decode the answer greedily, from the prompt alone. One problem gives an `Answer` (a
        string).

        A list gives a list, decoded as one batch; a raw prompt gives the raw tokens; token ids give
        token ids. Raises `TinyadderError` for a problem outside the task (an operand that is too
        large or negative) and for unknown tokens.
        """
        if isinstance(text, Tensor):
            return self._continue(self.to_tokens(text))
        items = text if isinstance(text, list) else [text]
        result: list[Answer] = [Answer("", "")] * len(items)
        raw = [i for i, item in enumerate(items) if self._is_raw(item)]
        asked = [i for i in range(len(items)) if i not in raw]
        problems = [self.problem(items[i]) for i in asked]
        for i, emitted in zip(asked, answers(self.module, self.task, problems), strict=True):
            result[i] = Answer(self.task.show_answer(emitted), "".join(emitted))
        for i in raw:
            emitted = self.task.decode(self._continue(self.to_tokens(items[i]))[0].tolist())
            result[i] = Answer("".join(emitted), "".join(emitted))
        return result if isinstance(text, list) else result[0]

    def _continue(self, tokens: Tensor) -> Tensor:
        """The answer tokens [batch, step]: generated after the prompts, or for a tagger the choice
        at every position.
        """
        if self._tags():
            return self.module.outputs[self(tokens).max(-1).indices]
        end = None if self.task.end is None else self.task.vocabulary.index(self.task.end)
        return generate(self.module, tokens, steps=self.task.answer_length, end=end)

    def _tags(self) -> bool:
        return self.task.read_at(self.task.hard()[0]) is not None

    def run_with_cache(self, text: Input) -> tuple[Tensor, ActivationCache]:
        """Logits and all activations of one forward pass over the prompt: `cache["pattern", 0]`."""
        return trace.run_with_cache(self.module, self.to_tokens(text))

    def run_with_hooks(
        self,
        text: Input,
        *,
        fwd_hooks: Sequence[tuple[str | Callable[[str], bool], HookFunction]] = (),
    ) -> Tensor:
        """Logits of one forward pass with hooks: pairs of a name (or a predicate on names) and a
        function.

        Raises `TinyadderError` for a name that the model does not have.
        """
        with self.hooks(fwd_hooks):
            return self(text)

    @contextmanager
    def hooks(
        self, fwd_hooks: Sequence[tuple[str | Callable[[str], bool], HookFunction]] = ()
    ) -> Iterator[Model]:
        """A context manager: everything that runs the model inside it has these hooks, decoding
        included.
        """
        names = activation_names(self.module.config)
        for where, _ in fwd_hooks:
            if isinstance(where, str) and where not in names:
                raise TinyadderError(f"no activation '{where}'{did_you_mean(where, names)}")

        def change(name: str, value: Tensor, first: int) -> Tensor:
            for where, function in fwd_hooks:
                if where == name if isinstance(where, str) else where(name):
                    changed = function(value, HookPoint(name))
                    value = value if changed is None else changed
            return value

        with patching.hooked(self.module, change):
            yield self

    @contextmanager
    def ablate(
        self,
        *,
        lanes: Collection[patching.LaneName] = (),
        heads: Collection[patching.Component] = (),
        units: Collection[patching.Component] = (),
        positions: Collection[int] | None = None,
    ) -> Iterator[Model]:
        """A context manager in which these lanes hold 0, and these heads and hidden units, given as
        (layer, index or lane), add 0.
        """
        with patching.ablate(
            self.module, lanes=lanes, heads=heads, units=units, positions=positions
        ):
            yield self

    @contextmanager
    def patch(
        self,
        source: SupportsFloat | Mapping[str, Tensor],
        *,
        lanes: Collection[patching.LaneName] = (),
        heads: Collection[patching.Component] = (),
        units: Collection[patching.Component] = (),
        positions: Collection[int] | None = None,
    ) -> Iterator[Model]:
        """A context manager in which these parts have their values from `source`: a constant, or
        the cache of another run.
        """
        with patching.patch(
            self.module, source, lanes=lanes, heads=heads, units=units, positions=positions
        ):
            yield self

    # ---- looking -----------------------------------------------------------------------------

    def trace(self, problem: str | Problem) -> Trace:
        """Every step of the answer: what it read, what it emitted, by what margin. `[k]` also has
        the heads, units and lanes of step k.
        """
        asked = self.problem(problem)
        return Trace(
            trace.trace_all(self.module, self.task, asked), f"{self.name}   {self.task.show(asked)}"
        )

    def plot(
        self,
        kind: str,
        problem: str | Problem | None = None,
        *,
        digit: int | None = None,
        count: int = ASKED,
    ) -> Picture:
        """Draw a picture: lanes, attention, contributions or logits of one run; weights, flow,
        margins, accuracy or proof of the model; curves of its training.

        Without `problem` the run is that of an example which shows something. `digit` is the answer
        token for contributions and logits, counted from 0. Margins and accuracy are taken over
        about `count` problems. A proof is made where no certificate lies beside the model. Raises
        `TinyadderError` for any other kind, and for what cannot be drawn.
        """
        asked = None if problem is None else self.problem(problem)
        return picture(self._loaded(), kind, asked, digit=digit, count=count)

    def explore(self, problem: str | Problem | None = None, *, height: int = 900) -> Explorer:
        """The explorer page, opened at `problem`. A notebook shows it in a frame of `height`
        pixels; `save` writes it to a file.
        """
        from tinyadder.inspect.explorer import Explorer, exhibit_of

        first = [] if problem is None else [self.problem(problem)]
        return Explorer([exhibit_of(self._loaded(), first)], height=height)

    def _loaded(self) -> Loaded:
        """The model as the parts of the toolkit take it; without equations that its weights no
        longer follow.
        """
        is_file = self.source is not None and self.source.is_file()
        folder, file = (None, self.source) if is_file else (self.source, None)
        return Loaded(
            self.task,
            self._equations(),
            self.name,
            self.options,
            folder,
            self.claims,
            file,
            model=self.module,
        )

    def _equations(self) -> Program | None:
        """The program, unless the weights have been changed since."""
        if self.program and first_difference(
            build(self.program), self.module.config, tensors_of(self.module)
        ):
            return None
        return self.program

    def count(self) -> Counts:
        """The number of parameters by every convention; there is no single right one."""
        from tinyadder.verify.count import ladder

        return Counts(ladder(self.module))

    def circuit(self, *, pairs: int = 20) -> Circuit:
        """The model as a graph of nodes and weighted edges, with `pairs` pairs of clean and
        corrupted prompts: ground truth for circuit discovery. Raises `TinyadderError` for a model
        with norms.
        """
        from tinyadder.inspect.circuit import circuit

        return circuit(self.module, self.task, self.name, pairs=pairs)

    # ---- judging and keeping -----------------------------------------------------------------

    def verify(self, *, count: int = 200_000, examples: int = 500, seed: int = 0) -> Verification:
        """Test the model on hard problems and search for a wrong answer. The verdict is exhaustive,
        sampled or refuted.
        """
        from tinyadder.verify.properties import verify

        return verify(self.module, self.task, count=count, examples=examples, seed=seed)

    def prove(self, folder: str | Path | None = None) -> Proved | Refuted | Unknown:
        """Prove the model right on every problem of its task, or refute it. `Unknown` says what the
        proof lacks.

        If `folder` is given (it must not exist yet), model and certificate are kept there, and
        `python -m tinyadder.verify.certify.check FOLDER` repeats the check. Raises `TinyadderError`
        if it cannot be written.
        """
        from tinyadder.verify.certify.prove import certify
        from tinyadder.verify.verdict import Proved

        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / "model" if folder is None else Path(folder)
            self.save(place)
            verdict = certify(self.module, self.task, place).verdict
        if folder is None and isinstance(verdict, Proved):
            return replace(verdict, certificate="not kept; prove(FOLDER) keeps it")
        return verdict

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write a model folder that `load` reads: weights and description, data only.

        The equations go with it unless the weights have been changed since. Raises `TinyadderError`
        if `folder` exists already and `force` is not given.
        """
        save(
            self.module,
            self.task,
            folder,
            name=self.name,
            options=self.options,
            program=self._equations(),
            force=force,
        )
