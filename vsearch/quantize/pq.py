"""Product quantization: sub-spaces with a codebook each (Jegou, Douze and Schmid, TPAMI 2011)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch._validate import check_float
from vsearch.quantize.anisotropic import anisotropy, train_anisotropic
from vsearch.quantize.base import sample_of
from vsearch.quantize.codebooks import adapted
from vsearch.quantize.subspaces import Layout
from vsearch.quantize.table import Learnt, TableQuantizer
from vsearch.quantize.table_training import grouped, lloyd, random_centroids

EARLY_ROWS = 16384
EARLY_ROUNDS, LATE_ROUNDS = 12, 6


class PQ(TableQuantizer):
    """Product quantization: the dims are cut into `m` sub-spaces, and of each the nearest of 16 or 256 centroids is
    kept.

    Good where few bits are to be spent (a byte or less for each 4 dims) and data have structure that k-means finds.
    `OPQ` first rotates so that sub-spaces are independent and equally rich; take it unless neighbouring dims belong
    together anyway, as in SIFT.

    Parameters
    ----------
    m : int in [1, d]
        Sub-spaces, a code each; d need not be a multiple.
    bits : 4 or 8, default 8
        Of a code. 4 bits are scanned at once; of 8 bits the first 4 name a group of centroids and exclude most vectors.
    anisotropic : float in [0, 1), default 0
        Threshold T of ScaNN's score-aware loss, which weighs the error along a vector more than across it (0.2 is
        usual); 0 is the plain squared error. Under ip and cosine estimates give back what codes fall short of anyway,
        and rank as well without it.
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range; on fitting if d < m.

    Notes
    -----
    Under l2 a vector takes m * bits / 8 bytes, under ip and cosine one more for a correction of the vector's own; codes
    lie in groups of four, which may add up to three halves (bits = 4) or wholes: `bytes_per_vector(d, metric)` counts.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((1000, 32)).astype(np.float32)
    >>> q = vs.PQ(m=16).fit(X)
    >>> q.bytes_per_vector(32), int(q.estimate(X[5], q.encode(X)).argmin())
    (16.0, 5)
    """

    name = "pq"

    def __init__(self, m: int, bits: int = 8, *, anisotropic: float = 0.0, seed: int = 0) -> None:
        super().__init__(m, bits, seed)
        self.anisotropic = check_float("anisotropic", anisotropic, 0, 0.99)

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"m": self.m, "bits": self.bits, "anisotropic": self.anisotropic, "seed": self.seed}

    def _anisotropy(self, dim: int) -> float:
        return anisotropy(self.anisotropic, dim)

    def _train(self, residuals: np.ndarray, metric: str, rng: np.random.Generator, threads: int) -> Learnt:
        layout = self._layout(residuals.shape[1], self.m)
        return Learnt(layout, self._codebooks(residuals, layout, rng, threads))

    def _codebooks(
        self,
        Y: np.ndarray,
        layout: Layout,
        rng: np.random.Generator,
        threads: int,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """k-means of all sub-spaces, most rounds of it on a part of the vectors, the last on all; where a sub-space is
        one dimension, the levels that suit it."""
        if start is None:
            early = sample_of(Y, EARLY_ROWS)
            start = random_centroids(early, layout.starts, self.count, rng)
            start = lloyd(early, layout.starts, start, EARLY_ROUNDS, rng, threads)
        made = lloyd(Y, layout.starts, start, LATE_ROUNDS, rng, threads)
        for split in np.flatnonzero(np.diff(layout.starts) == 1):
            made[split, :, 0] = adapted(Y[:, layout.starts[split]], self.count)
        if self.anisotropic > 0:
            eta = self._anisotropy(layout.dim)
            made = train_anisotropic(sample_of(Y, EARLY_ROWS), layout, made, eta, threads)
        return grouped(made) if self.bits == 8 else made
