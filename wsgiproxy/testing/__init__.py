"""Try out a pool's policy without a network and without waiting: a simulator.

It runs what a proxy runs, balance, health checks, ejection, queue, retries and their budget, hedging, panic and slow
start, in a time of its own: an hour with a thousand backends takes as long as the work in it, and the same seed gives
the same report on every machine. Simulated are only the backends, which follow scripts, and the clients.

One of three backends is killed for ten seconds under a load of 100 requests a second, every fifth a POST:

>>> from wsgiproxy.testing import Answers, Down, Load, Simulation
>>> simulation = Simulation('''
... backends: [http://a:80, http://b:80, http://c:80]
... balance: least_conn
... health_check: {interval: 1s}
... ''', seed=1)
>>> simulation.script("http://b:80", (10, Down()), (20, Answers()))
>>> simulation.offer(Load(rate=100, posts=0.2))
>>> report = simulation.run(30)
>>> report.failed_idempotent
0
>>> outage = report.outages[0]
>>> outage.to_detect < 3.5, outage.to_return < 2.5, outage.extra_load < 1.6
(True, True, True)

``print(report)`` shows the rest. A pool may come from a file, too (``Simulation.of_file``), or be a
``config.schema.Pool``; ``reload`` edits it on the way, ``at`` calls what you like at an instant. What a backend may do:
``Answers`` (log-normal latency, a number of workers), ``Slow``, ``Fails`` (5xx), ``Down``, ``Hangs``, ``Resets``,
``Unreachable``, ``Cuts``, ``Flaps``, or a ``Behaviour`` of yours.

The pool's own log lines go to the loggers ``wsgiproxy.pool`` and ``wsgiproxy.health``, as they always do.

The rule of the room: nothing outside of it, tests apart, imports it. All times are seconds; instants are seconds since
the simulation began.
"""

from __future__ import annotations

from wsgiproxy.testing.behaviour import (
    Answers,
    Behaviour,
    Cuts,
    Down,
    Fails,
    Fate,
    Flaps,
    Hangs,
    Resets,
    Script,
    Slow,
    Unreachable,
    restart,
)
from wsgiproxy.testing.load import Asked, Load
from wsgiproxy.testing.report import BackendReport, Change, Outage, Report
from wsgiproxy.testing.simulation import Simulation
from wsgiproxy.testing.virtual import VirtualTime

__all__ = [
    "Answers", "Asked", "BackendReport", "Behaviour", "Change", "Cuts", "Down", "Fails", "Fate", "Flaps", "Hangs",
    "Load", "Outage", "Report", "Resets", "Script", "Simulation", "Slow", "Unreachable", "VirtualTime", "restart",
]  # fmt: skip
