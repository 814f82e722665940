from __future__ import annotations

import pytest

from tests.unit.proxy.journeys import FakeUpstream, backends_of, pool_of
from tests.unit.proxy.trials import Body, Slow, Trial, body_of
from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendError,
    BackendProtocolError,
    ClientDisconnectedError,
    ConnectError,
    ConnectTimeout,
    NoBackendError,
    ReadTimeout,
    ResetError,
    Retry,
    StaleConnectionError,
    WriteTimeout,
)
from wsgiproxy.proxy.body import ReplayableBody


def test_the_first_backend_that_answers_is_the_last_one_asked() -> None:
    one, two = FakeUpstream(), FakeUpstream()
    trial = Trial(one, two)
    assert trial.forward().status == 200
    assert (len(one.requests), len(two.requests)) == (1, 0)
    assert (trial.exchange.attempts, trial.exchange.backend) == (1, "http://b0:1")
    assert trial.failures == [0, 0]


@pytest.mark.parametrize("error", [ConnectError, ConnectTimeout])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_never_left_goes_to_another_backend_whatever_it_is(method: str, error: type[BackendError]) -> None:
    one, two = FakeUpstream(error("no"), reads=0), FakeUpstream()
    trial = Trial(one, two)
    trial.forward(method, body_of(b"hel", b"lo"))
    assert two.received == [b"hello"]
    assert (trial.exchange.attempts, trial.exchange.backend) == (2, "http://b1:1")
    assert trial.failures == [1, 0]


def test_a_pool_that_has_spent_its_budget_tries_nobody_else() -> None:
    one, two = FakeUpstream(ConnectError("no"), ConnectError("no")), FakeUpstream([b"ok"], ConnectError("no"))
    trial = Trial(one, two, retries={"budget": schema.RetryBudget(percent=0, per_second=0.1)})  # one in ten seconds
    trial.forward()
    trial.fail(ConnectError)
    assert len(one.requests) + len(two.requests) == trial.exchange.attempts == 3


def test_a_pool_without_a_budget_may_always_try_another_backend() -> None:
    one, two = FakeUpstream(ConnectError("no")), FakeUpstream()
    Trial(one, two, retries={"budget": None}).forward()
    assert len(two.requests) == 1


@pytest.mark.parametrize("error", [ResetError, ReadTimeout, WriteTimeout])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_what_may_be_repeated_is_repeated_elsewhere_with_its_whole_body(method: str, error: type[BackendError]) -> None:
    one, two = FakeUpstream(error("no")), FakeUpstream()
    trial = Trial(one, two)
    trial.forward(method, body_of(b"hel", b"lo"))
    assert (one.received, two.received) == ([b"hello"], [b"hello"])


@pytest.mark.parametrize("error", [ResetError, ReadTimeout, WriteTimeout])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PROPFIND", "get"])
def test_what_may_have_been_acted_on_is_not_repeated(method: str, error: type[BackendError]) -> None:
    one, two = FakeUpstream(error("no")), FakeUpstream()
    trial = Trial(one, two)
    trial.fail(error, method, body_of(b"hello"))
    assert (two.requests, trial.failures) == ([], [1, 0])


def test_an_answer_that_is_none_is_never_repeated() -> None:
    two = FakeUpstream()
    trial = Trial(FakeUpstream(BackendProtocolError("no")), two)
    trial.fail(BackendProtocolError)
    assert two.requests == []


# --- stale connections ------------------------------------------------------------------------------------------------


def unsent() -> StaleConnectionError:
    """A connection that was dead before a byte of the request had left."""
    error = StaleConnectionError("dead")
    error.retry = Retry.ALWAYS
    return error


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_stale_connection_is_tried_once_more_on_a_fresh_one_of_the_same_backend(method: str) -> None:
    one, two = FakeUpstream(StaleConnectionError("dead")), FakeUpstream()
    trial = Trial(one, two)
    trial.forward(method, body_of(b"hello"))
    assert (one.fresh, one.received, two.requests) == ([False, True], [b"hello", b"hello"], [])
    assert (trial.exchange.attempts, trial.failures) == (1, [0, 0])


def test_a_post_that_went_out_on_a_stale_connection_is_not_sent_again() -> None:
    one, two = FakeUpstream(StaleConnectionError("dead")), FakeUpstream()
    trial = Trial(one, two)
    trial.fail(StaleConnectionError, "POST", body_of(b"hello"))
    assert (one.fresh, two.requests) == ([False], [])


def test_a_post_that_could_not_go_out_on_a_stale_connection_is_sent_on_a_fresh_one() -> None:
    one, two = FakeUpstream(unsent()), FakeUpstream()
    trial = Trial(one, two)
    trial.forward("POST", body_of(b"hello"))
    assert (one.fresh, one.received, two.requests) == ([False, True], [b"hello", b"hello"], [])


def test_a_stale_connection_and_then_none_at_all_goes_to_another_backend() -> None:
    one, two = FakeUpstream(unsent(), ConnectError("refused")), FakeUpstream()
    trial = Trial(one, two)
    trial.forward("POST", body_of(b"hello"))
    assert (one.fresh, two.fresh) == ([False, True], [False])
    assert two.received == [b"hello"]


def test_a_post_that_is_reset_on_the_fresh_connection_is_not_repeated_again() -> None:
    one, two = FakeUpstream(unsent(), ResetError("reset")), FakeUpstream()
    trial = Trial(one, two)
    trial.fail(ResetError, "POST", body_of(b"hello"))
    assert (len(one.requests), two.requests) == (2, [])


def test_a_body_over_64_kib_is_not_replayed() -> None:
    big = (b"x" * 40_000, b"y" * 40_000)
    one, two = FakeUpstream(StaleConnectionError("dead")), FakeUpstream()
    trial = Trial(one, two)
    trial.fail(StaleConnectionError, "PUT", body_of(*big))
    assert (one.fresh, two.requests) == ([False], [])
    trial = Trial(FakeUpstream(ResetError("reset")), two)
    trial.fail(ResetError, "PUT", body_of(*big))
    assert two.requests == []


def test_the_beginning_of_a_body_over_64_kib_can_be_replayed() -> None:
    one, two = FakeUpstream(ResetError("reset"), reads=40_000), FakeUpstream()
    trial = Trial(one, two)
    trial.forward("PUT", body_of(b"x" * 40_000, b"y" * 40_000))
    assert one.received == [b"x" * 40_000]
    assert two.received == [b"x" * 40_000 + b"y" * 40_000]


def test_a_body_that_cannot_begin_again_is_not_replayed() -> None:
    one, two = FakeUpstream(ConnectError("no"), reads=0), FakeUpstream()
    trial = Trial(one, two)
    trial.fail(ConnectError, "PUT", Body(b"hello"))
    assert two.requests == []


# --- how often --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_no_more_backends_are_tried_than_the_pool_allows(attempts: int) -> None:
    upstreams = [FakeUpstream(ConnectError("no")) for _ in range(5)]
    trial = Trial(*upstreams, attempts=attempts)
    trial.fail(ConnectError)
    assert [len(upstream.requests) for upstream in upstreams] == [1] * attempts + [0] * (5 - attempts)
    assert trial.exchange.attempts == attempts


def test_each_backend_is_tried_before_any_is_tried_again() -> None:
    one, two = (FakeUpstream(ConnectError("no"), ConnectError("no")) for _ in range(2))
    trial = Trial(one, two, attempts=4)
    trial.fail(ConnectError)
    tried = [failed.backend for failed in trial.exchange.failures or ()]
    assert set(tried[:2]) == set(tried[2:]) == {"http://b0:1", "http://b1:1"}
    assert trial.failures == [2, 2]


def test_the_only_backend_is_tried_again_where_it_has_done_nothing_and_said_so_at_once() -> None:
    assert Trial(FakeUpstream(ConnectError("no"))).forward().status == 200
    for error in (ConnectTimeout, ReadTimeout, ResetError):
        one = FakeUpstream(error("no"))
        Trial(one).fail(error)
        assert len(one.requests) == 1


def test_a_pool_without_an_available_backend_is_no_backend() -> None:
    trial = Trial(FakeUpstream())
    backends_of(trial.table)[0].weight = 0
    trial.fail(NoBackendError)
    assert trial.exchange.attempts == 0


# --- the body first ---------------------------------------------------------------------------------------------------


def test_a_body_of_known_length_is_here_before_a_backend_is_asked() -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Body):
        def read_some(self) -> bytes:
            seen.append((sum(trial.in_flight), len(self.pieces)))
            return super().read_some()

    one = FakeUpstream()
    trial = Trial(one)
    trial.forward("POST", ReplayableBody(Watched(b"hel", b"lo"), 5))
    assert one.received == [b"hello"]
    assert seen[:2] == [(0, 2), (0, 1)]


def test_a_body_of_unknown_length_goes_to_the_backend_as_it_comes() -> None:
    seen: list[int] = []

    class Watched(Body):
        def read_some(self) -> bytes:
            seen.append(sum(trial.in_flight))
            return super().read_some()

    trial = Trial(FakeUpstream())
    trial.forward("POST", ReplayableBody(Watched(b"hel", b"lo"), None))
    assert set(seen) == {1}


def test_no_body_is_asked_for_that_nobody_could_take() -> None:
    trial = Trial(FakeUpstream())
    backends_of(trial.table)[0].weight = 0
    body = Body(b"hello")
    trial.fail(NoBackendError, "POST", ReplayableBody(body, 5))
    assert body.pieces == [b"hello"]


def test_a_client_that_fails_while_its_body_is_awaited_costs_no_backend_anything() -> None:
    one = FakeUpstream()
    trial = Trial(one)
    trial.fail(ClientDisconnectedError, "POST", ReplayableBody(Body(b"hel", ClientDisconnectedError("gone")), 5))
    assert (one.requests, trial.failures, trial.exchange.attempts) == ([], [0], 0)


# --- not the backend's fault ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ClientDisconnectedError("gone"), KeyboardInterrupt(), RuntimeError("a defect")])
def test_what_is_not_the_backends_fault_is_not_counted_against_it_nor_repeated(error: BaseException) -> None:
    two = FakeUpstream()
    trial = Trial(FakeUpstream(error), two)
    trial.fail(type(error))
    assert (trial.failures, two.requests) == ([0, 0], [])


# --- how long it took -------------------------------------------------------------------------------------------------


def test_only_the_time_of_requests_that_are_here_as_a_whole_is_taken() -> None:
    slow = Slow()
    trial = Trial(slow, balance="least_time")
    pool_of(trial.table).roster.clock = lambda: slow.now
    (backend,) = backends_of(trial.table)
    trial.forward("POST", ReplayableBody(Body(b"x" * 40_000, b"y" * 40_000, b"z"), 80_001))
    trial.forward("POST", ReplayableBody(Body(b"x"), None))
    assert backend.latency == 0
    trial.forward("POST", ReplayableBody(Body(b"sm", b"all"), 5))
    assert backend.latency == 1
    backend.latency = 0.0
    trial.forward()
    assert backend.latency == 1
