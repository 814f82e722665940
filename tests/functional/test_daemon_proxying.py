"""What a backend is told of a request, and a client of an answer: nothing more, nothing less, and in order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import Start
from tests.functional.scene import (
    Answer,
    Backend,
    Daemon,
    ask_on,
    connected,
    get,
    kept,
    read_to_end,
    read_until,
    start_daemon,
)

CONFIG = """\
daemon:
  listeners: ["127.0.0.1:0"]
  access_log: {{format: "off"}}
pools:
  web: {{backends: ["{tcp}"]}}
  own-host: {{backends: ["{tcp}"], host: backend}}
  app: {{backends: ["app:tests.functional.backends:app"]}}
  mixed: {{backends: ["{tcp}", "{unix}", "app:tests.functional.backends:app"]}}
routes:
  - {{match: {{host: shop.example.org, path: /api}}, pool: web, strip_prefix: true}}
  - {{match: {{host: "*.example.org", path: /app}}, pool: app, strip_prefix: true}}
  - {{match: {{path: /mixed}}, pool: mixed}}
  - {{match: {{path: /own}}, pool: own-host}}
  - {{match: {{path: {{exact: /ping}}}}, respond: {{status: 200, body: "pong\\n", headers: {{x-a: "1"}}}}}}
  - {{match: {{path: /old}}, redirect: {{path_prefix: /new, status: 308}}}}
  - {{match: [{{host: [a.test, b.test], method: DELETE}}, {{headers: {{x-beta: "1"}}, query: {{v: "2"}}}}], pool: app}}
  - {{match: [{{path: /web}}, {{path: /raw}}], pool: web}}
"""
CRLF = "\r\n"
OK = "HTTP/1.1 200 OK\r\n"

Scene = tuple[Daemon, Backend]


@pytest.fixture(scope="module", name="scene")
def fixture_scene(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder: Path = tmp_path_factory.mktemp("config")
    tcp = Backend(start_for_module, "tcp")
    unix = Backend(start_for_module, "unix", f"unix:{folder}/back.sock")
    config = CONFIG.format(tcp=tcp.address, unix=unix.address)
    return start_daemon(start_for_module, folder, config), tcp


@pytest.fixture(name="daemon")
def fixture_daemon(scene: Scene) -> Daemon:
    return scene[0]


def received(daemon: Daemon, *lines: str) -> list[tuple[str, str]]:
    """The header fields that a backend got, names in lower case, in order."""
    with connected(daemon.port) as client:
        client.sendall(get("/web/fields", "Connection: close", *lines))
        body = read_to_end(client).partition(b"\r\n\r\n")[2]
    return [(name.lower(), value) for name, value in Answer(200, [], body).json()["fields"]]


def raw(head: str, body: str) -> str:
    """The target that makes a backend answer so."""
    return f"/raw?{quote(f'{head}{CRLF}{body}', safe='')}"


def answered(daemon: Daemon, head: str) -> bytes:
    """The head that a client gets where a backend answers so."""
    with connected(daemon.port) as client:
        client.sendall(get(raw(head, "ok")))
        return read_until(client, b"\r\n\r\n")


def test_a_pool_mixes_tcp_unix_and_this_process(daemon: Daemon) -> None:
    answers = [daemon.ask("/mixed", "POST", b"four").json() for _ in range(9)]
    assert Counter(answer["name"] for answer in answers) == {"tcp": 3, "unix": 3, "app": 3}
    assert {answer["size"] for answer in answers} == {4}


def test_a_stripped_prefix_goes_into_x_forwarded_prefix(daemon: Daemon) -> None:
    shop = {"Host": "shop.example.org"}
    answer = daemon.ask("/api/a%20b?c=%20", headers=shop).json()
    assert answer["target"] == "/a%20b?c=%20"
    assert ["X-Forwarded-Prefix", "/api"] in answer["fields"]
    assert daemon.ask("/api", headers=shop).json()["target"] == "/"
    assert daemon.ask("/apix", headers=shop).status == 404


def test_a_stripped_prefix_goes_into_script_name(daemon: Daemon) -> None:
    answer = daemon.ask("/app/a%20b?c=1", headers={"Host": "www.example.org"}).json()
    assert [answer[key] for key in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")] == ["/app", "/a b", "c=1"]


def test_a_list_of_matches_takes_any_of_them(daemon: Daemon) -> None:
    assert daemon.ask("/", "DELETE", headers={"Host": "b.test"}).json()["name"] == "app"
    assert daemon.ask("/?v=2", headers={"X-Beta": "1"}).json()["name"] == "app"
    assert daemon.ask("/", headers={"Host": "b.test"}).status == 404
    assert daemon.ask("/?v=3", headers={"X-Beta": "1"}).status == 404


def test_fixed_answers_and_redirects_need_no_backend(daemon: Daemon) -> None:
    pong = daemon.ask("/ping")
    assert (pong.status, pong.body, pong.field("X-A")) == (200, b"pong\n", "1")
    moved = daemon.ask("/old/shoes?size=9", headers={"Host": "a.example:81"})
    assert (moved.status, moved.field("Location")) == (308, "http://a.example:81/new/shoes?size=9")
    assert daemon.ask("/nowhere").status == 404


def test_the_clients_host_is_passed_on_unless_the_pool_has_its_own(scene: Scene) -> None:
    daemon, tcp = scene
    host = {"Host": "www.example.org:99"}
    assert ["Host", "www.example.org:99"] in daemon.ask("/web", headers=host).json()["fields"]
    fields = daemon.ask("/own", headers=host).json()["fields"]
    assert ["Host", f"127.0.0.1:{tcp.port}"] in fields
    assert ["X-Forwarded-Host", "www.example.org:99"] in fields


def test_what_a_client_claims_about_itself_is_replaced(daemon: Daemon) -> None:
    forged = ["For: 6.6.6.6", "Proto: https", "Host: evil", "Port: 1", "Prefix: /evil", "Server: evil"]
    others = ["Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "Proxy: http://evil"]
    fields = received(daemon, *(f"X-Forwarded-{line}" for line in forged), *others)
    assert "evil" not in str(fields) and "6.6.6.6" not in str(fields)
    ours = {name: value for name, value in fields if name.startswith("x-forwarded-")}
    assert ours == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "a.example",
        "x-forwarded-port": "80",
    }
    assert not {"via", "forwarded"} & {name for name, _ in fields}


def test_repeated_fields_keep_their_order_both_ways(daemon: Daemon) -> None:
    fields = received(daemon, "X-A: 1", "X-B: 2", "X-A: 3", "Cookie: a=1", "Cookie: b=2")
    ours = [field for field in fields if field[0] in ("x-a", "x-b", "cookie")]
    assert ours == [("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("cookie", "a=1"), ("cookie", "b=2")]
    head = answered(daemon, f"{OK}Set-Cookie: a=1\r\nX-B: 2\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n")
    assert b"Set-Cookie: a=1\r\nX-B: 2\r\nSet-Cookie: b=2\r\n" in head


def test_what_is_meant_for_one_hop_goes_no_further(daemon: Daemon) -> None:
    hop = ["Keep-Alive: timeout=5", "TE: gzip", "Trailer: X-T", "Upgrade: h2c", "Proxy-Connection: close", "X-Mine: 1"]
    fields = received(daemon, "Connection: x-mine, x-forwarded-for, authorization", "Authorization: Basic x", *hop)
    names = {name for name, _ in fields}
    assert not names & {"connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "x-mine"}
    assert {"x-forwarded-for", "authorization"} <= names, "a client must not take these away"
    lines = "Connection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTrailer: X-T\r\nX-Kept: 1\r\n"
    head = answered(daemon, f"{OK}{lines}Content-Length: 2\r\n").lower()
    assert b"x-kept: 1\r\n" in head
    assert not any(name in head for name in (b"x-mine", b"keep-alive", b"trailer", b"connection"))


def test_the_target_is_passed_on_as_it_came(daemon: Daemon) -> None:
    target = "/web/a%2Fb//c;d=%C3%A9?q=%20+&q=a/b?c"
    assert daemon.ask(target).json()["target"] == target


@pytest.mark.parametrize(
    ("method", "head", "status"),
    [
        ("HEAD", f"{OK}Content-Length: 5\r\n", 200),
        ("GET", "HTTP/1.1 204 No Content\r\n", 204),
        ("GET", 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n', 304),
    ],
)
def test_answers_without_a_body_leave_the_connection_in_step(
    daemon: Daemon, method: str, head: str, status: int
) -> None:
    with kept(daemon.port) as connection:
        for _ in range(3):
            bare = ask_on(connection, raw(head, ""), method)
            assert (bare.status, bare.body) == (status, b"")
            assert ask_on(connection, "/web/next").json()["target"] == "/web/next"


def test_pipelined_requests_are_answered_in_their_order(daemon: Daemon) -> None:
    with connected(daemon.port) as client:
        client.sendall(b"".join(get(f"/web/{number}") for number in range(20)) + get("/web/x", "Connection: close"))
        data = read_to_end(client)
    places = [data.index(b'"/web/%d"' % number) for number in range(20)]
    assert places == sorted(places)


def test_a_path_that_is_no_text_is_a_bad_request(scene: Scene) -> None:
    daemon, tcp = scene
    for target in ("/web/smuggled%00", "/web/smuggled%zz"):
        assert daemon.ask(target).status == 400
    assert not any("smuggled" in line for line in tcp.requests())


def test_the_daemon_has_no_defect_to_report(daemon: Daemon) -> None:
    assert "Traceback" not in daemon.process.output()
