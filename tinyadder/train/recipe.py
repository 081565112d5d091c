"""A recipe: everything a training run needs, read from TOML and checked key by key.

[task]  name and options of a file in tinyadder/tasks
[model] sizes and options of the transformer
[data]  how problems are drawn and held out
[train] optimizer, schedule, length
[structure] in the place of [task] and [model]: a construction whose numbers are trained
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.fields import Between, checked
from tinyadder.io.files import read_bytes
from tinyadder.machine.config import Options
from tinyadder.tasks import task_from_json, task_names
from tinyadder.tasks.base import Task
from tinyadder.train.structure import StructureRecipe, check_train_keys

SIZES: dict[str, dict[str, int]] = {
    "xsmall": {"width": 16, "layers": 2, "heads": 2, "d_head": 8, "hidden": 32},
    "small": {"width": 64, "layers": 2, "heads": 4, "d_head": 16, "hidden": 128},
    "medium": {"width": 128, "layers": 4, "heads": 4, "d_head": 32, "hidden": 512},
    "large": {"width": 256, "layers": 6, "heads": 8, "d_head": 32, "hidden": 1024},
    "derivax": {"width": 512, "layers": 3, "heads": 8, "d_head": 64, "hidden": 1024},
}
"""Named sizes; keys given beside `size` win over it."""


Seed = Annotated[int, Between(0, 2**31 - 1)]
"""Of random numbers; what is made of it (torch's seeds) stays within 64 bits."""
MOST_PARAMETERS, MOST_BYTES = 10**9, 10**6
"""The largest model, and the longest recipe file."""

TRAINED = Options(
    softmax="softmax",
    positions="rotary",
    scaled=True,
    projected=True,
    biases=False,
    norm="rms",
    activation="silu",
)
"""The options of a trained model where its recipe does not say otherwise."""


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Sizes and options of the transformer."""

    kind: Literal["decoder", "encoder-decoder"] = "decoder"
    size: Literal["", "xsmall", "small", "medium", "large", "derivax"] = ""
    width: Annotated[int, Between(1, 8192)] = 16
    layers: Annotated[int, Between(1, 1000)] = 2
    heads: Annotated[int, Between(1, 4096)] = 2
    d_head: Annotated[int, Between(1, 4096)] = 8
    """Rows of query and key of one head; of the value too, unless `d_value` says otherwise."""
    d_value: Annotated[int, Between(0, 4096)] = 0
    hidden: Annotated[int, Between(0, 65_536)] = 32
    outputs: str = ""
    """The tokens that may be emitted; empty for all."""
    tied: bool = False
    """The unembedding is the embedding."""
    slopes: tuple[tuple[float, ...], ...] = ()
    """ALiBi: one list a layer with one slope a head; empty for 2^-1, 2^-2, ... in every layer."""
    initial: Literal["normal", "xavier"] = "normal"
    """Initial matrices of the layers: normal with deviation 1/sqrt(inputs), less where they write
    to the stream, or Xavier's uniform (Glorot and Bengio 2010).
    """
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    options: Options = TRAINED
    """In the file they stand among the other keys of [model]."""

    def to_json(self) -> dict[str, Any]:
        """The keys as they stand in the file."""
        data = asdict(self)
        options = data.pop("options")
        return {**data, **options}


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where problems come from. `held_out` of all are never shown: a quarter for validation, the
    rest for the test.
    """

    distribution: Literal["uniform", "balanced", "structured", "focused", "mixed"] = "uniform"
    """A sampler of the task; "mixed" takes uniform, balanced and structured problems in turn."""
    judged: Literal["", "uniform", "balanced", "structured", "focused", "mixed"] = ""
    """The sampler of the validation and test problems, where it is another than that of the
    training problems.
    """
    examples: Annotated[int, Between(1, 10**8)] = 100_000
    """Problems of one pool."""
    file: str = ""
    """Training problems from this file instead of drawing them: `.jsonl` (`tinyadder train RECIPE
    --data FOLDER` writes it), or a text with one problem a line.
    """
    answers: str = ""
    """A text with the answer to each line of `file`; every one is compared with the task's."""
    leaks: Literal["refuse", "drop"] = "refuse"
    """What to do with a line of `file` whose problem, by `Task.split_key`, is a held-out one."""
    validation_file: str = ""
    test_file: str = ""
    """Problems to judge by from these files, in the same forms, instead of drawing them."""
    fresh: bool = False
    """Draw a new pool when one is used up, instead of the same again in another order."""
    held_out: float = 0.2
    validation: Annotated[int, Between(1, 10**7)] = 500
    test: Annotated[int, Between(1, 10**7)] = 10_000
    seed: Seed = 1
    """Of the held-out problems and what is drawn; the seed of a run adds to it."""
    kind: Literal["any", "inside"] = "any"
    """"inside" never shows, nor judges by, problems that the task sets apart as out of
    distribution.
    """
    curriculum: tuple[
        tuple[Annotated[int, Between(0, 10**9)], Annotated[int, Between(1, 1000)]], ...
    ] = ()
    """Pairs (step, digits): until that step operands have at most so many digits."""
    narrow: bool = False
    """In the curriculum, write problems in the format of a task of so few digits, not padded to the
    full width.
    """
    workers: Annotated[int, Between(0, 1024)] = 0
    """Processes that draw problems; 0 draws here. The problems are the same."""


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """AdamW (or Muon) with warm-up, decay and clipping, or natural gradient steps; the loss is a
    mean cross-entropy.
    """

    optimizer: Literal["adamw", "natural"] = "adamw"
    """natural: tinyadder/train/natural.py, for at most some hundred parameters."""
    candidates: Annotated[int, Between(1, 1000)] = 1
    """natural: so many initialisations begin ..."""
    halve_every: Annotated[int, Between(1, 10**6)] = 50
    """... and after so many steps the half with the larger training loss is dropped."""
    memory: Annotated[float, Between(0, 0.999)] = 0.8
    """natural: part of the curvature that is kept from step to step."""
    hard: Annotated[float, Between(0, 0.5)] = 0.0
    """natural: part of a batch that are the problems with the smallest margins so far."""
    steps: Annotated[int, Between(1, 10**8)] = 10_000
    restarts: Annotated[int, Between(0, 1000)] = 0
    """The schedule is run again so many times at most, and only if validation problems are wrong at
    its end: warm restarts (Loshchilov and Hutter 2017).
    """
    batch: Annotated[int, Between(1, 10**6)] = 128
    learning_rate: Annotated[float, Between(1e-12, 1e3)] = 3e-3
    muon_learning_rate: Annotated[float, Between(0, 1e3)] = 0.0
    """Above 0: the matrices of the blocks are moved by Muon (tinyadder/train/muon.py) at this rate,
    scheduled alike.
    """
    warmup: Annotated[int, Between(0, 10**8)] = 200
    schedule: Literal["cosine", "inverse-sqrt", "constant"] = "cosine"
    final_fraction: float = 0.01
    """The cosine ends at this part of `learning_rate`, and so does the cooldown."""
    cooldown: Annotated[int, Between(0, 10**8)] = 0
    """inverse-sqrt: in so many last steps the rate falls in a straight line."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    accumulate: Annotated[int, Between(1, 10**6)] = 1
    """Batches are split into so many parts, whose gradients are added up."""
    loss: Literal["answer", "text"] = "answer"
    """Which tokens are learned: those of the answer, or all of the text but the first, so that the
    model also completes an unfinished prompt.
    """
    precision: Literal["full", "bf16", "fp16"] = "full"
    """bf16, fp16: matrix products in bfloat16 or float16 (autocast), weights and optimizer in full
    precision; with fp16 the loss is scaled by 1,024 for the backward pass.
    """
    arithmetic: Literal["fused", "plain"] = "fused"
    """plain: the layers' formulas one operation after another, as in decoding; other rounding, and
    slower (tinyadder/machine/fused.py).
    """
    compile: bool = False
    """Let torch.compile make one program of a step's forward and backward pass. It is kept in
    torch's cache, so that the next run starts at once.
    """
    grokfast: float = 0.0
    """Add this multiple of the gradient's moving average to it (Lee et al. 2024, Grokfast)."""
    grokfast_memory: float = 0.98
    self_fed: Annotated[float, Between(0, 1)] = 0.0
    """Part of the steps trained on the model's own soft answers (Gumbel-softmax) instead of the
    right prefix.
    """
    temperature: Annotated[float, Between(1e-6, 1e6)] = 1.0
    """Of the Gumbel-softmax."""
    seeds: tuple[Seed, ...] = (1,)
    stop_at: float = 1.0
    """Stop when this exact-match accuracy is reached on the validation problems ..."""
    patience: Annotated[int, Between(0, 10**6)] = 3
    """... in so many checks in a row; 0 never stops early."""
    log_every: Annotated[int, Between(1, 10**8)] = 100
    check_every: Annotated[int, Between(1, 10**8)] = 500
    checkpoint_every: Annotated[int, Between(1, 10**8)] = 1000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Name, summary and the sections of a recipe file."""

    name: str
    summary: str
    task: Task
    model: ModelRecipe
    data: DataRecipe
    train: TrainRecipe
    structure: StructureRecipe | None = None
    """Instead of `model`, which then says nothing."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "summary": self.summary,
            "task": self.task.to_json(),
            **(
                {"model": self.model.to_json()}
                if self.structure is None
                else {"structure": asdict(self.structure)}
            ),
            "data": asdict(self.data),
            "train": asdict(self.train),
        }


KEYS = {
    "model": {*get_type_hints(ModelRecipe), *get_type_hints(Options)} - {"options"},
    "data": set(get_type_hints(DataRecipe)),
    "train": set(get_type_hints(TrainRecipe)),
}
"""The keys of every section but [task], whose keys are the task's options."""


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = files("tinyadder") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def read_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of that name, or in that TOML file, with the values that `settings` (`KEY=VALUE`)
    put in the place of its own. Raises `TinyadderError` for whatever does not fit.
    """
    if name.endswith(".toml"):
        path, where = Path(name), name
        if not os.path.lexists(path):
            raise TinyadderError(
                f"there is no file {name}; give the path of a recipe, or one of {_known()}"
            )
        content = read_bytes(path, most=MOST_BYTES)
    elif name in recipe_names():
        where = f"{name}.toml"
        content = (files("tinyadder") / "recipes" / where).read_bytes()
    else:
        raise TinyadderError(
            f"unknown recipe '{name}'{did_you_mean(name, recipe_names())} (recipes: {_known()})"
        )
    try:
        data = tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except RecursionError as error:
        raise TinyadderError(f"{where} is not TOML: it is nested too deeply") from error
    except ValueError as error:  # no TOML, no UTF-8, a number of thousands of digits
        raise TinyadderError(f"{where} is not TOML: {error}") from error
    for text in settings:
        _set(data, text)
    return recipe_from(data, name=Path(where).stem, where=where)


def _set(data: dict[str, Any], text: str) -> None:
    """Put the value of `SECTION.KEY=VALUE` into the recipe; the section may be left out where one
    section alone has the key.
    """
    name, equals, value = text.partition("=")
    section, dot, key = name.rpartition(".")
    if not equals or not key:
        raise TinyadderError(f"--set {text} is not KEY=VALUE, e.g. --set train.steps=100")
    known = {"task": set(data.get("task", {})), **KEYS}
    if not dot:
        sections = [one for one, keys in known.items() if key in keys]
        if len(sections) != 1:
            everything = sorted(set().union(*known.values()))
            raise TinyadderError(
                f"--set {text}: "
                + (f"{' and '.join(sections)} have" if sections else "no section has")
                + f" a key '{key}'; write SECTION.{key}=... with one of {', '.join(known)}"
                + did_you_mean(key, everything)
            )
        section = sections[0]
    if not isinstance(data.setdefault(section, {}), dict):
        raise TinyadderError(f"--set {text}: [{section}] is no table of keys in this recipe")
    try:
        data[section][key] = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        data[section][key] = value  # a word: no quotes are needed


def _known() -> str:
    return ", ".join(recipe_names())


def recipe_from(data: Mapping[str, Any], *, name: str, where: str) -> Recipe:
    """The recipe with these sections; `where` begins the texts of errors."""
    sections = {"summary", "task", "model", "data", "train", "structure"}
    for key in data:
        if key not in sections:
            raise TinyadderError(f"{where}: unknown section '{key}'{did_you_mean(key, sections)}")
    structure = _structure(data, where)
    task = data.get("task")
    if structure is not None and task is None:
        task = _task_of(structure, where)
    if not isinstance(task, Mapping) or not isinstance(task.get("name"), str):
        raise TinyadderError(f"{where}: [task] needs name = one of {', '.join(task_names())}")
    options = {key: value for key, value in task.items() if key != "name"}
    model = _model(data.get("model", {}), f"{where}: [model]")
    if model.size:
        model = _model({**SIZES[model.size], **data["model"]}, f"{where}: [model]")
    recipe = Recipe(
        name=name,
        summary=str(data.get("summary", "")),
        task=task_from_json({"name": task["name"], "options": options}),
        model=model,
        data=_section(data.get("data", {}), DataRecipe, f"{where}: [data]"),
        train=_section(data.get("train", {}), TrainRecipe, f"{where}: [train]"),
        structure=structure,
    )
    _check(recipe, where)
    return recipe


def _structure(data: Mapping[str, Any], where: str) -> StructureRecipe | None:
    if "structure" not in data:
        return None
    if "model" in data:
        raise TinyadderError(
            f"{where} has [model] and [structure]; leave out [model], the construction has its"
            " sizes"
        )
    given = data["structure"]
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise TinyadderError(
            f"{where}: [structure] needs name = a construction (tinyadder list), a Python file or a"
            " folder of a built model"
        )
    return _section(given, StructureRecipe, f"{where}: [structure]")


def _task_of(structure: StructureRecipe, where: str) -> dict[str, Any]:
    """The task of a construction, as [task] would have it."""
    from tinyadder.named import find
    from tinyadder.tasks.custom import as_data

    try:
        task = as_data(find(structure.name, dict(structure.options)).task).to_json()
    except TinyadderError as error:
        raise TinyadderError(f"{where}: [structure] {error}") from error
    return {"name": task["name"], **task["options"]}


def recipe_from_json(stored: Mapping[str, Any], *, where: str) -> Recipe:
    """The recipe that `Recipe.to_json` wrote; keys that are younger than it have their defaults."""
    task = {"name": stored["task"]["name"], **stored["task"]["options"]}
    kind = "structure" if "structure" in stored else "model"
    sections = {name: stored[name] for name in (kind, "data", "train")}
    return recipe_from(
        {"task": task, "summary": stored["summary"], **sections}, name=stored["name"], where=where
    )


def _model(data: Any, where: str) -> ModelRecipe:
    options = get_type_hints(Options, include_extras=True)
    hints = get_type_hints(ModelRecipe, include_extras=True)
    del hints["options"]  # they stand among the sizes
    values = _values(data, {**hints, **options}, where)
    own = {key: values.pop(key) for key in list(values) if key in options}
    return ModelRecipe(**values, options=replace(TRAINED, **own))


def _section(data: Any, kind: type, where: str) -> Any:
    return kind(**_values(data, get_type_hints(kind, include_extras=True), where))


def _values(data: Any, hints: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a section, checked key by key."""
    if not isinstance(data, Mapping):
        raise TinyadderError(f"{where} is {data!r}; expected a table of keys")
    known = list(hints)
    result = {}
    for key, value in data.items():
        if key not in known:
            raise TinyadderError(
                f"{where} has no key '{key}'{did_you_mean(key, known)} (keys: {', '.join(known)})"
            )
        result[key] = checked(value, hints[key], f"{where} {key}")
    return result


def _fit(model: ModelRecipe) -> bool:
    """Whether the slopes are those of every head, or none."""
    sizes = [len(layer) for layer in model.slopes]
    return not sizes or (
        model.options.positions == "alibi" and sizes == [model.heads] * model.layers
    )


def _parameters(model: ModelRecipe, tokens: int) -> int:
    """About how many parameters a model of these sizes has, before one is made."""
    heads = model.heads * (2 * model.d_head + 2 * (model.d_value or model.d_head))
    layer = model.width * (heads + 3 * model.hidden)
    towers = 1 if model.kind == "decoder" else 2
    return model.width * (2 * tokens + model.options.context) + towers * model.layers * layer


def _check(recipe: Recipe, where: str) -> None:
    """Values that have the right type and still make no sense."""
    m, d, t = recipe.model, recipe.data, recipe.train
    if recipe.structure is not None:
        check_train_keys(asdict(t), asdict(TrainRecipe()), where)
    known = recipe.task.vocabulary
    checks: list[tuple[str, bool, object, str]] = [
        (
            "[model] sizes",
            _parameters(m, len(known)) <= MOST_PARAMETERS,
            _parameters(m, len(known)),
            f"at most {MOST_PARAMETERS:,} parameters",
        ),
        (
            "[model] slopes",
            _fit(m),
            m.slopes,
            f"{m.layers} lists of {m.heads} slopes, with positions = 'alibi'",
        ),
        (
            "[model] context",
            m.options.context >= 1 or m.options.positions != "learned",
            m.options.context,
            "the longest token sequence",
        ),
        (
            "[model] outputs",
            set(m.outputs) <= set(known),
            m.outputs,
            f"tokens of the task: {' '.join(known)}",
        ),
        ("[data] held_out", 0 < d.held_out < 1, d.held_out, "between 0 and 1"),
        (
            "[data] file",
            not d.file or not (d.fresh or d.curriculum),
            d.file,
            "no file: fresh and curriculum draw",
        ),
        (
            "[data] kind",
            d.kind == "any" or bool(recipe.task.outside),
            d.kind,
            "'any': the task sets nothing apart",
        ),
        (
            "[train] accumulate",
            t.batch % t.accumulate == 0,
            t.accumulate,
            "a divisor of batch",
        ),
        (
            "[train] cooldown",
            t.cooldown == 0 or (t.schedule == "inverse-sqrt" and 0 < t.cooldown < t.steps),
            t.cooldown,
            "less than steps, with schedule = 'inverse-sqrt'",
        ),
        ("[train] seeds", len(t.seeds) > 0, t.seeds, "at least one seed"),
    ]
    for key, fits, given, expected in checks:
        if not fits:
            raise TinyadderError(f"{where}: {key} = {given!r}; expected {expected}")
