"""Recall@k: what share of the true k nearest neighbours a search returned.

Counted by distance, so that ties are fair: a returned id is right when its *true* distance, computed here in float64
from the vectors, is not above the k-th true distance. An index that returns row 7 where the truth says row 3, and
both lie equally far from the query, has made no mistake. What the index *says* about distances is never trusted.

How much is "not above"? ann-benchmarks adds 0.001, which on angular data (where the tenth and twentieth neighbour
often differ by less) forgives real mistakes. Here the tolerance is ``EPSILON`` = 1e-6 of the size of the numbers a
float32 engine works with, which is what its rounding can confuse and nothing more:

    l2       d <= d_k * (1 + EPSILON)
    cosine   d <= d_k + EPSILON
    ip       d <= d_k + EPSILON * |q| * |x_k|

An id returned twice counts once; padding (-1) never counts; where the base has fewer than k vectors, all of them are
the truth. `id_recall` is the plainer measure, the size of the intersection of two id sets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch._validate import check_choice, check_k
from vsearch.errors import DimensionError, UnknownIdError
from vsearch.evaluate.truth import METRICS, ground_truth, pair_distances, take_rows

#: Relative tolerance of a tie; see the head of this file.
EPSILON = 1e-6


class Truth:
    """The true neighbours of a set of queries, ready to judge what an index returns.

    Parameters
    ----------
    X : array of shape (n, d)
        The base; kept, not copied. Row numbers are the ids.
    Q : array of shape (nq, d)
        The queries.
    k : int
        Neighbours that count.
    metric : {"l2", "ip", "cosine"}
        As in `ground_truth`.
    ids : int array of shape (nq, at least k), optional
        Known true neighbours, nearest first, such as a data set's; computed when not given.
    progress : bool, optional
        As in `ground_truth`.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import Truth
    >>> truth = Truth(np.eye(3), np.array([[1.0, 0.0, 0.0]]), k=2)
    >>> truth.recall(np.array([[0, 2]]))  # rows 1 and 2 are equally far: either is right
    1.0
    """

    def __init__(
        self, X: Any, Q: Any, k: int = 10, metric: str = "l2", *, ids: Any = None, progress: bool | None = None
    ) -> None:
        check_choice("metric", metric, METRICS)
        self.X = X if hasattr(X, "shape") else np.asarray(X)
        self.Q = np.atleast_2d(np.asarray(Q))
        self.k = check_k(k)
        self.metric = metric
        if ids is None:
            ids, _ = ground_truth(self.X, self.Q, k, metric, progress=progress)
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != len(self.Q) or ids.shape[1] < min(k, self.X.shape[0]):
            raise DimensionError(
                f"`ids` must have shape ({len(self.Q)}, at least {k}); got {ids.shape}. "
                "The file may hold fewer true neighbours than the k asked for."
            )
        self.ids = _known(ids[:, :k], self.X.shape[0])
        distances = pair_distances(self.X, self.Q, self.ids, metric)
        self.count = (self.ids >= 0).sum(axis=1)
        reachable = np.where(self.ids >= 0, distances, -np.inf)
        kth = reachable.max(axis=1, initial=-np.inf)
        self.limit = kth + EPSILON * self._scale(kth, reachable)

    def _scale(self, kth: np.ndarray, reachable: np.ndarray) -> np.ndarray:
        if self.metric == "l2":
            return np.abs(np.where(np.isfinite(kth), kth, 0.0))
        if self.metric == "cosine":
            return np.ones(len(kth))
        if not self.ids.size or not self.X.shape[0]:
            return np.zeros(len(kth))
        last = np.take_along_axis(self.ids, reachable.argmax(axis=1)[:, None], 1).ravel()
        norms = np.linalg.norm(take_rows(self.X, np.maximum(last, 0)).astype(np.float64), axis=1)
        return np.linalg.norm(self.Q.astype(np.float64), axis=1) * norms

    def recalls(self, ids: Any) -> np.ndarray:
        """Return the recall of each query, float64 of shape (nq,).

        Parameters
        ----------
        ids : int array of shape (m, at least k)
            What the index returned for the first m queries, negative where it found nothing.

        Raises
        ------
        UnknownIdError
            Where an id is that of no row of X.
        """
        ids = _known(_answers(ids, self.k, len(self.ids)), self.X.shape[0])
        distances = pair_distances(self.X, self.Q[: len(ids)], ids, self.metric)
        right = (distances <= self.limit[: len(ids), None]) & _first_time(ids)
        count = self.count[: len(ids)]
        hits = np.minimum(right.sum(axis=1), count)
        return np.where(count > 0, hits / np.maximum(count, 1), 1.0)

    def recall(self, ids: Any) -> float:
        """Return the mean recall over the queries answered by ``ids``."""
        recalls = self.recalls(ids)
        return float(recalls.mean()) if len(recalls) else 1.0


def recall_at_k(ids: Any, X: Any, Q: Any, k: int = 10, metric: str = "l2", *, true_ids: Any = None) -> float:
    """Return the recall@k of ``ids``, ties counted by distance.

    For more than one answer to the same queries make a `Truth` once and ask it.

    Parameters
    ----------
    ids : int array of shape (nq, at least k)
        What the index returned.
    X, Q, k, metric :
        As in `ground_truth`.
    true_ids : int array of shape (nq, at least k), optional
        Known true neighbours; computed when not given.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import recall_at_k
    >>> recall_at_k(np.array([[0, 2]]), np.eye(3), np.array([[1.0, 0.5, 0.0]]), k=2)
    0.5
    """
    return Truth(X, Q, k, metric, ids=true_ids).recall(ids)


def id_recall(ids: Any, true_ids: Any, k: int | None = None) -> float:
    """Return the mean share of the true ids that were returned, with no regard to ties.

    Parameters
    ----------
    ids, true_ids : int arrays of shape (nq, at least k)
        Negative ids are padding and are ignored on both sides.
    k : int, optional
        Columns of both that count; by default all of ``true_ids``.

    Examples
    --------
    >>> from vsearch.evaluate import id_recall
    >>> id_recall([[1, 2, 3]], [[3, 4, 5]])
    0.3333333333333333
    """
    true_ids = np.asarray(true_ids)
    k = true_ids.shape[1] if k is None else k
    true_ids = true_ids[:, :k]
    ids = _answers(ids, k, len(true_ids))
    right = (ids[:, :, None] == true_ids[: len(ids), None, :]).any(axis=2) & _first_time(ids)
    count = (true_ids[: len(ids)] >= 0).sum(axis=1)
    shares = np.where(count > 0, right.sum(axis=1) / np.maximum(count, 1), 1.0)
    return float(shares.mean()) if len(shares) else 1.0


def _known(ids: np.ndarray, n: int) -> np.ndarray:
    if ids.size and ids.max() >= n:
        raise UnknownIdError(f"`ids` must be rows of X, of which there are {n}, or negative; got {ids.max()}.")
    return ids.astype(np.int64)


def _answers(ids: Any, k: int, nq: int) -> np.ndarray:
    ids = np.atleast_2d(np.asarray(ids))
    if ids.ndim != 2 or len(ids) > nq:
        raise DimensionError(f"`ids` must have one row for each of the {nq} queries; got shape {ids.shape}.")
    return ids[:, :k].astype(np.int64)


def _first_time(ids: np.ndarray) -> np.ndarray:
    """Mask the real ids that did not already stand further left in their row."""
    if ids.shape[1] == 0:
        return np.zeros(ids.shape, dtype=bool)
    order = np.argsort(ids, axis=1, kind="stable")
    sorted_ids = np.take_along_axis(ids, order, 1)
    new = np.ones(ids.shape, dtype=bool)
    new[:, 1:] = sorted_ids[:, 1:] != sorted_ids[:, :-1]
    first = np.empty(ids.shape, dtype=bool)
    np.put_along_axis(first, order, new, 1)
    return first & (ids >= 0)
