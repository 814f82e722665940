"""Whatever happens to a pool, in whatever order: how many may be ejected, for how long, and that it always ends."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.pool.outlier_scene import Scene
from tests.unit.pool.scripted import CHECK
from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Backend

NAMES = "abcde"

names = st.sampled_from(NAMES)
pools = (st.just(NAMES) | st.sets(names, min_size=1)).map(lambda chosen: "".join(sorted(chosen)))
rules = st.builds(
    schema.Outliers,
    consecutive_gateway_failures=st.sampled_from([1, 1, 2, 0]),
    consecutive_5xx=st.sampled_from([1, 2, 0]),
    failure_percent=st.sampled_from([0, 1, 50, 100]),
    window=st.sampled_from([1.0, 10.0]),
    minimum_requests=st.integers(1, 4),
    base_ejection_time=st.sampled_from([10.0, 1.0]),
    max_ejection_time=st.sampled_from([25.0, 10.0]),
    max_ejection_percent=st.sampled_from([50, 100, 20, 0, 75]),
)
outcomes = st.sampled_from(["failed", "5xx", "cut", "good", "client gone", "client's fault"])


class Ejections(RuleBasedStateMachine):
    """A pool that lives through failures, checks, time and reloads; beside it, what was seen of each ejection."""

    @initialize(chosen=pools, block=rules)
    def begin(self, chosen: str, block: schema.Outliers) -> None:
        self.scene = Scene(chosen, CHECK)
        self.scene.reload(chosen, block)
        self.block: schema.Outliers | None = block
        self.seen: dict[Backend, tuple[float, float]] = {}  # the last ejection of each: when, and until when
        self.before = self.scene.pool
        for backend in self.scene.pool.backends:
            backend.record_check("", 1, 1)

    @rule(name=names, outcome=outcomes, times=st.integers(1, 5), late=st.booleans())
    def attempt(self, name: str, outcome: str, times: int, late: bool) -> None:
        """Attempts at one backend, maybe by requests that an older generation has begun."""
        pool = self.before if late else self.scene.pool
        ours = [backend for backend in pool.backends if backend.address == f"http://{name}:80"]
        status = {"failed": 0, "5xx": 502, "cut": 200, "good": 200, "client gone": 0, "client's fault": 501}[outcome]
        own_fault = outcome in ("failed", "5xx", "cut")
        for backend in ours:
            was = backend.ejected_until
            for _ in range(times if backend.available else 0):
                before = dict.fromkeys(self.scene.pool.backends, 0.0)
                before |= {other: other.ejected_until for other in before}
                self.scene.attempt(name, status, outcome in ("failed", "cut"), pool)
                self.look(backend, before, own_fault)
                if not backend.available:
                    break
            assert own_fault or was or not backend.ejected_until

    @rule(chosen=pools)
    def break_down(self, chosen: str) -> None:
        """Some of them fail every request, one after the other."""
        for name in chosen:
            self.attempt(name, "failed", 3, late=False)

    def look(self, backend: Backend, before: dict[Backend, float], own_fault: bool) -> None:
        """Check one attempt's effect: on nobody but this backend, and an ejection of the right length."""
        for other, until in before.items():
            if other is not backend:
                assert other.ejected_until in (0.0, until)
        if not backend.ejected_until:
            return
        assert own_fault
        assert self.block is not None
        assert backend in self.scene.pool.backends
        assert any(other.available for other in self.scene.pool.backends)
        now, block = self.scene.now, self.block
        seconds = backend.ejected_until - now
        assert seconds == min(block.base_ejection_time * backend.ejections, block.max_ejection_time)
        at, until = self.seen.get(backend, (0.0, 0.0))
        if at and now - at <= 2 * block.max_ejection_time and seconds < block.max_ejection_time:
            assert backend.ejections > 1
        self.seen[backend] = (now, now + seconds)

    @rule(seconds=st.sampled_from([0.5, 1.0, 9.0, 30.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and then a request comes."""
        self.scene.now += seconds
        asked = self.ask()
        assert not asked or not any(0 < backend.ejected_until <= self.scene.now for backend in self.scene.pool.backends)

    @rule(name=names, good=st.booleans())
    def check(self, name: str, good: bool) -> None:
        """A check is over."""
        for backend in self.scene.pool.backends:
            if backend.address == f"http://{name}:80":
                was = backend.health
                backend.record_check("" if good else "down", 1, 2)
                seen = backend.ejections <= 1 or was == "unhealthy"
                assert not (good and backend.ejected_until and seen)

    @rule(chosen=pools, block=st.none() | rules)
    def reload(self, chosen: str, block: schema.Outliers | None) -> None:
        """Other backends, other rules: who stays keeps what it is, as far as the rules allow; who is new is new."""
        self.before = self.scene.pool
        kept = {backend: (backend.ejected_until, backend.ejections) for backend in self.before.backends}
        self.scene.reload(chosen, block)
        self.block = block
        for backend in self.scene.pool.backends:
            until, ejections = kept.get(backend, (0.0, 0))
            assert backend.ejections == ejections
            assert backend.ejected_until in (0.0, until)
            if backend.health == "checking":
                backend.record_check("", 1, 1)

    @invariant()
    def no_more_are_ejected_than_may_be(self) -> None:
        backends = self.scene.pool.backends
        ejected = [backend for backend in backends if backend.ejected_until]
        percent = 0 if self.block is None else self.block.max_ejection_percent
        most = 0 if self.block is None else max(1, len(backends) * percent // 100)
        assert len(ejected) <= min(most, len(backends) - 1)

    @invariant()
    def every_ejection_has_its_end_in_sight(self) -> None:
        roster, now = self.scene.pool.roster, self.scene.now
        for backend in self.scene.pool.backends:
            if backend.ejected_until:
                assert backend.ejected_until - now <= 25.0
                assert 0 < roster.returns_at <= backend.ejected_until

    def ask(self) -> bool:
        """A request that harms nobody, where anybody is left to take it; whether there was one."""
        asked = any(backend.fit for backend in self.scene.pool.backends)
        if asked:
            self.scene.pool.acquire().release()
        return asked

    def teardown(self) -> None:
        """With nothing but time, nobody stays ejected."""
        if not hasattr(self, "scene"):
            return
        self.scene.now += 25.0
        if self.ask():
            assert self.scene.ejected() == ""


Ejections.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


class TestEjections(Ejections.TestCase):  # type: ignore[misc]
    """Runs the machine."""
