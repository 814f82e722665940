from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from wsgiproxy.errors import ClientDisconnectedError, ResetError, WriteTimeout
from wsgiproxy.transport.stream import BACKEND, Stream
from wsgiproxy.transport.thread import ThreadStream, stream_for

LATE = 5.0  # seconds of scheduling delay that a busy machine may add
MUCH = 10_000_000  # bytes: more than the kernel holds


@pytest.fixture(name="ends")
def fixture_ends() -> Iterator[tuple[ThreadStream, socket.socket]]:
    ours, peer = socket.socketpair()
    stream = stream_for(ours, BACKEND, "peer")
    peer.settimeout(LATE)
    yield stream, peer
    stream.close()
    peer.close()


Ends = tuple[ThreadStream, socket.socket]


def test_a_stream_is_what_the_seam_asks_for(ends: Ends) -> None:
    stream: Stream = ends[0]
    assert stream.is_quiet()


def test_recv_now_returns_what_is_there_and_none_where_nothing_is_whatever_the_last_timeout_was(ends: Ends) -> None:
    stream, peer = ends
    peer.sendall(b"hello")
    assert stream.recv(1, time.monotonic() + LATE) == b"h"
    assert stream.recv_now(2) == b"el"
    assert stream.recv_now(100) == b"lo"
    began = time.monotonic()
    assert stream.recv_now(100) is None
    assert time.monotonic() - began < 1
    peer.close()
    assert stream.recv_now(100) == b""


def test_recv_now_raises_what_the_stream_was_aborted_with_and_ours_when_it_is_closed(ends: Ends) -> None:
    stream, _ = ends
    stream.abort(ClientDisconnectedError("gone"))
    with pytest.raises(ClientDisconnectedError):
        stream.recv_now(1)
    other, peer = socket.socketpair()
    with peer:
        closed = stream_for(other, BACKEND, "peer")
        closed.close()
        with pytest.raises(ResetError):
            closed.recv_now(1)


def test_send_now_sends_what_fits_and_drops_the_rest(ends: Ends) -> None:
    stream, peer = ends
    stream.send_now(b"bye")
    assert peer.recv(100) == b"bye"
    began = time.monotonic()
    stream.send_now(b"x" * MUCH)
    stream.send_now(b"x" * MUCH)
    assert time.monotonic() - began < LATE
    stream.close()
    data = b""
    while piece := peer.recv(1 << 20):
        data += piece
    assert 0 < len(data) < MUCH
    stream.send_now(b"bye")


def test_send_now_keeps_quiet_about_a_peer_that_has_gone(ends: Ends) -> None:
    stream, peer = ends
    peer.close()
    stream.send_now(b"bye")


def test_a_peer_that_trickles_does_not_get_beyond_the_deadline(ends: Ends) -> None:
    stream, _ = ends
    stream._socket = Trickling(stream._socket)  # type: ignore[assignment]
    began = time.monotonic()
    with pytest.raises(WriteTimeout):
        stream.send_all(b"x" * MUCH, LATE, began + 0.3)
    assert 0.3 <= time.monotonic() - began < LATE


class Trickling:
    """A socket of which each send takes its time and one byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def send(self, data: memoryview) -> int:
        time.sleep(0.02)
        return self._sock.send(data[:1])


def test_watching_for_bytes_and_interrupting_are_accepted_and_do_nothing(ends: Ends) -> None:
    stream, peer = ends

    def never() -> None:
        raise AssertionError("a blocking driver cannot watch")

    stream.watch_unread(never)
    peer.sendall(b"x")
    stream.interrupt()
    assert stream.recv(1, time.monotonic() + LATE) == b"x"
