"""Answers that do not all say the same: re-ranking by maximal marginal relevance, or by coverage.

Both choose k of a pool of candidates, one after the other, and weigh relevance against diversity D in [0, 1]:

    mmr       argmax  (1 - D) * rel(i) - D * max over chosen j of sim(i, j)
    coverage  argmax of the gain in  (1 - D) * sum over chosen rel(i) + D * sum over all v of rel(v) * max over chosen
              sim(v, i), a facility-location function: every candidate should have a chosen one near it

The second is monotone and submodular, so that greedy choice reaches 1 - 1/e of the best (Nemhauser, Wolsey, Fisher
1978), and gains only shrink, so that a stale gain is an upper bound: the lazy greedy of Minoux (1978) evaluates the top
of a heap again and stops as soon as it stays on top.

Similarity is the cosine, or for l2 one minus the squared distance in units of the largest. Relevance is the similarity
to the query on the same scale, so that the two can be weighed against each other; for ip and for hybrid scores, their
share of the largest.
"""

from __future__ import annotations

import heapq

import numpy as np

METHODS = ("mmr", "coverage")

#: Candidates per answer wanted.
POOL = 4
POOL_LEAST = 40


def rerank(
    vectors: np.ndarray,
    distances: np.ndarray,
    scores: np.ndarray | None,
    k: int,
    diversity: float,
    method: str,
    metric: str,
) -> list[int]:
    """Positions of the k chosen candidates, in the order of choice.

    >>> X = np.array([[1, 0], [1, 0.01], [0.8, 0.6]], np.float32)
    >>> rerank(X, np.array([0.0, 0.0001, 0.2]), None, 2, 0.6, "mmr", "cosine")
    [0, 2]
    """
    alike, largest = _alike(vectors, metric)
    if scores is not None or metric == "ip":
        values = -distances if scores is None else scores
        top = float(values.max())
        relevance = np.clip(values / top, 0, 1) if top > 0 else scaled(values)
    else:
        far = max(largest, float(distances.max())) if metric == "l2" else largest
        relevance = np.clip(1 - distances / far, 0, 1) if far > 0 else np.ones(len(distances))
    choose = mmr if method == "mmr" else coverage
    return choose(relevance, alike, min(k, len(vectors)), diversity)


def scaled(values: np.ndarray) -> np.ndarray:
    """Values moved and stretched to [0, 1]; all 1 where they are equal."""
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones(len(values))


def similarities(vectors: np.ndarray, metric: str) -> np.ndarray:
    """How alike candidates are, (n, n) in [0, 1]."""
    return _alike(vectors, metric)[0]


def _alike(vectors: np.ndarray, metric: str) -> tuple[np.ndarray, float]:
    """Similarities, and the distance at which they are 0."""
    X = vectors.astype(np.float64)
    if metric == "l2":
        squares = (X**2).sum(axis=1)
        far = np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0)
        largest = float(far.max())
        return (1 - far / largest, largest) if largest > 0 else (np.ones_like(far), 0.0)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-300)
    return np.clip(X @ X.T, 0, 1), 1.0


def mmr(relevance: np.ndarray, alike: np.ndarray, k: int, diversity: float) -> list[int]:
    """Greedy choice by maximal marginal relevance (Carbonell and Goldstein 1998)."""
    nearest = np.zeros(len(relevance))
    left = (1 - diversity) * relevance
    chosen: list[int] = []
    for _ in range(k):
        value = left - diversity * nearest
        best = int(np.argmax(value))
        chosen.append(best)
        left[best] = -np.inf
        nearest = np.maximum(nearest, alike[best])
    return chosen


def coverage(relevance: np.ndarray, alike: np.ndarray, k: int, diversity: float) -> list[int]:
    """Lazy greedy choice by facility location."""
    covered = np.zeros(len(relevance))

    def gain(i: int) -> float:
        more = relevance @ np.maximum(alike[i] - covered, 0)
        return float((1 - diversity) * relevance[i] + diversity * more)

    heap = [(-gain(i), i) for i in range(len(relevance))]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < k:
        _, i = heap[0]
        fresh = (-gain(i), i)
        if len(heap) > 1 and fresh > min(heap[1:3]):
            heapq.heapreplace(heap, fresh)
            continue
        heapq.heappop(heap)
        chosen.append(i)
        covered = np.maximum(covered, alike[i])
    return chosen
