"""Bodies pass through piece by piece: large ones in little memory, slow ones without delay."""

from __future__ import annotations

import http.client
import socket

import pytest

from tests.conftest import Start
from tests.functional.backends import PIECE, chunk, digest_of, generated
from tests.functional.scene import FRONT, Backend, Daemon, connected, get, kept, read_until, start_daemon

SIZE = 1024 * 1024 * 1024
GROWTH = 10 * 1024 * 1024  # bytes by which the daemon may grow

Scene = tuple[Daemon, Backend]


@pytest.fixture(scope="module")
def expected() -> tuple[str, int]:
    """The digest of what is sent, and its size."""
    return digest_of(generated(SIZE))


@pytest.fixture(name="scene")
def fixture_scene(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    backend = Backend(start, "a")
    text = f"{FRONT}pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(start, tmp_path_factory.mktemp("config"), text)
    daemon.ask("/warm")
    return daemon, backend


def grown(daemon: Daemon, before: int) -> int:
    """How many bytes more than ``before`` the daemon has ever held."""
    growth = daemon.memory("VmHWM") - before
    print(f"the daemon held at most {growth / 1024 / 1024:.1f} MB more")
    return growth


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_a_large_upload_arrives_whole_and_costs_no_memory(
    scene: Scene, expected: tuple[str, int], chunked: bool
) -> None:
    daemon, _ = scene
    before = daemon.memory("VmRSS")
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {SIZE}"
    with connected(daemon.port) as client:
        client.sendall(get("/upload", framing).replace(b"GET", b"POST"))
        for piece in generated(SIZE):
            client.sendall(chunk(piece) if chunked else piece)
        client.sendall(b"0\r\n\r\n" if chunked else b"")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        told = answer.read().decode()
    assert f'"sha256": "{expected[0]}", "size": {SIZE}' in told
    assert grown(daemon, before) < GROWTH


@pytest.mark.parametrize("query", ["", "?chunked"], ids=["sized", "chunked"])
def test_a_large_download_arrives_whole_and_costs_no_memory(
    scene: Scene, expected: tuple[str, int], query: str
) -> None:
    daemon, _ = scene
    before = daemon.memory("VmRSS")
    with kept(daemon.port) as connection:
        connection.request("GET", f"/download/{SIZE}{query}")
        answer = connection.getresponse()
        assert digest_of(iter(lambda: answer.read(len(PIECE)), b"")) == expected
    assert grown(daemon, before) < GROWTH


def test_a_client_that_does_not_read_holds_the_backend_back(scene: Scene) -> None:
    daemon, backend = scene
    before = daemon.memory("VmRSS")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", daemon.port))
        client.sendall(get(f"/download/{SIZE}"))
        read_until(client, b"\r\n\r\n")
        for _ in range(50):
            daemon.ask("/others")  # are served meanwhile
    assert grown(daemon, before) < GROWTH
    backend.wait_for_cancelled(f"GET /download/{SIZE}")


@pytest.mark.parametrize("query", ["", "?sized"], ids=["chunked", "sized"])
def test_slow_pieces_are_passed_on_as_they_come_and_the_head_before_them(scene: Scene, query: str) -> None:
    daemon, backend = scene
    with connected(daemon.port) as client:
        client.sendall(get(f"/stepped/s/3{query}"))
        data = read_until(client, b"\r\n\r\n")
        assert b"text/event-stream" in data and b"piece" not in data
        for number in range(3):
            assert b"piece %d" % number not in data
            backend.go("s")
            data = read_until(client, b"piece %d\n\n" % number, data)
        if not query:
            read_until(client, b"0\r\n\r\n", data)


def test_a_slow_chunked_upload_is_passed_on_as_it_comes(scene: Scene) -> None:
    daemon, backend = scene
    with connected(daemon.port) as client:
        client.sendall(get("/hold/upload", "Transfer-Encoding: chunked").replace(b"GET", b"POST") + chunk(b"one"))
        backend.wait_for_request("POST /hold/upload")  # before the client has sent it all
        client.sendall(chunk(b"two") + b"0\r\n\r\n")
        backend.go("upload")
        assert b'"size": 6' in read_until(client, b"connection")


def test_one_hundred_continue_is_asked_for_only_once_the_body_is_wanted(scene: Scene) -> None:
    daemon, backend = scene
    with connected(daemon.port) as client:
        head = get("/upload", "Content-Length: 4", "Expect: 100-continue").replace(b"GET", b"POST")
        client.sendall(head)
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert b'"size": 4' in read_until(client, b"connection")
    assert backend.requests()[-1] == "POST /upload"


def test_a_small_upload_keeps_no_backend_waiting(scene: Scene) -> None:
    daemon, backend = scene
    with connected(daemon.port) as client:
        client.sendall(get("/upload/small", "Content-Length: 6").replace(b"GET", b"POST") + b"one")
        daemon.ask("/meanwhile")
        assert "POST /upload/small" not in backend.requests()
        client.sendall(b"two")
        assert b'"size": 6' in read_until(client, b"connection")
