from __future__ import annotations

from wsgiproxy.http1.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing
from wsgiproxy.http1.parser import parse_request, parse_response


def test_the_three_ways_to_end_a_body_exclude_each_other() -> None:
    assert Framing(length=0) == NO_BODY
    assert Framing(length=None, chunked=True, until_close=False) == CHUNKED
    assert Framing(length=None, chunked=False, until_close=True) == UNTIL_CLOSE


def test_a_request_head_shows_what_one_would_debug_with() -> None:
    head = parse_request(b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    assert repr(head) == (
        "<RequestHead POST /a?b HTTP/1.1, 2 fields, Framing(length=5, chunked=False, until_close=False)>"
    )


def test_a_response_head_shows_what_one_would_debug_with() -> None:
    head = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET")
    assert repr(head) == "<ResponseHead 200 OK, 0 fields, Framing(length=None, chunked=True, until_close=False)>"
