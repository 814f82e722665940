"""Which backend a client is to stay with, by what its cookie says.

The rule of the room: values of cookies and backends, no HTTP. ``Signed`` needs no memory: its values say it all, in
every process that has the key, also after a restart. ``Learned`` remembers what others made. Either belongs to one
generation of a pool; a table's ``Sessions`` go on from one to the next.
"""

from __future__ import annotations

import hmac
import math
import threading
from base64 import b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from wsgiproxy.config import schema
from wsgiproxy.config.sticky_schema import MIN_KEY_LENGTH
from wsgiproxy.errors import ConfigError
from wsgiproxy.pool.backend import Backend, Roster

_VERSION = 1
_EXPIRY = 5  # bytes of whole seconds since 1970
_IDENTITY = 12  # bytes: no two backends of a pool ever share one
_MAC = 18  # bytes, so that nobody guesses one, and the whole is a multiple of 3
_LENGTH = (1 + _EXPIRY + _IDENTITY + _MAC) // 3 * 4  # characters of a value


class Found(NamedTuple):
    """What a value says: whose client it is, None where that is nobody's; ``due``: it is to be renewed."""

    backend: Backend | None
    due: bool


_NOBODYS = Found(None, False)


def read_key(path: str) -> bytes:
    """The secret in a file, less the space around it; ``ConfigError`` where that is of no use."""
    try:
        with open(path, "rb") as stream:
            key = stream.read(1 << 16).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} cannot be read: {str(reason).lower()}", key="sticky.key_file") from error
    if len(key) < MIN_KEY_LENGTH:
        problem = f"{path} holds {len(key)} characters; a secret of at least {MIN_KEY_LENGTH} is needed"
        raise ConfigError(problem, key="sticky.key_file")
    return key


class Signed:
    """Values that we make: version, expiry, a keyed hash of pool and address, and a MAC (HMAC-SHA-256), in base64url.

    The hash tells an address to nobody, and means something in this pool alone.
    """

    __slots__ = ("_attributes", "_backends", "_name_key", "_now", "_pool_name", "_sign_key", "_ttl", "block")

    def __init__(
        self,
        block: schema.Sticky,
        key: bytes,
        pool_name: str,
        backends: Sequence[Backend],
        now: Callable[[], float],
    ) -> None:
        """``now`` is in seconds since 1970: the value must mean the same to other processes."""
        self.block = block
        self._now = now
        self._ttl = block.ttl
        self._sign_key = hmac.digest(key, b"wsgiproxy sticky cookie", "sha256")
        self._name_key = hmac.digest(key, b"wsgiproxy sticky backend", "sha256")
        self._pool_name = pool_name
        self._backends = {self._identity(backend): backend for backend in backends}
        self._attributes = _attributes(block)

    def find(self, value: str) -> Found:
        """Whose client has this value; one that is expired, forged or another's counts as none."""
        if len(value) != _LENGTH:
            return _NOBODYS
        try:
            data = b64decode(value, b"-_", validate=True)
        except ValueError:
            return _NOBODYS
        body = data[:-_MAC]
        if len(data) != len(body) + _MAC or not hmac.compare_digest(data[-_MAC:], self._mac(body)):
            return _NOBODYS
        left = int.from_bytes(body[1 : 1 + _EXPIRY], "big") - self._now()
        if body[0] != _VERSION or left <= 0:
            return _NOBODYS
        # More than is given comes from a clock that is ahead of ours, or from a time with a longer ttl.
        return Found(self._backends.get(body[1 + _EXPIRY :]), not self._ttl / 2 <= left <= self._ttl * 2)

    def settle(self, value: str, backend: Backend) -> str:
        """Set-Cookie's value (RFC 6265 4.1) for a client of this backend, whatever it had before.

        A client that waited while the file was read again may have a backend that only the next generation knows.
        """
        expiry = int(self._now() + self._ttl)
        body = bytes([_VERSION]) + expiry.to_bytes(_EXPIRY, "big") + self._identity(backend)
        value = urlsafe_b64encode(body + self._mac(body)).decode("ascii")
        return f"{self.block.cookie}={value}{self._attributes}"

    def _identity(self, backend: Backend) -> bytes:
        return hmac.digest(self._name_key, f"{self._pool_name}\n{backend.address}".encode(), "sha256")[:_IDENTITY]

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._sign_key, body, "sha256")[:_MAC]


def _attributes(block: schema.Sticky) -> str:
    parts = [f"; Path={block.path}; Max-Age={math.ceil(block.ttl)}"]
    if block.domain is not None:
        parts.append(f"; Domain={block.domain}")
    if block.secure:
        parts.append("; Secure")
    if block.http_only:
        parts.append("; HttpOnly")
    return "".join([*parts, f"; SameSite={block.same_site.capitalize()}"])


class Sessions:
    """Which address has which of the application's sessions: the ones used last, as many as may be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # address and last use, the oldest first

    def __len__(self) -> int:
        return len(self._known)

    def find(self, value: str, ttl: float, now: float) -> str | None:
        """The address that has a session, which counts as used; None where it is not known, or too long unused."""
        name = _name(value)
        with self._lock:
            address, used_at = self._known.get(name, ("", 0.0))
            if not address:
                return None
            if now - used_at >= ttl:
                del self._known[name]
                return None
            self._known[name] = (address, now)
            self._known.move_to_end(name)
            return address

    def learn(self, value: str, address: str, most: int, now: float) -> None:
        """An address has a session from now on."""
        name = _name(value)
        with self._lock:
            self._known[name] = (address, now)
            self._known.move_to_end(name)
            while len(self._known) > most:
                self._known.popitem(last=False)


def _name(value: str) -> bytes:
    """What a value is remembered by: as short as that can be, and no secret."""
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Learned:
    """Values that the application makes: whoever set one has its client."""

    __slots__ = ("_backends", "_roster", "block", "sessions")

    def __init__(self, block: schema.Sticky, backends: Sequence[Backend], roster: Roster, sessions: Sessions) -> None:
        self.block = block
        self.sessions = sessions
        self._roster = roster
        self._backends = {backend.address: backend for backend in backends}

    def find(self, value: str) -> Found:
        """Whose client has this value."""
        address = self.sessions.find(value, self.block.ttl, self._roster.clock())
        return _NOBODYS if address is None else Found(self._backends.get(address), False)

    def learn(self, value: str, backend: Backend) -> None:
        """A backend has set this value."""
        self.sessions.learn(value, backend.address, self.block.max_sessions, self._roster.clock())

    def settle(self, value: str, backend: Backend) -> str:
        """This backend answers from now on, if the session is one that is known. There is nothing to be set."""
        if value and self.sessions.find(value, self.block.ttl, self._roster.clock()) is not None:
            self.learn(value, backend)
        return ""


Sticky = Signed | Learned


def make_learned(
    block: schema.Sticky, backends: Sequence[Backend], roster: Roster, previous: Signed | Learned | None
) -> Learned:
    """What follows on the ``previous`` generation's: the sessions that it has learned are known on."""
    if isinstance(previous, Learned) and previous.block.cookie == block.cookie:
        return Learned(block, backends, roster, previous.sessions)
    return Learned(block, backends, roster, Sessions())
