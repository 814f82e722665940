from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.proxy.journeys import FakeUpstream, Journey, Told, backends_of, environ_of, pool_table
from wsgiproxy.errors import (
    BackendError,
    BackendProtocolError,
    Blame,
    ClientDisconnectedError,
    ConnectError,
    ConnectTimeout,
    ContentTooLargeError,
    ProxyError,
    ReadTimeout,
    ResetError,
    StaleConnectionError,
    TruncatedBodyError,
    WriteTimeout,
)


class Defect(Exception):
    """What nobody expects of a backend."""


class Refusal(Exception):
    """What a host's ``start_response`` may raise."""


ACTED_ON = (ReadTimeout, WriteTimeout, ResetError)  # the backend may have acted on the request
SENDING = (
    *ACTED_ON, ConnectError, ConnectTimeout, StaleConnectionError, BackendProtocolError, ClientDisconnectedError,
    ContentTooLargeError, Defect, KeyboardInterrupt,
)  # fmt: skip
WITHIN = (TruncatedBodyError, ReadTimeout, BackendProtocolError, ClientDisconnectedError, Defect)

errors = st.sampled_from(SENDING).map(lambda kind: kind("scripted"))
pieces = st.binary(min_size=1, max_size=5) | st.sampled_from(WITHIN).map(lambda kind: kind("scripted"))
scripts = st.lists(st.lists(errors | st.lists(pieces, max_size=4), max_size=3), min_size=1, max_size=3)


class Host:
    """A host server that reads so many pieces of an answer and closes it once or more often."""

    def __init__(self, reads: int, closes: int, refuses: bool) -> None:
        self.reads = reads
        self.closes = closes
        self.refuses = refuses
        self.told = Told()

    def start_response(self, status: str, fields: Any, exc_info: Any = None) -> Any:
        if self.refuses:
            raise Refusal
        return self.told.start_response(status, fields, exc_info)

    def serve(self, journey: Journey, environ: dict[str, Any]) -> BaseException | None:
        """Serve one request; what it ended with."""
        outcome: BaseException | None = None
        try:
            result: Any = journey.app(environ, self.start_response)
        except (Refusal, Defect, KeyboardInterrupt) as error:
            return error
        if isinstance(result, list):
            return None
        try:
            for _ in range(self.reads):
                next(result, None)
        except (ProxyError, Defect) as error:
            outcome = error
        for _ in range(self.closes):
            result.close()
        return outcome


def ends_of_attempts(played: list[tuple[bool, Any]]) -> list[Any]:
    """How each attempt ended, in order: an error, or an answer's pieces. A fresh connection belongs to its attempt."""
    steps = [step for _, step in played]
    return [step for index, step in enumerate(steps) if not (index + 1 < len(played) and played[index + 1][0])]


@given(
    scripts, st.sampled_from(["GET", "POST"]), st.integers(0, 100_000), st.integers(1, 4), st.integers(0, 6),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_whatever_fails_nothing_stays_in_flight_and_each_fault_counts_where_it_belongs(
    scripts: list[list[Any]], method: str, size: int, attempts: int, reads: int, closes: int, refuses: bool
) -> None:
    upstreams = [FakeUpstream(*script) for script in scripts]
    played: list[tuple[bool, Any]] = []
    for upstream in upstreams:
        upstream.played = played
    journey = Journey(pool_table(*upstreams, attempts=attempts))
    host = Host(reads, closes, refuses)
    outcome = host.serve(journey, environ_of(method, "/", b"x" * size))

    assert journey.in_flight == [0] * len(upstreams)
    assert all(body.closed for upstream in upstreams for body in upstream.bodies)
    ends = ends_of_attempts(played)
    assert len(ends) <= attempts
    faults = sum(isinstance(end, BackendError) for end in ends)
    if isinstance(outcome, ProxyError):  # out of the body: before the head it would have been rendered
        faults += outcome.blame is Blame.BACKEND
    assert sum(backend.failures for backend in backends_of(journey.table)) == faults
    if method == "POST":
        assert not any(isinstance(end, ACTED_ON) for end in ends[:-1]), "repeated although it may have been acted on"
    assert all(received in (b"", b"x" * size) for upstream in upstreams for received in upstream.received)
    if isinstance(ends[-1], Defect | KeyboardInterrupt):
        assert (outcome, journey.logged) == (ends[-1], [])
    else:
        (exchange,) = journey.logged
        assert exchange.attempts == len(ends)
        failures = [failed.reason for failed in exchange.failures or ()]
        assert failures == [end.reason for end in ends if isinstance(end, BackendError)]
        assert refuses or host.told.status.startswith("400" if exchange.status == 499 else str(exchange.status))
