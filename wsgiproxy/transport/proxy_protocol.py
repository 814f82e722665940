"""The PROXY protocol, versions 1 and 2: who a connection is really from, said before its first byte.

Source: HAProxy's doc/proxy-protocol.txt. Pure functions, bytes in and facts out, and the other way round; reading and
sending them, and whom to believe, are others' business. A header that breaks the grammar raises ``ValueError``, and the
connection must then be closed: nobody knows where its first request begins.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import NamedTuple

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
UNKNOWN_V1 = b"PROXY UNKNOWN\r\n"  # "for health checks", and for clients that have no IP address
LOCAL_V2 = SIGNATURE + b"\x20\x00\x00\x00"  # the same in version 2: the sender speaks for itself

_PREFIX_V1 = b"PROXY "
_MAX_V1 = 107  # bytes, its line end included
_START_V2 = 16  # bytes of signature, version, command, family and length
_MAX_V2 = 16 * 1024  # bytes that we take of a header: the length's 16 bits would allow for four times that
_LOCAL, _PROXY = 0, 1  # commands
_STREAM = 1  # the transport that a TCP connection has
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3  # families
_ADDRESS_BYTES = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}
_TYPE_CRC32C = 3  # PP2_TYPE_CRC32C

_LINE_V1 = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN_V1 = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")


class Header(NamedTuple):
    """``length`` is the header's own in bytes; the addresses are empty, the ports 0, where no IP address is named.

    The connection's own addresses stand then: the sender speaks for itself, or for a client without an IP address.
    """

    length: int
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0


def parse(data: bytes) -> Header | None:
    """The header at the start of ``data``; None where more of it is needed; ``ValueError`` where there is none."""
    if data.startswith(_PREFIX_V1):
        return _parse_v1(data)
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if _PREFIX_V1.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise ValueError("no PROXY header")


def missing(data: bytes) -> int:
    """How many more bytes an unfinished header has at the least; whoever reads so many never reads beyond it."""
    if data.startswith(SIGNATURE[:1]):
        whole = _START_V2 + (int.from_bytes(data[14:16]) if len(data) >= _START_V2 else 0)
        return max(whole - len(data), 1)
    if len(data) < len(UNKNOWN_V1):
        return len(UNKNOWN_V1) - len(data)
    line_end = 1 if data.endswith(b"\r") else 2
    fields = 5 - data.count(b" ") if data.startswith(b"PROXY TCP") else 0  # that are still to come, each with a space
    return 2 * max(fields, 0) + line_end


def encode_v1(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    """A header of version 1; ``UNKNOWN`` where an end is no IP address. An IPv4 end beside an IPv6 one is mapped."""
    ends = _ends(source, destination)
    if ends is None:
        return UNKNOWN_V1
    return f"PROXY TCP{ends[0].version} {ends[0]} {ends[1]} {source_port} {destination_port}\r\n".encode()


def encode_v2(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    """A header of version 2; ``LOCAL`` where an end is no IP address. An IPv4 end beside an IPv6 one is mapped."""
    ends = _ends(source, destination)
    if ends is None:
        return LOCAL_V2
    family = _INET if ends[0].version == 4 else _INET6
    addresses = ends[0].packed + ends[1].packed + struct.pack("!HH", source_port, destination_port)
    return SIGNATURE + struct.pack("!BBH", 0x20 | _PROXY, family << 4 | _STREAM, len(addresses)) + addresses


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 B.4 (Castagnoli's polynomial)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _MAX_V1) + 2
    if end < 2:
        if len(data) >= _MAX_V1 or b"\n" in data or b"\r" in data[:-1]:
            raise ValueError("a PROXY line without an end")
        return None
    line = data[:end]
    if _UNKNOWN_V1.fullmatch(line) is not None:
        return Header(end)
    match = _LINE_V1.fullmatch(line)
    if match is None:
        raise ValueError("malformed PROXY line")
    kind = ipaddress.IPv4Address if match[1] == b"4" else ipaddress.IPv6Address
    ports = int(match[4]), int(match[5])
    try:
        source, destination = kind(match[2].decode()), kind(match[3].decode())
    except ValueError as error:
        raise ValueError("malformed address in a PROXY line") from error
    if max(ports) > 65535 or b"%d %d\r\n" % ports != line[match.start(4) :]:
        raise ValueError("malformed port in a PROXY line")
    return Header(end, _text(source), ports[0], _text(destination), ports[1])


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _START_V2:
        return None
    version_and_command, family_and_transport, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    version, command = divmod(version_and_command, 16)
    family, transport = divmod(family_and_transport, 16)
    end = _START_V2 + length
    if version != 2 or command not in (_LOCAL, _PROXY) or family not in _ADDRESS_BYTES or transport > 2:
        raise ValueError("a PROXY header of a kind that is not known")
    if end > _MAX_V2:
        raise ValueError(f"a PROXY header of more than {_MAX_V2} bytes")
    if len(data) < end:
        return None
    if command == _LOCAL:
        return Header(end)  # "the receiver must [...] discard the protocol block"
    if length < _ADDRESS_BYTES[family]:
        raise ValueError("a PROXY header too short for its addresses")
    _check_tlvs(data[:end], _START_V2 + _ADDRESS_BYTES[family])
    if transport != _STREAM or family not in (_INET, _INET6):
        return Header(end)
    size = 4 if family == _INET else 16
    source, destination, *ports = struct.unpack_from(f"!{size}s{size}sHH", data, _START_V2)
    return Header(
        end, _text(ipaddress.ip_address(source)), ports[0], _text(ipaddress.ip_address(destination)), ports[1]
    )


def _check_tlvs(header: bytes, start: int) -> None:
    """Walk over what follows the addresses (type, length, value); only a checksum means something to us."""
    while start < len(header):
        if start + 3 > len(header):
            raise ValueError("a PROXY header ends within a field")
        kind, size = struct.unpack_from("!BH", header, start)
        value, start = start + 3, start + 3 + size
        if start > len(header):
            raise ValueError("a field of a PROXY header is longer than the header")
        if kind == _TYPE_CRC32C:
            zeroed = header[:value] + bytes(size) + header[start:]
            if size != 4 or crc32c(zeroed) != int.from_bytes(header[value:start]):
                raise ValueError("the checksum of a PROXY header is wrong")


def _text(address: _Address) -> str:
    """An address as text; an IPv4 one in IPv6 clothes as the former."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _ends(source: str, destination: str) -> tuple[_Address, _Address] | None:
    """Both ends in one family, None where either is no IP address; a zone (``%eth0``) means nothing elsewhere."""
    try:
        ends = [ipaddress.ip_address(text.partition("%")[0]) for text in (source, destination)]
    except ValueError:
        return None
    if ends[0].version != ends[1].version:
        ends = [end if end.version == 6 else ipaddress.IPv6Address(f"::ffff:{end}") for end in ends]
    return ends[0], ends[1]


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
