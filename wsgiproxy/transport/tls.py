"""TLS over any stream: records are sealed and opened in memory, the stream under it moves them.

The rule of the room: ``ssl.SSLError`` ends here; what leaves is an error of ``wsgiproxy.errors``. Not a byte that came
before the end of the handshake is ever taken for an answer. Once that is done the reader never sends (RFC 8446 4.6.3
lets the answer to a KeyUpdate wait for our next write), so that one greenlet may read while another one writes. This
module must not know HTTP or configuration, nor where certificates come from.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from math import inf
from typing import Any

from wsgiproxy.errors import ProxyError, TlsError, TlsTimeout
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import InterruptedWaitError, PeerErrors, Stream

_RECORD = 16 * 1024  # bytes of plaintext in one record at the most (RFC 8446 5.1)
# OpenSSL's buffers keep the size that they once had, in idle connections too: larger pieces would cost memory.
_SLICE = 16 * 1024  # bytes that are sealed at once: what waits in memory for a slow peer is no more
_WIRE = 32 * 1024  # bytes asked for at once
_MAX_LOOKS = 8  # times that one look at a stream, which nobody reads, takes bytes in
_MAX_OWED = 64 * 1024  # bytes of answers to handshake messages that may wait for our next write
_FAREWELL_SECONDS = 5.0  # a half-close may wait so long for a peer to take the bytes before it

_monotonic = time.monotonic


class TlsStream:
    """The inside of a TLS connection; see ``transport.stream.Stream``.

    The end of the stream is a close_notify (RFC 8446 6.1); a connection that ends without one was cut.
    """

    splices = False

    __slots__ = (
        "_closed", "_ended", "_errors", "_established", "_failure", "_incoming", "_inner", "_interrupted",
        "_on_hang_up", "_on_unread", "_outgoing", "_peer", "_ready", "_sending", "_server_name", "_server_side",
        "_shut", "_ssl",
    )  # fmt: skip

    def __init__(
        self,
        inner: Stream,
        context: ssl.SSLContext,
        *,
        errors: PeerErrors,
        server_side: bool,
        server_name: str | None = None,
        peer: str = "",
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Takes over ``inner``; ``handshake`` comes first.

        As the client ``server_name`` is whom to ask for and to verify; ``session`` of an earlier connection may save a
        part of the handshake. ``peer`` names the other end in messages.
        """
        self._inner = inner
        self._errors = errors
        self._server_side = server_side
        self._server_name = server_name
        self._peer = f"{peer}: " if peer else ""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name, session)
        self._established = False
        self._failure: ProxyError | None = errors.reset("there was no TLS handshake yet")
        self._ready = b""  # opened before anybody asked for it
        self._ended = False  # the peer's close_notify has come
        self._sending = False  # a record may have left in part: nothing can follow it
        self._shut = False  # our close_notify has been made
        self._closed = False
        self._interrupted = False  # since our user last began to read
        self._on_hang_up: Callable[[bool], None] | None = None
        self._on_unread: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<TlsStream {self.version() or 'no handshake'} over {self._inner!r}>"

    # --- the handshake, and what it has found -------------------------------------------------------------------------

    def handshake(self, deadline: float) -> None:
        """Agree on keys by ``deadline``, and verify the peer as the context says.

        A backend's failure is a ``TlsError`` or a ``TlsTimeout``, a client's what ``errors`` has for it.
        """
        try:
            while not self._advance():
                self._flush(deadline)
                wire = self._inner.recv(_RECORD, deadline)
                if not wire:
                    raise self._refused("closed by the other side")
                self._incoming.write(wire)
            self._flush(deadline)
        except ssl.SSLError as error:
            self._inner.send_now(self._outgoing.read())  # the alert that tells the peer why
            raise self._refused(_reason(error)) from error
        except (self._errors.read_timeout, self._errors.write_timeout, self._errors.reset) as error:
            if self._server_side:
                raise
            if isinstance(error, self._errors.reset):
                raise self._refused(str(error)) from error
            raise TlsTimeout(f"{self._peer}no TLS handshake in time") from error
        self._established = True
        self._failure = None
        self._watch_inner()

    def version(self) -> str:
        """``TLSv1.3``; empty before the handshake."""
        return (self._ssl.version() or "") if self._established else ""

    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite; empty before the handshake."""
        cipher = self._ssl.cipher()
        return cipher[0] if cipher is not None else ""

    @property
    def server_name(self) -> str:
        """The name that was asked for (SNI), in lower case; empty where none was."""
        # The server's side learns it only where its context was told to, by ``certificates.choose_by_name``.
        return (getattr(self._ssl, "asked_name", "") if self._server_side else self._server_name) or ""

    @property
    def verifies(self) -> bool:
        """Whether the peer was asked for a certificate."""
        return self._ssl.context.verify_mode != ssl.CERT_NONE

    def peer_certificate(self) -> dict[str, Any]:
        """The peer's verified certificate as ``ssl.SSLSocket.getpeercert`` has it; empty where there is none."""
        return self._ssl.getpeercert() or {}

    def peer_certificate_der(self) -> bytes:
        """The peer's certificate as DER, verified or not as the context says; empty where there is none."""
        return self._ssl.getpeercert(binary_form=True) or b""

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later connection to the same peer may go on from; with TLS 1.3 it comes with the first answer."""
        return self._ssl.session

    # --- moving bytes -------------------------------------------------------------------------------------------------

    def recv(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes as soon as any are there; ``b""`` after the peer's close_notify."""
        self._interrupted = False
        while True:
            if self._failure is not None:
                raise self._failure
            if self._ready:
                return self._take(size)
            data = self._open_record(size)
            if data is not None:
                return data
            if self._interrupted:  # what came in its stead was no whole record
                raise InterruptedWaitError("the wait was interrupted")
            self._feed(self._inner.recv(_WIRE, deadline))

    def recv_piece(self, size: int, deadline: float) -> bytes:
        """The same as ``recv``."""
        return self.recv(size, deadline)

    def recv_now(self, size: int) -> bytes | None:
        """Up to ``size`` bytes that are there already, ``b""`` at the end of the stream, None for nothing yet."""
        self._look()
        if self._failure is not None:
            raise self._failure
        if self._ready:
            return self._take(size)
        return b"" if self._ended else None

    def send_all(self, data: bytes | memoryview | Piped, timeout: float, deadline: float = inf) -> None:
        """Send all of ``data`` by ``deadline``; the peer must take some of it every ``timeout`` seconds.

        A send that fails is the last one: it may have left half a record.
        """
        if isinstance(data, Piped):
            data = bytes(data)
        if len(data) <= _SLICE:
            self._send_sealed(data, timeout, deadline)
            return
        rest = memoryview(data)
        for begin in range(0, len(rest), _SLICE):
            self._send_sealed(rest[begin : begin + _SLICE], timeout, deadline)

    def send_now(self, data: bytes) -> None:
        """Send what can be sent without a wait, for farewells; the rest, and errors, are dropped."""
        if self._failure is None and not self._sending and not self._shut:
            with contextlib.suppress(ProxyError):
                self._seal(data)
                self._inner.send_now(self._outgoing.read())

    def is_quiet(self, look: bool = False) -> bool:
        """Whether an idle stream may be used again. Session tickets and key updates are taken in on the way."""
        if self._ready or self._ended or self._failure is not None:
            return False
        if self._incoming.pending or self._ssl.pending() or not self._inner.is_quiet(look):
            self._look()
            return not self._has_news()
        return True

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        """Have ``on_hang_up(cut)`` called once if the peer closes while nobody reads and nothing is left to read."""
        self._on_hang_up = on_hang_up
        self._watch_inner()

    def watch_unread(self, on_unread: Callable[[], None] | None) -> None:
        """Have ``on_unread()`` called once when bytes, or the end, come while nobody reads.

        What has been opened already is told at once, from here: there is no event to come for it.
        """
        self._on_unread = on_unread
        if on_unread is not None and self._established and not self.is_quiet():
            self._on_unread = None
            on_unread()
        self._watch_inner()

    def interrupt(self) -> None:
        """Make the wait to read that is under way raise ``InterruptedWaitError``."""
        self._interrupted = True
        self._inner.interrupt()

    def abort(self, error: ProxyError) -> None:
        """Make the wait under way, and every one after it, raise ``error``. From any thread."""
        if not self._closed and (self._failure is None or not self._established):
            self._failure = error
        self._inner.abort(error)

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come: a close_notify, and a TCP half-close. May wait a little."""
        if self._established and self._failure is None and not self._sending and not self._shut:
            # OpenSSL looks for the peer's close_notify in passing, and takes any other record there for an attack.
            while data := self._open_record(_RECORD):
                self._ready += data
            self._shut = True
            with contextlib.suppress(ProxyError):
                self._inner.send_all(self._farewell(), _FAREWELL_SECONDS)
        self._inner.shutdown_write()

    def reset(self) -> None:
        """Close so that the peer sees a reset instead of a clean end: no close_notify."""
        self._sending = True
        self._inner.reset()
        self.close()

    def close(self) -> None:
        """Close the connection, with a close_notify if that can be sent without a wait. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._on_hang_up = self._on_unread = None
        if self._established and not self._sending and not self._shut:
            if not self._server_side:
                self._look()  # a ticket that nobody has read would turn our end into a reset (RFC 1122 4.2.2.13)
            self._inner.send_now(self._farewell())
        self._failure = self._failure or self._errors.reset("the connection was closed here")
        self._ready = b""
        self._inner.close()

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return self._inner.fileno()

    # --- records ------------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """A step of the handshake; whether it is done."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _flush(self, deadline: float) -> None:
        """Send what the handshake has to say."""
        if self._outgoing.pending:
            self._inner.send_all(self._outgoing.read(), max(deadline - _monotonic(), 0.001), deadline)

    def _refused(self, reason: str) -> ProxyError:
        """No handshake: whom that is told to, and how."""
        kind = self._errors.reset if self._server_side else TlsError
        return kind(f"{self._peer}the TLS handshake failed: {reason}")

    def _open_record(self, size: int) -> bytes | None:
        """Up to ``size`` bytes of the next record that has come whole, ``b""`` at the end, None where none has."""
        try:
            data = self._ssl.read(min(size, _RECORD))
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:  # the end, after we have said goodbye ourselves
            data = b""
        except ssl.SSLError as error:
            raise self._fail(_reason(error)) from error
        if not data:
            self._ended = True
        return data

    def _feed(self, wire: bytes) -> None:
        """Take in what the peer has sent."""
        if not wire:
            raise self._fail("the connection was cut: it ended without a close_notify")
        self._incoming.write(wire)
        if self._outgoing.pending > _MAX_OWED:
            raise self._fail("it asks for answers and leaves no time for them")

    def _fail(self, reason: str) -> ProxyError:
        """From now on the stream is of no use."""
        self._failure = self._errors.reset(f"{self._peer}{reason}")
        return self._failure

    def _send_sealed(self, data: bytes | memoryview, timeout: float, deadline: float) -> None:
        if self._failure is not None:
            raise self._failure
        if self._sending or self._shut:
            raise self._errors.reset(f"{self._peer}the sending side was closed, or cut short, before")
        self._seal(data)
        self._sending = True
        self._inner.send_all(self._outgoing.read(), timeout, deadline)
        self._sending = False

    def _seal(self, data: bytes | memoryview) -> None:
        """Put ``data`` into records; they wait in ``_outgoing``."""
        sealed = 0
        try:
            while sealed < len(data):
                sealed += self._ssl.write(data[sealed:] if sealed else data)
        except ssl.SSLError as error:
            raise self._fail(_reason(error)) from error

    def _farewell(self) -> bytes:
        """What is still owed to the peer, and a close_notify (or the alert that has taken its place)."""
        with contextlib.suppress(ssl.SSLError):
            self._ssl.unwrap()
        return self._outgoing.read()

    # --- looking without a wait ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Open what has come, up to the first bytes for our user, the end, or a failure."""
        try:
            for _ in range(_MAX_LOOKS):
                if self._has_news():
                    return
                data = self._open_record(_RECORD)
                if data is None:
                    wire = self._inner.recv_now(_WIRE)
                    if wire is None:
                        return
                    self._feed(wire)
                else:
                    self._ready = data
        except ProxyError as error:
            self._failure = self._failure or error

    def _has_news(self) -> bool:
        return bool(self._ready) or self._ended or self._failure is not None

    def _take(self, size: int) -> bytes:
        data, self._ready = self._ready[:size], self._ready[size:]
        if not self._ready:
            self._watch_inner()
        return data

    def _watch_inner(self) -> None:
        """Hear of the next bytes that nobody waits for, if anybody wants to know."""
        if self._established and not self._closed:
            wanted = self._on_hang_up is not None or self._on_unread is not None
            self._inner.watch_unread(self._tell_of_unread if wanted and not self._has_news() else None)

    def _tell_of_unread(self) -> None:
        self._look()
        if not self._has_news():
            self._watch_inner()
            return
        on_unread, self._on_unread = self._on_unread, None
        if on_unread is not None:
            on_unread()
        if not self._ready and (self._ended or self._failure is not None):
            on_hang_up, self._on_hang_up = self._on_hang_up, None
            if on_hang_up is not None:
                on_hang_up(self._failure is not None)


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words: ``certificate verify failed: certificate has expired``."""
    words = (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{words}: {error.verify_message.removesuffix('.')}"
    return words
