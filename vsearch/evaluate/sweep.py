"""Effort sweeps: recall against speed, measured the same way for every index.

Works on any object with ``search(Q, k, ...)`` that returns (ids, distances), so a peer library wrapped in five lines
is measured by the same clock. One measurement of one setting is:

1. A warm-up (a few queries one by one, then one batch), not timed: pages are touched, pools are started.
2. ``passes`` passes over all queries, one call per query on one thread, each call timed. The best pass counts: noise
   from the rest of the machine only ever slows a pass down.
3. As many timed batch calls with all queries at once, on ``threads`` threads.
4. Recall of the answers that were timed in step 2.

Passes are interleaved: pass 1 of every setting of every index, then pass 2, and so on. A machine that slows down for
ten seconds then slows everybody's pass, and no index's only one.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vsearch._progress import Progress
from vsearch._threads import resolve_threads
from vsearch._validate import check_int
from vsearch.evaluate.recall import Truth

#: Queries asked one by one before the clock starts.
WARM_UP = 20


@dataclass(frozen=True)
class Point:
    """One measured setting of one index.

    Attributes
    ----------
    label : str
        The index.
    effort : float or None
        The ``effort=`` that was set, if one was.
    target : float or None
        The ``recall=`` that was asked for, if one was.
    recall : float
        Measured recall@k.
    qps : float
        Queries per second, one at a time on one thread, best pass.
    median_us, p99_us : float
        Microseconds of a single query in that pass.
    batch_qps : float or None
        Queries per second when all are handed over at once, on ``threads`` threads, best pass.
    threads : int
        Threads of the batch.
    """

    label: str
    effort: float | None
    target: float | None
    recall: float
    qps: float
    median_us: float
    p99_us: float
    batch_qps: float | None
    threads: int

    @property
    def us(self) -> float:
        """Mean microseconds per query, one at a time."""
        return 1e6 / self.qps


def sweep(
    index: Any,
    Q: Any,
    truth: Truth,
    k: int | None = None,
    efforts: Sequence[float | None] | None = None,
    *,
    targets: Sequence[float] = (),
    label: str = "",
    passes: int = 3,
    threads: int | None = None,
    batch: bool = True,
    seconds: float | None = None,
    progress: bool | None = None,
) -> list[Point]:
    """Measure one index at several efforts.

    Parameters
    ----------
    index : object
        Has ``search(Q, k, effort=)``, perhaps also ``threads=`` and ``recall=``.
    Q : array of shape (nq, d)
        The queries that ``truth`` knows.
    truth : Truth
        Judges the answers.
    k : int, optional
        Neighbours asked for; ``truth.k`` when not given.
    efforts : sequence of float or None, optional
        Each becomes ``effort=``; None means "do not pass it". By default `default_efforts`.
    targets : sequence of float
        Recalls to ask for by name, each ``recall=``; measured after the efforts.
    label : str
        Name in the points; the class name when empty.
    passes : int
        Timed passes of each setting, interleaved; the best counts.
    threads : int, optional
        For the batch; all cores when not given.
    batch : bool
        Measure the batch too.
    seconds : float, optional
        Stop a single-query pass after about this long and count what it answered.
    progress : bool, optional
        Show a bar; by default on a terminal, when it takes longer than two seconds.

    Examples
    --------
    >>> points = sweep(index, Q, Truth(X, Q), efforts=[1, 4, 16])  # doctest: +SKIP
    >>> print(points[-1].recall, points[-1].qps)                   # doctest: +SKIP
    """
    label = label or type(index).__name__
    if efforts is None:
        efforts = default_efforts(index)
    return sweep_all(
        {label: index},
        Q,
        truth,
        k,
        {label: efforts},
        targets={label: targets},
        passes=passes,
        threads=threads,
        batch=batch,
        seconds=seconds,
        progress=progress,
    )


def sweep_all(
    indexes: Mapping[str, Any],
    Q: Any,
    truth: Truth,
    k: int | None = None,
    efforts: Mapping[str, Sequence[float | None]] | None = None,
    *,
    targets: Mapping[str, Sequence[float]] | None = None,
    passes: int = 3,
    threads: int | None = None,
    batch: bool = True,
    seconds: float | None = None,
    progress: bool | None = None,
) -> list[Point]:
    """Measure several indexes in one run, their passes interleaved; parameters as in `sweep`, by label."""
    check_int("passes", passes, 1)
    Q = np.ascontiguousarray(np.atleast_2d(np.asarray(Q)), dtype=np.float32)
    threads = resolve_threads(threads)
    k = k or truth.k
    runs: list[_Run] = []
    for label, index in indexes.items():
        chosen = (efforts or {}).get(label)
        settings: list[dict[str, float]] = [
            {} if effort is None else {"effort": effort} for effort in (chosen or default_efforts(index))
        ]
        settings += [{"recall": target} for target in (targets or {}).get(label, ())]
        runs += [_Run(label, index, k, setting, threads) for setting in settings]
    with Progress("sweep", progress, total=len(runs) * passes) as bar:
        for number in range(passes):
            for run in runs:
                if number == 0:
                    run.warm_up(Q, batch)
                run.one_by_one(Q, seconds)
                if batch:
                    run.all_at_once(Q)
                bar.advance()
    return [run.point(truth) for run in runs]


def default_efforts(index: Any) -> list[float | None]:
    """Return the efforts worth measuring; [None] for an index without the knob.

    They are those the index was calibrated at (``index.calibration.efforts``), or, for an index that has only
    ``lists``, from 1 to all of them in steps of some 40 %.
    """
    calibrated = getattr(getattr(index, "calibration", None), "efforts", None)
    if calibrated:
        return [float(effort) for effort in np.unique(calibrated)]
    lists = getattr(index, "lists", None)
    if isinstance(lists, bool) or not isinstance(lists, (int, np.integer)) or lists < 1:
        return [None]
    steps = int(np.ceil(2 * np.log2(lists))) + 1
    return [float(effort) for effort in np.unique(np.geomspace(1, lists, steps).round())]


@dataclass
class _Run:
    """One setting of one index, collecting its passes."""

    label: str
    index: Any
    k: int
    setting: dict[str, float]
    threads: int
    times_ns: np.ndarray | None = None
    batch_seconds: float = float("inf")
    answers: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = _takes_threads(self.index.search)
        self.single = self.setting | ({"threads": 1} if known else {})
        self.many = self.setting | ({"threads": self.threads} if known else {})

    def warm_up(self, Q: np.ndarray, batch: bool) -> None:
        for query in Q[:WARM_UP]:
            self.index.search(query, self.k, **self.single)
        if batch:
            self.index.search(Q, self.k, **self.many)

    def one_by_one(self, Q: np.ndarray, seconds: float | None) -> None:
        search, k, keywords, clock = self.index.search, self.k, self.single, time.perf_counter_ns
        stamps = np.empty(len(Q) + 1, dtype=np.int64)
        answers = []
        stop = float("inf") if seconds is None else clock() + seconds * 1e9
        stamps[0] = clock()
        asked = 0
        for query in Q:
            answers.append(search(query, k, **keywords)[0])
            asked += 1
            stamps[asked] = now = clock()
            if now > stop:
                break
        times = np.diff(stamps[: asked + 1])
        if self.times_ns is None or times.mean() < self.times_ns.mean():
            self.times_ns = times
        if len(answers) > len(self.answers):
            self.answers = answers

    def all_at_once(self, Q: np.ndarray) -> None:
        start = time.perf_counter()
        self.index.search(Q, self.k, **self.many)
        self.batch_seconds = min(self.batch_seconds, (time.perf_counter() - start) / len(Q))

    def point(self, truth: Truth) -> Point:
        times = self.times_ns if self.times_ns is not None else np.ones(1)
        measured_batch = np.isfinite(self.batch_seconds)
        return Point(
            label=self.label,
            effort=self.setting.get("effort"),
            target=self.setting.get("recall"),
            recall=truth.recall(np.reshape(self.answers, (len(self.answers), -1))),
            qps=1e9 / max(float(times.mean()), 1.0),
            median_us=float(np.median(times)) / 1e3,
            p99_us=float(np.percentile(times, 99)) / 1e3,
            batch_qps=1.0 / max(self.batch_seconds, 1e-12) if measured_batch else None,
            threads=self.threads,
        )


def _takes_threads(search: Any) -> bool:
    try:
        parameters = inspect.signature(search).parameters.values()
    except (TypeError, ValueError):  # a compiled function that does not say
        return False
    return any(p.name == "threads" or p.kind is p.VAR_KEYWORD for p in parameters)
