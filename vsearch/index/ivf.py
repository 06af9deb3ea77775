"""IVF: vectors in lists around centroids; a query looks into the nearest lists only."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from vsearch._progress import Progress
from vsearch._text import counted
from vsearch._typing import Answer
from vsearch._validate import check_choice, check_int
from vsearch.errors import DTypeError, ParameterError
from vsearch.index.base import METRICS, Index
from vsearch.index.idmap import ID_BYTES
from vsearch.index.ivf_core import Coded, IvfCore
from vsearch.index.lists import BLOCK, PLACE_BYTES
from vsearch.index.planned import Planned
from vsearch.quantize.base import EPSILON, Quantizer
from vsearch.quantize.kmeans import ITERATIONS
from vsearch.storage.stores import DTYPES, VectorStore, encode_rows, row_nbytes

CHUNK_ROWS = 16384
MAX_LISTS = 2**20
REFINE = (*DTYPES, None)
WIDER_FACTORS = 8
"""Bytes that the factors of a code take beyond those of a Flat index: three of 32 bits in place of two of 16."""

Encoded: TypeAlias = "tuple[np.ndarray, Coded | None, tuple[np.ndarray, np.ndarray | None] | None]"
"""Lists, codes and stored rows of new vectors."""


class IVF(Planned):
    """Inverted file: k-means lists, scanned by 1-bit bounds, refined from stored vectors.

    Parameters
    ----------
    lists : int in [1, 2**20] or None
        Number of lists; None takes 4 sqrt(n).
    metric : "l2", "ip" or "cosine", default "l2"
    quantizer : Quantizer (RaBitQ, LloydMax, SAQ, PQ, ...) or None
        What lists hold: codes, or (None) the vectors themselves, scanned exactly.
    dtype : "f32", "f16", "bf16" or "int8", default "f32"
        Of the stored vectors where there is no quantizer.
    refine : "f32", "f16", "bf16", "int8" or None, default "bf16"
        Of the vectors kept beside the codes to decide among the nearest; None keeps codes only.
    seed : int, default 0
        Of the k-means and, without a quantizer, the rotation; the same seed gives the same index.

    Notes
    -----
    `effort` is the number of lists probed for each query. With codes the distances returned come from the `refine`
    vectors; with ``refine=None`` they are estimates.

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> X = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32)
    >>> index = vs.IVF(lists=40, quantizer=vs.RaBitQ(bits=4), refine=None).fit(X)
    >>> ids, distances = index.search(X[:5], k=1, recall=0.9)
    >>> ids[:, 0].tolist()
    [0, 1, 2, 3, 4]
    """

    kind = "ivf"
    _core: IvfCore  # there once fitted

    def __init__(
        self,
        lists: int | None = None,
        metric: str = "l2",
        *,
        quantizer: Quantizer | None = None,
        dtype: str = "f32",
        refine: str | None = "bf16",
        seed: int = 0,
    ) -> None:
        super().__init__(metric)
        self.lists = _check_lists(lists)
        self.quantizer = check_quantizer(quantizer)
        self.dtype = check_choice("dtype", dtype, DTYPES)
        refine = check_choice("refine", refine, REFINE)
        self.refine = refine if quantizer is not None else None
        self.seed = check_int("seed", seed, 0, 2**63 - 1)
        self._store: VectorStore | None = None

    def __repr__(self) -> str:
        held = f"quantizer={self.quantizer!r}, refine={self.refine!r}" if self.quantizer else f"dtype={self.dtype!r}"
        head = f"IVF(lists={self.lists}, metric={self.metric!r}, {held})"
        if self._dim is None:
            return f"{head}: not fitted"
        lists = counted(len(self._core.centroids), "list")
        size = f"{counted(len(self), 'vector')} of {counted(self.dim or 0, 'dimension')} in {lists}"
        return f"{head}: {size}, {self.bytes_per_vector:,.0f} bytes each; {self.calibration or 'not calibrated'}"

    def _blank(self) -> IVF:
        return IVF(
            self.lists, self.metric, quantizer=self.quantizer, dtype=self.dtype, refine=self.refine, seed=self.seed
        )

    def _build(self, X: np.ndarray, threads: int, bar: Progress) -> np.ndarray:
        n, dim = X.shape
        lists = default_lists(n) if self.lists is None else self.lists
        if lists > n:
            raise ParameterError(f"`lists` must be at most the number of vectors, {n}; got {lists}.")
        core = IvfCore(self.metric, dim, self.quantizer, self.seed)
        bar.start("train ivf", ITERATIONS)
        core.train(X, lists, threads, bar.advance, self._fit_queries)
        bar.start("fill ivf", n)
        assign = core.assign(X, threads)
        order = core.start_lists(assign)
        self._core, self._scan = core, core.scan
        self._store = VectorStore(self._row_dtype, dim) if self._row_dtype else None
        if self._store is not None:
            self._store.reserve(n)
        for first in range(0, n, CHUNK_ROWS):
            rows = order[first : first + CHUNK_ROWS]
            self._insert(np.arange(first, first + len(rows)), self._encode_assigned(X[rows], assign[rows], threads))
            bar.advance(len(rows))
        return order

    @property
    def _row_dtype(self) -> str | None:
        return self.refine if self.quantizer is not None else self.dtype

    def _encode(self, X: np.ndarray, threads: int, bar: Progress) -> list[Encoded]:
        bar.start("add ivf", len(X))
        prepared = []
        for first in range(0, len(X), CHUNK_ROWS):
            rows = X[first : first + CHUNK_ROWS]
            prepared.append(self._encode_assigned(rows, self._core.assign(rows, threads), threads))
            bar.advance(len(rows))
        return prepared

    def _encode_assigned(self, X: np.ndarray, assign: np.ndarray, threads: int) -> Encoded:
        stored = encode_rows(X, self._row_dtype) if self._row_dtype else None
        return assign, self._core.encode(X, assign, threads), stored

    def _insert(self, slots: np.ndarray, prepared: Encoded | list[Encoded]) -> None:
        first = int(slots[0])
        for assign, codes, stored in [prepared] if isinstance(prepared, tuple) else prepared:
            self._core.append(np.arange(first, first + len(assign)), assign, codes)
            if self._store is not None and stored is not None:
                self._store.append(*stored)
            first += len(assign)
        self._core.lists.tidy(first)

    def _own(self) -> None:
        self._core.own()
        if self._store is not None:
            self._store.own()

    def _retract(self, n: int) -> None:
        self._core.lists.truncate(n)
        if self._store is not None:
            self._store.n = n
        self._bind()

    def _delete(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        self._core.remove(slots, moved_from, moved_to)
        n = len(self) if self._idmap is not None else 0
        if self._store is not None:
            self._store.remove(moved_from, moved_to, n)
        self._core.lists.tidy(n)

    def _bind(self) -> None:
        self._forget_plans()
        rows, factors = (self._store.rows, self._store.factors) if self._store is not None else (None, None)
        self._core.bind(self._fitted().ids_by_slot, len(self), self._row_dtype or "f32", rows, factors)

    def _ladder(self) -> list[float]:
        """Efforts to calibrate at: 1, 2, 4, 6, 8, 12, 16, ... lists."""
        lists = len(self._core.centroids)
        steps = {round(2 ** (i / 2)) for i in range(2 * math.ceil(math.log2(max(2, lists))) + 1)}
        return [float(p) for p in sorted({min(p, lists) for p in steps | {lists}})]

    def _find(
        self,
        Q: np.ndarray,
        k: int,
        effort: float | None,
        threads: int,
        bitmap: np.ndarray | None = None,
        matches: int = 0,
    ) -> Answer:
        probes = _probes(1.0 if effort is None else effort)
        if bitmap is not None and matches:
            # The matches of a filter are spread over more lists: open as many more as it takes to meet the same number.
            probes = math.ceil(probes * min(FILTER_REACH, len(self) / matches))
        return self._scan.search(Q, k, min(probes, MAX_LISTS), self._epsilon(probes), threads, bitmap, matches)

    def _plan(self, effort: float, k: int) -> tuple[int, float]:
        """Probes and the z-score of their bounds."""
        probes = _probes(effort)
        return probes, self._epsilon(probes)

    def _epsilon(self, probes: int) -> float:
        """z-score of the bounds at an effort. A bound that excludes a true neighbour wastes the probe that found it, so
        the more lists are probed the safer it should be: 1.9 at 64 lists, half a standard deviation more each time they
        double."""
        if probes >= len(self._core.centroids):
            return EPSILON_RANGE[1]
        return min(max(EPSILON + 0.5 * math.log2(probes / 64), EPSILON_RANGE[0]), EPSILON_RANGE[1])

    def _vectors(self, slots: np.ndarray) -> np.ndarray:
        if self._store is not None:
            return self._store.take(slots)
        return self._core.decode(slots)

    def _nbytes(self) -> int:
        return self._core.nbytes + (self._store.nbytes if self._store is not None else 0)

    def _expected_nbytes(self, n: int, dim: int) -> float:
        lists = default_lists(n) if self.lists is None else self.lists
        code = 0.0 if self.quantizer is None else self.quantizer.bytes_per_vector(dim, self.metric) + WIDER_FACTORS
        row = ID_BYTES + row_nbytes(self._row_dtype, dim) + PLACE_BYTES + code
        half_empty = min(BLOCK / 2, n / lists) * code  # the last block of every list
        return n * row + lists * (half_empty + 4 * dim)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        with self._commit():
            self._core.lists.compact(len(self))
            self._bind()
        meta = {
            "lists": self.lists,
            "quantizer": self._core.meta(),
            "dtype": self.dtype,
            "refine": self.refine,
            "seed": self.seed,
        }
        arrays = self._core.arrays(len(self))
        if self._store is not None:
            arrays |= self._store.arrays("store")
        return meta, arrays

    @classmethod
    def _from_state(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> IVF:
        quantizer = Quantizer.from_params(meta["quantizer"]) if meta["quantizer"] is not None else None
        refine = meta["refine"] if quantizer else "bf16"
        index = cls(
            meta["lists"], meta["metric"], quantizer=quantizer, dtype=meta["dtype"], refine=refine, seed=meta["seed"]
        )
        n, dim = meta["n"], check_int("dim", meta["dim"], 1, 65536)
        index._dim = dim
        index._core = IvfCore.from_arrays(index.metric, dim, meta["quantizer"], index.seed, n, arrays)
        index._scan = index._core.scan
        if index._row_dtype:
            index._store = VectorStore.from_arrays(index._row_dtype, dim, arrays, "store")
            if len(index._store) != n:
                raise ValueError("the stored rows are not as many as the ids")
        return index

    @classmethod
    def _open(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
        index = super()._open(meta, arrays)
        if not index._scan.consistent():
            raise ValueError("the lists do not hold each vector once")
        return index


EPSILON_RANGE = (1.5, 3.5)
FILTER_REACH = 64.0
"""Most that a filter multiplies the number of probed lists by; rarer matches are scanned directly."""


def _probes(effort: float) -> int:
    """An effort as a number of lists."""
    return min(max(1, math.ceil(effort - 1e-9)), MAX_LISTS)


def _check_lists(lists: Any) -> int | None:
    """The number of lists, None for the default; a metric in its place is a usual slip, being first elsewhere."""
    if isinstance(lists, str) and lists in METRICS:
        raise DTypeError(f"`lists` must be an int in [1, {MAX_LISTS}]; got {lists!r}. Write metric={lists!r}.")
    return None if lists is None else check_int("lists", lists, 1, MAX_LISTS)


def default_lists(n: int) -> int:
    """4 sqrt(n), at least one and at most one for every 8 vectors."""
    return max(1, min(round(4 * math.sqrt(n)), n // 8))


def check_quantizer(quantizer: Any, projections: bool = False) -> Quantizer | None:
    """The quantizer, refused where it is none, or one of `projections` where those will not do; a class in place of an
    instance is the usual slip."""
    if isinstance(quantizer, Quantizer) and quantizer.projects and not projections:
        raise ParameterError(
            f"`quantizer` must tell distances from its codes here, and {quantizer!r} drops coordinates; take another,"
            " or a Graph with layout='compact'."
        )
    if quantizer is None or isinstance(quantizer, Quantizer):
        return quantizer
    is_class = isinstance(quantizer, type) and issubclass(quantizer, Quantizer)
    hint = f" Write `vs.{quantizer.__name__}()` with brackets." if is_class else ""
    raise DTypeError(f"`quantizer` must be a quantizer, as vs.RaBitQ(), or None; got {quantizer!r}.{hint}")
