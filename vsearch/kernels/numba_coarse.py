"""The coarse step of an IVF (csrc/index/coarse.hpp): which lists are nearest to a query, ranked by 7-bit centroids."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import L2, Int, frozen, jit, jit_part
from vsearch.kernels.numba_distance import l2
from vsearch.kernels.numba_topk import INFINITY, close, push

ZERO, HALF, ONE, LARGEST = np.float32(0), np.float32(0.5), np.float32(1), np.float32(127)
FAR = np.finfo(np.float32).max


class Coarse(NamedTuple):
    """Centroids (lists, padded), rotated and without the mean, and what the ranking reads of them."""

    centroids: np.ndarray
    mean: np.ndarray
    codes: np.ndarray  # uint8, c ~ low + step * code
    low: np.ndarray
    step: np.ndarray
    norm2: np.ndarray  # |c|^2
    dot_mean: np.ndarray  # <c, P mean>
    key: np.ndarray  # what the ranking adds to -<c, q>
    weights: np.ndarray  # of coordinates, by the errors of codes
    squares: np.ndarray  # float64, |mean|^2, the same weighed, and the square of what queries must be as long as


@jit
def _measure(c: Coarse, metric: Int) -> None:
    for i in range(len(c.centroids)):
        norm2, dot_mean = 0.0, 0.0
        low, high = c.centroids[i, 0], c.centroids[i, 0]
        for j in range(c.centroids.shape[1]):
            x = c.centroids[i, j]
            low, high = min(low, x), max(high, x)
            norm2 += np.float64(x) * np.float64(x)
            dot_mean += np.float64(x) * np.float64(c.mean[j])
        step = (high - low) / LARGEST
        inverse = ONE / step if ZERO < step < INFINITY else ZERO
        for j in range(c.centroids.shape[1]):
            level = (c.centroids[i, j] - low) * inverse + HALF
            c.codes[i, j] = np.int32(max(level, ZERO) if level < LARGEST else LARGEST)
        c.low[i], c.step[i] = low, step
        c.norm2[i], c.dot_mean[i] = np.float32(norm2), np.float32(dot_mean)
        c.key[i] = HALF * c.norm2[i] if metric == L2 else -c.dot_mean[i]
    c.squares[:] = 0.0
    for j in range(len(c.mean)):
        square = np.float64(c.mean[j]) * np.float64(c.mean[j])
        c.squares[0] += square
        c.squares[1] += square * np.float64(c.weights[j])
    for i in range(len(c.centroids)):
        c.squares[2] = max(c.squares[2], np.float64(c.norm2[i]))


def bind_coarse(
    centroids: np.ndarray, mean: np.ndarray, metric: int, weights: np.ndarray, length2: float = 0.0
) -> Coarse:
    """The coarse quantizer of these centroids, which are not copied; `weights` and `length2` are the codec's."""
    lists = len(centroids)
    codes = np.empty(centroids.shape, dtype=np.uint8)
    low, step, norm2, dot_mean, key = (np.empty(lists, dtype=np.float32) for _ in range(5))
    made = Coarse(centroids, mean, codes, low, step, norm2, dot_mean, key, weights, np.empty(3))
    _measure(made, metric)
    made.squares[2] += length2
    return Coarse(*map(frozen, made))


@jit_part
def _rank(c: Coarse, query: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> None:
    peak, total = ZERO, ZERO
    for x in query:
        peak = max(peak, abs(x))
        total += x
    scale, inverse = peak / LARGEST, LARGEST / peak if peak > ZERO else ZERO
    for j in range(len(query)):
        codes[j] = np.int32(np.rint(query[j] * inverse))
    for i in range(len(keys)):
        product = np.int32(0)
        for j in range(len(query)):
            product = np.int32(product + np.int32(np.int32(c.codes[i, j]) * np.int32(codes[j])))
        key = c.key[i] - total * c.low[i] - scale * c.step[i] * np.float32(product)
        # Vectors near the end of float32's range overflow in their products. Such a list is far, not nowhere.
        keys[i] = max(key, -FAR) if key < FAR else FAR


class Probed(NamedTuple):
    """The lists that a query opens, nearest first, with exact |q - c|^2; `keys` and `codes` are scratch."""

    keys: np.ndarray
    codes: np.ndarray
    nearest: np.ndarray
    lists: np.ndarray
    distances: np.ndarray


def new_probed(lists: int, padded: int, probes: int) -> Probed:
    """Room for `probes` lists."""
    return Probed(
        keys=np.empty(lists, dtype=np.float32),
        codes=np.empty(padded, dtype=np.int8),
        nearest=np.empty(probes, dtype=np.float32),
        lists=np.empty(probes, dtype=np.int64),
        distances=np.empty(probes, dtype=np.float32),
    )


@jit_part
def probe(c: Coarse, query: np.ndarray, out: Probed) -> None:
    """Fills `out` for a rotated query without the mean."""
    size = 0
    if len(c.centroids) == 1:
        out.lists[0] = 0
    else:
        _rank(c, query, out.codes, out.keys)
        for i in range(len(out.keys)):
            size = push(out.nearest, out.lists, size, out.keys[i], i)
        close(out.nearest, out.lists, size)
    for i in range(len(out.lists)):
        out.distances[i] = l2(query, c.centroids[out.lists[i]])
