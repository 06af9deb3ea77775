"""Exact search over stored rows, and the nearest-centroid assignment of k-means (csrc/index/flat.hpp and its parts).

Few queries stream the rows. Many are a matrix product by NumPy's BLAS, which only proposes: what it puts within its
rounding error of the k-th best is scored again by the row kernel. So a batch returns, to the last bit, what its queries
return one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch.kernels.numba_base import (
    COSINE,
    L2,
    Exclusive,
    Float,
    Gate,
    Int,
    array,
    frozen,
    jit,
    jit_part,
    metric_code,
    parallel,
    require,
)
from vsearch.kernels.numba_distance import (
    INT8,
    KINDS,
    NO_SLOTS,
    Rows,
    new_scorer,
    ready_query,
    rows_view,
    score,
    slot_of,
    widened,
)
from vsearch.kernels.numba_distance import dot as dot_f32
from vsearch.kernels.numba_topk import close, push, threshold

MANY_QUERIES = 10  # from here on a matrix product beats streaming
MOST_QUERIES = 256  # of one product
BLOCK_ROWS = 1024  # of one product
STREAM_ROWS = 256  # scored between two looks at the k-th best
PART_BYTES = 512 * 1024  # rows below which a second thread is not worth waking


@jit
def _stream(
    rows: Rows,
    metric: Int,
    queries: np.ndarray,
    ids: np.ndarray,
    slots: np.ndarray,
    begin: Int,
    end: Int,
    all_distances: np.ndarray,
    all_ids: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Offers rows begin .. end - 1, or those of slots[begin:end] where there are any, to the heap of every query."""
    codes, row = np.empty(rows.dim, dtype=np.int16), np.empty(rows.dim, dtype=np.float32)
    values = np.empty(STREAM_ROWS, dtype=np.float32)
    for q in range(len(queries)):
        scorer = new_scorer(rows, queries[q], codes, row)
        size, distances, best = 0, all_distances[q], all_ids[q]
        for first in range(begin, end, STREAM_ROWS):
            n = min(STREAM_ROWS, end - first)
            score(rows, slots, first, n, metric, scorer, values)
            for i in range(n):
                size = push(distances, best, size, values[i], ids[slot_of(slots, first + i)])
        sizes[q] = size


@jit
def _finish(distances: np.ndarray, ids: np.ndarray, sizes: np.ndarray) -> None:
    """Moves the heaps of all parts (parts, nq, k) into those of the first, and turns these into the answer."""
    for q in range(distances.shape[1]):
        size = sizes[0, q]
        for part in range(1, len(distances)):
            for i in range(sizes[part, q]):
                size = push(distances[0, q], ids[0, q], size, distances[part, q, i], ids[part, q, i])
        close(distances[0, q], ids[0, q], size)


@jit
def _as_seen(rows: Rows, queries: np.ndarray, out: np.ndarray) -> None:
    """Queries as int8 rows see them: codes times their scale."""
    codes = np.empty(rows.dim, dtype=np.int16)
    for q in range(len(queries)):
        scorer = new_scorer(rows, queries[q], codes, out[q])
        for j in range(rows.dim):
            out[q, j] = scorer.scale * np.float32(codes[j])


@jit
def _measure(rows: Rows, slots: np.ndarray, first: Int, block: np.ndarray, norms2: np.ndarray) -> None:
    for i in range(len(block)):
        slot = slot_of(slots, first + i)
        norms2[i] = rows.factors[slot, 1] if rows.kind == INT8 else dot_f32(block[i], block[i])


@jit_part
def _least(metric: Int, limit: Float, norm: Float, norm2: Float, largest: Float, error: Float) -> Float:
    """The least <x, q> - |x|^2/2 (l2) or <x, q> with which a row no longer than `largest` can be as near as `limit`."""
    if metric == L2:
        return 0.5 * (norm2 - limit * (1 + 2 * error)) - error * (largest * norm + largest * largest)
    return (1 - 2.0**-22 if metric == COSINE else 0.0) - limit - 2 * error * largest * norm


@jit
def _report(
    rows: Rows,
    metric: Int,
    queries: np.ndarray,
    seen: np.ndarray,
    ids: np.ndarray,
    slots: np.ndarray,
    first: Int,
    products: np.ndarray,
    norms2: np.ndarray,
    all_distances: np.ndarray,
    all_ids: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Scores again what the products (nq, rows) propose, and offers it to the heaps."""
    codes, row = np.empty(rows.dim, dtype=np.int16), np.empty(rows.dim, dtype=np.float32)
    exact = np.empty(1, dtype=np.float32)
    error = 1.1 * (rows.dim + 8) * 2.0**-24  # gamma_d of Higham, section 3.1: of any order of summation
    largest = np.sqrt(np.float64(norms2.max()))
    for q in range(len(queries)):
        scorer = new_scorer(rows, queries[q], codes, row)
        norm2 = 0.0
        for x in seen[q]:
            norm2 += np.float64(x) * np.float64(x)
        norm = np.sqrt(norm2)
        if rows.kind == INT8:
            norm2 = scorer.norm2
        size, distances, best = sizes[q], all_distances[q], all_ids[q]
        bound = _least(metric, threshold(distances, size), norm, norm2, largest, error)
        for i in range(products.shape[1]):
            value = np.float64(products[q, i]) - (0.5 * norms2[i] if metric == L2 else 0.0)
            if value < bound:
                continue
            score(rows, slots, first + i, 1, metric, scorer, exact)
            size = push(distances, best, size, exact[0], ids[slot_of(slots, first + i)])
            bound = _least(metric, threshold(distances, size), norm, norm2, largest, error)
        sizes[q] = size


def _scan_tiles(
    rows: Rows,
    metric: int,
    queries: np.ndarray,
    ids: np.ndarray,
    slots: np.ndarray,
    n: int,
    distances: np.ndarray,
    best: np.ndarray,
) -> None:
    """The answer of up to MOST_QUERIES queries over n rows, or over the rows of `slots`."""
    seen = queries
    if rows.kind == INT8:
        seen = np.empty_like(queries)
        _as_seen(rows, queries, seen)
        seen = frozen(seen)
    sizes = np.zeros((1, len(queries)), dtype=np.int64)
    norms2 = np.empty(BLOCK_ROWS, dtype=np.float32)
    for first in range(0, n, BLOCK_ROWS):
        block = widened(rows, slots, first, min(n, first + BLOCK_ROWS))
        size = len(block)
        _measure(rows, slots, first, block, norms2[:size])
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no number and gets scored
            products = seen @ block.T
        _report(rows, metric, queries, seen, ids, slots, first, products, norms2[:size], distances, best, sizes[0])
    _finish(distances[None], best[None], sizes)


def _search_many(
    rows: Rows, metric: int, queries: np.ndarray, ids: np.ndarray, slots: np.ndarray, n: int, k: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    nq = len(queries)
    best, distances = np.empty((nq, k), dtype=np.int64), np.empty((nq, k), dtype=np.float32)
    step = max(MANY_QUERIES, min(MOST_QUERIES, -(-nq // threads)))

    def piece(task: int) -> None:
        part = slice(task * step, (task + 1) * step)
        _scan_tiles(rows, metric, queries[part], ids, slots, n, distances[part], best[part])

    parallel(-(-nq // step), threads, piece)
    return best, distances


def _search_few(
    rows: Rows, metric: int, queries: np.ndarray, ids: np.ndarray, slots: np.ndarray, n: int, k: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    row_bytes = rows.dim * (4 if rows.kind == 0 else 1 if rows.kind == INT8 else 2)
    parts = max(1, min(threads, 1 + n * row_bytes // PART_BYTES, n))
    step = -(-n // parts)
    shape = (parts, len(queries), k)
    best, distances = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
    sizes = np.zeros(shape[:2], dtype=np.int64)

    def part(p: int) -> None:
        ends = min(n, p * step), min(n, (p + 1) * step)
        _stream(rows, metric, queries, ids, slots, *ends, distances[p], best[p], sizes[p])

    parallel(parts, threads, part)
    _finish(distances, best, sizes)
    return best[0], distances[0]


class FlatScan:
    """Every row looked at, those of a bound array that Python owns."""

    def __init__(self, metric: str, dtype: str, dim: int) -> None:
        self._metric, self._dtype, self._dim = metric_code(metric), dtype, dim
        require(dtype in KINDS, "unknown row dtype")
        self._gate = Gate()

    def bind(self, rows: np.ndarray, factors: np.ndarray | None, ids: np.ndarray, n: int) -> None:
        """Keeps the arrays of the present state: rows (>= n, dim), factors of int8 rows, ids by slot."""
        view, ids = rows_view(self._dtype, rows, factors), array(ids, np.int64)
        require(view.dim == self._dim and len(rows) >= n and len(ids) >= n, "rows and ids: wrong shape")
        require(n < 2**32, "more than 2^32 - 1 rows")
        self._rows, self._ids, self._n = view, ids, n

    def search(
        self, queries: np.ndarray, k: int, threads: int = 1, filter: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, distances) of the k nearest, (k,) for one query and (nq, k) for many."""
        queries = array(queries, np.float32)
        require(queries.ndim in (1, 2) and queries.shape[-1] == self._dim, "queries: wrong shape")
        require(k > 0 and threads > 0, "k and threads must be positive")
        many = queries.reshape(-1, self._dim)
        walk = _search_few if len(many) < MANY_QUERIES else _search_many

        def find() -> tuple[np.ndarray, np.ndarray]:
            slots, n = self._matches(filter)
            return walk(self._rows, self._metric, many, self._ids, slots, n, k, threads)

        ids, distances = self._gate.read(find)
        shape = (*queries.shape[:-1], k)
        return ids.reshape(shape), distances.reshape(shape)

    def _matches(self, bitmap: np.ndarray | None) -> tuple[np.ndarray, int]:
        """(slots that the filter lets through, how many); no slots mean all of them."""
        if bitmap is None:
            return NO_SLOTS, self._n
        bitmap = array(bitmap, np.uint8)
        require(bitmap.size >= (self._n + 7) // 8, "filter: wrong length")
        slots = np.flatnonzero(np.unpackbits(bitmap.reshape(-1), count=self._n, bitorder="little"))
        return slots, len(slots)

    def try_search(self, query: Any, k: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = ready_query(query, k, self._dim, self._metric)
        return None if ready is None else self.search(ready, k)

    def exclusive(self) -> Exclusive:
        """A context in which nobody searches."""
        return Exclusive(self._gate)


def assign(vectors: np.ndarray, centroids: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(row of the nearest centroid, the first of several; its squared distance) of each vector."""
    vectors, centroids = array(vectors, np.float32), array(centroids, np.float32)
    require(vectors.ndim == 2 and centroids.ndim == 2, "assign: wrong shape")
    require(vectors.shape[1] == centroids.shape[1], "assign: wrong shape")
    require(len(centroids) > 0 and threads > 0, "assign needs centroids and threads")
    ids = frozen(np.arange(len(centroids), dtype=np.int64))
    rows = rows_view("f32", centroids, None)
    nearest, distances = _search_many(rows, L2, vectors, ids, NO_SLOTS, len(centroids), 1, threads)
    # Nothing is nearest where every distance overflows to NaN: the first centroid is as good as any.
    return np.maximum(nearest[:, 0], 0).astype(np.uint32), np.ascontiguousarray(distances[:, 0])
