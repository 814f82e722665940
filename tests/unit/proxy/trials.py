"""One request on its way through ``forward``, and what its attempts meet."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from tests.unit.proxy.journeys import FakeUpstream, backends_of, environ_of, pool_of, pool_table
from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.forward import forward
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.transport.stream import Driver
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

ErrorT = TypeVar("ErrorT", bound=BaseException)


class Body:
    """A client's body in pieces, an error among them is raised."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces: list[Any] = list(pieces)

    def read_some(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def interrupt(self) -> None:
        """Nothing."""

    def trailers(self) -> Fields:
        return []


class Pauses:
    """A driver whose waits are over at once, but known: ``waited`` are their seconds; ``on_wait`` is called in each."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.on_wait: Callable[[float], Any] = lambda seconds: None

    def event(self) -> Any:
        return SimpleNamespace(wait=self._wait, set=lambda: None, is_set=lambda: False)

    def _wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.on_wait(seconds)
        return False


class Trial:
    """One request forwarded to a pool of these upstreams."""

    def __init__(self, *upstreams: FakeUpstream, attempts: int = 3, **block: Any) -> None:
        self.table: RoutingTable = pool_table(*upstreams, attempts=attempts, **block)
        self.exchange = Exchange(environ_of(), None)
        self.pauses = Pauses()
        roster = pool_of(self.table).roster
        roster.driver, roster.chance = cast("Driver", self.pauses), lambda: 0.5

    def forward(self, method: str = "GET", body: Any = None, total: float = 0.0, **environ: Any) -> UpstreamResponse:
        request = UpstreamRequest(method, "/", "a", [], body=body, environ=environ_of(method, **environ))
        if total:
            request.timeouts = schema.Timeouts(total=total)
            request.ends_by = pool_of(self.table).roster.clock() + total
        response, lease = forward(self.exchange, pool_of(self.table), request)
        assert sum(self.in_flight) == 1
        lease.release()
        assert sum(self.in_flight) == 0
        return response

    def fail(self, error: type[ErrorT], method: str = "GET", body: Any = None, total: float = 0.0) -> ErrorT:
        with pytest.raises(error) as caught:
            self.forward(method, body, total)
        assert type(caught.value) is error
        assert sum(self.in_flight) == 0
        return caught.value

    @property
    def in_flight(self) -> list[int]:
        return [backend.in_flight for backend in backends_of(self.table)]

    @property
    def failures(self) -> list[int]:
        return [backend.failures for backend in backends_of(self.table)]


def body_of(*pieces: bytes) -> ReplayableBody:
    return ReplayableBody(Body(*pieces))


class Slow(FakeUpstream):
    """A backend that takes a second for each answer."""

    now = 100.0

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        self.now += 1
        return super().send(request, fresh=fresh)


def answering(status: int, *steps: Any) -> FakeUpstream:
    """A backend that answers with that status."""
    upstream = FakeUpstream(*steps)
    upstream.status = status
    return upstream
