from __future__ import annotations

import pytest

from wsgiproxy.errors import BadRequestError
from wsgiproxy.http1.message import RequestHead
from wsgiproxy.http1.parser import parse_request
from wsgiproxy.proxy.hops import count_hop, hops_left, via


def head(value: str, method: str = "OPTIONS") -> RequestHead:
    return parse_request(f"{method} / HTTP/1.1\r\nHost: a\r\nX: 1\r\nmax-forwards: {value}\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("value", "left"), [("0", 0), ("1", 1), ("010", 10), ("000", 0), ("999999999", 999999999), ("9" * 5000, 10**9)]
)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_the_hops_that_are_left_are_counted(method: str, value: str, left: int) -> None:
    assert hops_left(head(value, method)) == left


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "1, 2", "one", "1 1", "\xb2"])
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(BadRequestError, match="Max-Forwards"):
        hops_left(head(value))


@pytest.mark.parametrize("method", ["GET", "POST", "PURGE"])
def test_no_other_method_counts_hops(method: str) -> None:
    assert hops_left(head("x", method)) is None
    assert hops_left(parse_request(b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n")) is None


def test_one_hop_is_taken_off_and_the_rest_stays() -> None:
    request = head("5")
    assert count_hop(request.fields, request) == [("Host", "a"), ("X", "1"), ("max-forwards", "4")]
    request = head("5", "GET")
    assert count_hop(request.fields, request) is request.fields


def test_via_names_the_version_that_came_in_and_us() -> None:
    assert via("HTTP/1.0", "edge") == ("Via", "1.0 edge")
