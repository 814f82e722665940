"""The arithmetic alone: digests, and waits that are as good as random."""

from __future__ import annotations

import statistics

import pytest

from wsgiproxy.pool.hashing import digest, wait

SEEDS = [digest(f"http://10.0.0.{number}:80") for number in range(5)]


def test_digests_of_any_text_have_63_bits() -> None:
    digests = [digest(text) for text in ("", "a", "\xe9", "\u20ac", "\udc80", "x" * 10_000)]
    assert len(set(digests)) == len(digests)
    assert all(0 <= value < 2**63 for value in digests)


def test_waits_are_exponentially_distributed_even_for_keys_in_a_row() -> None:
    waits = [wait(SEEDS[0], key) for key in range(50_000)]
    assert statistics.fmean(waits) == pytest.approx(1, abs=0.02)
    assert statistics.stdev(waits) == pytest.approx(1, abs=0.03)
    assert sum(one > 3 for one in waits) / len(waits) == pytest.approx(0.0498, abs=0.005)


def test_the_waits_of_two_backends_have_nothing_to_do_with_one_another() -> None:
    rows = [[wait(seed, digest(str(number))) for number in range(20_000)] for seed in SEEDS[:2]]
    assert statistics.correlation(*rows) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1, SEEDS[0]])
def test_every_wait_is_a_number_above_zero(key: int) -> None:
    assert all(0 < wait(seed, key) < 40 for seed in SEEDS)
