"""The main job from end to end, in a few seconds, on whichever kernels are installed: compiled or Numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs

RNG = np.random.default_rng(20240521)
X = RNG.normal(size=(1500, 40)).astype(np.float32)
Q = RNG.normal(size=(20, 40)).astype(np.float32)
K = 10

INDEXES = {
    "flat": lambda metric: vs.Flat(metric),
    "flat-rabitq": lambda metric: vs.Flat(metric, quantizer=vs.RaBitQ(bits=4), refine="f32"),
    "ivf": lambda metric: vs.IVF(16, metric),
    "ivf-rabitq": lambda metric: vs.IVF(16, metric, quantizer=vs.RaBitQ(bits=1), refine="bf16"),
}


def truth(metric: str) -> np.ndarray:
    A, B = Q.astype(np.float64), X.astype(np.float64)
    if metric == "cosine":
        A /= np.linalg.norm(A, axis=1, keepdims=True)
        B /= np.linalg.norm(B, axis=1, keepdims=True)
    distances = ((A[:, None] - B[None]) ** 2).sum(-1) if metric == "l2" else -(A @ B.T)
    return np.argsort(distances, axis=1, kind="stable")[:, :K]


def found(ids: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(ids.tolist(), wanted.tolist())]))


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("name", INDEXES)
def test_search_finds_the_nearest(name: str, metric: str) -> None:
    index: Any = INDEXES[name](metric).fit(X)
    ids, distances = index.search(Q, k=K, effort=16)
    assert ids.shape == distances.shape == (len(Q), K)
    assert np.all(np.diff(distances, axis=1) >= 0)
    assert found(ids, truth(metric)) >= (1.0 if name in {"flat", "ivf"} else 0.9)


@pytest.mark.parametrize("name", INDEXES)
def test_change_save_and_load_keep_the_answers(name: str, tmp_path: Path) -> None:
    index: Any = INDEXES[name]("l2").fit(X[:1000], ids=np.arange(1000) * 3)
    index.add(X[1000:], ids=np.arange(1000, 1500) * 3)
    index.remove(index.ids[:100])
    ids, distances = index.search(Q, k=K, effort=16, filter=index.ids % 2 == 0)
    assert len(index) == 1400
    assert np.all(ids % 2 == 0)
    assert ids.min() >= 300
    index.save(tmp_path / "index.vsx")
    for mmap in (False, True):
        again, distances_again = vs.load(tmp_path / "index.vsx", mmap=mmap).search(
            Q, k=K, effort=16, filter=index.ids % 2 == 0
        )
        np.testing.assert_array_equal(again, ids)
        np.testing.assert_array_equal(distances_again, distances)


def test_evaluate_and_integrations_are_there_when_asked_for() -> None:
    code = """
import sys, vsearch as vs
assert not {"vsearch.evaluate", "vsearch.integrations"} & set(sys.modules), "the import has grown"
assert {"evaluate", "integrations"} <= set(dir(vs))
assert vs.evaluate.id_recall([[1]], [[1]]) == 1.0
assert vs.integrations.__name__ == "vsearch.integrations"
assert not hasattr(vs, "evaluations")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
