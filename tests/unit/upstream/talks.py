"""What the tests of the HTTP upstream share: an upstream to a scripted backend, requests, and their bodies."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from tests.loopback import driver
from tests.scripted import Backend, Script, backend
from tests.unit.upstream.apps import ScriptedBody
from wsgiproxy.config import schema
from wsgiproxy.http1.message import CHUNKED, Framing
from wsgiproxy.routing.build import merged
from wsgiproxy.upstream.connector import Connector
from wsgiproxy.upstream.http import HttpUpstream
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

AUTHORITY = "backend.example"
HOST = "shop.example"


class Counting(Connector):
    """A connector that counts."""

    dialled = 0
    given_back = 0

    def dial(self, *how: Any) -> Any:
        self.dialled += 1
        return super().dial(*how)

    def give_back(self, stream: Any) -> None:
        self.given_back += 1
        super().give_back(stream)


class Upstream(HttpUpstream):
    """An upstream to a scripted backend, with the backend and the connector at hand."""

    def __init__(self, server: Backend, duplex: bool) -> None:
        self.server = server
        self.connector = Counting(server.address, functools.partial(driver().connect_tcp, server.host, server.port))
        self.connector._wary_until = 0.0  # it knows the backend for long
        self.timeouts = schema.Timeouts()
        super().__init__(AUTHORITY, self.connector, driver().spawn if duplex else None)

    def configure(self, block: schema.Pool) -> None:
        self.timeouts = merged(schema.Timeouts(), block.timeouts)
        super().configure(block)

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        request.timeouts = self.timeouts
        return super().send(request, fresh=fresh)


def block(host: Any = "client", max_idle: int = 10, proxy_protocol: Any = None, **timeouts: float) -> schema.Pool:
    """A pool's block."""
    return schema.Pool(
        backends=(schema.Backend(address="http://ignored"),),
        timeouts=schema.OwnTimeouts(**timeouts),
        keep_alive=schema.KeepAlive(max_idle=max_idle),
        host=host,
        proxy_protocol=proxy_protocol,
    )


@contextlib.contextmanager
def talking(*scripts: Script, duplex: bool = False, **options: Any) -> Iterator[Upstream]:
    """A scripted backend, and an upstream to it with a block of these options, for the time of a block.

    ``duplex`` lets it read an answer while it sends a body.
    """
    with backend(*scripts) as server:
        talk = Upstream(server, duplex)
        talk.configure(block(**options))
        try:
            yield talk
        finally:
            talk.close()


def get(method: str = "GET", **more: Any) -> UpstreamRequest:
    return UpstreamRequest(method, "/x?y=1", HOST, [("Accept", "*/*")], **more)


def post(*pieces: Any, chunked: bool = False, size: int | None = None, **more: Any) -> UpstreamRequest:
    """A request with a body that comes in the given pieces; an error is raised, a function called first."""
    if size is None:
        size = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    framing = CHUNKED if chunked else Framing(length=size)
    return get("POST", framing=framing, body=Calling(*pieces), **more)


class Calling(ScriptedBody):
    """A body in which a function among the pieces is called and skipped."""

    def read_some(self) -> bytes:
        while self.pieces and callable(self.pieces[0]):
            self.pieces.pop(0)()
        return super().read_some()


def read(response: UpstreamResponse) -> bytes:
    return b"".join(response.body)
