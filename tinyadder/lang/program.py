"""Write a transformer as residual equations: lanes, affine forms, heads, hidden units, one Program.

Reading a lane of a `Stream` gives an `AffineForm`; forms add, subtract and scale. The keywords of
a sublayer are the lanes it adds to. Every weight in a form is a parameter, and so is the down
weight of a hidden unit; which lane a head or a unit writes to is wiring. Needs numpy only.

>>> from tinyadder.lang.sublayers import Head, relu
>>> x = Stream(digit="the digit", flag="1 on '+'", total="sum of the digits so far")
>>> program = Program(
...     "01+", x,
...     Embed(digit={"1": 1}, flag={"+": 1}),
...     Attention(total=Head(query=1, key=-40, value=5 * x.digit)),
...     MLP(total=-relu(x.digit) * x.flag),
...     Unembed(argmax={"0": 2 * x.total - 3, "1": x.flag}),
... )
>>> print(program)
embed
    1  digit = 1 on '1'
    1  flag  = 1 on '+'
layer 0
    3  total += head 0: query 1, key -40, value 5*digit
    3  total += -relu(digit) * flag
logits
    2  '0' = 2*total - 3
    1  '1' = flag
   11  nonzero
"""

from __future__ import annotations

from collections.abc import Sequence

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.lang.forms import AffineRow, Shared, Stream
from tinyadder.lang.printing import PrintedLine, equations, format_equations
from tinyadder.lang.sublayers import MLP, Attention, Embed, Sublayer, Unembed, rows_read


class Program:
    """An exact algorithm as the weights of a transformer: vocabulary, stream, embedding, sublayers,
    readout.

    An immutable value: `print(program)` shows its equations with the price of each line. Raises
    `TinyadderError` for a lane that is unknown, read before anything writes it, or of another
    width.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        stream: Stream,
        embed: Embed,
        *rest: Attention | MLP | Unembed,
    ) -> None:
        sublayers = tuple(part for part in rest if isinstance(part, Attention | MLP))
        unembed = rest[-1] if rest else None
        if (
            not isinstance(embed, Embed)
            or not isinstance(unembed, Unembed)
            or len(sublayers) != len(rest) - 1
        ):
            raise TinyadderError(
                "a Program is: vocabulary, Stream, Embed, sublayers (Attention, MLP), one Unembed"
                " last"
            )
        self.vocabulary = tuple(vocabulary)
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise TinyadderError(f"the vocabulary {''.join(self.vocabulary)!r} names a token twice")
        self.stream, self.embed, self.unembed = stream, embed, unembed
        self.sublayers: tuple[Sublayer, ...] = sublayers
        self._check()

    @property
    def blocks(self) -> list[tuple[Attention | None, MLP | None]]:
        """The layers: an attention opens one, an MLP closes it; either may be absent."""
        result: list[tuple[Attention | None, MLP | None]] = []
        for sublayer in self.sublayers:
            if isinstance(sublayer, Attention):
                result.append((sublayer, None))
            elif result and result[-1][1] is None:
                result[-1] = (result[-1][0], sublayer)
            else:
                result.append((None, sublayer))
        return result

    @property
    def output_tokens(self) -> tuple[str, ...]:
        """The tokens that have a logit, in the order of the readout's rows."""
        if self.unembed.tokens is not None:
            return self.unembed.tokens
        return self.unembed.tied or self.vocabulary[: self.unembed.form.width]

    # ---- checks -------------------------------------------------------------------------------

    def _check(self) -> None:
        known: set[str] = set()
        for lane, table in self.embed.lanes.items():
            width = self._lane(lane, "Embed")
            for token, weights in table.items():
                self._token(token, f"Embed, lane '{lane}'")
                self._fits(f"Embed, lane '{lane}', token '{token}'", len(weights), width)
            if lane in self.embed.derived and width != 1:
                raise TinyadderError(f"Embed, lane '{lane}' has width {width}; a formula gives one")
        known |= set(self.embed.lanes)
        for position, sublayer in enumerate(self.sublayers):
            where = f"sublayer {position} ({type(sublayer).__name__})"
            for lane, output in sublayer.lanes.items():
                self._fits(f"{where}, lane '{lane}'", output.width, self._lane(lane, where))
            for form_stream, rows in rows_read(sublayer):
                self._readable(where, form_stream, rows, known)
            known |= set(sublayer.lanes)
        self._readable("Unembed", self.unembed.form.stream, self.unembed.form.rows, known)
        outputs = (*self.output_tokens, *self.unembed.tied)
        for token in outputs:
            self._token(token, "Unembed")
        if self.unembed.form.width > len(self.vocabulary):
            raise TinyadderError(
                f"the readout has {self.unembed.form.width} rows for a vocabulary of"
                f" {len(self.vocabulary)} tokens"
            )
        tied, height = self.unembed.tied, self.unembed.form.width
        if tied and height and (self.output_tokens != tied or height not in (1, len(tied))):
            raise TinyadderError(
                "a form beside tied= must have one row for each tied token, in the same order"
            )

    def _lane(self, lane: str, where: str) -> int:
        if lane not in self.stream.lanes:
            names = self.stream.lanes
            raise TinyadderError(
                f"{where} writes lane '{lane}', which the Stream does not declare "
                f"(lanes: {', '.join(names)}){did_you_mean(lane, names)}"
            )
        return self.stream.lanes[lane].width

    def _token(self, token: str, where: str) -> None:
        if token not in self.vocabulary:
            raise TinyadderError(
                f"{where}: no token '{token}' in the vocabulary {' '.join(self.vocabulary)}"
            )

    def _fits(self, where: str, given: int, width: int) -> None:
        if given not in (1, width):
            raise TinyadderError(
                f"{where} has width {width}, but {given} values are added; give {width}, or 1"
                " for all"
            )

    def _readable(
        self, where: str, stream: Stream | None, rows: Sequence[AffineRow], known: set[str]
    ) -> None:
        if stream is not None and stream is not self.stream:
            raise TinyadderError(
                f"{where} reads a lane of another Stream; a program has one Stream"
            )
        for row in rows:
            for (lane, _), _ in row.weights:
                if lane not in known:
                    raise TinyadderError(
                        f"lane '{lane}' is read but nobody writes it ({where}); "
                        "write it in Embed or in an earlier sublayer"
                    )

    # ---- the bill -----------------------------------------------------------------------------

    def lines(self) -> list[PrintedLine]:
        """The equations with the weights that each introduces."""
        return equations(self.embed, self.blocks, self.unembed, self.output_tokens)

    @property
    def nonzero(self) -> int:
        """Non-zero weights, counted from the equations; a shared weight counts once, slopes not at
        all.
        """
        return sum(len(weights) for _, _, weights in self.lines())

    @property
    def derived_scalars(self) -> list[Shared]:
        """The stored scalars in the formulas of embedding and readout, each once."""
        columns = (*self.embed.derived.values(), *self.unembed.derived.values())
        return list(dict.fromkeys(s for column in columns for s in column.formula.scalars()))

    @property
    def slopes(self) -> int:
        """Non-zero ALiBi slopes, which `nonzero + positional` counts too."""
        return sum(
            head.slope != 0 for s in self.sublayers if isinstance(s, Attention) for head in s.heads
        )

    def __str__(self) -> str:
        return format_equations(self.lines(), self.slopes)
