"""One suite for every host server: the proxy mounted as middleware behaves the same in each of them."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.backends import generated
from tests.functional.scene import Backend, Load, ask, kept
from tests.hosts.servers import HOSTS, Host, Mounted, start_host
from tests.processes import wait_until

MEGABYTES_20 = 20 * 1024 * 1024

ROUTES = """
pools:
  web:
    backends: [{backend}]
    health_check: {{path: /healthz, interval: 200ms, timeout: 1s, healthy_threshold: 1, unhealthy_threshold: 1}}
routes:
  - {{match: {{path: /proxied}}, pool: web}}
  - {{match: {{path: /stripped}}, pool: web, strip_prefix: true}}
  - {{match: {{path: /load}}, pool: web}}
  - {{match: {{path: /download}}, pool: web}}
  - {{match: {{path: /upload}}, pool: web}}
  - {{match: {{path: /cut}}, pool: web}}
  - {{match: {{path: /raw}}, pool: web}}
"""


@pytest.fixture(scope="module")
def backend(start_for_module: Start) -> Backend:
    return Backend(start_for_module, "alpha")


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: host.name)
def mounted(
    request: pytest.FixtureRequest, start_for_module: Start, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    host: Host = request.param
    config = tmp_path_factory.mktemp("mounted") / "wsgiproxy.yaml"
    config.write_text(ROUTES.format(backend=backend.address))
    running = start_host(start_for_module, host, config)
    yield running
    assert running.process.stop(signal.SIGTERM) in (0, -signal.SIGTERM)


def needs(mounted: Mounted, what: str) -> None:
    if what in mounted.host.lacks:
        pytest.skip(f"{mounted.host.name}: {mounted.host.lacks[what]}")


def test_the_host_uses_its_own_driver(mounted: Mounted) -> None:
    assert ask(mounted.port, "/proxied").status == 200
    modules = ask(mounted.port, "/inside").json()["modules"]
    assert modules == (["gevent", "wsgiproxy.transport.greenlet"] if mounted.host.driver == "greenlet" else [])


def test_what_no_route_matches_goes_to_the_fallback(mounted: Mounted) -> None:
    assert ask(mounted.port, "/anything").json()["pid"] > 0


def test_the_backend_gets_the_raw_target_and_what_we_say_of_the_client(mounted: Mounted) -> None:
    headers = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Real-IP": "9.9.9.9",
        "Connection": "x-gone",
        "X-Gone": "1",
        "X-Kept": "2",
    }
    seen = ask(mounted.port, "/proxied/a%20b?q=%2F", headers=headers).json()
    fields = [(name.lower(), value) for name, value in seen["fields"]]
    assert seen["target"] == "/proxied/a%20b?q=%2F"
    assert [value for name, value in fields if name == "x-forwarded-for"] in (["127.0.0.1"], [])
    assert ("x-forwarded-proto", "http") in fields
    assert ("x-kept", "2") in fields
    assert not {"x-gone", "x-real-ip", "connection", "keep-alive"} & {name for name, _ in fields}


def test_a_stripped_prefix_is_told_to_the_backend(mounted: Mounted) -> None:
    seen = ask(mounted.port, "/stripped/x?y").json()
    assert seen["target"] == "/x?y"
    assert ["X-Forwarded-Prefix", "/stripped"] in seen["fields"]


def test_a_sized_body_arrives_bit_for_bit(mounted: Mounted) -> None:
    body = b"".join(generated(MEGABYTES_20))
    seen = ask(mounted.port, "/upload", "POST", body).json()
    assert (seen["size"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_chunked_body_arrives_bit_for_bit(mounted: Mounted) -> None:
    needs(mounted, "chunked requests")
    body = b"".join(generated(1_000_000))
    seen = ask(mounted.port, "/upload", "POST", iter([body[:10], body[10:]])).json()
    assert (seen["size"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("coding", ["", "?chunked"])
def test_a_large_answer_arrives_bit_for_bit(mounted: Mounted, coding: str) -> None:
    answer = ask(mounted.port, f"/download/{MEGABYTES_20}{coding}")
    assert answer.body == b"".join(generated(MEGABYTES_20))


def test_head_has_the_length_and_no_body(mounted: Mounted) -> None:
    answer = ask(mounted.port, "/download/1000", "HEAD")
    assert (answer.status, answer.field("Content-Length"), answer.body) == (200, "1000", b"")


@pytest.mark.parametrize(
    ("head", "status"),
    [("204 No Content%0D%0A", 204), ("304 Not Modified%0D%0AETag: x%0D%0A", 304)],
)
def test_an_answer_without_a_body_is_passed_on(mounted: Mounted, head: str, status: int) -> None:
    raw = f"HTTP/1.1 {head}%0D%0A".replace(" ", "%20")
    answer = ask(mounted.port, f"/raw?{raw}")
    assert (answer.status, answer.body) == (status, b"")


def test_each_cookie_of_an_answer_is_kept(mounted: Mounted) -> None:
    raw = "HTTP/1.1 200 OK%0D%0ASet-Cookie: a=1%0D%0ASet-Cookie: b=2%0D%0AContent-Length: 2%0D%0A%0D%0Aok"
    answer = ask(mounted.port, "/raw?" + raw.replace(" ", "%20"))
    assert [value for name, value in answer.fields if name.lower() == "set-cookie"] == ["a=1", "b=2"]
    assert answer.body == b"ok"


def test_a_body_cut_by_the_backend_is_a_cut_for_the_client(mounted: Mounted) -> None:
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(mounted.port, "/cut/body")


def test_a_backend_that_hangs_up_before_its_head_is_a_502(mounted: Mounted) -> None:
    assert ask(mounted.port, "/cut/head").status == 502


def test_connections_to_the_backend_are_kept(mounted: Mounted, backend: Backend) -> None:
    with kept(mounted.port):
        before = backend.stats()["connections"]
        for number in range(20):
            assert ask(mounted.port, f"/proxied/{number}").status == 200
        assert backend.stats()["connections"] - before < 10  # one for each process at the most, and a few that ended


def test_many_clients_get_right_answers_and_nothing_is_left_open(mounted: Mounted) -> None:
    needs(mounted, "concurrency")

    def held() -> dict[str, int]:
        facts = [ask(mounted.port, "/inside").json() for _ in range(8)]
        return {what: max(fact[what] for fact in facts) for what in ("threads", "descriptors")}

    def load() -> None:
        with Load(mounted.port, clients=16) as clients:
            clients.wait_for_more(500)
        assert not clients.wrong
        assert not clients.failed

    load()
    before = held()
    load()
    wait_until(lambda: held()["descriptors"] <= before["descriptors"] + 40, what="descriptors to be given back")
    assert held()["threads"] <= before["threads"] + 2


def test_a_dead_backend_leaves_and_an_edit_takes_effect(start: Start, mounted: Mounted, tmp_path: Path) -> None:
    beta = Backend(start, "beta")
    text = mounted.config.read_text()
    try:
        mounted.config.write_text(ROUTES.format(backend=beta.address))
        wait_until(lambda: ask(mounted.port, "/proxied").json()["name"] == "beta", 20, "the edit to take effect")
        wait_until(lambda: _names(mounted) == {"beta"}, 20, "the edit to take effect in all processes")
        beta.kill()
        wait_until(lambda: ask(mounted.port, "/proxied").status == 503, 20, "the dead backend to leave")
        beta.restart()
        wait_until(lambda: ask(mounted.port, "/proxied").status == 200, 20, "it to come back")
    finally:
        mounted.config.write_text(text)
        wait_until(lambda: _names(mounted) == {"alpha"}, 20, "the edit to be taken back")


def _names(mounted: Mounted) -> set[str]:
    answers = [ask(mounted.port, "/proxied") for _ in range(12)]
    return {json.loads(answer.body)["name"] if answer.status == 200 else str(answer.status) for answer in answers}
