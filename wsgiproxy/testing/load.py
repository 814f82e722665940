"""Who asks in a simulation, how often, and for what.

The rule of the room: pure, given its chance, of which each load has its own: the same seed offers the same requests
to any pool.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple


class Asked(NamedTuple):
    """One request: ``path`` with its query, ``client`` an IP address, and its ``headers`` by name.

    An ``Idempotency-Key`` among those lets a POST be repeated.
    """

    method: str
    path: str
    client: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests from ``begin`` to ``end``, in seconds since the simulation began; by default all the time.

    Either ``rate`` requests a second come, independent of one another (Poisson), however the pool fares; or there are
    so many ``clients``, each of whom asks again ``think`` seconds (exponentially distributed) after its last answer.

    ``posts`` is the share (0 to 1) of requests that may not be repeated, with a body of ``body`` bytes. A client
    hangs up after ``patience`` seconds without an answer's end. ``addresses`` and ``paths`` are how many different
    ones there are, all as likely; who has the same address is the same client to a pool with ``sticky``. For other
    requests, derive a class and override ``draw``.
    """

    rate: float = 0.0
    clients: int = 0
    think: float = 0.0
    posts: float = 0.0
    body: int = 100
    begin: float = 0.0
    end: float = inf
    patience: float | None = None
    addresses: int = 1000
    paths: int = 1000
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """``ValueError`` where nobody, or two kinds of clients at once, would ask."""
        if (self.rate > 0) == (self.clients > 0):
            raise ValueError("a load has either a rate or clients, more than 0")

    def draw(self, chance: random.Random) -> Asked:
        """The next request."""
        method = "POST" if self.posts and chance.random() < self.posts else "GET"
        number, path = int(chance.random() * self.addresses), int(chance.random() * self.paths)
        client = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return Asked(method, f"/{path}", client, self.headers)
