"""A pool, what its backends do, who asks, and the time in which all of that happens.

The rule of the room: what decides is the real code, from ``proxy.forward`` down; what is simulated are time, chance,
clients and backends.
"""

from __future__ import annotations

import contextlib
import functools
import random
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from wsgiproxy.config import schema
from wsgiproxy.config.address import parse_backend_address
from wsgiproxy.config.loader import load, loads
from wsgiproxy.errors import ConfigError, InvalidConfigError, NoBackendError, ProxyError
from wsgiproxy.pool.backend import Roster
from wsgiproxy.pool.health import HealthChecker
from wsgiproxy.pool.pool import Pool
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.forward import forward
from wsgiproxy.proxy.response import ForwardedBody
from wsgiproxy.proxy.sticky import Visit
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.testing.behaviour import Answers, Behaviour, Script
from wsgiproxy.testing.clients import Impatience, Jar, request_of, variables_of
from wsgiproxy.testing.load import Asked, Load
from wsgiproxy.testing.report import Ledger, Report
from wsgiproxy.testing.upstream import UNDER_WAY, SimulatedUpstream
from wsgiproxy.testing.virtual import BEGIN, VirtualTime

_NAME = "pool"  # of a pool that was given without a file
_KEY = b"the secret of a simulation, which has none"  # in the place of a key file, which is not read
_LEAD = f"pools:\n  {_NAME}:\n"
_INDENT = "    "


class Simulation:
    """One pool in a time of its own; it runs once.

    ``time`` is its clock (``time.elapsed``: seconds since the beginning), ``pool`` the current generation of its pool.
    """

    def __init__(
        self,
        pool: schema.Pool | schema.Config | str,
        *,
        seed: int = 0,
        usual: Behaviour | None = None,
        log: Callable[[Exchange], None] | None = None,
    ) -> None:
        """``pool`` is a pool's block, its YAML text, ``InvalidConfigError`` where that has mistakes, or a whole
        configuration of one pool.

        ``usual`` is how backends behave whose scripts say nothing else, by default ``Answers()``. ``log`` is called
        with each exchange that is over, as an access log is; its instants are those of ``time``.
        """
        self.time = VirtualTime()
        self._config = _config_of(pool)
        self._seed = seed
        self._usual = Answers() if usual is None else usual
        self._log = log
        self._scripts: dict[str, Script] = {}
        self._loads: list[Load] = []
        self._upstreams: dict[str, SimulatedUpstream] = {}
        self._ledger = Ledger()
        self._chance = self._chance_of("pool").random
        self._checker: HealthChecker | None = None
        self._table: RoutingTable | None = None
        self._jar = Jar()
        self._asking = 0  # clients that wait for an answer
        self._ran = False
        self._replace()

    def __repr__(self) -> str:
        return f"<Simulation of {self.pool!r}, {self.time.elapsed:g} s>"

    @classmethod
    def of_file(cls, path: str, pool: str, **given: Any) -> Simulation:
        """A pool of a configuration file, by its name; more as for the class itself.

        ``InvalidConfigError`` with every mistake of the file, ``ValueError`` where it has no such pool.
        """
        config = load(path).config
        if pool not in config.pools:
            raise ValueError(f"{path} has no pool {pool!r}, only {', '.join(config.pools) or 'none at all'}")
        return cls(msgspec.structs.replace(config, pools={pool: config.pools[pool]}), **given)

    @property
    def pool(self) -> Pool:
        """The current generation of the pool."""
        assert self._table is not None
        return self._table.pools[_NAME]

    def script(self, address: str, *phases: tuple[float, Behaviour]) -> None:
        """Have a backend, of this pool or of one that a ``reload`` brings, behave otherwise from those instants on.

        Each phase is an instant, in seconds since the beginning, and a ``Behaviour``; ``ValueError`` unless they are in
        the order of time. To be called before ``run``; a second script of a backend replaces the first one.
        """
        name = str(parse_backend_address(address))
        self._scripts[name] = Script(self._usual, *phases)
        if name in self._upstreams:
            self._upstreams[name].script = self._scripts[name]

    def script_all(self, *phases: tuple[float, Behaviour]) -> None:
        """The same for every backend that is in the pool now."""
        for backend in self.pool.backends:
            self.script(backend.address, *phases)

    def offer(self, *loads: Load) -> None:
        """Have clients ask; several loads add up. To be called before ``run``."""
        self._loads += loads

    def reload(self, at: float, pool: schema.Pool | str) -> None:
        """Give the pool another block at that instant, as an edited file does; backends that stay are kept."""
        pools = _config_of(pool).pools

        def swap() -> None:
            self._config = msgspec.structs.replace(self._config, pools=pools)
            self._replace()

        self.at(at, swap)

    def at(self, instant: float, function: Callable[[], object]) -> None:
        """Call ``function`` at that instant, in seconds since the beginning, in a task of its own."""
        self.time.start(function, BEGIN + instant)

    def run(self, seconds: float) -> Report:
        """Let so many seconds pass, then let what was asked by then come to its end, and tell what was seen.

        A simulation runs once: ``RuntimeError`` the second time.
        """
        if self._ran:
            raise RuntimeError("a simulation runs once: make another one")
        self._ran = True
        for number, offered in enumerate(self._loads):
            self._begin(offered, self._chance_of(f"load {number}"), BEGIN + min(offered.end, seconds))
        self.time.run(BEGIN + seconds, self._look)
        self.time.run(goes_on=lambda: self._look() and self._asking > 0)
        if self._checker is not None:
            self._checker.stop()
        self.time.run()
        return self._ledger.report(seconds, self.pool.backends, self._upstreams)

    def _look(self) -> bool:
        self._ledger.look(self.pool.roster, self.time.elapsed)
        return True

    def _chance_of(self, whose: str) -> random.Random:
        """A source of chance for each, so that what one draws changes nothing for the others."""
        return random.Random(f"{self._seed} {whose}")

    # --- the pool -----------------------------------------------------------------------------------------------------

    def _replace(self) -> None:
        """Build the pool anew, as ``runtime`` does."""
        self._table = build_table(
            self._config,
            self._table,
            self._make_upstream,
            make_secure={_NAME: self._make_upstream},
            make_roster=functools.partial(Roster, self.time, self.time.clock, self._chance),
            sticky_keys={_NAME: _KEY},
            now=self.time.clock,
        )
        check = self.pool.block.health_check
        if self._checker is not None and check is None:
            self._checker.stop()
            self._checker = None
        if check is not None:
            if self._checker is None:
                self._checker = HealthChecker(self.time)
            self._checker.update(self.pool, check)

    def _make_upstream(self, text: str) -> SimulatedUpstream:
        name = str(parse_backend_address(text))
        upstream = self._upstreams.get(name)
        if upstream is None:
            script = self._scripts.get(name) or Script(self._usual)
            upstream = self._upstreams[name] = SimulatedUpstream(name, self.time, script, self._chance_of(name))
        return upstream

    # --- the clients --------------------------------------------------------------------------------------------------

    def _begin(self, offered: Load, chance: random.Random, ends_at: float) -> None:
        begins_at = BEGIN + offered.begin
        if offered.rate:
            self.time.start(lambda: self._come(offered, chance, ends_at), begins_at)
        for _ in range(offered.clients):
            self.time.start(lambda: self._stay(offered, chance, ends_at), begins_at)

    def _come(self, offered: Load, chance: random.Random, ends_at: float) -> None:
        """Clients who come by chance, each with one request."""
        time = self.time
        next_at = time.now
        while (next_at := next_at + chance.expovariate(offered.rate)) < ends_at:
            time.sleep(next_at - time.now)
            time.start(functools.partial(self._ask, offered, offered.draw(chance)))

    def _stay(self, offered: Load, chance: random.Random, ends_at: float) -> None:
        """One client who asks again and again."""
        time = self.time
        while time.now < ends_at:
            if offered.think:
                time.sleep(chance.expovariate(1 / offered.think))
                if time.now >= ends_at:
                    return
            began = time.now
            self._ask(offered, offered.draw(chance))
            if time.now == began:  # an answer at once; so fast is nobody
                time.sleep(0.001)

    def _ask(self, offered: Load, asked: Asked) -> None:
        """One request, from its coming to its end."""
        time, ledger, pool = self.time, self._ledger, self.pool
        sticky = pool.sticky
        if sticky is not None:
            asked = self._jar.put_into(asked, sticky)
        self._asking += 1
        ledger.ask(time.elapsed)
        environ: dict[str, Any] = {"REQUEST_METHOD": asked.method, "REMOTE_ADDR": asked.client, UNDER_WAY: [0]}
        if asked.headers:
            environ.update(variables_of(asked.headers))
        exchange = Exchange(environ, self._end)
        exchange.started_at = time.now
        exchange.pool = _NAME
        impatience = None if offered.patience is None else Impatience(time, offered.patience)
        request = request_of(exchange, asked, offered.body, impatience, pool.timeouts)
        assert exchange.head is not None
        visit = None if sticky is None else Visit(sticky, exchange.head, request)
        try:
            response, lease = forward(exchange, pool, request, None if visit is None else visit.prefer)
        except ProxyError as error:
            exchange.status = error.status
            exchange.fail(error)
            exchange.finish()
            if isinstance(error, NoBackendError):
                ledger.tell_when_to_return(error.retry_after)
        else:
            exchange.first_byte_at = time.now
            exchange.status = response.status
            if sticky is not None and visit is not None:
                self._jar.take_from(response, asked, sticky, visit, lease)
            body = ForwardedBody(response.body, lease, exchange)
            try:
                with contextlib.suppress(ProxyError):  # the exchange knows it
                    for _ in body:
                        pass
            finally:
                body.close()
        finally:
            if impatience is not None:
                impatience.leave()
            self._asking -= 1

    def _end(self, exchange: Exchange) -> None:
        exchange.ended_at = self.time.now
        self._ledger.end(exchange, exchange.environ["REQUEST_METHOD"])
        if self._log is not None:
            self._log(exchange)


def _config_of(pool: schema.Pool | schema.Config | str) -> schema.Config:
    """A configuration with that pool alone."""
    if isinstance(pool, schema.Config):
        (only,) = pool.pools.values()
        return msgspec.structs.replace(pool, pools={_NAME: only}, routes=())
    if isinstance(pool, schema.Pool):
        return schema.Config(pools={_NAME: pool})
    text = textwrap.indent(textwrap.dedent(pool), _INDENT)
    try:
        return loads(_LEAD + text, "").config
    except InvalidConfigError as error:
        _refuse(error)


def _refuse(error: InvalidConfigError) -> NoReturn:
    """Raise the mistakes with their places in the text that was given."""
    lines, columns = _LEAD.count("\n"), len(_INDENT)
    raise InvalidConfigError(
        [
            ConfigError(
                mistake.problem,
                file="pool",
                line=max(1, mistake.line - lines),
                column=max(1, mistake.column - columns),
                key=mistake.key.removeprefix(f"pools.{_NAME}").removeprefix("."),
            )
            for mistake in error.mistakes
        ]
    ) from None
