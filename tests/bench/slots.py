"""Backends that can do so much and no more: each works on a few requests at once, the others wait there for their turn.

``python -m tests.bench.slots SLOTS PORT=SECONDS ...``: one backend of 127.0.0.1 for each port, with so many slots, each
of which takes so long for a request. All in one process, which does nothing but wait. Requests carry no body.

``/control/books``  asked of any of them: for each, in order, how many it has answered, has at work, and keeps waiting;
as JSON, and not counted
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections import deque
from collections.abc import Sequence
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\ndone\n"


class Backend:
    """One backend: its slots, and who waits for them."""

    def __init__(self, slots: int, seconds: float) -> None:
        self.slots = slots
        self.seconds = seconds
        self.answered = 0
        self.busy = 0
        self.waiting: deque[Client] = deque()

    def come(self, client: Client) -> None:
        """A request has come."""
        if self.busy == self.slots:
            self.waiting.append(client)
        else:
            self._begin(client)

    def _begin(self, client: Client) -> None:
        self.busy += 1
        asyncio.get_running_loop().call_later(self.seconds, self._end, client)

    def _end(self, client: Client) -> None:
        self.busy -= 1
        self.answered += 1
        client.send(ANSWER)
        while self.waiting and self.busy < self.slots:
            other = self.waiting.popleft()
            if not other.gone:
                self._begin(other)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, backend: Backend, backends: Sequence[Backend]) -> None:
        self.gone = False
        self._backend = backend
        self._backends = backends
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one."""
        self._data += data
        if not self._data.endswith(b"\r\n\r\n"):
            return
        if self._data.startswith(b"GET /control/books "):
            books = json.dumps([(one.answered, one.busy, len(one.waiting)) for one in self._backends]).encode()
            self.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(books), books))
        else:
            self._backend.come(self)
        self._data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.gone = True

    def send(self, data: bytes) -> None:
        """Answer, if somebody still listens."""
        if not self.gone and self._transport is not None:
            self._transport.write(data)


async def serve(slots: int, places: Sequence[tuple[int, float]]) -> None:
    """Serve on each port until a signal ends the process."""
    loop = asyncio.get_running_loop()
    backends = [Backend(slots, seconds) for _, seconds in places]
    for (port, _), backend in zip(places, backends, strict=True):
        await loop.create_server(functools.partial(Client, backend, backends), "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


def main(slots: str, *places: str) -> None:
    """See the module."""
    pairs = [place.partition("=") for place in places]
    asyncio.run(serve(int(slots), [(int(port), float(seconds)) for port, _, seconds in pairs]))


if __name__ == "__main__":
    main(*sys.argv[1:])
