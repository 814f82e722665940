"""Which of these backends? Pure functions over the backends' numbers; each states its cost.

A pick function gets the candidates, at least one and all with a share above zero (the weight, less while it starts
slowly), and returns one of them. The caller holds the pool's lock. Nothing here knows why a backend is a candidate.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from math import exp, inf
from types import MappingProxyType

from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.hashing import wait

Pick = Callable[[Sequence[Backend]], Backend]

HASH_BOUND = 1.25  # times its fair share of what is under way: no backend gets a key beyond (Mirrokni et al. 2016)
LATENCY_DECAY = 10.0  # seconds in which a latency loses its weight by a factor of e (linkerd: 10 s)
_NOTHING = 1e-5  # seconds: less is nothing known


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
        weight = backend.share
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
    in_flight, weight, picked = best.in_flight, best.share, best.picked
    latest = 0  # pick of all
    uneven = False  # equals of other weights have been seen
    for backend in candidates:
        latest = max(latest, backend.picked)
        load = backend.in_flight * weight
        least = in_flight * backend.share
        if load > least:
            continue
        if load == least:
            uneven = uneven or backend.share != weight
            if backend.picked >= picked:
                continue
        else:
            uneven = False
        best = backend
        in_flight, weight, picked = best.in_flight, best.share, best.picked
    if uneven:
        best = round_robin([one for one in candidates if one.in_flight * weight == in_flight * one.share])
    best.picked = latest + 1
    return best


def first(candidates: Sequence[Backend]) -> Backend:
    """The first in the file's order; one that is full is no candidate, so the next one fills then. O(1)."""
    return candidates[0]


def bounded_hash(candidates: Sequence[Backend], key: int) -> Backend:
    """The same one for the same key, as long as it has no more than ``HASH_BOUND`` of its share of the work. O(n).

    ``key`` is a ``hashing.digest``. Where one of n backends leaves only its own keys move, each to the one that comes
    next for it, as the keys of an overloaded one do; where it comes back, they come back.
    """
    total = 0
    under_way = 1
    for backend in candidates:
        total += backend.share
        under_way += backend.in_flight
    best = candidates[0]
    least = inf
    for backend in candidates:
        if backend.in_flight * total < HASH_BOUND * under_way * backend.share:
            turn = wait(backend.seed, key) / backend.share
            if turn < least:
                best, least = backend, turn
    return best


class RandomTwo:
    """The less busy, per weight, of two that are drawn by weight. O(log n) while the candidates stay the same.

    Mitzenmacher, The Power of Two Choices in Randomized Load Balancing; nginx ``random two least_conn``.
    """

    __slots__ = ("_candidates", "_random", "_sums")

    def __init__(self, random: Callable[[], float]) -> None:
        """``random()`` is at least 0 and below 1."""
        self._random = random
        self._candidates: Sequence[Backend] = ()
        self._sums: list[int] = []  # of the weights up to each candidate

    def __call__(self, candidates: Sequence[Backend]) -> Backend:
        if len(candidates) == 1:
            return candidates[0]
        if candidates is not self._candidates:
            self._candidates = candidates
            self._sums = list(itertools.accumulate([backend.share for backend in candidates]))
        sums = self._sums
        place = bisect.bisect_right(sums, int(self._random() * sums[-1]))
        one = candidates[place]
        begin, end = sums[place - 1] if place else 0, sums[place]
        point = int(self._random() * (sums[-1] - end + begin))  # of the shares of all others, laid end to end
        other = candidates[bisect.bisect_right(sums, point if point < begin else point + end - begin)]
        return other if other.in_flight * one.share < one.in_flight * other.share else one


class LeastTime:
    """The shortest time to the first byte, times the exchanges under way and this one, per weight. O(n).

    The time is a peak EWMA (Finagle, linkerd): it follows a rise at once, and a fall slowly. A backend of which nothing
    is known, or was for long, is tried with one request at a time.
    """

    __slots__ = ("_clock",)

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def __call__(self, candidates: Sequence[Backend]) -> Backend:
        now = self._clock()
        best, least = candidates[0], inf
        latest = 0  # pick of all
        for backend in candidates:
            seconds = backend.latency * exp((backend.latency_at - now) / LATENCY_DECAY)
            cost = seconds * (backend.in_flight + 1) / backend.share if seconds > _NOTHING else backend.in_flight * 1e6
            if cost < least or (cost == least and backend.picked < best.picked):
                best, least = backend, cost
            latest = max(latest, backend.picked)
        best.picked = latest + 1
        return best


def note_latency(backend: Backend, seconds: float, now: float) -> None:
    """Take in how long the head of an answer took to come."""
    if seconds >= backend.latency:
        backend.latency = seconds
    else:
        kept = exp((backend.latency_at - now) / LATENCY_DECAY)
        backend.latency = backend.latency * kept + seconds * (1 - kept)
    backend.latency_at = now


def make_pick(name: str, clock: Callable[[], float], random: Callable[[], float]) -> Pick:
    """The pick function of that name; ``clock`` is ``time.monotonic``'s kind, ``random()`` at least 0 and below 1.

    That of ``hash`` is for requests that have no key (HAProxy: the same); those that have one get ``bounded_hash``.
    """
    if name == "random_two":
        return RandomTwo(random)
    return LeastTime(clock) if name == "least_time" else _PLAIN[name]


_PLAIN: Mapping[str, Pick] = MappingProxyType(
    {"round_robin": round_robin, "least_conn": least_conn, "hash": round_robin, "first": first}
)
