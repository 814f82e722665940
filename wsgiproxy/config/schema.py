"""The YAML as frozen structs: this file is the reference manual of the configuration.

One struct per YAML block; each key's meaning, unit and default stand beside it. The loader reads these structs' own
type information, so a key added here is known everywhere; ``config.kinds`` says how durations and sizes are written.
This module knows types and defaults, never files: reading and cross-checking are the loader's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from wsgiproxy.config.daemon_schema import (
    AccessLog,
    Certificate,
    ClientCertificates,
    ClientTimeouts,
    Daemon,
    Limits,
    Listener,
    ListenerTls,
)
from wsgiproxy.config.kinds import (
    Block,
    HeaderName,
    HeaderValue,
    Host,
    HostPattern,
    Method,
    Name,
    Network,
    Path,
    PlainText,
    Port,
    Pseudonym,
    Regex,
    Size,
    Target,
    Token,
)
from wsgiproxy.config.pool_schema import (
    Backend,
    BackendTls,
    HealthCheck,
    KeepAlive,
    Outliers,
    OwnTimeouts,
    Pool,
    Retries,
    RetryBudget,
    SlowStart,
    Timeouts,
)
from wsgiproxy.config.sticky_schema import Sticky

__all__ = [
    "AccessLog", "Backend", "BackendTls", "Certificate", "ClientCertificates", "ClientTimeouts", "Config",
    "Daemon", "Forwarding", "HealthCheck", "KeepAlive", "Limits", "Listener", "ListenerTls", "Match",
    "Outliers", "OwnTimeouts", "PathMatch", "Pool", "PoolShare", "Redirect", "Respond", "Retries", "RetryBudget",
    "Route", "SlowStart", "Sticky", "Timeouts", "ValueMatch",
]  # fmt: skip

# --- routes -----------------------------------------------------------------------------------------------------------


class PathMatch(Block, frozen=True):
    """How a path is matched: by exactly one of the three."""

    SHORTHAND = "prefix"
    EXACTLY_ONE = ("exact", "prefix", "regex")

    exact: Annotated[Path | None, Meta(description="The whole path.")] = None
    prefix: Annotated[
        Path | None, Meta(description="Leading whole path elements: `/api` matches `/api/x`, not `/apix`.")
    ] = None
    regex: Annotated[Regex | None, Meta(description="A regular expression for the whole path.")] = None


class ValueMatch(Block, frozen=True):
    """How a header's or query parameter's value is matched: by exactly one of the two."""

    SHORTHAND = "exact"
    EXACTLY_ONE = ("exact", "regex")

    exact: Annotated[PlainText | None, Meta(description="The whole value.")] = None
    regex: Annotated[Regex | None, Meta(description="A regular expression for the whole value.")] = None


class Match(Block, frozen=True):
    """Conditions that must all hold; a condition left out always holds."""

    host: Annotated[
        tuple[HostPattern, ...],
        Meta(
            description="A host, or `*.example.org` for every name below it; any of several.",
            extra={"one_or_many": True},
        ),
    ] = ()
    path: Annotated[PathMatch | None, Meta(description="The path, percent-decoded; a plain string is a prefix.")] = None
    method: Annotated[
        tuple[Method, ...], Meta(description="A method, in upper case; any of several.", extra={"one_or_many": True})
    ] = ()
    headers: Annotated[dict[HeaderName, ValueMatch], Meta(description="Header fields, by name in any case.")] = {}
    query: Annotated[dict[str, ValueMatch], Meta(description="Query parameters, by decoded name.")] = {}


class Respond(Block, frozen=True):
    """An answer given here, without a backend."""

    status: Annotated[int, Meta(ge=200, le=599, description="The status.")] = 200
    body: Annotated[str, Meta(description="The body, as UTF-8 text.")] = ""
    headers: Annotated[
        dict[HeaderName, HeaderValue], Meta(description="Header fields; Content-Type is text/plain by default.")
    ] = {}


class Redirect(Block, frozen=True):
    """An answer that sends the client elsewhere; what is left out stays as the client asked, the query always."""

    AT_MOST_ONE = ("path", "path_prefix")

    scheme: Annotated[Literal["http", "https"] | None, Meta(description="The new scheme.")] = None
    host: Annotated[Host | None, Meta(description="The new host, without a port.")] = None
    port: Annotated[Port | None, Meta(description="The new port.")] = None
    path: Annotated[Target | None, Meta(description="The whole new path.")] = None
    path_prefix: Annotated[Target | None, Meta(description="What takes the place of the path prefix that matched.")] = (
        None
    )
    status: Annotated[Literal[301, 302, 303, 307, 308], Meta(description="The status.")] = 302


class PoolShare(Block, frozen=True):
    """One of several pools that share a route's requests."""

    pool: Annotated[str, Meta(description="The pool.", extra={"refers_to": "pools"})]
    weight: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="Share of the requests beside the others; 0: sticky clients only."),
    ] = 1


class Route(Block, frozen=True):
    """What is done with the requests that match: exactly one of pool, pools, respond and redirect.

    The most specific match wins, whatever the order in the file: an exact host, then the longest wildcard; an exact
    path, then a regex, then the longest prefix; then a method; then more headers; then more query parameters; then the
    first in the file (Kubernetes Gateway API, HTTPRoute).
    """

    EXACTLY_ONE = ("pool", "pools", "respond", "redirect")

    name: Annotated[Name, Meta(description="A name for logs; `routes[3]` and the like by default.")] = ""
    match: Annotated[
        tuple[Match, ...],
        Meta(
            description="Conditions, or a list of which any may hold; none matches everything.",
            extra={"one_or_many": True},
        ),
    ] = ()
    pool: Annotated[str | None, Meta(description="The pool that answers.", extra={"refers_to": "pools"})] = None
    pools: Annotated[
        Annotated[tuple[PoolShare, ...], Meta(min_length=1, extra={"unique": "pool"})] | None,
        Meta(description="Several pools, of which each request is given one at random, by weight (a canary release)."),
    ] = None
    respond: Annotated[Respond | None, Meta(description="An answer given here.")] = None
    redirect: Annotated[Redirect | None, Meta(description="An answer that sends the client elsewhere.")] = None
    strip_prefix: Annotated[
        bool,
        Meta(
            description="Take the matched path prefix off: into SCRIPT_NAME for applications of this process, "
            "into X-Forwarded-Prefix for other backends."
        ),
    ] = False
    upgrades: Annotated[
        tuple[Token, ...],
        Meta(description="Protocols that a client may switch to, as a tunnel; others are not asked for. `[]`: none."),
    ] = ("websocket",)
    body_bytes: Annotated[
        Size | None, Meta(description="Bytes of the request body; 413. The listener's limit holds as well.")
    ] = None
    timeouts: Annotated[
        OwnTimeouts, Meta(description="How long we wait for a backend, where that is not as for the pool.")
    ] = OwnTimeouts()
    trailers: Annotated[
        tuple[HeaderName, ...],
        Meta(description="Trailer fields that are passed on, both ways, behind chunked bodies; others are dropped."),
    ] = ()


class Forwarding(Block, frozen=True):
    """Whom we believe about the client, and what we tell backends."""

    trusted_proxies: Annotated[
        tuple[Network, ...],
        Meta(description="Peers (networks, or `unix:`) that are believed about the client (nginx set_real_ip_from)."),
    ] = ()
    read: Annotated[
        Literal["x_forwarded", "forwarded"],
        Meta(description="Which fields of trusted proxies count: X-Forwarded-*, or Forwarded (RFC 7239)."),
    ] = "x_forwarded"
    write: Annotated[
        tuple[Literal["x_forwarded", "forwarded"], ...], Meta(description="Which fields backends get.")
    ] = ("x_forwarded",)
    via: Annotated[
        Pseudonym | None, Meta(description="The name under which we stand in Via, both ways (RFC 9110 7.6.3); none.")
    ] = None


class Config(Block, frozen=True):
    """The whole file. `daemon` is read once, when the daemon starts; the rest is live."""

    daemon: Annotated[Daemon, Meta(description="Read by `wsgiproxy run` alone, when it starts.")] = Daemon()
    forwarding: Annotated[Forwarding, Meta(description="Whom we believe, and what we tell backends. Live.")] = (
        Forwarding()
    )
    timeouts: Annotated[Timeouts, Meta(description="How long we wait for backends. Live.")] = Timeouts()
    pools: Annotated[dict[Name, Pool], Meta(description="Named groups of backends. Live.")] = {}
    routes: Annotated[
        tuple[Route, ...], Meta(description="Which requests go where. Live.", extra={"unique": "name"})
    ] = ()
