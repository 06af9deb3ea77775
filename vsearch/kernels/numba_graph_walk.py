"""The graph walk (csrc/index/graph.cpp, candidate_pool.hpp): what it reads and writes, and its steps.

The decisions are those of the compiled core in the same order: which entry vertices a walk begins with, which candidate
is next, when the pool is tidied, that a vertex is chosen before its predecessor's neighbours are known. So both visit
the same vertices, but where rounding decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import INNER_PRODUCT, L2, Bool, Float, Int, jit, jit_part
from vsearch.kernels.numba_codec import OFFSET, SCALE, SUM, Coder, Query
from vsearch.kernels.numba_codes import BLOCK, lane_byte, pair_table
from vsearch.kernels.numba_distance import Rows, Scorer, dot, half_to_float, new_scorer, score, widen_row
from vsearch.kernels.numba_query import new_query, prepare_query, transform_query
from vsearch.kernels.numba_topk import close, push, threshold
from vsearch.kernels.numba_transform import QueryMap

STARTS = 4  # entry vertices that a walk begins with
TIDY = 128  # candidates from which forgetting the far ones pays
ROOM = 2048  # candidates that a pool has room for before it grows
NONE = -1
MATCH_SHARE = 3  # a match scored directly costs about a third of a visit

ZERO, ONE, TWO, LOW_HALF = np.float32(0), np.float32(1), np.float32(2), np.uint32(0xFFFF)
INFINITY, MAGNITUDE = np.float32(np.inf), np.int32(0x7FFFFFFF)


class Blocks(NamedTuple):
    """Rows that hold blocks of neighbours, as bytes and the same as uint16 and uint32."""

    codes: np.ndarray
    halves: np.ndarray
    words: np.ndarray


class Layout(NamedTuple):
    """Of a row: bytes before its blocks, of a block, blocks, symbols of a code."""

    vector_bytes: int
    block_bytes: int
    blocks: int
    symbols: int


class GraphArrays(NamedTuple):
    """Everything of an index that a search reads; n slots are in use."""

    n: int
    metric: int
    layout: Layout
    coder: Coder
    query_map: QueryMap
    mean: np.ndarray
    rows: Rows
    blocks: Blocks
    entries: Blocks
    ids: np.ndarray
    lifts: np.ndarray  # of stored vectors under ip, or empty
    add_scale: Float
    rescale_scale: Float
    reach2: Float


class Search(NamedTuple):
    """Of one call; `filter` is empty where there is none."""

    effort: Float
    most: int
    filtered: bool
    filter: np.ndarray
    few: bool  # matches: score them one by one


class Work(NamedTuple):
    """Scratch of one thread."""

    lifted: np.ndarray
    rotated: np.ndarray
    query: Query
    pairs: np.ndarray
    sums: np.ndarray
    bounds: np.ndarray
    starts: np.ndarray  # keys of the entry vertices
    keys: np.ndarray  # of the pool: distances as integers of the same order
    slots: np.ndarray
    seen: np.ndarray  # by slot: the stamp of the query that visited it last
    waiting: np.ndarray
    scores: np.ndarray
    codes: np.ndarray
    row: np.ndarray
    counts: np.ndarray  # by the names below


STAMP, VISITED, ENTERED = range(3)


def new_work(x: GraphArrays) -> Work:
    """Scratch for walks over these arrays."""
    dim, padded = x.rows.dim, len(x.mean)
    return Work(
        lifted=np.zeros(dim + 1, dtype=np.float32),
        rotated=np.empty(padded, dtype=np.float32),
        query=new_query(x.coder, x.layout.symbols),
        pairs=np.empty((x.layout.symbols, 256), dtype=np.uint32),
        sums=np.empty(16, dtype=np.uint32),
        bounds=np.empty(BLOCK, dtype=np.float32),
        starts=np.empty(len(x.entries.codes) * BLOCK, dtype=np.int32),
        keys=np.empty(ROOM, dtype=np.int32),
        slots=np.empty(ROOM, dtype=np.int64),
        seen=np.zeros(x.n, dtype=np.uint8),
        waiting=np.empty(BLOCK, dtype=np.int64),
        scores=np.empty(BLOCK, dtype=np.float32),
        codes=np.empty(dim, dtype=np.int16),
        row=np.empty(dim, dtype=np.float32),
        counts=np.zeros(3, dtype=np.int64),
    )


def matches_are_few(matches: int, k: int, most: int, n: int) -> bool:
    """Whether scoring the matches of a filter one by one costs less than walking to enough of them.

    A walk that wants `most` visits meets a match in n / matches, and makes that many times more of them.
    """
    return matches <= k or float(matches) * matches <= MATCH_SHARE * float(most) * n


# ------------------------------------------------------------------------------------------------------------- the pool


@jit_part
def _key(distance: Float) -> Int:
    """The bits of a float as an integer of the same order: minima of integers are found 8 at a time, of floats not."""
    bits = np.float32(distance).view(np.int32)
    return np.int32(bits ^ (np.int32(bits >> np.int32(31)) & MAGNITUDE))


@jit_part
def _distance(key: Int) -> Float:
    return np.int32(key ^ (np.int32(key >> np.int32(31)) & MAGNITUDE)).view(np.float32)


@jit
def _first_least(keys: np.ndarray, size: Int) -> Int:
    """Where the first of the least of some keys is."""
    least = keys[0]
    for i in range(1, size):
        least = min(least, keys[i])
    at = 0
    while keys[at] != least:
        at += 1
    return at


@jit_part
def _grown(values: np.ndarray, size: Int) -> np.ndarray:
    """The same values with twice the room."""
    out = np.empty(2 * len(values), dtype=values.dtype)
    for i in range(size):
        out[i] = values[i]
    return out


@jit_part
def _tidy(keys: np.ndarray, slots: np.ndarray, size: Int, limit: Float) -> Int:
    """Forgets candidates that are not below `limit`; how many are left."""
    kept = 0
    for i in range(size):
        keys[kept], slots[kept] = keys[i], slots[i]
        kept += 1 if _distance(keys[i]) < limit else 0
    return kept


# ------------------------------------------------------------------------------------------------------------- blocks


@jit_part
def _block_sums(codes: np.ndarray, pairs: np.ndarray, sums: np.ndarray) -> None:
    for j in range(16):
        sums[j] = 0
    for g in range(len(pairs)):
        table = pairs[g]
        for j in range(16):
            sums[j] += table[codes[16 * g + j]]


@jit_part
def _estimate(
    codes: np.ndarray,
    halves: np.ndarray,
    shifted: Bool,
    pairs: np.ndarray,
    sums: np.ndarray,
    scalars: np.ndarray,
    add_scale: Float,
    rescale_scale: Float,
    bounds: np.ndarray,
) -> None:
    """Estimates of a block's 32 vertices, without what depends on the vector they were coded against."""
    _block_sums(codes, pairs, sums)
    scale, offset = scalars[SCALE], scalars[OFFSET]
    if not shifted:
        scale, offset = rescale_scale * scale, rescale_scale * offset
    for v in range(BLOCK):
        pair = sums[lane_byte(v)]
        product = scale * np.float32(np.int32(pair >> np.uint32(16) if v >= 16 else pair & LOW_HALF)) + offset
        add, rescale = add_scale * half_to_float(halves[v]), half_to_float(halves[v + BLOCK])
        if shifted:  # a grid that is not centred on zero
            add += rescale_scale * scalars[SUM] * half_to_float(halves[v + 2 * BLOCK])
            rescale *= rescale_scale
        bounds[v] = add + rescale * product


@jit_part
def _estimate_block(x: GraphArrays, blocks: Blocks, row: Int, first: Int, w: Work) -> np.ndarray:
    """Fills w.bounds from the block at byte `first` of a row, and returns the slots of its vertices."""
    begin, end = first + 16 * x.layout.symbols, first + x.layout.block_bytes
    codes, halves = blocks.codes[row, first:begin], blocks.halves[row, begin // 2 : end // 2]
    shifted = x.coder.shifted
    _estimate(codes, halves, shifted, w.pairs, w.sums, w.query.scalars, x.add_scale, x.rescale_scale, w.bounds)
    return blocks.words[row, end // 4 - BLOCK : end // 4]


@jit_part
def _enter(slots: np.ndarray, base: Float, limit: Float, w: Work, keys: np.ndarray, out: np.ndarray, size: Int) -> Int:
    """Puts what a block says of its 32 vertices into the pool; `base` is the squared distance of the query to what they
    were coded against. Returns the size of the pool.
    """
    bounds, seen, stamp, below = w.bounds, w.seen, w.counts[STAMP], limit - base
    before = size
    for v in range(BLOCK):
        if bounds[v] < below and seen[slots[v]] != stamp:
            keys[size], out[size] = _key(bounds[v] + base), slots[v]
            size += 1
    w.counts[ENTERED] += size - before
    return size


# ------------------------------------------------------------------------------------------------------------- the walk


@jit_part
def _passes(bitmap: np.ndarray, slot: Int) -> Bool:
    return bitmap[slot >> 3] >> (slot & 7) & 1 != 0


@jit_part
def _prepare(x: GraphArrays, query: np.ndarray, lift: Float, w: Work) -> tuple[Float, Float]:
    """Rotates a query and builds its tables; (its squared length, that of what it is from the mean)."""
    length2, norm2 = ZERO, ZERO
    if x.metric == INNER_PRODUCT:
        for j in range(len(query)):
            w.lifted[j] = query[j]
        w.lifted[len(query)] = lift
        length2 = dot(w.lifted, w.lifted)
        transform_query(w.lifted, x.query_map, w.rotated)
    else:
        transform_query(query, x.query_map, w.rotated)
    for j in range(len(w.rotated)):
        w.rotated[j] -= x.mean[j]
    norm2 = dot(w.rotated, w.rotated)
    prepare_query(w.rotated, x.coder, w.query)
    pair_table(w.query.lut, w.pairs)
    if w.counts[STAMP] == 255:
        for i in range(len(w.seen)):
            w.seen[i] = 0
        w.counts[STAMP] = 0
    w.counts[STAMP] += 1
    return length2, norm2


@jit_part
def _start(x: GraphArrays, norm2: Float, w: Work, keys: np.ndarray, slots: np.ndarray) -> Int:
    """Puts the nearest few of the entry vertices into the pool; its size."""
    blocks = len(x.entries.codes)
    if blocks <= 1:
        if blocks == 0:
            return 0
        return _enter(_estimate_block(x, x.entries, 0, 0, w), norm2, INFINITY, w, keys, slots, 0)
    for b in range(blocks):
        _estimate_block(x, x.entries, b, 0, w)
        for v in range(BLOCK):
            w.starts[b * BLOCK + v] = _key(w.bounds[v])
    for i in range(STARTS):
        at = _first_least(w.starts, len(w.starts))
        words = x.entries.words[at // BLOCK]
        keys[i], slots[i] = _key(_distance(w.starts[at]) + norm2), words[len(words) - BLOCK + at % BLOCK]
        w.starts[at] = _key(INFINITY)
    return STARTS


@jit_part
def _fetch_next(keys: np.ndarray, slots: np.ndarray, size: Int, limit: Float, w: Work) -> tuple[Int, Int]:
    """Takes the nearest candidate that was not visited out of the pool; (its slot or NONE, the size of the pool)."""
    while size > 0:
        at = _first_least(keys, size)
        slot = slots[at]
        if not _distance(keys[at]) < limit:
            return NONE, size
        size -= 1
        keys[at], slots[at] = keys[size], slots[size]
        if w.seen[slot] != w.counts[STAMP]:
            w.seen[slot] = w.counts[STAMP]
            return slot, size
    return NONE, size


@jit_part
def walk(
    x: GraphArrays,
    search: Search,
    query: np.ndarray,
    lift: Float,
    scorer: Scorer,
    w: Work,
    distances: np.ndarray,
    ids: np.ndarray,
    visited: np.ndarray,
) -> tuple[Int, Int]:
    """One search from the entry vertices on; (entries of the heap in `distances` and `ids`, visits).

    `visited` gets the slots that were visited, as many as it has room for. `lift` is the query's own further coordinate
    under ip: 0, but for a stored vector that the builder looks for.
    """
    length2, norm2 = _prepare(x, query, lift, w)
    scale = ONE if x.metric == L2 else TWO
    shift, least = ZERO, ZERO
    if x.metric == INNER_PRODUCT:
        shift = length2 + x.reach2
        least = shift - TWO * np.sqrt(length2 * x.reach2)
    limit, heap, visits, pending, tidy_at = INFINITY, 0, 0, NONE, TIDY
    keys, slots = w.keys, w.slots
    size = _start(x, norm2, w, keys, slots)
    while True:
        slot = pending  # its row would be on its way while the next is chosen
        pending, size = _fetch_next(keys, slots, size, limit, w)
        if slot == NONE:
            if pending == NONE:
                break
            continue
        if visits >= search.most:
            break
        if visits < len(visited):
            visited[visits] = slot
        visits += 1
        w.waiting[0] = slot
        score(x.rows, w.waiting, 0, 1, x.metric, scorer, w.scores)
        distance = w.scores[0]
        if not search.filtered or _passes(search.filter, slot):
            heap = push(distances, ids, heap, distance, x.ids[slot])
        base = shift + scale * distance
        if lift != ZERO:
            base -= TWO * lift * x.lifts[slot]
        limit = least + (shift + scale * threshold(distances, heap) - least) * search.effort
        if size >= tidy_at:
            size = _tidy(keys, slots, size, limit)
            tidy_at = max(TIDY, 2 * size)
        for b in range(x.layout.blocks):
            if size + BLOCK > len(keys):
                keys, slots = _grown(keys, size), _grown(slots, size)
            found = _estimate_block(x, x.blocks, slot, x.layout.vector_bytes + b * x.layout.block_bytes, w)
            size = _enter(found, base, limit, w, keys, slots, size)
    w.counts[VISITED] += visits
    return heap, visits


@jit_part
def _scan_matches(
    x: GraphArrays, search: Search, scorer: Scorer, w: Work, distances: np.ndarray, ids: np.ndarray
) -> Int:
    """Scores every match of the filter; entries of the heap."""
    heap = 0
    for slot in range(x.n):
        if _passes(search.filter, slot):
            w.waiting[0] = slot
            score(x.rows, w.waiting, 0, 1, x.metric, scorer, w.scores)
            heap = push(distances, ids, heap, w.scores[0], x.ids[slot])
    return heap


NO_VISITS = np.empty(0, dtype=np.int64)


@jit
def search_queries(
    x: GraphArrays,
    search: Search,
    queries: np.ndarray,
    first: Int,
    last: Int,
    w: Work,
    distances: np.ndarray,
    ids: np.ndarray,
    visited: np.ndarray,
) -> None:
    """Fills rows first .. last - 1 of the answer, and the counts of what was done; `visited` is empty."""
    for i in range(first, last):
        scorer = new_scorer(x.rows, queries[i], w.codes, w.row)
        if search.few:
            heap = _scan_matches(x, search, scorer, w, distances[i], ids[i])
        else:
            heap = walk(x, search, queries[i], ZERO, scorer, w, distances[i], ids[i], visited)[0]
        close(distances[i], ids[i], heap)


@jit_part
def read_vector(rows: Rows, lifts: np.ndarray, slot: Int, out: np.ndarray) -> None:
    """A stored vector as floats, and where there are lifts its own as one more."""
    widen_row(rows, slot, out)
    if len(lifts) > 0:
        out[rows.dim] = lifts[slot]


@jit
def collect(
    x: GraphArrays, search: Search, k: Int, first: Int, last: Int, w: Work, vector: np.ndarray, visited: np.ndarray
) -> None:
    """visited[i] = the slots that a search for stored vector first + i visits, NONE where there are no more."""
    distances, ids = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
    for i in range(last - first):
        read_vector(x.rows, x.lifts, first + i, vector)
        query, lift = vector[: x.rows.dim], vector[x.rows.dim] if len(x.lifts) > 0 else ZERO
        scorer = new_scorer(x.rows, query, w.codes, w.row)
        visits = walk(x, search, query, lift, scorer, w, distances, ids, visited[i])[1]
        for j in range(visits, visited.shape[1]):
            visited[i, j] = NONE
