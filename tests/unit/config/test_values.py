"""Readers of texts: each value that is taken, and the words for each that is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.config import kinds, values


def problem(read: values.Reader, text: str) -> str:
    with pytest.raises(ValueError) as refusal:
        read(text)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("250ms", 0.25),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1h0.5s", 3600.5),
        ("1.5s", 1.5),
        ("5", 5.0),
        ("0", 0.0),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1e2", 100.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert values.read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 s", "5sec", "30s1m", "5s5s", "five", ".inf", "nan", "1_0", "٣s", "5s\n"])
def test_a_bad_duration_says_what_is_expected(text: str) -> None:
    expected = "expected a duration such as 5s, 250ms, 1m30s, 2h or a plain number of seconds, got "
    assert problem(values.read_duration, text) == expected + values.quote(text)


def test_a_duration_is_neither_negative_nor_endless() -> None:
    assert problem(values.read_duration, "-5s") == 'a duration must not be negative, got "-5s"'
    assert problem(values.read_duration, "367d") == 'a duration must be at most 366d, got "367d"'
    assert problem(values.read_duration, "1e99") == 'a duration must be at most 366d, got "1e99"'


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("1B", 1), ("8kB", 8000), ("8MB", 8 * 10**6), ("32KiB", 32768), ("1GiB", 2**30)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert values.read_size(text) == size


@pytest.mark.parametrize("text", ["", "8k", "8 MB", "1.5MiB", "MB", "1e3", "9" * 19])
def test_a_bad_size_says_what_is_expected(text: str) -> None:
    expected = "expected a size such as 32KiB, 8MB, 1GiB or a plain number of bytes, got "
    assert problem(values.read_size, text) == expected + values.quote(text)
    assert problem(values.read_size, "-1") == 'a size must not be negative, got "-1"'


@given(st.text(alphabet="0123456789.dhmskKMGTiB", max_size=12))
def test_the_patterns_for_editors_take_all_that_the_readers_take(text: str) -> None:
    for read, pattern in (
        (values.read_duration, kinds.DURATION_PATTERN),
        (values.read_size, kinds.SIZE_PATTERN),
    ):
        try:
            read(text)
        except ValueError:
            continue
        if not text.endswith("."):
            assert re.search(pattern, text)


@pytest.mark.parametrize(("text", "span"), [("200", (200, 200)), ("200-399", (200, 399)), ("404-404", (404, 404))])
def test_a_status_range_has_a_lowest_and_a_highest_status(text: str, span: tuple[int, int]) -> None:
    assert values.parse_status_range(text) == span


@pytest.mark.parametrize("text", ["", "20", "600", "099", "399-200", "200-", "2xx", "200-399-400", "200 - 399"])
def test_a_bad_status_range_says_what_is_expected(text: str) -> None:
    expected = f'expected a status such as "200" or a range such as "200-399", got "{text}"'
    assert problem(values.read_status_range, text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("client", ("client", "")),
        ("path", ("path", "")),
        ("header:X-User", ("header", "x-user")),
        ("cookie:SessionId", ("cookie", "SessionId")),
        ("query:user id", ("query", "user id")),
    ],
)
def test_a_hash_goes_by_one_part_of_a_request(text: str, parts: tuple[str, str]) -> None:
    assert values.parse_hash_on(text) == parts
    assert values.read_hash_on(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'expected client, path, header:NAME, cookie:NAME or query:NAME, got ""'),
        ("ip", 'expected client, path, header:NAME, cookie:NAME or query:NAME, got "ip"'),
        ("client:x", 'expected client, path, header:NAME, cookie:NAME or query:NAME, got "client:x"'),
        ("header", 'needs a name, as in "header:NAME", got "header"'),
        ("query:", 'needs a name, as in "query:NAME", got "query:"'),
        ("header:X User", """"X User" is not a header name: only letters, digits and !#$%&'*+-.^_`|~"""),
        ("cookie:a=b", """"a=b" is not a cookie name: only letters, digits and !#$%&'*+-.^_`|~"""),
    ],
)
def test_a_hash_goes_by_nothing_else(text: str, words: str) -> None:
    assert problem(values.read_hash_on, text) == words


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "yes", "on", "On"])
def test_every_yaml_spelling_of_true_is_true(text: str) -> None:
    assert values.read_flag(text) is True


@pytest.mark.parametrize("text", ["false", "no", "off", "OFF"])
def test_every_yaml_spelling_of_false_is_false(text: str) -> None:
    assert values.read_flag(text) is False


@pytest.mark.parametrize("text", ["010", "0x10", "1_000", "1.0", "", "1e3", "٣", "9" * 30])
def test_only_plain_decimals_are_whole_numbers(text: str) -> None:
    assert problem(values.read_whole_number, text) == f"expected a whole number, got {values.quote(text)}"
    assert values.read_whole_number("-12") == -12


@pytest.mark.parametrize("text", [".inf", "nan", "1,5", "", "1e999", "."])
def test_only_finite_decimals_are_numbers(text: str) -> None:
    assert problem(values.read_number, text) == f'expected a number, got "{text}"'


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Shop.Example.org", "shop.example.org"),
        ("*.Example.org", "*.example.org"),
        ("*.web1", "*.web1"),
        ("127.0.0.1", "127.0.0.1"),
        ("[0::1]", "[::1]"),
    ],
)
def test_a_host_pattern_is_lower_case(text: str, pattern: str) -> None:
    assert values.read_host_pattern(text) == pattern


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*", '"*" is not a host; leave the host out to match every one'),
        ("a.*", '"*" may only stand for whole names at the front, as in "*.example.org", got "a.*"'),
        ("*a.b", '"*" may only stand for whole names at the front, as in "*.example.org", got "*a.b"'),
        ("*.*.b", '"*" may only stand for whole names at the front, as in "*.example.org", got "*.*.b"'),
        ("*.127.0.0.1", 'there are no names below an IP address, got "*.127.0.0.1"'),
        ("*.[::1]", 'there are no names below an IP address, got "*.[::1]"'),
        ("a.example:80", 'must not have a port, got "a.example:80"'),
        ("[::1]:80", 'must not have a port, got "[::1]:80"'),
        ("*.a.example:80", 'must not have a port, got "a.example:80"'),
        ("http://a", '"http://a" is not a host name or an IP address'),
        ("::1", '"::1" is not a host name or an IP address'),
    ],
)
def test_a_bad_host_pattern_is_refused(text: str, words: str) -> None:
    assert problem(values.read_host_pattern, text) == words


def test_a_method_is_a_token_in_upper_case() -> None:
    assert values.read_method("M-SEARCH") == "M-SEARCH"
    assert problem(values.read_method, "get") == 'methods are in upper case: "GET", got "get"'
    assert problem(values.read_method, "GET /") == '"GET /" is not a method'


def test_header_names_and_values_cannot_break_out_of_their_line() -> None:
    assert values.read_header_name("X-Beta") == "X-Beta"
    assert values.read_header_value(" a\tb é ") == "a\tb é"
    for name in ("", "a b", "a:", "a\n", "é"):
        assert "is not a header name" in problem(values.read_header_name, name)
    for value in ("a\nb", "a\rb", "a\0b", "a\x7fb", "a\u2028b", "a\n"):
        assert "is not a header value" in problem(values.read_header_value, value)


def test_a_path_starts_with_a_slash_and_a_target_is_ready_for_the_wire() -> None:
    assert values.read_path("/é x") == "/é x"
    assert values.read_target("/a?b=%20") == "/a?b=%20"
    assert problem(values.read_path, "api") == 'must start with "/", got "api"'
    assert problem(values.read_target, "api") == 'must start with "/", got "api"'
    for target in ("/a b", "/a\n", "/é", "/a#b"):
        assert "percent-encode them" in problem(values.read_target, target)


def test_a_regular_expression_must_compile_and_be_short() -> None:
    assert values.read_regex("/v[0-9]+/.*") == "/v[0-9]+/.*"
    assert problem(values.read_regex, "(a") == (
        'bad regular expression "(a": missing ), unterminated subpattern at position 0'
    )
    assert problem(values.read_regex, "a" * 1001) == "a regular expression must have at most 1000 characters, got 1001"
    assert "bad regular expression" in problem(values.read_regex, "(" * 500)
    assert "bad regular expression" in problem(values.read_regex, "a{99999999999}")


def test_a_name_fits_on_a_line() -> None:
    assert values.read_name("shop api") == "shop api"
    for name in ("", " a", "a ", "a\nb", "a\x1b[0m"):
        assert "is not a name" in problem(values.read_name, name)


def test_an_unknown_word_is_answered_with_the_one_meant_or_with_all() -> None:
    names = ["address", "weight"]
    assert values.unknown("key", "wieght", names, "the keys are") == 'unknown key "wieght", did you mean "weight"?'
    assert values.unknown("key", "x", names, "the keys are") == 'unknown key "x"; the keys are address, weight'
    many = [f"pool{number}" for number in range(25)]
    assert values.unknown("pool", "x", many, "the pools are").endswith("pool18, pool19, ...")


def test_a_long_or_wild_text_is_quoted_on_one_short_line() -> None:
    assert values.quote('a"b\n') == '"a\\"b\\n"'
    assert values.quote("x" * 100) == '"' + "x" * 60 + '..."'


def test_a_text_with_a_nul_is_refused() -> None:
    assert problem(values.read_text, "a\0b") == "must not hold a NUL character"


@pytest.mark.parametrize("text", ["edge", "edge-1.example.org", "a+b"])
def test_a_name_for_via_is_a_token(text: str) -> None:
    assert values.read_pseudonym(text) == text


@pytest.mark.parametrize("text", ["", "edge 1", "edge,1", "edge(1)", "edge:80", "caf\xe9"])
def test_what_would_break_via_is_no_name_for_it(text: str) -> None:
    expected = f"{values.quote(text)} is not a name for Via: only letters, digits and !#$%&'*+-.^_`|~"
    assert problem(values.read_pseudonym, text) == expected


def test_a_word_of_http_is_in_lower_case() -> None:
    assert values.read_token("WebSocket") == "websocket"
    expected = '"web socket" is not a word of HTTP: only letters, digits and !#$%&\'*+-.^_`|~'
    assert problem(values.read_token, "web socket") == expected
