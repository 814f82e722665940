"""A ``TlsStream`` over either driver, and Python's own ``ssl`` as the other end of a real socket.

The other end may block, so what it does runs in a thread of its own; the hub goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from tests.certificates import Authority, Leaf
from tests.loopback import driver, wait_for
from tests.unit.transport.pairs import LATE, soon
from wsgiproxy.transport.stream import BACKEND, CLIENT, PeerErrors, Stream
from wsgiproxy.transport.thread import stream_for
from wsgiproxy.transport.tls import TlsStream

KINDS = ("greenlet", "thread")
NAME = "a.example"


def server_context(leaf: Leaf, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What shows ``leaf``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    if version is not None:
        context.maximum_version = version
    return context


def client_context(authority: Authority) -> ssl.SSLContext:
    """What believes ``authority``."""
    return ssl.create_default_context(cafile=str(authority.certificate))


class Background:
    """A call in a thread of its own; ``result()`` waits for what it returns, or raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: list[tuple[Any, BaseException | None]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append((self._call(), None))
        except Exception as error:  # noqa: BLE001 - it is raised again where it is asked for
            self._outcome.append((None, error))

    def result(self) -> Any:
        wait_for(lambda: self._outcome, "the other end")
        result, error = self._outcome[0]
        if error is not None:
            raise error
        return result


def sockets() -> tuple[socket.socket, socket.socket]:
    """Both ends of one TCP connection; the second one blocks, but not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    theirs.settimeout(LATE)
    return ours, theirs


def stream_over(kind: str, sock: socket.socket, errors: PeerErrors = BACKEND) -> Stream:
    """A plain stream of one driver."""
    return driver().adopt(sock, errors, "peer") if kind == "greenlet" else stream_for(sock, errors, "peer")


class TlsPair:
    """Our stream, as the client or as the server, and the peer's ``SSLSocket``; ``shake_hands`` makes them so."""

    def __init__(self, kind: str, context: ssl.SSLContext, *, server_side: bool = False, name: str = NAME) -> None:
        self.errors = CLIENT if server_side else BACKEND
        ours, self.raw = sockets()
        self.inner = stream_over(kind, ours, self.errors)
        self.server_side = server_side
        self.stream = TlsStream(
            self.inner, context, errors=self.errors, server_side=server_side,
            server_name=None if server_side else name, peer="peer",
        )  # fmt: skip
        self.peer = cast("ssl.SSLSocket", None)

    def shake_hands(self, context: ssl.SSLContext, name: str = NAME) -> None:
        """Both sides of the handshake; raises what our side raises."""
        peer = Background(
            lambda: context.wrap_socket(
                self.raw,
                server_side=not self.server_side,
                server_hostname=(name or None) if self.server_side else None,
                suppress_ragged_eofs=False,
            )
        )
        try:
            self.stream.handshake(soon())
        except BaseException:
            self.stream.close()
            with contextlib.suppress(OSError):
                peer.result().close()
            raise
        self.peer = peer.result()

    def close(self) -> None:
        self.stream.close()
        if self.peer is not None:
            self.peer.close()
        self.raw.close()


@contextlib.contextmanager
def as_client(kind: str, authority: Authority, leaf: Leaf, version: ssl.TLSVersion | None = None) -> Iterator[TlsPair]:
    """Our stream as a client that verifies; the peer shows ``leaf``."""
    pair = TlsPair(kind, client_context(authority))
    try:
        pair.shake_hands(server_context(leaf, version))
        yield pair
    finally:
        pair.close()


@contextlib.contextmanager
def as_server(kind: str, authority: Authority, leaf: Leaf, version: ssl.TLSVersion | None = None) -> Iterator[TlsPair]:
    """Our stream as a server that shows ``leaf``; the peer verifies."""
    pair = TlsPair(kind, server_context(leaf, version), server_side=True)
    try:
        pair.shake_hands(client_context(authority))
        yield pair
    finally:
        pair.close()
