"""The gevent driver: connections that are made without a wait for anybody else, greenlets in the background.

What moves the bytes of a connection once it is there is ``transport.greenlet_stream``. This module must not know HTTP
or configuration.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import gevent
import gevent.event
from gevent.monkey import get_original

from wsgiproxy.errors import ConnectError, ConnectTimeout, ProxyError
from wsgiproxy.transport.greenlet_stream import GreenletStream
from wsgiproxy.transport.splice import PipePool
from wsgiproxy.transport.stream import BACKEND, Event, PeerErrors, Task, connect_failure
from wsgiproxy.transport.sweeper import Sweeper

_WRITE = 2  # libev's EV_WRITE
_FULL_QUEUE_PAUSE = 0.01  # seconds between two tries to get into the full queue of a Unix socket

_monotonic = time.monotonic


class GreenletDriver:
    """Streams and background work on the hub of the thread that made it; see ``transport.stream.Driver``."""

    name = "greenlet"

    def __init__(self) -> None:
        self._hub: Any = gevent.get_hub()
        self._sweeper = Sweeper(self._hub.loop)
        self._pipes = PipePool()
        self._socket: type[socket.socket] = get_original("socket", "socket")
        self._getaddrinfo: Callable[..., Any] = get_original("socket", "getaddrinfo")

    def adopt(self, sock: socket.socket, errors: PeerErrors, peer: str) -> GreenletStream:
        """A stream over a connected socket, which it then owns; ``peer`` names the other end in messages."""
        sock.setblocking(False)
        return GreenletStream(sock, errors, self._sweeper, peer, self._pipes)

    def connect_tcp(self, host: str, port: int, deadline: float) -> GreenletStream:
        """A stream to the first of the host's addresses that accepts; each gets an equal share of the time left."""
        peer = f"{host}:{port}"
        try:
            found = self._addresses(host, port, deadline)
        except (OSError, UnicodeError) as error:  # a name that cannot be one fails in the idna codec
            raise ConnectError(f"{peer}: no such name: {error}") from error
        failure: ProxyError = ConnectError(f"{peer}: no address")
        for index, (family, _, _, _, address) in enumerate(found):
            now = _monotonic()
            try:
                return self._connect(family, address, peer, now + (deadline - now) / (len(found) - index))
            except (ConnectError, ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix(self, path: str, deadline: float) -> GreenletStream:
        """A stream to the socket at ``path``."""
        return self._connect(socket.AF_UNIX, path, f"unix:{path}", deadline)

    def spawn(self, function: Callable[[], None], name: str) -> Task:
        """Run ``function`` in a greenlet."""
        task = gevent.spawn(function)
        task.name = name
        return task

    def event(self) -> Event:
        """A new flag."""
        return cast("Event", gevent.event.Event())

    def _addresses(self, host: str, port: int, deadline: float) -> Any:
        """What ``getaddrinfo`` says. An address that is written out needs no look-up, so no other thread either."""
        try:
            return self._getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except socket.gaierror:
            with _at_most(deadline, f"{host}:{port}: the name was not found in time"):
                return self._hub.resolver.getaddrinfo(host, port, 0, socket.SOCK_STREAM)

    def _connect(self, family: int, address: Any, peer: str, deadline: float) -> GreenletStream:
        sock = None
        try:
            sock = self._socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._join(sock, address, peer, deadline)
            if not code and family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
                # Where nobody listens on a port of the ephemeral range, TCP may join a socket with itself.
                code = errno.ECONNREFUSED
            if code:
                raise ConnectError(f"{peer}: {os.strerror(code)}")
            return GreenletStream(sock, BACKEND, self._sweeper, peer, self._pipes)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, OSError):  # no descriptor is left, no such family, a path that is too long
                raise connect_failure(peer, error) from error
            raise

    def _join(self, sock: socket.socket, address: Any, peer: str, deadline: float) -> int:
        """Connect; the ``errno`` of what went wrong, 0 for nothing. Rare beside exchanges, so it may have a timer."""
        with _at_most(deadline, f"{peer}: no connection in time"):
            while (code := sock.connect_ex(address)) == errno.EAGAIN and sock.family == socket.AF_UNIX:
                gevent.sleep(_FULL_QUEUE_PAUSE)
            if code != errno.EINPROGRESS:
                return code
            watcher = self._hub.loop.io(sock.fileno(), _WRITE)
            try:
                self._hub.wait(watcher)
            finally:
                watcher.close()
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _at_most(deadline: float, what: str) -> gevent.Timeout:
    """Raises ``ConnectTimeout`` within the block once ``deadline`` has passed."""
    return gevent.Timeout(max(deadline - _monotonic(), 0), ConnectTimeout(what))
