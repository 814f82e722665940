"""A raw backend within the test's own process that keeps the exact bytes it got, and answers as it is told.

Each connection is read by the strict reader of the corpus, so whatever is not exactly one unambiguous request after the
other is a ``problem``. Whose request it is says its X-Forwarded-For: each case is sent from a loopback address of its
own, so that nothing is added to its bytes. A request that one of the ``scripts`` is for is answered with that
script's bytes, every other one with a plain 200.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.corpus.strict import CutError, Message, StrictError, StrictReader

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
TIMEOUT = 15.0  # seconds
SPLIT_PAUSE = 0.002  # seconds: mostly enough for the other side to see a piece alone, and right where it is not


def send_pieces(connection: socket.socket, pieces: Sequence[bytes]) -> None:
    """Send pieces, each as a segment of its own, to a socket with TCP_NODELAY."""
    for number, piece in enumerate(pieces):
        if number:
            time.sleep(SPLIT_PAUSE)
        connection.sendall(piece)


@dataclass
class Script:
    """What the requests of one client for ``target`` are answered with, a segment for each piece."""

    target: str
    pieces: Sequence[bytes]
    closes: bool


@dataclass
class Record:
    """One request that the backend got whole; ``connection`` says which connection it came over."""

    client: str
    connection: int
    message: Message


@dataclass
class RecordingBackend:
    """A listener and a thread for each connection; ``close`` ends them all."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    scripts: dict[str, Script] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._connections: list[socket.socket] = []
        self._threads[0].start()

    def of(self, client: str) -> list[Record]:
        """The requests of one client, in the order in which they came."""
        return [record for record in self.records if record.client == client]

    def close(self) -> None:
        """Stop accepting, end every connection, wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(TIMEOUT)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(TIMEOUT)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT * 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, len(self._connections)))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        reader = StrictReader(lambda: connection.recv(65536))
        with connection:
            try:
                while (message := reader.read_request()) is not None:
                    client = ", ".join(message.all("x-forwarded-for"))
                    self.records.append(Record(client, number, message))
                    if not self._answer(connection, client, message):
                        break
            except CutError as error:
                if reader.head is None:  # a body may be cut where the client's is; a head never is
                    self.problems.append(f"connection {number}: {error}\n{reader.raw!r:.2000}")
            except StrictError as error:
                self.problems.append(f"connection {number}: {error}\n{reader.raw!r:.2000}")
            except OSError:
                pass  # the proxy has reset the connection: what came before it is recorded

    def _answer(self, connection: socket.socket, client: str, message: Message) -> bool:
        """Answer one request; whether the connection goes on."""
        script = self.scripts.get(client)
        if script is None or script.target != message.start[1]:
            connection.sendall(ANSWER if message.start[0] == "HEAD" else ANSWER + b"ok")
            return True
        send_pieces(connection, script.pieces)
        if script.closes:
            connection.shutdown(socket.SHUT_WR)
        return not script.closes
