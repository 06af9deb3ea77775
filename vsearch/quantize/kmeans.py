"""One k-means for everybody: Lloyd's algorithm on a sample, with assignments by the fused nearest-centroid kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vsearch.kernels import core

SAMPLE_PER_CENTROID = 100
ITERATIONS = 10


def kmeans(
    X: np.ndarray,
    count: int,
    *,
    seed: int = 0,
    threads: int = 1,
    iterations: int = ITERATIONS,
    sample_per_centroid: int = SAMPLE_PER_CENTROID,
    on_iteration: Callable[[], object] | None = None,
) -> np.ndarray:
    """Centroids that minimise the squared distance of vectors to the nearest of them.

    Parameters
    ----------
    X : float32 array of shape (n, d), n >= count
    count : number of centroids
    seed : seeds the sample and the start; the same seed gives the same centroids
    threads : threads of the assignment step
    iterations : Lloyd rounds; the distortion changes by less than a percent after ten
    sample_per_centroid : training vectors for each centroid, at most
    on_iteration : called without arguments after each round (progress bars)

    Returns
    -------
    float32 array of shape (count, d)

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.kmeans import kmeans
    >>> kmeans(np.float32([[0, 0], [0, 1], [9, 9], [9, 8]]), 2, seed=1).shape
    (2, 2)
    """
    rng = np.random.default_rng(seed)
    n = len(X)
    wanted = min(n, count * sample_per_centroid)
    sample = X if wanted == n else X[np.sort(rng.choice(n, wanted, replace=False))]
    centroids = np.ascontiguousarray(sample[rng.choice(len(sample), count, replace=False)])
    for _ in range(iterations):
        nearest, _ = core.assign(sample, centroids, threads)
        centroids = _update(sample, nearest, centroids, rng)
        if on_iteration is not None:
            on_iteration()
    return centroids


def _update(sample: np.ndarray, nearest: np.ndarray, centroids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of the clusters; an empty one takes half of the largest by starting beside its centroid."""
    count = len(centroids)
    sizes = np.bincount(nearest, minlength=count)
    order = np.argsort(nearest, kind="stable")
    occupied = np.flatnonzero(sizes)
    starts = np.concatenate(([0], np.cumsum(sizes[occupied])[:-1]))
    updated = centroids.copy()
    updated[occupied] = _sums(sample, order, starts) / sizes[occupied, None]
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        donors = np.argsort(sizes)[::-1][: len(empty)]
        donors = np.resize(donors, len(empty))
        noise = rng.standard_normal((len(empty), sample.shape[1])).astype(np.float32)
        scale = 1e-3 * np.linalg.norm(updated[donors], axis=1, keepdims=True) / np.sqrt(sample.shape[1])
        updated[empty] = updated[donors] + noise * (scale + 1e-7)
    return np.ascontiguousarray(updated, dtype=np.float32)


def _sums(sample: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums of runs of `order`, gathered in pieces so that the sorted copy of the sample stays small."""
    out = np.empty((len(starts), sample.shape[1]), dtype=np.float32)
    bounds = np.append(starts, len(order))
    runs_per_piece = max(1, int(len(starts) * 65536 / max(1, len(order))))
    for first in range(0, len(starts), runs_per_piece):
        last = min(first + runs_per_piece, len(starts))
        rows = sample[order[bounds[first] : bounds[last]]]
        out[first:last] = np.add.reduceat(rows, bounds[first:last] - bounds[first], axis=0)
    return out
