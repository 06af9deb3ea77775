"""Sequences of operations against a dict: whatever is done, in whatever order, with however many reopenings."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from where_oracle import holds

import vsearch as vs
from vsearch.collection import upkeep

DIM = 3
IDS = st.lists(st.one_of(st.integers(0, 12), st.sampled_from(["0", "a", "b"])), min_size=1, max_size=5, unique=True)
VALUES = st.sampled_from([{}, {"g": 1}, {"g": 2}, {"g": "1"}, {"g": None}, {"g": True, "h": {"i": 1.5}}])
WHERES = st.sampled_from(
    [{"g": 1}, {"g": {"$ne": 1}}, {"g": {"$gte": 1}}, {"h.i": 1.5}, {"$not": {"g": {"$exists": True}}}]
)


class CollectionModel(RuleBasedStateMachine):
    """Ids -> (vector, document, metadata). Vectors are small whole numbers, so that distances are exact."""

    index: Any = "exact"

    @initialize(seed=st.integers(0, 2**32 - 1))
    def start(self, seed: int) -> None:
        self.folder = tempfile.mkdtemp()
        self.rng = np.random.default_rng(seed)
        self.model: dict[Any, tuple[list[float], str | None, dict[str, Any]]] = {}
        self.box = self.open()

    def open(self) -> vs.Collection:
        return vs.Collection.open(self.folder, metric="l2", index=self.index)

    def vectors(self, n: int) -> np.ndarray:
        return self.rng.integers(-4, 5, (n, DIM)).astype(np.float32)

    @rule(ids=IDS, value=VALUES, text=st.sampled_from([None, "red sea", "blue"]))
    def upsert(self, ids: list[Any], value: dict[str, Any], text: str | None) -> None:
        X = self.vectors(len(ids))
        self.box.upsert(ids, X, [text] * len(ids), [value] * len(ids))
        for id, x in zip(ids, X.tolist()):
            self.model.pop(id, None)
            self.model[id] = (x, text, value)

    @rule(ids=IDS, value=VALUES)
    def add(self, ids: list[Any], value: dict[str, Any]) -> None:
        X = self.vectors(len(ids))
        if any(id in self.model for id in ids):
            with pytest.raises(vs.DuplicateIdError):
                self.box.add(ids, X, None, [value] * len(ids))
            return
        self.box.add(ids, X, None, [value] * len(ids))
        self.model |= {id: (x, None, value) for id, x in zip(ids, X.tolist())}

    @rule(ids=IDS, value=st.one_of(st.none(), VALUES), text=st.sampled_from([None, "green"]), move=st.booleans())
    def update(self, ids: list[Any], value: dict[str, Any] | None, text: str | None, move: bool) -> None:
        X = self.vectors(len(ids)) if move else None
        parts = (X, None if text is None else [text] * len(ids), None if value is None else [value] * len(ids))
        if not all(id in self.model for id in ids):
            with pytest.raises(vs.UnknownIdError):
                self.box.update(ids, *parts)
            return
        self.box.update(ids, *parts)
        for i, id in enumerate(ids):
            old = self.model.pop(id)
            x = old[0] if X is None else X[i].tolist()
            self.model[id] = (x, old[1] if text is None else text, old[2] if value is None else value)

    @rule(ids=IDS)
    def delete(self, ids: list[Any]) -> None:
        assert self.box.delete(ids) == sum(self.model.pop(id, None) is not None for id in ids)

    @rule(where=WHERES)
    def delete_where(self, where: dict[str, Any]) -> None:
        gone = [id for id, (_, _, value) in self.model.items() if holds(where, value)]
        assert self.box.delete(where=where) == len(gone)
        for id in gone:
            del self.model[id]

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        if clean:
            self.box.close()
        else:
            self.box._session.close()  # without the snapshot that `close` would write
        self.box = self.open()

    @rule()
    def optimize(self) -> None:
        self.box.optimize()

    @precondition(lambda self: self.model)
    @rule(where=st.one_of(st.none(), WHERES), k=st.integers(1, 20))
    def query(self, where: dict[str, Any] | None, k: int) -> None:
        q = self.vectors(1)[0]
        near = sorted(
            float(((np.array(x) - q) ** 2).sum())
            for x, _, value in self.model.values()
            if where is None or holds(where, value)
        )[:k]
        hits = self.box.query(q, k, where=where, recall=1.0)
        assert [hit.distance for hit in hits] == near
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            x, text, value = self.model[hit.id]
            assert (text, value, float(((np.array(x) - q) ** 2).sum())) == (*hit[1:3], hit.distance)

    @invariant()
    def the_same_records(self) -> None:
        if hasattr(self, "box"):
            found = {record.id: (record.document, record.metadata) for record in self.box}
            assert found == {id: (text, value) for id, (_, text, value) in self.model.items()}
            assert list(found) == list(self.model)  # in the order of writing

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.close()
            shutil.rmtree(self.folder)


class IndexedModel(CollectionModel):
    """The same with an index in the background from the fourth record on, rebuilt and merged all the time."""

    @staticmethod
    def index(metric: str) -> vs.Index:
        return vs.IVF(1, metric, dtype="f32")


SETTINGS = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestExact = CollectionModel.TestCase
TestExact.settings = SETTINGS


@pytest.mark.slow
class TestIndexed(IndexedModel.TestCase):
    settings = SETTINGS

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upkeep, "EXACT_BELOW", 4)
        monkeypatch.setattr(upkeep, "MERGE_AT", 2)
