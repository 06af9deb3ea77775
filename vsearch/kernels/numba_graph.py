"""GraphScan: the rows of a graph bound to the walk (csrc/bindings/graph.cpp)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vsearch.kernels.numba_base import (
    INNER_PRODUCT,
    Exclusive,
    Gate,
    array,
    frozen,
    metric_code,
    over_ranges,
    require,
)
from vsearch.kernels.numba_codec import Codec
from vsearch.kernels.numba_codes import BLOCK, block_bytes
from vsearch.kernels.numba_distance import INT8, ITEM_BYTES, KINDS, NO_ROWS, ready_query
from vsearch.kernels.numba_graph_walk import (
    ENTERED,
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
NO_FILTER = frozen(np.empty(0, np.uint8))
NO_LIFTS = frozen(np.empty(0, np.float32))
NO_VISITS = np.empty((1, 0), np.int64)


def _views(data: np.ndarray) -> Blocks:
    data = np.require(data, requirements=["A"])
    return Blocks(frozen(data), frozen(data.view(np.uint16)), frozen(data.view(np.uint32)))


class GraphScan:
    """The walk over rows that Python owns: a stored vector each, and blocks of its neighbours' codes."""

    def __init__(self, metric: str, transform: Transform, codec: Codec, row_dtype: str, degree: int) -> None:
        self.metric, self.transform, self.codec = metric_code(metric), transform, codec
        require(row_dtype in KINDS, "unknown row dtype")
        require(codec.dim == transform.padded, "the codec is not of the transform's dimension")
        require(degree > 0 and degree % BLOCK == 0, "the degree must be a multiple of 32")
        self.dim, self.degree, kind = transform.dim - (self.metric == INNER_PRODUCT), degree, KINDS[row_dtype]
        block = block_bytes(codec.symbols, 3 if codec.shifted else 2, FACTOR_BYTES)
        vector = -(-self.dim * ITEM_BYTES[kind] // ALIGNMENT) * ALIGNMENT
        self.layout = Layout(vector, block, degree // BLOCK, codec.symbols)
        self._rows = NO_ROWS._replace(kind=kind, dim=self.dim)
        self._gate = Gate()
        self._lock = threading.Lock()  # of the two below
        self._counters = np.zeros(3, dtype=np.int64)
        self._idle: list[Work] = []

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.layout.vector_bytes + self.layout.blocks * self.layout.block_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of 32 neighbours."""
        return self.layout.block_bytes

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
    ) -> None:
        """Checks and keeps the arrays of the present state; `consistent` looks into them."""
        ids, rows, entries = array(ids, np.int64), array(rows, np.uint8), array(entries, np.uint8)
        require(rows.ndim == 2 and rows.shape[1] == self.row_bytes, "rows: wrong shape")
        require(len(rows) >= n and len(ids) >= n, "rows: wrong shape")
        require(entries.ndim == 2 and entries.shape[1] == self.block_bytes, "entries: wrong shape")
        require(len(entries) * BLOCK >= entry_count, "entries: wrong shape")
        blocks, table, more = _views(rows), self._rows.factors, NO_LIFTS
        if self._rows.kind == INT8:
            table = array(factors, np.float32)
            require(table.ndim == 2 and len(table) >= n and table.shape[1] == 2, "factors: wrong shape")
        if lifts is not None:
            more = array(lifts, np.float32)
            require(more.ndim == 1 and len(more) >= n, "lifts: wrong shape")
        with self._lock:
            self._idle.clear()
        self.arrays = GraphArrays(
            n=n,
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
            lifts=more,
            scales=(np.float32(add_scale), np.float32(rescale_scale)),
            reach2=np.float32(reach2),
        )

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
        queries = array(queries, np.float32)
        require(queries.ndim in (1, 2) and queries.shape[-1] == self.dim, "queries: wrong shape")
        require(k > 0 and most > 0, "k and most must be positive")
        many = queries.reshape(-1, self.dim)
        ids, distances = np.empty((len(many), k), np.int64), np.empty((len(many), k), np.float32)
        bitmap = NO_FILTER if filter is None else array(filter, np.uint8)
        with self._gate.shared():
            x, few = self.arrays, False
            require(filter is None or bitmap.size >= (x.n + 7) // 8, "filter: wrong length")
            if filter is not None:
                few = matches_are_few(matches, k, most, x.n)
                most = int(float(most) * x.n / max(matches, 1))
            pace = Pace(np.float32(usual), np.float32(steepness), np.float32(slack))
            search = Search(np.float32(effort), most, pace, filter is not None, bitmap, few)

            def piece(first: int, last: int) -> None:
                with self.work() as work:
                    search_queries(x, search, many, NO_LIFTS, first, last, work, distances, ids, NO_VISITS)

            over_ranges(len(many), threads, 1, piece)
        shape = (*queries.shape[:-1], k)
        return ids.reshape(shape), distances.reshape(shape)

    def try_search(
        self, query: Any, k: Any, effort: float, most: int, usual: float, steepness: float, slack: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = ready_query(query, k, self.dim, self.metric)
        return None if ready is None else self.search(ready, k, effort, most, usual, steepness, slack, 1, None, 0)

    @contextmanager
    def work(self) -> Iterator[Work]:
        """Scratch of a thread for the arrays of now; what is done with it is counted."""
        with self._lock:
            x = self.arrays
            work = self._idle.pop() if self._idle else new_work(x)
        yield work
        with self._lock:
            self._counters += work.counts
            work.counts[VISITED] = work.counts[ENTERED] = 0
            if x is self.arrays:
                self._idle.append(work)

    def counters(self) -> dict[str, int]:
        """What the searches so far did."""
        return {"visited": int(self._counters[VISITED]), "entered": int(self._counters[ENTERED])}

    def exclusive(self) -> Exclusive:
        """A context in which nobody searches."""
        return Exclusive(self._gate)
