"""Backends, and clients, that stall at each step: what the client gets, and which time-out the log names."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.functional.scene import (
    LOGGED,
    Backend,
    Daemon,
    connected,
    get,
    log_record,
    read_to_end,
    read_until,
    start_daemon,
)

CONFIG = """\
timeouts: {{first_byte: 150ms}}
pools:
  full: {{backends: ["{full}"], timeouts: {{connect: 150ms}}}}
  tls: {{backends: ["{tls}"], tls: {{verify: false}}, timeouts: {{connect: 20s, tls: 150ms}}}}
  mute: {{backends: ["{mute}"]}}
  deaf: {{backends: ["{mute}"], timeouts: {{write: 150ms, first_byte: 20s}}}}
  patient: {{backends: ["{mute}"], outliers: null, timeouts: {{first_byte: 20s}}}}
  attempt: {{backends: ["{mute}"], timeouts: {{first_byte: 20s}}, retries: {{per_attempt_timeout: 150ms}}}}
  read: {{backends: ["{a}"], timeouts: {{read: 150ms, first_byte: 20s}}}}
  total: {{backends: ["{a}"], outliers: null, timeouts: {{total: 300ms, first_byte: 0.3s}}}}
  one: {{backends: [{{address: "{a}", max_in_flight: 1}}], timeouts: {{first_byte: 20s}}}}
routes:
  - {{match: {{headers: {{x-pool: full}}}}, pool: full}}
  - {{match: {{headers: {{x-pool: tls}}}}, pool: tls}}
  - {{match: {{headers: {{x-pool: mute}}}}, pool: mute}}
  - {{match: {{headers: {{x-pool: deaf}}}}, pool: deaf}}
  - {{match: {{headers: {{x-pool: route}}}}, pool: patient, timeouts: {{first_byte: 150ms}}}}
  - {{match: {{headers: {{x-pool: patient}}}}, pool: patient, timeouts: {{total: 300ms}}}}
  - {{match: {{headers: {{x-pool: attempt}}}}, pool: attempt}}
  - {{match: {{headers: {{x-pool: read}}}}, pool: read}}
  - {{match: {{headers: {{x-pool: total}}}}, pool: total}}
  - {{match: {{headers: {{x-pool: one}}}}, pool: one}}
  - {{match: {{headers: {{x-pool: hurried}}}}, pool: one, timeouts: {{total: 200ms}}}}
"""


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """The address of a listener whose queue is full: nothing answers a SYN there."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"127.0.0.1:{full.getsockname()[1]}"


@pytest.fixture(scope="module", name="scene")
def fixture_scene(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Daemon, Backend]]:
    """``mute`` is a listener that nobody accepts at: the kernel makes its connections, and takes a little."""
    a = Backend(start_for_module, "a")
    folder = tmp_path_factory.mktemp("config")
    with full_listener() as full, socket.create_server(("127.0.0.1", 0)) as mute:
        mute_at = f"127.0.0.1:{mute.getsockname()[1]}"
        text = CONFIG.format(full=f"http://{full}", tls=f"https://{mute_at}", mute=f"http://{mute_at}", a=a.address)
        yield start_daemon(start_for_module, folder, LOGGED % (folder / "access.log") + text), a


PARTIAL = "/raw?HTTP/1.1%20200%20OK%0D%0AX-Part:"


@pytest.mark.parametrize(
    ("pool", "method", "target", "reason"),
    [
        ("full", "GET", "/syn", "connect_timeout"),
        ("tls", "GET", "/hello", "tls_timeout"),
        ("mute", "GET", "/file", "first_byte_timeout"),
        ("route", "GET", "/route", "first_byte_timeout"),
        ("patient", "GET", "/pool", "total_timeout"),
        ("deaf", "POST", "/deaf", "write_timeout"),
        ("read", "GET", PARTIAL, "read_timeout"),
        ("attempt", "GET", "/attempt", "attempt_timeout"),
        ("total", "GET", "/hold/total", "total_timeout"),
    ],
)
def test_each_step_has_a_time_of_its_own_and_the_log_tells_which_was_over(
    scene: tuple[Daemon, Backend], pool: str, method: str, target: str, reason: str
) -> None:
    body = b"x" * 30_000_000 if method == "POST" else None
    answer = scene[0].ask(target, method, body, {"X-Pool": pool})
    assert (answer.status, answer.body) == (504, b"504 Gateway Timeout\n")
    record = log_record(scene[0], target)
    assert (record["status"], record["reason"], record["attempts"]) == (504, reason, 1)
    assert [failed["reason"] for failed in record["failures"]] == [reason]


@pytest.mark.parametrize("how", ["", "?sized"])
def test_an_answer_that_is_not_over_in_time_is_cut_and_the_client_can_tell(
    scene: tuple[Daemon, Backend], how: str
) -> None:
    daemon, a = scene
    target = f"/stepped/cut{how[1:]}/2{how}"
    with connected(daemon.port) as client:
        client.sendall(get(target, "X-Pool: total"))
        data = read_until(client, b"\r\n\r\n")
        a.go(f"cut{how[1:]}")
        data = read_until(client, b"piece 0", data)
        with contextlib.suppress(ConnectionResetError):
            data = read_to_end(client, data)
    assert data.startswith(b"HTTP/1.1 200")
    assert b"piece 1" not in data
    assert not data.endswith(b"0\r\n\r\n")
    a.wait_for_cancelled(f"GET {target}")
    record = log_record(daemon, target)
    assert (record["status"], record["reason"]) == (200, "total_timeout")


@pytest.mark.parametrize(
    ("target", "framing"),
    [("/upload/small", "Content-Length: 10"), ("/upload/large", "Content-Length: 100000"),
     ("/upload/chunked", "Transfer-Encoding: chunked")],
)  # fmt: skip
def test_a_client_that_takes_too_long_to_send_its_body_is_told_so(
    scene: tuple[Daemon, Backend], target: str, framing: str
) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get(target, "X-Pool: total", framing).replace(b"GET", b"POST", 1))
        client.sendall(b"5\r\nhello\r\n" if "chunked" in framing else b"hello")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 504 ")
    assert log_record(scene[0], target)["reason"] == "total_timeout"


def test_a_client_that_takes_too_long_to_read_its_answer_is_cut(scene: tuple[Daemon, Backend]) -> None:
    daemon, a = scene
    with connected(daemon.port) as client:
        client.sendall(get("/download/80000000", "X-Pool: total"))
        assert log_record(daemon, "/download/80000000")["reason"] == "total_timeout"
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = read_to_end(client)
    assert len(data) < 80_000_000
    a.wait_for_cancelled("GET /download/80000000")


def test_a_place_in_the_queue_ends_with_the_exchange(scene: tuple[Daemon, Backend]) -> None:
    daemon, a = scene
    with connected(daemon.port) as client:
        client.sendall(get("/hold/place", "X-Pool: one"))
        a.wait_for_request("GET /hold/place")
        assert daemon.ask("/late", headers={"X-Pool": "hurried"}).status == 504
        a.go("place")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    record = log_record(daemon, "/late")
    assert (record["reason"], record["attempts"]) == ("total_timeout", 0)
    assert record["queue_seconds"] >= 0.19


def echo_upgraded(listener: socket.socket) -> None:
    """A backend of one connection: switches protocols, and sends back what comes."""
    sock: Any
    sock, _ = listener.accept()
    with sock:
        read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)


def test_a_tunnel_that_is_open_has_all_the_time_in_the_world(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo_upgraded, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        text = f"pools: {{web: {{backends: ['{address}'], timeouts: {{total: 200ms}}}}}}\nroutes: [{{pool: web}}]\n"
        daemon = start_daemon(start, tmp_path, LOGGED % (tmp_path / "access.log") + text)
        with connected(daemon.port) as client:
            client.sendall(get("/chat", "Connection: Upgrade", "Upgrade: websocket"))
            assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.sendall(b"still there?")
            assert read_until(client, b"?") == b"still there?"
    assert log_record(daemon, "/chat")["reason"] == "done"
