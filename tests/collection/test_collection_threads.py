"""Readers beside a writer: every result set is one that existed, whole, with its documents, metadata and filter.

The writer moves a group of records through states: in state s every record of the group has metadata {"s": s}, a text
that says so, and a vector s away from where it was. Each transition is one write, so that an answer may show the group
in one state only, all of it, and with the other records as they always are.

The same for a minute each, with the core under ThreadSanitizer (its Numba twin has no threads of its own):

    cmake -S csrc -B build/tsan -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1 -DVSEARCH_TSAN=ON
    cmake --build build/tsan --target _core && cp build/tsan/_core*.so vsearch/
    PYTHONPATH=. VSEARCH_BURN_SECONDS=60 TSAN_OPTIONS=halt_on_error=0:exitcode=66 \\
        LD_PRELOAD=$(gcc -print-file-name=libtsan.so) setarch -R \\
        python -m pytest tests/collection/test_collection_threads.py
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import upkeep

BASE, GROUP, READERS = 60, 8, 8
SECONDS = float(os.environ.get("VSEARCH_BURN_SECONDS", "2"))


def group(state: int) -> tuple[list[int], np.ndarray, list[str], list[dict[str, Any]]]:
    X = np.zeros((GROUP, 4), np.float32)
    X[:, 0] = np.arange(GROUP) + 1
    X[:, 1] = state % 7
    return list(range(GROUP)), X, [f"state {state}"] * GROUP, [{"s": state, "in": True}] * GROUP


def fill(box: vs.Collection) -> None:
    X = np.zeros((BASE, 4), np.float32)
    X[:, 2] = 1000 + np.arange(BASE)
    box.add([f"far {i}" for i in range(BASE)], X, ["far"] * BASE, [{"in": i % 2 == 0} for i in range(BASE)])
    box.add(*group(0))


def judge(hits: list[vs.Record]) -> None:
    """Whether the nearest records are the group in one state, at the distances of that state."""
    states = {hit.metadata["s"] for hit in hits}
    assert len(states) == 1, states
    (state,) = states
    assert [hit.id for hit in hits] == list(range(GROUP))
    assert {hit.document for hit in hits} == {f"state {state}"}
    assert [hit.distance for hit in hits] == [float((i + 1) ** 2 + (state % 7) ** 2) for i in range(GROUP)]


def read(box: vs.Collection) -> None:
    origin = np.zeros(4, np.float32)
    judge(box.query(origin, GROUP, recall=1.0))
    judge(box.query(origin, GROUP, recall=1.0, where={"in": True}))
    judge(box.query(np.stack([origin, origin]), GROUP, recall=1.0)[1])
    found = box.get(list(range(GROUP)))
    assert len({record.metadata["s"] for record in found}) == 1
    assert len(found) == GROUP
    assert box.count({"s": {"$exists": True}}) == GROUP


def write(box: vs.Collection, state: int) -> None:
    """One transition, each time in another way."""
    ids, X, documents, metadata = group(state)
    if state % 2:
        box.upsert(ids, X, documents, metadata)
    else:
        box.update(ids, X, documents, metadata)
    if state % 5 == 0:
        box.add([f"extra {state}"], np.full((1, 4), 500.0), ["extra"], [{"in": True}])
    if state % 10 == 0:
        box.delete([f"extra {state - 5}"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "indexed", "reader"])
def test_every_result_set_existed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "indexed":
        monkeypatch.setattr(upkeep, "EXACT_BELOW", 20)
        monkeypatch.setattr(upkeep, "MERGE_AT", 4)
        monkeypatch.setattr(upkeep, "PATIENCE_SECONDS", 0.05)
    index: str | Callable[[str], vs.Index] = (lambda metric: vs.IVF(3, metric)) if kind == "indexed" else "exact"
    writer = vs.Collection.open(tmp_path / "a", metric="l2", index=index)
    fill(writer)
    box = vs.Collection.open(tmp_path / "a", read_only=True) if kind == "reader" else writer
    done, errors = threading.Event(), []
    reads = [0] * READERS

    def guard(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except BaseException as error:
                errors.append(error)
                done.set()

        return run

    state = 0

    def one_write() -> None:
        nonlocal state
        state += 1
        write(writer, state)

    def reader(number: int) -> Callable[[], None]:
        def one_read() -> None:
            read(box)
            reads[number] += 1

        return one_read

    threads = [threading.Thread(target=guard(one_write))]
    threads += [threading.Thread(target=guard(reader(number))) for number in range(READERS)]
    for thread in threads:
        thread.start()
    done.wait(SECONDS)
    end = time.monotonic() + 30
    while (state < 10 or min(reads) < 3) and not errors and time.monotonic() < end:
        time.sleep(0.05)  # a loaded machine gets more time
    done.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    box.close()
    writer.close()
    if errors:
        raise errors[0]
    assert state >= 10
    assert min(reads) >= 3
    assert kind != "indexed" or list((tmp_path / "a").glob("index-*.vsx"))
