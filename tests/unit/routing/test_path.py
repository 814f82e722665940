"""The policy for paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.routing.path import normalize_path, strip


@pytest.mark.parametrize(
    ("raw", "text", "sent"),
    [
        ("/", "/", "/"),
        ("/a/b", "/a/b", "/a/b"),
        ("/a%70i", "/api", "/a%70i"),
        ("/a%2fb", "/a%2Fb", "/a%2fb"),
        ("/a%2Fb", "/a%2Fb", "/a%2Fb"),
        ("/a%5Cb", "/a\\b", "/a%5Cb"),
        ("/a;v=1/b", "/a;v=1/b", "/a;v=1/b"),
        ("/..;/a", "/..;/a", "/..;/a"),
        ("//a///b", "/a/b", "//a///b"),
        ("/a/./b", "/a/b", "/a/b"),
        ("/a/../b", "/b", "/b"),
        ("/a/%2e%2E/b", "/b", "/b"),
        ("/a/.%2e/b", "/b", "/b"),
        ("/../../a", "/a", "/a"),
        ("/a/b/..", "/a/", "/a/"),
        ("/a/.", "/a/", "/a/"),
        ("/a/..%2fb", "/a/..%2Fb", "/a/..%2fb"),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/a%252e", "/a%2e", "/a%252e"),
        ("/%252e%252e/a", "/%2e%2e/a", "/%252e%252e/a"),
        ("/a%252Fb", "/a%2Fb", "/a%252Fb"),
        ("/a/..%5Cb", "/a/..\\b", "/a/..%5Cb"),
        ("/a/%2e%2e;/b", "/a/..;/b", "/a/%2e%2e;/b"),
        ("/;/a", "/;/a", "/;/a"),
        ("/%c0%ae%c0%ae/a", "/\xc0\xae\xc0\xae/a", "/%c0%ae%c0%ae/a"),
        ("/a%C0%AFb", "/a\xc0\xafb", "/a%C0%AFb"),
        ("/a%e0%80%afb", "/a\xe0\x80\xafb", "/a%e0%80%afb"),
        ("/...", "/...", "/..."),
        ("/a//../b", "/a/b", "/a/b"),
        ("/a/%2e./%2E/b/", "/b/", "/b/"),
        ("/..", "/", "/"),
        ("/%2e", "/", "/"),
    ],
)
def test_what_is_matched_is_what_is_sent(raw: str, text: str, sent: str) -> None:
    normal = normalize_path(raw)
    assert normal is not None
    assert (normal.text, normal.raw) == (text, sent)


@pytest.mark.parametrize(
    "raw", ["/%00", "/a%00b", "/%00/..", "/a%0", "/%", "/%zz", "/a/%g1/..", "/%u002f", "/%%", "/%2", "/%+1"]
)
def test_a_path_with_a_nul_or_a_broken_escape_is_refused(raw: str) -> None:
    assert normalize_path(raw) is None


@given(st.text("/.%2eEfF5cabc0;", max_size=20).map("/".__add__))
def test_no_spelling_leaves_a_dot_segment_or_climbs_above_the_root(raw: str) -> None:
    normal = normalize_path(raw)
    if normal is not None:
        assert normal.raw.startswith("/")
        assert not {".", ".."} & set(normal.raw.lower().replace("%2e", ".").split("/"))
        assert "//" not in normal.text
        again = normalize_path(normal.raw)
        assert again is not None
        assert (again.raw, again.text) == (normal.raw, normal.text)


@pytest.mark.parametrize(
    ("raw", "elements", "parts"),
    [
        ("/api/x", 1, ("/api", "/x")),
        ("/api", 1, ("/api", "/")),
        ("/api/", 1, ("/api", "/")),
        ("/a%70i/x%20y", 1, ("/a%70i", "/x%20y")),
        ("/a/b/c", 2, ("/a/b", "/c")),
        ("/api//x//y", 1, ("/api", "/x//y")),
        ("/a%2Fb/c", 1, ("/a%2Fb", "/c")),
    ],
)
def test_the_matched_elements_are_taken_off_the_raw_path(raw: str, elements: int, parts: tuple[str, str]) -> None:
    assert strip(raw, elements) == parts


def test_a_byte_beyond_ascii_is_the_same_beside_an_escape_and_alone() -> None:
    alone, beside = normalize_path("/\xe9"), normalize_path("/\xe9%20")
    assert alone is not None
    assert beside is not None
    assert beside.text == f"{alone.text} "


@pytest.mark.parametrize("raw", ["//api/x", "/api//x", "///api"])
def test_a_prefix_that_is_taken_off_never_begins_with_two_slashes(raw: str) -> None:
    assert strip(raw, 1)[0] == "/api"
