"""Does `recall=` keep its word? Recall measured on queries that the calibration never saw, for each target.

    python bench/calibration.py DATA.hdf5 [--bits 1] [--refine f16]

Twice: calibrated on half of the set's queries and measured on the other half, and calibrated on vectors of the base
(no queries given) and measured on the same half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import keep

import vsearch as vs
from vsearch.evaluate import Truth, load_dataset

TARGETS = (0.9, 0.95, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an ann-benchmarks HDF5 file or the name of a data set")
    parser.add_argument("--bits", type=int, default=1)
    parser.add_argument("--refine", default="bf16")
    parser.add_argument("--k", type=int, default=10)
    args = parser.parse_args()
    data = load_dataset(args.data)
    queries = np.asarray(data.test, dtype=np.float32)
    seen, unseen = queries[::2], queries[1::2]
    truth = Truth(data.train, unseen, args.k, data.metric)
    rows = []
    for source, given in (("queries", seen), ("base", None)):
        index = vs.IVF(metric=data.metric, quantizer=vs.RaBitQ(args.bits), refine=args.refine)
        index.fit(data.train, queries=given)
        for target in TARGETS:
            ids, _ = index.search(unseen, args.k, recall=target)
            reached = float(truth.recall(ids))
            effort = index.calibration.effort(args.k, target)
            rows.append({"calibrated_on": source, "target": target, "recall": reached, "effort": effort})
            result = f"recall {reached:.4f} ({reached - target:+.4f}) at {effort:.0f} lists"
            print(f"calibrated on {source:<8} target {target:.2f}: {result}", flush=True)
    print(keep(f"calibration-{Path(args.data).stem}", {"rows": rows}))


if __name__ == "__main__":
    main()
