"""GraphScan: the rows of a graph bound to the walk (csrc/bindings/graph.cpp)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch.kernels.numba_base import INNER_PRODUCT, array, frozen, metric_code, require
from vsearch.kernels.numba_bound import NO_LIFTS, NO_VISITS, BoundWalk, Found, check_lifts
from vsearch.kernels.numba_codec import Codec
from vsearch.kernels.numba_codes import BLOCK, block_bytes
from vsearch.kernels.numba_distance import INT8, ITEM_BYTES, KINDS, NO_ROWS
from vsearch.kernels.numba_graph_walk import (
    ENTERED,
    LENGTHENED,
    VISITED,
    Blocks,
    GraphArrays,
    Layout,
    Search,
    Work,
    matches_are_few,
    new_work,
    search_queries,
)
from vsearch.kernels.numba_pace import Pace
from vsearch.kernels.numba_transform import Transform

ALIGNMENT = 64
FACTOR_BYTES = 2


def _views(data: np.ndarray) -> Blocks:
    data = np.require(data, requirements=["A"])
    return Blocks(frozen(data), frozen(data.view(np.uint16)), frozen(data.view(np.uint32)))


class GraphScan(BoundWalk):
    """The walk over rows that Python owns: a stored vector each, and blocks of its neighbours' codes."""

    def __init__(self, metric: str, transform: Transform, codec: Codec, row_dtype: str, degree: int) -> None:
        super().__init__()
        self.metric, self.transform, self.codec = metric_code(metric), transform, codec
        require(row_dtype in KINDS, "unknown row dtype")
        require(codec.dim == transform.padded, "the codec is not of the transform's dimension")
        require(degree > 0 and degree % BLOCK == 0, "the degree must be a multiple of 32")
        self.dim, self.degree, kind = transform.dim - (self.metric == INNER_PRODUCT), degree, KINDS[row_dtype]
        block = block_bytes(codec.symbols, 3 if codec.shifted else 2, FACTOR_BYTES)
        vector = -(-self.dim * ITEM_BYTES[kind] // ALIGNMENT) * ALIGNMENT
        self.layout = Layout(vector, block, degree // BLOCK, codec.symbols)
        self._rows = NO_ROWS._replace(kind=kind, dim=self.dim)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.layout.vector_bytes + self.layout.blocks * self.layout.block_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of 32 neighbours."""
        return self.layout.block_bytes

    @property
    def lengthened(self) -> float:
        """Length of queries under ip in a walk, over that of the longest vector."""
        return float(LENGTHENED)

    def bind_mean(self, mean: np.ndarray) -> None:
        """The transformed mean."""
        mean = array(mean, np.float32)
        require(mean.shape == (self.transform.padded,), "mean: wrong shape")
        self._mean = mean

    def bind(
        self,
        ids: np.ndarray,
        rows: np.ndarray,
        factors: np.ndarray | None,
        entries: np.ndarray,
        entry_count: int,
        lifts: np.ndarray | None,
        add_scale: float,
        rescale_scale: float,
        reach2: float,
        n: int,
        hidden: int = 0,
    ) -> None:
        """Checks and keeps the arrays of the present state; `consistent` looks into them."""
        ids, rows, entries = array(ids, np.int64), array(rows, np.uint8), array(entries, np.uint8)
        require(rows.ndim == 2 and rows.shape[1] == self.row_bytes, "rows: wrong shape")
        require(len(rows) >= n and len(ids) >= n, "rows: wrong shape")
        require(entries.ndim == 2 and entries.shape[1] == self.block_bytes, "entries: wrong shape")
        require(len(entries) * BLOCK >= entry_count, "entries: wrong shape")
        blocks, table = _views(rows), self._rows.factors
        if self._rows.kind == INT8:
            table = array(factors, np.float32)
            require(table.ndim == 2 and len(table) >= n and table.shape[1] == 2, "factors: wrong shape")
        require(0 <= hidden <= n, "hidden: more than there are")
        arrays = GraphArrays(
            n=n,
            shown=n - hidden,
            metric=self.metric,
            layout=self.layout,
            coder=self.codec.coder,
            query_map=self.transform.query_map,
            mean=self._mean,
            rows=self._rows._replace(
                f32=blocks.words.view(np.float32), u16=blocks.halves, int8=blocks.codes.view(np.int8), factors=table
            ),
            blocks=blocks,
            entries=_views(entries[: -(-entry_count // BLOCK)]),
            ids=ids,
            lifts=check_lifts(lifts, n),
            scales=(np.float32(add_scale), np.float32(rescale_scale)),
            reach2=np.float32(reach2),
        )
        self._set(arrays)

    def neighbours(self, words: np.ndarray, first: int, last: int) -> np.ndarray:
        """Slots (last - first, blocks, 32) in rows that are given as uint32, as a view."""
        layout, rows = self.layout, last - first
        blocks = words[first:last, layout.vector_bytes // 4 :].reshape(rows, layout.blocks, layout.block_bytes // 4)
        return blocks[:, :, -BLOCK:]

    def consistent(self) -> bool:
        """Whether every slot that a walk follows is in range."""
        x = self.arrays
        slots = self.neighbours(x.blocks.words, 0, x.n), x.entries.words[:, -BLOCK:]
        return all(part.size == 0 or int(part.max()) < x.n for part in slots)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        effort: float,
        most: int,
        usual: float,
        steepness: float,
        slack: float,
        threads: int,
        filter: np.ndarray | None,
        matches: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, distances) of the k nearest, (k,) for one query and (nq, k) for many."""
        pace = Pace(np.float32(usual), np.float32(steepness), np.float32(slack))

        def find(x: GraphArrays, visits: int, bitmap: np.ndarray, part: Found) -> None:
            there = x.shown if filter is None else matches
            few = most >= x.n if filter is None else matches_are_few(matches, k, most, x.n)
            search = Search(np.float32(effort), visits, pace, filter is not None, bitmap, few, there)
            found = part.work, part.distances, part.ids, NO_VISITS
            search_queries(x, search, part.queries, NO_LIFTS, part.first, part.last, *found)

        return self._answer(queries, k, most, threads, filter, matches, find)

    def try_search(
        self, query: Any, k: Any, effort: float, most: int, usual: float, steepness: float, slack: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = self._ready(query, k)
        return None if ready is None else self.search(ready, k, effort, most, usual, steepness, slack, 1, None, 0)

    def _new_work(self) -> Work:
        return new_work(self.arrays)

    def _counted(self, work: Work) -> dict[str, int]:
        done = {"visited": int(work.counts[VISITED]), "entered": int(work.counts[ENTERED])}
        work.counts[VISITED] = work.counts[ENTERED] = 0
        return done
