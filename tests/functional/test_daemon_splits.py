"""A route's requests shared by pools, seen over the wire."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import LOGGED, Backend, Daemon, ask_on, kept, log_record, start_daemon

REQUESTS = 400
TOLERANCE = 0.11  # five standard deviations of a share of 3/4


def config(tmp_path: Path, old: Backend, new: Backend, shares: str) -> str:
    pools = f"{{old: {{backends: ['{old.address}']}}, new: {{backends: ['{new.address}']}}}}"
    return f"{LOGGED % (tmp_path / 'access.log')}pools: {pools}\nroutes: [{{name: shop, pools: {shares}}}]\n"


def shares(daemon: Daemon) -> dict[str, float]:
    with kept(daemon.port) as connection:
        names = Counter(str(ask_on(connection, "/").json()["name"]) for _ in range(REQUESTS))
    return {name: count / REQUESTS for name, count in names.items()}


def test_a_canary_gets_its_share_and_a_reload_gives_it_more_until_it_has_all(start: Start, tmp_path: Path) -> None:
    old, new = Backend(start, "old"), Backend(start, "new")
    daemon = start_daemon(
        start, tmp_path, config(tmp_path, old, new, "[{pool: old, weight: 3}, {pool: new, weight: 1}]")
    )
    assert abs(shares(daemon)["new"] - 1 / 4) < TOLERANCE
    daemon.reload(config(tmp_path, old, new, "[{pool: old, weight: 1}, {pool: new, weight: 3}]"))
    assert abs(shares(daemon)["new"] - 3 / 4) < TOLERANCE
    daemon.reload(config(tmp_path, old, new, "[{pool: old, weight: 0}, {pool: new, weight: 1}]"))
    assert shares(daemon) == {"new": 1.0}
    daemon.ask("/logged")
    record = log_record(daemon, "/logged")
    assert (record["route"], record["pool"], record["backend"]) == ("shop", "new", new.address)
