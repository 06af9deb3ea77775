"""A query from its transform to the products of survivors, for every kind of codec (csrc/quantize/levels_query.cpp)."""

from __future__ import annotations

import math

import numpy as np

from vsearch.kernels.numba_base import Float, Int, jit_part
from vsearch.kernels.numba_codec import (
    BEGIN,
    BITS,
    CODE,
    DOT_CENTER,
    DOT_MIDDLE,
    DOT_STEP,
    ENERGY,
    EXTRA,
    FIRST_TILT,
    FULL_NOISE,
    FULL_TILT,
    HALF,
    LEAD_OFFSET,
    LEAD_REACH,
    LENGTH,
    OFFSET,
    PREFIX,
    PREFIX_LEVEL,
    RABITQ,
    SCALARS,
    SUM,
    SYMBOL,
    TABLE,
    WEIGHT,
    ZERO,
    Coder,
    Parts,
    Query,
    round_tables,
    rounded_off,
    to_16_bits,
)
from vsearch.kernels.numba_codes import CHUNK
from vsearch.kernels.numba_rabitq import full_dot_rabitq, prepare_rabitq, subset_sums
from vsearch.kernels.numba_rotation import rotate
from vsearch.kernels.numba_table_codec import full_dot_tables, new_entries, prepare_tables
from vsearch.kernels.numba_transform import MATRIX, ROTATION, QueryMap, multiply

UNIT = 16  # dims of an extra word
REACH = np.float32(1.25)  # over the root mean square length of a segment's code
ONE = np.float32(1)
AWAY, SHORTEST, LONGEST = 8.0, 2.0**-40, 2.0**60  # times the mean's length, and lengths whose squares float32 holds
MOST, MOST_SUM = np.float32(16383), np.float32(1048576)  # of a rounded query; times levels of 2047 below 2^31


@jit_part
def transform_query(x: np.ndarray, through: QueryMap, out: np.ndarray) -> None:
    """One query, x (dim,) to out (padded,)."""
    if through.kind == ROTATION:
        rotate(x, through.flips, through.span, out)
    elif through.kind == MATRIX:
        multiply(through.matrix, x, out)
    else:
        out[: len(x)] = x
        out[len(x) :] = 0


@jit_part
def query_scale(norm2: Float, weighed2: Float, along: Float, squares: np.ndarray) -> Float:
    """How many times as long a query is searched under ip (csrc/index/query_length.hpp), a power of two: its |q|^2,
    the same and <q, mean> with weighed coordinates, and `squares` of numba_coarse.py, in float64.
    """
    norm, spread, reach = math.sqrt(norm2), math.sqrt(squares[2]), math.sqrt(max(squares[0], squares[2]))
    if not (ZERO < norm < math.inf and reach < math.inf and weighed2 > ZERO):
        return ONE
    longer = AWAY * math.sqrt(squares[1] / weighed2)
    if along > ZERO:
        longer = min(longer, squares[1] / along)
    length = min(max(longer * norm, spread, SHORTEST), LONGEST)
    if reach > ZERO:
        length = min(length, LONGEST * LONGEST / reach)
    exponent = math.frexp(1.5 * (length / norm))[1] - 1
    return np.float32(math.ldexp(1.0, min(max(exponent, -126), 126)))


def new_query(coder: Coder, symbols: int) -> Query:
    """Room for a query; a kind that does not use an array has none of it."""
    rabitq = coder.kind == RABITQ and coder.bits > 1
    fine = 16 * symbols if rabitq else 0
    wide = -(-4 * symbols // CHUNK) * CHUNK if rabitq else 0
    coded = int(coder.parts.layout[:, LENGTH].sum())
    return Query(
        table=np.empty(16 * symbols, dtype=np.float32),
        lut=np.empty(16 * symbols, dtype=np.uint8),
        fine=np.empty(fine, dtype=np.int32),
        rounded=np.empty(fine // 4 + coded, dtype=np.int16),
        unit=np.empty((len(coder.parts.layout), 2), dtype=np.float32),
        halves=np.zeros((2, wide), dtype=np.int8),
        sums=np.empty((2, 4 * wide), dtype=np.int16),
        weighted=np.empty(2 * coded, dtype=np.float32),
        entries=new_entries(coder.tables),
        scalars=np.zeros(SCALARS, dtype=np.float32),
    )


@jit_part
def prepare_query(q: np.ndarray, coder: Coder, out: Query) -> None:
    """Fills `out` for the transformed and centred query q."""
    out.scalars[FIRST_TILT] = out.scalars[FULL_TILT] = ONE
    if coder.kind == RABITQ:
        prepare_rabitq(q, coder.bits, out)
    elif coder.kind == TABLE:
        prepare_tables(q, coder.tables, out)
    else:
        _prepare_levels(q, coder, out)


@jit_part
def full_dot(query: Query, coder: Coder, codes: np.ndarray, byte: Int, shift: Int, extra: np.ndarray) -> Float:
    """<y, q'> of all of a code, from the vector's lane in its block and its extra bytes."""
    if coder.kind == RABITQ:
        return full_dot_rabitq(query, coder.bits, codes, byte, shift, extra)
    if coder.kind == TABLE:
        return full_dot_tables(query, coder.tables, codes, byte, shift, extra)
    return _full_dot_levels(query, coder.parts, codes, byte, shift, extra)


@jit_part
def _build_part(parts: Parts, p: Int, out: Query) -> tuple[Float, Float]:
    """The tables of one segment; (sum of each symbol's smallest entry, which they leave out, their widest range)."""
    first, length, prefix = parts.layout[p, CODE], parts.layout[p, LENGTH], parts.layout[p, PREFIX]
    q, at = out.weighted[first : first + length], 16 * parts.layout[p, SYMBOL]
    level = parts.values[p, PREFIX_LEVEL:]
    low, widest = ZERO, ZERO
    if prefix == 1:
        total, steps = ZERO, out.weighted[len(out.weighted) // 2 :][:length]
        for j in range(length):
            steps[j] = (level[1] - level[0]) * q[j]
            total += q[j]
        low, widest = subset_sums(steps, out.table[at:])
        return low + level[0] * total, widest
    for g in range(length * prefix // 4):
        table = out.table[at + 16 * g : at + 16 * g + 16]
        for m in range(16):
            if prefix == 2:
                table[m] = level[m & 3] * q[2 * g] + level[m >> 2] * q[2 * g + 1]
            else:
                table[m] = level[m] * q[g]
        smallest, largest = table[0], table[0]
        for m in range(16):
            smallest, largest = min(smallest, table[m]), max(largest, table[m])
        widest = max(widest, largest - smallest)
        for m in range(16):
            table[m] -= smallest
        low += smallest
    return low, widest


@jit_part
def _prepare_levels(q: np.ndarray, coder: Coder, out: Query) -> None:
    parts, s = coder.parts, out.scalars
    query_sum, widest = ZERO, ZERO
    if coder.shifted:
        for x in q:
            query_sum += x
    s[SUM] = query_sum
    s[OFFSET] = s[LEAD_OFFSET] = s[LEAD_REACH] = s[FULL_NOISE] = ZERO
    for p in range(len(parts.layout)):
        begin, first, energy = parts.layout[p, BEGIN], parts.layout[p, CODE], ZERO
        for j in range(parts.layout[p, LENGTH]):
            value = parts.values[p, WEIGHT] * q[begin + j]
            out.weighted[first + j] = value
            energy += value * value
        low, range_ = _build_part(parts, p, out)
        widest = max(widest, range_)
        s[OFFSET] += low
        _round_part(parts, p, out)
        if parts.layout[p, SYMBOL] < coder.lead:
            s[LEAD_OFFSET] += low
        else:
            s[LEAD_REACH] += REACH * np.sqrt(energy * parts.values[p, ENERGY] * np.float32(parts.layout[p, LENGTH]))
    round_tables(widest, out)
    of_lead = rounded_off(out, 0, coder.lead)
    s[LEAD_OFFSET] += of_lead
    s[OFFSET] += of_lead + rounded_off(out, coder.lead, len(out.table) // 16)
    if len(parts.profile) > 0:
        _tilt(q, parts.profile, s)


@jit_part
def _tilt(q: np.ndarray, profile: np.ndarray, scalars: np.ndarray) -> None:
    """The error that a query meets over the mean one, of the symbols and of whole codes."""
    norm2, first, full = ZERO, ZERO, ZERO
    for j in range(len(q)):
        square = q[j] * q[j]
        norm2 += square
        first += square * profile[0, j]
        full += square * profile[1, j]
    if norm2 > ZERO:
        scalars[FIRST_TILT], scalars[FULL_TILT] = np.sqrt(first / norm2), np.sqrt(full / norm2)


@jit_part
def _round_part(parts: Parts, p: Int, out: Query) -> None:
    """The coordinates that a segment's survivors meet, in 15 bits or as many as keep the sums in 32."""
    first, length = parts.layout[p, CODE], parts.layout[p, LENGTH]
    q, peak, total, sum_ = out.weighted[first : first + length], ZERO, ZERO, ZERO
    for x in q:
        size = abs(x)
        peak = max(peak, size)
        total += size
        sum_ += x
    factor = min(MOST / peak, (MOST_SUM - HALF * np.float32(length)) / total) if peak > ZERO else ZERO
    rounded, whole = out.rounded[first : first + length], np.int64(0)
    to_16_bits(q, factor, rounded)
    for x in rounded:
        whole += np.int64(x)
    scale = parts.values[p, DOT_STEP] / factor if factor > ZERO else ZERO
    middle, center = parts.values[p, DOT_MIDDLE] * sum_, scale * parts.values[p, DOT_CENTER]
    out.unit[p, 0], out.unit[p, 1] = scale, middle - center * np.float32(whole)


@jit_part
def _dot_part(
    parts: Parts, p: Int, rounded: np.ndarray, codes: np.ndarray, byte: Int, shift: Int, extra: np.ndarray
) -> Int:
    """The products of a segment's rounded levels, from the symbol's share and a bit of each word, and coordinates."""
    layout, level = parts.layout[p], parts.whole[p]
    prefix, rest, row, word = layout[PREFIX], layout[BITS] - layout[PREFIX], 16 * layout[SYMBOL] + byte, layout[EXTRA]
    mask, per = (1 << prefix) - 1, 4 // prefix
    total: Int = 0
    for j in range(layout[LENGTH]):
        r = j & (UNIT - 1)
        symbol = np.int64(codes[row + 16 * (j // per)]) >> shift
        u = (symbol >> (j % per * prefix) & mask) << rest
        for b in range(rest):
            u |= (np.int64(extra[word + 2 * b + (r >> 3)]) >> (r & 7) & 1) << b
        total += np.int64(level[u]) * np.int64(rounded[layout[CODE] + j])
        if r == UNIT - 1:
            word += 2 * rest
    return total


@jit_part
def _full_dot_levels(query: Query, parts: Parts, codes: np.ndarray, byte: Int, shift: Int, extra: np.ndarray) -> Float:
    dot = ZERO
    for p in range(len(parts.layout)):
        total = _dot_part(parts, p, query.rounded, codes, byte, shift, extra)
        dot += query.unit[p, 0] * np.float32(total) + query.unit[p, 1]
    return dot
