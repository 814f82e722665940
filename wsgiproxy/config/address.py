"""Addresses: where a backend answers, and where the daemon listens.

A backend's address is ``http://host:port``, ``https://host:port``, ``unix:/path`` or ``app:module:callable``; a
listener's is ``host:port``, ``[v6]:port``, ``:port`` or ``unix:/path``. ``str()`` of a parsed address is its canonical
text: two spellings of one address have the same one, and it is the address's identity everywhere. This module opens
nothing and resolves no name.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from typing import NamedTuple

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7) holds 108, one of them the final NUL
MAX_HOST_LENGTH = 253  # RFC 1035 2.3.4, as text
DEFAULT_CALLABLE = "application"  # gunicorn's, uWSGI's and mod_wsgi's default too

BACKEND_FORMS = "http://host:port, https://host:port, unix:/path or app:module:callable"
LISTEN_FORMS = "host:port, [v6]:port, :port or unix:/path"

_UNIX = "unix:"
_APP = "app:"
_LATER_SCHEMES = ("uwsgi",)  # known to the plan, not built yet
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:\[\]]*))?")
_LABELS = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")


class HttpAddress(NamedTuple):
    """A server that speaks HTTP over TCP, or over TLS; ``host`` is lower-case, an IPv6 address without brackets."""

    host: str
    port: int
    scheme: str = "http"

    def __str__(self) -> str:
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host field that names this server: the port is left out where it is the scheme's own (RFC 9110 4.2.3)."""
        host = _bracketed(self.host)
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class UnixAddress(NamedTuple):
    """A server, or a listener, on a Unix socket; ``path`` is absolute."""

    path: str

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


class AppAddress(NamedTuple):
    """A WSGI application of this process: the dotted ``module``, and the dotted ``attribute`` that holds it."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{_APP}{self.module}:{self.attribute}"


class TcpAddress(NamedTuple):
    """Where to listen; ``host`` is empty for all interfaces, ``port`` 0 for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


BackendAddress = HttpAddress | UnixAddress | AppAddress
ListenAddress = TcpAddress | UnixAddress


def parse_backend_address(text: str) -> BackendAddress:
    """The address of a backend; ``ValueError`` says what is wrong and what is expected."""
    if text.startswith(_UNIX):
        return _parse_unix(text)
    if text.startswith(_APP):
        return _parse_app(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise _mistake(text, f"is not an address; expected {BACKEND_FORMS}")
    name = scheme[1].lower()
    if name in _LATER_SCHEMES:
        raise _mistake(text, f"is not supported yet ({scheme[1]}://); expected {BACKEND_FORMS}")
    if name not in DEFAULT_PORTS:
        raise _mistake(text, f"has an unknown scheme ({scheme[1]}://); expected {BACKEND_FORMS}")
    rest = text[scheme.end() :]
    for mark, part in (("?", "query"), ("#", "fragment"), ("/", "path"), ("@", "user name")):
        if mark in rest:
            raise _mistake(text, f'must not have a {part} ("{mark}"); expected {name}://host:port and nothing more')
    host, port = _parse_authority(text, rest, least_port=1)
    if not host:
        raise _mistake(text, f"has no host; expected {name}://host:port")
    return HttpAddress(host, DEFAULT_PORTS[name] if port is None else port, name)


def parse_listen_address(text: str) -> ListenAddress:
    """The address of a listener; ``ValueError`` says what is wrong and what is expected."""
    if text.startswith(_UNIX):
        return _parse_unix(text)
    if _SCHEME.match(text) or text.startswith(_APP):
        raise _mistake(text, f"is no place to listen; expected {LISTEN_FORMS}")
    host, port = "", None
    if ":" in text:
        host, port = _parse_authority(text, text[1:] if text.startswith("*:") else text, least_port=0)
    if port is None:
        raise _mistake(text, f"has no port; expected {LISTEN_FORMS}")
    return TcpAddress(host, port)


def parse_host(text: str) -> str:
    """A host's canonical text: lower-case, an IPv6 address compressed and without brackets; else ``ValueError``."""
    if text.startswith("["):
        if not text.endswith("]"):
            raise _mistake(text, 'has no closing bracket; expected "[v6 address]"')
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise _mistake(text, "is not an IPv6 address in brackets") from None
    host = text.lower()
    if not host.isascii():
        raise _mistake(text, "is not ASCII; write an international name in its xn-- form")
    if len(host) > MAX_HOST_LENGTH or not _LABELS.fullmatch(host):
        raise _mistake(text, "is not a host name or an IP address")
    if host.rpartition(".")[2].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise _mistake(text, "is not an IPv4 address") from None
    return host


def is_authority(text: str) -> bool:
    """Whether a text is a host, which may end with a dot, and perhaps a port: what a Host field may hold."""
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        return False
    try:
        parse_host(parts[1].removesuffix("."))
        return parts[2] is None or _parse_authority(text, f"h:{parts[2]}", least_port=1) is not None
    except ValueError:
        return False


def _parse_authority(whole: str, text: str, least_port: int) -> tuple[str, int | None]:
    """Host (maybe empty) and port (None where there is none) of ``host:port``, a part of the address ``whole``."""
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise _mistake(whole, 'must be host:port; an IPv6 address stands in brackets, as in "[::1]:8080"')
    host = parse_host(parts[1]) if parts[1] else ""
    if parts[2] is None:
        return host, None
    if not re.fullmatch("[0-9]{1,5}", parts[2]) or not least_port <= int(parts[2]) <= 65535:
        raise _mistake(whole, f"has a bad port; expected a number from {least_port} to 65535")
    return host, int(parts[2])


def _parse_unix(text: str) -> UnixAddress:
    path = re.sub("/+", "/", text.removeprefix(_UNIX))
    if not path.startswith("/"):
        raise _mistake(text, "must have an absolute path; expected unix:/path")
    if path.endswith("/") or not path.isprintable():
        raise _mistake(text, "is not the path of a socket; expected unix:/path")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise _mistake(text, f"is too long: the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes")
    return UnixAddress(path)


def _parse_app(text: str) -> AppAddress:
    module, colon, attribute = text.removeprefix(_APP).partition(":")
    if not colon:
        attribute = DEFAULT_CALLABLE
    if not all(name.isidentifier() for name in (*module.split("."), *attribute.split("."))):
        raise _mistake(text, "does not name an application; expected app:module:callable, as in app:shop.wsgi:app")
    return AppAddress(module, attribute)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _mistake(text: str, problem: str) -> ValueError:
    return ValueError(f"{json.dumps(text, ensure_ascii=False)} {problem}")
