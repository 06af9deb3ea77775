"""Stored vectors and their exact distances (csrc/index/rows.hpp), and the thin calls that tests and benches use.

Rows are f32, f16, bf16, or int8 with a scale and a squared norm each. The order of a sum is the compiler's, as it is
each ISA's in the compiled core, so distances agree to rounding; a row's distance does not depend on who asks, for all
ask `score`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vsearch.kernels.numba_base import (
    COSINE,
    L2,
    Float,
    Int,
    array,
    frozen,
    jit,
    jit_part,
    jit_sum,
    metric_code,
    require,
)

F32, F16, BF16, INT8 = 0, 1, 2, 3
KINDS = {"f32": F32, "f16": F16, "bf16": BF16, "int8": INT8}
ITEM_BYTES = (4, 2, 2, 1)
MOST_NEIGHBOURS = 65536

ZERO, ONE = np.float32(0), np.float32(1)
HALF_BIAS = np.float32(2.0**112)  # between the exponents of half and single precision
LARGEST_CODE = np.float32(32767)
INT32_MOST, INT8_MOST = np.float32(2147483647), np.float32(128)


class Rows(NamedTuple):
    """A view of stored rows in the field of their dtype; the others are empty."""

    kind: int
    dim: int
    f32: np.ndarray
    u16: np.ndarray
    int8: np.ndarray
    factors: np.ndarray


NO_ROWS = Rows(
    kind=F32,
    dim=0,
    f32=frozen(np.empty((0, 0), np.float32)),
    u16=frozen(np.empty((0, 0), np.uint16)),
    int8=frozen(np.empty((0, 0), np.int8)),
    factors=frozen(np.empty((0, 2), np.float32)),
)


def rows_view(dtype: str, data: np.ndarray, factors: np.ndarray | None) -> Rows:
    """The rows of a 2-d C-contiguous array, and for int8 their (n, 2) factors: scale, squared norm."""
    require(dtype in KINDS, "unknown row dtype")
    kind = KINDS[dtype]
    require(data.ndim == 2 and data.flags.c_contiguous, "rows must be 2-d and C-contiguous")
    require(data.itemsize == ITEM_BYTES[kind], "rows do not have the item size of their dtype")
    data = np.require(data, requirements=["A"])
    rows = NO_ROWS._replace(kind=kind, dim=data.shape[1])
    if kind == F32:
        return rows._replace(f32=frozen(data.view(np.float32)))
    if kind != INT8:
        return rows._replace(u16=frozen(data.view(np.uint16)))
    table = array(factors, np.float32)
    require(table.ndim == 2 and len(table) >= len(data) and table.shape[1] == 2, "int8 rows need (n, 2) factors")
    return rows._replace(int8=frozen(data.view(np.int8)), factors=table)


NO_SLOTS = np.empty(0, np.int64)


@jit_part
def slot_of(slots: np.ndarray, i: Int) -> Int:
    """slots[i], or i where there are no slots: all rows in order."""
    return slots[i] if len(slots) else i


@jit_part
def half_to_float(half: np.uint16) -> Float:
    """IEEE half precision to single, subnormal, infinite and NaN included."""
    bits = np.uint32(half)
    magnitude = np.uint32((bits & 0x7FFF) << 13).view(np.float32) * HALF_BIAS
    if bits & 0x7C00 == 0x7C00:
        magnitude = np.uint32(0x7F800000 | (bits & 0x03FF) << 13).view(np.float32)
    return -magnitude if bits & 0x8000 else magnitude


@jit_part
def widen_row(rows: Rows, slot: Int, out: np.ndarray) -> None:
    """One row as float32."""
    if rows.kind == F32:
        for j in range(rows.dim):
            out[j] = rows.f32[slot, j]
    elif rows.kind == F16:
        for j in range(rows.dim):
            out[j] = half_to_float(rows.u16[slot, j])
    elif rows.kind == BF16:
        for j in range(rows.dim):
            out[j] = np.uint32(np.uint32(rows.u16[slot, j]) << np.uint32(16)).view(np.float32)
    else:
        scale = rows.factors[slot, 0]
        for j in range(rows.dim):
            out[j] = scale * np.float32(rows.int8[slot, j])


@jit_sum
def l2(a: np.ndarray, b: np.ndarray) -> Float:
    """Squared Euclidean distance."""
    total = ZERO
    for j in range(len(a)):
        difference = a[j] - b[j]
        total += difference * difference
    return total


@jit_sum
def dot(a: np.ndarray, b: np.ndarray) -> Float:
    """Inner product."""
    total = ZERO
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@jit
def dot_int8(row: np.ndarray, codes: np.ndarray) -> Int:
    """Exact in int32: `quantize` keeps the codes small enough."""
    total = np.int32(0)
    for j in range(len(codes)):  # a row may be longer, as those of a graph are
        total = np.int32(total + np.int32(np.int32(codes[j]) * np.int32(row[j])))
    return total


@jit_part
def quantize(query: np.ndarray, codes: np.ndarray) -> tuple[Float, Float]:
    """int16 codes of a query for int8 rows; (scale, |q|^2). Integers in range keep scale 1: exact distances."""
    top = min(LARGEST_CODE, np.floor(INT32_MOST / (INT8_MOST * np.float32(len(query)))) - ONE)
    peak, norm2, integral = ZERO, 0.0, True
    for x in query:
        peak = max(peak, abs(x))
        norm2 += np.float64(x) * np.float64(x)
        integral = integral and x == np.rint(x)
    scale = ONE if integral and peak <= top else peak / top
    inverse = ONE / scale if scale > ZERO else ZERO
    for j in range(len(query)):
        codes[j] = np.int64(np.rint(query[j] * inverse))
    return scale, norm2


class Scorer(NamedTuple):
    """One query in the form its rows want."""

    query: np.ndarray
    codes: np.ndarray  # int16, for int8 rows
    scale: Float
    norm2: Float
    row: np.ndarray  # scratch: a row as float32


@jit_part
def new_scorer(rows: Rows, query: np.ndarray, codes: np.ndarray, row: np.ndarray) -> Scorer:
    """The scorer of one query; `codes` and `row` are its scratch."""
    scale, norm2 = ONE, 0.0
    if rows.kind == INT8:
        scale, norm2 = quantize(query, codes)
    return Scorer(query, codes, scale, norm2, row)


@jit_part
def score(rows: Rows, slots: np.ndarray, first: Int, n: Int, metric: Int, s: Scorer, out: np.ndarray) -> None:
    """out[i] = distance of row slot_of(slots, first + i) for i < n: squared l2, 1 - dot for cosine, -dot for ip."""
    if rows.kind == INT8:
        _score_int8(rows, slots, first, n, metric, s, out)
        return
    for i in range(n):
        slot = slot_of(slots, first + i)
        if rows.kind == F32:
            row = rows.f32[slot]
            out[i] = l2(s.query, row) if metric == L2 else dot(s.query, row)
        else:
            widen_row(rows, slot, s.row)
            out[i] = l2(s.query, s.row) if metric == L2 else dot(s.query, s.row)
    if metric != L2:
        shift = ONE if metric == COSINE else ZERO
        for i in range(n):
            out[i] = shift - out[i]


@jit_part
def _score_int8(rows: Rows, slots: np.ndarray, first: Int, n: Int, metric: Int, s: Scorer, out: np.ndarray) -> None:
    shift = 1.0 if metric == COSINE else 0.0
    for i in range(n):  # in double: a sum of large squares must not cost the last bits of a small distance
        slot = slot_of(slots, first + i)
        product = np.float64(s.scale) * rows.factors[slot, 0] * dot_int8(rows.int8[slot], s.codes)
        if metric == L2:
            out[i] = max(0.0, s.norm2 + rows.factors[slot, 1] - 2 * product)
        else:
            out[i] = shift - product


@jit
def _score_all(rows: Rows, metric: Int, queries: np.ndarray, slots: np.ndarray, out: np.ndarray) -> None:
    codes, row = np.empty(rows.dim, dtype=np.int16), np.empty(rows.dim, dtype=np.float32)
    for q in range(len(queries)):
        score(rows, slots, 0, len(slots), metric, new_scorer(rows, queries[q], codes, row), out[q])


def distances(
    metric: str,
    dtype: str,
    queries: np.ndarray,
    rows: np.ndarray,
    factors: np.ndarray | None = None,
    slots: np.ndarray | None = None,
) -> np.ndarray:
    """Distances of queries (nq, d) to rows, or to rows[slots], as every search computes them."""
    view, queries = rows_view(dtype, rows, factors), array(queries, np.float32)
    require(queries.ndim == 2 and queries.shape[1] == view.dim, "queries: wrong shape")
    chosen = np.arange(len(rows)) if slots is None else array(slots, np.uint32).astype(np.int64)
    require(chosen.size == 0 or int(chosen.max()) < len(rows), "slots: out of range")
    out = np.empty((len(queries), len(chosen)), dtype=np.float32)
    _score_all(view, metric_code(metric), queries, chosen, out)
    return out


@jit
def _widen_rows(rows: Rows, slots: np.ndarray, first: Int, out: np.ndarray) -> None:
    for i in range(len(out)):
        widen_row(rows, slot_of(slots, first + i), out[i])


def widened(rows: Rows, slots: np.ndarray, first: int, last: int) -> np.ndarray:
    """Rows first .. last - 1, or those of slots[first:last] where there are any, as float32; copied only if need be."""
    if rows.kind == F32 and not len(slots):
        return rows.f32[first:last]
    out = np.empty((last - first, rows.dim), dtype=np.float32)
    _widen_rows(rows, slots, first, out)
    return frozen(out)


def widen(dtype: str, values: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """scale * values as float32; 1-d, of a dtype but f32."""
    require(values.ndim == 1 and dtype != "f32", "widen: wrong shape or dtype")
    rows = rows_view(dtype, values[None], np.ones((1, 2), dtype=np.float32))
    with np.errstate(invalid="ignore"):  # NaN stay NaN
        wide: np.ndarray = widened(rows, NO_SLOTS, 0, 1)[0] * np.float32(scale)
    return wide


@jit
def scale_rows(vectors: np.ndarray, out: np.ndarray) -> Int:
    """Rows scaled to length 1, each by its norm in double; returns the first row without a direction (zero, or not
    finite), or how many.
    """
    for i in range(len(vectors)):
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        whole = vectors.shape[1] // 4 * 4
        for j in range(0, whole, 4):
            x0, x1 = np.float64(vectors[i, j]), np.float64(vectors[i, j + 1])
            x2, x3 = np.float64(vectors[i, j + 2]), np.float64(vectors[i, j + 3])
            s0, s1, s2, s3 = s0 + x0 * x0, s1 + x1 * x1, s2 + x2 * x2, s3 + x3 * x3
        for j in range(whole, vectors.shape[1]):
            x0 = np.float64(vectors[i, j])
            if j % 4 == 0:
                s0 += x0 * x0
            elif j % 4 == 1:
                s1 += x0 * x0
            else:
                s2 += x0 * x0
        norm = np.sqrt((s0 + s1) + (s2 + s3))
        if not (norm > 0 and np.isfinite(norm)):
            return i
        inverse = 1.0 / norm
        for j in range(vectors.shape[1]):
            out[i, j] = vectors[i, j] * inverse
    return len(vectors)


def unit_rows(vectors: np.ndarray) -> tuple[np.ndarray, int]:
    """(rows scaled to length 1, index of the first row without a direction or n)."""
    vectors = array(vectors, np.float32)
    require(vectors.ndim == 2, "unit_rows: wrong shape")
    out = np.empty_like(vectors, subok=False)
    out.flags.writeable = True
    return out, scale_rows(vectors, out)


def ready_rows(queries: Any, dim: int, metric: int) -> np.ndarray | None:
    """Queries in no need of conversion, of length 1 for cosine; None where they are not."""
    if not isinstance(queries, np.ndarray) or queries.dtype != np.float32 or queries.ndim != 2:
        return None
    if queries.shape[1] != dim or not (queries.flags.c_contiguous and queries.flags.aligned):
        return None
    if metric == COSINE:
        units, whole = unit_rows(queries)
        return units if whole == len(queries) else None
    return queries if np.isfinite(queries).all() else None


def ready_query(query: Any, k: Any, dim: int, metric: int) -> np.ndarray | None:
    """The same of one query, with an int k."""
    if type(k) is not int or not 1 <= k <= MOST_NEIGHBOURS or not isinstance(query, np.ndarray) or query.ndim != 1:
        return None
    rows = ready_rows(query[None], dim, metric)
    return None if rows is None else rows[0]


def ready_queries(queries: Any, dim: int, metric: str) -> np.ndarray | None:
    """`ready_rows` for a metric by name."""
    return ready_rows(queries, dim, metric_code(metric))
