"""Attempts: acquire a backend, send, and on failure decide whether to try again.

Whether another attempt is safe is a property of the error (``errors.Retry``); whether it is possible depends on the
request's method and body. This is the only place that decides it.
"""

from __future__ import annotations

import time

from wsgiproxy.errors import BackendError, NoBackendError, Retry, StaleConnectionError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Lease, Pool
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.hash_key import hash_key
from wsgiproxy.upstream.messages import IDEMPOTENT, RequestBody, UpstreamRequest, UpstreamResponse

_monotonic = time.monotonic


def forward(exchange: Exchange, pool: Pool, request: UpstreamRequest) -> tuple[UpstreamResponse, Lease]:
    """The head of a backend's answer, and the lease to release once its body has ended.

    Raises ``NoBackendError``, the last attempt's ``BackendError``, or a ``ClientError``.
    """
    if request.body is not None:
        _take_beginning(pool, request.body)
    key = None if pool.hash_on is None else hash_key(exchange, request, pool.hash_on)
    tried: list[Backend] = []
    failure: BackendError | None = None
    while True:
        try:
            lease = pool.acquire(tried, key)
        except NoBackendError:
            if failure is not None:
                raise failure from None
            raise
        if request.body is not None and not _is_here(request.body):
            lease.stop_clock()
        try:
            response = _attempt(exchange, lease.backend, request)
            lease.answered(response.status)
            return response, lease
        except BackendError as error:
            lease.release(failed=True)
            failure = error
        except BaseException:
            lease.release()
            raise
        tried.append(lease.backend)
        if len(tried) >= pool.block.attempts or not _may_repeat(failure, request) or not pool.may_retry(_monotonic()):
            raise failure


def _take_beginning(pool: Pool, body: RequestBody) -> None:
    """Have the beginning of a body here before a backend is asked, so that a slow client holds none up."""
    pool.check_available()  # else the client would send for nothing
    if isinstance(body, ReplayableBody):
        body.prefetch()


def _is_here(body: RequestBody) -> bool:
    """Whether a body is all here, so that the backend need not wait for the client."""
    return isinstance(body, ReplayableBody) and body.is_here


def _attempt(exchange: Exchange, backend: Backend, request: UpstreamRequest) -> UpstreamResponse:
    """One backend; twice where a reused connection turned out to be dead before it answered.

    That is no retry in the sense of the budget: the backend has most likely seen nothing of the first.
    """
    exchange.attempts += 1
    exchange.backend = backend.address
    try:
        return backend.upstream.send(request)
    except StaleConnectionError as error:
        if not _may_repeat(error, request):
            raise
        return backend.upstream.send(request, fresh=True)


def _may_repeat(error: BackendError, request: UpstreamRequest) -> bool:
    """Whether the request may, and can, be sent again after ``error``; if so, its body begins again."""
    if error.retry is Retry.NEVER or (error.retry is Retry.IDEMPOTENT and request.method not in IDEMPOTENT):
        return False
    body = request.body
    if body is None:
        return True
    if not isinstance(body, ReplayableBody) or not body.can_rewind:
        return False
    body.rewind()
    return True
