"""The seam between I/O and everything else: what a stream and a driver are.

Two drivers stand behind it: ``transport.greenlet`` (gevent's hub, non-blocking sockets) and ``transport.thread``
(blocking sockets). ``OSError`` becomes one of our errors in those two and nowhere else; which one depends on who is at
the other end, so a stream is made with its ``PeerErrors``. This module must not know HTTP, configuration or gevent.

Every wait takes a ``deadline``: an instant of ``time.monotonic()`` in seconds. Both drivers may notice a missed
deadline up to ``SWEEP_INTERVAL`` seconds late, never early.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

from wsgiproxy.errors import (
    ClientDisconnectedError,
    ConnectError,
    ConnectTimeout,
    OutOfResourcesError,
    ProxyError,
    ReadTimeout,
    RequestTimeout,
    ResetError,
    WriteTimeout,
)
from wsgiproxy.transport.splice import Piped

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # this process, or machine
LINGER_NONE = struct.pack("ii", 1, 0)  # socket(7): SO_LINGER on, and for no second: a close is a reset
SWEEP_INTERVAL = 0.1  # seconds between two looks for missed deadlines


class PeerErrors(NamedTuple):
    """What goes wrong at the other end of a stream, as errors that blame the right side."""

    reset: type[ProxyError]
    read_timeout: type[ProxyError]
    write_timeout: type[ProxyError]


CLIENT = PeerErrors(ClientDisconnectedError, RequestTimeout, ClientDisconnectedError)
BACKEND = PeerErrors(ResetError, ReadTimeout, WriteTimeout)


def connect_failure(peer: str, error: OSError) -> ProxyError:
    """What an ``OSError`` means that a driver met while it connected to the backend ``peer``."""
    if error.errno in OUT_OF_RESOURCES:
        return OutOfResourcesError(f"{peer}: {error.strerror}")
    kind = ConnectTimeout if isinstance(error, TimeoutError) else ConnectError
    return kind(f"{peer}: {error.strerror or error}")


class InterruptedWaitError(Exception):
    """A wait to read was ended by ``Stream.interrupt``; nothing is wrong with the stream, which goes on."""


class Stream(Protocol):
    """One connected socket. One greenlet or thread reads and writes it at a time; ``abort`` may come from any."""

    splices: bool  # a large body for it had best come from another stream's ``recv_piece``

    def recv(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes as soon as any are there; ``b""`` at the end of the stream."""

    def recv_piece(self, size: int, deadline: float) -> bytes | Piped:
        """As ``recv``, for bytes that are only to be sent on: where the driver can, they stay in the kernel."""

    def recv_now(self, size: int) -> bytes | None:
        """Up to ``size`` bytes that are there already, ``b""`` at the end of the stream, None for nothing yet."""

    def send_all(self, data: bytes | memoryview | Piped, timeout: float, deadline: float = inf) -> None:
        """Send all of ``data`` by ``deadline``; the peer must take some of it every ``timeout`` seconds.

        A piece in a pipe is used up by that, also where it fails.
        """

    def send_now(self, data: bytes) -> None:
        """Send as much of ``data`` as can be sent without a wait, for farewells: the rest, and errors, are dropped."""

    def is_quiet(self, look: bool = False) -> bool:
        """Whether an idle stream may be used again: nothing to read, not closed by the peer. Costs no wait.

        A driver that watches answers from what it has seen so far; ``look`` makes it ask the kernel anew.
        """

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        """Have ``on_hang_up(reset)`` called once if the peer closes (or resets) while nobody reads; None takes it back.

        It is called on the driver's own time, must not wait, and is never called by a driver that cannot watch.
        """

    def watch_unread(self, on_unread: Callable[[], None] | None) -> None:
        """Have ``on_unread()`` called once when bytes, or the end, come while nobody reads; None takes it back.

        On the same terms as ``watch``, and before it where both are set.
        """

    def interrupt(self) -> None:
        """Make the wait to read that is under way, if there is one, raise ``InterruptedWaitError``."""

    def abort(self, error: ProxyError) -> None:
        """Make the wait under way, or the next one, raise ``error``. Safe to call at any time, also when closed."""

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come (a TCP half-close)."""

    def reset(self) -> None:
        """Close so that the peer sees a reset instead of a clean end."""

    def close(self) -> None:
        """Close the socket. Idempotent."""

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""


class Event(Protocol):
    """A flag to wait for, as ``threading.Event``."""

    def set(self) -> None:
        """Raise the flag and wake whoever waits."""

    def is_set(self) -> bool:
        """Whether the flag is up."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the flag for at most ``timeout`` seconds; whether it is up."""


class Task(Protocol):
    """Work in the background."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""


class Driver(Protocol):
    """A way to move bytes and to do work in the background."""

    name: str

    def connect_tcp(self, host: str, port: int, deadline: float) -> Stream:
        """A stream to the first of the host's addresses that accepts; ``ConnectError`` or ``ConnectTimeout``.

        Names are resolved anew on each call: a backend that moves is found again without a reload.
        """

    def connect_unix(self, path: str, deadline: float) -> Stream:
        """A stream to the socket at ``path``; ``ConnectError`` or ``ConnectTimeout``."""

    def spawn(self, function: Callable[[], None], name: str) -> Task:
        """Run ``function`` in the background; the process may end without waiting for it."""

    def event(self) -> Event:
        """A new flag."""
