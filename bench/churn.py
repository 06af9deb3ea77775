"""What adding and removing does to an index: churned against built anew of the same vectors, at equal effort.

    python bench/churn.py DATA.hdf5 [--index graph] [--n 30000] [--rounds 20] [--replaced 0.5]

Rounds remove the vectors that have been there longest and add as many new ones, until a part of the base is replaced.
Recall, rows visited where the index counts them, and queries per second one at a time, of both indexes in turn.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
from measure import best_seconds, keep, pinned

import vsearch as vs
from vsearch.cli.specs import parse_indexes
from vsearch.evaluate import Truth, load_dataset

K = 10


def churned(index: vs.Index, vectors: np.ndarray, n: int, rounds: int, part: int) -> np.ndarray:
    """Replaces `part` vectors a round; the ids, which are positions in `vectors`, that are there at the end."""
    for turn in range(rounds):
        index.remove(np.arange(turn * part, (turn + 1) * part))
        fresh = np.arange(n + turn * part, n + (turn + 1) * part)
        index.add(vectors[fresh], ids=fresh)
    return np.arange(rounds * part, n + rounds * part)


def visits(index: vs.Index, queries: np.ndarray, effort: float) -> float:
    """Rows that a query visits, NaN where the index does not count them."""
    if not isinstance(index, vs.Graph):
        return float("nan")
    before = index.counters()["visited"]
    index.search(queries, K, effort=effort)
    return (index.counters()["visited"] - before) / len(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an ann-benchmarks HDF5 file or the name of a data set")
    parser.add_argument(
        "--index", default="graph", help="as on the command line: graph, graph-compact, ivf-rabitq1-bf16"
    )
    parser.add_argument("--n", type=int, default=30_000, help="vectors in the index")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--replaced", type=float, default=0.5, help="part of the base, over all rounds")
    parser.add_argument("--efforts", default="40,80,150,300", help="of graphs; lists of an IVF")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=5)
    args = parser.parse_args()
    data = load_dataset(args.data)
    part = int(args.n * args.replaced) // args.rounds
    vectors = np.asarray(data.train, dtype=np.float32)
    order = np.random.default_rng(3).permutation(len(vectors))[: args.n + part * args.rounds]
    if len(order) < args.n + part * args.rounds:
        parser.error(f"the data have {len(vectors):,} vectors; {args.n + part * args.rounds:,} are needed")
    vectors = np.ascontiguousarray(vectors[order])
    queries = np.asarray(data.test, dtype=np.float32)[: args.queries]
    spec = parse_indexes(args.index)[0]
    index = spec.make(data.metric).fit(vectors[: args.n], queries=queries[:200])
    began = time.perf_counter()
    alive = churned(index, vectors, args.n, args.rounds, part)
    seconds = time.perf_counter() - began
    anew = spec.make(data.metric).fit(vectors[alive], ids=alive, queries=queries[:200])
    truth = Truth(vectors[alive], queries, K, data.metric)
    position = np.full(len(vectors) + 1, -1)
    position[alive] = np.arange(len(alive))
    print(f"{args.rounds} rounds of {part} out and {part} in: {seconds:.1f} s")
    rows = []
    for effort in (float(word) for word in args.efforts.split(",")):
        both = {"churned": index, "anew": anew}

        def asked(which: vs.Index, effort: float = effort) -> None:
            for query in queries:
                which.search(query, K, effort=effort)

        with pinned(0):
            taken = best_seconds({name: partial(asked, one) for name, one in both.items()}, args.passes)
        row: dict[str, float] = {"effort": effort}
        for name, one in both.items():
            ids = one.search(queries, K, effort=effort)[0]
            row[f"recall {name}"] = float(truth.recall(position[ids]))
            row[f"visits {name}"] = visits(one, queries, effort)
            row[f"qps {name}"] = len(queries) / taken[name]
        rows.append(row)
        print(
            f"effort {effort:g}: recall {row['recall churned']:.4f} against {row['recall anew']:.4f}"
            f" ({row['recall churned'] - row['recall anew']:+.4f}), visits {row['visits churned']:.1f} /"
            f" {row['visits anew']:.1f}, QPS {row['qps churned']:,.0f} / {row['qps anew']:,.0f}"
            f" ({row['qps churned'] / row['qps anew']:.2f} x)",
            flush=True,
        )
    print(keep(f"churn-{args.index}-{Path(args.data).stem}", {"n": args.n, "seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
