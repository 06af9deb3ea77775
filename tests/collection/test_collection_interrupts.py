"""Ctrl-C, a lack of memory, a close or a fork at a bad moment: the collection goes on, and shows what is on disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import upkeep
from vsearch.collection.memory import Part
from vsearch.collection.shared_lock import SharedLock

X = np.random.default_rng(0).standard_normal((21_100, 8)).astype(np.float32)


def in_a_child(script: str, *arguments: str, seconds: float = 100) -> str:
    """What the script prints, in a process of its own: it may hang, or be killed by what it tries."""
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    return done.stdout


def once(function: Callable[..., Any], wanted: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """The function, without memory the first time it is called in a way that is wanted."""
    calls = 0

    def work(*arguments: Any) -> Any:
        nonlocal calls
        if wanted(*arguments):
            calls += 1
            if calls == 1:
                raise MemoryError
        return function(*arguments)

    return work


CTRL_C = """
import random, signal, sys, tempfile, numpy as np, vsearch as vs
random.seed(1)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
X = np.random.default_rng(0).standard_normal((50, 16)).astype("f4")
with tempfile.TemporaryDirectory() as folder, vs.Collection.open(folder) as box:
    box.add(list(range(50)), X, ["t"] * 50)
    kept = []  # as a notebook keeps the last error, and with it all that its frames hold
    for n in range(int(sys.argv[2])):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 3e-3))
            while True:
                if sys.argv[1] == "upsert":
                    box.upsert([1], X[n % 50][None])
                else:
                    box.query(X[3], k=3, text=None if sys.argv[1] == "query" else "t")
        except KeyboardInterrupt as error:
            kept.append(error)
        box.upsert(["z"], X[:1])
        assert box.query(X[3], k=1)[0].distance < 1e-6 or sys.argv[1] == "upsert"
    assert {record.id for record in box.get()} == {*range(50), "z"}
    print(len(kept), len(box))
"""


@pytest.mark.crash
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
@pytest.mark.parametrize("what", ["query", "text", "upsert"])
def test_ctrl_c_at_any_moment_leaves_a_collection_that_answers_and_takes_writes(what: str) -> None:
    assert in_a_child(CTRL_C, what, "300").split() == ["300", "51"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_ctrl_c_while_a_write_waits_for_the_file(tmp_path: Path) -> None:
    ready = threading.Event()

    def check() -> None:  # as `vsearch check` does beside a writer: a short lock
        connection = sqlite3.connect(tmp_path / "collection.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        ready.set()
        time.sleep(0.6)
        connection.execute("ROLLBACK")
        connection.close()

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    with vs.Collection.open(tmp_path) as box:
        box.add(["a"], X[:1])
        checking = threading.Thread(target=check)
        checking.start()
        ready.wait()
        before = signal.signal(signal.SIGALRM, press)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                box.add(["b"], X[1:2])
        finally:
            signal.signal(signal.SIGALRM, before)
            checking.join()
        assert [box.add([id], X[2:3]) for id in "cd"] == [["c"], ["d"]]
        assert sorted(record.id for record in box.get()) == ["a", "c", "d"]


def test_a_writer_that_gives_up_waiting_lets_readers_in(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, ran = SharedLock(), threading.Event()

    def read() -> None:
        lock.acquire_shared(ran)
        ran.set()

    reading = threading.Thread(target=read)

    def interrupted(seconds: float) -> bool:
        reading.start()  # queues behind the writer
        raise KeyboardInterrupt

    long = object()
    lock.acquire_shared(long)
    with monkeypatch.context() as patch:
        patch.setattr(lock._left, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt), lock.alone:
            lock.drain()
    assert ran.wait(10)  # though the first reader still reads
    reading.join()
    assert lock.readers == {long, ran}
    lock.readers.clear()
    lock.wake()
    with lock.alone:
        lock.drain()


def test_two_first_writes_of_different_dimension(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def embed(texts: list[str]) -> np.ndarray:  # one of the threads uses another model
        both.wait()
        return np.ones((len(texts), 3 if threading.current_thread().name == "a" else 4), np.float32)

    outcomes: dict[str, Any] = {}

    def write(name: str) -> None:
        try:
            outcomes[name] = box.add([name], documents=["x"])
        except vs.VsearchError as error:
            outcomes[name] = error

    with vs.Collection.open(tmp_path, embedding=embed) as box:
        threads = [threading.Thread(target=write, args=(name,), name=name) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (won,) = (name for name in outcomes if outcomes[name] == [name])
        lost = outcomes["b" if won == "a" else "a"]
        assert isinstance(lost, vs.DimensionError)
        assert f"d={box.dim}" in str(lost)
    with vs.Collection.open(tmp_path) as again:
        assert [record.id for record in again.query(np.ones(again.dim or 0), k=5)] == [won]


@pytest.mark.crash
def test_close_waits_for_a_write_in_another_thread(tmp_path: Path) -> None:
    script = """
import sys, threading, time, numpy as np, vsearch as vs
X = np.random.default_rng(0).standard_normal((8000, 64)).astype("f4")
for i in range(4):
    box, out = vs.Collection.open(f"{sys.argv[1]}/{i}"), []
    def work():
        try:
            box.add(list(range(8000)), X, ["some text here"] * 8000, [{"a": 1}] * 8000)
            out.append(8000)
        except vs.ClosedError:
            out.append(0)
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.02 + 0.04 * i)
    box.close()
    thread.join()
    with vs.Collection.open(f"{sys.argv[1]}/{i}") as again:
        print(out[0] == len(again))
"""
    assert in_a_child(script, str(tmp_path)).split() == ["True"] * 4


def test_rows_written_during_a_build_stay_when_memory_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun = threading.Event(), threading.Event()

    class Slow(vs.Flat):
        def fit(self, *arguments: Any, **named: Any) -> Any:
            begun.set()
            go.wait(60)
            return super().fit(*arguments, **named)

    with vs.Collection.open(tmp_path, index=lambda metric: Slow(metric)) as box:
        box.add(list(range(20_000)), X[:20_000])
        assert begun.wait(30)
        box.add(list(range(20_000, 20_100)), X[20_000:20_100])
        with monkeypatch.context() as patch:
            patch.setattr(Part, "add", once(Part.add))
            with pytest.raises(MemoryError):
                box.add(list(range(20_100, 20_200)), X[20_100:20_200])
        assert box.query(X[20_150], 1)[0].id == 20_150  # it was committed; this reads memory anew
        go.set()
        box.optimize()
        assert [box.query(X[i], 1)[0].id for i in (5, 20_050, 20_150)] == [5, 20_050, 20_150]
        assert len(box) == 20_200 == len(box.query(X[0], 30_000))


def test_a_move_that_breaks_off_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vs.Collection.open(tmp_path, index=lambda metric: vs.Flat(metric)) as box:
        box.add(list(range(20_000)), X[:20_000])
        box.optimize()
        assert box._upkeep is not None
        monkeypatch.setattr(upkeep, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(Part, "remove", once(Part.remove, lambda _, rows: len(rows) > 0))
        box.add(list(range(20_000, 21_100)), X[20_000:])
        thread = box._upkeep._thread
        assert thread is not None
        thread.join(30)
        assert isinstance(box._upkeep._error, MemoryError)
        found = box.query(X[20_000], 21_100)
        assert len({record.id for record in found}) == len(found) == 21_100


def test_a_forked_child_leaves_the_store_of_its_parent_alone() -> None:
    script = """
import os, sys, numpy as np
from vsearch.integrations.folders import collection_for
class Store: pass
store = Store()
store.collection = collection_for(store, None, None)
store.collection.add(["r", "b"], np.eye(2))
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(os.path.exists(store.collection.path), store.collection.add(["g"], np.eye(2)[:1]), len(store.collection))
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    assert in_a_child(script).strip() == "True ['g'] 3"


def test_queries_of_another_dimension_asked_before_there_was_one(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path) as box:
        assert box.query([1.0, 2.0, 3.0]) == []
        box.add(list(range(20_000)), X[:20_000])
        for q in X[20_000:20_300]:
            box.query(q, 1)
        box.optimize()
        assert "IVF" in repr(box)


def test_an_emptied_index_is_not_calibrated(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path) as box:
        box.add(list(range(20_000)), X[:20_000])
        box.optimize()
        box.delete(where={})
        for q in X[20_000:20_300]:
            assert box.query(q, 1) == []
        assert box._upkeep is not None
        thread = box._upkeep._thread
        if thread is not None:
            thread.join()
        assert box._upkeep._error is None
        box.add([1], X[:1])
        assert box._upkeep.factory is not None


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others may look into, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


READER = """
import os, sys, tempfile, numpy as np, vsearch as vs
# What is imported late is imported now: the other user may not look into this Python's folder.
with tempfile.TemporaryDirectory() as folder:
    with vs.Collection.open(folder) as box:
        box.add(list(range(1000)), np.random.default_rng(0).random((1000, 8)), metadata=[{"a": 7}] * 1000)
        box.delete([1])
    with vs.Collection.open(folder, read_only=True) as box:
        box.query(np.ones(8), 3), box.count({"a": 7})
os.setgid(65534)
os.setuid(65534)
box = vs.Collection.open(sys.argv[1], read_only=True)
print(box._session._mode, len(box), flush=True)
sys.stdin.readline()
print(len(box), [hit.id for hit in box.query(np.ones(8), 3)], box.count({"a": 7}), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_a_reader_who_cannot_write_the_folder_follows_a_writer_that_comes_later(public: Path) -> None:
    box_path = public / "box"
    with vs.Collection.open(box_path) as box:
        box.add(list(range(1000)), X[:1000], metadata=[{"a": i} for i in range(1000)])
    os.chmod(box_path, 0o755)
    command = [sys.executable, "-c", READER, str(box_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline().split() == ["immutable", "1000"]
        with vs.Collection.open(box_path) as box:
            box.delete(list(range(0, 1000, 2)))
            box.upsert(list(range(5, 3000)), X[5:3000], metadata=[{"a": i} for i in range(5, 3000)])
            wanted = f"{len(box)} {[hit.id for hit in box.query(np.ones(8), 3)]} 1\n"
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == wanted


def test_a_closed_collection_does_not_say_that_it_lacks_a_record(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path) as box:
        box.add(["a"], X[:1])
        assert "a" in box
        assert "b" not in box
        assert None not in box
    with pytest.raises(vs.ClosedError):
        _ = "a" in box


def test_many_results_with_texts_or_diversity(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path) as box:
        box.add(["a", "b"], X[:2], ["x", "y"])
        assert len(box.query(X[0], k=20_000, text="x")) == 2 == len(box.query(X[0], k=60_000, diversity=0.5))


def test_a_reader_whose_error_is_kept_does_not_show_the_past_to_the_next(tmp_path: Path) -> None:
    cursors = []  # as the frames of an error keep them

    def read() -> None:
        with box._session.reading() as connection:
            cursors.append(connection.execute("SELECT row FROM documents"))
            assert cursors[0].fetchone()  # not at its end
            raise KeyboardInterrupt

    with vs.Collection.open(tmp_path) as box:
        box.add(["a", "b"], X[:2])
        with pytest.raises(KeyboardInterrupt):
            read()
        box.add(["c"], X[2:3])
        assert box.count() == 3
