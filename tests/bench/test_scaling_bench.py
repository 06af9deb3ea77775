"""bench/scaling.py: the synthetic data, the least effort, the exponent, and a small run."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / "bench"), str(Path(__file__).parent)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of bench/ by its bare name; worker processes find the stand-ins."""
    for path in PATHS:
        monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]))
    return importlib.import_module


def test_more_rows_begin_with_the_same_rows(bench: Any) -> None:
    scaling = bench("scaling")
    few, many = scaling.surface(300), scaling.surface(10_050)
    assert many.shape == (10_050, 96) and np.array_equal(few, many[:300])
    assert not np.array_equal(many[:50], many[10_000:]), "the second part is not the first again"
    assert not np.array_equal(few, scaling.surface(300, chunk=1 << 30)), "queries are not in the base"


def test_the_surface_has_few_dimensions(bench: Any) -> None:
    X = bench("scaling").surface(20_000).astype(np.float64)
    distances = np.sort(((X[:20, None] - X[None, 20:]) ** 2).sum(axis=2), axis=1)
    # Neighbours at rank r lie at r^(1/dimension); the 5th and the 50th tell it (a factor of 10 in rank).
    dimension = 2 * np.log(10) / np.log(distances[:, 49] / distances[:, 4])
    assert 6 < np.median(dimension) < 18


def test_exponents(bench: Any) -> None:
    scaling = bench("scaling")
    ns = np.array([1e4, 1e5, 5e5])
    assert scaling.exponent(ns, 7 * ns**0.23) == pytest.approx(0.23)
    assert scaling.exponent([100], [3]) is None
    rows = [{"name": "a", "n": n, "us": n**0.5, "build_s": n} for n in (10, 100)] + [{"name": "a", "n": 1000}]
    fits = scaling.growth(rows)["a"]
    assert fits["us"] == pytest.approx(0.5) and fits["build_s"] == pytest.approx(1) and fits["hops"] is None
    assert fits["sizes"] == [10, 100], "a size that failed has no part in the fit"


def test_sizes(bench: Any) -> None:
    sizes = bench("scaling").sizes
    assert sizes(10_000, 536_000) == [10_000, 30_000, 100_000, 300_000, 536_000]
    assert sizes(10_000, 30_000) == [10_000, 30_000] and sizes(10_000, 400) == [400]


def test_a_small_run(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    libraries, scaling = bench("libraries"), bench("scaling")
    fake = {
        name: libraries.Entry(name, "fake_libraries", kind, options)
        for name, kind, options in [("whole", "Exact", {}), ("gone", "Missing", {})]
    }
    command = "synthetic --min-n 1000 --max-n 3000 --queries 30 --rounds 2 --threads 1 --only whole,gone"
    path = scaling.main([*command.split(), "--out", str(tmp_path / "grown")], fake)
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in figures["rows"] if row["name"] == "whole"]
    assert [row["n"] for row in rows] == [1000, 3000]
    for row in rows:  # looks at `effort` thousandths of the base, and must see nearly all of it
        assert 900 < row["effort"] < 1000 and 0.95 <= row["recall"] < 0.97
        assert row["hops"] == row["n"] * row["effort"] // 1000
        assert row["bytes"] == row["hops"] * row["bytes_per_vector"]
    assert figures["growth"]["whole"]["hops"] == pytest.approx(1, abs=0.05)
    assert [row["status"] for row in figures["rows"] if row["name"] == "gone"] == ["not installed"] * 2
    printed = capsys.readouterr().out
    assert "whole: microseconds at recall 0.95 grow as n^" in printed and "hops as n^1.0" in printed


def test_an_effort_that_is_never_enough_is_said(bench: Any) -> None:
    arena, scaling = bench("arena"), bench("scaling")

    class Blind:
        facts = {"ladders": [[10]]}  # noqa: RUF012

        def ask(self, do: str, **question: Any) -> dict[str, Any]:
            return {"ids": [[-1]]}

    ring = arena.Arena(Path(), Path(), (0, 0), "l2", 1, lambda ids: float((ids >= 0).mean()))
    with pytest.raises(arena.OutError, match="is not reached at effort 20480"):
        scaling.Meter(ring, Blind(), 0.95).least_effort()
