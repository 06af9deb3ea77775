"""vsearch's own indexes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from libraries.base import Effort, Library, list_count, probe_ladder

VISITS = sorted({round(2**power * (1 + quarter / 4)) for power in range(3, 12) for quarter in range(4)})
"""Efforts of vs.Graph."""


class Vsearch(Library):
    """What all of ours share."""

    module = "vsearch"
    distribution = "vsearch-ann"
    face = ""

    def absent(self) -> str | None:
        reason = super().absent()
        if reason is None:
            import vsearch as vs

            if not hasattr(vs, self.face):
                return "not in this version"
        return reason

    def make(self, metric: str, n: int) -> Any:
        """The index before its fit."""
        raise NotImplementedError

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        self.index = self.make(metric, len(X)).fit(X, threads=threads, progress=False)

    def save(self, folder: Path) -> None:
        self.index.save(folder / "index.vsx")

    def load(self, folder: Path, n: int, dim: int, metric: str) -> None:
        import vsearch as vs

        self.index = vs.load(folder / "index.vsx")

    def bytes_per_vector(self, n: int, saved: int) -> tuple[float, str]:
        return float(self.index.bytes_per_vector), "its own count"

    def single(self, k: int, effort: Effort) -> Callable[[np.ndarray], Any]:
        search = self.index.search
        return lambda query: search(query, k, effort=effort)

    def batch(self, k: int, effort: Effort, threads: int) -> Callable[[np.ndarray], Any]:
        search = self.index.search
        return lambda queries: search(queries, k, effort=effort, threads=threads, progress=False)

    def counters(self) -> dict[str, int] | None:
        for counted in (self.index, getattr(self.index, "_scan", None)):
            if counted is not None and hasattr(counted, "counters"):
                return {key: int(value) for key, value in counted.counters().items()}
        return None


class Graph(Vsearch):
    """vs.Graph; options go to its constructor, the effort is the most vertices that a query visits."""

    face = "Graph"

    def absent(self) -> str | None:
        reason = super().absent()
        if reason is None:
            import vsearch as vs

            graph: Any = vs.Graph
            unknown = set(self.options) - set(inspect.signature(graph).parameters)
            return f"not in this version: {', '.join(sorted(unknown))}" if unknown else None
        return reason

    def make(self, metric: str, n: int) -> Any:
        import vsearch as vs

        graph: Any = vs.Graph
        return graph(metric, **self.options)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [VISITS]


class GraphCompact(Vsearch):
    """vs.Graph of the compact layout with stored vectors beside: codes of 4 bits, or of 2 in 5 dims at 8 bits."""

    face = "Graph"

    def build(self, X: np.ndarray, metric: str, threads: int) -> None:
        import vsearch as vs

        kept = max(16, round(0.42 * X.shape[1] / 16) * 16)
        quantizer = vs.LVQ(4) if self.options["codes"] == "LVQ4" else vs.LeanVec(min(kept, X.shape[1]))
        refine = self.options["refine"]
        self.index = vs.Graph(metric, quantizer=quantizer, layout="compact", refine=refine)
        self.index.fit(X, threads=threads, progress=False)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [VISITS]


class IVF(Vsearch):
    """vs.IVF with RaBitQ codes and refine."""

    face = "IVF"

    def make(self, metric: str, n: int) -> Any:
        import vsearch as vs

        quantizer = vs.RaBitQ(self.options["bits"])
        return vs.IVF(list_count(n), metric, quantizer=quantizer, refine=self.options["refine"])

    def ladders(self, n: int) -> list[list[Effort]]:
        return [probe_ladder(list_count(n))]


class Flat(Vsearch):
    """vs.Flat: exact, for scale."""

    face = "Flat"

    def make(self, metric: str, n: int) -> Any:
        import vsearch as vs

        return vs.Flat(metric)

    def ladders(self, n: int) -> list[list[Effort]]:
        return [[1]]
