"""rabitqlib: the quantised flat graph (SymphonyQG), the inverted file and the HNSW over RaBitQ codes.

All use squared Euclidean distance, which on vectors of length 1 gives the order of cosine. The inverted file and the
HNSW take centroids from outside; k-means is faiss's and counts as part of the build.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library, list_count, probe_ladder

HNSW_CLUSTERS = 16


class Rabitqlib(Library):
    """What all three share."""

    module = "rabitqlib"
    face = ""

    def _type(self) -> Any:
        import rabitqlib

        return getattr(rabitqlib, self.face)

    def save(self, folder: Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        self.index = self._type().load(str(folder / "index"))

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        search = self.index.search
        return lambda query: search(query[None], k, effort, num_threads=1)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        search = self.index.search
        return lambda queries: search(queries, k, effort, num_threads=threads)


class Symqg(Rabitqlib):
    """options: degree."""

    face = "SymqgIndex"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        self.index = self._type()(X.shape[1], self.options["degree"], "l2")
        self.index.build(X, 400, num_threads=threads)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        search = self.index.search_batch
        return lambda queries: search(queries, k, effort, num_threads=threads)


class RabitqIVF(Rabitqlib):
    """options: bits, where 32 means that raw vectors decide."""

    face = "IvfIndex"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        n, dim = X.shape
        centroids, assign = clusters(X, list_count(n), threads)
        self.index = self._type()(dim, n, len(centroids), self.options["bits"], "l2")
        self.index.build(X, centroids, assign, num_threads=threads)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [probe_ladder(list_count(n))]


class RabitqHNSW(Rabitqlib):
    """options: bits."""

    face = "HnswIndex"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        n, dim = X.shape
        centroids, assign = clusters(X, HNSW_CLUSTERS, threads)
        self.index = self._type()(dim, n, 16, 200, self.options["bits"], "l2")
        self.index.build(X, centroids, assign, num_threads=threads)


def clusters(X: np.ndarray, count: int, threads: int) -> tuple[Any, np.ndarray]:
    """Centroids of k-means and the nearest one of each row."""
    import faiss

    faiss.omp_set_num_threads(threads)
    kmeans = faiss.Kmeans(X.shape[1], count, niter=10, max_points_per_centroid=100, seed=1)
    kmeans.train(X)
    return kmeans.centroids, kmeans.index.search(X, 1)[1].ravel().astype(np.uint32)
