"""Encoders of the table quantizers and the update steps of their training (csrc/quantize/table.hpp), bit for bit.

Scores are subtracted and table rows added in the order of the compiled kernels, without fused multiply-adds, so that
codes and codebooks come out the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Bool, Float, Int, array, frozen, jit, over_ranges, parallel, require

MOST_CENTROIDS = 256
CENTROID_MULTIPLE = 16
ROWS_PER_TASK = 256
ZERO, HALF = np.float32(0), np.float32(0.5)
INFINITY = np.float32(np.inf)


class Books(NamedTuple):
    """Codebooks and the dims they belong to."""

    starts: np.ndarray
    first: np.ndarray
    centroids: np.ndarray


class Split(NamedTuple):
    """The codebooks of one split with centroids as columns, half their squared norms, and their inner products."""

    table: np.ndarray
    bias: np.ndarray
    cross: np.ndarray
    known: np.ndarray


class Scratch(NamedTuple):
    """Of the beam search of one vector."""

    sums: np.ndarray
    codes: np.ndarray
    next: np.ndarray
    scores: np.ndarray
    best_score: np.ndarray
    best_from: np.ndarray
    best_k: np.ndarray


def _ascending(values: np.ndarray, last: int, most: int, to_the_end: bool) -> np.ndarray:
    values = array(values, np.int64)
    require(values.ndim == 1 and len(values) >= 2, "tables: no splits")
    steps = np.diff(values)
    require(bool(values[0] == 0 and ((steps >= 0) & (steps <= most)).all()), "tables: splits out of order")
    require(bool(values[-1] == last if to_the_end else values[-1] <= last), "tables: splits out of range")
    return values


def books_of(columns: int, starts: np.ndarray, first: np.ndarray, centroids: np.ndarray) -> Books:
    """Codebooks checked; vectors have `columns` dims."""
    centroids = array(centroids, np.float32)
    require(centroids.ndim == 3, "tables: wrong shape")
    books, count, width = centroids.shape
    made = Books(_ascending(starts, columns, width, False), _ascending(first, books, books, True), centroids)
    require(len(made.starts) == len(made.first), "tables: wrong shape")
    require(0 < count <= MOST_CENTROIDS and count % CENTROID_MULTIPLE == 0, "tables: wrong number of centroids")
    return made


def _codes(codes: np.ndarray, books: int, count: int) -> np.ndarray:
    codes = array(codes, np.uint8)
    require(codes.ndim == 2 and codes.shape[1] == books, "tables: wrong shape of codes")
    require(not codes.size or int(codes.max()) < count, "tables: code out of range")
    return codes


def _split(books: Books, s: int) -> Split:
    """Columns and biases; products are made when they are needed."""
    first, last = books.first[s], books.first[s + 1]
    length = books.starts[s + 1] - books.starts[s]
    rows = np.ascontiguousarray(books.centroids[first:last, :, :length]).reshape(-1, length)
    bias = np.zeros(len(rows), dtype=np.float32)
    for j in range(length):  # in the order of the compiled core
        bias += rows[:, j] * rows[:, j]
    bias *= HALF
    cross = np.empty((len(rows) if last - first > 1 else 0, len(rows)), dtype=np.float32)
    return Split(frozen(np.ascontiguousarray(rows.T)), bias, cross, np.zeros(len(cross), dtype=np.uint8))


@jit
def _score(x: np.ndarray, start: Int, table: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    for k in range(len(out)):
        out[k] = bias[k]
    for j in range(len(table)):
        value = x[start + j]
        for k in range(len(out)):
            out[k] -= value * table[j, k]


@jit
def _argmin(values: np.ndarray) -> Int:
    at = 0
    least = values[0]
    for k in range(1, len(values)):
        if values[k] < least:
            least = values[k]
            at = k
    return at


@jit
def _nearest(
    x: np.ndarray, start: Int, table: np.ndarray, bias: np.ndarray, codes: np.ndarray, s: Int, i: Int, last: Int
) -> None:
    scores = np.empty(len(bias), dtype=np.float32)
    for row in range(i, last):
        _score(x[row], start, table, bias, scores)
        codes[row, s] = _argmin(scores)


def table_nearest(x: np.ndarray, starts: np.ndarray, centroids: np.ndarray, threads: int = 1) -> np.ndarray:
    """Nearest centroid of each split, uint8 (n, splits); centroids (splits, count, width)."""
    x, centroids = array(x, np.float32), array(centroids, np.float32)
    require(x.ndim == 2 and centroids.ndim == 3, "table_nearest: wrong shape")
    books = books_of(x.shape[1], starts, np.arange(len(centroids) + 1), centroids)
    codes = np.empty((len(x), len(centroids)), dtype=np.uint8)
    for s in range(codes.shape[1]):
        split, start = _split(books, s), int(books.starts[s])

        def some(i: int, j: int, s: int = s, split: Split = split, start: int = start) -> None:
            _nearest(x, start, split.table, split.bias, codes, s, i, j)

        over_ranges(len(x), threads, ROWS_PER_TASK, some)
    return codes


@jit
def _anisotropic(x: np.ndarray, books: Books, bias: np.ndarray, eta: Float, sweeps: Int, codes: np.ndarray) -> None:
    splits, count = len(books.starts) - 1, books.centroids.shape[1]
    weight, one = HALF * (eta - np.float32(1)), np.float32(1)
    unary = np.empty((splits, count), dtype=np.float32)
    along = np.empty((splits, count), dtype=np.float32)
    for i in range(len(x)):
        norm2, total = ZERO, ZERO
        for j in range(books.starts[splits]):
            norm2 += x[i, j] * x[i, j]
        inverse = one / np.sqrt(norm2) if norm2 > ZERO else ZERO
        for s in range(splits):
            start, own = books.starts[s], ZERO
            for j in range(start, books.starts[s + 1]):
                own += x[i, j] * x[i, j]
            for k in range(count):
                score = bias[s, k]
                for j in range(books.starts[s + 1] - start):
                    score -= x[i, start + j] * books.centroids[s, k, j]
                unary[s, k] = score
                along[s, k] = (own - bias[s, k] + score) * inverse
            codes[i, s] = _argmin(unary[s])
            total += along[s, codes[i, s]]
        for _ in range(sweeps):
            total, changed = _anisotropic_sweep(unary, along, weight, total, codes[i])
            if not changed:
                break


@jit
def _anisotropic_sweep(
    unary: np.ndarray, along: np.ndarray, weight: Float, total: Float, code: np.ndarray
) -> tuple[Float, Bool]:
    """One round in which each split takes its best centroid given all others; (error along the vector, any change)."""
    changed = False
    for s in range(len(code)):
        best: Int = np.int64(code[s])
        others = total - along[s, best]
        least = unary[s, best] + weight * (total * total)
        for k in range(unary.shape[1]):
            error = others + along[s, k]
            loss = unary[s, k] + weight * (error * error)
            if loss < least:
                best, least = k, loss
        if best != code[s]:
            code[s] = best
            total = others + along[s, best]
            changed = True
    return total, changed


def table_anisotropic(
    x: np.ndarray, starts: np.ndarray, centroids: np.ndarray, eta: float, sweeps: int, threads: int = 1
) -> np.ndarray:
    """Codes uint8 (n, splits) for the loss |across|^2 + eta |along|^2; centroids (splits, count, width)."""
    x, centroids = array(x, np.float32), array(centroids, np.float32)
    require(x.ndim == 2 and centroids.ndim == 3, "table_anisotropic: wrong shape")
    books = books_of(x.shape[1], starts, np.arange(len(centroids) + 1), centroids)
    codes = np.empty((len(x), len(centroids)), dtype=np.uint8)
    bias = array(np.stack([_split(books, s).bias for s in range(len(centroids))]), np.float32)
    call = books, bias, np.float32(eta), sweeps
    over_ranges(len(x), threads, ROWS_PER_TASK, lambda i, j: _anisotropic(x[i:j], *call, codes[i:j]))
    return codes


@jit
def _make_row(split: Split, at: Int) -> None:
    """Products of centroid `at` with all of the split."""
    for k in range(len(split.bias)):
        split.cross[at, k] = ZERO
    for j in range(len(split.table)):
        value = -split.table[j, at]
        for k in range(len(split.bias)):
            split.cross[at, k] -= value * split.table[j, k]
    split.known[at] = 1


@jit
def _sum_rows(
    split: Split, unary: np.ndarray, code: np.ndarray, stages: Int, stage: Int, score: Float, sums: np.ndarray
) -> None:
    """What the centroids of `stage` add to the first `stages` of a code, in the order of the codebooks."""
    count = len(sums)
    for k in range(count):
        sums[k] = score + unary[stage * count + k]
    for t in range(stages):
        if t == stage:
            continue
        at = t * count + code[t]
        if not split.known[at]:
            _make_row(split, at)
        for k in range(count):
            sums[k] += split.cross[at, stage * count + k]


@jit
def _extend(split: Split, unary: np.ndarray, b: Int, stage: Int, kept: Int, w: Scratch) -> Int:
    _sum_rows(split, unary, w.codes[b], stage, stage, w.scores[b], w.sums)
    beam = len(w.best_score)
    for k in range(len(w.sums)):
        score = w.sums[k]
        if not score < (INFINITY if kept < beam else w.best_score[kept - 1]):
            continue
        if kept == beam:
            kept -= 1
        at = kept
        kept += 1
        while at > 0 and score < w.best_score[at - 1]:
            w.best_score[at], w.best_from[at], w.best_k[at] = (
                w.best_score[at - 1],
                w.best_from[at - 1],
                w.best_k[at - 1],
            )
            at -= 1
        w.best_score[at], w.best_from[at], w.best_k[at] = score, b, k
    if kept == 0:
        w.best_score[0], w.best_from[0], w.best_k[0] = w.scores[b], b, 0
        kept = 1
    return kept


@jit
def _sweep(split: Split, unary: np.ndarray, code: np.ndarray, w: Scratch) -> Bool:
    changed = False
    for stage in range(len(code)):
        _sum_rows(split, unary, code, len(code), stage, ZERO, w.sums)
        k = _argmin(w.sums)
        if w.sums[k] < w.sums[code[stage]]:
            code[stage] = k
            changed = True
    return changed


@jit
def _search(split: Split, unary: np.ndarray, sweeps: Int, code: np.ndarray, w: Scratch) -> None:
    beams = 1
    w.scores[0] = ZERO
    for stage in range(len(code)):
        kept = 0
        for b in range(beams):
            kept = _extend(split, unary, b, stage, kept, w)
        beams = kept
        for b in range(beams):
            for t in range(stage):
                w.next[b, t] = w.codes[w.best_from[b], t]
            w.next[b, stage] = w.best_k[b]
            w.scores[b] = w.best_score[b]
        for b in range(beams):
            for t in range(stage + 1):
                w.codes[b, t] = w.next[b, t]
    for t in range(len(code)):
        code[t] = w.codes[0, t]
    if len(code) > 1:
        for _ in range(sweeps):
            if not _sweep(split, unary, code, w):
                break


@jit
def _beam_rows(x: np.ndarray, start: Int, split: Split, sweeps: Int, codes: np.ndarray, w: Scratch) -> None:
    unary = np.empty(len(split.bias), dtype=np.float32)
    code = np.empty(codes.shape[1], dtype=np.uint8)
    for i in range(len(x)):
        _score(x[i], start, split.table, split.bias, unary)
        _search(split, unary, sweeps, code, w)
        for t in range(len(code)):
            codes[i, t] = code[t]


def table_beam(
    x: np.ndarray,
    starts: np.ndarray,
    first: np.ndarray,
    centroids: np.ndarray,
    beam: int,
    sweeps: int,
    threads: int = 1,
) -> np.ndarray:
    """Codes uint8 (n, codebooks) by beam search and conditional modes; centroids (codebooks, count, width)."""
    x = array(x, np.float32)
    require(x.ndim == 2, "table_beam: wrong shape")
    require(1 <= beam <= MOST_CENTROIDS, "table_beam: beam out of range")
    books = books_of(x.shape[1], starts, first, centroids)
    count = books.centroids.shape[1]
    codes = np.empty((len(x), len(books.centroids)), dtype=np.uint8)

    def one(s: int) -> None:
        own = np.empty((len(x), books.first[s + 1] - books.first[s]), dtype=np.uint8)
        w = Scratch(
            np.empty(count, np.float32),
            np.empty((beam, own.shape[1]), np.uint8),
            np.empty((beam, own.shape[1]), np.uint8),
            np.empty(beam, np.float32),
            np.empty(beam, np.float32),
            np.empty(beam, np.int64),
            np.empty(beam, np.int64),
        )
        _beam_rows(x, int(books.starts[s]), _split(books, s), sweeps, own, w)
        codes[:, books.first[s] : books.first[s + 1]] = own

    parallel(len(books.starts) - 1, threads, one)
    return codes


def table_decode(
    codes: np.ndarray, starts: np.ndarray, first: np.ndarray, centroids: np.ndarray, threads: int = 1
) -> np.ndarray:
    """Sums of the centroids that codes name, float32 (n, starts[-1])."""
    dim = int(np.asarray(starts)[-1])
    books = books_of(dim, starts, first, centroids)
    codes = _codes(codes, *books.centroids.shape[:2])
    out = np.zeros((len(codes), dim), dtype=np.float32)
    for s in range(len(books.starts) - 1):
        begin, end = books.starts[s], books.starts[s + 1]
        for b in range(books.first[s], books.first[s + 1]):
            out[:, begin:end] += books.centroids[b, codes[:, b], : end - begin]
    return out


@jit
def _sums(
    x: np.ndarray, start: Int, length: Int, codes: np.ndarray, s: Int, sums: np.ndarray, sizes: np.ndarray
) -> None:
    for i in range(len(x)):
        k = codes[i, s]
        for j in range(length):
            sums[k, j] += np.float64(x[i, start + j])
        sizes[k] += 1


def table_sums(
    x: np.ndarray, starts: np.ndarray, codes: np.ndarray, count: int, width: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(sums (splits, count, width) float64, sizes (splits, count) int64) of the vectors that share a centroid."""
    x = array(x, np.float32)
    require(x.ndim == 2 and np.ndim(codes) == 2 and len(codes) == len(x), "table_sums: wrong shape")
    require(1 <= count <= MOST_CENTROIDS, "table_sums: wrong number of centroids")
    at = _ascending(starts, x.shape[1], width, False)
    splits = len(at) - 1
    codes = _codes(codes, splits, count)
    sums = np.zeros((splits, count, width))
    sizes = np.zeros((splits, count), dtype=np.int64)
    parallel(splits, threads, lambda s: _sums(x, int(at[s]), int(at[s + 1] - at[s]), codes, s, sums[s], sizes[s]))
    return sums, sizes


@jit
def _left_over(x: np.ndarray, start: Int, codes: np.ndarray, first: Int, own: np.ndarray, left: np.ndarray) -> None:
    """x without its centroids."""
    for i in range(len(x)):
        for j in range(left.shape[1]):
            left[i, j] = x[i, start + j]
        for b in range(len(own)):
            for j in range(left.shape[1]):
                left[i, j] -= own[b, codes[i, first + b], j]


@jit
def _refine_one(
    codes: np.ndarray, b: Int, own: np.ndarray, left: np.ndarray, sums: np.ndarray, sizes: np.ndarray
) -> None:
    """One codebook becomes the means of what is left over without it, which is taken out before and after."""
    length = left.shape[1]
    for k in range(len(own)):
        sizes[k] = 0
        for j in range(length):
            sums[k, j] = 0.0
    for i in range(len(left)):
        k = codes[i, b]
        for j in range(length):
            left[i, j] += own[k, j]
            sums[k, j] += np.float64(left[i, j])
        sizes[k] += 1
    for k in range(len(own)):
        if sizes[k] > 0:
            for j in range(length):
                own[k, j] = np.float32(sums[k, j] / np.float64(sizes[k]))
    for i in range(len(left)):
        k = codes[i, b]
        for j in range(length):
            left[i, j] -= own[k, j]


def table_refine(
    x: np.ndarray,
    starts: np.ndarray,
    first: np.ndarray,
    centroids: np.ndarray,
    codes: np.ndarray,
    passes: int,
    threads: int = 1,
) -> np.ndarray:
    """Centroids nearer to the least squares for given codes: each codebook in turn by the means of what is left."""
    x = array(x, np.float32)
    require(x.ndim == 2 and len(codes) == len(x), "table_refine: wrong shape")
    books = books_of(x.shape[1], starts, first, centroids)
    codes = _codes(codes, *books.centroids.shape[:2])
    out = np.array(books.centroids)

    def one(s: int) -> None:
        begin, end = int(books.first[s]), int(books.first[s + 1])
        start, length = int(books.starts[s]), int(books.starts[s + 1] - books.starts[s])
        left = np.empty((len(x), length), dtype=np.float32)
        sums, sizes = np.empty((out.shape[1], length)), np.empty(out.shape[1], dtype=np.int64)
        _left_over(x, start, codes, begin, out[begin:end], left)
        for _ in range(passes):
            for b in range(begin, end):
                _refine_one(codes, b, out[b], left, sums, sizes)

    parallel(len(books.starts) - 1, threads, one)
    return out
