"""Each kernel at each instruction set of this machine: vectors per second from L2 and from memory.

    python bench/kernels.py [--dim 1024] [--passes 7] [--isas avx2]

L2 is a working set of 256 KB, memory one of 192 MB; "bandwidth" is what a plain read of the same bytes reaches in the
same run. One pinned core, passes of all kernels interleaved, the best of each. At 1024 dimensions the best instruction
set is then put beside what the same kinds of kernel were once measured to reach on one Zen 5 core with AVX-512; where
AVX2 does not keep up with memory, the operations that bound it are counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from measure import keep, pinned

from vsearch.kernels import core

# Million vectors per second of 1024 dimensions from L2 (512 KB) and from memory (33 GB/s on that machine).
ZEN5 = {
    "hamming": (1639, 297),
    "popcount 1 bit x 4 bits": (370, 220),
    "fastscan 1 bit": (634, 254),
    "fastscan PQ 64x4": (1269, 940),
    "dot_planes 1 bits": (153, 147),
    "dot_planes 2 bits": (185, 125),
    "dot_planes 4 bits": (248, 61),
    "dot_planes 8 bits": (246, 33),
    "l2_bf16": (65, 13),
    "l2_f16": (62, 13),
    "l2_f32": (60, 6.3),
}
ZEN5_BANDWIDTH = 33e9
# Vector operations but loads for 64 dims of one vector in the loops of kernels/avx2: Zen 3 starts four of them a cycle,
# and they bound what does not keep up with memory.
OPERATIONS = {
    "hamming": 2.1,
    "popcount 1 bit x 4 bits": 7.8,
    "fastscan 1 bit": 2.5,
    "dot_planes 1 bits": 10.5,
    "dot_planes 2 bits": 8.5,
    "dot_planes 4 bits": 7.5,
    "dot_planes 8 bits": 15,
}
KEEPS_UP = 0.8
DIM = 1024
SETS = {"L2": 256 << 10, "memory": 192 << 20}


def workloads(dim: int, size: int, rng: np.random.Generator) -> dict[str, tuple[Callable[[], object], int, int]]:
    """Kernel name -> (call, vectors in it, bytes it reads)."""
    out: dict[str, tuple[Callable[[], object], int, int]] = {}
    query = rng.standard_normal((1, dim)).astype(np.float32)
    for dtype, item, make in (
        ("f32", 4, lambda n: rng.standard_normal((n, dim), dtype=np.float32)),
        ("f16", 2, lambda n: rng.standard_normal((n, dim), dtype=np.float32).astype(np.float16)),
        ("bf16", 2, lambda n: rng.integers(0x3F00, 0x3F80, (n, dim), dtype=np.uint16)),
    ):
        n = size // (item * dim)
        rows = make(n)
        for metric in ("l2", "ip"):
            out[f"{metric}_{dtype}"] = (
                partial(core.distances, metric, dtype, query, rows, None),
                n,
                rows.nbytes,
            )
    n = size // dim
    signed = rng.integers(-127, 128, (n, dim), dtype=np.int8)
    query16 = rng.integers(-1000, 1000, dim, dtype=np.int16)
    out["dot_i8"] = (lambda: core.dot_i8(query16, signed), n, signed.nbytes)
    query8 = rng.integers(-127, 128, dim, dtype=np.int8)
    for bits in (1, 2, 4, 8):
        n = size * 8 // (bits * dim)
        codes = rng.integers(0, 256, (n, dim * bits // 8), dtype=np.uint8)
        out[f"dot_planes {bits} bits"] = (partial(core.dot_planes, bits, codes, query8), n, codes.nbytes)
    n = size * 8 // dim // 32 * 32
    blocks = rng.integers(0, 256, (n // 32, dim * 4), dtype=np.uint8)
    lut = rng.integers(0, 64, (dim // 4, 16), dtype=np.uint8)
    out["fastscan 1 bit"] = (lambda: core.fastscan(blocks, lut), n, blocks.nbytes)
    coded = rng.integers(0, 256, (size // 1024, 64 * 16), dtype=np.uint8)  # 32 bytes a vector, whatever its dimensions
    tables = rng.integers(0, 64, (64, 16), dtype=np.uint8)
    out["fastscan PQ 64x4"] = (lambda: core.fastscan(coded, tables), len(coded) * 32, coded.nbytes)
    words = rng.integers(0, 2**63, (n, dim // 64), dtype=np.uint64)
    planes = rng.integers(0, 2**63, (4, dim // 64), dtype=np.uint64)
    out["popcount 1 bit x 4 bits"] = (lambda: core.popcount_planes(words, planes), n, words.nbytes)
    out["hamming"] = (lambda: core.hamming(planes[0], words), n, words.nbytes)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--isas", nargs="+", default=core.available_isas(), help="by default all of this machine")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with pinned(0):
        for place, size in SETS.items():
            rows += measure(place, size, args.dim, args.passes, args.isas)
    if args.dim == DIM:
        beside_zen5(rows)
    print(keep("kernels", {"dim": args.dim, "rows": rows}))


def measure(place: str, size: int, dim: int, passes: int, isas: list[str]) -> list[dict[str, Any]]:
    """All kernels at all instruction sets over one size of working set."""
    work = workloads(dim, size, np.random.default_rng(0))
    plain = np.ones(size // 8, dtype=np.int64)
    repeats = max(1, (32 << 20) // size)
    best: dict[tuple[str, str], float] = {}
    for _ in range(passes):
        timed(best, ("read", ""), lambda: core.read_all(plain), repeats)
        for isa in isas:
            core.use_isa(isa)
            for name, (call, _, _) in work.items():
                timed(best, (name, isa), call, repeats)
        core.use_isa("best")
    bandwidth = plain.nbytes / best["read", ""]
    print(f"\n{place} ({size >> 10} KB), {dim} dimensions; a plain read reaches {bandwidth / 1e9:.1f} GB/s")
    rows: list[dict[str, Any]] = []
    for name, (_, vectors, nbytes) in work.items():
        for isa in isas:
            rate, share = vectors / best[name, isa], nbytes / best[name, isa] / bandwidth
            speed = nbytes / best[name, isa] / 1e9
            row = {"kernel": name, "isa": isa, "from": place, "mvectors_per_s": rate / 1e6, "gb_per_s": speed}
            rows.append({**row, "share": share})
            reach = f"{rate / 1e6:>9.1f} M vectors/s {speed:>7.1f} GB/s {100 * share:>5.0f} % of the read"
            print(f"  {name:<24} {isa:<8} {reach}")
    return rows


def beside_zen5(rows: list[dict[str, Any]]) -> None:
    """Prints the best instruction set's rates over the Zen 5 table, and from memory the shares of both bandwidths."""
    for place, column in (("L2", 0), ("memory", 1)):
        print(f"\n{place}: the best of this machine beside one Zen 5 core")
        for kernel, known in ZEN5.items():
            of_kernel = [row for row in rows if row["kernel"] == kernel and row["from"] == place]
            row = max(of_kernel, key=lambda one: one["mvectors_per_s"])
            ratio = row["mvectors_per_s"] / known[column]
            text = f"  {kernel:<24} {row['mvectors_per_s']:>8.1f} of {known[column]:>6,.0f} M vectors/s = {ratio:.2f} x"
            if place == "memory":
                nbytes = row["gb_per_s"] / row["mvectors_per_s"] * 1e3
                theirs = known[1] * 1e6 * nbytes / ZEN5_BANDWIDTH
                text += f"; share of the read {100 * row['share']:.0f} %, there {100 * theirs:.0f} %"
                if row["share"] < KEEPS_UP and row["isa"] == "avx2" and kernel in OPERATIONS:
                    count = OPERATIONS[kernel] * DIM / 64
                    text += f"; {count:.0f} operations each, {count * row['mvectors_per_s'] / 1e3:.1f} a ns"
            print(text)


def timed(best: dict[tuple[str, str], float], key: tuple[str, str], call: Callable[[], object], repeats: int) -> None:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    best[key] = min(best.get(key, np.inf), (time.perf_counter() - begin) / repeats)


if __name__ == "__main__":
    main()
