"""Small WSGI applications, requests and results for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from wsgiproxy.http1.message import Fields
from wsgiproxy.upstream.inprocess import InProcessUpstream
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

ADDRESS = "app:shop:application"
Environ = dict[str, Any]


class ScriptedBody:
    """A client's body that comes in the given pieces and counts how often it was asked; an error is raised."""

    def __init__(self, *pieces: bytes | Exception, trailers: Fields | None = None) -> None:
        self.pieces = list(pieces)
        self.asked = 0
        self.interrupted = 0
        self._trailers = trailers or []

    def interrupt(self) -> None:
        self.interrupted += 1

    def trailers(self) -> Fields:
        return self._trailers

    def read_piece(self) -> bytes:
        return self.read_some()

    def read_some(self) -> bytes:
        self.asked += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


class Result:
    """What an application returns: scripted pieces (a callable is called), and a count of its ``close()`` calls."""

    def __init__(self, *pieces: Any, on_close: Callable[[], object] = lambda: None) -> None:
        self.pieces = pieces
        self.pulled = 0
        self.closed = 0
        self.on_close = on_close

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            self.pulled += 1
            yield piece() if callable(piece) else piece

    def close(self) -> None:
        self.closed += 1
        self.on_close()


def fail(error: BaseException | None = None) -> Any:
    raise error or RuntimeError("boom")


def app_of(result: Any, status: Any = "200 OK", headers: Any = ()) -> WSGIApplication:
    """An application that starts a response and returns ``result``."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers) if headers == () or isinstance(headers, list) else headers)
        return result  # type: ignore[no-any-return]

    return app


def get(method: str = "GET", fields: Fields | None = None, **more: Any) -> UpstreamRequest:
    return UpstreamRequest(method, "/a%20b?q=1", "shop.example", fields or [], path_info="/a b", query="q=1", **more)


def send(app: WSGIApplication, request: UpstreamRequest | None = None) -> UpstreamResponse:
    return InProcessUpstream(ADDRESS, app).send(request or get())


def read(response: UpstreamResponse) -> bytes:
    return b"".join(response.body)
