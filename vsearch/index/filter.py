"""What the caller lets a search return, by id, as the packed bits by slot that a scan takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from vsearch._typing import Filter
from vsearch._validate import check_filter
from vsearch.index.idmap import IdMap

if TYPE_CHECKING:
    from vsearch.index.base import Index


class PreparedFilter:
    """A filter that is translated to the slots of an index once, and again when the index has changed.

    Parameters
    ----------
    filter : anything that `Index.search` takes as a filter

    Examples
    --------
    >>> import numpy as np, vsearch as vs
    >>> from vsearch.index.filter import PreparedFilter
    >>> index = vs.Flat().fit(np.eye(4))
    >>> odd = PreparedFilter([1, 3])
    >>> [int(index.search(np.eye(4)[i], 1, filter=odd)[0][0]) for i in (1, 3)]
    [1, 3]
    """

    def __init__(self, filter: Filter) -> None:
        self.filter = filter
        self._known: tuple[Index, int, np.ndarray, int] | None = None

    def translated(self, index: Index) -> tuple[np.ndarray, int]:
        """As `slot_bitmap`, of an index whose state the caller holds still."""
        known = self._known
        if known is None or known[0] is not index or known[1] != index._version:
            known = self._known = (index, index._version, *slot_bitmap(self.filter, index._fitted()))
        return known[2], known[3]


def slot_bitmap(filter: Filter, known: IdMap) -> tuple[np.ndarray, int]:
    """Packed bits by slot of what a filter lets through, uint8 (ceil(n / 8),), and how many are set."""
    aligned = cast(np.ndarray, check_filter(filter, known.sorted_ids))  # None only where there is no filter
    bits = np.unpackbits(aligned, count=len(known), bitorder="little")
    matches = int(np.count_nonzero(bits))
    slots = known.slot_of_sorted
    if slots is None:
        return aligned, matches
    by_slot = np.zeros(len(known), dtype=np.uint8)
    by_slot[slots] = bits
    return np.packbits(by_slot, bitorder="little"), matches
