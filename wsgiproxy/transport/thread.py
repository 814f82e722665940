"""The blocking driver: plain sockets with timeouts, for hosts that run one thread per request.

The rule of the room: ``OSError`` ends here; what leaves is an error of ``wsgiproxy.errors``. Not used where the host
has replaced the standard library's sockets (``transport.choose`` decides). Must not know HTTP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any, TypeVar

from wsgiproxy.errors import ConnectError, ProxyError
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import BACKEND, LINGER_NONE, SWEEP_INTERVAL, Event, PeerErrors, Task, connect_failure

_AT_ONCE = SWEEP_INTERVAL  # seconds to wait at most for what poll(2) says is there
_LONGEST_WAIT = 1e6  # seconds; poll(2) counts milliseconds in 31 bits, and CPython refuses what does not fit
_FULL_QUEUE_PAUSE = 0.01  # seconds between two tries to get into the full queue of a Unix socket
_ANY_NEWS = select.POLLIN | select.POLLRDHUP  # data, or the end of it

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class ThreadStream:
    """One connected socket of a blocking host; see ``transport.stream.Stream``.

    A deadline that has passed is a timeout, even where data is waiting: whoever is late finds out at once. One thread
    uses it at a time (the socket has one timeout for both ways); ``abort`` may come from any.
    """

    splices = False

    def __init__(self, sock: socket.socket, errors: PeerErrors, peer: str = "") -> None:
        """Takes over ``sock``, connected; ``errors`` is what goes wrong at its other end, ``peer`` names that end."""
        self._socket = sock
        self._errors = errors
        self._peer = peer
        self._timeout = 0.0  # seconds; what the socket is set to
        self._lock = threading.Lock()  # guards the three below, and is never held over I/O
        self._error: ProxyError | None = None
        self._closed = False
        self._users = 1  # the owner and the aborts under way; the last closes, so that none meets a reused descriptor

    def recv(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes as soon as any are there; ``b""`` at the end of the stream."""
        return self._wait_for(self._socket.recv, size, deadline - time.monotonic(), self._errors.read_timeout)

    def recv_piece(self, size: int, deadline: float) -> bytes:
        """The same as ``recv``."""
        return self.recv(size, deadline)

    def recv_now(self, size: int) -> bytes | None:
        """Up to ``size`` bytes that are there already, ``b""`` at the end of the stream, None for nothing yet."""
        if self._error is not None:
            raise self._error
        if not self._closed and not self._poll(_ANY_NEWS):
            return None
        return self._wait_for(self._socket.recv, size, _AT_ONCE, self._errors.read_timeout)

    def send_all(self, data: bytes | memoryview | Piped, timeout: float, deadline: float = inf) -> None:
        """Send all of ``data`` by ``deadline``; the peer must take some of it every ``timeout`` seconds.

        Not ``sendall``, whose timeout is for the whole: a slow peer that keeps reading is no dead peer.
        """
        rest = memoryview(bytes(data) if isinstance(data, Piped) else data).cast("B")
        while rest:
            seconds = timeout if deadline == inf else min(timeout, deadline - time.monotonic())
            rest = rest[self._wait_for(self._socket.send, rest, seconds, self._errors.write_timeout) :]

    def send_now(self, data: bytes) -> None:
        """Send as much of ``data`` as can be sent without a wait; the rest, and errors, are dropped."""
        if self._error is None and not self._closed and self._poll(select.POLLOUT):
            with contextlib.suppress(OSError):
                self._socket.send(data, socket.MSG_DONTWAIT)

    def is_quiet(self, look: bool = False) -> bool:
        """Whether an idle stream may be used again: nothing to read, not closed by the peer. Always asks the kernel."""
        if self._closed or self._error is not None:
            return False
        return not self._poll(_ANY_NEWS)

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        """Nothing: a blocking host has nobody who could watch a socket while its thread is busy elsewhere."""

    def watch_unread(self, on_unread: Callable[[], None] | None) -> None:
        """Nothing, as for ``watch``."""

    def interrupt(self) -> None:
        """Nothing: a thread that waits in the kernel can be woken only by ending the connection."""

    def abort(self, error: ProxyError) -> None:
        """Make the wait under way, and every one after it, raise ``error`` (the first abort's). From any thread."""
        with self._lock:
            if self._closed:
                return
            self._error = self._error or error
            self._users += 1
        with contextlib.suppress(OSError):  # where the peer has gone there is no wait to wake
            self._socket.shutdown(socket.SHUT_RDWR)
        self._release()

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come (a TCP half-close); one that has gone need not be told."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the peer sees a reset instead of a clean end."""
        if not self._closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        self.close()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._release()

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return -1 if self._closed else self._socket.fileno()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "aborted" if self._error is not None else "open"
        return f"<ThreadStream {self._peer} fd {self.fileno()}, {state}>"

    def _release(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._socket.close()

    def _poll(self, events: int) -> bool:
        """Whether any of ``events`` is there, as poll(2) has them."""
        poll = select.poll()
        poll.register(self._socket, events)
        return bool(poll.poll(0))

    def _wait_for(
        self, call: Callable[[Argument], Result], argument: Argument, seconds: float, late: type[ProxyError]
    ) -> Result:
        """``call(argument)`` with at least ``seconds`` to wait, and at most ``SWEEP_INTERVAL`` more.

        Setting a socket's timeout is a system call (FIONBIO), so one that is about right is left as it is.
        """
        if self._error is not None:
            raise self._error
        if seconds <= 0:
            raise late(f"{self._peer}: the deadline had already passed")
        seconds = min(seconds, _LONGEST_WAIT)
        try:
            if not seconds <= self._timeout <= seconds + SWEEP_INTERVAL:
                self._timeout = seconds + SWEEP_INTERVAL / 2
                self._socket.settimeout(self._timeout)
            result = call(argument)
        except OSError as error:
            if self._error is not None:
                raise self._error from error
            kind = late if isinstance(error, TimeoutError) else self._errors.reset
            raise kind(f"{self._peer}: {error.strerror or error}") from error
        if self._error is not None:
            raise self._error
        return result


class ThreadDriver:
    """Moves bytes with blocking sockets, works in the background with threads; see ``transport.stream.Driver``."""

    name = "thread"

    def connect_tcp(self, host: str, port: int, deadline: float) -> ThreadStream:
        """A stream to the first of the host's addresses that accepts; ``ConnectError`` or ``ConnectTimeout``.

        Each address gets an equal share of the time that is left, so that a silent one does not use up the next one's.
        The resolver keeps to its own timeouts (resolv.conf): a blocking ``getaddrinfo`` cannot be called off.
        """
        peer = f"{host}:{port}"
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # a name that cannot be one fails in the idna codec
            raise ConnectError(f"{peer}: no such name: {error}") from error
        failure = OSError("no address")
        for index, (family, _, _, _, address) in enumerate(found):
            now = time.monotonic()
            try:
                return _connected(family, address, peer, now + (deadline - now) / (len(found) - index))
            except OSError as error:
                failure = error
        raise connect_failure(peer, failure) from failure

    def connect_unix(self, path: str, deadline: float) -> ThreadStream:
        """A stream to the socket at ``path``; ``ConnectError`` or ``ConnectTimeout``."""
        peer = f"unix:{path}"
        try:
            return _connected(socket.AF_UNIX, path, peer, deadline)
        except OSError as error:
            raise connect_failure(peer, error) from error

    def spawn(self, function: Callable[[], None], name: str) -> Task:
        """Run ``function`` in a daemon thread; the process may end without waiting for it."""
        thread = threading.Thread(target=function, name=name, daemon=True)
        thread.start()
        return thread

    def event(self) -> Event:
        """A new flag."""
        return threading.Event()


def stream_for(sock: socket.socket, errors: PeerErrors, peer: str = "") -> ThreadStream:
    """A stream over a connected socket, which it then owns; ``peer`` names the other end in messages."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ThreadStream(sock, errors, peer)


def _connected(family: int, address: Any, peer: str, deadline: float) -> ThreadStream:
    """A stream to ``address``; ``TimeoutError`` at the deadline, another ``OSError`` for what else fails."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        while (remaining := deadline - time.monotonic()) > 0:
            sock.settimeout(min(remaining, _LONGEST_WAIT))
            try:
                sock.connect(address)
            except BlockingIOError:  # a Unix listener's queue is full: with a timeout, Linux does not wait for room
                time.sleep(min(remaining, _FULL_QUEUE_PAUSE))
                continue
            if family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
                # Where nobody listens on a port of the ephemeral range, TCP may join a socket with itself.
                raise ConnectionRefusedError("connected to itself")
            return stream_for(sock, BACKEND, peer)
        raise TimeoutError("no answer in time")
    except BaseException:
        sock.close()
        raise
