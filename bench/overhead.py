"""What does one `search` call cost beside the work: the median time of a query on an index of 10 vectors.

    python bench/overhead.py

Timed call by call: the median is what a caller meets. The clock's own cost, about 0.05 us, is in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from measure import keep, peer, pinned

import vsearch as vs

CALLS = 20000


def median_us(call: Callable[[], object]) -> float:
    """Microseconds of the median call, after a warm-up."""
    for _ in range(1000):
        call()
    times = np.empty(CALLS)
    for i in range(CALLS):
        began = time.perf_counter_ns()
        call()
        times[i] = time.perf_counter_ns() - began
    return float(np.median(times)) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    X = np.random.default_rng(0).standard_normal((10, options.dim)).astype(np.float32)
    q, Q = X[3].copy(), X.copy()
    calls: dict[str, Callable[[], object]] = {}
    for metric in ("l2", "ip", "cosine"):
        index = vs.Flat(metric).fit(X)
        calls[f"flat_{metric}_us"] = partial(index.search, q, k=10)
    index = vs.Flat().fit(X)
    mask = index.ids < 5
    calls["flat_l2_batch_of_10_us"] = lambda: index.search(Q, k=10)
    calls["flat_l2_filter_us"] = lambda: index.search(q, k=10, filter=mask)
    ivf = vs.IVF(lists=1).fit(X)
    calls["ivf_us"] = lambda: ivf.search(q, k=10, effort=1)
    coded = vs.IVF(lists=1, quantizer=vs.RaBitQ(bits=4)).fit(X)
    calls["ivf_rabitq_us"] = lambda: coded.search(q, k=10, effort=1)
    faiss = peer("faiss")
    if faiss is not None:
        other = faiss.IndexFlatL2(options.dim)
        other.add(X)
        calls["faiss_flat_us"] = lambda: other.search(q[None], 10)
    with pinned(options.core):
        figures = {name: median_us(call) for name, call in calls.items()}
    for name, value in figures.items():
        print(f"{name:28} {value:8.2f}")
    print(f"written to {keep('overhead', figures)}")


if __name__ == "__main__":
    main()
