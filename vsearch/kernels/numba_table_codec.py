"""The codec of table quantizers and its prepared query (csrc/quantize/table_codec.hpp, table_query.cpp)."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from vsearch.kernels.numba_base import L2, Float, Int, array, jit, jit_part, metric_code, over_ranges, require
from vsearch.kernels.numba_codec import (
    FIRST_NOISE,
    FULL_NOISE,
    LEAD_OFFSET,
    LEAD_REACH,
    NO_PARTS,
    OFFSET,
    ROWS_PER_TASK,
    SUM,
    TABLE,
    ZERO,
    Codec,
    Coder,
    Query,
    Tables,
    round_tables,
    rounded_off,
)
from vsearch.kernels.numba_table import (
    MOST_CENTROIDS,
    Books,
    books_of,
    table_anisotropic,
    table_beam,
    table_decode,
    table_nearest,
)

SYMBOLS = 16  # entries of a symbol's table
ANISOTROPIC_SWEEPS = 3
HALF_GROUP = np.float32(7.5)  # where the middle of a group of correction levels is
LOW_HALF = 15

RESCALE, SYMBOL_SCALE, TILT, TILT_MEAN, SYMBOL_BIAS, CODE_BIAS, LOW, STEP = range(8)


@jit
def _dot(a: np.ndarray, b: np.ndarray) -> Float:
    total = 0.0
    for j in range(len(a)):
        total += np.float64(a[j]) * np.float64(b[j])
    return total


@jit
def _spread(o: np.ndarray, y: np.ndarray, scale: Float) -> Float:
    """Root mean square of o - scale y over |scale|."""
    total = 0.0
    for j in range(len(o)):
        e = np.float64(o[j]) - np.float64(scale) * np.float64(y[j])
        total += e * e
    return np.float32(np.sqrt(total / np.float64(len(o))) / np.float64(abs(scale)))


@jit
def _finish(
    x: np.ndarray,
    assign: np.ndarray,
    centroids: np.ndarray,
    mean: np.ndarray,
    is_l2: bool,
    norms: bool,
    model: np.ndarray,
    y: np.ndarray,
    near: np.ndarray,
    first: Int,
    last: Int,
    corrections: np.ndarray,
    factors: np.ndarray,
    spreads: np.ndarray,
) -> None:
    """Corrections, factors and spreads of some rows; `y` and `near` are what codes and symbols stand for."""
    o = np.empty(x.shape[1], dtype=np.float32)
    scale = np.float32(1) if is_l2 else -model[RESCALE]
    for i in range(first, last):
        c = centroids[assign[i]]
        for j in range(len(o)):
            o[j] = x[i, j] - c[j]
        norm2, center = _dot(y[i], y[i]), _dot(y[i], c)
        if is_l2:
            own, of_list = 0.0 if norms else norm2, 2 * center
        else:
            short = _dot(o, o) - norm2 - np.float64(model[TILT_MEAN])
            own = -_dot(o, mean) - np.float64(model[TILT]) * short
            of_list = -_dot(o, c) + np.float64(scale) * center
        if model[STEP] > ZERO:
            level = np.rint(min(255.0, max(0.0, (own - np.float64(model[LOW])) / np.float64(model[STEP]))))
            corrections[i] = np.uint8(level)
            own -= np.float64(model[LOW]) + np.float64(model[STEP]) * level
        factors[i, 0], factors[i, 1], factors[i, 2] = np.float32(own + of_list), model[RESCALE], ZERO
        spreads[i, 0], spreads[i, 1] = _spread(o, near[i], scale), _spread(o, y[i], scale)


class TableCodec(Codec):
    """Codes that name centroids, 16 or 256 to a codebook; `eta` is of the anisotropic loss."""

    def __init__(
        self,
        dim: int,
        starts: np.ndarray,
        first: np.ndarray,
        centroids: np.ndarray,
        model: np.ndarray,
        norms: bool,
        beam: int,
        sweeps: int,
        eta: float,
    ) -> None:
        model = array(model, np.float32)
        require(model.shape == (8,), "table: wrong shape")
        require(1 <= beam <= MOST_CENTROIDS, "table: beam out of range")
        self._books = books_of(dim, starts, first, centroids)
        count = self._books.centroids.shape[1]
        require(count in (SYMBOLS, MOST_CENTROIDS), "a codebook has 16 or 256 centroids")
        require(len(self._books.centroids) > 0, "codebooks do not fit the dimension")
        self._single = bool((np.diff(self._books.first) == 1).all())
        require(self._single or not (norms or eta != 1), "norms and anisotropic losses are of one codebook a split")
        require(eta >= 1, "eta is below 1")
        require(bool(model[RESCALE] < 0 < model[SYMBOL_SCALE] and model[STEP] >= 0), "a scale is not positive")
        self._norms, self._beam, self._sweeps, self._eta = norms, beam, sweeps, eta
        halves = count > SYMBOLS
        corrections = (1 if halves else 2) if model[STEP] > 0 else 0
        self._codes = len(self._books.centroids) + corrections
        self.dim, self.symbols, self.exact_tables = dim, -(-self._codes // 4) * 4, True
        self.extra_bytes = (self._codes + 1) // 2 if halves else 0
        squares = float((self._books.centroids.astype(np.float64) ** 2).sum())
        self.length2 = squares / count * -float(model[RESCALE])
        self._tables = self._make_tables(model, corrections, halves)
        self.coder = Coder(TABLE, 0, 0, False, True, NO_PARTS, self._tables)

    def _make_tables(self, model: np.ndarray, corrections: int, halves: bool) -> Tables:
        """The codebooks, the means of their groups, and -|c|^2 / 2 of both where tables hold norms."""
        starts, first, centroids = self._books
        books, count, width = centroids.shape
        bias = np.zeros((books, count), dtype=np.float32)
        if self._norms:
            squares = np.zeros((books, count))
            for j in range(width):
                squares += centroids[:, :, j].astype(np.float64) ** 2
            bias = np.float32(-0.5) * squares.astype(np.float32)
        groups = np.zeros((books, SYMBOLS, width))
        group_bias = np.zeros((books, SYMBOLS), dtype=np.float32)
        members = count // SYMBOLS
        for i in range(members):  # one after the other, as the compiled core adds them
            groups += centroids.reshape(books, SYMBOLS, members, width)[:, :, i]
            group_bias += bias.reshape(books, SYMBOLS, members)[:, :, i] / np.float32(members)
        splits = np.repeat(np.arange(len(first) - 1), np.diff(first))
        layout = np.stack([starts[splits], starts[splits + 1] - starts[splits]], axis=1)
        return Tables(
            layout=array(layout, np.int64),
            centroids=centroids,
            bias=array(bias, np.float32),
            groups=array((groups / members).astype(np.float32) * model[SYMBOL_SCALE], np.float32),
            group_bias=array(group_bias, np.float32),
            model=model,
            corrections=corrections,
            halves=halves,
        )

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
        found = self._search(x - centroids[assign], threads)
        y, near = self._direction(found), self._near(found >> np.uint8(4 if self._tables.halves else 0))
        corrections = np.zeros(len(x), dtype=np.uint8)
        full, spreads = np.empty((len(x), 3), dtype=np.float32), np.empty((len(x), 2), dtype=np.float32)
        settings = metric_code(metric) == L2, self._norms, self._tables.model, y, near

        def piece(i: int, j: int) -> None:
            _finish(x, assign, centroids, mean, *settings, i, j, corrections, full, spreads)

        over_ranges(len(x), threads, ROWS_PER_TASK, piece)
        symbols, extra = self._pack(found, corrections)
        return {"symbols": symbols, "extra": extra, "first": full.copy(), "full": full, "spreads": spreads}

    def decode_symbols(self, symbols: np.ndarray) -> np.ndarray:
        """What the symbols alone stand for, float32 (n, dim)."""
        symbols = array(symbols, np.uint8)
        require(symbols.ndim == 2 and symbols.shape[1] == self.symbols // 2, "table: wrong shape of symbols")
        return self._near(_nibbles(symbols)[:, : len(self._books.centroids)])

    def _search(self, residuals: np.ndarray, threads: int) -> np.ndarray:
        starts, first, centroids = self._books
        if not self._single:
            return table_beam(residuals, starts, first, centroids, self._beam, self._sweeps, threads)
        if self._eta != 1:
            return table_anisotropic(residuals, starts, centroids, self._eta, ANISOTROPIC_SWEEPS, threads)
        return table_nearest(residuals, starts, centroids, threads)

    def _pack(self, found: np.ndarray, corrections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns, nibbles = [found], (corrections[:, None] >> np.uint8(4), corrections[:, None] & np.uint8(LOW_HALF))
        if self._tables.corrections:
            columns += [corrections[:, None]] if self._tables.halves else nibbles
        codes = np.concatenate(columns, axis=1)
        if not self._tables.halves:
            return _pairs(codes, self.symbols), np.empty((len(found), 0), dtype=np.uint8)
        return _pairs(codes >> np.uint8(4), self.symbols), _pairs(codes & np.uint8(LOW_HALF), 2 * self.extra_bytes)

    def _code(self, residuals: np.ndarray) -> NoReturn:
        raise AssertionError("encode() makes factors of its own")

    def _unpack(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        codes = _nibbles(symbols)[:, : self._codes]
        return codes << np.uint8(4) | _nibbles(extra)[:, : self._codes] if self._tables.halves else codes

    def _direction(self, levels: np.ndarray) -> np.ndarray:
        return self._sums(levels, self._books)

    def _near(self, symbols: np.ndarray) -> np.ndarray:
        return self._sums(symbols, self._books._replace(centroids=self._tables.groups))

    def _sums(self, codes: np.ndarray, books: Books) -> np.ndarray:
        out = np.zeros((len(codes), self.dim), dtype=np.float32)
        chosen = np.ascontiguousarray(codes[:, : len(books.centroids)])
        out[:, : books.starts[-1]] = table_decode(chosen, books.starts, books.first, books.centroids)
        return out


def _nibbles(rows: np.ndarray) -> np.ndarray:
    """The halves of bytes, lower first."""
    return np.stack([rows & np.uint8(LOW_HALF), rows >> np.uint8(4)], axis=2).reshape(len(rows), 2 * rows.shape[1])


def _pairs(nibbles: np.ndarray, count: int) -> np.ndarray:
    """Two a byte, lower first, of `count` nibbles of which the last may be missing."""
    full = np.zeros((len(nibbles), count), dtype=np.uint8)
    full[:, : nibbles.shape[1]] = nibbles
    return full[:, ::2] | full[:, 1::2] << np.uint8(4)


def new_entries(tables: Tables) -> np.ndarray:
    """Room for the tables of whole codes; those of a correction, which no query changes, are filled."""
    books, count = tables.bias.shape
    out = np.zeros((books + tables.corrections, count), dtype=np.float32)
    low, step, rescale = tables.model[LOW], tables.model[STEP], tables.model[RESCALE]
    levels = np.arange(count, dtype=np.float32)
    if tables.corrections == 1:
        out[books] = (low + step * levels) / rescale
    elif tables.corrections == 2:
        out[books] = (low + step * (np.float32(SYMBOLS) * levels)) / rescale
        out[books + 1] = step * levels / rescale
    return out


@jit_part
def _products(q: np.ndarray, begin: Int, centroids: np.ndarray, bias: np.ndarray, length: Int, out: np.ndarray) -> None:
    for k in range(len(out)):
        total = bias[k]
        for j in range(length):
            total += q[begin + j] * centroids[k, j]
        out[k] = total


@jit_part
def prepare_tables(q: np.ndarray, tables: Tables, out: Query) -> None:
    """Fills `out` for the transformed and centred query q."""
    s, model, books = out.scalars, tables.model, len(tables.layout)
    for b in range(books):
        begin, length = tables.layout[b, 0], tables.layout[b, 1]
        _products(q, begin, tables.centroids[b], tables.bias[b], length, out.entries[b])
        near = out.table[SYMBOLS * b : SYMBOLS * (b + 1)]
        _products(q, begin, tables.groups[b], tables.group_bias[b], length, near)
    dropped, at = 0.0, SYMBOLS * books
    if tables.corrections == 1:
        group = np.float32(SYMBOLS)
        for k in range(SYMBOLS):
            level = group * np.float32(k) + HALF_GROUP
            out.table[at + k] = (model[LOW] + model[STEP] * level) / model[RESCALE]
        width = np.float64(group * model[STEP] / model[RESCALE])
        dropped = width * width / 12.0
    else:
        for k in range(SYMBOLS * tables.corrections):
            out.table[at + k] = out.entries[books + k // SYMBOLS, k % SYMBOLS]
    codes, widest, offset = books + tables.corrections, ZERO, ZERO
    for g in range(len(out.table) // SYMBOLS):
        table = out.table[SYMBOLS * g : SYMBOLS * (g + 1)]
        if g >= codes:
            for k in range(SYMBOLS):
                table[k] = ZERO
            continue
        smallest, largest = table[0], table[0]
        for k in range(SYMBOLS):
            smallest, largest = min(smallest, table[k]), max(largest, table[k])
        widest = max(widest, largest - smallest)
        for k in range(SYMBOLS):
            table[k] -= smallest
        offset += smallest
    round_tables(widest, out)
    s[SUM] = s[LEAD_OFFSET] = s[LEAD_REACH] = ZERO
    s[OFFSET], s[FULL_NOISE] = offset + rounded_off(out, 0, len(out.table) // SYMBOLS), model[CODE_BIAS]
    rounded, bias = np.float64(s[FIRST_NOISE]), np.float64(model[SYMBOL_BIAS])
    s[FIRST_NOISE] = np.sqrt(rounded * rounded + dropped + bias * bias)


@jit_part
def full_dot_tables(query: Query, tables: Tables, codes: np.ndarray, byte: Int, shift: Int, extra: np.ndarray) -> Float:
    """<y, q'> of all of a code, with its correction."""
    even, odd = ZERO, ZERO
    for i in range(len(query.entries)):
        code = np.int64(codes[SYMBOLS * i + byte]) >> shift & LOW_HALF
        if tables.halves:
            code = code << 4 | (np.int64(extra[i >> 1]) >> (4 * (i & 1)) & LOW_HALF)
        if i & 1:
            odd += query.entries[i, code]
        else:
            even += query.entries[i, code]
    return even + odd
