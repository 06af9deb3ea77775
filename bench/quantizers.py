"""How much do the codes of each quantizer keep, in how many bytes? Ours, faiss's and rabitqlib's, side by side.

    python bench/quantizers.py DATA [--rows 50000] [--queries 300] [--only ours,faiss] [--families SAQ,PQ] [--bits 2,4]
    python bench/quantizers.py spectrum            Gaussian, covariance eigenvalues 1/i in a random basis
    python bench/quantizers.py DATA --encode       encoding speed alone

DATA is the name of a known data set or a file. What each figure means is defined in accuracy.py. Each library runs in
a process of its own, one thread, one pinned core. Prints a table, then for every point of the peers our best within
as many bytes, and writes bench/results/quantizers-NAME.json and .png.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import Examiner, least_error
from compressors import SIDES, Spec, open_codec
from encoding import race_encoders
from measure import RESULTS, alone, keep
from verdicts import bars, draw, heading, line, summary

from vsearch.quantize import limits

ROWS, QUERIES = 50_000, 300


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a file, the name of a data set, or spectrum")
    parser.add_argument("--rows", type=int, default=ROWS, help="the first of the base")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--dim", type=int, default=384, help="of the spectrum")
    parser.add_argument("--only", type=words, default=list(SIDES), help="sides, of " + ", ".join(SIDES))
    parser.add_argument("--families", type=words, default=[], help="by default all")
    parser.add_argument("--bits", type=words, default=[], help="nominal bits for each dimension, by default all")
    parser.add_argument("--quick", type=float, help="faiss's 8-bit PQ and OPQ, minutes of training, up to so many bits")
    parser.add_argument("--repeat", type=int, default=3, help="passes over scans and encoding; the best counts")
    parser.add_argument("--encode", action="store_true", help="encoding speed alone, at 4 bits")
    parser.add_argument("--peers-from", type=Path, help="a JSON file of an earlier run, for the peers it has")
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def spectrum(rows: int, queries: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Base and queries from a Gaussian of covariance eigenvalues 1/i, i = 1 .. dim, in a random orthogonal basis."""
    rng = np.random.default_rng(seed)
    basis, triangle = np.linalg.qr(rng.standard_normal((dim, dim)))
    basis *= np.sign(np.diag(triangle))  # uniform over the rotations
    spread = (1 / np.sqrt(np.arange(1, dim + 1)))[:, None] * basis.T
    both = (rng.standard_normal((rows + queries, dim)) @ spread).astype(np.float32)
    return both[:rows], both[rows:]


def load(options: argparse.Namespace) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Name, metric, base and queries. Vectors of a cosine set come with length 1; a set of ip is measured by l2."""
    if options.data == "spectrum":
        return f"spectrum-{options.dim}", "l2", *spectrum(options.rows, options.queries, options.dim)
    from vsearch.evaluate import load_dataset

    data = load_dataset(options.data).with_queries(options.queries)
    X = np.array(data.train[: options.rows], dtype=np.float32)
    Q = np.array(np.asarray(data.test)[: options.queries], dtype=np.float32)
    if data.metric == "cosine":
        X, Q = (np.ascontiguousarray(Z / np.linalg.norm(Z, axis=1, keepdims=True)) for Z in (X, Q))
    return data.name, "cosine" if data.metric == "cosine" else "l2", X, Q


def wanted(options: argparse.Namespace, dim: int) -> dict[str, list[Spec]]:
    """What is to be measured, by side."""
    bits = [float(word) for word in options.bits]

    def asked(spec: Spec) -> bool:
        return (not options.families or spec.family in options.families) and (not bits or spec.bits in bits)

    return {side: [spec for spec in SIDES[side](dim) if asked(spec)] for side in SIDES if side in options.only}


def too_slow(spec: Spec, quick: float | None) -> bool:
    """Whether `--quick` leaves this one out where an earlier run does not have it."""
    return quick is not None and spec.side == "faiss" and spec.family in ("PQ", "OPQ") and spec.bits > quick


def examine(specs: list[Spec], metric: str, X: np.ndarray, Q: np.ndarray, repeats: int) -> Iterator[dict[str, Any]]:
    """One row for each spec, in a process of its own."""
    examiner = Examiner(X, Q, repeats)
    for spec in specs:
        row = facts(spec)
        try:
            row |= examiner.examine(open_codec(spec, metric))
        except Exception as error:  # a peer that refuses is reported, not fatal
            row["failed"] = f"{type(error).__name__}: {error}"
        yield row


def facts(spec: Spec) -> dict[str, Any]:
    return {"side": spec.side, "family": spec.family, "name": spec.name, "bits": spec.bits}


def run(side: str, specs: list[Spec], data: tuple[Any, ...], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows of one side; a quantizer that takes its process down costs its own row and no other."""
    if side != "ours" and importlib.util.find_spec(side) is None:
        yield from ({**facts(spec), "failed": f"{side} is not installed"} for spec in specs)
        return
    while specs:
        done = 0
        try:
            for row in alone(examine, specs, *data, options.repeat, core=options.core):
                yield row
                done += 1
        except RuntimeError as error:
            yield {**facts(specs[done]), "failed": str(error)}
            done += 1
        specs = specs[done:]


def known_rows(path: Path | None, name: str, X: np.ndarray, Q: np.ndarray) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of peers from the file of an earlier run over the same data."""
    if path is None:
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    same = before["data"] == name and before["rows"] == len(X) and before["queries"] == len(Q)
    if not same:
        raise SystemExit(f"{path} is of {before['data']}, {before['rows']} rows and {before['queries']} queries")
    rows = [row for row in before["points"] if row["side"] != "ours" and "failed" not in row]
    return {(row["side"], row["name"]): {"from": path.name, **row} for row in rows}


def main() -> None:
    options = arguments()
    if options.encode:
        print(keep("encoding", race_encoders(options.only, options.repeat, options.core)))
        return
    name, metric, X, Q = load(options)
    eigenvalues = limits.spectrum(X)
    known = known_rows(options.peers_from, name, X, Q)
    figures: dict[str, Any] = {"data": name, "rows": len(X), "queries": len(Q), "dim": X.shape[1], "metric": metric}
    figures["least_error"] = {str(bits): least_error(eigenvalues, bits) for bits in range(1, 9)}
    points: list[dict[str, Any]] = []
    figures["points"] = points
    print(heading(figures), flush=True)
    for side, specs in wanted(options, X.shape[1]).items():
        had = [known[side, spec.name] for spec in specs if (side, spec.name) in known]
        new = [spec for spec in specs if (side, spec.name) not in known and not too_slow(spec, options.quick)]
        for rows in (had, run(side, new, (metric, X, Q), options)):
            for row in rows:
                points.append(row)
                print(line(row), flush=True)
                keep(f"quantizers-{name}", figures)
    for text in (*summary(points), *bars(figures)):
        print(text)
    print(keep(f"quantizers-{name}", figures))
    print(draw(figures, RESULTS / f"quantizers-{name}.png"))


if __name__ == "__main__":
    main()
