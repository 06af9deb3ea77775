"""The background: what it builds and when, that answers stay right meanwhile, and that its failures do no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import memory, sampling, upkeep

DIM = 8
X = np.random.default_rng(2).standard_normal((400, DIM)).astype(np.float32)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes from 30 records on, an index from 100 on."""
    monkeypatch.setattr(memory, "CODED_FROM", 20)
    monkeypatch.setattr(upkeep, "CODE_AT", 30)
    monkeypatch.setattr(upkeep, "EXACT_BELOW", 100)
    monkeypatch.setattr(upkeep, "MERGE_AT", 10)
    monkeypatch.setattr(upkeep, "REBUILD_GROWTH", 3)
    monkeypatch.setattr(upkeep, "PAUSE_SECONDS", 0.001)


def ivf(metric: str) -> vs.Index:
    return vs.IVF(4, metric, dtype="f32")


def fill(box: vs.Collection, first: int, end: int, step: int = 5) -> None:
    for start in range(first, end, step):
        box.add(list(range(start, min(end, start + step))), X[start : min(end, start + step)])


def check(box: vs.Collection, n: int) -> None:
    """Every record is its own nearest, and nothing is missing."""
    answers = box.query(X[:n:7], 3, recall=1.0)
    assert [answer[0].id for answer in answers] == list(range(0, n, 7))
    assert len(box.query(X[0], n + 5, recall=1.0)) == n


def settle(box: vs.Collection, done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


def parts(box: vs.Collection) -> list[tuple[str, int]]:
    return [(type(part.index).__name__, len(part)) for part in box._session.memory.parts]


def test_a_growing_collection_gets_codes_then_an_index(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2", index=ivf) as box:
        fill(box, 0, 29)
        assert parts(box) == [("Flat", 29)]
        assert box._session.memory.parts[0].index.quantizer is None  # type: ignore[union-attr]
        fill(box, 29, 60)
        settle(box, lambda: box._session.memory.parts[0].index.quantizer is not None)  # type: ignore[union-attr]
        check(box, 60)
        assert "searched exactly" in repr(box)
        fill(box, 60, 120)
        settle(box, lambda: parts(box)[0][0] == "IVF")
        check(box, 120)
        fill(box, 120, 200)
        settle(box, lambda: parts(box)[0][1] > 185)
        check(box, 200)
        box.delete(list(range(150, 200)))
        box.optimize()
        assert parts(box) == [("IVF", 150), ("NoneType", 0)]
        check(box, 150)
        fill(box, 150, 400, 250)  # at once: whoever trains again sees all of them
        box.optimize()
        assert parts(box)[0] == ("IVF", 400)
        assert box._session.memory.parts[0].built == 400  # grown more than threefold, trained again
    with vs.Collection.open(tmp_path / "a", index=ivf) as box:
        assert parts(box)[0] == ("IVF", 400)
        check(box, 400)


def test_writes_go_on_while_an_index_is_built(tmp_path: Path) -> None:
    go, begun = threading.Event(), threading.Event()

    class Slow(vs.IVF):
        def fit(self, *arguments: Any, **options: Any) -> Any:
            begun.set()
            assert go.wait(60)
            return super().fit(*arguments, **options)

    with vs.Collection.open(tmp_path / "a", metric="l2", index=lambda metric: Slow(4, metric, dtype="f32")) as box:
        fill(box, 0, 110, 110)
        assert begun.wait(60)
        fill(box, 110, 150)  # during the build: more, fewer, others
        box.delete([3, 120])
        box.upsert([4], X[399:400])
        box.update([5], metadata=[{"new": True}])
        assert box.query(X[399], 1)[0].id == 4
        assert box.query(X[5], 1)[0].metadata == {"new": True}
        go.set()
        settle(box, lambda: parts(box)[0][0] == "Slow")
        box.optimize()
        assert sum(n for _, n in parts(box)) == 148
        found = {hit.id for hit in box.query(X[0], 400, recall=1.0)}
        assert found == set(range(150)) - {3, 120}
        assert box.query(X[399], 1, recall=1.0)[0].id == 4
        assert box.query(X[4], 1, recall=1.0)[0].id != 4
        assert box.query(X[5], 1, recall=1.0)[0].metadata == {"new": True}


def test_a_build_that_fails_leaves_an_exact_collection(tmp_path: Path) -> None:
    def broken(metric: str) -> vs.Index:
        raise MemoryError("no room")

    with vs.Collection.open(tmp_path / "a", metric="l2", index=broken) as box:
        fill(box, 0, 110, 110)
        settle(box, lambda: box._upkeep is not None and box._upkeep._error is not None)
        with pytest.warns(RuntimeWarning, match="searches stay exact: MemoryError: no room"):
            fill(box, 110, 111)
        fill(box, 111, 130)
        check(box, 130)


def test_the_background_waits_for_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(upkeep, "PATIENCE_SECONDS", 3600.0)
    with vs.Collection.open(tmp_path / "a", metric="l2", index=ivf) as box:
        fill(box, 0, 150, 50)
        assert parts(box) == [("Flat", 150)]
        check(box, 150)
        begun = time.monotonic()
    assert time.monotonic() - begun < 600  # closing does not wait for the pause
    monkeypatch.setattr(upkeep, "PATIENCE_SECONDS", 0.01)
    with vs.Collection.open(tmp_path / "a", index=ivf) as box:
        settle(box, lambda: parts(box)[0][0] == "IVF")  # patience ends, though no pause came


@pytest.mark.parametrize("step", ["fit", "optimize"])
def test_closing_gives_up_what_is_being_built(tmp_path: Path, step: str) -> None:
    from vsearch._progress import Progress

    begun = threading.Event()

    class Endless(vs.IVF):
        def fit(self, *arguments: Any, **options: Any) -> Any:
            bar = Progress("fit", False)
            while True:
                begun.set()
                bar.advance()
                time.sleep(0.001)

    errors: list[BaseException] = []

    def optimize() -> None:
        try:
            box.optimize()
        except vs.VsearchError as error:
            errors.append(error)

    box = vs.Collection.open(tmp_path / "a", metric="l2", index=lambda metric: Endless(4, metric, dtype="f32"))
    fill(box, 0, 99, 99)
    if step == "optimize":
        box._upkeep._stopping = True  # type: ignore[union-attr]  # no worker: this thread builds
        fill(box, 99, 110)
        box._upkeep._stopping = False  # type: ignore[union-attr]
        thread = threading.Thread(target=optimize)
        thread.start()
    else:
        fill(box, 99, 110)
    assert begun.wait(60)
    box.close()
    if step == "optimize":
        thread.join(60)
        assert not thread.is_alive()
        assert [type(error) for error in errors] == [vs.ClosedError]
    with vs.Collection.open(tmp_path / "a", index=ivf) as box:
        settle(box, lambda: parts(box)[0][0] == "IVF")
        check(box, 110)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_an_index_learns_its_effort_from_the_queries_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(sampling.QuerySample.__init__, "__defaults__", (50,))
    Q = np.random.default_rng(5).standard_normal((50, DIM)).astype(np.float32)

    def source(box: vs.Collection) -> str:
        index = box._session.memory.index
        return index.calibration.source if index is not None and index.calibration is not None else ""

    with vs.Collection.open(tmp_path / "a", metric=metric, index=lambda m: vs.IVF(20, m, dtype="f32")) as box:
        fill(box, 0, 300, 100)
        box.optimize()
        for q in Q[:49]:
            box.query(q)
            box.query(q)
        assert source(box) == "base"
        box.query(Q[40:], k=2)
        settle(box, lambda: source(box) == "queries")
        index = box._session.memory.index
        assert index is not None
        assert index.calibration is not None
        curve = dict(zip(index.calibration.efforts, index.calibration.recalls[10]))
        truth = vs.Flat(metric).fit(X[:300]).search(Q, 10)[0]
        for effort in (1.0, 20.0):
            found = index.search(Q, 10, effort=effort)[0]
            share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), truth.tolist())])
            assert abs(curve[effort] - share) < 0.02
        assert curve[20.0] == 1.0
    with vs.Collection.open(tmp_path / "a") as box:
        assert source(box) == "queries"
        fill(box, 300, 303)


def test_a_build_is_calibrated_with_the_queries_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling.QuerySample.__init__, "__defaults__", (50,))
    with vs.Collection.open(tmp_path / "a", metric="l2", index=ivf) as box:
        fill(box, 0, 99, 99)
        box.query(X[300:350], 3)
        fill(box, 99, 120)
        box.optimize()
        index = box._session.memory.index
        assert index is not None
        assert index.calibration is not None
        assert index.calibration.source == "queries"


def test_points_between_vectors_stand_in_for_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Y = np.random.default_rng(0).standard_normal((200, DIM)).astype(np.float32) * 5
    made = sampling.stand_ins(Y)
    assert made.shape == (sampling.STAND_INS, DIM)
    norms = np.linalg.norm(Y, axis=1)
    assert norms.min() <= np.linalg.norm(made, axis=1).min()
    assert np.linalg.norm(made, axis=1).max() <= norms.max() * (1 + 1e-6)
    assert (
        len(sampling.stand_ins(np.array([[1, 0], [-1, 0]], np.float32))) < sampling.STAND_INS
    )  # opposites have no middle
    asked: list[np.ndarray] = []
    monkeypatch.setattr(upkeep, "stand_ins", lambda rows: asked.append(rows) or sampling.stand_ins(rows))  # type: ignore[func-returns-value]
    with vs.Collection.open(tmp_path / "a", metric="cosine") as box:
        fill(box, 0, 200, 200)
        box.optimize()
        index = box._session.memory.index
        assert index is not None
        assert index.calibration is not None
        assert index.calibration.source == "base"  # still to be learnt from queries
        assert len(asked) == 1


def test_a_sample_keeps_the_latest_queries() -> None:
    sample = sampling.QuerySample(3)
    assert [sample.add(X[i : i + 1]) for i in (0, 1, 1, 0, 2)] == [False, False, False, False, True]
    assert (sample.queries() == X[:3]).all()
    for i in range(sampling.RENEWAL):
        sample.add(X[i : i + 1])
    assert not sample.add(X[300:310])
    rows = {q.tobytes() for q in sample.queries()}
    assert rows < {x.tobytes() for x in X[: sampling.RENEWAL]}
    assert X[2].tobytes() in rows
    assert len(rows) == 3


def test_exact_never_builds(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2", index="exact") as box:
        fill(box, 0, 150, 50)
        box.optimize()
        assert parts(box) == [("Flat", 150)]
        assert box._session.memory.parts[0].index.quantizer is None  # type: ignore[union-attr]
        check(box, 150)
    with vs.Collection.open(tmp_path / "a", index=ivf) as box:  # opened otherwise, it is built at once
        settle(box, lambda: parts(box)[0][0] == "IVF")
        check(box, 150)


def test_filters_hold_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2", index=ivf) as box:
        box.add(list(range(120)), X[:120], metadata=[{"m": i % 10} for i in range(120)])
        box.optimize()
        monkeypatch.setattr(upkeep, "MERGE_AT", 1000)
        box.add(list(range(120, 150)), X[120:150], metadata=[{"m": i % 10} for i in range(120, 150)])
        assert [n for _, n in parts(box)] == [120, 30]
        for _ in range(2):
            hits = box.query(X[7], 400, where={"m": 7}, recall=1.0)
            assert {hit.id for hit in hits} == {i for i in range(150) if i % 10 == 7}
            assert hits[0].id == 7
        assert [hit.id for hit in box.query(X[125], 1, where={"m": {"$in": [5, 6]}}, recall=1.0)] == [125]
        assert box.query(X[0], where={"m": 77}) == []
        box.delete(where={"m": 7})
        assert box.query(X[7], where={"m": 7}) == []


def test_a_prepared_filter_follows_its_index() -> None:
    from vsearch.index.filter import PreparedFilter

    index = vs.IVF(4, dtype="f32").fit(X[:50])
    for wanted in ([3, 7], np.arange(50) % 2 == 0):
        prepared = PreparedFilter(wanted)
        for _ in range(2):
            plain, ready = index.search(X[:9], 5, filter=wanted), index.search(X[:9], 5, filter=prepared)
            assert (plain[0] == ready[0]).all()
    kept = PreparedFilter([3, 7])
    assert set(index.search(X[0], 5, filter=kept)[0]) == {3, 7, -1}
    index.add(X[50:60])
    index.remove([9])
    assert set(index.search(X[0], 5, filter=kept)[0]) == {3, 7, -1}
    assert set(vs.Flat().fit(X[:8]).search(X[0], 5, filter=kept)[0]) == {3, 7, -1}
    index.remove([7])
    with pytest.raises(vs.UnknownIdError):
        index.search(X[0], 5, filter=kept)


@pytest.mark.parametrize(("refine", "metric"), [("bf16", "cosine"), ("int8", "l2"), (None, "ip")])
def test_a_snapshot_without_vectors_answers_as_the_index_did(tmp_path: Path, refine: Any, metric: str) -> None:
    from vsearch.index.io import load_light

    index = vs.IVF(5, metric, quantizer=vs.RaBitQ(4), refine=refine).fit(X, np.arange(400) * 3)
    index.remove([9, 12])
    index.save(tmp_path / "light.vsx", vectors=False)
    index.save(tmp_path / "whole.vsx")
    chunks = [(np.arange(first, first + 100) * 3, X[first : first + 100]) for first in range(0, 400, 100)]
    light = load_light(tmp_path / "light.vsx", DIM, chunks)
    for other in (vs.load(tmp_path / "whole.vsx"), load_light(tmp_path / "whole.vsx", DIM, ())):
        for a, b in zip(light.search(X[:20], 9, effort=5), other.search(X[:20], 9, effort=5)):
            assert (a == b).all()
    light.add(X[:1], [7])
    assert light.search(X[:1], 1, effort=5)[0][0, 0] in (0, 7)
    with pytest.raises(vs.ForeignFileError, match="without its vectors"):
        vs.load(tmp_path / "light.vsx")
    with pytest.raises(vs.CorruptFileError, match="do not fit"):
        load_light(tmp_path / "light.vsx", DIM + 1, ())
    with pytest.raises(vs.ParameterError, match="`vectors` must be True for a Flat"):
        vs.Flat().fit(X).save(tmp_path / "flat.vsx", vectors=False)
