"""GraphBuilder: links the vertices of a graph and mends it (csrc/index/graph_build.cpp, graph_prune.cpp).

The steps are the compiled core's, the graphs are as good and not the same: neighbours are slots here whose distances
are computed anew wherever they are compared, and codes are written by the encoder of whole arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Float, Int, array, frozen, jit, over_ranges, require
from vsearch.kernels.numba_bound import NO_FILTER, NO_LIFTS
from vsearch.kernels.numba_codes import BLOCK, write_blocks
from vsearch.kernels.numba_distance import Rows, l2
from vsearch.kernels.numba_graph import FACTOR_BYTES, GraphScan
from vsearch.kernels.numba_graph_near import NearLists, StoredVectors
from vsearch.kernels.numba_graph_walk import Search, read_vector, search_queries
from vsearch.kernels.numba_pace import NO_PACE
from vsearch.kernels.numba_pool import NONE
from vsearch.kernels.numba_topk import close, push

AT_ONCE = 64  # vertices whose candidates or codes are held
HUB = 4  # incoming edges of a vertex that are looked at, the nearest, over the degree
NEAREST = 4  # of what the rule drops, taken in any case
SLACK, SLACK_STEPS = np.float32(1.05), 5  # of the rule, for what it leaves of the degree
DROPPED_SHARE = 2  # dropped candidates that are remembered, over the degree
ROWS_LOOKED_AT = 4096
LARGEST_HALF = np.float32(65504)


def rename_neighbours(neighbours: np.ndarray, n: int, renamed: np.ndarray, count: int) -> None:
    """Puts `renamed[slot]` in the place of every slot, in the first `count` rows of a graph of n vertices."""
    renamed = array(renamed, np.uint32)
    require(renamed.shape == (n,) and 0 <= count <= n, "renamed: wrong length")
    for first in range(0, count, ROWS_LOOKED_AT):
        some = neighbours[first : min(count, first + ROWS_LOOKED_AT)]
        some[...] = renamed[some]


@jit
def _occluded(near: np.ndarray, count: Int, alpha2: Float, distance: Float) -> bool:
    """Whether the candidate near[count], so far from its vertex, is nearer to one of the kept near[:count]."""
    for t in range(count):  # noqa: SIM110 (Numba has no any() of a generator)
        if alpha2 * l2(near[t], near[count]) < distance:
            return True
    return False


@jit
def _select(
    rows: Rows, lifts: np.ndarray, alpha2: Float, vertices: np.ndarray, candidates: np.ndarray,
    slots: np.ndarray, distances: np.ndarray, kept: np.ndarray,
) -> None:  # fmt: skip
    """Which of its candidates every vertex keeps: the relative neighbourhood rule, nearest first.

    One is dropped where a kept neighbour is nearer to it than the vertex is, for a walk gets there by way of that. What
    is left of the degree is filled with the nearest few of the dropped, those that the rule would keep with more and
    more slack, and then the nearest again; kept[i] says how many the rule kept. Candidates may be the
    vertex itself, NONE or there twice; `slots` are NONE and `distances` 0 where there are no more.
    """
    degree, width, most = slots.shape[1], rows.dim + min(len(lifts), 1), candidates.shape[1]
    center, near = np.empty(width, dtype=np.float32), np.empty((degree + 1, width), dtype=np.float32)
    order, found = np.empty(most, dtype=np.float32), np.empty(most, dtype=np.int64)
    for i in range(len(vertices)):
        read_vector(rows, lifts, vertices[i], center)
        size = 0
        for j in range(most):
            if candidates[i, j] != NONE and candidates[i, j] != vertices[i]:
                read_vector(rows, lifts, candidates[i, j], near[0])
                size = push(order, found, size, l2(center, near[0]), candidates[i, j])
        close(order[:size], found[:size], size)
        count, dropped = 0, 0
        for j in range(size):
            if count == degree:
                break
            if j > 0 and found[j] == found[j - 1]:
                continue
            slot, distance = found[j], order[j]
            read_vector(rows, lifts, slot, near[count])
            if _occluded(near, count, alpha2, distance):  # to the front, over what was looked at
                found[dropped], order[dropped] = slot, distance
                dropped += 1
            else:
                slots[i, count], distances[i, count] = slot, distance
                count += 1
        kept[i] = count
        dropped, slackened = min(dropped, DROPPED_SHARE * degree), alpha2
        for step in range(SLACK_STEPS):
            slackened, left = slackened * (SLACK * SLACK), 0
            for j in range(dropped):
                slot, distance = found[j], order[j]
                read_vector(rows, lifts, slot, near[count])
                near_enough = step == 0 and j < NEAREST
                if count == degree or (not near_enough and _occluded(near, count, slackened, distance)):
                    found[left], order[left] = slot, distance
                    left += 1
                else:
                    slots[i, count], distances[i, count] = slot, distance
                    count += 1
            dropped = left
        for j in range(min(dropped, degree - count)):
            slots[i, count + j], distances[i, count + j] = found[j], order[j]
        for j in range(count + min(dropped, degree - count), degree):
            slots[i, j], distances[i, j] = NONE, 0


@jit
def _spread(neighbours: np.ndarray, entries: np.ndarray, roots: np.ndarray) -> Int:
    """One slot of every group that cannot be reached from the entries and the groups before; how many."""
    n, count = len(neighbours), 0
    reached, stack = np.zeros(n, dtype=np.uint8), np.empty(n, dtype=np.int64)
    for start in range(len(entries) + n):
        slot = np.int64(entries[start]) if start < len(entries) else start - len(entries)
        if reached[slot]:
            continue
        if start >= len(entries):
            roots[count] = slot
            count += 1
        reached[slot], stack[0], size = 1, slot, 1
        while size > 0:
            size -= 1
            row = neighbours[stack[size]]
            for b in range(row.shape[0]):
                for v in range(row.shape[1]):
                    if not reached[row[b, v]]:
                        reached[row[b, v]] = 1
                        stack[size] = row[b, v]
                        size += 1
    return count


class Links(NamedTuple):
    """Neighbours of some vertices, nearest of those that the rule kept first: NONE where there are no more."""

    slots: np.ndarray  # int64 (vertices, degree)
    distances: np.ndarray  # float32, squared
    kept: np.ndarray  # int64 (vertices,): by the rule


def edges(links: Links, mask: np.ndarray, vertices: np.ndarray, n: int, degree: int) -> Incoming:
    """Edges of some vertices in the lanes of `mask`, by where they lead."""
    source = np.broadcast_to(vertices[:, None], mask.shape)[mask]
    return Incoming(source, links.slots[mask], links.distances[mask], n, HUB * degree)


def offers(links: Links, vertices: np.ndarray, n: int, degree: int) -> Incoming:
    """New vertices, offered to all of their lists and not to those alone that the rule kept: what is near an old vertex
    and came later reaches its list in no other way.
    """
    return edges(links, links.slots != NONE, vertices, n, degree)


class GraphBuilder:
    """Links the vertices of a bound graph, in the rows that it is bound to.

    `lifts` are those of ip, `transformed` (n, padded), without the mean, spares transforming vectors again and again.
    """

    def __init__(
        self,
        graph: GraphScan,
        rows: np.ndarray,
        lifts: np.ndarray | None,
        transformed: np.ndarray | None,
        alpha: float,
        threads: int,
    ) -> None:
        x = graph.arrays
        require(rows.dtype == np.uint8 and rows.flags.writeable and rows.flags.c_contiguous, "rows must be writable")
        same = rows.ctypes.data == x.blocks.codes.ctypes.data
        require(same, "rows must be those that the graph is bound to")
        self._given = None if transformed is None else array(transformed, np.float32)
        if self._given is not None:
            padded = graph.transform.padded
            require(self._given.ndim == 2 and self._given.shape[1] == padded, "transformed: wrong shape")
            require(len(self._given) >= x.n, "transformed: wrong shape")
        self._graph, self._rows, self._n, self._threads = graph, rows, x.n, max(threads, 1)
        self._lifts = NO_LIFTS if lifts is None else array(lifts, np.float32)
        self._alpha2 = np.float32(alpha) * np.float32(alpha)
        self._vectors = StoredVectors(graph, lifts)
        self._near: NearLists | None = None
        self._neighbours = graph.neighbours(rows.view(np.uint32), 0, x.n)
        self._lists = np.full((x.n, graph.degree), NONE, dtype=np.int64)
        self._fresh = Links(self._lists.copy(), np.zeros(self._lists.shape, np.float32), np.zeros(x.n, np.int64))

    # ---------------------------------------------------------------------------------------------------- a full build

    def improve_near(self, width: int, seed: int) -> None:
        """Rough neighbours: one repetition."""
        if self._near is None:
            self._near = NearLists(self._vectors, self._n, width)
        self._near.improve(seed, self._threads)

    def link_near(self, first: int, last: int) -> None:
        """Lists of the vertices [first, last) from the rough neighbours."""
        require(0 <= first <= last <= self._n and self._near is not None, "vertices out of range, or no neighbours")
        self._link(first, last, np.empty((last - first, 0), dtype=np.int64))

    def link_by_walks(self, first: int, last: int, k: int, effort: float, most: int) -> None:
        """The same by walks towards the vertices, beside what their lists and the rough neighbours hold."""
        require(0 <= first <= last <= self._n and k > 0, "vertices out of range")
        for at in range(first, last, AT_ONCE * self._threads):
            end = min(last, at + AT_ONCE * self._threads)
            visited = self._collect(at, end - at, k, effort, most)
            self._link(at, end, np.hstack([visited, self._lists[at:end]]))

    def _link(self, first: int, last: int, candidates: np.ndarray) -> None:
        if self._near is not None:
            candidates = np.hstack([candidates, self._near.slots[first:last]])
        for mine, found in zip(self._fresh, self._select(np.arange(first, last), candidates)):
            mine[first:last] = found

    def reverse(self) -> None:
        """Ends a round: the new lists, and with them the edges in the other direction."""
        kept = np.arange(self._fresh.slots.shape[1]) < self._fresh.kept[:, None]
        incoming = edges(self._fresh, kept, np.arange(self._n), self._n, self._graph.degree)
        for first in range(0, self._n, AT_ONCE * self._threads):
            vertices = np.arange(first, min(self._n, first + AT_ONCE * self._threads))
            candidates = np.hstack([self._fresh.slots[vertices], incoming.of(vertices)])
            self._lists[vertices] = self._select(vertices, candidates).slots

    def write(self, first: int, last: int) -> None:
        """Writes the lists of [first, last) to their rows, as slots and codes."""
        require(0 <= first <= last <= self._n, "vertices out of range")
        for at in range(first, last, AT_ONCE):
            vertices = np.arange(at, min(last, at + AT_ONCE))
            self._patch(vertices, self._lists[vertices], fresh=True)

    # --------------------------------------------------------------------------------------------------------- changes

    def insert(self, first: int, count: int, k: int, effort: float, most: int) -> None:
        """Links vertices first .. first + count - 1, which no other row knows, and the neighbours that take them in.

        They do not see each other.
        """
        require(first >= 0 and first + count <= self._n and k > 0, "vertices out of range")
        if count == 0:
            return
        vertices = np.arange(first, first + count)
        links = self._select(vertices, self._collect(first, count, k, effort, most))
        for at in range(0, count, AT_ONCE):
            self._patch(vertices[at : at + AT_ONCE], links.slots[at : at + AT_ONCE], fresh=True)
        incoming = offers(links, vertices, self._n, self._graph.degree)
        targets = np.flatnonzero(incoming.count)
        for at in range(0, len(targets), AT_ONCE):
            some = targets[at : at + AT_ONCE]
            candidates = np.hstack([self._linked(some), incoming.of(some)])
            self._patch(some, self._select(some, candidates).slots)

    def forget(self, dead: np.ndarray) -> None:
        """Gives vertices with a neighbour in `dead` (packed bitmap) the live neighbours of that one to choose from."""
        dead = array(dead, np.uint8)
        require(dead.ndim == 1 and len(dead) >= (self._n + 7) // 8, "dead: wrong length")
        gone = np.unpackbits(dead, bitorder="little")[: self._n].astype(bool)
        for first in range(0, self._n, ROWS_LOOKED_AT):
            last = min(self._n, first + ROWS_LOOKED_AT)
            losing = ~gone[first:last] & gone[self._neighbours[first:last]].any(axis=(1, 2))
            some = first + np.flatnonzero(losing)
            for at in range(0, len(some), AT_ONCE):
                self._forget(some[at : at + AT_ONCE], gone)

    def _forget(self, vertices: np.ndarray, gone: np.ndarray) -> None:
        linked = self._linked(vertices)
        lost = gone[linked]
        candidates = np.full((len(vertices), linked.shape[1] * (1 + int(lost.sum(axis=1).max()))), NONE, np.int64)
        candidates[:, : linked.shape[1]] = linked
        for i in range(len(vertices)):
            theirs = self._linked(linked[i, lost[i]]).reshape(-1)
            candidates[i, linked.shape[1] : linked.shape[1] + len(theirs)] = theirs
        candidates[gone[candidates] & (candidates != NONE)] = NONE
        self._patch(vertices, self._select(vertices, candidates).slots)

    def rename(self, renamed: np.ndarray, count: int) -> None:
        """Renames neighbours, `renamed[slot]` being the new slot of each, in the first `count` rows."""
        rename_neighbours(self._neighbours, self._n, renamed, count)

    # --------------------------------------------------------------------------------------------------------- entries

    def entries(self, slots: np.ndarray) -> np.ndarray:
        """Blocks of entry vertices, coded against the mean."""
        slots = array(slots, np.uint32)
        require(slots.ndim == 1 and len(slots) > 0, "entries: wrong shape")
        padded = np.full(-(-len(slots) // BLOCK) * BLOCK, slots[-1], dtype=np.int64)
        padded[: len(slots)] = slots
        blocks = np.zeros((len(padded) // BLOCK, self._graph.block_bytes), dtype=np.uint8)
        centers = np.zeros((1, self._graph.transform.padded), dtype=np.float32)
        self._encode(blocks, np.arange(len(padded)), padded, np.zeros(len(padded), np.int64), centers)
        return blocks

    def unreached(self) -> np.ndarray:
        """Slots that cannot be reached from the entry vertices, one for each group of them."""
        x, roots = self._graph.arrays, np.empty(self._n, dtype=np.int64)
        entries = x.entries.words[:, -BLOCK:].reshape(-1)
        return roots[: _spread(self._graph.neighbours(x.blocks.words, 0, self._n), entries, roots)].astype(np.uint32)

    # ----------------------------------------------------------------------------------------------------------- parts

    def _collect(self, first: int, count: int, k: int, effort: float, most: int) -> np.ndarray:
        """Slots that searches for these vertices visit, (count, visits)."""
        x, most = self._graph.arrays._replace(shown=self._n), min(most, self._n)
        search = Search(np.float32(effort), most, NO_PACE, False, NO_FILTER, False, 0)
        visited = np.empty((count, most), dtype=np.int64)

        vectors = self._vectors.read(np.arange(first, first + count))
        queries = array(vectors[:, : self._graph.dim], np.float32)
        lifts = self._lifts[first : first + count] if len(self._lifts) else frozen(np.zeros(count, np.float32))
        distances, ids = np.empty((count, k), dtype=np.float32), np.empty((count, k), dtype=np.int64)

        def piece(begin: int, end: int) -> None:
            with self._graph.work() as work:
                search_queries(x, search, queries, lifts, begin, end, work, distances, ids, visited)

        over_ranges(count, self._threads, 1, piece)
        return visited

    def _select(self, vertices: np.ndarray, candidates: np.ndarray) -> Links:
        m, degree, rows = len(vertices), self._graph.degree, self._graph.arrays.rows
        out = Links(np.empty((m, degree), np.int64), np.empty((m, degree), np.float32), np.empty(m, np.int64))

        def piece(first: int, last: int) -> None:
            part = slice(first, last)
            mine = vertices[part], candidates[part]
            _select(rows, self._lifts, self._alpha2, *mine, out.slots[part], out.distances[part], out.kept[part])

        over_ranges(m, self._threads, 1, piece)
        return out

    def _linked(self, vertices: np.ndarray) -> np.ndarray:
        """Neighbours of some vertices as their rows say, (m, degree); the vertex itself where there is none."""
        return self._neighbours[vertices].reshape(len(vertices), -1).astype(np.int64)

    def _patch(self, vertices: np.ndarray, lists: np.ndarray, fresh: bool = False) -> None:
        """Makes `lists` the neighbours of vertices: lanes of those that stay are kept, the others are coded anew."""
        there = np.full(lists.shape, NONE, dtype=np.int64) if fresh else self._linked(vertices)
        stays = (there != NONE) & (there[:, :, None] == lists[:, None, :]).any(axis=2)
        new = (lists != NONE) & ~(lists[:, :, None] == there[:, None, :]).any(axis=2)
        first_new = np.argsort(~new, axis=1, kind="stable")
        queue = np.where(new, lists, vertices[:, None])
        queue = np.take_along_axis(queue, first_new, axis=1)
        wanted = np.take_along_axis(queue, np.maximum(np.cumsum(~stays, axis=1) - 1, 0), axis=1)
        row, lane = np.nonzero(~stays & (wanted != there))
        if len(row) == 0:
            return
        layout = self._graph.layout
        tails = np.ascontiguousarray(self._rows[vertices, layout.vector_bytes :])
        blocks = tails.reshape(-1, layout.block_bytes)
        centers = self._transformed(vertices)
        self._encode(blocks, row * self._graph.degree + lane, wanted[row, lane], row, centers)
        self._rows[vertices, layout.vector_bytes :] = tails

    def _transformed(self, slots: np.ndarray) -> np.ndarray:
        if self._given is not None:
            return self._given[slots]
        return self._graph.transform.apply(self._vectors.read(slots)) - self._graph.arrays.mean

    def _encode(
        self, blocks: np.ndarray, positions: np.ndarray, slots: np.ndarray, assign: np.ndarray, centers: np.ndarray
    ) -> None:
        """Puts the codes of vertices, relative to their centres, into lanes of blocks."""
        graph, x = self._graph, self._graph.arrays
        vectors, assign = self._transformed(slots), assign.astype(np.uint32)
        codes = graph.codec.encode(vectors, assign, centers, x.mean, "l2", self._threads)
        scales = np.array([*x.scales, x.scales[1]], dtype=np.float32)
        columns = 3 if graph.codec.shifted else 2
        with np.errstate(over="ignore"):  # the largest half stands for what is beyond it
            factors = np.clip(codes["first"] / scales, -LARGEST_HALF, LARGEST_HALF)[:, :columns].astype(np.float16)
        raw = np.ascontiguousarray(factors).view(np.uint8)
        write_blocks(blocks, positions, slots.astype(np.uint32), codes["symbols"], raw, FACTOR_BYTES)


class Incoming:
    """Edges by where they lead, of those to one vertex the nearest `most`."""

    def __init__(self, source: np.ndarray, target: np.ndarray, distance: np.ndarray, n: int, most: int) -> None:
        order = np.lexsort((source, distance, target))
        self._source, target = source[order], target[order]
        count = np.bincount(target, minlength=n)
        self._first = np.cumsum(count) - count
        self.count = np.minimum(count, most)

    def of(self, vertices: np.ndarray) -> np.ndarray:
        """Where the edges to these vertices come from, (m, the most that one of them has)."""
        count = self.count[vertices]
        lanes = np.arange(count.max(initial=0))
        mask = lanes < count[:, None]
        out = np.full(mask.shape, NONE, dtype=np.int64)
        out[mask] = self._source[(self._first[vertices][:, None] + lanes)[mask]]
        return out
