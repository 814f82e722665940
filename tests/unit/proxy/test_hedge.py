"""Two backends at once: who wins, what the loser costs, and that nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.processes import wait_until
from tests.unit.proxy.journeys import FakeBody, FakeUpstream, backends_of, environ_of, pool_of, pool_table
from wsgiproxy.config import schema
from wsgiproxy.errors import BackendError, ClientDisconnectedError, ConnectError, ProxyError, ResetError
from wsgiproxy.pool.pool import Lease
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.forward import forward
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

Cancel = Callable[[ProxyError], None] | None


class Held(FakeUpstream):
    """A backend that answers when it is told to, or fails when its request is given up."""

    def __init__(self, *steps: Any) -> None:
        super().__init__(*steps)
        self.asked = threading.Event()
        self._go = threading.Event()
        self.cut: ProxyError | None = None

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        assert request.on_cancel is not None
        request.on_cancel(self._give_up)
        self.asked.set()
        assert self._go.wait(20)
        if self.cut is not None:
            raise self.cut
        return super().send(request, fresh=fresh)

    def go(self) -> None:
        self._go.set()

    def _give_up(self, error: ProxyError) -> None:
        self.cut = error
        self._go.set()


class Client:
    """A client whose request is hedged at once, unless told otherwise; it can go away."""

    def __init__(
        self, *upstreams: FakeUpstream, method: str = "GET", hedge_after: float = 1e-6, **retries: Any
    ) -> None:
        self.table = pool_table(*upstreams, retries={"hedge_after": hedge_after, **retries})
        self.exchange = Exchange(environ_of(method), None)
        self.cancel: Cancel = None
        self.answer: UpstreamResponse | None = None
        self.lease: Lease | None = None
        self.error: BaseException | None = None
        self.request = UpstreamRequest(method, "/", "a", [("X-Id", "7")], on_cancel=self._on_cancel)
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer, self.lease = forward(self.exchange, pool_of(self.table), self.request)
        except ProxyError as error:
            self.error = error

    def _on_cancel(self, cancel: Cancel) -> None:
        self.cancel = cancel

    def join(self) -> Client:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self

    @property
    def failures(self) -> list[str]:
        return [f"{failed.backend[7:9]} {failed.reason}" for failed in self.exchange.failures or ()]

    def idle(self) -> bool:
        """Whether nothing is under way any more, once the winner's lease is given back."""
        if self.lease is not None:
            self.lease.release()
        return wait_until(lambda: sum(backend.in_flight for backend in backends_of(self.table)) == 0)


def test_who_answers_first_wins_and_the_other_is_cut_off() -> None:
    slow, quick = Held(), FakeUpstream([b"quick"])
    client = Client(slow, quick).join()
    assert client.answer is not None
    assert list(client.answer.body) == [b"quick"]
    assert quick.requests[0].fields == [("X-Id", "7")]
    assert (client.exchange.backend, client.exchange.attempts) == ("http://b1:1", 2)
    assert client.failures == ["b0 hedge_lost"]
    assert client.idle()
    assert slow.cut is not None
    assert slow.cut.reason == "hedge_lost"
    assert [backend.failures for backend in backends_of(client.table)] == [0, 0]


def test_the_first_may_win_yet() -> None:
    first, second = Held([b"first"]), Held()
    client = Client(first, second)
    assert second.asked.wait(20)
    first.go()
    assert client.join().exchange.backend == "http://b0:1"
    assert client.failures == ["b1 hedge_lost"]
    assert client.idle()


def test_a_quick_answer_asks_nobody_else() -> None:
    one, two = FakeUpstream(), FakeUpstream()
    client = Client(one, two, hedge_after=30.0).join()
    assert (len(one.requests), len(two.requests), client.exchange.attempts) == (1, 0, 1)
    assert client.idle()


@pytest.mark.parametrize("first_fails_first", [True, False])
def test_where_one_fails_the_other_still_counts(first_fails_first: bool) -> None:
    held = Held([b"held"])
    failing = FakeUpstream(ResetError("no"))
    if first_fails_first:
        first = Held(ResetError("no"))
        client = Client(first, held)
        assert held.asked.wait(20)
        first.go()
        wait_until(lambda: backends_of(client.table)[0].failures == 1)
    else:
        client = Client(held, failing)
        wait_until(lambda: backends_of(client.table)[1].failures == 1)
    held.go()
    assert client.join().answer is not None
    assert client.failures == [f"b{0 if first_fails_first else 1} backend_reset"]
    assert client.idle()


def test_where_both_fail_a_third_is_tried() -> None:
    first, second, third = Held(ResetError("no")), Held(ConnectError("no")), FakeUpstream()
    client = Client(first, second, third, hedge_after=0.05)
    assert second.asked.wait(20)
    first.go()
    second.go()
    assert client.join().exchange.backend == "http://b2:1"
    assert sorted(client.failures) == ["b0 backend_reset", "b1 connect_error"]
    assert [backend.failures for backend in backends_of(client.table)] == [1, 1, 0]
    assert client.idle()


def test_a_first_failure_before_the_delay_is_an_ordinary_one() -> None:
    client = Client(FakeUpstream(BackendError("no")), FakeUpstream(), hedge_after=30.0).join()
    assert isinstance(client.error, BackendError)
    assert client.idle()


def test_a_client_that_goes_ends_both() -> None:
    one, two = Held(), Held()
    client = Client(one, two)
    assert two.asked.wait(20)
    gone = ClientDisconnectedError("gone")
    cancel = wait_until(lambda: client.cancel)
    cancel(gone)
    assert client.join().error is gone
    assert client.idle()
    assert one.cut is two.cut is gone
    assert [backend.failures for backend in backends_of(client.table)] == [0, 0]


def test_once_it_is_decided_the_end_of_the_client_is_the_winners_to_hear() -> None:
    winner = Held()
    client = Client(winner, hedge_after=30.0)
    assert winner.asked.wait(20)
    winner.go()
    client.join()
    assert client.cancel == winner._give_up
    assert client.idle()


@pytest.mark.parametrize(
    ("method", "retries"),
    [
        ("POST", {}),
        ("GET", {"budget": schema.RetryBudget(percent=0, per_second=0)}),
    ],
)
def test_what_must_not_be_hedged_waits(method: str, retries: dict[str, Any]) -> None:
    held, other = Held(), FakeUpstream()
    client = Client(held, other, method=method, **retries)
    assert held.asked.wait(20)
    held.go()
    assert client.join().exchange.backend == "http://b0:1"
    assert other.requests == []
    assert client.idle()


def test_an_answer_that_comes_too_late_is_closed() -> None:
    late = Held([b"late"])
    late._give_up = lambda error: None  # type: ignore[method-assign]  # it does not hear of it
    client = Client(late, FakeUpstream()).join()
    late.go()
    assert client.idle()
    (body,) = wait_until(lambda: late.bodies)
    assert isinstance(body, FakeBody)
    assert body.closed
