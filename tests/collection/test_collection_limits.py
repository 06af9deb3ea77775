"""What is too much for SQLite is refused by name before anything is written, and never taken for damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import schema, storable
from vsearch.collection.checking import check
from vsearch.collection.exchange import export, load_into
from vsearch.collection.metadata import MAX_NESTING
from vsearch.collection.where import MAX_DEPTH, MAX_TERMS

X = np.eye(4, dtype=np.float32)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[vs.Collection]:
    """Two records; whatever a test does, these are left, and whole."""
    with vs.Collection.open(tmp_path / "box", metric="l2") as opened:
        opened.add(["a", "b"], X[:2], ["on apples", "on bees"], [{"n": 1, "l": ["x"]}, {"n": 2}])
        yield opened
        assert [record.metadata for record in opened] == [{"n": 1, "l": ["x"]}, {"n": 2}]
        assert opened.count({"n": {"$gte": 1}}) == 2
    assert check(str(tmp_path / "box")).problems == []


def nested(levels: int, kind: type) -> dict[str, Any]:
    value: Any = 7
    for _ in range(levels - 1):
        value = {"a": value} if kind is dict else kind([value])
    return {"a": value}


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_the_deepest_metadata_is_read_everywhere(box: vs.Collection, tmp_path: Path, kind: type) -> None:
    deep = nested(MAX_NESTING, kind)
    box.add(["deep"], X[2:3], ["deep"], [deep])
    wanted = nested(MAX_NESTING, dict if kind is dict else list)
    for _ in range(2):  # read from the file, and then as it is kept
        assert box.query(X[2], 1)[0].metadata == wanted
        assert box.query(X[2], 1, where={"a": {"$exists": True}})[0].metadata == wanted
    assert box["deep"].metadata == wanted
    assert box.count({".".join("a" * MAX_NESTING): 7}) == (kind is dict)
    assert export(box, tmp_path / "box.jsonl") == 3
    with vs.Collection.open(tmp_path / "again") as again:
        assert load_into(again, tmp_path / "box.jsonl") == 3
        assert again["deep"].metadata == wanted
    assert box.delete(["deep"]) == 1


@pytest.mark.parametrize("kind", [dict, list, tuple])
@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 900, 2500])
def test_metadata_nested_too_deep_is_refused(box: vs.Collection, kind: type, levels: int) -> None:
    deep = nested(levels, kind)
    for write in (
        lambda: box.add(["c", "d"], X[2:], None, [{}, deep]),
        lambda: box.upsert(["a", "c"], X[2:], None, [{}, deep]),
        lambda: box.update(["a", "b"], metadata=[{}, deep]),
    ):
        with pytest.raises(vs.ParameterError, match=r"`metadata` must be nested at most 200 deep; got more in row 1\."):
            write()


def test_metadata_that_holds_itself_is_refused(box: vs.Collection) -> None:
    ring: list[Any] = [1]
    ring += [ring, ring]
    with pytest.raises(vs.ParameterError, match="nested at most 200 deep"):
        box.add(["c"], X[:1], None, [{"a": ring}])


def test_a_file_with_metadata_nested_too_deep_is_refused_by_its_record(box: vs.Collection, tmp_path: Path) -> None:
    file = tmp_path / "deep.jsonl"
    file.write_text('{"id": 1, "vector": [0, 0, 0, 1], "metadata": {"a": ' + "[" * 300 + "]" * 300 + "}}\n")
    with pytest.raises(vs.FormatError, match=r"deep\.jsonl, record 1: `metadata` must be nested at most 200 deep"):
        load_into(box, file)


@pytest.mark.parametrize("key", [1, None, True, 1.5, b"a", (1,), np.int64(3)], ids=repr)
@pytest.mark.parametrize(
    "around",
    [lambda inner: inner, lambda inner: {"a": inner}, lambda inner: {"n": 1, "a": [[], {"b": (2, inner)}]}],
    ids=["at the top", "in a dict", "in a tuple in a dict in a list"],
)
def test_keys_of_metadata_that_are_no_str_are_refused(
    box: vs.Collection, key: Any, around: Callable[[dict[Any, Any]], dict[Any, Any]]
) -> None:
    for write in (
        lambda: box.add(["c", "d"], X[2:], None, [{}, around({key: "x"})]),
        lambda: box.update(["a", "b"], metadata=[{}, around({"b": 1, key: "x"})]),
    ):
        with pytest.raises(vs.ParameterError) as caught:
            write()
        start = f"`metadata` must have str as keys, at every depth; got {key!r}"
        assert str(caught.value).startswith(start)
        assert str(caught.value).endswith("in row 1.")


def test_keys_of_a_kind_of_str_are_kept(box: vs.Collection) -> None:
    box.add(["c"], X[:1], None, [{np.str_("k"): {np.str_("m"): 2}}])
    assert box["c"].metadata == {"k": {"m": 2}}
    assert box.count({"k.m": 2}) == 1
    box.delete(["c"])


def asked(box: vs.Collection, where: Any, where_document: Any = None) -> set[str]:
    """The records that match, asked for in every way; a field is asked for twice, the second time of its column."""
    found = {record.id for record in box.get(where=where, where_document=where_document)}
    assert {record.id for record in box.get(["b", "a"], where=where, where_document=where_document)} == found
    assert {record.id for record in box.iterate(where=where, where_document=where_document)} == found
    assert box.count(where, where_document) == len(found)
    assert box.delete(["nobody"], where=where, where_document=where_document) == 0
    for k in (1, 2):
        assert len(box.query(X[0], k, where=where, where_document=where_document)) == min(k, len(found))
    return {str(id) for id in found}


def test_filters_of_as_many_terms_as_are_allowed(box: vs.Collection) -> None:
    assert asked(box, {"$and": [{}] * 1200}) == {"a", "b"}
    assert asked(box, {"$or": [{"n": i, "m": {"$exists": False}} for i in range(2, MAX_TERMS // 2 + 2)]}) == {"b"}
    assert asked(box, {"$and": [{"l": {"$not_contains": f"y{i}"}} for i in range(MAX_TERMS)]}) == {"a", "b"}
    words = {"$or": [{"$match": f"w{i}"} for i in range(MAX_TERMS - 1)] + [{"$contains": "bees"}]}
    assert asked(box, {"$or": [{"n": i} for i in range(MAX_TERMS)]}, words) == {"b"}


def alternating(levels: int, inside: int, last: bool) -> dict[str, Any]:
    """An AND and an OR at every level, around so many terms; it holds where there is n."""
    deep: dict[str, Any] = {"$and": [{"l": {"$nin": [f"y{i}", 1.5, True, None]}} for i in range(inside)]}
    for i in range(levels):
        none = {"l": {"$contains": f"z{i}"}}
        deep = {"n": {"$gt": 0}, "$or": [none, none, deep] if last else [deep, none]}
    return deep


@pytest.mark.parametrize("inside", [1, 300])
@pytest.mark.parametrize("last", [True, False])
def test_filters_as_deep_as_is_allowed(box: vs.Collection, inside: int, last: bool) -> None:
    deep = alternating(MAX_DEPTH - 1, inside, last)
    assert asked(box, deep) == {"a", "b"}
    assert asked(box, {"$not": alternating(MAX_DEPTH - 2, inside, last)}) == set()
    words: dict[str, Any] = {"$match": "bees"}
    for _ in range(MAX_DEPTH):
        words = {"$contains": "on", "$or": [{"$match": "apples pears"}, words]}
    assert asked(box, deep, words) == {"b"}


LONG = "ü" * 600  # 1200 bytes
TOO_LONG: dict[str, Callable[[vs.Collection], Any]] = {
    "ids": lambda box: box.add([LONG], X[:1]),
    "ids asked for": lambda box: box.get([LONG]),
    "documents": lambda box: box.add(["c", "d"], X[:2], ["short", LONG]),
    "metadata": lambda box: box.add(["c"], X[:1], None, [{"a": [LONG]}]),
    "where": lambda box: box.count({"a": LONG}),
    "where in": lambda box: box.delete(where={"a": {"$in": ["x", LONG]}}),
    "where_document": lambda box: box.count(None, {"$contains": LONG}),
    "where_document match": lambda box: box.count(None, {"$match": LONG}),
    "text": lambda box: box.query(X[0], text=LONG),
}


@pytest.mark.parametrize("what", TOO_LONG)
def test_texts_that_are_too_long_are_refused(box: vs.Collection, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(storable, "MAX_BYTES", 1000)
    with pytest.raises(vs.ParameterError) as caught:
        TOO_LONG[what](box)
    name, length = what.split()[0], "1,210" if what == "metadata" else "1,200"
    kind = "dicts whose JSON has" if what == "metadata" else "texts of"
    assert str(caught.value) == f"`{name}` must hold {kind} at most 1,000 bytes each; got one of {length}."


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "setlimit"), reason="needs a Python that can set SQLite's limits")
def test_what_only_sqlite_sees_to_be_too_much_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = schema.connect

    def narrow(*arguments: Any) -> sqlite3.Connection:
        connection = connect(*arguments)
        assert connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) > 3 * storable.MAX_BYTES  # a record fits
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 20_000)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 500)
        return connection

    monkeypatch.setattr(schema, "connect", narrow)
    with vs.Collection.open(tmp_path, metric="l2") as box:
        box.add(["a"], X[:1], ["text"], [{"n": 1}])
        for ask in (
            lambda: box.upsert(["a", "b"], X[:2], ["t" * 30_000, ""]),
            lambda: box.upsert(list(range(10_000)), np.zeros((10_000, 4))),
            lambda: box.delete(list(range(10_000))),
            lambda: box.get(list(range(10_000))),
            lambda: box.count({"n": {"$in": list(range(10_000))}}),
            lambda: box.query(X[0], where={"n" * 30_000: 1}),
            lambda: box.query(X[0], text="t" * 30_000),
            lambda: box.count({"$or": [{"n": {"$empty": True}}] * 200}),
        ):
            with pytest.raises(vs.ParameterError, match="must be within the limits of SQLite; got more"):
                ask()
        assert box.get() == [vs.Record("a", "text", {"n": 1})]
        assert box.query(X[0])[0].id == "a"
