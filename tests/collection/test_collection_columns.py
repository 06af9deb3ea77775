"""Columns of metadata let through what SQL lets through, as records come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_where import database, expressions, metadata, passing
from where_oracle import holds

import vsearch as vs
from vsearch.collection import columns, rows
from vsearch.collection.batch import check_batch
from vsearch.collection.columns import Columns
from vsearch.collection.where import parse


def ask(known: Columns, connection: Any, where: Any, next_row: int, text: Any = None) -> list[int] | None:
    tree = parse(where, text)
    assert tree is not None
    known.rows(connection, tree, next_row)  # so that its fields were asked for before
    found = known.rows(connection, tree, next_row)
    return None if found is None else found.tolist()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadata, min_size=1, max_size=12), st.lists(expressions, min_size=1, max_size=6), st.integers(0, 12))
def test_columns_let_through_what_filters_mean(
    records: list[dict[str, Any]], wheres: list[dict[str, Any]], early: int
) -> None:
    early = min(early, len(records))
    connection, known = database(records[:early]), Columns()
    for where in wheres:
        ask(known, connection, where, early)
    late = records[early:]
    if late:
        ids = list(range(early, len(records)))
        batch = check_batch(ids, np.zeros((len(late), 1)), None, late, dim=1, metric="l2", embedding=None)
        rows.insert(connection, early, *batch)
    for where in wheres:
        found = ask(known, connection, where, len(records))
        assert found in (None, [row for row, record in enumerate(records) if holds(where, record)]), where
    connection.close()


RECORDS: list[dict[str, Any]] = [
    {"n": 1, "t": "b", "x": {"y": True}},
    {"n": 1.5, "t": "a"},
    {"n": "1", "t": None},
    {"n": True, "t": ["a"]},
    {"n": -3, "t": "é", "x": 7},
    {},
]


@pytest.mark.parametrize(
    "where",
    [
        {"n": 1},
        {"n": {"$gte": 1}},
        {"n": {"$lt": 1.5}},
        {"n": {"$in": [1, 1.5, "1"]}},
        {"n": {"$ne": 1}},
        {"n": True},
        {"t": "a"},
        {"t": {"$gt": "a"}},
        {"t": {"$lte": "b"}},
        {"t": {"$nin": ["a", "b"]}},
        {"t": None},
        {"t": {"$exists": True}},
        {"x.y": True},
        {"$or": [{"n": {"$gt": 1}}, {"$not": {"t": {"$exists": True}}}]},
        {"n": 1, "t": {"$contains": "b"}},
    ],
)
def test_columns_answer_what_they_can(where: Any) -> None:
    connection, known = database(RECORDS), Columns()
    tree = parse(where)
    assert tree is not None
    assert known.rows(connection, tree, len(RECORDS)) is None  # a field asked for the first time
    assert ask(known, connection, where, len(RECORDS)) == passing(connection, where)
    connection.execute("DROP TABLE words")
    connection.execute("UPDATE documents SET metadata = NULL")
    if "$contains" not in str(where):  # it reads nothing again
        before = [row for row, record in enumerate(RECORDS) if holds(where, record)]
        assert ask(known, connection, where, len(RECORDS)) == before
    connection.close()


@pytest.mark.parametrize("where", [{"n": 2**53 + 1}, {"n": {"$in": [2**60, 1]}}, {"t": {"$contains": "a"}}])
def test_columns_leave_the_rest_to_sql(where: Any) -> None:
    connection, known = database(RECORDS), Columns()
    assert ask(known, connection, where, len(RECORDS)) is None
    connection.close()


def test_a_column_with_numbers_beyond_float64_is_not_used() -> None:
    connection, known = database([{"n": 2**53 + 1}, {"n": 3}]), Columns()
    assert ask(known, connection, {"n": {"$gt": 2.0**53}}, 2) is None
    assert ask(known, connection, {"n": 3}, 2) is None
    connection.close()


def test_columns_keep_to_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, known = database(RECORDS), Columns()
    for field in ("n", "t", "x"):
        ask(known, connection, {field: 1}, len(RECORDS))
    assert len(known._columns) == 3
    monkeypatch.setattr(columns, "BUDGET", 1)
    assert ask(known, connection, {"n": 1}, len(RECORDS)) == [0]
    assert list(known._columns) == [("n",)]
    connection.close()


def test_columns_follow_what_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_REVIEW", 8)
    X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)

    def found(box: vs.Collection, year: int) -> set[Any]:
        return {hit.id for hit in box.query(X[0], 50, where={"year": {"$gte": year}})}

    with vs.Collection.open(tmp_path / "a", metric="l2") as box:
        box.add(list(range(10)), X, metadata=[{"year": i} for i in range(10)])
        for year in range(10):
            assert found(box, year) == set(range(year, 10))
        held = box._filters._columns
        assert set(held._columns) == {("year",)}
        for turn in range(1, 6):
            box.upsert(list(range(5)), X[:5], metadata=[{"year": 100 * turn + i} for i in range(5)])
            assert found(box, 100 * turn + 3) == {3, 4}
            assert found(box, 100 * turn - 1) == {0, 1, 2, 3, 4}
            assert found(box, -turn) == set(range(10))
        assert len(held._rows) < 35  # of 35 rows that there were, 10 are left
        with vs.Collection.open(tmp_path / "a", read_only=True) as reader:
            assert found(reader, 7) == {0, 1, 2, 3, 4, 7, 8, 9}
            assert found(reader, 8) == {0, 1, 2, 3, 4, 8, 9}
            box.delete([9])
            assert found(reader, 6) == {0, 1, 2, 3, 4, 6, 7, 8}
            assert found(reader, 8) == {0, 1, 2, 3, 4, 8}
