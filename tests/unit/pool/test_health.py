"""The checks: what is asked, what counts as well, and how the loops begin, go on and end."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.processes import wait_until
from tests.unit.pool.scripted import CHECK, ScriptedUpstream, block, pool, table
from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectError, TruncatedBodyError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.health import MAX_BODY, USER_AGENT, Finding, HealthChecker, probe
from wsgiproxy.transport.thread import ThreadDriver


class Tick:
    """An event whose waits return at once, until as many as the test wants have passed."""

    def __init__(self, driver: Ticks) -> None:
        self._driver = driver
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        self._driver.waits.append(timeout)
        self._driver.after_wait(len(self._driver.waits))
        return self._set


class Ticks(ThreadDriver):
    """Runs each loop to its end on the spot; time passes only in ``waits``."""

    def __init__(self, after_wait: Callable[[int], None]) -> None:
        self.waits: list[float | None] = []
        self.after_wait = after_wait

    def event(self) -> Tick:
        return Tick(self)

    def spawn(self, function: Callable[[], None], name: str) -> threading.Thread:
        function()
        return threading.current_thread()


def upstream_of(backend: Backend) -> ScriptedUpstream:
    return cast(ScriptedUpstream, backend.upstream)


def run_checks(web_block: schema.Pool, script: list[int | Exception], chance: float = 0.5) -> tuple[Backend, Ticks]:
    """Run the loop of a pool's one backend, which answers its probes by the script and is then stopped."""
    web = table(web_block).pools["web"]
    (backend,) = web.backends
    backend.roster.chance = lambda: chance
    upstream = upstream_of(backend)
    upstream.answer = script[0]

    def after_wait(count: int) -> None:
        if count < len(script):
            upstream.answer = script[count]
        else:
            checker.stop()

    driver = Ticks(after_wait)
    checker = HealthChecker(driver)
    assert web_block.health_check is not None
    checker.update(web, web_block.health_check)
    return backend, driver


def reason_of(backend: Backend, check: schema.HealthCheck) -> str:
    """Why a check finds it bad; empty where it does not."""
    finding = probe(backend, check)
    assert finding is not None
    assert not finding.drains
    return finding.reason


@pytest.mark.parametrize(
    ("statuses", "answer", "well"),
    [
        (("200-399",), 200, True),
        (("200-399",), 399, True),
        (("200-399",), 400, False),
        (("200", "401-403"), 402, True),
        (("200", "401-403"), 201, False),
        (("200-399",), ConnectError("refused"), False),
    ],
)
def test_a_status_in_the_ranges_is_well_and_an_error_is_not(
    statuses: tuple[str, ...], answer: int | Exception, well: bool
) -> None:
    (backend,) = pool("a").backends
    upstream_of(backend).answer = answer
    assert (reason_of(backend, schema.HealthCheck(expected_statuses=statuses)) == "") is well
    assert all(body.closed for body in upstream_of(backend).bodies)


def test_a_check_asks_for_what_the_block_says() -> None:
    (backend,) = pool("a").backends
    probe(backend, schema.HealthCheck(path="/up?deep=1", method="HEAD", headers={"X-Check": "1"}, timeout=0.5))
    ((request, timeout),) = upstream_of(backend).probes
    assert (request.method, request.target, request.host, request.query) == ("HEAD", "/up?deep=1", "", "deep=1")
    assert {("User-Agent", USER_AGENT), ("X-Check", "1")} <= set(request.fields)
    assert timeout == 0.5


def test_a_check_names_the_host_that_it_is_given() -> None:
    (backend,) = pool("a").backends
    probe(backend, schema.HealthCheck(host="shop.example.org"))
    assert upstream_of(backend).probes[0][0].host == "shop.example.org"


def test_a_tcp_check_only_connects() -> None:
    (backend,) = pool("a").backends
    assert reason_of(backend, schema.HealthCheck(kind="tcp", timeout=0.5)) == ""
    assert (upstream_of(backend).connects, upstream_of(backend).probes) == ([0.5], [])


def test_the_first_check_comes_at_once_and_the_others_after_the_interval() -> None:
    backend, driver = run_checks(block("a", check=CHECK), [200, 200, 200])
    assert len(upstream_of(backend).probes) == 3
    assert driver.waits == [5.0, 5.0, 5.0]


def test_jitter_moves_a_check_by_its_share_of_the_interval() -> None:
    check = schema.HealthCheck(interval=10.0, jitter=0.2)
    assert run_checks(block("a", check=check), [200], chance=1.0)[1].waits == [12.0]
    assert run_checks(block("a", check=check), [200], chance=0.0)[1].waits == [8.0]


def test_each_change_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgiproxy.health")
    refused = ConnectError("refused")
    run_checks(block("a", check=CHECK), [200, 200, refused, refused, refused, refused, 200, 200, 200])
    changes = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in changes] == ["INFO", "WARNING", "INFO"]
    assert changes[1][1].startswith("pool web: http://a:80 is unhealthy: connect_error: refused")


def test_a_defect_in_a_probe_counts_as_bad_and_ends_no_loop(caplog: pytest.LogCaptureFixture) -> None:
    backend, _ = run_checks(block("a", check=CHECK), [RuntimeError("oops"), 200, 200])
    assert backend.health == "healthy"
    assert "oops" in caplog.text
    assert "Traceback" in caplog.text


def test_a_backend_that_hangs_delays_no_other() -> None:
    web = pool("slow", "b", check=CHECK)
    go_on = threading.Event()
    upstream_of(web.backends[0]).answer = lambda: 200 if go_on.wait(10) else 500
    checker = HealthChecker(ThreadDriver())
    checker.update(web, CHECK)
    try:
        wait_until(lambda: web.backends[1].health == "healthy")
        assert web.backends[0].health == "checking"
    finally:
        go_on.set()
        checker.stop()


def test_a_reload_that_changes_nothing_probes_nothing_and_new_backends_are_probed_at_once() -> None:
    old = table(block("a", "b", check=CHECK))
    a, b = old.pools["web"].backends
    checker = HealthChecker(ThreadDriver())
    checker.update(old.pools["web"], CHECK)
    try:
        wait_until(lambda: a.health == b.health == "healthy")
        new = table(block("a", "c", check=CHECK), old)
        checker.update(new.pools["web"], CHECK)
        wait_until(lambda: new.pools["web"].backends[1].health == "healthy")
        assert len(upstream_of(a).probes) == len(upstream_of(b).probes) == 1
        assert repr(checker) == "<HealthChecker of 2 backends, every 5 s>"
    finally:
        checker.stop()


def test_changed_settings_are_taken_at_once() -> None:
    hourly = schema.HealthCheck(interval=3600.0)
    web = pool("a", check=hourly)
    upstream = upstream_of(web.backends[0])
    checker = HealthChecker(ThreadDriver())
    checker.update(web, hourly)
    try:
        wait_until(lambda: web.backends[0].health == "healthy")
        checker.update(web, schema.HealthCheck(path="/other", interval=3600.0))
        wait_until(lambda: len(upstream.probes) == 2)
        assert upstream.probes[1][0].target == "/other"
    finally:
        checker.stop()


def test_a_change_says_how_many_checks_it_took(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgiproxy.health")
    run_checks(block("a", check=CHECK), [200, 503, 503, 503, 200, 200])
    assert [record.getMessage().partition(" is ")[2] for record in caplog.records] == [
        "healthy (1 good check)",
        "unhealthy: status 503 (3 bad checks in a row)",
        "healthy (2 good checks in a row)",
    ]


def test_an_application_of_this_process_sees_the_decoded_path() -> None:
    (backend,) = pool("a").backends
    probe(backend, schema.HealthCheck(path="/up%20now?deep=1"))
    assert upstream_of(backend).probes[0][0].path_info == "/up now"


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b'{"status": "up"}'], ""),
        ([b'{"sta', b'tus":', b"  ", b'"up"}'], ""),
        (["\u00fcber: status: up".encode()], ""),
        ([b"\xff\xfe status up"], ""),
        ([b'{"status": "down"}'], "the first 18 bytes of the body do not match expected_body"),
        ([], "the first 0 bytes of the body do not match expected_body"),
        ([b"x" * MAX_BODY + b"status up"], f"the first {MAX_BODY} bytes of the body do not match expected_body"),
        ([b"x" * (MAX_BODY - 9), b"status up", b"more"], ""),
        ([b"status up", TruncatedBodyError("cut")], "truncated_body: cut"),
    ],
)
def test_a_body_must_match_where_that_is_asked_for(pieces: list[bytes | Exception], reason: str) -> None:
    (backend,) = pool("a").backends
    upstream_of(backend).pieces = pieces
    assert reason_of(backend, schema.HealthCheck(expected_body=r'status[": ]+up')) == reason
    assert upstream_of(backend).bodies[0].closed


def test_no_more_of_a_body_is_read_than_is_looked_at() -> None:
    (backend,) = pool("a").backends
    upstream_of(backend).pieces = itertools.repeat(b"x" * 1000)
    assert reason_of(backend, schema.HealthCheck()) == ""
    assert reason_of(backend, schema.HealthCheck(expected_body="y"))
    assert [body.taken for body in upstream_of(backend).bodies] == [0, MAX_BODY // 1000 + 1]


@pytest.mark.parametrize(
    ("status", "fields", "check", "finding"),
    [
        (503, [("X-Maintenance", "drain")], {}, Finding("status 503 with X-Maintenance: drain", drains=True)),
        (503, [("x-maintenance", " Drain ")], {}, Finding("status 503 with X-Maintenance: drain", drains=True)),
        (503, [("X-Maintenance", "soon")], {}, Finding("status 503")),
        (503, [], {}, Finding("status 503")),
        (500, [("X-Maintenance", "drain")], {}, Finding("status 500")),
        (404, [], {}, Finding("status 404")),
        (404, [], {"drain_on_404": True}, Finding("status 404", drains=True)),
        (200, [("X-Maintenance", "drain")], {"drain_on_404": True}, Finding("")),
    ],
)
def test_an_answer_may_ask_to_be_drained(status: int, fields: Fields, check: dict[str, Any], finding: Finding) -> None:
    (backend,) = pool("a").backends
    upstream_of(backend).answer = status
    upstream_of(backend).fields = fields
    assert probe(backend, schema.HealthCheck(**check)) == finding


def test_to_be_drained_and_taken_back_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgiproxy.health")
    check = schema.HealthCheck(drain_on_404=True)
    backend, _ = run_checks(block("a", check=check), [200, 404, 404, 500, 200])
    assert backend.health == "healthy"
    assert [(record.levelname, record.getMessage().partition(" is ")[2]) for record in caplog.records] == [
        ("INFO", "healthy (1 good check)"),
        ("INFO", "draining: status 404 (1 drain check)"),
        ("INFO", "healthy (1 good check)"),
    ]


def test_an_unhealthy_backend_is_checked_at_an_interval_of_its_own() -> None:
    check = schema.HealthCheck(interval=5.0, interval_unhealthy=1.0, jitter=0.0)
    _, driver = run_checks(block("a", check=check), [200, 500, 500, 500, 500, 200, 200])
    assert driver.waits == [5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 5.0]


def test_a_check_says_how_long_it_took_by_the_clock_of_the_pool() -> None:
    web = pool("a", check=CHECK)
    (backend,) = web.backends
    now = 100.0

    def answer() -> int:
        nonlocal now
        now += 0.75
        return 200

    web.roster.clock = lambda: now
    upstream_of(backend).answer = answer
    checker = HealthChecker(Ticks(lambda _: checker.stop()))
    checker.update(web, CHECK)
    assert backend.results == ((100.75, "good", 0.75, ""),)


def test_another_port_is_asked_where_one_is_given() -> None:
    check = schema.HealthCheck(port=9000)
    (backend,) = pool("a", check=check).backends
    assert probe(backend, check) == Finding("")
    prober = cast(ScriptedUpstream, backend.prober)
    assert (prober.address, len(prober.probes), len(prober.blocks)) == ("http://a:9000", 1, 1)
    assert upstream_of(backend).probes == []


def test_another_port_comes_and_goes_with_a_reload_and_leaves_the_backend_its_state() -> None:
    plain, moved = block("a", check=CHECK), block("a", check=schema.HealthCheck(port=9000))
    first = table(plain)
    (backend,) = first.pools["web"].backends
    assert backend.prober is backend.upstream
    backend.record_check("down", 1, 1)
    second = table(moved, first)
    assert second.pools["web"].backends == (backend,)
    assert (backend.health, cast(ScriptedUpstream, backend.prober).address) == ("unhealthy", "http://a:9000")
    table(plain, second)
    assert backend.prober is backend.upstream
