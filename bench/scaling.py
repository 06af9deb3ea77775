"""How does the cost of a query grow with the number of vectors?

    python bench/scaling.py DATA [--only vsearch-graph,hnswlib-M16] [--max-n 500000]
    python bench/scaling.py synthetic --max-n 2000000

DATA is the name of a known data set or a file, of which growing parts are taken (in one random order, so that all parts
are alike), with its own queries; `synthetic` draws from a curved surface of 12 dimensions in a space of 96. For each
size 10,000, 30,000, 100,000 and so on up to the whole, and each index: build seconds, the least effort that reaches the
recall, and at that effort microseconds a query, hops and bytes read a query where the index counts them.

Cost is fitted as c * n^g over all sizes; g is printed for each index, of its microseconds and of its hops. One query at
a time on one pinned core; the indexes take turns, the best round counts (of every 25 queries). `limit us` is bytes read
over the bandwidth of a plain read of memory in the same run. Writes NAME.json and NAME.png.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arena import Arena, Contestant, OutError, Sample
from libraries import Entry, entries
from measure import RESULTS, peer, pinned
from peers import choose, note, python_of, words
from standings import cell

SYNTHETIC = "synthetic"
DIM, SURFACE, WAVES = 96, 12, 48
CHUNK = 10_000
SMALLEST = 10_000
MOST_EFFORT = 1 << 14

Row = dict[str, Any]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a file, the name of a data set, or synthetic")
    parser.add_argument("--only", type=words, default=["vsearch-graph", "hnswlib-M16"], help="contestants of peers.py")
    parser.add_argument("--max-n", type=int, default=500_000)
    parser.add_argument("--min-n", type=int, default=SMALLEST)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="for building")
    parser.add_argument("--core", type=int, default=0, help="the core for queries; -1 pins nothing")
    parser.add_argument("--python", action="append", default=[], metavar="NAMES=PATH", help="another Python for these")
    parser.add_argument("--patience", type=float, default=7200, help="seconds that one step of a contestant may take")
    parser.add_argument("--out", type=Path, help="stem of the files written; default bench/results/scaling-DATA")
    return parser.parse_args(argv)


def sizes(least: int, most: int) -> list[int]:
    """1 and 3 times each power of ten from the least size on, then the most itself.

    >>> sizes(10_000, 500_000)
    [10000, 30000, 100000, 300000, 500000]
    """
    every = [digit * 10**power for power in range(3, 10) for digit in (1, 3)]
    return [size for size in every if least <= size < most] + [most]


def surface(rows: int, seed: int = 0, chunk: int = 0) -> np.ndarray:
    """Rows on a smooth curved surface with a little noise off it; more rows of a seed begin with the same rows.

    A point is a sum of 48 waves over the 12 coordinates of the surface, which are Gaussian. `chunk` is the number of
    the first 10,000 rows; queries take theirs from far off.
    """
    shape = np.random.default_rng(seed)
    slopes = shape.standard_normal((SURFACE, WAVES)) * 0.5
    phases = shape.uniform(0, 2 * math.pi, WAVES)
    mix = shape.standard_normal((WAVES, DIM)) / math.sqrt(WAVES)
    out = np.empty((rows, DIM), dtype=np.float32)
    for first in range(0, rows, CHUNK):
        rng = np.random.default_rng((seed, chunk + first // CHUNK))
        places = rng.standard_normal((CHUNK, SURFACE))
        points = np.cos(places @ slopes + phases) @ mix + 0.02 * rng.standard_normal((CHUNK, DIM))
        out[first : first + CHUNK] = points[: rows - first]
    return out


def load(options: argparse.Namespace) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Name, metric, base in the order parts are taken from it, and queries. Cosine sets come with length 1."""
    if options.data == SYNTHETIC:
        return SYNTHETIC, "l2", surface(options.max_n), surface(options.queries, chunk=1 << 30)
    from vsearch.evaluate import load_dataset

    data = load_dataset(options.data).with_queries(options.queries)
    if data.metric not in ("l2", "cosine"):
        raise SystemExit(f"the peers are compared under l2 and cosine; {data.name} is of {data.metric}")
    assert data.test is not None  # with_queries saw to it
    order = np.random.default_rng(0).permutation(data.n)[: options.max_n]
    X = np.array(data.train, dtype=np.float32)[order]
    Q = np.array(data.test[: options.queries], dtype=np.float32)
    if data.metric == "cosine":
        X, Q = (np.ascontiguousarray(Z / np.linalg.norm(Z, axis=1, keepdims=True)) for Z in (X, Q))
    return data.name, data.metric, X, Q


class Meter:
    """The questions to one contestant at one size."""

    def __init__(self, arena: Arena, contestant: Contestant, target: float) -> None:
        self.arena, self.contestant, self.target = arena, contestant, target
        self.recalls: dict[int, float] = {}
        self.sample: Sample | None = None

    def recall(self, effort: int) -> float:
        """Recall at an effort, asked once."""
        if effort not in self.recalls:
            reply = self.contestant.ask("one_by_one", k=self.arena.k, effort=effort, core=self.arena.core, ids=True)
            self.recalls[effort] = self.arena.recall(np.array(reply["ids"], dtype=np.int64))
        return self.recalls[effort]

    def least_effort(self) -> int:
        """The least effort that reaches the target, by doubling and then halving."""
        low = high = int(self.contestant.facts["ladders"][0][0])
        while self.recall(high) < self.target:
            if high >= MOST_EFFORT:
                raise OutError("failed", f"recall {self.target:g} is not reached at effort {high}")
            low, high = high, 2 * high
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.recall(middle) >= self.target else (middle, high)
        return high

    def time(self, effort: int, number: int) -> None:
        """One more round at this effort."""
        reply = self.contestant.ask("one_by_one", k=self.arena.k, effort=effort, core=self.arena.core, ids=False)
        self.sample = self.sample or Sample(effort, self.recall(effort))
        self.sample.add(number, reply["parts"])


def measure(arena: Arena, contestants: Sequence[Contestant], options: argparse.Namespace, queries: int) -> list[Row]:
    """A row for each contestant at one size: built, brought to the recall, timed in turns."""
    meters = [Meter(arena, contestant, options.recall) for contestant in contestants]
    efforts: dict[str, int | None] = {}
    for meter in meters:
        arena.ready(meter.contestant)
        efforts[meter.contestant.name] = meter.contestant.attempt(meter.least_effort)
    for number in range(options.rounds):
        for meter in meters:
            effort = efforts[meter.contestant.name]
            if effort is not None:
                meter.contestant.attempt(meter.time, effort, number)
    rows = []
    for meter in meters:
        contestant, effort = meter.contestant, efforts[meter.contestant.name]
        row: Row = {"name": contestant.name, "n": arena.shape[0], "status": contestant.status, "why": contestant.why}
        facts = contestant.facts
        row |= {key: facts[key] for key in ("version", "build_s", "bytes_per_vector") if key in facts}
        sample = meter.sample
        if effort is not None and sample is not None:
            row |= {"effort": effort, "recall": sample.recall, "us": 1e6 * sample.best / queries}
            row |= work(meter, effort)
        rows.append(row)
    return rows


def work(meter: Meter, effort: int) -> Row:
    """Hops, estimates and bytes read for each query, as far as the index counts them.

    Where it counts hops and not bytes, each hop reads a row that holds everything, the bytes of a vector; a compact
    layout does not.
    """
    contestant = meter.contestant
    reply = contestant.attempt(lambda: contestant.ask("work", k=meter.arena.k, effort=effort))
    counted = (reply or {}).get("counters") or {}
    row: Row = {"counters": counted} if counted else {}
    if "visited" in counted:
        row["hops"] = counted["visited"]
    if "bytes" in counted:
        row["bytes"] = counted["bytes"]
    elif "hops" in row and contestant.entry.options.get("layout") != "compact":
        row["bytes"] = row["hops"] * contestant.facts["bytes_per_vector"]
    return row


def exponent(ns: Sequence[float], costs: Sequence[float]) -> float | None:
    """g of the least-squares fit cost = c * n^g; None of fewer than two sizes.

    >>> round(exponent([10, 100, 1000], [2, 4, 8]), 3)
    0.301
    """
    if len(set(ns)) < 2:
        return None
    return float(np.polyfit(np.log(ns), np.log(costs), 1)[0])


def growth(rows: Sequence[Row]) -> dict[str, Row]:
    """By index: the exponents of microseconds, hops and build seconds, and the sizes they were fitted over."""
    out: dict[str, Row] = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name and "us" in row]
        fits: Row = {"sizes": [row["n"] for row in mine]}
        for key in ("us", "hops", "build_s"):
            known = [row for row in mine if row.get(key)]
            fits[key] = exponent([row["n"] for row in known], [row[key] for row in known])
        out[name] = fits
    return out


def bandwidth(core: int | None, size: int = 1 << 28) -> float:
    """Bytes a second of a plain read of memory on one core, the best of five."""
    block = np.ones(size // 8, dtype=np.uint64)
    best = math.inf
    with pinned(core):
        for _ in range(5):
            began = time.perf_counter()
            np.bitwise_or.reduce(block)
            best = min(best, time.perf_counter() - began)
    return size / best


def table(figures: Row) -> Iterator[str]:
    """Lines: a row for each size and index, then the exponents."""
    heads = ["n", "index", "build s", "B/vector", "effort", "recall", "us", "hops", "KiB read", "limit us"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in figures["rows"]:
        cells = [f"{row['n']:,}", row["name"]]
        if "us" not in row:
            yield "| " + " | ".join(cells) + f" | {row['status']}: {row['why']} |"
            continue
        read = row.get("bytes")
        cells += [cell(row["build_s"], 1), cell(row["bytes_per_vector"]), str(row["effort"]), f"{row['recall']:.4f}"]
        cells += [cell(row["us"], 1), cell(row.get("hops"), 1), cell(read / 1024 if read else None, 1)]
        cells += [cell(1e6 * read / figures["bytes_per_s"] if read else None, 1)]
        yield "| " + " | ".join(cells) + " |"
    for name, fits in figures["growth"].items():
        if fits["us"] is not None:
            hops = "" if fits["hops"] is None else f", hops as n^{fits['hops']:.2f}"
            span = f"{fits['sizes'][0]:,} to {fits['sizes'][-1]:,}"
            yield f"{name}: microseconds at recall {figures['recall']:g} grow as n^{fits['us']:.2f}{hops}, from {span}"


def draw(figures: Row, path: Path) -> str:
    """Microseconds over n, both logarithmic; returns what to print."""
    if peer("matplotlib") is None:
        return "no figure: matplotlib is not installed"
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vsearch.evaluate.axes import colour, compact

    figure = Figure(figsize=(8, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.12, 0.87, 0.78))
    for position, (name, fits) in enumerate(figures["growth"].items()):
        mine = [row for row in figures["rows"] if row["name"] == name and "us" in row]
        label = name if fits["us"] is None else f"{name}: n^{fits['us']:.2f}"
        axes.loglog([row["n"] for row in mine], [row["us"] for row in mine], "o-", color=colour(position), label=label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: compact(value))
        axis.set_minor_formatter(lambda value, _: compact(value) if f"{value:e}"[0] in "25" else "")
    axes.grid(True, which="both", color="#e4e8ec", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("vectors")
    axes.set_title(
        f"{figures['data']}: microseconds a query at recall {figures['recall']:g}, one core", fontsize=10, loc="left"
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130, facecolor="white")
    return str(path)


def main(argv: Sequence[str] | None = None, known: Mapping[str, Entry] | None = None) -> Path:
    """Run the program over the known contestants; returns the path of the JSON."""
    options = arguments(argv)
    chosen = choose(entries() if known is None else known, options.only)
    from vsearch.evaluate import Truth, machine_facts

    name, metric, X, Q = load(options)
    stem = options.out or RESULTS / f"scaling-{name}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(stem.name + ".json")
    core = None if options.core < 0 else options.core
    figures: Row = {"data": name, "dim": X.shape[1], "metric": metric, "k": options.k, "recall": options.recall}
    figures |= {"queries": len(Q), "bytes_per_s": bandwidth(core), "machine": machine_facts(), "rows": []}
    for n in sizes(options.min_n, len(X)):
        with tempfile.TemporaryDirectory() as folder:
            base, queries = Path(folder, "base.npy"), Path(folder, "queries.npy")
            np.save(base, X[:n])
            np.save(queries, Q)
            truth = Truth(X[:n], Q, options.k, metric, progress=False)
            arena = Arena(base, queries, (n, X.shape[1]), metric, options.k, truth.recall, options.threads, core=core)
            contestants = [Contestant(one, python_of(one, options.python), options.patience) for one in chosen]
            try:
                rows = measure(arena, contestants, options, len(Q))
            finally:
                for contestant in contestants:
                    contestant.stop()
        for row in rows:
            note(f"{n:,}: {row['name']} " + (f"{row['us']:.1f} us" if "us" in row else row["status"]))
        figures["rows"] += rows
        figures["growth"] = growth(figures["rows"])
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {len(X):,} x {X.shape[1]}, {metric}, {len(Q):,} queries, recall@{options.k} {options.recall:g}\n")
    for line in (*table(figures), "", str(path), draw(figures, stem.with_name(stem.name + ".png"))):
        print(line)
    return path


if __name__ == "__main__":
    main()
