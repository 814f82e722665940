"""A request's body on its way to a backend, one piece at a time, behind the request's head.

The rule of the room: what has left and what is still to come is known between any two pieces, so that the upload can
be ended, or go on elsewhere, there. It must not know what the backend answers.
"""

from __future__ import annotations

from math import inf

from wsgiproxy.errors import ProxyError, ResetError, WriteTimeout
from wsgiproxy.http1.headers import allowed_trailers
from wsgiproxy.http1.writer import chunk, last_chunk
from wsgiproxy.transport.splice import WORTH, Piped
from wsgiproxy.transport.stream import InterruptedWaitError, Stream
from wsgiproxy.upstream.messages import RequestBody, UpstreamRequest


class Upload:
    """The request's body on its way, behind its head; it may change hands between two pieces."""

    __slots__ = (
        "_body", "_chunked", "_data", "_left", "_names", "_piece", "_stopped", "_stream", "_timeout", "broken",
        "deadline", "sent", "whole",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        head: bytes,
        request: UpstreamRequest,
        body: RequestBody,
        piece: bytes,
        timeout: float,
        deadline: float = inf,
    ) -> None:
        """``piece`` is the body's first, empty only where the whole body is; ``deadline`` ends any wait to send."""
        self._stream = stream
        self._data = head  # goes out with the next piece
        self._body = body
        self._piece: bytes | Piped = piece
        self._chunked = request.framing.chunked
        self._names = request.trailers
        self._left = inf if request.framing.length is None else request.framing.length
        self._timeout = timeout
        self._stopped = False
        self.deadline = deadline  # may be moved
        self.sent = False  # a byte may have left, and the backend may act on it
        self.whole = False  # the last byte has left
        self.broken = False  # a piece may have left in part: nothing can follow it

    def send_piece(self) -> None:
        """Send one piece; the last one, or the end of a chunked body, makes it ``whole``."""
        piece, head = self._piece, self._data
        data: bytes | Piped
        self._data = self._piece = b""
        self._left = self._left - len(piece) if piece else 0
        if isinstance(piece, Piped):  # never the first one, so that nothing is to go out before it
            data = piece
        elif not self._chunked:
            data = head + piece if head else piece
        elif piece:
            data = head + chunk(piece)
        else:
            data = head + last_chunk(allowed_trailers(self._body.trailers(), self._names))
        self.sent = self.broken = True
        self._stream.send_all(data, self._timeout, self.deadline)
        self.broken = False
        self.whole = not self._left

    def read_piece(self) -> None:
        """Wait for the client's next piece; ``InterruptedWaitError`` where ``interrupt`` ends the wait."""
        splice = WORTH <= self._left < inf and self._stream.splices
        self._piece = self._body.read_piece() if splice else self._body.read_some()

    def interrupt(self) -> None:
        """End ``read_piece``."""
        self._body.interrupt()

    def stop(self) -> None:
        """Send no further: what is left of the body is left to whoever serves the client."""
        self._stopped = True
        self._body.interrupt()

    def send_rest(self) -> None:
        """For a task: all that is left, until it is whole, or stopped, or either side fails."""
        try:
            while not (self.whole or self._stopped):
                self.read_piece()
                self.send_piece()
        except (InterruptedWaitError, ResetError, WriteTimeout):
            pass  # stopped, or the backend takes no more of it: what it answers counts
        except ProxyError as error:
            self._stream.abort(error)  # whoever reads the answer is told
