"""The walk of the compact graph (csrc/index/graph_compact.cpp): scores of codes, and the steps of a search.

The decisions are those of the compiled core in the same order, so that both visit the same vertices, but where rounding
decides. A vertex is scored once, so the pool of candidates has room for all and never grows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import COSINE, INNER_PRODUCT, Bool, Float, Int, jit, jit_part
from vsearch.kernels.numba_distance import Rows, dot_int8, new_scorer, score
from vsearch.kernels.numba_graph_walk import LENGTHENED, passes
from vsearch.kernels.numba_pace import Pace, allowed
from vsearch.kernels.numba_pool import NONE, TIDY, distance_of, first_least, key_of, nearest, tidy
from vsearch.kernels.numba_query import transform_query
from vsearch.kernels.numba_topk import close, push, threshold
from vsearch.kernels.numba_transform import QueryMap

STARTS, MORE_STARTS = 4, 32  # entry vertices that a walk begins with, and begins again with
GROUP = 64  # dims of 4 bits that lie together

ZERO, ONE, INFINITY = np.float32(0), np.float32(1), np.float32(np.inf)
SMALLEST_NORMAL = np.float32(np.finfo(np.float32).tiny)
INT16_MOST, INT8_MOST, EXACT = np.float32(32767), np.float32(127), np.float32(2147483647)


class Layout(NamedTuple):
    """Of a row: dims of 8 and of 4 bits, where its factors and its neighbours begin in units of 4 bytes, neighbours."""

    wide: int
    narrow: int
    factors_at: int
    lists_at: int
    degree: int


class CompactArrays(NamedTuple):
    """Everything of an index that a search reads; n slots are in use."""

    n: int
    shown: int  # slots from here on are walked through and not returned
    metric: int
    layout: Layout
    query_map: QueryMap
    mean: np.ndarray
    source: np.ndarray
    step: np.ndarray
    offset: np.ndarray
    codes: np.ndarray  # the rows, and the same as int8, float32 and uint32
    signed: np.ndarray
    floats: np.ndarray
    words: np.ndarray
    entries: np.ndarray
    ids: np.ndarray
    lifts: np.ndarray  # of stored vectors under ip, or empty
    reach2: Float
    refined: bool
    store: Rows


class Search(NamedTuple):
    """Of one call; `filter` is empty where there is none."""

    effort: Float
    most: int
    pace: Pace
    window: int  # of the best by their codes, how many the stored vectors decide among
    filtered: bool
    filter: np.ndarray
    few: bool  # matches: score them one by one
    there: int  # how many there are to return


class Work(NamedTuple):
    """Scratch of one thread."""

    centered: np.ndarray
    transformed: np.ndarray
    folded: np.ndarray
    wide: np.ndarray  # the query as integers
    narrow: np.ndarray
    scalars: np.ndarray  # float64, by the names below
    limits: np.ndarray  # float32, by the names below
    starts: np.ndarray  # keys of the entry vertices
    keys: np.ndarray  # of the pool: distances as integers of the same order
    slots: np.ndarray
    seen: np.ndarray  # by slot: the stamp of the query that scored it last
    gathered: np.ndarray
    scores: np.ndarray
    codes: np.ndarray  # of the query for int8 stored vectors
    row: np.ndarray
    counts: np.ndarray  # by the names below


BASE, CONSTANT, SUM, WIDE_SCALE, NARROW_SCALE, SMALLEST, LONGER = range(7)
LIMIT, LEAST, LIFT, EFFORT, KNOWN = range(5)
STAMP, VISITED, ENTERED, POOL, HEAP, WINDOW, TIDY_AT, MOST, TAKEN = range(9)


def new_work(x: CompactArrays, padded: int) -> Work:
    """Scratch for walks over these arrays, whose transform makes `padded` coordinates."""
    positions, most = len(x.source), max(x.layout.degree, len(x.entries), 1)
    return Work(
        centered=np.empty(len(x.mean), dtype=np.float32),
        transformed=np.empty(padded, dtype=np.float32),
        folded=np.empty(positions, dtype=np.float32),
        wide=np.empty(x.layout.wide, dtype=np.int16),
        narrow=np.empty(x.layout.narrow, dtype=np.int8),
        scalars=np.zeros(7, dtype=np.float64),
        limits=np.zeros(5, dtype=np.float32),
        starts=np.empty(max(len(x.entries), 1), dtype=np.int32),
        keys=np.empty(x.n + 1, dtype=np.int32),
        slots=np.empty(x.n + 1, dtype=np.int64),
        seen=np.zeros(x.n, dtype=np.uint8),
        gathered=np.empty(most, dtype=np.int64),
        scores=np.empty(most, dtype=np.float32),
        codes=np.empty(len(x.mean), dtype=np.int16),
        row=np.empty(len(x.mean), dtype=np.float32),
        counts=np.zeros(9, dtype=np.int64),
    )


# ------------------------------------------------------------------------------------------------------------- scores


@jit_part
def _round_to(values: np.ndarray, first: Int, top: Float, out: np.ndarray) -> Float:
    """Rounds some values to integers of at most `top`; what they are multiples of."""
    peak = ZERO
    for j in range(len(out)):
        peak = max(peak, abs(values[first + j]))
    scale = peak / top
    if not (scale >= SMALLEST_NORMAL and scale < INFINITY):  # vectors of nothing, or beyond all
        for j in range(len(out)):
            out[j] = 0
        return scale
    inverse = ONE / scale
    for j in range(len(out)):
        out[j] = np.int64(np.rint(max(-top, min(top, values[first + j] * inverse))))
    return scale


@jit
def _prepare(x: CompactArrays, query: np.ndarray, stored: Bool, lift: Float, w: Work) -> None:
    """One query in the form that the codes want; `lift` is that of a `stored` vector under ip. Other queries under ip
    are made LENGTHENED times as long as the longest vector: one much shorter would be lost in the mean."""
    base, norm2, length2, longer, s = 0.0, 0.0, np.float64(lift) * np.float64(lift), 1.0, w.scalars
    for j in range(len(query)):
        length2 += np.float64(query[j]) * np.float64(query[j])
    if x.metric == INNER_PRODUCT and not stored and length2 > 0.0 and x.reach2 > ZERO:
        longer = np.float64(LENGTHENED) * np.sqrt(np.float64(x.reach2) / length2)
    for j in range(len(query)):
        w.centered[j] = np.float32(longer * np.float64(query[j]) - np.float64(x.mean[j]))
        base -= longer * np.float64(query[j]) * np.float64(x.mean[j])
        norm2 += np.float64(w.centered[j]) * np.float64(w.centered[j])
    s[LONGER] = longer
    transform_query(w.centered, x.query_map, w.transformed)
    w.limits[LEAST], w.limits[LIFT], s[SMALLEST] = ZERO, lift, 0.0
    if x.metric == INNER_PRODUCT:
        w.limits[LEAST] = -np.float32(longer * np.sqrt(length2 * np.float64(x.reach2)))
        s[SMALLEST] = -np.inf
    else:
        base = 0.5 * norm2 if x.metric == COSINE else norm2
    total, constant = 0.0, 0.0
    for j in range(len(w.transformed)):
        total += np.float64(w.transformed[j])
    for p in range(len(x.source)):
        value = w.transformed[x.source[p]]
        w.folded[p] = value * x.step[p]
        constant += np.float64(value) * np.float64(x.offset[p])
    s[BASE], s[SUM], s[CONSTANT] = base, total, constant
    if x.layout.wide > 0:  # the largest at which a dot product stays exact in int32
        top = min(INT16_MOST, np.floor(EXACT / (np.float32(128) * np.float32(x.layout.wide))) - ONE)
        s[WIDE_SCALE] = _round_to(w.folded, 0, top, w.wide)
    if x.layout.narrow > 0:
        s[NARROW_SCALE] = _round_to(w.folded, x.layout.wide, INT8_MOST, w.narrow)


@jit
def _dot_nibbles(row: np.ndarray, first: Int, query: np.ndarray) -> Int:
    total = np.int32(0)
    for j in range(len(query) // 2):
        pair, at = np.int32(row[first + j]), j // 32 * GROUP + j % 32
        total += np.int32(query[at]) * (pair & np.int32(15)) + np.int32(query[at + 32]) * (pair >> np.int32(4))
    return total


@jit
def _score(x: CompactArrays, slots: np.ndarray, n: Int, w: Work) -> None:
    """Scores of vertices to w.scores; of a vector that is looked for under ip with its lift."""
    layout, s, at = x.layout, w.scalars, x.layout.factors_at
    for i in range(n):
        slot = slots[i]
        product = s[CONSTANT]
        if layout.wide > 0:
            product += s[WIDE_SCALE] * dot_int8(x.signed[slot], w.wide)
        if layout.narrow > 0:
            product += s[NARROW_SCALE] * _dot_nibbles(x.codes[slot], layout.wide, w.narrow)
        factors = x.floats[slot]
        value = s[BASE] + factors[at] + factors[at + 1] * product + factors[at + 2] * s[SUM]
        w.scores[i] = np.float32(s[SMALLEST] if value < s[SMALLEST] else value)
        if w.limits[LIFT] != ZERO:
            w.scores[i] -= w.limits[LIFT] * x.lifts[slot]


# ------------------------------------------------------------------------------------------------------------- the walk


@jit_part
def _keep(
    x: CompactArrays, search: Search, slot: Int, value: Float, w: Work,
    distances: np.ndarray, ids: np.ndarray, window: np.ndarray, held: np.ndarray,
) -> None:  # fmt: skip
    """Offers a scored vertex to the answer, and where there are stored vectors to those that they decide among."""
    if slot >= x.shown or (search.filtered and not passes(search.filter, slot)):
        return
    w.counts[HEAP] = push(distances, ids, w.counts[HEAP], value, x.ids[slot])
    if x.refined:
        w.counts[WINDOW] = push(window, held, w.counts[WINDOW], value, slot)


@jit_part
def _set_limit(search: Search, w: Work, distances: np.ndarray) -> None:
    least = w.limits[LEAST]
    farthest = threshold(distances, w.counts[HEAP]) - least
    if farthest != w.limits[KNOWN]:
        w.limits[KNOWN] = farthest
        w.limits[EFFORT], w.counts[MOST] = allowed(search.pace, search.effort, search.most, farthest)
    w.limits[LIMIT] = least + farthest * w.limits[EFFORT]


@jit_part
def _put(w: Work, value: Float, slot: Int) -> None:
    w.keys[w.counts[POOL]], w.slots[w.counts[POOL]] = key_of(value), slot
    w.counts[POOL] += 1
    w.counts[ENTERED] += 1


@jit
def _start(
    x: CompactArrays, search: Search, count: Int, w: Work,
    distances: np.ndarray, ids: np.ndarray, window: np.ndarray, held: np.ndarray,
) -> Bool:  # fmt: skip
    """Puts the nearest of the entry vertices that were not scored into the pool, those below the limit; whether any."""
    done, stamp = 0, np.uint8(w.counts[STAMP])
    while done < count and len(x.entries) > 0:
        at = first_least(w.starts, len(w.starts))
        value = distance_of(w.starts[at])
        if not value < w.limits[LIMIT]:
            break
        w.starts[at] = key_of(INFINITY)
        slot = np.int64(x.entries[at])
        if w.seen[slot] != stamp:
            w.seen[slot] = stamp
            _keep(x, search, slot, value, w, distances, ids, window, held)
            _put(w, value, slot)
            done += 1
    _set_limit(search, w, distances)
    return done > 0


@jit_part
def _fetch_next(
    x: CompactArrays, search: Search, idle: Bool, w: Work,
    distances: np.ndarray, ids: np.ndarray, window: np.ndarray, held: np.ndarray,
) -> Int:  # fmt: skip
    """Takes the nearest candidate out of the pool; NONE where none is left. An idle walk begins again elsewhere."""
    at = nearest(w.keys, w.slots, w.counts[POOL], w.counts[TAKEN])
    while at == NONE:
        w.counts[POOL] = 0
        if not idle or not _start(x, search, MORE_STARTS, w, distances, ids, window, held):
            return NONE
        at = nearest(w.keys, w.slots, w.counts[POOL], w.counts[TAKEN])
    if not distance_of(w.keys[at]) < w.limits[LIMIT]:
        return NONE
    w.counts[TAKEN] = w.slots[at]
    return w.slots[at]


@jit_part
def _gather(x: CompactArrays, slot: Int, w: Work) -> Int:
    """The neighbours of a vertex that were not scored yet; how many."""
    count, stamp, first = 0, np.uint8(w.counts[STAMP]), x.layout.lists_at
    words = x.words[slot]
    for i in range(x.layout.degree):
        other = np.int64(words[first + i])
        if w.seen[other] != stamp:
            w.seen[other] = stamp
            w.gathered[count] = other
            count += 1
    return count


@jit
def _enter(
    x: CompactArrays, search: Search, n: Int, visits: Int, w: Work,
    distances: np.ndarray, ids: np.ndarray, window: np.ndarray, held: np.ndarray,
) -> None:  # fmt: skip
    """Scores what was gathered and puts what is near enough into the pool, after so many visits."""
    _score(x, w.gathered, n, w)
    for i in range(n):
        _keep(x, search, w.gathered[i], w.scores[i], w, distances, ids, window, held)
    _set_limit(search, w, distances)
    left = max(0, w.counts[MOST] - visits)
    size, at = tidy(w.keys, w.slots, w.counts[POOL], w.limits[LIMIT], left, w.counts[TIDY_AT])
    w.counts[POOL], w.counts[TIDY_AT] = size, at
    for i in range(n):
        if w.scores[i] < w.limits[LIMIT]:
            _put(w, w.scores[i], w.gathered[i])


@jit
def _walk(
    x: CompactArrays, search: Search, w: Work, distances: np.ndarray, ids: np.ndarray,
    window: np.ndarray, held: np.ndarray, visited: np.ndarray,
) -> None:  # fmt: skip
    """One search from the entry vertices on; `visited` gets the slots that it visits, as many as there is room for."""
    if w.counts[STAMP] == 255:
        for i in range(len(w.seen)):
            w.seen[i] = 0
        w.counts[STAMP] = 0
    w.counts[STAMP] += 1
    w.counts[POOL], w.counts[TIDY_AT], w.counts[TAKEN], visits = 0, TIDY, NONE, 0
    w.limits[LIMIT], w.limits[KNOWN] = INFINITY, -INFINITY
    _score(x, x.entries, len(x.entries), w)
    for i in range(len(x.entries)):
        w.starts[i] = key_of(w.scores[i])
    _start(x, search, STARTS, w, distances, ids, window, held)
    pending = _fetch_next(x, search, True, w, distances, ids, window, held)
    while pending != NONE and visits < w.counts[MOST]:
        if visits < len(visited):
            visited[visits] = pending
        visits += 1
        n = _gather(x, pending, w)
        pending = NONE
        if n > 0:  # chosen before those are known, as the core does while their codes are on their way
            pending = _fetch_next(x, search, False, w, distances, ids, window, held)
            _enter(x, search, n, visits, w, distances, ids, window, held)
        if pending == NONE:
            pending = _fetch_next(x, search, True, w, distances, ids, window, held)
    for i in range(visits, len(visited)):
        visited[i] = NONE
    w.counts[VISITED] += visits


@jit_part
def _scan(
    x: CompactArrays, search: Search, w: Work,
    distances: np.ndarray, ids: np.ndarray, window: np.ndarray, held: np.ndarray,
) -> None:  # fmt: skip
    """Scores all that may be returned."""
    w.counts[HEAP], w.counts[WINDOW] = 0, 0
    for slot in range(x.shown):
        if not search.filtered or passes(search.filter, slot):
            w.gathered[0] = slot
            _score(x, w.gathered, 1, w)
            _keep(x, search, slot, w.scores[0], w, distances, ids, window, held)


@jit
def search_queries(
    x: CompactArrays, search: Search, queries: np.ndarray, lifts: np.ndarray, first: Int, last: Int, w: Work,
    distances: np.ndarray, ids: np.ndarray, visited: np.ndarray,
) -> None:  # fmt: skip
    """Fills rows first .. last - 1 of the answer and of `visited`, and the counts of what was done.

    Builders search for stored vectors, of which each has its lift; others give none, and a `visited` of one empty row.
    """
    room = max(search.window, distances.shape[1]) if x.refined else 0
    window, held, value = np.empty(room, np.float32), np.empty(room, np.int64), np.empty(1, np.float32)
    for i in range(first, last):
        w.counts[HEAP], w.counts[WINDOW] = 0, 0
        _prepare(x, queries[i], len(lifts) > 0, lifts[i] if len(lifts) > 0 else ZERO, w)
        if not search.few:
            _walk(x, search, w, distances[i], ids[i], window, held, visited[min(i, len(visited) - 1)])
        if search.few or w.counts[HEAP] < min(len(distances[i]), search.there):
            _scan(x, search, w, distances[i], ids[i], window, held)
        if x.refined:
            scorer, heap = new_scorer(x.store, queries[i], w.codes, w.row), 0
            for j in range(w.counts[WINDOW]):
                score(x.store, held, j, 1, x.metric, scorer, value)
                heap = push(distances[i], ids[i], heap, value[0], x.ids[held[j]])
            w.counts[HEAP] = heap
        close(distances[i], ids[i], w.counts[HEAP])
        if w.scalars[LONGER] != 1.0 and not x.refined:
            for j in range(len(distances[i])):
                distances[i, j] = np.float32(np.float64(distances[i, j]) / w.scalars[LONGER])
