"""The Forwarded field: what an element says, and that nobody at its left can change that."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.proxy.rfc7239 import (
    Node,
    element,
    node_text,
    parse_element,
    parse_for,
    parse_x_forwarded_for,
    split_elements,
)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("192.0.2.1", Node("192.0.2.1")),
        ("192.0.2.1:4711", Node("192.0.2.1", 4711)),
        ("2001:DB8::1", Node("2001:db8::1")),
        ("[2001:db8::1]", Node("2001:db8::1")),
        ("[2001:db8::1]:4711", Node("2001:db8::1", 4711)),
        ("::ffff:192.0.2.1", Node("192.0.2.1")),
        ("[::ffff:192.0.2.1]:1", Node("192.0.2.1", 1)),
        ("fe80::1%eth0", Node("fe80::1")),
    ],
)
def test_an_entry_of_x_forwarded_for_is_an_address_with_or_without_a_port(text: str, node: Node) -> None:
    assert parse_x_forwarded_for(text) == node


@pytest.mark.parametrize(
    "text",
    [
        "", "unknown", "_hidden", "shop.example", "192.0.2", "192.0.2.256", "192.0.2.1:", "192.0.2.1:65536",
        "192.0.2.1:x", "192.0.2.1 192.0.2.2", "[192.0.2.1]", "[2001:db8::1", "2001:db8::1]", "[]", "1", "::1::",
        "192.0.2.1\t", '"192.0.2.1"', "192.0.2.1:٣", "192.0.2.01",
    ],
)  # fmt: skip
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_x_forwarded_for(text) is None


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("192.0.2.43", Node("192.0.2.43")),
        ("192.0.2.43:47011", Node("192.0.2.43", 47011)),
        ("[2001:db8:cafe::17]:4711", Node("2001:db8:cafe::17", 4711)),
        ("192.0.2.43:_port", Node("192.0.2.43")),
        ("unknown", Node("", 0, "unknown")),
        ("Unknown:80", Node("", 0, "unknown")),
        ("_gazonk", Node("", 0, "_gazonk")),
        ("_Se-c.r_et:_p0rt", Node("", 0, "_Se-c.r_et")),
        ("2001:db8::1", None),  # brackets are needed here
        ("gazonk", None),
        ("_", None),
        ("_a b", None),
        ("", None),
    ],
)
def test_a_for_parameter_is_an_address_or_an_alias(text: str, node: Node | None) -> None:
    assert parse_for(text) == node


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('for="_gazonk"', {"for": "_gazonk"}),
        ('For="[2001:db8:cafe::17]:4711"', {"for": "[2001:db8:cafe::17]:4711"}),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", {"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}),
        (" ;FOR=a ;; Proto=HTTPS; ", {"for": "a", "proto": "HTTPS"}),
        (r'for="a\"b\\c";secret=x', {"for": r'a"b\c', "secret": "x"}),
        ('for=""', {"for": ""}),
        ('host="a;b,c=d"', {"host": "a;b,c=d"}),
        ("", {}),
    ],
)  # fmt: skip
def test_an_element_is_pairs_by_lower_case_name(text: str, pairs: dict[str, str]) -> None:
    assert parse_element(text) == pairs


@pytest.mark.parametrize(
    "text",
    [
        "for", "for=", "=a", "for=a;for=b", "for=a;FOR=b", 'for="a', 'for=a"', 'for="a"b', "for = a",
        "for=192.0.2.1:80", "for=[2001:db8::1]", "for=a b", "for=a,proto=b", 'for="a\\', "\x00", "for=a\xe9",
    ],
)  # fmt: skip
def test_a_malformed_element_says_nothing(text: str) -> None:
    assert parse_element(text) is None


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("", [""]),
        ("a=b", ["a=b"]),
        ("a=b, c=d", ["a=b", " c=d"]),
        ('a="b,c",d="e"', ['a="b,c"', 'd="e"']),
        (r'a="b\",c",d=e', [r'a="b\",c"', "d=e"]),
        ('a="b",', ['a="b"', ""]),
        ('for="evil, for=192.0.2.1', ['for="evil', " for=192.0.2.1"]),
        ('for="evil, for="[2001:db8::1]"', ['for="evil', ' for="[2001:db8::1]"']),
    ],
)
def test_elements_are_split_at_the_commas_outside_quotes(value: str, elements: list[str]) -> None:
    assert split_elements(value) == elements


QUOTED = st.text('a,;="\\ :', max_size=6)
TRUE = st.builds(
    lambda host, more: element({"for": "192.0.2.1", "host": host} | more),
    QUOTED,
    st.just({"proto": "http"}) | st.just({}),
)


@given(forged=st.text('a,;="\\ ', max_size=12), appended=TRUE)
def test_what_was_forged_at_the_left_never_passes_for_what_a_proxy_has_appended(forged: str, appended: str) -> None:
    last = split_elements(f"{forged}, {appended}")[-1]
    pairs = parse_element(last)
    assert pairs is None or pairs == parse_element(appended)


@given(elements=st.lists(st.dictionaries(st.sampled_from(["for", "by", "host", "x"]), QUOTED, min_size=1), min_size=1))
def test_what_was_written_is_read_again(elements: list[dict[str, str]]) -> None:
    written = ", ".join(element(pairs) for pairs in elements)
    assert [parse_element(text) for text in split_elements(written)] == elements


def test_only_what_is_no_token_is_quoted() -> None:
    pairs = {"for": node_text("2001:db8::1"), "proto": "https", "host": "a.example:81"}
    assert element(pairs) == 'for="[2001:db8::1]";proto=https;host="a.example:81"'
    assert node_text("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("piece", [",", '"', "a=", 'a="', 'a="\\', 'a="b",', "a=b;", "for=_,", '",a="'])
def test_the_longest_field_is_read_in_no_time(piece: str) -> None:
    value = piece * (64 * 1024 // len(piece))
    start = time.process_time()
    for text in split_elements(value):
        parse_element(text)
    assert time.process_time() - start < 1.0
