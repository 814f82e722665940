"""The `pools:` part of the YAML as frozen structs: backends, and how they are chosen, checked, spoken to and spared.

As ``config.schema``, from where all of it is used: one struct per block, meaning, unit and default beside each key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from wsgiproxy.config.daemon_schema import Certificate
from wsgiproxy.config.kinds import (
    Address,
    Block,
    Duration,
    HashOn,
    HeaderName,
    HeaderValue,
    Host,
    Port,
    Regex,
    Size,
    StatusRange,
    Target,
)
from wsgiproxy.config.sticky_schema import Sticky


class Backend(Block, frozen=True):
    """One server of a pool."""

    SHORTHAND = "address"

    address: Annotated[
        Address, Meta(description="`http://host:port`, `https://host:port`, `unix:/path` or `app:module:callable`.")
    ]
    weight: Annotated[
        int,
        Meta(
            ge=0, le=256, description="Share of the pool's work beside the others; 0: sticky clients only (HAProxy: 1)."
        ),
    ] = 1
    priority: Annotated[
        int, Meta(ge=0, le=127, description="Its group: work goes to the lowest one with a backend available (Envoy).")
    ] = 0
    backup: Annotated[bool, Meta(description="Takes work only while no other backend of the pool is available.")] = (
        False
    )
    max_in_flight: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Exchanges under way here at the most; none (nginx max_conns, HAProxy maxconn: none)."),
    ] = None
    admin_state: Annotated[
        Literal["ready", "drain", "maint"],
        Meta(description="`drain`: no new work but sticky clients'; `maint`: none. What is under way ends in peace."),
    ] = "ready"


class HealthCheck(Block, frozen=True):
    """Active checks of each backend of a pool, on a clock.

    An answer 503 with `X-Maintenance: drain` drains the backend instead of failing it, at once, until the next good
    check: it gets no new work.
    """

    kind: Annotated[
        Literal["http", "tcp"],
        Meta(description="`http` asks for a path; `tcp` only connects, with the TLS handshake where it is `https://`."),
    ] = "http"
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
    expected_body: Annotated[
        Regex | None,
        Meta(description="A regular expression to be found in the first 64 KiB of a healthy answer's body, as UTF-8."),
    ] = None
    drain_on_404: Annotated[
        bool, Meta(description="Whether 404 drains a backend, too, instead of failing it (HAProxy disable-on-404).")
    ] = False
    port: Annotated[
        Port | None, Meta(description="Check this port of `http://` and `https://` backends; their own by default.")
    ] = None
    initial: Annotated[
        Literal["checking", "healthy"],
        Meta(
            description="`checking`: a backend that a reload adds to others gets no work before its first good check. "
            "At the daemon's start, or where a reload leaves no other backend ready, those not checked yet work while "
            "none is known to be healthy. `healthy`: work at once, until checks fail (HAProxy init-state up)."
        ),
    ] = "checking"
    interval: Annotated[Duration, Meta(gt=0, description="Between two checks of one backend (nginx Plus: 5s).")] = 5.0
    interval_unhealthy: Annotated[
        Annotated[Duration, Meta(gt=0)] | None,
        Meta(description="The same while it is unhealthy; `interval` by default (HAProxy downinter)."),
    ] = None
    jitter: Annotated[
        float, Meta(ge=0, le=1, description="Share of the interval by which each check is moved at random.")
    ] = 0.1
    timeout: Annotated[
        Duration, Meta(gt=0, description="For one check, from connect to the last byte that is looked at.")
    ] = 2.0
    healthy_threshold: Annotated[
        int, Meta(ge=1, description="Good checks in a row that make an unhealthy backend healthy (HAProxy rise: 2).")
    ] = 2
    unhealthy_threshold: Annotated[
        int, Meta(ge=1, description="Bad checks in a row that make a healthy backend unhealthy (HAProxy fall: 3).")
    ] = 3


class Timeouts(Block, frozen=True):
    """How long we wait for backends, in seconds. The access log says which one has run out."""

    connect: Annotated[Duration, Meta(gt=0, description="To make a connection (nginx: 60s; Envoy: 5s); 504.")] = 5.0
    tls: Annotated[
        Annotated[Duration, Meta(gt=0)] | None,
        Meta(description="For the TLS handshake; by default it is within `connect`; 504."),
    ] = None
    queue: Annotated[
        Duration, Meta(gt=0, description="For a backend that is not full, see `max_queue` (nginx Plus: 60s); 503.")
    ] = 5.0
    first_byte: Annotated[
        Annotated[Duration, Meta(gt=0)] | None,
        Meta(description="From the request's last byte to the answer's first; as `read` by default; 504."),
    ] = None
    read: Annotated[Duration, Meta(gt=0, description="Without a byte of the answer (nginx: 60s); 504, or a cut.")] = (
        60.0
    )
    write: Annotated[
        Duration, Meta(gt=0, description="Without the backend taking a byte of the request (nginx: 60s); 504.")
    ] = 60.0
    total: Annotated[
        Duration,
        Meta(
            description="For the whole exchange: queue, attempts, both bodies, but no tunnel; 0: no bound; "
            "504, or a cut (Envoy route timeout: 15s)."
        ),
    ] = 0.0
    tunnel: Annotated[
        Duration, Meta(gt=0, description="Without a byte either way after an upgrade (HAProxy timeout tunnel: none).")
    ] = 3600.0


class OwnTimeouts(Block, frozen=True):
    """What a pool, or a route, has otherwise than what stands above it; see `timeouts` at the top for the meaning."""

    connect: Annotated[Annotated[Duration, Meta(gt=0)] | None, Meta(description="To make a connection.")] = None
    tls: Annotated[Annotated[Duration, Meta(gt=0)] | None, Meta(description="For the TLS handshake.")] = None
    queue: Annotated[Annotated[Duration, Meta(gt=0)] | None, Meta(description="For a backend that is not full.")] = None
    first_byte: Annotated[
        Annotated[Duration, Meta(gt=0)] | None, Meta(description="From the request's end to the answer's beginning.")
    ] = None
    read: Annotated[Annotated[Duration, Meta(gt=0)] | None, Meta(description="Without a byte of the answer.")] = None
    write: Annotated[Annotated[Duration, Meta(gt=0)] | None, Meta(description="Without a byte of the request.")] = None
    total: Annotated[Duration | None, Meta(description="For the whole exchange; 0: no bound.")] = None
    tunnel: Annotated[
        Annotated[Duration, Meta(gt=0)] | None, Meta(description="Without a byte either way after an upgrade.")
    ] = None


class BackendTls(Block, frozen=True):
    """How `https://` backends are spoken to. The files are read on reload only: SIGHUP, or an edit of the YAML."""

    verify: Annotated[
        bool, Meta(description="Whether the backend must prove its name; `false` lets anybody answer in its place.")
    ] = True
    ca: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="A PEM file with the authorities that are believed; the system's by default."),
    ] = None
    server_name: Annotated[
        Host | None, Meta(description="The name to ask for (SNI) and to verify; the address's host by default.")
    ] = None
    certificate: Annotated[
        Certificate | None, Meta(description="Our own certificate, for backends that ask for one.")
    ] = None


class KeepAlive(Block, frozen=True):
    """Idle connections kept open to each backend."""

    max_idle: Annotated[
        int, Meta(ge=0, description="Idle connections kept per backend; 0 opens a new one for each request.")
    ] = 128
    idle_timeout: Annotated[
        Duration, Meta(description="An idle connection is not used again after this (nginx: 60s).")
    ] = 60.0
    trusted_for: Annotated[
        Duration,
        Meta(
            description="The same for requests that cannot be sent again, such as POST: the backend may close it just "
            "then. They get a new one rather."
        ),
    ] = 0.75


class Outliers(Block, frozen=True):
    """Backends that fail real requests are ejected for a while (nginx max_fails and fail_timeout; Envoy)."""

    consecutive_gateway_failures: Annotated[
        int, Meta(ge=0, description="Attempts in a row without a whole answer, by the backend's fault; 0: not counted.")
    ] = 5
    consecutive_5xx: Annotated[
        int, Meta(ge=0, description="Answers in a row with a 5xx status but 501 and 505; 0: not counted (Envoy: 5).")
    ] = 0
    failure_percent: Annotated[
        int,
        Meta(
            ge=0, le=100, description="Of its attempts, without a whole answer or with a 5xx; 0: not counted (Envoy)."
        ),
    ] = 0
    window: Annotated[Duration, Meta(gt=0, description="In which `failure_percent` looks at attempts.")] = 10.0
    minimum_requests: Annotated[
        int, Meta(ge=1, description="Attempts in the window before `failure_percent` says anything (Envoy: 50).")
    ] = 50
    base_ejection_time: Annotated[
        Duration, Meta(gt=0, description="The first time; the second time twice as long, and so on (nginx: 10s).")
    ] = 10.0
    max_ejection_time: Annotated[Duration, Meta(gt=0, description="However often (Envoy: 300s).")] = 300.0
    max_ejection_percent: Annotated[
        int,
        Meta(ge=0, le=100, description="Of the backends at once; one is always allowed, the last one never."),
    ] = 50


class SlowStart(Block, frozen=True):
    """A backend that was added, or is healthy again, gets its share little by little."""

    SHORTHAND = "duration"

    duration: Annotated[Duration, Meta(gt=0, description="Until it has all of its weight (HAProxy slowstart).")]
    aggression: Annotated[float, Meta(gt=0, le=10, description="1 grows evenly; more, faster at first (Envoy: 1).")] = (
        1.0
    )
    floor: Annotated[float, Meta(gt=0, le=100, description="Percent of its weight to begin with (Envoy: 10).")] = 10.0


class RetryBudget(Block, frozen=True):
    """How many retries a pool may make within ten seconds: the larger of the two (Finagle, linkerd: 20 %, 10/s)."""

    percent: Annotated[float, Meta(ge=0, le=100, description="Of the requests that it got in that time.")] = 20.0
    per_second: Annotated[float, Meta(ge=0, description="However few requests there are.")] = 3.0


class Retries(Block, frozen=True):
    """What is done where an attempt at a request fails and it is safe to send it again."""

    attempts: Annotated[
        int, Meta(ge=1, le=100, description="At one request, the first included (HAProxy: 4; Envoy: 2).")
    ] = 3
    per_attempt_timeout: Annotated[
        Annotated[Duration, Meta(gt=0)] | None,
        Meta(description="Until the head of an answer; then, if it may, another is tried (Envoy per_try_timeout)."),
    ] = None
    statuses: Annotated[
        tuple[StatusRange, ...],
        Meta(description='Answers to try again after, `"503"` or `"502-504"`; the last attempt\'s is delivered.'),
    ] = ()
    backoff: Annotated[
        Duration,
        Meta(description="The most that is waited before the second retry, twice as long for each more (Envoy: 25ms)."),
    ] = 0.025
    max_backoff: Annotated[Duration, Meta(description="However many retries (Envoy: 250ms).")] = 0.25
    replay_buffer: Annotated[
        Size, Meta(le=2**24, description="Of a body: read before a backend is asked, kept to be sent again.")
    ] = 64 * 1024
    hedge_after: Annotated[
        Annotated[Duration, Meta(gt=0)] | None,
        Meta(description="Without a head, ask a second backend beside the first: idempotent, bodyless requests only."),
    ] = None
    budget: Annotated[
        RetryBudget | None,
        Meta(description="Bounds retries and hedges, lest they multiply an outage; null: no bound."),
    ] = RetryBudget()


class Pool(Block, frozen=True):
    """A named group of backends."""

    backends: Annotated[
        tuple[Backend, ...],
        Meta(min_length=1, description="The servers of this pool.", extra={"unique": "address"}),
    ]
    balance: Annotated[
        Literal["round_robin", "least_conn", "random_two", "least_time", "hash", "first"],
        Meta(
            description="`round_robin` (smooth, weighted), `least_conn` (fewest exchanges under way per weight), "
            "`random_two` (the less busy of two drawn by weight), `least_time` (shortest time to the first byte times "
            "exchanges under way, per weight), `hash` (the same backend for the same `hash_on`, up to 1.25 of its "
            "share of what is under way) or `first` (in the file's order, each up to its `max_in_flight`)."
        ),
    ] = "round_robin"
    hash_on: Annotated[
        HashOn | None,
        Meta(description="For `hash`: `client`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`."),
    ] = None
    health_check: Annotated[
        HealthCheck | None, Meta(description="Active checks; without it every backend counts as healthy.")
    ] = None
    sticky: Annotated[
        Sticky | None, Meta(description="How a client stays with the backend that it had; null: it does not.")
    ] = None
    slow_start: Annotated[
        SlowStart | None,
        Meta(description="How backends begin that were added or are healthy again; not at the daemon's own start."),
    ] = None
    outliers: Annotated[
        Outliers | None, Meta(description="Who is ejected after failures of real requests; null: nobody.")
    ] = Outliers()
    timeouts: Annotated[
        OwnTimeouts, Meta(description="How long we wait for a backend, where that is not as for all pools.")
    ] = OwnTimeouts()
    keep_alive: Annotated[KeepAlive, Meta(description="Idle connections kept open to each backend.")] = KeepAlive()
    retries: Annotated[Retries, Meta(description="What is done where an attempt fails.")] = Retries()
    max_queue: Annotated[
        int,
        Meta(
            ge=0, description="Requests that wait while every backend is full, first come first served (Envoy: 1024)."
        ),
    ] = 1024
    panic_threshold: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="With fewer percent of the backends available, spread over all (Envoy: 50); 0: never.",
        ),
    ] = 50
    tls: Annotated[
        BackendTls,
        Meta(description="How `https://` backends are spoken to; its files are read on reload only."),
    ] = BackendTls()
    proxy_protocol: Annotated[
        Literal["v1", "v2"] | None,
        Meta(description="Begin each connection with a PROXY header; no connection is used twice then."),
    ] = None
    host: Annotated[
        Literal["client", "backend"],
        Meta(description="The Host that backends see: the client's, or the backend's own address."),
    ] = "client"
