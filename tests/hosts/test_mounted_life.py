"""One suite for every host server: what the mounted proxy holds, starts and ends in the host's processes."""

from __future__ import annotations

import hashlib
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import Backend, connected, get, read_until
from tests.hosts.servers import (
    GEVENT_PRELOADED,
    GTHREAD_PRELOADED,
    OWN,
    SLACK,
    WAITRESS,
    WSGIREF,
    Mounted,
    on_hosts,
    start_host,
)
from tests.processes import accepts, wait_until

# What a host cannot do, and why.
NOT_BY_NAME = {OWN: "our server patches nothing: a proxy in it must be given the server's driver, as the daemon does"}
ENDED_BY_SIGTERM = {
    WAITRESS: "waitress leaves SIGTERM to its default work",
    WSGIREF: "wsgiref leaves SIGTERM to its default work",
}

CLIENTS = 32
REQUESTS_EACH = 32
EDIT_TIMEOUT = 4.0  # seconds: two looks at the file, a second apart, and a busy machine
EDITED = 299  # the status of the route that an edit adds
IN_A_ROW = 12  # answers, which come from all workers of a host


def crowd(mounted: Mounted) -> list[str]:
    """Many clients at once, each with requests of its own; what was wrong with the answers."""

    def one(client: int) -> list[str]:
        wrong = []
        with mounted.kept() as connection:
            for number in range(REQUESTS_EACH):
                target = f"/load/{client}/{number}"
                body = target.encode() * number if number % 4 == 0 else None
                answer = mounted.ask_on(connection, target, "POST" if body else "GET", body)
                seen = answer.json() if answer.status == 200 else {}
                found = (answer.status, seen.get("target"), seen.get("sha256"))
                if found != (200, target, hashlib.sha256(body or b"").hexdigest()):
                    wrong.append(f"{target}: {answer}")
        return wrong

    with ThreadPoolExecutor(CLIENTS) as clients:
        return [complaint for found in clients.map(one, range(CLIENTS)) for complaint in found]


def answers_of(mounted: Mounted, target: str) -> set[int]:
    """The statuses of several answers in a row."""
    return {mounted.ask(target).status for _ in range(IN_A_ROW)}


def wait_for_all_workers(mounted: Mounted) -> None:
    """Wait until each worker has answered, by a connection of its own to the backend.

    gunicorn loses a SIGTERM for a worker that is still starting, and kills it after the graceful timeout.
    """
    met: set[int] = set()

    def all_were_met() -> bool:
        met.add(mounted.ask("/proxied").json()["connection"])
        return len(met) >= mounted.host.workers

    wait_until(all_were_met, what="each worker to answer")


def write_route(config: Path, path: str) -> None:
    """Add a route, which gives an answer of its own, to the end of a file."""
    with config.open("a") as file:
        file.write(f"  - {{match: {{path: {path}}}, respond: {{status: {EDITED}}}}}\n")


@on_hosts()
def test_the_driver_is_the_hosts_own_and_a_threaded_host_never_imports_gevent(mounted: Mounted) -> None:
    with mounted.kept() as connection:
        assert mounted.ask_on(connection, "/proxied").status == 200
    facts = mounted.ask("/inside").json()
    is_greenlet = mounted.host.driver == "greenlet"
    assert facts["modules"] == (["gevent", "wsgiproxy.transport.greenlet"] if is_greenlet else [])
    assert ("wsgiproxy-watch" in facts["threads"]) is not is_greenlet


@on_hosts()
def test_many_clients_get_right_answers_and_nothing_is_left_open(mounted: Mounted) -> None:
    assert crowd(mounted) == []
    before = mounted.held()
    assert crowd(mounted) == []

    def settled() -> bool:
        after = mounted.held()
        return all(after[kind] <= before[kind] + SLACK for kind in before)

    wait_until(settled, 5, f"no more than {before} to be held; now {mounted.held()}")


@on_hosts(hosts=(GTHREAD_PRELOADED, GEVENT_PRELOADED))
def test_each_worker_of_a_preloading_host_works(mounted: Mounted) -> None:
    backends_by_worker: dict[int, set[int]] = {}

    def every_worker_was_met() -> bool:
        with mounted.kept() as connection:  # which stays with one worker
            pid = mounted.ask_on(connection, "/inside").json()["pid"]
            answer = mounted.ask_on(connection, "/proxied").json()
            assert mounted.ask_on(connection, "/inside").json()["pid"] == pid
            backends_by_worker.setdefault(pid, set()).add(answer["connection"])
        return len(backends_by_worker) == mounted.host.workers

    wait_until(every_worker_was_met, what="each worker to answer")
    assert mounted.process.pid not in backends_by_worker
    first, second = backends_by_worker.values()
    assert not first & second, "two processes must not share a connection"


@on_hosts()
def test_checks_take_a_dead_backend_out_and_bring_it_back(mounted: Mounted, beta: Backend) -> None:
    assert answers_of(mounted, "/beta") == {200}
    beta.kill()
    wait_until(lambda: answers_of(mounted, "/beta") == {503}, what="the dead backend to be taken out")
    assert mounted.ask("/proxied").status == 200
    beta.restart()
    wait_until(lambda: answers_of(mounted, "/beta") == {200}, what="it to be brought back")


@on_hosts()
def test_an_edit_under_load_takes_effect_in_each_worker(mounted: Mounted) -> None:
    assert "mounted_at" in mounted.ask("/edited").json()
    write_route(mounted.config, "/edited")
    assert crowd(mounted) == []
    wait_until(lambda: answers_of(mounted, "/edited") == {EDITED}, EDIT_TIMEOUT, "the edit to take effect")
    assert mounted.ask("/proxied").status == 200


@on_hosts(NOT_BY_NAME, run=False)
def test_the_mount_module_needs_no_code_and_ends_without_a_word_of_trouble(start: Start, mounted: Mounted) -> None:
    alone = start_host(start, mounted.host, mounted.config, "wsgiproxy.mount:application")
    wait_for_all_workers(alone)
    assert alone.ask("/proxied", "POST", b"x" * 100_000).json()["size"] == 100_000
    assert (alone.ask("/inside").status, alone.ask("/inside").body) == (404, b"404 Not Found\n")
    assert alone.ask("/known_dead").status in (502, 503)
    ends_cleanly(alone)


@on_hosts(ENDED_BY_SIGTERM)
def test_an_answer_under_way_is_finished_before_the_host_ends(start: Start, mounted: Mounted, backend: Backend) -> None:
    alone = start_host(start, mounted.host, mounted.config)
    wait_for_all_workers(alone)
    key = f"end-{alone.port}"
    with connected(alone.port) as client:
        client.sendall(get(f"{alone.host.prefix}/stepped/{key}/2?sized"))
        backend.go(key)
        seen = read_until(client, b"piece 0\n\n")
        alone.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: "Handling signal" in alone.process.output() or not accepts(alone.port), what="it to be ending"
        )
        backend.go(key)
        read_until(client, b"piece 1\n\n", seen)
    ends_cleanly(alone)


def ends_cleanly(mounted: Mounted) -> None:
    """End a host by SIGTERM, unless it has ended: the status is its usual one, and it has nothing to complain of."""
    assert mounted.process.stop(signal.SIGTERM) == mounted.host.exit_status
    assert "Traceback" not in mounted.process.output()
    assert "Exception" not in mounted.process.output()
    wait_until(lambda: not mounted.process.family_alive(), what="all workers to end")
