"""The same answer to the same key, on every machine and after every restart: the arithmetic of consistent hashing.

The rule of the room: pure numbers; neither backends nor requests are known here. Keys are spread by weighted rendezvous
(Thaler and Ravishankar 1998, weighted as by Mosharaf and Schindelhauer): each backend draws a waiting time for each
key, the shortest one wins. Beside a ring of points this honours weights exactly, moves no key but those of the backend
that leaves or comes, needs nothing rebuilt, and costs O(n) for n backends, as the other balances do.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log


def digest(text: str) -> int:
    """63 bits of a text's hash."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def wait(seed: int, key: int) -> float:
    """How long a backend takes to claim a key: exponentially distributed with mean 1. Both are digests.

    Divided by weights, the shortest of several waits is each one's with a chance in proportion to its weight.
    """
    mask = 0xFFFF_FFFF_FFFF_FFFF
    first, second = 0x3C79_AC49_2BA7_B653, 0x1C69_B3F7_4AC4_AE35  # "moremur", a mixer of 64 bits by P. Evensen
    bits = seed ^ key
    bits = ((bits ^ (bits >> 27)) * first) & mask
    bits = ((bits ^ (bits >> 33)) * second) & mask
    bits ^= bits >> 27
    return -log(((bits >> 11) + 0.5) / 9007199254740992.0)  # 2 to the 53: what a float can hold; never 0 nor 1
