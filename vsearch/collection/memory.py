"""What a collection searches: indexes over ranges of rows, held in memory and always derivable from SQLite.

    rows      0 ........................ covered ........ sealed .......... next
    parts     [ approximate index, if any ][ flat, merging ][ flat, filling ]

New rows go to the last part, which is exact, so that a write never waits for an index to be built; a search asks every
part and keeps the best. The background (`upkeep`) replaces the leading flat part by an approximate index, or moves its
rows into the one that is there.

Invariants: (1) ranges of parts follow each other without gaps, and a part holds exactly the rows of its range that
have a vector at `version`; (2) only the last part grows by writing; (3) `version` and parts change under the
exclusive lock of the collection, searches run under the shared one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch._typing import Answer
from vsearch.index import Flat, Index
from vsearch.index.filter import PreparedFilter
from vsearch.quantize import RaBitQ

#: From so many vectors on, codes show their worth: a scan of them rules out all but a few before vectors are read.
CODED_FROM = 512


def flat_index(metric: str, n: int, coded: bool) -> Flat:
    """An unfitted index that looks at everything.

    With 1-bit codes, whose bounds hold to 3.5 standard errors, it is 6 times as fast at 20,000 x 384 and misses about
    one neighbour in ten thousand.
    """
    return Flat(metric, quantizer=RaBitQ(bits=1), refine="f32") if coded and n >= CODED_FROM else Flat(metric)


class Part:
    """One index over the rows from ``first`` on; None stands for an index of nothing."""

    def __init__(self, first: int, index: Index | None = None, built: int = 0) -> None:
        self.first = first
        self.index = index
        self.built = built
        """Rows for which the index was built, 0 for one that only collects."""
        self._ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index) if self.index is not None else 0

    @property
    def rows(self) -> np.ndarray:
        """The rows that are here, ascending."""
        if self._ids is None:
            self._ids = self.index.ids if self.index is not None else np.empty(0, np.int64)
        return self._ids

    def add(self, rows: np.ndarray, vectors: np.ndarray, metric: str, coded: bool) -> None:
        """Put in rows that are not here, all of them above ``first``; ``coded`` says how a new index may be."""
        if len(rows):
            self._ids = None
            if self.index is None:
                self.index = flat_index(metric, len(rows), coded).fit(vectors, rows, threads=1, progress=False)
            else:
                self.index.add(vectors, rows, threads=1, progress=False)

    def remove(self, rows: np.ndarray) -> None:
        """Take out rows that are here."""
        if len(rows):
            self._ids = None
            assert self.index is not None
            self.index.remove(rows)
            if not len(self.index) and not self.built:
                self.index = None  # the next vectors choose anew between codes and none


class Matches:
    """The rows that a filter lets through, translated for each part; rows that are gone do no harm."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self._filters: dict[int, tuple[np.ndarray, PreparedFilter, int]] = {}

    def filter(self, part: Part) -> tuple[PreparedFilter, int]:
        """The filter for the index of a part, and how many rows it lets through."""
        rows = part.rows
        known = self._filters.get(part.first)
        if known is None or known[0] is not rows:
            mask = _members(rows, self.rows)
            known = rows, PreparedFilter(np.packbits(mask, bitorder="little")), int(np.count_nonzero(mask))
            self._filters[part.first] = known
        return known[1], known[2]


def _members(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of ``rows`` are in ``wanted``; both ascend."""
    mask = np.zeros(len(rows), bool)
    if len(rows) and len(wanted):
        at = np.searchsorted(rows, wanted)
        at[at == len(rows)] = 0
        mask[at[rows[at] == wanted]] = True
    return mask


class Memory:
    """The parts, and the version of the collection that they show."""

    def __init__(self, metric: str, version: int = 0, next_row: int = 0, *, coded: bool = True) -> None:
        self.metric = metric
        self.coded = coded
        self.version = version
        self.next_row = next_row
        self.parts = [Part(0)]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def rows(self) -> np.ndarray:
        """All rows, ascending."""
        return np.concatenate([part.rows for part in self.parts])

    @property
    def index(self) -> Index | None:
        """The approximate index, where there is one."""
        return self.parts[0].index if self.parts[0].built else None

    def apply(self, version: int, next_row: int, removed: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Make one committed transaction visible: rows that went, then rows that came. Needs the exclusive lock."""
        self.version = -1  # until all is done: an error half-way must not pass for a version
        removed = np.sort(removed)
        for part, end in zip(self.parts, [*(part.first for part in self.parts[1:]), next_row]):
            inside = removed[np.searchsorted(removed, part.first) : np.searchsorted(removed, end)]
            part.remove(inside)
        self.parts[-1].add(rows, vectors, self.metric, self.coded)
        self.version, self.next_row = version, next_row

    def seal(self) -> None:
        """Begin a new last part, so that the background may work on the one before. Needs the exclusive lock."""
        if len(self.parts[-1]):
            self.parts.append(Part(self.next_row))

    def search(
        self, Q: np.ndarray, k: int, recall: float | None, matches: Matches | None, threads: int | None
    ) -> Answer:
        """Rows (nq, k) and distances of the nearest, -1 where there are fewer. Needs the shared lock."""
        answers = [answer for part in self.parts if (answer := _ask(part, Q, k, recall, matches, threads)) is not None]
        if len(answers) == 1:
            return answers[0]
        if not answers:
            return np.full((len(Q), k), -1, np.int64), np.full((len(Q), k), np.inf, np.float32)
        rows = np.concatenate([answer[0] for answer in answers], axis=1)
        distances = np.concatenate([answer[1] for answer in answers], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


def _ask(
    part: Part, Q: np.ndarray, k: int, recall: float | None, matches: Matches | None, threads: int | None
) -> Answer | None:
    """The answer of one part; None where nothing there can match."""
    if not len(part) or part.index is None:
        return None
    options: dict[str, Any] = {"threads": threads, "progress": False}
    if recall is not None:
        options["recall"] = recall
    if matches is not None:
        options["filter"], count = matches.filter(part)
        if not count:
            return None
    if len(Q) > 1:
        return part.index.search(Q, k, **options)
    rows, distances = part.index.search(Q[0], k, **options)
    return rows[None], distances[None]
