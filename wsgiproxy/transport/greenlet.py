"""The gevent driver: raw non-blocking sockets and the hub's own watchers.

Made for many small exchanges on one core. Each stream starts one read watcher when it is made and leaves it started, so
that a wait costs no system call but the loop's own. A watcher that fires while nobody reads is stopped until that has
been read, which is how the end of an idle connection is noticed; no two reads in a row pass the hub by, so that a fast
stream does not keep it from the others. A wait notes its deadline and nothing more: a coarse sweep of the hub's timer
finds the few that are late. This module must not know HTTP or configuration.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from math import inf
from typing import Any, cast

import gevent
import gevent.event
from gevent.monkey import get_original
from greenlet import getcurrent

from wsgiproxy.errors import ConnectError, ConnectTimeout, ProxyError
from wsgiproxy.transport.stream import BACKEND, Event, PeerErrors, Task, connect_failure
from wsgiproxy.transport.sweeper import Sweeper

_READ = 1  # libev's EV_READ
_WRITE = 2  # libev's EV_WRITE
_LINGER_NONE = struct.pack("ii", 1, 0)  # socket(7): on, and for no second
_FULL_QUEUE_PAUSE = 0.01  # seconds between two tries to get into the full queue of a Unix socket

_monotonic = time.monotonic


class GreenletStream:
    """A connected non-blocking socket of the current hub; see ``transport.stream.Stream``.

    One greenlet may read while another one writes.
    """

    __slots__ = (
        "__weakref__", "_armed", "_errors", "_failure", "_fd", "_hub", "_on_hang_up", "_peer", "_read_deadline",
        "_read_watcher", "_reader", "_recv", "_send", "_sock", "_sweeper", "_write_deadline", "_write_watcher",
        "_writer", "bucket", "swept_at",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, errors: PeerErrors, sweeper: Sweeper, peer: str = "") -> None:
        self._sock: socket.socket | None = sock
        self._fd = sock.fileno()
        self._recv = sock.recv
        self._send = sock.send
        self._errors = errors
        self._peer = peer
        self._hub: Any = gevent.get_hub()
        self._sweeper = sweeper
        self.bucket = 0  # where the sweeper has it; 0: nowhere
        self.swept_at = inf  # the deadline that it was put there for
        self._failure: ProxyError | None = None
        self._reader: Any = None  # the greenlet that waits to read
        self._writer: Any = None
        self._read_deadline = inf
        self._write_deadline = inf
        self._write_watcher: Any = None
        self._on_hang_up: Callable[[bool], None] | None = None
        self._read_watcher: Any = self._hub.loop.io(self._fd, _READ)
        self._read_watcher.start(self._on_readable)
        self._armed = True

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "idle" if self._reader is None else "reading"
        return f"<GreenletStream {self._peer} fd {self._fd}, {state}>"

    def recv(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes as soon as any are there; ``b""`` at the end of the stream."""
        while True:
            if self._armed:
                self._wait_readable(deadline)
            elif self._failure is not None:
                raise self._failure
            try:
                data = self._recv(size)
            except BlockingIOError:
                self._arm()
            except OSError as error:
                raise self._reset(error) from error
            else:
                if not self._armed and data:
                    self._arm()
                return data

    def send_all(self, data: bytes | memoryview, timeout: float) -> None:
        """Send all of ``data``; the peer must take some of it every ``timeout`` seconds."""
        if self._failure is not None:
            raise self._failure
        rest = data
        while True:
            try:
                sent = self._send(rest)
            except BlockingIOError:
                self._wait_writable(_monotonic() + timeout)
                continue
            except OSError as error:
                raise self._reset(error) from error
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]

    def is_quiet(self, look: bool = False) -> bool:
        """Whether an idle stream may be used again: the watcher has seen neither bytes nor a hang-up.

        ``look`` asks the kernel too, for what has come since the hub last looked.
        """
        if not self._armed or self._failure is not None:
            return False
        if look:
            try:
                self._recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return not look

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        """Have ``on_hang_up(reset)`` called once if the peer closes while nobody reads."""
        self._on_hang_up = on_hang_up
        if on_hang_up is not None and not self._armed and self._sock is not None:
            self._hub.loop.run_callback(self._look_for_hang_up)

    def abort(self, error: ProxyError) -> None:
        """Make the waits under way, and the next ones, raise ``error``."""
        if self._failure is None and self._sock is not None:
            self._failure = error
            self._hub.loop.run_callback(self._wake)

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come; a peer that is gone already need not be told."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise self._reset(error) from error

    def reset(self) -> None:
        """Close so that the peer sees a reset instead of a clean end."""
        if self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self.close()

    def close(self) -> None:
        """Close the socket; whoever still waits on it is told that it was reset. Idempotent."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._on_hang_up = None
        self._sweeper.remove(self)
        self._read_watcher.stop()
        self._read_watcher.close()
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
        sock.close()
        self._fd = -1
        if self._failure is None:
            self._failure = self._errors.reset("the connection was closed here")
        if self._reader is not None or self._writer is not None:
            self._hub.loop.run_callback(self._wake)

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return self._fd

    def check_deadlines(self, now: float) -> float:
        """For the sweeper: end the waits that are late; the earliest deadline that is left, ``inf`` for none.

        A timeout ends one wait, not the stream: a client that was too slow can still be told so.
        """
        if self._reader is not None and self._read_deadline <= now:
            self._reader.throw(self._errors.read_timeout(f"nothing came from {self._peer} in time"))
        if self._writer is not None and self._write_deadline <= now:
            self._writer.throw(self._errors.write_timeout(f"{self._peer} did not take the bytes in time"))
        self.swept_at = min(
            self._read_deadline if self._reader is not None else inf,
            self._write_deadline if self._writer is not None else inf,
        )
        return self.swept_at

    def _open_socket(self) -> socket.socket:
        if self._sock is None:
            raise self._failure or self._errors.reset("the connection is closed")
        return self._sock

    def _reset(self, error: OSError) -> ProxyError:
        if self._failure is not None:
            return self._failure
        return self._errors.reset(f"{self._peer}: {error.strerror or error}")

    def _wait_readable(self, deadline: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._read_deadline = deadline
        if deadline < self.swept_at:
            self.swept_at = deadline
            self._sweeper.put(self, deadline)
        self._reader = getcurrent()
        try:
            self._hub.switch()
        finally:
            self._reader = None
        if self._failure is not None:
            raise self._failure

    def _wait_writable(self, deadline: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._write_deadline = deadline
        if deadline < self.swept_at:
            self.swept_at = deadline
            self._sweeper.put(self, deadline)
        if self._write_watcher is None:
            self._write_watcher = self._hub.loop.io(self._fd, _WRITE)
        self._writer = getcurrent()
        self._write_watcher.start(self._writer.switch)
        try:
            self._hub.switch()
        finally:
            self._writer = None
            if self._sock is not None:
                self._write_watcher.stop()
        if self._failure is not None:
            raise self._failure

    def _arm(self) -> None:
        if not self._armed:
            self._open_socket()
            self._read_watcher.start(self._on_readable)
            self._armed = True

    def _on_readable(self) -> None:
        reader = self._reader
        if reader is not None:
            reader.switch()
            return
        self._read_watcher.stop()
        self._armed = False
        if self._on_hang_up is not None:
            self._look_for_hang_up()

    def _look_for_hang_up(self) -> None:
        on_hang_up = self._on_hang_up
        if on_hang_up is None or self._sock is None:
            return
        try:
            reset, ended = False, not self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            reset, ended = True, True
        if ended:
            self._on_hang_up = None
            on_hang_up(reset)

    def _wake(self) -> None:
        for waiter in (self._reader, self._writer):
            if waiter is not None:
                waiter.switch()


class GreenletDriver:
    """Streams and background work on the hub of the thread that made it; see ``transport.stream.Driver``."""

    name = "greenlet"

    def __init__(self) -> None:
        self._hub: Any = gevent.get_hub()
        self._sweeper = Sweeper(self._hub.loop)
        self._socket: type[socket.socket] = get_original("socket", "socket")
        self._getaddrinfo: Callable[..., Any] = get_original("socket", "getaddrinfo")

    def adopt(self, sock: socket.socket, errors: PeerErrors, peer: str) -> GreenletStream:
        """A stream over a connected socket, which it then owns; ``peer`` names the other end in messages."""
        sock.setblocking(False)
        return GreenletStream(sock, errors, self._sweeper, peer)

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
            return GreenletStream(sock, BACKEND, self._sweeper, peer)
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
