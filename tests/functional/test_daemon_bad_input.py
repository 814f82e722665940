"""What is not HTTP/1.1 gets its status and a closed connection, and never reaches the other side."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.conftest import Start
from tests.functional.scene import Backend, Daemon, connected, get, read_to_end, read_until, start_daemon

CONFIG = """\
daemon:
  listeners: [{{address: "127.0.0.1:0", limits: {{body_bytes: 1000}}, timeouts: {{header: 500ms, body: 500ms}}}}]
  access_log: {{format: "off"}}
pools:
  web: {{backends: ["{address}"], timeouts: {{read: 2s}}}}
routes: [{{pool: web}}]
"""
POST = b"POST /smuggled HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
BAD: list[tuple[str, int, bytes]] = [
    ("no request", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("two words", 400, b"GET /smuggled\r\nHost: a\r\n\r\n"),
    ("two spaces", 400, b"GET  /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("bare line feeds", 400, b"GET /smuggled HTTP/1.1\nHost: a\n\n"),
    ("control character", 400, b"GET /smug\x01gled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no host", 400, b"GET /smuggled HTTP/1.1\r\n\r\n"),
    ("two hosts", 400, b"GET /smuggled HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("space before the colon", 400, b"GET /smuggled HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("folded header", 400, b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    ("NUL in a value", 400, b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-A: b\0\r\n\r\n"),
    ("length and chunked", 400, CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", 400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("list of lengths", 400, POST + b"Content-Length: 5, 6\r\n\r\nhello!"),
    ("signed length", 400, POST + b"Content-Length: +5\r\n\r\nhello"),
    ("chunked not last", 400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", 400, CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n"),
    ("other coding", 501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("HTTP/2", 505, b"GET /smuggled HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", 400, b"GET /smuggled\r\n\r\n"),
    ("long target", 414, b"GET /smuggled" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("endless target", 414, b"GET /smuggled" + b"x" * 40000),
    ("long header", 431, b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 40000 + b"\r\n\r\n"),
    ("many headers", 431, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 200 + b"\r\n"),
    ("large body", 413, POST + b"Content-Length: 1001\r\n\r\n"),
    ("slow head", 408, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n"),
]
BAD_BODIES: list[tuple[str, int, bytes]] = [
    ("signed chunk size", 400, CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n"),
    ("hex prefix", 400, CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    ("no end of chunk", 400, CHUNKED + b"\r\n5\r\nhelloGET / HTTP/1.1\r\n\r\n"),
    ("large in chunks", 413, CHUNKED + b"\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"),
    ("slow body", 408, POST + b"Content-Length: 10\r\n\r\nhello"),
]
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
OK = "HTTP/1.1 200 OK\r\n"
BAD_ANSWERS = [
    ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n"),
    ("bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("two lengths", OK + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    ("length and chunked", OK + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bad length", OK + "Content-Length: 2x\r\n\r\nok"),
    ("folded header", OK + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
    ("other coding", OK + "Transfer-Encoding: gzip\r\n\r\nok"),
    ("unasked switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"),
    ("bad status", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("endless interim answers", "HTTP/1.1 100 Continue\r\n\r\n" * 100 + OK + "Content-Length: 2\r\n\r\nok"),
]

Scene = tuple[Daemon, Backend]


@pytest.fixture(scope="module", name="scene")
def fixture_scene(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    backend = Backend(start_for_module, "a")
    folder = tmp_path_factory.mktemp("config")
    return start_daemon(start_for_module, folder, CONFIG.format(address=backend.address)), backend


def refused(daemon: Daemon, data: bytes) -> int:
    """Send bytes and what would be another request; the status of the one answer, after which the connection ends."""
    with connected(daemon.port) as client:
        client.sendall(data)
        answer = read_until(client, b"\r\n\r\n")
        client.sendall(NEXT)
        answer = read_to_end(client, answer)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in answer.lower()
    return int(answer.split()[1])


@pytest.mark.parametrize(("status", "data"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_request_is_refused_and_no_backend_sees_it(scene: Scene, status: int, data: bytes) -> None:
    daemon, backend = scene
    assert refused(daemon, data) == status
    assert not any("smug" in line for line in backend.requests())


@pytest.mark.parametrize(("status", "data"), [case[1:] for case in BAD_BODIES], ids=[case[0] for case in BAD_BODIES])
def test_a_bad_body_is_refused_and_nothing_behind_it_is_a_request(scene: Scene, status: int, data: bytes) -> None:
    daemon, backend = scene
    before = backend.requests()
    assert refused(daemon, data) == status
    assert set(backend.requests()[len(before) :]) <= {"POST /smuggled"}


def test_good_requests_before_a_bad_one_are_answered(scene: Scene) -> None:
    daemon, backend = scene
    with connected(daemon.port) as client:
        client.sendall(get("/good/1") + get("/good/2") + b"BAD\r\n\r\n" + NEXT)
        answers = read_to_end(client)
    assert [answers.count(word) for word in (b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 ")] == [2, 1, 3]
    assert backend.requests()[-2:] == ["GET /good/1", "GET /good/2"]


@pytest.mark.parametrize("answer", [case[1] for case in BAD_ANSWERS], ids=[case[0] for case in BAD_ANSWERS])
def test_a_bad_answer_becomes_a_502(scene: Scene, answer: str) -> None:
    daemon, _ = scene
    answered = daemon.ask(f"/raw?{quote(answer, safe='')}")
    assert answered.status == 502
    assert answered.body == b"502 Bad Gateway\n"


def test_what_a_backend_sends_behind_its_answer_belongs_to_no_other_request(scene: Scene) -> None:
    daemon, _ = scene
    stray = OK + "Content-Length: 5\r\n\r\nfirst" + OK + "Content-Length: 5\r\n\r\nstray"
    for _ in range(5):
        assert daemon.ask(f"/raw?{quote(stray, safe='')}").body == b"first"
        assert daemon.ask("/next").json()["target"] == "/next"


def test_the_daemon_has_no_defect_to_report(scene: Scene) -> None:
    assert "Traceback" not in scene[0].process.output()
