"""Attempts: acquire a backend, send, and on failure decide whether to try again.

Whether another attempt is safe is a property of the error (``errors.Retry``); whether it is possible depends on the
request's method and body; whether it is wise is the pool's to say, which has a budget. This is the only place that
decides it.
"""

from __future__ import annotations

from math import inf

from wsgiproxy.config import schema
from wsgiproxy.errors import BackendError, ExchangeTimeout, NoBackendError, RetriedStatusError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Lease, Pool
from wsgiproxy.pool.wait import Wait
from wsgiproxy.proxy.attempt import attempt, begin_again, is_here, is_to_blame, may_repeat
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.hash_key import hash_key
from wsgiproxy.proxy.hedge import may_be_hedged, race
from wsgiproxy.upstream.messages import RequestBody, UpstreamRequest, UpstreamResponse


def forward(
    exchange: Exchange, pool: Pool, request: UpstreamRequest, prefer: Backend | None = None
) -> tuple[UpstreamResponse, Lease]:
    """The head of a backend's answer, and the lease to release once its body has ended.

    ``prefer`` is the backend that the client is to stay with; no other is asked beside it, only after it. Raises
    ``NoBackendError``, ``ExchangeTimeout``, the last attempt's ``BackendError``, or a ``ClientError``.
    """
    if request.body is not None:
        _take_beginning(pool, request.body, prefer)
    key = None if pool.hash_on is None else hash_key(exchange, request, pool.hash_on)
    hedges = pool.hedges and prefer is None and may_be_hedged(request)
    tried: list[Backend] = []
    failure: BackendError | None = None
    while True:
        lease = _acquire(exchange, pool, request, tried, key, failure, prefer)
        began = pool.roster.clock()
        request.head_by = began + pool.attempt_timeout
        response = None
        try:
            if hedges:
                response, lease = race(exchange, pool, request, lease, tried, key)
            else:
                response = attempt(exchange, lease.backend, request)
        except BackendError as error:
            lease.release(failed=True)
            failure = error
        except BaseException as error:
            seconds = pool.roster.clock() - began
            lease.release(failed=is_to_blame(error, request, seconds))
            if isinstance(error, ExchangeTimeout):
                exchange.fail_attempt(lease.backend.address, error, seconds)
            raise
        else:
            lease.answered(response.status)
            if not pool.retried_statuses or not _is_retried(pool, response.status):
                exchange.connect_seconds = response.connect_seconds
                return response, lease
            failure = RetriedStatusError(f"{lease.backend.address} answered with {response.status}", response.status)
        tried.append(lease.backend)
        again = _may_try_again(pool, request, lease, tried, failure)
        if response is not None:
            if not again:
                exchange.connect_seconds = response.connect_seconds
                return response, lease
            response.body.close()
            lease.release()
        exchange.fail_attempt(lease.backend.address, failure, pool.roster.clock() - began)
        if not again or not begin_again(request):
            raise pool.verdict(lease, failure)
        _back_off(pool, request, tried)


def _take_beginning(pool: Pool, body: RequestBody, prefer: Backend | None) -> None:
    """Have the beginning of a body here before a backend is asked, so that a slow client holds none up."""
    if prefer is None:
        pool.check_available()  # else the client would send for nothing
    if isinstance(body, ReplayableBody):
        body.prefetch()


def _acquire(
    exchange: Exchange,
    pool: Pool,
    request: UpstreamRequest,
    tried: list[Backend],
    key: int | None,
    failure: BackendError | None,
    prefer: Backend | None,
) -> Lease:
    """The lease for the next attempt; where there is none after a ``failure``, that is raised."""
    try:
        lease = pool.acquire(tried, key, request.on_cancel, request.timeouts.queue, request.ends_by, prefer)
    except (ExchangeTimeout, NoBackendError) as error:
        exchange.queue_seconds += error.waited
        raise error if failure is None or isinstance(error, ExchangeTimeout) else failure from None
    exchange.queue_seconds += lease.waited
    if request.body is not None and not is_here(request.body):
        lease.stop_clock()
    return lease


def _is_retried(pool: Pool, status: int) -> bool:
    return any(low <= status <= high for low, high in pool.retried_statuses)


def _may_try_again(
    pool: Pool, request: UpstreamRequest, lease: Lease, tried: list[Backend], failure: BackendError
) -> bool:
    """Whether there is to be another attempt after this one; if so, it is in the pool's books already."""
    return (
        len(tried) < pool.block.retries.attempts
        and (request.ends_by == inf or pool.roster.clock() < request.ends_by)
        and (failure.passing or pool.has_other(tried))
        and may_repeat(failure, request)
        and pool.may_retry(lease, tried)
    )


def _back_off(pool: Pool, request: UpstreamRequest, tried: list[Backend]) -> None:
    """Wait a little, at random, unless this is the first retry and somebody else can take it."""
    if len(tried) == 1 and pool.has_other(tried):
        return
    roster = pool.roster
    seconds = roster.chance() * longest_back_off(pool.block.retries, len(tried))
    if seconds > 0:
        Wait(roster.driver).run(seconds, request.on_cancel)


def longest_back_off(block: schema.Retries, failed: int) -> float:
    """The most seconds to wait after so many failed attempts: doubled from the second retry on.

    What is waited is drawn between 0 and that ("full jitter": Brooker, Exponential Backoff And Jitter).
    """
    return min(block.max_backoff, block.backoff * 2.0 ** max(0, failed - 2))
