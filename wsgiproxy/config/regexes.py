"""Regular expressions that one request could keep busy for ever are refused when the file is read.

Python's ``re`` tries every way to split a text between a repeat and the repeat around it: ``(a+)+b`` needs 2**n steps
for n letters. A possessive inner repeat (``(?:a++)+``) or an atomic group leaves one way only. What is refused is the
shape: a repeat of varying length, not possessive, within something that is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any


def check_repeats(text: str) -> None:
    """``ValueError`` for a regular expression in which a varying repeat is repeated; ``re.error`` for none at all."""
    if _repeats_a_repeat(_parser.parse(text), repeated=False):
        raise ValueError(
            "repeats what is itself a repeat of varying length: one request could keep the proxy busy for ever; "
            'make the inner repeat possessive, as in "(?:[a-z]++/)*"'
        )


def _repeats_a_repeat(parts: Iterable[tuple[Any, Any]], repeated: bool) -> bool:
    """Whether any of the parts of an expression does; ``repeated`` is whether a repeat stands around them."""
    return any(_part_repeats(code, argument, repeated) for code, argument in parts)


def _part_repeats(code: Any, argument: Any, repeated: bool) -> bool:
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, inner = argument
        if repeated and most > 1 and most != least:
            return True
        return _repeats_a_repeat(inner, repeated or most > 1)
    if code is codes.POSSESSIVE_REPEAT:
        return _repeats_a_repeat(argument[2], repeated=False)
    if code is codes.ATOMIC_GROUP:
        return _repeats_a_repeat(argument, repeated=False)
    if code is codes.SUBPATTERN:
        return _repeats_a_repeat(argument[3], repeated)
    if code is codes.BRANCH:
        return any(_repeats_a_repeat(branch, repeated) for branch in argument[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _repeats_a_repeat(argument[1], repeated)
    if code is codes.GROUPREF_EXISTS:
        return any(_repeats_a_repeat(branch, repeated) for branch in argument[1:] if branch)
    return False
