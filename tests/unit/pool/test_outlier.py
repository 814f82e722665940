"""Passive health: who is ejected after failures, for how long, and who never is."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.unit.pool.scripted import CHECK, address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool


class Scene:
    """A pool with a clock of its own."""

    def __init__(self, names: str, check: schema.HealthCheck | None = None, **block: Any) -> None:
        backends = tuple(schema.Backend(address=address(name)) for name in names)
        outliers = schema.Outliers(**block) if block.get("on", True) else None
        given = schema.Pool(backends=backends, outliers=outliers, health_check=check, panic_threshold=0)
        self.pool: Pool = table(given).pools["web"]
        self.now = 1000.0
        self.pool.roster.clock = lambda: self.now

    def backend(self, name: str) -> Backend:
        return next(backend for backend in self.pool.backends if name_of(backend.address) == name)

    def attempt(self, name: str, status: int = 200, failed: bool = False) -> None:
        """One attempt at that backend: answered with ``status`` (0: not at all), and then cut or not."""
        lease = self.pool.acquire([other for other in self.pool.backends if name_of(other.address) != name])
        if status:
            lease.answered(status)
        lease.release(failed)

    def fail(self, name: str, times: int = 5) -> None:
        for _ in range(times):
            self.attempt(name, status=0, failed=True)

    def takers(self) -> str:
        """Who gets work now."""
        names = set()
        for _ in range(3 * len(self.pool.backends)):
            lease = self.pool.acquire()
            lease.release()
            names.add(name_of(lease.backend.address))
        return "".join(sorted(names))


def test_a_backend_that_fails_so_often_in_a_row_gets_no_work_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene("abc")
    scene.fail("a", 4)
    assert scene.takers() == "abc"
    scene.fail("a", 1)
    assert scene.takers() == "bc"
    assert ", ejected, " in repr(scene.backend("a"))
    scene.now += 9.9
    assert scene.takers() == "bc"
    scene.now += 0.1
    assert scene.takers() == "abc"
    assert [record.getMessage() for record in caplog.records] == [
        "pool web: http://a:80 is ejected for 10 s: 5 failures in a row",
        "pool web: http://a:80 is no longer ejected",
    ]


def test_each_further_ejection_is_longer_until_it_has_behaved_for_long() -> None:
    scene, waits = Scene("ab", max_ejection_time=25.0), []
    for _ in range(4):
        scene.fail("a")
        waits.append(scene.backend("a").ejected_until - scene.now)
        scene.now += waits[-1]
        assert scene.takers() == "ab"
    assert waits == [10, 20, 25, 25]
    scene.now += 60
    scene.fail("a")
    assert scene.backend("a").ejected_until - scene.now == 10


def test_an_answer_in_between_begins_the_row_anew_but_not_one_that_is_cut() -> None:
    scene = Scene("ab")
    for _ in range(3):
        scene.fail("a", 4)
        scene.attempt("a")
    assert scene.takers() == "ab"
    for _ in range(5):
        scene.attempt("a", 200, failed=True)
    assert scene.takers() == "b"


def test_what_is_nobodys_fault_counts_neither_way() -> None:
    scene = Scene("ab")
    scene.fail("a", 4)
    for _ in range(9):
        scene.attempt("a", status=0)  # a client that left before the answer
    scene.fail("a", 1)
    assert scene.takers() == "b"


def test_the_last_backend_is_never_ejected() -> None:
    scene = Scene("a")
    scene.fail("a", 20)
    assert scene.takers() == "a"
    pair = Scene("ab", max_ejection_percent=100)
    pair.fail("a")
    pair.fail("b", 20)
    assert pair.takers() == "b"


def test_where_nobody_else_is_left_the_ejected_work() -> None:
    scene = Scene("ab", CHECK)
    for backend in scene.pool.backends:
        backend.record_check("", 1, 1)
    scene.fail("a")
    assert scene.takers() == "b"
    scene.backend("b").record_check("down", 1, 1)
    assert scene.takers() == "a"


@pytest.mark.parametrize(("percent", "left"), [(50, "cd"), (25, "bcd"), (0, "bcd"), (100, "d")])
def test_no_more_are_ejected_at_once_than_may_be(percent: int, left: str) -> None:
    scene = Scene("abcd", max_ejection_percent=percent)
    for name in "abcd":
        scene.fail(name)
    assert scene.takers() == left


def test_answers_with_a_5xx_status_count_where_that_is_asked_for() -> None:
    scene = Scene("ab", consecutive_5xx=3)
    for status in (500, 503, 200, 500, 502):
        scene.attempt("a", status)
    assert scene.takers() == "ab"
    scene.attempt("a", 500)
    assert scene.takers() == "b"
    plain = Scene("ab")
    for _ in range(50):
        plain.attempt("a", 500)
    assert plain.takers() == "ab"


def test_a_good_check_ends_an_ejection() -> None:
    scene = Scene("ab", CHECK)
    for backend in scene.pool.backends:
        backend.record_check("", 1, 1)
    scene.fail("a")
    assert scene.takers() == "b"
    scene.backend("a").record_check("", 1, 1)
    assert scene.takers() == "ab"


def test_nobody_is_ejected_where_that_is_off() -> None:
    backends = tuple(schema.Backend(address=address(name)) for name in "ab")
    web = table(schema.Pool(backends=backends, outliers=None)).pools["web"]
    for _ in range(30):
        web.acquire().release(failed=True)
    assert not any(backend.ejected_until for backend in web.backends)


def test_a_request_of_before_a_reload_leaves_nobody_ejected_for_ever() -> None:
    scene = Scene("ab")
    before = scene.pool
    first = table(before.block)
    first.pools["web"] = before  # type: ignore[index]
    given = schema.Pool(backends=tuple(schema.Backend(address=address(name)) for name in "abc"))
    scene.pool = table(given, first).pools["web"]
    scene.fail("c")
    assert scene.takers() == "ab"
    scene.now += 10
    before.acquire().release()
    assert scene.takers() == "abc"


def test_an_ejection_outlives_a_reload() -> None:
    scene = Scene("ab")
    scene.fail("a")
    before = scene.pool
    given = schema.Pool(backends=tuple(schema.Backend(address=address(name)) for name in "abc"))
    generation = table(before.block)
    generation.pools["web"] = before  # type: ignore[index]
    scene.pool = table(given, generation).pools["web"]
    assert scene.takers() == "bc"
    scene.now += 10
    assert scene.takers() == "abc"
