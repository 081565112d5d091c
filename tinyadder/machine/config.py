"""What a model is made of, without its weights: plain data, checked, written to JSON as it is.

Needs no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, check_fields, from_json


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a trained decoder may change about the machine; the defaults are the machine that runs
    programs.
    """

    softmax: Literal["softmax1", "softmax"] = "softmax1"
    positions: Literal["alibi", "none", "sinusoidal", "learned", "rotary", "waves"] = "alibi"
    """waves: a score depends on the distance of two tokens alone, and there are no queries and keys
    (tinyadder/machine/layers.py).
    """
    context: Annotated[int, Between(0, 65_536)] = 0
    """Rows of the learned table of positions."""
    rotary_base: Annotated[float, Between(1e-6, 1e12)] = 10000.0
    """Of the wave lengths, too."""
    embedding: Literal["table", "circle"] = "table"
    """circle: three numbers instead of a table (tinyadder/machine/layers.py)."""
    scaled: bool = False
    """Divide scores by sqrt(d_head)."""
    projected: bool = False
    """The attention's output projection is learned, not a 0/1 wiring."""
    biases: bool = True
    norm: Literal["none", "layer", "rms"] = "none"
    norm_place: Literal["pre", "post"] = "pre"
    gains: bool = True
    """Norms scale each column by a learned gain (and layer norms shift it)."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    gated: bool = True
    dropout: Annotated[float, Between(0, 0.999)] = 0.0
    repeat: Annotated[int, Between(1, 1000)] = 1
    """How often the list of blocks is run, with the same weights: shared layers."""

    def __post_init__(self) -> None:
        check_fields(self, "options")


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Sizes of one layer; `heads=0` leaves out the attention, `hidden=0` the MLP."""

    heads: Annotated[int, Between(0, 4096)] = 0
    d_head: Annotated[int, Between(1, 4096)] = 1
    d_value: Annotated[int, Between(1, 4096)] = 1
    hidden: Annotated[int, Between(0, 65_536)] = 0
    options: Options | None = None
    """Of this layer alone; None where they are those of the model."""

    def __post_init__(self) -> None:
        check_fields(self, "block")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything but the weights: enough to make an empty `Transformer`. Plain data, written to
    JSON as it is.
    """

    vocabulary: tuple[str, ...]
    width: Annotated[int, Between(1, 8192)]
    blocks: tuple[BlockConfig, ...]
    outputs: tuple[Annotated[int, Between(0, 65_535)], ...]
    """Ids of the tokens that have a logit, in the order of the logits."""
    lanes: tuple[tuple[str, Annotated[int, Between(1, 8192)]], ...] = ()
    """Names and widths of the lanes in column order; empty where nobody named them."""
    unembedding: bool = True
    unembedding_bias: bool = False
    tied: bool = False
    """Add the embedding rows of the output tokens to the unembedding."""
    readout_wiring: bool = False
    """Read each logit from one column: a 0/1 matrix that is not a parameter."""
    argmin: bool = False
    """The smallest readout wins: logits are the negated readout."""
    shared: Annotated[int, Between(0, 1_000_000)] = 0
    ties: tuple[
        tuple[str, Annotated[int, Between(0, 10**9)], Annotated[int, Between(0, 10**6)]], ...
    ] = ()
    """(parameter name, flat index, index of the shared weight read there)."""
    options: Options = field(default_factory=Options)
    encoder: tuple[BlockConfig, ...] = ()
    """Layers of the encoder of an `EncoderDecoder` (tinyadder/machine/encoder.py); a decoder has
    none.
    """
    separator: Annotated[int, Between(0, 65_535)] = 0
    """Id of the token that ends what the encoder reads."""

    def __post_init__(self) -> None:
        check_fields(self, "config")
        for block in (*self.blocks, *self.encoder):
            own, whole = self.options_of(block), self.options
            added = own.positions in ("sinusoidal", "learned") and own.positions != whole.positions
            of_all = (own.context, own.repeat, own.embedding)
            if added or of_all != (whole.context, whole.repeat, whole.embedding):
                raise TinyadderError(
                    f"a layer with positions='{own.positions}', context={own.context},"
                    f" repeat={own.repeat}, embedding='{own.embedding}' in a model with"
                    f" positions='{whole.positions}', context={whole.context},"
                    f" repeat={whole.repeat}, embedding='{whole.embedding}'; these are of the whole"
                    " model"
                )
            if own.positions == "waves" and block.d_head % 2:
                raise TinyadderError(
                    f"positions='waves' with d_head={block.d_head}; each wave takes two, so an even"
                    " number is needed"
                )
        if self.options.embedding == "circle" and (self.width < 2 or self.ties):
            raise TinyadderError(
                f"embedding='circle' with width={self.width} and {len(self.ties)} ties; expected"
                " at least two columns and no shared weights"
            )

    def options_of(self, block: BlockConfig) -> Options:
        """The options of one of its layers."""
        return block.options or self.options

    @property
    def plain(self) -> bool:
        """Whether it is the machine that runs programs: a decoder with the default options
        everywhere. Other ways to run a model (tinyadder/machine/inference.py, verify/exact.py, the
        prover) know that one only.
        """
        blocks = (*self.blocks, *self.encoder)
        usual = Options()
        return not self.encoder and all(
            options == usual for options in (self.options, *map(self.options_of, blocks))
        )

    @property
    def chosen(self) -> str:
        """The options that are not the default somewhere, for messages: `norm='rms', ..`."""
        usual = asdict(Options())
        used = (self.options, *map(self.options_of, (*self.blocks, *self.encoder)))
        pairs = [(key, x) for options in used for key, x in asdict(options).items()]
        return ", ".join(dict.fromkeys(f"{key}={x!r}" for key, x in pairs if x != usual[key]))

    def to_json(self) -> dict[str, Any]:
        """As plain data. Of options those stand in it that are not at their default, so that the
        checker, which refuses what it does not know, takes models that do without a new option.
        """
        data, usual = asdict(self), asdict(Options())
        for part in (data, *data["blocks"], *data["encoder"]):
            given = part.pop("options")
            if given is not None:
                part["options"] = {key: x for key, x in given.items() if x != usual[key]}
        return data

    @classmethod
    def from_json(cls, data: Any) -> Config:
        """The config that `to_json` wrote. Raises `TinyadderError` for a field that is unknown or
        does not fit.
        """
        return from_json(cls, data, "config")
