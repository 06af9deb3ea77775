"""Binary codes: signs, ITQ, and recurrent binary embeddings without a network.

The recurrent code of BEBR (arXiv 2302.08714) adds residual signs at half weight in every round, b_t = b_{t-1} + 2^-t
r_t. b_u 2^u is an odd integer in [-(2^{u+1} - 1), 2^{u+1} - 1]: a recurrent code of u + 1 rounds *is* a uniform code of
u + 1 bits in a learnt basis. So the basis is fitted to the data by ITQ, the grid point is the one nearest in angle, and
both estimators of the grid family serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vsearch._validate import check_choice, check_int
from vsearch.errors import ParameterError
from vsearch.kernels import core
from vsearch.quantize.base import Quantizer, padded, sample_of
from vsearch.quantize.codes import Codes
from vsearch.quantize.frames import (
    frame_of,
    learn_frame,
    matrices,
    principal_axes,
    random_orthogonal,
    rotation_stream,
)

METHODS = ("sign", "itq", "recurrent")
FACTOR_BYTES = 4
ITQ_ROWS = 8192
ITQ_ROUNDS = 30


def itq_rotation(residuals: np.ndarray, dim: int, seed: int) -> np.ndarray:
    """Orthogonal matrix (dim, dim) after which signs are nearest to the vectors: iterative quantisation (Gong and
    Lazebnik, CVPR 2011), alternating B = sign(V R) and the Procrustes solution R = S^T W^T of B^T V = W O S.
    """
    axes = principal_axes(residuals, dim)[1]
    V = (sample_of(residuals, ITQ_ROWS) @ axes.T).astype(np.float32)
    R = random_orthogonal(dim, rotation_stream(seed)).astype(np.float32)
    if len(V):
        for _ in range(ITQ_ROUNDS):
            signs = np.where(V @ R > 0, np.float32(1), np.float32(-1))
            left, _, right = np.linalg.svd(V.T @ signs)
            R = left @ right
    return np.asarray(R.T @ axes)


class Binary(Quantizer):
    """Codes of signs, searched asymmetrically by default and symmetrically on request.

    Parameters
    ----------
    method : "sign", "itq" or "recurrent", default "itq"
        "sign": signs of the centred coordinates as they are. "itq": signs after the rotation that brings the vectors
        nearest to signs. "recurrent": `bits_per_dim` signs of each coordinate after that rotation (BEBR without a
        network).
    bits_per_dim : int in [1, 8], default 1
        More than 1 only with "recurrent".
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Notes
    -----
    `estimate` is asymmetric: the query stays a float vector and distances are unbiased, far better at the same bytes
    than `hamming` and `symmetric`, which compare codes with codes.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    >>> q = vs.Binary("itq").fit(X)
    >>> codes = q.encode(X)
    >>> int(q.hamming(codes, codes)[3].argmin())
    3
    """

    name = "binary"
    needs_data = True

    def __init__(self, method: str = "itq", bits_per_dim: int = 1, *, seed: int = 0) -> None:
        self.method = check_choice("method", method, METHODS)
        self.bits_per_dim = check_int("bits_per_dim", bits_per_dim, 1, 8)
        if self.bits_per_dim > 1 and method != "recurrent":
            raise ParameterError(
                f"`bits_per_dim` must be 1 with method {method!r}; got {bits_per_dim}. 'recurrent' takes 1 to 8."
            )
        self.seed = check_int("seed", seed, 0, 2**63 - 1)

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"method": self.method, "bits_per_dim": self.bits_per_dim, "seed": self.seed}

    def _size(self, dim: int, metric: str) -> float:
        wide = padded(dim)
        return wide / 8 + 8 * (self.bits_per_dim - 1) * -(-wide // 64) + FACTOR_BYTES

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        if self.method == "sign":
            return learn_frame("none", residuals, dim, self.seed)
        return matrices(itq_rotation(residuals, dim, self.seed))

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.transform = frame_of(dim, arrays)
        self.codec = core.RabitqCodec(self.transform.padded, self.bits_per_dim)

    def hamming(self, queries: Codes, codes: Codes) -> np.ndarray:
        """Numbers of signs that differ, uint32 (nq, n), between codes of queries and of vectors."""
        self._check_codes(queries)
        self._check_codes(codes)
        rows, asked = _words(codes.symbols), _words(queries.symbols)
        return np.stack([core.hamming(q, rows) for q in asked]) if len(asked) else np.zeros((0, len(rows)), np.uint32)

    def symmetric(self, queries: Codes, codes: Codes) -> np.ndarray:
        """Squared Euclidean distances between what codes of queries and of vectors stand for, float32 (nq, n): BEBR's
        symmetric distance, integer products of codes times their scales.
        """
        q, q_scale, q_norm = self._integers(queries)
        x, x_scale, x_norm = self._integers(codes)
        # Odd integers of at most 255 in float32: products are exact up to 2^24, and their sums nearly.
        dots = (q @ x.T) * (q_scale[:, None] * x_scale[None, :])
        return np.maximum(q_norm[:, None] + x_norm[None, :] - 2 * dots, 0).astype(np.float32)

    def _integers(self, codes: Codes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(odd integers of the codes, scale of each code, squared length of what it stands for)."""
        self._check_codes(codes)
        levels = self.codec.unpack(codes.symbols, codes.extra)
        odd = 2 * levels.astype(np.float32) - np.float32(2**self.bits_per_dim - 1)
        full = codes.compact.read(codes.factors)
        norm2 = np.einsum("ij,ij->i", odd, odd)
        # add = |o|^2, -rescale/2 = S = |o|^2/<o, y>, y = odd/2: the least-squares scale of odd is <o, y>/(2|y|^2).
        s = -full[:, 1] / 2
        scale = np.divide(2 * full[:, 0], s * norm2, out=np.zeros_like(s), where=s * norm2 != 0)
        scale = np.clip(scale, 0, s / 2)
        return odd, scale, scale**2 * norm2


def _words(symbols: np.ndarray) -> np.ndarray:
    """Rows of bytes as rows of 64-bit words."""
    missing = -symbols.shape[1] % 8
    return np.ascontiguousarray(np.pad(symbols, ((0, 0), (0, missing)))).view(np.uint64)
