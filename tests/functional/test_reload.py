"""The file is edited while the daemon serves: nobody notices but the requests that are meant to."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import (
    FRONT,
    Backend,
    Daemon,
    Load,
    addresses,
    connected,
    get,
    read_until,
    start_daemon,
)
from tests.processes import free_port


def config(backends: list[Backend], more: str = "") -> str:
    """One pool of these backends, behind one route; ``more`` are further lines of the pool."""
    return f"{FRONT}pools:\n  web:\n    backends: {addresses(backends)}\n{more}routes:\n  - {{pool: web}}\n"


@pytest.fixture(name="backends")
def fixture_backends(start: Start) -> list[Backend]:
    return [Backend(start, name) for name in "ab"]


def names(daemon: Daemon, count: int = 4) -> set[str]:
    """Who answers."""
    return {daemon.ask("/").json()["name"] for _ in range(count)}


def write_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def replace_by_rename(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def swap_symlink(path: Path, text: str) -> None:
    """As Kubernetes does with a ConfigMap: the file is a link through a directory link that is replaced."""
    folder = path.parent
    target = folder / f"generation-{len(list(folder.iterdir()))}"
    target.mkdir()
    (target / path.name).write_text(text)
    (folder / "next").symlink_to(target.name)
    (folder / "next").rename(folder / "current")
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(f"current/{path.name}")


@pytest.mark.parametrize("edit", [write_in_place, replace_by_rename, swap_symlink])
def test_an_edit_takes_effect_by_itself(
    start: Start, tmp_path: Path, backends: list[Backend], edit: Callable[[Path, str], None]
) -> None:
    a, b = backends
    path = tmp_path / "wsgiproxy.yaml"
    edit(path, config([a]))
    daemon = Daemon(start, path)
    with Load(daemon.port, clients=2) as load:
        assert names(daemon) == {"a"}
        edit(path, config([b]))
        daemon.wait_for_line("reloaded ")
        assert names(daemon) == {"b"}
    assert load.wrong == load.failed == []


def test_twenty_reloads_under_load_fail_no_request(start: Start, tmp_path: Path, backends: list[Backend]) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a, b]))
    versions = itertools.cycle([[a], [b], [b, a], [a, b]])
    with Load(daemon.port) as load:
        for _ in range(20):
            version = next(versions)
            daemon.reload(config(version))
            load.wait_for_answers_of(version[0].name)
            load.wait_for_more(20)
    assert load.wrong == load.failed == []
    assert "generation 21" in daemon.process.output()


def test_a_storm_of_hangups_ends_with_the_last_version(start: Start, tmp_path: Path, backends: list[Backend]) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a, b]))
    with Load(daemon.port, clients=4) as load:
        for version in range(50):
            replace_by_rename(daemon.config, config([backends[version % 2]]))
            daemon.process.send_signal(signal.SIGHUP)
        load.wait_for_more(20)
        mark = daemon.mark
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_line("reloaded ", mark)
        assert names(daemon) == {"b"}
    assert load.wrong == load.failed == []


def test_what_is_under_way_on_a_removed_backend_is_finished(
    start: Start, tmp_path: Path, backends: list[Backend]
) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([b]))
    with ThreadPoolExecutor() as threads, connected(daemon.port) as client:
        before_head = threads.submit(daemon.ask, "/hold/one")
        b.wait_for_request("GET /hold/one")
        client.sendall(get("/stepped/two/2"))
        b.go("two")
        data = read_until(client, b"piece 0")
        daemon.reload(config([a]))
        assert names(daemon) == {"a"}
        b.go("one")
        assert before_head.result().json()["name"] == "b"
        b.go("two")
        assert b"piece 1" in read_until(client, b"0\r\n\r\n", data)
    assert b.stats()["cancelled"] == []


def test_an_unchanged_backend_keeps_its_idle_connection(start: Start, tmp_path: Path, backends: list[Backend]) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a]))
    for version in ([a, b], [b, a], [a]):
        assert "a" in names(daemon)
        daemon.reload(config(version, "    balance: least_conn\n"))
    assert names(daemon) == {"a"}
    assert a.stats()["connections"] == 1


def test_an_unchanged_backend_keeps_its_health(start: Start, tmp_path: Path, backends: list[Backend]) -> None:
    a, b = backends
    dead = free_port()
    check = "    health_check: {path: /healthz, interval: 60s}\n"
    text = config([a], check).replace("backends: [", f'backends: ["http://127.0.0.1:{dead}", ')
    daemon = start_daemon(start, tmp_path, text)
    daemon.wait_for_line(f"http://127.0.0.1:{dead} is unhealthy")
    daemon.wait_for_line(f"{a.address} is healthy")
    mark = daemon.mark
    daemon.reload(text.replace("backends: [", f'backends: ["{b.address}", '))
    daemon.wait_for_line(f"{b.address} is healthy", mark)
    assert names(daemon) == {"a", "b"}
    assert a.stats()["checks"] == 1, "it was checked anew"
    assert b.stats()["checks"] == 1
    assert "healthy" not in daemon.process.output()[mark:].replace(f"{b.address} is healthy", "")


@pytest.mark.parametrize("by_signal", [True, False], ids=["SIGHUP", "edit"])
def test_a_broken_file_changes_nothing_and_every_mistake_is_told(
    start: Start, tmp_path: Path, backends: list[Backend], by_signal: bool
) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a]))
    mark = daemon.mark
    broken = config([b], "    balanse: least_conn\n    timeouts: {connect: soon}\n").replace(
        "{pool: web}", "{pool: wob}"
    )
    with Load(daemon.port, clients=2) as load:
        daemon.config.write_text(broken)
        if by_signal:
            daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_line("was not reloaded: generation 1 goes on", mark)
        load.wait_for_more(20)
    said = daemon.process.output()[mark:]
    assert f'{daemon.config}:7:5: pools.web: unknown key "balanse", did you mean "balance"?' in said
    assert f"{daemon.config}:8:25: pools.web.timeouts.connect: " in said
    assert f"{daemon.config}:10:12: routes[0].pool: " in said
    assert "Traceback" not in said
    assert load.failed == load.wrong == []
    assert names(daemon) == {"a"}
    daemon.reload(config([b]))
    assert names(daemon) == {"b"}


def test_a_file_that_is_gone_changes_nothing(start: Start, tmp_path: Path, backends: list[Backend]) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a]))
    mark = daemon.mark
    daemon.config.unlink()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_line("was not reloaded", mark)
    assert str(daemon.config) in daemon.process.output()[mark:]
    assert names(daemon) == {"a"}
    daemon.reload(config([b]))
    assert names(daemon) == {"b"}


def test_a_changed_daemon_block_waits_for_a_restart_and_says_so(
    start: Start, tmp_path: Path, backends: list[Backend]
) -> None:
    a, b = backends
    daemon = start_daemon(start, tmp_path, config([a]))
    mark = daemon.mark
    daemon.reload(config([b]).replace("127.0.0.1:0", f"127.0.0.1:{free_port()}"))
    daemon.wait_for_line("daemon: changed; takes effect on restart", mark)
    assert names(daemon) == {"b"}
