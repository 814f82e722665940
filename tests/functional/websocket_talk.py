"""Conversations of a real WebSocket client (the ``websockets`` library) with an echoing server behind the daemon."""

from __future__ import annotations

import random
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from tests.conftest import Start

PROGRAM = Path(__file__).with_name("websocket_server.py")
MAX_MESSAGE = 64 * 1024 * 1024
PATIENCE = 60.0  # seconds that a message may take


def start_server(start: Start) -> str:
    """Start the echoing server; its address, as a backend's."""
    process = start([sys.executable, PROGRAM, "127.0.0.1:0"], name="websocket server")
    return process.wait_for_line("listening on ").removeprefix("listening on ")


def open_client(url: str, context: ssl.SSLContext | None = None) -> ClientConnection:
    """A client's connection; no compression, so that bytes are what they seem."""
    return connect(
        url, ssl=context, max_size=MAX_MESSAGE, compression=None, ping_interval=None, open_timeout=PATIENCE, proxy=None
    )


def messages(count: int) -> Iterator[str | bytes]:
    """``count`` messages, text and binary in turn, of 0 to 300 characters, the same ones on every call."""
    chance = random.Random(count)
    for number in range(count):
        if number % 2:
            yield number.to_bytes(4, "big") + chance.randbytes(chance.randrange(300))
        else:
            yield f"{number}:" + "é€𝄞x"[number % 4] * chance.randrange(300)


def exchange_messages(client: ClientConnection, count: int) -> None:
    """Send ``count`` messages while their echoes are read; each must come back, whole and in order."""
    failures: list[BaseException] = []

    def send_all() -> None:
        try:
            for message in messages(count):
                client.send(message)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)

    sender = threading.Thread(target=send_all)
    sender.start()
    try:
        for number, message in enumerate(messages(count)):
            echo = client.recv(PATIENCE)
            assert echo == message, f"message {number} came back as {echo[:40]!r}"
    finally:
        sender.join(PATIENCE)
    assert not failures, failures


def exchange_large(client: ClientConnection, size: int) -> None:
    """Send one binary frame of ``size`` bytes and one text of as many characters; both must come back whole."""
    binary = random.Random(size).randbytes(size)
    for message in (binary, binary.hex()[:size]):
        client.send(message)
        assert client.recv(PATIENCE) == message
