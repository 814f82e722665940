"""The connections of one backend address: idle ones that may be used again, and new ones, with TLS where it is spoken.

The rule of the room: a connection is here or with one exchange, never both, and the most recently used one is taken
first, so that the others grow old and are closed. It must not know HTTP, pools or other addresses.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectError, ConnectTimeout, ResetError, WriteTimeout
from wsgiproxy.transport.certificates import load_authorities, load_certificate, make_safe
from wsgiproxy.transport.stream import BACKEND, Stream
from wsgiproxy.transport.tls import TlsStream
from wsgiproxy.upstream.idle_limit import IdleLimit

_log = logging.getLogger("wsgiproxy.upstream")

SOON = 0.5  # seconds; no backend is known that has so little patience: it closes for another reason
WARY = 10.0  # seconds of care, from the beginning and after each such close
_SHORTEST_WAIT = 0.001  # seconds, for what is late already: a wait of no time is not one

_monotonic = time.monotonic


class Tls(NamedTuple):
    """How a backend is spoken to over TLS; ``server_name`` is whom to ask for and to verify: a name or an address."""

    context: ssl.SSLContext
    server_name: str


def tls_context(block: schema.BackendTls) -> ssl.SSLContext:
    """What a pool's block asks for; ``ConfigError`` with a key such as ``tls.ca`` where a file is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    make_safe(context)
    if not block.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif block.ca is None:
        context.load_default_certs()
    if block.ca is not None:
        load_authorities(context, block.ca, "tls.ca")
    if block.certificate is not None:
        load_certificate(context, block.certificate.certificate, block.certificate.key, "tls.certificate")
    return context


def tls_files(block: schema.BackendTls) -> list[str]:
    """The files that ``tls_context`` reads."""
    files = [block.ca]
    if block.certificate is not None:
        files += [block.certificate.certificate, block.certificate.key]
    return [path for path in files if path is not None]


class Connector:
    """Idle connections of one address, and how to make more. ``list.append`` and ``pop`` are atomic: no lock."""

    def __init__(self, address: str, dial: Callable[[float], Stream], tls: Tls | None = None) -> None:
        """``dial(deadline)`` makes a connection or raises ``ConnectError`` or ``ConnectTimeout``."""
        self._address = address
        self._dial = dial
        self._tls = tls
        self._last: TlsStream | None = None  # the connection that was made last
        # (when it is used no more, when it was given back, the connection), the oldest first
        self._idle: list[tuple[float, float, Stream]] = []
        self._limit = IdleLimit()
        self._usable_for = 0.0  # seconds that a connection given back now may be used
        self._closed = False
        # Nothing is known of the backend yet, or it has closed a connection behind an answer of late: any may be next.
        self._wary_until = _monotonic() + WARY
        self._max_idle = 0
        self._idle_timeout = 0.0
        self._trusted_for = 0.0

    def __repr__(self) -> str:
        return f"<Connector {self._address}, {len(self._idle)} idle{', closed' if self._closed else ''}>"

    def configure(self, block: schema.KeepAlive) -> None:
        """Take on the limits of a pool's block; they hold from the next connection that is given back."""
        self._max_idle = block.max_idle
        self._idle_timeout = block.idle_timeout
        self._trusted_for = block.trusted_for
        self._usable_for = min(self._idle_timeout, self._limit.seconds)

    def idle_connections(self) -> int:
        """How many idle connections are held."""
        return len(self._idle)

    def take(self, careful: bool = False) -> Stream | None:
        """An idle connection that is still good, or None.

        ``careful`` is for a request that cannot be sent again: one that the backend is hardly about to close, by its
        age, by what the backend did of late, and by what the kernel knows.
        """
        if careful and not self._is_trusted():
            return None
        idle = self._idle
        while idle:
            try:
                close_at, given_at, stream = idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if stream.is_quiet(careful):
                now = _monotonic()
                if close_at > now:
                    return stream
                self._limit.still_open(now - given_at)
                self._usable_for = min(self._idle_timeout, self._limit.seconds)
            elif _monotonic() - given_at < SOON:
                self.distrust()
            stream.close()
        return None

    def distrust(self) -> None:
        """The backend has closed a connection under a request, or right behind an answer: let it be a warning."""
        self._wary_until = _monotonic() + WARY

    def _is_trusted(self) -> bool:
        """Whether the youngest idle connection is young enough, and the backend in no mood to close them."""
        now = _monotonic()
        youngest = self._idle[-1:]  # a copy: another thread may take it meanwhile, and leave an older one
        return bool(youngest) and youngest[0][1] > now - self._trusted_for and now >= self._wary_until

    def dial(
        self, deadline: float, preface: bytes = b"", tls_timeout: float | None = None, limit: float = inf
    ) -> Stream:
        """A new connection, on which ``preface`` was sent before anything else: before TLS, too.

        All is done by ``deadline``, or a TLS handshake within ``tls_timeout`` seconds of its own; nothing after the
        instant ``limit``. ``ConnectError``, ``ConnectTimeout``, ``TlsError`` or ``TlsTimeout``: nothing of a request
        was sent then.
        """
        deadline = min(deadline, limit)
        stream = self._dial(deadline)
        try:
            if preface:
                self._introduce(stream, preface, deadline)
            if self._tls is not None:
                if tls_timeout is not None:
                    deadline = min(_monotonic() + tls_timeout, limit)
                stream = self._secure(stream, self._tls, deadline)
        except BaseException:
            stream.close()
            raise
        stream.watch(self._evict)
        return stream

    def _introduce(self, stream: Stream, preface: bytes, deadline: float) -> None:
        try:
            stream.send_all(preface, max(deadline - _monotonic(), _SHORTEST_WAIT), deadline)
        except WriteTimeout as error:
            raise ConnectTimeout(str(error)) from error
        except ResetError as error:
            raise ConnectError(str(error)) from error

    def _secure(self, stream: Stream, tls: Tls, deadline: float) -> Stream:
        """TLS over ``stream``; it goes on from the session of the last connection if that is over (RFC 8446 2.2)."""
        last = self._last
        secure = TlsStream(
            stream, tls.context, errors=BACKEND, server_side=False, server_name=tls.server_name, peer=self._address,
            session=last.session if last is not None and last.fileno() < 0 else None,
        )  # fmt: skip
        secure.handshake(deadline)
        self._last = secure
        return secure

    def give_back(self, stream: Stream) -> None:
        """Keep a connection whose last exchange ended cleanly, or close it."""
        idle = self._idle
        now = _monotonic()
        oldest = idle[:1]  # a copy: another thread may take it meanwhile
        if oldest and oldest[0][0] <= now:
            self._close_expired(now)
        if not stream.is_quiet():
            self.distrust()
            stream.close()
            return
        if self._closed or len(idle) >= self._max_idle:
            stream.close()
            return
        idle.append((now + self._usable_for, now, stream))
        if self._closed:  # by another thread, meanwhile
            self.close()

    def close(self) -> None:
        """Close the idle connections, and from now on each one that is given back."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop()[2].close()
            except IndexError:  # another thread took the last one
                return

    def _close_expired(self, now: float) -> None:
        try:
            while self._idle[0][0] <= now:
                self._idle.pop(0)[2].close()
        except IndexError:  # none is left
            return

    def _evict(self, _reset: bool) -> None:
        """Close the idle connections that the backend has closed, as soon as that is seen; learn its patience."""
        now = _monotonic()
        for entry in [entry for entry in self._idle if not entry[2].is_quiet()]:
            self._idle.remove(entry)
            entry[2].close()
            self._limit.closed(now - entry[1], now)
            if now - entry[1] < SOON:
                self.distrust()
        usable_for = min(self._idle_timeout, self._limit.seconds)
        if usable_for < self._usable_for / 2:
            _log.info("%s closes idle connections: none is used after %.1f s", self._address, usable_for)
        self._usable_for = usable_for
