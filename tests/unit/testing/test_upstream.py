"""Simulated backends raise what real ones would."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wsgiproxy.config import schema
from wsgiproxy.errors import (
    ConnectError,
    ConnectTimeout,
    FirstByteTimeout,
    ProxyError,
    ReadTimeout,
    ResetError,
    TruncatedBodyError,
)
from wsgiproxy.testing import Answers, Behaviour, Cuts, Down, Fails, Hangs, Resets, Script, Unreachable, VirtualTime
from wsgiproxy.testing.upstream import SimulatedUpstream
from wsgiproxy.upstream.messages import UpstreamRequest

QUICK = Answers(median=0.5, spread=0)


class Asking:
    """One backend with that script, which is asked; ``time`` is how long that took."""

    def __init__(self, *phases: tuple[float, Behaviour], usual: Behaviour = QUICK, read: float = 3.0) -> None:
        self.time = VirtualTime()
        self.upstream = SimulatedUpstream("http://a:80", self.time, Script(usual, *phases), random.Random(1))
        self.timeouts = schema.Timeouts(connect=1.0, read=read)
        self.outcomes: list[tuple[Any, float]] = []

    def ask(self, at: float = 0.0, probe: float = 0.0) -> None:
        def work() -> None:
            request = UpstreamRequest("GET", "/", "a", [], timeouts=self.timeouts)
            began = self.time.now
            outcome: Any
            try:
                send = self.upstream.send_probe(request, probe) if probe else self.upstream.send(request)
                try:
                    outcome = (send.status, b"".join(send.body))
                finally:
                    send.body.close()
            except ProxyError as error:
                outcome = type(error)
            self.outcomes.append((outcome, round(self.time.now - began, 6)))

        self.time.start(work, self.time.now + at)

    def run(self) -> list[tuple[Any, float]]:
        self.time.run()
        assert self.upstream.deeds.open == self.upstream.deeds.open_checks == 0
        return self.outcomes


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Down(), (ConnectError, 0.0)),
        (Unreachable(), (ConnectTimeout, 1.0)),
        (Hangs(), (FirstByteTimeout, 3.0)),
        (Resets(head=0.1), (ResetError, 0.1)),
        (Fails(spread=0, size=0), ((500, b""), 0.005)),
        (Cuts(median=0.1, spread=0), (TruncatedBodyError, 0.1)),
        (Answers(median=0.1, spread=0, body=0.2, size=3), ((200, bytes(3)), 0.3)),
        (Answers(median=0.1, spread=0, size=1), ((200, bytes(1)), 0.1)),
        (Answers(median=4.0, spread=0), (FirstByteTimeout, 3.0)),
    ],
)
def test_each_behaviour_meets_an_attempt_with_its_error_and_in_its_time(
    behaviour: Behaviour, outcome: tuple[Any, float]
) -> None:
    asking = Asking(usual=behaviour)
    asking.ask()
    assert asking.run() == [outcome]


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Down(), (ResetError, 0.25)),
        (Hangs(), (FirstByteTimeout, 3.0)),
        (Unreachable(), (FirstByteTimeout, 3.0)),
        (Fails(), ((200, bytes(1000)), 0.5)),
    ],
)
def test_what_is_under_way_when_trouble_begins(behaviour: Behaviour, outcome: tuple[Any, float]) -> None:
    asking = Asking((1.0, behaviour))
    asking.ask(at=0.75)
    assert asking.run() == [outcome]


@pytest.mark.parametrize(("behaviour", "error"), [(Down(), TruncatedBodyError), (Hangs(), ReadTimeout)])
def test_a_body_under_way_when_trouble_begins(behaviour: Behaviour, error: type[ProxyError]) -> None:
    asking = Asking((1.0, behaviour), usual=Answers(median=0.5, spread=0, body=1.0))
    asking.ask()
    assert asking.run()[0][0] is error
    assert asking.upstream.deeds.failed


def test_checks_have_a_timeout_of_their_own() -> None:
    asking = Asking(usual=Hangs())
    asking.ask(probe=0.5)
    assert asking.run() == [(FirstByteTimeout, 0.5)]
    assert (asking.upstream.deeds.attempts, asking.upstream.deeds.failed) == ([], [])
    assert asking.upstream.deeds.failures == [0.5]


def test_checks_can_be_fooled() -> None:
    asking = Asking(usual=Fails(fools_checks=True))
    asking.ask(probe=1.0)
    assert asking.run()[0][0][0] == 200


def test_who_has_few_workers_lets_the_others_wait_for_their_turn() -> None:
    asking = Asking(usual=Answers(median=1.0, spread=0, workers=2), read=10.0)
    for _ in range(5):
        asking.ask()
    assert [seconds for _, seconds in asking.run()] == [1.0, 1.0, 2.0, 2.0, 3.0]


def test_who_is_killed_with_requests_waiting_for_a_worker_resets_them_all() -> None:
    asking = Asking((1.5, Down()), usual=Answers(median=1.0, spread=0, workers=1), read=10.0)
    for _ in range(3):
        asking.ask()
    assert [outcome if isinstance(outcome, type) else 200 for outcome, _ in asking.run()] == [
        200, ResetError, ResetError
    ]  # fmt: skip


def test_a_check_that_only_connects() -> None:
    asking, seen = Asking(usual=Unreachable()), []

    def work() -> None:
        with pytest.raises(ConnectTimeout):
            asking.upstream.check_connect(0.25)
        seen.append(asking.time.elapsed)

    asking.time.start(work)
    asking.run()
    assert seen == [0.25]
