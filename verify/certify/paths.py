"""Shortest paths over a specification: the exact minimum of a separable function, and a text that
attains it.

Costs are integers (multiples of a power of two), so sums are exact: in int64, or in Python's
integers where finer multiples are needed. The least cost of each state after a stage comes from
those before it, for the moves that the restriction allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tinyadder.verify.certify.spec import Specification

BITS, FINE_BITS = 56, 84
"""Costs of a whole text stay below 8 * 2^bits."""


def far(costs: list[np.ndarray]) -> int:
    """Half of it is larger than any cost of a whole text."""
    return 1 << (FINE_BITS + 10) if costs[0].dtype == object else 1 << 61


@dataclass(frozen=True)
class Restriction:
    """A set of texts: fixed tokens at some positions, fixed states after some stages."""

    tokens: Mapping[int, str] = field(default_factory=dict)
    states: Mapping[int, int] = field(default_factory=dict)

    def with_token(self, position: int, token: str) -> Restriction:
        return Restriction({**self.tokens, position: token}, self.states)

    def with_state(self, stage: int, state: int) -> Restriction:
        return Restriction(self.tokens, {**self.states, stage: state})


class Paths:
    """The automaton as arrays, for many shortest paths."""

    def __init__(self, spec: Specification) -> None:
        self.spec = spec
        self.sizes = [1] + [1 + max(dst for _, dst, _ in stage.edges) for stage in spec.stages]
        self.src = [np.array([e[0] for e in stage.edges]) for stage in spec.stages]
        self.dst = [np.array([e[1] for e in stage.edges]) for stage in spec.stages]
        index = [{token: i for i, token in enumerate(row)} for row in spec.tokens]
        self.tok = [np.array([index[s.position][e[2]] for e in s.edges]) for s in spec.stages]

    def allowed(self, t: int, restriction: Restriction) -> np.ndarray | None:
        """Which moves of stage t the restriction allows; None for all."""
        position, keep = self.spec.stages[t].position, None
        if position in restriction.tokens:
            keep = self.tok[t] == self.spec.tokens[position].index(restriction.tokens[position])
        if t in restriction.states:
            there = self.dst[t] == restriction.states[t]
            keep = there if keep is None else keep & there
        return keep

    def forward(self, costs: list[np.ndarray], restriction: Restriction) -> list[np.ndarray]:
        """The smallest cost of reaching every state; far(costs) where it cannot be reached."""
        limit, kind = far(costs), costs[0].dtype
        found = [np.zeros(1, dtype=kind)]
        for t, cost in enumerate(costs):
            reach = found[-1][self.src[t]] + cost[self.tok[t]]
            keep = self.allowed(t, restriction)
            if keep is not None:
                reach = np.where(keep, reach, limit)
            nxt = np.full(self.sizes[t + 1], limit, dtype=kind)
            np.minimum.at(nxt, self.dst[t], np.minimum(reach, limit))
            nxt[nxt > limit // 2] = limit
            found.append(nxt)
        return found

    def backward(self, costs: list[np.ndarray], restriction: Restriction) -> list[np.ndarray]:
        """The smallest cost from every state to the end."""
        limit, kind = far(costs), costs[0].dtype
        found = [np.zeros(self.sizes[-1], dtype=kind)]
        for t in reversed(range(len(costs))):
            reach = found[0][self.dst[t]] + costs[t][self.tok[t]]
            keep = self.allowed(t, restriction)
            if keep is not None:
                reach = np.where(keep, reach, limit)
            nxt = np.full(self.sizes[t], limit, dtype=kind)
            np.minimum.at(nxt, self.src[t], np.minimum(reach, limit))
            nxt[nxt > limit // 2] = limit
            found.insert(0, nxt)
        return found

    def best(
        self, costs: list[np.ndarray], restriction: Restriction, forward: list[np.ndarray]
    ) -> tuple[str, ...]:
        """A text of smallest cost; `forward` is what the method of that name returned and must
        reach the end.
        """
        state, text = int(forward[-1].argmin()), [""] * self.spec.length
        for t in reversed(range(len(costs))):
            reach = forward[t][self.src[t]] + costs[t][self.tok[t]]
            keep = self.allowed(t, restriction)
            possible = (self.dst[t] == state) if keep is None else (self.dst[t] == state) & keep
            edge = int(np.where(possible, reach, far(costs)).argmin())
            stage = self.spec.stages[t]
            state, text[stage.position] = int(self.src[t][edge]), stage.edges[edge][2]
        return tuple(text)
