"""Whole header sections as lines: what of a request goes on to a backend, and what of an answer to a client.

The pure form of what ``_codec`` does in one pass; ``parser`` gives whichever is in use.
"""

from __future__ import annotations

from collections.abc import Collection

from wsgiproxy.http1.headers import END_TO_END_ANSWER, HOP_BY_HOP, forwardable
from wsgiproxy.http1.message import Fields
from wsgiproxy.http1.writer import checked_field_lines, field_lines


def forwardable_lines(fields: Fields, connection: str, relied_on: Collection[str] = ()) -> str:
    """The lines of a parsed request's fields that go on as they are; see ``headers.forwardable``."""
    return field_lines(forwardable(fields, connection, relied_on))


def answer_lines(fields: Fields, bare: bool = False) -> tuple[str, str | None, bool]:
    """The lines of an application's answer, less what belongs to one hop; its length; whether it is dated.

    The first Content-Length counts, its value unchecked, and is the only one to stay; a ``bare`` answer, which must not
    have one, loses it. ``ValueError`` for a field that is not legal, ``TypeError`` for one that
    is no pair of texts.
    """
    length: str | None = None
    dated = False
    kept: Fields = []
    for field in fields:
        if field[0] in END_TO_END_ANSWER:
            kept.append(field)
            continue
        name = field[0].lower()
        if name == "content-length":
            if length is None and not bare:
                length = field[1]
                kept.append(field)
        elif name not in HOP_BY_HOP:
            dated = dated or name == "date"
            kept.append(field)
    return checked_field_lines(kept), length, dated


def is_plain(text: str) -> bool:
    """Whether a text may stand between double quotes as it is: printable ASCII, neither quote nor backslash."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
