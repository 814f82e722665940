"""HTTPS for a listener: its certificates, chosen by name and read anew when they change, and what apps are told.

The rule of the room: everything about a file is checked when it is read, never at a handshake; what has been replaced
is forgotten by new connections and kept by those that are open. This module must not know HTTP or proxying.
"""

from __future__ import annotations

import datetime
import logging
import ssl
from typing import Any

from wsgiproxy.config import schema
from wsgiproxy.errors import ConfigError
from wsgiproxy.transport.certificates import (
    Facts,
    Signature,
    choose_by_name,
    load_authorities,
    load_certificate,
    make_safe,
    signature,
)
from wsgiproxy.transport.tls import TlsStream

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_SHORT_NAMES = {  # RFC 4514 3; emailAddress is what mod_ssl writes
    "commonName": "CN", "localityName": "L", "stateOrProvinceName": "ST", "organizationName": "O",
    "organizationalUnitName": "OU", "countryName": "C", "streetAddress": "STREET", "domainComponent": "DC",
    "userId": "UID",
}  # fmt: skip
_ESCAPED = frozenset('"+,;<>\\')  # RFC 4514 2.4

_log = logging.getLogger("wsgiproxy.server")


class ListenerContexts:
    """The TLS contexts of one listener: one for each certificate.

    ``context`` is the one to begin each handshake with; it goes on with that of the name that the client asks for.
    """

    def __init__(self, block: schema.ListenerTls) -> None:
        """Reads the files; ``ConfigError`` with a key such as ``tls.certificates[1].key`` where one is of no use."""
        self._block = block
        self._paths = list(_paths(block))
        self._signatures = self._look()
        self._failed: list[Signature | None] | None = None  # the files that were of no use at the last look
        self.context = _make_contexts(block)

    def __repr__(self) -> str:
        return f"<ListenerContexts {', '.join(entry.certificate for entry in self._block.certificates)}>"

    def reload_if_changed(self) -> bool:
        """Read all files anew where one has changed; whether that was done. New handshakes use what was read.

        Files that are of no use change nothing. They get until the next look, for a pair is rarely replaced in one go;
        from then on each look raises the ``ConfigError``.
        """
        signatures = self._look()
        if signatures == self._signatures:
            self._failed = None
            return False
        try:
            context = _make_contexts(self._block)
        except ConfigError:
            if self._failed == signatures:
                raise
            self._failed = signatures
            return False
        self.context, self._signatures, self._failed = context, signatures, None
        _log.info("%s: read anew", ", ".join(entry.certificate for entry in self._block.certificates))
        return True

    def _look(self) -> list[Signature | None]:
        return [signature(path) for path in self._paths]


def tls_environ(stream: TlsStream) -> dict[str, Any]:
    """What the environs of all requests of a connection say about its TLS, as mod_ssl has it."""
    environ: dict[str, Any] = {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": stream.version(),
        "SSL_CIPHER": stream.cipher(),
    }
    if stream.server_name:
        environ["SSL_TLS_SNI"] = stream.server_name
    if stream.verifies:
        certificate = stream.peer_certificate()
        environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if certificate else "NONE"
        if certificate:
            environ["SSL_CLIENT_S_DN"] = distinguished_name(certificate["subject"])
            environ["SSL_CLIENT_I_DN"] = distinguished_name(certificate["issuer"])
            environ["SSL_CLIENT_M_SERIAL"] = certificate["serialNumber"]
            environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(stream.peer_certificate_der())
    return environ


def distinguished_name(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A name as the ``ssl`` module has it, as text: the last part first (RFC 4514), and plain ASCII."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escaped(value)}" for kind, value in parts)
        for parts in reversed(name)
    )


def _escaped(value: str) -> str:
    """A value with what could be mistaken escaped, other than ASCII as the bytes of its UTF-8."""
    text = "".join(
        f"\\{byte:02X}" if not 0x20 <= byte < 0x7F else f"\\{chr(byte)}" if chr(byte) in _ESCAPED else chr(byte)
        for byte in value.encode()
    )
    if text.startswith((" ", "#")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text


def _paths(block: schema.ListenerTls) -> list[str]:
    """Every file that the block names."""
    paths = [path for entry in block.certificates for path in (entry.certificate, entry.key) if path is not None]
    return paths if block.client_certificates is None else [*paths, block.client_certificates.ca]


def _make_contexts(block: schema.ListenerTls) -> ssl.SSLContext:
    """A context for each certificate; the first, which knows how to choose among them."""
    contexts: list[ssl.SSLContext] = []
    by_name: dict[str, ssl.SSLContext] = {}
    for index, entry in enumerate(block.certificates):
        context = _make_context(block)
        facts = load_certificate(context, entry.certificate, entry.key, f"tls.certificates[{index}]")
        _warn_of_expiry(entry.certificate, facts)
        contexts.append(context)
        for name in facts.names:
            by_name.setdefault(name, context)
    first = contexts[0]

    def choose(name: str) -> ssl.SSLContext:
        found = by_name.get(name)
        if found is None:
            _, dot, parent = name.partition(".")
            found = by_name.get(f"*.{parent}") if dot else None
        return found or first

    choose_by_name(first, choose)
    return first


def _make_context(block: schema.ListenerTls) -> ssl.SSLContext:
    """A context without a certificate of its own yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    make_safe(context)
    context.minimum_version = _VERSIONS[block.min_version]
    if block.client_certificates is not None:
        context.verify_mode = ssl.CERT_REQUIRED if block.client_certificates.required else ssl.CERT_OPTIONAL
        load_authorities(context, block.client_certificates.ca, "tls.client_certificates.ca")
    return context


def _warn_of_expiry(path: str, facts: Facts) -> None:
    if facts.expires_at <= datetime.datetime.now(datetime.UTC):
        _log.warning("%s: the certificate expired on %s", path, facts.expires_at.date())
