"""A backend's answer as a WSGI body: the pieces, and one ``close`` that gives everything back.

The climb in reverse: connection, lease, access log, in that order, in one place, however the answer ends.
"""

from __future__ import annotations

import time
from math import inf

from wsgiproxy.errors import Blame, ClientDisconnectedError, ExchangeTimeout, ProxyError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.pool import Lease
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.transport.splice import Piped
from wsgiproxy.upstream.messages import ResponseBody

_monotonic = time.monotonic


class ForwardedBody:
    """The iterable that ``ProxyApp`` returns. A body cut short raises, so that the client sees a cut.

    ``trailer_names`` are those of the fields that may follow it, ``ends_by`` the instant of ``time.monotonic()`` at
    which the client must have all of it.
    """

    __slots__ = ("_body", "_exchange", "_failed", "_lease", "_over", "ends_by", "trailer_names")

    def __init__(
        self,
        body: ResponseBody,
        lease: Lease,
        exchange: Exchange,
        trailer_names: tuple[str, ...] = (),
        ends_by: float = inf,
    ) -> None:
        self.trailer_names = trailer_names
        self.ends_by = ends_by
        self._body = body
        self._lease = lease
        self._exchange = exchange
        self._over = False
        self._failed = False  # by the backend's fault

    def __iter__(self) -> ForwardedBody:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._body)
        except StopIteration:
            self._over = True
            raise
        except ProxyError as error:
            self._fail(error)
            raise
        self._exchange.bytes_sent += len(piece)
        return piece

    def read_piece(self) -> bytes | Piped:
        """The next piece, which may stay in the kernel, ``b""`` at the end; our server asks for large bodies so."""
        try:
            piece = self._body.read_piece()
        except ProxyError as error:
            self._fail(error)
            raise
        if not len(piece):
            self._over = True
        self._exchange.bytes_sent += len(piece)
        return piece

    def is_ready(self) -> bool:
        """Whether the next piece, or the end, can be had without a wait; our server sends the head ahead if not."""
        return self._body.is_ready()

    def is_over(self) -> bool:
        """Whether the last byte has been handed out."""
        return self._over or self._body.is_over()

    def trailers(self) -> Fields:
        """The trailer fields that the route passes on, once the last piece was handed out; our server asks for them."""
        return self._body.trailers() if self.trailer_names else []

    def close(self) -> None:
        """Give back the connection, release the backend, write the log. Idempotent."""
        exchange = self._exchange
        if not self.is_over():
            late = self.ends_by < inf and _monotonic() >= self.ends_by
            exchange.reason = ExchangeTimeout.reason if late else ClientDisconnectedError.reason
        self._body.close()
        self._lease.release(self._failed)
        exchange.finish()

    def _fail(self, error: ProxyError) -> None:
        self._over = True
        self._failed = error.blame is Blame.BACKEND
        self._exchange.fail(error)
