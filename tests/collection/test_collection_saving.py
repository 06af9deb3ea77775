"""While the index is saved: queries go on, also beside a write that takes rows out of the index and so has to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import upkeep
from vsearch.collection.memory import Memory
from vsearch.storage import container

N = 150
X = np.random.default_rng(3).standard_normal((N + 10, 8)).astype(np.float32)


class Running:
    """Work in another thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:
            self._outcome.append(error)

    def result(self) -> Any:
        self._thread.join(60)
        assert self._outcome, "it did not end"
        return self._outcome[0]


class Save:
    """A save that has begun, and goes on once it is told."""

    def __init__(self, box: vs.Collection, patch: pytest.MonkeyPatch) -> None:
        self.session = box._session
        self.begun, self.go, self.awaited = threading.Event(), threading.Event(), threading.Event()
        self._drain, self._write = self.session.saving.drain, container.write
        patch.setattr(self.session.saving, "drain", self.drain)
        patch.setattr(container, "write", self.write)
        self._saving = Running(box.optimize)
        assert self.begun.wait(60)

    def write(self, *arguments: Any, **named: Any) -> None:
        self.begun.set()
        assert self.go.wait(60)
        self._write(*arguments, **named)

    def drain(self) -> None:
        self.awaited.set()
        self._drain()

    def hold_up(self, work: Callable[[], Any]) -> Running:
        """Work that comes to wait for the save, as it should or, as it must not, with the lock that queries need."""
        running, end = Running(work), time.monotonic() + 60
        while not (self.awaited.is_set() or self.session.lock.alone.locked()) and time.monotonic() < end:
            time.sleep(0.001)
        return running

    def end(self) -> None:
        self.go.set()
        assert self._saving.result() is None


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index from 100 records on, made and saved by `optimize` alone."""
    monkeypatch.setattr(upkeep, "EXACT_BELOW", 100)
    monkeypatch.setattr(upkeep, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(upkeep, "PATIENCE_SECONDS", 3600.0)


@contextmanager
def opened(folder: Path) -> Iterator[vs.Collection]:
    with vs.Collection.open(folder, metric="l2", index=lambda metric: vs.IVF(4, metric, dtype="f32")) as box:
        yield box


@contextmanager
def saving(box: vs.Collection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Save]:
    """N records, whose index is being saved."""
    box.add(list(range(N)), X[:N], ["text"] * N, [{"i": i} for i in range(N)])
    with monkeypatch.context() as patch:
        save = Save(box, patch)
        try:
            yield save
        finally:
            save.go.set()


WRITES: dict[str, Callable[[vs.Collection], Any]] = {
    "delete": lambda box: box.delete([3]),
    "delete where": lambda box: box.delete(where={"i": 3}),
    "update": lambda box: box.update([3], vectors=X[N : N + 1]),
    "upsert": lambda box: box.upsert([3, "new"], X[N : N + 2]),
}


@pytest.mark.parametrize("kind", WRITES)
def test_queries_go_on_while_a_write_waits_for_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    savers: list[int] = []
    apply = Memory.apply

    def watched(memory: Memory, version: int, next_row: int, removed: np.ndarray, *rest: Any) -> None:
        if len(removed):
            savers.append(len(box._session.saving.readers))
        apply(memory, version, next_row, removed, *rest)

    with opened(tmp_path) as box, saving(box, monkeypatch) as save:
        monkeypatch.setattr(Memory, "apply", watched)
        writing = save.hold_up(lambda: WRITES[kind](box))
        for ask in (
            lambda: box.query(X[3], 1)[0].id,
            lambda: box.query(X[:6], 1)[3][0].id,
            lambda: box.query(X[3], 1, where={"i": {"$lt": 5}})[0].id,
            lambda: box.query(X[3], 1, text="text", hybrid=1.0)[0].id,
            lambda: box.get([3], where={"i": 3})[0].id,
        ):
            assert Running(ask).result() == 3  # as it was: the write has not returned
        assert Running(box.count).result() == N
        with vs.Collection.open(tmp_path, read_only=True) as reader:
            assert Running(lambda: reader.query(X[3], 1, recall=1.0)[0].id).result() == 3
        save.end()
        assert writing.result() == {"update": None, "upsert": [3, "new"]}.get(kind, 1)
        assert savers == [0]
        assert box.query(X[3], 1, recall=1.0)[0].id != 3
        box.optimize()
    with opened(tmp_path) as box:
        assert box.query(X[3], 1, recall=1.0)[0].id != 3
        assert len(box) == N + {"update": 0, "upsert": 1}.get(kind, -1)
        assert (3 in box) is (kind in ("update", "upsert"))
        assert box.query(X[4], 1, recall=1.0)[0].id == 4


def test_what_takes_nothing_out_of_the_index_does_not_wait_for_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as box, saving(box, monkeypatch) as save:
        late = N + 1
        assert Running(lambda: box.add([late], X[late : late + 1])).result() == [late]
        assert Running(lambda: box.upsert([N + 2], X[N + 2 : N + 3])).result() == [N + 2]
        assert Running(lambda: box.query(X[late], 1)[0].id).result() == late
        assert Running(lambda: box.delete([late])).result() == 1
        assert Running(lambda: box.query(X[late], 1)[0].id).result() != late
        save.end()
        assert len(box) == N + 1


def test_a_write_that_gives_up_waiting_for_a_save_has_done_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> bool:
        raise KeyboardInterrupt

    with opened(tmp_path) as box, saving(box, monkeypatch) as save:
        with monkeypatch.context() as patch:
            patch.setattr(box._session.saving._left, "wait", interrupted)
            assert isinstance(Running(lambda: box.delete([3])).result(), KeyboardInterrupt)
        assert Running(lambda: box.query(X[3], 1)[0].id).result() == 3
        assert Running(lambda: box.add(["more"], X[N : N + 1])).result() == ["more"]
        save.end()
        assert box.delete([3]) == 1
        assert len(box) == N
        assert box.query(X[3], 1, recall=1.0)[0].id != 3


def test_a_save_that_fails_lets_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as box:
        box.add(list(range(N)), X[:N])
        with monkeypatch.context() as patch:
            patch.setattr(container, "write", full)
            with pytest.raises(OSError, match="No space"):
                box.optimize()
        assert Running(lambda: box.delete([3])).result() == 1
        box.optimize()
        assert len(list(tmp_path.glob("index-*.vsx"))) == 1
