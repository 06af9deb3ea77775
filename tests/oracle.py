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


# ------------------------------------------------------------------------------------------------------------- RaBitQ


def hadamard(n: int) -> np.ndarray:
    """The orthonormal Walsh-Hadamard matrix of a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(n)


def rotation(dim: int, signs: np.ndarray) -> np.ndarray:
    """The matrix of csrc/quantize/rotation.hpp, (padded, dim), from its packed signs: rotated = matrix @ x."""
    padded = -(-dim // 16) * 16
    span = 1 << (padded.bit_length() - 1)
    flips = 1.0 - 2.0 * np.unpackbits(signs, bitorder="little").reshape(-1, padded)
    matrix = np.eye(padded)[:, :dim]
    for number, flip in enumerate(flips):
        matrix = flip[:, None] * matrix
        part = slice(0, span) if number % 2 == 0 else slice(padded - span, padded)
        matrix[part] = hadamard(span) @ matrix[part]
        if span != padded:
            low, high = matrix[: padded // 2], matrix[padded // 2 :]
            matrix = np.concatenate([low + high, low - high]) / np.sqrt(2)
    return matrix


def best_grid_cosine(vector: Any, bits: int) -> float:
    """The largest cosine between a vector and any point of the B-bit grid (half-odd integers).

    The best point is the nearest one to t * vector for some t > 0 (arXiv 2409.09913, algorithm 1). All t at which it
    changes are tried, in order: where level k of coordinate j begins, the dot product gains |x_j|, the norm2 2 k.
    """
    magnitude = np.abs(np.asarray(vector, np.float64))
    magnitude /= np.linalg.norm(magnitude)
    top = 2 ** (bits - 1) - 1
    level = np.arange(1, top + 1)
    begins = level[:, None] / np.maximum(magnitude, 1e-300)
    order = np.argsort(begins, axis=None)
    gains = np.broadcast_to(magnitude, begins.shape).reshape(-1)[order]
    costs = np.broadcast_to(2.0 * level[:, None], begins.shape).reshape(-1)[order]
    dot = magnitude.sum() / 2 + np.concatenate([[0.0], np.cumsum(gains)])
    norm2 = len(magnitude) / 4 + np.concatenate([[0.0], np.cumsum(costs)])
    return float((dot / np.sqrt(norm2)).max())


def unpacked(extra: np.ndarray, padded: int, bits: int) -> np.ndarray:
    """The lower bits of RaBitQ codes, (n, padded), from rows of planes (csrc/quantize/planes.hpp)."""
    planes, chunks = bits - 1, -(-padded // 64)
    rows = extra.reshape(len(extra), chunks, 8 * planes)
    values = np.zeros((len(extra), chunks, 64), np.int64)
    shift = at = 0
    while shift < planes:
        width = next(w for w in (4, 2, 1) if w <= planes - shift)
        plane = rows[:, :, at : at + 8 * width]
        parts = [plane >> (width * i) & (2**width - 1) for i in range(8 // width)]
        # A byte of a one-bit plane holds eight neighbours; of a wider one, dims that lie a whole plane apart.
        axis = 3 if width == 1 else 2
        values |= np.stack(parts, axis).reshape(values.shape).astype(np.int64) << shift
        shift, at = shift + width, at + 8 * width
    return values.reshape(len(extra), -1)[:, :padded]


def lanes(block: np.ndarray, symbols: int) -> np.ndarray:
    """The 4-bit symbols of the 32 vectors of one block, (32, symbols), by the drawing in csrc/quantize/block.hpp."""
    rows = block[: symbols * 16].reshape(symbols, 16)
    order = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    found = np.zeros((32, symbols), np.uint8)
    for byte, vector in enumerate(order):
        found[vector], found[vector + 16] = rows[:, byte] & 15, rows[:, byte] >> 4
    return found
