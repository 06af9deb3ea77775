"""Score-aware training of product quantizers (Guo et al., ICML 2020, arXiv 1908.10396, "anisotropic vector
quantization").

An error along the vector changes its large inner products, one across it hardly: the loss of an error e of a vector x
is eta |e_along|^2 + |e_across|^2, with eta from the threshold T above which inner products (of unit vectors) matter.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels import core
from vsearch.quantize.subspaces import Layout

ROUNDS = 6
SWEEPS = 3
"""Rounds of coordinate descent over the sub-spaces of a vector; after three next to nothing changes."""


def anisotropy(threshold: float, dim: int) -> float:
    """eta of a threshold T: (d - 1) T^2 / (1 - T^2), at least 1 (arXiv 1908.10396, theorem 3.4, for large d).

    >>> round(anisotropy(0.2, 101), 3), anisotropy(0.0, 100)
    (4.167, 1.0)
    """
    return max(1.0, (dim - 1) * threshold**2 / (1 - threshold**2))


def train_anisotropic(Y: np.ndarray, layout: Layout, codebooks: np.ndarray, eta: float, threads: int) -> np.ndarray:
    """Codebooks (splits, count, width) for the anisotropic loss of Y (n, d), from those of the plain one."""
    lengths = np.sqrt(np.einsum("ij,ij->i", Y, Y, dtype=np.float64))
    unit = np.divide(Y, lengths[:, None], out=np.zeros_like(Y, dtype=np.float64), where=lengths[:, None] > 0)
    for _ in range(ROUNDS):
        codes = core.table_anisotropic(Y, layout.starts, codebooks, eta, SWEEPS, threads)
        codebooks = _updated(Y, unit, layout, codebooks, codes, eta)
    return codebooks


def _updated(
    Y: np.ndarray, unit: np.ndarray, layout: Layout, codebooks: np.ndarray, codes: np.ndarray, eta: float
) -> np.ndarray:
    """One sub-space after the other, with the others' codes fixed: of centroid j the minimum of the loss solves
    (n_j I + (eta - 1) sum u u^T) c = sum (x + (eta - 1) (p + <x, u>) u), where u is the vector's direction and p the
    other sub-spaces' error along it (arXiv 1908.10396, theorem 4.2, for one sub-space).
    """
    out = codebooks.copy()
    one_each = np.arange(layout.splits + 1)
    along = np.einsum("ij,ij->i", Y - core.table_decode(codes, layout.starts, one_each, out), unit)
    for s, (first, last) in enumerate(zip(layout.starts[:-1], layout.starts[1:], strict=True)):
        x, u, code = Y[:, first:last].astype(np.float64), unit[:, first:last], codes[:, s]
        width = last - first
        along -= np.einsum("ij,ij->i", x - out[s, code, :width], u)
        order = np.argsort(code, kind="stable")
        sizes = np.bincount(code, minlength=len(out[s]))
        used = np.flatnonzero(sizes)
        begins = np.concatenate([[0], np.cumsum(sizes[used])[:-1]])
        right = x + (eta - 1) * (along + np.einsum("ij,ij->i", x, u))[:, None] * u
        left = np.add.reduceat((u[:, :, None] * u[:, None, :])[order], begins, axis=0) * (eta - 1)
        left += sizes[used, None, None] * np.eye(width)
        solved = np.linalg.solve(left, np.add.reduceat(right[order], begins, axis=0)[:, :, None])
        out[s, used, :width] = solved[:, :, 0]
        along += np.einsum("ij,ij->i", x - out[s, code, :width], u)
    return out
