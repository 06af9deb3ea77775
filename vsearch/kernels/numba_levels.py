"""Codes by level tables, with bits that differ by segment (csrc/quantize/levels.cpp), operation by operation.

Levels are chosen by compiled code; packing them is NumPy, for it is the same for all rows of a segment.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Float, Int, array, frozen, jit, jit_part, require
from vsearch.kernels.numba_codec import (
    BEGIN,
    BIN_OFFSET,
    BIN_SCALE,
    BITS,
    CODE,
    LANES,
    LENGTH,
    LEVEL,
    LEVELS,
    NO_PARTS,
    NO_TABLES,
    PEAK,
    PREFIX_LEVEL,
    SIGMA,
    SMALL_UNIT,
    VALUES,
    WEIGHT,
    ZERO,
    Codec,
    Coded,
    Coder,
    Parts,
    fold,
    to_16_bits,
)
from vsearch.kernels.numba_interval import BINS, CLIPPED, INTERVAL, ONE, OPTIMIZED, bin_of, choose_interval

SCALED, PLAIN = 0, 1
RULES = {"scaled": SCALED, "plain": PLAIN, "interval": INTERVAL, "clipped": CLIPPED, "optimized": OPTIMIZED}
UNIT = 16  # dims of an extra word
COARSE_STEPS, FINE_STEPS = 7, 4
NARROWEST, WIDEST = np.float32(0.80), np.float32(1.22)  # of the scale, around the root mean square
HALF, TWO, REACH = np.float32(0.5), np.float32(2), np.float32(0.6)
EVEN = np.float32(1e-3)  # of a step: what levels may lie off an even grid
SMALL_LEVEL, LEAST_16, MOST_16 = np.float32(2047), np.float32(-32768), np.float32(32767)


class Tables(NamedTuple):
    """Levels as the encoder reads them, a row for each segment."""

    thresholds: np.ndarray  # float32 (parts, 255), between neighbouring levels
    bins: np.ndarray  # float32 (parts, BINS), the level nearest to the middle of each bin of values
    small: np.ndarray  # int16 (parts, 16), up to 16 levels as integers of at most SMALL_LEVEL


@jit_part
def _count_below(value: Float, thresholds: np.ndarray, count: Int) -> Int:
    """How many of count - 1 ascending thresholds are below a value; count a power of two."""
    u, step = 0, count >> 1
    while step > 0:
        if value > thresholds[u + step - 1]:
            u += step
        step >>= 1
    return u


@jit_part
def _score_small(
    small: np.ndarray, scale: Float, thresholds: np.ndarray, levels: np.ndarray, count: Int, scratch: np.ndarray
) -> tuple[Int, Int]:
    """(sum w y, sum y^2) of values in 16 bits, w a sixteenth of them, by levels in 12 bits."""
    for k in range(count - 1):
        scratch[k] = np.int32(min(max(thresholds[k] * scale, LEAST_16), MOST_16))
    product: Int = 0
    norm2: Int = 0
    for v in small:
        y = np.int64(levels[_count_below(v, scratch, count)])
        product += (np.int64(v) * 2048 + 16384 >> 15) * y
        norm2 += y * y
    return product, norm2


@jit_part
def _score_bins(
    values: np.ndarray, weighted: np.ndarray, scale: Float, offset: Float, levels: np.ndarray, lanes: np.ndarray
) -> tuple[Float, Float]:
    """(sum w y, sum y^2) by bins."""
    for i in range(LANES):
        lanes[0, i] = lanes[1, i] = ZERO
    for j in range(len(values)):
        y = levels[bin_of(values[j], scale, offset)]
        lanes[0, j % LANES] += weighted[j] * y
        lanes[1, j % LANES] += y * y
    return fold(lanes[0]), fold(lanes[1])


class Room(NamedTuple):
    """Scratch for one vector."""

    values: np.ndarray
    weighted: np.ndarray
    small: np.ndarray
    thresholds: np.ndarray
    lanes: np.ndarray


@jit_part
def _cosine_at(parts: Parts, tables: Tables, room: Room, unit: Float, g: Float, inverse: Float) -> Float:
    """The cosine of o and y, up to a factor, where values are multiplied by `inverse` before they are coded.

    Segments of few levels are scored with integers, where room.small holds values times `unit`; the others by bins.
    """
    product, norm2 = 0.0, 0.0
    for p in range(len(parts.layout)):
        first = parts.layout[p, CODE]
        last, count = first + parts.layout[p, LENGTH], 1 << parts.layout[p, BITS]
        weight, small_unit = parts.values[p, WEIGHT], parts.values[p, SMALL_UNIT]
        if small_unit > ZERO:
            w, y = _score_small(
                room.small[first:last],
                unit / inverse,
                tables.thresholds[p],
                tables.small[p],
                count,
                room.thresholds,
            )
            level = np.float64(weight / small_unit)
            sigma = np.float64(parts.values[p, SIGMA])
            product += np.float64(w) * level * 16.0 / np.float64(unit) * np.float64(g) * sigma
            norm2 += np.float64(y) * level * level
        else:
            scale, offset = parts.values[p, BIN_SCALE] * inverse, parts.values[p, BIN_OFFSET]
            values, weighted = room.values[first:last], room.weighted[first:last]
            dot, square = _score_bins(values, weighted, scale, offset, tables.bins[p], room.lanes)
            product += np.float64(dot)
            norm2 += np.float64(weight) * np.float64(weight) * np.float64(square)
    return product / np.sqrt(norm2) if norm2 > 0 else 0.0


@jit_part
def _best_scale(parts: Parts, tables: Tables, room: Room, g: Float) -> Float:
    """1/f of the best scale: seven over the range, then four between the neighbours of the best."""
    peak = ZERO
    for value in room.values:
        peak = max(peak, abs(value))
    unit = PEAK / peak if peak > ZERO else ZERO
    to_16_bits(room.values, unit, room.small)
    best, score = ONE, -1.0
    first, last, steps = NARROWEST, WIDEST, COARSE_STEPS
    step = (WIDEST - NARROWEST) / np.float32(COARSE_STEPS - 1)
    for _ in range(2):
        for i in range(steps):
            inverse = ONE / (first + (last - first) * np.float32(i) / np.float32(steps - 1))
            cosine = _cosine_at(parts, tables, room, unit, g, inverse)
            if cosine > score:
                score, best = cosine, inverse
        middle = ONE / best
        first, last, steps = middle - REACH * step, middle + REACH * step, FINE_STEPS
    return best


@jit_part
def _energy(values: np.ndarray) -> Float:
    """Sum of squares as eight interleaved ones."""
    sums = np.zeros(8, dtype=np.float64)
    for j in range(len(values)):
        sums[j & 7] += np.float64(values[j]) * np.float64(values[j])
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))


@jit
def _choose_scaled(
    residuals: np.ndarray, parts: Parts, tables: Tables, plain: bool, codes: np.ndarray, scale: np.ndarray
) -> None:
    """Levels of coordinates over their root mean square, for the scale of the best cosine unless `plain`."""
    coded = codes.shape[1]
    room = Room(
        np.empty(coded, dtype=np.float32),
        np.empty(coded, dtype=np.float32),
        np.empty(coded, dtype=np.int16),
        np.empty(16, dtype=np.int16),
        np.empty((2, LANES), dtype=np.float32),
    )
    values = room.values
    for i in range(len(residuals)):
        for p in range(len(parts.layout)):
            begin, first, inverse = parts.layout[p, BEGIN], parts.layout[p, CODE], ONE / parts.values[p, SIGMA]
            for j in range(parts.layout[p, LENGTH]):
                values[first + j] = residuals[i, begin + j] * inverse
                room.weighted[first + j] = residuals[i, begin + j] * parts.values[p, WEIGHT]
        g = np.float32(np.sqrt(_energy(values) / np.float64(coded)))
        unit = ONE / g if g > ZERO else ZERO
        for j in range(coded):
            values[j] *= unit
        inverse = ONE if plain or not g > ZERO else _best_scale(parts, tables, room, g)
        for p in range(len(parts.layout)):
            first, count = parts.layout[p, CODE], 1 << parts.layout[p, BITS]
            for j in range(first, first + parts.layout[p, LENGTH]):
                codes[i, j] = _count_below(values[j] * inverse, tables.thresholds[p], count)
        scale[i] = g if plain else ZERO


@jit
def _choose_interval(
    residuals: np.ndarray, parts: Parts, tables: Tables, rule: Int, codes: np.ndarray, t: np.ndarray, scale: np.ndarray
) -> None:
    """Levels of coordinates in an interval of their own: y + t 1, times `scale`."""
    begin, length, bits = parts.layout[0, BEGIN], parts.layout[0, LENGTH], parts.layout[0, BITS]
    sigma, bin_scale, bin_offset = parts.values[0, SIGMA], parts.values[0, BIN_SCALE], parts.values[0, BIN_OFFSET]
    for i in range(len(residuals)):
        o = residuals[i, begin : begin + length]
        middle, step = choose_interval(o, rule, bits, sigma, bin_scale, bin_offset, tables.bins[0])
        inverse = ONE / step if step > ZERO else ZERO
        for j in range(length):
            codes[i, j] = _count_below((o[j] - middle) * inverse, tables.thresholds[0], 1 << bits)
        t[i], scale[i] = middle * inverse, step


def _bins(levels: np.ndarray, thresholds: np.ndarray) -> tuple[np.float32, np.float32, np.ndarray]:
    """(scale, offset, levels) of the bins of ascending levels; they reach a mean step beyond the outer ones."""
    low, high = levels[0], levels[-1]
    margin = (high - low) / np.float32(len(levels))
    scale = np.float32(BINS) / (high - low + TWO * margin)
    offset = -(low - margin) * scale
    values = (np.arange(BINS, dtype=np.float32) + HALF - offset) / scale
    return scale, offset, levels[np.searchsorted(thresholds, values, side="left")]


def _check_segments(dim: int, segments: np.ndarray, scales: np.ndarray) -> None:
    begin, length, bits, prefix = segments.T
    require(dim % UNIT == 0 and len(segments) > 0, "levels: no segments")
    require(bool((begin >= 0).all() and (length > 0).all()), "levels: segment out of range")
    require(not (begin % UNIT).any() and not (length % UNIT).any(), "levels: segment out of range")
    require(bool((begin[1:] >= (begin + length)[:-1]).all()), "levels: segments must ascend")
    require(bool(begin[-1] <= dim and length[-1] <= dim - begin[-1]), "levels: segment out of range")
    fits = (bits >= 1) & (bits <= 8) & np.isin(prefix, (1, 2, 4)) & (prefix <= bits)
    require(bool(fits.all()), "levels: segment bits out of range")
    require(bool(np.isfinite(scales).all() and (scales[:, :2] > 0).all()), "levels: segment scales must be positive")


def _even_step(levels: np.ndarray) -> Float:
    """The step of an even grid, 0 for levels that are none."""
    codes, low, high = np.arange(len(levels), dtype=np.float32), levels[0], levels[-1]
    step = (high - low) / codes[-1]
    return step if (np.abs(levels - (low + step * codes)) <= EVEN * step).all() else ZERO


def _rounded(levels: np.ndarray) -> np.ndarray:
    """Levels as multiples of their peak over SMALL_LEVEL, which queries meet as integers; even grids as they are."""
    if _even_step(levels) > 0:
        return levels
    peak = max(abs(levels[0]), abs(levels[-1]))
    return (peak / SMALL_LEVEL) * np.rint(levels * (SMALL_LEVEL / peak))


def _dot_levels(levels: np.ndarray, whole: np.ndarray) -> tuple[Float, Float, Float]:
    """Fills the integers that queries meet; (step, center, middle) of them."""
    last, step = np.float32(len(levels) - 1), _even_step(levels)
    if step > 0:
        whole[: len(levels)] = np.arange(len(levels))
        return step, HALF * last, HALF * (levels[0] + levels[-1])
    peak = max(abs(levels[0]), abs(levels[-1]))
    whole[: len(levels)] = np.rint(levels * (SMALL_LEVEL / peak))
    return peak / SMALL_LEVEL, ZERO, ZERO


class LevelsCodec(Codec):
    """Segments (begin, length, bits, prefix a row), scales (sigma, weight, prefix energy), levels one after another."""

    def __init__(
        self,
        dim: int,
        segments: np.ndarray,
        scales: np.ndarray,
        levels: np.ndarray,
        prefix_levels: np.ndarray,
        profile: np.ndarray | None,
        rule: str,
        unbiased: bool,
        lead: int,
    ) -> None:
        segments, scales = array(segments, np.int64), array(scales, np.float32)
        levels, prefix_levels = array(levels, np.float32), array(prefix_levels, np.float32)
        require(rule in RULES, "levels: unknown rule")
        require(segments.ndim == 2 and segments.shape[1] == 4, "levels: wrong shape")
        require(scales.shape == (len(segments), 3), "levels: wrong shape")
        require(levels.ndim == 1 and prefix_levels.ndim == 1, "levels: wrong shape")
        _check_segments(dim, segments, scales)
        self.dim, self._rule, self._unbiased = dim, RULES[rule], unbiased
        self.shifted, self.exact_tables = self._rule >= INTERVAL, True
        require(0 <= lead <= len(segments), "levels: lead out of range")
        require(not self.shifted or len(segments) == 1, "levels: interval rules have one segment")
        errors = NO_PARTS.profile if profile is None else array(profile, np.float32)
        require(profile is None or errors.shape == (2, dim), "levels: wrong shape")
        layout, values, whole, self._tables = self._lay_out(segments, scales, levels, prefix_levels)
        if 0 < lead < len(segments):
            self.lead = int((segments[:lead, 1] * segments[:lead, 3] // 4).sum())
        self._parts = Parts(frozen(layout), frozen(values), frozen(whole), errors)
        self.coder = Coder(LEVELS, 0, self.lead, self.shifted, False, self._parts, NO_TABLES)

    def _lay_out(
        self, segments: np.ndarray, scales: np.ndarray, levels: np.ndarray, prefix_levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tables]:
        """Where the bits of every segment lie, their levels a row each, also in integers, and what encoders read."""
        count = len(segments)
        layout, values = np.zeros((count, 7), np.int64), np.zeros((count, VALUES), np.float32)
        whole = np.zeros((count, 256), np.int16)
        tables = Tables(
            np.zeros((count, 255), np.float32), np.empty((count, BINS), np.float32), np.zeros((count, 16), np.int16)
        )
        symbol = extra = code = at = prefix_at = 0
        for p, (begin, length, bits, prefix) in enumerate(segments.tolist()):
            own, own_prefix = levels[at : at + (1 << bits)], prefix_levels[prefix_at : prefix_at + (1 << prefix)]
            require(len(own) == 1 << bits and len(own_prefix) == 1 << prefix, "levels: too few")
            ascend = np.isfinite(own).all() and (own[1:] >= own[:-1]).all() and own[0] < own[-1]
            require(bool(ascend), "levels: segment levels must ascend")
            own = _rounded(own)
            own_prefix = _rounded(own_prefix) if bits == prefix else own_prefix
            thresholds = HALF * (own[:-1] + own[1:])
            scale, offset, tables.bins[p] = _bins(own, thresholds)
            tables.thresholds[p, : len(thresholds)] = thresholds
            unit = SMALL_LEVEL / max(abs(own[0]), abs(own[-1])) if len(own) <= 16 else ZERO
            tables.small[p, : len(own[:16])] = np.rint(own[:16] * unit)
            layout[p], values[p, :LEVEL] = (
                (begin, length, bits, prefix, symbol, extra, code),
                (*scales[p], scale, offset, unit, *_dot_levels(own if bits > prefix else own_prefix, whole[p])),
            )
            values[p, LEVEL:][: len(own)], values[p, PREFIX_LEVEL:][: len(own_prefix)] = own, own_prefix
            symbol, extra, code = symbol + length * prefix // 4, extra + length * (bits - prefix) // 8, code + length
            at, prefix_at = at + (1 << bits), prefix_at + (1 << prefix)
        self.symbols, self.extra_bytes, self._coded = symbol, extra, code
        return layout, values, whole, Tables(*map(frozen, tables))

    def _code(self, residuals: np.ndarray) -> Coded:
        codes = np.empty((len(residuals), self._coded), dtype=np.uint8)
        t, scale = np.zeros((2, len(residuals)), dtype=np.float32)
        if self.shifted:
            _choose_interval(residuals, self._parts, self._tables, self._rule, codes, t, scale)
            if self._unbiased:
                scale[:] = 0
        else:
            _choose_scaled(residuals, self._parts, self._tables, self._rule == PLAIN, codes, scale)
        symbols, extra = self._pack(codes)
        full = self._direction(codes)
        first = full if self.extra_bytes == 0 else self._direction(codes, prefix=True)
        return Coded(symbols, extra, first, full, t, scale)

    def _pack(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(codes)
        symbols, extra = np.zeros((n, self.symbols), np.uint8), np.zeros((n, self.extra_bytes), np.uint8)
        for _, length, bits, prefix, symbol, at, code in self._parts.layout.tolist():
            u, rest, dims = codes[:, code : code + length], bits - prefix, 4 // prefix
            shares = (u >> np.uint8(rest)).reshape(n, length // dims, dims) << np.arange(0, 4, prefix, dtype=np.uint8)
            symbols[:, symbol : symbol + length // dims] = np.bitwise_or.reduce(shares, axis=2)
            if rest:
                units = u.reshape(n, length // UNIT, 1, UNIT) >> np.arange(rest, dtype=np.uint8)[:, None] & np.uint8(1)
                words = np.packbits(units, axis=3, bitorder="little")
                extra[:, at : at + length * rest // 8] = words.reshape(n, length * rest // 8)
        return symbols[:, ::2] | symbols[:, 1::2] << np.uint8(4), extra

    def _unpack(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        n = len(symbols)
        codes, each = np.empty((n, self._coded), np.uint8), np.empty((n, self.symbols), np.uint8)
        each[:, ::2], each[:, 1::2] = symbols & 15, symbols >> np.uint8(4)
        for _, length, bits, prefix, symbol, at, code in self._parts.layout.tolist():
            rest, dims = bits - prefix, 4 // prefix
            shares = each[:, symbol : symbol + length // dims, None] >> np.arange(0, 4, prefix, dtype=np.uint8)
            u = (shares & np.uint8((1 << prefix) - 1)).reshape(n, length) << np.uint8(rest)
            if rest:
                words = extra[:, at : at + length * rest // 8].reshape(n, length // UNIT, rest, 2)
                units = np.unpackbits(words, axis=3, bitorder="little") << np.arange(rest, dtype=np.uint8)[:, None]
                u |= np.bitwise_or.reduce(units, axis=2).reshape(n, length)
            codes[:, code : code + length] = u
        return codes

    def _direction(self, levels: np.ndarray, prefix: bool = False) -> np.ndarray:
        y = np.zeros((len(levels), self.dim), dtype=np.float32)
        for p, (begin, length, bits, share, _, _, code) in enumerate(self._parts.layout.tolist()):
            u = levels[:, code : code + length]
            values = self._parts.values[p]
            stands = values[PREFIX_LEVEL:][u >> np.uint8(bits - share)] if prefix else values[LEVEL:][u]
            y[:, begin : begin + length] = values[WEIGHT] * stands
        return y
