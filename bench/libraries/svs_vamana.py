"""Scalable Vector Search: a Vamana graph of float32 vectors. Its own codes (LVQ, LeanVec) run on one vendor's
processors only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library

PARTS = ("config", "graph", "data")


class Vamana(Library):
    """Degree 64, window 200."""

    module = "svs"
    distribution = "scalable-vs"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import svs

        parameters = svs.VamanaBuildParameters(graph_max_degree=64, window_size=200)
        self.index = svs.Vamana.build(parameters, X, svs.DistanceType.L2, num_threads=threads)

    def save(self, folder: Path) -> None:
        self.index.save(*(str(folder / part) for part in PARTS))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        import svs

        config, graph, data = (str(folder / part) for part in PARTS)
        loader = svs.VectorDataLoader(data, svs.DataType.float32)
        self.index = svs.Vamana(config, svs.GraphLoader(graph), loader, svs.DistanceType.L2)

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        search = self.batch(k, effort, 1)
        return lambda query: search(query[None])

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        self.index.search_window_size = effort
        if self.index.num_threads != threads:
            self.index.num_threads = threads
        search = self.index.search
        return lambda queries: search(queries, k)
