"""Training of codebooks: k-means in every sub-space at once, residual codebooks, their joint refinement, and groups.

Assignments and sums run in the core over all sub-spaces together; a round over 65,536 vectors of 384 dims and 256
centroids takes a fifth of a second on one core.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels import core
from vsearch.quantize.subspaces import Layout

GROUP = 16
"""Groups of a codebook of 256, and centroids of a group."""
GROUP_ROUNDS = 8


def random_centroids(Y: np.ndarray, starts: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centroids from random rows of Y, float32 (splits, count, width)."""
    rows = Y[rng.choice(len(Y), count, replace=len(Y) < count)]
    out = np.zeros((len(starts) - 1, count, int(np.diff(starts).max())), dtype=np.float32)
    for centroids, first, last in zip(out, starts[:-1], starts[1:], strict=True):
        centroids[:, : last - first] = rows[:, first:last]
    return out


def lloyd(
    Y: np.ndarray, starts: np.ndarray, centroids: np.ndarray, rounds: int, rng: np.random.Generator, threads: int
) -> np.ndarray:
    """`rounds` of k-means in every sub-space from `centroids` (splits, count, width) on."""
    for _ in range(rounds):
        codes = core.table_nearest(Y, starts, centroids, threads)
        centroids = means(Y, starts, codes, centroids, rng, threads)
    return centroids


def means(
    Y: np.ndarray,
    starts: np.ndarray,
    codes: np.ndarray,
    centroids: np.ndarray,
    rng: np.random.Generator,
    threads: int,
) -> np.ndarray:
    """Means of the vectors of each centroid; one without vectors starts again beside the centroid that has most."""
    sums, sizes = core.table_sums(Y, starts, codes, *centroids.shape[1:], threads)
    used = sizes > 0
    out = np.where(used[..., None], sums / np.maximum(sizes, 1)[..., None], centroids).astype(np.float32)
    for split in np.flatnonzero(~used.all(axis=1)):
        empty = np.flatnonzero(~used[split])
        donors = np.resize(np.argsort(sizes[split], kind="stable")[::-1][: len(empty)], len(empty))
        length = starts[split + 1] - starts[split]
        spread = 1e-2 * Y[:, starts[split] : starts[split + 1]].std() + 1e-30
        noise = rng.standard_normal((len(empty), length)).astype(np.float32) * np.float32(spread)
        out[split, empty] = out[split, donors]
        out[split, empty, :length] += noise
    return out


def residual_codebooks(
    Y: np.ndarray, layout: Layout, count: int, rounds: int, rng: np.random.Generator, threads: int
) -> np.ndarray:
    """Codebooks (books, count, width), each by k-means on what the ones before it in its sub-space leave over."""
    out = np.zeros((layout.books, count, layout.width), dtype=np.float32)
    left = Y[:, : layout.dim].copy()
    for t in range(int(layout.stages.max())):
        starts, books = layout.stage(t)
        end, one_each = starts[-1], np.arange(len(books) + 1)
        centroids = np.zeros((len(books), count, layout.width), dtype=np.float32)
        start = random_centroids(left, starts, count, rng)
        centroids[:, :, : start.shape[2]] = start
        out[books] = lloyd(left, starts, centroids, rounds, rng, threads)
        codes = core.table_nearest(left, starts, out[books], threads)
        left[:, :end] -= core.table_decode(codes, starts, one_each, out[books], threads)
    return out


def grouped(codebooks: np.ndarray) -> np.ndarray:
    """Codebooks of 256 in an order in which the upper four bits of a code name a group of 16 centroids near each other.

    The mean of the group then serves as a centroid of 4 bits, so that one codebook has a small table and a large one
    (derived codebooks: Andre et al., "Derived Codebooks for High-Accuracy Nearest Neighbor Search", 2019, arXiv
    1905.06900). Groups of equal size: in rounds of k-means over the centroids, those that would lose most by a second
    choice choose first.

    >>> line = np.arange(256, dtype=np.float32).reshape(1, 256, 1)
    >>> float(np.ptp(grouped(line).reshape(16, 16), axis=1).max()) < 32
    True
    """
    order = np.argsort(codebooks[:, :, 0], axis=1, kind="stable")
    for _ in range(GROUP_ROUNDS):
        members = np.take_along_axis(codebooks, order[:, :, None], axis=1)
        centers = members.reshape(len(codebooks), GROUP, GROUP, -1).mean(axis=2)
        distances = np.stack([_squares(c, x) for c, x in zip(centers, codebooks, strict=True)])
        order = np.argsort(_balanced(distances), axis=1, kind="stable")
    return np.ascontiguousarray(np.take_along_axis(codebooks, order[:, :, None], axis=1))


def _squares(centers: np.ndarray, points: np.ndarray) -> np.ndarray:
    """|p|^2 less squared distances (points, centers), negated: the same order for each point."""
    out: np.ndarray = (centers * centers).sum(axis=1) - 2 * points @ centers.T
    return out


def _balanced(distances: np.ndarray) -> np.ndarray:
    """A group for each of 256 points, 16 to a group, of distances (books, 256, 16)."""
    books = np.arange(len(distances))
    best = np.sort(distances, axis=2)
    eager = np.argsort(best[:, :, 0] - best[:, :, 1], axis=1, kind="stable")
    groups = np.zeros(distances.shape[:2], dtype=np.int64)
    room = np.full((len(distances), GROUP), GROUP)
    for turn in range(distances.shape[1]):
        point = eager[:, turn]
        choice = np.argmin(np.where(room > 0, distances[books, point], np.inf), axis=1)
        groups[books, point] = choice
        room[books, choice] -= 1
    return groups
