"""Pools to simulate, and the faults that a backend may have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wsgiproxy.testing import (
    Answers,
    Behaviour,
    Cuts,
    Down,
    Fails,
    Flaps,
    Hangs,
    Load,
    Report,
    Resets,
    Simulation,
    Slow,
    Unreachable,
)

FAULTS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "killed": Down(),
        "hangs": Hangs(),
        "resets": Resets(),
        "answers 500": Fails(),
        "slow tenfold": Slow(),
        "flaps each second": Flaps(),
        "drops SYNs": Unreachable(),
        "closes mid-body": Cuts(),
    }
)


def names(count: int) -> str:
    """The addresses of so many backends, as a YAML list."""
    return "[" + ", ".join(address(number) for number in range(count)) + "]"


def address(number: int) -> str:
    """The address of one of those."""
    return f"http://b{number}:80"


def five_with(fault: Behaviour, more: str = "", seed: int = 1, check: str = "{interval: 1s, timeout: 1s}") -> Report:
    """A pool of five, one of which has that fault from 5 s to 20 s, under 100 requests a second for 25 s."""
    simulation = Simulation(
        f"""
        backends: {names(5)}
        balance: least_conn
        health_check: {check}
        timeouts: {{connect: 1s, read: 2s}}
        {more}
        """,
        seed=seed,
    )
    simulation.script(address(2), (5, fault), (20, Answers()))
    simulation.offer(Load(rate=100, posts=0.2))
    return simulation.run(25)
