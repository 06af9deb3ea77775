"""Long batches in pieces of a fraction of a second, so that Ctrl-C and the progress bar work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vsearch._progress import Progress
from vsearch._typing import Answer

SHORT_BATCH = 64
"""Queries that are searched for without a pause."""
PIECE_SECONDS = 0.2
"""Of a longer batch."""
MOST_FIRST = 4096
"""Queries of its first piece: how long they take is guessed from the last batch."""


class Pieces:
    """How many queries fit into a piece, which one batch finds out for the next: each piece wakes the threads anew.

    >>> both = Pieces().search(lambda Q: (Q[:, :1].astype(np.int64), Q[:, 1:]), np.ones((70, 2), np.float32), 1, False)
    >>> both[0].shape
    (70, 1)
    """

    def __init__(self) -> None:
        self._first = 256

    def search(
        self, find: Callable[[np.ndarray], Answer | None], queries: np.ndarray, k: int, progress: bool | None
    ) -> Answer | None:
        """What `find` answers to all queries (nq, d); None where it has no answer to a piece of them."""
        if len(queries) <= SHORT_BATCH:
            return find(queries)
        ids = np.empty((len(queries), k), dtype=np.int64)
        distances = np.empty((len(queries), k), dtype=np.float32)
        with Progress("search", progress, total=len(queries)) as bar:
            done, size = 0, self._first
            while done < len(queries):
                end = min(done + size, len(queries))
                found = find(queries[done:end])
                if found is None:
                    return None
                ids[done:end], distances[done:end] = found
                fitting = int((end - done) * PIECE_SECONDS / max(bar.advance(end - done), 1e-9))
                done, size = end, max(SHORT_BATCH, min(fitting, 8 * size, 1 << 20))
                self._first = max(SHORT_BATCH, min(fitting // 4, MOST_FIRST))  # the next one may ask for more effort
        return ids, distances
