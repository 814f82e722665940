"""Latencies in buckets that grow with them: at every length of time, an answer within a quarter.

The rule of the room: pure numbers. Below 4 microseconds each has a bucket of its own, above, each power of two has four
(HdrHistogram's idea, with two significant bits). A fixed number of them, so that histograms of many processes are added
by adding their buckets; the last one takes all from 117 s on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from wsgiproxy.scoreboard.layout import BUCKETS


def bucket_of(microseconds: int) -> int:
    """The bucket that a latency is counted in; negative ones in the first."""
    if microseconds < 4:
        return max(microseconds, 0)
    power = microseconds.bit_length() - 1
    return min(BUCKETS - 1, (power - 1) * 4 + (microseconds >> (power - 2) & 3))


def upper_bound(bucket: int) -> float:
    """Seconds: all latencies of a bucket are below; infinite for the last one."""
    if bucket >= BUCKETS - 1:
        return inf
    return lower_bound(bucket + 1)


def lower_bound(bucket: int) -> float:
    """Seconds: no latency of a bucket is below."""
    if bucket < 4:
        return bucket / 1e6
    power, quarter = divmod(bucket, 4)
    return ((4 + quarter) << (power - 1)) / 1e6


def quantile(buckets: Sequence[int], part: float) -> float:
    """Seconds that this part (0 to 1) of all latencies did not exceed: a bucket's end; 0 where there are none.

    Where that is the last bucket, its beginning.
    """
    total = sum(buckets)
    seen = 0
    for bucket, count in enumerate(buckets):
        seen += count
        if count and seen >= part * total:
            return lower_bound(bucket) if bucket >= BUCKETS - 1 else upper_bound(bucket)
    return 0.0
