"""What the PNG and the HTML report draw alike: the stretched recall axis, the ticks, the colours, label places.

Recall is drawn on an axis that gives every "nine" about the same room, because the step from 0.98 to 0.99 costs a
user more than the one from 0.58 to 0.59: x = -log10(1 - recall + SOFT). SOFT keeps recall 1 on the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

SOFT = 5e-4

RECALL_TICKS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)

#: Distinct also for the colour-blind and on white and dark grounds; the order is the order of the indexes.
COLOURS = ("#2f6fd0", "#e0761a", "#1a9c7d", "#9356c2", "#c9a227", "#cf4a7d", "#6b7785", "#4fb3d9")


def recall_to_x(recall: float) -> float:
    """Return the place of a recall on the stretched axis.

    Examples
    --------
    >>> round(recall_to_x(0.9), 2), round(recall_to_x(0.99), 2)
    (1.0, 1.98)
    """
    return float(-np.log10(1.0 - min(recall, 1.0) + SOFT))


def recall_ticks(recalls: Sequence[float]) -> list[float]:
    """Return the ticks that frame the measured recalls: one below the lowest, up to 1."""
    lowest = min(recalls, default=0.0)
    start = max((tick for tick in RECALL_TICKS if tick <= lowest + 1e-9), default=0.0)
    start = min(start, 0.8)
    return [tick for tick in RECALL_TICKS if tick >= start]


def colour(position: int) -> str:
    """Return the colour of the index at this position."""
    return COLOURS[position % len(COLOURS)]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label places apart until neighbours are ``gap`` apart, inside [low, high] as far as they fit.

    Examples
    --------
    >>> spread([1.0, 1.1, 5.0], 1.0, 0.0, 10.0)
    [1.0, 2.0, 5.0]
    """
    order = [int(position) for position in np.argsort(places, kind="stable")]
    out = np.clip(np.asarray(places, dtype=float), low, high)
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + gap)
    if order and out[order[-1]] > high:  # ran over the edge: push back from there
        out[order[-1]] = high
        for after, before in pairwise(reversed(order)):
            out[before] = min(out[before], out[after] - gap)
    return [float(place) for place in out]


def compact(value: float) -> str:
    """Return a number as an axis label: 850, 12k, 1.5M.

    Examples
    --------
    >>> compact(850), compact(12_000), compact(1_500_000)
    ('850', '12k', '1.5M')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
