"""A backend that speaks HTTP/1.1, over TCP, TLS or a unix socket.

The rule of the room: a connection is taken from the connector or dialled, the conversation on it is
``upstream.conversation``'s. Nothing here retries: an error says whether that is safe.
"""

from __future__ import annotations

import time

from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectTimeout, ReadTimeout, ResetError, Retry, StaleConnectionError, WriteTimeout
from wsgiproxy.transport.proxy_protocol import encode_v1, encode_v2
from wsgiproxy.transport.stream import Stream
from wsgiproxy.upstream.connector import Connector
from wsgiproxy.upstream.conversation import Conversation, Spawn
from wsgiproxy.upstream.deadlines import overdue
from wsgiproxy.upstream.messages import NOBODY, ClientAddress, UpstreamRequest, UpstreamResponse, may_be_repeated

_ENCODERS = {"v1": encode_v1, "v2": encode_v2}

_monotonic = time.monotonic


class HttpUpstream:
    """A backend that speaks HTTP/1.1; see ``upstream.messages.Upstream``."""

    def __init__(self, authority: str, connector: Connector, spawn: Spawn | None = None) -> None:
        """``authority`` is the Host that names the backend itself.

        ``spawn`` runs a function beside the caller, of a driver whose streams may be read and written at once; without
        it an early answer waits for the end of the upload, unless it refuses it.
        """
        self._authority = authority
        self._connector = connector
        self._spawn = spawn
        self._own_host = False
        self._proxy_protocol: str | None = None

    def __repr__(self) -> str:
        return f"<HttpUpstream {self._authority}, {self._connector!r}>"

    def configure(self, block: schema.Pool) -> None:
        """Take on the keep-alive, host and PROXY rules of a pool's block."""
        self._own_host = block.host == "backend"
        self._proxy_protocol = block.proxy_protocol
        self._connector.configure(block.keep_alive)

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        """Send a request and wait for the head of its answer.

        What cannot be repeated, or may be too large for it, reuses a connection with more care.
        """
        # Before a connection is held: a client may take its time with the first piece of its body.
        first = b"" if request.body is None else request.body.read_some()
        preface = self._preface(request.client)
        stream = None
        if not (fresh or preface):
            stream = self._connector.take(request.body is not None or not may_be_repeated(request))
        if stream is not None:
            return self._converse(stream, self._connector, request, first, True)
        began = _monotonic()
        stream = self._dial(request, began, preface)
        connect_seconds = _monotonic() - began
        # A connection that began with a PROXY header is its client's alone.
        response = self._converse(stream, None if preface else self._connector, request, first, False)
        response.connect_seconds = connect_seconds
        return response

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        """Send a health check on a connection of its own, which is closed after it."""
        deadline = _monotonic() + timeout
        stream = self._connector.dial(deadline, self._preface(NOBODY))
        conversation = Conversation(stream, None, None, deadline)
        try:
            return conversation.run(request, request.host or self._authority)
        except BaseException:
            conversation.close()
            raise

    def check_connect(self, timeout: float) -> None:
        """Connect and hang up."""
        self._connector.dial(_monotonic() + timeout, self._preface(NOBODY)).close()

    def idle_connections(self) -> int:
        """How many idle connections are held."""
        return self._connector.idle_connections()

    def close(self) -> None:
        """Close the idle connections; exchanges under way finish and then close theirs."""
        self._connector.close()

    def _preface(self, client: ClientAddress) -> bytes:
        """The PROXY header that a new connection for ``client`` begins with, where the pool asks for one."""
        return b"" if self._proxy_protocol is None else _ENCODERS[self._proxy_protocol](*client)

    def _dial(self, request: UpstreamRequest, now: float, preface: bytes) -> Stream:
        timeouts = request.timeouts
        limit = min(request.head_by, request.ends_by)
        try:
            return self._connector.dial(now + timeouts.connect, preface, timeouts.tls, limit)
        except ConnectTimeout as error:
            raise overdue(request, error, False) from error

    def _converse(
        self, stream: Stream, connector: Connector | None, request: UpstreamRequest, first: bytes, reused: bool
    ) -> UpstreamResponse:
        conversation = Conversation(stream, connector, self._spawn)
        host = self._authority if self._own_host else request.host or self._authority
        try:
            return conversation.run(request, host, first)
        except (ReadTimeout, WriteTimeout) as error:
            conversation.close()
            raise overdue(request, error, conversation.sent) from error
        except ResetError as error:
            conversation.close()
            if reused and not conversation.answered:
                self._connector.distrust()
                raise _stale(error, conversation.sent) from error
            raise
        except BaseException:
            conversation.close()
            raise


def _stale(error: ResetError, sent: bool) -> StaleConnectionError:
    """What a dead reused connection means: before a byte of the request has left, another try is always safe."""
    stale = StaleConnectionError(str(error))
    if not sent:
        stale.retry = Retry.ALWAYS
    return stale
