"""What a Graph is made of beside ids and files: transform, rows of vertices, entry vertices, and how they change."""

from __future__ import annotations

import math
from copy import copy
from typing import Any, ClassVar

import numpy as np

from vsearch._interrupt import uninterrupted
from vsearch._progress import Progress
from vsearch.errors import ParameterError
from vsearch.index.lists import aligned_rows
from vsearch.kernels import core
from vsearch.quantize.base import Quantizer, take
from vsearch.storage.stores import decode_rows, encode_rows

PREFIX = "quantizer."
BLOCK = 32
ENTRIES = 256
"""Entry vertices, of which a walk begins with the nearest few."""
NEAR_ROUNDS, NEAR_WIDTH = 3, 48
"""Repetitions of the rough neighbours that a build starts from, and how many are kept of each vertex."""
WALK_ROUNDS = 1
BUILD_SEARCH, BUILD_SEARCH_IP = (32, 1.2, 200), (32, 1.5, 400)
"""Rounds of walks that find every vertex its neighbours, and (k, effort, visits) of each walk; walks under ip take
longer to get somewhere."""
ALPHA = 1.0
"""Slack of the pruning rule: 1 is the relative neighbourhood graph's."""
CHUNK = 8192
"""Vertices linked between two looks at Ctrl-C."""
ADD_SEARCH, ADD_SEARCH_IP = (32, 1.3, 200), (32, 1.5, 600)
"""The same for vectors added later, which no round comes back to."""
ADD_SHARE, ADD_AT_ONCE = 64, 32
"""New vertices do not see those of their own batch, so a batch is at most this part of the graph; and at most so many,
for searches wait while one is linked. (Batches of a thousand and more were a fifth quicker.)"""
CHECK_SHARE = 16
"""Vertices are looked for that cannot be reached, once one in so many has changed."""
LONGER = 1.05
"""Squared length that an added vector may have under ip, relative to the longest there was when the graph was built."""
HALF_TOP, HALF_STEP = 1024.0, 2.0
"""Factors are kept in f16 relative to the longest vector; these leave a factor of 64 for those added later."""
TRAIN_PAIRS = 2048
"""Vertices whose neighbours a quantizer learns from."""


class GraphCore:
    """The vertices of a graph.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine" (unit vectors)
    dim : dimension of the vectors
    quantizer : Quantizer, not trained; the user's own is not changed
    degree : neighbours of a vertex, a multiple of 32
    row_dtype : of the stored vectors
    seed : of the entry vertices and the partitions

    Attributes
    ----------
    rows : uint8 (capacity, row bytes), vector and blocks of neighbours of each vertex (csrc/index/graph_layout.hpp)
    factors : float32 (capacity, 2), of int8 vectors
    lifts : float32 (capacity,), under ip the coordinate that makes all vectors equally long
    """

    most_entries: ClassVar[int] = ENTRIES

    def __init__(self, metric: str, dim: int, quantizer: Quantizer, degree: int, row_dtype: str, seed: int) -> None:
        self.metric, self.dim, self.degree, self.row_dtype, self.seed = metric, dim, degree, row_dtype, seed
        self.quantizer = quantizer.fresh()
        self.n = 0
        self.factors: np.ndarray | None = None
        self.lifts: np.ndarray | None = None
        self.reach2 = 0.0
        self.changed = 0

    @property
    def width(self) -> int:
        """Dimensions of what is transformed: one more than those of the vectors under ip."""
        return self.dim + (self.metric == "ip")

    # ------------------------------------------------------------------ build

    def build(self, X: np.ndarray, threads: int, bar: Progress) -> None:
        """Trains on X and links all of it."""
        encoded = self._encoded(X, threads)
        lifted = self._lift(X, fresh=True)
        self.mean = lifted.mean(axis=0, dtype=np.float64).astype(np.float32)
        residuals = np.zeros((0, self.width), dtype=np.float32)
        if self.quantizer.needs_data:
            residuals = neighbour_residuals(lifted, self.seed)
        self.quantizer.train(residuals, self.width, "l2", mean=self.mean, threads=threads)
        self._start()
        self._link(encoded, lifted, threads, bar)

    def fits(self, X: np.ndarray) -> bool:
        """Whether `add` can link X to what there is: not to nothing, nor where no lift makes all equally long."""
        if self.n == 0:
            return False
        return self.metric != "ip" or float(np.einsum("ij,ij->i", X, X).max(initial=0.0)) <= self.reach2 * LONGER

    def linked_again(self, X: np.ndarray, threads: int, bar: Progress) -> GraphCore:
        """A graph of all vectors, those there are and then X, with what the quantizer has learnt. This one stays."""
        fresh = copy(self)
        encoded = self._encoded(X, threads)
        if self.n:
            X = np.concatenate([self.vectors(np.arange(self.n)), X])
            encoded = self._encoded(X, threads)
        lifted = fresh._lift(X, fresh=True)
        fresh.mean = lifted.mean(axis=0, dtype=np.float64).astype(np.float32)
        fresh._start()
        fresh._link(encoded, lifted, threads, bar)
        return fresh

    def _link(
        self, encoded: tuple[np.ndarray, np.ndarray | None], lifted: np.ndarray, threads: int, bar: Progress
    ) -> None:
        n = self.n = len(lifted)
        transformed = np.ascontiguousarray(self.quantizer.apply(lifted, threads) - self.transformed_mean)
        longest = float(np.einsum("ij,ij->i", transformed, transformed).max(initial=0.0))
        self.scales = factor_scales(longest)
        self.rows = aligned_rows(n, self.scan.row_bytes)
        if self.row_dtype == "int8":
            self.factors = np.zeros((n, 2), dtype=np.float32)
        self._store(0, encoded)
        self.entries, self.entry_count = np.zeros((1, self.scan.block_bytes), dtype=np.uint8), 0
        ids = np.zeros(n, dtype=np.int64)
        self.bind(ids)
        builder = core.GraphBuilder(self.scan, self.rows, self.lifts, transformed, ALPHA, threads)
        self._set_entries(builder)
        self.bind(ids)
        bar.start("graph: rough neighbours", NEAR_ROUNDS)
        for repetition in range(NEAR_ROUNDS if n > BLOCK else 1):
            builder.improve_near(min(NEAR_WIDTH, max(1, n - 1)), self.seed + repetition)
            bar.advance()
        self._in_chunks(bar, "graph: link", builder.link_near)
        builder.reverse()
        self._in_chunks(bar, "graph: code", builder.write)
        walk = BUILD_SEARCH_IP if self.metric == "ip" else BUILD_SEARCH
        for _ in range(WALK_ROUNDS):
            self._in_chunks(bar, "graph: walk", lambda first, last: builder.link_by_walks(first, last, *walk))
            builder.reverse()
            self._in_chunks(bar, "graph: code", builder.write)
        self._reach_all(builder, ids)

    def _in_chunks(self, bar: Progress, stage: str, work: Any) -> None:
        bar.start(stage, self.n)
        for first in range(0, self.n, CHUNK):
            last = min(first + CHUNK, self.n)
            work(first, last)
            bar.advance(last - first)

    def _start(self) -> None:
        """Makes the scan, once the quantizer is trained."""
        codec = self.quantizer.codec
        if codec.extra_bytes:
            raise ParameterError(
                f"`quantizer` must have all of its code in 4-bit symbols, as vs.RaBitQ(bits=1) or vs.PQ(m, bits=4);"
                f" {self.quantizer!r} has {codec.extra_bytes} bytes more."
            )
        self.scan = core.GraphScan(self.metric, self.quantizer.transform, codec, self.row_dtype, self.degree)
        self._center()

    def _center(self) -> None:
        self.transformed_mean = np.ascontiguousarray(self.quantizer.transform.apply(self.mean[None])[0])
        self.scan.bind_mean(self.transformed_mean)

    def _lift(self, X: np.ndarray, fresh: bool = False) -> np.ndarray:
        """Vectors as they are transformed; under ip with the coordinate that makes them as long as the longest was."""
        if self.metric != "ip":
            return X
        norms2 = np.einsum("ij,ij->i", X, X, dtype=np.float64)
        if fresh:
            self.reach2 = float(norms2.max(initial=0.0))
        lifts = np.sqrt(np.maximum(self.reach2 - norms2, 0.0)).astype(np.float32)
        self.lifts = lifts if fresh or self.lifts is None else np.concatenate([self.lifts[: self.n], lifts])
        return np.ascontiguousarray(np.column_stack([X, lifts]))

    def _store(self, first: int, encoded: tuple[np.ndarray, np.ndarray | None]) -> None:
        """Writes vectors, as `encode_rows` made them, into their rows."""
        rows, factors = encoded
        stored = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
        self.rows[first : first + len(rows), : stored.shape[1]] = stored
        if self.factors is not None and factors is not None:
            self.factors[first : first + len(rows)] = factors

    def _set_entries(self, builder: Any, more: np.ndarray | None = None) -> None:
        """Codes a random sample of the vertices, and `more` of them, as those that walks begin with. Under ip half of
        them are the longest, for most of the largest products are theirs."""
        rng = np.random.default_rng(self.seed)
        count = min(self.most_entries, self.n)
        slots = rng.choice(self.n, count, replace=False).astype(np.uint32)
        if self.lifts is not None:
            longest = np.argpartition(self.lifts[: self.n], count // 2)[: count // 2]
            slots = np.union1d(slots[: count - count // 2], longest).astype(np.uint32)
        if more is not None:
            slots = np.union1d(slots, more).astype(np.uint32)
        self._enter_at(builder, slots)

    def _enter_at(self, builder: Any, slots: np.ndarray) -> None:
        self.entries, self.entry_count = builder.entries(np.ascontiguousarray(slots, dtype=np.uint32)), len(slots)

    def _reach_all(self, builder: Any, ids: np.ndarray, hidden: int = 0) -> None:
        """Makes one vertex of each group that walks cannot reach an entry."""
        self.bind(ids, hidden)
        orphans = builder.unreached()
        if len(orphans):
            self._set_entries(builder, orphans)
            self.bind(ids, hidden)
        self.changed = 0

    def bind(self, ids: np.ndarray, hidden: int = 0) -> None:
        """Hands the arrays of the present state to the scan; the last `hidden` vertices are not found by searches."""
        self.scan.bind(
            ids=ids,
            rows=self.rows,
            factors=self.factors,
            entries=self.entries,
            entry_count=self.entry_count,
            lifts=self.lifts,
            add_scale=self.scales[0],
            rescale_scale=self.scales[1],
            reach2=self.reach2,
            n=self.n,
            hidden=hidden,
        )

    # ---------------------------------------------------------------- changes

    def add(self, X: np.ndarray, ids: np.ndarray, threads: int, bar: Progress) -> None:
        """Appends vectors and links them, batch by batch; between two of them searches go on. These return the vertices
        there were, whose `ids` are given, until `bind` shows the others or `withdraw` takes them out."""
        before, after = self.n, self.n + len(X)
        encoded = self._encoded(X, threads)
        self._own(after)
        self._lift(X)
        self._store(before, encoded)
        held = np.zeros(after, dtype=np.int64)
        held[:before] = ids
        bar.start("graph: link", len(X))
        while self.n < after:
            batch = min(max(self.n // ADD_SHARE, 1), ADD_AT_ONCE, after - self.n)
            with uninterrupted(), self.scan.exclusive():
                first, self.n = self.n, self.n + batch
                self.bind(held, self.n - before)
                builder = self._builder(threads)
                self._insert(builder, first, X[first - before : first - before + batch])
            bar.advance(batch)
        with uninterrupted(), self.scan.exclusive():
            looked = self._changed_by(len(X), threads, held, len(X))
        if not looked:
            lonely = self._lonely(before)
            if len(lonely):
                self._enter_at(builder, np.concatenate([self._entry_slots(), lonely]))

    def withdraw(self, ids: np.ndarray, threads: int) -> None:
        """Takes out what `add` appended to the vertices of these ids and nobody has seen: after Ctrl-C, say."""
        none = np.zeros(0, dtype=np.int64)
        with uninterrupted(), self.scan.exclusive():
            self.remove(np.arange(len(ids), self.n), none, none, threads)
            self.bind(ids)

    def remove(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray, threads: int) -> None:
        """Takes vertices out; their neighbours link to one another. Then the last ones move into the holes."""
        before, after = self.n, self.n - len(slots)
        self._own(before)
        if after == 0:
            self.n, self.entry_count = 0, 0
            return
        ids = np.zeros(before, dtype=np.int64)
        dead = np.zeros(before, dtype=bool)
        dead[slots] = True
        self.bind(ids)
        builder = self._builder(threads)
        builder.forget(np.packbits(dead, bitorder="little"))
        renamed = np.arange(before, dtype=np.uint32)
        renamed[moved_from] = moved_to
        self._move(moved_from, moved_to)
        builder.rename(renamed, after)
        entries = self._entry_slots()
        kept = renamed[entries[~dead[entries]]]
        self.n = after
        self.bind(ids)
        # An entry may have been the only way to some vertices.
        if not self._changed_by(len(slots) if len(kept) == len(entries) else after, threads, ids):
            self._enter_at(self._builder(threads), kept)

    def _builder(self, threads: int) -> Any:
        """What changes the rows that the scan is bound to."""
        return core.GraphBuilder(self.scan, self.rows, self.lifts, None, ALPHA, threads)

    def _insert(self, builder: Any, first: int, X: np.ndarray) -> None:
        """Links the vectors X, whose rows begin at `first`."""
        builder.insert(first, len(X), *(ADD_SEARCH_IP if self.metric == "ip" else ADD_SEARCH))

    def _encoded(self, X: np.ndarray, threads: int) -> Any:
        """What `_store` writes of vectors."""
        return encode_rows(X, self.row_dtype)

    def _move(self, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        """Vertices move to other slots."""
        self.rows[moved_to] = self.rows[moved_from]
        for array in (self.factors, self.lifts):
            if array is not None:
                array[moved_to] = array[moved_from]

    def _entry_slots(self) -> np.ndarray:
        """The entry vertices, uint32 (entry_count,)."""
        return self.entries.view(np.uint32)[:, -BLOCK:].reshape(-1)[: self.entry_count]

    def _neighbours(self, slots: np.ndarray) -> np.ndarray:
        """Neighbours of some vertices, uint32 (m, degree); the nearest of most first."""
        block, blocks = self.scan.block_bytes // 4, self.degree // BLOCK
        ends = self.rows.shape[1] // 4 - block * np.arange(blocks)[::-1]
        columns = (ends[:, None] + np.arange(-BLOCK, 0)).reshape(-1)
        found: np.ndarray = self.rows.view(np.uint32)[slots[:, None], columns]
        return found

    def _lonely(self, first: int) -> np.ndarray:
        """Vertices from this one on that no neighbour of theirs has as a neighbour."""
        lonely = []
        for start in range(first, self.n, 256):
            left = np.arange(start, min(start + 256, self.n))
            for some in np.split(np.arange(self.degree), [4, 12]):  # most have one among the nearest
                near = self._neighbours(left)[:, some]
                back = self._neighbours(near.reshape(-1)).reshape(*near.shape, self.degree)
                back = (back == left[:, None, None]).any(axis=2) & (near != left[:, None])
                left = left[~back.any(axis=1)]
            lonely.append(left)
        return np.concatenate(lonely)

    def _changed_by(self, count: int, threads: int, ids: np.ndarray, hidden: int = 0) -> bool:
        """After some changes looks whether all vertices can still be reached; tells whether it did."""
        self.changed += count
        due = self.changed * CHECK_SHARE >= self.n
        if due:
            self.bind(ids, hidden)
            builder = self._builder(threads)
            self._set_entries(builder)
            self._reach_all(builder, ids, hidden)
        return due

    def own(self) -> None:
        """Copies arrays that belong to a read-only file, before they are changed."""
        self._own(self.n)

    def _own(self, capacity: int) -> None:
        """Room for `capacity` vertices, in memory that may be written."""
        if len(self.rows) < capacity or not self.rows.flags.writeable:
            room = capacity if len(self.rows) >= capacity else max(capacity, len(self.rows) * 5 // 4)
            fresh = aligned_rows(room, self.rows.shape[1])
            fresh[: self.n] = self.rows[: self.n]
            self.rows = fresh
        if self.factors is not None and (len(self.factors) < len(self.rows) or not self.factors.flags.writeable):
            factors = np.zeros((len(self.rows), 2), dtype=np.float32)
            factors[: self.n] = self.factors[: self.n]
            self.factors = factors
        if self.lifts is not None and not self.lifts.flags.writeable:
            self.lifts = np.array(self.lifts)

    # ------------------------------------------------------------ facts, files

    def vectors(self, slots: np.ndarray) -> np.ndarray:
        """Stored vectors of some slots, float32 (m, dim)."""
        dtype = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "int8": np.int8}[self.row_dtype]
        held = np.ascontiguousarray(self.rows[slots, : self.dim * np.dtype(dtype).itemsize])
        factors = self.factors[slots] if self.factors is not None else None
        return decode_rows(held.view(dtype), factors, self.row_dtype)

    def farness(self, queries: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """What a walk compares with the usual distance: that of the k-th best (nq,) beyond the least there could be."""
        if self.metric != "ip":
            return distances if self.metric == "l2" else 2 * distances
        # As long as they are made: `scan.lengthened` times as long as the longest vector.
        lengths = np.maximum(np.linalg.norm(queries, axis=1), np.float32(1e-30))
        short: np.ndarray = self.reach2 + math.sqrt(self.reach2) * distances / lengths
        return 2 * np.float32(self.scan.lengthened) * short

    @property
    def nbytes(self) -> int:
        """Bytes of rows, factors, entries and what the quantizer learnt."""
        row = self.rows.shape[1] + 8 * (self.factors is not None) + 4 * (self.lifts is not None)
        return self.n * row + self.entries.nbytes + sum(a.nbytes for a in self.quantizer.arrays.values())

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file keeps."""
        out = {
            "mean": self.mean,
            "rows": self.rows[: self.n],
            "entries": self.entries,
            "scales": np.array([*self.scales, self.reach2], dtype=np.float64),
        }
        if self.factors is not None:
            out["factors"] = self.factors[: self.n]
        if self.lifts is not None:
            out["lifts"] = self.lifts[: self.n]
        return out | {PREFIX + name: array for name, array in self.quantizer.arrays.items()}

    def restore(self, meta: Any, n: int, entry_count: int, arrays: dict[str, np.ndarray]) -> None:
        """Takes the state of a file, `meta` as the quantizer's `state` gave it; ValueError where it is damaged."""
        learnt = {name[len(PREFIX) :]: array for name, array in arrays.items() if name.startswith(PREFIX)}
        self.n = n
        self.quantizer = Quantizer.restore(meta, self.width, "l2", learnt)
        self.mean = take(arrays, "mean", np.float32, (self.width,))
        self._start()
        self.rows = take(arrays, "rows", np.uint8, (n, self.scan.row_bytes))
        self.entries = take(arrays, "entries", np.uint8, (None, self.scan.block_bytes))
        self.entry_count = entry_count
        if n and not 1 <= entry_count <= min(n, len(self.entries) * BLOCK):
            raise ValueError(f"there are {entry_count} entry vertices")
        scales = take(arrays, "scales", np.float64, (3,))
        if scales[0] <= 0 or scales[1] <= 0 or scales[2] < 0:
            raise ValueError("scales must be positive")
        self.scales, self.reach2 = (float(scales[0]), float(scales[1])), float(scales[2])
        self.factors = take(arrays, "factors", np.float32, (n, 2)) if self.row_dtype == "int8" else None
        self.lifts = take(arrays, "lifts", np.float32, (n,)) if self.metric == "ip" else None


def factor_scales(longest2: float) -> tuple[float, float]:
    """What the stored f16 of `add` and `rescale` are multiplied by, for vectors of up to this squared length."""
    longest2 = longest2 if longest2 > 0 else 1.0
    return longest2 / HALF_TOP, math.sqrt(longest2) * HALF_STEP / HALF_TOP


def neighbour_residuals(X: np.ndarray, seed: int) -> np.ndarray:
    """Differences between some vectors and their neighbours among a sample, for quantizers that learn from data."""
    rng = np.random.default_rng(seed)
    sample = X[rng.choice(len(X), min(len(X), 8 * TRAIN_PAIRS), replace=False)]
    k = min(16, len(sample))
    scan = core.FlatScan("l2", "f32", X.shape[1])
    scan.bind(np.ascontiguousarray(sample), None, np.arange(len(sample)), len(sample))
    found, _ = scan.search(np.ascontiguousarray(sample[:TRAIN_PAIRS]), k, 1, None)
    differences = sample[found] - sample[:TRAIN_PAIRS, None]
    differences = differences.reshape(-1, X.shape[1])
    apart = np.any(differences != 0, axis=1)
    return np.ascontiguousarray(differences[apart] if apart.any() else differences[:1])
