"""Every case of the corpus over real sockets through a real daemon, before a backend that keeps the exact bytes."""

from __future__ import annotations

import contextlib
import random
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import Start
from tests.corpus.cases import (
    BODY_LIMIT,
    RequestCase,
    ResponseCase,
    Seen,
    field_lines,
    of_names,
    request_cases,
    response_cases,
    unescape,
)
from tests.corpus.strict import CutError, Message, StrictReader
from tests.functional.recording_backend import Record, RecordingBackend, Script, send_pieces
from tests.functional.scene import Daemon, start_daemon

CONFIG = f"""\
daemon:
  listeners: [{{address: "127.0.0.1:0", limits: {{body_bytes: {BODY_LIMIT}, min_rate: 0}}}}]
  access_log: {{format: "off"}}
pools:
  web: {{backends: ["http://127.0.0.1:%d"], retries: {{attempts: 1}}, timeouts: {{read: 5s}}}}
routes: [{{pool: web}}]
"""
TIMEOUT = 10.0  # seconds that a client waits
SENTINEL = "/sentinel"
NEXT = f"GET {SENTINEL} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".encode()
KINDS = ("whole", "split")
REQUESTS = request_cases()
RESPONSES = response_cases()


@dataclass
class Scene:
    """The daemon, the backend behind it, and how many clients there were."""

    daemon: Daemon
    backend: RecordingBackend
    clients: int = 0

    @contextlib.contextmanager
    def client(self) -> Iterator[tuple[socket.socket, str]]:
        """A connection from a loopback address that nobody had before, and that address."""
        self.clients += 1
        address = f"127.{1 + (self.clients >> 16)}.{self.clients >> 8 & 255}.{self.clients & 255}"
        port = self.daemon.port
        with socket.create_connection(("127.0.0.1", port), TIMEOUT, source_address=(address, 0)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection, address


@pytest.fixture(scope="module", name="scene")
def fixture_scene(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    backend = RecordingBackend()
    try:
        folder = tmp_path_factory.mktemp("config")
        yield Scene(start_daemon(start_for_module, folder, CONFIG % backend.port), backend)
    finally:
        backend.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", REQUESTS, ids=[case.name for case in REQUESTS])
def test_exactly_the_intended_requests_reach_the_backend(scene: Scene, case: RequestCase, kind: str) -> None:
    with scene.client() as (connection, address):
        with contextlib.suppress(ConnectionError):  # it may hang up before the end
            send_pieces(connection, pieces(case.data, kind, case.name))
        if case.ends:
            connection.shutdown(socket.SHUT_WR)
        reader = StrictReader(lambda: received(connection))
        for number, seen in enumerate(case.requests):
            last = case.closes and number == len(case.requests) - 1
            check_ok(final_answer(reader, seen.method, case), closes=last)
        if case.good and not (case.closes or case.ends):
            check_next(connection, reader)
        elif case.refused_by == "proxy":
            check_refusal(case, final_answer(reader, refused_method(case), case))
        else:
            check_end(connection, reader, case)
    records = [record for record in scene.backend.of(address) if record.message.start[1] != SENTINEL]
    check_records(records, case.requests, case)
    assert scene.backend.problems == []


def pieces(data: bytes, kind: str, seed: str) -> list[bytes]:
    """A case's bytes whole, or in two pieces, split where the seed says."""
    cut = random.Random(zlib.crc32(seed.encode())).randrange(1, max(2, len(data))) if kind == "split" else len(data)
    return [piece for piece in (data[:cut], data[cut:]) if piece]


def received(connection: socket.socket) -> bytes:
    """What comes next; a reset is an end as well."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def final_answer(reader: StrictReader, method: str, case: RequestCase) -> Message | None:
    """The next answer that is not a 100, which only a client that asked for it may get."""
    while True:
        message = reader.read_answer(method)
        if message is None or message.start[0] != "100":
            return message
        assert b"100-continue" in case.data.lower()


def check_ok(message: Message | None, *, closes: bool) -> None:
    """The backend's own answer has come."""
    assert message is not None
    assert message.start[0] == "200"
    assert ("close" in message.all("connection")) == closes


def check_next(connection: socket.socket, reader: StrictReader) -> None:
    """Both sides agree on where the case ended: another request is answered, and that is all."""
    connection.sendall(NEXT)
    check_ok(reader.read_answer("GET"), closes=True)
    assert reader.read_answer("GET") is None


def check_end(connection: socket.socket, reader: StrictReader, case: RequestCase) -> None:
    """The refusal, where there is one, and then the end, whatever else is sent."""
    message = final_answer(reader, refused_method(case), case)
    if case.status:
        check_refusal(case, message)
    if message is not None:
        assert case.status or message.start[0].startswith("4"), "a request that is not whole was answered"
        assert message.all("connection") == ["close"]
        with contextlib.suppress(ConnectionError):
            connection.sendall(NEXT)
        message = reader.read_answer("GET")
    assert message is None, "the connection goes on"


def check_refusal(case: RequestCase, message: Message | None) -> None:
    """The answer has the status that the case wants."""
    assert message is not None, "no answer"
    assert int(message.start[0]) == case.status


def refused_method(case: RequestCase) -> str:
    """The method that the refusal answers, as far as it matters for the length of that answer."""
    last = case.data.split(b"\r\n\r\n")[-2:][0] if case.refused_by == "proxy" else b""
    return "HEAD" if last.startswith(b"HEAD ") else "GET"


def check_records(records: list[Record], expected: list[Seen], case: RequestCase) -> None:
    """What the backend got is exactly what it had to get."""
    targets = [unescape(seen.target, case.fill).decode() for seen in expected]
    assert [record.message.start for record in records] == list(zip([s.method for s in expected], targets, strict=True))
    for record, seen in zip(records, expected, strict=True):
        message = record.message
        assert message.all("host") == [seen.host] or not seen.host
        assert message.framing == seen.framing
        assert message.body == unescape(seen.body, case.fill)
        assert message.trailers == []
        wanted = field_lines(seen.fields, case.fill)
        assert of_names(message.fields, wanted) == wanted
        assert [name for name in seen.absent if message.all(name.lower())] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", RESPONSES, ids=[case.name for case in RESPONSES])
def test_a_client_gets_the_answer_or_sees_that_there_is_none(scene: Scene, case: ResponseCase, kind: str) -> None:
    backend = scene.backend
    with scene.client() as (connection, address):
        target = f"/{case.name}"
        backend.scripts[address] = Script(target, pieces(case.data, kind, case.name), case.closes)
        request = f"{case.method} {target} {case.version}\r\nHost: a.example\r\n\r\n".encode()
        connection.sendall(request)
        reader = StrictReader(lambda: received(connection))
        message = check_answer(reader, case)
        ended = "close" in message.all("connection") or case.cut
        if ended:
            assert received(connection) == b""
        else:
            check_next(connection, reader)
    records = backend.of(address)
    if len(records) > 1 and records[1].message.start[1] == target:
        assert not case.data, "only where a reused connection was closed without a byte may it be tried again"
        del records[0]
    first, *others = records
    assert first.message.start == (case.method, target)
    assert [record.message.start[1] for record in others] == ([] if ended else [SENTINEL])
    if case.reused is not None and not ended:
        assert (others[0].connection == first.connection) == case.reused
    assert backend.problems == []


def check_answer(reader: StrictReader, case: ResponseCase) -> Message:
    """The client's answer is exactly the one that the case wants; its head."""
    interim, cut = [], False
    try:
        while (message := reader.read_answer(case.method)) is not None and message.start[0].startswith("1"):
            interim.append(int(message.start[0]))
    except CutError:
        message, cut = reader.head, True
    assert message is not None
    assert interim == case.interim
    if case.cut and not cut:  # the mistake came together with the head
        assert message.start[0] == "502", "the cut is not seen"
        return message
    assert cut == case.cut
    assert int(message.start[0]) == case.status
    if not cut and case.status != 502:
        assert message.body == unescape(case.body, case.fill)
    wanted = field_lines(case.fields, case.fill)
    assert of_names(message.fields, wanted) == wanted
    assert [name for name in case.absent if message.all(name.lower())] == []
    return message


def test_the_daemon_had_no_defect_to_report(scene: Scene) -> None:
    assert "Traceback" not in scene.daemon.process.output()
