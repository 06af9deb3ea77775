"""A write happens or it does not: whatever line Ctrl-C comes at, and wherever there is no memory."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch._interrupt import uninterrupted
from vsearch.index import graph_core, idmap, ivf_core, lists
from vsearch.storage import stores

D, OLD, NEW, GONE = 6, 150, 90, 40
KINDS: dict[str, Callable[[], Any]] = {
    "flat": lambda: vs.Flat(dtype="int8"),
    "flat codes": lambda: vs.Flat(quantizer=vs.RaBitQ(3), refine="f32"),
    "ivf": lambda: vs.IVF(5),
    "ivf codes": lambda: vs.IVF(5, quantizer=vs.RaBitQ(3), refine="f32"),
    "graph": lambda: vs.Graph(refine="f32"),
    "graph compact": lambda: vs.Graph(layout="compact", refine="f32"),
}
LISTED = [kind for kind in KINDS if "graph" not in kind]
WRITES = ("add", "remove")


POINTS = np.random.default_rng(5).integers(-100, 100, (10_000, D)).astype(np.float32)


def points(ids: np.ndarray) -> np.ndarray:
    """The vector of each id, of integers, so that every dtype keeps it as it is."""
    return POINTS[ids]


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind of index, and a file of it whose ids are not its slots."""
    ids = 7 + 3 * np.random.default_rng(1).permutation(OLD)
    path = tmp_path_factory.mktemp("commits") / "index.vsx"
    KINDS[request.param]().fit(points(ids), ids, threads=1).save(path)
    return request.param, path


def write(index: Any, what: str) -> tuple[set[int], set[int]]:
    """A write, to be called at once, and the ids before and after it."""
    before = set(index.ids.tolist())
    if what == "add":
        ids = np.arange(5000, 5000 + NEW)
        index.todo = lambda: index.add(points(ids), ids, threads=1)
        return before, before | set(ids.tolist())
    gone = sorted(before)[::3][:GONE]
    index.todo = lambda: index.remove(gone)
    return before, before - set(gone)


def check(index: Any, path: Path, *states: set[int]) -> set[int]:
    """Sees that the index is whole and in one of these states, which is returned; also once it was saved."""
    found = set(index.ids.tolist())
    assert found in states
    index.save(path)
    for one in (index, vs.load(path)):
        assert set(one.ids.tolist()) == found
        ids = np.array(sorted(found))
        Q = np.concatenate([points(ids), points(np.arange(5000, 5000 + NEW))])
        answers, distances = one.search(Q, 1, effort=1000)
        assert set(answers[:, 0].tolist()) <= found  # nothing that was taken out, nothing that is half there
        assert (answers[: len(ids), 0] == ids).mean() > 0.97 and np.isfinite(distances).all()
        np.testing.assert_array_equal(one.vector(int(ids[0])), points(ids[:1])[0])
    assert index.add(points(np.array([9999])), [9999]).tolist() == [9999]
    assert index.search(points(np.array([9999])), 1, effort=1000)[0].tolist() == [[9999]]
    return found


class CtrlC:
    """Presses Ctrl-C at the n-th line of vsearch's Python that the block executes."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, 0

    def __enter__(self) -> CtrlC:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename.replace("\\", "/")
        if "/vsearch/index/" not in name and not name.endswith("/stores.py"):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                _thread.interrupt_main()
        return self._trace


@pytest.mark.slow
@pytest.mark.parametrize("what", WRITES)
def test_ctrl_c_at_any_line(saved: tuple[str, Path], what: str, tmp_path: Path) -> None:
    assert threading.current_thread() is threading.main_thread()
    kind, path = saved
    with CtrlC(0) as whole:
        index = vs.load(path, mmap=True)
        write(index, what)
        begins = whole.lines
        index.todo()
    lines = whole.lines - begins
    step = 1 if kind in LISTED else max(1, lines // 40)
    outcomes = []
    for at in [*range(1, lines, step), lines]:
        index = vs.load(path, mmap=True)
        before, after = write(index, what)
        with pytest.raises(KeyboardInterrupt), CtrlC(at):
            index.todo()
        outcomes.append(check(index, tmp_path / "index.vsx", before, after) == after)
    assert outcomes[0] is False and outcomes[-1] is True
    assert outcomes == sorted(outcomes)  # until some line it had not happened, and from there on it had


def failing_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def work(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise MemoryError
        return function(*arguments, **named)

    return work


HUNGRY = [
    (lists, "grown"),
    (ivf_core, "grown"),
    (lists.BlockLists, "_write"),
    (stores.VectorStore, "reserve"),
    (idmap.IdMap, "reserve"),
    (idmap.IdMap, "_enter"),
    (lists.BlockLists, "own"),
]


@pytest.mark.parametrize(("place", "name"), HUNGRY, ids=lambda value: getattr(value, "__name__", value))
def test_no_memory_for_an_addition(
    saved: tuple[str, Path], place: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, path = saved
    for call in range(1, 12):
        index = vs.load(path)
        before, after = write(index, "add")
        with monkeypatch.context() as patch:
            patch.setattr(place, name, failing_at(call, getattr(place, name)))
            try:
                index.todo()
                failed = False
            except MemoryError:
                failed = True
        assert check(index, tmp_path / "index.vsx", before, after) == (before if failed else after)
        if not failed:
            return
    pytest.fail("the addition never came through")


def test_no_memory_to_own_a_mapped_file(
    saved: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, path = saved
    copies = [(stores.VectorStore, "own"), (graph_core, "aligned_rows")]
    for place, name in copies[:1] if kind in LISTED else copies if kind == "graph compact" else copies[1:]:
        index = vs.load(path, mmap=True)
        before, _ = write(index, "remove")
        with monkeypatch.context() as patch:
            patch.setattr(place, name, failing_at(1, getattr(place, name)))
            with pytest.raises(MemoryError):
                index.todo()
        assert check(index, tmp_path / "index.vsx", before) == before


def test_an_index_without_memory_to_compact_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ids = np.arange(2000)
    index = vs.IVF(5).fit(points(ids), threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(lists.BlockLists, "compact", failing_at(1, lists.BlockLists.compact))
        index.remove(ids[100:])
    assert index._core.lists.garbage() > lists.COMPACT_AT
    check(index, tmp_path / "index.vsx", set(range(100)))


def test_a_graph_that_is_linked_anew_answers_meanwhile() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((3000, 16)).astype(np.float32)
    index = vs.Graph("ip", refine="f32").fit(X)
    answers, done = [], threading.Event()

    def add() -> None:
        try:
            index.add(9 * X[:1], [5000], threads=1)  # longer than any there was
        finally:
            done.set()

    adding = threading.Thread(target=add)
    adding.start()
    while not done.is_set():
        answers.append(int(index.search(X[0], 1, effort=300)[0][0]))
    adding.join()
    assert index.search(X[0], 1, effort=300)[0].tolist() == [5000]
    assert answers.index(5000) if 5000 in answers else len(answers) > 20  # many before it was there


def test_ctrl_c_waits_and_is_not_lost() -> None:
    done = []

    def press(error: Exception | None = None) -> None:
        with uninterrupted(), uninterrupted():
            _thread.interrupt_main()
            done.append(1)
            if error is not None:
                raise error
        done.append(2)

    with pytest.raises(KeyboardInterrupt):
        press()
    with pytest.raises(ValueError, match="own"):
        press(ValueError("its own error comes first"))
    assert done == [1, 1]
    with pytest.raises(KeyboardInterrupt):  # the handler of before is back
        _thread.interrupt_main()


def test_elsewhere_than_in_the_main_thread_nothing_is_held() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
