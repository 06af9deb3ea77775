"""The recall/QPS figure as an inline SVG for the HTML report: pure text, no library, readable without scripts.

Every point is a <circle> with its numbers in ``data-tip`` (shown by the page's script) and in a <title> (shown by
the browser itself when scripts are off). Each index is one <g class="series">, so that the page can hide it.
Frame, colours and label places are those of the PNG (axes.py). Sizes are in user units of the viewBox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from vsearch.evaluate.axes import colour, compact, recall_ticks, recall_to_x, spread
from vsearch.evaluate.pareto import pareto
from vsearch.evaluate.sweep import Point

WIDTH, HEIGHT = 960, 470
LEFT, TOP, BOTTOM = 56, 34, 418

#: Width of one letter of a line's name, and of the gap before it.
LETTER, GAP = 7.6, 30


def recall_chart(curves: Mapping[str, Sequence[Point]], k: int, targets: Sequence[float] = ()) -> str:
    """Return the SVG element that draws QPS over recall, one line per index along its Pareto front.

    Parameters
    ----------
    curves : mapping of str to list of Point
        One sweep per index.
    k : int
        Named on the axis.
    targets : sequence of float
        Recalls marked with a vertical line.
    """
    fronts = {label: pareto(points) for label, points in curves.items() if points}
    if not fronts:
        return ""
    scale = _Scale([point for front in fronts.values() for point in front], max(map(len, fronts)))
    ends = spread([scale.y(front[-1].qps) for front in fronts.values()], 21, TOP + 8, BOTTOM - 6)
    parts = [*_frame(scale, k, targets)]
    drawn = [
        (len(front) == 1, _series(scale, label, front, colour(position), ends[position]))
        for position, (label, front) in enumerate(fronts.items())
    ]
    parts += [series for _, series in sorted(drawn, key=lambda one: one[0])]  # lone points last: lines would hide them
    return (
        f'<svg id="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Queries per second over recall@{k}">{"".join(parts)}</svg>'
    )


class _Scale:
    """Recall and QPS to user units."""

    def __init__(self, points: Sequence[Point], longest_name: int) -> None:
        speeds = [point.qps for point in points]
        self.ticks = recall_ticks([point.recall for point in points])
        self.right = WIDTH - 8 - GAP - LETTER * min(longest_name, 34)
        self.first, self.last = recall_to_x(self.ticks[0]), recall_to_x(1.0)
        self.low, self.high = np.log10(min(speeds) / 1.35), np.log10(max(speeds) * 1.35)

    def x(self, recall: float) -> float:
        share = (recall_to_x(recall) - self.first) / (self.last - self.first)
        return round(LEFT + share * (self.right - LEFT), 1)

    def y(self, qps: float) -> float:
        return round(float(BOTTOM - (np.log10(qps) - self.low) / (self.high - self.low) * (BOTTOM - TOP)), 1)

    def speeds(self) -> list[float]:
        """Round speeds inside the frame: 1, 2 and 5 times each power of ten."""
        powers = range(int(np.floor(self.low)), int(np.ceil(self.high)) + 1)
        return [m * 10.0**p for p in powers for m in (1, 2, 5) if self.low <= np.log10(m) + p <= self.high]


def _frame(scale: _Scale, k: int, targets: Sequence[float]) -> list[str]:
    parts = [f'<text x="{LEFT}" y="16" class="hint">queries per second, one at a time on one thread</text>']
    for speed in scale.speeds():
        y = scale.y(speed)
        parts.append(f'<line x1="{LEFT}" x2="{scale.right}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" class="tick end">{compact(speed)}</text>')
    for tick in scale.ticks:
        x = scale.x(tick)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{x}" y="{BOTTOM + 19}" class="tick mid">{tick:g}</text>')
    for target in targets:
        x = scale.x(target)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{BOTTOM}" class="target"/>')
    middle = (LEFT + scale.right) / 2
    parts.append(f'<text x="{middle}" y="{BOTTOM + 43}" class="hint mid">recall@{k}, stretched towards 1</text>')
    return parts


def _series(scale: _Scale, label: str, front: Sequence[Point], ink: str, name_y: float) -> str:
    places = [(scale.x(point.recall), scale.y(point.qps)) for point in front]
    name = escape(label)
    parts = [f'<g class="series" data-name="{name}" style="--ink:{ink}">']
    if len(places) > 1:
        parts.append(f'<polyline class="line" points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    for point, (x, y) in zip(front, places, strict=True):
        tip = escape(_tip(point))
        radius = 4.2 if len(front) > 1 else 6
        parts.append(
            f'<circle class="dot" cx="{x}" cy="{y}" r="{radius}" data-tip="{tip}"><title>{tip}</title></circle>'
        )
    x, y = places[-1]
    parts.append(f'<polyline class="lead" points="{x + 7},{y} {scale.right + 9},{y} {scale.right + 20},{name_y}"/>')
    parts.append(f'<text x="{scale.right + 25}" y="{name_y + 4.5}" class="name">{name}</text></g>')
    return "".join(parts)


def _tip(point: Point) -> str:
    knob = f"effort {point.effort:g}" if point.effort is not None else ""
    if point.target is not None:
        knob = f"recall={point.target:g}"
    lines = [point.label + (f", {knob}" if knob else ""), f"recall {point.recall:.4f}", f"{point.qps:,.0f} queries/s"]
    lines.append(f"{point.us:.1f} µs mean, {point.p99_us:.1f} µs p99")
    if point.batch_qps is not None:
        threads = f"{point.threads} thread" + ("s" if point.threads != 1 else "")
        lines.append(f"batch {point.batch_qps:,.0f} queries/s on {threads}")
    return "\n".join(lines)
