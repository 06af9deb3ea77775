"""Exact nearest neighbours by brute force: what every recall in this project is measured against.

Two steps, so that it is both fast and exact:

1. A float32 GEMM scores every pair of (base block, queries), and each query keeps the best ``k + SPARE`` rows.
2. That shortlist is scored again in float64 from the original vectors, and the best k of it are the answer.

Step 1 can be wrong by rounding, so each query needs a certificate: everything the shortlist dropped scored worse
than the k-th exact distance by more than twice the largest error float32 can have made. A query without one (many
equal or nearly equal distances) is scanned a second time, keeping *every* row within that error of its k-th
distance. The answer is therefore the float64 one for any input, with ties broken by the smaller id.

For l2 the base is centred first: distances do not change, and the rounding error then scales with the spread of the
data and not with how far it lies from the origin.

Memory stays near ``memory_mb`` beside the inputs: the base is read block by block, so it may be a memory map or an
HDF5 data set of any length and any real dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch._progress import Progress
from vsearch._validate import check_choice, check_k
from vsearch.errors import DimensionError

METRICS = ("l2", "ip", "cosine")

#: Rows kept per query beyond k, so that one pass nearly always earns its certificate.
SPARE = 32

#: Queries scored against a base block in one GEMM; more would not make the GEMM faster.
QUERY_BLOCK = 1024


def ground_truth(
    X: Any, Q: Any, k: int = 10, metric: str = "l2", *, memory_mb: int = 256, progress: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact k nearest rows of ``X`` for every row of ``Q``.

    Parameters
    ----------
    X : array of shape (n, d)
        The base. Anything with ``shape`` that can be sliced by rows: an array, a memory map, an HDF5 data set.
    Q : array of shape (nq, d)
        The queries.
    k : int
        Neighbours per query. Where ``n < k`` the rest is padded with id -1 and distance inf.
    metric : {"l2", "ip", "cosine"}
        Squared Euclidean distance, negated inner product, or 1 - cosine; smaller is nearer.
    memory_mb : int
        Working memory, about.
    progress : bool, optional
        Show a bar over the base; by default on a terminal, when it takes longer than two seconds.

    Returns
    -------
    ids : int64 array of shape (nq, k)
        Row numbers, nearest first; equal distances by smaller row number.
    distances : float32 array of shape (nq, k)

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import ground_truth
    >>> ids, distances = ground_truth(np.eye(3), np.array([[1.0, 0.2, 0.1]]), k=2)
    >>> ids.tolist()
    [[0, 1]]
    """
    X, Q = _checked(X, Q, k, metric)
    nq, n = len(Q), X.shape[0]
    ids = np.full((nq, k), -1, dtype=np.int64)
    distances = np.full((nq, k), np.inf, dtype=np.float32)
    keep = min(k, n)
    if keep == 0 or nq == 0:
        return ids, distances
    space = _Space.of(X, metric, memory_mb)
    blocks = range(0, nq, QUERY_BLOCK)
    with Progress("ground truth", progress, total=len(blocks) * n) as bar:
        for start in blocks:
            rows = slice(start, min(nq, start + QUERY_BLOCK))
            ids[rows, :keep], distances[rows, :keep] = _nearest(space, Q[rows], keep, bar)
    return ids, distances


def pair_distances(X: Any, Q: np.ndarray, ids: np.ndarray, metric: str = "l2") -> np.ndarray:
    """Return the exact distances (float64) between each query and the base rows named for it.

    Parameters
    ----------
    X : array of shape (n, d)
        The base.
    Q : array of shape (nq, d)
        The queries.
    ids : int array of shape (nq, k)
        Row numbers; negative ones (padding) get distance inf.
    metric : {"l2", "ip", "cosine"}
        As in `ground_truth`.

    Returns
    -------
    float64 array of shape (nq, k)

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import pair_distances
    >>> pair_distances(np.eye(2), np.array([[1.0, 0.0]]), np.array([[0, 1, -1]]))
    array([[ 0.,  2., inf]])
    """
    ids = np.asarray(ids, dtype=np.int64)
    out = np.full(ids.shape, np.inf)
    if not X.shape[0]:
        return out
    chunk = max(1, (32 << 20) // (8 * max(1, ids.shape[1]) * max(1, X.shape[1])))
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        vectors = take_rows(X, np.maximum(part, 0)).astype(np.float64)
        queries = np.asarray(Q[start : start + chunk], dtype=np.float64)
        out[start : start + chunk] = np.where(part >= 0, _exact(vectors, queries, metric), np.inf)
    return out


def _checked(X: Any, Q: Any, k: int, metric: str) -> tuple[Any, np.ndarray]:
    check_choice("metric", metric, METRICS)
    check_k(k)
    X = X if hasattr(X, "shape") else np.asarray(X)
    Q = np.atleast_2d(np.asarray(Q))
    if len(X.shape) != 2 or Q.ndim != 2 or X.shape[1] != Q.shape[1]:
        raise DimensionError(
            f"`X` and `Q` must have shapes (n, d) and (nq, d) with the same d; got {tuple(X.shape)} and {Q.shape}."
        )
    return X, Q


@dataclass(frozen=True)
class _Space:
    """The base as float32 blocks in which ``offset(q) + bias - weight * (block @ q)`` approximates the distance."""

    X: Any
    metric: str
    center: np.ndarray
    largest_norm: float
    block_rows: int

    @classmethod
    def of(cls, X: Any, metric: str, memory_mb: int) -> _Space:
        n, d = X.shape
        # Per base row: its scores against one query block, the survivors' mask, the row itself and a copy.
        block_rows = int(np.clip((memory_mb << 20) // (5 * QUERY_BLOCK + 12 * d), 256, 8192))
        center = np.zeros(d, dtype=np.float32)
        largest = 1.0
        if metric != "cosine":
            starts = range(0, n, block_rows)
            if metric == "l2":
                total = sum(np.asarray(X[i : i + block_rows]).sum(axis=0, dtype=np.float64) for i in starts)
                center = (np.asarray(total) / n).astype(np.float32)
            largest = max(
                float(np.linalg.norm(np.asarray(X[i : i + block_rows], dtype=np.float32) - center, axis=1).max())
                for i in starts
            )
        return cls(X, metric, center, largest, block_rows)

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """Yield (first row, prepared float32 rows, bias or None) over the whole base."""
        for start in range(0, self.X.shape[0], self.block_rows):
            block = np.asarray(self.X[start : start + self.block_rows], dtype=np.float32)
            if self.metric == "l2":
                block = block - self.center
                yield start, block, np.einsum("ij,ij->i", block, block)
            elif self.metric == "cosine":
                yield start, _normalized(block), None
            else:
                yield start, block, None

    def queries(self, Q: np.ndarray) -> np.ndarray:
        """Return the queries in the same frame as the blocks, times the weight of the dot product."""
        Q = np.asarray(Q, dtype=np.float32)
        if self.metric == "l2":
            return 2.0 * (Q - self.center)
        return _normalized(Q) if self.metric == "cosine" else Q

    def offset_and_error(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, per query, what turns a score into a distance, and a bound on the score's rounding error.

        The bound is the worst case of a float32 dot product of d terms, d * 2^-24 of the product of the norms,
        with a few more roundings for centring or normalising; doubled, since it costs nothing here.
        """
        unit = 2.0 * (prepared.shape[1] + 8) * 2.0**-24
        norms = np.linalg.norm(prepared.astype(np.float64), axis=1)
        if self.metric == "l2":
            norms = norms / 2.0
            return norms**2, unit * (norms + self.largest_norm) ** 2
        if self.metric == "ip":
            return np.zeros(len(norms)), unit * norms * self.largest_norm
        return np.ones(len(norms)), np.full(len(norms), unit)


def _nearest(space: _Space, Q: np.ndarray, k: int, bar: Progress) -> tuple[np.ndarray, np.ndarray]:
    prepared = space.queries(Q)
    offset, error = space.offset_and_error(prepared)
    slots, scores = _shortlist(space, prepared, min(k + SPARE, space.X.shape[0]), bar)
    distances = pair_distances(space.X, Q, slots, space.metric)
    order = np.lexsort((slots, distances), axis=1)[:, :k]
    ids, exact = np.take_along_axis(slots, order, 1), np.take_along_axis(distances, order, 1)
    if slots.shape[1] == space.X.shape[0]:
        return ids, exact
    # A dropped row scored at least max(scores); it belongs in the answer only if its true distance <= exact[:, -1].
    certified = scores.max(axis=1) + offset - error > exact[:, -1] + error
    doubtful = np.flatnonzero(~certified)
    if len(doubtful):
        limit = exact[doubtful, -1] - offset[doubtful] + 2.0 * error[doubtful]
        ids[doubtful], exact[doubtful] = _within(space, Q[doubtful], prepared[doubtful], limit, k)
    return ids, exact


def _shortlist(space: _Space, prepared: np.ndarray, keep: int, bar: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``keep`` best rows per query by float32 score, in no order."""
    nq = len(prepared)
    slots = np.full((nq, keep), -1, dtype=np.int64)
    scores = np.full((nq, keep), np.inf, dtype=np.float32)
    for start, block, bias in space.blocks():
        block_scores = _scores(prepared, block, bias)
        found = np.nonzero(block_scores < scores.max(axis=1)[:, None])
        widest = int(np.bincount(found[0], minlength=nq).max()) if len(found[0]) else 0
        if widest > 4 * keep:  # the first block, or a base sorted the unlucky way: cut it down before merging
            columns = np.argpartition(block_scores, min(keep, block_scores.shape[1]) - 1, axis=1)[:, :keep]
            _merge(slots, scores, columns + start, np.take_along_axis(block_scores, columns, 1))
        elif widest:
            columns, taken = _ragged(found, block_scores, nq, widest)
            _merge(slots, scores, columns + start, taken)
        bar.advance(len(block))
    return slots, scores


def _ragged(found: tuple[Any, ...], scores: np.ndarray, nq: int, widest: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay the survivors of each row side by side, padded with score inf."""
    rows, cols = found
    first = np.searchsorted(rows, np.arange(nq))
    place = np.arange(len(rows)) - first[rows]
    columns = np.zeros((nq, widest), dtype=np.int64)
    taken = np.full((nq, widest), np.inf, dtype=np.float32)
    columns[rows, place] = cols
    taken[rows, place] = scores[rows, cols]
    return columns, taken


def _merge(slots: np.ndarray, scores: np.ndarray, more_slots: np.ndarray, more_scores: np.ndarray) -> None:
    keep = slots.shape[1]
    all_scores = np.concatenate([scores, more_scores], axis=1)
    best = np.argpartition(all_scores, keep - 1, axis=1)[:, :keep]
    slots[:] = np.take_along_axis(np.concatenate([slots, more_slots], axis=1), best, 1)
    scores[:] = np.take_along_axis(all_scores, best, 1)


def _within(
    space: _Space, Q: np.ndarray, prepared: np.ndarray, limit: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best by exact distance among all rows whose float32 score is not above ``limit``."""
    ids = np.full((len(Q), k), np.iinfo(np.int64).max)
    distances = np.full((len(Q), k), np.inf)
    for start, block, bias in space.blocks():
        kept = ~(_scores(prepared, block, bias) > limit[:, None])  # "not above" also keeps NaN from overflow
        for row in np.flatnonzero(kept.any(axis=1)):
            slots = np.flatnonzero(kept[row]) + start
            exact = pair_distances(space.X, Q[row : row + 1], slots[None, :], space.metric)[0]
            all_ids = np.concatenate([ids[row], slots])
            all_distances = np.concatenate([distances[row], exact])
            best = np.lexsort((all_ids, all_distances))[:k]
            ids[row], distances[row] = all_ids[best], all_distances[best]
    return ids, distances


def _scores(prepared: np.ndarray, block: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    scores = prepared @ block.T
    return np.negative(scores, out=scores) if bias is None else np.subtract(bias, scores, out=scores)


def _normalized(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def take_rows(X: Any, slots: np.ndarray) -> np.ndarray:
    """Return ``X[slots]`` for an array or an HDF5 data set, ``slots`` in any order and shape."""
    if isinstance(X, np.ndarray):
        return X[slots]
    unique, place = np.unique(slots, return_inverse=True)  # HDF5 reads increasing, distinct rows only
    return np.asarray(X[unique])[place.reshape(slots.shape)]


def _exact(vectors: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Distances in float64: vectors (nq, k, d) against queries (nq, d)."""
    if metric == "l2":
        difference = vectors - queries[:, None, :]
        return np.einsum("qkd,qkd->qk", difference, difference)
    dots = np.einsum("qkd,qd->qk", vectors, queries)
    if metric == "ip":
        return -dots
    norms = np.sqrt(np.einsum("qkd,qkd->qk", vectors, vectors)) * np.linalg.norm(queries, axis=1)[:, None]
    return 1.0 - dots / np.where(norms > 0, norms, 1.0)
