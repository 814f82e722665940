"""A scripted upstream, and pools of backends that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.pool import Pool
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse


class ScriptedBody:
    """A body of some pieces that knows whether it was closed, and how many were asked for."""

    def __init__(self, pieces: Iterable[bytes | Exception] = ()) -> None:
        self.closed = False
        self.taken = 0
        self._pieces = iter(pieces)

    def __iter__(self) -> ScriptedBody:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.taken += 1
        if isinstance(piece, Exception):
            raise piece
        return piece

    def is_ready(self) -> bool:
        return True

    def is_over(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class ScriptedUpstream:
    """Answers probes as ``answer`` says: a status, or an error to raise."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answer: int | Exception | Callable[[], int] = 200
        self.fields: Fields = []
        self.pieces: Iterable[bytes | Exception] = ()
        self.probes: list[tuple[UpstreamRequest, float]] = []
        self.connects: list[float] = []
        self.bodies: list[ScriptedBody] = []
        self.blocks: list[schema.Pool] = []
        self.closed = False

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        raise AssertionError("no test here sends a request")

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        self.probes.append((request, timeout))
        status = self._answer()
        self.bodies.append(ScriptedBody(self.pieces))
        return UpstreamResponse(status, "", self.fields, None, self.bodies[-1])

    def check_connect(self, timeout: float) -> None:
        self.connects.append(timeout)
        self._answer()

    def idle_connections(self) -> int:
        return 0

    def configure(self, block: schema.Pool) -> None:
        self.blocks.append(block)

    def close(self) -> None:
        self.closed = True

    def _answer(self) -> int:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


CHECK = schema.HealthCheck(interval=5.0, jitter=0.0, healthy_threshold=2, unhealthy_threshold=3)


def address(name: str) -> str:
    """The canonical address of the backend that a test calls ``name``."""
    return f"http://{name}:80"


def block(
    *names: str, check: schema.HealthCheck | None = None, balance: str = "round_robin", **weights: int
) -> schema.Pool:
    """A pool's block, which never panics; a name that ends in ``-backup`` is a backup, ``weights`` are by name."""
    return schema.Pool(
        backends=tuple(
            schema.Backend(address=address(name), weight=weights.get(name, 1), backup=name.endswith("-backup"))
            for name in names
        ),
        health_check=check,
        balance=balance,  # type: ignore[arg-type]
        hash_on="client" if balance == "hash" else None,
        panic_threshold=0,
    )


def table(given: schema.Pool, previous: RoutingTable | None = None) -> RoutingTable:
    """A table with that one pool, ``web``."""
    return build_table(schema.Config(pools={"web": given}), previous, ScriptedUpstream)


def pool(*names: str, check: schema.HealthCheck | None = None, balance: str = "round_robin", **weights: int) -> Pool:
    """A pool of one generation; see ``block``."""
    return table(block(*names, check=check, balance=balance, **weights)).pools["web"]


def weighted_pool(weights: dict[str, int]) -> Pool:
    """A pool of backends by name and weight."""
    return pool(*weights, check=None, balance="round_robin", **weights)


def name_of(given: str) -> str:
    """The test's name of an address."""
    return given.removeprefix("http://").removesuffix(":80")
