"""Cookies in the text of header fields."""

from __future__ import annotations

import pytest

from wsgiproxy.proxy.cookies import cookie, cookies_set, without_cookie

COOKIES = "a=1; session=abc ;b=x=y; session=other; =nothing; lone"


@pytest.mark.parametrize(
    ("name", "value"), [("a", "1"), ("session", "abc"), ("b", "x=y"), ("lone", ""), ("c", ""), ("SESSION", "")]
)
def test_the_first_cookie_of_a_name_counts(name: str, value: str) -> None:
    assert cookie(COOKIES, name) == value


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("", ""),
        ("A: 1\r\n", "A: 1\r\n"),
        ("Cookie: c=1\r\n", ""),
        ("A: 1\r\nCookie: c=1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n"),
        ("cookie: c=1; a=2\r\n", "cookie: a=2\r\n"),
        ("Cookie: a=2; c=1\r\n", "Cookie: a=2\r\n"),
        ("Cookie: a=2; c=1;b=3\r\n", "Cookie: a=2;b=3\r\n"),
        ("COOKIE: c=1; c=2 ; C=3; cc=4\r\n", "COOKIE: C=3; cc=4\r\n"),
        ("Cookie: a=1\r\nCookie: c=1\r\nCookie: b=2; c\r\n", "Cookie: a=1\r\nCookie: b=2\r\n"),
        ("Cookie:   odd ;; text\r\nCookies: c=1\r\n", "Cookie:   odd ;; text\r\nCookies: c=1\r\n"),
    ],
)
def test_one_cookie_is_taken_out_and_the_rest_stays_as_it_is(lines: str, left: str) -> None:
    assert without_cookie(lines, "c") == left


def test_what_an_answer_gives_a_cookie_is_what_comes_back() -> None:
    fields = [
        ("Set-Cookie", "sid=abc; Path=/; HttpOnly"),
        ("set-cookie", 'sid = "d=e" '),
        ("Set-Cookie", "sid=; Max-Age=0"),
        ("Set-Cookie", "other=1; sid=2"),
        ("Set-Cookie", "sid"),
        ("Cookie", "sid=3"),
    ]
    assert cookies_set(fields, "sid") == ["abc", '"d=e"']
