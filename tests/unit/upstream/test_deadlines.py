"""Which time-out it was."""

from __future__ import annotations

import time
from math import inf

import pytest

from tests.unit.upstream.talks import get
from wsgiproxy.errors import AttemptTimeout, ConnectTimeout, ExchangeTimeout, ProxyError, Retry
from wsgiproxy.upstream.deadlines import overdue


@pytest.mark.parametrize(
    ("head_by", "ends_by", "expected"),
    [
        (inf, inf, ConnectTimeout),
        (0.0, inf, AttemptTimeout),
        (inf, 0.0, ExchangeTimeout),
        (0.0, 0.0, ExchangeTimeout),
    ],
)
def test_the_widest_time_that_has_run_out_is_told(head_by: float, ends_by: float, expected: type[ProxyError]) -> None:
    request, now = get(), time.monotonic()
    request.head_by, request.ends_by = now + head_by, now + ends_by
    error = overdue(request, ConnectTimeout("no connection in time"), False)
    assert type(error) is expected
    assert "no connection in time" in str(error)


@pytest.mark.parametrize(("sent", "retry"), [(False, Retry.ALWAYS), (True, Retry.IDEMPOTENT)])
def test_an_attempt_that_sent_nothing_may_always_be_repeated(sent: bool, retry: Retry) -> None:
    request = get()
    request.head_by = 0.0
    assert overdue(request, ConnectTimeout("late"), sent).retry is retry
