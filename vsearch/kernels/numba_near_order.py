"""An order of vectors in which near ones are mostly close to one another (csrc/index/near_order.hpp).

The rule is the compiled core's; what is drawn at random and how sums are rounded is not, so the orders differ.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Int

LEAF = 16
SAMPLE = 256
ROUNDS = 3


def near_order(vectors: np.ndarray, seed: Int, threads: Int) -> np.ndarray:
    """Positions of the vectors (n, dim) in that order, uint32 (n,); `threads` are those of NumPy."""
    rng = np.random.default_rng(seed)
    order = np.arange(len(vectors), dtype=np.uint32)
    parts = [(0, len(vectors))]
    while parts:
        first, end = parts.pop()
        if end - first <= LEAF:
            continue
        part, half = order[first:end], (end - first) // 2
        X = vectors[part]
        order[first:end] = part[np.argpartition(X @ _direction(X, rng), half)]
        parts += [(first, first + half), (first + half, end)]
    return order


def _direction(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Between the means of two halves of a sample, found by a few rounds."""
    sample = X if len(X) <= SAMPLE else X[rng.choice(len(X), SAMPLE, replace=False)]
    one, other = rng.choice(len(sample), 2, replace=False)
    direction = sample[other] - sample[one]
    for _ in range(ROUNDS):
        keys = sample @ direction
        below = keys < np.partition(keys, len(keys) // 2)[len(keys) // 2]
        if not below.any():  # all alike
            break
        direction = sample[~below].mean(axis=0) - sample[below].mean(axis=0)
    return direction
