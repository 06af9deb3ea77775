"""Flat: exact search, every vector looked at."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from vsearch._progress import Progress
from vsearch._text import counted
from vsearch._validate import check_choice, check_int
from vsearch.index.base import Index
from vsearch.index.idmap import ID_BYTES
from vsearch.index.ivf import REFINE, check_quantizer
from vsearch.index.ivf_core import IvfCore
from vsearch.index.lists import PLACE_BYTES
from vsearch.kernels import core
from vsearch.quantize.base import SURE_EPSILON, Quantizer
from vsearch.storage.stores import DTYPES, VectorStore, encode_rows, row_nbytes

CHUNK_ROWS = 16384
UNSIGNED_OFFSET = 128.0


class Flat(Index):
    """Exact search over stored vectors, or over codes with a second look at the nearest.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine", default "l2"
    dtype : "f32", "f16", "bf16" or "int8", default "f32"
        Of the stored vectors where there is no quantizer. int8 keeps vectors of integers in [-128, 127], and for l2 in
        [0, 255], as they are, and their distances to queries of integers are exact; other queries it reads in 16 bits.
    quantizer : Quantizer (RaBitQ, LloydMax, SAQ, PQ, ...) or None
        Codes to scan in place of the vectors: a vector whose lower bound exceeds the k-th best is passed over.
    refine : "f32", "f16", "bf16", "int8" or None, default "bf16"
        With a quantizer: of the vectors kept beside the codes to decide among the nearest; None keeps codes only, and
        distances are estimates.
    seed : int, default 0
        Of nothing yet: Flat has no random choices of its own, a quantizer brings its seed.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
    >>> index = vs.Flat(metric="cosine").fit(X)
    >>> ids, distances = index.search(X[:2], k=3)
    >>> ids[:, 0].tolist()
    [0, 1]
    """

    kind = "flat"

    def __init__(
        self,
        metric: str = "l2",
        *,
        dtype: str = "f32",
        quantizer: Quantizer | None = None,
        refine: str | None = "bf16",
        seed: int = 0,
    ) -> None:
        super().__init__(metric)
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self.quantizer = check_quantizer(quantizer)
        refine = check_choice("refine", refine, REFINE)
        self.refine = refine if quantizer is not None else None
        self.seed = check_int("seed", seed, 0, 2**63 - 1)
        self._offset = 0.0
        self._core: IvfCore | None = None  # one list of codes, with a quantizer
        self._store: VectorStore | None = None

    def __repr__(self) -> str:
        held = f"quantizer={self.quantizer!r}, refine={self.refine!r}" if self.quantizer else f"dtype={self.dtype!r}"
        head = f"Flat(metric={self.metric!r}, {held})"
        if self._idmap is None:
            return f"{head}: not fitted"
        size = f"{counted(len(self), 'vector')} of {counted(self.dim or 0, 'dimension')}"
        return f"{head}: {size}, {self.bytes_per_vector:,.0f} bytes each"

    def _blank(self) -> Flat:
        return Flat(self.metric, dtype=self.dtype, quantizer=self.quantizer, refine=self.refine, seed=self.seed)

    @property
    def _row_dtype(self) -> str | None:
        return self.refine if self.quantizer is not None else self.dtype

    # ------------------------------------------------------------------ writing

    def _build(self, X: np.ndarray, threads: int, bar: Progress) -> None:
        n, dim = X.shape
        self._store = VectorStore(self._row_dtype, dim) if self._row_dtype else None
        if self._store is not None:
            self._store.reserve(n)
        if self.quantizer is not None:
            self._core = IvfCore(self.metric, dim, self.quantizer, self.seed, compact=True)
            self._core.train(X, 1, threads, queries=self._fit_queries)
            self._core.start_lists(np.zeros(n, dtype=np.uint32))
            self._scan = self._core.scan
        else:
            self._offset = _offset(X) if self.dtype == "int8" and self.metric == "l2" else 0.0
            self._scan = core.FlatScan(self.metric, self.dtype, dim)
        bar.start("fill flat", n)
        for first in range(0, n, CHUNK_ROWS):
            rows = X[first : first + CHUNK_ROWS]
            self._insert(np.arange(first, first + len(rows)), [self._encode_rows(rows, threads)])
            bar.advance(len(rows))

    def _encode(self, X: np.ndarray, threads: int, bar: Progress) -> list[Any]:
        bar.start("add flat", len(X))
        prepared = []
        for first in range(0, len(X), CHUNK_ROWS):
            rows = X[first : first + CHUNK_ROWS]
            prepared.append(self._encode_rows(rows, threads))
            bar.advance(len(rows))
        if self._store is not None:  # copying the rows, where that must be, while searches go on
            self._store.reserve(len(self) + len(X))
        return prepared

    def _encode_rows(self, X: np.ndarray, threads: int) -> tuple[int, Any, Any]:
        codes = stored = None
        if self._core is not None:
            codes = self._core.encode(X, np.zeros(len(X), dtype=np.uint32), threads)
        if self._row_dtype is not None:
            stored = encode_rows(X - np.float32(self._offset) if self._offset else X, self._row_dtype)
        return len(X), codes, stored

    def _insert(self, slots: np.ndarray, prepared: list[Any]) -> None:
        first = int(slots[0])
        for size, codes, stored in prepared:
            if self._core is not None:
                self._core.append(np.arange(first, first + size), np.zeros(size, dtype=np.uint32), codes)
            if self._store is not None and stored is not None:
                self._store.append(*stored)
            first += size

    def _own(self) -> None:
        if self._core is not None:
            self._core.own()
        if self._store is not None:
            self._store.own()

    def _retract(self, n: int) -> None:
        if self._core is not None:
            self._core.lists.truncate(n)
        if self._store is not None:
            self._store.n = n
        self._bind()

    def _delete(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        if self._core is not None:
            self._core.remove(slots, moved_from, moved_to)
        if self._store is not None:
            self._store.remove(moved_from, moved_to, len(self))

    def _bind(self) -> None:
        rows, factors = (self._store.rows, self._store.factors) if self._store is not None else (None, None)
        if self._core is not None:
            self._core.bind(self._fitted().ids_by_slot, len(self), self._row_dtype or "f32", rows, factors)
        else:
            self._scan.bind(rows, factors, self._fitted().ids_by_slot, len(self))

    # ------------------------------------------------------------------ reading

    def _find(
        self, Q: np.ndarray, k: int, effort: Any, threads: int, bitmap: np.ndarray | None = None, matches: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._core is not None:
            return self._scan.search(Q, k, 1, SURE_EPSILON, threads, bitmap, matches)
        return self._scan.search(Q - np.float32(self._offset) if self._offset else Q, k, threads, bitmap)

    def _quick(self, Q: Any, k: Any, recall: Any, effort: Any) -> tuple[np.ndarray, np.ndarray] | None:
        if recall is not None or effort is not None or self._scan is None or self._offset:
            return None
        if self._core is not None:
            return self._scan.try_search(Q, k, 1, SURE_EPSILON)
        return self._scan.try_search(Q, k)

    def _vectors(self, slots: np.ndarray) -> np.ndarray:
        if self._store is not None:
            return self._store.take(slots) + np.float32(self._offset)
        return cast(IvfCore, self._core).decode(slots)

    def _nbytes(self) -> int:
        codes = self._core.nbytes if self._core is not None else 0
        return codes + (self._store.nbytes if self._store is not None else 0)

    def _expected_nbytes(self, n: int, dim: int) -> float:
        row: float = ID_BYTES + row_nbytes(self._row_dtype, dim)
        if self.quantizer is not None:
            row += PLACE_BYTES + self.quantizer.bytes_per_vector(dim, self.metric)
        return n * row

    # ------------------------------------------------------------------ files

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {
            "dtype": self.dtype,
            "quantizer": self._core.meta() if self._core is not None else None,
            "refine": self.refine,
            "seed": self.seed,
            "offset": self._offset,
        }
        arrays: dict[str, np.ndarray] = {}
        if self._core is not None:
            with self._commit():
                self._core.lists.compact(len(self))
                self._bind()
            arrays |= self._core.arrays(len(self))
        if self._store is not None:
            arrays |= self._store.arrays("store")
        return meta, arrays

    @classmethod
    def _from_state(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Flat:
        quantizer = Quantizer.from_params(meta["quantizer"]) if meta["quantizer"] is not None else None
        refine = meta["refine"] if quantizer else "bf16"
        index = cls(meta["metric"], dtype=meta["dtype"], quantizer=quantizer, refine=refine, seed=meta["seed"])
        n, dim = check_int("n", meta["n"], 0), check_int("dim", meta["dim"], 1, 65536)
        index._dim = dim
        index._offset = check_choice("offset", meta["offset"], (0.0, UNSIGNED_OFFSET))
        if quantizer is not None:
            index._core = IvfCore.from_arrays(index.metric, dim, meta["quantizer"], index.seed, n, arrays, compact=True)
            index._scan = index._core.scan
            if len(index._core.centroids) != 1:
                raise ValueError("a flat index has one list")
        else:
            index._scan = core.FlatScan(index.metric, index.dtype, dim)
        if index._row_dtype:
            index._store = VectorStore.from_arrays(index._row_dtype, dim, arrays, "store")
            if len(index._store) != n:
                raise ValueError("the stored rows are not as many as the ids")
        return index

    @classmethod
    def _open(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
        index = super()._open(meta, arrays)
        if meta["quantizer"] is not None and not index._scan.consistent():
            raise ValueError("the list does not hold each vector once")
        return index


def _offset(X: np.ndarray) -> float:
    """128 for unsigned bytes that signed ones cannot hold: distances do not change by a shift."""
    if not (X.size and X.min() >= 0 and 127 < X.max() <= 255):
        return 0.0
    whole = all((X[i : i + CHUNK_ROWS] == np.rint(X[i : i + CHUNK_ROWS])).all() for i in range(0, len(X), CHUNK_ROWS))
    return UNSIGNED_OFFSET if whole else 0.0
