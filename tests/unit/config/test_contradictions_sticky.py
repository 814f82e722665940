"""How a client stays with its backend: what cannot be meant, said with its place and what to do."""

from __future__ import annotations

import pytest

from wsgiproxy.config import schema
from wsgiproxy.config.contradictions import contradictions
from wsgiproxy.config.loader import loads
from wsgiproxy.errors import InvalidConfigError

KEY = "0123456789abcdef"
HOW = "make one with `openssl rand -hex 32`, and keep it"


def refusal(sticky: str) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        loads(f"pools: {{web: {{backends: ['http://h'], sticky: {sticky}}}}}\n", "f.yaml")
    return str(refused.value).replace("f.yaml:1:", "").replace("pools.web.sticky", "*")


@pytest.mark.parametrize(
    ("sticky", "problem"),
    [
        ("{}", '47: *: missing key "cookie"'),
        ("{cookie: 'a b'}", '56: *.cookie: "a b" is not a cookie name: only letters, digits and !#$%&\'*+-.^_`|~'),
        (
            "{cookie: c}",
            f"47: *: exactly one of key, key_file is needed for a cookie of ours, neither is given; {HOW}",
        ),
        (
            f"{{cookie: c, key: {KEY}, key_file: /k}}",
            f"47: *: exactly one of key, key_file is needed for a cookie of ours, both are given; {HOW}",
        ),
        ("{cookie: c, key: hush}", f"64: *.key: must have at least 16 characters, got 4; {HOW}"),
        (f"{{cookie: c, ttl: 0.5s, key: {KEY}}}", '64: *.ttl: must be at least 1, got "0.5s"'),
        (f"{{cookie: c, path: /a;b, key: {KEY}}}", '65: *.path: must not have ";", which ends it in Set-Cookie'),
        (
            f"{{cookie: c, same_site: none, key: {KEY}}}",
            "70: *.same_site: none needs secure: true, or browsers refuse the cookie",
        ),
        (
            f"{{cookie: __Secure-c, key: {KEY}}}",
            "56: *.cookie: __Secure- needs secure: true, or browsers refuse the cookie",
        ),
        (
            f"{{cookie: __Host-c, secure: true, domain: a.example, key: {KEY}}}",
            "56: *.cookie: __Host- needs path: / and no domain, or browsers refuse the cookie",
        ),
        (f"{{cookie: c, max_sessions: 5, key: {KEY}}}", "73: *.max_sessions: does nothing beside set_by: proxy"),
    ],
)
def test_a_mistake_has_its_place_and_its_remedy(sticky: str, problem: str) -> None:
    assert refusal(sticky) == problem


@pytest.mark.parametrize(
    "key",
    [f"key: {KEY}", "key_file: /k", "path: /a", "domain: a.b", "secure: true", "http_only: false", "same_site: strict"],
)
def test_an_applications_cookie_is_the_applications(key: str) -> None:
    name = key.partition(":")[0]
    assert refusal(f"{{cookie: c, set_by: application, {key}}}").endswith(
        f"*.{name}: does nothing beside set_by: application"
    )


SHARED = """\
pools:
  a: {{backends: ['http://a']{a}}}
  b: {{backends: ['http://b']{b}}}
routes:
  - {{pool: a}}
  - pools: [{{pool: a}}, {{pool: b, weight: 0}}]
"""


def sticky(cookie: str, more: str = f"key: {KEY}") -> str:
    return f", sticky: {{cookie: {cookie}, {more}}}"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("", sticky("c")),
        (sticky("c"), ""),
        (sticky("c"), sticky("d")),
        (sticky("c"), sticky("c", "set_by: application")),
    ],
)
def test_pools_that_share_a_route_agree_on_how_clients_stay(a: str, b: str) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        loads(SHARED.format(a=a, b=b), "f.yaml")
    assert str(refused.value) == (
        "f.yaml:6:12: routes[1].pools: need the same sticky cookie, or none: "
        "clients would gather in the pool that keeps them"
    )


@pytest.mark.parametrize(
    ("a", "b"), [("", ""), (sticky("c"), sticky("c", "key: another one of 16, secure: true"))], ids=str
)
def test_pools_that_share_a_route_may_keep_their_clients(a: str, b: str) -> None:
    assert len(loads(SHARED.format(a=a, b=b), "f.yaml").config.routes) == 2


def test_no_message_tells_a_secret() -> None:
    assert "hush" not in refusal("{cookie: c, key: hush}")


@pytest.mark.parametrize(
    "block",
    [
        schema.Sticky(cookie="c", key=KEY),
        schema.Sticky(cookie="c", key_file="/k", same_site="none", secure=True),
        schema.Sticky(cookie="__Host-c", key=KEY, secure=True),
        schema.Sticky(cookie="__Secure-c", key=KEY, secure=True, domain="a.example", path="/shop"),
        schema.Sticky(cookie="__Host-c", set_by="application", max_sessions=5),
    ],
    ids=lambda block: block.cookie,
)
def test_what_can_be_meant_is_no_contradiction(block: schema.Sticky) -> None:
    assert list(contradictions(block)) == []
