"""The kernels one by one: what tests compare with NumPy and benches measure (csrc/bindings/kernels.cpp, codes.cpp).

Those that a search is made of call its compiled functions; the rest is plain NumPy, for nothing here runs in a search.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import array as checked
from vsearch.kernels.numba_base import require
from vsearch.kernels.numba_codec import ZERO, quantize_u8
from vsearch.kernels.numba_codes import BLOCK, CHUNK, TILE, lane_byte, lane_shift, nibble_sums, pair_table, plane_bytes
from vsearch.kernels.numba_codes import dot_planes as dot_code
from vsearch.kernels.numba_codes import fastscan as scan_blocks
from vsearch.kernels.numba_codes import pack_planes as pack_code
from vsearch.kernels.numba_codes import unpack_planes as unpack_code
from vsearch.kernels.numba_distance import dot_int8
from vsearch.kernels.numba_rabitq import subset_sums
from vsearch.kernels.numba_rotation import fht as transform
from vsearch.kernels.numba_transform import DIM_MULTIPLE

PANEL = 16
MOST_BYTE = np.float32(255)


def fastscan(codes: np.ndarray, lut: np.ndarray) -> np.ndarray:
    """Sums of table entries, uint16 (blocks, 32); codes (blocks, groups * 16) in FastScan order, lut (groups, 16)."""
    codes, lut = checked(codes, np.uint8), checked(lut, np.uint8)
    require(codes.ndim == 2 and lut.ndim == 2 and lut.shape[1] == 16, "fastscan: wrong shape")
    require(codes.shape[1] == lut.size, "fastscan: wrong shape")
    require(len(lut) % 4 == 0 and len(lut) <= 257, "fastscan: groups must be a multiple of 4, at most 257")
    pairs = np.empty((len(lut), 256), dtype=np.uint32)
    pair_table(lut.reshape(-1), pairs)
    sums = np.empty((len(codes), BLOCK), dtype=np.uint16)
    some = np.empty((TILE, 16), dtype=np.uint32)
    at = [lane_byte(v) for v in range(16)]
    for first in range(0, len(codes), TILE):
        count = min(TILE, len(codes) - first)
        some[:] = 0
        scan_blocks(codes, first, count, pairs, 0, len(lut), some)
        lanes = some[:count, at]
        sums[first : first + count] = np.concatenate([lanes & 0xFFFF, lanes >> 16], axis=1)
    return sums


def dot_planes(bits: int, codes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Inner products, int32 (n,), of packed codes with an int8 query of whole chunks of 64."""
    codes, query = checked(codes, np.uint8), checked(query, np.int8)
    require(1 <= bits <= 8 and codes.ndim == 2 and query.ndim == 1, "dot_planes: wrong shape")
    require(len(query) % CHUNK == 0 and codes.shape[1] == plane_bytes(len(query), bits), "dot_planes: wrong shape")
    sums = np.empty(4 * len(query), dtype=np.int16)
    nibble_sums(query, sums)
    return np.fromiter((dot_code(bits, code, query, sums) for code in codes), dtype=np.int32, count=len(codes))


def pack_planes(bits: int, values: np.ndarray) -> np.ndarray:
    """Packed codes, uint8 (n, plane bytes), of values (n, d) below 2^bits."""
    values = checked(values, np.uint8)
    require(1 <= bits <= 8 and values.ndim == 2, "pack_planes: wrong shape")
    codes = np.empty((len(values), plane_bytes(values.shape[1], bits)), dtype=np.uint8)
    for row, code in zip(values, codes):
        pack_code(row, bits, code)
    return codes


def unpack_planes(bits: int, codes: np.ndarray, dim: int) -> np.ndarray:
    """The values, uint8 (n, dim), of packed codes."""
    codes = checked(codes, np.uint8)
    require(1 <= bits <= 8 and codes.ndim == 2, "unpack_planes: wrong shape")
    require(codes.shape[1] == plane_bytes(dim, bits), "unpack_planes: wrong shape")
    values = np.empty((len(codes), dim), dtype=np.uint8)
    for code, row in zip(codes, values):
        unpack_code(code, bits, row)
    return values


def _ones(words: np.ndarray) -> np.ndarray:
    """Set bits of each row."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1)
    return bits.sum(axis=1, dtype=np.uint32)


def popcount_planes(codes: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """sum_b 2^b * popcount(code & planes[b]), uint32 (n,), of codes (n, words) of 64 bits."""
    codes, planes = checked(codes, np.uint64), checked(planes, np.uint64)
    require(codes.ndim == 2 and planes.ndim == 2 and len(planes) <= 16, "popcount_planes: wrong shape")
    require(codes.shape[1] == planes.shape[1], "popcount_planes: wrong shape")
    sums = np.zeros(len(codes), dtype=np.uint32)
    for b, plane in enumerate(planes):
        sums += _ones(codes & plane) << np.uint32(b)
    return sums


def hamming(query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Bits in which codes (n, words) of 64 bits differ from the query, uint32 (n,)."""
    query, codes = checked(query, np.uint64), checked(codes, np.uint64)
    require(codes.ndim == 2 and query.ndim == 1 and codes.shape[1] == len(query), "hamming: wrong shape")
    return _ones(codes ^ query)


def lane_symbols(codes: np.ndarray, lane: int) -> np.ndarray:
    """The symbols of one lane of a block (groups, 16), two a byte."""
    codes = checked(codes, np.uint8)
    fits = codes.ndim == 2 and codes.shape[1] == 16 and len(codes) % 4 == 0 and 0 <= lane < BLOCK
    require(fits, "lane_symbols: wrong shape")
    symbols = codes[:, lane_byte(lane)] >> lane_shift(lane) & 15
    pairs: np.ndarray = symbols[::2] | symbols[1::2] << 4
    return pairs


def dot_bits(bits: np.ndarray, query: np.ndarray) -> int:
    """The sum of the int16 query where bits are set."""
    bits, query = checked(bits, np.uint8), checked(query, np.int16)
    fits = bits.ndim == 1 and query.ndim == 1 and len(query) % 16 == 0 and 8 * len(bits) == len(query)
    require(fits, "dot_bits: wrong shape")
    require(len(query) < 65536, "dot_bits: too long")
    return int(np.unpackbits(bits, bitorder="little") @ query.astype(np.int64))


def fht(x: np.ndarray) -> np.ndarray:
    """Walsh-Hadamard transforms of the rows, not normalised; their length a power of two."""
    x = checked(x, np.float32)
    require(x.ndim == 2 and x.shape[1] > 0, "fht: wrong shape")
    require(x.shape[1] & (x.shape[1] - 1) == 0, "fht: rows must have a power of two of values")
    out = np.array(x)
    for row in out:
        transform(row, 0, len(row))
    return out


def lookup_tables(query: np.ndarray) -> tuple[np.ndarray, float, float, np.ndarray]:
    """(subset sums (groups, 16), sum of the negative values, widest range of a group, the table in 8 bits)."""
    query = checked(query, np.float32)
    require(query.ndim == 1 and len(query) % DIM_MULTIPLE == 0, "lookup_tables: length must be a multiple of 16")
    table, small = np.empty(4 * len(query), dtype=np.float32), np.empty(4 * len(query), dtype=np.uint8)
    low, widest = subset_sums(query, table)
    quantize_u8(table, MOST_BYTE / np.float32(widest) if widest > 0 else ZERO, MOST_BYTE, small)
    return table.reshape(-1, 16), float(low), float(widest), small.reshape(-1, 16)


def select_below(values: np.ndarray, bound: float) -> np.ndarray:
    """Positions of the values below `bound`, uint32, ascending."""
    return np.flatnonzero(checked(values, np.float32).reshape(-1) < np.float32(bound)).astype(np.uint32)


def dot_i8(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products, int32, of int8 rows with an int16 query."""
    query, rows = checked(query, np.int16), checked(rows, np.int8)
    require(query.ndim == 1 and rows.ndim == 2 and len(query) == rows.shape[1], "dot_i8: wrong shape")
    return np.fromiter((dot_int8(row, query) for row in rows), dtype=np.int32, count=len(rows))


def dot_u7(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products, int32, of unsigned rows, at most 127, with an int8 query; the dimension a multiple of 32."""
    query, rows = checked(query, np.int8), checked(rows, np.uint8)
    require(query.ndim == 1 and rows.ndim == 2 and len(query) == rows.shape[1], "dot_u7: wrong shape")
    require(len(query) % 32 == 0, "dot_u7: wrong shape")
    dots: np.ndarray = rows.astype(np.int32) @ query.astype(np.int32)
    return dots


def dot_u4(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products, int32, of rows of 4-bit codes with an int8 query, whose dimension is a multiple of 64: byte b of
    each 32 holds dim b of its 64 in the lower nibble and dim b + 32 in the upper one.
    """
    query, rows = checked(query, np.int8), checked(rows, np.uint8)
    require(query.ndim == 1 and rows.ndim == 2 and len(query) == 2 * rows.shape[1], "dot_u4: wrong shape")
    require(len(query) % 64 == 0, "dot_u4: wrong shape")
    halves = rows.reshape(len(rows), -1, 1, 32)
    codes = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=2).reshape(len(rows), -1)
    dots: np.ndarray = codes.astype(np.int32) @ query.astype(np.int32)
    return dots


def tile(panel: np.ndarray, rows: np.ndarray, bias: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(row, query) pairs, uint32, where not bias + <row, query> < bounds; panel (d, 16)."""
    panel, rows, bias, bounds = (checked(part, np.float32) for part in (panel, rows, bias, bounds))
    require(panel.ndim == 2 and panel.shape[1] == PANEL and rows.ndim == 2, "tile: wrong shape")
    require(rows.shape[1] == len(panel) and len(bias) == len(rows) and len(bounds) == PANEL, "tile: wrong shape")
    return np.argwhere(~(bias[:, None] + rows @ panel < bounds)).astype(np.uint32)


def read_all(array: np.ndarray) -> int:
    """Reads every byte once and returns a sum over whole groups of eight 64-bit words: the yardstick of scans."""
    require(array.flags.c_contiguous, "array must be C-contiguous")
    words = array.reshape(-1).view(np.uint8)[: array.nbytes // 64 * 64].view(np.uint64)
    return int(words.sum(dtype=np.uint64))
