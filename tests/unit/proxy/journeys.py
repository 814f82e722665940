"""What the tests of this room share: environs, backends that follow a script, and a host that calls the application."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication

from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool
from wsgiproxy.proxy.app import ProxyApp
from wsgiproxy.proxy.client import client_of
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.request import head_of, upstream_request
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.path import normalize_path
from wsgiproxy.routing.table import Route, RouteMatch, RoutingTable
from wsgiproxy.upstream.inprocess import InProcessUpstream
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

Environ = dict[str, Any]


def environ_of(method: str = "GET", target: str = "/", body: bytes = b"", **more: Any) -> Environ:
    """An environ as a foreign server would make it; a key given as None is left out."""
    raw, _, query = target.partition("?")
    path = unquote_to_bytes(raw).decode("latin-1")
    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query, "RAW_URI": target,
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "shop.example", "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    } | ({"CONTENT_LENGTH": str(len(body))} if body else {}) | more  # fmt: skip
    return {key: value for key, value in environ.items() if value is not None}


class FakeBody:
    """A backend's body: pieces, an error among them is raised; what was asked of it is counted."""

    def __init__(self, pieces: Iterable[Any], trailers: Fields | None = None) -> None:
        self.pieces = list(pieces)
        self.closed = 0
        self._trailers = trailers or []
        self.stream: Any = object()  # what is taken over

    def __iter__(self) -> FakeBody:
        return self

    def __next__(self) -> bytes:
        if not self.pieces or self.closed:
            raise StopIteration
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        return piece  # type: ignore[no-any-return]

    def is_ready(self) -> bool:
        return True

    def is_over(self) -> bool:
        return not self.pieces

    def trailers(self) -> Fields:
        return self._trailers

    def take_over(self) -> tuple[Any, bytes]:
        return self.stream, b"early"

    def close(self) -> None:
        self.closed += 1


class FakeUpstream:
    """A backend that plays one step per attempt: an error to raise, or an answer's pieces.

    It reads the request's body first, as far as ``reads`` bytes (None: all of it).
    """

    def __init__(self, *steps: Any, reads: int | None = None) -> None:
        self.steps = list(steps)
        self.reads = reads
        self.played: list[tuple[bool, Any]] = []  # ``fresh`` and the step of each send; several fakes may share one
        self.requests: list[UpstreamRequest] = []
        self.fresh: list[bool] = []
        self.received: list[bytes] = []
        self.bodies: list[FakeBody] = []
        self.status, self.reason, self.fields = 200, "OK", [("Content-Type", "text/plain")]
        self.trailers: Fields = []

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        self.requests.append(request)
        self.fresh.append(fresh)
        received = b""
        while request.body is not None and (self.reads is None or len(received) < self.reads):
            piece = request.body.read_some()
            if not piece:
                break
            received += piece
        self.received.append(received)
        step = self.steps.pop(0) if self.steps else [b"ok"]
        self.played.append((fresh, step))
        if isinstance(step, BaseException):
            raise step
        self.bodies.append(FakeBody(step, self.trailers))
        return UpstreamResponse(self.status, self.reason, self.fields, None, self.bodies[-1])

    def configure(self, block: schema.Pool) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def idle_connections(self) -> int:
        return 0

    def check_connect(self, timeout: float) -> None:
        """Nothing."""

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        return self.send(request)


def pool_table(
    *upstreams: Any,
    attempts: int = 3,
    routes: tuple[schema.Route, ...] = (schema.Route(pool="web"),),
    forwarding: schema.Forwarding = schema.Forwarding(),  # noqa: B008 - frozen
    retries: dict[str, Any] | None = None,
    max_in_flight: int | None = None,
    **block: Any,
) -> RoutingTable:
    """A table with one pool, ``web``, of these upstreams: fakes, or WSGI applications; nothing waits but by choice."""
    made = {
        f"http://b{index}:1": upstream if hasattr(upstream, "send") else InProcessUpstream(f"app:a{index}", upstream)
        for index, upstream in enumerate(upstreams)
    }
    backends = tuple(schema.Backend(address=address, max_in_flight=max_in_flight) for address in made)
    policy = schema.Retries(**{"attempts": attempts, "backoff": 0, **(retries or {})})
    pool = schema.Pool(backends=backends, retries=policy, **block)
    config = schema.Config(forwarding=forwarding, pools={"web": pool} if made else {}, routes=routes)
    return build_table(config, None, made.__getitem__)


class FakeDriver:
    """A driver that spawns nothing."""

    def spawn(self, function: Callable[[], None], name: str) -> Any:
        raise AssertionError("not in these tests")


def outgoing(
    environ: dict[str, Any], strip: int = 0, forwarding: schema.Forwarding | None = None, **route: Any
) -> UpstreamRequest:
    """What goes out where a route matched ``strip`` elements of the path, and strips them."""
    block = schema.Route(pool="web", strip_prefix=strip > 0, **route)
    table = pool_table(FakeUpstream(), forwarding=forwarding or schema.Forwarding())
    exchange = Exchange(environ, None)
    head = exchange.head = head_of(environ)
    if table.trusted_proxies:
        exchange.client = client_of(environ, head, table)
    path = normalize_path(head.path)
    assert path is not None
    match = RouteMatch(Route("web", block, table.pools["web"]), strip)
    return upstream_request(exchange, table, head, path, match)


class FakeRuntime:
    """A runtime as ``ProxyApp`` sees it."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self.driver = FakeDriver()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def backends_of(table: RoutingTable) -> tuple[Backend, ...]:
    return table.pools["web"].backends


def pool_of(table: RoutingTable) -> Pool:
    return table.pools["web"]


class Journey:
    """A ``ProxyApp`` over a table, and what a host server sees of it; ``logged`` are the ended exchanges."""

    def __init__(self, table: RoutingTable, fallback: WSGIApplication | None = None) -> None:
        self.table = table
        self.logged: list[Exchange] = []
        runtime: Any = FakeRuntime(table)
        self.app = ProxyApp(runtime, fallback=fallback, log=self.logged.append)

    @property
    def in_flight(self) -> list[int]:
        return [backend.in_flight for backend in backends_of(self.table)]

    @property
    def log(self) -> tuple[int, str, int, int]:
        """Status, reason, attempts and bytes of the only exchange."""
        (exchange,) = self.logged
        return exchange.status, exchange.reason, exchange.attempts, exchange.bytes_sent

    def get(self, target: str = "/", **more: Any) -> Told:
        return tell(self.app, environ_of("GET", target, **more))

    def post(self, body: bytes = b"hello", **more: Any) -> Told:
        return tell(self.app, environ_of("POST", "/", body, **more))


class Told:
    """What a host server was told: ``error`` is what the body's iteration raised."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[str, str]]]] = []
        self.body = b""
        self.error: Exception | None = None

    def start_response(self, status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., Any]:
        self.calls.append((status, fields))
        return lambda data: None

    @property
    def status(self) -> str:
        ((status, _),) = self.calls
        return status

    @property
    def fields(self) -> dict[str, str]:
        ((_, fields),) = self.calls
        return dict(fields)


def tell(app: WSGIApplication, environ: Environ) -> Told:
    """Call the application as a host server does: everything is read, and closed in any case."""
    told = Told()
    result: Any = app(environ, told.start_response)
    assert told.calls, "start_response must be called before the application returns"
    try:
        for piece in result:
            told.body += piece
    except Exception as error:  # noqa: BLE001 - the test looks at it
        told.error = error
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return told
