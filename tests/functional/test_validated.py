"""wsgiref.validate on both sides of ProxyApp: around it as an application, and around the application behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from wsgiref.validate import validator

import pytest

from tests.loopback import Serving, serving
from wsgiproxy import ProxyApp

TEXT = """
pools: {web: {backends: ["app:tests.functional.validated_app:application"]}}
routes:
  - {match: {path: /moved}, redirect: {path: /new}}
  - {match: {path: /fixed}, respond: {status: 200, body: fixed}}
  - {match: {path: /none}, respond: {status: 204}}
  - {match: {path: /app}, pool: web, strip_prefix: true}
"""


@pytest.fixture(name="running")
def fixture_running(tmp_path: Path) -> Iterator[Serving]:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text(TEXT)
    app = ProxyApp.from_file(str(path))
    with serving(validator(app)) as running:
        yield running
    app.close()


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", "/app/x", b"", (200, b"nothing")),
        ("HEAD", "/app/x", b"", (200, b"")),
        ("POST", "/app/x", b"hello", (200, b"hello")),
        ("POST", "/app/x", b"x" * 200_000, (200, b"x" * 200_000)),
        ("GET", "/fixed", b"", (200, b"fixed")),
        ("GET", "/none", b"", (204, b"")),
        ("GET", "/moved", b"", (302, b"")),
        ("GET", "/nowhere", b"", (404, b"404 Not Found\n")),
        ("GET", "/%zz", b"", (400, b"400 Bad Request\n")),
    ],
)
def test_the_validator_finds_no_fault_on_either_side(
    running: Serving, method: str, target: str, body: bytes, expected: tuple[int, bytes]
) -> None:
    client = running.client()
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    client.send(f"{method} {target} HTTP/1.1\r\nHost: a.example\r\n{length}\r\n".encode() + body)
    answer = client.answer(method)
    assert (answer.status, answer.body) == expected
