"""A contestant's process: one library, asked over its standard input, answering over its standard output.

    python bench/worker.py '{"module": "libraries.hnsw", "kind": "Hnswlib", "options": {"m": 16, ...}}'

Every line in is a JSON object with the question under "do", every line out the answer to one question: what the method
of that name returns, or {"failed": why}. Arrays travel as .npy files. What the library prints goes to standard error.
Needs NumPy and the library and nothing else, so that a peer may live in a Python of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import pinned

WARM_UP = 32
PART = 25
"""Queries between two looks at the clock."""


class Worker:
    """The questions."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.n = 0
        self.queries = np.empty((0, 0), dtype=np.float32)

    def hello(self) -> dict[str, Any]:
        """Whether the library is here, and its version."""
        absent = self.library.absent()
        return {"absent": absent, "version": None if absent else self.library.version()}

    def build(self, base: str, metric: str, threads: int, folder: str) -> dict[str, Any]:
        """Build from the rows in a file; save into a folder, for the bytes and for `load`."""
        X = np.load(base)
        self.n = len(X)
        forget_peak()
        before = peak_bytes()
        began, busy = time.perf_counter(), time.process_time()
        self.library.build(X, metric, threads)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        peak = peak_bytes()
        self.library.save(Path(folder))
        above = None if before is None or peak is None else peak - before
        return {"build_s": seconds, "build_cpu_s": busy, "peak_bytes": above} | self._size(folder)

    def load(self, folder: str, n: int, dim: int, metric: str) -> dict[str, Any]:
        """Open what an earlier `build` saved."""
        self.n = n
        self.library.load(Path(folder), n, dim, metric)
        return self._size(folder)

    def _size(self, folder: str) -> dict[str, Any]:
        saved = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        count, whose = self.library.bytes_per_vector(self.n, saved)
        return {"bytes_per_vector": count, "bytes_from": whose, "ladders": self.library.ladders(self.n)}

    def ask(self, queries: str) -> dict[str, Any]:
        """The queries to come."""
        self.queries = np.load(queries)
        return {}

    def one_by_one(self, k: int, effort: Any, core: int | None, ids: bool) -> dict[str, Any]:
        """Seconds of every PART queries, one call each, on one core; with the answers where they are wanted."""
        search = self.library.single(k, effort)
        answers: list[Any] = []
        keep = answers.append
        with pinned(core):
            for query in self.queries[:WARM_UP]:
                search(query)
            stamps = [time.perf_counter()]
            for first in range(0, len(self.queries), PART):
                for query in self.queries[first : first + PART]:
                    keep(search(query))
                stamps.append(time.perf_counter())
        reply: dict[str, Any] = {"parts": np.diff(stamps).tolist()}
        if ids:
            reply["ids"] = [padded(self.library.ids(answer), k) for answer in answers]
        return reply

    def at_once(self, k: int, effort: Any, threads: int, core: int | None) -> dict[str, Any]:
        """Seconds for all queries in one call, one thread on the core; None where the library has no such call."""
        search = self.library.batch(k, effort, threads)
        if search is None:
            return {"seconds": None}
        with pinned(core if threads == 1 else None):
            search(self.queries[:WARM_UP])  # starts the pool of threads
            began = time.perf_counter()
            search(self.queries)
            return {"seconds": time.perf_counter() - began}

    def work(self, k: int, effort: Any) -> dict[str, Any]:
        """What the library's counters say of one pass over the queries, by query."""
        search = self.library.single(k, effort)
        before = self.library.counters()
        if before is None:
            return {"counters": None}
        for query in self.queries:
            search(query)
        after = self.library.counters()
        return {"counters": {key: (after[key] - before[key]) / len(self.queries) for key in after}}


def padded(ids: np.ndarray, k: int) -> list[int]:
    """Row numbers as ints, exactly k; -1 where there are fewer, or where a library marks none by the largest id."""
    known = [int(row) if int(row) < 2**31 - 1 else -1 for row in ids[:k]]
    return known + [-1] * (k - len(known))


def forget_peak() -> None:
    """Let `peak_bytes` start from what is resident now, where the system has a way to."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int | None:
    """The most memory that was resident in this process, or None where the system does not tell."""
    try:  # of this program alone: what getrusage says begins with the parent's peak
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


def leave_with(parent: int) -> None:
    """End this process soon after its parent did: a build in a library looks at no pipe."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    if hasattr(os, "getppid"):
        threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    entry = json.loads(sys.argv[1])
    kind = getattr(importlib.import_module(entry["module"]), entry["kind"])
    worker = Worker(kind(**entry["options"]))
    for line in sys.stdin:
        question = json.loads(line)
        try:
            reply = getattr(worker, question.pop("do"))(**question)
        except Exception as error:  # a peer that refuses is listed as such
            reply = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
    os._exit(0)  # some libraries crash when they are taken down, after all is said


if __name__ == "__main__":
    main()
