"""Names of header fields: which are legal, which belong to one hop, which CGI calls what.

The rule of the room: facts about single fields, as pure functions over latin-1 text. Where a message ends is
``http1.framing``'s business, and what a proxy adds to a request is ``proxy.request``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from wsgiproxy.http1.message import Fields

# RFC 9110 7.6.1, and what older specifications and clients treat as belonging to one connection only.
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "trailers", "transfer-encoding", "upgrade",
})  # fmt: skip

# Fields that a Connection field must not take away from the next hop, in requests or in answers: routing, framing,
# identity or security stand on them (the class of CVE-2022-31813 and CVE-2024-45410), or they are meant for every
# recipient (RFC 9110 7.6.1).
NEVER_NOMINATED = frozenset({
    "age", "authorization", "cache-control", "client-cert", "client-cert-chain", "cookie", "date", "etag", "expires",
    "forwarded", "host", "last-modified", "location", "max-forwards", "origin", "pragma", "range", "referer",
    "remote-user", "retry-after", "set-cookie", "strict-transport-security", "vary", "via", "www-authenticate",
    "x-api-key", "x-csrf-token", "x-frame-options", "x-real-ip",
})  # fmt: skip

_FORWARDED_PREFIX = "x-forwarded"  # with anything behind it, or nothing
_NEVER_NOMINATED_PREFIXES = (_FORWARDED_PREFIX, "access-control-", "content-", "if-", "sec-", "x-auth-", "x-remote-")
_CGI_IDENTITY = ("remote-", "ssl-client-")  # what underscores could forge for a backend that reads CGI's names

# Never sent on as the client sent them: one hop's own, decided anew by us (Host, Content-Length, Expect), believed only
# from trusted proxies (Forwarded, X-Real-IP), or said by us alone (Client-Cert, RFC 9440).
_NOT_FORWARDED = HOP_BY_HOP | {
    "client-cert", "client-cert-chain", "content-length", "expect", "forwarded", "host", "http2-settings", "x-real-ip",
}  # fmt: skip

# What trailers must not say, for a recipient that merges them into the header section would act upon it too late or
# twice (RFC 9110 6.5.1): framing, routing, controls and conditions, authentication, cookies, control data of answers.
_NOT_IN_TRAILERS = _NOT_FORWARDED | NEVER_NOMINATED - {"etag"} | {
    "allow", "authentication-info", "clear-site-data", "proxy", "refresh", "warning",
}  # fmt: skip
_NOT_IN_TRAILERS_PREFIXES = (*_NEVER_NOMINATED_PREFIXES, "if-", "proxy-")
_MADE_FOR_TRAILERS = frozenset({"content-digest", "proxy-status"})  # RFC 9530 2, RFC 9209 2

# Spelled as browsers and common clients spell them: a set look-up settles most fields without lower-casing the name.
COMMON_REQUEST_NAMES = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control",
    "Content-Encoding", "Content-Type", "Cookie", "DNT", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
    "Origin", "Pragma", "Priority", "Range", "Referer", "Sec-CH-UA", "Sec-CH-UA-Mobile", "Sec-CH-UA-Platform",
    "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-GPC", "Upgrade-Insecure-Requests",
    "User-Agent", "X-CSRF-Token", "X-Request-ID", "X-Requested-With",
)  # fmt: skip
_PLAIN = frozenset(COMMON_REQUEST_NAMES) | frozenset(name.lower() for name in COMMON_REQUEST_NAMES)


# The same for answers; Content-Length and Date are not among them, for somebody always wants to know of those.
COMMON_ANSWER_NAMES = (
    "Accept-Ranges", "Access-Control-Allow-Origin", "Age", "Allow", "Alt-Svc", "Cache-Control", "Content-Disposition",
    "Content-Encoding", "Content-Language", "Content-Range", "Content-Security-Policy", "Content-Type",
    "Cross-Origin-Opener-Policy", "ETag", "Expires", "Last-Modified", "Link", "Location", "Pragma", "Referrer-Policy",
    "Retry-After", "Server", "Set-Cookie", "Strict-Transport-Security", "Vary", "WWW-Authenticate",
    "X-Content-Type-Options", "X-Frame-Options", "X-Powered-By", "X-Request-ID", "X-XSS-Protection",
)  # fmt: skip
END_TO_END_ANSWER = frozenset(COMMON_ANSWER_NAMES) | frozenset(name.lower() for name in COMMON_ANSWER_NAMES)

UNFIT = ""  # stands in an environ for all names that are unfit for one, see ``is_unfit``


def is_unfit(name: str, keep_underscores: bool = False) -> bool:
    """Whether CGI would take a field for another one: for its underscore, or as HTTP_PROXY (httpoxy, CVE-2016-5385)."""
    return ("_" in name and not keep_underscores) or name.lower() == "proxy"


def environ_key(name: str) -> str:
    """CGI's name for a field, ``UNFIT`` for a field that is unfit for an environ."""
    if is_unfit(name):
        return UNFIT
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


OWN_REQUEST_NAMES = (
    "Connection",
    "Content-Length",
    "Expect",
    "Host",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "X-Forwarded-For",
)
_ENVIRON_KEYS = {
    spelling: environ_key(name)
    for name in (*COMMON_REQUEST_NAMES, *OWN_REQUEST_NAMES)
    for spelling in (name, name.lower(), name.title())
}


def environ_of(fields: Fields) -> dict[str, str]:
    """The fields as PEP 3333 has them: ``HTTP_*``, ``CONTENT_TYPE``, ``CONTENT_LENGTH``; repeated ones joined.

    Cookies join with ``; `` (RFC 6265 5.4), the rest with ``,`` (RFC 9110 5.3). Unfit names leave no more than a
    key ``UNFIT``.
    """
    environ: dict[str, str] = {}
    keys = _ENVIRON_KEYS
    for name, value in fields:
        key = keys.get(name) or environ_key(name)
        if key in environ:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        else:
            environ[key] = value
    return environ


def tokens(value: str) -> list[str]:
    """A comma-separated list of tokens, lower-cased, empty elements left out (RFC 9110 5.6.1)."""
    return [token for part in value.lower().split(",") if (token := part.strip(" \t"))]


def nominated(connection: str, relied_on: Collection[str] = ()) -> frozenset[str]:
    """The field names that a Connection field takes off, less those that it must not.

    ``relied_on`` are further lower-case names that must stay: those that the routing has looked at.
    """
    return frozenset(name for name in tokens(connection) if not _is_protected(name) and name not in relied_on)


def _is_protected(lower: str) -> bool:
    return lower in NEVER_NOMINATED or lower.startswith(_NEVER_NOMINATED_PREFIXES)


def forwardable(fields: Fields, connection: str = "", relied_on: Collection[str] = ()) -> Fields:
    """A request's fields that go to the backend as they are; the rest is dropped or decided anew by the proxy.

    ``relied_on`` as for ``nominated``.
    """
    plain = _PLAIN
    kept = [field for field in fields if field[0] in plain or _is_forwardable(field[0])]
    if connection and connection.lower() not in ("keep-alive", "close"):
        taken = nominated(connection, relied_on)
        kept = [field for field in kept if field[0].lower() not in taken]
    return kept


def _is_forwardable(name: str) -> bool:
    lower = name.lower()
    if "_" in lower:  # CGI reads it as a hyphen: nothing may pass for what the backend has from us, or relies on
        lower = lower.replace("_", "-")
        return lower not in _NOT_FORWARDED and not _is_protected(lower) and not lower.startswith(_CGI_IDENTITY)
    return lower not in _NOT_FORWARDED and not lower.startswith(_FORWARDED_PREFIX)


def is_forbidden_trailer(name: str) -> bool:
    """Whether a trailer field of that name, in any case, is never passed on (RFC 9110 6.5.1)."""
    lower = name.lower().replace("_", "-")
    if lower in _MADE_FOR_TRAILERS:
        return False
    return lower in _NOT_IN_TRAILERS or lower.startswith(_NOT_IN_TRAILERS_PREFIXES)


def allowed_trailers(fields: Fields, names: Collection[str]) -> Fields:
    """The trailer fields whose lower-case names were asked for, and are not forbidden."""
    if not fields or not names:
        return []
    return [field for field in fields if field[0].lower() in names and not is_forbidden_trailer(field[0])]


def without(fields: Iterable[tuple[str, str]], names: frozenset[str]) -> Fields:
    """The fields less those with the given lower-case names."""
    return [field for field in fields if field[0].lower() not in names]
