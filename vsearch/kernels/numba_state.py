"""What the IVF walk reads and writes: the arrays of an index, the options of a search, and the scratch of a thread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Float, Int, frozen, jit_part
from vsearch.kernels.numba_coarse import Coarse, Probed, new_probed
from vsearch.kernels.numba_codec import ZERO, Coder, Query
from vsearch.kernels.numba_codes import BLOCK, TILE
from vsearch.kernels.numba_distance import Rows, half_to_float
from vsearch.kernels.numba_query import new_query
from vsearch.kernels.numba_transform import QueryMap

FLUSH_SIZE = 256  # survivors held back before they are looked at

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
    norms: np.ndarray  # |q'|^2 and <q, P mean>
    query: Query
    pairs: np.ndarray
    sums: np.ndarray  # of the leading symbols, and of all
    factors: np.ndarray  # add (the shift's share in it) and rescale of a block
    probed: Probed
    codes: np.ndarray
    row: np.ndarray
    queue: Queue


class Best(NamedTuple):
    """The heap of one query, in its rows of the answer."""

    distances: np.ndarray
    ids: np.ndarray


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
        factors=np.empty((2, BLOCK), dtype=np.float32),
        probed=new_probed(lists, padded, min(probes, lists)),
        codes=np.empty(dim, dtype=np.int16),
        row=np.empty(dim, dtype=np.float32),
        queue=Queue(bounds, slots, positions, sorted_bounds, order, waiting, distances, np.zeros(6, dtype=np.int64)),
    )


@jit_part
def _stored_factor(codes: Codes, i: Int, block: Int, lane: Int) -> Float:
    """A factor as its block holds it, in f32 or in 16 bits; of a compact index also what its blocks do not hold."""
    at, first = BLOCK * codes.columns[i] + lane, 4 * codes.symbols
    if not codes.compact:
        return np.uint32(codes.words[block, first + at]).view(np.float32)
    if codes.columns[i] < 0:
        return codes.table[LOW + i]
    pair = codes.words[block, first + (at >> 1)] >> np.uint32(16 * (at & 1)) & np.uint32(0xFFFF)
    step = codes.table[STEP + i]
    if step < ZERO:
        return codes.table[LOW + i] - step * half_to_float(np.uint16(pair))
    return codes.table[LOW + i] + step * np.float32(pair)


@jit_part
def block_factors(codes: Codes, block: Int, query_sum: Float, out: np.ndarray) -> None:
    """add and rescale of the symbols of a block's vectors; what the constant of a grid adds joins `add`."""
    table = codes.table
    for v in range(BLOCK):
        out[ADD, v] = _stored_factor(codes, ADD, block, v)
    for v in range(BLOCK):
        if table[ROOT] != ZERO:
            out[RESCALE, v] = table[ROOT] * np.sqrt(max(table[NORM2] + table[NORM2_ADD] * out[ADD, v], ZERO))
        else:
            out[RESCALE, v] = _stored_factor(codes, RESCALE, block, v) * table[RATIO]
    if codes.columns[SHIFT] >= 0:
        for v in range(BLOCK):
            out[ADD, v] += query_sum * _stored_factor(codes, SHIFT, block, v)


@jit_part
def full_factors(codes: Codes, slot: Int, position: Int, query_sum: Float) -> tuple[Float, Float]:
    """add with the shift's share, and rescale, of the whole code of one vector."""
    add, rescale, shift = ZERO, ZERO, ZERO
    for i in range(3):
        if codes.columns[i] < 0 and not codes.compact:
            continue
        if codes.factor_bytes > 0:  # rows of any length: byte by byte
            bits, at = np.uint32(0), 4 * codes.columns[i]
            for b in range(4):
                bits |= np.uint32(codes.extra[slot, at + b]) << np.uint32(8 * b)
            factor = np.uint32(bits).view(np.float32)
        else:
            factor = _stored_factor(codes, i, position >> 5, position & 31)
        if i == ADD:
            add = factor
        elif i == RESCALE:
            rescale = factor
        else:
            shift = factor
    return add + shift * query_sum, rescale
