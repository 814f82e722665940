"""Many samples -> one table per work: medians, and ratios taken round by round, so that a noisy minute hits both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.works import Sample, Work


@dataclass(frozen=True)
class Results:
    """Samples of one work: ``samples[target][round]``, targets in the order of the rows."""

    work: Work
    samples: dict[str, list[Sample]]

    def ratio(self, target: str, peer: str) -> float:
        """The median over the rounds of the target's rate divided by the peer's; 0 where a peer answered nothing."""
        pairs = zip(self.samples[target], self.samples[peer], strict=True)
        return median([ours.rate / theirs.rate if theirs.rate else 0.0 for ours, theirs in pairs])

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
        lines = [f"{self.work.name}: {self.work.about}", head + "".join(f"{'/ ' + peer:>12}" for peer in peers)]
        for target, samples in self.samples.items():
            rates = [sample.rate for sample in samples]
            p50, p99 = median([sample.p50_ms for sample in samples]), median([sample.p99_ms for sample in samples])
            busy = median([sample.busy for sample in samples])
            row = f"{target:12}{median(rates):12,.0f}{min(rates):10,.0f}{max(rates):10,.0f}"
            row += f"{p50:9.2f}{p99:9.2f}{busy:7.0%}"
            lines.append(row + "".join(f"{self.ratio(target, peer):12.3f}" for peer in peers))
        return "\n".join(lines)

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
