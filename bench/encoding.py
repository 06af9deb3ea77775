"""Encoding speed at 4 bits a dimension on one core: vectors that a quantizer codes in a second, passes in turns."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from compressors import SIDES, Spec, open_codec
from measure import alone, best_seconds

BITS = 4
DIMS = (384, 1536)
ROWS = 10_240  # the least that faiss trains 256 centroids on without a warning
# By which our figures are divided: (side, family) of those that only code, and of those that also train.
MULTI_BIT = (
    ("rabitqlib", "RaBitQ"),
    ("rabitqlib", "RaBitQ fast"),
    ("faiss", "RaBitQ"),
    ("faiss", "RaBitQfs"),
    ("faiss", "EDEN"),
)
TRAINED = (("faiss", "PQ"),)
ENCODE_BAR, TRAIN_BAR = 10, 50


def race_encoders(sides: list[str], repeats: int, core: int) -> dict[str, Any]:
    """All encoders at all sizes, printed and returned."""
    present = [side for side in sides if side == "ours" or importlib.util.find_spec(side) is not None]
    print(*(f"{side} is not installed" for side in sides if side not in present), sep="\n", end="")
    rows: list[dict[str, Any]] = []
    for dim in DIMS:
        print(f"\n{dim} dimensions, {ROWS:,} Gaussian vectors, {BITS} bits, one core, best of {repeats}")
        for row in alone(race, dim, present, repeats, core=core):
            rows.append({"dim": dim, **row})
            print(describe(row), flush=True)
        for text in ratios([row for row in rows if row["dim"] == dim]):
            print(text, flush=True)
    return {"bits": BITS, "rows": rows}


def specs(dim: int, sides: list[str]) -> Iterator[Spec]:
    for side in sides:
        for spec in SIDES[side](dim):
            known = "within" not in spec.options if side == "ours" else (side, spec.family) in (*MULTI_BIT, *TRAINED)
            if spec.bits == BITS and known:
                yield spec


def race(dim: int, sides: list[str], repeats: int) -> Iterator[dict[str, Any]]:
    """Every encoder is trained once; then all of them code the same vectors, in turns."""
    X = np.random.default_rng(0).standard_normal((ROWS, dim)).astype(np.float32)
    codecs: dict[str, Any] = {}
    trained: dict[str, float] = {}
    families: dict[str, tuple[str, str]] = {}
    for spec in specs(dim, sides):
        name = f"{spec.side} {spec.name}"
        try:
            codec = open_codec(spec, "l2")
            trained[name] = best_seconds({name: partial(codec.fit, X)}, 1)[name]
            codec.add(X[:64])
        except Exception as error:
            yield {"name": name, "failed": f"{type(error).__name__}: {error}"}
            continue
        codecs[name], families[name] = codec, (spec.side, spec.family)
    best = best_seconds({name: partial(codec.add, X) for name, codec in codecs.items()}, repeats)
    for name, seconds in best.items():
        side, family = families[name]
        row = {"name": name, "side": side, "family": family, "train_s": trained[name], "encode_per_s": ROWS / seconds}
        yield row | {"train_encode_per_s": ROWS / (seconds + trained[name])}


def describe(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"  {row['name']:<32} not measured: {row['failed'][:100]}"
    return (
        f"  {row['name']:<32} encode {row['encode_per_s']:>10,.0f} vectors/s   train {row['train_s']:>7.2f} s"
        f"   both {row['train_encode_per_s']:>10,.0f} vectors/s"
    )


def ratios(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Our encoders over each peer's, in words."""
    good = [row for row in rows if "failed" not in row]
    rivals = [row for row in good if row["side"] != "ours"]
    for mine in (row for row in good if row["side"] == "ours"):
        for rival in rivals:
            trains = (rival["side"], rival["family"]) in TRAINED
            key, bar = ("train_encode_per_s", TRAIN_BAR) if trains else ("encode_per_s", ENCODE_BAR)
            ratio = mine[key] / rival[key]
            what = "train and encode" if trains else "encode"
            sign = ">=" if ratio >= bar else "<"
            yield f"  {what}: {mine['name']} = {ratio:.1f} x {rival['name']}, {sign} {bar}"
