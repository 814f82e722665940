"""Clients keep the cookies that keep them with their backends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.unit.testing.scenes import address, names
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.testing import Answers, Down, Load, Simulation

OURS = "{cookie: stay, key: '0123456789abcdef0123456789abcdef'}"
THEIRS = "{cookie: session, set_by: application}"


@pytest.mark.parametrize("sticky", [OURS, THEIRS])
def test_who_has_answered_a_client_goes_on_with_it_until_it_is_gone(sticky: str) -> None:
    homes: dict[str, list[str]] = {}
    quick = Answers(median=0.0001, spread=0)  # so that no client asks twice at once

    def log(exchange: Exchange) -> None:
        homes.setdefault(exchange.address, []).append(exchange.backend)

    simulation = Simulation(
        f"backends: {names(4)}\nhealth_check: {{interval: 1s}}\nsticky: {sticky}", usual=quick, log=log
    )
    simulation.script(address(1), (20, Down()), (30, quick))
    simulation.offer(Load(rate=100, addresses=40, posts=0.1))
    report = simulation.run(40)
    assert report.failed_idempotent == 0
    moves = {client: sum(one != two for one, two in pairwise(been)) for client, been in homes.items()}
    assert len(homes) == 40
    assert {been[-1] for been in homes.values()} == {address(0), address(2), address(3)}  # who had to go stays away
    for client, been in homes.items():
        assert moves[client] == (address(1) in been)


def test_a_drained_backend_goes_on_with_its_own_clients_alone() -> None:
    plain = f"backends: [{address(0)}, {address(1)}]\nsticky: {OURS}"
    drained = f"backends: [{address(0)}, {{address: {address(1)}, admin_state: drain}}]\nsticky: {OURS}"
    seen: list[tuple[float, str, str]] = []
    simulation = Simulation(
        plain, log=lambda exchange: seen.append((exchange.started_at - 1000, exchange.address, exchange.backend))
    )
    simulation.reload(10, drained)
    simulation.offer(Load(rate=50, addresses=20, end=10), Load(rate=50, addresses=60, begin=10))
    report = simulation.run(20)
    before = {client for at, client, backend in seen if at < 10 and backend == address(1)}
    after = {client for at, client, backend in seen if at > 10 and backend == address(1)}
    assert after and after <= before
    assert report.statuses == {200: report.requests}
