"""``read_piece``: what a body object hands over of a large body, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loopback import Client, serving
from wsgiproxy.errors import TruncatedBodyError
from wsgiproxy.transport.splice import WORTH

LONG = b"y" * WORTH


class Body:
    """A body whose first piece is iterated; the others may be had either way, and are noted where they were."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.pieces:
            yield self._next()

    def read_piece(self) -> bytes:
        self.read += 1
        return self._next() if self.pieces else b""

    def _next(self) -> bytes:
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece  # type: ignore[no-any-return]


def app_of(body: Body, length: int | None) -> Callable[..., Any]:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Body:
        start_response("200 OK", [] if length is None else [("Content-Length", str(length))])
        return body

    return app


def ask(body: Body, length: int | None, version: str = "1.1", method: str = "GET") -> tuple[Client, bytes]:
    """The client, and everything that came until the end of its connection."""
    with serving(app_of(body, length)) as running:
        client = running.client()
        client.send(f"{method} / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return client, client.rest().partition(b"\r\n\r\n")[2]


def test_a_body_that_is_still_long_is_read_in_pieces() -> None:
    body = Body(b"a", LONG, b"b")
    assert ask(body, WORTH + 2)[1] == b"a" + LONG + b"b"
    assert body.read == 2


def test_a_short_body_and_the_rest_of_one_are_iterated() -> None:
    body = Body(b"a", b"b" * (WORTH - 1))
    assert ask(body, WORTH)[1] == b"a" + b"b" * (WORTH - 1)
    assert body.read == 0


def test_a_chunked_body_is_iterated() -> None:
    body = Body(LONG, LONG)
    ask(body, None)
    assert body.read == 0


def test_a_body_that_ends_with_the_connection_is_read_in_pieces() -> None:
    body = Body(b"a", LONG, b"b")
    assert ask(body, None, "1.0")[1] == b"a" + LONG + b"b"
    assert body.read == 3


def test_nothing_is_read_for_head() -> None:
    body = Body(b"a", LONG)
    assert ask(body, WORTH + 1, method="HEAD")[1] == b""
    assert body.read == 0


def test_a_piece_beyond_the_announced_length_is_cut_to_it() -> None:
    body = Body(b"a", LONG + b"more")
    assert ask(body, WORTH + 1)[1] == b"a" + LONG


def test_pieces_that_end_early_are_a_cut() -> None:
    body = Body(b"a", LONG)
    assert ask(body, 2 * WORTH)[1] == b"a" + LONG
    assert body.read == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_error_between_two_pieces_is_a_cut(version: str) -> None:
    body = Body(b"a", LONG, TruncatedBodyError("cut"))
    if version == "1.1":
        assert ask(body, 3 * WORTH)[1] == b"a" + LONG
    else:
        with pytest.raises(ConnectionResetError):
            ask(body, None, version)
