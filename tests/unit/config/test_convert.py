"""From YAML to blocks: what is taken kindly, and every kind of mistake in its own words and place."""

from __future__ import annotations

import pytest

from wsgiproxy.config import schema
from wsgiproxy.config.loader import loads
from wsgiproxy.config.schema import Backend, Match, PathMatch, Pool, Redirect, Respond, Route, ValueMatch
from wsgiproxy.errors import InvalidConfigError

WEB = "pools: {web: {backends: ['http://h']}}\n"


def read(text: str) -> schema.Config:
    return loads(text, "f.yaml").config


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        loads(text, "f.yaml")
    return str(refused.value)


# --- what is taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}", "daemon:\npools:\nroutes:\n", "pools: {}\nroutes: []"]
)
def test_an_empty_file_is_all_defaults(text: str) -> None:
    assert read(text) == schema.Config()


def test_the_example_of_the_issue_is_read_as_it_is_meant() -> None:
    config = read(
        """
pools:
  web:
    balance: least_conn
    backends:
      - http://127.0.0.1:8001
      - {address: "http://127.0.0.1:8002", weight: 2}
      - {address: "unix:/run/app.sock", backup: true}
    health_check: {path: /healthz, interval: 5s, timeout: 250ms, expected_statuses: ["200-399", 404]}
    host: backend
routes:
  - {match: {host: shop.example.org, path: /api}, pool: web, strip_prefix: true}
  - {match: {path: {exact: /ping}}, respond: {status: 200, body: "pong\\n"}}
  - {match: {path: /old}, redirect: {path_prefix: /new, status: 308}}
  - {match: [{host: [a.example, B.example], method: GET}, {headers: {x-beta: "1"}, query: {v: 2}}], pool: web}
  - {pool: web}
"""
    )
    assert config.pools == {
        "web": Pool(
            balance="least_conn",
            backends=(
                Backend(address="http://127.0.0.1:8001"),
                Backend(address="http://127.0.0.1:8002", weight=2),
                Backend(address="unix:/run/app.sock", backup=True),
            ),
            health_check=schema.HealthCheck(
                path="/healthz", interval=5.0, timeout=0.25, expected_statuses=("200-399", "404")
            ),
            host="backend",
        )
    }
    one = ValueMatch(exact="1")
    assert config.routes == (
        Route(match=(Match(host=("shop.example.org",), path=PathMatch(prefix="/api")),), pool="web", strip_prefix=True),
        Route(match=(Match(path=PathMatch(exact="/ping")),), respond=Respond(body="pong\n")),
        Route(match=(Match(path=PathMatch(prefix="/old")),), redirect=Redirect(path_prefix="/new", status=308)),
        Route(
            match=(
                Match(host=("a.example", "b.example"), method=("GET",)),
                Match(headers={"x-beta": one}, query={"v": ValueMatch(exact="2")}),
            ),
            pool="web",
        ),
        Route(pool="web"),
    )


@pytest.mark.parametrize("word", ["off", '"off"', "json", "combined"])
def test_off_is_a_word_where_a_word_is_meant(word: str) -> None:
    config = read(f"daemon: {{access_log: {{format: {word}}}}}")
    assert config.daemon.access_log.format == word.strip('"')


@pytest.mark.parametrize(("word", "flag"), [("true", True), ("yes", True), ("Off", False), ("no", False)])
def test_a_flag_takes_every_yaml_spelling(word: str, flag: bool) -> None:
    config = read(f"pools: {{web: {{backends: [{{address: 'http://h', backup: {word}}}]}}}}")
    assert config.pools["web"].backends[0].backup is flag


def test_numbers_and_dates_are_text_where_text_is_meant() -> None:
    config = read("routes: [{respond: {headers: {a: 1, b: 010, c: 2026-01-01, d: true, e: 1.50}, body: 404}}]")
    assert config.routes[0].respond == Respond(
        headers={"a": "1", "b": "010", "c": "2026-01-01", "d": "true", "e": "1.50"}, body="404"
    )


def test_addresses_are_kept_in_their_canonical_form() -> None:
    config = read("daemon: {listeners: ['*:8080']}\npools: {web: {backends: ['HTTP://H', 'app:shop']}}")
    assert config.daemon.listeners[0].address == ":8080"
    assert [backend.address for backend in config.pools["web"].backends] == ["http://h:80", "app:shop:application"]


def test_null_leaves_an_optional_value_out() -> None:
    config = read(
        "pools: {web: {backends: ['http://h'], health_check: ~}}\ndaemon: {listeners: [{address: ':1', limits: }]}"
    )
    assert config.pools["web"].health_check is None
    assert config.daemon.listeners[0].limits == schema.Limits()


def test_a_block_may_be_written_once_and_shared() -> None:
    config = read(
        """
pools:
  a: {backends: ["http://a"], health_check: &check {path: /healthz, interval: 1s}}
  b: {backends: ["http://b"], health_check: *check}
  c:
    backends: ["http://c"]
    health_check: {<<: *check, path: /other}
"""
    )
    assert config.pools["a"].health_check == config.pools["b"].health_check
    assert config.pools["c"].health_check == schema.HealthCheck(path="/other", interval=1.0)


def test_two_routes_may_ask_for_the_same() -> None:
    assert len(read(WEB + "routes: [{match: {path: /a}, pool: web}, {match: {path: /a}, pool: web}]").routes) == 2


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_typing_slip_is_reported_as_the_issue_promises() -> None:
    text = """\
daemon:
  listeners:
    - 127.0.0.1:8080

pools:
  web:
    balance: least_conn
    backends:
      - http://127.0.0.1:8001

      # twice the machine
      - address: http://127.0.0.1:8002

        wieght: 2
"""
    assert refusal(text) == 'f.yaml:14:9: pools.web.backends[1]: unknown key "wieght", did you mean "weight"?'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # keys
        ("pool: {}", '1:1: unknown key "pool", did you mean "pools"?'),
        ("x: 1", '1:1: unknown key "x"; the keys here are daemon, forwarding, timeouts, pools, routes'),
        ("? [a]\n: 1", "1:3: a key must be plain text"),
        ("daemon: {workers: 1, workers: 1}", '1:22: daemon: duplicate key "workers", first on line 1'),
        ("pools:\n  web: {}", '2:8: pools.web: missing key "backends"'),
        ("pools:\n  web:", '2:7: pools.web: missing key "backends"'),
        # types
        ("5", '1:1: expected a block of daemon, forwarding, timeouts, pools, routes, got text "5"'),
        ("daemon: []", "1:9: daemon: expected a block of listeners, workers, access_log, drain_timeout, got a list"),
        ("pools: []", "1:8: pools: expected a mapping of pools, got a list"),
        ("routes: {}", "1:9: routes: expected a list of routes, got a mapping"),
        (
            "pools: {web: {backends: web}}",
            '1:25: pools.web.backends: expected a list of backends, got text "web"',
        ),
        ("pools: {web: {backends: }}", "1:25: pools.web.backends: expected a list of backends, got nothing"),
        ("pools: {web: {backends: []}}", "1:25: pools.web.backends: needs at least 1, got an empty list"),
        (
            "pools: {web: {backends: [[]]}}",
            "1:26: pools.web.backends[0]: expected an address, or a block of address, weight, priority, "
            "backup, max_in_flight, admin_state, got a list",
        ),
        (
            "pools: {web: {backends: [~]}}",
            "1:26: pools.web.backends[0]: expected an address, or a block of address, weight, priority, "
            "backup, max_in_flight, admin_state, got nothing",
        ),
        ("daemon: {drain_timeout: [1]}", "1:25: daemon.drain_timeout: expected a duration, got a list"),
        ("daemon: {drain_timeout: }", "1:25: daemon.drain_timeout: expected a duration, got nothing"),
        (
            "daemon: {listeners: [{address: ':1', backlog: '5'}]}",
            '1:47: daemon.listeners[0].backlog: expected a whole number, got text "5"',
        ),
        ("daemon: {workers: one}", '1:19: daemon.workers: expected a whole number, got "one"'),
        ("daemon: {access_log: {path: {}}}", "1:29: daemon.access_log.path: expected text, got a mapping"),
        ("daemon: {access_log: {path: ''}}", "1:29: daemon.access_log.path: must not be empty"),
        ('daemon: {access_log: {path: "a\\0b"}}', "1:29: daemon.access_log.path: must not hold a NUL character"),
        # values
        (
            "daemon: {access_log: {format: jsn}}",
            '1:31: daemon.access_log.format: unknown value "jsn", did you mean "json"?',
        ),
        (
            "daemon: {access_log: {format: x}}",
            '1:31: daemon.access_log.format: unknown value "x"; expected one of combined, json, off',
        ),
        ("daemon: {workers: 0}", '1:19: daemon.workers: must be at least 1, got "0"'),
        ("daemon: {workers: 4}", '1:19: daemon.workers: only 1 worker is supported so far, got "4"'),
        (
            "daemon: {drain_timeout: 5sec}",
            "1:25: daemon.drain_timeout: expected a duration such as 5s, 250ms, 1m30s, 2h "
            'or a plain number of seconds, got "5sec"',
        ),
        (
            "daemon: {listeners: [':1', '*:1']}",
            '1:28: daemon.listeners[1]: duplicate address ":1", first on line 1',
        ),
        (
            "pools: {web: {backends: ['http://h:80', {address: HTTP://H}]}}",
            '1:41: pools.web.backends[1]: duplicate address "http://h:80", first on line 1',
        ),
        (
            "pools: {web: {backends: [{address: 'http://h', weight: 257}]}}",
            '1:56: pools.web.backends[0].weight: must be at most 256, got "257"',
        ),
        (
            "pools: {web: {backends: ['http://h'], timeouts: {read: 0}}}",
            '1:56: pools.web.timeouts.read: must be more than 0, got "0"',
        ),
        (
            "pools: {web: {backends: ['http://h'], health_check: {jitter: 2}}}",
            '1:62: pools.web.health_check.jitter: must be at most 1, got "2"',
        ),
        (
            "pools: {web: {backends: ['http://h'], health_check: {host: ''}}}",
            "1:60: pools.web.health_check.host: must not be empty",
        ),
        (
            "pools: {web: {backends: ['http://h'], health_check: {expected_body: 'up('}}}",
            '1:69: pools.web.health_check.expected_body: bad regular expression "up(": '
            "missing ), unterminated subpattern at position 2",
        ),
        (
            "pools: {web: {backends: ['http://h'], health_check: {initial: up}}}",
            '1:63: pools.web.health_check.initial: unknown value "up"; expected one of checking, healthy',
        ),
        (
            "pools: {web: {backends: ['unix:/h'], health_check: {port: 9000}}}",
            "1:59: pools.web.health_check.port: does nothing here: none of the backends has an address with a port",
        ),
        (
            'pools: {"a\\nb": {backends: ["http://h"]}}',
            '1:9: pools: "a\\nb" is not a name: it needs printable characters, and no spaces around them',
        ),
        (
            "routes: [{respond: {headers: {a b: 1}}}]",
            '1:31: routes[0].respond.headers: "a b" is not a header name: only letters, digits and !#$%&\'*+-.^_`|~',
        ),
        (
            'routes: [{respond: {headers: {a: "x\\r\\ny: 1"}}}]',
            '1:34: routes[0].respond.headers.a: "x\\r\\ny: 1" is not a header value: '
            "no line breaks, no control characters, latin-1 only",
        ),
        (
            "routes: [{respond: {headers: {Connection: close}}}]",
            '1:43: routes[0].respond.headers.Connection: the proxy sets "Connection" itself',
        ),
        # routes
        ("routes: [{pool: web}]", '1:17: routes[0].pool: unknown pool "web"; no pools are defined'),
        (WEB + "routes: [{pool: wbe}]", '2:17: routes[0].pool: unknown pool "wbe", did you mean "web"?'),
        (WEB + "routes: [{pool: other}]", '2:17: routes[0].pool: unknown pool "other"; the pools are web'),
        (
            "routes: [{match: {path: /}}]",
            "1:10: routes[0]: exactly one of pool, pools, respond, redirect is needed; none is given",
        ),
        (
            WEB + "routes: [{pool: web, respond: {}}]",
            "2:10: routes[0]: exactly one of pool, pools, respond, redirect is needed; pool and respond are given",
        ),
        (
            "routes: [{match: {path: {}}, respond: {}}]",
            "1:25: routes[0].match.path: exactly one of exact, prefix, regex is needed; none is given",
        ),
        (
            "routes: [{redirect: {path: /a, path_prefix: /b}, match: {path: /}}]",
            "1:21: routes[0].redirect: at most one of path, path_prefix may be given; path and path_prefix are given",
        ),
        (
            "routes: [{match: {path: {regex: '(a'}}, respond: {}}]",
            '1:33: routes[0].match.path.regex: bad regular expression "(a": '
            "missing ), unterminated subpattern at position 0",
        ),
        ("routes: [{match: {path: api}, respond: {}}]", '1:25: routes[0].match.path: must start with "/", got "api"'),
        (
            "routes: [{match: [{path: /}, ~], respond: {}}]",
            "1:30: routes[0].match[1]: expected a block of host, path, method, headers, query, got nothing",
        ),
        (
            "routes: [{match: {host: [a.example, 'b.example:80']}, respond: {}}]",
            '1:37: routes[0].match.host[1]: must not have a port, got "b.example:80"',
        ),
        (
            "routes: [{match: {method: [GET, post]}, respond: {}}]",
            '1:33: routes[0].match.method[1]: methods are in upper case: "POST", got "post"',
        ),
        (
            WEB + "routes: [{match: {path: {exact: /a}}, pool: web, strip_prefix: true}]",
            "2:64: routes[0].strip_prefix: needs a path prefix in every match of the route: "
            "there is nothing that it could strip otherwise",
        ),
        (
            "routes: [{redirect: {path_prefix: /new}}]",
            "1:35: routes[0].redirect.path_prefix: needs a path prefix in every match of the route: "
            "there is nothing that it could replace otherwise",
        ),
        (
            "routes: [{name: a, respond: {}}, {name: b, respond: {}}, {name: a, respond: {}}]",
            '1:58: routes[2]: duplicate name "a", first on line 1',
        ),
        (
            "routes: [{redirect: {status: 300, scheme: https}}]",
            '1:30: routes[0].redirect.status: unknown value "300"; expected one of 301, 302, 303, 307, 308',
        ),
    ],
)
def test_a_mistake_has_its_place_its_key_and_its_remedy(text: str, problem: str) -> None:
    assert refusal(text) == f"f.yaml:{problem}"
