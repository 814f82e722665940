"""Two streams tied together after a 101: the WSGI body of an upgrade (RFC 9110 7.8).

Each direction is pumped by itself, one piece at a time, so that the slower side holds the other one back. The end of
one direction is passed on as the end of sending (a TCP half-close) and the other direction goes on; a failure of either
side ends both. The backend counts as in flight until it is all over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import inf

from wsgiproxy.errors import Blame, ClientDisconnectedError, ProxyError, ReadTimeout, RequestTimeout
from wsgiproxy.pool.pool import Lease
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import Stream, Task
from wsgiproxy.upstream.messages import ResponseBody

_PIECE = 64 * 1024  # bytes moved at once
_BULK = 16 * 1024  # bytes of a piece after which the next one may be large too, and had best stay in the kernel

_monotonic = time.monotonic


class Tunnel:
    """The iterable that ``ProxyApp`` returns for a 101; our server calls ``run_tunnel`` instead of iterating."""

    __slots__ = (
        "_active_at", "_backend", "_body", "_client", "_client_left", "_early", "_exchange", "_failed", "_idle_timeout",
        "_lease", "_over", "_spawn", "_write_timeout",
    )  # fmt: skip

    def __init__(
        self,
        backend: Stream,
        early: bytes,
        lease: Lease,
        exchange: Exchange,
        body: ResponseBody,
        spawn: Callable[[Callable[[], None], str], Task],
        idle_timeout: float,
        write_timeout: float = inf,
    ) -> None:
        """``early`` was received behind the head of the 101; ``spawn`` runs one direction beside the other.

        The tunnel ends after ``idle_timeout`` seconds without a byte in either direction, and after ``write_timeout``
        seconds without a side taking any of what there is for it.
        """
        self._backend = backend
        self._early = early
        self._lease = lease
        self._exchange = exchange
        self._body = body
        self._spawn = spawn
        self._idle_timeout = idle_timeout
        self._write_timeout = min(write_timeout, idle_timeout)
        self._client: Stream | None = None
        self._active_at = 0.0
        self._client_left = False  # its direction has ended: a backend may then hang up as it likes
        self._over = False  # a failure, or a timeout, has ended it
        self._failed: ProxyError | None = None  # by the backend's fault

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def run_tunnel(self, client: Stream, early: bytes) -> None:
        """Move bytes both ways until both directions are over; ``early`` came behind the client's request.

        Raises the backend's failure, so that the client sees a cut and no clean end.
        """
        self._client = client
        self._active_at = _monotonic()
        on_cancel = self._exchange.environ.get("wsgiproxy.on_cancel")
        if on_cancel is not None:
            on_cancel(self._fail)  # a server that stops: nobody may be reading from the client any more
        answers = self._spawn(self._pump_answers, "tunnel")
        try:
            self._pump(client, self._backend, early)
        except BaseException:  # this greenlet is being ended
            self._fail(ClientDisconnectedError("the tunnel was ended"))
            raise
        finally:
            answers.join()
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Close the backend's connection, release the backend, write the log. Idempotent."""
        self._body.close()
        self._lease.release(self._failed is not None and not self._client_left)
        self._exchange.finish()

    def _pump_answers(self) -> None:
        assert self._client is not None
        self._pump(self._backend, self._client, self._early)

    def _pump(self, source: Stream, sink: Stream, data: bytes | Piped) -> None:
        """One direction, to its end; never raises a ``ProxyError``, for the other direction is told instead."""
        exchange = self._exchange
        try:
            while not self._over:
                size = len(data)
                if size:
                    sink.send_all(data, self._write_timeout)
                    self._active_at = _monotonic()
                    if sink is self._client:
                        exchange.bytes_sent += size
                data = self._receive(source, size >= _BULK and sink.splices)
                if not len(data):
                    self._client_left = self._client_left or source is self._client
                    sink.shutdown_write()
                    return
                self._active_at = _monotonic()
        except ProxyError as error:
            self._fail(error)

    def _receive(self, source: Stream, bulk: bool) -> bytes | Piped:
        """The next piece; a direction that is silent waits on for as long as the other one is not."""
        receive = source.recv_piece if bulk else source.recv
        while True:
            deadline = self._active_at + self._idle_timeout
            try:
                return receive(_PIECE, deadline)
            except (ReadTimeout, RequestTimeout):
                if _monotonic() >= self._active_at + self._idle_timeout:
                    raise

    def _fail(self, error: ProxyError) -> None:
        """End both directions."""
        if self._over:
            return
        self._over = True
        if isinstance(error, (ReadTimeout, RequestTimeout)):
            self._exchange.reason = "tunnel_timeout"
        else:
            self._exchange.fail(error)
            self._failed = error if error.blame is Blame.BACKEND else None
        assert self._client is not None
        self._client.abort(error)
        self._backend.abort(error)
