"""Listening sockets: every kind of address, and what the operator is told when one cannot be had."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wsgiproxy.config import schema
from wsgiproxy.errors import ConfigError
from wsgiproxy.server.listener import close_listener, describe, open_listener

Open = Callable[[str], socket.socket]


@pytest.fixture(name="listen")
def fixture_listen() -> Iterator[Open]:
    opened: list[tuple[socket.socket, schema.Listener]] = []

    def listen(address: str) -> socket.socket:
        block = schema.Listener(address=address)
        opened.append((open_listener(block), block))
        return opened[-1][0]

    yield listen
    for listener, block in opened:
        close_listener(listener, block)


PLAIN = schema.Listener(address="127.0.0.1:0")


def can_connect(family: int, where: str | tuple[str, int]) -> bool:
    with socket.socket(family) as client:
        client.settimeout(5)
        return client.connect_ex(where) == 0


def test_port_zero_takes_a_free_port_and_says_which(listen: Open) -> None:
    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    assert port > 0
    assert describe(listener, PLAIN) == f"http://127.0.0.1:{port}"
    secure = schema.Listener(address="x:1", tls=schema.ListenerTls(certificates=(schema.Certificate("a.pem"),)))
    assert describe(listener, secure) == f"https://127.0.0.1:{port}"
    assert can_connect(socket.AF_INET, ("127.0.0.1", port))


def test_the_socket_is_non_blocking_and_not_inherited(listen: Open) -> None:
    listener = listen("127.0.0.1:0")
    assert listener.getblocking() is False
    assert listener.get_inheritable() is False


def test_an_address_without_a_host_means_every_ipv4_interface(listen: Open) -> None:
    assert listen(":0").getsockname()[0] == "0.0.0.0"


def test_localhost_means_its_ipv4_address(listen: Open) -> None:
    assert listen("localhost:0").getsockname()[0] == "127.0.0.1"


def test_an_ipv6_address_takes_ipv6_alone(listen: Open) -> None:
    if not can_bind_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    listener = listen("[::1]:0")
    assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert describe(listener, PLAIN) == f"http://[::1]:{listener.getsockname()[1]}"


def can_bind_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_in_use_is_said_to_be_in_use(listen: Open) -> None:
    port = listen("127.0.0.1:0").getsockname()[1]
    with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}: address already in use"):
        listen(f"127.0.0.1:{port}")


def test_a_port_can_be_taken_again_right_after_it_was_closed(listen: Open) -> None:
    first = listen("127.0.0.1:0")
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        first.setblocking(True)
        first.accept()[0].close()  # our side closes first: the connection stays behind in TIME_WAIT
    first.close()
    assert listen(f"127.0.0.1:{port}").getsockname()[1] == port


def test_a_forbidden_port_says_that_it_needs_privileges(monkeypatch: pytest.MonkeyPatch, listen: Open) -> None:
    class Forbidding(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidding)
    with pytest.raises(ConfigError) as caught:
        listen("127.0.0.1:80")
    assert str(caught.value) == (
        "cannot listen on 127.0.0.1:80: permission denied (ports below 1024 need privileges)"
    )  # fmt: skip


def test_an_address_that_this_machine_does_not_have_is_refused_clearly(listen: Open) -> None:
    with pytest.raises(ConfigError, match="this machine has no such address"):
        listen("192.0.2.1:0")


def test_what_is_no_address_is_refused_clearly(listen: Open) -> None:
    with pytest.raises(ConfigError, match="has a bad port"):
        listen("127.0.0.1:http")


def test_a_unix_socket_listens_and_its_file_goes_when_it_is_closed(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    listener = listen(f"unix:{path}")
    assert describe(listener, PLAIN) == f"unix:{path}"
    assert can_connect(socket.AF_UNIX, str(path))
    listener.close()  # as a server that drains does
    close_listener(listener, schema.Listener(address=f"unix:{path}"))
    assert not path.exists()
    close_listener(listener, schema.Listener(address=f"unix:{path}"))


def test_a_socket_file_that_nobody_listens_on_is_replaced(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(f"unix:{path}")
    assert can_connect(socket.AF_UNIX, str(path))


def test_a_socket_file_in_use_is_left_alone(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    listen(f"unix:{path}")
    with pytest.raises(ConfigError, match="address already in use"):
        listen(f"unix:{path}")
    assert can_connect(socket.AF_UNIX, str(path))


def test_a_plain_file_in_the_way_is_left_alone(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="it is not a socket"):
        listen(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_missing_directory_is_named_as_the_reason(listen: Open, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its directory does not exist"):
        listen(f"unix:{tmp_path}/none/front.sock")


def test_closing_leaves_the_socket_file_of_the_process_that_came_after(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    old = listen(f"unix:{path}")
    os.unlink(path)
    listen(f"unix:{path}")
    close_listener(old, schema.Listener(address=f"unix:{path}"))
    assert can_connect(socket.AF_UNIX, str(path))
