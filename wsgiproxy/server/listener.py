"""Get a listening socket.

A listener's block goes in, a bound, listening, non-blocking socket comes out; what can go wrong there is the
operator's to put right, so every failure is a ``ConfigError`` that says so. This module must not know who accepts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from wsgiproxy.config import schema
from wsgiproxy.config.address import UnixAddress, parse_listen_address
from wsgiproxy.errors import ConfigError

ALL_INTERFACES = "0.0.0.0"  # IPv4 alone: a dual-stack socket would show its clients as ::ffff:192.0.2.1
PROBE_TIMEOUT = 1.0  # seconds to find out whether anybody listens on a socket file

_HINTS = {
    errno.EADDRINUSE: "another process listens there",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENOENT: "its directory does not exist",
}


def open_listener(block: schema.Listener) -> socket.socket:
    """A socket bound to the block's address, listening and non-blocking.

    ``host:port``, ``[v6]:port`` (IPv6 alone), ``:port`` (every IPv4 interface) or ``unix:/path``. Port 0 takes a free
    one. A name stands for its first IPv4 address, or its first IPv6 address where it has no other. A socket file
    that nobody listens on any more is replaced. Raises ``ConfigError``.
    """
    try:
        address = parse_listen_address(block.address)
        if isinstance(address, UnixAddress):
            return _open_unix(address.path, block.backlog)
        return _open_tcp(address.host, address.port, block.backlog)
    except ValueError as error:  # a host that cannot be a domain name included
        raise ConfigError(f"cannot listen: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot listen on {block.address}: {_explain(error, block)}") from error


def describe(listener: socket.socket, block: schema.Listener) -> str:
    """Where a listening socket can be reached: ``http://127.0.0.1:8080``, ``https://[::1]:8443`` or ``unix:/path``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{'http' if block.tls is None else 'https'}://{host}:{name[1]}"


def close_listener(listener: socket.socket, block: schema.Listener) -> None:
    """Close a listening socket, if that is not done yet, and remove its socket file.

    A file that another process has put there and listens on is left alone. Idempotent.
    """
    listener.close()
    address = parse_listen_address(block.address)
    if isinstance(address, UnixAddress):
        with contextlib.suppress(OSError):  # another's by now, or a file that is of no use to anybody
            _remove_stale(address.path)


def _open_tcp(host: str, port: int, backlog: int) -> socket.socket:
    found = socket.getaddrinfo(host or ALL_INTERFACES, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return _listen(listener, where, backlog)
    except OSError:
        listener.close()
        raise


def _open_unix(path: str, backlog: int) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        return _listen(listener, path, backlog)
    except OSError:
        listener.close()
        raise


def _listen(listener: socket.socket, where: str | tuple[object, ...], backlog: int) -> socket.socket:
    listener.bind(where)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket file at ``path`` if nobody listens on it; ``OSError`` if somebody does or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name, and it is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except (TimeoutError, BlockingIOError):
            pass  # somebody listens there, with a full queue
    raise OSError(errno.EADDRINUSE, "Address already in use")


def _explain(error: OSError, block: schema.Listener) -> str:
    reason = (error.strerror or str(error)).lower()
    hint = _HINTS.get(error.errno or 0, "")
    if isinstance(error, socket.gaierror):
        hint = "the host's name is not known"
    elif isinstance(error, PermissionError) and not block.address.startswith("unix:"):
        hint = "ports below 1024 need privileges"
    return f"{reason} ({hint})" if hint else reason
