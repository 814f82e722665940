from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted import background
from tests.unit.transport.pairs import LATE, MUCH, Pair, reset, soon, taken, tcp_pair
from wsgiproxy.errors import ClientDisconnectedError, RequestTimeout, ResetError
from wsgiproxy.transport.stream import CLIENT, Stream


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


# --- recv -------------------------------------------------------------------------------------------------------------


def test_a_stream_is_what_the_seam_asks_for(pair: Pair) -> None:
    stream: Stream = pair.stream
    assert repr(stream) == f"<GreenletStream peer fd {stream.fileno()}, idle>"


def test_recv_returns_what_is_there_and_no_more_than_it_was_asked_for(pair: Pair) -> None:
    pair.peer.sendall(b"hello")
    assert pair.stream.recv(2, soon()) == b"he"
    assert pair.stream.recv(100, soon()) == b"llo"


def test_recv_waits_for_what_comes_later(pair: Pair) -> None:
    join = background(lambda: pair.stream.recv(100, soon()))
    assert repr(pair.stream).endswith(", reading>")
    pair.peer.sendall(b"later")
    assert join() == b"later"


def test_the_end_of_the_stream_is_no_bytes_as_often_as_one_asks(pair: Pair) -> None:
    pair.peer.close()
    assert [pair.stream.recv(100, soon()) for _ in range(2)] == [b"", b""]


def test_a_reset_by_the_peer_is_a_reset_error_with_its_cause() -> None:
    stream, peer = tcp_pair()
    reset(peer)
    with pytest.raises(ResetError, match=r"^peer: Connection reset by peer$") as caught:
        stream.recv(1, soon())
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    stream.close()


def test_sending_to_a_peer_that_has_gone_is_a_reset_error(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(ResetError, match="Broken pipe"):
        pair.stream.send_all(b"x", 1.0)


def test_errors_blame_the_peer_that_the_stream_was_made_for() -> None:
    pair = Pair(CLIENT)
    with pytest.raises(RequestTimeout):
        pair.stream.recv(1, soon(0.01))
    pair.peer.close()
    with pytest.raises(ClientDisconnectedError):
        pair.stream.send_all(b"x", 1.0)
    pair.close()


# --- send_all ---------------------------------------------------------------------------------------------------------


def test_send_all_sends_more_than_the_kernel_holds(pair: Pair) -> None:
    data = bytes(range(256)) * 20_000
    join = background(lambda: pair.stream.send_all(memoryview(data), LATE))
    assert taken(pair.peer, len(data)) == data
    assert join() is None


def test_sending_nothing_is_nothing(pair: Pair) -> None:
    pair.stream.send_all(b"", 1.0)
    assert pair.stream.is_quiet()


def test_one_greenlet_reads_while_another_writes(pair: Pair) -> None:
    reading = background(lambda: pair.stream.recv(100, soon()))
    writing = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE))
    pair.peer.sendall(b"hello")
    assert reading() == b"hello"
    assert taken(pair.peer, MUCH) == b"x" * MUCH
    assert writing() is None


def test_shutdown_write_ends_our_half_alone(pair: Pair) -> None:
    pair.stream.shutdown_write()
    assert pair.peer.recv(1) == b""
    pair.peer.sendall(b"still")
    assert pair.stream.recv(10, soon()) == b"still"
    pair.stream.close()
    pair.stream.shutdown_write()


def test_shutdown_write_to_a_peer_that_has_gone_is_nothing() -> None:
    stream, peer = tcp_pair()
    reset(peer)
    with pytest.raises(ResetError):
        stream.recv(1, soon())
    stream.shutdown_write()
    stream.close()
