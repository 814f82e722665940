from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.transport.proxy_protocol import (
    LOCAL_V2,
    SIGNATURE,
    UNKNOWN_V1,
    Header,
    crc32c,
    encode_v1,
    encode_v2,
    missing,
    parse,
)

V4 = ("192.0.2.1", 56324, "198.51.100.7", 443)
V6 = ("2001:db8::1", 1, "2001:db8::2", 65535)
V1_LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"


def v2(command: int, family: int, payload: bytes, *, version: int = 2) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, family, len(payload)) + payload


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


INET = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack("!HH", 56324, 443)
INET6 = bytes.fromhex("20010db8" + "0" * 23 + "1" + "20010db8" + "0" * 23 + "2") + struct.pack("!HH", 1, 65535)


def with_checksum(payload: bytes, wrong: int = 0) -> bytes:
    whole = v2(1, 0x11, payload + tlv(3, bytes(4)))
    at = whole.rindex(tlv(3, bytes(4))) + 3
    return whole[:at] + struct.pack("!I", crc32c(whole) ^ wrong) + whole[at + 4 :]


NAMED = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", V4),
    (b"PROXY TCP6 2001:db8::1 2001:0DB8:0::2 1 65535\r\n", V6),
    (b"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", ("1.2.3.4", 0, "1.2.3.4", 0)),
    (v2(1, 0x11, INET), V4), (v2(1, 0x21, INET6), V6), (v2(1, 0x11, INET + tlv(4, b"") + tlv(0xE0, b"x" * 300)), V4),
    (with_checksum(INET), V4), (with_checksum(INET + tlv(2, b"name.example")), V4),
]  # fmt: skip
UNNAMED = [
    UNKNOWN_V1, V1_LONGEST, b"PROXY UNKNOWN anything at all\r\n",
    LOCAL_V2, v2(0, 0x11, INET), v2(0, 0x11, b"x"), v2(0, 0x00, tlv(3, b"bad!")),
    v2(1, 0x00, b""), v2(1, 0x00, tlv(1, b"h2")), v2(1, 0x31, bytes(216)), v2(1, 0x12, INET), v2(1, 0x10, INET),
]  # fmt: skip
MALFORMED = [
    b"GET / HTTP/1.1\r\n", b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"\r\nGET",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
    b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY\r\n", b"PROXY UNKNOWNX\r\n",
    b"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n", b"PROXY UNKNOWN a\rb\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", b"PROXY UNKNOWN " + b"x" * 200,
    v2(1, 0x11, INET, version=1), v2(2, 0x11, INET), v2(1, 0x41, INET), v2(1, 0x13, INET), v2(1, 0x11, INET[:-1]),
    v2(1, 0x21, INET), v2(1, 0x31, bytes(215)), v2(1, 0x11, INET + b"x"), v2(1, 0x11, INET + tlv(1, b"abc")[:-1]),
    v2(1, 0x11, bytes(16 * 1024)), with_checksum(INET, 1), v2(1, 0x11, INET + tlv(3, b"abc")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "ends"), NAMED)
def test_a_header_says_who_is_at_both_ends(data: bytes, ends: tuple[str, int, str, int]) -> None:
    assert parse(data) == Header(len(data), *ends)
    assert parse(data + b"GET / HTTP/1.1\r\n") == Header(len(data), *ends)


@pytest.mark.parametrize("data", UNNAMED)
def test_a_header_may_name_nobody(data: bytes) -> None:
    assert parse(data + b"GET") == Header(len(data))


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_not_exactly_a_header_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY"):
        parse(data)


def test_the_longest_line_has_107_bytes() -> None:
    line = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert parse(line) == Header(107)


@pytest.mark.parametrize("data", [data for data, _ in NAMED] + UNNAMED)
def test_a_header_may_come_in_any_pieces_and_is_never_read_beyond(data: bytes) -> None:
    for size in range(len(data)):
        assert parse(data[:size]) is None
        assert 1 <= missing(data[:size]) <= len(data) - size
    wire, reads = data + b"GET / HTTP/1.1\r\n", 0
    got = b""
    while (header := parse(got)) is None:
        got += wire[len(got) : len(got) + missing(got)]
        reads += 1
    assert header.length == len(got) == len(data)
    assert reads < 50


@given(st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]))
def test_any_bytes_are_a_header_or_an_error_or_wait_for_more(rest: bytes, start: bytes) -> None:
    data = start + rest
    try:
        header = parse(data)
    except ValueError:
        return
    if header is None:
        assert missing(data) > 0
    else:
        assert 0 < header.length <= len(data)


@pytest.mark.parametrize("ends", [V4, V6, ("192.0.2.1", 1, "2001:db8::2", 2), ("::ffff:192.0.2.1", 1, "::1", 2)])
def test_what_is_encoded_is_parsed_again(ends: tuple[str, int, str, int]) -> None:
    for encode in (encode_v1, encode_v2):
        data = encode(*ends)
        header = parse(data)
        assert header is not None
        assert header.length == len(data)
        assert (header.source_port, header.destination_port) == (ends[1], ends[3])
        assert header.source == ends[0].removeprefix("::ffff:")  # a mapped address is what it stands for
        assert header.destination == ends[2]


def test_the_bytes_are_those_of_the_specification() -> None:
    assert encode_v1(*V4) == b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
    assert encode_v2(*V4) == b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + INET
    assert encode_v2(*V6) == b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + INET6


@pytest.mark.parametrize("ends", [("", 0, "192.0.2.1", 1), ("192.0.2.1", 1, "", 0), ("unix", 0, "x", 0)])
def test_a_client_without_an_address_is_not_named(ends: tuple[str, int, str, int]) -> None:
    assert encode_v1(*ends) == b"PROXY UNKNOWN\r\n"
    assert encode_v2(*ends) == b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


def test_a_zone_stays_here() -> None:
    assert encode_v1("fe80::1%eth0", 1, "fe80::2", 2) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4
