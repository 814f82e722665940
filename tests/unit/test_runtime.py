"""The runtime: when things start, what a reload changes and what it leaves alone."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from wsgiproxy.config import schema
from wsgiproxy.errors import InvalidConfigError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.runtime import Runtime, count_parts
from wsgiproxy.transport.stream import Stream
from wsgiproxy.upstream.http import HttpUpstream
from wsgiproxy.upstream.inprocess import InProcessUpstream

Make = Callable[..., Runtime]

ONE = 'pools: {web: {backends: ["http://127.0.0.1:1"]}}\nroutes: [{pool: web}]\n'
TWO = 'pools: {web: {backends: ["http://127.0.0.1:1", "http://127.0.0.1:2"]}}\nroutes: [{pool: web}]\n'
CHECKED = """\
pools:
  web:
    backends: ["http://127.0.0.1:1"]
    health_check: {kind: tcp}
routes: [{pool: web}]
"""
BROKEN = 'pools: {web: {backends: ["http://127.0.0.1:1"], wieght: 3}}\nroutes: [{pool: wbe}]\n'


class ScriptedEvent:
    """A flag whose waits end at once, and say what the script says."""

    def __init__(self, waits: list[bool]) -> None:
        self.up = False
        self._waits = waits

    def set(self) -> None:
        self.up = True

    def is_set(self) -> bool:
        return self.up

    def wait(self, timeout: float | None = None) -> bool:
        return self.up or (self._waits.pop(0) if self._waits else True)


class Done:
    """A task that has ended."""

    def join(self, timeout: float | None = None) -> None:
        """Nothing to wait for."""


class FakeDriver:
    """Keeps what it should run in the background for the test to run; ``waits`` is what its events' waits say."""

    name = "fake"

    def __init__(self, waits: list[bool] | None = None) -> None:
        self.spawned: dict[str, Callable[[], None]] = {}
        self.events: list[ScriptedEvent] = []
        self._waits = waits or []

    def spawn(self, function: Callable[[], None], name: str) -> Done:
        self.spawned[name] = function
        return Done()

    def event(self) -> ScriptedEvent:
        self.events.append(ScriptedEvent(self._waits))
        return self.events[-1]

    def connect_tcp(self, host: str, port: int, deadline: float) -> Stream:
        raise AssertionError("nothing should connect here")

    def connect_unix(self, path: str, deadline: float) -> Stream:
        raise AssertionError("nothing should connect here")


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text(ONE)
    return path


@pytest.fixture(name="make")
def fixture_make(path: Path) -> Iterator[Make]:
    runtimes: list[Runtime] = []

    def make(driver: FakeDriver | None = None, **options: Callable[[schema.Config], None]) -> Runtime:
        runtimes.append(Runtime(str(path), driver or FakeDriver(), **options))
        return runtimes[-1]

    yield make
    for runtime in runtimes:
        runtime.close()


@pytest.fixture(name="app_module")
def fixture_app_module() -> Iterator[ModuleType]:
    """A module ``shop_for_test`` with a WSGI application ``app``."""
    module = ModuleType("shop_for_test")
    vars(module)["app"] = lambda environ, start_response: [b""]
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def backends(runtime: Runtime, pool: str = "web") -> tuple[Backend, ...]:
    return runtime.table.pools[pool].backends


def test_nothing_starts_before_the_table_is_asked_for(make: Make) -> None:
    driver = FakeDriver()
    runtime = make(driver)
    assert driver.spawned == {}
    assert "not started" in repr(runtime)
    assert runtime.table.generation == 1
    assert list(driver.spawned) == ["wsgiproxy-watch"]


def test_starting_again_changes_nothing(make: Make) -> None:
    runtime = make()
    assert runtime.table is runtime.start() is runtime.table


def test_a_file_that_was_edited_since_it_was_loaded_is_read_again_at_the_start(make: Make, path: Path) -> None:
    runtime = make()
    path.write_text(TWO)
    assert (len(backends(runtime)), runtime.table.generation) == (2, 1)


def test_a_file_that_was_broken_since_it_was_loaded_does_not_stop_the_start(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = make()
    path.write_text(BROKEN)
    assert len(backends(runtime)) == 1
    assert "wieght" in caplog.text


def test_a_broken_file_is_refused_before_anything_is_started(make: Make, path: Path) -> None:
    path.write_text(BROKEN)
    with pytest.raises(InvalidConfigError) as caught:
        make()
    assert len(caught.value.mistakes) == 2


def test_each_kind_of_address_gets_its_upstream(make: Make, path: Path, app_module: ModuleType) -> None:
    path.write_text(
        'pools: {web: {backends: ["http://[::1]", "unix:/run/app.sock", "app:shop_for_test:app"]}}\n'
        "routes: [{pool: web}]\n"
    )
    upstreams = [backend.upstream for backend in backends(make())]
    assert [type(upstream) for upstream in upstreams] == [HttpUpstream, HttpUpstream, InProcessUpstream]
    assert repr(upstreams[0]).startswith("<HttpUpstream [::1], ")
    assert repr(upstreams[1]).startswith("<HttpUpstream localhost, ")


def test_applications_that_cannot_be_imported_are_all_named_with_their_place(
    make: Make, path: Path, app_module: ModuleType
) -> None:
    path.write_text(
        "pools:\n"
        "  web:\n"
        "    backends:\n"
        '      - "app:no_such_module:app"\n'
        '      - "app:shop_for_test:app"\n'
        '      - "app:shop_for_test:ap"\n'
        "routes: [{pool: web}]\n"
    )
    with pytest.raises(InvalidConfigError) as caught:
        make()
    assert [(mistake.line, mistake.column, mistake.key) for mistake in caught.value.mistakes] == [
        (4, 9, "pools.web.backends[0]"),
        (6, 9, "pools.web.backends[2]"),
    ]
    assert "no_such_module" in str(caught.value)


def test_a_reload_swaps_the_table_and_keeps_the_backends_that_stay(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runtime = make()
    before = runtime.table
    (kept,) = backends(runtime)
    path.write_text(TWO)
    assert runtime.reload() is True
    assert runtime.table is not before
    assert runtime.table.generation == 2
    assert backends(runtime)[0] is kept
    assert len(backends(runtime)) == 2
    assert before.pools["web"].backends == (kept,)
    assert caplog.messages == [f"reloaded {path}: generation 2", "pool web: +http://127.0.0.1:2"]


def test_a_backend_that_is_gone_is_closed_and_the_others_are_not(make: Make, path: Path) -> None:
    path.write_text(TWO)
    runtime = make()
    staying, going = (backend.upstream for backend in backends(runtime))
    before = runtime.table
    path.write_text(ONE)
    runtime.reload()
    assert runtime.table is not before
    assert repr(going).endswith(" closed>>")
    assert not repr(staying).endswith(" closed>>")


def test_a_broken_reload_changes_nothing_and_logs_every_mistake(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = make()
    table, config = runtime.table, runtime.config
    path.write_text(BROKEN)
    assert runtime.reload() is False
    assert runtime.table is table
    assert runtime.config is config
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert messages[0].startswith(f"{path}:1:") and "wieght" in messages[0]
    assert messages[1].startswith(f"{path}:2:") and "wbe" in messages[1]
    assert messages[2] == f"{path} was not reloaded: generation 1 goes on"
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_a_file_that_is_gone_leaves_the_table(make: Make, path: Path) -> None:
    runtime = make()
    table = runtime.table
    path.unlink()
    assert runtime.reload() is False
    assert runtime.table is table
    path.write_text(TWO)
    assert runtime.reload() is True


def test_a_reload_before_the_start_or_after_the_end_does_nothing(make: Make) -> None:
    runtime = make()
    assert runtime.reload() is False
    table = runtime.table
    runtime.close()
    assert runtime.reload() is False
    assert runtime.table is table


def test_whoever_asked_for_it_is_told_of_accepted_configurations_only(make: Make, path: Path) -> None:
    told: list[schema.Config] = []
    runtime = make(on_reload=told.append)
    runtime.start()
    path.write_text(BROKEN)
    runtime.reload()
    assert told == []
    path.write_text(TWO)
    runtime.reload()
    assert told == [runtime.config]


def test_a_reload_during_a_reload_is_done_by_the_one_under_way(make: Make, path: Path) -> None:
    results: list[bool] = []

    def ask_again(config: schema.Config) -> None:
        if len(results) == 0:
            path.write_text(ONE)
            results.append(runtime.reload())

    runtime = make(on_reload=ask_again)
    runtime.start()
    path.write_text(TWO)
    assert runtime.reload() is True
    assert results == [False]
    assert runtime.table.generation == 3
    assert len(backends(runtime)) == 1


def test_the_watch_reloads_when_the_file_changed_and_ends_when_told(make: Make, path: Path) -> None:
    driver = FakeDriver(waits=[False, False, False])
    runtime = make(driver)
    runtime.start()
    path.write_text(TWO)
    driver.spawned["wsgiproxy-watch"]()
    assert (len(backends(runtime)), runtime.table.generation) == (2, 2)


def test_what_an_explicit_reload_has_read_is_no_news_to_the_watch(make: Make, path: Path) -> None:
    driver = FakeDriver(waits=[False, False, False, False])
    runtime = make(driver)
    runtime.start()
    path.write_text(TWO)
    runtime.reload()
    driver.spawned["wsgiproxy-watch"]()
    assert runtime.table.generation == 2


def test_a_defect_in_a_reload_is_logged_and_does_not_end_the_watch(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[schema.Config] = []

    def fail_once(config: schema.Config) -> None:
        calls.append(config)
        path.write_text(ONE)
        raise RuntimeError("a defect")

    driver = FakeDriver(waits=[False] * 6)
    runtime = make(driver, on_reload=fail_once)
    runtime.start()
    path.write_text(TWO)
    driver.spawned["wsgiproxy-watch"]()
    assert len(calls) == 2
    assert "a defect" in caplog.text


def test_backends_are_checked_from_the_start_and_after_a_reload_as_the_file_says(make: Make, path: Path) -> None:
    path.write_text(CHECKED)
    driver = FakeDriver()
    runtime = make(driver)
    runtime.start()
    assert sorted(driver.spawned) == ["health http://127.0.0.1:1", "wsgiproxy-watch"]
    driver.spawned.clear()
    path.write_text(CHECKED.replace('1"]', '1", "http://127.0.0.1:2"]'))
    runtime.reload()
    assert list(driver.spawned) == ["health http://127.0.0.1:2"]
    driver.spawned.clear()
    path.write_text(ONE)
    runtime.reload()
    assert driver.spawned == {}
    assert [event.is_set() for event in driver.events] == [True, False, True]  # check 1, watch, check 2


def test_closing_ends_the_checks_and_the_watch(make: Make, path: Path) -> None:
    path.write_text(CHECKED)
    driver = FakeDriver()
    runtime = make(driver)
    runtime.start()
    runtime.close()
    runtime.close()
    assert all(event.is_set() for event in driver.events)
    assert "closed" in repr(runtime)


def test_several_threads_that_ask_first_get_one_table(make: Make) -> None:
    driver = FakeDriver()
    runtime, tables = make(driver), list[object]()
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait(10)
        tables.append(runtime.table)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert tables == [runtime.table] * 8
    assert len(driver.events) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_anew_even_while_the_parent_holds_the_lock(make: Make) -> None:
    driver = FakeDriver()
    runtime = make(driver)
    table = runtime.table
    with runtime._lock:
        child = os.fork()
        if child == 0:
            try:
                anew = runtime.table is not table and len(driver.events) == 2
            finally:
                os._exit(0 if anew else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert runtime.table is table


def test_a_runtime_that_nobody_holds_any_more_goes(path: Path) -> None:
    reference = weakref.ref(Runtime(str(path), FakeDriver()))
    gc.collect()
    assert reference() is None


def test_parts_are_counted_with_their_right_number() -> None:
    assert count_parts(schema.Config()) == "0 pools, 0 backends, 0 routes"
    pool = schema.Pool(backends=(schema.Backend(address="http://a:1"), schema.Backend(address="http://b:1")))
    config = schema.Config(pools={"web": pool}, routes=(schema.Route(pool="web"),))
    assert count_parts(config) == "1 pool, 2 backends, 1 route"


def test_mistakes_found_later_still_have_their_place_in_the_file(make: Make, path: Path) -> None:
    assert str(make().error("pools.web", "too small")).startswith(f"{path}:1:")
