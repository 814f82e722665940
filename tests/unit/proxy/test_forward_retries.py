"""When a request is tried again: by whom, how soon, and after which answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeBody, FakeUpstream, backends_of, pool_of
from tests.unit.proxy.trials import Slow, Trial, answering, body_of
from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendError,
    ClientDisconnectedError,
    ConnectError,
    ConnectTimeout,
    ExchangeTimeout,
    NoBackendError,
    ProxyError,
    QueueTimeout,
    ReadTimeout,
    ResetError,
    RetriedStatusError,
)
from wsgiproxy.proxy.forward import forward, longest_back_off
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse


def test_what_a_client_says_may_be_repeated_is_repeated() -> None:
    one, two = FakeUpstream(ResetError("no")), FakeUpstream()
    Trial(one, two).forward("POST", body_of(b"hello"), HTTP_IDEMPOTENCY_KEY='"8e03978e"')
    assert two.received == [b"hello"]
    Trial(FakeUpstream(ResetError("no"))).fail(ResetError, "POST", body_of(b"hello"))


def test_each_failed_attempt_is_noted_with_its_reason_and_how_long_it_took() -> None:
    one, two, three = Slow(ConnectError("no")), FakeUpstream(ReadTimeout("slow")), FakeUpstream()
    trial = Trial(one, two, three)
    pool_of(trial.table).roster.clock = lambda: one.now
    trial.forward()
    assert trial.exchange.failures == [("http://b0:1", "connect_error", 1.0), ("http://b1:1", "read_timeout", 0.0)]
    assert (trial.exchange.attempts, trial.exchange.backend) == (3, "http://b2:1")


# --- the time of the whole exchange -----------------------------------------------------------------------------------


def timed(trial: Trial, slow: Slow) -> Trial:
    """The trial, by the clock of its slow backend."""
    pool_of(trial.table).roster.clock = lambda: slow.now
    return trial


@pytest.mark.parametrize(("total", "failures"), [(1.5, 1), (2.0, 1), (3.0, 0)])
def test_a_backend_that_used_up_most_of_the_time_is_to_blame(total: float, failures: int) -> None:
    one = Slow(ExchangeTimeout("over"))
    trial = timed(Trial(one, FakeUpstream()), one)
    trial.fail(ExchangeTimeout, total=total)
    assert trial.failures == [failures, 0]
    assert trial.exchange.failures == [("http://b0:1", "total_timeout", 1.0)]


def test_a_backend_that_had_to_wait_for_the_client_is_not_to_blame() -> None:
    one = Slow(ExchangeTimeout("over"))
    trial = timed(Trial(one, FakeUpstream()), one)
    trial.fail(ExchangeTimeout, "POST", body_of(b"hel", b"lo"), total=1.0)
    assert trial.failures == [0, 0]


@pytest.mark.parametrize(("total", "asked"), [(0.5, 0), (1.0, 0), (1.5, 1)])
def test_nobody_else_is_asked_when_the_time_is_over(total: float, asked: int) -> None:
    one, two = Slow(ConnectError("no")), FakeUpstream(ConnectError("no"))
    trial = timed(Trial(one, two, attempts=2), one)
    trial.fail(ConnectError, total=total)
    assert len(two.requests) == asked


# --- how soon ---------------------------------------------------------------------------------------------------------


def test_the_first_retry_goes_to_another_backend_at_once_and_the_next_ones_wait() -> None:
    upstreams = [FakeUpstream(ConnectError("no")) for _ in range(6)]
    trial = Trial(*upstreams, attempts=6, retries={"backoff": 1.0, "max_backoff": 3.0})
    trial.fail(ConnectError)
    assert trial.pauses.waited == [0.5, 1.0, 1.5, 1.5]


def test_a_retry_at_the_only_backend_waits() -> None:
    trial = Trial(FakeUpstream(ConnectError("no"), ConnectError("no")), retries={"backoff": 1.0, "max_backoff": 3.0})
    trial.forward()
    assert trial.pauses.waited == [0.5, 0.5]


def test_a_client_that_goes_ends_the_wait() -> None:
    one = FakeUpstream(ConnectError("no"))
    trial = Trial(one, retries={"backoff": 1.0})
    calls: list[Any] = []

    def gone(cancel: Any) -> None:
        calls.append(cancel)
        if cancel is not None:
            cancel(ClientDisconnectedError("gone"))

    request = UpstreamRequest("GET", "/", "a", [], on_cancel=gone)
    with pytest.raises(ClientDisconnectedError):
        forward(trial.exchange, pool_of(trial.table), request)
    assert (len(one.requests), calls[-1], trial.in_flight) == (1, None, [0])


def test_the_waits_are_doubled_up_to_their_bound() -> None:
    block = schema.Retries()
    assert [longest_back_off(block, failed) for failed in range(1, 8)] == [0.025, 0.025, 0.05, 0.1, 0.2, 0.25, 0.25]


# --- answers that are none --------------------------------------------------------------------------------------------


def test_an_answer_with_a_chosen_status_is_given_up_for_another() -> None:
    one, two = answering(503), FakeUpstream()
    trial = Trial(one, two, retries={"statuses": ("500-503",)})
    assert trial.forward("PUT", body_of(b"hello")).status == 200
    assert (two.received, one.bodies[0].closed) == ([b"hello"], 1)
    assert [failed.reason for failed in trial.exchange.failures or ()] == ["retried_status"]
    assert trial.failures == [0, 0]
    assert backends_of(trial.table)[0].server_errors == 1


@pytest.mark.parametrize(("status", "method", "attempts"), [(503, "POST", 3), (503, "GET", 1), (404, "GET", 3)])
def test_an_answer_that_must_not_be_given_up_is_delivered(status: int, method: str, attempts: int) -> None:
    one, two = answering(status), FakeUpstream()
    trial = Trial(one, two, attempts=attempts, retries={"statuses": ("500-503",)})
    assert trial.forward(method, body_of(b"hello")).status == status
    assert (two.requests, trial.exchange.failures, one.bodies[0].closed) == ([], None, 0)


def test_the_last_answer_is_delivered_whatever_its_status() -> None:
    trial = Trial(answering(500), answering(502), retries={"statuses": ("500-503",)}, attempts=2)
    assert trial.forward().status == 502


def test_where_nobody_answers_after_an_answer_was_given_up_its_status_is_told() -> None:
    one = answering(503)
    trial = Trial(one, attempts=2, retries={"statuses": ("503",), "backoff": 1.0})

    def leave(seconds: float) -> None:
        backends_of(trial.table)[0].weight = 0
        pool_of(trial.table).roster.changes += 1

    trial.pauses.on_wait = leave
    assert trial.fail(RetriedStatusError).status == 503
    assert len(one.requests) == 1


def test_an_upload_that_has_gone_too_far_when_its_answer_is_given_up_is_not_repeated() -> None:
    body = body_of(b"x" * 40_000, b"y" * 40_000)

    class Early(FakeUpstream):
        """Answers early; what is left of the body is read before its answer is closed."""

        def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
            response = super().send(request, fresh=fresh)
            response.body = EarlyBody([b"no"])
            return response

    class EarlyBody(FakeBody):
        def close(self) -> None:
            assert body.read_some() == b"y" * 40_000
            super().close()

    one = Early(reads=40_000)
    one.status = 503
    trial = Trial(one, FakeUpstream(), retries={"statuses": ("503",)})
    assert trial.fail(RetriedStatusError, "PUT", body).status == 503


# --- a dead pool ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"), [(ConnectError, NoBackendError), (ConnectTimeout, NoBackendError), (ResetError, ResetError)]
)
def test_a_pool_that_is_known_to_be_dead_is_tried_once_and_says_when_to_come_back(
    error: type[BackendError], expected: type[ProxyError]
) -> None:
    trial = Trial(*[FakeUpstream(error("no")) for _ in range(3)], health_check=schema.HealthCheck(interval=7.0))
    for backend in backends_of(trial.table):
        backend.record_check("down", 1, 1)
    told = trial.fail(expected)
    assert trial.exchange.attempts == 1
    assert not isinstance(told, NoBackendError) or told.retry_after == 7
    assert [failed.reason for failed in trial.exchange.failures or ()] == [error.reason]


def test_a_pool_that_seemed_dead_answers_at_once_where_it_is_not() -> None:
    trial = Trial(FakeUpstream(), health_check=schema.HealthCheck())
    backends_of(trial.table)[0].record_check("down", 1, 1)
    assert trial.forward("POST", body_of(b"hello")).status == 200


# --- a full pool ------------------------------------------------------------------------------------------------------


def test_the_time_in_the_queue_is_noted_also_where_it_was_in_vain() -> None:
    trial = Trial(FakeUpstream(), max_in_flight=1)
    pool, now = pool_of(trial.table), [100.0]
    pool.roster.clock = lambda: now[0]
    lease = pool.acquire()

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    trial.pauses.on_wait = pass_by
    with pytest.raises(QueueTimeout):
        trial.forward()
    assert (trial.exchange.queue_seconds, trial.exchange.attempts) == (5.0, 0)
    trial.pauses.on_wait = lambda seconds: (pass_by(1.5), lease.release())
    assert trial.forward().status == 200
    assert (trial.exchange.queue_seconds, trial.exchange.attempts) == (6.5, 1)
