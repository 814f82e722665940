"""A backend that never says that it will close, and after most answers does: at once or some milliseconds later.

``python closing_backend.py SEED`` prints ``listening on PORT`` and serves until it is killed. Each answer is whole, and
names the request: ``METHOD TARGET SIZE``. After it the connection goes on, ends (FIN) or is cut (RST); what has come in
by then is never read, as it is with a server whose timeout has run out. Nothing of the proxy is imported.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import sys
from typing import Any

import gevent
import gevent.server

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
GOES_ON = 0.4  # the share of answers after which the connection goes on
AT_ONCE = 0.5  # the share of closes that come with the answer
LONGEST = 0.03  # seconds from the answer to the close


class Server:
    """Every connection is a greenlet."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def serve(self, sock: Any, _address: object) -> None:
        """Answer until it is time to close."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        try:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    if not (piece := sock.recv(65536)):
                        return
                    data += piece
                head, data = data[:end], data[end + 4 :]
                found = LENGTH.search(head)
                size = int(found[1]) if found else 0
                while len(data) < size:
                    data += sock.recv(65536)
                data = data[size:]
                self._answer(sock, head, size)
                if self._chance.random() >= GOES_ON:
                    self._close(sock)
                    return
        except ConnectionError:
            pass
        finally:
            sock.close()

    def _answer(self, sock: Any, head: bytes, size: int) -> None:
        method, target, _ = head.split(b" ", 2)
        body = b"%b %b %d" % (method, target, size)
        lines = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        sock.sendall(lines if method == b"HEAD" else lines + body)

    def _close(self, sock: Any) -> None:
        if self._chance.random() >= AT_ONCE:
            gevent.sleep(self._chance.uniform(0, LONGEST))
        if self._chance.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def main(seed: str) -> None:
    """Serve on a port that the kernel chooses."""
    listener = gevent.server.StreamServer(("127.0.0.1", 0), Server(random.Random(int(seed))).serve, backlog=1024)
    listener.start()
    print(f"listening on {listener.server_port}", flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
