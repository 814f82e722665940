"""Names of header fields: which are legal, which belong to one hop, which CGI calls what.

The rule of the room: facts about single fields, as pure functions over latin-1 text. Where a message ends is
``http1.framing``'s business, and what a proxy adds to a request is ``proxy.request``'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsgiproxy.http1.message import Fields

# RFC 9110 7.6.1, and what older specifications and clients treat as belonging to one connection only.
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "trailers", "transfer-encoding", "upgrade",
})  # fmt: skip

# Fields that a Connection field must not take away from the next hop: routing, framing or identity stand on them
# (the class of CVE-2022-31813 and CVE-2024-45410). Names beginning with x-forwarded- count as well.
NEVER_NOMINATED = frozenset({
    "authorization", "cache-control", "content-encoding", "content-length", "content-type", "cookie", "date",
    "forwarded", "host", "location", "origin", "range", "set-cookie", "via", "www-authenticate", "x-real-ip",
})  # fmt: skip

_FORWARDED_PREFIX = "x-forwarded-"

# Never sent on as the client sent them: one hop's own, decided anew by us (Host, Content-Length, Expect), believed only
# from trusted proxies (Forwarded, X-Real-IP).
_NOT_FORWARDED = HOP_BY_HOP | {"content-length", "expect", "forwarded", "host", "http2-settings", "x-real-ip"}

# Spelled as browsers and common clients spell them: a set look-up settles most fields without lower-casing the name.
_COMMON = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control",
    "Content-Encoding", "Content-Type", "Cookie", "DNT", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
    "Origin", "Pragma", "Priority", "Range", "Referer", "Sec-CH-UA", "Sec-CH-UA-Mobile", "Sec-CH-UA-Platform",
    "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-GPC", "Upgrade-Insecure-Requests",
    "User-Agent", "X-CSRF-Token", "X-Request-ID", "X-Requested-With",
)  # fmt: skip
_PLAIN = frozenset(_COMMON) | frozenset(name.lower() for name in _COMMON)


# The same for answers; Content-Length and Date are not among them, for somebody always wants to know of those.
_COMMON_ANSWER = (
    "Accept-Ranges", "Access-Control-Allow-Origin", "Age", "Allow", "Alt-Svc", "Cache-Control", "Content-Disposition",
    "Content-Encoding", "Content-Language", "Content-Range", "Content-Security-Policy", "Content-Type",
    "Cross-Origin-Opener-Policy", "ETag", "Expires", "Last-Modified", "Link", "Location", "Pragma", "Referrer-Policy",
    "Retry-After", "Server", "Set-Cookie", "Strict-Transport-Security", "Vary", "WWW-Authenticate",
    "X-Content-Type-Options", "X-Frame-Options", "X-Powered-By", "X-Request-ID", "X-XSS-Protection",
)  # fmt: skip
END_TO_END_ANSWER = frozenset(_COMMON_ANSWER) | frozenset(name.lower() for name in _COMMON_ANSWER)

UNFIT = ""  # stands in an environ for all names that are unfit for one, see ``is_unfit``


def is_unfit(name: str) -> bool:
    """Whether CGI would take a field for another one: for its underscore, or as HTTP_PROXY (httpoxy, CVE-2016-5385)."""
    return "_" in name or name.lower() == "proxy"


def _environ_key(name: str) -> str:
    if is_unfit(name):
        return UNFIT
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


_OWN_HOP = ("Connection", "Content-Length", "Expect", "Host", "TE", "Transfer-Encoding", "Upgrade", "X-Forwarded-For")
_ENVIRON_KEYS = {
    spelling: _environ_key(name) for name in (*_COMMON, *_OWN_HOP) for spelling in (name, name.lower(), name.title())
}


def environ_of(fields: Fields) -> dict[str, str]:
    """The fields as PEP 3333 has them: ``HTTP_*``, ``CONTENT_TYPE``, ``CONTENT_LENGTH``; repeated ones joined.

    Cookies join with ``; `` (RFC 6265 5.4), the rest with ``,`` (RFC 9110 5.3). Unfit names leave no more than a
    key ``UNFIT``.
    """
    environ: dict[str, str] = {}
    keys = _ENVIRON_KEYS
    for name, value in fields:
        key = keys.get(name) or _environ_key(name)
        if key in environ:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        else:
            environ[key] = value
    return environ


def tokens(value: str) -> list[str]:
    """A comma-separated list of tokens, lower-cased, empty elements left out (RFC 9110 5.6.1)."""
    return [token for part in value.lower().split(",") if (token := part.strip(" \t"))]


def nominated(connection: str) -> frozenset[str]:
    """The field names that a Connection field takes off, less those that it must not."""
    names = (name for name in tokens(connection) if name not in NEVER_NOMINATED)
    return frozenset(name for name in names if not name.startswith(_FORWARDED_PREFIX))


def forwardable(fields: Fields, connection: str = "") -> Fields:
    """A request's fields that go to the backend as they are; the rest is dropped or decided anew by the proxy."""
    plain = _PLAIN
    kept = [field for field in fields if field[0] in plain or _is_forwardable(field[0])]
    if connection and connection.lower() not in ("keep-alive", "close"):
        taken = nominated(connection)
        kept = [field for field in kept if field[0].lower() not in taken]
    return kept


def _is_forwardable(name: str) -> bool:
    lower = name.lower()
    return lower not in _NOT_FORWARDED and not lower.startswith(_FORWARDED_PREFIX)


def without(fields: Iterable[tuple[str, str]], names: frozenset[str]) -> Fields:
    """The fields less those with the given lower-case names."""
    return [field for field in fields if field[0].lower() not in names]
