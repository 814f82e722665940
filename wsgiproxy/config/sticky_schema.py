"""The ``sticky:`` part of a pool as a frozen struct: how a client stays with one backend.

As ``config.schema``, from where it is used: meaning, unit and default beside each key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from wsgiproxy.config.kinds import Block, CookieName, Duration, Host, PlainText, Target

MIN_KEY_LENGTH = 16  # characters, or bytes of a file: 64 bits at the least, where they are hexadecimal


class Sticky(Block, frozen=True):
    """A client stays with the backend that answered it, which a cookie names, for as long as that may be given work.

    One that is drained, or has the weight 0, goes on with the clients that it has; where it is gone, down, ejected or
    in `maint` another one takes over, and the client stays with that (HAProxy cookie; nginx Plus sticky). While it has
    its `max_in_flight`, others help out.
    """

    cookie: Annotated[CookieName, Meta(description="The cookie's name.")]
    set_by: Annotated[
        Literal["proxy", "application"],
        Meta(
            description="`proxy`: a cookie of ours, which backends never see (HAProxy insert indirect). `application`: "
            "who answered is remembered for each value that an answer sets, in each process for itself, until it ends "
            "(nginx Plus sticky learn)."
        ),
    ] = "proxy"
    ttl: Annotated[
        Duration,
        Meta(ge=1, description="A client that asks nothing for so long is let go; in its second half it is renewed."),
    ] = 3600.0
    key: Annotated[
        PlainText | None,
        Meta(description="A secret of 16 characters or more, the same wherever and whenever the cookie must be known."),
    ] = None
    key_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="A file with that secret; read on reload only.")
    ] = None
    path: Annotated[Target, Meta(description="The cookie's Path.")] = "/"
    domain: Annotated[Host | None, Meta(description="The cookie's Domain; none: the host that was asked alone.")] = None
    secure: Annotated[bool, Meta(description="Whether browsers are to send it over HTTPS only.")] = False
    http_only: Annotated[bool, Meta(description="Whether scripts are not to see it.")] = True
    same_site: Annotated[
        Literal["lax", "strict", "none"],
        Meta(description="Whether it is sent along with requests that other sites begin; `none`: always."),
    ] = "lax"
    max_sessions: Annotated[
        int, Meta(ge=1, description="For `application`: values remembered at the most; the longest unused one goes.")
    ] = 100_000
