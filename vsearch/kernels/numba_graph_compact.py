"""GraphCompactScan and GraphCompactBuilder: the compact graph (csrc/bindings/graph_compact.cpp).

Walks agree with the compiled core's; what is built is as good and not the same, for distances between vertices are
those of the vectors that codes stand for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch.kernels.numba_base import INNER_PRODUCT, L2, array, frozen, metric_code, over_ranges, require
from vsearch.kernels.numba_bound import NO_FILTER, NO_LIFTS, NO_VISITS, BoundWalk, Found, check_lifts
from vsearch.kernels.numba_distance import KINDS, NO_ROWS, rows_view, widened
from vsearch.kernels.numba_graph_build import AT_ONCE, Links, _select, _spread, offers, rename_neighbours
from vsearch.kernels.numba_graph_compact_walk import (
    ENTERED,
    GROUP,
    VISITED,
    CompactArrays,
    Layout,
    Search,
    Work,
    new_work,
    search_queries,
)
from vsearch.kernels.numba_graph_walk import LENGTHENED
from vsearch.kernels.numba_pace import NO_PACE, Pace
from vsearch.kernels.numba_pool import NONE
from vsearch.kernels.numba_transform import Transform

MATCH_SHARE = 10  # a visit makes some ten scores
FACTORS = 3


class GraphCompactScan(BoundWalk):
    """The walk over rows that Python owns: a code each, its factors, and the slots of its neighbours."""

    def __init__(self, metric: str, transform: Transform, wide: int, narrow: int, degree: int) -> None:
        super().__init__()
        self.metric, self.transform, self.degree = metric_code(metric), transform, degree
        require(wide + narrow > 0 and narrow % GROUP == 0, "there must be dims, and those of 4 bits a multiple of 64")
        require(degree > 0, "the degree must be positive")
        self.dim = transform.dim
        factors_at = -(-(wide + narrow // 2) // 4)
        lists_at = -(-(factors_at + FACTORS) // 16) * 16
        self.layout = Layout(wide, narrow, factors_at, lists_at, degree)
        self._coded = False

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return -(-(self.layout.lists_at + self.degree) // 16) * 64

    @property
    def lengthened(self) -> float:
        """Length of queries under ip in a walk, over that of the longest vector."""
        return float(LENGTHENED)

    def bind_coding(self, source: np.ndarray, step: np.ndarray, offset: np.ndarray, mean: np.ndarray) -> None:
        """What the positions of a code stand for, and the mean of the vectors."""
        source, step, offset = array(source, np.uint32), array(step, np.float32), array(offset, np.float32)
        positions, mean = self.layout.wide + self.layout.narrow, array(mean, np.float32)
        require(source.shape == step.shape == offset.shape == (positions,), "coding: wrong length")
        require(mean.shape == (self.dim,), "mean: wrong shape")
        require(int(source.max(initial=0)) < self.transform.padded, "coding: out of range")
        self._source, self._step, self._offset, self._mean = source, step, offset, mean
        self._coded = True

    def bind(
        self,
        ids: np.ndarray,
        rows: np.ndarray,
        entries: np.ndarray,
        lifts: np.ndarray | None,
        reach2: float,
        store_dtype: str,
        store: np.ndarray | None,
        factors: np.ndarray | None,
        n: int,
        hidden: int = 0,
    ) -> None:
        """Checks and keeps the arrays of the present state; `consistent` looks into them."""
        ids, rows, entries = array(ids, np.int64), array(rows, np.uint8), array(entries, np.uint32)
        require(rows.ndim == 2 and rows.shape[1] == self.row_bytes, "rows: wrong shape")
        require(len(rows) >= n and len(ids) >= n, "rows: wrong shape")
        require(entries.ndim == 1 and self._coded, "entries: wrong shape, or no coding")
        held = NO_ROWS
        if store is not None:
            require(store_dtype in KINDS, "unknown row dtype")
            held = rows_view(store_dtype, store, factors)
            require(held.dim == self.dim and len(store) >= n, "store: wrong shape")
        require(0 <= hidden <= n, "hidden: more than there are")
        arrays = CompactArrays(
            n=n,
            shown=n - hidden,
            metric=self.metric,
            layout=self.layout,
            query_map=self.transform.query_map,
            mean=self._mean,
            source=self._source,
            step=self._step,
            offset=self._offset,
            codes=rows,
            signed=frozen(rows.view(np.int8)),
            floats=frozen(rows.view(np.float32)),
            words=frozen(rows.view(np.uint32)),
            entries=entries,
            ids=ids,
            lifts=check_lifts(lifts, n),
            reach2=np.float32(reach2),
            refined=store is not None,
            store=held,
        )
        self._set(arrays)

    def neighbours(self, words: np.ndarray) -> np.ndarray:
        """Slots (n, degree) in the rows in use that are given as uint32, as a view."""
        return words[: self.arrays.n, self.layout.lists_at : self.layout.lists_at + self.degree]

    def consistent(self) -> bool:
        """Whether every slot that a walk follows is in range."""
        x = self.arrays
        return all(part.size == 0 or int(part.max()) < x.n for part in (self.neighbours(x.words), x.entries))

    def search(
        self,
        queries: np.ndarray,
        k: int,
        effort: float,
        most: int,
        window: int,
        usual: float,
        steepness: float,
        slack: float,
        threads: int,
        filter: np.ndarray | None,
        matches: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, distances) of the k nearest, (k,) for one query and (nq, k) for many."""
        pace = Pace(np.float32(usual), np.float32(steepness), np.float32(slack))

        def find(x: CompactArrays, visits: int, bitmap: np.ndarray, part: Found) -> None:
            filtered = filter is not None
            there = matches if filtered else x.shown
            few = most >= x.n
            if filtered:
                few = matches <= k or float(matches) * matches <= MATCH_SHARE * float(most) * x.n
            search = Search(np.float32(effort), visits, pace, window, filtered, bitmap, few, there)
            found = part.work, part.distances, part.ids, NO_VISITS
            search_queries(x, search, part.queries, NO_LIFTS, part.first, part.last, *found)

        return self._answer(queries, k, most, threads, filter, matches, find)

    def try_search(
        self, query: Any, k: Any, effort: float, most: int, window: int, usual: float, steepness: float, slack: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """A search on one thread, or None where the arguments are not ready for it."""
        ready = self._ready(query, k)
        if ready is None:
            return None
        return self.search(ready, k, effort, most, window, usual, steepness, slack, 1, None, 0)

    def _new_work(self) -> Work:
        return new_work(self.arrays, self.transform.padded)

    def _counted(self, work: Work) -> dict[str, int]:
        done = {"visited": int(work.counts[VISITED]), "entered": int(work.counts[ENTERED])}
        work.counts[VISITED] = work.counts[ENTERED] = 0
        return done

    def vectors(self, slots: np.ndarray) -> np.ndarray:
        """Vectors of some vertices, float32, between which distances are those of the metric: the stored ones, or what
        the codes stand for."""
        x = self.arrays
        if x.refined:
            return np.array(widened(x.store, slots, 0, len(slots)))
        held, wide = x.codes[slots], self.layout.wide
        pairs = held[:, wide : wide + self.layout.narrow // 2].reshape(len(slots), -1, 1, GROUP // 2)
        nibbles = np.concatenate([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=2).reshape(len(slots), -1)
        levels = np.concatenate([held[:, :wide].view(np.int8).astype(np.float32), nibbles.astype(np.float32)], axis=1)
        at, scale = self.layout.factors_at, np.float32(-0.5 if self.metric == L2 else -1)
        factors = scale * x.floats[slots, at : at + FACTORS]
        out, real = np.repeat(factors[:, 2:], self.transform.padded, axis=1), x.step != 0
        out[:, x.source[real]] += factors[:, 1:2] * (x.offset + x.step * levels)[:, real]
        return np.asarray(out)


class GraphCompactBuilder:
    """Mends a bound compact graph, in the rows that it is bound to: vertices join it and leave it."""

    def __init__(self, graph: GraphCompactScan, rows: np.ndarray, alpha: float, threads: int) -> None:
        x = graph.arrays
        require(rows.dtype == np.uint8 and rows.flags.writeable and rows.flags.c_contiguous, "rows must be writable")
        require(rows.ctypes.data == x.codes.ctypes.data, "rows must be those that the graph is bound to")
        require(x.metric != INNER_PRODUCT or len(x.lifts) >= x.n, "vertices under ip need their lifts")
        self._graph, self._n, self._threads = graph, x.n, max(threads, 1)
        self._alpha2 = np.float32(alpha) * np.float32(alpha)
        self._neighbours = graph.neighbours(rows.view(np.uint32))

    def insert(self, first: int, vectors: np.ndarray, k: int, effort: float, most: int) -> None:
        """Links the vertices of these vectors, from `first` on, and the neighbours that take them in.

        No other row knows them, and they do not see each other.
        """
        vectors = array(vectors, np.float32)
        require(vectors.ndim == 2 and vectors.shape[1] == self._graph.dim, "vertices out of range")
        require(first >= 0 and first + len(vectors) <= self._n and k > 0, "vertices out of range")
        if len(vectors) == 0:
            return
        vertices = np.arange(first, first + len(vectors))
        links = self._choose(vertices, self._collect(first, vectors, k, effort, most))
        self._write(vertices, links.slots)
        incoming = offers(links, vertices, self._n, self._graph.degree)
        targets = np.flatnonzero(incoming.count)
        for at in range(0, len(targets), AT_ONCE):
            some = targets[at : at + AT_ONCE]
            candidates = np.hstack([self._neighbours[some].astype(np.int64), incoming.of(some)])
            self._write(some, self._choose(some, candidates).slots)

    def forget(self, dead: np.ndarray) -> None:
        """Gives vertices with a neighbour in `dead` (packed bitmap) the live neighbours of that one to choose from."""
        dead = array(dead, np.uint8)
        require(dead.ndim == 1 and len(dead) >= (self._n + 7) // 8, "dead: wrong length")
        gone = np.unpackbits(dead, bitorder="little")[: self._n].astype(bool)
        losing = np.flatnonzero(~gone & gone[self._neighbours].any(axis=1))
        for at in range(0, len(losing), AT_ONCE):
            some = losing[at : at + AT_ONCE]
            linked = self._neighbours[some].astype(np.int64)
            theirs = np.where(gone[linked][:, :, None], self._neighbours[linked].astype(np.int64), NONE)
            candidates = np.hstack([linked, theirs.reshape(len(some), -1)])
            candidates[gone[candidates] & (candidates != NONE)] = NONE
            self._write(some, self._choose(some, candidates).slots)

    def rename(self, renamed: np.ndarray, count: int) -> None:
        """Renames neighbours, `renamed[slot]` being the new slot of each, in the first `count` rows."""
        rename_neighbours(self._neighbours, self._n, renamed, count)

    def unreached(self) -> np.ndarray:
        """Slots that cannot be reached from the entry vertices, one for each group of them."""
        x, roots = self._graph.arrays, np.empty(self._n, dtype=np.int64)
        lists = self._graph.neighbours(x.words)[:, None, :]
        return roots[: _spread(lists, x.entries, roots)].astype(np.uint32)

    # ----------------------------------------------------------------------------------------------------------- parts

    def _collect(self, first: int, vectors: np.ndarray, k: int, effort: float, most: int) -> np.ndarray:
        """Slots that searches for these vectors visit, and their k best, (count, visits + k)."""
        x, most, count = self._graph.arrays, min(most, self._n), len(vectors)
        x = x._replace(shown=x.n, ids=frozen(np.arange(x.n, dtype=np.int64)), refined=False)
        search = Search(np.float32(effort), most, NO_PACE, k, False, NO_FILTER, False, 0)
        visited = np.empty((count, most), dtype=np.int64)
        lifts = x.lifts[first : first + count] if len(x.lifts) else NO_LIFTS
        distances, best = np.empty((count, k), dtype=np.float32), np.empty((count, k), dtype=np.int64)

        def piece(begin: int, end: int) -> None:
            with self._graph.work() as work:
                search_queries(x, search, vectors, lifts, begin, end, work, distances, best, visited)

        over_ranges(count, self._threads, 1, piece)
        return np.hstack([visited, best])

    def _choose(self, vertices: np.ndarray, candidates: np.ndarray) -> Links:
        """Which of its candidates every vertex keeps: slots, or NONE."""
        m, degree, x = len(vertices), self._graph.degree, self._graph.arrays
        every = np.hstack([vertices[:, None], candidates])
        used = np.unique(every[every != NONE])
        local = np.where(every == NONE, NONE, np.searchsorted(used, every))
        rows = rows_view("f32", np.ascontiguousarray(self._graph.vectors(used), dtype=np.float32), None)
        lifts = frozen(np.ascontiguousarray(x.lifts[used])) if len(x.lifts) else NO_LIFTS
        out = Links(np.empty((m, degree), np.int64), np.empty((m, degree), np.float32), np.empty(m, np.int64))

        def piece(first: int, last: int) -> None:
            part = slice(first, last)
            mine = np.ascontiguousarray(local[part, 0]), np.ascontiguousarray(local[part, 1:])
            _select(rows, lifts, self._alpha2, *mine, out.slots[part], out.distances[part], out.kept[part])

        over_ranges(m, self._threads, 1, piece)
        return out._replace(slots=np.where(out.slots == NONE, NONE, used[out.slots]))

    def _write(self, vertices: np.ndarray, slots: np.ndarray) -> None:
        """The vertex itself where it has fewer neighbours."""
        self._neighbours[vertices] = np.where(slots == NONE, vertices[:, None], slots).astype(np.uint32)
