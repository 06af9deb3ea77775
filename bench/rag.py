"""Collections for RAG: inserting, opening, asking, asking with filters, size on disk; beside Chroma and LanceDB.

    python bench/rag.py wordnet-minilm-384-angular [--texts FILE] [--stores vsearch,chroma,lancedb] [--n 100000]
                        [--folder F --keep]     leave what was inserted in F, and take from F what is there already

Documents go in in batches of 1000 with a text and two attributes. Queries are asked one at a time on one thread and
return documents; of the tunings a store has, the cheapest that reaches the level of recall is reported (else its best).
Fifty filters, ranges of a number that has nothing to do with the vectors, let through .001 to .5 of the documents; the
slowest of them counts, and beside it the time of the first query with a filter that was never asked before. Every timed
pass is done again and the best is taken. Prints a table, how many times the better peer's figures ours are, and writes
bench/results/rag-NAME.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import keep
from rag_stores import STORES

BATCH = 1000
SELECTIVITIES = np.geomspace(0.001, 0.5, 10)
OFFSETS = 5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a file, or the name of a data set")
    parser.add_argument("--texts", type=Path, help="a text for each vector, one to a line, may be .gz")
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--filter-queries", type=int, default=20, help="for each of the fifty filters")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--level", type=float, default=0.95, help="of recall")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--filters-every", type=int, default=1, help="ask only every so many-th of the fifty filters")
    parser.add_argument("--folder", type=Path, help="where collections are made; default a temporary folder")
    parser.add_argument("--keep", action="store_true", help="keep them there, and use those of a run before")
    args = parser.parse_args()
    if args.keep and not args.folder:
        parser.error("--keep needs --folder")
    return args


class Work:
    """What is inserted and asked, and the true answers."""

    def __init__(self, args: argparse.Namespace) -> None:
        from vsearch.evaluate import load_dataset

        data = load_dataset(args.data)
        self.k = args.k
        self.X = np.asarray(data.train[: args.n], np.float32)
        self.Q = np.asarray(data.test, np.float32)[: args.queries]
        n = len(self.X)
        self.texts = _lines(args.texts)[:n] if args.texts else (data.texts or [f"document {i}" for i in range(n)])[:n]
        rng = np.random.default_rng(0)
        self.rank = rng.permutation(n)
        self.ids = [f"doc{i}" for i in range(n)]
        units = self.X / np.linalg.norm(self.X, axis=1, keepdims=True)
        self.near = -(self.Q @ units.T)
        self.ranges = [
            (low, low + count)
            for count in (np.maximum(1, SELECTIVITIES * n)).astype(int).tolist()
            for low in rng.integers(0, n - count + 1, OFFSETS).tolist()
        ]

    def metadata(self, first: int, end: int) -> list[dict[str, Any]]:
        return [{"rank": int(self.rank[i]), "length": len(self.texts[i])} for i in range(first, end)]

    def truth(self, query: int, low: int | None = None, high: int | None = None) -> set[str]:
        """Ids of the true neighbours among what the range lets through."""
        distances = self.near[query]
        if low is not None and high is not None:
            distances = np.where((self.rank >= low) & (self.rank < high), distances, np.inf)
        nearest = np.argsort(distances)[: self.k]
        return {self.ids[i] for i in nearest.tolist() if np.isfinite(distances[i])}

    @property
    def raw_bytes(self) -> int:
        return self.X.nbytes + sum(len(text.encode()) for text in self.texts)


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().split("\n")


def insert(work: Work, store: Any) -> dict[str, float]:
    start = time.perf_counter()
    for first in range(0, len(work.X), BATCH):
        end = min(first + BATCH, len(work.X))
        store.insert(work.ids[first:end], work.X[first:end], work.texts[first:end], work.metadata(first, end))
    inserted = time.perf_counter()
    store.finish()
    return {"inserts_per_s": len(work.X) / (inserted - start), "finish_s": time.perf_counter() - inserted}


def ask(work: Work, store: Any, tuning: Any, queries: range, window: tuple[int, int] | None, passes: int) -> Any:
    """QPS and recall of some queries, with or without a filter."""
    low, high = window or (None, None)
    start = time.perf_counter()
    answers = [store.query(work.Q[i], work.k, low, high, tuning) for i in queries]  # also warms up
    first = time.perf_counter() - start
    recall = float(
        np.mean(
            [len(work.truth(i, low, high) & set(a)) / len(work.truth(i, low, high)) for i, a in zip(queries, answers)]
        )
    )
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        for i in queries:
            store.query(work.Q[i], work.k, low, high, tuning)
        best = min(best, time.perf_counter() - start)
    return {"qps": len(queries) / best, "first_qps": len(queries) / first, "recall": recall}


def reach(work: Work, store: Any, args: argparse.Namespace, window: tuple[int, int] | None) -> dict[str, Any]:
    """The cheapest tuning that reaches the level, else the best."""
    queries = range(len(work.Q)) if window is None else range(args.filter_queries)
    found: dict[str, Any] = {"recall": -1.0}
    start = time.perf_counter()
    store.query(work.Q[0], work.k, *(window or (None, None)), store.tunings[0])
    first = time.perf_counter() - start
    for tuning in store.tunings:
        point = ask(work, store, tuning, queries, window, args.passes) | {"tuning": tuning}
        if point["recall"] > found["recall"]:
            found = point
        if found["recall"] >= args.level:
            break
    return found | {"first_s": first}


def measure(work: Work, make: Any, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    made = folder.with_name(folder.name + f"-{len(work.X)}.json")
    if args.keep and made.exists():
        row: dict[str, Any] = json.loads(made.read_text())
    else:
        store = make(folder, work.X.shape[1])
        row = insert(work, store)
        store.close()
        if args.keep:
            made.write_text(json.dumps(row))
    row["disk_bytes"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    row["disk_ratio"] = row["disk_bytes"] / work.raw_bytes
    start = time.perf_counter()
    store = make(folder, work.X.shape[1])
    store.query(work.Q[0], work.k, None, None, store.tunings[0])
    row["open_s"] = time.perf_counter() - start
    row["plain"] = reach(work, store, args, None)
    row["filtered"] = [
        reach(work, store, args, window) | {"selectivity": (window[1] - window[0]) / len(work.X)}
        for window in work.ranges[:: args.filters_every]
    ]
    store.close()
    return row


def show(name: str, row: dict[str, Any]) -> str:
    filtered = row["filtered"]
    slowest = min(filtered, key=lambda point: point["qps"])
    median = np.median([point["qps"] for point in filtered])
    return (
        f"{name:<10} {row['inserts_per_s']:>9,.0f} inserts/s + {row['finish_s']:.1f} s, open {row['open_s']:.2f} s, "
        f"{row['plain']['qps']:,.0f} QPS ({row['plain']['first_qps']:,.0f} when first asked) at "
        f"{row['plain']['recall']:.3f}; fifty filters: slowest "
        f"{slowest['qps']:,.0f} QPS (passes {slowest['selectivity']:.3f}), median {median:,.0f}, "
        f"least recall {min(point['recall'] for point in filtered):.3f}, first asked "
        f"{1e3 * np.median([point['first_s'] for point in filtered]):.1f} ms; {row['disk_bytes'] / 1e6:.0f} MB = "
        f"{row['disk_ratio']:.2f} x vectors and texts"
    )


def compare(ours: dict[str, Any], peers: list[dict[str, Any]]) -> str:
    """Our figures as multiples of the better peer's, each filter for itself."""
    plain = ours["plain"]["qps"] / max(peer["plain"]["qps"] for peer in peers)
    filtered = [
        point["qps"] / max(peer["filtered"][i]["qps"] for peer in peers) for i, point in enumerate(ours["filtered"])
    ]
    inserts = " / ".join(f"{ours['inserts_per_s'] / peer['inserts_per_s']:.2f}" for peer in peers)
    first = ours["plain"]["first_qps"] / max(peer["plain"]["first_qps"] for peer in peers)
    return (
        f"vsearch over the peers: inserts {inserts} x, queries {plain:.1f} x ({first:.1f} x when first asked), "
        f"fifty filters {min(filtered):.1f} to "
        f"{max(filtered):.1f} x (median {np.median(filtered):.1f})"
    )


def main() -> None:
    args = arguments()
    work = Work(args)
    rows: dict[str, Any] = {}
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name in args.stores.split(","):
            try:
                rows[name] = measure(work, STORES[name], Path(args.folder if args.keep else folder, name), args)
                print(show(name, rows[name]), flush=True)
            except ImportError as error:
                rows[name] = {"absent": str(error)}
                print(f"{name:<10} is not installed: {error}", flush=True)
    peers = [row for name, row in rows.items() if name != "vsearch" and "plain" in row]
    if peers and "plain" in rows.get("vsearch", {}):
        print(compare(rows["vsearch"], peers))
    print(keep(f"rag-{Path(args.data).stem}", {"n": len(work.X), "raw_bytes": work.raw_bytes, "stores": rows}))


if __name__ == "__main__":
    main()
