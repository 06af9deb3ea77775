"""The IVF walk (csrc/index/ivf.cpp): per list 32 lower bounds a block, survivors queued and refined nearest first.

The decisions are those of the compiled core in the same order: what is queued, when the queue is emptied, how many rows
are scored before the k-th best is looked at again. So both refuse the same candidates.

Functions take the groups of arrays that they read and no more: every array is some eight arguments to the compiler.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.numba_base import COSINE, INNER_PRODUCT, L2, Bool, Float, Int, jit, jit_part
from vsearch.kernels.numba_coarse import Coarse, probe
from vsearch.kernels.numba_codec import (
    FIRST_NOISE,
    FIRST_TILT,
    FULL_NOISE,
    FULL_TILT,
    LEAD_OFFSET,
    LEAD_REACH,
    NO_CODEC,
    OFFSET,
    SCALE,
    SUM,
    Query,
)
from vsearch.kernels.numba_codes import BLOCK, TILE, fastscan, lane_byte, lane_shift, pair_table
from vsearch.kernels.numba_distance import Scorer, l2, new_scorer, score
from vsearch.kernels.numba_query import full_dot, prepare_query, query_scale, transform_query
from vsearch.kernels.numba_state import (
    ADD,
    FLUSH_SIZE,
    HEAP,
    PRIME_BLOCKS,
    QUEUE,
    RANK_SAMPLE,
    REFINED,
    RESCALE,
    SCANNED,
    SHIFT,
    SURVIVORS,
    WAITING,
    WOBBLE,
    Best,
    Codes,
    IvfArrays,
    Lists,
    Options,
    Queue,
    Stored,
    Work,
    block_factors,
    full_factors,
)
from vsearch.kernels.numba_topk import close, push, threshold
from vsearch.kernels.numba_transform import QueryMap

PRIMED_PER_RESULT = 2  # vectors looked at for each that is asked for, before there is a threshold
REFINE_BATCH = 4  # rows scored between two looks at the k-th best
ROUNDING = np.float32(1e-6)  # of estimates, relative to the squares and products they are made of
WALK, DIRECT = 2.0, 50.0  # cost of a vector walked over, and of a match scored directly

ZERO, HALF, ONE, LOW_HALF = np.float32(0), np.float32(0.5), np.float32(1), np.uint32(0xFFFF)
INFINITY = np.float32(np.inf)


def matches_are_few(matches: int, k: int, n: int, probes: int, lists: int) -> bool:
    """Whether scoring the matches of a filter one by one costs less than walking to enough of them."""
    return matches <= k or matches * DIRECT <= min(float(n), n * probes / lists) * WALK


@jit_part
def _scale_of(rotated: np.ndarray, coarse: Coarse) -> Float:
    norm2, weighed2, along = 0.0, 0.0, 0.0
    for j in range(len(rotated)):
        x = np.float64(rotated[j])
        weighed = x * np.float64(coarse.weights[j])
        norm2 += x * x
        weighed2 += x * weighed
        along += weighed * np.float64(coarse.mean[j])
    return query_scale(norm2, weighed2, along, coarse.squares)


@jit_part
def _center_query(
    query: np.ndarray, through: QueryMap, metric: Int, coarse: Coarse, out: np.ndarray, norms: np.ndarray
) -> Float:
    """Fills `out` with P(longer q - mean), and returns `longer`: 1 but under ip."""
    transform_query(query, through, out)
    longer = _scale_of(out, coarse) if metric == INNER_PRODUCT else ONE
    norm2, dot_mean = ZERO, ZERO
    for j in range(len(out)):
        out[j] *= longer
        dot_mean += out[j] * coarse.mean[j]
        out[j] -= coarse.mean[j]
        norm2 += out[j] * out[j]
    norms[0], norms[1] = norm2, dot_mean
    return longer


@jit_part
def _base(metric: Int, distance2: Float, norm2: Float, dot_mean: Float, norms: np.ndarray) -> Float:
    """B_q of the estimate for one list; for ip <c + mean, q> is assembled from the centred parts."""
    if metric == L2:
        return distance2
    dot_centroid = HALF * (norm2 + norms[0] - distance2)
    return (ONE if metric == COSINE else ZERO) - (dot_centroid + dot_mean + norms[1])


@jit_part
def _slack(base: Float, norm2: Float, norms: np.ndarray) -> Float:
    """What rounding may have added to an estimate: the bounds of ties must not fail by a last bit."""
    return ROUNDING * (norms[0] + norm2 + abs(base))


@jit_part
def _margin2(epsilon: Float, spread: Float, distance2: Float, noise: Float) -> Float:
    """Square of epsilon standard deviations of <y, q'>: the code's own and the rounding of the query."""
    wide, tilted, added = np.float64(epsilon), np.float64(spread), np.float64(noise)
    return wide * wide * (tilted * tilted * np.float64(distance2) + added * added)


@jit_part
def _margins(codes: Codes, s: np.ndarray, epsilon: Float, distance2: Float, is_last: Bool) -> tuple[Float, Float]:
    """Margins of the symbols' and of the whole code's bound; where nothing is better than the whole code (`is_last`),
    only what the symbols add to its error can exclude a vector wrongly.
    """
    first = _margin2(epsilon, codes.first_spread * s[FIRST_TILT], distance2, s[FIRST_NOISE])
    full = _margin2(epsilon, codes.full_spread * s[FULL_TILT], distance2, s[FULL_NOISE])
    if is_last and codes.coder.one_scale:
        return np.float32(np.sqrt(max(first - full, 0.0))), ZERO
    return np.float32(np.sqrt(first)), np.float32(np.sqrt(full))


@jit_part
def _passes(bitmap: np.ndarray, slot: Int) -> Bool:
    return bitmap[slot >> 3] >> (slot & 7) & 1 != 0


@jit_part
def _refine(
    stored: Stored, scorer: Scorer, waiting: np.ndarray, distances: np.ndarray, counts: np.ndarray, best: Best
) -> None:
    """Scores the rows that wait."""
    n = counts[WAITING]
    if n == 0:
        return
    score(stored.rows, waiting, 0, n, stored.metric, scorer, distances)
    for i in range(n):
        counts[HEAP] = push(best.distances, best.ids, counts[HEAP], best.longer * distances[i], stored.ids[waiting[i]])
    counts[REFINED] += n
    counts[WAITING] = 0


@jit_part
def _full(codes: Codes, query: Query, slot: Int, position: Int, base: Float) -> tuple[Float, Float]:
    """The estimate from all bits of one vector, and what `rescale` is of it."""
    lane, block = position & 31, codes.blocks[position >> 5]
    extra = codes.extra[slot if codes.extra.shape[1] > 0 else 0, codes.factor_bytes :]
    product = full_dot(query, codes.coder, block, lane_byte(lane), lane_shift(lane), extra)
    add, rescale = full_factors(codes, slot, position, query.scalars[SUM])
    return base + add + rescale * product, rescale


@jit_part
def _sort(queue: Queue, n: Int) -> None:
    """Order of the queue, nearest first."""
    for i in range(n):
        push(queue.sorted_bounds[:n], queue.order[:n], i, queue.bounds[i], i)
    close(queue.sorted_bounds[:n], queue.order[:n], n)


@jit_part
def _flush(
    codes: Codes,
    stored: Stored,
    query: Query,
    base: Float,
    slack: Float,
    first_margin: Float,
    full_margin: Float,
    scorer: Scorer,
    queue: Queue,
    best: Best,
) -> None:
    """Looks at survivors of the first bound: estimates with all bits, keeps what that bound lets through, refines."""
    counts = queue.counts
    n = counts[QUEUE]
    counts[SURVIVORS] += n
    # The first list has no threshold yet and lets everything through: nearest first, so that the rest can be refused.
    nearest_first = n > 2 * len(best.ids)
    if nearest_first:
        _sort(queue, n)
    for i in range(n):
        c = queue.order[i] if nearest_first else i
        estimate, slot, position = queue.bounds[c], queue.slots[c], queue.positions[c]
        limit = threshold(best.distances, counts[HEAP])
        if not estimate < limit:
            continue
        if codes.exact:
            estimate, rescale = _full(codes, query, slot, position, base)
            if not estimate + rescale * full_margin - slack < limit:
                continue
        elif not stored.there:  # nothing better than this estimate: take margin and slack out again
            estimate += slack - full_factors(codes, slot, position, ZERO)[1] * first_margin
        if not stored.there:
            counts[HEAP] = push(best.distances, best.ids, counts[HEAP], estimate, stored.ids[slot])
            continue
        queue.waiting[counts[WAITING]] = slot
        counts[WAITING] += 1
        if counts[WAITING] == REFINE_BATCH:
            _refine(stored, scorer, queue.waiting, queue.distances, counts, best)
    counts[QUEUE] = 0
    _refine(stored, scorer, queue.waiting, queue.distances, counts, best)


@jit_part
def _sum_of(sums: np.ndarray, v: Int) -> Float:
    pair = sums[lane_byte(v)]
    return np.float32(np.int32(pair >> np.uint32(16) if v >= 16 else pair & LOW_HALF))


@jit_part
def _any_below(factors: np.ndarray, count: Int, sums: np.ndarray, scale: Float, offset: Float, limit: Float) -> Bool:
    """Whether the bound of the leading symbols lets any vector of a block through."""
    for v in range(count):
        if factors[ADD, v] + factors[RESCALE, v] * (scale * _sum_of(sums, v) + offset) < limit:
            return True
    return False


@jit_part
def _queue_block(
    words: np.ndarray,
    factors: np.ndarray,
    block: Int,
    count: Int,
    sums: np.ndarray,
    scale: Float,
    offset: Float,
    limit: Float,
    base: Float,
    options: Options,
    queue: Queue,
) -> None:
    """Queues the vectors of one block whose lower bound is below the k-th best."""
    slot_at = words.shape[1] - BLOCK
    at = queue.counts[QUEUE]
    for v in range(count):
        bound = factors[ADD, v] + factors[RESCALE, v] * (scale * _sum_of(sums, v) + offset)
        if bound < limit:
            slot = np.int64(words[block, slot_at + v])
            if not options.filtered or _passes(options.filter, slot):
                queue.bounds[at], queue.slots[at], queue.positions[at] = bound + base, slot, BLOCK * block + v
                at += 1
    queue.counts[QUEUE] = at


@jit_part
def _scan_tile(blocks: np.ndarray, first: Int, count: Int, lead: Int, pairs: np.ndarray, sums: np.ndarray) -> None:
    """Sums of the leading symbols, and of all, of `count` blocks."""
    for b in range(count):
        for j in range(16):
            sums[0, b, j] = 0
    if lead > 0:
        fastscan(blocks, first, count, pairs, 0, lead, sums[0])
    for b in range(count):
        for j in range(16):
            sums[1, b, j] = sums[0, b, j]
    fastscan(blocks, first, count, pairs, lead, len(pairs), sums[1])


@jit_part
def _prime(
    codes: Codes,
    stored: Stored,
    first_block: Int,
    blocks: Int,
    size: Int,
    scale: Float,
    offset: Float,
    margins: tuple[Float, Float, Float, Float],
    scorer: Scorer,
    options: Options,
    w: Work,
    best: Best,
) -> None:
    """The first blocks of a query, while nothing is known that could exclude a vector: the bounds of all are kept, the
    vectors with the least are looked at, and of the others only what those do not exclude.
    """
    words, first, add, rescale = codes.words, 4 * codes.symbols, w.factors[ADD], w.factors[RESCALE]
    slot_at = words.shape[1] - BLOCK
    for b in range(blocks):
        block, tile = first_block + b, b % TILE
        if tile == 0:
            _scan_tile(codes.blocks, block, min(TILE, blocks - b), 0, w.pairs, w.sums)
        query_sum = w.query.scalars[SUM]
        shift = w.factors[SHIFT]
        block_factors(words, block, first, codes.columns, codes.compact, codes.table, query_sum, add, rescale, shift)
        least = INFINITY
        for v in range(BLOCK):
            bound = add[v] + rescale[v] * (scale * _sum_of(w.sums[1, tile], v) + offset)
            if b * BLOCK + v >= size or (
                options.filtered and not _passes(options.filter, np.int64(words[block, slot_at + v]))
            ):
                bound = INFINITY
            w.primed[b, v] = bound
            least = min(least, bound)
        w.least[b] = least
    for i in range(RANK_SAMPLE):
        w.sample[i] = w.least[i * blocks // RANK_SAMPLE]
    w.sample.sort()
    few = w.sample[(PRIMED_PER_RESULT * len(best.ids) + BLOCK) * RANK_SAMPLE // blocks]  # about that many are below
    _visit(codes, stored, first_block, blocks, few, -INFINITY, margins, scorer, w, best)
    limit = threshold(best.distances, w.queue.counts[HEAP]) - (margins[0] - margins[1])
    _visit(codes, stored, first_block, blocks, limit, few, margins, scorer, w, best)


@jit_part
def _visit(
    codes: Codes,
    stored: Stored,
    first_block: Int,
    blocks: Int,
    limit: Float,
    at_least: Float,
    margins: tuple[Float, Float, Float, Float],
    scorer: Scorer,
    w: Work,
    best: Best,
) -> None:
    """Queues and looks at the primed vectors whose bounds are below a limit and not below another."""
    base, slack, first_margin, full_margin = margins
    low, counts, slot_at = base - slack, w.queue.counts, codes.words.shape[1] - BLOCK
    for b in range(blocks):
        if counts[QUEUE] >= FLUSH_SIZE:
            _flush(codes, stored, w.query, base, slack, first_margin, full_margin, scorer, w.queue, best)
            limit = min(limit, threshold(best.distances, counts[HEAP]) - low)
        if not w.least[b] < limit:
            continue
        at = counts[QUEUE]
        for v in range(BLOCK):
            bound = w.primed[b, v]
            if bound < limit and not bound < at_least:
                w.queue.bounds[at], w.queue.positions[at] = bound + low, BLOCK * (first_block + b) + v
                w.queue.slots[at] = np.int64(codes.words[first_block + b, slot_at + v])
                at += 1
        counts[QUEUE] = at
    _flush(codes, stored, w.query, base, slack, first_margin, full_margin, scorer, w.queue, best)


@jit_part
def _scan_codes(
    codes: Codes,
    stored: Stored,
    first_block: Int,
    size: Int,
    base: Float,
    slack: Float,
    distance2: Float,
    scorer: Scorer,
    options: Options,
    w: Work,
    best: Best,
) -> None:
    """One list by its codes."""
    s, coder, counts, low = w.query.scalars, codes.coder, w.queue.counts, base - slack
    first_margin, full_margin = _margins(codes, s, options.epsilon, distance2, not stored.there)
    # rescale is negative: margins lower the estimate. What a compact index does not know of it stretches <y, q'>.
    stretch = ONE + options.epsilon * codes.table[WOBBLE]
    scale, offset = s[SCALE] * stretch, s[OFFSET] * stretch + first_margin
    lead_offset = s[LEAD_OFFSET] * stretch + (first_margin + s[LEAD_REACH])
    words, first = codes.words, 4 * codes.symbols
    add, rescale, shift = w.factors[ADD], w.factors[RESCALE], w.factors[SHIFT]
    blocks, primed = (size + BLOCK - 1) // BLOCK, 0
    if not threshold(best.distances, counts[HEAP]) < INFINITY:
        primed = min(blocks, PRIME_BLOCKS)
        if primed < 2 * (PRIMED_PER_RESULT * len(best.ids) + BLOCK):
            primed = 0
        else:
            margins = base, slack, first_margin, full_margin
            _prime(codes, stored, first_block, primed, size, scale, offset, margins, scorer, options, w, best)
    for b in range(primed, blocks):
        block, tile = first_block + b, (b - primed) % TILE
        if tile == 0:
            _scan_tile(codes.blocks, block, min(TILE, blocks - b), coder.lead, w.pairs, w.sums)
        limit, count = threshold(best.distances, counts[HEAP]) - low, min(BLOCK, size - b * BLOCK)
        block_factors(words, block, first, codes.columns, codes.compact, codes.table, s[SUM], add, rescale, shift)
        # The segments that vary most come first; where they exclude a whole block the others need not be looked at.
        if coder.lead == 0 or _any_below(w.factors, count, w.sums[0, tile], scale, lead_offset, limit):
            sums = w.sums[1, tile]
            _queue_block(words, w.factors, block, count, sums, scale, offset, limit, low, options, w.queue)
        if counts[QUEUE] >= FLUSH_SIZE or b == blocks - 1:
            _flush(codes, stored, w.query, base, slack, first_margin, full_margin, scorer, w.queue, best)


@jit_part
def _estimate(
    x: IvfArrays, slot: Int, epsilon: Float, rotated: np.ndarray, norms: np.ndarray, query: Query, factors: np.ndarray
) -> tuple[Float, Float, Float]:
    """(estimate of the symbols, its lower bound, estimate from all bits) of one slot, from its lane alone."""
    codes, position, s = x.codes, np.int64(x.lists.position[slot]), query.scalars
    block, lane = position >> 5, position & 31
    at = x.lists.block_list[block]
    distance2 = l2(rotated, x.coarse.centroids[at])
    base = _base(x.stored.metric, distance2, x.coarse.norm2[at], x.coarse.dot_mean[at], norms)
    byte, shift, total = lane_byte(lane), lane_shift(lane), 0
    for g in range(codes.symbols):
        total += query.lut[16 * g + ((codes.blocks[block, 16 * g + byte] >> shift) & 15)]
    columns, table, first_word = codes.columns, codes.table, 4 * codes.symbols
    rows = factors[ADD], factors[RESCALE], factors[SHIFT]
    block_factors(codes.words, block, first_word, columns, codes.compact, table, s[SUM], rows[0], rows[1], rows[2])
    rescale = factors[RESCALE, lane]
    product = s[SCALE] * np.float32(total) + s[OFFSET]
    first = base + factors[ADD, lane] + rescale * product
    margin = _margins(codes, s, epsilon, distance2, not x.stored.there)[0]
    bound = first + rescale * (margin + epsilon * codes.table[WOBBLE] * product)
    return first, bound, _full(codes, query, slot, position, base)[0] if codes.exact else first


@jit_part
def _score_slots(x: IvfArrays, at: Int, options: Options, scorer: Scorer, w: Work, best: Best) -> None:
    """One list without codes, or (at < 0) every match of the filter."""
    size = np.int64(x.lists.size[at]) if at >= 0 else x.n
    counts = w.queue.counts
    counts[SCANNED] += size if at >= 0 else 0
    for i in range(size):
        slot = np.int64(x.codes.words[x.lists.block[at] + (i >> 5), i & 31]) if at >= 0 else i
        if options.filtered and not _passes(options.filter, slot):
            continue
        if x.stored.there:
            w.queue.waiting[counts[WAITING]] = slot
            counts[WAITING] += 1
            if counts[WAITING] == FLUSH_SIZE:
                _refine(x.stored, scorer, w.queue.waiting, w.queue.distances, counts, best)
        else:
            estimate = _estimate(x, slot, options.epsilon, w.rotated, w.norms, w.query, w.factors)[2]
            counts[HEAP] = push(best.distances, best.ids, counts[HEAP], estimate, x.stored.ids[slot])
    _refine(x.stored, scorer, w.queue.waiting, w.queue.distances, counts, best)


@jit
def search_queries(
    x: IvfArrays,
    options: Options,
    queries: np.ndarray,
    first: Int,
    last: Int,
    w: Work,
    distances: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Fills rows first .. last - 1 of the answer, and the counts of what was done."""
    counts = w.queue.counts
    for i in range(first, last):
        scorer = new_scorer(x.stored.rows, queries[i], w.codes, w.row)
        counts[HEAP] = 0
        longer = _center_query(queries[i], x.query_map, x.stored.metric, x.coarse, w.rotated, w.norms)
        coded = x.codes.coder.kind != NO_CODEC
        best = Best(distances[i], ids[i], longer if coded else ONE)  # without, it is for the ranking of the lists alone
        if coded:
            prepare_query(w.rotated, x.codes.coder, w.query)
        if not options.few:
            probe(x.coarse, w.rotated, w.probed)
            if coded:
                pair_table(w.query.lut, w.pairs)
        for p in range(1 if options.few else len(w.probed.lists)):
            at = w.probed.lists[p]
            if options.few or not coded:
                _score_slots(x, -1 if options.few else at, options, scorer, w, best)
                continue
            distance2, size = w.probed.distances[p], np.int64(x.lists.size[at])
            base = _base(x.stored.metric, distance2, x.coarse.norm2[at], x.coarse.dot_mean[at], w.norms)
            counts[SCANNED] += size
            slack, block = _slack(base, x.coarse.norm2[at], w.norms), np.int64(x.lists.block[at])
            _scan_codes(x.codes, x.stored, block, size, base, slack, distance2, scorer, options, w, best)
        close(best.distances, best.ids, counts[HEAP])
        best.distances[:] /= best.longer


@jit
def estimate_all(
    x: IvfArrays, query: np.ndarray, epsilon: Float, w: Work, first: np.ndarray, bound: np.ndarray, full: np.ndarray
) -> None:
    """The estimate of the symbols, its lower bound and the full estimate of every slot."""
    longer = _center_query(query, x.query_map, x.stored.metric, x.coarse, w.rotated, w.norms)
    prepare_query(w.rotated, x.codes.coder, w.query)
    for slot in range(x.n):
        first[slot], bound[slot], full[slot] = _estimate(x, slot, epsilon, w.rotated, w.norms, w.query, w.factors)
        first[slot], bound[slot], full[slot] = first[slot] / longer, bound[slot] / longer, full[slot] / longer


@jit
def consistent(n: Int, lists: Lists, words: np.ndarray) -> Bool:
    """Whether every index that a search follows is in range, and lists hold each slot once, where `position` says."""
    total: Int = 0
    for at in range(len(lists.size)):
        size, first = np.int64(lists.size[at]), np.int64(lists.block[at])
        count = (size + BLOCK - 1) // BLOCK
        if first > len(words) or count > len(words) - first:
            return False
        total += size
        if total > n:
            return False
        for i in range(size):
            position = first * BLOCK + i
            slot = words[position >> 5, words.shape[1] - BLOCK + (position & 31)]
            if slot >= n or lists.position[slot] != position or lists.block_list[position >> 5] != at:
                return False
    return total == n
