"""What the schema is written in: the base of every block, and the kinds of value that its keys have.

A kind says what a text in the file means; ``config.values`` reads each. Durations are seconds as floats in the code and
``5s``, ``250ms``, ``1m30s`` or a plain number of seconds in YAML; sizes are bytes and ``32KiB``, ``8MB`` or a plain
number.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

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
NETWORK = "network"
PSEUDONYM = "pseudonym"
TOKEN = "token"
HASH_ON = "hash_on"
COOKIE_NAME = "cookie_name"


def of_kind(kind: str, **json_schema: Any) -> Meta:
    """What the loader (``kind``) and an editor (``json_schema``) must know about a type.

    ``also`` in ``json_schema`` names the other JSON types that YAML may use for it.
    """
    return Meta(extra={"kind": kind}, extra_json_schema=json_schema)


DURATION_PATTERN = r"^(?=[0-9])([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$|^[0-9]*[.]?[0-9]+$"
SIZE_PATTERN = r"^[0-9]+(([kKMGT]i?)?B)?$"

Duration = Annotated[float, of_kind(DURATION, also=["string"], minimum=0, pattern=DURATION_PATTERN)]
Size = Annotated[int, of_kind(SIZE, also=["string"], minimum=0, pattern=SIZE_PATTERN)]
Address = Annotated[str, of_kind(ADDRESS, pattern="^(https?://|unix:/|app:)")]
ListenAddress = Annotated[str, of_kind(LISTEN_ADDRESS, pattern="^unix:/|:[0-9]+$")]
StatusRange = Annotated[str, of_kind(STATUS_RANGE, also=["integer"], pattern="^[1-5][0-9]{2}(-[1-5][0-9]{2})?$")]
Workers = Annotated[int, of_kind(WORKERS, maximum=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Path = Annotated[str, of_kind(PATH, pattern="^/")]
Target = Annotated[str, of_kind(TARGET, pattern='^/[!"$-~]*$')]
Regex = Annotated[str, of_kind(REGEX, format="regex")]
Host = Annotated[str, of_kind(HOST)]
HostPattern = Annotated[str, of_kind(HOST_PATTERN)]
Method = Annotated[str, of_kind(METHOD, pattern="^[A-Z0-9!#$%&'*+.^_`|~-]+$")]
Name = Annotated[str, of_kind(NAME)]
Token = Annotated[str, of_kind(TOKEN, pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Network = Annotated[str, of_kind(NETWORK, pattern="^unix:$|^[0-9A-Fa-f.:]+(/[0-9]+)?$")]
HashOn = Annotated[str, of_kind(HASH_ON, pattern="^(client|path|(header|cookie|query):.+)$")]
CookieName = Annotated[str, of_kind(COOKIE_NAME, pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Pseudonym = Annotated[str, of_kind(PSEUDONYM, pattern="^[^ ,()]+$")]
HeaderName = Annotated[str, of_kind(HEADER_NAME, pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
PlainText = Annotated[str, Meta(extra_json_schema={"also": ["number", "boolean"]})]
HeaderValue = Annotated[str, of_kind(HEADER_VALUE, also=["number", "boolean"])]


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every block."""

    SHORTHAND: ClassVar[str | None] = None  # the key that a plain YAML scalar in place of the block stands for
    EXACTLY_ONE: ClassVar[tuple[str, ...]] = ()  # keys of which exactly one must be given
    AT_MOST_ONE: ClassVar[tuple[str, ...]] = ()  # keys of which no two may be given
