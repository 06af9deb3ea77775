"""What a Graph of the compact layout is made of: a code and the slots of its neighbours for each vertex, in one row."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar

import numpy as np

from vsearch._progress import Progress
from vsearch.index.graph_compact_code import FACTORS, CompactCode
from vsearch.index.graph_core import ADD_SEARCH, ADD_SEARCH_IP, ALPHA, CHUNK, PREFIX, GraphCore
from vsearch.index.lists import aligned_rows
from vsearch.kernels import core
from vsearch.quantize.base import TRAIN_ROWS, Quantizer, take
from vsearch.quantize.rabitq import RaBitQ
from vsearch.storage.stores import LARGEST_HALF, VectorStore, encode_rows

STORE = "store"


class GraphCompactCore(GraphCore):
    """The vertices of a compact graph.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine" (unit vectors)
    dim : dimension of the vectors
    quantizer : Quantizer, not trained; the user's own is not changed
    degree : neighbours of a vertex
    refine : dtype of the vectors kept beside, None for none
    seed : of the entry vertices and the partitions
    queries : float32 (m, dim), what the quantizer may learn from beside the vectors, or None

    Attributes
    ----------
    rows : uint8 (capacity, row bytes), code, factors and neighbours of each vertex (csrc/index/graph_compact.hpp)
    store : VectorStore or None, the better vectors
    entries : uint32, slots that walks begin with
    """

    most_entries: ClassVar[int] = 64

    def __init__(
        self,
        metric: str,
        dim: int,
        quantizer: Quantizer,
        degree: int,
        refine: str | None,
        seed: int,
        queries: np.ndarray | None = None,
    ) -> None:
        super().__init__(metric, dim, quantizer, degree, refine or "", seed)
        self.refine, self._queries = refine, queries
        self.store: VectorStore | None = None
        self.entries, self.entry_count = np.zeros(0, dtype=np.uint32), 0

    # ------------------------------------------------------------------ build

    def build(self, X: np.ndarray, threads: int, bar: Progress) -> None:
        """Trains on X and links all of it."""
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        sample = np.zeros((0, self.dim), dtype=np.float32)
        if self.quantizer.needs_data:
            rng = np.random.default_rng(self.seed)
            some = np.arange(len(X)) if len(X) <= TRAIN_ROWS else np.sort(rng.choice(len(X), TRAIN_ROWS, replace=False))
            sample = X[some] - self.mean
        asked = None if self.metric == "l2" or self._queries is None else self._queries - self.mean
        self.quantizer.train(sample, self.dim, self.metric, queries=asked, mean=self.mean, threads=threads)
        self._queries = None
        self._start()
        self._link_all(X, self._encoded(X, threads), threads, bar)

    def linked_again(self, X: np.ndarray, threads: int, bar: Progress) -> GraphCompactCore:
        """A graph of all vectors, those there are, as they are coded, and then X. This one stays."""
        codes, factors, stored = self._encoded(X, threads)
        if self.n:
            slots = np.arange(self.n)
            X = np.concatenate([self.vectors(slots), X])
            there = self._codes(slots)
            codes, factors = np.concatenate([there[0], codes]), np.concatenate([there[1], factors])
            stored = None if self.refine is None else encode_rows(X, self.refine)
        fresh = copy(self)
        fresh._start()
        fresh._link_all(X, (codes, factors, stored), threads, bar)
        return fresh

    def _link_all(self, X: np.ndarray, encoded: Any, threads: int, bar: Progress) -> None:
        """Rows of all vertices; the neighbours are those of a fast graph, which is forgotten then."""
        fast = GraphCore(self.metric, self.dim, RaBitQ(1, seed=self.seed), self.degree, _exact_enough(X), self.seed)
        fast.build(X, threads, bar)
        n = self.n = len(X)
        self._lift(X, fresh=True)
        self.rows = aligned_rows(n, self.scan.row_bytes)
        self.store = None
        self._store(0, encoded)
        words = self.rows.view(np.uint32)
        for first in range(0, n, CHUNK):
            slots = np.arange(first, min(first + CHUNK, n))
            words[slots[0] : slots[-1] + 1, self._lists] = fast._neighbours(slots)
        del fast
        self.entries, self.entry_count = np.zeros(0, dtype=np.uint32), 0
        ids = np.zeros(n, dtype=np.int64)
        self.bind(ids)
        builder = self._builder(threads)
        self._set_entries(builder)
        self._reach_all(builder, ids)

    def _start(self) -> None:
        """Makes the scan, once the quantizer is trained."""
        code = self.code = CompactCode(self.metric, self.quantizer, self.mean)
        transform = self.quantizer.transform
        self.scan = core.GraphCompactScan(self.metric, transform, code.wide, code.narrow, self.degree)
        self.scan.bind_coding(code.source, code.step, code.offset, self.mean)
        self._factors_at = -(-code.code_bytes // 4) * 4
        lists = -(-(self._factors_at + 4 * FACTORS) // 64) * 16
        self._lists = slice(lists, lists + self.degree)
        """Columns of the neighbours in rows of uint32."""

    def _encoded(self, X: np.ndarray, threads: int) -> Any:
        """(codes, factors, stored rows or None), what `_store` writes of vectors."""
        stored = None if self.refine is None else encode_rows(X, self.refine)
        return *self.code.encode(X, threads), stored

    def _store(self, first: int, encoded: Any) -> None:
        """Writes what `_encoded` made of vectors to the rows and the store, from this slot on."""
        codes, factors, stored = encoded
        rows = self.rows[first : first + len(codes)]
        rows[:, : codes.shape[1]] = codes
        rows[:, self._factors_at :][:, : 4 * FACTORS] = np.ascontiguousarray(factors).view(np.uint8)
        if stored is not None:
            self.store = VectorStore(str(self.refine), self.dim) if self.store is None else self.store
            self.store.own()
            self.store.n = first
            self.store.append(*stored)

    def _codes(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(codes, factors) of some slots."""
        held = self.rows[slots]
        factors = np.ascontiguousarray(held[:, self._factors_at :][:, : 4 * FACTORS]).view(np.float32)
        return np.ascontiguousarray(held[:, : self.code.code_bytes]), factors

    def _builder(self, threads: int) -> Any:
        return core.GraphCompactBuilder(self.scan, self.rows, ALPHA, threads)

    def _insert(self, builder: Any, first: int, X: np.ndarray) -> None:
        X = np.ascontiguousarray(X, dtype=np.float32)
        builder.insert(first, X, *(ADD_SEARCH_IP if self.metric == "ip" else ADD_SEARCH))

    def _enter_at(self, builder: Any, slots: np.ndarray) -> None:
        self.entries, self.entry_count = np.ascontiguousarray(slots, dtype=np.uint32), len(slots)

    def _entry_slots(self) -> np.ndarray:
        return self.entries[: self.entry_count]

    def _neighbours(self, slots: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.rows.view(np.uint32)[slots, self._lists]
        return found

    def own(self) -> None:
        """Copies arrays that belong to a read-only file, before they are changed."""
        super().own()
        if self.store is not None:
            self.store.own()

    def _move(self, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        super()._move(moved_from, moved_to)
        if self.store is not None:
            self.store.own()
            self.store.rows[moved_to] = self.store.rows[moved_from]
            if self.store.factors is not None:
                self.store.factors[moved_to] = self.store.factors[moved_from]

    def remove(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray, threads: int) -> None:
        """Takes vertices out; their neighbours link to one another. Then the last ones move into the holes."""
        super().remove(slots, moved_from, moved_to, threads)
        if self.store is not None:
            self.store.n = self.n
        self.entries = self.entries[: self.entry_count]

    def bind(self, ids: np.ndarray, hidden: int = 0) -> None:
        """Hands the arrays of the present state to the scan; the last `hidden` vertices are not found by searches."""
        self.scan.bind(
            ids=ids,
            rows=self.rows,
            entries=self._entry_slots(),
            lifts=self.lifts,
            reach2=self.reach2,
            store_dtype=self.refine or "f32",
            store=None if self.store is None else self.store.rows,
            factors=None if self.store is None else self.store.factors,
            n=self.n,
            hidden=hidden,
        )

    # ------------------------------------------------------------ facts, files

    def vectors(self, slots: np.ndarray) -> np.ndarray:
        """Vectors of some slots, float32 (m, dim): the stored ones, or what their codes stand for."""
        return self.code.decode(*self._codes(slots)) if self.store is None else self.store.take(slots)

    def farness(self, queries: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """As in the fast layout; a walk over codes has the index's own distances, of which cosine's are half as far."""
        far = super().farness(queries, distances)
        return far if self.metric == "l2" else far / 2

    @property
    def nbytes(self) -> int:
        """Bytes of rows, stored vectors, entries and what the quantizer learnt."""
        row = self.rows.shape[1] + 4 * (self.lifts is not None)
        learnt = sum(a.nbytes for a in self.quantizer.arrays.values())
        return self.n * row + (self.store.nbytes if self.store is not None else 0) + self.entries.nbytes + learnt

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file keeps."""
        out = {
            "mean": self.mean,
            "rows": self.rows[: self.n],
            "entries": self._entry_slots(),
            "scales": np.array([self.reach2], dtype=np.float64),
        }
        if self.store is not None:
            self.store.n = self.n  # an addition that was interrupted may have left more
            out |= self.store.arrays(STORE)
        if self.lifts is not None:
            out["lifts"] = self.lifts[: self.n]
        return out | {PREFIX + name: array for name, array in self.quantizer.arrays.items()}

    def restore(self, meta: Any, n: int, entry_count: int, arrays: dict[str, np.ndarray]) -> None:
        """Takes the state of a file, `meta` as the quantizer's `state` gave it; ValueError where it is damaged."""
        learnt = {name[len(PREFIX) :]: array for name, array in arrays.items() if name.startswith(PREFIX)}
        self.n = n
        self.quantizer = Quantizer.restore(meta, self.dim, self.metric, learnt)
        self.mean = take(arrays, "mean", np.float32, (self.dim,))
        self._start()
        self.rows = take(arrays, "rows", np.uint8, (n, self.scan.row_bytes))
        self.entries = take(arrays, "entries", np.uint32, (entry_count,))
        self.entry_count = entry_count
        if n and not entry_count:
            raise ValueError("there are no entry vertices")
        self.reach2 = float(take(arrays, "scales", np.float64, (1,))[0])
        if self.reach2 < 0:
            raise ValueError("a squared length is negative")
        if self.refine is not None:
            self.store = VectorStore.from_arrays(self.refine, self.dim, arrays, STORE)
            if len(self.store) != n:
                raise ValueError("the stored rows are not as many as the ids")
        self.lifts = take(arrays, "lifts", np.float32, (n,)) if self.metric == "ip" else None


def _exact_enough(X: np.ndarray) -> str:
    """The dtype of vectors in a graph that is built for its neighbours alone."""
    return "f16" if max(float(X.max(initial=0)), -float(X.min(initial=0))) <= LARGEST_HALF else "f32"
