"""Filters: the SQL that is made of an expression lets through what a plain evaluation lets through."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from where_oracle import holds, holds_text

from vsearch.collection import rows, schema, where_sql
from vsearch.collection.batch import check_batch
from vsearch.collection.where import MAX_DEPTH, MAX_TERMS, Every, Not, Some, parse
from vsearch.collection.where_sql import condition
from vsearch.errors import DTypeError, ParameterError

KEYS = ("a", "b", "c.d", "c.e", "it's", "ключ", "2", " ", "%", "[0]", "#")
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -0.0, 1e300, 2.0**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 1e-300, 1 / 3]),
)
texts = st.one_of(
    st.sampled_from(
        ["", "a", "A", "é", "1", "true", "null", '["a"]', "'; DROP TABLE documents; --", "\\u0000", "\U0001f600"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(["d", "e"]), scalars))
metadata = st.dictionaries(
    st.sampled_from(["a", "b", "c", "it's", "ключ", "2", " ", "%", "[0]", "#"]), values, max_size=5
)

operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars),
    st.tuples(st.sampled_from(["$contains", "$not_contains"]), scalars),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.one_of(numbers, texts)),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=4)),
    st.tuples(st.sampled_from(["$exists", "$empty"]), st.booleans()),
    st.tuples(st.just("$icontains"), texts),
)
fields = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(scalars, st.lists(operators, min_size=1, max_size=2).map(dict)),
    max_size=2,
)
expressions = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=6,
)

WORDS = st.lists(st.sampled_from(["sea", "Sea", "land", "AND", "NOT", "near", "x1"]), min_size=1, max_size=3)
sentences = st.one_of(st.none(), WORDS.map(" ".join), WORDS.map("-".join), st.sampled_from(["", "50%", "a_b", '"sea"']))
text_terms = st.one_of(
    st.tuples(
        st.sampled_from(["$contains", "$not_contains"]), st.sampled_from(["s", "Sea", "a l", "%", "_", '"', "-"])
    ),
    st.tuples(st.just("$match"), WORDS.map(" ".join)),
).map(lambda pair: dict([pair]))
text_expressions = st.recursive(
    text_terms,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=4,
)


def database(metadata: list[dict[str, Any]], documents: list[str | None] | None = None) -> sqlite3.Connection:
    """The tables of a collection in memory, with these records."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.add_functions(connection)
    schema.create(connection, "l2", 1)
    n = len(metadata)
    batch = check_batch(list(range(n)), np.zeros((n, 1)), documents, metadata, dim=1, metric="l2", embedding=None)
    rows.insert(connection, 0, *batch)
    return connection


def passing(connection: sqlite3.Connection, where: Any, where_document: Any = None) -> list[int]:
    tree = parse(where, where_document)
    assert tree is not None
    sql, parameters = condition(tree)
    return [row for (row,) in connection.execute(f"SELECT row FROM documents WHERE {sql} ORDER BY row", parameters)]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadata, min_size=1, max_size=12), st.lists(expressions, min_size=1, max_size=8))
@example([{"a": True}, {"a": 1}, {"a": "1"}, {"a": None}, {}, {"a": [1]}], [{"a": 1}, {"a": True}, {"a": {"$ne": 1}}])
@example([{"c": {"d": 1}}, {"c": 1}, {"c": {"d": None}}], [{"c.d": {"$exists": True}}, {"c.d": None}])
@example([{"a": 2**53 + 1}], [{"a": 2.0**53}, {"a": {"$gt": 2.0**53}}])
def test_filters_let_through_what_they_mean(records: list[dict[str, Any]], wheres: list[dict[str, Any]]) -> None:
    connection = database(records)
    for where in wheres:
        wanted = [row for row, found in enumerate(records) if holds(where, found)]
        assert passing(connection, where) == wanted, where
    connection.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadata, min_size=1, max_size=6), st.lists(expressions, min_size=1, max_size=4))
def test_filters_mean_the_same_however_they_are_put_together(
    records: list[dict[str, Any]], wheres: list[dict[str, Any]]
) -> None:
    connection = database(records)
    joined = {"$or": [{"$and": wheres}, {"$not": {"$or": wheres}}, *wheres]}
    wanted = [row for row, found in enumerate(records) if holds(joined, found)]
    for wide, stack in ((2, 60), (2, 0), (3, 0), (16, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where_sql, "WIDE", wide)
            patch.setattr(where_sql, "STACK", stack)
            assert passing(connection, joined) == wanted, (joined, wide, stack)
    connection.close()


@settings(max_examples=200, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=10), st.lists(text_expressions, min_size=1, max_size=6))
def test_text_filters_let_through_what_they_mean(documents: list[str | None], wheres: list[dict[str, Any]]) -> None:
    connection = database([{}] * len(documents), documents)
    for where in wheres:
        wanted = [row for row, found in enumerate(documents) if holds_text(where, found)]
        assert passing(connection, None, where) == wanted, where
    connection.close()


@settings(max_examples=150, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_equals_itself_and_not_another(value: float, other: float) -> None:
    connection = database([{"a": value}])
    assert passing(connection, {"a": value}) == [0]
    assert passing(connection, {"a": {"$in": [value]}}) == [0]
    assert passing(connection, {"a": {"$gte": value, "$lte": value}}) == [0]
    if abs(value - other) > 1e-12 * abs(value):
        assert passing(connection, {"a": {"$eq": other}}) == []
        assert passing(connection, {"a": {"$gt": other}}) == ([0] if value > other else [])
    connection.close()


def test_many_terms_are_not_too_deep_for_sqlite() -> None:
    connection = database([{"a": 5}])
    assert passing(connection, {"$and": [{"a": {"$ne": i + 10}} for i in range(MAX_TERMS)]}) == [0]
    assert passing(connection, {"$or": [{"a": i + 4} for i in range(MAX_TERMS)]}) == [0]
    assert passing(connection, {"a": {"$in": list(range(100_000))}}) == [0]
    connection.close()


def test_what_says_nothing_is_left_out() -> None:
    every, none = {"$and": [{}] * 1200}, {"$or": [{"a": {"$in": []}}] * 400}
    assert parse(every) == parse({"$or": [{"a": 1}, {}]}) == parse({"$not": none}) == Every(())
    assert parse(none) == parse({"$not": {}}) == parse({"a": 1, "$and": [none]}) == Some(())
    assert parse({"$and": [{}, {"$or": [{"a": 1}, none]}, every]}) == parse({"a": 1})
    assert parse({"$not": {"$not": {"a": 1}}}) == parse({"a": 1})
    connection = database([{"a": 5}, {}])
    assert passing(connection, every) == [0, 1]
    assert passing(connection, none) == []
    connection.close()


@pytest.mark.parametrize("joint", ["$and", "$or", "$not"])
def test_the_deepest_allowed_is_not_too_deep_for_sqlite(joint: str) -> None:
    connection = database([{"a": 5}])
    leaf = {"a": {"$nin": ["x", 1.5, True, None]}}
    deep: dict[str, Any] = leaf
    for _ in range(MAX_DEPTH):
        deep = {"$not": deep} if joint == "$not" else {joint: [leaf, leaf, deep, leaf]}
    for where in (deep, {"$not": deep["$not"]} if joint == "$not" else {"a": 5, **deep}):
        assert passing(connection, where) == ([0] if holds(where, {"a": 5}) else [])
    tree = parse(deep)
    assert tree is not None
    sql, parameters = condition(Not(tree))
    wanted = [] if holds(deep, {"a": 5}) else [(0,)]
    assert connection.execute(f"SELECT row FROM documents WHERE {sql}", parameters).fetchall() == wanted
    connection.close()


def test_equal_numbers_of_other_kinds_are_not_one_filter() -> None:
    assert parse({"a": 1}) != parse({"a": True})
    assert parse({"a": {"$in": [1]}}) != parse({"a": {"$in": [True]}})
    assert parse({"a": np.int64(1)}) == parse({"a": 1})


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        (["a"], DTypeError, "`where` must be a dict; got"),
        ({"$xor": []}, ParameterError, "must use $and, $or, $not; got '$xor'"),
        ({"a": {"$like": "x"}}, ParameterError, "must use $eq, $ne"),
        ({"a": {"eq": 1}}, ParameterError, "must use $eq"),
        ({"a": {}}, ParameterError, "empty dict"),
        ({"a": {"$gt": True}}, DTypeError, "$gt must be given a str or a number"),
        ({"a": {"$gt": None}}, DTypeError, "$gt must be given a str or a number"),
        ({"a": [1]}, DTypeError, "$eq must be given a str"),
        ({"a": {"$in": "abc"}}, DTypeError, "$in must be given a list"),
        ({"a": {"$in": 5}}, DTypeError, "$in must be given a list"),
        ({"a": {"$exists": 1}}, DTypeError, "$exists must be given True or False"),
        ({"a": {"$empty": None}}, DTypeError, "$empty must be given True or False"),
        ({"a": {"$icontains": 1}}, DTypeError, "$icontains must be given a str"),
        ({"a": float("nan")}, DTypeError, "finite float"),
        ({"a": 2**63}, DTypeError, "an int of 64 bits"),
        ({"a": "\ud800"}, ParameterError, "lone surrogate"),
        ({"a": "x\0"}, ParameterError, "NUL"),
        ({"a..b": 1}, ParameterError, "empty parts"),
        ({'a"b': 1}, ParameterError, "without quotes"),
        ({"": 1}, ParameterError, "empty parts"),
        ({1: 1}, DTypeError, "must name fields by str"),
        ({"$and": {}}, DTypeError, "$and must be given a list"),
        ({"$or": []}, DTypeError, "$or must be given a list"),
        ({"$and": [{"a": 1}] * (MAX_TERMS + 1)}, ParameterError, f"at most {MAX_TERMS} terms; got more"),
    ],
)
def test_wrong_filters_are_refused(where: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        parse(where)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ("sea", DTypeError, "`where_document` must be a dict"),
        ({"$contains": 1}, DTypeError, "$contains must be given a str"),
        ({"$contains": ""}, ParameterError, "at least one character"),
        ({"$match": "?!"}, ParameterError, "$match must be given words"),
        ({"text": "x"}, ParameterError, "must use $contains"),
    ],
)
def test_wrong_text_filters_are_refused(where: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        parse(None, where)
    assert words in str(caught.value)


def test_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {"a": 5}
    for _ in range(MAX_DEPTH + 1):
        deep = {"$not": deep}
    with pytest.raises(ParameterError, match=r"nested at most 20 deep; got \{'a': 5\}"):
        parse(deep)
