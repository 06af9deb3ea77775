"""The graph walk (csrc/index/graph.cpp): what it reads and writes, and its steps.

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
from vsearch.kernels.numba_pace import Pace, allowed
from vsearch.kernels.numba_pool import NONE, TIDY, distance_of, first_least, grown, key_of, nearest, tidy
from vsearch.kernels.numba_query import new_query, prepare_query, transform_query
from vsearch.kernels.numba_topk import close, push, threshold
from vsearch.kernels.numba_transform import QueryMap

STARTS = 4  # entry vertices that a walk begins with
LENGTHENED = np.float32(4)  # queries under ip, over the longest vector
ROOM = 2048  # candidates that a pool has room for before it grows
MATCH_SHARE = 3  # a match scored directly costs about a third of a visit

ZERO, ONE, TWO, LOW_HALF = np.float32(0), np.float32(1), np.float32(2), np.uint32(0xFFFF)
INFINITY = np.float32(np.inf)


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
    shown: int  # slots from here on are walked through and not returned
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
    scales: tuple[Float, Float]  # of what is stored of add and rescale
    reach2: Float


class Search(NamedTuple):
    """Of one call; `filter` is empty where there is none."""

    effort: Float
    most: int
    pace: Pace
    filtered: bool
    filter: np.ndarray
    few: bool  # matches: score them one by one
    there: int  # how many there are to return


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
    scales: tuple[Float, Float],
    bounds: np.ndarray,
) -> None:
    """Estimates of a block's 32 vertices, without what depends on the vector they were coded against."""
    _block_sums(codes, pairs, sums)
    add_scale, rescale_scale = scales
    scale, offset = scalars[SCALE], scalars[OFFSET]
    if not shifted:
        scale, offset = rescale_scale * scale, rescale_scale * offset
    for v in range(16):
        pair = sums[lane_byte(v)]
        bounds[v], bounds[v + 16] = np.float32(np.int32(pair & LOW_HALF)), np.float32(np.int32(pair >> np.uint32(16)))
    for v in range(BLOCK):
        product = scale * bounds[v] + offset
        add, rescale = add_scale * half_to_float(halves[v]), half_to_float(halves[v + BLOCK])
        if shifted:  # a grid that is not centred on zero
            add += rescale_scale * scalars[SUM] * half_to_float(halves[v + 2 * BLOCK])
            rescale *= rescale_scale
        bounds[v] = add + rescale * product


@jit_part
def _enter_row(
    codes: np.ndarray,
    halves: np.ndarray,
    words: np.ndarray,
    layout: Layout,
    shifted: Bool,
    pairs: np.ndarray,
    sums: np.ndarray,
    scalars: np.ndarray,
    scales: tuple[Float, Float],
    bounds: np.ndarray,
    seen: np.ndarray,
    stamp: Int,
    base: Float,
    limit: Float,
    keys: np.ndarray,
    out: np.ndarray,
    size: Int,
) -> Int:
    """Puts what the blocks of a row say of their vertices into the pool; `base` is the squared distance of the query to
    what they were coded against. Returns the size of the pool. Takes arrays and not their groups: a call a visit must
    not count the references of all.
    """
    below = limit - base
    for b in range(layout.blocks):
        first = layout.vector_bytes + b * layout.block_bytes
        begin, end = first + 16 * layout.symbols, first + layout.block_bytes
        _estimate(codes[first:begin], halves[begin // 2 :], shifted, pairs, sums, scalars, scales, bounds)
        for v in range(BLOCK):
            slot = np.int64(words[end // 4 - BLOCK + v])
            if bounds[v] < below and seen[slot] != stamp:
                keys[size], out[size] = key_of(bounds[v] + base), slot
                size += 1
    return size


# ------------------------------------------------------------------------------------------------------------- the walk


@jit_part
def passes(bitmap: np.ndarray, slot: Int) -> Bool:
    return bitmap[slot >> 3] >> (slot & 7) & 1 != 0


@jit_part
def _prepare(x: GraphArrays, query: np.ndarray, stored: Bool, lift: Float, w: Work) -> tuple[Float, Float, Float]:
    """Rotates a query and builds its tables; (its squared length, that of what it is from the mean, its stretch).

    Under ip queries are made LENGTHENED times as long as the longest vector: it changes no order, and the error of an
    estimate of <q, x> falls in proportion to |q - x| / |q|.
    """
    length2, longer = ZERO, ONE
    if x.metric == INNER_PRODUCT:
        for j in range(len(query)):
            w.lifted[j] = query[j]
        w.lifted[len(query)] = lift
        length2 = dot(w.lifted, w.lifted)
        if not stored and length2 > ZERO and x.reach2 > ZERO:
            longer = LENGTHENED * np.sqrt(x.reach2 / length2)
            for j in range(len(query)):
                w.lifted[j] *= longer
            length2 *= longer * longer
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
    return length2, norm2, longer


@jit_part
def _begin(x: GraphArrays, norm2: Float, w: Work, keys: np.ndarray, slots: np.ndarray) -> Int:
    """Puts the nearest few of the entry vertices into the pool; its size."""
    blocks, layout, s, stamp = x.entries, x.layout, w.query.scalars, w.counts[STAMP]
    layout = Layout(0, layout.block_bytes, 1, layout.symbols)
    count, shifted = len(blocks.codes), x.coder.shifted
    if count == 1:
        codes, halves, words = blocks.codes[0], blocks.halves[0], blocks.words[0]
        size = _enter_row(
            codes, halves, words, layout, shifted, w.pairs, w.sums, s, x.scales, w.bounds,
            w.seen, stamp, norm2, INFINITY, keys, slots, 0,
        )  # fmt: skip
        w.counts[ENTERED] += size
        return size
    for b in range(count):
        codes, halves = blocks.codes[b], blocks.halves[b, 8 * layout.symbols :]
        _estimate(codes[: 16 * layout.symbols], halves, shifted, w.pairs, w.sums, s, x.scales, w.bounds)
        for v in range(BLOCK):
            w.starts[b * BLOCK + v] = key_of(w.bounds[v])
    return _start(blocks.words, w.starts, STARTS, norm2, INFINITY, w.seen, stamp, keys, slots)


@jit_part
def _start(
    entries: np.ndarray,
    starts: np.ndarray,
    count: Int,
    norm2: Float,
    limit: Float,
    seen: np.ndarray,
    stamp: Int,
    keys: np.ndarray,
    slots: np.ndarray,
) -> Int:
    """Puts the nearest of the entry vertices that were not put there before into the empty pool, `count` of those below
    the limit and not visited; its size.
    """
    size = 0
    if len(starts) <= BLOCK:  # all of them began
        return size
    while size < count:
        at = first_least(starts, len(starts))
        estimated = distance_of(starts[at]) + norm2
        if not estimated < limit:
            break
        starts[at] = key_of(INFINITY)
        slot = np.int64(entries[at // BLOCK, entries.shape[1] - BLOCK + at % BLOCK])
        if seen[slot] != stamp:
            keys[size], slots[size] = key_of(estimated), slot
            size += 1
    return size


@jit_part
def _fetch_next(
    keys: np.ndarray, slots: np.ndarray, size: Int, taken: Int, limit: Float, seen: np.ndarray, stamp: Int
) -> tuple[Int, Int]:
    """Takes the nearest candidate out of the pool, from which `taken` was taken last; (its slot or NONE, the size of
    the pool, 0 where there is nothing but what was taken).
    """
    at = nearest(keys, slots, size, taken)
    if at == NONE:
        return NONE, 0
    if not distance_of(keys[at]) < limit:
        return NONE, size
    seen[slots[at]] = stamp
    return slots[at], size


@jit_part
def _walk(
    x: GraphArrays,
    search: Search,
    query: np.ndarray,
    stored: Bool,
    lift: Float,
    scorer: Scorer,
    w: Work,
    distances: np.ndarray,
    ids: np.ndarray,
    visited: np.ndarray,
) -> Int:
    """One search from the entry vertices on; how many entries the heap in `distances` and `ids` has.

    `visited` gets the slots that were visited, as many as it has room for, and NONE from there on. `lift` is the
    further coordinate under ip of a stored vector that the builder looks for; queries have 0.
    """
    length2, norm2, longer = _prepare(x, query, stored, lift, w)
    scale = ONE if x.metric == L2 else TWO * longer
    shift, least = ZERO, ZERO
    if x.metric == INNER_PRODUCT:
        shift = length2 + x.reach2
        least = shift - TWO * np.sqrt(length2 * x.reach2)
    limit, heap, visits, pending, tidy_at = INFINITY, 0, 0, NONE, TIDY
    known, effort, most = np.float32(-INFINITY), search.effort, search.most
    keys, slots, seen, stamp, entered = w.keys, w.slots, w.seen, w.counts[STAMP], 0
    size = _begin(x, norm2, w, keys, slots)
    while True:
        slot = pending  # its row would be on its way while the next is chosen
        pending, size = _fetch_next(keys, slots, size, slot, limit, seen, stamp)
        while size == 0 and pending == NONE:  # a closed group of equals, say: there may be more elsewhere
            size = _start(x.entries.words, w.starts, BLOCK, norm2, limit, seen, stamp, keys, slots)
            if size == 0:
                break
            pending, size = _fetch_next(keys, slots, size, slot, limit, seen, stamp)
        if slot == NONE:
            if pending == NONE:
                break
            continue
        if visits >= most:
            break
        if visits < len(visited):
            visited[visits] = slot
        visits += 1
        w.waiting[0] = slot
        score(x.rows, w.waiting, 0, 1, x.metric, scorer, w.scores)
        distance = w.scores[0]
        if lift != ZERO:
            distance -= lift * x.lifts[slot]
        if slot < x.shown and (not search.filtered or passes(search.filter, slot)):
            heap = push(distances, ids, heap, distance, x.ids[slot])
        base = shift + scale * distance
        farthest = shift + scale * threshold(distances, heap) - least
        if farthest != known:
            known = farthest
            effort, most = allowed(search.pace, search.effort, search.most, farthest)
        limit = least + farthest * effort
        size, tidy_at = tidy(keys, slots, size, limit, max(0, most - visits), tidy_at)
        if size + BLOCK * x.layout.blocks > len(keys):
            keys, slots = grown(keys, size), grown(slots, size)
        before = size
        size = _enter_row(
            x.blocks.codes[slot], x.blocks.halves[slot], x.blocks.words[slot], x.layout, x.coder.shifted,
            w.pairs, w.sums, w.query.scalars, x.scales, w.bounds, seen, stamp, base, limit, keys, slots, size,
        )  # fmt: skip
        entered += size - before
    for i in range(visits, len(visited)):
        visited[i] = NONE
    w.counts[VISITED] += visits
    w.counts[ENTERED] += entered
    return heap


@jit_part
def _scan(x: GraphArrays, search: Search, scorer: Scorer, w: Work, distances: np.ndarray, ids: np.ndarray) -> Int:
    """Scores all that may be returned; entries of the heap."""
    heap = 0
    for slot in range(x.shown):
        if not search.filtered or passes(search.filter, slot):
            w.waiting[0] = slot
            score(x.rows, w.waiting, 0, 1, x.metric, scorer, w.scores)
            heap = push(distances, ids, heap, w.scores[0], x.ids[slot])
    return heap


@jit
def search_queries(
    x: GraphArrays,
    search: Search,
    queries: np.ndarray,
    lifts: np.ndarray,
    first: Int,
    last: Int,
    w: Work,
    distances: np.ndarray,
    ids: np.ndarray,
    visited: np.ndarray,
) -> None:
    """Fills rows first .. last - 1 of the answer and of `visited`, and the counts of what was done.

    Builders search for stored vectors, of which each has its lift; others give none, and a `visited` of one empty row.
    """
    stored = len(lifts) > 0
    for i in range(first, last):
        scorer = new_scorer(x.rows, queries[i], w.codes, w.row)
        if search.few:
            heap = _scan(x, search, scorer, w, distances[i], ids[i])
        else:
            lift = lifts[i] if stored else ZERO
            seen = visited[min(i, len(visited) - 1)]
            heap = _walk(x, search, queries[i], stored, lift, scorer, w, distances[i], ids[i], seen)
            if heap < min(len(distances[i]), search.there):  # the rest lies where no walk leads, or beyond its visits
                heap = _scan(x, search, scorer, w, distances[i], ids[i])
        close(distances[i], ids[i], heap)


@jit_part
def read_vector(rows: Rows, lifts: np.ndarray, slot: Int, out: np.ndarray) -> None:
    """A stored vector as floats, and where there are lifts its own as one more."""
    widen_row(rows, slot, out)
    if len(lifts) > 0:
        out[rows.dim] = lifts[slot]
