"""Receiving and sending without a wait, compiled or not: sizes that fit the room, that do not, and that are none."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from wsgiproxy.transport.calls import receive, send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 1_000_000])
def test_as_many_bytes_come_as_are_there_and_were_asked_for(pair: Pair, size: int) -> None:
    ours, theirs = pair
    assert receive(ours.fileno(), size) is None
    assert send(theirs.fileno(), memoryview(b"abc")) == 3
    assert receive(ours.fileno(), size) == b"abc"[:size]
    theirs.close()
    assert receive(ours.fileno(), size) == b"bc"[: 0 if size > 1 else 1]


def test_a_negative_size_is_refused(pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"abc")
    with pytest.raises(OSError) as refused:
        receive(ours.fileno(), -1)
    assert refused.value.errno == errno.EINVAL
    assert receive(ours.fileno(), 3) == b"abc"


def test_nothing_is_sent_where_there_is_no_room_and_a_reset_is_an_error(pair: Pair) -> None:
    ours, theirs = pair
    while send(ours.fileno(), bytes(65_536)) is not None:
        pass
    theirs.close()
    with pytest.raises(OSError):
        send(ours.fileno(), b"a")
    with pytest.raises(OSError):
        receive(-1, 10)
