"""Optimized product quantization: a learnt rotation before PQ (Ge, He, Ke and Sun, CVPR 2013; Norouzi and Fleet,
2013)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch._validate import check_float
from vsearch.kernels import core
from vsearch.quantize.base import sample_of
from vsearch.quantize.frames import principal_axes
from vsearch.quantize.pq import EARLY_ROUNDS, EARLY_ROWS, PQ
from vsearch.quantize.subspaces import Layout, balanced_order, nearest_rotation
from vsearch.quantize.table import Learnt
from vsearch.quantize.table_training import lloyd, means, random_centroids

ROUNDS = 10


def balanced_frame(residuals: np.ndarray, layout: Layout, weighting: float) -> tuple[np.ndarray, np.ndarray | None]:
    """(base, query), float32 (d, d) with axes as rows: principal axes, dealt out to the sub-spaces so that each has as
    much to tell, and stretched by variance^(weighting / 2) for vectors and shrunk for queries. Without weighting they
    are the same, and `query` is None.

    Inner products stay what they are. But codes minimise the error in stretched coordinates, and so the error of inner
    products with queries whose variances are as those of vectors to the power of `weighting`.
    """
    variances, axes = principal_axes(residuals, residuals.shape[1])
    if weighting == 0:
        return axes[balanced_order(variances, layout)].astype(np.float32), None
    stretch = np.maximum(variances, 1e-9 * max(float(variances[0]), 1e-30)) ** (weighting / 2)
    stretch /= np.exp(np.log(stretch).mean())
    order = balanced_order(variances * stretch**2, layout)
    base, query = axes * stretch[:, None], axes / stretch[:, None]
    return base[order].astype(np.float32), query[order].astype(np.float32)


class OPQ(PQ):
    """Product quantization after the rotation that suits it: the choice for embeddings at one or two bits a dim.

    The rotation starts from the principal axes, dealt out to the sub-spaces so that each gets an equal share of the
    variances' product, and is then refined in turn with the codebooks.

    Parameters
    ----------
    m : int in [1, d]
        Sub-spaces, a code each; d need not be a multiple.
    bits : 4 or 8, default 8
        Of a code.
    weighting : float in [0, 1], default 0.25
        Under ip and cosine: how much more errors in directions count in which vectors vary, for queries look there too.
        0 is the plain squared error; 0.25 gives up 1 to 3 % of it for up to 0.015 recall.
    anisotropic : float in [0, 1), default 0
        As in `PQ`.
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range; on fitting if d < m.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((1000, 8)) @ np.random.default_rng(1).standard_normal((8, 32))
    >>> pq, opq = (q.fit(X) for q in (vs.PQ(m=8), vs.OPQ(m=8)))
    >>> errors = [float(((q.decode(q.encode(X)) - X) ** 2).mean()) for q in (pq, opq)]
    >>> errors[1] < 0.5 * errors[0]
    True
    """

    name = "opq"

    def __init__(
        self, m: int, bits: int = 8, *, weighting: float = 0.25, anisotropic: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(m, bits, anisotropic=anisotropic, seed=seed)
        self.weighting = check_float("weighting", weighting, 0, 1)

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"m": self.m, "bits": self.bits, "weighting": self.weighting} | {
            "anisotropic": self.anisotropic,
            "seed": self.seed,
        }

    def _train(self, residuals: np.ndarray, metric: str, rng: np.random.Generator, threads: int) -> Learnt:
        layout = self._layout(residuals.shape[1], self.m)
        base, query = balanced_frame(residuals, layout, self.weighting if metric != "l2" else 0.0)
        early = np.ascontiguousarray(sample_of(residuals, EARLY_ROWS) @ base.T)
        rotation, codebooks = self._alternate(early, layout, rng, threads)
        base, query = rotation.T @ base, None if query is None else rotation.T @ query
        Y = np.ascontiguousarray(residuals @ base.T)
        return Learnt(layout, self._codebooks(Y, layout, rng, threads, codebooks), base, query)

    def _alternate(
        self, Y: np.ndarray, layout: Layout, rng: np.random.Generator, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(R, codebooks) that make Y R cheap to code: one round of k-means from where the last one left off, then the
        rotation nearest to what the codes stand for, and so on.
        """
        codebooks = random_centroids(Y, layout.starts, self.count, rng)
        codebooks = lloyd(Y, layout.starts, codebooks, EARLY_ROUNDS // 2, rng, threads)
        one_each = np.arange(layout.splits + 1)
        rotation, turned = np.eye(layout.dim, dtype=np.float32), Y
        for _ in range(ROUNDS):
            codes = core.table_nearest(turned, layout.starts, codebooks, threads)
            codebooks = means(turned, layout.starts, codes, codebooks, rng, threads)
            rotation = nearest_rotation(Y, core.table_decode(codes, layout.starts, one_each, codebooks, threads))
            turned = Y @ rotation
        return rotation, lloyd(turned, layout.starts, codebooks, EARLY_ROUNDS // 2, rng, threads)
