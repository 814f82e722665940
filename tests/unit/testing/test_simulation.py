"""Whole pools in trouble, and the policies that are to help them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.testing.scenes import address, names
from wsgiproxy.errors import InvalidConfigError
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.testing import (
    Answers,
    Behaviour,
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
    restart,
)


def pool(count: int, more: str = "") -> str:
    """The YAML of a pool of so many backends that are checked each second."""
    return f"backends: {names(count)}\nhealth_check: {{interval: 1s, timeout: 1s}}\n{more}"


# --- a whole pool -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Down(), Fails(status=503), Resets()])
@pytest.mark.parametrize(
    ("more", "within", "budget"),
    [
        # In panic all get work, so it is back at once. Who was known to be bad costs the budget nothing, so there is a
        # little more while those are found out whom the panic takes for good.
        ("", 1.1, 0.25),
        # Two good checks, an interval and a tenth apart. The budget is 20 % of the last ten seconds' at each instant.
        ("panic_threshold: 0", 2.3, 0.23),
    ],
)
def test_a_whole_pool_that_was_dead_is_used_again_without_a_storm_of_retries(
    fault: Behaviour, more: str, within: float, budget: float
) -> None:
    ends: list[tuple[float, int]] = []

    def log(exchange: Exchange) -> None:
        ends.append((exchange.started_at - 1000.0, exchange.status))

    simulation = Simulation(pool(5, more), log=log)
    simulation.script_all((10, fault), (30, Answers()))
    simulation.offer(Load(rate=60, posts=0.2))
    report = simulation.run(34)
    requests, attempts = report.requests_between(10, 30), report.attempts_between(10, 30)
    late = [at for at, status in ends if status >= 500 and at >= 30]
    back = max(late, default=30.0) - 30
    print(f"{fault} {more}: {attempts} attempts for {requests} requests; the last error {back:.2f} s after the end")
    assert back <= within
    assert attempts <= requests * (1 + budget)
    assert report.still_in_flight == 0
    assert {status for at, status in ends if at < 9.9} == {200}


def test_a_pool_that_hangs_whole_makes_no_storm_either() -> None:
    simulation = Simulation(pool(5, "timeouts: {read: 1s}"))
    simulation.script_all((10, Hangs()), (30, Answers()))
    simulation.offer(Load(rate=60))
    report = simulation.run(32)
    assert report.attempts_between(10, 30) <= report.requests_between(10, 30) * 1.23
    assert report.statuses.keys() == {200, 504}
    assert report.still_in_flight == 0


def test_a_few_requests_a_second_may_all_be_tried_again() -> None:
    simulation = Simulation(pool(5, "panic_threshold: 0\noutliers: null"))
    simulation.script(address(0), (5, Resets(fools_checks=True)))
    simulation.offer(Load(rate=5))
    report = simulation.run(60)
    assert (report.failed_idempotent, report.failed_other) == (0, 0)
    assert report.retries > 40


# --- hundreds of backends ---------------------------------------------------------------------------------------------


def test_of_three_hundred_backends_a_third_fails_in_every_way() -> None:
    simulation = Simulation(
        pool(300, "balance: random_two\ntimeouts: {connect: 500ms, read: 1s}\nslow_start: 2s"), seed=2
    )
    ways = [Down(), Hangs(), Resets(), Unreachable(), Flaps()]
    for number in range(100):
        begin = 3 + number / 50  # one after the other
        simulation.script(address(number), (begin, ways[number % len(ways)]), (begin + 7, Answers()))
    simulation.offer(Load(rate=500, posts=0.1))
    report = simulation.run(17)
    detected = [outage.to_detect for outage in report.outages if outage.to_detect is not None]
    print(f"{report}\ndetected: {len(detected)}, in {max(detected):.2f} s at the latest")
    assert len(report.outages) == 100
    assert len(detected) >= 80  # who flaps may look well at each check, and get little work
    assert max(detected) < 8
    assert report.failed_idempotent <= report.requests * 0.003
    assert report.retries <= report.requests * 0.2
    assert report.still_in_flight == 0
    well = report.requests_between(15, 17)
    assert report.attempts_between(15, 17) <= well * 1.02


# --- the queue --------------------------------------------------------------------------------------------------------


def overloaded(more: str, seconds: float = 20) -> tuple[Report, list[Exchange]]:
    """A backend that answers 20 requests a second, two at a time, is asked for 40."""
    ended: list[Exchange] = []
    simulation = Simulation(
        f"backends: [{{address: 'http://a:80', max_in_flight: 2}}]\n{more}",
        usual=Answers(median=0.1, spread=0),
        log=ended.append,
    )
    simulation.offer(Load(rate=40))
    return simulation.run(seconds), ended


def test_a_queue_is_served_in_order_and_no_longer_than_it_may_be() -> None:
    report, ended = overloaded("max_queue: 10")
    served = [exchange.started_at for exchange in ended if exchange.status == 200]
    assert served == sorted(served)
    assert report.longest_queue == 10
    assert report.backends["http://a:80"].most_in_flight == 2
    assert len(served) == pytest.approx(400, rel=0.03)
    assert report.reasons.keys() == {"done", "pool_full"}
    assert report.retry_after == {1: report.statuses[503]}
    assert max(exchange.queue_seconds for exchange in ended) <= 0.5 + 1e-6  # five before it on each of two places
    assert report.still_in_flight == 0


def test_who_waits_too_long_in_the_queue_is_told_so() -> None:
    report, ended = overloaded("max_queue: 1000\ntimeouts: {queue: 2s}")
    assert report.reasons.keys() == {"done", "queue_timeout"}
    late = [exchange for exchange in ended if exchange.reason == "queue_timeout"]
    assert all(exchange.queue_seconds == pytest.approx(2.0) for exchange in late)
    assert all(exchange.ended_at - exchange.started_at == pytest.approx(2.0) for exchange in late)
    assert report.longest_queue <= 120  # of 40 a second in two seconds, by chance some more
    assert report.still_in_flight == 0


def test_clients_who_go_leave_the_queue() -> None:
    simulation = Simulation(
        "backends: [{address: 'http://a:80', max_in_flight: 1}]", usual=Answers(median=0.2, spread=0)
    )
    simulation.offer(Load(rate=20, patience=1.0))
    report = simulation.run(20)
    assert report.reasons.keys() == {"client_disconnected", "done"}
    assert report.longest_queue < 40
    assert report.still_in_flight == 0


def test_without_a_queue_what_is_too_much_is_refused_at_once() -> None:
    report, _ = overloaded("max_queue: 0")
    assert (report.longest_queue, report.reasons.keys()) == (0, {"done", "pool_full"})
    assert report.p99 == pytest.approx(0.1)


# --- ejection, panic, slow start, hedging -----------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "most"), [(0, 1), (30, 3), (100, 8)])
def test_no_more_are_ejected_than_may_be(percent: int, most: int) -> None:
    outliers = f"{{max_ejection_percent: {percent}, base_ejection_time: 5s}}"
    simulation = Simulation(f"backends: {names(10)}\noutliers: {outliers}\npanic_threshold: 0")
    for number in range(8):
        simulation.script(address(number), (5, Resets()))
    simulation.offer(Load(rate=100))
    report = simulation.run(25)
    ejected: set[str] = set()
    peak = 0
    for change in report.changes:
        ejected.discard(change.address)
        if change.state == "ejected":
            ejected.add(change.address)
        peak = max(peak, len(ejected))
    assert peak == most


def test_with_few_left_all_are_asked_and_nobody_notices() -> None:
    simulation = Simulation(pool(5, "balance: least_conn"))
    for number in range(3):
        simulation.script(address(number), (10, Fails()), (20, Answers()))
    simulation.offer(Load(rate=100))
    simulation.at(15, lambda: print(simulation.pool))
    report = simulation.run(24)
    states = [change.state for change in report.changes if not change.address]
    assert states == ["panic", "no panic"]
    assert report.outages[0].attempts > 150  # in panic they get their share


def test_panic_spreads_the_work_but_answers_come_from_those_that_are_well() -> None:
    simulation = Simulation(pool(5))
    for number in range(3):
        simulation.script(address(number), (10, Down()), (20, Answers()))
    simulation.offer(Load(rate=100, posts=0.2))
    report = simulation.run(24)
    assert report.failed_idempotent <= 4  # three attempts may meet the three before they are known
    assert "panic" in {change.state for change in report.changes}


def test_who_is_back_gets_its_share_little_by_little() -> None:
    simulation = Simulation(pool(4, "slow_start: {duration: 10s, floor: 10}"))
    simulation.script(address(0), *restart(5, 5, Answers()))
    simulation.offer(Load(rate=300))
    report = simulation.run(26)
    (outage,) = report.outages
    assert outage.back_at is not None
    shares = []
    for second in (0, 2, 5, 8, 12):
        begin = outage.back_at + second
        got = report.attempts_between(begin, begin + 1, address(0))
        shares.append(got / (report.requests_between(begin, begin + 1) / 4))
    print("shares after 0, 2, 5, 8 and 12 s:", ", ".join(f"{share:.2f}" for share in shares))
    assert shares == sorted(shares)
    assert shares[0] <= 0.25
    assert shares[2] == pytest.approx(0.6, abs=0.1)
    assert shares[4] == pytest.approx(1.0, abs=0.02)


def test_who_is_added_gets_no_work_before_its_first_check_and_little_after_it() -> None:
    simulation = Simulation(pool(2, "slow_start: 10s"))
    simulation.reload(10, pool(3, "slow_start: 10s"))
    simulation.script(address(2), (0, Slow(median=0.5, spread=0)))
    simulation.offer(Load(rate=200))
    report = simulation.run(30)
    assert report.attempts_between(0, 10.5, address(2)) == 0
    assert 0 < report.attempts_between(10.5, 11.5, address(2)) < 0.4 * report.attempts_between(10.5, 11.5, address(1))
    assert report.attempts_between(25, 30, address(2)) == pytest.approx(report.requests_between(25, 30) / 3, rel=0.03)
    assert report.failed_idempotent == 0


def test_who_is_removed_ends_what_it_has_and_gets_no_more() -> None:
    simulation = Simulation(pool(3), usual=Answers(median=0.3))
    simulation.reload(10, pool(2))
    simulation.offer(Load(rate=100))
    report = simulation.run(20)
    assert report.attempts_between(10, 20, address(2)) == 0
    assert (report.statuses, report.still_in_flight) == ({200: report.requests}, 0)


def test_hedges_cut_the_tail_within_the_budget() -> None:
    reports = []
    for more in ("", "retries: {hedge_after: 100ms}"):
        simulation = Simulation(pool(5, more))
        simulation.script(address(0), (0, Slow(median=1.0, fools_checks=True)))
        simulation.offer(Load(rate=100, posts=0.1))
        reports.append(simulation.run(15))
    plain, hedged = reports
    print(f"p95 {plain.quantile(0.95):.3f} s, with hedges {hedged.quantile(0.95):.3f} s, {hedged.hedges} of them")
    assert plain.quantile(0.9) > 0.5
    assert hedged.quantile(0.9) < 0.25
    assert plain.hedges == 0 < hedged.hedges <= hedged.requests * 0.2 + 3
    assert hedged.retries == 0
    assert hedged.still_in_flight == 0


def test_a_slow_backend_is_spared_by_those_balances_that_look() -> None:
    tails = {}
    for balance in ("round_robin", "least_conn", "random_two", "least_time"):
        simulation = Simulation(pool(5, f"balance: {balance}"))
        simulation.script(address(0), (0, Answers().slowed(10)))
        simulation.offer(Load(rate=200))
        tails[balance] = simulation.run(10).p99
    print(tails)
    assert min(tails, key=lambda balance: tails[balance]) == "least_time"
    assert max(tails, key=lambda balance: tails[balance]) == "round_robin"


@pytest.mark.parametrize(
    ("more", "reason", "most"),
    [
        ("timeouts: {read: 2s}", "first_byte_timeout", 6.0),  # three attempts
        ("timeouts: {first_byte: 1s}", "first_byte_timeout", 3.0),
        ("timeouts: {total: 1500ms}", "total_timeout", 1.5),
        ("retries: {per_attempt_timeout: 500ms}", "attempt_timeout", 1.5),
    ],
)
def test_each_timeout_of_a_pool_is_kept_to(more: str, reason: str, most: float) -> None:
    simulation = Simulation(f"backends: {names(3)}\noutliers: null\n{more}", usual=Hangs())
    simulation.offer(Load(rate=0.5))
    report = simulation.run(20)
    assert set(report.reasons) == {reason}
    assert report.quantile(1) == pytest.approx(most, abs=0.1)  # back-offs before the last attempt
    assert report.still_in_flight == 0


@pytest.mark.parametrize("more", ["", "retries: {hedge_after: 100ms}"])
def test_who_hangs_is_ejected_also_where_the_whole_exchange_has_the_shortest_time(more: str) -> None:
    simulation = Simulation(f"backends: {names(3)}\ntimeouts: {{total: 1500ms}}\n{more}")
    simulation.script(address(0), (2, Hangs()))
    simulation.offer(Load(rate=50))
    report = simulation.run(10)
    assert "ejected" in {change.state for change in report.changes}
    assert "total_timeout" in report.reasons


# --- how it is used ---------------------------------------------------------------------------------------------------


def test_a_simulation_runs_once() -> None:
    simulation = Simulation(pool(1))
    simulation.run(1)
    with pytest.raises(RuntimeError, match="runs once"):
        simulation.run(1)


def test_mistakes_of_a_pool_have_their_places_in_its_text() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        Simulation("backends: [http://a:80]\nbalanse: first")
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.column) == (2, 1)
    assert "balance" in str(mistake)


def test_a_pool_of_a_file_is_tried_out(tmp_path: Path) -> None:
    file = tmp_path / "wsgiproxy.yaml"
    file.write_text(
        f"pools:\n  web: {{backends: {names(3)}}}\n  other: {{backends: [http://c:80]}}\nroutes: [{{pool: web}}]\n"
    )
    simulation = Simulation.of_file(str(file), "web", seed=3)
    assert len(simulation.pool.backends) == 3
    simulation.offer(Load(clients=2))
    assert simulation.run(2).statuses.keys() == {200}
    with pytest.raises(ValueError, match="has no pool 'wab', only web, other"):
        Simulation.of_file(str(file), "wab")


def test_backends_over_tls_are_simulated_as_well() -> None:
    simulation = Simulation("backends: [https://a:443]")
    simulation.offer(Load(clients=1))
    assert simulation.run(1).statuses.keys() == {200}


def test_exchanges_are_logged_in_virtual_time() -> None:
    seen: list[Exchange] = []
    simulation = Simulation(pool(2), usual=Answers(median=0.5, spread=0, body=1.0), log=seen.append)
    simulation.script(address(0), (0, Down(fools_checks=True)))
    simulation.offer(Load(clients=1))
    simulation.run(30)
    first = next(exchange for exchange in seen if exchange.failures)
    assert first.failures is not None and first.failures[0].reason == "connect_error"
    assert first.first_byte_at - first.started_at == pytest.approx(0.5)
    assert first.ended_at - first.started_at == pytest.approx(1.5)
    assert (first.attempts, first.bytes_sent, first.backend) == (2, 1000, address(1))
