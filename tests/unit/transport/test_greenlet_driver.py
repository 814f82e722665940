from __future__ import annotations

import errno
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.loopback import driver, wait_for
from tests.scripted import background
from tests.unit.transport.pairs import LATE, soon
from wsgiproxy.errors import Blame, ConnectError, ConnectTimeout, OutOfResourcesError, ReadTimeout
from wsgiproxy.transport.greenlet import GreenletDriver
from wsgiproxy.transport.stream import Driver


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(LATE)
        yield sock


@pytest.fixture
def silent_address() -> Iterator[tuple[str, int]]:
    """The address of a listener whose queue is full: nothing answers a SYN there."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()
        for filler in fillers:
            filler.close()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    gevent.sleep(0)
    before = descriptors()
    yield
    wait_for(lambda: descriptors() <= before, "all descriptors to be closed")


def descriptors() -> int:
    driver()
    return len(os.listdir("/proc/self/fd"))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def resolving(patch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    """Have ``answer`` called in place of the hub's resolver."""

    class Resolver:
        getaddrinfo = staticmethod(answer)

    patch.setattr(driver(), "_hub", Standing(driver()._hub, Resolver()))


class Standing:
    """A hub with another resolver."""

    def __init__(self, hub: Any, resolver: Any) -> None:
        self._hub = hub
        self.resolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)


def test_a_tcp_stream_connects_without_nagle_and_blames_the_backend(listener: socket.socket) -> None:
    here: Driver = driver()
    host, port = listener.getsockname()
    stream = here.connect_tcp(host, port, soon())
    peer, _ = listener.accept()
    with socket.socket(fileno=stream.fileno()) as borrowed:
        assert borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        borrowed.detach()
    assert repr(stream).startswith(f"<GreenletStream 127.0.0.1:{port} fd ")
    with pytest.raises(ReadTimeout):
        stream.recv(10, soon(0.0))
    stream.close()
    peer.close()


def test_a_refused_connection_names_the_address_and_the_reason() -> None:
    port = closed_port()
    with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: Connection refused$"):
        driver().connect_tcp("127.0.0.1", port, soon())


def test_a_listener_that_never_accepts_is_a_connect_timeout_never_early(silent_address: tuple[str, int]) -> None:
    host, port = silent_address
    deadline = soon(0.2)
    with pytest.raises(ConnectTimeout, match="no connection in time"):
        driver().connect_tcp(host, port, deadline)
    assert deadline <= time.monotonic() < deadline + LATE


def test_others_go_on_while_one_connects(silent_address: tuple[str, int]) -> None:
    host, port = silent_address
    join = background(lambda: driver().connect_tcp(host, port, soon(0.3)))
    turns = 0
    while turns < 10:
        gevent.sleep(0.005)
        turns += 1
    assert isinstance(join(), ConnectTimeout)


def test_a_socket_that_was_joined_with_itself_is_a_refused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    class JoinedWithItself(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.bind(address)
            return super().connect_ex(address)

    port = closed_port()
    monkeypatch.setattr(driver(), "_socket", JoinedWithItself)
    with pytest.raises(ConnectError, match="Connection refused"):
        driver().connect_tcp("127.0.0.1", port, soon())


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_and_a_written_address_is_not(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look_up(host: str, *more: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

    resolving(monkeypatch, look_up)
    for host in ("backend.example", "127.0.0.1"):
        driver().connect_tcp(host, listener.getsockname()[1], soon()).close()
        listener.accept()[0].close()
    assert asked == ["backend.example"]


def test_a_name_that_nobody_knows_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*args: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolving(monkeypatch, no_such_name)
    with pytest.raises(ConnectError, match=r"backend\.example:80: no such name: .*Name or service not known"):
        driver().connect_tcp("backend.example", 80, soon())


@pytest.mark.parametrize("host", ["a" * 70, "no..name"])
def test_a_name_that_cannot_be_one_is_a_connect_error(host: str) -> None:
    with pytest.raises(ConnectError, match="no such name"):
        driver().connect_tcp(host, 80, soon())


def test_a_resolver_that_hangs_is_a_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda *args: gevent.sleep(60))
    with pytest.raises(ConnectTimeout, match=r"backend\.example:80: the name was not found in time"):
        driver().connect_tcp("backend.example", 80, soon(0.05))


def test_a_name_without_addresses_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda *args: [])
    with pytest.raises(ConnectError, match=r"backend\.example:80: no address"):
        driver().connect_tcp("backend.example", 80, soon())


def test_the_next_address_is_tried_where_one_refuses_or_is_silent(
    listener: socket.socket, silent_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [("127.0.0.1", closed_port()), silent_address, listener.getsockname()]
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    resolving(monkeypatch, lambda *args: answer)
    stream = driver().connect_tcp("backend.example", 80, soon(1.0))
    listener.accept()[0].close()
    assert stream.recv(1, soon()) == b""
    stream.close()


# --- Unix sockets -----------------------------------------------------------------------------------------------------


def test_a_unix_stream_connects(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        stream = driver().connect_unix(path, soon())
        peer, _ = listener.accept()
        stream.send_all(b"hi", 1.0)
        assert peer.recv(10) == b"hi"
        assert f"unix:{path}" in repr(stream)
        stream.close()
        peer.close()


def test_a_unix_path_that_is_not_there_or_cannot_be_is_a_connect_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConnectError, match=r"unix:.*/none: No such file or directory"):
        driver().connect_unix(str(tmp_path / "none"), soon())
    with pytest.raises(ConnectError, match="path too long"):
        driver().connect_unix("/x" * 200, soon())


def test_a_full_queue_of_a_unix_socket_is_waited_for_until_the_deadline(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = driver().connect_unix(path, soon())
        with pytest.raises(ConnectTimeout):
            driver().connect_unix(path, soon(0.05))
        join = background(lambda: driver().connect_unix(path, soon()))
        accepted = [listener.accept()[0]]  # makes room
        second: Any = join()
        accepted.append(listener.accept()[0])
        for closeable in (first, second, *accepted):
            closeable.close()


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_no_descriptor_left_is_nobodys_fault_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*args: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(driver(), "_socket", no_socket)
    with pytest.raises(OutOfResourcesError, match="Too many open files") as raised:
        driver().connect_tcp("127.0.0.1", 80, soon())
    assert raised.value.blame is Blame.PROXY


def test_spawn_runs_in_the_background_and_an_event_tells() -> None:
    started, leave = driver().event(), driver().event()

    def work() -> None:
        started.set()
        leave.wait(LATE)

    task: Any = driver().spawn(work, "worker bee")
    assert not started.is_set()
    assert started.wait(LATE)
    assert task.name == "worker bee"
    leave.set()
    task.join(LATE)
    assert task.dead


def test_a_driver_does_not_keep_its_hub_from_ending() -> None:
    done: list[str] = []

    def program() -> None:
        GreenletDriver()
        done.append("made")
        gevent.get_hub().join()
        done.append("ended")
        gevent.get_hub().destroy(destroy_loop=True)

    gevent.get_hub().threadpool.apply(program)
    assert done == ["made", "ended"]
    gevent.get_hub().threadpool.kill()
