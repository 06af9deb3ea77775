"""What codecs share (csrc/quantize/codec.hpp, factors.cpp): the face, the factors of a code, a prepared query's arrays.

To the walk a codec is a kind, the arrays of that kind and dummies for those of the others (`Coder`), and a prepared
query 16 table entries for each symbol and what the kind keeps for its survivors (`Query`): one compilation for all. A
further kind adds its number, its arrays in `Coder`, its two branches in numba_query.py, and a class with `_code`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import L2, Float, Int, array, frozen, jit, jit_part, metric_code, over_ranges, require
from vsearch.kernels.numba_distance import dot
from vsearch.kernels.numba_transform import Transform

NO_CODEC, RABITQ, LEVELS, TABLE = range(4)
LANES = 16  # partial sums of a float sum whose order every unit keeps
ROWS_PER_TASK = 256
ROWS_AT_ONCE = 1024  # whose residuals and directions are held

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
PEAK = np.float32(32767)  # what the largest magnitude becomes
MOST_SYMBOLS = 65535  # of which sums of entries fit in 16 bits
MOST_SUM, MOST_ENTRY, TWELVE = np.float32(MOST_SYMBOLS), np.float32(63), np.float32(12)


class Parts(NamedTuple):
    """The segments of a codec by levels, a row each, columns by the names below."""

    layout: np.ndarray  # int64
    values: np.ndarray  # float32: constants, from LEVEL on 256 levels, and from PREFIX_LEVEL on 16
    whole: np.ndarray  # int16 (parts, 256): a level of a whole code is DOT_STEP (whole - DOT_CENTER) + DOT_MIDDLE
    profile: np.ndarray  # float32 (2, dim), errors of coordinates over the mean, or no rows where they are even


BEGIN, LENGTH, BITS, PREFIX, SYMBOL, EXTRA, CODE = range(7)
SIGMA, WEIGHT, ENERGY, BIN_SCALE, BIN_OFFSET, SMALL_UNIT, DOT_STEP, DOT_CENTER, DOT_MIDDLE = range(9)
LEVEL, PREFIX_LEVEL, VALUES = 9, 265, 281

NO_PARTS = Parts(
    layout=frozen(np.empty((0, 7), np.int64)),
    values=frozen(np.empty((0, VALUES), np.float32)),
    whole=frozen(np.empty((0, 256), np.int16)),
    profile=frozen(np.empty((0, 0), np.float32)),
)


class Tables(NamedTuple):
    """The codebooks of a codec by tables, a row of `layout` each: first dim, dims."""

    layout: np.ndarray  # int64 (books, 2)
    centroids: np.ndarray  # float32 (books, count, width)
    bias: np.ndarray  # float32 (books, count): what is added to their inner products
    groups: np.ndarray  # float32 (books, 16, width), what the symbols stand for
    group_bias: np.ndarray  # float32 (books, 16)
    model: np.ndarray  # float32 (8,), csrc/quantize/table_codec.hpp
    corrections: int  # codes that are no centroids
    halves: bool  # whether a code is a symbol and half a byte more


NO_TABLES = Tables(
    layout=frozen(np.empty((0, 2), np.int64)),
    centroids=frozen(np.empty((0, 0, 0), np.float32)),
    bias=frozen(np.empty((0, 0), np.float32)),
    groups=frozen(np.empty((0, 0, 0), np.float32)),
    group_bias=frozen(np.empty((0, 0), np.float32)),
    model=frozen(np.zeros(8, np.float32)),
    corrections=0,
    halves=False,
)


class Coder(NamedTuple):
    """A codec as the walk sees it."""

    kind: int
    bits: int  # of rabitq
    lead: int
    shifted: bool
    one_scale: bool  # whether the estimate of the symbols has the factors of the whole code's
    parts: Parts  # of levels
    tables: Tables  # of table


NO_CODER = Coder(NO_CODEC, 0, 0, False, False, NO_PARTS, NO_TABLES)


class Query(NamedTuple):
    """A prepared query: tables for the symbols, what survivors are estimated from, and scalars of both."""

    table: np.ndarray  # float32, 16 entries a symbol, the smallest 0
    lut: np.ndarray  # the same in 6 bits
    fine: np.ndarray  # int32: rabitq: the subset sums of `rounded`, 16 a symbol
    rounded: np.ndarray  # int16: rabitq: the query in 16 bits; levels: `weighted` in 15
    unit: np.ndarray  # float32 (parts, 2): levels: what a sum over `rounded` is multiplied by, and what is added
    halves: np.ndarray  # rabitq, int8 (high, low): q' ~ query_scale * (128 high + low)
    sums: np.ndarray  # rabitq, int16 (high, low): what the nibbles of a 1-bit plane add
    weighted: np.ndarray  # levels: weight * q of the coded dims, and as much scratch
    entries: np.ndarray  # table: of whole codes (codes, count)
    scalars: np.ndarray  # float32, by the names below


# <y, q'> of the symbols is SCALE * sums + OFFSET; of the leading ones alone SCALE * sums + LEAD_OFFSET, to which the
# others can add LEAD_REACH. The noises are standard deviations of what rounding adds, the tilts how much larger than
# the mean the error of a code is in the directions of this query. SUM is of q'.
SCALE, OFFSET, FIRST_NOISE, FULL_NOISE, FIRST_TILT, FULL_TILT, SUM, LEAD_OFFSET, LEAD_REACH = range(9)
FULL_OFFSET, FINE_SCALE, QUERY_SCALE = range(9, 12)  # of full_dot
SCALARS = 12


@jit
def quantize_u8(x: np.ndarray, factor: Float, top: Float, out: np.ndarray) -> None:
    """Values above 0 times a factor, rounded, at most `top`."""
    for i in range(len(x)):
        out[i] = np.int32(min(max(x[i], ZERO) * factor + HALF, top))


@jit_part
def round_tables(widest: Float, out: Query) -> None:
    """Rounds out.table to 6 bits, so that sums over all symbols fit in 16; SCALE and FIRST_NOISE of that."""
    symbols = np.float32(max(len(out.table) // 16, 1))
    levels = max(ONE, min(MOST_ENTRY, np.floor(MOST_SUM / symbols)))
    quantize_u8(out.table, levels / widest if widest > ZERO else ZERO, levels, out.lut)
    out.lut[LANES * MOST_SYMBOLS :] = 0  # of 65536 dims, the last
    out.scalars[SCALE] = widest / levels if widest > ZERO else ZERO
    out.scalars[FIRST_NOISE] = out.scalars[SCALE] * np.sqrt(np.float32(len(out.table) // 16) / TWELVE)


@jit_part
def fold(lanes: np.ndarray) -> Float:
    """LANES partial sums folded as a tree: the order that every unit keeps, so that all choose the same code."""
    width = LANES // 2
    while width > 0:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return lanes[0]


@jit_part
def rounded_off(out: Query, first: Int, last: Int) -> Float:
    """What the rounding takes from the sums of symbols first .. last - 1 on average."""
    lanes, rounded = np.zeros(LANES, dtype=np.float32), np.int64(0)
    for i in range(LANES * first, LANES * last):
        lanes[i % LANES] += out.table[i]
        rounded += np.int64(out.lut[i])
    return (fold(lanes) - out.scalars[SCALE] * np.float32(rounded)) / np.float32(LANES)


@jit_part
def to_16_bits(x: np.ndarray, factor: Float, out: np.ndarray) -> None:
    """x * factor rounded to the nearest, ties to even, within +-PEAK."""
    for j in range(len(x)):
        out[j] = np.int32(np.rint(max(min(x[j] * factor, PEAK), -PEAK)))


@jit_part
def _sum(x: np.ndarray) -> Float:
    total = 0.0
    for value in x:
        total += np.float64(value)
    return total


@jit_part
def _factors_of(
    o: np.ndarray, y: np.ndarray, t: Float, scale: Float, c: np.ndarray, mean: np.ndarray, is_l2: bool, out: np.ndarray
) -> Float:
    """Fills add, rescale and shift of the direction y + t 1 for the residual o; returns |y| sin / sqrt(D - 1)."""
    dim, norm2 = len(o), np.float64(dot(o, o))
    residual_center = 0.0 if is_l2 else np.float64(dot(o, c)) + np.float64(dot(o, mean))
    product, center, y_norm2 = np.float64(dot(o, y)), np.float64(dot(y, c)), np.float64(dot(y, y))
    shift = np.float64(t)
    if t != ZERO:
        product += shift * _sum(o)
        center += shift * _sum(c)
        y_norm2 += 2 * shift * _sum(y) + shift * shift * dim
    out[1] = out[2] = ZERO
    if not product > 0:  # a zero residual: its distance is that of the centroid
        out[0] = np.float32(norm2) if is_l2 else np.float32(-residual_center)
        return ZERO
    s = scale if scale > 0 else norm2 / product
    out[0] = np.float32(norm2 + 2 * s * center) if is_l2 else np.float32(-residual_center + s * center)
    out[1] = np.float32(-2 * s) if is_l2 else np.float32(-s)
    out[2] = np.float32(-2 * s * shift) if is_l2 else np.float32(-s * shift)
    cos2 = min(1.0, product * product / (norm2 * y_norm2))
    return np.float32(np.sqrt(y_norm2 * (1 - cos2) / np.float64(dim - 1)))


@jit
def _factor_rows(
    residuals: np.ndarray,
    directions: np.ndarray,
    t: np.ndarray,
    scales: np.ndarray,
    assign: np.ndarray,
    centroids: np.ndarray,
    mean: np.ndarray,
    is_l2: bool,
    factors: np.ndarray,
    spreads: np.ndarray,
    column: Int,
) -> None:
    for i in range(len(residuals)):
        center = centroids[assign[i]]
        spreads[i, column] = _factors_of(
            residuals[i], directions[i], t[i], np.float64(scales[i]), center, mean, is_l2, factors[i]
        )


class Coded(NamedTuple):
    """Codes of some residuals and what they stand for: directions y + t 1, scaled by `scale` where that is not 0."""

    symbols: np.ndarray  # uint8 (n, symbols / 2)
    extra: np.ndarray  # uint8 (n, extra_bytes)
    first: np.ndarray  # float32 (n, dim): the direction that the symbols alone give, always unbiased
    full: np.ndarray  # that of all bits
    t: np.ndarray  # float32 (n,)
    scale: np.ndarray  # float32 (n,)


class Codec(ABC):
    """The face of every codec; `dim` is that of transformed vectors."""

    dim: int
    symbols: int
    extra_bytes: int
    lead: int = 0
    shifted: bool = False
    exact_tables: bool = False  # whether survivors are worth estimating again from tables that are not rounded
    length2: float = 0.0  # mean |o|^2, where estimates of <o, q> are made for queries of about that length; 0: for any
    coder: Coder

    def encode(
        self,
        transformed: np.ndarray,
        assign: np.ndarray,
        centroids: np.ndarray,
        mean: np.ndarray,
        metric: str,
        threads: int = 1,
    ) -> dict[str, np.ndarray]:
        """Codes and factors of vectors (n, dim) relative to the centroids of their lists, all without the mean."""
        x, centroids, mean = array(transformed, np.float32), array(centroids, np.float32), array(mean, np.float32)
        assign, d = array(assign, np.uint32), self.dim
        require(x.ndim == 2 and centroids.ndim == 2 and x.shape[1] == centroids.shape[1] == d, "encode: wrong shape")
        require(assign.shape == (len(x),) and mean.shape == (d,), "encode: wrong shape")
        require(len(x) == 0 or int(assign.max()) < len(centroids), "encode: list out of range")
        is_l2, n = metric_code(metric) == L2, len(x)
        out: dict[str, np.ndarray] = {
            "symbols": np.empty((n, self.symbols // 2), dtype=np.uint8),
            "extra": np.empty((n, self.extra_bytes), dtype=np.uint8),
            "first": np.empty((n, 3), dtype=np.float32),
            "full": np.empty((n, 3), dtype=np.float32),
            "spreads": np.empty((n, 2), dtype=np.float32),
        }

        def piece(first: int, last: int) -> None:
            for at in range(first, last, ROWS_AT_ONCE):
                rows = slice(at, min(last, at + ROWS_AT_ONCE))
                lists, spreads = assign[rows], out["spreads"][rows]
                residuals = x[rows] - centroids[lists]
                coded = self._code(residuals)
                out["symbols"][rows], out["extra"][rows] = coded.symbols, coded.extra
                call = lists, centroids, mean, is_l2
                _factor_rows(residuals, coded.full, coded.t, coded.scale, *call, out["full"][rows], spreads, 1)
                if self.extra_bytes == 0:
                    out["first"][rows], spreads[:, 0] = out["full"][rows], spreads[:, 1]
                    continue
                unbiased = np.zeros_like(coded.scale)
                _factor_rows(residuals, coded.first, coded.t, unbiased, *call, out["first"][rows], spreads, 0)

        over_ranges(n, threads, ROWS_PER_TASK, piece)
        return out

    def compress(
        self, transform: Transform, x: np.ndarray, mean: np.ndarray, threads: int = 1
    ) -> dict[str, np.ndarray]:
        """Codes and factors for l2 of vectors (n, transform.dim), transformed, relative to the transformed mean."""
        rows, mean = transform.apply(x, threads), array(mean, np.float32)
        require(transform.padded == self.dim and mean.shape == (self.dim,), "compress: wrong shape")
        rows -= mean
        lists, origin = np.zeros(len(rows), dtype=np.uint32), np.zeros((1, self.dim), dtype=np.float32)
        return self.encode(rows, lists, origin, mean, "l2", threads)

    def unpack(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """The index of every coordinate's level, one byte each."""
        symbols, extra = array(symbols, np.uint8), array(extra, np.uint8)
        require(symbols.ndim == 2 and symbols.shape[1] == self.symbols // 2, "codes: wrong shape")
        require(extra.shape == (len(symbols), self.extra_bytes), "codes: wrong shape")
        return self._unpack(symbols, extra)

    def decode(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """The directions y, float32 (n, dim), of all of the codes."""
        return self._direction(self.unpack(symbols, extra))

    @abstractmethod
    def _code(self, residuals: np.ndarray) -> Coded:
        """Codes float32 (n, dim)."""

    @abstractmethod
    def _unpack(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """What `unpack` gives."""

    @abstractmethod
    def _direction(self, levels: np.ndarray) -> np.ndarray:
        """float32 (n, dim) of what `unpack` gives."""
