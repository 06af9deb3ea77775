"""4-bit product codes of 32 bytes (m = 64), scanned for one query by one thread: ours against faiss IndexPQFastScan.

    python bench/pqscan.py [--passes 200]

From L2, from 16 MB and from memory. Three contenders in turns on one pinned core, the best pass of each: the kernel
alone (distances of all codes from a ready table), vs.Flat over vs.PQ (one search call, table and top 10 included), and
faiss (the same). From memory the codes are random bytes, for which vs.Flat has no door.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from measure import alone, best_seconds, keep, peer

DIM, M, K = 128, 64, 10
SIZES = {"L2": 1 << 13, "16 MB": 1 << 19, "memory": 6 << 20}
TRAIN = 20_000
MOST_VECTORS = 1 << 19


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=200, help="over the smallest set; fewer over the larger")
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for place, n in SIZES.items():
        passes = max(5, options.passes * SIZES["L2"] // n)
        for row in alone(measure, place, n, passes, core=options.core):
            rows.append(row)
            print(row.get("words") or describe(row), flush=True)
    print(keep("pqscan", {"rows": rows}))


def measure(place: str, n: int, passes: int) -> Iterator[dict[str, Any]]:
    """Codes per second of each contender over n codes, then ours over faiss's."""
    from vsearch.kernels import core

    rng = np.random.default_rng(0)
    X = rng.standard_normal((min(n, MOST_VECTORS), DIM), dtype=np.float32)
    query = rng.standard_normal(DIM, dtype=np.float32)
    blocks = rng.integers(0, 256, (n // 32, M * 16), dtype=np.uint8)
    lut = rng.integers(0, 64, (M, 16), dtype=np.uint8)
    plain = np.ones(blocks.nbytes // 8, dtype=np.int64)
    contenders: dict[str, Callable[[], object]] = {"read": lambda: core.read_all(plain)}
    contenders["vsearch kernel"] = lambda: core.fastscan(blocks, lut)
    index = flat(X) if n <= MOST_VECTORS else None
    if index is not None:
        contenders["vsearch Flat PQ"] = lambda: index.search(query, K)
    other = faiss_index(X, n)
    if other is not None:
        contenders["faiss PQFastScan"] = lambda: other.search(query[None], K)
    best = best_seconds(contenders, passes)
    for name, seconds in best.items():
        row = {"from": place, "codes": n, "contender": name, "mcodes_per_s": n / seconds / 1e6}
        yield row | {"gb_per_s": plain.nbytes / seconds / 1e9, "share_of_read": best["read"] / seconds}
    if other is not None:
        for name in ("vsearch kernel", "vsearch Flat PQ"):
            if name in best:
                ratio = best["faiss PQFastScan"] / best[name]
                words = f"{place}: {name} = {ratio:.2f} x faiss, {'>=' if ratio >= 1 else '<'} 1.0"
                yield {"from": place, "contender": name, "over_faiss": ratio, "words": words}


def flat(X: np.ndarray) -> Any | None:
    import vsearch as vs

    if not hasattr(vs, "PQ"):
        return None
    return vs.Flat("l2", quantizer=vs.PQ(M, bits=4), refine=None).fit(X, threads=1, progress=False)


def faiss_index(X: np.ndarray, n: int) -> Any | None:
    """faiss's index of the codes of X, and of random ones where n is more."""
    faiss = peer("faiss")
    if faiss is None:
        return None
    faiss.omp_set_num_threads(1)
    plain = faiss.IndexPQ(DIM, M, 4)
    plain.train(X[:TRAIN])
    plain.add(X)
    if n > len(X):
        plain.add_sa_codes(np.random.default_rng(1).integers(0, 256, (n - len(X), M // 2), dtype=np.uint8))
    return faiss.IndexPQFastScan(plain)


def describe(row: dict[str, Any]) -> str:
    return (
        f"{row['from']:<8}{row['contender']:<18}{row['mcodes_per_s']:>9.1f} M codes/s {row['gb_per_s']:>7.1f} GB/s "
        f"{100 * row['share_of_read']:>5.0f} % of the read"
    )


if __name__ == "__main__":
    main()
