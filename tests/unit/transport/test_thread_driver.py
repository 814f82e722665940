from __future__ import annotations

import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wsgiproxy.errors import ConnectError, ConnectTimeout, ReadTimeout
from wsgiproxy.transport.thread import ThreadDriver, ThreadStream

LATE = 5.0  # seconds of scheduling delay that a busy machine may add


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


def soon(seconds: float = LATE) -> float:
    return time.monotonic() + seconds


def test_a_tcp_stream_connects_without_nagle_and_blames_the_backend(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    stream = ThreadDriver().connect_tcp(host, port, soon())
    peer, _ = listener.accept()
    with socket.socket(fileno=stream.fileno()) as borrowed:
        assert borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        borrowed.detach()
    assert repr(stream).startswith(f"<ThreadStream 127.0.0.1:{port} fd ")
    peer.sendall(b"hi")
    assert stream.recv(10, soon()) == b"hi"
    with pytest.raises(ReadTimeout):
        stream.recv(10, soon(0.01))
    stream.close()
    peer.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_refused_connection_names_the_address_and_the_reason() -> None:
    port = closed_port()
    with pytest.raises(ConnectError, match=rf"^127\.0\.0\.1:{port}: Connection refused$") as caught:
        ThreadDriver().connect_tcp("127.0.0.1", port, soon())
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_name_that_nobody_knows_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*args: object, **options: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(ConnectError, match=r"backend\.example:80: no such name: .*Name or service not known"):
        ThreadDriver().connect_tcp("backend.example", 80, soon())


@pytest.mark.parametrize("host", ["a" * 70, "no..name"])
def test_a_name_that_cannot_be_one_is_a_connect_error(host: str) -> None:
    with pytest.raises(ConnectError, match="no such name"):
        ThreadDriver().connect_tcp(host, 80, soon())


def test_a_listener_that_never_accepts_is_a_connect_timeout(silent_address: tuple[str, int]) -> None:
    host, port = silent_address
    deadline = soon(0.2)
    with pytest.raises(ConnectTimeout):
        ThreadDriver().connect_tcp(host, port, deadline)
    assert deadline <= time.monotonic() < deadline + LATE


def test_a_deadline_that_has_passed_is_a_connect_timeout(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    with pytest.raises(ConnectTimeout, match="no answer in time"):
        ThreadDriver().connect_tcp(host, port, time.monotonic() - 1)


def test_the_next_address_is_tried_where_one_refuses_or_is_silent(
    listener: socket.socket, silent_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [("127.0.0.1", closed_port()), silent_address, listener.getsockname()]

    def three_addresses(host: str, port: int, **options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", three_addresses)
    stream = ThreadDriver().connect_tcp("backend.example", 80, soon(1.0))
    listener.accept()[0].close()
    assert stream.recv(1, soon()) == b""
    stream.close()


def test_a_socket_that_was_joined_with_itself_is_a_refused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    class JoinedWithItself(socket.socket):
        def connect(self, address: Any) -> None:
            self.bind(address)
            super().connect(address)

    port = closed_port()
    monkeypatch.setattr(socket, "socket", JoinedWithItself)
    with pytest.raises(ConnectError, match="connected to itself"):
        ThreadDriver().connect_tcp("127.0.0.1", port, soon())


def test_a_unix_stream_connects(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        stream = ThreadDriver().connect_unix(path, soon())
        peer, _ = listener.accept()
        stream.send_all(b"hi", 1.0)
        assert peer.recv(10) == b"hi"
        assert f"unix:{path}" in repr(stream)
        stream.close()
        peer.close()


def test_a_unix_path_that_is_not_there_is_a_connect_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConnectError, match=r"unix:.*/none: No such file or directory"):
        ThreadDriver().connect_unix(str(tmp_path / "none"), soon())
    with pytest.raises(ConnectError, match="path too long"):
        ThreadDriver().connect_unix("/x" * 200, soon())


def test_a_full_queue_of_a_unix_socket_is_waited_for_until_the_deadline(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    driver = ThreadDriver()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = driver.connect_unix(path, soon())
        with pytest.raises(ConnectTimeout):
            driver.connect_unix(path, soon(0.05))
        found: list[ThreadStream] = []
        task = driver.spawn(lambda: found.append(driver.connect_unix(path, soon())), "second")
        accepted = [listener.accept()[0]]  # makes room
        task.join(LATE)
        accepted.append(listener.accept()[0])
        for stream in (first, *found):
            stream.close()
        for sock in accepted:
            sock.close()
        assert len(found) == 1


def test_spawn_runs_in_the_background_and_an_event_tells() -> None:
    driver = ThreadDriver()
    started, leave = driver.event(), driver.event()
    seen: list[threading.Thread] = []

    def work() -> None:
        seen.append(threading.current_thread())
        started.set()
        leave.wait(LATE)

    task = driver.spawn(work, "worker bee")
    assert started.wait(LATE)
    assert seen[0].daemon
    assert seen[0].name == "worker bee"
    leave.set()
    task.join(LATE)
    assert not seen[0].is_alive()
