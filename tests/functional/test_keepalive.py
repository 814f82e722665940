"""Backends that close idle connections under their clients' hands: nobody may notice. tests/soak is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Start
from tests.soak.pausing import ask_and_pause, start_closing_backend, start_gunicorn, start_pools

THREADS = ("--threads", "16", "--worker-connections", "1000")
AROUND = (1.6, 2.4)  # seconds between two requests of a client; gunicorn closes after 2


@pytest.mark.parametrize(
    ("worker", "more", "clients", "requests", "pauses"),
    [("gthread", THREADS, 200, 2, AROUND), ("sync", (), 20, 50, (0.0, 0.01))],
)
def test_clients_who_pause_for_as_long_as_gunicorn_keeps_connections_get_all_their_answers(
    start: Start, tmp_path: Path, worker: str, more: tuple[str, ...], clients: int, requests: int,
    pauses: tuple[float, float],
) -> None:  # fmt: skip
    daemon = start_pools(start, tmp_path, start_gunicorn(start, worker, *more), clients)
    tally = ask_and_pause(daemon.port, clients, requests, pauses)
    assert tally.asked > clients * requests
    assert not tally.failed, tally


def test_a_backend_that_closes_at_random_behind_its_answers_costs_no_request_that_may_be_repeated(
    start: Start, tmp_path: Path
) -> None:
    clients, requests = 20, 100
    daemon = start_pools(start, tmp_path, start_closing_backend(start, 1), clients)
    tally = ask_and_pause(daemon.port, clients, requests, (0.0, 0.04))
    assert tally.asked > clients * requests
    assert {kind[:4] for kind in tally.failed} <= {"POST"}, tally
    assert tally.failed.total() <= 2, tally  # until the backend is found out: nobody can know before
