from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wsgiproxy.errors import (
    ClientDisconnectedError,
    ProxyError,
    ReadTimeout,
    RequestTimeout,
    ResetError,
    WriteTimeout,
)
from wsgiproxy.transport.stream import BACKEND, CLIENT, SWEEP_INTERVAL, Driver, Stream
from wsgiproxy.transport.thread import ThreadDriver, ThreadStream, stream_for

LATE = 5.0  # seconds of scheduling delay that a busy machine may add


class Announcing(socket.socket):
    """Says when a call is about to wait, and counts the timeouts that were set."""

    def __init__(self, family: int, kind: int, fileno: int) -> None:
        super().__init__(family, kind, fileno=fileno)
        self.about_to_wait = threading.Event()
        self.timeouts_set = 0

    def settimeout(self, value: float | None) -> None:
        self.timeouts_set += 1
        super().settimeout(value)

    def recv(self, *args: Any) -> bytes:
        self.about_to_wait.set()
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self.about_to_wait.set()
        return super().send(*args)


class Pair:
    """A stream, the socket under it, and the peer's socket."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.sock = Announcing(ours.family, ours.type, ours.detach())
        self.stream = stream_for(self.sock, BACKEND, "peer")
        self.peer.settimeout(LATE)

    def close(self) -> None:
        self.stream.close()
        self.peer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(LATE)
        yield sock


def soon(seconds: float = LATE) -> float:
    return time.monotonic() + seconds


def outcome_of(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that runs ``call``, and the list that its result or error goes to."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except ProxyError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_the_driver_and_its_streams_are_what_the_seam_asks_for(pair: Pair) -> None:
    driver: Driver = ThreadDriver()
    stream: Stream = pair.stream
    assert driver.name == "thread"
    assert repr(stream) == f"<ThreadStream peer fd {pair.sock.fileno()}, open>"


# --- recv -------------------------------------------------------------------------------------------------------------


def test_recv_returns_what_is_there_without_waiting_for_more(pair: Pair) -> None:
    pair.peer.sendall(b"hello")
    assert pair.stream.recv(100, soon()) == b"hello"


def test_recv_takes_no_more_than_it_was_asked_for(pair: Pair) -> None:
    pair.peer.sendall(b"hello")
    assert pair.stream.recv(2, soon()) == b"he"
    assert pair.stream.recv(100, soon()) == b"llo"


def test_the_end_of_the_stream_is_no_bytes(pair: Pair) -> None:
    pair.peer.close()
    assert [pair.stream.recv(100, soon()) for _ in range(2)] == [b"", b""]


def test_a_silent_peer_is_a_read_timeout_never_early(pair: Pair) -> None:
    deadline = soon(0.05)
    with pytest.raises(ReadTimeout, match=r"^peer: "):
        pair.stream.recv(100, deadline)
    assert deadline <= time.monotonic() < deadline + SWEEP_INTERVAL + LATE


def test_each_call_keeps_its_own_deadline_whatever_the_one_before_had(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.stream.recv(1, soon(60.0))
    for seconds in (0.01, 0.2, 0.01):
        deadline = soon(seconds)
        with pytest.raises(ReadTimeout):
            pair.stream.recv(1, deadline)
        assert deadline <= time.monotonic() < deadline + LATE


def test_a_deadline_that_has_passed_is_a_timeout_even_with_data_waiting(pair: Pair) -> None:
    pair.peer.sendall(b"late")
    with pytest.raises(ReadTimeout):
        pair.stream.recv(100, time.monotonic() - 1)
    assert pair.stream.recv(100, soon()) == b"late"


def test_a_deadline_in_the_far_future_is_no_overflow(pair: Pair) -> None:
    pair.peer.sendall(b"ab")
    assert pair.stream.recv(1, soon(1e12)) == b"a"
    assert pair.stream.recv(1, float("inf")) == b"b"


def test_waits_of_about_the_same_length_set_the_timeout_once(pair: Pair) -> None:
    pair.peer.sendall(b"x" * 50)
    for _ in range(50):
        pair.stream.recv(1, soon(1000.0))
        pair.stream.send_all(b"y", 1000.0)
    assert pair.sock.timeouts_set <= 3  # one, and more only where a slow machine took 0.1 s in between


# --- errors -----------------------------------------------------------------------------------------------------------


def tcp_pair(listener: socket.socket) -> tuple[ThreadStream, socket.socket]:
    host, port = listener.getsockname()
    stream = ThreadDriver().connect_tcp(host, port, soon())
    return stream, listener.accept()[0]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_reset_by_the_peer_is_a_reset_error_with_its_cause(listener: socket.socket) -> None:
    stream, peer = tcp_pair(listener)
    reset(peer)
    with pytest.raises(ResetError, match="Connection reset by peer") as caught:
        stream.recv(1, soon())
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    stream.close()


def test_sending_to_a_peer_that_has_gone_is_a_reset_error(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(ResetError):
        pair.stream.send_all(b"x", 1.0)


def test_errors_blame_the_peer_that_the_stream_was_made_for() -> None:
    ours, peer = socket.socketpair()
    stream = stream_for(ours, CLIENT)
    with pytest.raises(RequestTimeout):
        stream.recv(1, soon(0.01))
    peer.close()
    with pytest.raises(ClientDisconnectedError):
        stream.send_all(b"x", 1.0)
    stream.close()


def test_a_closed_stream_raises_ours_and_no_oserror(pair: Pair) -> None:
    pair.stream.close()
    with pytest.raises(ResetError):
        pair.stream.recv(1, soon())
    with pytest.raises(ResetError):
        pair.stream.send_all(b"x", 1.0)


# --- send_all ---------------------------------------------------------------------------------------------------------


def test_send_all_sends_more_than_the_kernel_holds(pair: Pair) -> None:
    data = bytes(range(256)) * 20_000
    thread, outcome = outcome_of(lambda: pair.stream.send_all(memoryview(data), LATE))
    received = bytearray()
    while len(received) < len(data):
        received += pair.peer.recv(65536)
    thread.join(LATE)
    assert outcome == [None]
    assert received == data


def test_a_slow_peer_that_keeps_reading_is_not_timed_out(pair: Pair) -> None:
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    pair.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    size, timeout = 100_000, 0.4
    began = time.monotonic()
    thread, outcome = outcome_of(lambda: pair.stream.send_all(b"x" * size, timeout))
    received = 0
    while received < size:
        received += len(pair.peer.recv(4096))
        time.sleep(0.04)  # this is the slowness of the peer
    thread.join(LATE)
    assert outcome == [None]
    assert time.monotonic() - began > 2 * (timeout + SWEEP_INTERVAL)


def test_a_peer_that_takes_nothing_is_a_write_timeout(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(WriteTimeout):
        pair.stream.send_all(b"x" * 10_000_000, 0.1)
    assert 0.1 <= time.monotonic() - began < 0.1 + SWEEP_INTERVAL + LATE


def test_sending_nothing_is_nothing(pair: Pair) -> None:
    pair.stream.send_all(b"", 1.0)
    assert not pair.sock.about_to_wait.is_set()


def test_shutdown_write_ends_our_half_alone(pair: Pair) -> None:
    pair.stream.shutdown_write()
    assert pair.peer.recv(1) == b""
    pair.peer.sendall(b"still")
    assert pair.stream.recv(10, soon()) == b"still"
    pair.stream.close()
    pair.stream.shutdown_write()


# --- is_quiet ---------------------------------------------------------------------------------------------------------


def test_an_idle_stream_is_quiet_whatever_timeout_it_had(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.stream.recv(1, soon(1000.0))
    began = time.monotonic()
    assert pair.stream.is_quiet()
    assert time.monotonic() - began < LATE


def test_a_stream_with_unread_bytes_is_not_quiet_and_keeps_them(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    assert not pair.stream.is_quiet()
    assert pair.stream.recv(10, soon()) == b"x"


def test_a_stream_that_the_peer_has_closed_or_half_closed_is_not_quiet(pair: Pair) -> None:
    pair.peer.shutdown(socket.SHUT_WR)
    assert not pair.stream.is_quiet()


def test_a_closed_or_aborted_stream_is_not_quiet() -> None:
    closed, aborted = Pair(), Pair()
    closed.stream.close()
    aborted.stream.abort(ClientDisconnectedError())
    assert not closed.stream.is_quiet()
    assert not aborted.stream.is_quiet()
    closed.close()
    aborted.close()


# --- abort and close --------------------------------------------------------------------------------------------------


def test_abort_wakes_a_thread_that_waits_to_read(pair: Pair) -> None:
    error = ClientDisconnectedError("gone")
    thread, outcome = outcome_of(lambda: pair.stream.recv(1, soon(60)))
    assert pair.sock.about_to_wait.wait(LATE)
    pair.stream.abort(error)
    thread.join(LATE)
    assert outcome == [error]


def test_abort_wakes_a_thread_that_waits_to_write(pair: Pair) -> None:
    error = ClientDisconnectedError("gone")
    thread, outcome = outcome_of(lambda: pair.stream.send_all(b"x" * 10_000_000, 60.0))
    assert pair.sock.about_to_wait.wait(LATE)
    pair.stream.abort(error)
    thread.join(LATE)
    assert outcome == [error]


def test_every_call_after_an_abort_raises_the_first_reason(pair: Pair) -> None:
    error = ClientDisconnectedError("first")
    pair.peer.sendall(b"data")
    pair.stream.abort(error)
    pair.stream.abort(ResetError("second"))
    calls: list[Callable[[], object]] = [
        lambda: pair.stream.recv(1, soon()),
        lambda: pair.stream.send_all(b"x", 1.0),
    ]
    for call in calls:
        with pytest.raises(ClientDisconnectedError) as caught:
            call()
        assert caught.value is error
    assert "aborted" in repr(pair.stream)


def test_abort_of_a_closed_stream_is_nothing(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.abort(ClientDisconnectedError())
    assert "closed" in repr(pair.stream)


def test_close_is_idempotent_and_forgets_the_descriptor(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.close()
    assert pair.stream.fileno() == -1
    assert pair.sock.fileno() == -1
    assert pair.peer.recv(1) == b""


def test_a_close_during_an_abort_leaves_the_descriptor_to_the_abort() -> None:
    class ClosedMeanwhile(socket.socket):
        stream: ThreadStream
        descriptors: list[int]

        def shutdown(self, how: int) -> None:
            self.stream.close()
            self.stream.close()
            self.descriptors.append(self.fileno())
            super().shutdown(how)

    ours, peer = socket.socketpair()
    sock = ClosedMeanwhile(ours.family, ours.type, fileno=ours.detach())
    number = sock.fileno()
    sock.descriptors = []
    sock.stream = stream_for(sock, BACKEND)
    sock.stream.abort(ClientDisconnectedError())
    assert sock.descriptors == [number]
    assert sock.stream.fileno() == -1
    assert sock.fileno() == -1
    peer.close()


def test_aborts_and_closes_from_many_threads_close_once_and_raise_nothing() -> None:
    for _ in range(50):
        pair = Pair()
        start = threading.Barrier(4)

        def abort(pair: Pair = pair, start: threading.Barrier = start) -> None:
            start.wait(LATE)
            pair.stream.abort(ClientDisconnectedError())

        def close(pair: Pair = pair, start: threading.Barrier = start) -> None:
            start.wait(LATE)
            pair.stream.close()

        threads = [outcome_of(call) for call in (abort, close, abort, close)]
        for thread, outcome in threads:
            thread.join(LATE)
            assert outcome == [None]
        assert pair.sock.fileno() == -1
        pair.close()


def test_watching_is_accepted_and_does_nothing(pair: Pair) -> None:
    def never(reset: bool) -> None:
        raise AssertionError("a blocking driver cannot watch")

    pair.stream.watch(never)
    pair.peer.close()
    assert pair.stream.recv(1, soon()) == b""
    pair.stream.watch(None)
