"""One attempt at one backend, and whether its request may go out once more after it.

The rule of the room: nothing here chooses a backend or counts retries, which is ``proxy.forward``'s.
"""

from __future__ import annotations

from wsgiproxy.errors import BackendError, ExchangeTimeout, Retry, StaleConnectionError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.upstream.messages import RequestBody, UpstreamRequest, UpstreamResponse, may_be_repeated


def attempt(exchange: Exchange, backend: Backend, request: UpstreamRequest) -> UpstreamResponse:
    """The head of the backend's answer. It is asked twice where a reused connection was dead before it answered.

    That is no retry in the sense of the budget: the backend has most likely seen nothing of the first.
    """
    exchange.attempts += 1
    exchange.backend = backend.address
    try:
        return backend.upstream.send(request)
    except StaleConnectionError as error:
        if not may_repeat(error, request) or not begin_again(request):
            raise
        return backend.upstream.send(request, fresh=True)


def may_repeat(error: BackendError, request: UpstreamRequest) -> bool:
    """Whether the request may, and can, be sent again after ``error``."""
    if error.retry is Retry.NEVER or (error.retry is Retry.IDEMPOTENT and not may_be_repeated(request)):
        return False
    return request.body is None or (isinstance(request.body, ReplayableBody) and request.body.can_rewind)


def is_to_blame(error: BaseException, request: UpstreamRequest, seconds: float) -> bool:
    """Whether a backend is to blame for the end of an attempt of so many seconds.

    For the end of the whole exchange it is where it had most of that time, and waited for nobody: else one that hangs
    would never be ejected where ``total`` is the shortest of the time-outs.
    """
    if isinstance(error, ExchangeTimeout):
        return is_here(request.body) and seconds * 2 >= request.timeouts.total
    return isinstance(error, BackendError)


def is_here(body: RequestBody | None) -> bool:
    """Whether a body is all here, so that the backend need not wait for the client."""
    return body is None or (isinstance(body, ReplayableBody) and body.is_here)


def begin_again(request: UpstreamRequest) -> bool:
    """Rewind the body; whether that could be done, as it could when nobody was reading it any more."""
    body = request.body
    if body is None:
        return True
    if not isinstance(body, ReplayableBody) or not body.can_rewind:
        return False
    body.rewind()
    return True
