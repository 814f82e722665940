"""Clients that stay with their backends, seen over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, Answer, Backend, Daemon, start_daemon

KEY = "a secret of some length"
OURS = f"{{cookie: stay, key: '{KEY}'}}"
CHECK = "{interval: 100ms, jitter: 0, healthy_threshold: 1, unhealthy_threshold: 1}"


def config(entries: list[str], sticky: str = OURS, more: str = "") -> str:
    pool = f"{{backends: [{', '.join(entries)}], sticky: {sticky}{more}}}"
    return f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n"


def entry(backend: Backend, more: str = "") -> str:
    return f"{{address: '{backend.address}'{more}}}"


class Browser:
    """A client that keeps its cookies; each request comes on a connection of its own."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.cookies: dict[str, str] = {}
        self.given: list[str] = []  # the cookies that the last answer set

    def ask(self, target: str = "/", method: str = "GET", body: bytes | None = None) -> Answer:
        text = "; ".join([f"{name}={value}" for name, value in self.cookies.items()])
        answer = self.daemon.ask(target, method, body, {"Cookie": text} if text else {})
        jar = SimpleCookie()
        for name, value in answer.fields:
            if name == "Set-Cookie":
                jar.load(value)
        self.given = list(jar)
        self.cookies |= {name: morsel.value for name, morsel in jar.items()}
        return answer

    def name(self, **more: str) -> str:
        """Who answers."""
        answer = self.ask(**more)
        assert answer.status == 200
        return str(answer.json()["name"])

    def names(self, times: int = 6) -> set[str]:
        return {self.name() for _ in range(times)}


@contextmanager
def held(backend: Backend, client: Browser, key: str) -> Iterator[None]:
    """While this lasts, a request of the client's is under way at the backend."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.ask, f"/hold/{key}")
        backend.wait_for_request(f"GET /hold/{key}")
        yield
        backend.go(key)
        assert answer.result().status == 200


@pytest.fixture(name="three", scope="module")
def fixture_three(start_for_module: Start) -> list[Backend]:
    return [Backend(start_for_module, name) for name in "abc"]


def test_each_client_stays_with_its_backend_over_reloads_and_restarts(
    start: Start, tmp_path: Path, three: list[Backend]
) -> None:
    daemon = start_daemon(start, tmp_path, config([entry(one) for one in three]))
    clients = [Browser(daemon) for _ in range(6)]
    homes = [client.name() for client in clients]
    assert sorted(homes) == list("aabbcc"), "new ones take turns"
    assert [client.given for client in clients] == [["stay"]] * 6
    assert [client.names() for client in clients] == [{home} for home in homes]
    assert [client.given for client in clients] == [[]] * 6
    daemon.reload(config([entry(one) for one in reversed(three)], more=", balance: least_conn"))
    assert [client.names(2) for client in clients] == [{home} for home in homes]
    (tmp_path / "other").mkdir()
    other = start_daemon(start, tmp_path / "other", config([entry(one) for one in three]))
    for client, home in zip(clients, homes, strict=True):
        client.daemon = other
        assert client.names(2) == {home}


def test_backends_see_every_cookie_but_ours(start: Start, tmp_path: Path, three: list[Backend]) -> None:
    client = Browser(start_daemon(start, tmp_path, config([entry(three[0])])))
    client.name()
    client.cookies = {"theme": "dark", **client.cookies, "b": "2"}
    fields = dict(client.ask().json()["fields"])
    assert {name.lower(): value for name, value in fields.items()}["cookie"] == "theme=dark; b=2"


def test_a_drained_backend_keeps_its_clients_and_gets_no_others_until_it_is_in_maintenance(
    start: Start, tmp_path: Path, three: list[Backend]
) -> None:
    a, b, _ = three
    daemon = start_daemon(start, tmp_path, config([entry(a), entry(b)]))
    clients = [Browser(daemon) for _ in range(4)]
    homes = [client.name() for client in clients]
    daemon.reload(config([entry(a, ", admin_state: drain"), entry(b)]))
    assert [client.name() for client in clients] == homes
    assert Browser(daemon).names(1) == {"b"}
    assert {Browser(daemon).name() for _ in range(6)} == {"b"}
    assert clients[homes.index("a")].ask("/upload", "POST", b"hello").json()["name"] == "a"
    daemon.reload(config([entry(a, ", admin_state: maint"), entry(b)]))
    assert {client.name() for client in clients} == {"b"}
    daemon.reload(config([entry(a), entry(b)]))
    assert [client.names() for client in clients] == [{"b"}] * 4, "who has moved stays where it is"


def test_the_clients_of_a_backend_that_dies_stay_with_another_one_without_an_error(
    start: Start, tmp_path: Path
) -> None:
    a, b = Backend(start, "a"), Backend(start, "b")
    daemon = start_daemon(start, tmp_path, config([entry(a), entry(b)], more=f", health_check: {CHECK}"))
    for backend in (a, b):
        daemon.wait_for_line(f"{backend.address} is healthy")
    clients = [Browser(daemon) for _ in range(4)]
    homes = [client.name() for client in clients]
    mark = daemon.mark
    a.kill()
    assert {client.name() for client in clients} == {"b"}
    assert [client.given for client in clients] == [["stay"] if home == "a" else [] for home in homes]
    daemon.wait_for_line(f"{a.address} is unhealthy", mark)
    mark = daemon.mark
    a.restart()
    daemon.wait_for_line(f"{a.address} is healthy", mark)
    assert [client.names(2) for client in clients] == [{"b"}] * 4
    assert {Browser(daemon).name() for _ in range(4)} == {"a", "b"}


def test_a_forged_cookie_is_worth_nothing(start: Start, tmp_path: Path, three: list[Backend]) -> None:
    daemon = start_daemon(start, tmp_path, config([entry(one) for one in three]))
    client = Browser(daemon)
    client.name()
    value = client.cookies["stay"]
    for forged in (value[:-1] + ("A" if value[-1] != "A" else "B"), "a" * 48, "", value + value):
        client.cookies["stay"] = forged
        client.name()
        assert client.given == ["stay"]


def test_a_backend_that_is_full_is_helped_out_and_gets_its_client_back(
    start: Start, tmp_path: Path, three: list[Backend]
) -> None:
    a, b, _ = three
    daemon = start_daemon(start, tmp_path, config([entry(a, ", max_in_flight: 1"), entry(b)]))
    first = Browser(daemon)
    while first.name() != "a":
        first.cookies.clear()
    second = Browser(daemon)
    second.cookies = dict(first.cookies)
    with held(a, first, "sticky"):
        assert second.name() == "b"
        assert second.given == []
    assert second.names() == {"a"}


def test_a_session_of_the_applications_stays_where_it_was_made(
    start: Start, tmp_path: Path, three: list[Backend]
) -> None:
    sticky = "{cookie: sid, set_by: application}"
    daemon = start_daemon(start, tmp_path, config([entry(one) for one in three], sticky))
    clients = [Browser(daemon) for _ in range(6)]
    for number, client in enumerate(clients):
        answer = f"HTTP/1.1 200 OK%0D%0ASet-Cookie: sid=s{number}; HttpOnly%0D%0AContent-Length: 0%0D%0A%0D%0A"
        client.ask(f"/raw?{answer.replace(' ', '%20')}")
        assert client.given == ["sid"]
    homes = [client.name() for client in clients]
    assert sorted(homes) == list("aabbcc")
    assert [client.names() for client in clients] == [{home} for home in homes]
    daemon.reload(config([entry(one) for one in three[::-1]], sticky))
    assert [client.names(2) for client in clients] == [{home} for home in homes]


def test_a_canarys_clients_stay_with_it(start: Start, tmp_path: Path, three: list[Backend]) -> None:
    a, b, c = three

    def shared(old: int, new: int) -> str:
        pools = f"{{old: {{backends: ['{a.address}', '{b.address}'], sticky: {OURS}}}, "
        pools += f"new: {{backends: ['{c.address}'], sticky: {OURS}}}}}"
        shares = f"[{{pool: old, weight: {old}}}, {{pool: new, weight: {new}}}]"
        return f"{FRONT}pools: {pools}\nroutes: [{{pools: {shares}}}]\n"

    daemon = start_daemon(start, tmp_path, shared(1, 1))
    clients = [Browser(daemon) for _ in range(40)]
    homes = [client.name() for client in clients]
    assert set(homes) == set("abc")
    daemon.reload(shared(1, 0))
    assert [client.name() for client in clients] == homes
    assert "c" not in {Browser(daemon).name() for _ in range(8)}
