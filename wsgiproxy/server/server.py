"""Accept, limit, drain: a WSGI server on one listening socket.

The rule of the room: it serves any WSGI application and knows nothing of proxying. Everything runs on the hub of the
thread that made it; each connection has a greenlet of its own.
"""

from __future__ import annotations

import errno
import functools
import logging
import socket
from collections.abc import Callable
from math import inf
from typing import Any

import gevent
import gevent.event

from wsgiproxy.config import schema
from wsgiproxy.server.admission import Admission
from wsgiproxy.server.connection import Connection
from wsgiproxy.server.environ import destination_of, listener_environ
from wsgiproxy.server.pace import Pace
from wsgiproxy.server.response import Application
from wsgiproxy.server.tls import ListenerContexts
from wsgiproxy.server.welcome import Welcome
from wsgiproxy.transport.greenlet import GreenletDriver
from wsgiproxy.transport.stream import CLIENT, OUT_OF_RESOURCES

_READ = 1  # libev's EV_READ
_ACCEPT_AT_ONCE = 64  # connections accepted before the others get their turn
_LAST_ACCEPTS = 64  # times that, before the listening socket is closed
_IDLE_GRACE = 0.5  # seconds that a drain leaves to idle connections
_ACCEPT_PAUSE = 0.25  # seconds without accepting after the descriptors have run out

_log = logging.getLogger("wsgiproxy.server")


class Server:
    """A WSGI server on one listening socket, which it owns."""

    def __init__(
        self, app: Application, sock: socket.socket, listener: schema.Listener, driver: GreenletDriver
    ) -> None:
        """Raises ``ConfigError`` where the listener's certificates are of no use."""
        self.app = app
        self.limits = listener.limits
        self.timeouts = listener.timeouts
        self.pace = Pace(listener.timeouts, listener.limits)
        self.keep_underscores = listener.underscores_in_headers
        self.most_requests = (listener.limits.requests or inf) if listener.timeouts.keep_alive else 1
        self.draining = False
        self._contexts = ListenerContexts(listener.tls) if listener.tls is not None else None
        self._admission = Admission(listener.limits.connections_per_client)
        self._welcome = Welcome(listener, self._contexts, self._admission)
        self._driver = driver
        self._sock = sock
        self._sock.setblocking(False)
        self._tcp = sock.family != socket.AF_UNIX
        self._environ = listener_environ(*_name_and_port(sock))
        self._connections: set[Connection] = set()
        self._empty = gevent.event.Event()
        self._hub: Any = gevent.get_hub()
        self._watcher: Any = None
        self._short = False  # of descriptors
        self._full = False  # as many connections as there may be

    def __repr__(self) -> str:
        return (
            f"<Server on {self._environ['SERVER_NAME']}:{self._environ['SERVER_PORT']}, {self.connections} connections>"
        )

    @property
    def connections(self) -> int:
        """How many client connections are open."""
        return len(self._connections)

    def start(self) -> None:
        """Begin to accept."""
        self._watcher = self._hub.loop.io(self._sock.fileno(), _READ)
        self._watcher.start(self._accept)

    def stop_accepting(self) -> None:
        """Take the clients that the kernel holds for us, then close the listening socket. Idempotent."""
        if self._watcher is not None:
            for _ in range(_LAST_ACCEPTS):
                if self._watcher.active:  # neither full nor short of descriptors
                    self._accept()
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        self._sock.close()

    def drain(self, timeout: float) -> bool:
        """Stop accepting, let the requests under way end within ``timeout`` seconds, cut the rest; whether none was.

        Idle connections get a moment in which their next request, most likely on its way from a busy client, is still
        answered, with ``Connection: close``; then they are closed.
        """
        self.stop_accepting()
        self.draining = True
        for connection in list(self._connections):
            connection.be_last()
        grace = min(_IDLE_GRACE, timeout)
        clean = self._wait_empty(grace)
        for connection in list(self._connections):
            connection.close_idle()
        clean = clean or self._wait_empty(timeout - grace)
        self.close()
        return clean

    def close(self) -> None:
        """Stop at once: close the listening socket and cut every connection."""
        self.stop_accepting()
        self.draining = True
        for connection in list(self._connections):
            connection.cut()
        self._welcome.close()
        self._wait_empty(1.0)

    def reload_certificates(self) -> None:
        """Read the certificate files anew where they have changed; ``ConfigError`` where they are of no use, now."""
        if self._contexts is not None:
            self._contexts.reload_if_changed()

    def forget(self, connection: Connection) -> None:
        """For a connection that has ended."""
        self._connections.discard(connection)
        self._admission.leave(connection)
        if self._full and len(self._connections) < self.limits.connections:
            self._full = False
            self._resume()
        if not self._connections:
            self._empty.set()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call ``function`` on the hub in a while; for rare events."""
        timer = self._hub.loop.timer(seconds, ref=False)

        def call() -> None:
            timer.close()
            function()

        timer.start(call)

    def _wait_empty(self, timeout: float) -> bool:
        self._empty.clear()
        return not self._connections or self._empty.wait(timeout)

    def _accept(self) -> None:
        """Accept what is waiting; called by the hub."""
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    self._pause(error)
                    return
                if error.errno == errno.EBADF:
                    return
                continue  # the client is gone again (ECONNABORTED and its kin)
            self._short = False
            self._open(sock, address)
            if len(self._connections) == self.limits.connections:  # never for 0, which is no limit
                self._full = True
                self._watcher.stop()
                return

    def _open(self, sock: socket.socket, address: Any) -> None:
        environ = self._environ.copy()
        environ["wsgiproxy.destination"] = functools.partial(destination_of, sock)
        peer = ""
        if self._tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = environ["REMOTE_ADDR"] = address[0]
            environ["REMOTE_PORT"] = str(address[1])
        else:
            environ["REMOTE_ADDR"] = ""
        stream, welcome = self._driver.adopt(sock, CLIENT, "the client"), self._welcome
        stands_for_others = welcome.expects_header(peer)
        if not stands_for_others and not self._admission.admits(peer):
            welcome.turn_away(stream)
            return
        connection = Connection(self, stream, environ)
        self._connections.add(connection)
        if not stands_for_others:
            self._admission.enter(connection, peer)
        gevent.spawn_raw(connection.serve, welcome if welcome.concerns(peer) else None)

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: leave the clients to the kernel's backlog for a moment; say so once."""
        if not self._short:
            self._short = True
            _log.error("cannot accept connections for now: %s", error.strerror)
        self._watcher.stop()
        self.call_later(_ACCEPT_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._watcher is not None and not self._full:
            self._watcher.start(self._accept)


def _name_and_port(sock: socket.socket) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, neither empty (PEP 3333)."""
    address = sock.getsockname()
    if isinstance(address, tuple):
        return str(address[0]), str(address[1])
    return "localhost", "80"
