"""What every index does the same: validation, ids, metrics, filters, recall targets, writing while others search.

A *slot* is a row of the arrays an index keeps, 0 .. n-1 without holes; an *id* is the caller's. An index implements the
hooks at the end of `Index`; they see float32 vectors (unit vectors for cosine) and slots, never ids.

Concurrency: any number of threads search while one writes. A writer prepares outside and commits inside `_commit`,
which waits for the searches in flight and holds off new ones; `_version` counts commits, so that a filter translated to
slots before a commit is not used after it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from vsearch._interrupt import uninterrupted
from vsearch._progress import Progress
from vsearch._threads import resolve_threads
from vsearch._typing import Answer, Filter, Path, Vectors
from vsearch._validate import (
    check_choice,
    check_flag,
    check_float,
    check_ids,
    check_int,
    check_k,
    check_lengths,
    check_path,
    check_queries,
    check_vectors,
)
from vsearch.errors import DuplicateIdError, NotFittedError, ParameterError, UnknownIdError
from vsearch.index.calibrate import Calibration, calibrate
from vsearch.index.filter import PreparedFilter, slot_bitmap
from vsearch.index.idmap import IdMap
from vsearch.index.pieces import Pieces
from vsearch.kernels import core
from vsearch.storage import container

if TYPE_CHECKING:
    from typing_extensions import Self

METRICS = ("l2", "ip", "cosine")
DEFAULT_RECALL = 0.95
MAX_VECTORS = 2**32 - 64
MAX_ID = 2**63 - 1


class Index(ABC):
    """Common face of `Flat`, `IVF` and `Graph`: fit, search, add, remove, save.

    Attributes
    ----------
    metric : "l2" (squared Euclidean), "ip" (negated inner product) or "cosine" (1 - cosine); smaller is always nearer
    calibration : Calibration or None, measured recall by effort (see `search`)
    """

    kind: ClassVar[str]

    def __init__(self, metric: str) -> None:
        self.metric = check_choice("metric", metric, METRICS)
        self.calibration: Calibration | None = None
        self._dim: int | None = None
        self._idmap: IdMap | None = None
        self._scan: Any = None
        self._fit_queries: np.ndarray | None = None  # while it is built: what quantizers may learn from
        self._version = 0
        self._recall = DEFAULT_RECALL
        self._pieces = Pieces()
        self._write_lock = threading.RLock()
        self._state_lock = threading.RLock()

    # ------------------------------------------------------------------ facts

    def __len__(self) -> int:
        return len(self._idmap) if self._idmap is not None else 0

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors, None before `fit`."""
        return self._dim

    @property
    def ids(self) -> np.ndarray:
        """All ids, ascending, int64 (n,). A boolean filter mask is aligned with it."""
        with self._state_lock:
            return self._fitted().sorted_ids.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of everything a search may read: codes, factors, stored vectors, ids, lists."""
        return self._nbytes() + (self._idmap.nbytes if self._idmap is not None else 0)

    @property
    def bytes_per_vector(self) -> float:
        """`nbytes` over the number of vectors."""
        return self.nbytes / max(1, len(self))

    @property
    def recall(self) -> float:
        """Share of the true neighbours that `search` aims at where it is not told, in (0, 1]; 0.95 unless it is set."""
        return self._recall

    @recall.setter
    def recall(self, recall: float) -> None:
        self._recall = check_float("recall", recall, 0, 1, open_low=True)

    def vector(self, id: int) -> np.ndarray:
        """The stored vector of an id, float32 (d,), to the precision of what is stored; a unit vector for cosine.

        Raises
        ------
        UnknownIdError
            If the id is not in the index.
        """
        with self._state_lock:
            slot = self._fitted().slots(_one_id(id))
            return self._vectors(slot)[0]

    def __contains__(self, id: object) -> bool:
        try:
            with self._state_lock:
                self._fitted().slots(_one_id(id))
            return True
        except (UnknownIdError, TypeError, ValueError):
            return False

    # ------------------------------------------------------------------ writing

    def fit(
        self,
        X: Vectors,
        ids: Vectors | None = None,
        *,
        queries: Vectors | None = None,
        threads: int | None = None,
        progress: bool | None = None,
    ) -> Self:
        """Trains the index on X and fills it with X; what it held before is forgotten.

        Parameters
        ----------
        X : array-like of shape (n, d), n >= 1
            float32 is used as it is; float16, float64, int8 and uint8 are converted. NaN and infinity are refused, and
            with a quantizer, where the metric is not cosine, vectors longer than 1e18.
        ids : array-like of n unique ints >= 0, default 0 .. n-1
        queries : array-like of shape (m, d), optional
            Queries like those to come, for the calibration of `recall=`. By default vectors of X stand in for them.
        threads : int, default all cores
        progress : bool, default a bar when it takes longer than two seconds

        Returns
        -------
        self

        Raises
        ------
        DTypeError, DimensionError, ParameterError, DuplicateIdError
            Before anything has changed.
        """
        X = check_vectors("X", X)
        n, dim = X.shape
        ids = np.arange(n, dtype=np.int64) if ids is None else check_ids("ids", ids, n)
        samples = None if queries is None else self._prepare(check_vectors("queries", queries, dim), "queries")
        threads = resolve_threads(threads)
        X = self._prepare(X)
        with self._write_lock, Progress(f"fit {self.kind}", progress) as bar:
            fresh = self._blank()
            fresh._dim, fresh._recall = dim, self._recall
            fresh._fit_queries = samples
            order = fresh._build(X, threads, bar)
            fresh._fit_queries = None
            fresh._idmap = IdMap(ids if order is None else ids[order])
            fresh._bind()
            if fresh._calibrated and fresh.calibration is None:
                fresh.calibration = calibrate(fresh, X if order is None else X[order], samples, threads, bar)
            with self._commit():
                self._adopt(fresh)
        return self

    def add(
        self, X: Vectors, ids: Vectors | None = None, *, threads: int | None = None, progress: bool | None = None
    ) -> np.ndarray:
        """Adds vectors; searches see all of them or none.

        Parameters
        ----------
        X : array-like of shape (m, d)
        ids : array-like of m unique ints >= 0, not in the index; by default the numbers after the largest id
        threads, progress : as in `fit`

        Returns
        -------
        int64 array of shape (m,), the ids

        Raises
        ------
        DuplicateIdError
            If an id is given twice or is in the index already; and the errors of `fit`. Nothing has changed then.
        """
        with self._write_lock, Progress(f"add {self.kind}", progress) as bar:
            known = self._fitted()
            self._abandon()
            X = self._prepare(check_vectors("X", X, self._dim, allow_empty=True))
            if ids is None:
                first = known.largest + 1
                if first > MAX_ID - len(X):
                    raise ParameterError(
                        f"`ids` must be given: no numbers are left after the largest id, {known.largest}."
                    )
                ids = np.arange(first, first + len(X), dtype=np.int64)
            ids = check_ids("ids", ids, len(X))
            twice = known.contains_any(ids)
            if twice is not None:
                raise DuplicateIdError(
                    f"`ids` must be new; {twice} is in the index. To replace a vector, remove its id first."
                )
            if len(known) + len(X) > MAX_VECTORS:
                raise ParameterError(
                    f"`X` must leave the index with at most {MAX_VECTORS} vectors; it has {len(known)}."
                )
            if len(X) == 0:
                return ids
            try:
                prepared = self._encode(X, resolve_threads(threads), bar)
                self._own()
                known.reserve(len(known) + len(X))
                with self._commit():
                    slots = np.arange(len(known), len(known) + len(X))
                    try:
                        self._insert(slots, prepared)
                        known.append(ids)
                    except BaseException:  # no memory, say; the scan would find what is there in part
                        self._retract(int(slots[0]))
                        raise
                    self._bind()
            except BaseException:  # Ctrl-C, say
                self._abandon()
                raise
        return ids

    def remove(self, ids: Vectors) -> int:
        """Removes the vectors of these `ids`, one or many, and returns how many there were.

        Raises
        ------
        UnknownIdError
            If an id is not in the index, naming the first; nothing has been removed then.
        """
        with self._write_lock:
            known = self._fitted()
            self._abandon()
            ids = check_ids("ids", ids)
            slots = known.slots(ids)
            if len(slots) == 0:
                return 0
            self._own()
            known.reserve(len(known))
            with self._commit():
                moved_from, moved_to = known.remove(slots)
                self._delete(slots, moved_from, moved_to)
                self._bind()
        return len(slots)

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """Within, no search is running and Ctrl-C waits: what is changed here is changed whole."""
        if self._scan is None:
            with uninterrupted():
                yield
            return
        with uninterrupted(), self._scan.exclusive(), self._state_lock:
            self._version += 1
            yield

    def _adopt(self, other: Index) -> None:
        """Takes over the state of a freshly built index; a search that began before keeps the old scan."""
        for name, value in vars(other).items():
            if name not in ("_write_lock", "_state_lock", "_version"):
                setattr(self, name, value)

    # ------------------------------------------------------------------ searching

    def search(
        self,
        Q: Vectors,
        k: int = 10,
        *,
        recall: float | None = None,
        effort: float | None = None,
        filter: Filter = None,
        threads: int | None = None,
        progress: bool | None = None,
    ) -> Answer:
        """The k nearest vectors of each query.

        Parameters
        ----------
        Q : array-like of shape (d,) for one query or (nq, d) for many
        k : int in [1, 65536], default 10
        recall : float in (0, 1], default that of the index, 0.95 where nobody has set another
            Share of the true neighbours wanted; the index finds the effort by its calibration. Beyond what that
            measured the effort grows as far as the last measurements let expect, at last to all there is; what cannot
            be reached even so (codes alone, `refine=None`, often cannot: `calibration` says how far it goes) is no
            error. A Flat over codes alone has one recall, whatever is asked.
        effort : float > 0, optional
            Overrides `recall` with a fixed effort: of an IVF the lists to look into, of a Graph the most vertices to
            visit. Flat has no use for it.
        filter : bool mask (n,) or packed bits uint8 (ceil(n / 8),), lowest bit first as
            ``np.packbits(mask, bitorder="little")`` makes them, both aligned with `ids`; array of int64 ids; or
            `vsearch.index.filter.PreparedFilter`, optional
            Only these may be returned. A `PreparedFilter` of one of them is translated once for many searches.
        threads : int, default one for one query, else all cores
        progress : bool, default a bar when it takes longer than two seconds

        Returns
        -------
        ids : int64 array of shape (k,) or (nq, k), -1 where fewer than k vectors were found
        distances : float32 array of the same shape, ascending, infinity where the id is -1

        Raises
        ------
        NotFittedError, DTypeError, DimensionError, ParameterError
        """
        ordinary = progress is None or type(progress) is bool
        if filter is None and ordinary and (threads is None or (type(threads) is int and threads == 1)):
            answer = self._quick(Q, k, recall, effort)
            if answer is not None:
                return answer
        if self._dim is None:
            raise self._not_fitted()
        k = check_k(k)
        effort = self._effort(k, recall, effort)
        if not ordinary:
            check_flag("progress", progress)
        if filter is None and type(Q) is np.ndarray and Q.ndim == 2:
            several = resolve_threads(threads)
            answer = self._pieces.search(lambda some: self._find_given(some, k, effort, several), Q, k, progress)
            if answer is not None:
                return answer
        queries, single = check_queries("Q", Q, self._dim)
        if self.metric == "cosine":
            queries = unit_rows(queries, "Q")
        threads = 1 if single and threads is None else resolve_threads(threads)
        if filter is not None:
            return self._filtered(queries, single, k, effort, filter, threads)
        if single:
            return self._find(queries[0], k, effort, threads)
        answer = self._pieces.search(lambda some: self._find(some, k, effort, threads), queries, k, progress)
        return cast(Answer, answer)

    def _effort(self, k: int, recall: float | None, effort: float | None) -> float:
        """The effort asked for, by itself or by the recall that it reaches."""
        if effort is not None:
            if recall is not None:
                raise ParameterError(
                    "`recall` and `effort` must not both be given; name the recall, or set the effort yourself."
                )
            return check_float("effort", effort, 0, open_low=True)
        recall = self._recall if recall is None else check_float("recall", recall, 0, 1, open_low=True)
        if not self._calibrated:
            return 1.0
        if self.calibration is None:
            raise NotFittedError("This index has no calibration for `recall=`; give `effort=`, or fit it again.")
        return self.calibration.effort(k, recall)

    def _filtered(
        self, queries: np.ndarray, single: bool, k: int, effort: float | None, filter: Filter, threads: int
    ) -> Answer:
        queries = queries[0] if single else queries
        while True:
            with self._state_lock:
                version = self._version
                if isinstance(filter, PreparedFilter):
                    bitmap, matches = filter.translated(self)
                else:
                    bitmap, matches = slot_bitmap(filter, self._fitted())
            try:
                answer = self._find(queries, k, effort, threads, bitmap, matches)
            except ValueError:  # a writer has lengthened the index, and the bitmap no longer fits
                if self._version == version:
                    raise
                continue
            if self._version == version:
                return answer

    # ------------------------------------------------------------------ files

    def save(self, path: Path, *, vectors: bool = True) -> None:
        """Writes the index to one file, atomically: a crash leaves the old file or the new one, whole.

        Parameters
        ----------
        path : file name
        vectors : bool, default True
            Whether to write the stored vectors of an IVF; a file without, much smaller, is opened by
            `vsearch.index.io.load_light`, which is given them again.

        Raises
        ------
        NotFittedError, OSError
        """
        path = check_path("path", path)
        if not check_flag("vectors", vectors) and self.kind != "ivf":
            raise ParameterError(f"`vectors` must be True for a {type(self).__name__}; only an IVF does without.")
        with self._write_lock:
            known = self._fitted()
            self._abandon()
            meta, arrays = self._state()
            meta |= {"metric": self.metric, "dim": self._dim, "n": len(known), "recall": self._recall}
            meta["calibration"] = self.calibration.to_json() if self.calibration is not None else None
            if not vectors:
                arrays = {name: array for name, array in arrays.items() if not name.startswith("store.")}
                meta["vectors"] = False
            halves = [name for name, array in arrays.items() if name.endswith(".rows") and array.dtype == np.uint16]
            container.write(path, self.kind, meta, arrays | {"ids": known.ids_by_slot}, bf16=halves)

    @classmethod
    def _open(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
        """The index of a file; ValueError or KeyError where the parts do not fit each other (io.py names the file)."""
        index = cls._from_state(meta, arrays)
        ids, n = arrays["ids"], check_int("n", meta["n"], 0, MAX_VECTORS)
        if ids.dtype != np.int64 or ids.shape != (n,) or (n and int(ids.min()) < 0):
            raise ValueError("ids must be int64 and not negative, one for each vector")
        index._idmap = IdMap(ids, copy=False)
        if meta["calibration"] is not None:
            index.calibration = Calibration.from_json(meta["calibration"])
        index.recall = meta.get("recall", DEFAULT_RECALL)  # files of before have none
        index._bind()
        return index

    # ------------------------------------------------------------------ helpers

    def _fitted(self) -> IdMap:
        if self._idmap is None:
            raise self._not_fitted()
        return self._idmap

    def _not_fitted(self) -> NotFittedError:
        return NotFittedError(f"{type(self).__name__} is not fitted; call fit(X) first.")

    def _prepare(self, X: np.ndarray, name: str = "X") -> np.ndarray:
        if self.metric == "cosine":
            return unit_rows(X, name)
        return X if getattr(self, "quantizer", None) is None else check_lengths(name, X)

    _calibrated: ClassVar[bool] = False
    """Whether `effort` changes the answer, so that `recall=` needs a calibration."""

    def _quick(self, Q: Any, k: Any, recall: Any, effort: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """The answer to one query whose arguments need neither check nor conversion, else None.

        Most of what a search costs beside its work is Python, and this way round it takes a microsecond or two.
        """
        return None

    def _find_given(self, Q: np.ndarray, k: int, effort: float | None, threads: int) -> Answer | None:
        """As `_find`, for many queries as the user gave them; None where they need a check or a conversion."""
        queries = core.ready_queries(Q, self._dim, self.metric)
        return None if queries is None else self._find(queries, k, effort, threads)

    def _ladder(self) -> list[float]:
        """Efforts to calibrate at, ascending; asked only where `_calibrated`."""
        return [1.0]

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def _blank(self) -> Index:
        """An unfitted index with the same parameters."""

    @abstractmethod
    def _build(self, X: np.ndarray, threads: int, bar: Progress) -> np.ndarray | None:
        """Trains and fills; returns the order in which vectors became slots, None for the order of X. Sets `_scan`."""

    @abstractmethod
    def _encode(self, X: np.ndarray, threads: int, bar: Progress) -> Any:
        """What `_insert` needs of new vectors: the slow part of `add`, outside the commit."""

    @abstractmethod
    def _insert(self, slots: np.ndarray, prepared: Any) -> None:
        """Puts encoded vectors into new slots at the end."""

    def _abandon(self) -> None:  # noqa: B027
        """Forgets what `_encode` left behind for an `add` that failed; asked again before each write, for a second
        Ctrl-C may have come in its way."""

    def _own(self) -> None:  # noqa: B027
        """Copies arrays that belong to a read-only file, before a commit changes them: it is slow, and may fail."""

    def _retract(self, n: int) -> None:  # noqa: B027
        """Forgets slots from n on, which an `_insert` that failed has put there in part, and binds what there was."""

    @abstractmethod
    def _delete(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        """Drops slots, then moves the last ones into the holes."""

    @abstractmethod
    def _bind(self) -> None:
        """Hands the arrays of the present state to the scan."""

    @abstractmethod
    def _find(
        self,
        Q: np.ndarray,
        k: int,
        effort: float | None,
        threads: int,
        bitmap: np.ndarray | None = None,
        matches: int = 0,
    ) -> Answer:
        """Searches checked queries, (d,) or (nq, d)."""

    @abstractmethod
    def _vectors(self, slots: np.ndarray) -> np.ndarray:
        """Stored vectors of some slots."""

    @abstractmethod
    def _nbytes(self) -> int:
        """Bytes without the ids."""

    @abstractmethod
    def _expected_nbytes(self, n: int, dim: int) -> float:
        """About what `nbytes` would be of n vectors of `dim` dimensions, without what the quantizer learns."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Parameters and arrays of a file, without metric, dim, n, ids and calibration."""

    @classmethod
    @abstractmethod
    def _from_state(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
        """The index of a file, without ids and unbound."""


def _one_id(id: Any) -> np.ndarray:
    return np.array([check_int("id", id, 0, MAX_ID)], np.int64)


def unit_rows(X: np.ndarray, name: str) -> np.ndarray:
    """Rows scaled to length 1, a copy; a zero vector has no direction and is refused."""
    units, whole = core.unit_rows(X)
    if whole < len(X):
        raise ParameterError(f"`{name}` must not hold zero vectors where the metric is 'cosine'; row {whole} is zero.")
    return units
