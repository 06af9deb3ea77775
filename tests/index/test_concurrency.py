"""Eight threads search while one writes: every answer is that of some moment, whole.

The writer goes through states 0, 1, 2, ...: in state s a group of vectors with ids of its own lies around the query,
nearer than anything else; between two states both groups are there. Where a vector lies follows from its id, so that
an answer can be judged alone: its distances, its order, and which groups are in it, all of them or none of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.index import flat, ivf

D, BASE, GROUP, FIRST = 8, 300, 12, 10_000
SECONDS = 0.7
READERS = 8
ORIGIN = np.zeros(D, np.float32)


def positions(ids: np.ndarray) -> np.ndarray:
    """Base vectors are far from the origin, those of groups near; no two are equally far."""
    X = np.zeros((len(ids), D), np.float32)
    near = ids >= FIRST
    X[np.arange(len(ids)), ids % D] = np.where(near, 1 + (ids - FIRST) % GROUP, 100 + ids)
    return X


def distances(ids: np.ndarray) -> np.ndarray:
    return (positions(ids) ** 2).sum(axis=1)


def group(state: int) -> np.ndarray:
    return FIRST + GROUP * state + np.arange(GROUP)


KINDS: dict[str, Callable[[], Any]] = {
    "flat": vs.Flat,
    "flat codes": lambda: vs.Flat(quantizer=vs.RaBitQ(3), refine="f32"),
    "ivf": lambda: vs.IVF(7),
    "ivf codes": lambda: vs.IVF(7, quantizer=vs.RaBitQ(1), refine="f32"),
    "graph": lambda: vs.Graph(refine="f32"),
    "graph compact": lambda: vs.Graph(layout="compact", refine="f32"),
}


class Stage:
    """An index, its readers and its writer, and what went wrong."""

    def __init__(self, index: Any, folder: Path) -> None:
        self.index, self.folder = index, folder
        self.base = np.arange(BASE)
        index.fit(positions(self.base), self.base, threads=1)
        index.add(positions(group(0)), group(0))
        self.done = threading.Event()
        self.faults: list[str] = []
        self.answers = [0] * READERS
        self.states = 0

    def check(self, ids: np.ndarray, found: np.ndarray, allowed: np.ndarray | None) -> None:
        if not np.array_equal(found, distances(ids).astype(np.float32)):
            self.faults.append(f"distances of other vectors: {ids}, {found}")
        if (np.diff(found) < 0).any() or len(set(ids.tolist())) != len(ids) or (ids < 0).any():
            self.faults.append(f"no order, or a vector twice: {ids}, {found}")
        if allowed is not None:
            if not np.array_equal(np.sort(ids), allowed):
                self.faults.append(f"others than the filter lets through: {ids}")
            return
        states, counts = np.unique((ids[ids >= FIRST] - FIRST) // GROUP, return_counts=True)
        whole = (counts == GROUP).all() and len(states) in (1, 2) and (len(states) == 1 or states[1] == states[0] + 1)
        if not whole:
            self.faults.append(f"a state that never was: {dict(zip(states.tolist(), counts.tolist()))}")
        if not np.array_equal(np.sort(ids[ids < FIRST]), np.arange((ids < FIRST).sum())):
            self.faults.append(f"some of the base are missing: {ids}")

    def read(self, number: int) -> None:
        """Asks in one of eight ways until the writer is done."""
        k, kept = 2 * GROUP + 10, np.arange(0, 2 * GROUP, 2)
        rows = (1, 1, 5, 80)[number % 4]
        filtered, follows = number >= 4, number >= 6
        Q = ORIGIN if rows == 1 else np.tile(ORIGIN, (rows, 1))
        while not self.done.is_set():
            try:
                if follows:  # the newest group: its vectors change places when the one before it goes
                    kept = group(self.states)
                if filtered:
                    answer = self.index.search(Q, len(kept), effort=99, filter=kept, threads=1 + number % 2)
                else:
                    answer = self.index.search(Q, k, effort=99, threads=None if number % 2 else 1)
                for ids, found in zip(np.atleast_2d(answer[0]), np.atleast_2d(answer[1])):
                    self.check(ids, found, kept if filtered else None)
                known = self.index.ids
                if len(known) not in (BASE + GROUP, BASE + 2 * GROUP) or 5 not in self.index:
                    self.faults.append(f"{len(known)} ids")
                if not np.array_equal(self.index.vector(7), positions(np.array([7]))[0]):
                    self.faults.append("another vector than that of the id")
            except vs.UnknownIdError as error:  # that group is not there yet, or no more
                if not follows:
                    self.faults.append(repr(error))
                continue
            except Exception as error:
                self.faults.append(repr(error))
            if self.faults:
                return
            self.answers[number] += 1

    def enough(self, seconds: float) -> bool:
        """Some time, and long enough on a busy machine for everybody to have had a turn."""
        return seconds > (SECONDS if self.states >= 5 and min(self.answers) >= 3 else 30)

    def write(self) -> None:
        began = time.monotonic()
        try:
            while not self.faults and not self.enough(time.monotonic() - began):
                self.states += 1
                self.index.add(positions(group(self.states)), group(self.states), threads=1)
                if self.states % 10 == 0:
                    self.index.save(self.folder / "beside.vsx")
                self.index.remove(group(self.states - 1))
        except Exception as error:
            self.faults.append(f"writer: {error!r}")
        finally:
            self.done.set()

    def run(self) -> None:
        threads = [threading.Thread(target=self.read, args=(i,), daemon=True) for i in range(READERS)]
        threads.append(threading.Thread(target=self.write, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "deadlock"


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that exclude nobody, so that every answer is known."""
    monkeypatch.setattr(ivf, "EPSILON_RANGE", (30.0, 30.0))
    monkeypatch.setattr(flat, "SURE_EPSILON", 30.0)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_see_whole_states_while_a_writer_commits(exact: None, kind: str, tmp_path: Path) -> None:
    stage = Stage(KINDS[kind](), tmp_path)
    stage.run()
    assert not stage.faults, stage.faults[:3]
    assert stage.states >= 5 and min(stage.answers) >= 3  # neither side kept the other out
    left = np.sort(np.concatenate([stage.base, group(stage.states)]))
    assert np.array_equal(stage.index.ids, left)
    saved = vs.load(tmp_path / "beside.vsx") if stage.states >= 10 else stage.index
    assert len(saved) in (BASE + GROUP, BASE + 2 * GROUP)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_see_the_old_index_or_the_new_one_while_it_is_fitted(exact: None, kind: str) -> None:
    index = KINDS[kind]()
    X, up, down = positions(np.arange(100)), np.arange(100), np.arange(99, -1, -1)
    index.fit(X, up, threads=1)
    expected = {tuple(order[:5].tolist()) for order in (up, down)}
    faults: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set() and not faults:
            try:
                found = index.search(np.tile(ORIGIN, (3, 1)), 5, effort=99)[0]
                faults.extend(str(row) for row in found if tuple(row.tolist()) not in expected)
            except Exception as error:
                faults.append(repr(error))

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(8):
        index.fit(X, up if turn % 2 else down, threads=1)
    done.set()
    for reader in readers:
        reader.join(60)
    assert not faults and not any(reader.is_alive() for reader in readers), faults[:3]


@pytest.mark.parametrize("kind", KINDS)
def test_writers_take_turns(kind: str) -> None:
    index = KINDS[kind]().fit(positions(np.arange(BASE)), threads=1)
    faults: list[str] = []

    def write(number: int) -> None:
        try:
            for turn in range(6):
                ids = FIRST + 1000 * number + 10 * turn + np.arange(10)
                index.add(positions(ids), ids, threads=1)
                index.remove(ids[:5])
        except Exception as error:
            faults.append(repr(error))

    writers = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not faults and not any(writer.is_alive() for writer in writers), faults
    assert len(index) == BASE + 4 * 6 * 5
    for id in index.ids[BASE:]:
        assert np.array_equal(index.vector(id), positions(np.array([id]))[0])
