"""Certificates, keys and authorities: from PEM files into an ``ssl.SSLContext``, and what a certificate says of itself.

The rule of the room: whatever is wrong with a file is a ``ConfigError`` that names the file and the key of the
configuration it came from; no file's mistake is left for the first handshake. Used for both sides of a connection.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wsgiproxy.errors import ConfigError

_PEM_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = "PRIVATE KEY-----"

# DER (ITU-T X.690 8.1.2) of what is read here (RFC 5280 4.1, 4.2.1.6)
_UTC_TIME = 0x17
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_SUBJECT_ALT_NAME = bytes.fromhex("0603551d11")


class Facts(NamedTuple):
    """What one certificate says of itself: DNS names in lower case, and when it expires (UTC)."""

    names: tuple[str, ...]
    expires_at: datetime.datetime


class Signature(NamedTuple):
    """Which version of a file this is; equal as long as nobody has touched it."""

    inode: int
    modified_ns: int
    size: int


def signature(path: str) -> Signature | None:
    """The version of the file that ``path`` leads to at this moment; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Signature(found.st_ino, found.st_mtime_ns, found.st_size)


def load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, config_key: str) -> Facts:
    """Have ``context`` show the certificate (and chain) of one PEM file, with the ``key`` of another or the same.

    ``config_key`` is the path of the configuration's block that names both.
    """
    where, key_where = f"{config_key}.certificate", f"{config_key}.key" if key else f"{config_key}.certificate"
    pem = _PEM_CERTIFICATE.search(_read(certificate, where))
    if pem is None:
        raise ConfigError(f"{certificate} holds no certificate; expected a PEM file", key=where)
    if _PRIVATE_KEY not in _read(key or certificate, key_where):
        hint = "expected a PEM file" if key else "name the file that does: key"
        raise ConfigError(f"{key or certificate} holds no private key; {hint}", key=key_where)
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            problem = f"{key or certificate} holds the key of another certificate than {certificate}"
            raise ConfigError(problem, key=key_where) from error
        raise ConfigError(f"{certificate} cannot be used: {_words(error)}", key=where) from error
    except OSError as error:  # gone since it was read: whoever renews it is not done
        raise ConfigError(f"{certificate} cannot be used: {error.strerror}", key=where) from error
    except ValueError as error:  # of _no_password
        raise ConfigError(f"{key or certificate} {error}", key=key_where) from error
    try:
        return read_facts(ssl.PEM_cert_to_DER_cert(pem[0]))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{certificate} cannot be read: not a certificate of X.509", key=where) from error


def load_authorities(context: ssl.SSLContext, path: str, config_key: str) -> None:
    """Have ``context`` believe the authorities of a PEM file; ``config_key`` is the path of the key that names it."""
    if _PEM_CERTIFICATE.search(_read(path, config_key)) is None:
        raise ConfigError(f"{path} holds no certificate; expected a PEM file", key=config_key)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"{path} cannot be used: {_words(error)}", key=config_key) from error
    except OSError as error:  # gone since it was read
        raise ConfigError(f"{path} cannot be used: {error.strerror}", key=config_key) from error


def make_safe(context: ssl.SSLContext) -> None:
    """Options for both sides: no renegotiation, no compression (CRIME), TLS 1.2 at the least, HTTP/1.1 alone."""
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])


class _NamedObject(ssl.SSLObject):
    """The server's side of a connection; it keeps the name that its client asked for."""

    asked_name = ""

    def _sslsock(self) -> ssl.SSLObject:
        """For gevent's ``SSLContext``, where a host has put that in the place of ours: it knows sockets only."""
        return self


def choose_by_name(context: ssl.SSLContext, choose: Callable[[str], ssl.SSLContext]) -> None:
    """Have ``choose`` called with the name that a client asks for (SNI; empty for none), for the context to go on with.

    Only the certificate is the chosen context's: OpenSSL takes all else, who is verified and how, from ``context``.
    """

    def on_name(connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        asked = (name or "").lower()
        connection.asked_name = asked
        connection.context = choose(asked)

    context.sslobject_class = _NamedObject
    context.sni_callback = on_name


def read_facts(der: bytes) -> Facts:
    """What is to be known of a certificate; ``ValueError`` or ``IndexError`` where it is none."""
    (_, certificate), *_ = _elements(der)
    (_, to_be_signed), *_ = _elements(certificate)
    fields = [(tag, value) for tag, value in _elements(to_be_signed) if tag != _VERSION]
    validity = fields[3][1]  # after the serial number, the algorithm and the issuer
    _, (tag, not_after) = _elements(validity)
    names: list[str] = []
    for extensions in (value for tag, value in fields if tag == _EXTENSIONS):
        (_, listed), *_ = _elements(extensions)
        for _, extension in _elements(listed):
            if extension.startswith(_SUBJECT_ALT_NAME):
                *_, (_, wrapped) = _elements(extension)
                (_, alternatives), *_ = _elements(wrapped)
                names += [name.decode("ascii").lower() for tag, name in _elements(alternatives) if tag == _DNS_NAME]
    return Facts(tuple(names), _time(tag, not_after.decode("ascii")))


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of one element after the other."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            at += size
        if at + length > len(der):
            raise ValueError("an element is longer than what holds it")
        yield tag, der[at : at + length]
        at += length


def _time(tag: int, text: str) -> datetime.datetime:
    """A UTCTime or GeneralizedTime (RFC 5280 4.1.2.5)."""
    if tag == _UTC_TIME:
        text = ("20" if text < "50" else "19") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)


def _read(path: str, config_key: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} cannot be read: {reason}", key=config_key) from error


def _no_password() -> str:
    raise ValueError("is encrypted; expected a key without a passphrase: nobody is there to type it")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
