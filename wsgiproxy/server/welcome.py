"""What comes before HTTP on a connection: a PROXY header from those who must send one, then TLS.

The rule of the room: a PROXY header is read from the peers that the listener names, who must begin with one, and from
nobody else, so that nobody else can say who he is. All of it must be done within the header timeout. What fails here
costs one connection and leaves one line in the log. This module must not know requests.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from typing import Any

from wsgiproxy.config import schema
from wsgiproxy.config.networks import Networks
from wsgiproxy.errors import BadRequestError, ClientDisconnectedError, ProxyError, TooManyConnectionsError
from wsgiproxy.server.admission import Admission
from wsgiproxy.server.response import refusal
from wsgiproxy.server.tls import ListenerContexts, tls_environ
from wsgiproxy.transport.proxy_protocol import Header, missing, parse
from wsgiproxy.transport.stream import CLIENT, Stream
from wsgiproxy.transport.tls import TlsStream

_PLAIN_HTTP = "http request"  # OpenSSL's words for an HTTP request where a TLS handshake should begin

_DROPPED_BYTES = 64 * 1024  # of what somebody has sent who is turned away

_monotonic = time.monotonic
_log = logging.getLogger("wsgiproxy.server")


class Welcome:
    """What one listener does with a new connection before its first request."""

    def __init__(self, listener: schema.Listener, contexts: ListenerContexts | None, admission: Admission) -> None:
        """``contexts`` is None for plain HTTP."""
        self._senders = Networks(listener.proxy_protocol)
        self._contexts = contexts
        self._admission = admission
        self._timeout = listener.timeouts.header

    def expects_header(self, peer: str) -> bool:
        """Whether the peer at this address, ``""`` on a Unix socket, must begin with a PROXY header."""
        return peer in self._senders

    def concerns(self, peer: str) -> bool:
        """Whether anything comes before HTTP on a connection of this peer."""
        return self._contexts is not None or peer in self._senders

    def turn_away(self, stream: Stream) -> None:
        """Tell a client who has too many connections so, if that costs no wait."""
        _part(stream, refusal(TooManyConnectionsError("too many connections")) if self._contexts is None else b"")

    def greet(self, connection: object, stream: Stream, environ: dict[str, Any]) -> Stream | None:
        """The stream that requests come over, None where none will; ``environ`` is told who the client is.

        ``connection`` is what ``admission`` counts.
        """
        deadline = _monotonic() + self._timeout
        peer = environ["REMOTE_ADDR"]
        try:
            if self.expects_header(peer):
                header = _read_header(stream, deadline)
                if header.source:
                    _take_over(environ, header)
                    if not self._admission.admits(header.source):
                        self.turn_away(stream)
                        return None
                    self._admission.enter(connection, header.source)
            return stream if self._contexts is None else self._shake_hands(stream, environ, deadline)
        except ProxyError as error:
            reason = str(error)
            if reason:
                _log.info(
                    "a connection of %s ended before its first request: %s", environ["REMOTE_ADDR"] or "-", reason
                )
            plain = reason.endswith(_PLAIN_HTTP)
            _part(stream, refusal(BadRequestError("plain HTTP, but HTTPS is spoken here")) if plain else b"")
        return None

    def _shake_hands(self, stream: Stream, environ: dict[str, Any], deadline: float) -> Stream:
        assert self._contexts is not None
        secure = TlsStream(stream, self._contexts.context, errors=CLIENT, server_side=True)
        secure.handshake(deadline)
        environ.update(tls_environ(secure))
        return secure


def _read_header(stream: Stream, deadline: float) -> Header:
    """The PROXY header, and not a byte of what follows it; ``BadRequestError`` where it is not one."""
    data = b""
    try:
        while (header := parse(data)) is None:
            piece = stream.recv(missing(data), deadline)
            if not piece:
                # Whoever only looks whether somebody listens says nothing at all.
                raise ClientDisconnectedError("it was cut within its PROXY header" if data else "")
            data += piece
    except ValueError as error:
        raise BadRequestError(str(error)) from error
    return header


def _part(stream: Stream, farewell: bytes) -> None:
    """Say a last word, and drop what has come: to close on unread bytes is a reset, which takes back what was said."""
    with contextlib.suppress(ProxyError):
        stream.send_now(farewell)
        stream.recv_now(_DROPPED_BYTES)


def _take_over(environ: dict[str, Any], header: Header) -> None:
    """The client is whom the header names."""
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = header.source, str(header.source_port)
    environ["wsgiproxy.destination"] = functools.partial(tuple, (header.destination, header.destination_port))
