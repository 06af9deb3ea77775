"""The orthogonal frames that codecs work in: none, a fast Hadamard rotation, a dense random one, or the principal axes.

A frame is an object of the core and the arrays that it is made of: ``rotation`` (the sign masks of a Hadamard
rotation), or the matrices ``base``, ``query`` and ``inverse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vsearch.kernels import core
from vsearch.quantize.base import padded, random_signs, take
from vsearch.quantize.moments import eigen_descending, second_moment

ROTATIONS = ("hadamard", "dense", "pca", "none")


def rotation_stream(seed: int) -> np.random.Generator:
    """Random numbers for rotations: of another stream than those of `default_rng(seed)`, which users make data with. A
    rotation that is made of the vectors themselves turns them to the axes.
    """
    return np.random.default_rng([seed, 0x726F74])


def random_orthogonal(dim: int, rng: np.random.Generator) -> np.ndarray:
    """A Haar-distributed orthogonal matrix, float64: QR of a Gaussian one with the signs of R's diagonal fixed
    (Mezzadri, 2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def principal_axes(residuals: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(variances, axes as rows), float64, largest variance first, of residuals to their centroids (mean zero)."""
    if len(residuals) == 0:
        return np.ones(dim), np.eye(dim)
    variances, axes = eigen_descending(second_moment(residuals, np.zeros(dim, dtype=np.float32)))
    return np.maximum(variances, 0), np.asarray(axes, dtype=np.float64)


def matrices(
    base: np.ndarray, query: np.ndarray | None = None, inverse: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Arrays of a frame of matrices: base and query (rows, dim), inverse (dim, rows), with rows padded by zeros to a
    multiple of 16. Without `query` and `inverse` the base is orthogonal.
    """
    missing = padded(len(base)) - len(base)
    query = base if query is None else query
    inverse = base.T if inverse is None else inverse
    return {
        "base": np.pad(base, ((0, missing), (0, 0))).astype(np.float32),
        "query": np.pad(query, ((0, missing), (0, 0))).astype(np.float32),
        "inverse": np.ascontiguousarray(np.pad(inverse, ((0, 0), (0, missing))), dtype=np.float32),
    }


def learn_frame(kind: str, residuals: np.ndarray, dim: int, seed: int) -> dict[str, np.ndarray]:
    """Arrays of one of `ROTATIONS`."""
    if kind == "hadamard":
        return {"rotation": random_signs(dim, seed)}
    if kind == "dense":
        return matrices(random_orthogonal(dim, rotation_stream(seed)))
    if kind == "pca":
        return matrices(principal_axes(residuals, dim)[1])
    return matrices(np.eye(dim))


def frame_of(dim: int, arrays: Mapping[str, np.ndarray]) -> Any:
    """The frame of its arrays; ValueError where they are none."""
    if "rotation" in arrays:
        return core.Rotation(dim, take(arrays, "rotation", np.uint8, (core.Rotation.sign_bytes(dim),)))
    base = take(arrays, "base", np.float32, (None, dim))
    if len(base) == 0 or len(base) % 16:
        raise ValueError("the matrix has rows that are no multiple of 16")
    query = take(arrays, "query", np.float32, base.shape)
    return core.Matrix(base, query, take(arrays, "inverse", np.float32, (dim, len(base))))
