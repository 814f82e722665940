"""Work that is meant for one backend: where it goes while that can take it, and where else."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.unit.pool.scripted import CHECK, address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.errors import NoBackendError, PoolFullError, QueueTimeout
from wsgiproxy.pool.pool import Lease, Pool

NOW = (1, 1)  # thresholds at which each result decides


def made(*entries: dict[str, Any], previous: Any = None, **keys: Any) -> Any:
    """A table with one pool, whose backends are ``a``, ``b`` and so on; it never panics unless told to."""
    backends = tuple(
        schema.Backend(address=address(name), **entry) for name, entry in zip("abcd", entries, strict=False)
    )
    return table(schema.Pool(**{"backends": backends, "panic_threshold": 0, **keys}), previous)


def web(*entries: dict[str, Any], **keys: Any) -> Pool:
    pool: Pool = made(*entries, **keys).pools["web"]
    return pool


def meant(pool: Pool, index: int = 0, **more: Any) -> Lease:
    """A lease for a client of that backend, given back at once."""
    lease = pool.acquire(prefer=pool.backends[index], **more)
    lease.release()
    return lease


def names(pool: Pool, index: int = 0, times: int = 4) -> str:
    return "".join(name_of(meant(pool, index).backend.address) for _ in range(times))


@pytest.mark.parametrize(
    "entry",
    [{}, {"priority": 1}, {"backup": True}, {"admin_state": "drain"}, {"weight": 0}, {"max_in_flight": 1}],
    ids=str,
)
def test_a_client_stays_with_a_backend_that_may_go_on_with_it(entry: dict[str, Any]) -> None:
    assert names(web(entry, {}, {})) == "aaaa"


def test_a_client_stays_with_a_backend_that_asks_to_be_drained() -> None:
    pool = web({}, {}, health_check=CHECK)
    for backend in pool.backends:
        backend.record_check("", *NOW)
    pool.backends[0].record_check("leaving", *NOW, drains=True)
    assert names(pool) == "aaaa"
    assert pool.acquire().backend is pool.backends[1]


def test_a_client_stays_where_all_that_could_serve_it_drain() -> None:
    pool = web({"admin_state": "drain"}, {"admin_state": "maint"})
    assert names(pool) == "aaaa"
    with pytest.raises(NoBackendError):
        pool.acquire()


@pytest.mark.parametrize("trouble", ["maint", "unhealthy", "ejected", "draining and unhealthy", "draining and ejected"])
def test_the_client_of_a_backend_that_is_in_trouble_goes_to_another_one(trouble: str) -> None:
    state = "maint" if trouble == "maint" else "drain" if "draining" in trouble else "ready"
    pool = web({"admin_state": state}, {}, health_check=CHECK)
    a, b = pool.backends
    for backend in pool.backends:
        backend.record_check("", *NOW)
    if "unhealthy" in trouble:
        a.record_check("down", *NOW)
    if "ejected" in trouble:
        a.ejected_until = pool.roster.clock() + 60
        pool.roster.changes += 1
    lease = meant(pool)
    assert (lease.backend, lease.detour) == (b, False)


def test_while_everybody_helps_a_client_stays_also_with_one_that_is_said_to_be_bad() -> None:
    pool = web({}, {}, {}, health_check=CHECK, panic_threshold=50)
    for backend in pool.backends:
        backend.record_check("", *NOW)
    for backend in pool.backends[:2]:
        backend.record_check("down", *NOW)
    assert names(pool) == "aaaa"
    assert meant(pool).gamble


def test_a_retry_of_a_client_goes_to_another_backend() -> None:
    pool = web({}, {})
    assert meant(pool, exclude=(pool.backends[0],)).backend is pool.backends[1]


def test_others_help_out_a_full_backend_and_the_lease_says_so() -> None:
    pool = web({"max_in_flight": 1}, {})
    a, b = pool.backends
    held = pool.acquire(prefer=a)
    assert (held.backend, held.detour) == (a, False)
    lease = meant(pool)
    assert (lease.backend, lease.detour) == (b, True)
    held.release()
    lease = meant(pool)
    assert (lease.backend, lease.detour) == (a, False)


def test_a_client_whose_backend_is_full_with_all_others_is_one_too_many() -> None:
    pool = web({"max_in_flight": 1}, {"max_in_flight": 1}, max_queue=0)
    held = [pool.acquire(), pool.acquire()]
    with pytest.raises(PoolFullError):
        meant(pool)
    assert len(held) == 2
    assert [backend.in_flight for backend in pool.backends] == [1, 1]


def test_a_client_waits_for_the_only_backend_which_drains_and_is_full() -> None:
    pool = web({"admin_state": "drain", "max_in_flight": 1})
    (a,) = pool.backends
    held = pool.acquire(prefer=a)
    with pytest.raises(QueueTimeout):
        pool.acquire(prefer=a, patience=0.0)
    with pytest.raises(NoBackendError) as raised:
        pool.acquire()
    assert not isinstance(raised.value, PoolFullError)
    timer = threading.Timer(0.01, held.release)
    timer.start()
    lease = pool.acquire(prefer=a, patience=20.0)
    timer.join()
    assert (lease.backend, lease.detour, a.in_flight) == (a, False, 1)


def test_a_client_of_a_draining_backend_does_not_wait_behind_those_who_may_not_go_there() -> None:
    pool = web({"admin_state": "drain"}, {"max_in_flight": 1})
    held = pool.acquire()
    pool.roster.waiting.append(object())  # somebody waits for the other one
    lease = pool.acquire(prefer=pool.backends[0])
    assert (held.backend, lease.backend) == (pool.backends[1], pool.backends[0])


def test_a_backend_that_a_reload_has_taken_away_is_not_asked_any_more() -> None:
    old = made({}, {"admin_state": "drain"})
    _, gone = old.pools["web"].backends
    pool = made({}, previous=old).pools["web"]
    lease = pool.take((), None, gone)
    assert lease is not None
    assert lease.backend is pool.backends[0]
