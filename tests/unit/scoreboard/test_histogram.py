"""Buckets that grow with what they count."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.scoreboard.histogram import bucket_of, lower_bound, quantile, upper_bound
from wsgiproxy.scoreboard.layout import BUCKETS


@given(microseconds=st.integers(0, 1 << 40))
def test_a_latency_lies_within_its_bucket(microseconds: int) -> None:
    bucket = bucket_of(microseconds)
    assert lower_bound(bucket) <= microseconds / 1e6 < upper_bound(bucket)


def test_buckets_follow_one_another_and_are_a_quarter_wide_at_most() -> None:
    for bucket in range(BUCKETS - 1):
        assert bucket_of(round(lower_bound(bucket) * 1e6)) == bucket
        assert upper_bound(bucket) == lower_bound(bucket + 1)
        assert bucket < 4 or upper_bound(bucket) <= lower_bound(bucket) * 1.2500001
    assert upper_bound(BUCKETS - 1) == inf
    assert 100 < lower_bound(BUCKETS - 1) < 120


def test_a_clock_that_went_back_is_no_error() -> None:
    assert bucket_of(-5) == 0


def test_quantiles_are_the_ends_of_buckets() -> None:
    buckets = [0] * BUCKETS
    assert quantile(buckets, 0.5) == 0
    buckets[bucket_of(1000)] = 98
    buckets[bucket_of(50_000)] = 1
    buckets[BUCKETS - 1] = 1
    assert 0.001 < quantile(buckets, 0.5) <= 0.00125
    assert 0.05 < quantile(buckets, 0.99) <= 0.0625
    assert quantile(buckets, 1) == lower_bound(BUCKETS - 1)
