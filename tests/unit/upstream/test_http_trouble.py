from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from tests.loopback import wait_for
from tests.scripted import OK, Peer, background, body, pause, serve
from tests.unit.upstream.talks import get, post, read, talking
from wsgiproxy.errors import (
    AttemptTimeout,
    BackendProtocolError,
    ClientDisconnectedError,
    ConnectError,
    ExchangeTimeout,
    FirstByteTimeout,
    ProxyError,
    ReadTimeout,
    ResetError,
    StaleConnectionError,
    WriteTimeout,
)

HEAD = b"HTTP/1.1 200 OK\r\n"


def failing(error: type[ProxyError], *scripts: Any, request: Any = None, **options: Any) -> str:
    """Send one request that must fail with ``error`` and leave no connection behind; what the error says."""
    with talking(*scripts, **options) as talk:
        with pytest.raises(error) as caught:
            talk.send(request or get())
        assert type(caught.value) is error
        wait_for(lambda: all(peer.sock.fileno() < 0 for peer in talk.server.peers), "the connection to be closed")
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)
        return str(caught.value)


# --- what is no answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>HTTP/0.9</html>",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nX: 1\n\n",
        HEAD + b"X : 1\r\n\r\n",
        HEAD + b"X: 1\r\n folded\r\n\r\n",
        HEAD + b"X: \x00\r\n\r\n",
        HEAD + b": 1\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        HEAD + b"Content-Length: +2\r\n\r\nok",
        HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: \r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        HEAD + b"X: " + b"x" * 70_000,
        HEAD + b"X: 1\r\n" * 1001 + b"\r\n",
    ],
)
def test_what_is_not_http_1_1_is_a_protocol_error_at_once_and_a_closed_connection(answer: bytes) -> None:
    failing(BackendProtocolError, [Peer.head, answer])  # the backend stays open and silent: nothing to wait for


def test_a_backend_that_talks_before_it_is_asked_is_no_answer_to_the_next_request() -> None:
    failing(BackendProtocolError, [b"220 mail.example ESMTP\r\n"])


# --- interim answers --------------------------------------------------------------------------------------------------

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("steps", [[CONTINUE + HINTS + OK], [HINTS, pause(0.01), CONTINUE, pause(0.01), OK]])
def test_interim_answers_are_absorbed(steps: list[Any]) -> None:
    with talking([Peer.head, *steps]) as talk:
        response = talk.send(get())
        assert (response.status, response.fields, read(response)) == (200, [("Content-Length", "2")], b"ok")
        assert talk.idle_connections() == 1


def test_interim_answers_are_bounded() -> None:
    with talking(serve(HINTS * 16 + OK)) as talk:
        assert read(talk.send(get())) == b"ok"
    assert "more than 16 interim answers" in failing(BackendProtocolError, serve(HINTS * 17 + OK))


@pytest.mark.parametrize("early", [HINTS[:20], HEAD + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_backend_that_begins_to_answer_before_it_has_the_whole_body_gets_the_rest(early: bytes) -> None:
    end = HINTS[20:] + OK if early == HINTS[:20] else b"2\r\nok\r\n0\r\n\r\n"
    with talking([Peer.head, body(4), early, body(4), end]) as talk:
        request = post(b"abcd", lambda: gevent.sleep(0.02), b"ef", lambda: gevent.sleep(0.02), b"gh")
        assert read(talk.send(request)) == b"ok"
        assert talk.server.peers[0].bodies == [b"abcd", b"efgh"]


def test_interim_answers_within_an_upload_do_not_end_it() -> None:
    script = [Peer.head, HINTS + CONTINUE, body(4), HINTS[:-2], pause(0.02), b"\r\n", body(4), OK]
    with talking(script) as talk:
        request = post(b"abcd", lambda: gevent.sleep(0.05), b"ef", lambda: gevent.sleep(0.005), b"gh")
        assert read(talk.send(request)) == b"ok"
        assert talk.server.peers[0].bodies == [b"abcd", b"efgh"]
        assert talk.idle_connections() == 1


def test_a_flood_of_interim_answers_within_an_upload_is_bounded() -> None:
    with talking([Peer.head, HINTS * 3000]) as talk:
        with pytest.raises(BackendProtocolError, match="more than 16 interim answers"):
            talk.send(post(*[lambda: gevent.sleep(0.01), b"x"] * 50, chunked=True))
        assert talk.connector.given_back == 0


# --- connections that die ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
@pytest.mark.parametrize("request_of", [get, lambda: post(b"hello"), lambda: post(b"hello", chunked=True)])
def test_a_reused_connection_that_dies_before_any_byte_is_stale(request_of: Any, end: Any) -> None:
    with talking([Peer.head, OK, Peer.head, end]) as talk:
        read(talk.send(get()))
        with pytest.raises(StaleConnectionError):
            talk.send(request_of())
        assert (talk.connector.dialled, talk.idle_connections()) == (1, 0)


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_fresh_connection_that_dies_is_a_reset(end: Any) -> None:
    failing(ResetError, [Peer.head, end])


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_connection_that_dies_when_it_is_accepted_is_never_a_stale_one(end: Any) -> None:
    with talking([end]) as talk, pytest.raises((ResetError, ConnectError)):  # whichever is seen first
        talk.send(get())


@pytest.mark.parametrize("part", [b"H", HEAD, HEAD + b"Content-Length: 2\r\n", HINTS])
def test_a_connection_that_dies_within_the_head_is_a_reset_reused_or_not(part: bytes) -> None:
    failing(ResetError, [Peer.head, part, pause(0.01), Peer.close])
    with talking([Peer.head, OK, Peer.head, part, pause(0.01), Peer.reset]) as talk:
        read(talk.send(get()))
        with pytest.raises(ResetError) as caught:
            talk.send(get())
        assert type(caught.value) is ResetError


def test_an_idle_connection_that_the_backend_closed_is_not_even_tried() -> None:
    with talking([Peer.head, OK, Peer.close], serve(OK)) as talk:
        read(talk.send(get()))
        wait_for(lambda: talk.idle_connections() == 0)
        assert read(talk.send(get())) == b"ok"


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "kind", "timeouts"),
    [
        (b"", FirstByteTimeout, {"read": 0.1}),
        (b"", FirstByteTimeout, {"first_byte": 0.1}),
        (HEAD + b"Content-", ReadTimeout, {"read": 0.1, "first_byte": 20.0}),
    ],
)
def test_a_silent_backend_is_a_timeout(part: bytes, kind: type[ReadTimeout], timeouts: dict[str, float]) -> None:
    began = time.monotonic()
    failing(kind, [Peer.head, part], **timeouts)
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("part", [b"", HEAD + b"Content-"])
def test_an_attempt_and_an_exchange_have_a_time_of_their_own(part: bytes) -> None:
    late = get()
    late.head_by = time.monotonic() + 0.1
    failing(AttemptTimeout, [Peer.head, part], request=late)
    late = get()
    late.head_by = late.ends_by = time.monotonic() + 0.1
    failing(ExchangeTimeout, [Peer.head, part], request=late)


def test_an_exchange_ends_in_time_however_quickly_its_body_comes() -> None:
    late = get()
    with talking(
        [Peer.head, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n", pause(0.01)] * 100]
    ) as talk:
        late.ends_by = time.monotonic() + 0.2
        response = talk.send(late)
        with pytest.raises(ExchangeTimeout):
            read(response)
        assert talk.idle_connections() == 0


def test_the_read_timeout_is_between_two_pieces_not_for_the_whole() -> None:
    pieces = [step for index in range(0, len(OK), 5) for step in (OK[index : index + 5], pause(0.05))]
    began = time.monotonic()
    with talking([Peer.head, *pieces], read=0.3) as talk:
        assert read(talk.send(get())) == b"ok"
    assert time.monotonic() - began > 0.3


def test_a_backend_that_takes_no_bytes_is_a_write_timeout() -> None:
    failing(WriteTimeout, [Peer.head, lambda peer: gevent.sleep(1)], request=post(b"x" * 20_000_000), write=0.1)


def test_a_dead_reused_connection_is_no_timeout_and_a_slow_one_is_not_stale() -> None:
    with talking([Peer.head, OK, Peer.head], read=0.05) as talk:
        read(talk.send(get()))
        with pytest.raises(ReadTimeout):
            talk.send(get())


# --- the client's body ------------------------------------------------------------------------------------------------


def uploaded(request: Any, size: int) -> tuple[str, bytes]:
    """The head and the raw body of a request as the backend sees them."""
    with talking([Peer.head, body(size), OK]) as talk:
        assert read(talk.send(request)) == b"ok"
        assert talk.idle_connections() == 1
        return talk.server.peers[0].heads[0], talk.server.peers[0].bodies[0] + talk.server.peers[0].unread


def test_a_sized_body_is_sent_as_it_comes() -> None:
    head, sent = uploaded(post(b"hello", b" ", b"world"), 11)
    assert head.endswith("Accept: */*\r\nContent-Length: 11\r\n\r\n")
    assert sent == b"hello world"


def test_a_chunked_body_is_sent_in_chunks_of_our_own_and_ended() -> None:
    framed = b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    head, sent = uploaded(post(b"hello", b"x" * 16, chunked=True), len(framed))
    assert head.endswith("Accept: */*\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert "Content-Length" not in head
    assert sent == framed


def test_an_empty_chunked_body_is_its_last_chunk() -> None:
    head, sent = uploaded(post(chunked=True), 5)
    assert head.endswith("Transfer-Encoding: chunked\r\n\r\n")
    assert sent == b"0\r\n\r\n"


def test_the_head_goes_out_before_the_whole_body_has_come() -> None:
    with talking([Peer.head, body(5), OK]) as talk:
        seen = []
        request = post(b"hel", lambda: wait_for(lambda: talk.server.peers[0].heads), lambda: seen.append(1), b"lo")
        assert read(talk.send(request)) == b"ok"
        assert seen == [1]


def test_a_body_is_read_no_further_than_its_length() -> None:
    with talking([Peer.head, body(5), OK]) as talk:
        request: Any = post(b"hello", b"never asked for", size=5)
        assert read(talk.send(request)) == b"ok"
        assert request.body.asked == 1


def test_a_client_that_leaves_within_its_body_is_its_own_fault_and_closes_the_connection() -> None:
    failing(ClientDisconnectedError, [Peer.head], request=post(b"half", ClientDisconnectedError("gone"), size=9))


# --- early answers ----------------------------------------------------------------------------------------------------

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("end", [[], [Peer.close], [lambda peer: gevent.sleep(0.02), Peer.reset]])
def test_an_early_answer_is_delivered_and_the_connection_closed(end: list[Any], chunked: bool) -> None:
    with talking([Peer.head, TOO_LARGE, *end]) as talk:
        more = [b"x" * 1000, lambda: gevent.sleep(0.005)] * 100
        request: Any = post(*more, chunked=chunked)
        response = talk.send(request)
        assert (response.status, read(response)) == (413, b"big")
        assert request.body.asked < 100
        assert (talk.connector.given_back, talk.idle_connections()) == (0, 0)


def test_an_early_answer_of_a_backend_that_stops_reading_is_delivered_too() -> None:
    with talking([Peer.head, TOO_LARGE, lambda peer: gevent.sleep(1)], write=0.1) as talk:
        response = talk.send(post(b"x" * 20_000_000, b"x", size=20_000_001))
        assert (response.status, read(response)) == (413, b"big")
        assert talk.idle_connections() == 0


def test_an_answer_once_the_whole_body_was_sent_is_not_early() -> None:
    with talking([Peer.head, body(4), OK]) as talk:
        assert read(talk.send(post(b"ab", b"cd"))) == b"ok"
        assert talk.idle_connections() == 1


def test_a_hang_up_within_the_body_without_an_answer_is_a_reset() -> None:
    more = [b"x" * 1000, lambda: gevent.sleep(0.005)] * 100
    failing(ResetError, [Peer.head, Peer.reset], request=post(*more))


# --- cancelling -------------------------------------------------------------------------------------------------------


class Client:
    """Who may go away: what ``wsgiproxy.on_cancel`` is given."""

    def __init__(self, gone: bool = False) -> None:
        self.cancel: Any = None
        self.calls = 0
        self.gone = gone

    def on_cancel(self, cancel: Any) -> None:
        self.calls += 1
        self.cancel = cancel
        if self.gone and cancel is not None:
            self.leave()

    def leave(self) -> None:
        self.cancel(ClientDisconnectedError("the client closed the connection"))


def test_a_client_that_leaves_ends_the_wait_for_the_head_and_closes_the_connection() -> None:
    client = Client()
    with talking([Peer.head]) as talk:
        join = background(lambda: talk.send(get(on_cancel=client.on_cancel)))
        wait_for(lambda: talk.server.peers and talk.server.peers[0].heads)
        client.leave()
        assert isinstance(join(), ClientDisconnectedError)
        talk.server.wait_closed()
        assert client.cancel is None


def test_a_client_that_leaves_ends_the_wait_within_the_body() -> None:
    client = Client()
    with talking([Peer.head, HEAD + b"Content-Length: 9\r\n\r\nhalf"]) as talk:
        response = talk.send(get(on_cancel=client.on_cancel))
        assert next(response.body) == b"half"
        join = background(lambda: next(response.body))
        client.leave()
        assert isinstance(join(), ClientDisconnectedError)
        talk.server.wait_closed()
        assert client.cancel is None


def test_a_client_that_had_already_left_is_noticed() -> None:
    failing(ClientDisconnectedError, [], request=get(on_cancel=Client(gone=True).on_cancel))


def test_nobody_is_told_of_a_cancel_once_the_exchange_is_over() -> None:
    client = Client()
    with talking(serve(OK, OK)) as talk:
        for _ in range(2):
            read(talk.send(get(on_cancel=client.on_cancel)))
            assert client.cancel is None
        assert (client.calls, talk.idle_connections()) == (4, 1)


# --- probes -----------------------------------------------------------------------------------------------------------


def test_a_probe_has_a_connection_of_its_own_and_leaves_none() -> None:
    with talking(serve(OK), serve(OK)) as talk:
        read(talk.send(get()))
        response = talk.send_probe(get(), 1.0)
        assert (response.status, read(response)) == (200, b"ok")
        talk.server.wait_closed()
        assert (talk.connector.dialled, talk.connector.given_back, talk.idle_connections()) == (2, 1, 1)


@pytest.mark.parametrize("steps", [[], [step for byte in HEAD * 40 for step in (bytes([byte]), pause(0.01))]])
def test_a_probe_ends_at_its_deadline_even_if_the_backend_drips(steps: list[Any]) -> None:
    began = time.monotonic()
    with talking([Peer.head, *steps]) as talk:
        with pytest.raises(ReadTimeout):
            talk.send_probe(get(), 0.2)
        assert 0.2 <= time.monotonic() - began < 2.0
        talk.server.wait_closed()


def test_a_probe_whose_body_drips_ends_at_its_deadline_too() -> None:
    drops = [step for _ in range(500) for step in (b"x", pause(0.01))]
    with talking([Peer.head, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", *drops]) as talk:
        response = talk.send_probe(get(), 0.2)
        with pytest.raises(ReadTimeout):
            read(response)
        response.body.close()
        talk.server.wait_closed()
