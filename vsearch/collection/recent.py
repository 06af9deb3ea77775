"""Records lately returned, kept in memory: rows never change, so that what was read of one is true for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vsearch.collection.batch import Id

#: Bytes of kept records, about; the first to come are the first to go.
BUDGET = 16 << 20
#: What a record takes beside its characters.
_OVERHEAD = 600
_PLAIN = (str, int, float, bool, type(None))


class Kept(NamedTuple):
    """A record as it is kept."""

    id: Id
    document: str | None
    metadata: dict[str, Any]
    plain: bool
    """Whether a copy of the dict is a copy of everything in it."""


class Recent:
    """Records by row.

    Parameters
    ----------
    budget : int
        Bytes, about.

    Examples
    --------
    >>> recent = Recent()
    >>> recent.add([(7, "a", "a text", '{"n":1}')])
    >>> recent.find([7, 8])
    [Kept(id='a', document='a text', metadata={'n': 1}, plain=True), None]
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._known: dict[int, Kept] = {}
        self._sizes: dict[int, int] = {}
        self._total = 0
        self._guard = threading.Lock()

    def find(self, rows: Sequence[int]) -> list[Kept | None]:
        """What is kept of each row."""
        return list(map(self._known.get, rows))

    def add(self, found: Iterable[tuple[Any, ...]]) -> None:
        """Keep records that were read as (row, id, document, metadata, ...); one that is too large is not kept."""
        with self._guard:
            for row, id, document, text, *_ in found:
                size = _OVERHEAD + len(document or "") + 4 * len(text or "")
                if row in self._known or size > self.budget // 16:
                    continue
                metadata = json.loads(text) if text else {}
                self._known[row] = Kept(id, document, metadata, all(type(v) in _PLAIN for v in metadata.values()))
                self._sizes[row] = size
                self._total += size
            while self._total > self.budget:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._total -= self._sizes.pop(oldest)
