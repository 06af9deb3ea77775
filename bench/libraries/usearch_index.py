"""usearch: HNSW over vectors of several types, at its default connectivity 16 and expansion 128."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library


class Usearch(Library):
    """options: dtype. Its int8 is made for vectors of length 1."""

    module = "usearch"

    def _blank(self, dim: int, metric: str) -> Any:
        from usearch.index import Index

        return Index(ndim=dim, metric="cos" if metric == "cosine" else "l2sq", dtype=self.options["dtype"])

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        self.index = self._blank(X.shape[1], metric)
        self.index.add(np.arange(len(X)), X, threads=threads)

    def save(self, folder: Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        self.index = self._blank(dim, metric)
        self.index.load(str(folder / "index"))

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        return self.batch(k, effort, 1)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        self.index.expansion_search = effort
        search = self.index.search
        return lambda queries: search(queries, k, threads=threads)

    def ids(self, answer: Any) -> np.ndarray:
        return np.asarray(answer.keys).reshape(-1)
