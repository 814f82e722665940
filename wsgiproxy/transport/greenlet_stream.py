"""The gevent driver's streams: raw non-blocking sockets and the hub's own watchers.

Made for many small exchanges on one core. Each stream starts one read watcher when it is made and leaves it started, so
that a wait costs no system call but the loop's own. A watcher that fires while nobody reads is stopped until that has
been read, which is how the end of an idle connection is noticed; no two reads in a row pass the hub by, so that a fast
stream does not keep it from the others. A wait notes its deadline and nothing more: a coarse sweep of the hub's timer
finds the few that are late. This module must not know HTTP or configuration.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Any

import gevent
from greenlet import getcurrent, greenlet

from wsgiproxy.errors import ProxyError
from wsgiproxy.transport.calls import receive, send
from wsgiproxy.transport.splice import Piped, PipePool
from wsgiproxy.transport.stream import LINGER_NONE, InterruptedWaitError, PeerErrors
from wsgiproxy.transport.sweeper import Sweeper

_READ = 1  # libev's EV_READ
_WRITE = 2  # libev's EV_WRITE
_INTERRUPTED = -inf  # the deadline of a wait that ``interrupt`` is about to end

_monotonic = time.monotonic
_switch = greenlet.switch  # what Hub.switch ends in, less its look for listeners to switches


class GreenletStream:
    """A connected non-blocking socket of the current hub; see ``transport.stream.Stream``.

    One greenlet may read while another one writes.
    """

    splices = True

    __slots__ = (
        "__weakref__", "_armed", "_errors", "_failure", "_fd", "_hub", "_on_hang_up", "_on_unread", "_peer", "_pipes",
        "_read_deadline", "_read_watcher", "_reader", "_sock", "_sweeper", "_write_deadline",
        "_write_watcher", "_writer", "bucket", "swept_at",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, errors: PeerErrors, sweeper: Sweeper, peer: str = "", pipes: PipePool | None = None
    ) -> None:
        """``pipes`` is where those for ``recv_piece`` come from; without any it is ``recv``."""
        self._sock: socket.socket | None = sock
        self._fd = sock.fileno()
        self._errors = errors
        self._peer = peer
        self._hub: Any = gevent.get_hub()
        self._sweeper = sweeper
        self._pipes = pipes
        self.bucket = 0  # where the sweeper has it; 0: nowhere
        self.swept_at = inf  # the deadline that it was put there for
        self._failure: ProxyError | None = None
        self._reader: Any = None  # the greenlet that waits to read
        self._writer: Any = None
        self._read_deadline = inf
        self._write_deadline = inf
        self._write_watcher: Any = None
        self._on_hang_up: Callable[[bool], None] | None = None
        self._on_unread: Callable[[], None] | None = None
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
                data = receive(self._fd, size)
            except OSError as error:
                raise self._reset(error) from error
            if data is None:
                self._arm()
                continue
            if not self._armed and data:
                self._arm()
            return data

    def recv_piece(self, size: int, deadline: float) -> bytes | Piped:
        """As ``recv``, but the bytes stay in the kernel where that can be done."""
        pipes = self._pipes
        if pipes is None or not pipes.able:
            return self.recv(size, deadline)
        if self._armed:
            self._wait_readable(deadline)
        elif self._failure is not None:
            raise self._failure
        try:
            piece = pipes.receive(self._fd, size)
        except OSError as error:
            raise self._reset(error) from error
        if piece is None:  # the end, urgent data (which splice never passes), no pipe, ...: recv sees what it is
            return self.recv(size, deadline)
        self._arm()
        return piece

    def recv_now(self, size: int) -> bytes | None:
        """Up to ``size`` bytes that are there already, ``b""`` at the end of the stream, None for nothing yet."""
        if self._failure is not None:
            raise self._failure
        try:
            data = receive(self._fd, size)
        except OSError as error:
            raise self._reset(error) from error
        if data is None or data:
            self._arm()
        return data

    def send_all(self, data: bytes | memoryview | Piped, timeout: float, deadline: float = inf) -> None:
        """Send all of ``data`` by ``deadline``; the peer must take some of it every ``timeout`` seconds."""
        if isinstance(data, Piped):
            self._send_piped(data, timeout, deadline)
            return
        if self._failure is not None:
            raise self._failure
        rest = data
        while True:
            try:
                sent = send(self._fd, rest)
            except OSError as error:
                raise self._reset(error) from error
            if sent is None:
                self._wait_for_room(timeout, deadline)
            elif sent == len(rest):
                return
            else:
                rest = memoryview(rest)[sent:]

    def send_now(self, data: bytes) -> None:
        """Send as much of ``data`` as can be sent without a wait; nothing in the middle of what another one sends."""
        if self._failure is None and self._writer is None:
            with contextlib.suppress(OSError):
                send(self._fd, data)

    def is_quiet(self, look: bool = False) -> bool:
        """Whether an idle stream may be used again: the watcher has seen neither bytes nor a hang-up.

        ``look`` asks the kernel too, for what has come since the hub last looked.
        """
        if not self._armed or self._failure is not None:
            return False
        if look:
            try:
                self._open_socket().recv(1, socket.MSG_PEEK)
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

    def watch_unread(self, on_unread: Callable[[], None] | None) -> None:
        """Have ``on_unread()`` called once when bytes, or the end, come while nobody reads, or are there already.

        It may read (``recv_now``), and watch again once it has read.
        """
        self._on_unread = on_unread
        if on_unread is not None and not self._armed and self._sock is not None:
            self._hub.loop.run_callback(self._tell_of_unread)

    def interrupt(self) -> None:
        """Make the wait to read that is under way raise ``InterruptedWaitError``, unless bytes end it before that."""
        if self._reader is not None:
            self._read_deadline = _INTERRUPTED  # a later wait has another: only this one is ended
            self._hub.loop.run_callback(self._end_interrupted_wait)

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
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self.close()

    def close(self) -> None:
        """Close the socket; whoever still waits on it is told that it was reset. Idempotent."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._on_hang_up = self._on_unread = None
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
        self._end_interrupted_wait()
        if self._reader is not None and self._read_deadline <= now:
            self._reader.throw(self._errors.read_timeout(f"nothing came from {self._peer} in time"))
        if self._writer is not None and self._write_deadline <= now:
            self._writer.throw(self._write_timeout())
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

    def _write_timeout(self) -> ProxyError:
        """The error; what the peer did not take must not stay with the kernel once the socket is closed."""
        if self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        return self._errors.write_timeout(f"{self._peer} did not take the bytes in time")

    def _wait_readable(self, deadline: float) -> None:
        if self._failure is not None:
            raise self._failure
        self._read_deadline = deadline
        if deadline < self.swept_at:
            self.swept_at = deadline
            self._sweeper.put(self, deadline)
        self._reader = getcurrent()
        try:
            _switch(self._hub)
        finally:
            self._reader = None
        if self._failure is not None:
            raise self._failure

    def _send_piped(self, piece: Piped, timeout: float, deadline: float) -> None:
        try:  # whatever happens: an error that somebody keeps must not keep a pipe
            while len(piece):
                if self._failure is not None:
                    raise self._failure
                try:
                    piece.pour(self._fd)
                except BlockingIOError:
                    self._wait_for_room(timeout, deadline)
                except OSError as error:
                    if self._pipes is None or not self._pipes.is_unable(error):
                        raise self._reset(error) from error
                    self.send_all(bytes(piece), timeout, deadline)
        finally:
            piece.close()

    def _wait_for_room(self, timeout: float, deadline: float) -> None:
        now = _monotonic()
        if now >= deadline:
            raise self._write_timeout()
        self._wait_writable(min(now + timeout, deadline))

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
            _switch(self._hub)
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
        if self._on_unread is not None:
            self._tell_of_unread()
        if self._on_hang_up is not None:
            self._look_for_hang_up()

    def _tell_of_unread(self) -> None:
        on_unread = self._on_unread
        if on_unread is not None and not self._armed and self._sock is not None:
            self._on_unread = None
            on_unread()

    def _end_interrupted_wait(self) -> None:
        if self._reader is not None and self._read_deadline == _INTERRUPTED:
            self._reader.throw(InterruptedWaitError("the wait was interrupted"))

    def _look_for_hang_up(self) -> None:
        on_hang_up = self._on_hang_up
        if on_hang_up is None or self._sock is None:
            return
        try:
            reset, ended = False, not self._sock.recv(1, socket.MSG_PEEK)
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
