"""Whatever happens to requests and tunnels while pools change under them: what is in flight is counted, and ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.proxy.journeys import FakeUpstream, Journey, Told, environ_of, pool_of
from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectError, ReadTimeout, ResetError, TruncatedBodyError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.proxy.tunnel import Tunnel
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

UPGRADE = {
    "wsgiproxy.upgrade": True, "HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket",
    "SERVER_PROTOCOL": "HTTP/1.1",
}  # fmt: skip
MOST = 2  # exchanges at a backend at once

step = st.sampled_from([
    ConnectError("no"), ResetError("no"), [b"ok"], [b"o", TruncatedBodyError("cut")], [b"o", ReadTimeout("late")],
])  # fmt: skip
action = st.one_of(
    st.tuples(st.just("get"), st.lists(step, min_size=1, max_size=3)),
    st.tuples(st.just("tunnel"), st.just([[b""]])),
    st.tuples(st.just("read"), st.integers(0, 3)),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("reload"), st.sets(st.sampled_from("abc"), min_size=1)),
)


class World:
    """A proxy whose only pool changes its members; ``open`` are the answers that are under way."""

    def __init__(self) -> None:
        self.steps: list[Any] = []  # of whatever backend is asked next
        self.seen: dict[str, Backend] = {}
        self.journey = Journey(self.table({"a", "b"}, None))
        self.open: list[Any] = []

    def table(self, names: set[str], previous: RoutingTable | None) -> RoutingTable:
        backends = tuple(schema.Backend(address=f"http://{name}:1", max_in_flight=MOST) for name in sorted(names))
        pool = schema.Pool(backends=backends, max_queue=0, retries=schema.Retries(backoff=0))
        config = schema.Config(pools={"web": pool}, routes=(schema.Route(pool="web", upgrades=("websocket",)),))
        table = build_table(config, previous, lambda address: Shared(self))
        self.seen.update({f"{id(backend)}": backend for backend in pool_of(table).backends})
        return table

    def reload(self, names: set[str]) -> None:
        runtime: Any = self.journey.app._runtime
        runtime.table = self.journey.table = self.table(names, self.journey.table)

    def ask(self, steps: list[Any], **environ: Any) -> None:
        self.steps = list(steps)
        told = Told()
        answer: Any = self.journey.app(environ_of(**environ), told.start_response)
        if not isinstance(answer, list):
            self.open.append(answer)

    @property
    def in_flight(self) -> int:
        return sum(backend.in_flight for backend in self.seen.values())


class Shared(FakeUpstream):
    """A backend that plays the world's next step."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        self.status = 101 if request.upgrade else 200
        self.steps = [self._world.steps.pop(0)] if self._world.steps else [[b"ok"]]
        return super().send(request, fresh=fresh)


@given(st.lists(action, max_size=30))
def test_what_is_in_flight_is_what_is_open_whatever_happens_meanwhile(story: list[tuple[str, Any]]) -> None:
    world = World()
    for what, with_what in story:
        if what == "get":
            world.ask(with_what)
        elif what == "tunnel":
            world.ask(with_what, **UPGRADE)
        elif what == "reload":
            world.reload(with_what)
        elif world.open:
            answer = world.open[with_what % len(world.open)]
            if what == "close":
                answer.close()
                world.open.remove(answer)
            elif not isinstance(answer, Tunnel):
                try:
                    next(answer, None)
                except (TruncatedBodyError, ReadTimeout):
                    answer.close()
                    world.open.remove(answer)
        assert world.in_flight == len(world.open)
        assert all(0 <= backend.in_flight <= MOST for backend in world.seen.values())
    for answer in world.open:
        answer.close()
        answer.close()
    assert world.in_flight == 0
    assert all(not pool.roster.waiting for pool in world.journey.table.pools.values())
