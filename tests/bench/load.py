"""The load that wrk cannot make: WebSocket messages, and requests at a fixed rate. One process of it for each core.

``python -m tests.bench.load messages|paced PORT CONNECTIONS SECONDS RATE SEED``: connects, prints READY, waits for a
line, works, and prints one line of JSON: the answers, the seconds, how many took how many microseconds, and the errors.
"""

from __future__ import annotations

import gc
import json
import random
import select
import socket
import sys
from collections import deque
from time import perf_counter as clock

from tests.bench.sink import ECHO, ECHOES, MESSAGE, MESSAGES

IN_FLIGHT = 1  # messages of one connection at a time; more would travel in one piece, and not be many messages
PATIENCE = 2.0  # seconds that the last answers may take
FIELDS = (  # what request.lua sends
    'sec-ch-ua: "Not=A?Brand";v="24", "Chromium";v="140", "Google Chrome";v="140"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Referer: http://shop.example.org/catalogue?page=2",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cookie: sessionid=q8w2n5t7y1u4i6o9p3a0s2d5f8g1h4j7; csrftoken=Zk3vR9xLm2Qw8Ty5; theme=dark; seen=1732300000",
)


class Lost(Exception):
    """A connection broke, or said what it should not."""


class Line:
    """One connection: when its request or message was due, and what has come of the answer."""

    __slots__ = ("came", "due", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.came = b""


def open_tunnel(port: int) -> Line:
    """A connection that has become a WebSocket."""
    line = Line(port)
    line.socket.sendall(
        b"GET /sink/ws HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (piece := line.socket.recv(65536))
        if not piece:
            break
    if not head.startswith(b"HTTP/1.1 101 ") or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:
        raise Lost(f"no tunnel: {head!r}")
    line.socket.settimeout(None)  # read only when ready: no need to poll twice
    return line


def messages(lines: dict[int, Line], seconds: float) -> list[float]:
    """Send a message for each that came back; how long each took, in seconds."""
    poll, took = watch(lines).poll, []
    end = clock() + seconds
    for line in lines.values():
        line.due = clock()
        line.socket.sendall(MESSAGES[: IN_FLIGHT * len(MESSAGE)])
    offsets = dict.fromkeys(lines, 0)
    while (now := clock()) < end:
        for number, _ in poll(1.0):
            line = lines[number]
            data = line.socket.recv(65536)
            stop = offsets[number] + len(data)
            if not data or data != ECHOES[offsets[number] : stop]:
                raise Lost(f"a wrong echo of {len(data)} bytes")
            whole, offsets[number] = divmod(stop, len(ECHO))
            now = clock()
            took += [now - line.due] * whole
            if whole:
                line.due = now
                line.socket.sendall(MESSAGES[: whole * len(MESSAGE)])
    return took


def paced(lines: dict[int, Line], port: int, seconds: float, rate: float, seed: int) -> list[float]:
    """Send requests at so many a second, at random times, the same on each call; how long each took, in seconds.

    A request that finds no free connection waits, and its time counts from when it was due: a slow proxy cannot slow
    the clock. What could not be sent when the time is over is missing from the rate.
    """
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: keep-alive\r\n%s\r\n\r\n" % (
        port,
        "\r\n".join(FIELDS).encode(),
    )
    poll, free, took = watch(lines).poll, deque(lines.values()), []
    chance = random.Random(seed)
    due = start = clock()
    end = start + seconds
    while (now := clock()) < end or (len(free) < len(lines) and now < end + PATIENCE):
        while due <= now < end and free:
            line = free.popleft()
            line.due = due
            line.socket.sendall(request)
            due += chance.expovariate(rate)
        for number, _ in poll(0):
            line = lines[number]
            line.came += (data := line.socket.recv(65536))
            if not data or not line.came.startswith(b"HTTP/1.1 200 "):
                raise Lost(f"a wrong answer: {line.came[:80]!r}")
            if data.endswith(b".\n"):  # the end of SMALL_ANSWER
                took.append(clock() - line.due)
                line.came = b""
                free.append(line)
    if len(free) < len(lines):
        raise Lost(f"{len(lines) - len(free)} answers did not come")
    return took


def watch(lines: dict[int, Line]) -> select.epoll:
    """All connections in one set."""
    epoll = select.epoll()
    for number in lines:
        epoll.register(number, select.EPOLLIN)
    return epoll


def main(kind: str, port: int, connections: int, seconds: float, rate: float, seed: int) -> dict[str, object]:
    """Connect, wait for the word, work; the result."""
    opener = open_tunnel if kind == "messages" else Line
    lines = {line.socket.fileno(): line for line in (opener(port) for _ in range(connections))}
    print("READY", flush=True)
    sys.stdin.readline()
    gc.disable()
    start = clock()
    took = messages(lines, seconds) if kind == "messages" else paced(lines, port, seconds, rate, seed)
    duration = max(clock() - start, seconds)
    histogram: dict[int, int] = {}
    for one in took:
        microseconds = round(one * 1e6)
        histogram[microseconds] = histogram.get(microseconds, 0) + 1
    return {"answers": len(took), "seconds": duration, "took": histogram, "errors": []}


if __name__ == "__main__":
    kind, port, connections, seconds, rate, seed = sys.argv[1:]
    try:
        result = main(kind, int(port), int(connections), float(seconds), float(rate), int(seed))
    except (OSError, Lost) as error:
        result = {"answers": 0, "seconds": float(seconds), "took": {}, "errors": [f"{error!r}"]}
    print(json.dumps(result))
