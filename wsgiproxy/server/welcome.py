"""What comes before HTTP on a connection: a PROXY header from those who must send one, then TLS.

The rule of the room: a PROXY header is read from the peers that the listener names, who must begin with one, and from
nobody else, so that nobody else can say who he is. All of it must be done within the header timeout. What fails here
costs one connection and leaves one line in the log. Whoever is told to go may hang up first, and no more than a few do
so at once. This module must not know requests.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from typing import Any

import gevent

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

_DROPPED_BYTES = 256 * 1024  # of what somebody sends who is turned away
_DROPPED_PIECE = 64 * 1024  # bytes of that at once
_PARTING_SECONDS = 1.0  # that he is given to send it, and to hang up
_MOST_PARTING = 64  # connections that are given that at once

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
        self._parting: dict[Stream, None] = {}  # who has been told to go and may hang up first, the earliest first
        most = listener.limits.connections  # behind a PROXY header they take up room among those
        self._most_parting = min(_MOST_PARTING, max(most // 8, 1)) if most else _MOST_PARTING

    def __repr__(self) -> str:
        return f"<Welcome {'http' if self._contexts is None else 'https'}, {len(self._parting)} parting>"

    def expects_header(self, peer: str) -> bool:
        """Whether the peer at this address, ``""`` on a Unix socket, must begin with a PROXY header."""
        return peer in self._senders

    def concerns(self, peer: str) -> bool:
        """Whether anything comes before HTTP on a connection of this peer."""
        return self._contexts is not None or peer in self._senders

    def turn_away(self, stream: Stream) -> None:
        """Tell a client who has too many connections so, where that can be said, and close. Costs no wait."""
        farewell = self._too_many()
        if farewell:
            gevent.spawn_raw(self._part, stream, farewell)
        else:
            self._part(stream, b"")

    def close(self) -> None:
        """Wait for nobody any more who was told to go."""
        for stream in list(self._parting):
            stream.abort(ClientDisconnectedError("the server has stopped"))

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
                        self._part(stream, self._too_many())
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
            self._part(stream, refusal(BadRequestError("plain HTTP, but HTTPS is spoken here")) if plain else b"")
        return None

    def _too_many(self) -> bytes:
        """What is said to a client who has too many connections; before a TLS handshake nothing can be said."""
        return refusal(TooManyConnectionsError("too many connections")) if self._contexts is None else b""

    def _part(self, stream: Stream, farewell: bytes) -> None:
        """Say a last word, if there is one, and close; never raises.

        To close on unread bytes, or before they come, is a reset, which takes back what was said: whoever is told
        something may hang up first. He has a moment for it, less where many others are told to go after him.
        """
        if not farewell:
            with contextlib.suppress(ProxyError):
                stream.recv_now(_DROPPED_PIECE)
            stream.close()
            return
        parting = self._parting
        if len(parting) >= self._most_parting:
            earliest = next(iter(parting))
            del parting[earliest]
            earliest.abort(ClientDisconnectedError("others are turned away"))
        parting[stream] = None
        over, left = _monotonic() + _PARTING_SECONDS, _DROPPED_BYTES
        try:
            stream.send_now(farewell)
            stream.shutdown_write()
            while left > 0 and (data := stream.recv(_DROPPED_PIECE, over)):
                left -= len(data)
        except ProxyError:
            pass  # he has gone, or takes too long: either way it is over
        finally:
            parting.pop(stream, None)
            stream.close()

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


def _take_over(environ: dict[str, Any], header: Header) -> None:
    """The client is whom the header names."""
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = header.source, str(header.source_port)
    environ["wsgiproxy.destination"] = functools.partial(tuple, (header.destination, header.destination_port))
