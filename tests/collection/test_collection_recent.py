"""Records kept in memory: always what the file says, never shared with the caller, and no more than the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection.recent import Recent
from vsearch.collection.session import Session

X = np.random.default_rng(3).standard_normal((30, 4)).astype(np.float32)


def filled(path: Path) -> vs.Collection:
    box = vs.Collection.open(path, metric="l2")
    box.add(list(range(30)), X, [f"text {i}" for i in range(30)], [{"n": i, "in": {"list": [i]}} for i in range(30)])
    return box


def test_answers_are_the_callers_own(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as box:
        for _ in range(3):
            hits = box.query(X[0], 30)
            assert [hit.metadata for hit in hits] == [{"n": hit.id, "in": {"list": [hit.id]}} for hit in hits]
            hits[0].metadata["n"] = "mine"
            hits[1].metadata["in"]["list"].append("mine")
            hits[2].metadata.clear()
        box.add(["plain", "none"], X[:2] + 50, metadata=[{"s": "x"}, {}])
        for _ in range(3):
            near, far = box.query(X[0] + 50, 2)
            assert (near.metadata, far.metadata, near.document) == ({"s": "x"}, {}, None)
            near.metadata["s"] = far.metadata["s"] = "mine"


@pytest.mark.parametrize("reading", [False, True])
def test_what_is_kept_follows_what_is_written(tmp_path: Path, reading: bool) -> None:
    with filled(tmp_path / "a") as box:
        other = vs.Collection.open(tmp_path / "a", read_only=True) if reading else box
        for turn in range(4):
            assert {hit.id for hit in other.query(X[0], 50)} == set(range(turn, 30))
            assert other.query(X[5], 1)[0].document == ("text 5" if not turn else f"new {turn - 1}")
            box.delete([turn])
            box.update([5], documents=[f"new {turn}"], metadata=[{"turn": turn}])
            (hit,) = other.query(X[5], 1)
            assert (hit.id, hit.document, hit.metadata) == (5, f"new {turn}", {"turn": turn})
        if reading:
            other.close()


def test_a_commit_that_memory_missed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "a") as box:
        box.query(X[0], 30)

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Session, "_apply", interrupted)
            with pytest.raises(KeyboardInterrupt):
                box.delete([0])
        assert box.query(X[0], 1)[0].id != 0
        assert len(box.query(X[0], 50)) == 29
        box.delete([1])
        assert len(box.query(X[0], 50)) == 28


def test_other_columns_are_read_where_they_are(tmp_path: Path) -> None:
    with filled(tmp_path / "a") as box:
        for _ in range(2):
            (hit,) = box.query(X[7], 1, include=("vectors",))
            assert (hit.id, hit.document, hit.metadata) == (7, None, {})
            assert (hit.vector == X[7]).all()
            assert box.query(X[7], 1)[0].document == "text 7"


def test_the_budget_is_kept() -> None:
    recent = Recent(budget=100_000)
    recent.add((row, row, "x" * 500, None) for row in range(1000))
    kept = [row for row, found in enumerate(recent.find(range(1000))) if found is not None]
    assert 50 < len(kept) < 150
    assert kept == list(range(1000 - len(kept), 1000))
    recent.add([(5000, 5000, "x" * 50_000, None)])
    assert recent.find([5000, 999])[0] is None
    assert recent.find([999])[0] is not None


def test_records_too_large_to_be_kept_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "a") as box:
        monkeypatch.setattr(box._session, "recent", Recent(budget=100))
        for _ in range(2):
            assert [hit.document for hit in box.query(X[3], 1)] == ["text 3"]
