"""hnswlib: the reference HNSW. Its documentation recommends M of 12 to 48 and ef_construction of 100 and more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library


class Hnswlib(Library):
    """options: m, ef_construction."""

    module = "hnswlib"

    def _blank(self, dim: int) -> Any:
        import hnswlib

        return hnswlib.Index(space="l2", dim=dim)

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        n, dim = X.shape
        self.index = self._blank(dim)
        m, wide = self.options["m"], self.options["ef_construction"]
        self.index.init_index(max_elements=n, M=m, ef_construction=wide, random_seed=100)
        self.index.add_items(X, num_threads=threads)

    def save(self, folder: Path) -> None:
        self.index.save_index(str(folder / "index"))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        self.index = self._blank(dim)
        self.index.load_index(str(folder / "index"), max_elements=n)

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        self.index.set_ef(effort)
        search = self.index.knn_query
        return lambda query: search(query, k, num_threads=1)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        self.index.set_ef(effort)
        search = self.index.knn_query
        return lambda queries: search(queries, k, num_threads=threads)
