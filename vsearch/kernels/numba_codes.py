"""Packed codes: lanes of blocks (csrc/quantize/block.hpp), planes of 1, 2 and 4 bits (planes.hpp), and their sums.

FastScan without a byte shuffle: the two nibbles of a code byte are looked up at once, in a table of 256 pairs of 16-bit
sums for each symbol. The table is 1 KB a symbol, so blocks are scanned TILE at a time while one symbol's part is in L1.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import Int, array, jit, jit_part, require

BLOCK = 32
CHUNK = 64
TILE = 8
U4, U8, U15, U16, U32, U48 = (np.uintp(i) for i in (4, 8, 15, 16, 32, 48))


def block_bytes(symbols: int, columns: int, factor_size: int) -> int:
    """Bytes of a block of 32 codes with their columns of factors and their slots."""
    return symbols * 16 + BLOCK * (columns * factor_size + 4)


def plane_bytes(dim: int, bits: int) -> int:
    """Bytes of a code of `bits` bits a dim."""
    return -(-dim // CHUNK) * 8 * bits


@jit
def lane_byte(v: Int) -> Int:
    """Byte of a group's row that holds vector v."""
    low = v & 15
    return 2 * low if low < 8 else 2 * (low - 8) + 1


@jit_part
def lane_shift(v: Int) -> Int:
    """Shift of vector v's nibble in its byte."""
    return 0 if v < 16 else 4


@jit
def _write_lanes(blocks: np.ndarray, positions: np.ndarray, symbols: np.ndarray) -> None:
    for i in range(len(positions)):
        block = blocks[positions[i] >> 5]
        byte, shift = lane_byte(positions[i] & 31), lane_shift(positions[i] & 31)
        for g in range(2 * symbols.shape[1]):
            nibble = (symbols[i, g >> 1] >> ((g & 1) * 4)) & 15
            block[g * 16 + byte] = (block[g * 16 + byte] & ~(15 << shift)) | (nibble << shift)


@jit
def _read_lanes(blocks: np.ndarray, positions: np.ndarray, symbols: np.ndarray) -> None:
    for i in range(len(positions)):
        block = blocks[positions[i] >> 5]
        byte, shift = lane_byte(positions[i] & 31), lane_shift(positions[i] & 31)
        for s in range(symbols.shape[1]):
            low, high = block[s * 32 + byte], block[s * 32 + 16 + byte]
            symbols[i, s] = ((low >> shift) & 15) | (((high >> shift) & 15) << 4)


@jit
def pack_planes(values: np.ndarray, bits: Int, code: np.ndarray) -> None:
    """Writes the low `bits` bits of each value; dims beyond the last in the last chunk become 0."""
    for i in range(len(code)):
        code[i] = 0
    for j in range(len(values)):
        at, r = (j >> 6) * 8 * bits, j & 63
        shift = 0
        while shift < bits:
            width = 4 if bits - shift >= 4 else 2 if bits - shift >= 2 else 1
            part = (values[j] >> shift) & ((1 << width) - 1)
            if width == 1:
                code[at + (r >> 3)] |= part << (r & 7)
            else:
                code[at + r % (8 * width)] |= part << (r // (8 * width) * width)
            at += 8 * width
            shift += width


@jit
def unpack_planes(code: np.ndarray, bits: Int, values: np.ndarray) -> None:
    """Reads what `pack_planes` wrote."""
    for j in range(len(values)):
        at, r = (j >> 6) * 8 * bits, j & 63
        value: Int = 0
        shift = 0
        while shift < bits:
            width = 4 if bits - shift >= 4 else 2 if bits - shift >= 2 else 1
            if width == 1:
                part = np.int64(code[at + (r >> 3)]) >> (r & 7)
            else:
                part = np.int64(code[at + r % (8 * width)]) >> (r // (8 * width) * width)
            value |= (part & ((1 << width) - 1)) << shift
            at += 8 * width
            shift += width
        values[j] = value


@jit
def pack_rows(values: np.ndarray, bits: Int, codes: np.ndarray) -> None:
    """`pack_planes` of every row."""
    for i in range(len(values)):
        pack_planes(values[i], bits, codes[i])


@jit
def unpack_rows(codes: np.ndarray, bits: Int, values: np.ndarray) -> None:
    """`unpack_planes` of every row."""
    for i in range(len(codes)):
        unpack_planes(codes[i], bits, values[i])


@jit
def nibble_sums(query: np.ndarray, sums: np.ndarray) -> None:
    """sums[16 g + m] = sum of the query[4 g + i] with bit i of m set: what four bits of a 1-bit plane add."""
    for g in range(len(query) // 4):
        sums[16 * g] = 0
        for bit in range(4):
            for m in range(1 << bit):
                sums[16 * g + (1 << bit) + m] = sums[16 * g + m] + query[4 * g + bit]


@jit
def dot_planes(bits: Int, code: np.ndarray, query: np.ndarray, sums: np.ndarray) -> Int:
    """sum_j code_j * query_j over whole chunks; `query` int8, padded with zeros, `sums` its nibble_sums for odd widths.

    Indices are unsigned: a negative one would count from the end, and a loop that allows for it is half as fast.
    """
    fours, twos, ones = bits >> 2, bits >> 1 & 1, bits & 1
    total: Int = 0
    at, q = np.uintp(0), np.uintp(0)
    for _ in range(len(query) // CHUNK):
        for shift in range(0, 4 * fours, 4):
            part = np.int32(0)
            for i in range(U32):
                byte = np.int32(code[at + i])
                low, high = np.int32((byte & 15) * query[q + i]), np.int32((byte >> 4) * query[q + i + U32])
                part = np.int32(part + low + high)
            total += np.int64(part) << shift
            at += U32
        if twos:
            part = np.int32(0)
            for i in range(U16):
                byte = np.int32(code[at + i])
                low = np.int32((byte & 3) * query[q + i]) + np.int32((byte >> 2 & 3) * query[q + i + U16])
                high = np.int32((byte >> 4 & 3) * query[q + i + U32]) + np.int32((byte >> 6) * query[q + i + U48])
                part = np.int32(part + low + high)
            total += np.int64(part) << (4 * fours)
            at += U16
        if ones:
            part = np.int32(0)
            for i in range(U8):
                pair, entry = np.uintp(code[at + i]), U4 * q + U32 * i
                part = np.int32(part + sums[entry + (pair & U15)] + sums[entry + U16 + (pair >> U4)])
            total += np.int64(part) << (4 * fours + 2 * twos)
            at += U8
        q += np.uintp(CHUNK)
    return total


@jit
def pair_table(lut: np.ndarray, pairs: np.ndarray) -> None:
    """pairs[g, byte] = lut[16 g + low nibble] | lut[16 g + high nibble] << 16."""
    for g in range(len(pairs)):
        for high in range(16):
            top = np.uint32(lut[16 * g + high]) << np.uint32(16)
            for low in range(16):
                pairs[g, 16 * high + low] = top | np.uint32(lut[16 * g + low])


@jit
def fastscan(
    blocks: np.ndarray, first: Int, count: Int, pairs: np.ndarray, begin: Int, end: Int, sums: np.ndarray
) -> None:
    """Adds symbols begin .. end - 1 of `count` <= TILE blocks to sums[b, j]: byte j's two vectors.

    The low nibble's sum is in the low 16 bits, which all symbols fit.
    """
    for g in range(begin, end):
        table = pairs[g]
        for b in range(count):
            codes = blocks[first + b, 16 * g : 16 * g + 16]
            for j in range(16):
                sums[b, j] += table[codes[j]]


def _check_positions(blocks: np.ndarray, wide: int, positions: np.ndarray) -> None:
    require(blocks.ndim == 2 and blocks.shape[1] == wide, "blocks: wrong shape")
    inside = positions.size == 0 or (positions.min() >= 0 and positions.max() < len(blocks) * BLOCK)
    require(bool(inside), "blocks: position out of range")


def _tails(blocks: np.ndarray, symbols: int, columns: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the factors (blocks, columns, 32, size) and slots (blocks, 32), as views."""
    factors = blocks[:, 16 * symbols : -4 * BLOCK].reshape(len(blocks), columns, BLOCK, size)
    return factors, blocks[:, -4 * BLOCK :].view(np.uint32)


def write_blocks(
    blocks: np.ndarray,
    positions: np.ndarray,
    slots: np.ndarray,
    symbols: np.ndarray,
    factors: np.ndarray,
    factor_size: int,
) -> None:
    """Writes symbols (n, symbols / 2), factors (bytes, n rows of columns * factor_size) and slots into their lanes."""
    positions, slots = array(positions, np.int64), array(slots, np.uint32)
    symbols, factors = array(symbols, np.uint8), array(factors, np.uint8)
    if blocks.dtype != np.uint8 or not blocks.flags.c_contiguous or not blocks.flags.writeable:
        raise TypeError("vsearch.kernels.fallback: blocks must be a writable C-contiguous uint8 array")
    require(symbols.ndim == 2 and factors.ndim == 2 and factor_size > 0, "write_blocks: wrong shape")
    require(factors.shape[1] % factor_size == 0, "write_blocks: wrong shape")
    count, columns = 2 * symbols.shape[1], factors.shape[1] // factor_size
    _check_positions(blocks, block_bytes(count, columns, factor_size), positions)
    require({len(slots), len(symbols), len(factors)} == {len(positions)}, "write_blocks: wrong shape")
    _write_lanes(blocks, positions, symbols)
    tail, slot = _tails(blocks, count, columns, factor_size)
    block, lane = positions >> 5, positions & 31
    tail[block, :, lane] = factors.reshape(len(factors), columns, factor_size)
    slot[block, lane] = slots


def read_blocks(
    blocks: np.ndarray, symbols: int, columns: int, factor_size: int, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(slots, symbols, factors) of the lanes at `positions`, as `write_blocks` takes them."""
    blocks, positions = array(blocks, np.uint8), array(positions, np.int64)
    _check_positions(blocks, block_bytes(symbols, columns, factor_size), positions)
    rows = np.empty((len(positions), symbols // 2), dtype=np.uint8)
    _read_lanes(blocks, positions, rows)
    tail, slot = _tails(blocks, symbols, columns, factor_size)
    block, lane = positions >> 5, positions & 31
    return slot[block, lane], rows, tail[block, :, lane].reshape(len(positions), columns * factor_size)
