"""IVF + RaBitQ + refine against rabitqlib's IvfIndex and faiss's IVF-RaBitQ-FastScan: QPS at equal recall, one pinned
core.

    python bench/ivf.py DATA.hdf5 [--targets 0.9,0.95,0.99] [--passes 5]

Prints one line for each contestant and target, then ours over the better peer, and writes bench/results/ivf-NAME.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from contest import Judge, Runner, race
from contestants import Contestant, FaissIVFRaBitQ, RabitqlibIVF, VsearchIVF
from measure import keep


def contestants() -> dict[str, Contestant]:
    return {
        "vsearch IVF RaBitQ1 bf16": VsearchIVF(1, "bf16"),
        "rabitqlib IVF": RabitqlibIVF(),
        "faiss IVF RaBitQfs refine": FaissIVFRaBitQ(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an ann-benchmarks HDF5 file or the name of a data set")
    parser.add_argument("--targets", default="0.9,0.95,0.99")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="for building")
    args = parser.parse_args()
    from vsearch.evaluate import load_dataset

    data = load_dataset(args.data)
    X, queries = np.asarray(data.train, dtype=np.float32), np.asarray(data.test, dtype=np.float32)
    if data.metric == "cosine":
        X, queries = (np.ascontiguousarray(a / np.linalg.norm(a, axis=1, keepdims=True)) for a in (X, queries))
    judge = Judge(X, queries, 10)
    runners = []
    for name, contestant in contestants().items():
        runner = Runner(name, contestant, X, data.metric, args.threads)
        print(f"{name}: {runner.facts}", flush=True)
        if runner.alive:
            runner.start(queries, 10)
            runners.append(runner)
    targets = [float(t) for t in args.targets.split(",")]
    rows = race(runners, judge, targets, args.passes)
    ratios = {}
    for target in targets:
        reached = {r["contestant"]: r["qps"] for r in rows if r["target"] == target and "qps" in r}
        ours = max((q for name, q in reached.items() if name.startswith("vsearch")), default=0.0)
        peers = {name: q for name, q in reached.items() if not name.startswith("vsearch")}
        if peers and ours:
            best = max(peers, key=lambda name: peers[name])
            ratios[str(target)] = ours / peers[best]
            print(f"recall@10 {target:.3f}: vsearch {ours:,.0f} QPS = {ours / peers[best]:.2f} x {best}")
    print(keep(f"ivf-{Path(args.data).stem}", {"rows": rows, "ratios": ratios}))
    for runner in runners:
        runner.stop()


if __name__ == "__main__":
    main()
