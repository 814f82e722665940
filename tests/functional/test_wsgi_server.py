"""The front server with clients that are not ours (http.client, curl) and applications held to PEP 3333."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from wsgiref.validate import validator

import gevent
import pytest

from tests.loopback import Serving, serving
from wsgiproxy.config import schema

T = TypeVar("T")

MEGABYTE = 1_000_000
PIECE = bytes(range(256)) * 400  # 100 kB that show when they are cut or mixed


def elsewhere(function: Callable[[], T]) -> T:
    """Run a blocking client in a thread, while the server has the hub."""
    result: T = gevent.get_hub().threadpool.apply(function)
    return result


def resident() -> int:
    """Bytes of memory that this process holds (proc(5), /proc/pid/statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect(running: Serving) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*running.address, timeout=20)


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Answers with what it was sent, piece by piece."""
    body = environ["wsgi.input"]
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("X-Method", environ["REQUEST_METHOD"])])
    while piece := body.read(8192):
        yield piece


def digest(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answers with the digest of what it was sent."""
    found = hashlib.md5()
    while piece := environ["wsgi.input"].read(65536):
        found.update(piece)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [found.hexdigest().encode()]


def reader(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Reads its input in every way that PEP 3333 has, and writes to the error stream."""
    body = environ["wsgi.input"]
    lines = [body.readline(), body.read(2), *body.readlines(), *body]
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"|".join(lines)]


def empty(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("204 No Content", [])
    return []


def writer(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    write(b"abc")
    return [b"def"]


def exchange(running: Serving, method: str, body: bytes | None = None, *, step: int = 0) -> tuple[int, bytes]:
    """Two exchanges on one connection, which must be the same; a ``step`` sends the body in chunks of that size."""

    def both() -> list[tuple[int, bytes]]:
        connection = connect(running)
        answers = []
        for _ in range(2):
            if step and body is not None:
                pieces = (body[i : i + step] for i in range(0, len(body), step))
                connection.request(method, "/a?b", pieces, encode_chunked=True)
            else:
                connection.request(method, "/a?b", body)
            with connection.getresponse() as response:
                answers.append((response.status, response.read()))
        connection.close()
        return answers

    first, second = elsewhere(both)
    assert first == second
    return first


@pytest.mark.parametrize("body", [b"one\ntwo\nthree", b"", b"\n\n", b"x" * 100_000 + b"\n" + b"y" * 100_000])
@pytest.mark.parametrize("step", [0, 5, 70_000])
def test_the_validator_finds_no_fault_with_a_body_that_is_read(body: bytes, step: int) -> None:
    with serving(validator(reader)) as running:
        status, answer = exchange(running, "POST", body, step=step)
        assert (status, answer.replace(b"|", b"")) == (200, body)


@pytest.mark.parametrize(
    ("app", "method", "expected"),
    [
        (reader, "GET", (200, b"|")), (echo, "GET", (200, b"")), (echo, "HEAD", (200, b"")),
        (reader, "HEAD", (200, b"")), (empty, "GET", (204, b"")), (empty, "HEAD", (204, b"")),
        (empty, "DELETE", (204, b"")),
        (writer, "GET", (200, b"abcdef")), (writer, "HEAD", (200, b"")), (writer, "OPTIONS", (200, b"abcdef")),
    ],
)  # fmt: skip
def test_the_validator_finds_no_fault_without_a_body(app: Any, method: str, expected: tuple[int, bytes]) -> None:
    with serving(validator(app)) as running:
        assert exchange(running, method) == expected


def test_the_validator_is_awake() -> None:
    def wrong(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])  # the validator misses a Content-Type
        return [b""]

    with serving(validator(wrong)) as running:
        client = running.client()
        assert client.get().status == 500


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives_whole_and_does_not_gather(chunked: bool) -> None:
    count = 2000

    def upload() -> tuple[str, int]:
        connection = connect(running)
        headers = {} if chunked else {"Content-Length": str(count * len(PIECE))}
        connection.request("PUT", "/", (PIECE for _ in range(count)), headers, encode_chunked=chunked)
        with connection.getresponse() as response:
            answer = response.read().decode()
        connection.close()
        return answer, resident()

    with serving(digest) as running:
        exchange(running, "PUT", PIECE)
        before = resident()
        answer, after = elsewhere(upload)
        assert answer == hashlib.md5(PIECE * count).hexdigest()
        assert after - before < 10 * MEGABYTE


def test_a_large_download_arrives_whole_and_does_not_gather() -> None:
    count = 2000

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PIECE for _ in range(count))

    def download() -> tuple[str, int]:
        connection = connect(running)
        connection.request("GET", "/")
        found = hashlib.md5()
        with connection.getresponse() as response:
            while piece := response.read(65536):
                found.update(piece)
        connection.close()
        return found.hexdigest(), resident()

    with serving(app) as running:
        before = resident()
        answer, after = elsewhere(download)
        assert answer == hashlib.md5(PIECE * count).hexdigest()
        assert after - before < 10 * MEGABYTE


def test_a_client_that_sends_all_of_a_refused_body_still_reads_the_answer() -> None:
    def upload() -> tuple[int, bytes]:
        connection = connect(running)
        connection.request("POST", "/", bytes(20 * MEGABYTE))
        with connection.getresponse() as response:
            answer = response.status, response.read()
        connection.close()
        return answer

    with serving(echo, limits=schema.Limits(body_bytes=MEGABYTE)) as running:
        assert elsewhere(upload)[0] == 413


class TestCurl:
    """What curl makes of it."""

    @pytest.fixture
    def curl(self, need: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
        path = need("curl")

        def run(*arguments: str, body: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            argv = [path, "-sS", "--noproxy", "*", "--max-time", "20", *arguments]
            return elsewhere(lambda: subprocess.run(argv, input=body, capture_output=True, check=False))

        return run

    @pytest.mark.parametrize(
        "options",
        [
            ["--data-binary", "@-"], ["-T", "-"], ["--http1.0", "--data-binary", "@-"],
            ["-H", "Expect: 100-continue", "--data-binary", "@-"], ["-H", "Expect: 100-continue", "-T", "-"],
        ],
    )  # fmt: skip
    def test_bodies_go_both_ways(self, curl: Any, options: list[str]) -> None:
        body = PIECE * 20
        with serving(echo) as running:
            url = "http://{}:{}/".format(*running.address)
            ran = curl(*options, url, body=body)
            assert (ran.returncode, ran.stderr, ran.stdout == body) == (0, b"", True)

    def test_it_waits_for_100_continue_and_gets_it(self, curl: Any) -> None:
        with serving(echo) as running:
            url = "http://{}:{}/".format(*running.address)
            expect = ["--expect100-timeout", "15", "-H", "Expect: 100-continue", "--data-binary", "@-"]
            ran = curl("-v", *expect, url, body=b"hello")
            assert ran.stdout == b"hello"
            assert b"< HTTP/1.1 100 Continue" in ran.stderr

    def test_it_need_not_send_a_body_that_nobody_reads(self, curl: Any) -> None:
        with serving(empty) as running:
            url = "http://{}:{}/".format(*running.address)
            expect = ["--expect100-timeout", "15", "-H", "Expect: 100-continue", "--data-binary", "@-"]
            ran = curl("-v", *expect, url, body=bytes(5 * MEGABYTE))
            assert ran.returncode == 0
            assert b"< HTTP/1.1 204 No Content" in ran.stderr
            assert b"100 Continue" not in ran.stderr

    def test_one_connection_serves_several_requests(self, curl: Any) -> None:
        with serving(reader) as running:
            url = "http://{}:{}/".format(*running.address)
            ran = curl("-w", " %{http_code} %{num_connects}\n", "-d", "x", *[url] * 3)
            assert ran.stdout.splitlines() == [b"x| 200 1", b"x| 200 0", b"x| 200 0"]

    def test_head_has_no_body_to_wait_for(self, curl: Any) -> None:
        with serving(echo) as running:
            ran = curl("-I", "http://{}:{}/".format(*running.address))
            assert ran.stdout.startswith(b"HTTP/1.1 200 OK\r\n")

    def test_a_cut_is_an_error(self, curl: Any) -> None:
        def failing(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"begun"
            raise ValueError

        with serving(failing) as running:
            url = "http://{}:{}/".format(*running.address)
            assert curl(url).returncode == 18  # partial file
            assert curl("--http1.0", url).returncode == 56  # failure in receiving: the reset
