r"""One policy for paths, the same for every host server: what is matched, and what is sent on.

* Matching looks at the percent-decoded path, in which repeated slashes count as one. ``%2F`` stays ``%2F`` and never
  equals ``/``; ``%5C`` and ``;`` are ordinary characters. Escapes are decoded once, into bytes: ``%252F`` is ``%2F``,
  no slash; an overlong spelling in UTF-8 (``%C0%AF``) is what its bytes are, never the character that it imitates.
* ``.`` and ``..`` elements, plain or escaped, are resolved before matching (RFC 3986 5.2.4), never above the root, and
  then the resolved path is what is sent on: no backend may resolve it another way. Any other path is sent on raw.
  An element that only contains dots (``..;``, ``..%2F``, ``..%5C``) is a name like any other: a backend that takes it
  for a dot segment (Tomcat, IIS) needs a rule of its own.
* ``%00`` and escapes that are none are refused with 400. (A raw ``\`` or control character no parser lets through.)
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(r"%(?:00|(?![0-9A-Fa-f]{2}))")
_SLASH = re.compile(r"%2[Ff]")
_SLASHES = re.compile(r"//+")


class NormalPath:
    """``raw`` is what is sent on, ``text`` what is matched: decoded, as latin-1 text."""

    __slots__ = ("raw", "text")

    def __init__(self, raw: str, text: str) -> None:
        self.raw = raw
        self.text = text

    def __repr__(self) -> str:
        return f"<NormalPath {self.raw} as {self.text}>"


def normalize_path(raw: str) -> NormalPath | None:
    """A raw path (it begins with ``/``, or is ``*``) by the policy above; None where it is refused."""
    if "%" not in raw and "//" not in raw and "/." not in raw:
        return NormalPath(raw, raw if raw != "*" else "/")
    if _BAD_ESCAPE.search(raw) is not None:
        return None
    if "/." in raw or "/%2" in raw:
        raw = _resolve_dots(raw)
    text = raw
    if "%" in text:
        text = unquote_to_bytes(_SLASH.sub("%252F", text).encode("latin-1")).decode("latin-1")
    return NormalPath(raw, _SLASHES.sub("/", text))


def strip(raw: str, elements: int) -> tuple[str, str]:
    """Take so many leading elements off a raw path: what was taken, and the rest.

    Both keep the raw spelling but begin with one ``/``: ``//host`` would be read as an authority.
    """
    position = 0
    for _ in range(elements):
        while raw.startswith("//", position):
            position += 1
        position = raw.find("/", position + 1)
        if position < 0:
            return "/" + raw.strip("/"), "/"
    return "/" + raw[:position].lstrip("/") if elements else "", "/" + raw[position:].lstrip("/")


def _resolve_dots(raw: str) -> str:
    kept: list[str] = []
    elements = raw.split("/")[1:]
    last = ""
    for element in elements:
        last = element.replace("%2e", ".").replace("%2E", ".")
        if last == "..":
            if kept:
                kept.pop()
        elif last != ".":
            kept.append(element)
    if last in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
