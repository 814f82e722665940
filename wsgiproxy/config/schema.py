"""The YAML as frozen structs: this file is the reference manual of the configuration.

One struct per YAML block; each key's meaning, unit and default stand beside it. Durations are seconds as floats here
and ``5s``, ``250ms``, ``1m30s`` or a plain number of seconds in YAML; sizes are bytes here and ``32KiB``, ``8MB`` or a
plain number in YAML. The loader reads these structs' own type information, so a key added here is known everywhere.
This module knows types and defaults, never files: reading and cross-checking are the loader's.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

# What a text means; ``config.values`` reads each kind.
DURATION = "duration"
SIZE = "size"
ADDRESS = "address"
LISTEN_ADDRESS = "listen_address"
STATUS_RANGE = "status_range"
REGEX = "regex"
PATH = "path"
TARGET = "target"
HOST = "host"
HOST_PATTERN = "host_pattern"
METHOD = "method"
NAME = "name"
HEADER_NAME = "header_name"
HEADER_VALUE = "header_value"
WORKERS = "workers"


def _kind(kind: str, **json_schema: Any) -> Meta:
    """What the loader (``kind``) and an editor (``json_schema``) must know about a type.

    ``also`` in ``json_schema`` names the other JSON types that YAML may use for it.
    """
    return Meta(extra={"kind": kind}, extra_json_schema=json_schema)


DURATION_PATTERN = r"^(?=[0-9])([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$|^[0-9]*[.]?[0-9]+$"
SIZE_PATTERN = r"^[0-9]+(([kKMGT]i?)?B)?$"

Duration = Annotated[float, _kind(DURATION, also=["string"], minimum=0, pattern=DURATION_PATTERN)]
Size = Annotated[int, _kind(SIZE, also=["string"], minimum=0, pattern=SIZE_PATTERN)]
Address = Annotated[str, _kind(ADDRESS, pattern="^(http://|unix:/|app:)")]
ListenAddress = Annotated[str, _kind(LISTEN_ADDRESS, pattern="^unix:/|:[0-9]+$")]
StatusRange = Annotated[str, _kind(STATUS_RANGE, also=["integer"], pattern="^[1-5][0-9]{2}(-[1-5][0-9]{2})?$")]
Workers = Annotated[int, _kind(WORKERS, maximum=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Path = Annotated[str, _kind(PATH, pattern="^/")]
Target = Annotated[str, _kind(TARGET, pattern='^/[!"$-~]*$')]
Regex = Annotated[str, _kind(REGEX, format="regex")]
Host = Annotated[str, _kind(HOST)]
HostPattern = Annotated[str, _kind(HOST_PATTERN)]
Method = Annotated[str, _kind(METHOD, pattern="^[A-Z0-9!#$%&'*+.^_`|~-]+$")]
Name = Annotated[str, _kind(NAME)]
HeaderName = Annotated[str, _kind(HEADER_NAME, pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
PlainText = Annotated[str, Meta(extra_json_schema={"also": ["number", "boolean"]})]
HeaderValue = Annotated[str, _kind(HEADER_VALUE, also=["number", "boolean"])]


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every block."""

    SHORTHAND: ClassVar[str | None] = None  # the key that a plain YAML scalar in place of the block stands for
    EXACTLY_ONE: ClassVar[tuple[str, ...]] = ()  # keys of which exactly one must be given
    AT_MOST_ONE: ClassVar[tuple[str, ...]] = ()  # keys of which no two may be given


# --- the daemon -------------------------------------------------------------------------------------------------------


class Limits(Block, frozen=True):
    """What one client may ask for at the most; over it the request is refused before it costs anything."""

    header_bytes: Annotated[Size, Meta(description="Bytes of request line and header fields (nginx: 4 x 8k); 431.")] = (
        32 * 1024
    )
    header_count: Annotated[int, Meta(ge=1, description="Header fields in one request (gunicorn: 100); 431.")] = 100
    target_bytes: Annotated[Size, Meta(description="Bytes of the request target (nginx: 8k); 414.")] = 8 * 1024
    body_bytes: Annotated[
        Size | None, Meta(description="Bytes of the request body; 413. Unlimited by default (nginx: 1m).")
    ] = None
    requests: Annotated[
        int, Meta(ge=0, description="Requests on one connection, 0 for no limit (nginx keepalive_requests: 1000).")
    ] = 0


class ClientTimeouts(Block, frozen=True):
    """How long one client may keep a connection waiting."""

    header: Annotated[
        Duration, Meta(description="From a request's first byte to the end of its head (nginx: 60s); 408.")
    ] = 15.0
    body: Annotated[Duration, Meta(description="Between two pieces of the request body (nginx: 60s); 408.")] = 60.0
    keep_alive: Annotated[Duration, Meta(description="Between two requests on one connection (nginx: 75s).")] = 75.0
    write: Annotated[
        Duration, Meta(description="Without the client taking a byte of the answer (nginx send_timeout: 60s).")
    ] = 60.0


class Listener(Block, frozen=True):
    """A socket for clients."""

    SHORTHAND = "address"

    address: Annotated[
        ListenAddress, Meta(description="`host:port`, `[v6]:port`, `:port` (all interfaces) or `unix:/path`.")
    ]
    backlog: Annotated[int, Meta(ge=1, description="Connections that the kernel may hold for us (nginx: 511).")] = 1024
    limits: Annotated[Limits, Meta(description="What one client may ask for at the most.")] = Limits()
    timeouts: Annotated[ClientTimeouts, Meta(description="How long one client may keep a connection waiting.")] = (
        ClientTimeouts()
    )


class AccessLog(Block, frozen=True):
    """One line per exchange."""

    path: Annotated[str, Meta(min_length=1, description="A file's path, or `-` for standard output.")] = "-"
    format: Annotated[
        Literal["combined", "json", "off"], Meta(description="`combined` (Apache's, and what we add), `json` or `off`.")
    ] = "combined"


class Daemon(Block, frozen=True):
    """Read by `wsgiproxy run` alone, when it starts; a mounted application leaves it out."""

    listeners: Annotated[
        tuple[Listener, ...],
        Meta(min_length=1, description="The sockets for clients.", extra={"unique": "address"}),
    ] = (Listener(address="127.0.0.1:8080"),)
    workers: Annotated[Workers, Meta(ge=1, description="Worker processes. Only 1 is supported so far.")] = 1
    access_log: Annotated[AccessLog, Meta(description="One line per exchange.")] = AccessLog()
    drain_timeout: Annotated[
        Duration, Meta(description="After SIGTERM, how long exchanges under way may go on (gunicorn: 30s).")
    ] = 30.0


# --- pools ------------------------------------------------------------------------------------------------------------


class Backend(Block, frozen=True):
    """One server of a pool."""

    SHORTHAND = "address"

    address: Annotated[Address, Meta(description="`http://host:port`, `unix:/path` or `app:module:callable`.")]
    weight: Annotated[
        int, Meta(ge=0, le=256, description="Share of the pool's work beside the others; 0 takes none (HAProxy: 1).")
    ] = 1
    backup: Annotated[bool, Meta(description="Takes work only while no other backend of the pool is available.")] = (
        False
    )


class HealthCheck(Block, frozen=True):
    """Active checks of each backend of a pool, on a clock."""

    kind: Annotated[Literal["http", "tcp"], Meta(description="`http` asks for a path; `tcp` only connects.")] = "http"
    path: Annotated[Target, Meta(description="The request target of the check.")] = "/"
    method: Annotated[Literal["GET", "HEAD", "OPTIONS"], Meta(description="The method of the check.")] = "GET"
    host: Annotated[
        Annotated[HeaderValue, Meta(min_length=1)] | None,
        Meta(description="The Host header of the check; the backend's own by default."),
    ] = None
    headers: Annotated[dict[HeaderName, HeaderValue], Meta(description="More header fields of the check.")] = {}
    expected_statuses: Annotated[
        tuple[StatusRange, ...], Meta(min_length=1, description='Healthy answers: `"200"` or ranges `"200-399"`.')
    ] = ("200-399",)
    interval: Annotated[Duration, Meta(gt=0, description="Between two checks of one backend (nginx Plus: 5s).")] = 5.0
    jitter: Annotated[
        float, Meta(ge=0, le=1, description="Share of the interval by which each check is moved at random.")
    ] = 0.1
    timeout: Annotated[Duration, Meta(gt=0, description="For one check, from connect to the head of the answer.")] = 2.0
    healthy_threshold: Annotated[
        int, Meta(ge=1, description="Good checks in a row that make an unhealthy backend healthy (HAProxy rise: 2).")
    ] = 2
    unhealthy_threshold: Annotated[
        int, Meta(ge=1, description="Bad checks in a row that make a healthy backend unhealthy (HAProxy fall: 3).")
    ] = 3


class PoolTimeouts(Block, frozen=True):
    """How long we wait for a backend."""

    connect: Annotated[Duration, Meta(gt=0, description="To make a connection (nginx: 60s; Envoy: 5s); 504.")] = 5.0
    read: Annotated[Duration, Meta(gt=0, description="Without a byte of the answer (nginx: 60s); 504.")] = 60.0
    write: Annotated[
        Duration, Meta(gt=0, description="Without the backend taking a byte of the request (nginx: 60s); 504.")
    ] = 60.0


class KeepAlive(Block, frozen=True):
    """Idle connections kept open to each backend."""

    max_idle: Annotated[
        int, Meta(ge=0, description="Idle connections kept per backend; 0 opens a new one for each request.")
    ] = 128
    idle_timeout: Annotated[
        Duration, Meta(description="An idle connection is not used again after this (nginx: 60s).")
    ] = 60.0


class Pool(Block, frozen=True):
    """A named group of backends."""

    backends: Annotated[
        tuple[Backend, ...],
        Meta(min_length=1, description="The servers of this pool.", extra={"unique": "address"}),
    ]
    balance: Annotated[
        Literal["round_robin", "least_conn"],
        Meta(description="`round_robin` (smooth, weighted) or `least_conn` (fewest exchanges under way per weight)."),
    ] = "round_robin"
    health_check: Annotated[
        HealthCheck | None, Meta(description="Active checks; without it every backend counts as healthy.")
    ] = None
    timeouts: Annotated[PoolTimeouts, Meta(description="How long we wait for a backend.")] = PoolTimeouts()
    keep_alive: Annotated[KeepAlive, Meta(description="Idle connections kept open to each backend.")] = KeepAlive()
    attempts: Annotated[
        int, Meta(ge=1, description="Backends that one request may be tried on, the first included (HAProxy: 4).")
    ] = 3
    host: Annotated[
        Literal["client", "backend"],
        Meta(description="The Host that backends see: the client's, or the backend's own address."),
    ] = "client"


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


class Route(Block, frozen=True):
    """What is done with the requests that match: exactly one of pool, respond and redirect.

    The most specific match wins, whatever the order in the file: an exact host, then the longest wildcard; an exact
    path, then a regex, then the longest prefix; then a method; then more headers; then more query parameters; then the
    first in the file (Kubernetes Gateway API, HTTPRoute).
    """

    EXACTLY_ONE = ("pool", "respond", "redirect")

    name: Annotated[Name, Meta(description="A name for logs; `routes[3]` and the like by default.")] = ""
    match: Annotated[
        tuple[Match, ...],
        Meta(
            description="Conditions, or a list of which any may hold; none matches everything.",
            extra={"one_or_many": True},
        ),
    ] = ()
    pool: Annotated[str | None, Meta(description="The pool that answers.", extra={"refers_to": "pools"})] = None
    respond: Annotated[Respond | None, Meta(description="An answer given here.")] = None
    redirect: Annotated[Redirect | None, Meta(description="An answer that sends the client elsewhere.")] = None
    strip_prefix: Annotated[
        bool,
        Meta(
            description="Take the matched path prefix off: into SCRIPT_NAME for applications of this process, "
            "into X-Forwarded-Prefix for other backends."
        ),
    ] = False


class Config(Block, frozen=True):
    """The whole file. `daemon` is read once, when the daemon starts; `pools` and `routes` are live."""

    daemon: Annotated[Daemon, Meta(description="Read by `wsgiproxy run` alone, when it starts.")] = Daemon()
    pools: Annotated[dict[Name, Pool], Meta(description="Named groups of backends. Live.")] = {}
    routes: Annotated[
        tuple[Route, ...], Meta(description="Which requests go where. Live.", extra={"unique": "name"})
    ] = ()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the YAML file, with descriptions, for editors. Made of JSON types alone."""
    schema = msgspec.json.schema(Config)
    blocks: dict[str, type[Block]] = {block.__name__: block for block in Block.__subclasses__()}
    definitions = {name: _block_schema(blocks[name], part) for name, part in schema["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of wsgiproxy",
        "$ref": schema["$ref"],
        "$defs": _with_other_types(definitions),
    }


def _block_schema(block: type[Block], part: dict[str, Any]) -> dict[str, Any]:
    """msgspec's schema of one block, and what only the loader knows: shorthands, one or many, exclusive keys."""
    for field in msgspec.inspect.type_info(block).fields:  # type: ignore[attr-defined]
        extra = field.type.extra if isinstance(field.type, msgspec.inspect.Metadata) else None
        if extra and extra.get("one_or_many"):
            many = part["properties"][field.name]
            about = {key: many.pop(key) for key in ("description", "default") if key in many}
            part["properties"][field.name] = {**about, "anyOf": [many["items"], many]}
    if block.EXACTLY_ONE:
        part["oneOf"] = [{"required": [key]} for key in block.EXACTLY_ONE]
    if block.AT_MOST_ONE:
        part["not"] = {"required": list(block.AT_MOST_ONE)}
    if block.SHORTHAND is None:
        return part
    about = {"title": part.pop("title"), "description": part.pop("description")}
    short = dict(part["properties"][block.SHORTHAND])
    short.pop("default", None)
    return {**about, "anyOf": [short, part]}


def _with_other_types(part: Any) -> Any:
    """A copy of a schema, of JSON types, in which every ``also`` (see ``_kind``) has become a choice of types."""
    if isinstance(part, list | tuple):
        return [_with_other_types(item) for item in part]
    if not isinstance(part, dict):
        return part
    copy = {key: _with_other_types(value) for key, value in part.items()}
    also = copy.pop("also", None)
    return copy if also is None else {**copy, "type": [copy["type"], *also]}
