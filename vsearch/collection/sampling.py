"""The latest queries of a collection, from which its index learns what effort a recall takes.

Questions are seldom distributed as the documents are, and then take more effort than a calibration on vectors of the
collection tells: on WordNet, .95 asked gave .90. The queries stay in memory; what they taught is saved with the index.
Until there are enough, points halfway between two vectors stand in for them: for recalls .90, .95, .99 of 100,000
embedded sentences they ask for 26, 54, 152 lists where questions ask for 28, 58, 195 and the vectors themselves for 16,
32, 111. Queries that are like the vectors, as those of SIFT, get twice the effort they need until they are known.
"""

from __future__ import annotations

import sqlite3
import threading

import numpy as np

from vsearch.collection.rows import vector_chunks
from vsearch.index import Index
from vsearch.index.calibrate import Calibration, _is_flat, _pooled

#: Queries that are kept; so many measure a recall of .95 to .004.
SAMPLE = 300
#: Once there are enough, one query in so many takes the place of the oldest.
RENEWAL = 16
#: Points that stand in for queries.
STAND_INS = 1000
DEPTHS = (1, 10, 100)
#: True neighbours are told from their ties by distances that agree to this.
TIE = 1e-6


class QuerySample:
    """The latest queries, none twice.

    Parameters
    ----------
    size : int
        How many are kept, and are enough to learn from.

    Examples
    --------
    >>> sample = QuerySample(2)
    >>> [sample.add(np.full((1, 3), i, np.float32)) for i in (1, 1, 2)]
    [False, False, True]
    >>> sample.queries().shape
    (2, 3)
    """

    def __init__(self, size: int = SAMPLE) -> None:
        self.size = size
        self.full = False
        self._kept: dict[bytes, None] = {}
        self._seen = 0
        self._guard = threading.Lock()

    def add(self, Q: np.ndarray) -> bool:
        """Look at queries, float32 (nq, d), and say whether there have just become enough."""
        self._seen += 1
        if self.full and self._seen % RENEWAL:
            return False
        with self._guard:
            if self._kept and len(next(iter(self._kept))) != Q[:1].nbytes:  # asked before the dimension was known
                self._kept.clear()
            was_full = self.full
            for q in Q[-self.size :]:
                self._kept.setdefault(q.tobytes())
            while len(self._kept) > self.size:
                del self._kept[next(iter(self._kept))]
            self.full = len(self._kept) == self.size
            return self.full and not was_full

    def queries(self) -> np.ndarray:
        """Those that are kept, float32 (m, d)."""
        with self._guard:
            return np.stack([np.frombuffer(q, np.float32) for q in self._kept])


def stand_ins(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points halfway between two rows of ``X``, as long as these are, float32 (m, d).

    >>> stand_ins(np.float32([[3, 0]]))[:1].tolist()
    [[3.0, 0.0]]
    """
    rng = np.random.default_rng(seed)
    some, others = (X[rng.integers(0, len(X), STAND_INS)] for _ in range(2))
    sums = some + others
    lengths = (np.linalg.norm(some, axis=1) + np.linalg.norm(others, axis=1)) / 2
    norms = np.linalg.norm(sums, axis=1)
    there = norms > 0
    return np.ascontiguousarray(sums[there] * (lengths[there] / norms[there])[:, None], dtype=np.float32)


def measure(connection: sqlite3.Connection, index: Index, queries: np.ndarray) -> Calibration:
    """What recall each effort of ``index`` reaches for ``queries``.

    Searches and writes go on meanwhile: a few rows that come or go change what is measured by as little.
    """
    depths = [k for k in DEPTHS if k < len(index)] or [1]
    ids, distances = _exact(connection, queries, depths[-1], int(index.ids[-1]) + 1, index.metric)
    ladder = index._ladder()
    curves: dict[int, np.ndarray] = {}
    for k in depths:
        limit = distances[:, k - 1 : k]
        known = distances <= limit + TIE * np.abs(limit)
        curve: list[float] = []
        for effort in ladder:
            if _is_flat(curve):
                break
            found, _ = index.search(queries, k, effort=effort, threads=1, progress=False)
            same = (found[:, :, None] == ids[:, None, :]) & known[:, None, :]
            curve.append(float(same.any(axis=2).mean()))
        curves[k] = _pooled(np.array(curve))
    used = max(map(len, curves.values()))
    recalls = {k: np.pad(curve, (0, used - len(curve)), mode="edge").tolist() for k, curve in curves.items()}
    return Calibration([float(effort) for effort in ladder[:used]], recalls, "queries")


def _exact(
    connection: sqlite3.Connection, queries: np.ndarray, k: int, end: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances of the true neighbours, and of as many behind them as may tie, nearest first."""
    kept = k + max(8, k // 4)
    near = np.empty((len(queries), 0), np.float32)
    at = np.empty((len(queries), 0), np.int64)
    units = metric == "cosine"
    Q = queries / np.linalg.norm(queries, axis=1, keepdims=True) if units else queries
    for some, vectors in vector_chunks(connection, queries.shape[1], 0, end):
        products = Q @ vectors.T
        if units:
            products /= np.linalg.norm(vectors, axis=1)
        if metric == "l2":
            products = 2 * products - np.einsum("ij,ij->i", vectors, vectors)
        near = np.concatenate([near, -products], axis=1)
        at = np.concatenate([at, np.broadcast_to(some, products.shape)], axis=1)
        if near.shape[1] > kept:
            best = np.argpartition(near, kept - 1, axis=1)[:, :kept]
            near, at = np.take_along_axis(near, best, 1), np.take_along_axis(at, best, 1)
    order = np.argsort(near, axis=1, kind="stable")
    return np.take_along_axis(at, order, 1), np.take_along_axis(near, order, 1)
