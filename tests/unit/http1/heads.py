"""Request heads for the tests of the parser: made of lines, and one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from wsgiproxy.errors import ClientError
from wsgiproxy.http1.message import RequestHead
from wsgiproxy.http1.parser import parse_request


def parse(first: str, *lines: str, host: str = "Host: x") -> RequestHead:
    return parse_request(
        "".join(f"{line}\r\n" for line in (first, *filter(None, [host]), *lines, "")).encode("latin-1")
    )


def status_of(data: bytes, **limits: Any) -> int:
    with pytest.raises(ClientError) as caught:
        parse_request(data, **limits)
    return caught.value.status


def one_by_one(prefix: str, characters: Iterable[int], suffix: str) -> list[str]:
    return [f"{prefix}{chr(character)}{suffix}" for character in characters]
