"""VSAG: the graph HGraph of degree 32 over scalar codes, the best decided by float32 vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library


class HGraph(Library):
    """options: base, the type of the codes. The library has no call for many queries."""

    module = "pyvsag"

    def _blank(self, dim: int, threads: int) -> Any:
        import pyvsag

        pyvsag.set_logger_off()
        index = {
            "base_quantization_type": self.options["base"],
            "use_reorder": True,
            "precise_quantization_type": "fp32",
            "max_degree": 32,
            "ef_construction": 300,
            "build_thread_count": threads,
        }
        shape = {"dtype": "float32", "metric_type": "l2", "dim": dim, "index_param": index}
        return pyvsag.Index("hgraph", json.dumps(shape))

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        n, dim = X.shape
        self.index = self._blank(dim, threads)
        self.index.build(vectors=X.reshape(-1), ids=np.arange(n), num_elements=n, dim=dim)

    def save(self, folder: Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        self.index = self._blank(dim, 1)
        self.index.load(str(folder / "index"))

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        search, parameters = self.index.knn_search, json.dumps({"hgraph": {"ef_search": effort}})
        return lambda query: search(vector=query, k=k, parameters=parameters)
