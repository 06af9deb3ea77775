"""What the IVF walk reads and writes: the arrays of an index, the options of a search, and the scratch of a thread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Bool, Float, Int, frozen, jit_part
from vsearch.kernels.numba_coarse import Coarse, Probed, new_probed
from vsearch.kernels.numba_codec import ZERO, Coder, Query
from vsearch.kernels.numba_codes import BLOCK, TILE
from vsearch.kernels.numba_distance import Rows, half_to_float
from vsearch.kernels.numba_query import new_query
from vsearch.kernels.numba_transform import QueryMap

FLUSH_SIZE = 256  # survivors held back before they are looked at
RANK_SAMPLE = 32  # values that tell about which rank another has
PRIME_BLOCKS = 256  # whose bounds are kept at the start of a query

# What `counts` holds: entries of the heap and of the queue, rows that wait, and what the search did.
HEAP, QUEUE, WAITING, SCANNED, SURVIVORS, REFINED = range(6)


class Codes(NamedTuple):
    """Blocks and extra bits; `words` are the same bytes as uint32."""

    coder: Coder
    symbols: int
    exact: bool  # whether survivors are estimated again before anything else
    blocks: np.ndarray
    words: np.ndarray
    extra: np.ndarray
    columns: tuple[int, int, int]  # of add, rescale and shift in a block, or -1
    factor_bytes: int  # before the extra bits of a row
    compact: bool
    table: np.ndarray  # how a compact index's factors are read, by the names below
    first_spread: Float
    full_spread: Float


ADD, RESCALE, SHIFT = range(3)
# In `table`, of a compact index: column i is entry LOW + i plus STEP + i times what is stored (minus it times the
# stored f16 where it is negative), or the former alone where nothing is. The rescale of the symbols is RATIO times that
# of the whole code or, where ROOT is not 0, ROOT times |o|, with |o|^2 = NORM2 + NORM2_ADD * add; WOBBLE is the
# standard deviation of its relative error.
LOW, STEP, RATIO, ROOT, NORM2, NORM2_ADD, WOBBLE = 0, 3, 6, 7, 8, 9, 10
PLAIN_TABLE = frozen(np.array([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], dtype=np.float32))


class Stored(NamedTuple):
    """Ids and stored rows by slot."""

    metric: int
    ids: np.ndarray
    there: bool
    rows: Rows


class Lists(NamedTuple):
    """Where the vectors of a list are, and the list of every vector (csrc/index/ivf.hpp)."""

    block: np.ndarray
    size: np.ndarray
    block_list: np.ndarray
    position: np.ndarray


class IvfArrays(NamedTuple):
    """Everything of an index that a search reads; n slots are in use."""

    n: int
    codes: Codes
    stored: Stored
    lists: Lists
    coarse: Coarse
    query_map: QueryMap


class Options(NamedTuple):
    """Of one search; `filter` is empty where there is none."""

    epsilon: Float
    filtered: bool
    filter: np.ndarray
    few: bool  # matches: score them one by one


class Queue(NamedTuple):
    """Survivors of the first bound and room to sort them; slots that wait to be scored, their distances; the counts."""

    bounds: np.ndarray
    slots: np.ndarray
    positions: np.ndarray
    sorted_bounds: np.ndarray
    order: np.ndarray
    waiting: np.ndarray
    distances: np.ndarray
    counts: np.ndarray


class Work(NamedTuple):
    """Scratch of one thread."""

    rotated: np.ndarray
    norms: np.ndarray  # |q'|^2 and <longer q, P mean>
    query: Query
    pairs: np.ndarray
    sums: np.ndarray  # of the leading symbols, and of all
    factors: np.ndarray  # add (the shift's share in it), rescale and shift of a block
    probed: Probed
    codes: np.ndarray
    row: np.ndarray
    queue: Queue
    primed: np.ndarray  # bounds of the first blocks of a query
    least: np.ndarray  # the least of each of them
    sample: np.ndarray  # of these


class Best(NamedTuple):
    """The heap of one query, in its rows of the answer; its distances are `longer` times what they will be."""

    distances: np.ndarray
    ids: np.ndarray
    longer: Float


def new_work(x: IvfArrays, probes: int) -> Work:
    """Scratch for searches of at most `probes` lists."""
    lists, padded = x.coarse.centroids.shape
    room, dim = FLUSH_SIZE + BLOCK, x.stored.rows.dim
    bounds, sorted_bounds, distances = np.empty((3, room), dtype=np.float32)
    slots, positions, order, waiting = np.empty((4, room), dtype=np.int64)
    return Work(
        rotated=np.empty(padded, dtype=np.float32),
        norms=np.empty(2, dtype=np.float32),
        query=new_query(x.codes.coder, x.codes.symbols),
        pairs=np.empty((x.codes.symbols, 256), dtype=np.uint32),
        sums=np.empty((2, TILE, 16), dtype=np.uint32),
        factors=np.empty((3, BLOCK), dtype=np.float32),
        probed=new_probed(lists, padded, min(probes, lists)),
        codes=np.empty(dim, dtype=np.int16),
        row=np.empty(dim, dtype=np.float32),
        queue=Queue(bounds, slots, positions, sorted_bounds, order, waiting, distances, np.zeros(6, dtype=np.int64)),
        primed=np.empty((PRIME_BLOCKS, BLOCK), dtype=np.float32),
        least=np.empty(PRIME_BLOCKS, dtype=np.float32),
        sample=np.empty(RANK_SAMPLE, dtype=np.float32),
    )


@jit_part
def _compact_factor(pair: Int, odd: Int, low: Float, step: Float) -> Float:
    """A factor in 16 bits, the one or the other of a word."""
    stored = np.uint16(np.uint32(pair) >> np.uint32(16 * odd) & np.uint32(0xFFFF))
    return low - step * half_to_float(stored) if step < ZERO else low + step * np.float32(stored)


@jit_part
def _read_column(
    words: np.ndarray, block: Int, first: Int, column: Int, compact: Bool, low: Float, step: Float, out: np.ndarray
) -> None:
    """A column of factors, from word `first` of its block on."""
    if not compact:
        for v in range(BLOCK):
            out[v] = np.uint32(words[block, first + BLOCK * column + v]).view(np.float32)
    elif column < 0:
        for v in range(BLOCK):
            out[v] = low
    else:
        for v in range(BLOCK):
            pair = words[block, first + BLOCK // 2 * column + (v >> 1)]
            out[v] = _compact_factor(pair, v & 1, low, step)


@jit_part
def block_factors(
    words: np.ndarray,
    block: Int,
    first: Int,
    columns: tuple[int, int, int],
    compact: Bool,
    table: np.ndarray,
    query_sum: Float,
    add: np.ndarray,
    rescale: np.ndarray,
    shift: np.ndarray,
) -> None:
    """add and rescale of the symbols of a block's vectors; what the constant of a grid adds joins `add`.

    Takes arrays and not their groups: a call a block must not count the references of all.
    """
    _read_column(words, block, first, columns[ADD], compact, table[LOW + ADD], table[STEP + ADD], add)
    if table[ROOT] != ZERO:
        root, norm2, norm2_add = table[ROOT], table[NORM2], table[NORM2_ADD]
        for v in range(BLOCK):
            rescale[v] = root * np.sqrt(max(norm2 + norm2_add * add[v], ZERO))
    else:
        low, step, ratio = table[LOW + RESCALE], table[STEP + RESCALE], table[RATIO]
        _read_column(words, block, first, columns[RESCALE], compact, low, step, rescale)
        for v in range(BLOCK):
            rescale[v] *= ratio
    if columns[SHIFT] >= 0:
        _read_column(words, block, first, columns[SHIFT], compact, table[LOW + SHIFT], table[STEP + SHIFT], shift)
        for v in range(BLOCK):
            add[v] += query_sum * shift[v]


@jit_part
def full_factors(codes: Codes, slot: Int, position: Int, query_sum: Float) -> tuple[Float, Float]:
    """add with the shift's share, and rescale, of the whole code of one vector."""
    add, rescale, shift = ZERO, ZERO, ZERO
    block, lane = position >> 5, position & 31
    for i in range(3):
        column, factor = codes.columns[i], codes.table[LOW + i]
        if column >= 0 and codes.factor_bytes > 0:  # rows of any length: byte by byte
            bits = np.uint32(0)
            for b in range(4):
                bits |= np.uint32(codes.extra[slot, 4 * column + b]) << np.uint32(8 * b)
            factor = np.uint32(bits).view(np.float32)
        elif column >= 0 and codes.compact:
            pair = codes.words[block, 4 * codes.symbols + BLOCK // 2 * column + (lane >> 1)]
            factor = _compact_factor(pair, lane & 1, factor, codes.table[STEP + i])
        elif column >= 0:
            factor = np.uint32(codes.words[block, 4 * codes.symbols + BLOCK * column + lane]).view(np.float32)
        if i == ADD:
            add = factor
        elif i == RESCALE:
            rescale = factor
        else:
            shift = factor
    return add + shift * query_sum, rescale
