"""Waiting for a backend that is not full: in order, within limits, and nothing leaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import wait_until
from tests.unit.pool.scripted import address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.errors import ClientDisconnectedError, ExchangeTimeout, PoolFullError, ProxyError, QueueTimeout
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Lease, Pool
from wsgiproxy.routing.table import RoutingTable


def full_table(*most: int, max_queue: int = 100, seconds: float = 20.0, previous: Any = None) -> RoutingTable:
    """A pool of backends ``a``, ``b`` and so on that may have so many exchanges under way."""
    backends = tuple(
        schema.Backend(address=address(name), max_in_flight=limit) for name, limit in zip("abcd", most, strict=False)
    )
    timeouts = schema.OwnTimeouts(queue=seconds)
    return table(schema.Pool(backends=backends, max_queue=max_queue, timeouts=timeouts), previous)


def full_pool(*most: int, **more: Any) -> Pool:
    return full_table(*most, **more).pools["web"]


class Client:
    """Somebody who asks for a lease in a thread of his own, and can go away."""

    def __init__(self, web: Pool, exclude: tuple[Backend, ...] = ()) -> None:
        self.lease: Lease | None = None
        self.error: BaseException | None = None
        self.cancel: Callable[[ProxyError], None] | None = None
        before = len(web.roster.waiting)
        self._web, self._exclude = web, exclude
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        wait_until(lambda: len(web.roster.waiting) > before or not self._thread.is_alive())

    def _ask(self) -> None:
        try:
            self.lease = self._web.acquire(self._exclude, None, self._on_cancel)
        except ProxyError as error:
            self.error = error

    def _on_cancel(self, cancel: Callable[[ProxyError], None] | None) -> None:
        self.cancel = cancel

    def join(self) -> Client:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self

    @property
    def got(self) -> str:
        assert self.lease is not None
        return name_of(self.lease.backend.address)


def test_who_came_first_is_served_first() -> None:
    web = full_pool(1)
    lease = web.acquire()
    clients = [Client(web) for _ in range(3)]
    for client in clients:
        assert [later.lease for later in clients[clients.index(client) :]] == [None] * (3 - clients.index(client))
        lease.release()
        client.join()
        assert client.lease is not None
        assert client.lease.waited > 0
        lease = client.lease
    lease.release()
    assert (web.backends[0].in_flight, web.backends[0].requests, len(web.roster.waiting)) == (0, 4, 0)
    assert web.roster.requests == 4


def test_nobody_overtakes_those_who_wait() -> None:
    web = full_pool(1)
    lease = web.acquire()
    first = Client(web)
    lease.release()
    with pytest.raises(PoolFullError):
        full_of(web).acquire()
    assert first.join().got == "a"


def full_of(web: Pool) -> Pool:
    """The same pool, but without a queue."""
    block = schema.Pool(backends=web.block.backends, max_queue=0)
    return Pool(web.name, block, web.backends, web.roster)


def test_past_the_end_of_the_queue_a_client_is_told_when_to_come_back() -> None:
    web = full_pool(1, max_queue=1)
    lease = web.acquire()
    waiting = Client(web)
    with pytest.raises(PoolFullError) as raised:
        web.acquire()
    assert raised.value.retry_after == 1
    lease.release()
    waiting.join()


def test_who_has_waited_too_long_is_told_so_and_leaves_the_queue() -> None:
    web = full_pool(1, seconds=0.01)
    web.acquire()
    with pytest.raises(QueueTimeout, match=r"full for 0\.01 s") as raised:
        web.acquire()
    assert raised.value.waited >= 0.01
    assert (len(web.roster.waiting), web.backends[0].in_flight) == (0, 1)


@pytest.mark.parametrize("left", [0.05, -1.0])
def test_who_waits_until_the_exchange_is_over_is_not_told_to_come_back(left: float) -> None:
    web = full_pool(1)
    web.acquire()
    with pytest.raises(ExchangeTimeout) as raised:
        web.acquire(ends_by=web.roster.clock() + left)
    assert raised.value.waited >= left
    assert (len(web.roster.waiting), web.backends[0].in_flight) == (0, 1)


def test_a_client_that_goes_leaves_the_queue_to_the_others() -> None:
    web = full_pool(1)
    lease = web.acquire()
    gone, next_one = Client(web), Client(web)
    assert gone.cancel is not None
    gone.cancel(ClientDisconnectedError("gone"))
    assert isinstance(gone.join().error, ClientDisconnectedError)
    assert gone.cancel is None
    lease.release()
    assert next_one.join().got == "a"


def test_a_client_that_goes_as_it_is_served_gives_its_place_to_the_next() -> None:
    web = full_pool(1)
    lease = web.acquire()
    order: list[str] = []

    def go(cancel: Callable[[ProxyError], None] | None) -> None:
        if cancel is not None:  # both at once: the place is there, and the client is not
            lease.release()
            order.append("released")
            cancel(ClientDisconnectedError("gone"))

    with pytest.raises(ClientDisconnectedError):
        web.acquire((), None, go)
    assert (order, web.backends[0].in_flight, len(web.roster.waiting)) == (["released"], 0, 0)


def test_who_must_not_get_the_backend_that_is_free_holds_up_nobody() -> None:
    web = full_pool(1, 1)
    one, two = web.acquire(), web.acquire()
    picky, other = Client(web, (one.backend,)), Client(web)
    one.release()
    assert other.join().lease is not None
    assert other.got == name_of(one.backend.address)
    two.release()
    assert picky.join().got == name_of(two.backend.address)


def test_backends_that_are_added_serve_those_who_wait_already() -> None:
    old = full_table(1)
    lease = old.pools["web"].acquire()
    waiting = Client(old.pools["web"])
    new = full_table(1, 1, previous=old)
    assert waiting.join().got == "b"
    lease.release()
    assert [backend.in_flight for backend in new.pools["web"].backends] == [0, 1]


steps = st.lists(st.sampled_from(["ask", "ask", "release", "go", "fail"]), max_size=25)


@given(steps, st.integers(1, 2), st.integers(0, 3))
def test_whoever_comes_and_goes_no_backend_has_too_much_and_nothing_is_left(
    story: list[str], most: int, queue: int
) -> None:
    web = full_pool(most, most, max_queue=queue)
    clients: list[Client] = []
    for step in story:
        served = [client for client in clients if client.lease is not None]
        waiting = [client for client in clients if client.lease is None and client.error is None]
        if step == "ask":
            clients.append(Client(web))
        elif step == "go" and waiting and waiting[0].cancel is not None:
            waiting[0].cancel(ClientDisconnectedError("gone"))
            clients.remove(waiting[0].join())
        elif step in ("release", "fail") and served:
            lease = served[0].lease
            assert lease is not None
            clients.remove(served[0])
            lease.release(failed=step == "fail")
            if waiting:
                waiting[0].join()
        assert all(backend.in_flight <= most for backend in web.backends)
        assert len(web.roster.waiting) <= queue
        assert not web.roster.waiting or all(backend.full for backend in web.backends)
    while clients:
        client = clients.pop(0).join()
        if client.lease is not None:
            client.lease.release()
    assert [backend.in_flight for backend in web.backends] == [0, 0]
    assert not web.roster.waiting
