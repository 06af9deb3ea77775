"""A fair race between search libraries in one run.

Each contestant lives in its own process, so that thread pools, allocators and OpenMP runtimes do not meet. The parent
lets one run at a time: passes are interleaved (A B C A B C ...), all on one pinned core, and the best pass of each
counts, so that a slow moment of the machine hits nobody alone. For every target the parent first finds the cheapest
setting of each contestant that reaches the recall, by bisection over its effort for each of its variants.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from contestants import Contestant
from measure import pinned


def serve(pipe: Connection, contestant: Contestant, X: np.ndarray, metric: str, threads: int) -> None:
    """A contestant's process: builds, then answers ("recall"|"time", effort, variant) until told to stop."""
    try:
        begin = time.perf_counter()
        contestant.build(X, metric, threads)
        pipe.send(
            ("built", {"build_s": time.perf_counter() - begin, "bytes_per_vector": contestant.bytes_per_vector()})
        )
    except Exception as error:  # a peer that does not install or refuses to run is reported, not fatal
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
        return
    queries, k = pipe.recv()
    with pinned(0):
        answer_tasks(pipe, contestant, queries, k)


def answer_tasks(pipe: Connection, contestant: Contestant, queries: np.ndarray, k: int) -> None:
    """One pass over the queries, one at a time, for every (effort, variant) that comes; None ends it."""
    while (task := pipe.recv()) is not None:
        effort, variant = task
        contestant.set(effort, variant)
        search, found = contestant.search, [()] * len(queries)
        begin = time.perf_counter()
        for i, query in enumerate(queries):
            found[i] = search(query, k)
        seconds = time.perf_counter() - begin
        pipe.send((seconds, np.stack([contestant.ids(answer) for answer in found])))


class Runner:
    """The parent's end of a contestant."""

    def __init__(self, name: str, contestant: Contestant, X: np.ndarray, metric: str, threads: int) -> None:
        self.name = name
        self.variants = contestant.variants
        self.most = contestant.most(len(X))
        context = mp.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=serve, args=(child, contestant, X, metric, threads), daemon=True)
        self.process.start()
        status, self.facts = self.pipe.recv()
        self.alive = status == "built"

    def ask(self, effort: int, variant: int | None) -> tuple[float, np.ndarray]:
        self.pipe.send((effort, variant))
        answer: tuple[float, np.ndarray] = self.pipe.recv()
        return answer

    def start(self, queries: np.ndarray, k: int) -> None:
        self.pipe.send((queries, k))

    def stop(self) -> None:
        if self.alive:
            self.pipe.send(None)
        self.process.join(10)


class Judge:
    """Recall by distance (ties count) and the search for the cheapest setting."""

    def __init__(self, X: np.ndarray, queries: np.ndarray, k: int) -> None:
        self.X, self.queries, self.k = X, queries, k
        self.limit = self._kth_distance() * (1 + 1e-5) + 1e-7

    def _kth_distance(self) -> np.ndarray:
        norms = np.einsum("ij,ij->i", self.X, self.X)
        out = []
        for first in range(0, len(self.queries), 100):
            q = self.queries[first : first + 100]
            near = np.argpartition(norms - 2 * (q @ self.X.T), 2 * self.k, axis=1)[:, : 2 * self.k]
            exact = ((self.X[near] - q[:, None]) ** 2).sum(axis=2)
            out.append(np.sort(exact, axis=1)[:, self.k - 1])
        return np.concatenate(out)

    def recall(self, ids: np.ndarray) -> float:
        known = np.maximum(ids, 0)
        hits = 0
        for i, row in enumerate(known):
            distances = ((self.X[row] - self.queries[i]) ** 2).sum(axis=1)
            hits += int(((distances <= self.limit[i]) & (ids[i] >= 0)).sum())
        return hits / ids.size

    def cheapest(self, runner: Runner, target: float) -> tuple[int, int | None, float] | None:
        """(effort, variant, recall) with the least seconds among those that reach the target."""
        best: tuple[float, int, int | None, float] | None = None
        for variant in runner.variants:
            low, high = 1, runner.most
            if self.recall(runner.ask(high, variant)[1]) < target:
                continue
            while low < high:
                middle = (low + high) // 2
                if self.recall(runner.ask(middle, variant)[1]) >= target:
                    high = middle
                else:
                    low = middle + 1
            seconds, ids = min((runner.ask(high, variant) for _ in range(2)), key=lambda answer: answer[0])
            if best is None or seconds < best[0]:
                best = (seconds, high, variant, self.recall(ids))
        return best[1:] if best else None


def race(runners: list[Runner], judge: Judge, targets: Sequence[float], passes: int) -> list[dict[str, Any]]:
    """One row for each contestant and target: best QPS of interleaved passes at its cheapest setting."""
    rows = []
    for target in targets:
        settings = {runner.name: judge.cheapest(runner, target) for runner in runners}
        best: dict[str, float] = {}
        for _ in range(passes):
            for runner in runners:
                setting = settings[runner.name]
                if setting is not None:
                    seconds, _ = runner.ask(setting[0], setting[1])
                    best[runner.name] = min(best.get(runner.name, np.inf), seconds)
        for runner in runners:
            setting = settings[runner.name]
            row = {"contestant": runner.name, "target": target, **runner.facts}
            if setting is not None:
                qps = len(judge.queries) / best[runner.name]
                row |= {"qps": qps, "us": 1e6 / qps, "recall": setting[2], "effort": setting[0], "variant": setting[1]}
            rows.append(row)
            print(describe(row), flush=True)
    return rows


def describe(row: dict[str, Any]) -> str:
    cost = f"{row['bytes_per_vector']:>6.0f} B/vector  build {row['build_s']:>6.1f} s"
    head = f"recall@10 {row['target']:.3f}  {row['contestant']:<28} {cost}"
    if "qps" not in row:
        return f"{head}  not reached"
    setting = f"recall {row['recall']:.4f}, effort {row['effort']}, {row['variant']}"
    return f"{head}  {row['qps']:>8,.0f} QPS  {row['us']:>7.1f} us  ({setting})"
