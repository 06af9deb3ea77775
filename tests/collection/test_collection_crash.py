"""kill -9 in the middle of writes, a full disk: what was acknowledged is there, whole, and nothing else.

A child does operation 0, 1, 2, ...; what operation i does follows from i alone, so that the parent knows the collection
after any number of them. The child reports each operation that returned. After the kill the folder must open without
repair and hold exactly the state after the last reported operation, or after the one that was under way.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import upkeep

DIM = 8

#: id -> (vector, document, metadata)
Model = dict[Any, tuple[list[float], str | None, dict[str, Any]]]


def operation(i: int) -> tuple[str, list[Any], np.ndarray, list[str | None], list[dict[str, Any]]]:
    """What operation i does: its kind, and columns for it."""
    rng = random.Random(i)
    ids: list[Any] = rng.sample([*range(30), *(f"id {n}" for n in range(30))], rng.choice([1, 1, 2, 12]))
    X = np.array([[rng.randint(-9, 9) for _ in range(DIM)] for _ in ids], np.float32)
    texts = [rng.choice([None, f"operation {i} wrote this", "a few words"]) for _ in ids]
    return (
        rng.choice(["upsert", "upsert", "update", "delete"]),
        ids,
        X,
        texts,
        [{"i": i, "n": n} for n in range(len(ids))],
    )


def perform(box: vs.Collection, i: int) -> None:
    kind, ids, X, texts, metadata = operation(i)
    if kind == "upsert":
        box.upsert(ids, X, texts, metadata)
    elif kind == "delete":
        box.delete(ids)
    else:
        known = [record.id for record in box.get(ids, include=())]
        if known:
            box.update(known, metadata=[{"updated": i}] * len(known))


def expect(model: Model, i: int) -> None:
    """The same for the model."""
    kind, ids, X, texts, metadata = operation(i)
    for n, id in enumerate(ids):
        if kind == "upsert":
            model[id] = X[n].tolist(), texts[n], metadata[n]
        elif kind == "delete":
            model.pop(id, None)
        elif id in model:
            model[id] = (*model[id][:2], {"updated": i})


def plain_index(metric: str) -> vs.Index:
    return vs.IVF(2, metric, dtype="f32")


def child(folder: str) -> None:
    """Operations for ever, each reported once it has returned; with an index in the background all the while."""
    upkeep.EXACT_BELOW, upkeep.MERGE_AT, upkeep.SAVE_GROWTH = 20, 4, 1.0
    with vs.Collection.open(folder, metric="l2", index=plain_index) as box:
        i = int(sys.argv[2])
        while True:
            perform(box, i)
            print(i, flush=True)
            i += 1
            if i % 7 == 0:
                box.optimize()


def start(folder: Path, first: int, failpoint: str | None = None) -> subprocess.Popen[str]:
    code = "import sys, test_collection_crash; test_collection_crash.child(sys.argv[1])"
    search = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("VSEARCH_FAILPOINT", None)
    if failpoint:
        environment["VSEARCH_FAILPOINT"] = failpoint
    command = [sys.executable, "-c", code, str(folder), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def held(box: vs.Collection) -> Model:
    found = box.iterate(include=("documents", "metadata", "vectors"))
    return {r.id: (r.vector.tolist(), r.document, r.metadata) for r in found if r.vector is not None}


def verify(folder: Path, before: Model, first: int, reported: int) -> tuple[Model, int]:
    """Open after a kill: the state after the last reported operation or the next. Returns that, and what comes next."""
    after = dict(before)
    for i in range(first, reported + 1):
        expect(after, i)
    under_way = dict(after)
    expect(under_way, reported + 1)
    with vs.Collection.open(folder, metric="l2", index=plain_index) as box:
        found = held(box)
        assert found in (after, under_way), f"after operation {reported}"
        hits = box.query(np.zeros(DIM), k=100, recall=1.0)
        assert {hit.id for hit in hits} == set(found)
        for hit in hits:
            assert hit.distance == sum(x * x for x in found[hit.id][0])
        words = {record.id for record in box.get(where_document={"$match": "words"})}
        assert words == {id for id, (_, text, _) in found.items() if text and "words" in text}
    connection = sqlite3.connect(folder / "collection.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
    connection.close()
    return found, reported + 1 if found == after else reported + 2


def killed_after(process: subprocess.Popen[str], seconds: float | None) -> list[int]:
    """Operations that a child reported until it was killed, ``seconds`` after its first, or by its failpoint."""
    assert process.stdout is not None
    lines = []
    with process:
        if seconds is not None:
            lines.append(process.stdout.readline())
            time.sleep(seconds)
            process.kill()
        lines += process.stdout.readlines()
    assert process.returncode in (-signal.SIGKILL, 137)
    return [int(line) for line in lines if line.endswith("\n")]


def kill_many_times(folder: Path, times: int) -> None:
    model: Model = {}
    first = 0
    rng = random.Random(times)
    for _ in range(times):
        reported = killed_after(start(folder, first), rng.random() * 0.25)
        assert reported == list(range(first, first + len(reported)))
        model, first = verify(folder, model, first, first + len(reported) - 1)
    assert first > times


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no kill -9")


@pytest.mark.slow
@pytest.mark.crash
def test_kill_at_random_instants(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "a", 8)


@pytest.mark.exhaustive
@pytest.mark.crash
def test_kill_at_200_random_instants(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "a", 200)


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize(
    "failpoint",
    [
        "collection.commit:5",
        "collection.committed:9",
        "collection.applied:2",
        "container.write:2",
        "container.renamed:1",
    ],
)
def test_kill_at_a_point(tmp_path: Path, failpoint: str) -> None:
    reported = killed_after(start(tmp_path / "a", 0, failpoint), None)
    assert reported == list(range(len(reported)))
    verify(tmp_path / "a", {}, 0, len(reported) - 1)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_failed_write_changes_nothing_and_the_next_succeeds(
    tmp_path: Path, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsearch.collection import session
    from vsearch.storage import failpoints

    with vs.Collection.open(tmp_path / "a", metric="l2") as box:
        model: Model = {}
        perform(box, 0)
        expect(model, 0)
        monkeypatch.setattr(session, "failpoint", failpoints._armed(f"collection.commit:1:{error}"))
        with pytest.raises(OSError) as caught:  # noqa: PT011  (its errno is compared)
            box.upsert([1], np.ones((1, DIM)))
        assert caught.value.errno
        assert held(box) == model
        perform(box, 1)
        expect(model, 1)
        assert held(box) == model
        assert {hit.id for hit in box.query(np.zeros(DIM), 99)} == set(model)


def test_memory_follows_when_applying_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vsearch.collection.memory import Memory

    with vs.Collection.open(tmp_path / "a", metric="l2") as box:
        box.add([1, 2], np.eye(DIM)[:2])

        def broken(*_: Any) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(Memory, "apply", broken)
            with pytest.raises(MemoryError):
                box.add([3], np.eye(DIM)[2:3])  # it is on disk all the same
        assert {hit.id for hit in box.query(np.zeros(DIM))} == {1, 2, 3}
        box._session.memory.version = -1  # as when an apply breaks off half-way
        assert {hit.id for hit in box.query(np.zeros(DIM))} == {1, 2, 3}
        box.delete([1])
        assert {hit.id for hit in box.query(np.zeros(DIM))} == {2, 3}


FULL_DISK = """
import resource, sys
import numpy as np
import vsearch as vs
box = vs.Collection.open(sys.argv[1], metric="l2")
box.add(range(20), np.ones((20, 64)), ["kept"] * 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    for n in range(1, 1000):
        box.add(range(20 * n, 20 * n + 20), np.ones((20, 64)), ["more"] * 20)
        print(20 * n + 20, flush=True)
except OSError as error:
    assert "nothing of this write was saved" in str(error), error
    assert len(box) == len(box.query(np.ones(64), 65536)), "memory and file differ"
else:
    raise SystemExit("the disk never filled")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a")], env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    acknowledged = int(child.stdout.split()[-1])
    with vs.Collection.open(tmp_path / "a") as box:
        assert [record.id for record in box] == list(range(acknowledged))
        box.add(["after"], np.ones((1, 64)))
        assert box.count(where_document={"$match": "kept"}) == 20
