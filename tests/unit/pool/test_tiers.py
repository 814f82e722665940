"""Who is asked first, and when all must help."""

from __future__ import annotations

import logging

import pytest

from tests.unit.pool.scripted import CHECK, address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.errors import NoBackendError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool


def panicky(names: str, threshold: int = 50, backups: str = "", **block: object) -> Pool:
    """A checked pool of healthy backends."""
    backends = tuple(schema.Backend(address=address(name), backup=name in backups) for name in names)
    given = schema.Pool(backends=backends, health_check=CHECK, panic_threshold=threshold, **block)  # type: ignore[arg-type]
    web = table(given).pools["web"]
    for backend in web.backends:
        backend.record_check("", 1, 1)
    return web


def fell(web: Pool, names: str) -> Pool:
    """Those of the pool's backends are down."""
    for backend in web.backends:
        if name_of(backend.address) in names:
            backend.record_check("down", 1, 1)
    return web


def takers(web: Pool, exclude: tuple[Backend, ...] = ()) -> str:
    """Who gets the next dozen of attempts."""
    names = set()
    for _ in range(12):
        lease = web.acquire(exclude)
        lease.release()
        names.add(name_of(lease.backend.address))
    return "".join(sorted(names))


def test_while_enough_are_available_only_they_work() -> None:
    assert takers(fell(panicky("abcd"), "ab")) == "cd"


def test_where_fewer_are_available_all_work() -> None:
    assert takers(fell(panicky("abcd"), "abc")) == "abcd"
    assert takers(fell(panicky("abcd"), "abcd")) == "abcd"


@pytest.mark.parametrize(("threshold", "expected"), [(0, "d"), (25, "d"), (26, "abcd"), (100, "abcd")])
def test_how_few_is_for_the_pool_to_say(threshold: int, expected: str) -> None:
    assert takers(fell(panicky("abcd", threshold), "abc")) == expected


def test_without_panic_nobody_works_where_nobody_is_available() -> None:
    with pytest.raises(NoBackendError):
        fell(panicky("abcd", 0), "abcd").acquire()


def test_a_group_that_is_well_keeps_a_pool_from_panic() -> None:
    assert takers(fell(panicky("abcd", backups="d"), "abc")) == "d"
    assert takers(fell(panicky("abcde", backups="de"), "abd")) == "c"
    assert takers(fell(panicky("abcdef", backups="def"), "abcde")) == "abcdef"


def test_nobody_works_by_panic_who_was_told_not_to() -> None:
    web = fell(panicky("abcd"), "abc")
    web.backends[0].admin_state = "maint"
    web.backends[1].weight = 0
    web.roster.changes += 1
    assert takers(web) == "d", "one of two is half, and no panic"
    assert takers(fell(web, "d")) == "cd"


def test_a_retry_goes_to_whom_is_available_even_in_panic() -> None:
    web = fell(panicky("abcd"), "abc")
    a, d = web.backends[0], web.backends[3]
    assert takers(web, (a,)) == "d"
    assert takers(web, (d,)) == "abc"


def test_a_retry_is_free_after_a_gamble_and_no_other() -> None:
    web = fell(panicky("abcd", retries=schema.Retries(budget=schema.RetryBudget(percent=0, per_second=0))), "abc")
    by_name = {}
    for _ in range(8):
        lease = web.acquire()
        by_name[name_of(lease.backend.address)] = lease
    a, d = web.backends[0], web.backends[3]
    assert (by_name["a"].gamble, by_name["d"].gamble) == (True, False)
    assert web.may_retry(by_name["a"], [a])
    assert not web.may_retry(by_name["a"], [a, d]), "nobody better is left"
    assert not web.may_retry(by_name["d"], [d])
    fell(web, "d")
    assert not web.may_retry(by_name["a"], [a])


def test_a_panic_and_its_end_are_each_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    web = panicky("abcd")
    takers(web)
    caplog.clear()
    takers(fell(web, "abc"))
    assert caplog.messages == ["pool web: panic: 1 of 4 backends are available, all that are ready get work"]
    web.backends[0].record_check("", 1, 1)
    web.check_available()
    takers(web)
    assert caplog.messages[1:] == ["pool web: no panic any more: 2 of 4 backends are available"]


def test_a_panic_spares_who_asks_to_be_drained_and_who_waits_for_its_first_check() -> None:
    old = table(
        schema.Pool(backends=tuple(schema.Backend(address=address(name)) for name in "abc"), health_check=CHECK)
    )
    for backend in old.pools["web"].backends:
        backend.record_check("", 1, 1)
    given = schema.Pool(backends=tuple(schema.Backend(address=address(name)) for name in "abcd"), health_check=CHECK)
    web = table(given, old).pools["web"]
    web.backends[0].record_check("status 503", 1, 1, drains=True)
    assert takers(web) == "bc"
    assert takers(fell(web, "bc")) == "bc"
