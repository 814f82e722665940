"""The compiled codec reads, and refuses, exactly what the pure grammar does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import lack
from tests.corpus import strategies as made
from tests.corpus.cases import request_cases, response_cases
from wsgiproxy.errors import ProxyError
from wsgiproxy.http1 import grammar, lines, parser
from wsgiproxy.http1.headers import COMMON_ANSWER_NAMES, COMMON_REQUEST_NAMES
from wsgiproxy.http1.message import RequestHead

END = b"\r\n\r\n"
many = settings(max_examples=700, deadline=None)


@pytest.fixture(name="codec", scope="module")
def fixture_codec() -> Any:
    if os.environ.get("WSGIPROXY_PURE"):
        pytest.skip("compiled parts are kept out")
    try:
        from wsgiproxy.http1 import _codec
    except ImportError:
        lack("the compiled codec was not built here: pip install -e . with a C compiler")
    return _codec


def outcome(parse: Callable[..., Any], *arguments: Any, **limits: Any) -> Any:
    """What a parser makes of its arguments: a head's facts, or the kind and the words of the refusal."""
    try:
        head = parse(*arguments, **limits)
    except (ProxyError, ValueError, TypeError) as error:
        return type(error), str(error)
    if not hasattr(head, "__slots__"):
        return head
    facts = {name: getattr(head, name) for name in head.__slots__ if name[0] != "_"} | {"fields": head.fields}
    if isinstance(head, RequestHead) and head.lines is None:  # then whoever sends them on puts them together
        facts["lines"] = lines.forwardable_lines(head.fields, head.environ.get("HTTP_CONNECTION", ""))
    return facts


def head_of(data: bytes) -> bytes:
    """The data up to its first empty line, with one at its end in any case."""
    return data.partition(END)[0] + END


def check_request(codec: Any, data: bytes) -> None:
    for keep in (False, True):
        limits = {"max_fields": 8, "max_target": 60, "keep_underscores": keep}
        assert outcome(codec.parse_request, data, **limits) == outcome(grammar.parse_request, data, **limits)
    pure = outcome(grammar.parse_request, data)
    assert outcome(codec.parse_request, data) == pure
    if isinstance(pure, dict):
        connection = pure["environ"].get("HTTP_CONNECTION", "")
        put = codec.forwardable_lines(pure["fields"], connection)
        assert put == lines.forwardable_lines(pure["fields"], connection)


def check_answer(codec: Any, data: bytes) -> None:
    for method in ("GET", "HEAD"):
        pure = outcome(grammar.parse_response, data, method)
        assert outcome(codec.parse_response, data, method) == pure
        if isinstance(pure, dict):
            for bare in (False, True):
                assert codec.answer_lines(pure["fields"], bare) == lines.answer_lines(pure["fields"], bare)


def test_every_case_of_the_corpus_is_read_alike(codec: Any) -> None:
    for request in request_cases():
        check_request(codec, head_of(request.data))
    for response in response_cases():
        check_answer(codec, head_of(response.data))


@many
@given(st.data())
def test_whatever_comes_as_a_request_is_read_alike(codec: Any, data: st.DataObject) -> None:
    check_request(codec, head_of(data.draw(made.request_bytes() | made.request_like | made.anything)))


@many
@given(st.data())
def test_whatever_comes_as_an_answer_is_read_alike(codec: Any, data: st.DataObject) -> None:
    check_answer(codec, head_of(data.draw(made.answer_bytes() | made.answer_like | made.anything)))


NAMES = st.sampled_from([*COMMON_REQUEST_NAMES, *COMMON_ANSWER_NAMES, "Date", "Content-Length", "Connection", "Host"])
TEXTS = st.text(max_size=12) | made.values
FIELDS = st.lists(st.tuples(NAMES | made.tokens | st.text(max_size=4), TEXTS), max_size=6)


@many
@given(FIELDS, st.booleans())
def test_an_applications_fields_are_checked_alike(codec: Any, fields: list[tuple[str, str]], bare: bool) -> None:
    assert outcome(codec.answer_lines, fields, bare) == outcome(lines.answer_lines, fields, bare)


@pytest.mark.parametrize(
    "fields",
    [[("A", 1)], [(b"A", b"b")], [["A", "b"]], [("A",)], [("A", "b", "c")], (("A", "b"),), [None], ["ab"], [7]],
)
def test_fields_that_are_none_are_refused_or_taken_alike(codec: Any, fields: Any) -> None:
    def kind(check: Callable[[Any], Any]) -> Any:
        try:
            return check(fields)
        except Exception as error:  # noqa: BLE001 - its type is the outcome
            return type(error)

    assert kind(codec.answer_lines) == kind(lines.answer_lines)
    assert kind(lambda some: codec.forwardable_lines(some, "")) == kind(lambda some: lines.forwardable_lines(some, ""))


@pytest.mark.parametrize("size", [65_000, 66_000, 200_000])
def test_lines_of_any_length_are_put_together_alike(codec: Any, size: int) -> None:
    fields = [("X-Long", "x" * size), ("Accept", "*/*")]
    assert codec.answer_lines(fields) == lines.answer_lines(fields)
    assert codec.forwardable_lines(fields, "") == lines.forwardable_lines(fields, "")


def test_the_door_gives_the_codec_where_there_is_one(codec: Any) -> None:
    assert parser.CODEC == "compiled"
    assert parser.parse_request is codec.parse_request


def test_threads_that_parse_at_once_do_not_mix_their_lines(codec: Any) -> None:
    """Unknown names make the codec ask Python, where another thread may take its turn."""

    def mixed(number: int) -> list[str]:
        fields = [(f"X-Unknown-{number}-{index}", f"{number}") for index in range(20)]
        want = "".join(f"{name}: {value}\r\n" for name, value in fields)
        data = f"GET / HTTP/1.1\r\nHost: a\r\n{want}\r\n".encode()
        found = []
        for _ in range(300):
            found += [codec.forwardable_lines(fields, ""), codec.parse_request(data).lines]
        return [lines for lines in found if lines != want]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(mixed, range(4))) == [[]] * 4
    finally:
        sys.setswitchinterval(interval)
