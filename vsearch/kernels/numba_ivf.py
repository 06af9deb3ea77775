"""IvfScan: the lists of an IVF, or of a Flat index with a quantizer, bound to the walk (csrc/bindings/ivf.cpp)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vsearch.kernels.numba_base import Exclusive, Gate, array, frozen, metric_code, over_ranges, require
from vsearch.kernels.numba_coarse import bind_coarse
from vsearch.kernels.numba_codes import BLOCK, block_bytes, extra_stride
from vsearch.kernels.numba_distance import NO_ROWS, ready_query, rows_view
from vsearch.kernels.numba_rotation import Rotation
from vsearch.kernels.numba_state import SCANNED, Codes, IvfArrays, Lists, Options, Stored, new_work
from vsearch.kernels.numba_walk import consistent, estimate_all, matches_are_few, search_queries

NO_FILTER = frozen(np.empty(0, np.uint8))
NO_EXTRA = frozen(np.empty((0, 0), np.uint8))


class IvfScan:
    """The walk over arrays that Python owns; bits = 0 means that there is no quantizer and rows are scanned."""

    def __init__(self, metric: str, dim: int, bits: int, signs: np.ndarray) -> None:
        self._metric = metric_code(metric)
        self._dim, self._bits = dim, bits
        self._rotation = Rotation(dim, signs)
        self._block_bytes = block_bytes(self._rotation.padded) if bits else 4 * BLOCK
        self._gate = Gate()
        self._lock = threading.Lock()  # of the counters
        self._counters = np.zeros(3, dtype=np.int64)

    def bind_centroids(self, centroids: np.ndarray, mean: np.ndarray) -> None:
        """Centroids (lists, padded), rotated and without the mean; the rotated mean."""
        centroids, mean = array(centroids, np.float32), array(mean, np.float32)
        padded = self._rotation.padded
        require(centroids.ndim == 2 and len(centroids) > 0 and centroids.shape[1] == padded, "centroids: wrong shape")
        require(mean.shape == (padded,), "mean: wrong shape")
        self._coarse = bind_coarse(centroids, mean, self._metric)

    def bind(
        self,
        ids: np.ndarray,
        list_block: np.ndarray,
        list_size: np.ndarray,
        blocks: np.ndarray,
        block_list: np.ndarray,
        position: np.ndarray,
        extra: np.ndarray | None,
        sign_spread: float,
        full_spread: float,
        row_dtype: str,
        rows: np.ndarray | None,
        factors: np.ndarray | None,
        n: int,
    ) -> None:
        """Checks and keeps the arrays of the present state; `consistent` looks into them."""
        blocks, lists = array(blocks, np.uint8), len(self._coarse.centroids)
        list_block, list_size = array(list_block, np.uint32), array(list_size, np.uint32)
        ids, block_list, position = array(ids, np.int64), array(block_list, np.uint32), array(position, np.uint32)
        require(blocks.ndim == 2 and blocks.shape[1] == self._block_bytes, "blocks: wrong shape")
        require(len(list_block) == lists and len(list_size) == lists, "lists: wrong shape")
        require(len(ids) >= n and len(position) >= n and len(block_list) >= len(blocks), "slots: wrong shape")
        table = NO_EXTRA
        if self._bits > 1:
            table = array(extra, np.uint8)
            stride = extra_stride(self._rotation.padded, self._bits)
            require(table.ndim == 2 and len(table) >= n and table.shape[1] == stride, "extra: wrong shape")
        view = NO_ROWS._replace(dim=self._dim)
        if rows is not None:
            view = rows_view(row_dtype, rows, factors)
            require(len(rows) >= n and view.dim == self._dim, "rows: wrong shape")
        require(self._bits > 0 or rows is not None, "rows are needed where there are no codes")
        spreads = np.float32(sign_spread), np.float32(full_spread)
        self._arrays = IvfArrays(
            n=n,
            codes=Codes(
                self._bits,
                blocks,
                blocks.view(np.uint32),
                blocks.view(np.float32),
                table,
                table.view(np.float32),
                *spreads,
            ),
            stored=Stored(self._metric, ids, rows is not None, view),
            lists=Lists(list_block, list_size, block_list, position),
            coarse=self._coarse,
            flips=self._rotation.flips,
            span=self._rotation.span,
        )

    def consistent(self) -> bool:
        """Whether a search can follow every index of the bound arrays."""
        return bool(consistent(self._arrays.n, self._arrays.lists, self._arrays.codes.words))

    def search(
        self,
        queries: np.ndarray,
        k: int,
        probes: int,
        epsilon: float,
        threads: int,
        filter: np.ndarray | None,
        matches: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, distances) of the k nearest, (k,) for one query and (nq, k) for many."""
        queries = array(queries, np.float32)
        require(queries.ndim in (1, 2) and queries.shape[-1] == self._dim, "queries: wrong shape")
        require(k > 0 and probes > 0, "k and probes must be positive")
        many = queries.reshape(-1, self._dim)
        ids, distances = np.empty((len(many), k), np.int64), np.empty((len(many), k), np.float32)
        bitmap = NO_FILTER if filter is None else array(filter, np.uint8)
        with self._gate.shared():
            x = self._arrays
            require(filter is None or bitmap.size >= (x.n + 7) // 8, "filter: wrong length")
            few = filter is not None and matches_are_few(matches, k, x.n, probes, len(self._coarse.centroids))
            options = Options(np.float32(epsilon), filter is not None, bitmap, few)

            def piece(first: int, last: int) -> None:
                work = new_work(x, probes)
                search_queries(x, options, many, first, last, work, distances, ids)
                with self._lock:
                    self._counters += work.queue.counts[SCANNED:]

            over_ranges(len(many), threads, 1, piece)
        shape = (*queries.shape[:-1], k)
        return ids.reshape(shape), distances.reshape(shape)

    def try_search(self, query: Any, k: Any, probes: int, epsilon: float) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = ready_query(query, k, self._dim, self._metric)
        return None if ready is None else self.search(ready, k, probes, epsilon, 1, None, 0)

    def estimate(self, query: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(1-bit estimates, their lower bounds, estimates from all bits) of every slot."""
        query = array(query, np.float32)
        require(query.shape == (self._dim,) and self._bits > 0, "estimate: wrong shape, or no codes")
        with self._gate.shared():
            sign, bound, full = (np.empty(self._arrays.n, dtype=np.float32) for _ in range(3))
            estimate_all(self._arrays, query, np.float32(epsilon), new_work(self._arrays, 1), sign, bound, full)
        return sign, bound, full

    def counters(self) -> dict[str, int]:
        """What the searches so far did."""
        return dict(zip(("scanned", "survivors", "refined"), map(int, self._counters)))

    def exclusive(self) -> Exclusive:
        """A context in which nobody searches."""
        return Exclusive(self._gate)
