"""One suite for every host server: a request and its answer pass through the mounted proxy as they should."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import pytest

from tests.functional.backends import chunk, generated
from tests.functional.scene import Backend, connected, get, read_to_end, read_until
from tests.hosts.servers import WAITRESS, WSGIREF, Mounted, on_hosts
from tests.processes import wait_until

# What a host cannot do, and why (PEP 3333 leaves it open, or the server does). The test runs there and must fail.
CHUNKED_REQUESTS = {WSGIREF: "wsgiref knows no chunked coding, and does not say where such a body ends: 501"}
RAW_TARGET = {WSGIREF: "wsgiref gives no raw target: %2F has become a slash in PATH_INFO"}
STREAMED_UPLOADS = {WAITRESS: "waitress reads the whole request before it calls the application"}
CUT_WITHOUT_LENGTH = {WSGIREF: "wsgiref speaks HTTP/1.0: without a length, the end of the connection ends the body"}

MEGABYTES_20 = 20 * 1024 * 1024
QUICK = 2.0  # seconds that something may take which happens at once where it happens at all


def raw(*lines: str, body: str = "") -> str:
    """The target of an answer that the backend gives as it stands here."""
    return "/raw?" + quote("\r\n".join([*lines, "", body]))


def fields_of(seen: dict[str, Any]) -> dict[str, list[str]]:
    """The fields that a backend has got, names in lower case."""
    fields: dict[str, list[str]] = {}
    for name, value in seen["fields"]:
        fields.setdefault(name.lower(), []).append(value)
    return fields


# --- the request ------------------------------------------------------------------------------------------------------


@on_hosts(RAW_TARGET)
def test_the_backend_gets_the_raw_target(mounted: Mounted) -> None:
    target = "/proxied/a%2Fb%20c;d=%c3%a9/%E9?q=%2F&q=a+b%20c&&empty="
    assert mounted.ask(target).json()["target"] == target


@on_hosts()
def test_an_ordinary_target_needs_no_raw_one(mounted: Mounted) -> None:
    target = "/proxied/a%20b/c~d;e=f?q=%2F&q=a+b%20c&&empty="
    assert mounted.ask(target).json()["target"] == target


@on_hosts(RAW_TARGET)
def test_a_path_goes_on_as_it_came_whatever_others_might_read_into_it(mounted: Mounted) -> None:
    for path in (
        "/a%2Fb", "/a%2fb", "/a%5Cb", "//a", "/a//b", "/a;v=1/b", "/..;/a", "/;/a", "/..%2Fa", "/..%5Ca",
        "/%252e%252e/a", "/%c0%ae%c0%ae/a", "/%C0%AF", "/%e9", "/a%20", "/...", "/.a",
    ):  # fmt: skip
        assert mounted.ask(f"/proxied{path}").json()["target"] == f"/proxied{path}"


@on_hosts(RAW_TARGET)
def test_an_escaped_slash_is_no_slash(mounted: Mounted) -> None:
    for path in ("/proxied%2Fa", "/pong%2F", "/pong%2f.."):
        assert "mounted_at" in mounted.ask(path).json()


@on_hosts()
def test_dot_segments_are_resolved_before_a_route_is_looked_for(mounted: Mounted) -> None:
    for path in ("/..", "/%2e%2e", "/.%2E", "/%2e.", "/a/../..", "/a/%2E%2e/.%2e", "/./..", "/../../.."):
        assert mounted.ask(f"/proxied{path}/pong").body == b"pong"
    for path, resolved in (("/a/../b", "/b"), ("/./a", "/a"), ("/a/%2e", "/a/"), ("/a/b/..", "/a/"), ("//../b", "/b")):
        assert mounted.ask(f"/proxied{path}?q=/../").json()["target"] == f"/proxied{resolved}?q=/../"


@on_hosts()
def test_a_nul_in_a_path_is_refused(mounted: Mounted) -> None:
    for path in ("/%00", "/a%00b", "/%00/..", "/a;%00"):
        assert mounted.ask(f"/proxied{path}").status == 400


@on_hosts(RAW_TARGET)
def test_an_escape_that_is_none_is_refused(mounted: Mounted) -> None:
    for path in ("/%", "/%2", "/%zz", "/%u002f", "/a%/../b"):
        assert mounted.ask(f"/proxied{path}").status == 400


@on_hosts()
def test_hop_by_hop_fields_are_not_passed_on(mounted: Mounted) -> None:
    hop_by_hop = {"Connection": "x-gone, keep-alive", "X-Gone": "1", "Keep-Alive": "timeout=5", "TE": "gzip"}
    hop_by_hop |= {"Expect": "100-continue", "Proxy": "http://a.example", "Proxy-Authorization": "Basic x"}
    seen = mounted.ask("/proxied", "POST", b"body", {**hop_by_hop, "X-Kept": "2", "Cookie": "a=1; b=2"}).json()
    fields = fields_of(seen)
    assert not fields.keys() & {name.lower() for name in hop_by_hop}
    assert (fields["x-kept"], fields["cookie"], fields["content-length"]) == (["2"], ["a=1; b=2"], ["4"])
    assert "transfer-encoding" not in fields


@on_hosts()
def test_what_a_client_says_of_itself_is_replaced_by_what_we_know(mounted: Mounted) -> None:
    forged = {
        "X-Forwarded-For": "9.9.9.9", "X_Forwarded_For": "1.1.1.1", "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "1", "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "9.9.9.9", "Forwarded": "for=9.9.9.9", "Host": "a.example:81",
    }  # fmt: skip
    fields = fields_of(mounted.ask("/proxied", headers=forged).json())
    ours = {"x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["http"], "x-forwarded-port": ["81"]}
    ours |= {"x-forwarded-host": ["a.example:81"], "host": ["a.example:81"]}
    if mounted.host.prefix:
        ours["x-forwarded-prefix"] = [mounted.host.prefix]
    told = {name for name in fields if "forward" in name or name in ("host", "x-real-ip")}
    assert {name: fields[name] for name in told} == ours


@on_hosts()
def test_a_stripped_prefix_is_told_to_the_backend(mounted: Mounted) -> None:
    seen = mounted.ask("/stripped/x?y").json()
    assert seen["target"] == "/x?y"
    assert fields_of(seen)["x-forwarded-prefix"] == [mounted.host.prefix + "/stripped"]


@on_hosts()
def test_a_body_over_the_routes_limit_is_refused_before_a_backend_is_asked(mounted: Mounted, backend: Backend) -> None:
    before = len(backend.requests())
    assert mounted.ask("/limited", "POST", b"hello").status == 413
    assert f"POST /limited/{mounted.port}" not in backend.requests()[before:]
    assert mounted.ask("/limited", "POST", b"hell").status == 200


@on_hosts()
@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256))])
def test_a_small_body_arrives(mounted: Mounted, body: bytes) -> None:
    seen = mounted.ask("/proxied", "POST", body, {"Content-Type": "text/x"}).json()
    assert (seen["method"], seen["size"], seen["sha256"]) == ("POST", len(body), hashlib.sha256(body).hexdigest())
    assert (fields_of(seen)["content-length"], fields_of(seen)["content-type"]) == ([str(len(body))], ["text/x"])


@on_hosts(CHUNKED_REQUESTS)
def test_a_chunked_body_arrives(mounted: Mounted) -> None:
    pieces = [b"x", b"y" * 20_000, b"z" * 3]
    answer = mounted.ask("/proxied", "POST", iter(pieces))
    assert answer.status == 200
    assert answer.json()["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def upload(mounted: Mounted, make_body: Callable[[bytes], Any]) -> None:
    body = b"".join(generated(MEGABYTES_20))
    seen = mounted.ask("/upload", "POST", make_body(body)).json()
    assert (seen["size"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


@on_hosts()
def test_a_large_sized_body_arrives_bit_for_bit(mounted: Mounted) -> None:
    upload(mounted, lambda body: body)


@on_hosts(CHUNKED_REQUESTS)
def test_a_large_chunked_body_arrives_bit_for_bit(mounted: Mounted) -> None:
    def in_pieces(body: bytes) -> Iterable[bytes]:
        return (body[at : at + 100_000] for at in range(0, len(body), 100_000))

    upload(mounted, in_pieces)


@on_hosts(STREAMED_UPLOADS)
def test_the_backend_sees_an_upload_before_the_client_has_sent_it_all(mounted: Mounted, backend: Backend) -> None:
    target = f"/upload/{mounted.port}"
    with connected(mounted.port) as client:
        lines = [
            f"POST {mounted.host.prefix}{target} HTTP/1.1",
            "Host: a",
            "Connection: close",
            "Content-Length: 200000",
        ]
        client.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * 120_000)  # more than is read ahead
        wait_until(lambda: f"POST {target}" in backend.requests(), QUICK, "the backend to see the upload")
        client.sendall(b"x" * 80_000)
        assert b'"size": 200000' in read_to_end(client)


def break_off(mounted: Mounted, backend: Backend, line: str, framing: str, part: bytes) -> None:
    with connected(mounted.port) as client:
        first = line.replace(" /", f" {mounted.host.prefix}/")
        client.sendall("\r\n".join([f"{first} HTTP/1.1", "Host: a", framing, "", ""]).encode() + part)
        wait_until(lambda: line in backend.requests(), QUICK, "the backend to see the upload")
    wait_until(lambda: line in backend.stats()["cancelled"], QUICK, "the backend to see the cut")
    assert mounted.ask("/proxied").status == 200


@on_hosts(STREAMED_UPLOADS, run=False)
def test_a_sized_upload_that_its_client_breaks_off_is_never_a_whole_one(mounted: Mounted, backend: Backend) -> None:
    break_off(mounted, backend, f"POST /upload/sized/{mounted.port}", "Content-Length: 200000", b"x" * 120_000)


@on_hosts({**STREAMED_UPLOADS, **CHUNKED_REQUESTS}, run=False)
def test_a_chunked_upload_that_its_client_breaks_off_is_never_a_whole_one(mounted: Mounted, backend: Backend) -> None:
    part = chunk(b"x" * 60_000)  # a cut between two chunks
    break_off(mounted, backend, f"POST /upload/chunked/{mounted.port}", "Transfer-Encoding: chunked", part)


# --- the answer -------------------------------------------------------------------------------------------------------


@on_hosts()
@pytest.mark.parametrize("coding", ["", "?chunked"])
def test_a_large_answer_arrives_bit_for_bit(mounted: Mounted, coding: str) -> None:
    answer = mounted.ask(f"/download/{MEGABYTES_20}{coding}")
    assert answer.body == b"".join(generated(MEGABYTES_20))
    assert coding or answer.field("Content-Length") == str(MEGABYTES_20)


@on_hosts()
@pytest.mark.parametrize("coding", ["?sized", ""])
def test_each_piece_of_an_answer_is_passed_on_at_once(mounted: Mounted, backend: Backend, coding: str) -> None:
    key = f"{mounted.port}{coding[1:]}"
    with connected(mounted.port) as client:
        client.sendall(get(f"{mounted.host.prefix}/stepped/{key}/3{coding}", "Connection: close"))
        seen = b""
        for number in range(3):
            backend.go(key)
            seen = read_until(client, b"piece %d\n\n" % number, seen)


@on_hosts()
@pytest.mark.parametrize("sized", [True, False])
def test_head_has_the_fields_and_no_body_and_the_next_answer_is_in_step(mounted: Mounted, sized: bool) -> None:
    chunked = raw("HTTP/1.1 200 OK", "X-Kept: 1", "Transfer-Encoding: chunked")
    with mounted.kept() as connection:
        for number in range(3):
            head = mounted.ask_on(connection, "/proxied" if sized else chunked, "HEAD")
            assert (head.status, head.body) == (200, b"")
            assert int(head.field("Content-Length") or 0) > 100 if sized else head.field("X-Kept") == "1"
            assert mounted.ask_on(connection, f"/proxied/{number}").json()["target"] == f"/proxied/{number}"


@on_hosts()
@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["HTTP/1.1 204 No Content", "X-Kept: 1"], {"X-Kept": "1"}),
        (["HTTP/1.1 304 Not Modified", 'ETag: "x"', "Content-Length: 9"], {"ETag": '"x"'}),
        (["HTTP/1.1 302 Found", "Location: http://b.example/x?y", "Content-Length: 0"], {"Location": "http://b.example/x?y"}),
        (["HTTP/1.1 308 Permanent Redirect", "Location: ../up", "Content-Length: 0"], {"Location": "../up"}),
        (["HTTP/1.1 503 Busy", "Retry-After: 7", "Content-Length: 0"], {"Retry-After": "7"}),
    ],
)  # fmt: skip
def test_an_answer_without_a_body_is_passed_on(mounted: Mounted, lines: list[str], kept: dict[str, str]) -> None:
    with mounted.kept() as connection:
        answer = mounted.ask_on(connection, raw(*lines))
        assert (answer.status, answer.body) == (int(lines[0].split(" ")[1]), b"")
        assert {name: answer.field(name) for name in kept} == kept
        assert mounted.ask_on(connection, "/proxied").status == 200


@on_hosts()
def test_each_cookie_of_an_answer_is_kept(mounted: Mounted) -> None:
    answer = mounted.ask(raw("HTTP/1.1 200 OK", "Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Length: 2", body="ok"))
    assert [value for name, value in answer.fields if name.lower() == "set-cookie"] == ["a=1", "b=2"]
    assert answer.body == b"ok"


@on_hosts()
def test_hop_by_hop_fields_of_an_answer_are_not_passed_on(mounted: Mounted) -> None:
    lines = [
        "Connection: x-gone, keep-alive",
        "X-Gone: 1",
        "Keep-Alive: timeout=77",
        "Proxy-Authenticate: Basic",
        "X-Kept: 2",
    ]
    answer = mounted.ask(raw("HTTP/1.1 200 OK", *lines, "Content-Length: 2", body="ok"))
    assert (answer.status, answer.body, answer.field("X-Kept")) == (200, b"ok", "2")
    assert answer.field("X-Gone") is None
    assert "77" not in (answer.field("Keep-Alive") or "")


@on_hosts()
def test_connections_to_the_backend_are_used_again(mounted: Mounted) -> None:
    used = {mounted.ask(f"/proxied/{number}").json()["connection"] for number in range(20)}
    assert len(used) <= mounted.host.workers


# --- no backend, no route, and cuts -----------------------------------------------------------------------------------


@on_hosts()
def test_what_no_route_matches_goes_to_the_fallback_untouched(mounted: Mounted) -> None:
    facts = mounted.ask("/any/thing").json()
    assert (facts["mounted_at"], facts["path"]) == (mounted.host.prefix, "/any/thing")


@on_hosts()
def test_a_fixed_answer_needs_no_backend(mounted: Mounted) -> None:
    answer = mounted.ask("/pong")
    assert (answer.status, answer.body) == (200, b"pong")


@on_hosts()
def test_a_redirect_leads_to_a_url_as_the_client_sees_them(mounted: Mounted) -> None:
    here = f"http://127.0.0.1:{mounted.port}{mounted.host.prefix}"
    assert mounted.ask("/moved/a%20b?c=d").field("Location") == f"{here}/new/a%20b?c=d"
    host = {"Host": "a.example:81"}
    assert mounted.ask("/moved", headers=host).field("Location") == f"http://a.example:81{mounted.host.prefix}/new"
    assert mounted.ask("/elsewhere/a").field("Location") == f"https://b.example{mounted.host.prefix}/elsewhere/a"


@on_hosts()
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"x" * 1000), ("HEAD", None)])
def test_a_backend_that_refuses_connections_is_a_502(mounted: Mounted, method: str, body: bytes | None) -> None:
    answer = mounted.ask("/dead", method, body)
    assert (answer.status, answer.body) == (502, b"" if method == "HEAD" else b"502 Bad Gateway\n")


@on_hosts()
def test_a_backend_that_checks_have_found_dead_is_a_503(mounted: Mounted) -> None:
    wait_until(lambda: mounted.ask("/known_dead").status == 503, what="a 503")
    answer = mounted.ask("/known_dead")
    assert (answer.body, answer.field("Retry-After")) == (b"503 Service Unavailable\n", "1")


@on_hosts()
def test_a_backend_that_hangs_up_before_its_head_is_a_502(mounted: Mounted) -> None:
    assert mounted.ask("/cut/head").status == 502


@on_hosts()
def test_a_sized_body_cut_by_the_backend_is_a_cut_for_the_client(mounted: Mounted) -> None:
    with pytest.raises(http.client.IncompleteRead):
        mounted.ask("/cut/body")
    assert mounted.ask("/proxied").status == 200


@on_hosts(CUT_WITHOUT_LENGTH)
def test_a_chunked_body_cut_by_the_backend_is_a_cut_for_the_client(mounted: Mounted) -> None:
    failed = False
    try:
        mounted.ask("/cut/chunked")
    except http.client.IncompleteRead:
        failed = True
    assert failed


@on_hosts()
def test_a_client_that_goes_away_cancels_the_download_and_leaves_no_trace(mounted: Mounted, backend: Backend) -> None:
    target = f"/download/{64 * 1024 * 1024}?{mounted.port}"
    mark = len(mounted.process.output())
    with connected(mounted.port) as client:
        client.sendall(get(mounted.host.prefix + target))
        read_until(client, b"\r\n\r\n")
    backend.wait_for_cancelled(f"GET {target}")
    assert json.loads(mounted.ask("/proxied").body)["name"] == "alpha"
    assert "Traceback" not in mounted.process.output()[mark:]
