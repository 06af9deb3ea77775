"""The grid family: a random rotation, then a uniform grid of 1 to 8 bits a dimension.

RaBitQ codes a vector by the grid point nearest to it in angle and keeps one scale for each vector, chosen so that inner
products are estimated without bias (Gao and Long, SIGMOD 2024, arXiv 2405.12497; Gao et al., SIGMOD 2025, arXiv
2409.09913).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch._threads import resolve_threads
from vsearch._validate import MAX_DIM, check_float, check_int, check_queries, check_vectors
from vsearch.errors import DimensionError, DTypeError, NotFittedError, ParameterError
from vsearch.kernels import core

METRICS = ("l2", "ip", "cosine")
BLOCK = 32
EPSILON = 1.9
"""z-score of the lower bounds: 2.9 % of true distances lie below them."""


def random_signs(dim: int, seed: int) -> np.ndarray:
    """The Rademacher masks of a random rotation of `dim` dimensions, packed (uint8)."""
    return np.random.default_rng(seed).integers(0, 256, core.Rotation.sign_bytes(dim), dtype=np.uint8)


@dataclass
class Codes:
    """Codes of n vectors: what is stored for each, and nothing else.

    Attributes
    ----------
    signs : uint8 (n, padded/8), the top bit of every dimension
    extra : uint8 (n, stride), two float32 factors and the lower bits of every dimension; (n, 0) at 1 bit
    add, rescale : float32 (n,), the factors of the 1-bit estimate
    spreads : float32 (n, 2), error spread of the 1-bit and of the full code; averaged over an index, not stored
    """

    signs: np.ndarray
    extra: np.ndarray
    add: np.ndarray
    rescale: np.ndarray
    spreads: np.ndarray

    def __len__(self) -> int:
        return len(self.signs)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and factors together."""
        return self.signs.nbytes + self.extra.nbytes + self.add.nbytes + self.rescale.nbytes


class RaBitQ:
    """Random rotation and a uniform grid, unbiased inner products.

    Give it to an index (``vs.IVF(quantizer=vs.RaBitQ(bits=4))``), or use it alone as a compressor.

    Parameters
    ----------
    bits : int in [1, 8], default 1
        Bits for each dimension. 1 bit prunes, 4 bits reach a recall@10 of about 0.9 without refinement, 7 about 0.99.
    seed : int, default 0
        Of the random rotation.

    Raises
    ------
    ParameterError
        If `bits` or `seed` is out of range.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    >>> q = vs.RaBitQ(bits=4).fit(X)
    >>> codes = q.encode(X)
    >>> estimates = q.estimate(X[0], codes)
    >>> int(np.argmin(estimates))
    0
    """

    def __init__(self, bits: int = 1, *, seed: int = 0) -> None:
        self.bits = check_int("bits", bits, 1, 8)
        self.seed = check_int("seed", seed, 0, 2**63 - 1)
        self.rotation: Any = None

    def __repr__(self) -> str:
        return f"RaBitQ(bits={self.bits})"

    @property
    def dim(self) -> int | None:
        """Dimension it was fitted to, or None."""
        return None if self.rotation is None else self.rotation.dim

    def bytes_per_vector(self, dim: int) -> float:
        """Bytes of code and factors for one vector of `dim` dimensions."""
        padded = -(-check_int("dim", dim, 1, MAX_DIM) // 16) * 16
        extra = 8 + 8 * (self.bits - 1) * -(-padded // 64) if self.bits > 1 else 0
        return padded / 8 + 8 + extra

    def start(self, dim: int) -> RaBitQ:
        """Makes the rotation for `dim` dimensions: the part of fitting that looks at no data."""
        self.signs_of_rotation = random_signs(check_int("dim", dim, 1, MAX_DIM), self.seed)
        self.rotation = core.Rotation(dim, self.signs_of_rotation)
        return self

    def fit(self, X: np.ndarray) -> RaBitQ:
        """Learns the mean of X, about which vectors are coded. The rotation depends on the seed alone."""
        X = check_vectors("X", X)
        self.start(X.shape[1])
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.rotated_mean = self.rotation.apply(self.mean[None])[0]
        return self

    def encode(self, X: np.ndarray, *, threads: int = 1) -> Codes:
        """Codes of the rows of X, for estimates of squared Euclidean distance, made by `threads` threads."""
        self._check_fitted()
        X, threads = check_vectors("X", X, self.dim), resolve_threads(threads)
        rotated = self.rotation.apply(X, threads) - self.rotated_mean
        origin = np.zeros((1, self.rotation.padded), dtype=np.float32)
        lists = np.zeros(len(X), dtype=np.uint32)
        return self.encode_residuals(rotated, lists, origin, self.rotated_mean, "l2", threads)

    def encode_residuals(
        self,
        rotated: np.ndarray,
        assign: np.ndarray,
        centroids: np.ndarray,
        mean: np.ndarray,
        metric: str,
        threads: int,
    ) -> Codes:
        """Codes of rotated vectors relative to `centroids[assign]`, all without the mean: what an index stores.

        The rescaling factors are those of `metric`; `threads` threads share the rows.
        """
        return Codes(**core.rabitq_encode(rotated, assign, centroids, mean, self.bits, metric, threads))

    def decode(self, codes: Codes) -> np.ndarray:
        """Vectors that the codes stand for, float32 (n, d)."""
        self._check_codes(codes)
        levels = core.rabitq_levels(codes.signs, codes.extra, self.bits)
        grid = levels.astype(np.float32) - (2**self.bits - 1) / 2
        # |o|^2 = add and S = -rescale/2 at a zero centroid; the reconstruction of least squares is (<o, y>/|y|^2) y.
        add, rescale = codes.add, codes.rescale
        if self.bits > 1:
            factors = np.ascontiguousarray(codes.extra[:, :8]).view(np.float32)
            add, rescale = factors[:, 0], factors[:, 1]
        scale = np.divide(-2 * add, rescale, out=np.zeros_like(add), where=rescale != 0)
        scale /= np.einsum("ij,ij->i", grid, grid)
        return self.rotation.apply_inverse(np.ascontiguousarray(grid * scale[:, None] + self.rotated_mean))

    def estimate(self, query: np.ndarray, codes: Codes) -> np.ndarray:
        """Estimated squared Euclidean distances from one query to each of the codes, float32 (n,)."""
        return self.estimate_stages(query, codes)[2]

    def estimate_stages(
        self, query: np.ndarray, codes: Codes, epsilon: float = EPSILON
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each of the codes: the 1-bit distance to the query, its lower bound at `epsilon` standard deviations, and
        the distance from all bits.
        """
        self._check_codes(codes)
        query, single = check_queries("query", query, self.rotation.dim)
        if not single:
            raise DimensionError(f"`query` must be one vector of shape ({self.dim},); got {query.shape}.")
        scan = self._scan(codes)
        return scan.estimate(np.ascontiguousarray(query[0]), check_float("epsilon", epsilon, 0))

    def _scan(self, codes: Codes) -> Any:
        n = len(codes)
        blocks = np.zeros((-(-n // BLOCK), core.block_bytes(self.rotation.padded)), dtype=np.uint8)
        slots = np.arange(n, dtype=np.uint32)
        core.write_blocks(
            blocks, self.rotation.padded, np.arange(n, dtype=np.int64), slots, codes.signs, codes.add, codes.rescale
        )
        scan = core.IvfScan("l2", self.dim, self.bits, self.signs_of_rotation)
        scan.bind_centroids(np.zeros((1, self.rotation.padded), dtype=np.float32), self.rotated_mean)
        spreads = codes.spreads.mean(axis=0) if n else np.zeros(2)
        scan.bind(
            ids=np.arange(n, dtype=np.int64),
            list_block=np.zeros(1, dtype=np.uint32),
            list_size=np.array([n], dtype=np.uint32),
            blocks=blocks,
            block_list=np.zeros(len(blocks), dtype=np.uint32),
            position=slots,
            extra=codes.extra if self.bits > 1 else None,
            sign_spread=float(spreads[0]),
            full_spread=float(spreads[1]),
            row_dtype="f32",
            rows=None,
            factors=None,
            n=n,
        )
        return scan

    def _check_codes(self, codes: Codes) -> None:
        self._check_fitted()
        if not isinstance(codes, Codes):
            raise DTypeError(f"`codes` must be what encode(X) returned; got a {type(codes).__name__}.")
        padded, n = self.rotation.padded, len(codes)
        stride = self.bytes_per_vector(padded) - padded / 8 - 8
        if codes.signs.shape != (n, padded // 8) or codes.extra.shape != (n, stride):
            wanted = f"of {self!r} for {self.dim} dimensions"
            raise ParameterError(f"`codes` must be {wanted}; these are of another quantizer.")

    def _check_fitted(self) -> None:
        if self.rotation is None or not hasattr(self, "mean"):
            raise NotFittedError("RaBitQ is not fitted; call fit(X) first.")
