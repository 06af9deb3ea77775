"""What `demo` and `bench` share: build some indexes, measure them in one run, lay the numbers out as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch.cli.specs import IndexSpec
from vsearch.errors import ParameterError
from vsearch.evaluate import Point, Table, Truth, default_efforts, pareto, qps_at, sweep_all
from vsearch.evaluate.datasets import Dataset


@dataclass(frozen=True)
class Built:
    """A fitted index with its name and what building it took."""

    label: str
    index: Any
    seconds: float

    @property
    def is_exact(self) -> bool:
        """It has no effort to choose: it looks at everything."""
        return default_efforts(self.index) == [None]


def build(specs: Sequence[IndexSpec], X: Any, metric: str, threads: int | None) -> list[Built]:
    """Build the indexes one after the other."""
    built = []
    for spec in specs:
        start = time.perf_counter()
        index = spec.make(metric).fit(X, threads=threads)
        built.append(Built(spec.label, index, time.perf_counter() - start))
    return built


def truth_of(data: Dataset, queries: np.ndarray, k: int) -> Truth:
    """Return the true neighbours of the first queries: the data set's own where it has enough, else computed."""
    known = data.neighbors
    if known is not None and known.shape[1] >= min(k, data.n):
        return Truth(data.train, queries, k, data.metric, ids=known[: len(queries)])
    return Truth(data.train, queries, k, data.metric)


def measure(
    built: Sequence[Built], queries: np.ndarray, truth: Truth, *, targets: Sequence[float], passes: int,
    threads: int | None, seconds: float | None = None,
) -> list[Point]:  # fmt: skip
    """Sweep the efforts of every index, and ask those that have efforts for each recall by name."""
    return sweep_all(
        {one.label: one.index for one in built}, queries, truth,
        targets={one.label: targets for one in built if not one.is_exact},
        passes=passes, threads=threads, seconds=seconds,
    )  # fmt: skip


def curves(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the swept points by index, without those that asked for a recall by name."""
    out: dict[str, list[Point]] = {}
    for point in points:
        if point.target is None:
            out.setdefault(point.label, []).append(point)
    return out


def overview(title: str, built: Sequence[Built], points: Sequence[Point], k: int, recall: float) -> Table:
    """Return one row per index: what it answers, how fast, how large, at ``recall=`` asked for by name."""
    rows = []
    for one in built:
        point = next(p for p in points if p.label == one.label and (one.is_exact or p.target == recall))
        size = one.index.bytes_per_vector
        rows.append([one.label, point.recall, point.qps, point.us, point.batch_qps, size, one.seconds])
    threads = points[0].threads
    batch = "batch QPS" + (f", {threads} thr." if threads > 1 else "")
    return Table(
        title, ["index", f"recall@{k}", "QPS", "µs/query", batch, "bytes/vector", "build s"], rows,
        ["", ".4f", ",.0f", ",.1f", ",.0f", ",.0f", ",.2f"],
        f"QPS: one query at a time on one thread. Indexes that approximate were asked for recall={recall:g}.",
    )  # fmt: skip


def speed_at_recalls(built: Sequence[Built], points: Sequence[Point], targets: Sequence[float]) -> Table:
    """Return QPS at given recalls, read off each index's Pareto front; empty where the sweep did not reach one."""
    by_label = curves(points)
    rows = []
    for one in built:
        speeds = [qps_at(by_label[one.label], target) for target in targets]
        best = pareto(by_label[one.label])[-1].recall
        rows.append([one.label, *(None if np.isnan(speed) else speed for speed in speeds), best])
    return Table(
        "Queries per second at a recall", ["index", *(f"QPS at {target:g}" for target in targets), "best recall"], rows,
        ["", *(",.0f" for _ in targets), ".4f"],
        "Interpolated along each index's Pareto front; a recall that the sweep did not reach stays empty.",
    )  # fmt: skip


def named_recalls(points: Sequence[Point], k: int) -> Table | None:
    """Return what asking for a recall by name gave, or None when nothing was asked."""
    rows = [[p.label, p.target, p.recall, p.qps, p.us, p.p99_us] for p in points if p.target is not None]
    if not rows:
        return None
    return Table(
        "The recall asked for and the recall measured",
        ["index", "recall=", f"recall@{k}", "QPS", "µs/query", "p99 µs"], rows,
        ["", "g", ".4f", ",.0f", ",.1f", ",.1f"],
    )  # fmt: skip


def queries_of(data: Dataset, limit: int | None) -> np.ndarray:
    """Return the first queries of a data set as float32."""
    if data.test is None or not len(data.test):
        raise ParameterError(f"`{data.name}` must hold queries to be measured with; it has none.")
    return np.asarray(data.test[:limit], dtype=np.float32)
