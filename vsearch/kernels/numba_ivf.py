"""IvfScan: the lists of an IVF, or of a Flat index with a quantizer, bound to the walk (csrc/bindings/ivf.cpp)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vsearch.kernels.numba_base import Exclusive, Gate, array, frozen, metric_code, over_ranges, require
from vsearch.kernels.numba_coarse import bind_coarse
from vsearch.kernels.numba_codec import NO_CODER, Codec
from vsearch.kernels.numba_codes import block_bytes
from vsearch.kernels.numba_distance import NO_ROWS, ready_query, rows_view
from vsearch.kernels.numba_state import PLAIN_TABLE, SCANNED, Codes, IvfArrays, Lists, Options, Stored, new_work
from vsearch.kernels.numba_transform import Transform
from vsearch.kernels.numba_walk import consistent, estimate_all, matches_are_few, search_queries

NO_FILTER = frozen(np.empty(0, np.uint8))
NO_EXTRA = frozen(np.empty((1, 0), np.uint8))


class IvfScan:
    """The walk over arrays that Python owns; without a codec rows are scanned.

    `columns` says which factors a compact index stores (bit 0 add, bit 1 rescale, bit 2 shift).
    """

    def __init__(
        self, metric: str, transform: Transform, codec: Codec | None, compact: bool = False, columns: int = 0
    ) -> None:
        require(0 <= columns < 8, "columns out of range")
        self._metric, self._transform, self._codec = metric_code(metric), transform, codec
        self._dim, self._compact, self._extra, self._factor_bytes = transform.dim, compact, 0, 0
        self._columns, self._block_bytes = (-1, -1, -1), block_bytes(0, 0, 4)
        if codec is not None:
            require(codec.dim == transform.padded, "the codec is not of the transform's dimension")
            stored = columns if compact else 7 if codec.shifted else 3
            used = [i for i in range(3) if stored >> i & 1]
            at = [used.index(i) if i in used else -1 for i in range(3)]
            self._columns = at[0], at[1], at[2]
            self._block_bytes = block_bytes(codec.symbols, len(used), 2 if compact else 4)
            if codec.extra_bytes > 0:
                self._factor_bytes = 0 if compact else 4 * len(used)
                self._extra = self._factor_bytes + codec.extra_bytes
        self._gate = Gate()
        self._lock = threading.Lock()  # of the counters
        self._counters = np.zeros(3, dtype=np.int64)

    def bind_centroids(self, centroids: np.ndarray, mean: np.ndarray) -> None:
        """Centroids (lists, padded), rotated and without the mean; the rotated mean."""
        centroids, mean = array(centroids, np.float32), array(mean, np.float32)
        padded = self._transform.padded
        require(centroids.ndim == 2 and len(centroids) > 0 and centroids.shape[1] == padded, "centroids: wrong shape")
        require(mean.shape == (padded,), "mean: wrong shape")
        coder, length2 = (NO_CODER, 0.0) if self._codec is None else (self._codec.coder, self._codec.length2)
        errors = coder.parts.profile
        weights = array(errors[1], np.float32) if len(errors) else np.ones(padded, np.float32)
        self._coarse = bind_coarse(centroids, mean, self._metric, weights, length2)

    def bind(
        self,
        ids: np.ndarray,
        list_block: np.ndarray,
        list_size: np.ndarray,
        blocks: np.ndarray,
        block_list: np.ndarray,
        position: np.ndarray,
        extra: np.ndarray | None,
        first_spread: float,
        full_spread: float,
        compact: np.ndarray | None,
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
        more, table = NO_EXTRA, PLAIN_TABLE
        if self._extra:
            more = array(extra, np.uint8)
            require(more.ndim == 2 and len(more) >= n and more.shape[1] == self._extra, "extra: wrong shape")
        if self._compact:
            table = array(compact, np.float32)
            require(table.shape == PLAIN_TABLE.shape and lists == 1, "compact: wrong shape")
        view = NO_ROWS._replace(dim=self._dim)
        if rows is not None:
            view = rows_view(row_dtype, rows, factors)
            require(len(rows) >= n and view.dim == self._dim, "rows: wrong shape")
        codec = self._codec
        require(codec is not None or rows is not None, "rows are needed where there are no codes")
        self._arrays = IvfArrays(
            n=n,
            codes=Codes(
                coder=NO_CODER if codec is None else codec.coder,
                symbols=0 if codec is None else codec.symbols,
                exact=codec is not None and (codec.extra_bytes > 0 or codec.exact_tables),
                blocks=blocks,
                words=blocks.view(np.uint32),
                extra=more,
                columns=self._columns,
                factor_bytes=self._factor_bytes,
                compact=self._compact,
                table=table,
                first_spread=np.float32(first_spread),
                full_spread=np.float32(full_spread),
            ),
            stored=Stored(self._metric, ids, rows is not None, view),
            lists=Lists(list_block, list_size, block_list, position),
            coarse=self._coarse,
            query_map=self._transform.query_map,
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

        def find() -> None:
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

        self._gate.read(find)
        shape = (*queries.shape[:-1], k)
        return ids.reshape(shape), distances.reshape(shape)

    def try_search(self, query: Any, k: Any, probes: int, epsilon: float) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = ready_query(query, k, self._dim, self._metric)
        return None if ready is None else self.search(ready, k, probes, epsilon, 1, None, 0)

    def estimate(self, query: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(estimates of the symbols, their lower bounds, estimates from all bits) of every slot."""
        query = array(query, np.float32)
        require(query.shape == (self._dim,) and self._codec is not None, "estimate: wrong shape, or no codes")

        def estimates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            first, bound, full = (np.empty(self._arrays.n, dtype=np.float32) for _ in range(3))
            estimate_all(self._arrays, query, np.float32(epsilon), new_work(self._arrays, 1), first, bound, full)
            return first, bound, full

        return self._gate.read(estimates)

    def counters(self) -> dict[str, int]:
        """What the searches so far did."""
        return dict(zip(("scanned", "survivors", "refined"), map(int, self._counters)))

    def exclusive(self) -> Exclusive:
        """A context in which nobody searches."""
        return Exclusive(self._gate)
