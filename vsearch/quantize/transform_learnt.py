"""Transforms that turn what they saw of the data into coordinates: PCA for distances, sphering for inner products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vsearch._validate import MAX_DIM, check_choice, check_float, check_int
from vsearch.errors import ParameterError
from vsearch.quantize.moments import eigen_descending, mean_of, sample_rows, second_moment
from vsearch.quantize.transform_base import (
    MAX_SEED,
    METRICS,
    Affine,
    MatrixTransform,
    check_array,
    check_in_dim,
)


class PCA(MatrixTransform):
    """Centres the vectors and turns their principal axes into the coordinates, the one of most variance first.

    Parameters
    ----------
    dim : int or None, default None
        How many axes to keep; None keeps all.
    metric : "l2" or "ip", default "l2"
        Whether queries are moved by the mean as well; see `Center`.
    seed : int, default 0
        Of the sample of 65,536 vectors that the axes are computed from, where there are more.

    Notes
    -----
    `variances` are those of all axes, float64 (in_dim,), descending. `inverse` gives the nearest vector of the subspace
    that was kept.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.transform_learnt import PCA
    >>> X = np.float32([[0, 0], [2, 2], [4, 4], [6, 6.2]])
    >>> t = PCA(1).fit(X)
    >>> bool(np.abs(t.inverse(t.apply(X)) - X).max() < 0.1)
    True
    """

    name: ClassVar[str] = "pca"

    def __init__(self, dim: int | None = None, metric: str = "l2", seed: int = 0) -> None:
        self.dim = None if dim is None else check_int("dim", dim, 1, MAX_DIM)
        self.metric = check_choice("metric", metric, METRICS)
        self.seed = check_int("seed", seed, 0, MAX_SEED)

    @property
    def is_orthogonal(self) -> bool:
        """Whether distances stay: only if all axes are kept."""
        dim, out = self._fitted()
        return dim == out

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"dim": self.dim, "metric": self.metric, "seed": self.seed}

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        kept = check_int("dim", self.dim or X.shape[1], 1, X.shape[1])
        rows = sample_rows(X, self.seed)
        mean = mean_of(rows)
        variances, axes = eigen_descending(second_moment(rows, mean))
        self._set(axes[:kept], mean, variances)

    def _set(self, axes: np.ndarray, mean: np.ndarray, variances: np.ndarray) -> PCA:
        self.variances = variances
        query_offset = mean if self.metric == "l2" else np.zeros_like(mean)
        self._keep(Affine(axes, mean), Affine(axes, query_offset))
        return self

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**super()._arrays(), "variances": self.variances}

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PCA:
        made, dim = cls(params["dim"], params["metric"], params["seed"]), check_in_dim(params)
        kept = check_int("dim", made.dim or dim, 1, dim)
        return made._set(
            check_array(arrays, "matrix", np.float32, (kept, dim)),
            check_array(arrays, "offset", np.float32, (dim,)),
            check_array(arrays, "variances", np.float64, (dim,)),
        )


class Sphering(MatrixTransform):
    """For inner products with queries unlike the vectors: the coordinates that these queries see most of come first.

    Vectors become P^T W x and queries P^T W^-1 q, where W is the square root of the queries' second moment K_Q and the
    columns of P are the principal axes of the vectors W x (LeanVec-Sphering, Tepper and Willke, arXiv 2410.22347). With
    all dimensions inner products are exactly as before, and queries have the second moment 1: an error in any direction
    then costs the same, so that plain mean squared error is the right aim of whatever codes the vectors. With fewer, no
    pair of linear maps keeps the inner products better on average. Distances mean nothing afterwards: use PCA for "l2".

    Parameters
    ----------
    dim : int or None, default None
        How many dimensions to keep; None keeps all.
    ridge : float in (0, 1], default 0.001
        Added to K_Q, as a multiple of its mean eigenvalue, so that directions which no query of the sample takes are
        not lost. More is safer with fewer queries than dimensions.
    seed : int, default 0
        Of the samples of 65,536 vectors and queries, where there are more.

    Notes
    -----
    `fit` needs `queries`. `variances` are the second moments of the transformed vectors in all dimensions, float64
    (in_dim,), descending. `inverse(y)` is the x' for which <q, x'> = <apply_query(q), y>: exact with all dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.transform_learnt import Sphering
    >>> rng = np.random.default_rng(0)
    >>> X, Q = rng.standard_normal((200, 8)), rng.standard_normal((100, 8)) * np.arange(1, 9)
    >>> t = Sphering().fit(X, queries=Q)
    >>> bool(np.allclose(t.apply_query(Q) @ t.apply(X).T, Q @ X.T, atol=1e-3))
    True
    """

    name: ClassVar[str] = "sphering"

    def __init__(self, dim: int | None = None, ridge: float = 1e-3, seed: int = 0) -> None:
        self.dim = None if dim is None else check_int("dim", dim, 1, MAX_DIM)
        self.ridge = check_float("ridge", ridge, 0, 1, open_low=True)
        self.seed = check_int("seed", seed, 0, MAX_SEED)

    @property
    def is_orthogonal(self) -> bool:
        """Whether distances stay: no."""
        return False

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"dim": self.dim, "ridge": self.ridge, "seed": self.seed}

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        kept = check_int("dim", self.dim or X.shape[1], 1, X.shape[1])
        if queries is None:
            hint = "If they are like the vectors, pass `queries=X`."
            raise ParameterError(f"`queries` must be given, for sphering is made from them; got None. {hint}")
        asked, directions = eigen_descending(second_moment(sample_rows(queries, self.seed)))
        mean = asked.mean()
        if not mean > 0:
            raise ParameterError("`queries` must not all be zero.")
        roots = np.sqrt(asked + self.ridge * mean)
        W, W_inverse = (directions.T * roots) @ directions, (directions.T / roots) @ directions
        variances, axes = eigen_descending(W @ second_moment(sample_rows(X, self.seed)) @ W)
        self._set(axes[:kept] @ W, axes[:kept] @ W_inverse, variances)

    def _set(self, base: np.ndarray, query: np.ndarray, variances: np.ndarray) -> Sphering:
        self.variances = variances
        still = np.zeros(base.shape[1])
        self._keep(Affine(base, still), Affine(query, still))
        return self

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"matrix": self.matrix, "query_matrix": self.query_matrix}
        return {**arrays, "variances": self.variances}

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Sphering:
        made, dim = cls(params["dim"], params["ridge"], params["seed"]), check_in_dim(params)
        kept = check_int("dim", made.dim or dim, 1, dim)
        return made._set(
            check_array(arrays, "matrix", np.float32, (kept, dim)),
            check_array(arrays, "query_matrix", np.float32, (kept, dim)),
            check_array(arrays, "variances", np.float64, (dim,)),
        )
