"""How near is exact search to the limits of the machine, and how does it compare with faiss IndexFlat?

    python bench/flat.py shared/sift-photos-128-euclidean.hdf5

Three questions, each by passes that take turns, the best of which counts:

- one query at a time on one core: bytes of vectors read per second, against a plain read of the same bytes
- a batch on a number of threads: queries and float operations per second
- both against faiss IndexFlat, where faiss is installed, and how many of the answers are the same
"""

from __future__ import annotations

import argparse
from typing import Any, cast

import numpy as np
from measure import best_seconds, keep, peer, pinned

import vsearch as vs
from vsearch.evaluate.datasets import load_dataset
from vsearch.kernels import core
from vsearch.storage.stores import VectorStore


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a file or the name of a data set")
    parser.add_argument("--dtype", default="f32", choices=["f32", "f16", "bf16", "int8"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--singles", type=int, default=20, help="queries asked one by one in each pass")
    parser.add_argument("--batch", type=int, default=1000, help="queries of a batch")
    parser.add_argument("--threads", type=int, default=2, help="of a batch")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--core", type=int, default=0, help="that single queries are pinned to; -1 for none")
    return parser.parse_args()


def faiss_index(faiss: Any, X: np.ndarray, metric: str) -> Any:
    index = faiss.IndexFlatL2(X.shape[1]) if metric == "l2" else faiss.IndexFlatIP(X.shape[1])
    index.add(X)
    return index


def single(index: vs.Flat, other: Any, Q: np.ndarray, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of one query, and what they are in bandwidth. Each query is a pass of its own."""
    rows = cast(VectorStore, index._store).rows[: len(index)]
    turn = iter(range(10**9))
    contenders = {"read": lambda: core.read_all(rows)}
    contenders["vsearch"] = lambda: index.search(Q[next(turn) % len(Q)], options.k, threads=1)
    if other is not None:
        contenders["faiss"] = lambda: other.search(Q[next(turn) % len(Q)][None], options.k)
    with pinned(options.core if options.core >= 0 else None):
        best = best_seconds(contenders, options.passes * options.singles)
    figures = {f"single_{name}_ms": 1e3 * seconds for name, seconds in best.items()}
    figures |= {f"single_{name}_gb_per_s": rows.nbytes / best[name] / 1e9 for name in ("read", "vsearch")}
    figures["single_bandwidth_ratio"] = best["read"] / best["vsearch"]
    if other is not None:
        figures["single_faiss_ratio"] = best["faiss"] / best["vsearch"]
    return figures


def batch(index: vs.Flat, other: Any, Q: np.ndarray, options: argparse.Namespace) -> dict[str, float]:
    """Queries per second of a batch."""
    answers: dict[str, np.ndarray] = {}
    contenders = {"vsearch": lambda: answers.update(vsearch=index.search(Q, options.k, threads=options.threads)[0])}
    if other is not None:
        contenders["faiss"] = lambda: answers.update(faiss=other.search(Q, options.k)[1])
    best = best_seconds(contenders, options.passes)
    figures = {f"batch_{name}_qps": len(Q) / seconds for name, seconds in best.items()}
    figures["batch_vsearch_gflops"] = 2e-9 * len(Q) * len(index) * Q.shape[1] / best["vsearch"]
    if other is not None:
        figures["batch_faiss_ratio"] = best["faiss"] / best["vsearch"]
        figures["batch_same_ids"] = float((answers["faiss"] == answers["vsearch"]).mean())
    return figures


def main() -> None:
    options = arguments()
    data = load_dataset(options.data).with_queries(options.batch)
    X = np.ascontiguousarray(data.train, np.float32)
    Q = np.ascontiguousarray(np.asarray(data.test)[: options.batch], np.float32)
    if data.metric == "cosine":  # faiss has no cosine; on unit vectors its inner product is one
        X, Q = (np.ascontiguousarray(Z / np.linalg.norm(Z, axis=1, keepdims=True)) for Z in (X, Q))
    index = vs.Flat(data.metric, dtype=options.dtype).fit(X)
    faiss = peer("faiss")
    other = faiss_index(faiss, X, data.metric) if faiss is not None else None
    figures: dict[str, Any] = {"data": data.name, "n": len(X), "dim": X.shape[1], "metric": data.metric}
    figures |= {"dtype": options.dtype, "k": options.k, "isa": core.isa(), "threads": options.threads}
    for threads, measure in ((1, single), (options.threads, batch)):
        if faiss is not None:
            faiss.omp_set_num_threads(threads)
        figures |= measure(index, other, Q, options)
    for name, value in figures.items():
        print(f"{name:28} {value:,.3f}" if isinstance(value, float) else f"{name:28} {value}")
    print(f"written to {keep(f'flat-{data.name}-{options.dtype}', figures)}")


if __name__ == "__main__":
    main()
