"""RaBitQ: the encoder and the prepared query (csrc/quantize/rabitq.cpp, rabitq_encode.cpp), operation by operation."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Float, Int, jit, jit_part, require
from vsearch.kernels.numba_codec import (
    FINE_SCALE,
    FIRST_NOISE,
    FULL_NOISE,
    FULL_OFFSET,
    HALF,
    LANES,
    NO_PARTS,
    NO_TABLES,
    OFFSET,
    PEAK,
    QUERY_SCALE,
    RABITQ,
    SUM,
    ZERO,
    Codec,
    Coded,
    Coder,
    Query,
    fold,
    round_tables,
    to_16_bits,
)
from vsearch.kernels.numba_codes import (
    U15,
    U16,
    dot_planes,
    nibble_sums,
    pack_rows,
    plane_bytes,
    unpack_rows,
)
from vsearch.kernels.numba_transform import DIM_MULTIPLE

# Clip of the uniform B-bit quantiser that is best for a unit Gaussian, B = 1..8.
GAUSSIAN_CLIP = np.array([0, 1.599, 1.991, 2.348, 2.683, 3.006, 3.328, 3.640, 3.939], dtype=np.float32)
FEW_BITS = 4  # up to here a short search does
PLAIN_QUERY_BITS = 5  # codes of more bits see the query in two int8 halves

ONE, TWO = np.float32(1), np.float32(2)
LOW_CLIP, HIGH_CLIP, HIGH_PEAK = np.float32(0.85), np.float32(1.1), np.float32(1.02)
UNIT_16, MOST_16 = np.float32(65536), np.float32(65535)
MOST_SUM_31, HUNDRED_TWENTY = np.float32(2.1e9), np.float32(120)
LARGEST_7, LARGEST_14, HIGH_UNIT = np.float32(127), np.float32(127 * 128), np.float32(128)


@jit_part
def _grid_level(a: Int, scale: Int, shift: Int, top: Int) -> Int:
    """The grid's point is this and a half."""
    return min(np.int64(abs(np.int64(a))) * scale >> 16 >> shift, top)


@jit_part
def _try_clip(small: np.ndarray, scale: Int, shift: Int, top: Int, total: Float) -> tuple[Float, Float]:
    """(<a, y>, |y|^2) of the grid of one scale."""
    product: Int = 0
    norm2: Int = 0
    for a in small:
        level = _grid_level(a, scale, shift, top)
        product += np.int64(abs(np.int64(a))) * level
        norm2 += level * (level + 1)
    return np.float64(product) + 0.5 * total, np.float64(norm2) + 0.25 * np.float64(len(small))


@jit_part
def _best_scale(small: np.ndarray, bits: Int, peak: Float, total: Float) -> tuple[Int, Int]:
    """(scale, shift) of the grid whose nearest point has the largest cosine with magnitudes of 15 bits.

    Of these `total` is the sum and `peak` the largest over the root mean square. Clips over the whole range, then some
    more between the neighbours of the best.
    """
    coarse, fine = (8, 4) if bits <= FEW_BITS else (16, 8)
    unit = np.float32(1 << bits) / TWO * peak / PEAK * UNIT_16  # over a clip, its scale times 2^16
    low = LOW_CLIP * min(GAUSSIAN_CLIP[bits], peak)
    high = max(HIGH_PEAK * peak, HIGH_CLIP * GAUSSIAN_CLIP[bits])
    top, shift, most = (1 << (bits - 1)) - 1, 0, unit / (HALF * low)
    while most * np.float32(2 << shift) <= MOST_16:
        shift += 1
    best: Int = 0
    best_clip, best_product, best_norm2 = ONE, 0.0, 1.0
    first, last, steps = low, high, coarse
    for _ in range(2):
        for i in range(steps):
            clip = first + (last - first) * np.float32(i) / np.float32(steps - 1)
            scale = np.int64(min(unit / clip * np.float32(1 << shift), MOST_16))
            product, norm2 = _try_clip(small, scale, shift, top, total)
            if product * product * best_norm2 > best_product * best_product * norm2:
                best, best_clip, best_product, best_norm2 = scale, clip, product, norm2
        step = (high - low) / np.float32(coarse - 1)
        inner = TWO * step / np.float32(fine + 1)
        first, last, steps = max(best_clip - step + inner, HALF * low), best_clip + step - inner, fine
    return best, shift


@jit
def _choose_rows(residuals: np.ndarray, bits: Int, codes: np.ndarray) -> None:
    """The unsigned codes u of every residual: distances from the sign boundary, mirrored below it."""
    dim, half = residuals.shape[1], 1 << (bits - 1)
    small, wide = np.empty(dim, dtype=np.int16), np.float32(dim)
    squares, sizes = np.empty(LANES, dtype=np.float32), np.empty(LANES, dtype=np.float32)
    for i in range(len(residuals)):
        o, peak, scale, shift = residuals[i], ZERO, 0, 0
        for j in range(LANES):
            squares[j] = sizes[j] = ZERO
        for j in range(dim):
            squares[j % LANES] += o[j] * o[j]
            sizes[j % LANES] += abs(o[j])
            peak = max(peak, abs(o[j]))
        for j in range(dim):
            small[j] = 0
        norm2 = fold(squares)
        if bits > 1 and 0 < norm2 < np.inf:
            to_16_bits(o, PEAK / peak, small)
            over_mean = min(max(peak / np.sqrt(norm2 / wide), ONE), np.sqrt(wide))
            total = np.float64(fold(sizes)) * np.float64(PEAK / peak)
            scale, shift = _best_scale(small, bits, over_mean, total)
        for j in range(dim):
            level = _grid_level(small[j], scale, shift, half - 1)
            codes[i, j] = half + level if o[j] > ZERO else half - 1 - level


class RabitqCodec(Codec):
    """1..8 bits a dim on a uniform grid; the signs are the symbols."""

    def __init__(self, dim: int, bits: int) -> None:
        require(dim > 0 and dim % DIM_MULTIPLE == 0 and 1 <= bits <= 8, "rabitq: dim or bits out of range")
        self.dim, self.symbols, self._bits = dim, dim // 4, bits
        self.extra_bytes = plane_bytes(dim, bits - 1)
        self.coder = Coder(RABITQ, bits, 0, False, False, NO_PARTS, NO_TABLES)

    def _code(self, residuals: np.ndarray) -> Coded:
        n, bits = len(residuals), self._bits
        codes = np.empty(residuals.shape, dtype=np.uint8)
        _choose_rows(residuals, bits, codes)
        extra, none = np.empty((n, self.extra_bytes), dtype=np.uint8), np.zeros(n, dtype=np.float32)
        if bits > 1:
            pack_rows(codes, bits - 1, extra)
        positive = codes >> np.uint8(bits - 1)
        signs = positive.astype(np.float32) - HALF
        symbols = np.packbits(positive, axis=1, bitorder="little")
        return Coded(symbols, extra, signs, signs if bits == 1 else self._direction(codes), none, none)

    def _unpack(self, symbols: np.ndarray, extra: np.ndarray) -> np.ndarray:
        levels: np.ndarray = np.unpackbits(symbols, axis=1, bitorder="little") << np.uint8(self._bits - 1)
        if self._bits > 1:
            low = np.empty_like(levels)
            unpack_rows(extra, self._bits - 1, low)
            levels |= low
        return levels

    def _direction(self, levels: np.ndarray) -> np.ndarray:
        center = np.float32((1 << self._bits) - 1) / TWO
        y: np.ndarray = levels.astype(np.float32) - center
        return y


@jit_part
def prepare_rabitq(q: np.ndarray, bits: Int, out: Query) -> None:
    """Fills `out` for the transformed and centred query q."""
    query_sum = ZERO
    for x in q:
        query_sum += x
    lowest, widest = subset_sums(q, out.table)
    round_tables(widest, out)
    out.scalars[SUM], out.scalars[OFFSET] = query_sum, lowest - HALF * query_sum
    out.scalars[FULL_NOISE] = out.scalars[FIRST_NOISE]
    if bits > 1:
        _quantize_query(q, bits, query_sum, out)


@jit
def subset_sums(q: np.ndarray, table: np.ndarray) -> tuple[Float, Float]:
    """The 16 subset sums of each 4 values above their least; (sum of all negative values, largest range of a group)."""
    lowest, widest = ZERO, ZERO
    for g in range(len(q) // 4):
        negative, positive = ZERO, ZERO
        for i in range(4):
            x = q[4 * g + i]
            if x < ZERO:
                negative += x
            else:
                positive += x
        table[16 * g] = ZERO - negative
        for bit in range(4):
            for m in range(1 << bit):
                table[16 * g + (1 << bit) + m] = table[16 * g + m] + q[4 * g + bit]
        lowest += negative
        widest = max(widest, positive - negative)
    return lowest, widest


@jit_part
def _quantize_query(q: np.ndarray, bits: Int, query_sum: Float, out: Query) -> None:
    """Eight bits with the sign serve codes of up to 5 bits, two int8 halves the others; sums are about their middle.

    The signs, which weigh most, meet the query in 16 bits.
    """
    peak = ZERO
    for x in q:
        peak = max(peak, abs(x))
    top = LARGEST_14 if bits > PLAIN_QUERY_BITS else LARGEST_7
    out.scalars[QUERY_SCALE] = peak / top
    inverse = top / peak if peak > ZERO else ZERO
    rounded_sum: Int = 0
    for j in range(len(q)):
        value = np.int64(np.rint(q[j] * inverse))
        rounded_sum += value
        high = (value + 64) >> 7 if bits > PLAIN_QUERY_BITS else value
        out.halves[0, j] = high
        out.halves[1, j] = value - 128 * high if bits > PLAIN_QUERY_BITS else 0
    if bits % 2 == 0:  # the extra bits end in a 1-bit plane
        nibble_sums(out.halves[0], out.sums[0])
        nibble_sums(out.halves[1], out.sums[1])
    finest = min(PEAK, MOST_SUM_31 / np.float32(len(q)))
    out.scalars[FINE_SCALE] = peak / finest
    to_16_bits(q, finest / peak if peak > ZERO else ZERO, out.rounded)
    nibble_sums(out.rounded, out.fine)
    half = np.float32(1 << (bits - 1))
    middle, scale = (half - ONE) / TWO, out.scalars[QUERY_SCALE]
    out.scalars[FULL_OFFSET] = middle * (query_sum - scale * np.float32(rounded_sum)) - (half - HALF) * query_sum
    out.scalars[FULL_NOISE] = scale * half * np.sqrt(np.float32(len(q)) / HUNDRED_TWENTY)


@jit_part
def full_dot_rabitq(
    query: Query, bits: Int, codes: np.ndarray, lane_byte: Int, lane_shift: Int, extra: np.ndarray
) -> Float:
    """<y, q'> of all bits of one vector, in units of the B-bit grid."""
    signs, byte, shift, entry = 0, np.uintp(lane_byte), np.uintp(lane_shift), np.uintp(0)
    for _ in range(len(query.fine) // 16):
        signs += query.fine[entry + (np.uintp(codes[entry + byte]) >> shift & U15)]
        entry += U16
    planes = np.float32(dot_planes(bits - 1, extra, query.halves[0], query.sums[0]))
    if bits > PLAIN_QUERY_BITS:
        planes = HIGH_UNIT * planes + np.float32(dot_planes(bits - 1, extra, query.halves[1], query.sums[1]))
    half = np.float32(1 << (bits - 1))
    sign_dot = query.scalars[FINE_SCALE] * np.float32(signs)
    return half * sign_dot + query.scalars[QUERY_SCALE] * planes + query.scalars[FULL_OFFSET]
