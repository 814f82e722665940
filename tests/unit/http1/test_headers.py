from __future__ import annotations

import pytest

from wsgiproxy.http1.headers import (
    END_TO_END_ANSWER,
    HOP_BY_HOP,
    NEVER_NOMINATED,
    UNFIT,
    environ_of,
    forwardable,
    nominated,
    tokens,
    without,
)


def test_fields_become_cgi_variables() -> None:
    fields = [("Host", "x"), ("content-type", "a/b"), ("CONTENT-LENGTH", "3"), ("X-Own-Name", "v"), ("accept", "*/*")]
    assert environ_of(fields) == {
        "HTTP_HOST": "x",
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "3",
        "HTTP_X_OWN_NAME": "v",
        "HTTP_ACCEPT": "*/*",
    }


@pytest.mark.parametrize(
    ("name", "joined"), [("Cookie", "a=1; b=2"), ("cOOkie", "a=1; b=2"), ("Accept", "a=1,b=2"), ("X-Own", "a=1,b=2")]
)
def test_repeated_fields_are_joined(name: str, joined: str) -> None:
    (value,) = environ_of([(name, "a=1"), (name.upper(), "b=2")]).values()
    assert value == joined


def test_a_name_with_an_underscore_never_takes_the_place_of_one_with_a_hyphen() -> None:
    environ = environ_of([("X-Forwarded-For", "1.1.1.1"), ("X_Forwarded_For", "6.6.6.6"), ("Content_Length", "9")])
    assert environ.pop(UNFIT)
    assert environ == {"HTTP_X_FORWARDED_FOR": "1.1.1.1"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("close", ["close"]),
        ("Keep-Alive, Upgrade", ["keep-alive", "upgrade"]),
        (" ,,\ta ,\tB\t,", ["a", "b"]),
    ],
)
def test_a_list_of_tokens_is_split_at_commas(value: str, expected: list[str]) -> None:
    assert tokens(value) == expected


def test_a_connection_field_nominates_names_for_removal() -> None:
    assert nominated("close, X-Own,  x-other") == {"close", "x-own", "x-other"}


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Anything", "X-Real-IP",
     "Forwarded", "Range", "Set-Cookie", "Via"],
)  # fmt: skip
def test_a_connection_field_cannot_take_away_what_the_next_hop_relies_on(name: str) -> None:
    assert nominated(f"close, {name}") == {"close"}


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Range", "Content-Type", "Cache-Control"])
def test_a_protected_field_goes_on_although_it_was_nominated(name: str) -> None:
    assert forwardable([(name, "v"), ("X-Mine", "w")], f"X-Mine, {name}") == [(name, "v")]


def test_a_request_loses_its_hop_by_hop_and_nominated_fields_on_the_way() -> None:
    fields = [
        ("Host", "x"), ("Connection", "keep-alive, X-Mine"), ("Keep-Alive", "5"), ("X-Mine", "1"), ("TE", "trailers"),
        ("Trailer", "a"), ("Transfer-Encoding", "chunked"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AA"),
        ("Proxy-Connection", "close"), ("Proxy-Authorization", "b"), ("Expect", "x"),
        ("Content-Length", "4"), ("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-proto", "https"),
        ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6"),
        ("Accept", "1"), ("X-Other", "2"), ("ACCEPT", "3"), ("cookie", "4"),
    ]  # fmt: skip
    kept = [("Accept", "1"), ("X-Other", "2"), ("ACCEPT", "3"), ("cookie", "4")]
    assert forwardable(fields, "keep-alive, X-Mine") == kept


@pytest.mark.parametrize("connection", ["keep-alive", "Close", "CLOSE", ""])
def test_a_plain_connection_field_takes_nothing_off(connection: str) -> None:
    assert forwardable([("Close", "1"), ("X-A", "2")], connection) == [("Close", "1"), ("X-A", "2")]


def test_fields_are_taken_off_by_name_in_any_case() -> None:
    assert without([("A", "1"), ("b", "2"), ("a", "3")], frozenset({"a"})) == [("b", "2")]


def test_no_field_is_both_one_hops_own_and_protected() -> None:
    assert not HOP_BY_HOP & (NEVER_NOMINATED - {"transfer-encoding"})
    assert not HOP_BY_HOP & {name.lower() for name in END_TO_END_ANSWER}
    assert "content-length" not in {name.lower() for name in END_TO_END_ANSWER}
