from __future__ import annotations

import time
from math import inf
from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeBody, FakeUpstream, backends_of, environ_of, pool_of, pool_table
from wsgiproxy.errors import (
    ClientDisconnectedError,
    ContentTooLargeError,
    ProxyError,
    ReadTimeout,
    RequestTimeout,
    TruncatedBodyError,
)
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.response import ForwardedBody


class Answered:
    """A body on its way to the client."""

    def __init__(self, *pieces: Any, ends_by: float = inf) -> None:
        self.order: list[str] = []
        table = pool_table(FakeUpstream())
        self.backend = backends_of(table)[0]
        self.exchange = Exchange(environ_of(), self._log)
        self.source = FakeBody(pieces)
        self.source.close = self._close  # type: ignore[method-assign]
        self.body = ForwardedBody(self.source, pool_of(table).acquire(), self.exchange, (), ends_by)

    def _close(self) -> None:
        self.order.append(f"connection, {self.backend.in_flight} in flight")

    def _log(self, exchange: Exchange) -> None:
        self.order.append(f"log, {self.backend.in_flight} in flight")


def test_pieces_pass_through_and_their_bytes_are_counted() -> None:
    answered = Answered(b"he", b"llo")
    assert answered.body.is_ready()
    assert list(answered.body) == [b"he", b"llo"]
    answered.body.close()
    assert (answered.exchange.bytes_sent, answered.exchange.reason) == (5, "done")


def test_the_climb_back_is_connection_lease_log_and_happens_once() -> None:
    answered = Answered(b"x")
    list(answered.body)
    assert answered.order == []
    for _ in range(3):
        answered.body.close()
    assert answered.order[:2] == ["connection, 1 in flight", "log, 0 in flight"]
    assert answered.order.count("log, 0 in flight") == 1
    assert (answered.backend.in_flight, answered.backend.failures) == (0, 0)


@pytest.mark.parametrize(
    ("error", "failures"),
    [
        (TruncatedBodyError("cut"), 1),
        (ReadTimeout("slow"), 1),
        (ClientDisconnectedError("gone"), 0),
        (RequestTimeout("slow client"), 0),
        (ContentTooLargeError("big"), 0),
    ],
)
def test_a_cut_is_raised_logged_with_its_reason_and_blamed_on_who_is_to_blame(error: ProxyError, failures: int) -> None:
    answered = Answered(b"half", error)
    assert next(answered.body) == b"half"
    with pytest.raises(type(error)):
        next(answered.body)
    answered.body.close()
    assert (answered.exchange.reason, answered.exchange.bytes_sent) == (error.reason, 4)
    assert (answered.backend.in_flight, answered.backend.failures) == (0, failures)


@pytest.mark.parametrize("read", [0, 1])
def test_a_client_that_leaves_early_is_logged_as_one_and_not_blamed_on_the_backend(read: int) -> None:
    answered = Answered(b"a", b"b")
    for _ in range(read):
        next(answered.body)
    answered.body.close()
    answered.body.close()
    assert (answered.exchange.reason, answered.backend.failures) == ("client_disconnected", 0)


def test_a_body_that_was_over_needs_not_be_asked_for_its_end() -> None:
    answered = Answered(b"a")
    next(answered.body)
    answered.body.close()
    assert answered.exchange.reason == "done"


def test_an_answer_without_a_body_need_not_be_read_at_all() -> None:
    answered = Answered()
    answered.body.close()
    assert answered.exchange.reason == "done"


def test_trailers_are_those_of_the_backend_where_the_route_passes_any_on() -> None:
    table = pool_table(FakeUpstream())
    source = FakeBody([b"x"], [("X-Checksum", "1")])
    body = ForwardedBody(source, pool_of(table).acquire(), Exchange(environ_of(), None), ("x-checksum",))
    assert (body.trailer_names, body.trailers()) == (("x-checksum",), [("X-Checksum", "1")])
    body = ForwardedBody(source, pool_of(table).acquire(), Exchange(environ_of(), None))
    assert (body.trailer_names, body.trailers()) == ((), [])


@pytest.mark.parametrize(("left", "reason"), [(20.0, "client_disconnected"), (-1.0, "total_timeout")])
def test_a_client_that_is_cut_in_the_end_has_not_gone(left: float, reason: str) -> None:
    answered = Answered(b"he", b"llo", ends_by=time.monotonic() + left)
    next(answered.body)
    answered.body.close()
    assert (answered.exchange.reason, answered.backend.failures) == (reason, 0)
