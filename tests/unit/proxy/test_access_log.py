from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.proxy.journeys import environ_of
from wsgiproxy.errors import ConnectError, NoBackendError, ProxyError, ReadTimeout
from wsgiproxy.http1.parser import parse_request
from wsgiproxy.proxy.access_log import combined_line, formatter, json_line
from wsgiproxy.proxy.client import ClientFacts
from wsgiproxy.proxy.exchange import Exchange

ROOT = Path(__file__).resolve().parents[3]
REQUEST = b"GET /a%20b?c=d HTTP/1.1\r\nHost: shop.example\r\nReferer: http://r/\r\nUser-Agent: probe/1.0 (x)\r\n\r\n"
LINE = re.compile(
    r'(\S+) - (\S+) \[([^\]]+)\] "((?:[^"\\]|\\x[0-9A-F]{2,})*)" (\d{3}) (\d+) "((?:[^"\\]|\\x[0-9A-F]{2,})*)" '
    r'"((?:[^"\\]|\\x[0-9A-F]{2,})*)" (\S+) (\S+) (\S+) (\d+) (\d+\.\d{3}) (\d+\.\d{3}) (\d+\.\d{3}) '
    r"(\d+\.\d{3}) (\S+) (\S+)"
)


def ended(head: bytes | None = REQUEST, **environ: Any) -> Exchange:
    """An exchange that went well."""
    exchange = Exchange(environ_of(**environ), None)
    exchange.head = None if head is None else parse_request(head)
    exchange.route, exchange.pool, exchange.backend = "routes[0]", "web", "http://b0:1"
    exchange.attempts, exchange.status, exchange.bytes_sent = 1, 200, 5
    exchange.started_at = 1000.0
    exchange.first_byte_at, exchange.ended_at = 1000.0125, 1000.5
    return exchange


def parts(line: str) -> tuple[str, ...]:
    match = LINE.fullmatch(line)
    assert match is not None, line
    return match.groups()


def test_a_combined_line_is_apaches_and_what_we_add() -> None:
    client, user, at, *rest = parts(combined_line(ended(REMOTE_USER="ada")))
    assert (client, user) == ("192.0.2.7", "ada")
    assert abs(time.mktime(time.strptime(at[:20], "%d/%b/%Y:%H:%M:%S")) - time.time()) < 3
    assert re.fullmatch(r"[+-]\d{4}", at[21:])
    assert rest == [
        "GET /a%20b?c=d HTTP/1.1", "200", "5", "http://r/", "probe/1.0 (x)", "routes[0]", "web", "http://b0:1", "1",
        "0.000", "0.000", "0.013", "0.500", "done", "-",
    ]  # fmt: skip


def test_the_client_is_the_one_that_is_believed() -> None:
    exchange = ended()
    assert exchange.head is not None
    exchange.client = ClientFacts("2001:db8::1", 0, "https", "shop.example", "443")
    assert parts(combined_line(exchange))[0] == "2001:db8::1"
    assert json.loads(json_line(exchange))["client"] == "2001:db8::1"
    exchange.client = ClientFacts("", 0, "https", "shop.example", "443")
    assert parts(combined_line(exchange))[0] == "-"
    assert json.loads(json_line(exchange))["client"] is None


def test_what_is_not_known_is_a_dash() -> None:
    exchange = Exchange(environ_of(REMOTE_ADDR=None), None)
    exchange.status = 400
    exchange.fail(NoBackendError("none"))
    exchange.ended_at = exchange.started_at
    line = combined_line(exchange)
    assert re.sub(r"\[.*?\]", "[]", line) == '- - - [] "-" 400 0 "-" "-" - - - 0 0.000 0.000 0.000 0.000 no_backend -'
    parts(line)


def test_nothing_that_a_client_sends_ends_a_field_or_the_line() -> None:
    head: Any = parse_request(b'GET /"?\\ HTTP/1.1\r\nHost: a\r\nReferer: "\xe9\t\x80\r\nUser-Agent: a" 500 "\r\n\r\n')
    exchange = ended(REMOTE_USER='a "b"\nc')
    exchange.head = head
    fields = parts(combined_line(exchange))
    assert fields[1] == "a\\x20\\x22b\\x22\\x0Ac"
    assert fields[3] == "GET /\\x22?\\x5C HTTP/1.1"
    assert fields[6] == "\\x22\\xE9\\x09\\x80"
    assert fields[7] == "a\\x22 500 \\x22"


@given(st.text(), st.text(), st.text(), st.text())
def test_a_combined_line_can_always_be_taken_apart(target: str, referer: str, agent: str, user: str) -> None:
    exchange = ended(REMOTE_USER=user)
    assert exchange.head is not None
    exchange.head.target = target
    exchange.head.environ.update(HTTP_REFERER=referer, HTTP_USER_AGENT=agent)
    line = combined_line(exchange)
    assert line.isascii()
    assert line.isprintable()
    assert parts(line)[4:6] == ("200", "5")


def test_a_json_line_has_the_same_facts() -> None:
    line = json_line(ended(REMOTE_USER="ada"))
    record = json.loads(line)
    assert abs(record.pop("time") - time.time()) < 3
    assert record == {
        "client": "192.0.2.7", "user": "ada", "method": "GET", "target": "/a%20b?c=d", "protocol": "HTTP/1.1",
        "host": "shop.example", "status": 200, "bytes": 5, "referer": "http://r/", "user_agent": "probe/1.0 (x)",
        "route": "routes[0]", "pool": "web", "backend": "http://b0:1", "attempts": 1, "queue_seconds": 0.0,
        "connect_seconds": 0.0, "first_byte_seconds": 0.0125, "seconds": 0.5, "reason": "done", "failures": [],
    }  # fmt: skip


def test_a_line_tells_of_every_failed_attempt_and_where_the_time_went() -> None:
    exchange = ended()
    exchange.queue_seconds, exchange.connect_seconds = 0.25, 0.0019
    exchange.fail_attempt("http://b1:1", ConnectError("no"), 0.0042)
    exchange.fail_attempt("http://b2:1", ReadTimeout("slow"), 1.5)
    assert combined_line(exchange).endswith(
        " 0.250 0.002 0.013 0.500 done http://b1:1=connect_error/0.004,http://b2:1=read_timeout/1.500"
    )
    record = json.loads(json_line(exchange))
    assert (record["queue_seconds"], record["connect_seconds"]) == (0.25, 0.0019)
    assert record["failures"] == [
        {"backend": "http://b1:1", "reason": "connect_error", "seconds": 0.0042},
        {"backend": "http://b2:1", "reason": "read_timeout", "seconds": 1.5},
    ]


def all_reasons(error: type[ProxyError]) -> set[str]:
    """The words of an error and of all that it stands for, but those that are no request's end."""
    others = {"config_error", "scoreboard_error"}
    return {error.reason}.union(*(all_reasons(kind) for kind in error.__subclasses__())) - others


def test_every_word_for_the_end_of_a_request_is_documented_and_no_other() -> None:
    text = (ROOT / "deploy" / "README.md").read_text()
    words = re.findall(r"(?m)^\| `([a-z_]+)` \|", text)
    assert len(words) == len(set(words))
    assert set(words) == all_reasons(ProxyError) | {"done", "tunnel_timeout"}


def test_a_json_line_without_a_head_has_nulls_and_stays_one_line() -> None:
    exchange = Exchange(environ_of(REMOTE_ADDR=None, REMOTE_USER="a\n\"b\""), None)  # fmt: skip
    record = json.loads(json_line(exchange))
    assert "\n" not in json_line(exchange)
    assert record["user"] == 'a\n"b"'
    assert [record[key] for key in ("client", "method", "target", "host", "route", "pool", "backend")] == [None] * 7
    assert record["first_byte_seconds"] == 0


@pytest.mark.parametrize(("name", "begins"), [("combined", "192.0.2.7 - - ["), ("json", "{")])
def test_a_formatter_writes_one_line_per_exchange(name: str, begins: str) -> None:
    lines: list[str] = []
    log = formatter(name, lines.append)
    assert log is not None
    log(ended())
    (line,) = lines
    assert line.startswith(begins)


def test_off_is_no_formatter() -> None:
    assert formatter("off", print) is None
