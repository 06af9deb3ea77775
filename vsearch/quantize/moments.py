"""Second moments of vectors in float64, on a sample: what PCA, sphering and the Shannon bound are computed from."""

from __future__ import annotations

import numpy as np

SAMPLE_ROWS = 65_536
"""Rows that a moment is taken of, at most; its relative error is then below 1 % in every direction."""
BLOCK_ROWS = 4096


def sample_rows(X: np.ndarray, seed: int = 0, count: int = SAMPLE_ROWS) -> np.ndarray:
    """At most `count` rows of X (n, d), drawn without replacement and in their order; X itself if it has no more.

    >>> sample_rows(np.zeros((9, 2)), count=4).shape
    (4, 2)
    """
    if len(X) <= count:
        return X
    return X[np.sort(np.random.default_rng(seed).choice(len(X), count, replace=False))]


def mean_of(X: np.ndarray) -> np.ndarray:
    """Mean of the rows of X, float64 (d,).

    Of vectors that were centred before, rounding leaves a mean in any direction, also in one that the vectors cannot
    take. Below 1e-6 of their length it is taken for that, and is zero.

    >>> mean_of(np.float32([[1, 2], [3, 4]]))
    array([2., 3.])
    """
    mean: np.ndarray = X.mean(axis=0, dtype=np.float64)
    square = np.einsum("ij,ij->", X, X, dtype=np.float64) / len(X)
    return mean if mean @ mean > 1e-12 * square else np.zeros_like(mean)


def second_moment(X: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Mean of (x - mean)(x - mean)^T over the rows x of X, float64 (d, d): the covariance if `mean` is theirs.

    Blocks keep the float64 copy small. Products in float32 would drown eigenvalues below 1e-7 of the largest, which
    codes of 8 bits and more still resolve.

    >>> second_moment(np.float32([[1, 0], [0, 3]]))
    array([[0.5, 0. ],
           [0. , 4.5]])
    """
    total = np.zeros((X.shape[1], X.shape[1]))
    for first in range(0, len(X), BLOCK_ROWS):
        block = X[first : first + BLOCK_ROWS].astype(np.float64) - mean
        total += block.T @ block
    return total / len(X)


def eigen_descending(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (d,) of a symmetric positive matrix, descending, and its eigenvectors as rows (d, d), float64.

    Rounding may leave an eigenvalue below zero: it becomes zero. A vector's sign is free; the largest of its
    coordinates is made positive, so that one moment gives one answer on every LAPACK.

    >>> eigen_descending(np.diag([1.0, 4.0]))[0]
    array([4., 1.])
    """
    values, columns = np.linalg.eigh(moment)
    vectors = columns.T[::-1]
    largest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)]
    return np.maximum(values[::-1], 0), vectors * np.where(largest < 0, -1.0, 1.0)[:, None]
