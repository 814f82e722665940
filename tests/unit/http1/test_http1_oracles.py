"""Our grammar beside llhttp (httptools) and h11: every disagreement is explained in a table here, or it fails.

``REFUSED`` says for each fault that an independent look finds (``tests.corpus.faults``) who lets it pass and why we do
not; it is enough that the request has one such fault. ``LIBERTIES`` says what we take, or read otherwise, and they do
not. llhttp and h11 are run with their default strictness.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import lack
from tests.corpus import strategies as made
from tests.corpus.cases import RequestCase, request_cases
from tests.corpus.faults import faults
from tests.corpus.reading import read_requests

MISSING = [name for name in ("httptools", "h11") if importlib.util.find_spec(name) is None]
REQUESTS = request_cases()
BOTH = frozenset({"llhttp", "h11"})
LLHTTP = frozenset({"llhttp"})
H11 = frozenset({"h11"})


class Refused(NamedTuple):
    """A fault that we refuse: who lets it pass, at least in some form, and why we are right."""

    oracles: frozenset[str]
    why: str


REFUSED: dict[str, Refused] = {
    "line end": Refused(BOTH, "RFC 9112 2.2 lets a recipient take a bare LF; whoever does not sees another message"),
    "empty lines": Refused(LLHTTP, "RFC 9112 2.2: one empty line before a request is to be ignored, not any number"),
    "request line": Refused(BOTH, "RFC 9112 3: llhttp takes several spaces, HTTP/0.9, RTSP and ICE; h11 waits"),
    "version": Refused(BOTH, "RFC 9112 2.3: another major version is not ours; llhttp takes 0.9 and 2.0, h11 any"),
    "method": Refused(BOTH, "CONNECT is for forward proxies; get is no GET; RFC 9110 9.3.8: TRACE has no content"),
    "target": Refused(BOTH, "RFC 9112 3.2: four forms, no fragment; neither of them looks closely"),
    "host": Refused(BOTH, "RFC 9112 3.2: once, legal, and that of the target; llhttp never looks, h11 only counts"),
    "fold": Refused(H11, "RFC 9112 5.2: obs-fold may be refused, and is read in two ways; h11 unfolds it"),
    "control character": Refused(H11, "RFC 9110 5.5: none but tabs; h11 lets all but NUL and white space pass"),
    "both": Refused(H11, "RFC 9112 6.1: may be refused, and smuggles; h11 believes Transfer-Encoding"),
    "coding": Refused(BOTH, "RFC 9112 6.1: chunked alone, and not in HTTP/1.0; llhttp takes lists that end so"),
    "length": Refused(BOTH, "RFC 9110 8.6: one number of 18 digits; llhttp bounds by 64 bits, h11 takes equal ones"),
    "chunk": Refused(BOTH, "RFC 9112 7.1: 15 digits, extensions by the grammar; h11 takes 20 and any extension"),
    "trailer": Refused(BOTH, "RFC 9112 7.1.2: held to the grammar of fields; h11 unfolds, both let them be many"),
    "size": Refused(BOTH, "RFC 9110 2.3: limits of length and number are ours to set; they have others, or none"),
}  # fmt: skip


class Liberty(NamedTuple):
    """Something that we take and an oracle does not, or reads otherwise."""

    oracle: str
    kinds: tuple[str, ...]
    applies: Callable[[bytes], object]  # to the request's bytes
    why: str


METHODS_OF_LLHTTP = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK QUERY".split()
)
WHITE_SPACE_IN_EXTENSION = re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]+;").search
FRAMING_IN_TRAILERS = re.compile(
    rb"\r\n0+(?:[ \t]*;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*?(?i:content-length|transfer-encoding|host|connection|upgrade):"
).search
LIBERTIES = (
    Liberty("llhttp", ("they refuse",), lambda raw: raw.split(b" ")[0].strip() not in METHODS_OF_LLHTTP,
            "RFC 9110 9.1: any token is a method; llhttp has a list"),
    Liberty("llhttp", ("they refuse",), re.compile(rb"(?i)\r\ntransfer-encoding:[ \t]*chunked *\t").search,
            "RFC 9110 5.6.3: OWS behind a value holds tabs too"),
    Liberty("llhttp", ("they refuse",), WHITE_SPACE_IN_EXTENSION,
            "RFC 9112 7.1.1: BWS before the semicolon is to be removed; extensions are dropped here"),
    Liberty("llhttp", ("they refuse", "body"), FRAMING_IN_TRAILERS,
            "RFC 9110 6.5.1: trailers never frame anything; llhttp runs them through the same checks as fields"),
    Liberty("llhttp", ("body", "we wait"), re.compile(rb"(?i)\r\nupgrade:").search,
            "RFC 9110 7.8: only a 101 ends HTTP; llhttp stops at the head of whatever asks for an upgrade"),
    Liberty("h11", ("they refuse",), lambda raw: raw.startswith(b"\r"),
            "RFC 9112 2.2: one empty line before a request is to be ignored; h11 refuses it"),
    Liberty("h11", ("they refuse",), WHITE_SPACE_IN_EXTENSION,
            "RFC 9112 7.1.1: BWS before the semicolon is to be removed; extensions are dropped here"),
    Liberty("h11", ("they refuse",), FRAMING_IN_TRAILERS,
            "RFC 9110 6.5.1: trailers never frame anything; h11 holds them to the rules of fields"),
    Liberty("h11", ("fields",), re.compile(rb"\r\n(?i:transfer-encoding):[ \t]*(?!chunked)(?i:chunked)").search,
            "RFC 9112 7: names of codings in any case; h11 writes them in lower case"),
)  # fmt: skip


def unexplained(data: bytes) -> list[str]:
    """The disagreements on these bytes that no row of the tables explains."""
    from tests.corpus.oracles import ORACLES, compare

    ours = read_requests([data])
    found = []
    for name, read in ORACLES:
        odd = compare(ours, read(data))
        if odd is None:
            continue
        if odd.kind == "we refuse":
            explained = any(name in REFUSED[fault].oracles for fault in faults(odd.raw) if fault in REFUSED)
        else:
            explained = any(row.oracle == name and odd.kind in row.kinds and row.applies(odd.raw) for row in LIBERTIES)
        if not explained:
            found.append(f"{name}: {odd.kind}: {odd.raw!r:.500}: {odd.ours!s:.300}, {odd.theirs!s:.300}")
    return found


@pytest.fixture(autouse=True, name="oracles")
def fixture_oracles() -> None:
    if MISSING:
        lack(f"this test needs {', '.join(MISSING)}")


@pytest.mark.parametrize("case", REQUESTS, ids=[case.name for case in REQUESTS])
def test_every_disagreement_on_a_case_is_explained(case: RequestCase) -> None:
    assert unexplained(case.data) == []


@settings(max_examples=700, deadline=None, derandomize=True)
@given(data=made.request_bytes())
def test_every_disagreement_on_a_changed_case_is_explained(data: bytes) -> None:
    assert unexplained(data) == []


@settings(max_examples=500, deadline=None, derandomize=True)
@given(data=made.request_like)
def test_every_disagreement_on_near_requests_is_explained(data: bytes) -> None:
    assert unexplained(data) == []


@settings(max_examples=500, deadline=None, derandomize=True)
@given(requests=st.lists(made.good_requests(), min_size=1, max_size=3))
def test_every_disagreement_on_good_requests_is_explained(requests: list[made.Made]) -> None:
    assert unexplained(b"".join(request.data for request in requests)) == []


@pytest.mark.parametrize("case", REQUESTS, ids=[case.name for case in REQUESTS])
def test_a_case_is_refused_by_the_grammar_where_an_independent_look_finds_a_fault(case: RequestCase) -> None:
    found = read_requests([case.data])
    assert [faults(request.raw) for request in found.requests] == [set()] * len(found.requests)
    assert found.error is None or faults(found.rest)


def test_every_row_of_the_tables_is_needed() -> None:
    from tests.corpus.oracles import ORACLES, compare

    used: set[object] = set()
    for case in REQUESTS:
        ours = read_requests([case.data])
        for name, read in ORACLES:
            odd = compare(ours, read(case.data))
            if odd is not None and odd.kind == "we refuse":
                used |= {fault for fault, row in REFUSED.items() if name in row.oracles} & faults(odd.raw)
            elif odd is not None:
                used |= {row.why for row in LIBERTIES if row.oracle == name and row.applies(odd.raw)}
    assert used == {*REFUSED, *(row.why for row in LIBERTIES)}
