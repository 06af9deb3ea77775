"""Slow truth in float64 NumPy, for tests of everything that is fast."""

from __future__ import annotations

from typing import Any

import numpy as np

METRICS = ("l2", "ip", "cosine")
DTYPES = ("f32", "f16", "bf16", "int8")


def distances(metric: str, Q: Any, X: Any) -> np.ndarray:
    """(nq, n) distances of vectors as they are: cosine expects unit vectors, as the engine does inside."""
    Q, X = np.asarray(Q, np.float64), np.asarray(X, np.float64)
    if metric == "l2":
        return ((Q[:, None, :] - X[None, :, :]) ** 2).sum(axis=2)
    return (metric == "cosine") - Q @ X.T


def unit(X: Any) -> np.ndarray:
    """Rows scaled to length 1."""
    X = np.asarray(X, np.float64)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def nearest(distances: np.ndarray, ids: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of each row with their ids: ties go to the smaller id, what is missing is -1 at infinity."""
    ids = np.asarray(ids, np.int64)
    found = np.full((len(distances), k), -1, np.int64)
    values = np.full((len(distances), k), np.inf)
    for row, distance in enumerate(distances):
        order = np.lexsort((ids, distance))[:k]
        found[row, : len(order)] = ids[order]
        values[row, : len(order)] = distance[order]
    return found, values


def stored(X: Any, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Float32 vectors as rows of a dtype, and the factors of int8 rows: written without the engine's own conversion."""
    X = np.asarray(X, np.float32)
    if dtype == "f32":
        return X, None
    if dtype == "f16":
        return X.astype(np.float16), None
    if dtype == "bf16":
        return (X.view(np.uint32) >> 16).astype(np.uint16), None  # cut, not rounded: any bits will do
    scales = np.maximum(np.abs(X).max(axis=1), 1e-30) / 127
    codes = np.rint(X / scales[:, None]).astype(np.int8)
    norms = (codes.astype(np.float64) ** 2).sum(axis=1) * scales.astype(np.float64) ** 2
    return codes, np.stack([scales, norms], axis=1).astype(np.float32)


def values(rows: np.ndarray, factors: np.ndarray | None, dtype: str) -> np.ndarray:
    """What stored rows stand for, in float64."""
    if dtype == "bf16":
        return (rows.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype == "int8":
        return rows * factors[:, :1].astype(np.float64)
    return rows.astype(np.float64)
