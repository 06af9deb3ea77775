"""From a wished recall to an effort: every index measures itself once, so that no user has to learn its knobs.

At the end of a fit, held-out queries (the user's, or a sample of the base searched without themselves) are answered at
a ladder of efforts and compared with the exact answer. Recall never falls with effort, so the measured curve is made
monotone (pool adjacent violators) and inverted by interpolation in log effort against log(1 - recall), where it is
close to a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch._text import counted
from vsearch.index.pace import Effort, Pace, learn_pace
from vsearch.kernels import core

if TYPE_CHECKING:
    from vsearch._progress import Progress
    from vsearch.index.base import Index

SAMPLES = {1: 1000, 10: 1000, 100: 300}
"""Calibration queries for each depth k."""
ENOUGH = 0.9995
"""Recall at which the ladder of efforts ends."""
STEADY, GAIN = 6, 0.0005
"""The ladder ends too where as many steps of it have not gained this much: what is left is the rounding of vectors."""
PACE_STEPS = slice(1, 8, 2)
"""Efforts of the ladder at which a pace is learnt: those at which recall still grows."""
CAUTION = {"queries": 0.95, "held": 0.9, "base": 0.8}
"""Share of the allowed misses that a target spends: a thousand queries measure recall to about 0.003, and real queries
are often a little harder than vectors of the base, which are where the centroids are."""

FARTHER = 16.0
"""Times the largest effort measured, up to which effort grows for a recall that was not reached."""


@dataclass
class Calibration:
    """Recall by effort at some k, as measured.

    Attributes
    ----------
    efforts : ascending efforts
    recalls : for each k, the recall at each effort
    source : "queries" where the user gave them, "held" where vectors stood in that joined the index only afterwards,
        "base" where vectors of the base did
    paces : for some k, how effort grows for queries far from their neighbours; the recalls were measured with it
    """

    efforts: list[float]
    recalls: dict[int, list[float]]
    source: str
    paces: dict[int, Pace] = field(default_factory=dict)

    def effort(self, k: int, recall: float) -> Effort:
        """The least effort that reaches `recall` at `k`. Where none of those measured does, what the last of them let
        expect, at most `FARTHER` times as much as the largest.
        """
        return Effort(self._between_depths(k, recall), self.paces)

    def _between_depths(self, k: int, recall: float) -> float:
        depths = sorted(self.recalls)
        upper = min(range(len(depths)), key=lambda i: (depths[i] < k, abs(depths[i] - k)))
        if depths[upper] <= k or upper == 0:
            return self._invert(depths[upper], recall)
        low, high = depths[upper - 1], depths[upper]
        share = (math.log(k) - math.log(low)) / (math.log(high) - math.log(low))
        a, b = self._invert(low, recall), self._invert(high, recall)
        return math.exp((1 - share) * math.log(a) + share * math.log(b))

    def _invert(self, k: int, recall: float) -> float:
        efforts, recalls = self.efforts, self.recalls[k]
        target = 1 - CAUTION[self.source] * (1 - recall)
        at = int(np.searchsorted(recalls, target))
        if at == 0:
            return efforts[0]
        since = at - 1
        if at == len(efforts):
            at, since = at - 1, max(0, at - 3)  # twice as much, in a ladder of square roots of 2
        low, high = _misses(recalls[since]), _misses(recalls[at])
        share = (low - _misses(target)) / (low - high) if low > high else 1.0
        wanted = (1 - share) * math.log(efforts[since]) + share * math.log(efforts[at])
        return math.exp(min(wanted, math.log(FARTHER * efforts[at])))

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a file."""
        recalls = {str(k): curve for k, curve in self.recalls.items()}
        made: dict[str, Any] = {"efforts": self.efforts, "recalls": recalls, "source": self.source}
        return made | ({"paces": {str(k): list(pace) for k, pace in self.paces.items()}} if self.paces else {})

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """From a file; ValueError where it does not make sense."""
        if not isinstance(value, dict) or not isinstance(value.get("recalls"), dict):
            raise ValueError("the calibration is not an object of curves")
        efforts = [float(x) for x in value["efforts"]]
        recalls = {int(k): [float(x) for x in r] for k, r in value["recalls"].items()}
        curves = [efforts, *recalls.values()]
        rising = all(list(c) == sorted(c) and all(math.isfinite(x) for x in c) for c in curves)
        if (
            not recalls
            or min(recalls) < 1
            or not efforts
            or efforts[0] <= 0
            or not rising
            or any(len(r) != len(efforts) for r in recalls.values())
        ):
            raise ValueError("the calibration is not a rising curve")
        if value["source"] not in CAUTION:
            raise ValueError("the calibration has an unknown source")
        paces = {int(k): Pace(*(float(x) for x in pace)) for k, pace in value.get("paces", {}).items()}
        for k, pace in paces.items():
            if k < 1 or not (0 < pace.usual < math.inf and 0 <= pace.steepness < math.inf):
                raise ValueError(f"the pace {pace} is none")
        return cls(efforts, recalls, value["source"], paces)

    def __repr__(self) -> str:
        reached = max(r[-1] for r in self.recalls.values())
        span = f"{counted(len(self.efforts), 'effort')} up to {self.efforts[-1]:g}"
        return f"Calibration({span}, recall up to {reached:.3f}, by {self.source})"


def _misses(recall: float) -> float:
    return math.log(max(1e-5, 1 - recall))


def calibrate(
    index: Index,
    X: np.ndarray,
    queries: np.ndarray | None,
    threads: int,
    bar: Progress,
    far: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Calibration:
    """Measures an index over X (rows in slot order) on `queries`, or on rows of X that must not find themselves.

    With `far` the queries are vectors that were held out, and the pace of those far from their neighbours is learnt of
    them: far(queries, distances) is what a walk compares with the usual distance.
    """
    exam = _Exam(index, X, queries, threads)
    ladder = index._ladder()
    bar.start(f"calibrate {index.kind}", len(ladder) * len(exam.depths))
    curves: dict[int, np.ndarray] = {}
    paces: dict[int, Pace] = {}
    for k in exam.depths:
        pace = _paced(exam, k, ladder[PACE_STEPS], far) if far is not None else None
        if pace is not None:
            paces[k] = pace
        curve: list[float] = []
        for effort in ladder:
            if not _is_flat(curve):
                curve.append(float(exam.take(k, Effort(effort, {} if pace is None else {k: pace}))[0].mean()))
            bar.advance()
        curves[k] = _pooled(np.array(curve))
    used = max(len(curve) for curve in curves.values())
    recalls = {k: [float(x) for x in np.pad(c, (0, used - len(c)), mode="edge")] for k, c in curves.items()}
    source = "base" if queries is None else "queries" if far is None else "held"
    return Calibration([float(x) for x in ladder[:used]], recalls, source, paces)


def _paced(
    exam: _Exam, k: int, efforts: list[float], far: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Pace | None:
    """The pace at a depth k, from answers at some efforts."""
    if len(efforts) < 2:
        return None
    answers = [exam.take(k, effort) for effort in efforts]
    distances = far(exam.queries[: SAMPLES[k]], answers[-1][1])
    return learn_pace(np.array(efforts), np.column_stack([recalls for recalls, _ in answers]), distances)


class _Exam:
    """Queries with their true neighbours, and how many of these an index over X finds."""

    def __init__(self, index: Index, X: np.ndarray, queries: np.ndarray | None, threads: int) -> None:
        rng = np.random.default_rng(0)
        own = None
        if queries is None:
            own = rng.choice(len(X), min(max(SAMPLES.values()), len(X)), replace=False)
            queries = X[own]
        else:
            queries = queries[rng.permutation(len(queries))[: max(SAMPLES.values())]]
        self.index, self.X, self.queries, self.threads = index, X, queries, threads
        self.depths = [k for k in SAMPLES if k < len(X)] or [1]
        self.skip = own is not None and len(X) > 1
        self.ids_by_slot = index._fitted().ids_by_slot
        self.own_ids = self.ids_by_slot[own] if self.skip else self.ids_by_slot[:0]
        self.by_id = np.argsort(self.ids_by_slot)  # the index's own table of ids is made when needed, and would stay
        deepest = self.depths[-1]
        self.truth = exact_search(index.metric, X, self.ids_by_slot, queries, deepest + self.skip, threads)
        if self.skip:
            self.truth = _without(self.truth, self.own_ids, deepest)

    def take(self, k: int, effort: float) -> tuple[np.ndarray, np.ndarray]:
        """The recall of each query at an effort, and the distance of the k-th that it found."""
        some = slice(0, SAMPLES[k])
        found = self.index._find(self.queries[some], k + self.skip, effort, self.threads)
        ids, distances = _without(found, self.own_ids[some], k) if self.skip else found
        limit = self.truth[1][some, k - 1]
        rows = self.by_id[np.searchsorted(self.ids_by_slot, ids, sorter=self.by_id).clip(max=len(self.X) - 1)]
        true_ids = self.truth[0][some, :k]
        return _recalls(self.index.metric, self.X, self.queries[some], ids, rows, true_ids, limit), distances[:, -1]


def exact_search(
    metric: str, X: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances of the true neighbours among the float32 rows of X."""
    scan = core.FlatScan(metric, "f32", X.shape[1])
    scan.bind(X, None, ids, len(X))
    return scan.search(queries, k, threads, None)


def _without(found: tuple[np.ndarray, np.ndarray], own_ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers with each query's own id taken out, k wide."""
    ids, distances = found
    mine = ids == own_ids[:, None]
    order = np.argsort(mine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _recalls(
    metric: str,
    X: np.ndarray,
    queries: np.ndarray,
    ids: np.ndarray,
    rows: np.ndarray,
    true_ids: np.ndarray,
    limit: np.ndarray,
) -> np.ndarray:
    """Of each query, the share of its true neighbours among `ids`, which are those `rows` of X; a vector as near as the
    k-th true one counts as one (ties, duplicates).
    """
    hits = (ids[:, :, None] == true_ids[:, None, :]).any(axis=2)
    query, place = np.nonzero(~hits & (ids >= 0))
    for first in range(0, len(query), 4096):
        q, at = query[first : first + 4096], place[first : first + 4096]
        distances = _distances(metric, queries[q], X[rows[q, at]])
        hits[q, at] = distances <= limit[q] + 1e-6 * np.abs(limit[q])
    shares: np.ndarray = hits.mean(axis=1)
    return shares


def _distances(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if metric == "l2":
        return ((queries - rows) ** 2).sum(axis=1)
    return (metric == "cosine") - np.einsum("ij,ij->i", queries, rows)


def _is_flat(curve: list[float]) -> bool:
    """Whether more effort would not find more."""
    steady = len(curve) > STEADY and curve[-1] > 0.5 and curve[-1] - curve[-1 - STEADY] < GAIN
    return bool(curve) and (curve[-1] >= ENOUGH or steady)


def _pooled(curve: np.ndarray) -> np.ndarray:
    """The rising curve nearest to a measured one (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in curve:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2], blocks.pop()
            blocks[-1] = [(a * m + b * n) / (m + n), m + n]
    return np.concatenate([[value] * int(n) for value, n in blocks])
