"""Our indexes against the libraries that a user could install instead.

    python bench/peers.py DATA [--only vsearch-graph,hnswlib-M16] [--rounds 5] [--store FOLDER]
    python bench/peers.py DATA --race vsearch-graph,symqg-R32,hnswlib-M16
    python bench/peers.py DATA --python usearch,scann=/path/to/other/python

DATA is the name of a known data set or a file; there may be several. The contestants, at the parameters that their own
documentation recommends, are named in libraries/__init__.py. Each has a process of its own (arena.py): its peak memory
is its own, and one that does not install, or crashes, is listed as such and hurts nobody.

Without --race one contestant after another is built, swept and ended. With --race the named ones (or `all`) are built
one after another and stay; then they sweep in turn, so that a slow moment of the machine hits all of them, and a ratio
can be taken in every round. Single queries are asked one at a time on one pinned core; batches on 1 and on 2 threads.

Prints a table and writes NAME.json, NAME-recall.png and NAME-memory.png. In the JSON, for each contestant: version,
`build_s` and `build_cpu_s` (of all threads), `bytes_per_vector` (and by whose count), `peak_bytes` (resident, above
what the process held with the data loaded and before the build), every point of the sweep, and QPS at the levels of
recall (standings.py).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arena import Arena, Contestant
from libraries import Entry, entries
from measure import RESULTS
from standings import draw as draw_figures
from standings import ratios, row, table

LEVELS = (0.9, 0.95, 0.99, 0.999)


def words(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="files, or names of data sets")
    parser.add_argument("--only", type=words, default=[], help="contestants, or beginnings of their names; default all")
    parser.add_argument("--race", type=words, default=[], help="contestants that sweep in turn, or `all`")
    parser.add_argument("--limit-base", type=int, help="the first N vectors; the truth is then computed")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--levels", type=lambda text: [float(word) for word in words(text)], default=list(LEVELS))
    parser.add_argument("--rounds", type=int, default=5, help="sweeps of each contestant; 0 builds only")
    parser.add_argument("--threads", type=int, default=2, help="for building")
    parser.add_argument("--batch-threads", type=words, default=["1", "2"], help="of batches; 0 for no batches")
    parser.add_argument("--core", type=int, default=0, help="the core for single queries; -1 pins nothing")
    parser.add_argument("--python", action="append", default=[], metavar="NAMES=PATH", help="another Python for these")
    parser.add_argument("--store", type=Path, help="a folder that keeps the peers' indexes for later runs")
    parser.add_argument("--fresh", type=words, default=[], help="contestants to build anew in spite of the store")
    parser.add_argument("--patience", type=float, default=3600, help="seconds that one step of a contestant may take")
    parser.add_argument("--out", type=Path, help="stem of the files; default bench/results/peers-DATA")
    return parser.parse_args(argv)


def choose(known: Mapping[str, Entry], asked: Sequence[str]) -> list[Entry]:
    """The entries whose names are, or begin with, one of those asked for; a name that fits none ends the program."""
    for name in asked:
        if not any(one == name or one.startswith(name) for one in known):
            raise SystemExit(f"no contestant is called {name!r}: there are {', '.join(known)}")
    exact = [name for name in asked if name in known]
    rest = [name for name in asked if name not in known]
    return [entry for name, entry in known.items() if name in exact or any(name.startswith(one) for one in rest)]


def python_of(entry: Entry, asked: Sequence[str]) -> str | None:
    """The Python that --python names for this contestant, by its name or the beginning of it."""
    for one in asked:
        names, _, path = one.partition("=")
        if not path:
            raise SystemExit(f"`--python` must be NAMES=PATH; got {one!r}")
        if any(entry.name.startswith(name) for name in words(names)):
            return path
    return None


def load(options: argparse.Namespace, source: str) -> tuple[str, str, np.ndarray, np.ndarray, Any]:
    """Name, metric, base, queries and their truth. Vectors of a cosine set come with length 1."""
    from vsearch.evaluate import Truth, load_dataset

    data = load_dataset(source).with_queries(options.queries)
    if data.metric not in ("l2", "cosine"):
        raise SystemExit(f"the peers are compared under l2 and cosine; {data.name} is of {data.metric}")
    X = np.array(data.train[: options.limit_base], dtype=np.float32)
    assert data.test is not None  # with_queries saw to it
    Q = np.array(data.test[: options.queries], dtype=np.float32)
    if data.metric == "cosine":
        X, Q = (np.ascontiguousarray(Z / np.linalg.norm(Z, axis=1, keepdims=True)) for Z in (X, Q))
    ids = data.neighbors
    if ids is not None:
        ids = ids[: len(Q)] if len(X) == data.n and ids.shape[1] >= options.k else None
    truth = Truth(X, Q, options.k, data.metric, ids=ids, progress=False)
    return data.name, data.metric, X, Q, truth


def groups(options: argparse.Namespace, known: Mapping[str, Entry]) -> list[list[Entry]]:
    """Those that run together: all of a race, else each alone."""
    if options.race:
        return [list(known.values()) if options.race == ["all"] else choose(known, options.race)]
    return [[entry] for entry in (choose(known, options.only) if options.only else known.values())]


def run(
    options: argparse.Namespace, arena: Arena, known: Mapping[str, Entry], queries: int
) -> Iterator[list[dict[str, Any]]]:
    """All rows so far, after every round of every group."""
    done: list[dict[str, Any]] = []
    for group in groups(options, known):
        together = {"together": [entry.name for entry in group]} if len(group) > 1 else {}
        contestants = [Contestant(entry, python_of(entry, options.python), options.patience) for entry in group]
        rows: list[dict[str, Any]] = []
        try:
            for contestant in contestants:
                arena.ready(contestant)
                note(f"{contestant.name}: {described(contestant)}")
            for number in range(max(1, options.rounds)):
                if options.rounds:
                    arena.round(contestants, number, note)
                rows = [row(contestant, queries, options.levels, number + 1) | together for contestant in contestants]
                yield done + rows
        finally:
            for contestant in contestants:
                contestant.stop()
        done += rows


def described(contestant: Contestant) -> str:
    """One line about a contestant after its build."""
    if not contestant.alive:
        return f"{contestant.status} ({contestant.why})"
    facts = contestant.facts
    return f"{facts['version']}, built in {facts['build_s']:.1f} s, {facts['bytes_per_vector']:,.0f} bytes a vector"


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def compare(options: argparse.Namespace, source: str, known: Mapping[str, Entry]) -> Path:
    """Everything about one data set; returns the path of the JSON."""
    from vsearch.evaluate import machine_facts

    name, metric, X, Q, truth = load(options, source)
    stem = options.out or RESULTS / "peers"
    if len(options.data) > 1 or not options.out:
        stem = stem.with_name(f"{stem.name}-{name}")
    stem.parent.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"data": name, "n": len(X), "dim": X.shape[1], "metric": metric, "k": options.k}
    figures |= {"queries": len(Q), "levels": options.levels, "rounds": options.rounds, "machine": machine_facts()}
    figures |= {"begun": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "threads": options.threads}
    path = stem.with_name(stem.name + ".json")
    with tempfile.TemporaryDirectory() as folder:
        base, queries = Path(folder, "base.npy"), Path(folder, "queries.npy")
        np.save(base, X)
        np.save(queries, Q)
        batch_threads = tuple(int(count) for count in options.batch_threads if int(count) > 0)
        arena = Arena(base, queries, X.shape, metric, options.k, truth.recall, options.threads, batch_threads)
        arena.core = None if options.core < 0 else options.core
        arena.floor = max(0.0, min(options.levels) - 0.1)
        arena.store = options.store / f"{name}-{len(X)}" if options.store else None
        arena.fresh = frozenset(options.fresh)
        for rows in run(options, arena, known, len(Q)):  # written after each: a run may be cut short
            figures["contestants"] = rows
            figures["ratios"] = ratios(rows, options.levels)
            path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {len(X):,} x {X.shape[1]}, {metric}, {len(Q):,} queries, k = {options.k}\n")
    for line in (*table(figures), "", str(path), *draw_figures(figures, stem)):
        print(line, flush=True)
    return path


def main(argv: Sequence[str] | None = None, known: Mapping[str, Entry] | None = None) -> list[Path]:
    """Run the program over the known contestants; returns the paths of the JSON, one for each data set."""
    options = arguments(argv)
    known = entries() if known is None else known
    groups(options, known)  # unknown names are told before anything is loaded
    return [compare(options, source, known) for source in options.data]


if __name__ == "__main__":
    main()
