"""Between a request and its answer: upgrades, hints, trailers, answers that do not wait for the body."""

from __future__ import annotations

import functools
import itertools
import socket
import time
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from tests.certificates import Authority
from tests.loopback import PATIENCE, driver, wait_for
from tests.scripted import OK, Peer, background, body, pause, serve
from tests.unit.transport.tls_pairs import Background, client_context, server_context
from tests.unit.upstream.apps import ScriptedBody
from tests.unit.upstream.talks import block, get, post, read, talking
from wsgiproxy.errors import BackendProtocolError, ClientDisconnectedError
from wsgiproxy.http1.message import CHUNKED, Fields, Framing
from wsgiproxy.transport.stream import InterruptedWaitError
from wsgiproxy.upstream.connector import Connector, Tls
from wsgiproxy.upstream.http import HttpUpstream
from wsgiproxy.upstream.messages import ClientAddress, UpstreamRequest

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class SlowBody:
    """A client's body whose pieces come when the test gives them."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self._change = gevent.event.Event()
        self._waiting = self._interrupted = False

    def give(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self._change.set()

    def read_piece(self) -> bytes:
        return self.read_some()

    def read_some(self) -> bytes:
        while not self.pieces:
            self._change.clear()
            self._waiting, self._interrupted = True, False
            assert self._change.wait(PATIENCE), "nobody gave a piece or interrupted"
            self._waiting = False
            if self._interrupted:
                raise InterruptedWaitError
        return self.pieces.pop(0)

    def interrupt(self) -> None:
        if self._waiting:  # as under our server: only a wait can be interrupted
            self._interrupted = True
            self._change.set()

    def trailers(self) -> Fields:
        return []


def upload(body: SlowBody, size: int = 8) -> UpstreamRequest:
    """A request whose body our own server reads."""
    return get("POST", framing=Framing(length=size), body=body, environ={"wsgi.input": body})


# --- upgrades ---------------------------------------------------------------------------------------------------------


def test_an_upgrade_that_is_asked_for_hands_out_the_connection_and_what_came_behind_the_head() -> None:
    with talking([Peer.head, SWITCH + b"early", Peer.head, b"later"]) as talk:
        response = talk.send(get(upgrade="websocket"))
        assert response.status == 101
        assert talk.server.peers[0].heads[0].endswith("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        stream, early = response.body.take_over()
        assert early == b"early"
        stream.send_all(b"mine\r\n\r\n", PATIENCE)
        assert stream.recv(100, float("inf")) == b"later"
        response.body.close()
        assert talk.connector.given_back == 0
        assert talk.connector.idle_connections() == 0


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b""])
def test_a_switch_to_anything_else_is_a_protocol_error(protocol: bytes) -> None:
    with talking([Peer.head, SWITCH.replace(b"websocket", protocol)]) as talk:
        with pytest.raises(BackendProtocolError):
            talk.send(get(upgrade="websocket"))
        talk.server.wait_closed()


def test_a_switch_that_nobody_asked_for_is_a_protocol_error() -> None:
    with talking([Peer.head, SWITCH]) as talk, pytest.raises(BackendProtocolError, match="without being asked"):
        talk.send(get())


def test_a_backend_that_does_not_switch_has_answered_as_usual() -> None:
    with talking(serve(OK)) as talk:
        assert read(talk.send(get(upgrade="websocket"))) == b"ok"
        assert talk.connector.idle_connections() == 1


# --- interim answers --------------------------------------------------------------------------------------------------


def test_early_hints_are_handed_on_and_other_interim_answers_are_not() -> None:
    hints: list[Fields] = []
    interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close\r\n\r\n"
    with talking(serve(interim + OK)) as talk:
        assert read(talk.send(get(on_early_hints=hints.append))) == b"ok"
    assert hints == [[("Link", "</a.css>")]]


# --- trailers ---------------------------------------------------------------------------------------------------------


def test_only_trailers_that_are_named_are_passed_on_to_the_backend() -> None:
    trailers = [("X-Sum", "1"), ("X-Other", "2"), ("Authorization", "3")]
    with talking([Peer.head, body(len(b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n")), OK]) as talk:
        request = get("POST", framing=CHUNKED, trailers=("x-sum", "authorization"))
        request.body = ScriptedBody(b"ab", trailers=trailers)
        talk.send(request)
        peer = talk.server.peers[0]
        assert peer.bodies == [b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"]
        assert "\r\nConnection: TE\r\nTE: trailers\r\n" in peer.heads[0]


def test_only_trailers_that_are_named_come_back() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"
    with talking(serve(answer, answer)) as talk:
        response = talk.send(get(trailers=("x-sum",)))
        assert read(response) == b"ab"
        assert response.body.trailers() == [("X-Sum", "1")]
        response = talk.send(get())
        read(response)
        assert response.body.trailers() == []


# --- answers that do not wait -----------------------------------------------------------------------------------------

REFUSAL = b"HTTP/1.1 413 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull"


@pytest.mark.parametrize("duplex", [False, True])
def test_a_refusal_is_delivered_while_the_client_is_silent(duplex: bool) -> None:
    with talking([Peer.head, body(4), REFUSAL], duplex=duplex) as talk:
        response = talk.send(upload(SlowBody(b"some"), 100))
        assert (response.status, read(response)) == (413, b"full")
        assert talk.connector.idle_connections() == 0


def test_a_refusal_in_the_same_packet_as_another_record_is_seen_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    def refuse(listener: socket.socket) -> None:
        with server_context(authority.issue("a.example")).wrap_socket(listener.accept()[0], server_side=True) as peer:
            while not peer.recv(65536).endswith(b"some"):
                pass
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            for record in (b"HTTP/1.1 100 Continue\r\n\r\n", REFUSAL):
                peer.sendall(record)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            peer.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dial = functools.partial(driver().connect_tcp, *listener.getsockname())
        connector = Connector("https://a.example", dial, Tls(client_context(authority), "a.example"))
        peer = Background(lambda: refuse(listener))
        response = HttpUpstream("a.example", connector, driver().spawn).send(upload(SlowBody(b"some")))
        assert (response.status, read(response)) == (413, b"full")
        response.body.close()
        peer.result()


def test_an_answer_is_delivered_while_the_rest_of_the_body_is_sent() -> None:
    slow = SlowBody(b"some")
    steps: list[Any] = [Peer.head, body(4), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok", body(4), b"ay"]
    with talking(steps, duplex=True) as talk:
        pieces = iter(talk.send(upload(slow)).body)
        assert next(pieces) == b"ok"
        slow.give(b"more")
        assert b"".join(pieces) == b"ay"
        assert talk.server.peers[0].bodies == [b"some", b"more"]
        assert talk.connector.idle_connections() == 1


def test_an_answer_waits_for_a_body_that_nobody_can_interrupt() -> None:
    request = post(b"some", lambda: gevent.sleep(0.05), b"more")
    with talking([Peer.head, body(4), OK, body(4)], duplex=True) as talk:
        assert read(talk.send(request)) == b"ok"
        assert request.body is not None
        assert request.body.read_some() == b""
        assert talk.connector.idle_connections() == 1


def test_the_end_of_an_answer_does_not_end_the_upload() -> None:
    slow = SlowBody(b"some")
    with talking([Peer.head, body(4), OK, body(4)], duplex=True) as talk:
        response = talk.send(upload(slow))
        assert read(response) == b"ok"
        assert response.body.is_over()
        close = background(response.body.close)
        slow.give(b"more")
        assert close() is None
        wait_for(lambda: talk.server.peers[0].bodies == [b"some", b"more"], "the backend to have it all")
        assert talk.connector.idle_connections() == 1


def test_a_backend_that_hangs_up_after_its_answer_ends_the_upload() -> None:
    slow = SlowBody(b"some")
    with talking([Peer.head, body(4), OK, Peer.close], duplex=True) as talk:
        response = talk.send(upload(slow))
        assert read(response) == b"ok"
        response.body.close()
        slow.give(b"late")
        gevent.sleep(0.01)
        assert slow.pieces == [b"late"]  # is left to whoever serves the client


def test_closing_before_the_end_ends_the_upload_even_where_that_had_not_begun_to_wait() -> None:
    slow = SlowBody(b"some")
    with talking([Peer.head, body(4), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"], duplex=True) as talk:
        begin = time.monotonic()
        talk.send(upload(slow)).body.close()
        assert time.monotonic() - begin < 1
        slow.give(b"late")
        talk.server.wait_closed()
        assert slow.pieces == [b"late"]


def test_nothing_follows_a_piece_that_left_only_in_part() -> None:
    slow = SlowBody(bytes(30_000_000), b"second")
    with talking([Peer.head, OK, pause(0.5)], duplex=True, write=0.1) as talk:
        response = talk.send(upload(slow, 30_000_006))
        assert read(response) == b"ok"
        response.body.close()
        talk.server.wait_closed()
        assert slow.pieces == [b"second"]
        assert talk.connector.idle_connections() == 0


def test_a_backend_that_reads_no_further_is_heard_to_the_end_of_its_answer() -> None:
    slow = SlowBody(b"some", *[bytes(1_000_000)] * 30)
    begin, rest = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok", b"ay"
    with talking([Peer.head, body(4), begin, pause(0.5), rest], duplex=True, write=0.1) as talk:
        assert read(talk.send(upload(slow, 30_000_004))) == b"okay"


def test_a_client_that_leaves_during_a_late_upload_cuts_the_answer() -> None:
    slow = SlowBody(b"some")
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"
    with talking([Peer.head, body(4), half], duplex=True) as talk:
        pieces = iter(talk.send(upload(slow)).body)
        assert next(pieces) == b"ok"
        slow.read_some = gone  # type: ignore[method-assign]
        with pytest.raises(ClientDisconnectedError):
            next(pieces)


def gone() -> bytes:
    raise ClientDisconnectedError("gone")


def test_an_echo_of_any_size_does_not_block_itself() -> None:
    size, piece = 40 * 1024 * 1024, bytes(256 * 1024)

    def echo(peer: Peer) -> None:
        peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + peer.unread)
        left = size - len(peer.unread)
        while left:
            data = peer.sock.recv(65536)
            left -= len(data)
            peer.sock.sendall(data)

    with talking([Peer.head, echo], duplex=True) as talk:
        request = upload(SlowBody(*itertools.repeat(piece, size // len(piece))), size)
        join = background(lambda: sum(map(len, talk.send(request).body)))
        assert join() == size


# --- PROXY headers ----------------------------------------------------------------------------------------------------


def test_each_connection_begins_with_a_proxy_header_and_is_not_used_again() -> None:
    client = ClientAddress("192.0.2.1", 1234, "192.0.2.2", 80)
    script: list[Any] = [Peer.head, OK]
    with talking(script, script, proxy_protocol="v1") as talk:
        for _ in range(2):
            assert read(talk.send(get(client=client))) == b"ok"
        for peer in talk.server.peers:
            assert peer.heads[0].startswith("PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET /x?y=1 HTTP/1.1\r\n")
        assert talk.connector.idle_connections() == 0


def test_a_reload_while_a_connection_is_made_lets_nobody_else_use_it() -> None:
    with talking([Peer.head, OK], proxy_protocol="v1") as talk:
        dial = talk.connector.dial

        def reload_and_dial(*how: Any) -> Any:
            talk.configure(block())
            return dial(*how)

        talk.connector.dial = reload_and_dial  # type: ignore[method-assign]
        assert read(talk.send(get(client=ClientAddress("192.0.2.1", 1234, "192.0.2.2", 80)))) == b"ok"
        assert talk.connector.idle_connections() == 0


def test_a_probe_speaks_for_itself() -> None:
    with talking([Peer.head, OK], proxy_protocol="v1") as talk:
        talk.send_probe(get(), PATIENCE).body.close()
        assert talk.server.peers[0].heads[0].startswith("PROXY UNKNOWN\r\nGET ")
