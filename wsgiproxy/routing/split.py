"""Shares of a route's requests: who of several is drawn for one of them.

The rule of the room: immutable, and the chance is a parameter. O(log n) for n parts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

Part = TypeVar("Part")


class Split(Generic[Part]):
    """Parts, each drawn as often as its weight says, on the average; one of weight 0 never."""

    __slots__ = ("_bounds", "_chance", "parts", "weights")

    def __init__(self, parts: Sequence[Part], weights: Sequence[int], chance: Callable[[], float]) -> None:
        """As many weights as parts, not all of them 0; ``chance`` is at least 0 and below 1."""
        self.parts = tuple(parts)
        self.weights = tuple(weights)
        self._bounds = list(accumulate(weights))
        self._chance = chance

    def draw(self) -> Part:
        """One of the parts."""
        return self.parts[bisect_right(self._bounds, self._chance() * self._bounds[-1])]
