"""The orthogonal frames that codecs work in: none, a fast Hadamard rotation, a dense random one, or the principal axes.

A frame is an object of the core and the arrays that it is made of: ``rotation`` (the sign masks of a Hadamard
rotation), the matrix ``base``, with ``query`` and ``inverse`` where it is not orthogonal, or ``padding`` (how many
coordinates there are with the zeros behind) where there is none.
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
    multiple of 16. Without `query` and `inverse` the base is orthogonal, and all there is to keep.
    """
    below = ((0, padded(len(base)) - len(base)), (0, 0))
    arrays = {"base": np.pad(base, below).astype(np.float32)}
    if query is not None and inverse is not None:
        arrays["query"] = np.pad(query, below).astype(np.float32)
        arrays["inverse"] = np.ascontiguousarray(np.pad(inverse, below[::-1]), dtype=np.float32)
    return arrays


def no_frame(dim: int) -> dict[str, np.ndarray]:
    """Arrays of the frame that leaves coordinates as they are."""
    return {"padding": np.array([padded(dim)], dtype=np.int64)}


def learn_frame(kind: str, residuals: np.ndarray, dim: int, seed: int) -> dict[str, np.ndarray]:
    """Arrays of one of `ROTATIONS`."""
    if kind == "hadamard":
        return {"rotation": random_signs(dim, seed)}
    if kind == "dense":
        return matrices(random_orthogonal(dim, rotation_stream(seed)))
    if kind == "pca":
        return matrices(principal_axes(residuals, dim)[1])
    return no_frame(dim)


def frame_of(dim: int, arrays: Mapping[str, np.ndarray]) -> Any:
    """The frame of its arrays; ValueError where they are none."""
    if "rotation" in arrays:
        return core.Rotation(dim, take(arrays, "rotation", np.uint8, (core.Rotation.sign_bytes(dim),)))
    if "padding" in arrays:
        if take(arrays, "padding", np.int64, (1,))[0] != padded(dim):
            raise ValueError("the padding is of another dimension")
        return core.Padding(dim)
    base = take(arrays, "base", np.float32, (None, dim))
    if len(base) == 0 or len(base) % 16:
        raise ValueError("the matrix has rows that are no multiple of 16")
    if "query" not in arrays and "inverse" not in arrays:
        if np.einsum("ij,ij->j", base, base).max() > 1.001:  # 1 but for rounding, and less where it drops coordinates
            raise ValueError("the matrix is not orthogonal")
        return core.Matrix(base)
    query = take(arrays, "query", np.float32, base.shape)
    return core.Matrix(base, query, take(arrays, "inverse", np.float32, (dim, len(base))))


def mapped(arrays: Mapping[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """Rows of X (n, dim) in a frame of matrices or none, (n, padded)."""
    if "padding" in arrays:
        return np.pad(X, ((0, 0), (0, int(arrays["padding"][0]) - X.shape[1])))
    return np.asarray(X @ arrays["base"].T)


def filled(arrays: Mapping[str, np.ndarray], dim: int, wide: int) -> np.ndarray:
    """Which of the `wide` coordinates of a frame are more than padding, bool (wide,)."""
    if "base" in arrays:
        return np.asarray(np.abs(arrays["base"]).max(axis=1) > 0)
    return np.arange(wide) < (dim if "padding" in arrays else wide)
