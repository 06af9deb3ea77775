"""What `demo` and `bench` share: build some indexes, measure them in one run, lay the numbers out as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch.cli.specs import IndexSpec
from vsearch.evaluate import Point, Table, Truth, default_efforts, pareto, qps_at, sweep_all
from vsearch.evaluate.datasets import Dataset
from vsearch.evaluate.report import Cell

#: Fewer queries than this say too little about a recall to calibrate one; more than that many only take time.
FEWEST_CALIBRATING, MOST_CALIBRATING = 100, 1000


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


@dataclass(frozen=True)
class Trial:
    """A data set, the queries that are measured on it, and others of their kind that calibrate ``recall=``.

    A calibration must not have seen what is measured. So every other query of a data set is measured and up to 1000
    of those between calibrate; when there are too few to share out, the base calibrates (``calibrating`` is None).
    """

    data: Dataset
    rows: np.ndarray
    asked: np.ndarray
    calibrating: np.ndarray | None

    @classmethod
    def of(cls, data: Dataset, limit: int) -> Trial:
        """Share out the queries of a data set, or rows held out of one that has no queries."""
        if data.test is None or data.nq < 2 * FEWEST_CALIBRATING:
            data = data.with_queries(limit)
            rows = np.arange(data.nq)[:limit]
            return cls(data, rows, _float32(data.test, rows), None)
        rows, others = np.arange(0, data.nq, 2)[:limit], np.arange(1, data.nq, 2)[:MOST_CALIBRATING]
        return cls(data, rows, _float32(data.test, rows), _float32(data.test, others))

    def truth(self, k: int) -> Truth:
        """Return the true neighbours of what is asked: the data set's own where it has enough, else computed."""
        known = self.data.neighbors
        if known is not None and known.shape[1] < min(k, self.data.n):
            known = None
        ids = None if known is None else known[self.rows]
        return Truth(self.data.train, self.asked, k, self.data.metric, ids=ids)

    @property
    def calibrated_on(self) -> str:
        """What ``recall=`` was calibrated on, in words."""
        return "the base" if self.calibrating is None else f"{len(self.calibrating):,} other queries"


def _float32(test: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.asarray(test)[rows], dtype=np.float32)


def build(trial: Trial, specs: Sequence[IndexSpec], threads: int | None) -> list[Built]:
    """Build the indexes one after the other."""
    built = []
    for spec in specs:
        start = time.perf_counter()
        index = spec.make(trial.data.metric).fit(trial.data.train, queries=trial.calibrating, threads=threads)
        built.append(Built(spec.label, index, time.perf_counter() - start))
    return built


def measure(
    trial: Trial, built: Sequence[Built], k: int, *, targets: Sequence[float], passes: int, threads: int | None,
    seconds: float,
) -> list[Point]:  # fmt: skip
    """Sweep the efforts of every index, and ask those that have efforts for each recall by name."""
    return sweep_all(
        {one.label: one.index for one in built}, trial.asked, trial.truth(k),
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


def overview(title: str, trial: Trial, built: Sequence[Built], points: Sequence[Point], k: int, recall: float) -> Table:
    """Return one row per index: what it answers, how fast, how large, at ``recall=`` asked for by name."""
    rows: list[list[Cell]] = []
    for one in built:
        point = next(p for p in points if p.label == one.label and (one.is_exact or p.target == recall))
        size = one.index.bytes_per_vector
        rows.append([one.label, point.recall, point.qps, point.us, point.batch_qps, size, one.seconds])
    threads = points[0].threads
    batch = "batch QPS" + (f", {threads} thr." if threads > 1 else "")
    note = "QPS: one query at a time on one thread."
    if not all(one.is_exact for one in built):
        note += f" recall={recall:g} was calibrated on {trial.calibrated_on}."
    return Table(
        title, ["index", f"recall@{k}", "QPS", "µs a query", batch, "bytes a vector", "build s"], rows,
        ["", ".4f", ",.0f", ",.1f", ",.0f", ",.0f", ",.2f"],
        note,
    )  # fmt: skip


def speed_at_recalls(built: Sequence[Built], points: Sequence[Point], targets: Sequence[float]) -> Table:
    """Return QPS at given recalls, read off each index's Pareto front; empty where the sweep did not reach one."""
    by_label = curves(points)
    rows: list[list[Cell]] = []
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
    asked = [p for p in points if p.target is not None]
    rows: list[list[Cell]] = [[p.label, p.target, p.recall, p.qps, p.us, p.p99_us] for p in asked]
    if not rows:
        return None
    return Table(
        "The recall asked for and the recall measured",
        ["index", "recall=", f"recall@{k}", "QPS", "µs a query", "p99 µs"], rows,
        ["", "g", ".4f", ",.0f", ",.1f", ",.1f"],
    )  # fmt: skip
