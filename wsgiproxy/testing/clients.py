"""What clients bring along in a simulation: requests, bodies, cookies, and how long they have patience.

The rule of the room: nothing here chooses a backend; what a client is told to keep, it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.errors import ClientDisconnectedError, ProxyError
from wsgiproxy.http1.message import NO_BODY, Fields, Framing, RequestHead
from wsgiproxy.pool.pool import Lease
from wsgiproxy.pool.sticky import Learned, Sticky
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.proxy.cookies import cookies_set
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.sticky import Visit
from wsgiproxy.testing.load import Asked
from wsgiproxy.testing.virtual import VirtualTime
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse


class Impatience:
    """A client who hangs up when it takes too long."""

    def __init__(self, time: VirtualTime, patience: float) -> None:
        self._cancel: Callable[[ProxyError], None] | None = None
        self._gone: ProxyError | None = None
        self.leave = time.call_at(time.now + patience, self._go)

    def on_cancel(self, cancel: Callable[[ProxyError], None] | None) -> None:
        """As ``upstream.messages.OnCancel``."""
        self._cancel = cancel
        if cancel is not None and self._gone is not None:
            cancel(self._gone)

    def _go(self) -> None:
        self._gone = ClientDisconnectedError("the client hung up")
        if self._cancel is not None:
            self._cancel(self._gone)


class _Upload:
    """The body of a request, all here at once."""

    def __init__(self, size: int) -> None:
        self._data = bytes(size)

    def read_some(self) -> bytes:
        data, self._data = self._data, b""
        return data

    read_piece = read_some

    def interrupt(self) -> None:
        """Nothing waits here."""

    def end_by(self, instant: float) -> None:
        """Nothing waits here."""

    def trailers(self) -> Fields:
        return []


def request_of(
    exchange: Exchange, asked: Asked, size: int, impatience: Impatience | None, timeouts: schema.Timeouts
) -> UpstreamRequest:
    """What a client asks for, with a body of ``size`` bytes where its method has one; the exchange learns its head."""
    path, _, query = asked.path.partition("?")
    framing, body = NO_BODY, None
    if asked.method not in {"GET", "HEAD", "OPTIONS", "DELETE"} and size:
        framing = Framing(length=size)
        body = ReplayableBody(_Upload(size), size)
    fields, variables = list(asked.headers.items()), variables_of(asked.headers)
    exchange.head = RequestHead(
        asked.method, asked.path, "HTTP/1.1", path, query, "simulation", fields, variables, framing, True, False
    )
    return UpstreamRequest(
        asked.method,
        asked.path,
        "simulation",
        [],
        framing=framing,
        body=body,
        environ=exchange.environ,
        path_info=path,
        query=query,
        on_cancel=None if impatience is None else impatience.on_cancel,
        timeouts=timeouts,
        ends_by=exchange.started_at + timeouts.total if timeouts.total else inf,
    )


class Jar:
    """The cookies that keep clients with their backends, one for each client's address."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._sessions = 0  # begun by simulated applications

    def put_into(self, asked: Asked, sticky: Sticky) -> Asked:
        """The same request with its client's cookie, if it has one."""
        value = self._values.get(asked.client)
        if value is None:
            return asked
        return asked._replace(headers={**asked.headers, "Cookie": f"{sticky.block.cookie}={value}"})

    def take_from(self, response: UpstreamResponse, asked: Asked, sticky: Sticky, visit: Visit, lease: Lease) -> None:
        """Keep what an answer sets: the proxy, or an application that begins a session where the pool goes by those."""
        name = sticky.block.cookie
        if isinstance(sticky, Learned) and asked.client not in self._values:
            self._sessions += 1
            response.fields.append(("Set-Cookie", f"{name}={self._sessions}"))
        for value in cookies_set(visit.answered(lease, response.fields), name):
            self._values[asked.client] = value


def variables_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as PEP 3333 has them."""
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
