from __future__ import annotations

import pytest

from wsgiproxy.http1.headers import (
    END_TO_END_ANSWER,
    HOP_BY_HOP,
    NEVER_NOMINATED,
    UNFIT,
    allowed_trailers,
    environ_of,
    forwardable,
    is_forbidden_trailer,
    is_unfit,
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
     "Forwarded", "Range", "Set-Cookie", "Via", "Content-Type", "Content-Range", "Content-Security-Policy", "Location",
     "WWW-Authenticate", "Sec-Fetch-Site", "Sec-WebSocket-Key", "Access-Control-Allow-Origin", "Max-Forwards", "Origin",
     "Referer", "Client-Cert", "Client-Cert-Chain", "Strict-Transport-Security", "Vary", "ETag", "Date",
     "Cache-Control"],
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
        ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("Client-Cert", ":AA==:"), ("client-cert-chain", "x"),
        ("Accept", "1"), ("X-Other", "2"), ("ACCEPT", "3"), ("cookie", "4"),
    ]  # fmt: skip
    kept = [("Accept", "1"), ("X-Other", "2"), ("ACCEPT", "3"), ("cookie", "4")]
    assert forwardable(fields, "keep-alive, X-Mine") == kept


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_For", "x-forwarded_proto", "X_FORWARDED-ANYTHING", "Content_Length", "Transfer_Encoding", "Host_",
     "X_Real_IP", "Content_Type", "User_ID", "_", "X_Own"],
)  # fmt: skip
def test_a_name_with_an_underscore_goes_on_only_where_its_hyphenated_one_is_of_no_importance(name: str) -> None:
    kept = name in ("Host_", "User_ID", "_", "X_Own")
    assert forwardable([(name, "v"), ("Accept", "a")]) == [(name, "v")] * kept + [("Accept", "a")]


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "sec-fetch-site", "content-length", "http2-settings", *sorted(NEVER_NOMINATED | HOP_BY_HOP)],
)
def test_no_name_of_importance_goes_on_with_an_underscore(name: str) -> None:
    unfit = name.replace("-", "_")
    assert [field for field in forwardable([(unfit, "v"), (unfit.upper(), "v")]) if "_" in field[0]] == []


def test_max_forwards_goes_on_for_the_proxy_to_count_down() -> None:
    assert forwardable([("Max-Forwards", "3")], "Max-Forwards, close") == [("Max-Forwards", "3")]


@pytest.mark.parametrize(
    ("name", "unfit", "unfit_at_best"),
    [
        ("X-A", False, False),
        ("X_A", True, False),
        ("Proxy", True, True),
        ("pROXY", True, True),
        ("Proxy-A", False, False),
    ],
)
def test_only_proxy_is_unfit_where_underscores_are_kept(name: str, unfit: bool, unfit_at_best: bool) -> None:
    assert is_unfit(name) is unfit
    assert is_unfit(name, True) is unfit_at_best


@pytest.mark.parametrize(
    "name", ["X-Checksum", "Server-Timing", "grpc-status", "Content-Digest", "Proxy-Status", "ETag", "X_Sum"]
)
def test_a_trailer_that_was_asked_for_goes_on(name: str) -> None:
    fields = [(name, "v"), ("X-Other", "w"), (name.upper(), "x")]
    assert allowed_trailers(fields, (name.lower(),)) == [(name, "v"), (name.upper(), "x")]
    assert allowed_trailers(fields, ()) == []
    assert allowed_trailers([], (name.lower(),)) == []
    assert not is_forbidden_trailer(name)


@pytest.mark.parametrize(
    "name",
    ["Transfer-Encoding", "Content-Length", "Trailer", "Host", "X-Forwarded-For", "Forwarded", "Via", "X-Real-IP",
     "Authorization", "Proxy-Authorization", "Proxy-Authenticate", "WWW-Authenticate", "Authentication-Info", "Cookie",
     "Set-Cookie", "Connection", "Upgrade", "TE", "Keep-Alive", "Proxy-Connection", "Content-Type", "Content-Encoding",
     "Content-Range", "Content-Disposition", "Cache-Control", "Expect", "Max-Forwards", "Pragma", "Range", "If-Match",
     "If-None-Match", "If-Anything", "Age", "Expires", "Date", "Location", "Retry-After", "Vary", "Warning", "Proxy",
     "Proxy-Authentication-Info", "Client-Cert", "Origin", "Access-Control-Allow-Origin", "Sec-Fetch-Site"],
)  # fmt: skip
def test_no_trailer_says_what_must_be_known_before_the_body(name: str) -> None:
    spellings = [name, name.lower(), name.upper(), name.replace("-", "_")]
    assert all(is_forbidden_trailer(spelling) for spelling in spellings)
    asked = {spelling.lower() for spelling in spellings}
    assert allowed_trailers([(spelling, "v") for spelling in spellings] + [("X-A", "w")], asked | {"x-a"}) == [
        ("X-A", "w")
    ]


@pytest.mark.parametrize("connection", ["keep-alive", "Close", "CLOSE", ""])
def test_a_plain_connection_field_takes_nothing_off(connection: str) -> None:
    assert forwardable([("Close", "1"), ("X-A", "2")], connection) == [("Close", "1"), ("X-A", "2")]


def test_fields_are_taken_off_by_name_in_any_case() -> None:
    assert without([("A", "1"), ("b", "2"), ("a", "3")], frozenset({"a"})) == [("b", "2")]


def test_no_field_is_both_one_hops_own_and_protected() -> None:
    assert not HOP_BY_HOP & (NEVER_NOMINATED - {"transfer-encoding"})
    assert not HOP_BY_HOP & {name.lower() for name in END_TO_END_ANSWER}
    assert "content-length" not in {name.lower() for name in END_TO_END_ANSWER}


def test_what_the_routing_looked_at_cannot_be_nominated_away() -> None:
    fields = [("X-Ok", "1"), ("X-Other", "2")]
    assert forwardable(fields, "X-Ok, X-Other", frozenset({"x-ok"})) == [("X-Ok", "1")]


@pytest.mark.parametrize("name", ["X-Api-Key", "If-Match", "X-Auth-Token", "X-Remote-User", "Remote-User"])
def test_what_says_who_somebody_is_or_guards_a_write_cannot_be_nominated_away(name: str) -> None:
    assert forwardable([(name, "1")], f"close, {name}") == [(name, "1")]


@pytest.mark.parametrize("name", ["X-Forwarded", "REMOTE_USER", "SSL_CLIENT_VERIFY", "x_forwarded_for"])
def test_what_a_backend_could_take_for_our_word_is_not_forwarded(name: str) -> None:
    assert forwardable([(name, "1")]) == []
