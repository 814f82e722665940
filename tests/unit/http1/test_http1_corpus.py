"""Every case of the corpus through the grammar alone: whole, byte by byte, and split anywhere."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.cases import (
    RequestCase,
    ResponseCase,
    field_lines,
    of_names,
    request_cases,
    response_cases,
    unescape,
)
from tests.corpus.reading import at, in_bytes, read_answer, read_requests
from wsgiproxy.errors import BackendProtocolError, TruncatedBodyError

REQUESTS = request_cases()
RESPONSES = response_cases()
LARGE = 16 * 1024  # bytes: a case of more is not fed byte by byte
EACH = {"requests/valid": 100, "requests/invalid": 150, "responses/valid": 30, "responses/invalid": 50}


def test_the_corpus_has_its_size() -> None:
    counted = Counter(case.name.rpartition("/")[0] for case in (*REQUESTS, *RESPONSES))
    assert counted.keys() == EACH.keys()
    assert all(counted[kind] >= least for kind, least in EACH.items()), counted


def test_no_two_cases_are_the_same() -> None:
    requests = Counter((case.data, case.ends) for case in REQUESTS)
    responses = Counter((case.data, case.closes, case.method, case.version) for case in RESPONSES)
    assert [key for key, count in {**requests, **responses}.items() if count > 1] == []


def test_the_folders_tell_good_from_bad() -> None:
    assert all(case.good == case.name.startswith("requests/valid/") for case in REQUESTS)
    assert all(case.good or case.cut or case.status == 502 for case in RESPONSES)


@pytest.mark.parametrize("case", REQUESTS, ids=[case.name for case in REQUESTS])
def test_a_request_case_is_read_as_it_says(case: RequestCase) -> None:
    found = read_requests([case.data])
    expected = list(case.requests)
    if case.refused_by == "proxy":
        assert found.error is None
        assert len(found.requests) == len(expected) + 1
        found.requests.pop()
    else:
        assert (found.error.status if found.error else None) == (case.status or None)
        assert found.partial == (case.status == 0)
    assert len(found.requests) == len(expected)
    for request, seen in zip(found.requests, expected, strict=True):
        head = request.head
        assert (head.method, head.host) == (seen.method, seen.host)
        assert head.target.encode() == unescape(seen.raw or seen.target, case.fill)
        assert head.framing.chunked == (seen.framing == "chunked")
        assert request.body == unescape(seen.body, case.fill)
        wanted = [field for field in field_lines(seen.fields, case.fill) if field[0] in sent_names(case)]
        assert of_names(head.fields, wanted) == wanted


def sent_names(case: RequestCase) -> set[str]:
    """The names of the fields that the proxy passes on as they came; the others it makes itself."""
    lines = case.data.decode("latin-1").lower().split("\r\n")
    return {line.partition(":")[0] for line in lines if not line.startswith("x-forwarded-")}


@pytest.mark.parametrize("case", RESPONSES, ids=[case.name for case in RESPONSES])
def test_a_response_case_is_read_as_it_says(case: ResponseCase) -> None:
    found = read_answer([case.data], case.method)
    if case.cut:
        assert isinstance(found.error, BackendProtocolError | TruncatedBodyError)
        assert found.head is not None
    elif not case.good:
        assert isinstance(found.error, BackendProtocolError | TruncatedBodyError)
        assert found.head is None
    else:
        assert found.error is None
        assert found.head is not None
        assert found.head.status == case.status
        assert found.body == unescape(case.body, case.fill)
        if case.reused is not None:
            assert (found.head.keep_alive and not found.leftover) == case.reused


@pytest.mark.parametrize("case", REQUESTS, ids=[case.name for case in REQUESTS])
def test_a_request_case_is_the_same_byte_by_byte(case: RequestCase) -> None:
    if len(case.data) <= LARGE:
        bytewise, whole = read_requests(in_bytes(case.data)), read_requests([case.data])
        assert bytewise.summary() == whole.summary()
        assert (bytewise.error and bytewise.error.status) == (whole.error and whole.error.status)


@pytest.mark.parametrize("case", RESPONSES, ids=[case.name for case in RESPONSES])
def test_a_response_case_is_the_same_byte_by_byte(case: ResponseCase) -> None:
    if len(case.data) <= LARGE:
        whole = read_answer([case.data], case.method)
        assert read_answer(in_bytes(case.data), case.method).summary() == whole.summary()


@settings(max_examples=400, deadline=None)
@given(case=st.sampled_from(REQUESTS), cuts=st.lists(st.integers(0, 2**16), max_size=6))
def test_a_request_case_is_the_same_however_it_is_split(case: RequestCase, cuts: list[int]) -> None:
    assert read_requests(at(case.data, cuts)).summary() == read_requests([case.data]).summary()


@settings(max_examples=400, deadline=None)
@given(case=st.sampled_from(RESPONSES), cuts=st.lists(st.integers(0, 2**16), max_size=6))
def test_a_response_case_is_the_same_however_it_is_split(case: ResponseCase, cuts: list[int]) -> None:
    whole = read_answer([case.data], case.method)
    assert read_answer(at(case.data, cuts), case.method).summary() == whole.summary()
