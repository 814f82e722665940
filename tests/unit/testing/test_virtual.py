"""Virtual time: nothing waits for real, and everything comes in its order."""

from __future__ import annotations

import time

import pytest

from wsgiproxy.testing import VirtualTime


def test_time_passes_only_when_nobody_has_anything_to_do() -> None:
    virtual, seen = VirtualTime(), []

    def work(name: str, seconds: float) -> None:
        for _ in range(2):
            virtual.sleep(seconds)
            seen.append((name, virtual.elapsed))

    virtual.spawn(lambda: work("slow", 3600.0), "slow")
    virtual.spawn(lambda: work("quick", 1.0), "quick")
    began = time.monotonic()
    virtual.run()
    assert seen == [("quick", 1.0), ("quick", 2.0), ("slow", 3600.0), ("slow", 7200.0)]
    assert time.monotonic() - began < 60


def test_what_happens_at_one_instant_happens_in_the_order_in_which_it_was_called_for() -> None:
    virtual, seen = VirtualTime(), []
    for number in range(5):
        virtual.call_at(virtual.now + 1, lambda number=number: seen.append(number))  # type: ignore[misc]
    virtual.run()
    assert seen == [0, 1, 2, 3, 4]


def test_a_run_ends_at_its_instant_and_goes_on_from_there() -> None:
    virtual, seen = VirtualTime(), []
    virtual.start(lambda: (virtual.sleep(5), seen.append(virtual.elapsed)))
    virtual.run(virtual.now + 3)
    assert (virtual.elapsed, seen) == (3.0, [])
    virtual.run()
    assert seen == [5.0]


def test_what_is_called_off_does_not_happen() -> None:
    virtual, seen = VirtualTime(), []
    call_off = virtual.call_at(virtual.now + 1, lambda: seen.append(1))
    virtual.call_at(virtual.now + 0.5, call_off)
    virtual.run()
    assert seen == []


def test_an_event_wakes_all_who_wait_at_once_and_a_timeout_the_others() -> None:
    virtual, seen = VirtualTime(), []
    flag = virtual.event()

    def wait(seconds: float | None) -> None:
        seen.append((seconds, flag.wait(seconds), virtual.elapsed))

    for seconds in (None, 1.0, 3.0, 0.0):
        virtual.start(lambda seconds=seconds: wait(seconds))  # type: ignore[misc]
    virtual.call_at(virtual.now + 2, flag.set)
    virtual.run()
    assert seen == [(0.0, False, 0.0), (1.0, False, 1.0), (None, True, 2.0), (3.0, True, 2.0)]
    assert flag.is_set()
    assert repr(flag) == "<VirtualEvent set>"


def test_an_event_that_is_set_at_the_instant_of_a_timeout_wakes_once() -> None:
    virtual, seen = VirtualTime(), []
    flag = virtual.event()
    virtual.call_at(virtual.now + 1, flag.set)
    virtual.start(lambda: seen.append(flag.wait(1.0)))
    virtual.start(lambda: (virtual.sleep(2), seen.append("later")))
    virtual.run()
    assert seen == [True, "later"]


def test_a_task_can_be_joined() -> None:
    virtual, seen = VirtualTime(), []
    task = virtual.spawn(lambda: virtual.sleep(4), "task")

    def wait() -> None:
        task.join(1.0)
        seen.append(virtual.elapsed)
        task.join()
        seen.append(virtual.elapsed)

    virtual.start(wait)
    virtual.run()
    assert seen == [1.0, 4.0]


def test_what_a_task_raises_ends_the_run() -> None:
    virtual = VirtualTime()
    virtual.spawn(lambda: 1 / 0 and None, "wrong")
    with pytest.raises(ZeroDivisionError):
        virtual.run()


def test_only_tasks_wait_and_nobody_connects() -> None:
    virtual = VirtualTime()
    with pytest.raises(AssertionError, match="only a task may wait"):
        virtual.sleep(1)
    with pytest.raises(RuntimeError, match="connects to nobody"):
        virtual.connect_tcp("a", 1, 1.0)
    with pytest.raises(RuntimeError, match="connects to nobody"):
        virtual.connect_unix("/a", 1.0)
