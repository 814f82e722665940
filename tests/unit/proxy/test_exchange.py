from __future__ import annotations

import time

from tests.unit.proxy.journeys import environ_of
from wsgiproxy.errors import ReadTimeout
from wsgiproxy.proxy.exchange import Exchange


def test_an_exchange_is_handed_to_the_log_once_with_the_time_of_its_end() -> None:
    logged: list[Exchange] = []
    exchange = Exchange(environ_of(), logged.append)
    assert (exchange.reason, exchange.ended_at) == ("done", 0.0)
    exchange.fail(ReadTimeout("slow"))
    exchange.finish()
    exchange.finish()
    assert logged == [exchange]
    assert exchange.reason == "read_timeout"
    assert exchange.started_at <= exchange.ended_at <= time.monotonic()


def test_without_a_log_an_exchange_just_ends() -> None:
    Exchange(environ_of(), None).finish()
