from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import gevent
import pytest

from tests.certificates import Authority, Leaf
from tests.loopback import wait_for
from tests.unit.transport.pairs import LATE, soon
from tests.unit.transport.tls_pairs import KINDS, NAME, Background, TlsPair, as_client, as_server
from wsgiproxy.errors import ClientDisconnectedError, ProxyError, ResetError
from wsgiproxy.transport.stream import SWEEP_INTERVAL, InterruptedWaitError, Stream

MUCH = 20_000_000  # bytes: more than the kernel holds
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
SIDES = (as_client, as_server)

Connect = Callable[..., AbstractContextManager[TlsPair]]


@pytest.fixture(name="authority", scope="module")
def fixture_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="leaf", scope="module")
def fixture_leaf(authority: Authority) -> Leaf:
    return authority.issue(NAME)


@pytest.fixture(name="pair", params=[(kind, side, version) for kind in KINDS for side in SIDES for version in VERSIONS])
def fixture_pair(request: pytest.FixtureRequest, authority: Authority, leaf: Leaf) -> Iterator[TlsPair]:
    """Every driver, on both sides, in both versions."""
    kind, side, version = request.param
    with side(kind, authority, leaf, version) as pair:
        yield pair


@pytest.fixture(name="watched", params=[(side, version) for side in SIDES for version in VERSIONS])
def fixture_watched(request: pytest.FixtureRequest, authority: Authority, leaf: Leaf) -> Iterator[TlsPair]:
    """The driver that can watch."""
    side, version = request.param
    with side("greenlet", authority, leaf, version) as pair:
        yield pair


def read_all(pair: TlsPair) -> bytes:
    """What the peer gets up to the end; ``ssl.SSLEOFError`` where that is a cut."""
    data = bytearray()
    while piece := pair.peer.recv(1 << 20):
        data += piece
    return bytes(data)


def let_come(pair: TlsPair) -> None:
    """Until what the peer has sent is there to be read."""
    with socket.fromfd(pair.stream.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        copy.setblocking(False)

        def came() -> bool:
            try:
                copy.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            return True

        wait_for(came)


def cut(pair: TlsPair) -> None:
    """Have the peer end the connection without a word."""
    pair.peer.shutdown(socket.SHUT_WR)


# --- bytes both ways --------------------------------------------------------------------------------------------------


def test_a_tls_stream_is_what_the_seam_asks_for(pair: TlsPair) -> None:
    stream: Stream = pair.stream
    assert repr(stream).startswith("<TlsStream TLSv1.")
    assert stream.fileno() == pair.inner.fileno()


def test_bytes_go_both_ways(pair: TlsPair) -> None:
    pair.stream.send_all(b"hello", LATE)
    assert pair.peer.recv(100) == b"hello"
    pair.peer.sendall(b"to you")
    assert pair.stream.recv(2, soon()) == b"to"
    assert pair.stream.recv(100, soon()) == b" you"


def test_an_opened_record_is_drained_without_a_wait(pair: TlsPair) -> None:
    pair.peer.sendall(b"x" * 16_000)
    received = pair.stream.recv(1, soon())
    while len(received) < 16_000:
        received += pair.stream.recv(999, time.monotonic() + LATE)
    with pytest.raises(ProxyError):
        pair.stream.recv(1, soon(0.05))
    pair.stream.send_all(b"you were too slow", LATE)
    assert pair.peer.recv(100) == b"you were too slow"


def test_much_goes_both_ways_at_once(watched: TlsPair) -> None:
    def echo() -> int:
        total = 0
        while total < MUCH:
            piece = watched.peer.recv(1 << 16)
            watched.peer.sendall(piece.swapcase())
            total += len(piece)
        return total

    echoing = Background(echo)
    sending = gevent.spawn(lambda: watched.stream.send_all(b"u" * MUCH, LATE))
    received = bytearray()
    while len(received) < MUCH:
        received += watched.stream.recv(1 << 16, soon())
    sending.join(LATE)
    assert echoing.result() == MUCH
    assert bytes(received) == b"U" * MUCH


def test_a_large_send_waits_as_ciphertext_in_slices(pair: TlsPair) -> None:
    sent: list[int] = []
    send_all = pair.inner.send_all

    def counting(data: bytes | memoryview, timeout: float, deadline: float = 1e18) -> None:
        sent.append(len(data))
        send_all(data, timeout, deadline)

    class Inner:
        """The stream underneath, with its sends counted."""

        def __getattr__(self, name: str) -> object:
            return counting if name == "send_all" else getattr(pair.inner, name)

    pair.stream._inner = Inner()  # type: ignore[assignment]
    receiving = Background(lambda: read_all(pair))
    pair.stream.send_all(b"x" * 1_000_000, LATE)
    pair.stream.close()
    assert receiving.result() == b"x" * 1_000_000
    assert max(sent) < 17_000


def test_empty_sends_are_nothing(pair: TlsPair) -> None:
    pair.stream.send_all(b"", LATE)
    pair.stream.send_all(memoryview(b"x"), LATE)
    assert pair.peer.recv(10) == b"x"


def test_a_peer_that_takes_nothing_is_a_write_timeout_and_the_end_of_sending(pair: TlsPair) -> None:
    with pytest.raises(pair.errors.write_timeout):
        pair.stream.send_all(b"x" * MUCH, 0.1)
    with pytest.raises(pair.errors.reset, match="cut short"):
        pair.stream.send_all(b"x", LATE)


def test_a_peer_that_trickles_does_not_get_beyond_the_deadline(pair: TlsPair) -> None:
    began = time.monotonic()
    with pytest.raises(pair.errors.write_timeout):
        pair.stream.send_all(b"x" * MUCH, LATE, began + 0.2)
    assert time.monotonic() - began < 0.2 + 2 * SWEEP_INTERVAL + LATE


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_close_notify_is_a_clean_end_as_often_as_one_asks(pair: TlsPair) -> None:
    pair.peer.sendall(b"bye")
    Background(pair.peer.unwrap)
    assert pair.stream.recv(100, soon()) == b"bye"
    assert [pair.stream.recv(100, soon()) for _ in range(2)] == [b"", b""]
    assert pair.stream.recv_now(1) == b""


def test_an_end_without_a_close_notify_is_a_cut(pair: TlsPair) -> None:
    pair.peer.sendall(b"half an answ")
    cut(pair)
    assert pair.stream.recv(100, soon()) == b"half an answ"
    for _ in range(2):
        with pytest.raises(pair.errors.reset, match="without a close_notify"):
            pair.stream.recv(100, soon())


def test_close_says_so_and_reset_does_not(pair: TlsPair, authority: Authority, leaf: Leaf) -> None:
    pair.stream.send_all(b"bye", LATE)
    pair.stream.close()
    assert read_all(pair) == b"bye"
    for side in SIDES:
        with side("greenlet", authority, leaf) as other:
            other.stream.reset()
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                read_all(other)


def test_a_half_close_is_seen_and_the_other_half_goes_on(pair: TlsPair) -> None:
    pair.peer.sendall(b"early ")
    let_come(pair)
    assert pair.stream.recv(2, soon()) == b"ea"
    pair.stream.send_all(b"that was all", LATE)
    pair.stream.shutdown_write()
    assert read_all(pair) == b"that was all"
    pair.peer.sendall(b"late")
    received = b""
    while len(received) < len(b"rly late"):
        received += pair.stream.recv(100, soon())
    assert received == b"rly late"
    with pytest.raises(pair.errors.reset):
        pair.stream.send_all(b"x", LATE)
    pair.stream.shutdown_write()


def test_a_closed_stream_raises_ours_and_takes_every_farewell_again(pair: TlsPair) -> None:
    pair.stream.close()
    pair.stream.close()
    pair.stream.abort(ResetError("x"))
    pair.stream.send_now(b"x")
    pair.stream.shutdown_write()
    pair.stream.reset()
    assert not pair.stream.is_quiet()
    assert pair.stream.fileno() == -1
    for call in (lambda: pair.stream.recv(1, soon()), lambda: pair.stream.send_all(b"x", LATE)):
        with pytest.raises(pair.errors.reset):
            call()


def test_an_abort_is_what_every_later_call_raises_even_with_bytes_waiting(pair: TlsPair) -> None:
    pair.peer.sendall(b"xy")
    assert pair.stream.recv(1, soon()) == b"x"
    error = ClientDisconnectedError("gone")
    pair.stream.abort(error)
    pair.stream.abort(ResetError("second"))
    for call in (lambda: pair.stream.recv(1, soon()), lambda: pair.stream.send_all(b"x", LATE)):
        with pytest.raises(ClientDisconnectedError) as caught:
            call()
        assert caught.value is error


def test_farewells_are_sent_without_a_wait(pair: TlsPair) -> None:
    pair.stream.send_now(b"bye")
    assert pair.peer.recv(100) == b"bye"
    began = time.monotonic()
    pair.stream.send_now(b"x" * MUCH)
    assert time.monotonic() - began < LATE


def test_recv_now_never_waits(pair: TlsPair) -> None:
    assert pair.stream.recv_now(100) is None
    pair.peer.sendall(b"hello")
    let_come(pair)
    assert pair.stream.recv_now(2) == b"he"
    assert pair.stream.recv_now(100) == b"llo"
    assert pair.stream.recv_now(100) is None


def test_a_record_that_was_tampered_with_is_a_reset(pair: TlsPair) -> None:
    pair.raw = socket.socket(fileno=pair.peer.detach())
    pair.raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises(
        pair.errors.reset, match=r"^peer: (decryption failed or bad record mac|bad record type|.* bad record mac)$"
    ):
        pair.stream.recv(1, soon())
    assert not pair.stream.is_quiet()


# --- idle streams -----------------------------------------------------------------------------------------------------


def test_tickets_on_an_idle_stream_leave_it_quiet(pair: TlsPair) -> None:
    pair.stream.send_all(b"hello", LATE)
    assert pair.peer.recv(100) == b"hello"  # where the peer is the server, its tickets are there by now
    assert pair.stream.is_quiet(look=True)
    assert pair.stream.is_quiet()
    pair.peer.sendall(b"x")
    let_come(pair)
    assert not pair.stream.is_quiet(look=True)
    assert pair.stream.recv(1, soon()) == b"x"
    assert pair.stream.is_quiet(look=True)


def test_a_close_notify_or_a_cut_makes_a_stream_unquiet(pair: TlsPair) -> None:
    cut(pair)
    let_come(pair)
    assert not pair.stream.is_quiet(look=True)


def test_a_close_notify_while_nobody_reads_is_a_hang_up(watched: TlsPair) -> None:
    told: list[object] = []
    watched.stream.watch(told.append)
    assert told == []
    Background(watched.peer.unwrap)
    wait_for(lambda: told)
    gevent.sleep(0.01)
    assert told == [False]


def test_a_cut_while_nobody_reads_is_a_hang_up_that_cannot_be_a_half_close(watched: TlsPair) -> None:
    told: list[object] = []
    watched.stream.watch(told.append)
    cut(watched)
    wait_for(lambda: told)
    assert told == [True]


def test_a_hang_up_is_seen_after_bytes_that_came_while_nobody_read(watched: TlsPair) -> None:
    told: list[object] = []
    watched.stream.watch(told.append)
    watched.peer.sendall(b"a whole upload")
    wait_for(lambda: not watched.stream.is_quiet())
    assert told == []
    assert watched.stream.recv(100, soon()) == b"a whole upload"
    Background(watched.peer.unwrap)
    wait_for(lambda: told)
    assert told == [False]


def test_bytes_while_nobody_reads_are_told_and_tickets_are_not(watched: TlsPair) -> None:
    told: list[bytes | None] = []
    watched.stream.watch_unread(lambda: told.append(watched.stream.recv_now(100)))
    watched.stream.send_all(b"x", LATE)
    assert watched.peer.recv(1) == b"x"
    gevent.sleep(0.05)
    assert told == []
    watched.peer.sendall(b"unread")
    wait_for(lambda: told)
    assert told == [b"unread"]
    watched.peer.sendall(b"more")
    gevent.sleep(0.05)
    assert told == [b"unread"]


def test_bytes_that_were_opened_already_are_told_at_once(watched: TlsPair) -> None:
    watched.peer.sendall(b"xy")
    assert watched.stream.recv(1, soon()) == b"x"
    told: list[str] = []
    watched.stream.watch_unread(lambda: told.append("unread"))
    assert told == ["unread"]


def test_an_interrupted_wait_ends_and_the_stream_goes_on(watched: TlsPair) -> None:
    outcome: list[object] = []

    def read() -> None:
        try:
            watched.stream.recv(1, soon())
        except InterruptedWaitError as error:
            outcome.append(error)

    reading = gevent.spawn(read)
    gevent.sleep(0.01)
    watched.stream.interrupt()
    reading.join(LATE)
    assert outcome
    watched.peer.sendall(b"x")
    assert watched.stream.recv(1, soon()) == b"x"


def test_an_interrupt_is_not_lost_where_what_comes_is_no_whole_record(watched: TlsPair) -> None:
    class Dripping:
        """The stream underneath, which takes a byte at a time, and is interrupted once that is there."""

        def recv(self, size: int, deadline: float) -> bytes:
            data = watched.inner.recv(1, deadline)
            watched.stream.interrupt()
            return data

        def __getattr__(self, name: str) -> object:
            return getattr(watched.inner, name)

    watched.peer.sendall(b"hello")
    watched.stream._inner = Dripping()  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(InterruptedWaitError):
            watched.stream.recv(100, soon())
    watched.stream._inner = watched.inner
    assert watched.stream.recv(100, soon()) == b"hello"


def test_a_stream_that_nobody_watches_any_more_is_left_alone(watched: TlsPair) -> None:
    told: list[object] = []
    watched.stream.watch(told.append)
    watched.stream.watch(None)
    cut(watched)
    gevent.sleep(0.05)
    assert told == []
