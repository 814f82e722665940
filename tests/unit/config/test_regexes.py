"""Regular expressions that could run for ever, and those that cannot."""

from __future__ import annotations

import pytest

from wsgiproxy.config.regexes import check_repeats


@pytest.mark.parametrize(
    "text",
    ["/(a+)+b", "(.*a){20}", "(?:[a-z]+/)*x", "((a|b)*c)*", "(a{1,5})+", "(?:x(?=a*)b)+", "(?>(a+)+b)", "(a*?)*"],
)
def test_a_repeat_within_a_repeat_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="possessive"):
        check_repeats(text)


@pytest.mark.parametrize(
    "text",
    ["/v[0-9]+/users/[0-9]+", "/a.*", "(?:[a-z]++/)*+x", "(?:(?>[a-z]+)/)*", "(?:/v[0-9]+)?/x", "(a?b)*", "(ab){3}c*",
     "(a{3})+", "(?:a|b)+", "(x)?(?(1)a+|b+)"],
)  # fmt: skip
def test_any_other_is_taken(text: str) -> None:
    check_repeats(text)
