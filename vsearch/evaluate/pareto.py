"""The Pareto front of a sweep, and the speed at a named recall.

A point is on the front when no other is at least as good in both recall and QPS and better in one. Between two
neighbouring points of the front QPS is interpolated as log(QPS) over recall, which is close to how sweeps bend.
Nothing is extrapolated: a recall above the best one measured has no QPS, and one below the lowest measured gets the
fastest point's QPS, which did reach it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import numpy as np


class Measured(Protocol):
    """Anything with a recall and a speed, such as `Point`."""

    @property
    def recall(self) -> float: ...

    @property
    def qps(self) -> float: ...


P = TypeVar("P", bound=Measured)


def pareto(points: Iterable[P]) -> list[P]:
    """Return the points on the front, by rising recall (and therefore falling QPS).

    Examples
    --------
    >>> from types import SimpleNamespace as P
    >>> from vsearch.evaluate import pareto
    >>> points = [P(recall=0.8, qps=900), P(recall=0.7, qps=500), P(recall=0.9, qps=300)]
    >>> [p.recall for p in pareto(points)]
    [0.8, 0.9]
    """
    front: list[P] = []
    for point in sorted(points, key=lambda p: (p.recall, p.qps), reverse=True):
        if not front or point.qps > front[-1].qps:
            front.append(point)
    return front[::-1]


def qps_at(points: Iterable[Measured], recall: float) -> float:
    """Return the QPS at which the front reaches ``recall``; nan where it never does.

    Examples
    --------
    >>> from types import SimpleNamespace as P
    >>> from vsearch.evaluate import qps_at
    >>> points = [P(recall=0.8, qps=1000.0), P(recall=1.0, qps=10.0)]
    >>> round(qps_at(points, 0.9))
    100
    """
    front = pareto(points)
    if not front or recall > front[-1].recall:
        return float("nan")
    return float(np.exp(np.interp(recall, [p.recall for p in front], np.log([p.qps for p in front]))))
