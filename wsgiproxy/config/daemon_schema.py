"""The daemon's part of the schema: listeners, what a client may ask for, TLS, logs. See ``config.schema``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from wsgiproxy.config.kinds import Block, Duration, ListenAddress, Network, Size, Workers


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
    connections: Annotated[
        int,
        Meta(ge=0, description="Connections open at once, more wait in the backlog; 0: no limit (HAProxy maxconn)."),
    ] = 0
    connections_per_client: Annotated[
        int,
        Meta(
            ge=0,
            description="The same from one client address; 429, but for HTTPS, which is closed without a word: nothing "
            "can be said before the handshake; 0: no limit (nginx limit_conn: none).",
        ),
    ] = 0
    min_rate: Annotated[
        int,
        Meta(ge=0, description="Bytes a second that a waited-for client must send or take, 0: any (Kestrel: 240)."),
    ] = 240


class ClientTimeouts(Block, frozen=True):
    """How long one client may keep a connection waiting."""

    header: Annotated[
        Duration,
        Meta(
            gt=0,
            description="From a request's first byte to the end of its head (nginx: 60s); 408. A new connection has as "
            "long for its PROXY header and TLS handshake, then for its first request to begin, and is closed after it.",
        ),
    ] = 15.0
    body: Annotated[Duration, Meta(gt=0, description="Between two pieces of the request body (nginx: 60s); 408.")] = (
        60.0
    )
    keep_alive: Annotated[Duration, Meta(description="Between two requests on one connection (nginx: 75s).")] = 75.0
    write: Annotated[
        Duration, Meta(gt=0, description="Without the client taking a byte of the answer (nginx send_timeout: 60s).")
    ] = 60.0
    response: Annotated[
        Duration,
        Meta(description="For one answer, while the client does not take what is there; 0: no limit (nginx has none)."),
    ] = 0.0


class Certificate(Block, frozen=True):
    """A server's certificate and its key."""

    SHORTHAND = "certificate"

    certificate: Annotated[
        str, Meta(min_length=1, description="A PEM file: the certificate, then the chain up to the authority.")
    ]
    key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="A PEM file with the key; by default it is in the certificate's file."),
    ] = None


class ClientCertificates(Block, frozen=True):
    """What is asked of clients; who they are is told to backends in Client-Cert (RFC 9440)."""

    SHORTHAND = "ca"

    ca: Annotated[str, Meta(min_length=1, description="A PEM file with the authorities that are believed.")]
    required: Annotated[bool, Meta(description="Whether a client without a certificate is turned away.")] = True


class ListenerTls(Block, frozen=True):
    """HTTPS. Files that change are read anew, within 5 seconds; connections that are open stay as they are."""

    certificates: Annotated[
        tuple[Certificate, ...],
        Meta(min_length=1, description="Chosen by the name that a client asks for (SNI); the first for any other."),
    ]
    min_version: Annotated[Literal["1.2", "1.3"], Meta(description="The oldest TLS that is spoken (nginx: 1.2).")] = (
        "1.2"
    )
    client_certificates: Annotated[
        ClientCertificates | None, Meta(description="Ask clients for certificates; by default nobody is asked.")
    ] = None


class Listener(Block, frozen=True):
    """A socket for clients."""

    SHORTHAND = "address"

    address: Annotated[
        ListenAddress, Meta(description="`host:port`, `[v6]:port`, `:port` (all interfaces) or `unix:/path`.")
    ]
    backlog: Annotated[int, Meta(ge=1, description="Connections that the kernel may hold for us (nginx: 511).")] = 1024
    tls: Annotated[ListenerTls | None, Meta(description="HTTPS; plain HTTP without it.")] = None
    proxy_protocol: Annotated[
        tuple[Network, ...],
        Meta(
            description="Peers (networks, or `unix:`) that must begin with a PROXY header, v1 or v2; it says who their "
            "client is. Nobody else's is read."
        ),
    ] = ()
    underscores_in_headers: Annotated[
        bool, Meta(description="Pass on header names with underscores, which CGI confuses (nginx: off).")
    ] = False
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
