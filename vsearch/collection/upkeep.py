"""The background of a collection: it builds the approximate index, moves new rows into it, and saves it.

Writes and queries go on meanwhile. What it works on is sealed: rows that come go to a later part; rows that go are
taken out of the sealed part and, once it is there, of what was made from it. Only while the index is being saved does a
write wait that takes rows out of it, and queries go on all the same.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from vsearch._progress import Stopped, stoppable
from vsearch._threads import resolve_threads
from vsearch.collection import schema, snapshot
from vsearch.collection.memory import Memory, Part, flat_index
from vsearch.collection.rows import read_vectors
from vsearch.collection.sampling import QuerySample, measure, stand_ins
from vsearch.collection.session import Session
from vsearch.errors import ClosedError
from vsearch.index import IVF, Flat, Index
from vsearch.quantize import RaBitQ

#: Below this many rows everything is searched exactly: 1-bit codes make that a fraction of a millisecond.
EXACT_BELOW = 20_000
#: From so many rows on a flat index that grew by small writes is made again with codes.
CODE_AT = 2048
#: So many rows outside the approximate index, and a hundredth of it, are moved into it.
MERGE_AT = 1024
MERGE_SHARE = 0.01
#: An index that has grown so many times over is trained again.
REBUILD_GROWTH = 4
#: An index that has grown by so much since it was saved is saved again, and always by `finish` and `stop`.
SAVE_GROWTH = 1.5
#: The background waits until nothing was written for the first of these, but not longer than the second: while many
#: records come in, the time is theirs, and looking at the codes of all of them is fast for a while.
PAUSE_SECONDS, PATIENCE_SECONDS = 0.2, 10.0
#: Rows are moved in so small pieces that no query waits longer than about this.
PIECE_SECONDS = 0.005

IndexFactory: TypeAlias = "Callable[[str], Index]"
"""From a metric to an unfitted index."""


def default_index(metric: str, n: int = EXACT_BELOW) -> Index:
    """What ``index="auto"`` builds for collections of about ``n`` vectors.

    Half as many lists as an IVF has by itself: at recall .95 of 100,000 x 384 a query takes a tenth less, and the build
    half as long. A graph answers in half the time, but its rows, which a snapshot would have to hold, are 1.7 times the
    vectors, and it is slower to take rows in and out.
    """
    return IVF(max(1, round(2 * math.sqrt(n))), metric, quantizer=RaBitQ(bits=1), refine="bf16")


class Upkeep:
    """One worker thread, there while there is work.

    Parameters
    ----------
    session : Session
    factory : function from a metric to an unfitted index, or None
        What to build from `EXACT_BELOW` rows on; None leaves the collection exact.
    sample : QuerySample
        What the index is calibrated with once there are enough.
    """

    def __init__(self, session: Session, factory: IndexFactory | None, sample: QuerySample) -> None:
        self.session, self.factory, self.sample = session, factory, sample
        part = session.memory.parts[0]
        self._saved = _contents(part.index, session.memory.parts[-1].first)  # what the snapshot holds
        self._saved_size = len(part) if part.built else 0
        self._guard = threading.Lock()  # of the thread
        self._work = threading.Lock()  # one at a time builds, merges, saves
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._woken = threading.Event()  # by `stop`
        self._written = 0.0
        self._error: BaseException | None = None

    # ------------------------------------------------------------------ when

    def nudge(self) -> None:
        """Start the worker if there is something to do; called after every write."""
        self._written = time.monotonic()
        if self.factory is None or self._error is not None or not self._wanted(self.session.memory):
            self._report()
            return
        with self._guard:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="vsearch-upkeep", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Do all there is to do, now, and save the index."""
        with self._work:
            self._report()
            memory = self.session.memory
            try:
                if self.factory is not None and len(memory) >= EXACT_BELOW:
                    self._step(everything=True)
            except Stopped:
                raise ClosedError(f"The collection {self.session.folder} was closed meanwhile.") from None
            self._save()

    def stop(self) -> None:
        """Let the worker give up what it builds, and save what is there; nothing starts any more."""
        with self._guard:
            self._stopping = True
            thread = self._thread
        self._woken.set()
        if thread is not None:
            thread.join()
        with self._work:
            self._save()

    def _report(self) -> None:
        """Tell the caller once that the background failed; the collection stays correct without it."""
        error, self._error = self._error, None
        if error is not None:
            self.factory = None
            text = f"The index could not be built, and searches stay exact: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, 4)

    def _wanted(self, memory: Memory) -> bool:
        n = len(memory)
        if self._outgrown(memory) or self._uncalibrated(memory):
            return True
        outside = n - len(memory.parts[0])
        return outside >= max(MERGE_AT, MERGE_SHARE * n)

    def _outgrown(self, memory: Memory) -> bool:
        """Whether there are too many rows for what they are searched by."""
        n, part = len(memory), memory.parts[0]
        if part.built:
            return n > REBUILD_GROWTH * part.built
        coded = isinstance(part.index, Flat) and part.index.quantizer is not None
        return n >= (EXACT_BELOW if coded else min(CODE_AT, EXACT_BELOW))

    def _uncalibrated(self, memory: Memory) -> bool:
        """Whether the index could learn from queries, and has not."""
        known = memory.index.calibration if memory.index is not None else None
        return bool(len(memory.parts[0])) and known is not None and known.source == "base" and self.sample.full

    def _pause(self) -> None:
        """Wait while records come in."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while (left := min(self._written + PAUSE_SECONDS, patience) - time.monotonic()) > 0:
            if self._woken.wait(left):
                return

    def _run(self) -> None:
        try:
            while not self._stopping and self._wanted(self.session.memory):
                self._pause()
                with self._work:
                    if self._woken.is_set():
                        return
                    self._step(threads=max(1, resolve_threads(None) // 2))
                    if len(self.session.memory.parts[0]) > SAVE_GROWTH * self._saved_size:
                        self._save()
        except Stopped:
            pass
        except BaseException as error:  # shown to whoever writes next
            self._error = error
        finally:
            with self._guard:
                self._thread = None

    # ------------------------------------------------------------------ what

    def _step(self, everything: bool = False, threads: int | None = None) -> None:
        """Build the index, or calibrate it, or move rows in; ``everything`` includes rows that a build would leave."""
        memory = self.session.memory
        if self._outgrown(memory):
            self._build(threads)
        elif self._uncalibrated(memory):
            self._calibrate()
        elif everything or self._wanted(memory):
            self._merge()
        if everything and len(self.session.memory) > len(self.session.memory.parts[0]):
            self._merge()

    def _seal(self) -> tuple[int, Memory]:
        """Close the last part; the row at which it ends, and the memory that this is true of: another one takes its
        place where an apply broke off, and what was begun for this one must not go into that."""
        with self.session.writing, self.session.lock.alone:
            self.session.lock.drain()
            memory = self.session.memory
            memory.seal()
            return memory.parts[-1].first, memory

    def _calibrate(self) -> None:
        session = self.session
        part = session.memory.parts[0]
        assert part.index is not None
        with session.reading() as connection, stoppable(lambda: self._stopping):
            part.index.calibration = measure(connection, part.index, self.sample.queries())

    def _build(self, threads: int | None) -> None:
        session = self.session
        assert self.factory is not None
        end, sealed = self._seal()
        with session.reading() as connection:
            state = schema.read_state(connection)
            rows, vectors = read_vectors(connection, state.dim or 0, 0, end)
        if not len(rows):
            return
        final = len(rows) >= EXACT_BELOW
        index = self._fitted(rows, vectors, final, threads)
        del vectors
        with session.writing:  # no row comes or goes while what has gone meanwhile is taken out
            memory = session.memory
            if memory is not sealed:
                return
            later = [part for part in memory.parts if part.first >= end]
            live = np.concatenate([part.rows for part in memory.parts if part.first < end])
            gone = np.setdiff1d(rows, live, assume_unique=True)
            if len(gone):
                index.remove(gone)
            with session.lock.alone:
                session.lock.drain()
                memory.parts = [Part(0, index, len(rows) if final else 0), *later]

    def _fitted(self, rows: np.ndarray, vectors: np.ndarray, final: bool, threads: int | None) -> Index:
        """An index of these rows: the approximate one where there are enough for it to be ``final``."""
        metric, n = self.session.metric, len(rows)
        assert self.factory is not None
        queries = self.sample.queries() if final and self.sample.full else None
        known = queries is not None
        if not final:
            unfitted: Index = flat_index(metric, n, coded=True)
        elif self.factory is default_index:
            unfitted = default_index(metric, n)
            queries = queries if known else stand_ins(vectors)
        else:
            unfitted = self.factory(metric)
        if queries is not None and not len(queries):
            queries = None
        with stoppable(lambda: self._stopping):
            index = unfitted.fit(vectors, rows, queries=queries, threads=threads, progress=False)
        if not known and index.calibration is not None:
            index.calibration = replace(index.calibration, source="base")  # with more caution, and to be learnt anew
        return index

    def _merge(self) -> None:
        """Move the rows between the index and the part that fills, a piece at a time."""
        session = self.session
        end, memory = self._seal()
        size = 64
        while memory.parts[1].first < end and not self._stopping:
            with session.writing:
                if session.memory is not memory:
                    return
                first = memory.parts[1].first
                last = min(first + size, memory.parts[2].first)
                with session.reading() as connection:
                    rows, vectors = read_vectors(connection, session.dim or 0, first, last)
                start = time.perf_counter()
                with session.lock.alone:
                    session.lock.drain()
                    self._move(memory, last, rows, vectors)
                seconds = time.perf_counter() - start
            size = max(16, min(4096, int(size * min(2.0, PIECE_SECONDS / max(seconds, 1e-6)))))

    def _move(self, memory: Memory, end: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        version, memory.version = memory.version, -1
        index, sealed = memory.parts[0], memory.parts[1]
        index.add(rows, vectors, memory.metric, memory.coded)
        sealed.remove(rows)
        sealed.first = end
        if memory.parts[2].first == end:
            del memory.parts[1]
        memory.version = version

    def _save(self) -> None:
        """Save the index as it is, unless it is saved."""
        session = self.session
        with session.writing:
            memory = session.memory
            index, version, size = memory.index, memory.version, len(memory.parts[0])
            end = memory.parts[1].first if index is not None else 0
        contents = _contents(index, end)
        if index is None or version < 0 or contents == self._saved:
            return
        token = object()
        try:
            with session.writing:  # whoever takes rows out of the index has done so, or waits for this
                session.saving.acquire_shared(token)
            snapshot.save(session.folder, index, version, end)
        finally:
            session.saving.readers.discard(token)
            session.saving.wake()
        with session.housekeeping() as connection:
            snapshot.record(connection, version, end)
            state = schema.read_state(connection)
        snapshot.sweep(session.folder, state)
        self._saved, self._saved_size = contents, size


def _contents(index: Index | None, end: int) -> tuple[object, ...]:
    """What tells one state of the index, worth saving, from another."""
    return index, end, index.calibration if index is not None else None
