"""One side goes away in the middle: the other one hears of it, and nothing is passed off as whole."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.backends import generated
from tests.functional.scene import (
    FRONT,
    Backend,
    Daemon,
    connected,
    get,
    kept,
    log_record,
    read_to_end,
    read_until,
    start_daemon,
)
from tests.processes import wait_until

CONFIG = """\
daemon:
  listeners: ["127.0.0.1:0"]
  access_log: {{path: {folder}/access.log, format: json}}
pools:
  web: {{backends: ["{a}", "{b}"], timeouts: {{connect: 1s, read: 2s, write: 2s}}}}
  fresh: {{backends: ["{a}", "{b}"], timeouts: {{read: 500ms}}, keep_alive: {{max_idle: 0}}}}
routes:
  - {{pool: web}}
  - {{match: {{headers: {{x-pool: fresh}}}}, pool: fresh}}
"""
CANCEL_SECONDS = 2.0  # a client that has closed is waited for a moment, in case it only shut down its sending side
FRESH = {"X-Pool": "fresh"}  # the pool whose connections are all new, so that no attempt counts as a stale one

Scene = tuple[Daemon, Backend, Backend]


@pytest.fixture(scope="module", name="scene")
def fixture_scene(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    a, b = Backend(start_for_module, "a"), Backend(start_for_module, "b")
    folder = tmp_path_factory.mktemp("config")
    return start_daemon(start_for_module, folder, CONFIG.format(folder=folder, a=a.address, b=b.address)), a, b


def seen(scene: Scene, line: str) -> list[str]:
    """Which backends have seen a request, and how often."""
    return [backend.name for backend in scene[1:] for request in backend.requests() if request == line]


def cancelled(scene: Scene, line: str) -> bool:
    """Whether the backend that got a request found its connection closed."""
    return any(line in backend.stats()["cancelled"] for backend in scene[1:])


def wait_for_cancel(scene: Scene, line: str) -> None:
    """Wait until that is so: soon."""
    started = time.monotonic()
    wait_until(lambda: cancelled(scene, line), what=f"{line} to be cancelled")
    assert time.monotonic() - started < CANCEL_SECONDS


def reset(client: socket.socket) -> None:
    """Close with a reset instead of an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["close", "reset"])
def test_a_client_that_leaves_before_the_head_cancels_the_backend(
    scene: Scene, leave: Callable[[socket.socket], None]
) -> None:
    target = f"/hold/{leave.__name__}"
    with connected(scene[0].port) as client:
        client.sendall(get(target))
        wait_until(lambda: seen(scene, f"GET {target}"))
        leave(client)
    wait_for_cancel(scene, f"GET {target}")
    record = log_record(scene[0], target)
    assert (record["status"], record["reason"], record["attempts"]) == (499, "client_disconnected", 1)


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["close", "reset"])
def test_a_client_that_leaves_between_two_pieces_cancels_the_backend(
    scene: Scene, leave: Callable[[socket.socket], None]
) -> None:
    target = f"/stepped/never-{leave.__name__}/3"
    with connected(scene[0].port) as client:
        client.sendall(get(target))
        read_until(client, b"\r\n\r\n")
        leave(client)
    wait_for_cancel(scene, f"GET {target}")
    assert log_record(scene[0], target)["reason"] == "client_disconnected"


def test_a_client_that_leaves_within_a_large_answer_cancels_the_backend(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/download/1000000000"))
        client.recv(65536)
    wait_for_cancel(scene, "GET /download/1000000000")


def test_a_client_that_leaves_within_its_upload_cancels_the_backend(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/upload/cut", "Content-Length: 200000").replace(b"GET", b"POST") + b"x" * 150000)
        wait_until(lambda: seen(scene, "POST /upload/cut"))
    wait_for_cancel(scene, "POST /upload/cut")
    assert seen(scene, "POST /upload/cut") in (["a"], ["b"])


def test_clients_that_leave_take_their_descriptors_with_them(scene: Scene) -> None:
    daemon = scene[0]
    before = daemon.descriptors()
    for number in range(50):
        with connected(daemon.port) as client:
            client.sendall(get(f"/hold/gone-{number}"))
            reset(client)
    wait_until(lambda: daemon.descriptors() <= before, what=f"no more than {before} descriptors")


def test_a_client_that_only_shuts_down_its_sending_side_gets_its_answer(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/half-closed"))
        client.shutdown(socket.SHUT_WR)
        assert b'"/half-closed"' in read_to_end(client)


@pytest.mark.parametrize("where", ["body", "chunked", "reset"])
def test_a_backend_that_dies_within_its_answer_cuts_the_client(scene: Scene, where: str) -> None:
    daemon, *backends = scene
    with kept(daemon.port) as connection:
        connection.request("GET", f"/cut/{where}")
        answer = connection.getresponse()
        assert answer.status == 200
        for backend in backends:
            backend.go("reset")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    assert len(seen(scene, f"GET /cut/{where}")) == 1, "it was asked again in the middle of an answer"
    assert log_record(daemon, f"/cut/{where}")["reason"] == "truncated_body"


def test_a_backend_that_is_killed_within_its_answer_cuts_the_client(start: Start, tmp_path: Path) -> None:
    backend = Backend(start, "a")
    text = f"{FRONT}pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(start, tmp_path, text)
    with connected(daemon.port) as client:
        client.sendall(get("/stepped/s/2"))
        backend.go("s")
        data = read_until(client, b"piece 0")
        backend.kill()
        with contextlib.suppress(ConnectionResetError):
            data += read_to_end(client)
    assert not data.endswith(b"0\r\n\r\n")
    assert daemon.ask("/").status == 502


def test_a_backend_that_falls_silent_within_its_answer_cuts_the_client(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/stepped/silent/2", "X-Pool: fresh"))
        data = read_until(client, b"\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            data += read_to_end(client)
    assert not data.endswith(b"0\r\n\r\n")
    assert log_record(scene[0], "/stepped/silent/2")["reason"] == "read_timeout"


def test_a_get_that_no_backend_answers_is_tried_on_each(scene: Scene) -> None:
    assert scene[0].ask("/cut/head", headers=FRESH).status == 502
    assert seen(scene, "GET /cut/head") == ["a", "b"]
    assert scene[0].ask("/hold/silent", headers=FRESH).status == 504
    assert seen(scene, "GET /hold/silent") == ["a", "b"]


@pytest.mark.parametrize("headers", [{}, FRESH], ids=["kept", "fresh"])
def test_a_post_that_was_sent_is_not_sent_again(scene: Scene, headers: dict[str, str]) -> None:
    kind = "fresh" if headers else "kept"
    for target, status in ((f"/cut/head?{kind}", 502), (f"/hold/silent-{kind}", 504)):
        for _ in range(2):
            assert scene[0].ask("/warm").status == 200  # an idle connection to each backend
        assert scene[0].ask(target, "POST", b"order", headers=headers).status == status
        assert len(seen(scene, f"POST {target}")) == 1


def test_a_post_that_was_never_sent_goes_to_another_backend(start: Start, tmp_path: Path) -> None:
    a, b = Backend(start, "a"), Backend(start, "b")
    text = f"{FRONT}pools: {{web: {{backends: ['{a.address}', '{b.address}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(start, tmp_path, text)
    a.kill()
    answers = [daemon.ask("/", "POST", b"order") for _ in range(4)]
    assert [(answer.status, answer.json()["name"], answer.json()["size"]) for answer in answers] == [(200, "b", 5)] * 4


def test_an_early_refusal_reaches_a_client_that_is_still_sending(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/early", "Content-Length: 50000000").replace(b"GET", b"POST"))
        with contextlib.suppress(ConnectionError):
            for piece in generated(50_000_000):
                client.sendall(piece)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 No\r\n")


def test_an_answer_that_ends_with_its_connection_gets_a_clear_end(scene: Scene) -> None:
    with connected(scene[0].port) as client:
        client.sendall(get("/raw?HTTP/1.1%20200%20OK%0d%0aConnection:%20close%0d%0a%0d%0awhole"))
        assert b"whole" in read_until(client, b"0\r\n\r\n")
