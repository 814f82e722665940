"""Cookies in the text of header fields (RFC 6265), as far as somebody who passes them on must understand them.

The rule of the room: what is not looked for stays as it is, well-formed or not.
"""

from __future__ import annotations

from wsgiproxy.http1.message import Fields


def cookie(header: str, name: str) -> str:
    """The value of a cookie, as it stands in the header (RFC 6265 4.2); empty where there is none."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip(" \t") == name:
            return value.strip(" \t")
    return ""


def without_cookie(lines: str, name: str) -> str:
    """A request's fields, as lines, less the cookies of that name; a Cookie field that is empty then is left out."""
    kept = []
    for line in lines.split("\r\n")[:-1]:
        if line[:7].lower() == "cookie:":
            pairs = line[7:].split(";")
            others = [pair for pair in pairs if pair.partition("=")[0].strip(" \t") != name]
            if len(others) < len(pairs):
                if others:
                    kept.append(f"{line[:7]} {';'.join(others).strip()}")
                continue
        kept.append(line)
    return "\r\n".join([*kept, ""])


def cookies_set(fields: Fields, name: str) -> list[str]:
    """The values that an answer gives a cookie (RFC 6265 4.1), as the client will send them."""
    values = []
    for key, text in fields:
        if key.lower() == "set-cookie":
            found, _, value = text.partition(";")[0].partition("=")
            if found.strip(" \t") == name and value.strip(" \t"):
                values.append(value.strip(" \t"))
    return values
