"""Whose fault the end of an attempt is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.trials import Body
from wsgiproxy.config import schema
from wsgiproxy.errors import ClientDisconnectedError, ExchangeTimeout, ResetError
from wsgiproxy.http1.message import Framing
from wsgiproxy.proxy.attempt import is_to_blame
from wsgiproxy.proxy.body import ReplayableBody
from wsgiproxy.upstream.messages import UpstreamRequest


def request(body: Any = None) -> UpstreamRequest:
    """One that may take ten seconds."""
    return UpstreamRequest(
        "POST", "/", "a", [], framing=Framing(length=5), body=body, timeouts=schema.Timeouts(total=10.0)
    )


def here() -> ReplayableBody:
    body = ReplayableBody(Body(b"hello"), 5)
    body.prefetch()
    return body


@pytest.mark.parametrize(
    ("error", "body", "seconds", "blamed"),
    [
        (ResetError("reset"), None, 0.0, True),
        (ClientDisconnectedError("gone"), None, 10.0, False),
        (SystemExit(), None, 10.0, False),
        (ExchangeTimeout("over"), None, 5.0, True),
        (ExchangeTimeout("over"), here(), 5.0, True),
        (ExchangeTimeout("over"), None, 4.9, False),  # the queue, or others, had more of the time
        (ExchangeTimeout("over"), ReplayableBody(Body(b"hello"), 5), 10.0, False),  # so may have the client
    ],
)
def test_a_backend_is_to_blame_for_what_it_does_and_for_most_of_a_time_that_was_its_own(
    error: BaseException, body: Any, seconds: float, blamed: bool
) -> None:
    assert is_to_blame(error, request(body), seconds) is blamed
