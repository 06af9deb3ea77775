"""The definitions behind bench/quantizers.py: errors, the Gaussian limit, who is compared with whom."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = str(Path(__file__).resolve().parents[2] / "bench")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of bench/, which is no package: its programs import each other by bare names."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module(name)


def test_error_is_relative_to_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = load("accuracy", monkeypatch)
    X = np.array([[1.0, 0.0], [3.0, 0.0]], dtype=np.float32)
    mean = np.array([2.0, 0.0])
    assert accuracy.relative_error(X, np.array([[2.0, 0.0], [2.0, 0.0]]), mean) == 1.0
    assert accuracy.relative_error(X, np.array([[1.5, 0.0], [3.0, 0.5]]), mean) == pytest.approx(0.25)


def test_product_error_is_that_of_the_centred_inner_product(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = load("accuracy", monkeypatch)
    rng = np.random.default_rng(0)
    X, Q = rng.standard_normal((40, 8)), rng.standard_normal((5, 8))
    mean = X.mean(axis=0)
    true = ((Q[:, None] - X) ** 2).sum(axis=2)
    lengths = np.linalg.norm(Q - mean, axis=1)[:, None] * np.linalg.norm(X - mean, axis=1)
    std, bias = accuracy.product_errors(X, Q, true + 2 * 0.25 * lengths, mean)
    assert std == pytest.approx(0, abs=1e-12) and bias == pytest.approx(0.25)
    noise = rng.standard_normal(true.shape)
    std, _ = accuracy.product_errors(X, Q, true + 2 * noise * lengths, mean)
    assert std == pytest.approx(noise.std())


def test_refining_keeps_the_nearest_and_puts_none_last(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = load("accuracy", monkeypatch)
    X = np.array([[0.0], [5.0], [2.0], [9.0]], dtype=np.float32)
    ids = accuracy.nearest_of(X, np.array([1.9]), np.array([3, -1, 0, 1, 2]), 4)
    assert ids.tolist() == [2, 0, 1, 3]
    assert accuracy.nearest_of(X, np.array([1.9]), np.array([-1, 1]), 2).tolist() == [1, -1]


def test_least_error_is_relative_to_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = load("accuracy", monkeypatch)
    # Power law 1/i over 1024 dimensions: the published shares at 1, 2 and 4 bits.
    law = 1 / np.arange(1, 1025)
    assert [accuracy.least_error(law, bits) for bits in (1, 2, 4)] == pytest.approx([0.0901, 0.0225, 0.00141], rel=3e-3)


def points() -> list[dict]:
    def row(side: str, name: str, nbytes: float, recall: float) -> dict:
        return {"side": side, "name": name, "bytes": nbytes, "bits_per_dim": nbytes / 16, "recall": recall}

    return [
        row("ours", "A", 20, 0.80),
        row("ours", "B", 24, 0.70),
        row("ours", "C", 40, 0.95),
        row("faiss", "p", 16, 0.60),
        row("faiss", "q", 24, 0.75),
        row("faiss", "r", 39, 0.90),
        row("faiss", "s", 41, 0.90),
        {"side": "faiss", "name": "t", "failed": "refused"},
    ]


def test_every_peer_meets_our_best_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = {one["peer"]: one for one in load("verdicts", monkeypatch).compare(points())}
    assert list(verdicts) == ["faiss p", "faiss q", "faiss r", "faiss s"]
    assert "gap" not in verdicts["faiss p"]
    assert verdicts["faiss q"]["ours"] == "A" and verdicts["faiss q"]["gap"] == pytest.approx(0.05)
    assert verdicts["faiss r"]["ours"] == "A" and verdicts["faiss r"]["gap"] == pytest.approx(-0.10)
    assert verdicts["faiss s"]["ours"] == "C"
    assert [one["front"] for one in verdicts.values()] == [True, True, True, False]


def test_the_summary_counts_what_was_won(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(load("verdicts", monkeypatch).summary(points()))
    assert lines[1].endswith("ours: none this small")
    assert lines[3].endswith("< peer") and lines[4].endswith("> peer")
    assert "ours > peer at 2 of 3 points; smallest gap -0.1000" in lines[-2]
    assert lines[-1] == "at 1 more of them no quantizer of ours is as small"


def test_a_failed_process_is_told_from_a_finished_one(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = load("measure", monkeypatch)
    assert list(measure.alone(range, 3)) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="ValueError"):
        list(measure.alone(int, "no number"))


def test_every_side_names_its_points_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compressors = load("compressors", monkeypatch)
    for side, specs in compressors.SIDES.items():
        names = [spec.name for spec in specs(128)]
        assert len(names) == len(set(names)) > 5, side
