"""Who of a pool may get work now, the best first; and when so few are left that all must help.

The rule of the room: pure functions over the backends' numbers, O(n), worked out when one of those has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wsgiproxy.pool.backend import Backend

Tier = tuple[Backend, ...]


class Tiers(NamedTuple):
    """Groups of backends in the order in which they are to be asked; a later one only where nobody before it can."""

    first: tuple[Tier, ...]  # for the first attempt at a request
    others: tuple[Tier, ...]  # for the other attempts
    panic: bool  # the first attempts go to backends that are known to be bad, too


def sort_into_tiers(backends: Sequence[Backend], panic_threshold: int) -> Tiers:
    """The tiers of a pool that panics where fewer than ``panic_threshold`` percent are available; 0: never.

    Healthy backends come first, those of the lowest priority before the others and backup ones last; then those not
    checked yet, likewise. A pool panics where that is so in each of its groups, a group being those of one priority,
    backup ones apart (Envoy, healthy_panic_threshold: of each priority). Then the work is spread over all of them:
    the few that are left would only be the next to fail, or the checks are wrong.
    """
    fit = [backend for backend in backends if backend.fit]
    available = [backend for backend in fit if not backend.ejected_until]
    usual = _ranked(available or fit)  # better ejected than nobody
    working = [backend for backend in backends if backend.works]
    if not working or not _is_panic(working, panic_threshold):
        return Tiers(usual, usual, False)
    rest = tuple([backend for backend in working if not backend.available])
    return Tiers((tuple(working),), (*_ranked(available), rest), True)


def _ranked(backends: Sequence[Backend]) -> tuple[Tier, ...]:
    tiers: dict[tuple[bool, bool, int], list[Backend]] = {}
    for backend in backends:
        rank = (backend.health == "checking", backend.backup, backend.priority)
        tiers.setdefault(rank, []).append(backend)
    return tuple([tuple(tiers[rank]) for rank in sorted(tiers)])


def _is_panic(working: Sequence[Backend], threshold: int) -> bool:
    groups: dict[tuple[bool, int], list[bool]] = {}
    for backend in working:
        groups.setdefault((backend.backup, backend.priority), []).append(backend.available)
    return all(sum(group) * 100 < threshold * len(group) for group in groups.values())
