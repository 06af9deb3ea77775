"""Graphs for the comparison of the Numba twin with the compiled core: clustered vectors, their rows, and who builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
from fallback_lists import CODECS, rotation, vectors

from vsearch.kernels import core

WIDTH, ROUNDS = 48, 4  # of the rough neighbours


def aligned(rows: int, row_bytes: int) -> np.ndarray:
    """Zeroed rows that begin at a cache line, as the storage gives them."""
    raw = np.zeros(rows * row_bytes + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + rows * row_bytes].reshape(rows, row_bytes)


class Graph:
    """Vectors in their rows, not yet linked; `build` links them with either module, `bind` gives them to a scan."""

    def __init__(
        self, metric: str, dtype: str, degree: int, n: int, dim: int, codec: str | None = None, entries: int = 256
    ) -> None:
        X = vectors(dim, n, dim)
        X[: n // 2] += 2 * vectors(5, 12, dim)[np.arange(n // 2) % 12]
        X = core.unit_rows(X)[0] if metric == "cosine" else X
        self.metric, self.dtype, self.degree, self.n, self.dim = metric, dtype, degree, n, dim
        self.wide = dim + (metric == "ip")
        padded = rotation(core, self.wide).padded
        self.make = CODECS[codec][1] if codec else lambda m: m.RabitqCodec(padded, 1)
        stored, self.factors = oracle.stored(X, dtype)
        self.X = oracle.values(stored, self.factors, dtype)
        norms2, V, self.lifts, self.reach2 = (self.X**2).sum(axis=1), self.X, None, 0.0
        if metric == "ip":
            self.reach2 = float(norms2.max())
            self.lifts = np.sqrt(np.maximum(0, self.reach2 - norms2)).astype(np.float32)
            V = np.column_stack([V, self.lifts])
        turned = rotation(core, self.wide).apply(np.ascontiguousarray(V, dtype=np.float32))
        self.mean = turned.mean(axis=0)
        self.turned = turned - self.mean
        self.rows = aligned(n, self.scan(core).row_bytes)
        raw = np.ascontiguousarray(stored).view(np.uint8).reshape(n, -1)
        self.rows[:, : raw.shape[1]] = raw
        self.ids = np.random.default_rng(n).permutation(n) * 3
        reach = float((self.turned**2).sum(axis=1).max())
        self.scales = reach / 1024, np.sqrt(reach) / 512
        self.slots = np.random.default_rng(5).choice(n, min(n, entries), replace=False).astype(np.uint32)
        self.blocks, self.count = np.zeros((1, self.scan(core).block_bytes), np.uint8), 0

    def transform(self, module: Any) -> Any:
        """What vectors go through before they are coded."""
        return rotation(module, self.wide)

    def scan(self, module: Any) -> Any:
        """A GraphScan that is bound to nothing."""
        return module.GraphScan(self.metric, self.transform(module), self.make(module), self.dtype, self.degree)

    def bind(self, scan: Any, n: int | None = None, hidden: int = 0) -> Any:
        """The same scan, bound to the first n vertices, of which the last are not to be found."""
        scan.bind_mean(self.mean)
        scan.bind(
            self.ids, self.rows, self.factors, self.blocks, self.count, self.lifts, *self.scales, self.reach2,
            self.n if n is None else n, hidden,
        )  # fmt: skip
        return scan

    def bound(self, module: Any) -> Any:
        """A scan of `module` over this graph as it is."""
        return self.bind(self.scan(module))

    def builder(self, module: Any, scan: Any, threads: int = 1, given: bool = True) -> Any:
        """A builder over a bound scan, with the transformed vectors or without."""
        return module.GraphBuilder(scan, self.rows, self.lifts, self.turned if given else None, 1.0, threads)

    def build(self, module: Any, n: int | None = None, threads: int = 1, given: bool = True) -> Graph:
        """Links the first n vertices: rough neighbours, then a round of walks."""
        n = self.n if n is None else n
        scan = self.bind(self.scan(module), n)
        builder = self.builder(module, scan, threads, given)
        self.slots = self.slots[self.slots < n]
        self.blocks, self.count = builder.entries(self.slots), len(self.slots)
        self.bind(scan, n)
        for seed in range(ROUNDS):
            builder.improve_near(min(WIDTH, n), seed)
        builder.link_near(0, n)
        builder.reverse()
        builder.write(0, n)
        builder.link_by_walks(0, n, 16, 1.2, 128)
        builder.reverse()
        builder.write(0, n)
        return self

    def queries(self, count: int, seed: int = 8) -> np.ndarray:
        """Some near the clusters, some anywhere; of length 1 under cosine."""
        Q = vectors(seed, count, self.dim)
        Q[: count // 2] += 2 * vectors(5, 12, self.dim)[np.arange(count // 2) % 12]
        return core.unit_rows(Q)[0] if self.metric == "cosine" else Q

    def recall(self, found: np.ndarray, Q: np.ndarray, live: np.ndarray | None = None) -> float:
        """Share of the true nearest, among the live where those are given, that were found."""
        slots = np.arange(self.n) if live is None else np.flatnonzero(live)
        truth = oracle.nearest(oracle.distances(self.metric, Q, self.X[slots]), self.ids[slots], found.shape[1])[0]
        return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth)]))
