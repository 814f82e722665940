"""From a configuration and the table before it to a new table; living backends are kept.

The rule of the room: first make everything that can fail, changing nothing that lives; then, in one go, give the
backends that stay their new weights and rules. Closing what is gone is the caller's, after the swap.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from wsgiproxy.config import schema
from wsgiproxy.config.address import BackendAddress, HttpAddress, parse_backend_address
from wsgiproxy.pool.backend import SHARE, Backend, Health, Roster
from wsgiproxy.pool.outlier import settle
from wsgiproxy.pool.pool import Pool
from wsgiproxy.pool.queue import serve
from wsgiproxy.pool.sticky import Signed, Sticky, make_learned
from wsgiproxy.routing.split import Split
from wsgiproxy.routing.table import Route, RoutingTable
from wsgiproxy.upstream.messages import Upstream

MakeUpstream = Callable[[str], Upstream]

_NONE: Mapping[str, MakeUpstream] = MappingProxyType({})
_NO_KEYS: Mapping[str, bytes] = MappingProxyType({})
_log = logging.getLogger("wsgiproxy.pool")


class _Upstreams(NamedTuple):
    """What backends will have once nothing can fail any more."""

    renewed: dict[Backend, Upstream]  # for those that stay
    probers: dict[Backend, Upstream]  # for those that are checked at another port


def build_table(
    config: schema.Config,
    previous: RoutingTable | None,
    make_upstream: MakeUpstream,
    *,
    make_secure: Mapping[str, MakeUpstream] = _NONE,
    renew: frozenset[str] = frozenset(),
    make_roster: Callable[[], Roster] = Roster,
    chance: Callable[[], float] = random.random,
    sticky_keys: Mapping[str, bytes] = _NO_KEYS,
    now: Callable[[], float] = time.time,
) -> RoutingTable:
    """The table of ``config``; ``make_upstream(address)`` makes what is new. What it raises leaves all as it was.

    ``make_secure`` has what makes the ``https://`` upstreams of each pool; in the pools named in ``renew`` backends
    that stay get new ones, too. ``make_roster()`` makes what the generations of a new pool will share. ``chance()``,
    at least 0 and below 1, draws the pool where several share a route. ``sticky_keys`` has what the pools' key files
    hold; ``now()``, in seconds since 1970, is what cookies go by.
    """
    made: list[Upstream] = []
    upstreams = _Upstreams({}, {})

    def make(pool: str, text: str, address: BackendAddress) -> Upstream:
        made.append((make_secure[pool] if is_secure(address) else make_upstream)(text))
        return made[-1]

    try:
        pools = _pools(config, previous, make, make_roster, renew, upstreams)
        for name, pool in pools.items():
            old = None if previous is None else previous.pools.get(name)
            pool.sticky = _sticky(pool, old, sticky_keys.get(name, b""), now)
        generation = 1 if previous is None else previous.generation + 1
        table = RoutingTable(generation, pools, _routes(config, pools, chance), config.forwarding)
    except BaseException:
        for upstream in made:
            upstream.close()
        raise
    for backend, upstream in upstreams.renewed.items():
        backend.upstream = upstream
    for pool in table.pools.values():
        for backend in pool.backends:
            backend.prober = upstreams.probers.get(backend, backend.upstream)
        _settle(pool)
    return table


def is_secure(address: BackendAddress) -> bool:
    """Whether a backend is spoken to over TLS."""
    return isinstance(address, HttpAddress) and address.scheme == "https"


def _pools(
    config: schema.Config,
    previous: RoutingTable | None,
    make: Callable[[str, str, BackendAddress], Upstream],
    make_roster: Callable[[], Roster],
    renew: frozenset[str],
    upstreams: _Upstreams,
) -> dict[str, Pool]:
    """The pools, with nothing that lives changed yet; ``upstreams`` is told what is to be changed then."""
    living = {} if previous is None else previous.pools
    pools = {}
    for name, pool_block in config.pools.items():
        old = living.get(name)
        roster = make_roster() if old is None else old.roster
        makes = functools.partial(make, name)
        backends = _backends(name, pool_block, old, roster, makes, name in renew, upstreams)
        timeouts = merged(config.timeouts, pool_block.timeouts)
        pools[name] = Pool(name, pool_block, backends, roster, timeouts)
    return pools


def _sticky(pool: Pool, previous: Pool | None, key: bytes, now: Callable[[], float]) -> Sticky | None:
    """How clients of a pool stay with their backends; ``key`` is what its key file holds, if it has one."""
    block = pool.block.sticky
    if block is None:
        return None
    if block.set_by == "proxy":
        return Signed(block, key or (block.key or "").encode(), pool.name, pool.backends, now)
    return make_learned(block, pool.backends, pool.roster, None if previous is None else previous.sticky)


def _routes(
    config: schema.Config, pools: Mapping[str, Pool], chance: Callable[[], float]
) -> list[tuple[Route, schema.Route]]:
    routes = []
    for index, block in enumerate(config.routes):
        name = block.name or f"routes[{index}]"
        if block.pool is not None:
            route = _route_to(pools[block.pool], name, block)
        else:
            shares = block.pools or ()
            parts = [_route_to(pools[share.pool], name, block) for share in shares]
            split = Split(parts, [share.weight for share in shares], chance) if parts else None
            route = Route(name, block, None, merged(config.timeouts, block.timeouts), split)
        routes.append((route, block))
    return routes


def _route_to(pool: Pool, name: str, block: schema.Route) -> Route:
    return Route(name, block, pool, merged(pool.timeouts, block.timeouts))


def merged(timeouts: schema.Timeouts, own: schema.OwnTimeouts) -> schema.Timeouts:
    """The time-outs of a block that stands below ``timeouts`` and has some of its own."""
    given = {key: value for key, value in msgspec.structs.asdict(own).items() if value is not None}
    return msgspec.structs.replace(timeouts, **given) if given else timeouts


def _backends(
    name: str,
    block: schema.Pool,
    previous: Pool | None,
    roster: Roster,
    make: Callable[[str, BackendAddress], Upstream],
    renew: bool,
    upstreams: _Upstreams,
) -> tuple[Backend, ...]:
    """The backends that a pool had, as far as they are still named, and new ones."""
    check = block.health_check
    living = {} if previous is None else {backend.address: backend for backend in previous.backends}
    backends = []
    for entry in block.backends:
        address = parse_backend_address(entry.address)
        backend = living.get(str(address))
        if backend is None:
            health: Health = "healthy" if check is None else check.initial
            backend = Backend(name, str(address), make(entry.address, address), roster, health)
            backend.added = previous is not None
            backend.awaited = backend.added and health == "checking"
        elif renew and is_secure(address):
            upstreams.renewed[backend] = upstream = make(entry.address, address)
            upstream.configure(block)  # before any thread can find it: it must not go without a PROXY header once
        if check is not None and check.port is not None and isinstance(address, HttpAddress):
            other = address._replace(port=check.port)
            upstreams.probers[backend] = prober = make(str(other), other)
            prober.configure(block)
        backends.append(backend)
    return tuple(backends)


def _settle(pool: Pool) -> None:
    """Give the backends what this generation says of them.

    Where a weight changes the accounts of the round robin start over: one left from other weights would starve its
    backend.
    """
    entries, roster = pool.block.backends, pool.roster
    told: list[tuple[Backend, str]] = []
    with roster.lock:
        roster.backends, roster.slow_start = pool.backends, pool.block.slow_start
        roster.outliers = pool.block.outliers
        if any(backend.weight != entry.weight for backend, entry in zip(pool.backends, entries, strict=True)):
            for backend in pool.backends:
                backend.current_weight = 0
        for backend, entry in zip(pool.backends, entries, strict=True):
            backend.weight = entry.weight
            backend.share = entry.weight * SHARE
            returns = backend.admin_state != "ready" == entry.admin_state  # and was most likely restarted
            if returns or (backend.added and backend.health == "healthy"):
                backend.start_slowly()
            backend.priority = entry.priority
            backend.backup = entry.backup
            backend.max_in_flight = entry.max_in_flight or 0
            backend.admin_state = entry.admin_state
            if pool.block.health_check is not None:
                backend.checked = True
            elif backend.stop_checks():
                told.append((backend, "counts as healthy: it is no longer checked"))
        if not any(backend.works for backend in pool.backends):
            for backend in pool.backends:
                backend.awaited = False  # better not checked yet than nobody
        told += [(backend, "is no longer ejected (reload)") for backend in settle(pool.backends, pool.block.outliers)]
        roster.changes += 1
        roster.ramped_at = 0.0  # the shares of those that start slowly have been reset
        for waiter in roster.waiting:
            waiter.take = pool.take
    serve(roster)
    for backend, what in told:
        _log.info("pool %s: %s %s", pool.name, backend.address, what)
    for backend in pool.backends:
        backend.upstream.configure(pool.block)
