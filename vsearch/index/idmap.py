"""The two names of a vector: *id*, the caller's int64, and *slot*, its row 0 .. n-1 in the arrays of the index.

    ids_by_slot   8 bytes per vector, id of each slot; grows by half, so that many small adds cost little each
    table         4 bytes per place, the slot whose id hashes there: linear probing, at most 2/3 full

The table answers id -> slot. It is built when a first question needs it (an index that is only searched never does),
and not at all while ids are 0 .. n-1 in order, when each is its own slot. Every operation is a few rounds of NumPy
over the ids still unresolved: all of them probe, the ones that met their own id or a free place are done, the rest
look one place further. At 2/3 full a probe takes 2 places on average for ids that are there and 5 for others.

Ids are mixed with a key drawn per process, so that nobody can choose ids, or make a file of ids, that all collide.
The key moves places in the table and nothing else: results never depend on it.

Invariants: (1) slots are 0 .. n-1 without holes and ids are unique; (2) every slot is in the table once, and between
the place where its id hashes and where it lies no place is free; (3) a place whose slot was removed is a tombstone,
not free, until the table is built again; (4) the cached order
is dropped by every change that may alter it.
"""

from __future__ import annotations

import secrets

import numpy as np

from vsearch._validate import first_repeated
from vsearch.errors import DuplicateIdError, UnknownIdError

ID_BYTES = 8
_FREE, _TOMBSTONE = -1, -2
_KEY = np.uint64(secrets.randbits(64))
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's finaliser


class IdMap:
    """Ids of slots and slots of ids, for ids that are unique and not negative.

    Parameters
    ----------
    ids : array of int64
        The id of slot 0, 1, ...
    copy : bool
        Whether to copy ``ids`` now; without, they are copied before the first change.

    Raises
    ------
    DuplicateIdError
        An id occurs twice.

    Examples
    --------
    >>> ids = IdMap(np.array([10, 30, 20]))
    >>> ids.slots(np.array([20, 10]))
    array([2, 0])
    >>> ids.remove(np.array([0]))           # the last row, slot 2, moves into slot 0
    (array([2]), array([0]))
    >>> ids.ids_by_slot
    array([20, 30])
    """

    def __init__(self, ids: np.ndarray, *, copy: bool = True) -> None:
        self._ids = np.array(ids, np.int64) if copy else np.asarray(ids, np.int64)
        self._owned = copy
        self._n = len(self._ids)
        self._largest = int(self._ids.max(initial=-1))
        self._table: np.ndarray | None = None
        self._used = 0  # places that are not free
        self._sorted: tuple[np.ndarray, np.ndarray | None] | None = None
        self._outdated: tuple[np.ndarray, int] | None = None  # the last order, and how many of its slots still exist
        ascending = bool((self._ids[1:] > self._ids[:-1]).all())
        self._identity = ascending and self._largest == self._n - 1
        if ascending:
            self._sorted = self._ids, None
        else:
            _refuse_repeated(self._ids)

    def __len__(self) -> int:
        return self._n

    @property
    def nbytes(self) -> int:
        """Bytes in use for ids and table."""
        return ID_BYTES * self._n + (0 if self._table is None else self._table.nbytes)

    @property
    def largest(self) -> int:
        """The largest id, -1 where there is none."""
        return self._largest

    @property
    def ids_by_slot(self) -> np.ndarray:
        """The id of each slot, int64 (n,); a view that is valid until the next change."""
        return self._ids[: self._n]

    @property
    def sorted_ids(self) -> np.ndarray:
        """All ids, ascending, int64 (n,)."""
        return self._in_order()[0]

    @property
    def slot_of_sorted(self) -> np.ndarray | None:
        """The slot of each of `sorted_ids`, or None where that is 0 .. n-1: ids ascend with slots."""
        return self._in_order()[1]

    def slots(self, ids: np.ndarray) -> np.ndarray:
        """The slot of each id.

        Raises
        ------
        UnknownIdError
            Naming the first id that is not here.
        """
        slots = self._find(ids)
        if len(slots) and int(slots.min()) < 0:
            raise UnknownIdError(f"id {int(ids[np.argmax(slots < 0)])} is not in the index.")
        return slots

    def contains_any(self, ids: np.ndarray) -> int | None:
        """The first of ``ids`` that is here, or None."""
        if len(ids) == 0 or int(ids.min()) > self._largest:
            return None
        found = self._find(ids) >= 0
        return int(ids[np.argmax(found)]) if found.any() else None

    def append(self, ids: np.ndarray) -> np.ndarray:
        """Give the slots n, n+1, ... to new ids, and return these slots.

        Raises
        ------
        DuplicateIdError
            An id is here already, or occurs twice; nothing has changed then.
        """
        ids = np.asarray(ids, np.int64)
        n = self._n + len(ids)
        slots = np.arange(self._n, n, dtype=np.int64)
        if len(ids) == 0:
            return slots
        ascending = bool((ids[1:] > ids[:-1]).all()) and int(ids[0]) > self._largest
        if not ascending:
            _refuse_repeated(ids)
            known = self.contains_any(ids)
            if known is not None:
                raise DuplicateIdError(f"id {known} is in the index already.")
        self.reserve(n)
        self._ids[self._n : n] = ids
        table, self._table = self._table, None  # built anew where this fails, or has no room
        if table is not None and self._used + len(ids) <= len(table) * 2 // 3:
            self._enter(table, slots)
            self._table = table
        self._n = n
        self._largest = max(self._largest, int(ids.max()))
        self._identity = self._identity and ascending and self._largest == n - 1
        self._reorder(ascending)
        return slots

    def remove(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Drop some slots and fill the holes with the last rows, so that the others are 0 .. n-1 again.

        Parameters
        ----------
        slots : array of int64
            Which; unique, in any order.

        Returns
        -------
        moved_from, moved_to : arrays of int64
            Rows that the caller moves in its arrays, ascending both; the arrays then end at ``len(self)``.
        """
        left = self._n - len(slots)
        gone = np.zeros(len(slots), bool)  # of the rows behind the new end
        tail = slots >= left
        gone[slots[tail] - left] = True
        moved_from = np.flatnonzero(~gone) + left
        moved_to = np.sort(slots[~tail])
        lost_largest = bool((self._ids[slots] == self._largest).any())
        if self._table is not None:
            places = self._places(self._ids[np.concatenate([slots, moved_from])])
            self._table[places[: len(slots)]] = _TOMBSTONE
            self._table[places[len(slots) :]] = moved_to
        if len(moved_to):
            self.reserve(self._n)
            self._ids[moved_to] = self._ids[moved_from]
            self._identity = False
        self._n = left
        if lost_largest:
            self._largest = int(self.ids_by_slot.max(initial=-1))
        self._reorder(len(moved_to) == 0)
        return moved_from, moved_to

    def reserve(self, n: int) -> None:
        """See that ids are in memory of ours, with room for ``n``."""
        if self._owned and n <= len(self._ids):
            return
        ids = np.empty(n if n <= self._n else max(n, self._n + self._n // 2), np.int64)
        ids[: self._n] = self._ids[: self._n]
        self._ids, self._owned = ids, True

    # ------------------------------------------------------------------ order

    def _reorder(self, ascending: bool) -> None:
        """After a change: ids still ascend with slots if they did and the change was ``ascending``."""
        if self._sorted is not None and self._sorted[1] is None and ascending:
            self._sorted = self.ids_by_slot, None
            return
        if self._sorted is not None and self._sorted[1] is not None:
            self._outdated = self._sorted[1], len(self._sorted[1])
        if self._outdated is not None:
            self._outdated = self._outdated[0], min(self._outdated[1], self._n)
        self._sorted = None

    def _in_order(self) -> tuple[np.ndarray, np.ndarray | None]:
        if self._sorted is None:
            order = np.arange(self._n)
            if self._outdated is not None:  # nearly sorted, and then a stable sort takes linear time
                last, left = self._outdated
                order = np.concatenate([last[last < left], order[left:]])
            ids = self._ids[order]
            order = order[np.argsort(ids, kind="stable")]
            ascending = bool((order[1:] > order[:-1]).all())
            self._sorted = (self.ids_by_slot, None) if ascending else (self._ids[order], order)
            self._outdated = None
        return self._sorted

    # ------------------------------------------------------------------ table

    def _find(self, ids: np.ndarray) -> np.ndarray:
        """The slot of each id, -1 where it is unknown."""
        ids = np.asarray(ids, np.int64)
        if self._identity:
            return np.where((ids >= 0) & (ids < self._n), ids, -1)
        places = self._places(ids)
        assert self._table is not None
        slots: np.ndarray = self._table[places].astype(np.int64)
        slots[places < 0] = -1
        return slots

    def _places(self, ids: np.ndarray) -> np.ndarray:
        """Where in the table each id lies, -1 where it is unknown."""
        table = self._table
        if table is None:
            table = self._built()
        places = np.full(len(ids), -1, np.int64)
        open_ = np.arange(len(ids))
        at = _hash(ids, table)
        while len(open_):
            slots = table[at]
            hit = (self._ids.take(slots, mode="clip") == ids[open_]) & (slots >= 0)
            places[open_[hit]] = at[hit]
            further = ~hit & (slots != _FREE)
            open_ = open_[further]
            at = (at[further] + 1) & (len(table) - 1)
        return places

    def _built(self) -> np.ndarray:
        """The table, made anew with room for half as many ids again."""
        size = 1 << max(4, (self._n * 9 // 4).bit_length())
        table = np.full(size, _FREE, np.int32 if size <= 1 << 31 else np.int64)
        self._used = 0
        self._enter(table, np.arange(self._n, dtype=np.int64))
        self._table = table
        return table

    def _enter(self, table: np.ndarray, slots: np.ndarray) -> None:
        """Put slots whose ids are not in the table into it."""
        self._used += len(slots)
        at = _hash(self._ids[slots], table)
        while len(slots):
            free = table[at] == _FREE
            table[at[free]] = slots[free]  # where several want one place, the last gets it
            further = table[at] != slots
            slots, at = slots[further], (at[further] + 1) & (len(table) - 1)


def _hash(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A place in the table for each id; every bit of the id and of the key matters."""
    mixed = ids.astype(np.uint64) ^ _KEY
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    mixed ^= mixed >> np.uint64(31)
    return (mixed & np.uint64(len(table) - 1)).astype(np.int64)


def _refuse_repeated(ids: np.ndarray) -> None:
    repeated = first_repeated(ids)
    if repeated is not None:
        raise DuplicateIdError(f"id {repeated} occurs twice.")
