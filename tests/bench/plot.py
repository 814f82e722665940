"""Tables as one SVG: grouped bars with their values, no library needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#3566a8", "#c8702a", "#4c8f4c", "#8a8a8a")
WIDTH, HEIGHT = 420, 240  # of one chart
COLUMNS = 2
LEFT, TOP, FLOOR = 14, 60, 200  # where bars begin, their highest point and their foot, within a chart
HEAD = 40  # above the charts: what was measured


@dataclass(frozen=True)
class Chart:
    """Groups of bars: ``values[series][group]``, one label for each group, all in ``unit``."""

    title: str
    about: str
    unit: str
    labels: Sequence[str]
    values: Mapping[str, Sequence[float]]


def svg(charts: Sequence[Chart], caption: str) -> str:
    """All charts on one page, two in a row, each series with the same colour everywhere."""
    names = list(dict.fromkeys(name for chart in charts for name in chart.values))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    width, height = COLUMNS * WIDTH, HEAD + -(-len(charts) // COLUMNS) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 15, caption),
    ]
    for index, name in enumerate(names):
        parts.append(f'<rect x="{LEFT + 100 * index}" y="22" width="10" height="10" fill="{colours[name]}"/>')
        parts.append(_text(LEFT + 100 * index + 14, 31, name))
    for index, chart in enumerate(charts):
        x, y = index % COLUMNS * WIDTH, HEAD + index // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_chart(chart, colours), "</g>"]
    return "\n".join((*parts, "</svg>", ""))


def _chart(chart: Chart, colours: Mapping[str, str]) -> list[str]:
    highest = max((value for values in chart.values.values() for value in values), default=0) or 1
    group = (WIDTH - 2 * LEFT) / len(chart.labels)
    bar = min(60, 0.85 * group / max(len(chart.values), 1))
    margin = (group - bar * len(chart.values)) / 2
    parts = [_text(LEFT, 20, f"{chart.title} ({chart.unit})", size=13), _text(LEFT, 35, chart.about)]
    parts.append(f'<line x1="{LEFT}" y1="{FLOOR}" x2="{WIDTH - LEFT}" y2="{FLOOR}" stroke="black"/>')
    for place, label in enumerate(chart.labels):
        start = LEFT + place * group
        parts.append(_text(start + group / 2, FLOOR + 14, label, "middle"))
        for number, (name, values) in enumerate(chart.values.items()):
            tall = values[place] / highest * (FLOOR - TOP)
            x, y = start + margin + number * bar, FLOOR - tall
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar - 2:.1f}" height="{tall:.1f}" fill="{colours[name]}"/>'
            )
            parts.append(_text(x + bar / 2 - 1, y - 3, _short(values[place]), "middle", 9))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 10) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _short(value: float) -> str:
    """A value in a few characters: 0.95, 12.3, 345, 12.8k."""
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"
