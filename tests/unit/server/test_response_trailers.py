from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loopback import serving

Headers = list[tuple[Any, Any]]


class Body:
    """An iterable without a length that notes its close."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces

    def close(self) -> None:
        self.closed += 1


def app_of(body: Any, headers: Headers | None = None) -> Callable[..., Any]:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", headers if headers is not None else [])
        return body

    return app


class Trailing(Body):
    """A body with trailers."""

    trailer_names = ("X-Sum", "X-Count")

    def trailers(self) -> Headers:
        assert not self.closed
        return [("X-Sum", "5"), ("Content-Length", "9"), ("X-Count", "2")]


def raw(app: Any, version: str = "1.1") -> bytes:
    with serving(app) as running:
        client = running.client()
        client.send(f"GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return client.rest()


def test_trailers_stand_behind_the_last_chunk_and_are_announced() -> None:
    head, _, body = raw(app_of(Trailing(b"he", b"llo"))).partition(b"\r\n\r\n")
    assert b"\r\nTrailer: X-Sum, X-Count\r\n" in head
    assert body == b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 5\r\nX-Count: 2\r\n\r\n"


def test_trailers_are_dropped_where_nothing_is_chunked() -> None:
    for answer in (raw(app_of(Trailing(b"hello")), "1.0"), raw(app_of(Trailing(b"hello"), [("Content-Length", "5")]))):
        assert b"Trailer" not in answer
        assert answer.endswith(b"\r\n\r\nhello")


def test_illegal_trailers_are_never_sent() -> None:
    class Evil(Body):
        def trailers(self) -> Headers:
            return [("X", "a\r\nY: z")]

    with serving(app_of(Evil(b"x"))) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            client.answer()
