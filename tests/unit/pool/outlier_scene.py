"""A pool with outlier rules, a clock of its own, and attempts that end as a test says."""

from __future__ import annotations

from typing import Any

from tests.unit.pool.scripted import address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool


class Scene:
    """A pool with a clock of its own."""

    def __init__(self, names: str, check: schema.HealthCheck | None = None, **block: Any) -> None:
        self._check = check
        self._table = table(self._block(names, schema.Outliers(**block)))
        self.now = 1000.0
        self.pool.roster.clock = lambda: self.now

    @property
    def pool(self) -> Pool:
        """The pool of the latest generation."""
        return self._table.pools["web"]

    def reload(self, names: str, outliers: schema.Outliers | None) -> None:
        """The next generation has these backends, and these rules."""
        self._table = table(self._block(names, outliers), self._table)

    def _block(self, names: str, outliers: schema.Outliers | None) -> schema.Pool:
        backends = tuple(schema.Backend(address=address(name)) for name in names)
        return schema.Pool(backends=backends, outliers=outliers, health_check=self._check, panic_threshold=0)

    def backend(self, name: str) -> Backend:
        """The backend of that name."""
        return next(backend for backend in self.pool.backends if name_of(backend.address) == name)

    def attempt(self, name: str, status: int = 200, failed: bool = False, pool: Pool | None = None) -> None:
        """One attempt at that backend: answered with ``status`` (0: not at all), and then cut or not."""
        pool = pool or self.pool
        lease = pool.acquire([other for other in pool.backends if name_of(other.address) != name])
        if status:
            lease.answered(status)
        lease.release(failed)

    def fail(self, name: str, times: int = 5, pool: Pool | None = None) -> None:
        """So many attempts at that backend without an answer, by its own fault."""
        for _ in range(times):
            self.attempt(name, status=0, failed=True, pool=pool)

    def takers(self) -> str:
        """Who gets work now."""
        names = set()
        for _ in range(3 * len(self.pool.backends)):
            lease = self.pool.acquire()
            lease.release()
            names.add(name_of(lease.backend.address))
        return "".join(sorted(names))

    def ejected(self) -> str:
        """Who is ejected now."""
        return "".join(name_of(backend.address) for backend in self.pool.backends if backend.ejected_until)
