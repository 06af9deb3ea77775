"""ScaNN: a tree of 2 sqrt(n) leaves, anisotropic codes of two dimensions each, the best decided by the vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library, probe_ladder

TRAINING_ROWS = 250_000
CANDIDATES = (30, 60, 100, 200, 400)


def leaf_count(n: int) -> int:
    """Leaves of the tree over n vectors."""
    return max(1, round(2 * n**0.5))


class Scann(Library):
    """The effort is [leaves, candidates to decide among]."""

    module = "scann"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import scann

        leaves = leaf_count(len(X))
        cosine = metric == "cosine"
        builder = scann.scann_ops_pybind.builder(X, 10, "dot_product" if cosine else "squared_l2")
        builder = builder.set_n_training_threads(threads).tree(
            num_leaves=leaves,
            num_leaves_to_search=max(1, leaves // 10),
            training_sample_size=min(len(X), TRAINING_ROWS),
        )
        # The threshold is that of its documentation for dot products; for l2 the codes are plain.
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2) if cosine else builder.score_ah(2)
        self.index = builder.reorder(CANDIDATES[0]).build()

    def save(self, folder: Path) -> None:
        self.index.serialize(str(folder), relative_path=True)  # the folder is renamed once it is whole

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        import scann

        self.index = scann.scann_ops_pybind.load_searcher(str(folder))

    def ladders(self, n: int) -> list[list[Effort]]:
        return [probe_ladder(leaf_count(n), candidates) for candidates in CANDIDATES]

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        (leaves, candidates), search = effort, self.index.search
        return lambda query: search(query, k, candidates, leaves)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        leaves, candidates = effort
        if threads == 1:
            search = self.index.search_batched
            return lambda queries: search(queries, k, candidates, leaves)
        self.index.set_num_threads(threads)
        parallel = self.index.search_batched_parallel
        return lambda queries: parallel(queries, k, candidates, leaves)
