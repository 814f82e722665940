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
    """The fewest exchanges under way per weight; among equals, the smooth weighted round robin. O(n).

    Where the equals have one weight too, that is whoever was picked longest ago: found by reading alone.
    """
    best = candidates[0]
    in_flight, weight, picked = best.in_flight, best.weight, best.picked
    latest = 0  # pick of all
    uneven = False  # equals of other weights have been seen
    for backend in candidates:
        latest = max(latest, backend.picked)
        load = backend.in_flight * weight
        least = in_flight * backend.weight
        if load > least:
            continue
        if load == least:
            uneven = uneven or backend.weight != weight
            if backend.picked >= picked:
                continue
        else:
            uneven = False
        best = backend
        in_flight, weight, picked = best.in_flight, best.weight, best.picked
    if uneven:
        best = round_robin([one for one in candidates if one.in_flight * weight == in_flight * one.weight])
    best.picked = latest + 1
    return best


def first(candidates: Sequence[Backend]) -> Backend:
    """The first in the file's order; one that is full is no candidate, so the next one fills then. O(1)."""
    return candidates[0]


BALANCES: Mapping[str, Pick] = MappingProxyType({"round_robin": round_robin, "least_conn": least_conn, "first": first})
