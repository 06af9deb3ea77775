"""Does `recall=` keep its word? Recall measured on queries that the calibration never saw, for each target.

    python bench/calibration.py DATA.hdf5 [--index ivf-rabitq1-bf16] [--splits 4]

Calibrated on half of the set's queries and measured on the other half, drawn anew or swapped for each split, since
which queries fall into a half moves its recall by .01; and calibrated on vectors of the base (no queries given),
measured on all queries and on vectors that were kept out of the base. The set's queries may come from elsewhere than
its base, as texts do beside titles; then the figures of the base on queries show what that costs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import keep

import vsearch as vs
from vsearch._progress import Progress
from vsearch._threads import resolve_threads
from vsearch.cli.specs import parse_indexes
from vsearch.evaluate import Truth, load_dataset
from vsearch.index.calibrate import calibrate

TARGETS = (0.9, 0.95, 0.99)
KEPT_OUT = 2000


def reached(index: vs.Index, asked: np.ndarray, truth: Truth, k: int) -> list[dict[str, float]]:
    """Recall and effort at each target."""
    rows = []
    for target in TARGETS:
        ids, _ = index.search(asked, k, recall=target)
        effort = index.calibration.effort(k, target) if index.calibration else float("nan")
        rows.append({"target": target, "recall": float(truth.recall(ids)), "effort": effort})
    return rows


def halves(queries: np.ndarray, splits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Queries to calibrate on and to measure on; each draw serves twice, with its halves swapped."""
    for split in range(splits):
        order = np.random.default_rng(split // 2).permutation(len(queries))
        first, second = queries[order[::2]], queries[order[1::2]]
        yield (first, second) if split % 2 == 0 else (second, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an ann-benchmarks HDF5 file or the name of a data set")
    parser.add_argument("--index", default="ivf-rabitq1-bf16", help="as on the command line: graph, graph-compact, ...")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--splits", type=int, default=4, help="of the queries into two halves")
    args = parser.parse_args()
    data = load_dataset(args.data)
    queries = np.asarray(data.test, dtype=np.float32)
    vectors = np.asarray(data.train, dtype=np.float32)
    if data.metric == "cosine":
        queries, vectors = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (queries, vectors))
    order = np.random.default_rng(0).permutation(len(vectors))
    base = np.ascontiguousarray(vectors[np.sort(order[KEPT_OUT:])])
    kept_out = np.ascontiguousarray(vectors[order[:KEPT_OUT]])
    index: vs.Index = parse_indexes(args.index)[0].make(data.metric)
    index.fit(base)
    measured = [
        ("base", name, reached(index, asked, Truth(base, asked, args.k, data.metric), args.k))
        for name, asked in (("queries", queries), ("vectors kept out", kept_out))
    ]
    in_order = base[index._fitted().ids_by_slot]
    for seen, unseen in halves(queries, args.splits):
        index.calibration = calibrate(index, in_order, seen, resolve_threads(None), Progress("calibrate", False))
        truth = Truth(base, unseen, args.k, data.metric)
        measured.append(("queries", "other queries", reached(index, unseen, truth, args.k)))
    rows = []
    for source, name in dict.fromkeys((source, name) for source, name, _ in measured):
        for at, target in enumerate(TARGETS):
            some = [points[at] for s, n, points in measured if (s, n) == (source, name)]
            recalls = [point["recall"] for point in some]
            recall, effort = float(np.mean(recalls)), float(np.mean([point["effort"] for point in some]))
            row = {"calibrated_on": source, "measured_on": name, "target": target, "recall": recall}
            rows.append(row | {"effort": effort, "recalls": recalls})
            spread = f", {min(recalls):.4f} .. {max(recalls):.4f} of {len(some)} splits" if len(some) > 1 else ""
            result = f"recall {recall:.4f} ({recall - target:+.4f}{spread}) at effort {effort:.0f}"
            print(f"calibrated on {source:<8} {name:<17} target {target:.2f}: {result}", flush=True)
    print(keep(f"calibration-{args.index}-{Path(args.data).stem}", {"rows": rows}))


if __name__ == "__main__":
    main()
