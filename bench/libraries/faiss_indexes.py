"""faiss: HNSW, and inverted files of FastScan codes whose nearest are decided by the stored vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library, list_count, probe_ladder


class Faiss(Library):
    """What both share: the factory string, files, threads."""

    module = "faiss"
    distribution = "faiss-cpu"

    def recipe(self, n: int, dim: int) -> str:
        """The string for faiss.index_factory."""
        raise NotImplementedError

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.index_factory(X.shape[1], self.recipe(*X.shape))
        index.train(X)
        index.add(X)
        self._hold(index)

    def _hold(self, index: Any) -> None:
        self.index = index

    def save(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self.index, str(folder / "index"))

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        import faiss

        self._hold(faiss.read_index(str(folder / "index")))

    def aim(self, effort: Effort) -> None:
        """Set the effort."""
        raise NotImplementedError

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        import faiss

        faiss.omp_set_num_threads(1)
        self.aim(effort)
        search = self.index.search
        return lambda query: search(query[None], k)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        import faiss

        faiss.omp_set_num_threads(threads)
        self.aim(effort)
        search = self.index.search
        return lambda queries: search(queries, k)

    def ids(self, answer: Any) -> np.ndarray:
        return answer[1].reshape(-1)


class FaissHNSW(Faiss):
    """options: factory. The other parameters are faiss's defaults."""

    def recipe(self, n: int, dim: int) -> str:
        return str(self.options["factory"])

    def aim(self, effort: Effort) -> None:
        self.index.hnsw.efSearch = effort


class FaissIVF(Faiss):
    """options: codes ({half} stands for half the dimensions), rotate. The effort is [probes, refine factor]."""

    def recipe(self, n: int, dim: int) -> str:
        codes = self.options["codes"].format(half=dim // 2)
        return ("RR," if self.options.get("rotate") else "") + f"IVF{list_count(n)},{codes},RFlat"

    def _hold(self, index: Any) -> None:
        import faiss

        self.index, self.lists = index, faiss.extract_index_ivf(index)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [probe_ladder(list_count(n), factor) for factor in (4, 10, 20)]

    def aim(self, effort: Effort) -> None:
        self.lists.nprobe, self.index.k_factor = effort
