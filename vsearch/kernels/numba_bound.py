"""What the scans of the two graphs share: one state of the arrays for a search, its frame, scratch and counters."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from vsearch.kernels.numba_base import Exclusive, Gate, array, frozen, over_ranges, require
from vsearch.kernels.numba_distance import ready_query, ready_rows

NO_FILTER = frozen(np.empty(0, np.uint8))
NO_LIFTS = frozen(np.empty(0, np.float32))
NO_VISITS = np.empty((1, 0), np.int64)


def check_lifts(lifts: np.ndarray | None, n: int) -> np.ndarray:
    """The lifts of n vertices; none for None."""
    if lifts is None:
        return NO_LIFTS
    held = array(lifts, np.float32)
    require(held.ndim == 1 and len(held) >= n, "lifts: wrong shape")
    return held


class Found(NamedTuple):
    """Rows first .. last - 1 of an answer that is to be filled, for these queries."""

    queries: np.ndarray
    first: int
    last: int
    work: Any
    distances: np.ndarray
    ids: np.ndarray


class BoundWalk(ABC):
    """A walk over arrays that Python owns: any number of searches at once, or one writer."""

    metric: int
    dim: int
    arrays: Any
    search: Callable[..., tuple[np.ndarray, np.ndarray]]

    def __init__(self) -> None:
        self._gate = Gate()
        self._lock = threading.Lock()  # of `arrays` and the two below
        self._counters = {"visited": 0, "entered": 0}
        self._idle: list[Any] = []

    @abstractmethod
    def _new_work(self) -> Any:
        """Scratch of one thread for the arrays of now."""

    @abstractmethod
    def _counted(self, work: Any) -> dict[str, int]:
        """What was done with it, by the counters' names; it counts from 0 again."""

    def _set(self, arrays: Any) -> None:
        """Makes these the present state."""
        with self._lock:
            self._idle.clear()
            self.arrays = arrays

    @contextmanager
    def work(self) -> Iterator[Any]:
        """Scratch of a thread for the arrays of now; what is done with it is counted."""
        with self._lock:
            x = self.arrays
            work = self._idle.pop() if self._idle else self._new_work()
        yield work
        with self._lock:
            for name, count in self._counted(work).items():
                self._counters[name] += count
            if x is self.arrays:
                self._idle.append(work)

    def _answer(
        self,
        queries: np.ndarray,
        k: int,
        most: int,
        threads: int,
        filter: np.ndarray | None,
        matches: int,
        find: Callable[[Any, int, np.ndarray, Found], None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, distances) of the k nearest, (k,) for one query and (nq, k) for many.

        `find(arrays, visits, bitmap, part)` finds a part of them; under a filter, where a walk meets a match in
        n / matches, the `most` visits become that many times more.
        """
        queries = array(queries, np.float32)
        require(queries.ndim in (1, 2) and queries.shape[-1] == self.dim, "queries: wrong shape")
        require(k > 0 and most > 0, "k and most must be positive")
        many = queries.reshape(-1, self.dim)
        ids, distances = np.empty((len(many), k), np.int64), np.empty((len(many), k), np.float32)
        bitmap = NO_FILTER if filter is None else array(filter, np.uint8)

        def find_all() -> None:
            x = self.arrays
            require(filter is None or bitmap.size >= (x.shown + 7) // 8, "filter: wrong length")
            visits = most if filter is None else int(float(most) * x.n / max(matches, 1))

            def some(first: int, last: int) -> None:
                with self.work() as work:
                    find(x, visits, bitmap, Found(many, first, last, work, distances, ids))

            over_ranges(len(many), threads, 1, some)

        self._gate.read(find_all)
        shape = (*queries.shape[:-1], k)
        return ids.reshape(shape), distances.reshape(shape)

    def search_given(self, queries: Any, k: int, *plan: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """A search for many queries as the user gave them; None where one of them cannot be searched for."""
        ready = ready_rows(queries, self.dim, self.metric)
        return None if ready is None else self.search(ready, k, *plan, None, 0)

    def _ready(self, query: Any, k: Any) -> np.ndarray | None:
        """The query as a search wants it, None where it or `k` needs a check or a conversion."""
        return ready_query(query, k, self.dim, self.metric)

    def counters(self) -> dict[str, int]:
        """What the searches so far did."""
        with self._lock:
            return dict(self._counters)

    def exclusive(self) -> Exclusive:
        """A context in which nobody searches."""
        return Exclusive(self._gate)
