from __future__ import annotations

import pytest

from wsgiproxy.server.admission import Admission


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_limit_nobody_is_counted() -> None:
    admission = Admission(0)
    for connection in range(100):
        assert admission.admits("192.0.2.1")
        admission.enter(connection, "192.0.2.1")
    assert repr(admission) == "<Admission 0 connections of 0 clients>"


def test_each_client_has_its_own_count() -> None:
    admission = Admission(2)
    for connection, address in enumerate(["192.0.2.1", "192.0.2.1", "192.0.2.2"]):
        assert admission.admits(address)
        admission.enter(connection, address)
    assert [admission.admits(address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3")] == [False, True, True]
    assert repr(admission) == "<Admission 3 connections of 2 clients>"


def test_whoever_leaves_makes_room_once() -> None:
    admission = Admission(1)
    admission.enter("a", "192.0.2.1")
    admission.leave("b")
    assert not admission.admits("192.0.2.1")
    for _ in range(2):
        admission.leave("a")
    assert admission.admits("192.0.2.1")
    assert repr(admission) == "<Admission 0 connections of 0 clients>"


def test_a_client_without_an_address_is_not_counted() -> None:
    admission = Admission(1)
    for connection in range(5):
        assert admission.admits("")
        admission.enter(connection, "")


def test_those_turned_away_are_told_of_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    admission = Admission(1, clock)
    admission.enter("a", "192.0.2.1")
    for _ in range(50):
        admission.admits("192.0.2.1")
    assert caplog.messages == [
        "192.0.2.1 has 1 connections open, no more are taken; turned away since the last such line: 1"
    ]
    clock.now += 1.0
    admission.admits("192.0.2.1")
    assert caplog.messages[1].endswith(": 50")
