"""Sets of peers: networks of IP addresses, and the clients of Unix sockets.

One text each: ``10.0.0.0/8``, ``2001:db8::/32``, a plain address, or ``unix:`` for every peer on a Unix socket. IPv4
addresses that are written as IPv6 ones (``::ffff:192.0.2.1``) count as what they are. Nothing here resolves names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

UNIX = "unix:"
_MAX_REMEMBERED = 10_000  # addresses whose verdict is kept, so that a busy peer is looked up once

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> str:
    """The canonical text of a network; ``ValueError`` says what is wrong and what is expected."""
    if text == UNIX:
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        reason = f" ({error})" if "host bits" in str(error) else ""
        raise ValueError(f'"{text}" is not a network{reason}; expected 10.0.0.0/8, 2001:db8::/32 or unix:') from None


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, None where the text is none; an IPv4 one in IPv6 clothes as the former, a zone left out."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Networks:
    """The peers that any of some networks holds: ``address in networks``; ``""`` is a peer on a Unix socket."""

    __slots__ = ("_networks", "_unix", "_verdicts")

    def __init__(self, texts: Iterable[str]) -> None:
        """``texts`` as ``parse_network`` takes them."""
        texts = tuple(texts)
        self._unix = UNIX in texts
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(text) for text in texts if text != UNIX)
        self._verdicts: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<Networks {', '.join([*map(str, self._networks), *([UNIX] if self._unix else [])]) or 'none'}>"

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, address: str) -> bool:
        if not address:
            return self._unix
        if not self._networks:
            return False
        verdict = self._verdicts.get(address)
        if verdict is None:
            ip = parse_ip(address)
            verdict = ip is not None and any(ip in network for network in self._networks)
            if len(self._verdicts) >= _MAX_REMEMBERED:
                self._verdicts.clear()
            self._verdicts[address] = verdict
        return verdict
