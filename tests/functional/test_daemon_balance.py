"""Who gets the next request, seen over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, Backend, Load, start_daemon

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
