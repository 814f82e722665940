"""The backend for what nginx cannot answer: reads and drops uploads, echoes WebSocket messages, holds requests.

``python -m tests.bench.sink PORT``. Requests carry a Content-Length or no body; a target outside of the list is a 404.

``/sink/upload``  the whole body is read, then answered with its length; the kernel drops the bytes (MSG_TRUNC, tcp(7))
``/sink/sum``     the same with a CRC-32 of the body: slower, to prove that the right bytes came
``/sink/ws``      a WebSocket that answers every ``MESSAGE`` with an ``ECHO`` and hangs up after anything else
``/sink/hold``    no answer, as long as the client stays
``/sink/held``    how many requests have been held so far
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import sys
import zlib
from collections.abc import Callable

PIECE = 1 << 20  # bytes taken from a socket at once
PAYLOAD = b"A WebSocket message of one hundred bytes ".ljust(100, b".")
MASK = b"\x37\xfa\x21\x3d"  # any four bytes do (RFC 6455 5.3)
MESSAGE = b"\x81\xe4" + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(PAYLOAD))  # a client's, masked
ECHO = b"\x81\x64" + PAYLOAD  # a server's
MANY = PIECE // len(ECHO) + 2  # frames in a row, to compare and to send several at once
MESSAGES, ECHOES = memoryview(MESSAGE * MANY), memoryview(ECHO * MANY)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


class Sink:
    """Every connection of one listening socket, in one loop."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.epoll = select.epoll()
        self.epoll.register(listener, select.EPOLLIN)
        self.ready: dict[int, Callable[[], bool]] = {listener.fileno(): self.accept}  # by file; False: it is over
        self.held = 0
        self.buffer = bytearray(PIECE)

    def run(self) -> None:
        """Serve until a signal ends the process."""
        ready, poll = self.ready, self.epoll.poll
        while True:
            for number, _ in poll():
                if not ready[number]():
                    del ready[number]  # the last reference: the socket closes and leaves the epoll set

    def accept(self) -> bool:
        """A new connection. Its socket blocks: it is read only when ready, and its answers are small."""
        client, _ = self.listener.accept()
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.epoll.register(client, select.EPOLLIN)
        self.ready[client.fileno()] = Connection(self, client).step
        return True


class Connection:
    """One connection: heads until a WebSocket begins, then messages."""

    def __init__(self, sink: Sink, client: socket.socket) -> None:
        self.sink, self.client = sink, client
        self.head = bytearray()
        self.path = ""
        self.length = self.left = 0  # of the body: all of it, and what has not come
        self.sum = 0
        self.offset = 0  # in the message that has come in part

    def step(self) -> bool:
        """Take what has come; False when the connection is over."""
        try:
            return self.take_body() if self.left else self.take_head()
        except (OSError, ValueError):  # the proxy hung up, or speaks something else
            return False

    def take_head(self) -> bool:
        data = self.client.recv(65536)
        self.head += data
        head, end, rest = self.head.partition(b"\r\n\r\n")
        if not end:
            return bool(data)
        lines = bytes(head).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "transfer-encoding" in fields:
            return self.answer("411 Length Required", "a Content-Length is needed\n") and False
        self.path = lines[0].split(" ")[1]
        self.length = int(fields.get("content-length", "0"))
        self.left, self.sum, self.head = self.length - len(rest), zlib.crc32(rest), bytearray()
        if self.path == "/sink/ws":
            return self.switch(fields.get("sec-websocket-key", ""))
        return self.left > 0 or self.finish()

    def take_body(self) -> bool:
        buffer = self.sink.buffer
        if self.path == "/sink/sum":
            count = self.client.recv_into(buffer, min(self.left, PIECE))
            self.sum = zlib.crc32(memoryview(buffer)[:count], self.sum)
        else:
            count = self.client.recv_into(buffer, min(self.left, PIECE), socket.MSG_TRUNC)
        self.left -= count
        return count > 0 and (self.left > 0 or self.finish())

    def finish(self) -> bool:
        if self.path == "/sink/hold":
            self.sink.held += 1
            return True
        texts = {"/sink/upload": self.length, "/sink/sum": self.sum, "/sink/held": self.sink.held}
        if self.path not in texts:
            return self.answer("404 Not Found", "")
        return self.answer("200 OK", f"{texts[self.path]}\n")

    def answer(self, status: str, text: str) -> bool:
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
        self.client.sendall((head + text).encode())
        return True

    def switch(self, key: str) -> bool:
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.client.sendall(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        self.sink.ready[self.client.fileno()] = self.echo
        return True

    def echo(self) -> bool:
        try:
            data = self.client.recv(65536)
            if data == MESSAGE and not self.offset:  # by far the most frequent
                self.client.sendall(ECHO)
                return True
            end = self.offset + len(data)
            if not data or data != MESSAGES[self.offset : end]:
                return False
            whole, self.offset = divmod(end, len(MESSAGE))
            self.client.sendall(ECHOES[: whole * len(ECHO)])
        except OSError:
            return False
        return True


if __name__ == "__main__":
    Sink(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)).run()
