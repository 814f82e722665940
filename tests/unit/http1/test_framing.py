from __future__ import annotations

import pytest

from wsgiproxy.errors import BackendProtocolError, BadRequestError, NotImplementedByProxyError, ProxyError
from wsgiproxy.http1.framing import content_length, request_framing, response_framing
from wsgiproxy.http1.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing

NOT_A_LENGTH = [
    "", " ", "-1", "+1", "1 ", " 1", "1_0", "0x10", "1.0", "1e3", "5,5", "5, 5", "5;5", "five", "1" * 19,
    "\u00b2", "\u0665", "1\x00", "1\t",
]  # fmt: skip

NOT_CHUNKED = {
    "": 400, "chunked, chunked": 400, "chunked,gzip": 400, "chunked;q=1": 400, "chunked, ": 400, ", chunked": 400,
    "\"chunked\"": 400, "x chunked": 400, "chunked\x0b": 400, "chunked\x00": 400, "chun ked": 400, "chunked,,": 400,
    "chunked;x": 400, "gzip;q=1, chunked": 400, "chunked, gzip, chunked": 400, "gzip, chunked, chunked": 400,
    "gzip, br": 400, "chunked, identity": 400, "identity, x-y": 400, "gzip,,chunked": 400, "\u00e9": 400,
    "\u00e9, chunked": 400, "\u0441hunked": 400, "gzip\x0b, chunked": 400, "'chunked' x": 400, "gzip, chunked;x": 400,
    "gzip": 501, "identity": 501, "gzip, chunked": 501, "gzip,\tchunked": 501, "xchunked": 501, "unheard": 501,
    "chunk": 501, "x-y": 501, "X_Y.z": 501, "identity, CHUNKED": 501, "x-a , x-b\t, chunked": 501, "'chunked'": 501,
}  # fmt: skip


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("5", 5), ("0005", 5), ("9" * 18, 10**18 - 1)])
def test_plain_digits_are_a_length(text: str, size: int) -> None:
    assert content_length(text) == size


@pytest.mark.parametrize("text", NOT_A_LENGTH)
def test_anything_but_plain_digits_is_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        content_length(text)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("text", NOT_A_LENGTH)
def test_a_bad_length_is_refused_on_both_sides(text: str, version: str) -> None:
    with pytest.raises(BadRequestError):
        request_framing(version, text, None)
    with pytest.raises(BackendProtocolError):
        response_framing("GET", 200, version, text, None)


def test_a_request_without_either_field_has_no_body() -> None:
    assert request_framing("HTTP/1.1", None, None) == NO_BODY


def test_a_request_says_how_long_its_body_is() -> None:
    assert request_framing("HTTP/1.0", "7", None) == Framing(length=7)
    assert request_framing("HTTP/1.1", "0", None) == NO_BODY
    assert request_framing("HTTP/1.1", None, "chunked") == CHUNKED
    assert request_framing("HTTP/1.1", None, "CHUNKED") == CHUNKED


@pytest.mark.parametrize(("coding", "status"), NOT_CHUNKED.items())
def test_a_transfer_encoding_other_than_chunked_is_refused(coding: str, status: int) -> None:
    with pytest.raises((BadRequestError, NotImplementedByProxyError)) as caught:
        request_framing("HTTP/1.1", None, coding)
    assert caught.value.status == status
    with pytest.raises(BackendProtocolError):
        response_framing("GET", 200, "HTTP/1.1", None, coding)


@pytest.mark.parametrize("length", ["0", "5", "", "x"])
@pytest.mark.parametrize("coding", ["chunked", "gzip", "identity", ""])
def test_two_answers_to_one_question_are_refused(length: str, coding: str) -> None:
    with pytest.raises(BadRequestError):
        request_framing("HTTP/1.1", length, coding)
    with pytest.raises(BackendProtocolError):
        response_framing("GET", 200, "HTTP/1.1", length, coding)


def test_http_1_0_knows_no_transfer_encoding() -> None:
    with pytest.raises(BadRequestError):
        request_framing("HTTP/1.0", None, "chunked")
    with pytest.raises(BackendProtocolError):
        response_framing("GET", 200, "HTTP/1.0", None, "chunked")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize(("length", "coding"), [("9", None), (None, "chunked"), (None, None)])
def test_some_answers_never_have_a_body(method: str, status: int, length: str | None, coding: str | None) -> None:
    assert response_framing(method, status, "HTTP/1.1", length, coding) == NO_BODY


@pytest.mark.parametrize("status", [100, 101, 102, 103, 199])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_interim_answer_announces_no_body(status: int, method: str) -> None:
    assert response_framing(method, status, "HTTP/1.1", None, None) == NO_BODY
    assert response_framing(method, status, "HTTP/1.1", "0", None) == NO_BODY
    for length, coding in [("5", None), (None, "chunked"), ("0", "chunked"), ("x", None)]:
        with pytest.raises(BackendProtocolError):
            response_framing(method, status, "HTTP/1.1", length, coding)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_may_still_not_be_ambiguous(method: str, status: int) -> None:
    for length, coding in [("5", "chunked"), ("-5", None), (None, "gzip")]:
        with pytest.raises(ProxyError):
            response_framing(method, status, "HTTP/1.1", length, coding)


def test_an_answer_says_how_long_its_body_is() -> None:
    assert response_framing("GET", 200, "HTTP/1.1", "7", None) == Framing(length=7)
    assert response_framing("GET", 200, "HTTP/1.1", None, "Chunked") == CHUNKED
    assert response_framing("GET", 200, "HTTP/1.1", None, None) == UNTIL_CLOSE
    assert response_framing("POST", 500, "HTTP/1.0", None, None) == UNTIL_CLOSE
    assert response_framing("GET", 205, "HTTP/1.1", "0", None) == NO_BODY
