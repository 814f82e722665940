"""Two other readers of HTTP/1 requests, llhttp (through httptools) and h11, and how they compare with ours.

They are used as they come, with their default strictness. ``compare`` finds the first thing that is not read alike; why
that is so, and who is right, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h11
import httptools

from tests.corpus.reading import Request, Requests
from wsgiproxy.http1.headers import is_unfit

_MOST = 100  # messages in one input; no input has as many


@dataclass
class Message:
    """One request as an oracle read it; ``fields`` in lower case, the trailers left out."""

    method: str = ""
    target: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass
class Reading:
    """What an oracle made of the bytes."""

    messages: list[Message] = field(default_factory=list)
    error: str = ""  # why it refused what comes behind ``messages``
    partial: bool = False  # it waits for more of a message


@dataclass
class Disagreement:
    """The first thing that two readers did not read alike; ``raw`` is the request that it is about, and more."""

    kind: str  # "we refuse", "we wait", "they refuse", "they wait", or what differs
    raw: bytes
    ours: object
    theirs: object


class _Listener:
    """httptools' protocol object."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.parser = httptools.HttpRequestParser(self)
        self.message: Message | None = None
        self.in_head = False

    def on_message_begin(self) -> None:
        self.message, self.in_head = Message(), True

    def on_url(self, data: bytes) -> None:
        assert self.message is not None
        self.message.target += data.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head and self.message is not None:
            self.message.fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        assert self.message is not None
        self.message.method, self.in_head = self.parser.get_method().decode(), False

    def on_body(self, data: bytes) -> None:
        assert self.message is not None
        self.message.body += data

    def on_message_complete(self) -> None:
        assert self.message is not None
        self.reading.messages.append(self.message)
        self.message = None


def read_with_llhttp(data: bytes) -> Reading:
    """Request after request with llhttp; an upgrade is never granted, so the bytes behind it are requests."""
    reading = Reading()
    for _ in range(_MOST):
        listener = _Listener(reading)
        try:
            listener.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            data = data[upgrade.args[0] :]
            continue
        except httptools.HttpParserError as error:
            reading.error = str(error) or type(error).__name__
        reading.partial = not reading.error and listener.message is not None
        break
    return reading


def read_with_h11(data: bytes) -> Reading:
    """Request after request with h11, each answered with a 200 (a CONNECT with a 400), until the connection closes."""
    reading, message = Reading(), None
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        for _ in range(100_000):
            event = connection.next_event()
            if isinstance(event, h11.Request):
                names = ((name.decode().lower(), value.decode("latin-1")) for name, value in event.headers)
                message = Message(event.method.decode(), event.target.decode("latin-1"), list(names))
            elif isinstance(event, h11.Data) and message is not None:
                message.body += event.data
            elif isinstance(event, h11.EndOfMessage) and message is not None:
                reading.messages.append(message)
                status, message = (400 if message.method == "CONNECT" else 200), None
                connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return reading
                connection.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError as error:
        reading.error = str(error)
    reading.partial = not reading.error and (message is not None or bool(connection.trailing_data[0]))
    return reading


ORACLES: tuple[tuple[str, Callable[[bytes], Reading]], ...] = (("llhttp", read_with_llhttp), ("h11", read_with_h11))


def compare(ours: Requests, theirs: Reading) -> Disagreement | None:
    """The first difference, as far as we read; one that waits where the other refuses is none if neither accepts."""
    for number in range(max(len(ours.requests), len(theirs.messages))):
        if number >= len(ours.requests):
            kind = "we refuse" if ours.error else "we wait"
            return Disagreement(kind, ours.rest, ours.error, theirs.messages[number])
        request = ours.requests[number]
        if number >= len(theirs.messages):
            kind = "they wait" if theirs.partial else "they refuse"
            return Disagreement(kind, request.raw, request.head, theirs.error)
        difference = _difference(request, theirs.messages[number])
        if difference is not None:
            return difference
        if not request.head.keep_alive:
            return None
    if ours.error is not None and not theirs.error:
        return Disagreement("we refuse", ours.rest, ours.error, "waits" if theirs.partial else "ended")
    if theirs.error and ours.error is None and not ours.partial:
        return Disagreement("they refuse", ours.rest, "ended", theirs.error)
    return None


def _difference(request: Request, message: Message) -> Disagreement | None:
    head = request.head
    fields = [(name.lower(), value) for name, value in head.fields]
    theirs = [(name, value) for name, value in message.fields if not is_unfit(name)]
    pairs = (
        ("method", head.method, message.method),
        ("target", head.target, message.target),
        ("fields", fields, theirs),
        ("body", request.body, message.body),
    )
    return next((Disagreement(what, request.raw, one, other) for what, one, other in pairs if one != other), None)
