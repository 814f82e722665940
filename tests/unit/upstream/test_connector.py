from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loopback import driver, wait_for
from tests.scripted import Peer, backend
from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectError
from wsgiproxy.upstream import connector as module
from wsgiproxy.upstream.connector import Connector


class FakeStream:
    """A stream as a connector sees it."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.quiet = True
        self.closed = 0
        self.on_hang_up: Callable[[bool], None] | None = None

    def __repr__(self) -> str:
        return self.name

    def is_quiet(self, look: bool = False) -> bool:
        return self.quiet and not self.closed

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        self.on_hang_up = on_hang_up

    def hang_up(self) -> None:
        self.quiet = False
        assert self.on_hang_up is not None
        self.on_hang_up(False)

    def close(self) -> None:
        self.closed += 1


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(module, "_monotonic", lambda: clock.now)
    return clock  # type: ignore[return-value]


def make(max_idle: int = 10, idle_timeout: float = 60.0) -> Any:
    """A connector over fake streams, which are named by their number."""
    made: list[FakeStream] = []

    def dial(deadline: float) -> Any:
        made.append(FakeStream(f"s{len(made)}"))
        return made[-1]

    connector = Connector("http://b:80", dial)
    connector.configure(schema.KeepAlive(max_idle=max_idle, idle_timeout=idle_timeout))
    return connector


def dialled(connector: Any, count: int) -> list[Any]:
    return [connector.dial(0.0) for _ in range(count)]


def test_nothing_idle_is_none() -> None:
    connector = make()
    assert connector.take() is None
    assert repr(connector) == "<Connector http://b:80, 0 idle>"


def test_the_connection_given_back_last_is_taken_first() -> None:
    connector = make()
    one, two, three = dialled(connector, 3)
    for stream in (two, one, three):
        connector.give_back(stream)
    assert connector.idle_connections() == 3
    assert [connector.take() for _ in range(4)] == [three, one, two, None]


def test_dial_passes_the_deadline_on_and_the_error_back() -> None:
    deadlines = []

    def dial(deadline: float) -> Any:
        deadlines.append(deadline)
        raise ConnectError("refused")

    with pytest.raises(ConnectError, match="refused"):
        Connector("http://b:80", dial).dial(12.5)
    assert deadlines == [12.5]


def test_more_than_max_idle_are_closed_and_so_is_every_one_where_it_is_zero() -> None:
    connector = make(max_idle=2)
    streams = dialled(connector, 3)
    for stream in streams:
        connector.give_back(stream)
    assert [stream.closed for stream in streams] == [0, 0, 1]
    connector.configure(schema.KeepAlive(max_idle=0))
    connector.give_back(connector.take())
    assert streams[1].closed == 1


def test_a_connection_with_something_to_read_is_never_kept_nor_taken() -> None:
    connector = make()
    noisy, later = dialled(connector, 2)
    noisy.quiet = False
    connector.give_back(noisy)
    connector.give_back(later)
    assert (noisy.closed, connector.idle_connections()) == (1, 1)
    later.quiet = False
    assert connector.take() is None
    assert later.closed == 1


def test_a_connection_that_was_idle_for_too_long_is_not_taken(clock: Clock) -> None:
    connector = make(idle_timeout=60.0)
    old, young = dialled(connector, 2)
    connector.give_back(old)
    clock.now += 59.0
    connector.give_back(young)
    clock.now += 2.0
    assert connector.take() is young
    assert connector.take() is None
    assert (old.closed, young.closed) == (1, 0)


def test_what_grew_old_is_closed_when_another_is_given_back_and_makes_room_for_it(clock: Clock) -> None:
    connector = make(max_idle=2)
    first, second, third = dialled(connector, 3)
    connector.give_back(first)
    clock.now += 30.0
    connector.give_back(second)
    clock.now += 40.0
    connector.give_back(third)
    assert [stream.closed for stream in (first, second, third)] == [1, 0, 0]
    assert connector.idle_connections() == 2


def test_a_hang_up_closes_the_idle_connection_it_happened_to_and_no_other() -> None:
    connector = make()
    gone, good, busy = dialled(connector, 3)
    connector.give_back(gone)
    connector.give_back(good)
    busy.hang_up()
    assert (busy.closed, connector.idle_connections()) == (0, 2)
    gone.hang_up()
    assert (gone.closed, good.closed, connector.idle_connections()) == (1, 0, 1)


def test_close_closes_the_idle_ones_and_from_then_on_every_one_given_back() -> None:
    connector = make()
    idle, busy = dialled(connector, 2)
    connector.give_back(idle)
    connector.close()
    connector.close()
    connector.give_back(busy)
    assert (idle.closed, busy.closed, connector.idle_connections()) == (1, 1, 0)
    assert repr(connector) == "<Connector http://b:80, 0 idle, closed>"


def test_a_connection_given_back_while_another_thread_closes_is_closed() -> None:
    connector = make()
    (stream,) = dialled(connector, 1)

    def closed_meanwhile() -> bool:
        connector.close()
        return True

    stream.is_quiet = closed_meanwhile
    connector.give_back(stream)
    assert stream.closed == 1


def test_threads_that_take_and_give_back_lose_and_share_no_connection() -> None:
    connector = make(max_idle=100, idle_timeout=1e-5)  # some grow old: every branch is walked
    in_use: set[int] = set()
    trouble: list[object] = []
    until = time.monotonic() + 0.3

    def work() -> None:
        try:
            while time.monotonic() < until:
                stream = connector.take() or connector.dial(0.0)
                if id(stream) in in_use or stream.closed:
                    trouble.append(stream)
                in_use.add(id(stream))
                in_use.discard(id(stream))
                connector.give_back(stream)
        except Exception as error:  # noqa: BLE001 - the test shows it
            trouble.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert trouble == []


def test_a_real_backend_that_closes_is_noticed_without_anyone_asking() -> None:
    with backend([Peer.close], []) as server:
        connector = Connector(server.address, functools.partial(driver().connect_tcp, server.host, server.port))
        connector.configure(schema.KeepAlive())
        streams = [connector.dial(time.monotonic() + 5) for _ in range(2)]
        wait_for(lambda: len(server.peers) == 2)
        for stream in streams:
            if stream.is_quiet():
                connector.give_back(stream)
            else:
                stream.close()
        wait_for(lambda: connector.idle_connections() == 1, "the closed one to be evicted")
        assert connector.take() is streams[1]
        streams[1].close()


def test_connections_are_given_up_before_the_backend_loses_its_patience(clock: Clock) -> None:
    connector = make()
    connector.give_back(connector.dial(0.0))
    clock.now += 2.0
    connector._idle[0][2].hang_up()
    assert connector.idle_connections() == 0
    for wait, used in ((1.7, True), (1.9, False)):
        stream = connector.dial(0.0)
        connector.give_back(stream)
        clock.now += wait
        assert (connector.take() is stream) is used


def test_a_backend_that_turns_out_to_wait_longer_is_believed_again(clock: Clock) -> None:
    connector = make()
    connector.give_back(connector.dial(0.0))
    clock.now += 0.5
    connector._idle[0][2].hang_up()
    connector.give_back(connector.dial(0.0))
    clock.now += 20
    assert connector.take() is None  # but it was still open
    connector.give_back(connector.dial(0.0))
    clock.now += 17
    assert connector.take() is not None


# --- requests that cannot be sent again -------------------------------------------------------------------------------


def test_a_request_that_cannot_be_sent_again_gets_no_connection_that_was_idle_for_long(clock: Clock) -> None:
    connector = make()
    clock.now += 10
    old, young = dialled(connector, 2)
    connector.give_back(old)
    clock.now += 0.7
    connector.give_back(young)
    clock.now += 0.7
    assert connector.take(careful=True) is young
    assert connector.take(careful=True) is None
    assert connector.take() is old


@pytest.mark.parametrize("how", ["evicted", "given back", "found", "told"])
def test_after_a_close_behind_an_answer_it_gets_none_at_all_for_a_while(clock: Clock, how: str) -> None:
    connector = make()
    one, other = dialled(connector, 2)
    connector.give_back(other)
    if how == "evicted":
        connector.give_back(one)
        clock.now += 0.1
        one.hang_up()
    elif how == "given back":
        one.quiet = False
        connector.give_back(one)
    elif how == "found":  # where nobody watches
        connector.give_back(one)
        one.quiet = False
        assert connector.take() is other
        connector.give_back(other)
    else:
        connector.distrust()
    assert connector.take(careful=True) is None
    assert connector.take() is other
    clock.now += 10
    connector.give_back(other)
    assert connector.take(careful=True) is other


def test_it_gets_none_of_a_backend_that_nobody_knows_yet(clock: Clock) -> None:
    connector = make()
    (stream,) = dialled(connector, 1)
    connector.give_back(stream)
    assert connector.take(careful=True) is None
    clock.now += 10
    connector.give_back(connector.take())
    assert connector.take(careful=True) is stream


def test_a_close_after_a_timeout_is_no_reason_to_distrust(clock: Clock) -> None:
    connector = make()
    clock.now += 10
    one, other = dialled(connector, 2)
    connector.give_back(one)
    clock.now += 2
    one.hang_up()
    connector.give_back(other)
    assert connector.take(careful=True) is other
