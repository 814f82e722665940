"""Which of these backends? Pure functions over the backends' numbers; each states its cost.

A pick function gets the candidates, at least one and all with a weight above zero, and returns one of them. The caller
holds the pool's lock. Nothing here knows why a backend is a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from wsgiproxy.pool.backend import Backend

Pick = Callable[[Sequence[Backend]], Backend]


def round_robin(candidates: Sequence[Backend]) -> Backend:
    """Smooth weighted round robin, as nginx has it: weights 5, 1, 1 give a a b a c a a. O(n).

    Each account grows by its weight; the fullest is picked and pays the sum of all weights.
    """
    if len(candidates) == 1:
        return candidates[0]
    total = 0
    best = candidates[0]
    most = -1 << 62
    for backend in candidates:
        weight = backend.weight
        total += weight
        backend.current_weight = current = backend.current_weight + weight
        if current > most:
            best, most = backend, current
    best.current_weight = most - total
    return best


def least_conn(candidates: Sequence[Backend]) -> Backend:
    """The fewest exchanges under way per weight; among equals, the smooth weighted round robin. O(n)."""
    best = candidates[0]
    ties = [best]
    for backend in candidates[1:]:
        load = backend.in_flight * best.weight
        least = best.in_flight * backend.weight
        if load < least:
            best = backend
            ties = [backend]
        elif load == least:
            ties.append(backend)
    return best if len(ties) == 1 else round_robin(ties)


BALANCES: Mapping[str, Pick] = MappingProxyType({"round_robin": round_robin, "least_conn": least_conn})
