"""Does `recall=` keep its word? Recall measured on queries that the calibration never saw, for each target.

    python bench/calibration.py DATA.hdf5 [--index ivf-rabitq1-bf16]

Calibrated on half of the set's queries and measured on the other half; and calibrated on vectors of the base (no
queries given), measured on the same half and on vectors that were kept out of the base. The set's queries may come
from elsewhere than its base, as texts do beside titles; then the last pair of figures shows what that costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import keep

import vsearch as vs
from vsearch.cli.specs import parse_indexes
from vsearch.evaluate import Truth, load_dataset

TARGETS = (0.9, 0.95, 0.99)
KEPT_OUT = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an ann-benchmarks HDF5 file or the name of a data set")
    parser.add_argument("--index", default="ivf-rabitq1-bf16", help="as on the command line: graph, graph-compact, ...")
    parser.add_argument("--k", type=int, default=10)
    args = parser.parse_args()
    data = load_dataset(args.data)
    queries = np.asarray(data.test, dtype=np.float32)
    order = np.random.default_rng(0).permutation(len(data.train))
    vectors = np.asarray(data.train, dtype=np.float32)
    base = np.ascontiguousarray(vectors[np.sort(order[KEPT_OUT:])])
    seen, unseen = queries[::2], queries[1::2]
    measured = {"other queries": unseen, "vectors kept out": np.ascontiguousarray(vectors[order[:KEPT_OUT]])}
    truths = {name: Truth(base, asked, args.k, data.metric) for name, asked in measured.items()}
    rows = []
    for source, given in (("queries", seen), ("base", None)):
        index: vs.Index = parse_indexes(args.index)[0].make(data.metric)
        index.fit(base, queries=given)
        for name, asked in measured.items():
            if given is not None and name != "other queries":
                continue
            for target in TARGETS:
                ids, _ = index.search(asked, args.k, recall=target)
                reached = float(truths[name].recall(ids))
                effort = index.calibration.effort(args.k, target) if index.calibration else float("nan")
                row = {"calibrated_on": source, "measured_on": name, "target": target, "recall": reached}
                rows.append(row | {"effort": effort})
                result = f"recall {reached:.4f} ({reached - target:+.4f}) at effort {effort:.0f}"
                print(f"calibrated on {source:<8} {name:<17} target {target:.2f}: {result}", flush=True)
    print(keep(f"calibration-{args.index}-{Path(args.data).stem}", {"rows": rows}))


if __name__ == "__main__":
    main()
