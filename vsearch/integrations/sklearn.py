"""A scikit-learn transformer: the graph of nearest neighbours, for pipelines that take one.

DBSCAN, Isomap, t-SNE, spectral methods and UMAP accept such a graph (``metric="precomputed"``) in place of vectors;
scikit-learn's own `KNeighborsTransformer` makes it by brute force or trees.

>>> import numpy as np
>>> X = np.random.default_rng(0).standard_normal((50, 4))
>>> graph = VsearchTransformer(n_neighbors=5).fit_transform(X)
>>> graph.shape, graph.nnz
((50, 50), 300)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import MissingExtraError
from vsearch.index import IVF, Flat, load

try:
    from scipy.sparse import csr_matrix
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise MissingExtraError("The transformer needs scikit-learn: pip install 'vsearch-ann[sklearn]'") from error

#: Fewer points than this are searched exactly whatever is asked for.
EXACT_BELOW = 5000


class VsearchTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The nearest neighbours of points as a sparse graph.

    Parameters
    ----------
    n_neighbors : int, default 5
        Neighbours of each point; ``mode="distance"`` adds one, for a point is among its own.
    mode : "distance" or "connectivity", default "distance"
        What the graph holds: distances, or ones.
    metric : "l2", "sqeuclidean" or "cosine", default "l2"
        "l2" gives Euclidean distances, as scikit-learn counts them; "sqeuclidean" their squares.
    recall : float in (0, 1] or None, default None
        Share of the true neighbours wanted; None searches exactly.
    n_jobs : int or None
        Threads; all cores where None or -1.
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        mode: str = "distance",
        metric: str = "l2",
        recall: float | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.recall = recall
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> VsearchTransformer:
        """Indexes the points of X, (n, d); y is not looked at."""
        X = validate_data(self, X, dtype=(np.float32, np.float64), order="C")
        if self.mode not in ("distance", "connectivity"):
            raise ValueError(f"`mode` must be 'distance' or 'connectivity'; got {self.mode!r}.")
        if self.metric not in ("l2", "sqeuclidean", "cosine"):
            raise ValueError(f"`metric` must be 'l2', 'sqeuclidean' or 'cosine'; got {self.metric!r}.")
        metric = "cosine" if self.metric == "cosine" else "l2"
        exact = self.recall is None or len(X) < EXACT_BELOW
        self.index_ = (Flat(metric) if exact else IVF(metric=metric, dtype="f32")).fit(
            X, threads=self._threads(), progress=False
        )
        self.n_samples_fit_ = len(X)
        return self

    @property
    def _n_features_out(self) -> int:
        return int(self.n_samples_fit_)

    def _threads(self) -> int | None:
        return None if self.n_jobs in (None, -1) else self.n_jobs

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Distances and positions of the nearest fitted points, (n, k) each.

        Without X they are those of the fitted points, each without itself.
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        alone = X is None
        Q = self._points() if X is None else validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        if k + alone > self.n_samples_fit_:
            raise ValueError(f"Expected n_neighbors <= n_samples_fit, got {k} and {self.n_samples_fit_ - alone}.")
        options: dict[str, Any] = {} if self.recall is None else {"recall": self.recall}
        rows, distances = self.index_.search(Q, k + alone, threads=self._threads(), progress=False, **options)
        if self.metric == "l2":
            distances = np.sqrt(np.maximum(distances, 0))
        if alone:
            rows, distances = _without_self(rows, distances)
        distances = distances.astype(np.float64)
        return (distances, rows) if return_distance else rows

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str | None = None) -> csr_matrix:
        """The neighbours as a sparse matrix (n, fitted points); ``mode`` as in the class."""
        mode = self.mode if mode is None else mode
        distances, rows = self.kneighbors(X, n_neighbors)
        n = len(rows)
        found = rows >= 0  # an approximate search may find fewer
        counts = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        values = distances[found] if mode == "distance" else np.ones(int(found.sum()))
        return csr_matrix((values, rows[found], counts), shape=(n, self.n_samples_fit_))

    def transform(self, X: Any) -> csr_matrix:
        """The graph from points of X to the fitted ones; a fitted point is its own neighbour."""
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"))

    def __getstate__(self) -> dict[str, Any]:
        """For joblib and multiprocessing: the index as the bytes of its file."""
        state = dict(super().__getstate__())
        if "index_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "index.vsx")
                state["index_"].save(path)
                state["index_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if isinstance(state.get("index_"), bytes):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "index.vsx")
                path.write_bytes(state["index_"])
                state["index_"] = load(path)
        super().__setstate__(state)

    def _points(self) -> np.ndarray:
        return np.stack([self.index_.vector(i) for i in range(self.n_samples_fit_)])


def _without_self(rows: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers about the fitted points with each one's own row taken out, or the last where it is not among them."""
    n, k = rows.shape
    own = rows == np.arange(n)[:, None]
    own[~own.any(axis=1), k - 1] = True
    return rows[~own].reshape(n, k - 1), distances[~own].reshape(n, k - 1)
