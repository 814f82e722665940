"""Which time-out it was: a wait is ended by the earliest of several instants, and the log must say by which."""

from __future__ import annotations

import time
from collections.abc import Callable

from wsgiproxy.errors import AttemptTimeout, BackendError, ExchangeTimeout, ProxyError, Retry
from wsgiproxy.upstream.messages import UpstreamRequest


def overdue(
    request: UpstreamRequest, error: BackendError, sent: bool, clock: Callable[[], float] = time.monotonic
) -> ProxyError:
    """What a time-out that ended a wait of this request stands for: the exchange's, the attempt's, or itself.

    ``sent`` is whether a byte of the request has left; ``clock`` the one of the request's instants.
    """
    now = clock()
    if now >= request.ends_by:
        return ExchangeTimeout(f"the exchange took too long; at last: {error}")
    if now < request.head_by:
        return error
    late = AttemptTimeout(f"the attempt took too long; at last: {error}")
    if not sent:
        late.retry = Retry.ALWAYS
    return late
