"""Full backends, slow ones, and ones that say no: what clients and backends see of queue, hedging and retries."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import LOGGED, Answer, Backend, Daemon, addresses, connected, get, log_record, start_daemon
from tests.processes import wait_until


def serve(start: Start, tmp_path: Path, pool: str) -> Daemon:
    """A daemon with one pool that logs all about each request."""
    text = f"{LOGGED % (tmp_path / 'access.log')}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n"
    return start_daemon(start, tmp_path, text)


class Client:
    """One request in a thread of its own."""

    def __init__(self, daemon: Daemon, target: str) -> None:
        self.answer: Answer | None = None
        self._thread = threading.Thread(target=self._ask, args=(daemon, target))
        self._thread.start()

    def _ask(self, daemon: Daemon, target: str) -> None:
        self.answer = daemon.ask(target)

    def join(self) -> Answer:
        self._thread.join(20)
        assert self.answer is not None
        return self.answer


def test_requests_wait_for_a_full_backend_and_past_the_queue_they_are_told_when_to_come_back(
    start: Start, tmp_path: Path
) -> None:
    a = Backend(start, "a")
    pool = f"{{backends: [{{address: '{a.address}', max_in_flight: 1}}], max_queue: 2, timeouts: {{queue: 20s}}}}"
    daemon = serve(start, tmp_path, pool)
    clients = [Client(daemon, f"/hold/x?{number}") for number in range(10)]
    wait_until(lambda: sum(client.answer is not None for client in clients) == 7, what="seven to be refused")
    refused = [client.answer for client in clients if client.answer is not None]
    assert {(answer.status, answer.field("Retry-After")) for answer in refused} == {(503, "1")}
    for served in range(1, 4):
        wait_until(lambda number=served: len(a.requests()) == number, what="the next one in the queue")
        a.go("x")
    assert [client.join().status for client in clients].count(200) == 3
    records = [log_record(daemon, f"/hold/x?{number}") for number in range(10)]
    assert sorted(record["reason"] for record in records) == ["done"] * 3 + ["pool_full"] * 7
    assert sum(record["queue_seconds"] > 0 for record in records) == 2


def test_a_client_that_goes_while_it_waits_is_never_served(start: Start, tmp_path: Path) -> None:
    a = Backend(start, "a")
    daemon = serve(start, tmp_path, f"{{backends: [{{address: '{a.address}', max_in_flight: 1}}]}}")
    first = Client(daemon, "/hold/0")
    a.wait_for_request("GET /hold/0")
    with connected(daemon.port) as client:
        client.sendall(get("/gone"))
    assert log_record(daemon, "/gone")["reason"] == "client_disconnected"
    a.go("0")
    assert first.join().status == 200
    assert daemon.ask("/next").status == 200
    assert a.requests() == ["GET /hold/0", "GET /next"]


def test_a_request_that_waits_too_long_is_told_to_come_back(start: Start, tmp_path: Path) -> None:
    a = Backend(start, "a")
    pool = f"{{backends: [{{address: '{a.address}', max_in_flight: 1}}], timeouts: {{queue: 50ms}}}}"
    daemon = serve(start, tmp_path, pool)
    first = Client(daemon, "/hold/0")
    a.wait_for_request("GET /hold/0")
    answer = daemon.ask("/late")
    assert (answer.status, answer.field("Retry-After")) == (503, "1")
    assert (log_record(daemon, "/late")["reason"], log_record(daemon, "/late")["attempts"]) == ("queue_timeout", 0)
    a.go("0")
    assert first.join().status == 200


def test_a_slow_backend_is_hedged_and_its_request_is_cut_off(start: Start, tmp_path: Path) -> None:
    slow, quick = Backend(start, "slow"), Backend(start, "quick")
    backends = f"['{slow.address}', {{address: '{quick.address}', weight: 1}}]"
    daemon = serve(start, tmp_path, f"{{backends: {backends}, retries: {{hedge_after: 50ms}}}}")
    held = Client(daemon, "/hold/x")
    slow.wait_for_request("GET /hold/x")
    quick.wait_for_request("GET /hold/x")
    quick.go("x")
    assert held.join().json()["name"] == "quick"
    slow.wait_for_cancelled("GET /hold/x")
    record = log_record(daemon, "/hold/x")
    assert (record["attempts"], record["backend"], record["reason"]) == (2, quick.address, "done")
    assert [(failed["backend"], failed["reason"]) for failed in record["failures"]] == [(slow.address, "hedge_lost")]


def test_an_answer_with_a_chosen_status_goes_to_another_backend_and_the_log_says_so(
    start: Start, tmp_path: Path
) -> None:
    pair = [Backend(start, name) for name in "ab"]
    daemon = serve(start, tmp_path, f"{{backends: {addresses(pair)}, retries: {{attempts: 2, statuses: ['500-599']}}}}")
    raw = "/raw?HTTP/1.1%20503%20No%0D%0AContent-Length:%202%0D%0A%0D%0Ano"
    assert daemon.ask(raw).body == b"no", "the last answer is delivered"
    record = log_record(daemon, raw)
    assert (record["status"], record["attempts"], record["reason"]) == (503, 2, "done")
    assert [failed["reason"] for failed in record["failures"]] == ["retried_status"]
    assert [backend.requests() for backend in pair] == [[f"GET {raw}"]] * 2
    assert daemon.ask(raw, "POST", b"order").status == 503
    assert sum(len(backend.requests()) for backend in pair) == 3


def test_a_backend_that_restarts_costs_no_request_even_where_it_is_the_only_one(start: Start, tmp_path: Path) -> None:
    a = Backend(start, "a")
    retries = "{attempts: 50, backoff: 50ms, max_backoff: 100ms, budget: null}"
    daemon = serve(start, tmp_path, f"{{backends: ['{a.address}'], retries: {retries}}}")
    a.kill()
    client = Client(daemon, "/patient")
    a.restart()
    assert client.join().status == 200
    assert {failed["reason"] for failed in log_record(daemon, "/patient")["failures"]} <= {"connect_error"}


def test_where_most_backends_are_down_all_are_tried_and_no_client_sees_it(start: Start, tmp_path: Path) -> None:
    backends = [Backend(start, name) for name in "abcd"]
    check = "{interval: 100ms, jitter: 0, unhealthy_threshold: 1}"
    daemon = serve(start, tmp_path, f"{{backends: {addresses(backends)}, health_check: {check}}}")
    for backend in backends:
        daemon.wait_for_line(f"{backend.address} is healthy")
    for backend in backends[:3]:
        backend.kill()
        daemon.wait_for_line(f"{backend.address} is unhealthy")
    answers = [daemon.ask(f"/{number}", "POST", b"order") for number in range(8)]
    assert [answer.status for answer in answers] == [200] * 8
    assert {answer.json()["name"] for answer in answers} == {"d"}
    daemon.wait_for_line("panic: 1 of 4 backends are available, all that are ready get work")
    assert max(log_record(daemon, f"/{number}")["attempts"] for number in range(8)) == 2
