"""LeanVec: fewer coordinates, and those in 8 bits.

Vectors are projected to the directions that matter most before they are coded (Tepper et al., arXiv 2312.16335). These
are the principal axes; for inner products and with a sample of queries, the coordinates that those queries see most of
(LeanVec-Sphering, arXiv 2410.22347).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vsearch._typing import Vectors
from vsearch._validate import MAX_DIM, check_int, check_vectors
from vsearch.errors import DimensionError, ParameterError
from vsearch.quantize.base import padded
from vsearch.quantize.codebooks import uniform
from vsearch.quantize.frames import frame_of, matrices, principal_axes
from vsearch.quantize.interval import FACTOR_BYTES, _Interval
from vsearch.quantize.segments import Segment, code_bytes, codec_of, describe, prefix_bits
from vsearch.quantize.transform_learnt import Sphering

if TYPE_CHECKING:
    from typing_extensions import Self


class LeanVec(_Interval):
    """A projection to `dim` coordinates, each coded between the ends of its vector as by `LVQ`.

    Parameters
    ----------
    dim : int
        Coordinates to keep, at most those of the vectors. A third to a fifth of some hundred dimensions is usual.
    queries : array-like (m, d) or None, default None
        A sample of the queries that will be asked, for "ip" and "cosine": the coordinates kept are then those that
        weigh most in their products. None takes those given to `fit`, if any; without any, and for "l2", the principal
        axes are kept. Twice as many as dimensions or more are a fair sample.
    bits : int in [1, 8], default 8
        Of each coordinate.

    Raises
    ------
    ParameterError, DimensionError, DTypeError
        If an argument is out of range, `dim` exceeds the dimension of the vectors, or `queries` have another one.

    Notes
    -----
    Distances from codes alone miss what was projected away. So only a compact graph takes these codes, and has stored
    vectors beside them always. `queries` are not saved: what was learnt from them is.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> rng = np.random.default_rng(0)
    >>> X = (rng.standard_normal((1000, 64)) / np.arange(1, 65)).astype(np.float32)
    >>> q = vs.LeanVec(16).fit(X)
    >>> bool(((q.decode(q.encode(X)) - X) ** 2).sum() < 0.05 * (X**2).sum())
    True
    """

    name = "leanvec"
    rotation = "pca"
    projects: ClassVar[bool] = True

    def __init__(self, dim: int, queries: Vectors | None = None, *, bits: int = 8) -> None:
        self.kept = check_int("dim", dim, 1, MAX_DIM)
        self.queries = None if queries is None else check_vectors("queries", queries)
        self.bits = check_int("bits", bits, 1, 8)

    @property
    def _bits(self) -> int:
        return self.bits

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor but `queries`."""
        return {"dim": self.kept, "bits": self.bits}

    def fresh(self) -> Self:
        """An untrained quantizer with the same parameters and queries."""
        return type(self)(self.kept, self.queries, bits=self.bits)

    def _size(self, dim: int, metric: str) -> float:
        return code_bytes(padded(self.kept), self.bits) + FACTOR_BYTES

    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        if self.kept > dim:
            raise ParameterError(f"`dim` must be at most the dimension of the vectors, {dim}; got {self.kept}.")
        asked = queries if self.queries is None else self._own_queries(dim, metric)
        if metric == "l2" or asked is None or not asked.any() or len(residuals) == 0:
            frame = matrices(principal_axes(residuals, dim)[1][: self.kept])
        else:
            sphering = Sphering(self.kept).fit(residuals, queries=asked)
            frame = matrices(sphering.matrix, sphering.query_matrix, sphering.query_matrix.T)
        steps = 1.0 / (2**self.bits - 1)
        whole = Segment(0, padded(self.kept), self.bits, prefix_bits(self.bits), steps, 1.0, uniform(self.bits))
        return frame | describe([whole])

    def _own_queries(self, dim: int, metric: str) -> np.ndarray:
        """The queries of the constructor as they are multiplied with vectors: without the mean, of length 1 if need
        be."""
        queries = np.asarray(self.queries)
        if queries.shape[1] != dim:
            raise DimensionError(f"`queries` must have the dimension of the vectors, {dim}; got {queries.shape[1]}.")
        if metric == "cosine":
            lengths = np.linalg.norm(queries, axis=1, keepdims=True)
            queries = queries / np.where(lengths > 0, lengths, 1)
        return queries if self.center is None else queries - self.center

    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.transform = frame_of(dim, arrays)
        self.codec = codec_of(self.transform.padded, arrays, "clipped", True)
