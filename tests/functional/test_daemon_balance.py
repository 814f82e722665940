"""Who gets the next request, seen over the wire."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, TIMEOUT, Backend, Daemon, Load, addresses, ask_on, kept, start_daemon
from tests.processes import wait_until

CHECK = "{interval: 100ms, jitter: 0, healthy_threshold: 1, unhealthy_threshold: 1}"


def test_round_robin_with_weights_5_1_1_gives_the_smooth_sequence(start: Start, tmp_path: Path) -> None:
    a, b, c = (Backend(start, name) for name in "abc")
    backends = f"[{{address: '{a.address}', weight: 5}}, '{b.address}', '{c.address}']"
    daemon = start_daemon(
        start, tmp_path, f"{FRONT}pools: {{web: {{backends: {backends}}}}}\nroutes: [{{pool: web}}]\n"
    )
    assert [daemon.ask("/").json()["name"] for _ in range(14)] == list("aabacaa") * 2


@pytest.mark.parametrize(
    ("balance", "least", "most"),
    [("least_conn", 0.08, 0.28), ("random_two", 0.08, 0.35), ("least_time", 0.01, 0.22), ("round_robin", 0.45, 0.55)],
    ids=str,
)
def test_balances_that_look_at_the_load_spare_a_slow_backend(
    start: Start, tmp_path: Path, balance: str, least: float, most: float
) -> None:
    fast, slow = Backend(start, "fast", delay=0.01), Backend(start, "slow", delay=0.05)
    pool = f"{{balance: {balance}, backends: ['{fast.address}', '{slow.address}']}}"
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    with Load(daemon.port, clients=12) as load:
        load.wait_for_more(400)
        answers = list(load.names)
    assert load.wrong == load.failed == []
    # With as many exchanges under way at each, one that takes five times as long gets a sixth of them.
    assert least < answers.count("slow") / len(answers) < most


def test_a_backup_works_only_while_no_other_is_there(start: Start, tmp_path: Path) -> None:
    main, spare = Backend(start, "main"), Backend(start, "spare")
    pool = f"{{backends: ['{main.address}', {{address: '{spare.address}', backup: true}}], health_check: {CHECK}}}"
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    for backend in (main, spare):
        daemon.wait_for_line(f"{backend.address} is healthy")
    assert {daemon.ask("/").json()["name"] for _ in range(5)} == {"main"}
    main.kill()
    daemon.wait_for_line(f"{main.address} is unhealthy")
    assert {daemon.ask("/").json()["name"] for _ in range(5)} == {"spare"}
    mark = daemon.mark
    main.restart()
    daemon.wait_for_line(f"{main.address} is healthy", mark)
    assert {daemon.ask("/").json()["name"] for _ in range(5)} == {"main"}


# --- hash -------------------------------------------------------------------------------------------------------------

KEYS = range(800)
# Of 800 keys that are dealt at random to five, one gets a fifth, with a standard deviation of 1.4 %: five of those.
TOLERANCE = 0.07
HEADERS: dict[str, Callable[[int], dict[str, str]]] = {
    "header:X-Tenant": lambda key: {"x-tenant": f"tenant {key}"},
    "cookie:session": lambda key: {"Cookie": f"theme=dark; session=s{key}"},
}
TARGETS: dict[str, Callable[[int], str]] = {
    "path": lambda key: f"/shop/{key}?page=2",
    "query:user": lambda key: f"/?page=2&user=u{key}",
}


def hash_config(backends: list[Backend], hash_on: str) -> str:
    pool = f"{{balance: hash, hash_on: '{hash_on}', backends: {addresses(backends)}}}"
    return f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n"


def owners(daemon: Daemon, hash_on: str, keys: range = KEYS) -> dict[int, str]:
    """Who answers each key, one after the other, on one connection where the key is not in the connection itself."""
    if hash_on == "client":
        return {key: ask_from(f"127.0.{1 + key // 100}.{1 + key % 100}", daemon.port) for key in keys}
    names = {}
    with kept(daemon.port) as connection:
        for key in keys:
            target = TARGETS.get(hash_on, lambda key: f"/varies/{key}")(key)
            headers = HEADERS.get(hash_on, lambda key: {})(key)
            names[key] = str(ask_on(connection, target, headers=headers).json()["name"])
    return names


def ask_from(host: str, port: int) -> str:
    """Who answers a client of that address."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, source_address=(host, 0))) as client:
        return str(ask_on(client, "/").json()["name"])


@pytest.fixture(scope="module", name="five")
def fixture_five(start_for_module: Start) -> list[Backend]:
    return [Backend(start_for_module, name) for name in "abcde"]


@pytest.mark.parametrize("hash_on", ["client", *HEADERS, *TARGETS], ids=str)
def test_a_key_keeps_its_backend_and_only_those_of_a_removed_one_move(
    start: Start, tmp_path: Path, five: list[Backend], hash_on: str
) -> None:
    daemon = start_daemon(start, tmp_path, hash_config(five, hash_on))
    before = owners(daemon, hash_on)
    parts = Counter(before.values())
    assert set(parts) == set("abcde")
    assert {name: count / len(KEYS) for name, count in parts.items()} == pytest.approx(
        dict.fromkeys("abcde", 1 / 5), abs=TOLERANCE
    )
    daemon.reload(hash_config([one for one in five if one.name != "c"], hash_on))
    without = owners(daemon, hash_on)
    moved = [key for key in KEYS if without[key] != before[key]]
    assert moved == [key for key in KEYS if before[key] == "c"], "the keys of the removed one, and no other"
    assert len(moved) / len(KEYS) <= 1 / 5 + TOLERANCE
    assert {without[key] for key in moved} == set("abde"), "they are spread over all that are left"
    daemon.reload(hash_config(five[::-1], hash_on))
    some = range(0, len(KEYS), 4)
    assert owners(daemon, hash_on, some) == {key: before[key] for key in some}, "in whatever order they are written"


def test_a_hot_key_leaves_its_backend_no_more_than_a_quarter_above_its_part(
    start: Start, tmp_path: Path, five: list[Backend]
) -> None:
    daemon = start_daemon(start, tmp_path, hash_config(five, "path"))
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(daemon.ask, "/hold/hot") for _ in range(20)]

        def waiting() -> list[int]:
            return [one.requests().count("GET /hold/hot") for one in five]

        wait_until(lambda: sum(waiting()) == 20, what="20 requests to be under way")
        assert max(waiting()) <= 5, "1.25 times a fifth of 20"
        for one, count in zip(five, waiting(), strict=True):
            for _ in range(count):
                one.go("hot")
        assert {answer.result().status for answer in answers} == {200}
