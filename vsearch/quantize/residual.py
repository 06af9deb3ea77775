"""Residual quantizers: sums of centroids, found by beam search (Chen et al. 2010; Babenko and Lempitsky, CVPR 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch._validate import check_choice, check_float, check_int
from vsearch.kernels import core
from vsearch.quantize.base import sample_of
from vsearch.quantize.opq import balanced_frame
from vsearch.quantize.subspaces import Layout, layout_of
from vsearch.quantize.table import Learnt, TableQuantizer
from vsearch.quantize.table_training import grouped, lloyd, random_centroids, residual_codebooks

ROTATIONS = ("auto", "pca", "none")
EARLY_ROWS, MIDDLE_ROWS = 16384, 32768
ROUNDS = 5  # of k-means for each codebook
EARLY_REFINES, LATE_REFINES, PASSES = 3, 2, 3
TRIAL_ROWS = 8192
TRAIN_BEAM, SWEEPS = 2, 4


class ResidualQuantizer(TableQuantizer):
    """Codes that stand for sums of `m` centroids, found by beam search: the least error at a given size, and the
    slowest to make.

    With `splits` sub-spaces each is the sum of m / splits centroids: a product of residual quantizers, which takes a
    tenth of a millisecond or so a vector where one over all dims takes seconds.

    Parameters
    ----------
    m : int >= 1
        Codes of a vector.
    bits : 4 or 8, default 8
        Of a code.
    splits : int in [1, m], optional
        Sub-spaces; by default one for each 4 codes. With 8 codes a sub-space errors are 3 to 5 % lower, and encoding
        takes one and a half times as long.
    beam : int in [1, 256], default 8
        Partial codes kept while searching for the best.
    rotation : "auto", "pca" or "none", default "auto"
        Whether sub-spaces are made of principal axes, dealt out so that each has as much to tell, or of the dims as
        they come; "auto" tries which has the lower error. Without sub-spaces it makes no difference.
    weighting : float in [0, 1], default 0.25
        Under ip and cosine, with principal axes, as in `OPQ`.
    seed : int, default 0

    Raises
    ------
    ParameterError
        If an argument is out of range; on fitting if d < splits.

    Notes
    -----
    The squared length of a sum of centroids is no sum: a vector takes one byte more than its m * bits / 8. Codes lie in
    groups of four: m = 15, 31, 47 leave nothing unused.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
    >>> pq, rq = (q.fit(X) for q in (vs.PQ(m=8, bits=4), vs.ResidualQuantizer(m=8, bits=4, splits=2)))
    >>> errors = [float(((q.decode(q.encode(X)) - X) ** 2).mean()) for q in (pq, rq)]
    >>> errors[1] < 0.95 * errors[0]
    True
    """

    name = "residual"
    _sweeps = SWEEPS

    def __init__(
        self,
        m: int,
        bits: int = 8,
        *,
        splits: int | None = None,
        beam: int = 8,
        rotation: str = "auto",
        weighting: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__(m, bits, seed)
        self.splits = -(-self.m // 4) if splits is None else check_int("splits", splits, 1, self.m)
        self.beam = self._beam = check_int("beam", beam, 1, 256)
        self.rotation = check_choice("rotation", rotation, ROTATIONS)
        self.weighting = check_float("weighting", weighting, 0, 1)

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        shape = {"m": self.m, "bits": self.bits, "splits": self.splits, "beam": self.beam}
        return shape | {"rotation": self.rotation, "weighting": self.weighting, "seed": self.seed}

    def _has_norms(self, metric: str) -> bool:
        return metric == "l2" and self.splits == self.m

    def _train(self, residuals: np.ndarray, metric: str, rng: np.random.Generator, threads: int) -> Learnt:
        layout = self._layout(residuals.shape[1], self.splits, proportional=False)
        weighting = self.weighting if metric != "l2" else 0.0
        base = query = None
        if self.rotation == "pca" or (self.rotation == "auto" and self._is_better_turned(residuals, rng, threads)):
            layout = self._layout(residuals.shape[1], self.splits)
            base, query = balanced_frame(residuals, layout, weighting)
        Y = residuals if base is None else np.ascontiguousarray(residuals @ base.T)
        codebooks = residual_codebooks(sample_of(Y, MIDDLE_ROWS), layout, self.count, ROUNDS, rng, threads)
        early = sample_of(Y, EARLY_ROWS)
        for part in [early] * EARLY_REFINES + [Y] * LATE_REFINES:
            codes = core.table_beam(part, layout.starts, layout.first, codebooks, TRAIN_BEAM, TRAIN_BEAM, threads)
            codebooks = core.table_refine(part, layout.starts, layout.first, codebooks, codes, PASSES, threads)
        return Learnt(layout, grouped(codebooks) if self.bits == 8 else codebooks, base, query)

    def _is_better_turned(self, residuals: np.ndarray, rng: np.random.Generator, threads: int) -> bool:
        """Whether product quantizers of few rounds have the lower error on balanced principal axes."""
        rows, dim = sample_of(residuals, TRIAL_ROWS), residuals.shape[1]
        layout = layout_of(dim, min(self.m, dim), min(self.m, dim))
        base, _ = balanced_frame(residuals, layout, 0.0)
        turned, plain = (self._trial(Y, layout, threads) for Y in (np.ascontiguousarray(rows @ base.T), rows))
        return turned < plain

    def _trial(self, Y: np.ndarray, layout: Layout, threads: int) -> float:
        rng = np.random.default_rng(self.seed)
        made = lloyd(Y, layout.starts, random_centroids(Y, layout.starts, self.count, rng), 4, rng, threads)
        codes = core.table_nearest(Y, layout.starts, made, threads)
        left = Y - core.table_decode(codes, layout.starts, layout.first, made, threads)
        return float(np.einsum("ij,ij->", left, left, dtype=np.float64))
