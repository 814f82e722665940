"""Pools and leases: who is picked, and that nothing leaks, whatever happens in between."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.pool.scripted import CHECK, address, block, name_of, pool, table
from wsgiproxy.config import schema
from wsgiproxy.errors import NoBackendError, PoolFullError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Lease, Pool

NEVER_MIND = (1, 1)  # thresholds at which each result decides


def pick(web: Pool, exclude: tuple[Backend, ...] = ()) -> str:
    """The name of the next backend, which is given back at once."""
    lease = web.acquire(exclude)
    lease.release()
    return name_of(lease.backend.address)


def test_a_lease_counts_until_it_is_released_however_often() -> None:
    web = pool("a")
    lease = web.acquire()
    (a,) = web.backends
    assert (a.in_flight, a.requests, a.failures) == (1, 1, 0)
    lease.release(failed=True)
    lease.release(failed=True)
    assert (a.in_flight, a.requests, a.failures) == (0, 1, 1)


def test_a_backend_without_weight_is_never_picked() -> None:
    assert {pick(pool("a", "b", a=0)) for _ in range(5)} == {"b"}
    with pytest.raises(NoBackendError):
        pool("a", a=0).acquire()


def test_backups_work_only_while_no_other_backend_is_available() -> None:
    web = pool("a", "b-backup", check=CHECK)
    a, b = web.backends
    a.record_check("", *NEVER_MIND)
    b.record_check("", *NEVER_MIND)
    assert {pick(web) for _ in range(4)} == {"a"}
    a.record_check("down", *NEVER_MIND)
    assert {pick(web) for _ in range(4)} == {"b-backup"}
    a.record_check("", *NEVER_MIND)
    assert {pick(web) for _ in range(4)} == {"a"}


def test_backends_that_no_check_has_reached_work_only_until_a_healthy_one_is_there() -> None:
    web = pool("a", "b", "c-backup", check=CHECK)
    assert {pick(web) for _ in range(4)} == {"a", "b"}
    web.backends[2].record_check("", *NEVER_MIND)
    assert {pick(web) for _ in range(4)} == {"c-backup"}


def limited(*most: int | None, balance: str = "round_robin", **keys: Any) -> Pool:
    """A pool whose backends ``a``, ``b`` and so on may have so many exchanges under way."""
    backends = tuple(
        schema.Backend(address=address(name), max_in_flight=limit) for name, limit in zip("abcd", most, strict=False)
    )
    return table(schema.Pool(backends=backends, balance=balance, max_queue=0, **keys)).pools["web"]  # type: ignore[arg-type]


def test_work_goes_to_the_lowest_priority_that_has_a_backend_available() -> None:
    backends = [
        schema.Backend(address=address(name), priority=priority, backup=name == "e")
        for name, priority in (("a", 1), ("b", 0), ("c", 1), ("d", 2), ("e", 0))
    ]
    web = table(schema.Pool(backends=tuple(backends), health_check=CHECK)).pools["web"]
    order = []
    for backend in web.backends:
        backend.record_check("", *NEVER_MIND)
    for _ in web.backends:
        names = sorted({pick(web) for _ in range(8)})
        order.append("".join(names))
        for backend in web.backends:
            if name_of(backend.address) in names:
                backend.record_check("down", *NEVER_MIND)
        if len(order) == 4:
            break
    assert order == ["b", "ac", "d", "e"]


def test_a_backend_takes_no_more_than_it_may_and_the_others_take_the_rest() -> None:
    web = limited(1, 2, balance="least_conn")
    leases = [web.acquire() for _ in range(3)]
    assert [backend.in_flight for backend in web.backends] == [1, 2]
    with pytest.raises(PoolFullError, match="pool web") as raised:
        web.acquire()
    assert raised.value.retry_after == 1
    leases[0].release()
    assert web.acquire().backend is leases[0].backend


def test_first_fills_the_backends_in_order() -> None:
    web = limited(2, 1, None, balance="first")
    assert [name_of(web.acquire().backend.address) for _ in range(5)] == ["a", "a", "b", "c", "c"]


def test_a_full_pool_is_another_thing_than_one_without_backends() -> None:
    web = limited(1)
    lease = web.acquire()
    with pytest.raises(PoolFullError):
        web.acquire()
    lease.backend.weight = 0
    web.roster.changes += 1
    with pytest.raises(NoBackendError) as raised:
        web.acquire()
    assert not isinstance(raised.value, PoolFullError)


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_backend_that_is_not_ready_takes_no_new_work_and_ends_what_it_has(state: Any) -> None:
    def given(a: Any) -> schema.Pool:
        entries = (schema.Backend(address=address("a"), admin_state=a), schema.Backend(address=address("b")))
        return schema.Pool(backends=entries)

    before = table(given("ready"))
    web = before.pools["web"]
    lease = web.acquire()
    assert name_of(lease.backend.address) == "a"
    after = table(given(state), before)
    assert {pick(after.pools["web"]) for _ in range(4)} == {"b"}
    assert {pick(web) for _ in range(4)} == {"b"}
    assert lease.backend.in_flight == 1
    lease.release()
    assert lease.backend.in_flight == 0
    again = table(given("ready"), after)
    assert {pick(again.pools["web"]) for _ in range(4)} == {"a", "b"}


def test_an_unhealthy_backend_is_never_picked_and_the_client_learns_when_to_come_back() -> None:
    web = pool("a", check=schema.HealthCheck(interval=2.5))
    web.backends[0].record_check("down", *NEVER_MIND)
    with pytest.raises(NoBackendError, match="pool web") as raised:
        web.acquire()
    assert raised.value.retry_after == 3


def test_whether_anybody_is_available_is_asked_without_taking_anything() -> None:
    web = pool("a", check=schema.HealthCheck(interval=2.5))
    web.check_available()
    assert (web.backends[0].in_flight, web.backends[0].requests) == (0, 0)
    web.backends[0].record_check("down", *NEVER_MIND)
    with pytest.raises(NoBackendError, match="pool web") as raised:
        web.check_available()
    assert raised.value.retry_after == 3


def test_a_backend_that_was_tried_is_tried_again_only_where_there_is_no_other() -> None:
    web = pool("a", "b", "c-backup")
    a, b, c = web.backends
    assert {pick(web, (a,)) for _ in range(4)} == {"b"}
    assert pick(web, (a, b)) == "c-backup"
    assert {pick(web, (a, b, c)) for _ in range(4)} == {"a", "b"}
    assert [backend.in_flight for backend in web.backends] == [0, 0, 0]


def test_a_pool_and_a_lease_show_what_one_would_debug_with() -> None:
    web = pool("a", "b", check=CHECK)
    web.backends[0].record_check("down", *NEVER_MIND)
    assert repr(web) == "<Pool web: 1 of 2 backends available, round_robin>"
    lease = web.acquire()
    assert "http://b:80" in repr(lease)
    lease.release()
    assert repr(lease).endswith("released>")


def test_a_lease_of_an_old_generation_is_settled_on_the_same_backend() -> None:
    old = table(block("a", "b"))
    lease = old.pools["web"].acquire()
    new = table(block("a", "b"), old)
    beside = new.pools["web"].acquire()
    lease.release()
    beside.release()
    assert [backend.in_flight for backend in new.pools["web"].backends] == [0, 0]


def test_an_old_generation_sees_what_the_checks_of_the_new_one_find() -> None:
    old = table(block("a", "b", check=CHECK))
    new = table(block("a", "b", check=CHECK), old)
    for backend, reason in zip(new.pools["web"].backends, ("down", ""), strict=True):
        backend.record_check(reason, *NEVER_MIND)
    assert {pick(old.pools["web"]) for _ in range(4)} == {"b"}


BALANCES = ["round_robin", "least_conn", "random_two", "least_time", "hash", "first"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.integers(0, 3)),
        st.tuples(st.just("release"), st.integers(0, 30)),
        st.tuples(st.just("flip"), st.integers(0, 3)),
        st.tuples(st.just("reload"), st.sets(st.sampled_from("abcd"), min_size=1)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS, balance=st.sampled_from(BALANCES), key=st.one_of(st.none(), st.integers(0, 2**63 - 1)))
def test_leases_never_leak_whatever_is_acquired_released_and_reloaded(
    steps: list[tuple[str, int | set[str]]], balance: str, key: int | None
) -> None:
    current = table(block(*"abcd", check=CHECK, balance=balance))
    known = set(current.pools["web"].backends)
    leases: list[Lease] = []
    for step, value in steps:
        web = current.pools["web"]
        if isinstance(value, set):
            current = table(block(*sorted(value), check=CHECK, balance=balance), current)
            known.update(current.pools["web"].backends)
        elif step == "acquire":
            try:
                leases.append(web.acquire(web.backends[:value], key if balance == "hash" else None))
            except NoBackendError:
                continue
        elif step == "release" and leases:
            if value % 3:
                leases[value % len(leases)].answered(200 if value % 2 else 503)
            leases[value % len(leases)].release(failed=bool(value % 2))
        elif step == "flip":
            backend = web.backends[value % len(web.backends)]
            backend.record_check("down" if backend.health == "healthy" else "", *NEVER_MIND)
        assert all(backend.in_flight >= 0 for backend in known)
        assert sum(backend.in_flight for backend in known) == sum("released" not in repr(lease) for lease in leases)
    for lease in leases:
        lease.release()
    assert all(backend.in_flight == 0 for backend in known)


def test_many_threads_leave_nothing_in_flight() -> None:
    web = pool("a", "b", "c", balance="least_conn", a=2)

    def work() -> None:
        for _ in range(2000):
            lease = web.acquire()
            lease.release()
            lease.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [backend.in_flight for backend in web.backends] == [0, 0, 0]
    assert sum(backend.requests for backend in web.backends) == 8000


def test_new_weights_take_effect_at_once_whatever_the_accounts_were() -> None:
    old = table(block("a", "b", a=256))
    for _ in range(128):
        pick(old.pools["web"])
    new = table(block("a", "b"), old)
    assert {pick(new.pools["web"]) for _ in range(2)} == {"a", "b"}
