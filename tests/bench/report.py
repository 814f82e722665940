"""Many samples -> one table per work: medians, and ratios taken round by round, so that a noisy minute hits both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.plot import Chart
from tests.bench.works import Sample, Work

Verdict = tuple[
    str, str, float, float, bool
]  # of one target: what, the unit or peer, measured, wanted, whether it is met


@dataclass(frozen=True)
class Results:
    """Samples of one work: ``samples[target][round]``, targets in the order of the rows."""

    work: Work
    samples: dict[str, list[Sample]]

    def ratio(self, target: str, peer: str) -> float:
        """The median over the rounds of the target's figure divided by the peer's; 0 where a peer answered nothing."""
        pairs = zip(self.figures(target), self.figures(peer), strict=True)
        return median([ours / theirs if theirs else 0.0 for ours, theirs in pairs])

    def figures(self, target: str) -> list[float]:
        """What is compared, round by round: the rate, or the 99th percentile of the latency."""
        return [sample.p99_ms if self.work.by_p99 else sample.rate for sample in self.samples[target]]

    def errors(self) -> list[str]:
        """Everything that went wrong, one line each."""
        return [
            f"{self.work.name}, {target}, round {number}: {error}"
            for target, samples in self.samples.items()
            for number, sample in enumerate(samples, 1)
            for error in sample.errors
        ]

    def table(self, peers: Sequence[str]) -> str:
        """The table, with one column of ratios for each of ``peers``."""
        head = f"{'':12}{self.work.metric:>12}{'lowest':>10}{'highest':>10}{'p50 ms':>9}{'p99 ms':>9}{'busy':>7}"
        figure = "p99/" if self.work.by_p99 else "/ "
        about = f"{self.work.name}: {self.work.about}; {self.work.connections} connections"
        lines = [about, head + "".join(f"{figure + peer:>12}" for peer in peers)]
        for target, samples in self.samples.items():
            rates = [sample.rate for sample in samples]
            p50, p99 = median([sample.p50_ms for sample in samples]), median([sample.p99_ms for sample in samples])
            busy = median([sample.busy for sample in samples])
            row = f"{target:12}{median(rates):12,.0f}{min(rates):10,.0f}{max(rates):10,.0f}"
            row += f"{p50:9.2f}{p99:9.2f}{busy:7.0%}"
            lines.append(row + "".join(f"{self.ratio(target, peer):12.3f}" for peer in peers))
        return "\n".join(lines)

    def chart(self) -> Chart:
        """The medians for the plot."""
        unit = "p99, ms" if self.work.by_p99 else self.work.metric
        values = {target: [median(self.figures(target))] for target in self.samples}
        return Chart(self.work.name, self.work.about, unit, [""], values)

    def verdicts(self, name: str) -> list[Verdict]:
        """The work's targets for ``name``, of the peers that ran."""
        rows = []
        for peer, wanted in self.work.targets.items():
            if {name, peer} <= self.samples.keys():
                ratio = self.ratio(name, peer)
                met = 0 < ratio <= wanted if self.work.by_p99 else ratio >= wanted
                rows.append((self.work.name, f"{'p99 ' * self.work.by_p99}of {peer}", ratio, wanted, met))
        return rows

    def as_dict(self, peers: Sequence[str]) -> dict[str, object]:
        """Everything as JSON takes it."""
        return {
            "metric": self.work.metric,
            "targets": {
                target: {
                    "median": median([sample.rate for sample in samples]),
                    "p50_ms": median([sample.p50_ms for sample in samples]),
                    "p99_ms": median([sample.p99_ms for sample in samples]),
                    "ratios": {peer: self.ratio(target, peer) for peer in peers},
                    "samples": [sample.as_dict() for sample in samples],
                }
                for target, samples in self.samples.items()
            },
        }


def verdict_table(rows: Sequence[Verdict]) -> str:
    """What was measured beside what is wanted (issue 4)."""
    lines = [f"{'target':30}{'measured':>10}{'wanted':>10}"]
    for what, unit, measured, wanted, met in rows:
        lines.append(f"{f'{what}, {unit}':30}{measured:10.2f}{wanted:10.2f}  {'met' if met else 'missed'}")
    return "\n".join(lines)
