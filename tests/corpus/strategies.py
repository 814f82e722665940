"""Hypothesis strategies: good requests, near misses, and cases of the corpus with something changed.

What is made here is only bytes (and, for good requests, what they mean); nothing is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.corpus.cases import Fields, request_cases, response_cases

_LARGE = 4096  # bytes: larger cases are not changed, they are about limits
_TOKEN = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VALUE = "".join(map(chr, [*range(0x21, 0x7F), *range(0x80, 0x100)]))
_OWN_NAMES = frozenset({"connection", "content-length", "expect", "host", "proxy", "transfer-encoding"})

# What smuggling is made of, and what stands between.
FRAGMENTS = (
    b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://a.example/ HTTP/1.1\r\n", b"Host: a.example\r\n", b"Host: b.example\r\n", b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"X-A: b\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\r\r\n", b"\n\r\n",
    b" ", b"\t", b"\x0b", b"\x00", b"\x7f", b"\x85", b"\xa0", b":", b": ", b",", b";", b"+", b"-", b"_", b"0", b"0x",
    b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"0\r\nX-A: b\r\n\r\n", b"hello", b"1\r\n",
    b"HTTP/1.1 ", b" HTTP/1.1", b" HTTP/2.0", b"#", b"?", b"\\", b"*", b"//", b"..", b"%00", b"chunked", b"5",
    b"Content-Length", b"Transfer-Encoding",
)  # fmt: skip
ANSWER_FRAGMENTS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", b"HTTP/1.1 101 Odd\r\n",
    b"HTTP/2.0 200 OK\r\n", b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", *FRAGMENTS[5:],
)  # fmt: skip

splits = st.lists(st.integers(0, 2**16), max_size=8)
tokens = st.text(_TOKEN, min_size=1, max_size=12)
values = st.lists(st.text(_VALUE, min_size=1, max_size=10), max_size=3).map(" \t ".join)
names = tokens.filter(lambda name: name.lower() not in _OWN_NAMES)
paths = st.text("/abcXYZ019-._~!$&'()*+,;=:@|{}^", max_size=20).map("/{}".format)
anything = st.binary(max_size=400)
request_like = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=12).map(b"".join)
answer_like = st.lists(st.sampled_from(ANSWER_FRAGMENTS) | st.binary(max_size=4), max_size=12).map(b"".join)


@dataclass
class Made:
    """A good request: its bytes, and what they mean."""

    data: bytes
    method: str
    target: str
    fields: Fields
    body: bytes
    chunked: bool
    trailers: Fields


@st.composite
def good_requests(draw: st.DrawFn) -> Made:
    """Requests that RFC 9112 allows and we take, with every liberty that it leaves the sender."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X-Odd.1"]))
    target = draw(paths) + draw(st.just("") | st.text("abc019?/=&%-._~:@", max_size=12).map("?{}".format))
    fields = draw(st.lists(st.tuples(names, values), max_size=6))
    fields.insert(draw(st.integers(0, len(fields))), ("Host", "a.example"))
    body = draw(st.binary(max_size=80))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    wire, trailers = body, []
    if framing == "none":
        body = wire = b""
    elif framing == "length":
        zeros = "0" * draw(st.integers(0, 3))
        fields.append((draw(any_case("Content-Length")), f"{zeros}{len(body)}"))
    else:
        fields.append((draw(any_case("Transfer-Encoding")), draw(any_case("chunked"))))
        trailers = draw(st.lists(st.tuples(names, values), max_size=2))
        wire = draw(chunks(body)) + field_bytes(trailers, draw) + b"\r\n"
    line = f"{method} {target} HTTP/1.1\r\n".encode()
    data = line + field_bytes(fields, draw) + b"\r\n" + wire
    return Made(data, method, target, fields, body, framing == "chunked", trailers)


def any_case(text: str) -> st.SearchStrategy[str]:
    """The text with letters in either case."""
    return st.sampled_from([text, text.lower(), text.upper(), text.swapcase()])


def field_bytes(fields: Fields, draw: st.DrawFn) -> bytes:
    """Field lines, with white space around each value as it may be."""
    around = st.sampled_from(["", " ", "\t", " \t "])
    lines = [f"{name}:{draw(around)}{value}{draw(around)}\r\n" for name, value in fields]
    return "".join(lines).encode("latin-1")


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in chunks, the last one included, but neither trailers nor the empty line."""
    wire, position = b"", 0
    while position < len(body):
        piece = body[position : position + draw(st.integers(1, len(body)))]
        position += len(piece)
        wire += draw(sizes(len(piece))) + b"\r\n" + piece + b"\r\n"
    return wire + draw(sizes(0)) + b"\r\n"


@st.composite
def sizes(draw: st.DrawFn, size: int) -> bytes:
    """A chunk's size, with zeros and extensions as they may be."""
    extension = st.sampled_from(["", ";a", ";a=b", ' ; a = "b;c\\"d"', ";a;b=c"])
    digits = draw(st.sampled_from([f"{size:x}", f"{size:X}", f"{size:04x}"]))
    return (digits + draw(extension)).encode()


def request_bytes() -> st.SearchStrategy[bytes]:
    """The requests of the corpus, as they are and changed."""
    return _changed([case.data for case in request_cases() if len(case.data) <= _LARGE], FRAGMENTS)


def answer_bytes() -> st.SearchStrategy[bytes]:
    """The answers of the corpus, as they are and changed."""
    return _changed([case.data for case in response_cases() if len(case.data) <= _LARGE], ANSWER_FRAGMENTS)


@st.composite
def _changed(draw: st.DrawFn, seeds: list[bytes], fragments: tuple[bytes, ...]) -> bytes:
    """One of the seeds, a few places of it cut out, doubled, or filled with a fragment or a part of another seed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 5, 20])))
        other = draw(st.sampled_from(seeds))
        insert = draw(
            st.sampled_from(fragments)
            | st.binary(max_size=2)
            | st.just(data[start:end] * 2)
            | st.just(other[: draw(st.integers(0, len(other)))])
        )
        data = data[:start] + insert + data[end:]
    return data
