"""How much more effort a query takes that is far from its neighbours.

At one effort the recall of a query falls with the distance at which it finds its neighbours, and among vectors that
were held out of an index it falls as among queries from elsewhere: on 117,000 glosses of WordNet an effort of 64 gives
both .96 of their neighbours at a squared distance of .8, and .85 and .88 at 1.0. Queries from elsewhere are only
oftener far. So what held-out vectors teach serves both; one effort for all, at which the ones found .90, left the
others with .82.

Misses at effort e and distance d are modelled as 1 / (1 + exp(-(a + b ln e + c ln d))): equal misses take an effort
that grows as d^(-c/b), the steepness. Queries nearer than usual are left at the usual effort, which costs little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

MOST_STEEPNESS = 8.0
LEFT_OUT = 0.25
"""Share of the queries that the steepness is not learnt from, the nearest: among them are copies of vectors."""
MISSES_NEEDED = 20.0
"""True neighbours that must be missed in all for the model to say anything."""
NEWTON_STEPS, RIDGE = 30, 1e-3


class Pace(NamedTuple):
    """Effort at a distance is that at distances up to `usual` times (distance / usual) ** steepness."""

    usual: float
    steepness: float


class Effort(float):
    """An effort that a recall asked for: that of a usual query, and by depth k the pace of the others.

    Parameters
    ----------
    value : float
    paces : mapping of k to Pace, default none: all queries are alike
    """

    __slots__ = ("paces",)
    paces: Mapping[int, Pace]

    def __new__(cls, value: float, paces: Mapping[int, Pace] | None = None) -> Effort:
        made = super().__new__(cls, value)
        made.paces = paces or {}
        return made


def pace_of(effort: float, depth: float) -> Pace | None:
    """The pace that comes with an effort at this depth k, which need not be whole; None where it has none.

    Between the depths that were measured ln(usual) and the steepness are interpolated by ln(k); below the first they
    are the first's, and beyond the last `usual` grows on as between the last two.
    """
    paces = effort.paces if isinstance(effort, Effort) else {}
    if not paces:
        return None
    depths = sorted(paces)
    if depth <= depths[0] or len(depths) == 1:
        return paces[depths[0]]
    upper = min(int(np.searchsorted(depths, depth)), len(depths) - 1)
    low, high = paces[depths[upper - 1]], paces[depths[upper]]
    share = math.log(depth / depths[upper - 1]) / math.log(depths[upper] / depths[upper - 1])
    usual = math.exp(math.log(low.usual) + share * (math.log(high.usual) - math.log(low.usual)))
    return Pace(usual, low.steepness + min(share, 1.0) * (high.steepness - low.steepness))


def learn_pace(efforts: np.ndarray, recalls: np.ndarray, distances: np.ndarray) -> Pace | None:
    """The pace of some queries.

    Parameters
    ----------
    efforts : (m,), at least two
    recalls : (nq, m), of each query at each effort
    distances : (nq,), of the k-th neighbour that a query finds

    Returns
    -------
    Pace or None
        None where there is no distance that half of the queries exceed, or more effort does not find more.
    """
    known = np.isfinite(distances)
    if not known.any():
        return None
    usual, near = float(np.median(distances[known])), float(np.quantile(distances[known], LEFT_OUT))
    far = known & (distances >= near) & (distances > 0)
    misses = 1 - recalls[far]
    if not usual > 0 or misses.sum() < MISSES_NEEDED:
        return None
    effort, distance = np.broadcast_arrays(np.log(efforts)[None], np.log(distances[far])[:, None])
    features = np.column_stack([np.ones(misses.size), effort.ravel(), distance.ravel()])
    features[:, 1:] -= features[:, 1:].mean(axis=0)
    _, by_effort, by_distance = _logistic(features, misses.ravel())
    if not by_effort < 0:
        return None
    return Pace(usual, float(np.clip(-by_distance / by_effort, 0.0, MOST_STEEPNESS)))


def _logistic(features: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weights of the logistic model of some shares in 0..1, by Newton's method with a little ridge."""
    weights = np.zeros(features.shape[1])
    for _ in range(NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (shares - expected) - RIDGE * weights
        curvature = (features * (expected * (1 - expected))[:, None]).T @ features + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-9:
            break
    return weights
