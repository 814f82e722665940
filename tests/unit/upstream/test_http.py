from __future__ import annotations

from typing import Any

import pytest

from tests.loopback import wait_for
from tests.scripted import OK, Peer, pause, serve
from tests.unit.upstream.talks import Upstream, block, get, post, read, talking
from wsgiproxy.errors import BackendProtocolError, ConnectError, ReadTimeout, TruncatedBodyError
from wsgiproxy.http1.message import NO_BODY
from wsgiproxy.upstream import messages


def idle_after(talk: Upstream, method: str = "GET") -> int:
    """Read one answer to its end; how many connections are then idle."""
    response = talk.send(get(method))
    read(response)
    response.body.close()
    return talk.idle_connections()


# --- the request ------------------------------------------------------------------------------------------------------


def sent(request: Any, **options: Any) -> str:
    """The request's head as the backend sees it."""
    with talking(serve(OK), **options) as talk:
        read(talk.send(request))
        return talk.server.peers[0].heads[0]


def test_a_request_is_its_line_the_host_and_its_fields_and_nothing_more() -> None:
    assert sent(get()) == "GET /x?y=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n"


def test_the_host_is_the_clients_or_the_backends_own() -> None:
    assert "Host: backend.example\r\n" in sent(get(), host="backend")
    nameless = messages.UpstreamRequest("GET", "/", "", [])
    assert sent(nameless) == "GET / HTTP/1.1\r\nHost: backend.example\r\n\r\n"


@pytest.mark.parametrize(("method", "says"), [("POST", True), ("PUT", True), ("PATCH", True), ("DELETE", False)])
def test_methods_that_usually_have_a_body_say_so_when_they_have_none(method: str, says: bool) -> None:
    head = sent(get(method, framing=NO_BODY))
    assert ("Content-Length: 0\r\n" in head) is says
    assert "Transfer-Encoding" not in head


# --- answers, and whether the connection is used again ----------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([OK], b"ok"),
        ([HEAD + b"Content-Length: 5\r\n\r\nhel", pause(0.01), b"lo"], b"hello"),
        ([HEAD + b"Content-Length: 0\r\n\r\n"], b""),
        ([HEAD[:9], pause(0.01), HEAD[9:] + b"Content-Le", pause(0.01), b"ngth: 2\r\n\r", pause(0.01), b"\nok"], b"ok"),
        ([CHUNKED + b"3\r\nabc\r\n", pause(0.01), b"2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n"], b"abcde"),
        ([CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"], b"abc"),
        ([CHUNKED + b"0\r\n\r\n"], b""),
        ([b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"], b"ok"),
        ([b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"], b"ok"),
        ([HEAD + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000], b"x" * 300_000),
    ],
)  # fmt: skip
def test_a_body_that_ends_by_itself_leaves_the_connection_for_the_next_request(
    steps: list[Any], expected: bytes
) -> None:
    with talking([Peer.head, *steps, Peer.head, OK]) as talk:
        response = talk.send(get())
        assert (response.status, read(response)) == (200, expected)
        assert response.body.is_over()
        assert talk.idle_connections() == 1
        assert read(talk.send(get())) == b"ok"
        assert (talk.connector.dialled, talk.connector.given_back) == (1, 2)


def test_status_reason_fields_and_length_come_back_as_they_are() -> None:
    answer = (
        b"HTTP/1.1 404 Not Here\r\nSet-Cookie: a=1\r\nX-Shop: caf\xe9\r\nConnection: X-Own\r\nX-Own: 1\r\n"
        b"Set-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nno"
    )
    with talking(serve(answer)) as talk:
        response = talk.send(get())
        assert (response.status, response.reason, response.length) == (404, "Not Here", 2)
        assert response.fields == [
            ("Set-Cookie", "a=1"), ("X-Shop", "caf\xe9"), ("Set-Cookie", "b=2"), ("Content-Length", "2"),
        ]  # fmt: skip
        response.body.close()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_ends_with_its_head_and_loses_its_length(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b'\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n'
    with talking(serve(answer, OK)) as talk:
        response = talk.send(get())
        assert (response.fields, response.length, response.body.is_over()) == ([("ETag", '"1"')], 0, True)
        assert (read(response), talk.idle_connections()) == (b"", 0)  # it announced a body, which may still come


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_the_answer_to_head_ends_with_its_head_whatever_it_announces(framing: bytes) -> None:
    with talking(serve(HEAD + framing + b"\r\n", OK)) as talk:
        response = talk.send(get("HEAD"))
        kept = 0 if framing else 1  # where a body was announced it may still come
        assert (response.length, read(response), talk.idle_connections()) == (0, b"", kept)
        assert ("Content-Length", "5") in response.fields or not framing.startswith(b"Content")


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        HEAD + b"Connection: close\r\n\r\nuntil the end",
    ],
)
def test_a_body_without_a_length_lasts_until_the_backend_closes(answer: bytes) -> None:
    with talking([Peer.head, answer[:-4], pause(0.01), answer[-4:], Peer.close]) as talk:
        response = talk.send(get())
        assert (response.length, read(response)) == (None, b"until the end")
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        HEAD + b"Connection: foo, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_backend_that_says_it_will_close_is_not_asked_again(answer: bytes) -> None:
    with talking(serve(answer)) as talk:
        assert read(talk.send(get())) == b"ok"
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)
        talk.server.wait_closed()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", OK + b"HTTP/1.1 200 OK\r\n"),
        ("GET", HEAD + b"Content-Length: 0\r\n\r\nx"),
        ("GET", CHUNKED + b"0\r\n\r\nx"),
        ("GET", CHUNKED + b"1\r\na\r\n0\r\n\r\nx"),
        ("HEAD", OK),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nx"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\nx"),
    ],
)
def test_bytes_after_the_end_of_an_answer_spoil_the_connection_and_not_the_answer(method: str, answer: bytes) -> None:
    with talking(serve(answer), serve(OK)) as talk:
        assert len(read(talk.send(get(method)))) <= 2
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)
        talk.server.wait_closed(0)
        assert read(talk.send(get())) == b"ok"


def test_bytes_that_come_after_a_connection_was_given_back_spoil_it_too() -> None:
    with talking([Peer.head, OK, pause(0.02), OK], serve(OK)) as talk:
        assert idle_after(talk) == 1
        wait_for(lambda: not talk.connector._idle[0][2].is_quiet())
        assert read(talk.send(get())) == b"ok"
        assert talk.connector.dialled == 2


def test_a_connection_is_used_again_even_where_the_answer_came_while_nobody_read() -> None:
    big = HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    with talking([Peer.head, big[:50_000], pause(0.03), big[50_000:], Peer.head, OK]) as talk:
        response = talk.send(get())
        pieces = [next(response.body)]
        pause(0.1)(None)  # the client is slow to take it
        pieces.extend(response.body)
        assert b"".join(pieces) == b"x" * 100_000
        assert talk.idle_connections() == 1
        assert read(talk.send(get())) == b"ok"


# --- closing early ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [0, 1])
def test_closing_a_half_read_body_closes_the_connection(pieces: int) -> None:
    with talking([Peer.head, HEAD + b"Content-Length: 9\r\n\r\n", pause(0.01), b"half"]) as talk:
        response = talk.send(get())
        for _ in range(pieces):
            next(response.body)
        assert not response.body.is_over()
        response.body.close()
        response.body.close()
        talk.server.wait_closed()
        assert list(response.body) == []
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)


def test_closing_a_body_that_came_whole_but_was_not_read_keeps_the_connection() -> None:
    with talking(serve(OK)) as talk:
        response = talk.send(get())
        assert response.body.is_ready()
        response.body.close()
        assert (talk.connector.given_back, talk.idle_connections()) == (1, 1)


def test_a_body_is_ready_when_its_next_piece_needs_no_wait() -> None:
    ready = []
    with talking([Peer.head, HEAD + b"Content-Length: 4\r\n\r\n", pause(0.05), b"slow"]) as talk:
        response = talk.send(get())
        ready.append(response.body.is_ready())
        assert read(response) == b"slow"
        ready.append(response.body.is_ready())
    with talking(serve(HEAD + b"Content-Length: 4\r\n\r\nha")) as talk:
        response = talk.send(get())
        ready.append(response.body.is_ready())
        response.body.close()
    assert ready == [False, True, True]


# --- bodies that are cut ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [Peer.close, Peer.reset])
@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 9\r\n\r\nhalf",
        HEAD + b"Content-Length: 9\r\n\r\n",
        CHUNKED + b"9\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"4\r\nhalf\r\n0\r\n",
        CHUNKED,
    ],
)
def test_a_body_that_is_cut_is_a_truncated_body(answer: bytes, cut: Any) -> None:
    with talking([Peer.head, answer, pause(0.02), cut]) as talk:
        response = talk.send(get())
        received = b""
        with pytest.raises(TruncatedBodyError):
            for piece in response.body:
                received += piece
        assert received == (b"half" if b"half" in answer else b"")
        assert list(response.body) == []
        assert (talk.connector.given_back, response.body.is_over()) == (0, True)


def test_a_reset_is_no_end_of_a_body_that_lasts_until_the_close() -> None:
    with talking([Peer.head, HEAD + b"\r\nhalf", pause(0.02), Peer.reset]) as talk:
        response = talk.send(get())
        with pytest.raises(TruncatedBodyError):
            read(response)


def test_a_backend_that_falls_silent_within_a_body_is_a_read_timeout() -> None:
    with talking([Peer.head, HEAD + b"Content-Length: 9\r\n\r\nhalf"], read=0.05) as talk:
        response = talk.send(get())
        assert next(response.body) == b"half"
        with pytest.raises(ReadTimeout):
            next(response.body)
        talk.server.wait_closed()


@pytest.mark.parametrize(
    "broken", [b"xyz\r\n", b"4\nhalf", b"2\r\nhalf\r\n", b"-1\r\n", b"1\r\na\r\n0\r\nX : 1\r\n\r\n"]
)
def test_chunks_that_are_none_are_a_protocol_error_and_a_closed_connection(broken: bytes) -> None:
    with talking([Peer.head, CHUNKED + broken]) as talk:
        response = talk.send(get())
        with pytest.raises(BackendProtocolError):
            read(response)
        talk.server.wait_closed()
        assert talk.connector.given_back == 0


# --- life -------------------------------------------------------------------------------------------------------------


def test_an_upstream_shows_what_one_would_debug_with() -> None:
    with talking(serve(OK)) as talk:
        assert idle_after(talk) == 1
        assert repr(talk) == f"<HttpUpstream backend.example, <Connector {talk.server.address}, 1 idle>>"


def test_close_lets_an_exchange_finish_and_then_closes_its_connection() -> None:
    with talking([Peer.head, HEAD + b"Content-Length: 4\r\n\r\n", pause(0.02), b"last"]) as talk:
        response = talk.send(get())
        talk.close()
        assert read(response) == b"last"
        talk.server.wait_closed()
        assert talk.idle_connections() == 0


def test_fresh_forbids_a_reused_connection() -> None:
    with talking(serve(OK), serve(OK)) as talk:
        assert idle_after(talk) == 1
        assert read(talk.send(get(), fresh=True)) == b"ok"
        assert (talk.connector.dialled, talk.idle_connections()) == (2, 2)


def test_a_backend_that_is_not_there_is_a_connect_error_after_the_first_piece_of_the_body_at_the_most() -> None:
    with talking() as talk:
        talk.server.stop()
        request: Any = post(b"hello", b"world")
        with pytest.raises(ConnectError):
            talk.send(request)
        assert request.body.asked == 1
        with pytest.raises(ConnectError):
            talk.check_connect(1.0)


def test_check_connect_connects_and_hangs_up() -> None:
    with talking([]) as talk:
        talk.check_connect(1.0)
        talk.server.wait_closed()
        assert (talk.server.peers[0].unread, talk.idle_connections()) == (b"", 0)


def test_timeouts_and_rules_of_a_new_block_hold_from_the_next_request_and_idle_connections_stay() -> None:
    with talking([Peer.head, OK, Peer.head]) as talk:
        assert idle_after(talk) == 1
        talk.configure(block(read=0.05, host="backend"))
        with pytest.raises(ReadTimeout):
            talk.send(get())
        assert "Host: backend.example" in talk.server.peers[0].heads[1]
