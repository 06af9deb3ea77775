"""A collection from the outside: what is put in comes out, by id, by filter, by nearness, and after reopening."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs

RNG = np.random.default_rng(5)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[vs.Collection]:
    with vs.Collection.open(tmp_path / "box", metric="l2") as opened:
        yield opened


def fill(box: vs.Collection, n: int = 6) -> np.ndarray:
    """Records 0 .. n-1 on a line, at distance i from the origin."""
    X = np.zeros((n, 4), np.float32)
    X[:, 0] = np.arange(n)
    box.add(list(range(n)), X, [f"text {i}" for i in range(n)], [{"i": i, "even": i % 2 == 0} for i in range(n)])
    return X


def test_what_is_added_comes_back(box: vs.Collection) -> None:
    X = fill(box)
    found = box.get([3], include=("documents", "metadata", "vectors"))
    assert found[0][:3] == (3, "text 3", {"i": 3, "even": False})
    assert found[0].vector is not None
    assert found[0].vector.tolist() == X[3].tolist()
    assert box.get([3], include=()) == [vs.Record(3, None, {})]
    assert (box.count(), len(box), box.dim, box.metric) == (6, 6, 4, "l2")
    assert 3 in box
    assert "3" not in box
    assert box[5].document == "text 5"


def test_a_query_returns_the_nearest_first(box: vs.Collection) -> None:
    fill(box)
    hits = box.query(np.array([2.2, 0, 0, 0]), k=3)
    assert [hit.id for hit in hits] == [2, 3, 1]
    assert [hit.document for hit in hits] == ["text 2", "text 3", "text 1"]
    assert np.allclose([hit.distance for hit in hits], [0.04, 0.64, 1.44], atol=1e-5)
    many = box.query([[0, 0, 0, 0], [5, 0, 0, 0]], k=2)
    assert [[hit.id for hit in answer] for answer in many] == [[0, 1], [5, 4]]
    assert len(box.query(np.zeros(4), k=50)) == 6


def test_a_query_keeps_to_its_filters(box: vs.Collection) -> None:
    fill(box)
    assert [hit.id for hit in box.query(np.zeros(4), where={"even": False})] == [1, 3, 5]
    assert [hit.id for hit in box.query(np.zeros(4), where_document={"$contains": "4"})] == [4]
    assert [hit.id for hit in box.query(np.zeros(4), where={"i": {"$gt": 1}}, where_document={"$match": "3"})] == [3]
    assert box.query(np.zeros(4), where={"i": 99}) == []
    assert box.query(np.zeros((2, 4)), where={"i": 99}) == [[], []]


def test_a_kept_filter_sees_later_writes(box: vs.Collection) -> None:
    fill(box)
    for _ in range(2):
        assert [hit.id for hit in box.query(np.zeros(4), where={"even": True})] == [0, 2, 4]
    box.delete([2])
    box.add(["new"], np.full((1, 4), 0.1), metadata=[{"even": True}])
    box.update([4], metadata=[{"even": False}])
    assert [hit.id for hit in box.query(np.zeros(4), where={"even": True})] == [0, "new"]


def test_ids_of_both_kinds_live_together(box: vs.Collection) -> None:
    box.add([1, "1", -5, "é", 2**63 - 1], np.eye(5))
    assert [record.id for record in box.get(["1", 1, 2**63 - 1, "nobody"])] == ["1", 1, 2**63 - 1]
    assert box.delete([1]) == 1
    assert [record.id for record in box] == ["1", -5, "é", 2**63 - 1]
    assert len(set(box.add(vectors=np.eye(5)[:2]))) == 2


def test_upsert_replaces_the_whole_record(box: vs.Collection) -> None:
    fill(box)
    box.upsert([2, "two"], [[9, 9, 9, 9], [8, 8, 8, 8]], ["new", "also new"])
    assert box[2] == vs.Record(2, "new", {})
    assert len(box) == 7
    assert [hit.id for hit in box.query(np.full(4, 8.9), k=2)] == [2, "two"]
    assert 2 not in [hit.id for hit in box.query(np.array([2.0, 0, 0, 0]), k=5)]


def test_update_replaces_what_is_given(box: vs.Collection) -> None:
    X = fill(box)
    box.update([1, 2], documents=["one", None])
    box.update([1], metadata=[{"i": 100}])
    box.update([1], vectors=[[7, 7, 7, 7]])
    one, two = box.get([1, 2], include=("documents", "metadata", "vectors"))
    assert one[:3] == (1, "one", {"i": 100})
    assert one.vector is not None
    assert one.vector.tolist() == [7, 7, 7, 7]
    assert two[:3] == (2, None, {"i": 2, "even": True})
    assert two.vector is not None
    assert two.vector.tolist() == X[2].tolist()
    with pytest.raises(vs.UnknownIdError, match="99 is not"):
        box.update([1, 99], documents=["a", "b"])
    assert box[1].document == "one"


def test_delete_by_ids_and_filter(box: vs.Collection) -> None:
    fill(box, 8)
    assert box.delete([1, 1000]) == 1
    assert box.delete([1]) == 0
    assert box.delete(where={"even": True}) == 4
    assert box.delete([3, 5], where={"i": {"$gt": 3}}) == 1
    assert [record.id for record in box] == [3, 7]
    assert box.delete(where={}) == 2
    assert box.query(np.zeros(4)) == []
    fill(box, 2)
    assert [hit.id for hit in box.query(np.zeros(4))] == [0, 1]
    with pytest.raises(vs.ParameterError, match="means everything"):
        box.delete()


def test_get_pages_and_iterates(box: vs.Collection) -> None:
    fill(box, 10)
    assert [record.id for record in box.get(limit=3, offset=2)] == [2, 3, 4]
    assert [record.id for record in box.get([9, 4, 1], limit=1, offset=1)] == [4]
    assert [record.id for record in box.get(where={"even": True}, limit=2, offset=1)] == [2, 4]
    assert [record.id for record in box.iterate(batch=3)] == list(range(10))
    assert [record.id for record in box.iterate({"even": True}, batch=2)] == [0, 2, 4, 6, 8]
    assert [record.id for record in box.peek(2)] == [0, 1]
    assert box.count({"even": True}) == 5
    assert box.count(where_document={"$contains": "7"}) == 1


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", 4, "l2") as box:
        fill(box)
        box.delete([0])
        before = list(box.iterate(include=("documents", "metadata")))
    with vs.Collection.open(tmp_path / "a") as box:
        assert list(box) == before
        assert [hit.id for hit in box.query(np.zeros(4), k=2)] == [1, 2]
        assert (box.metric, box.dim) == ("l2", 4)


def test_texts_are_embedded(tmp_path: Path) -> None:
    def letters(texts: list[str]) -> list[list[int]]:
        return [[text.count(letter) + 1 for letter in "abc"] for text in texts]

    with vs.Collection.open(tmp_path / "t", embedding=letters) as box:
        box.add(["x", "y"], documents=["aaaa", "bbbb"])
        assert box.query("baa", k=1)[0].id == "x"
        assert [answer[0].id for answer in box.query(["a", "b"], k=1)] == ["x", "y"]
        box.update(["x"], documents=["cccc"])
        assert box.query("c", k=1)[0].id == "x"
        with pytest.raises(vs.ParameterError, match="a text for every id"):
            box.add(["z"], documents=[None])
    with vs.Collection.open(tmp_path / "t") as box:
        with pytest.raises(vs.ParameterError, match="give `embedding`"):
            box.query("a")
        with pytest.raises(vs.ParameterError, match="`vectors` must be given"):
            box.add(["z"], documents=["a"])


def test_an_empty_collection_answers(box: vs.Collection) -> None:
    assert box.query(np.zeros(4)) == []
    assert box.query(np.zeros((2, 4)), where={"a": 1}) == [[], []]
    assert (len(box), list(box), box.get([1]), box.dim) == (0, [], [], None)
    assert box.add([], np.empty((0, 4))) == []
    assert box.dim is None


def bad_calls() -> list[tuple[str, Any, type[Exception], str]]:
    one = np.ones((1, 4), np.float32)
    return [
        ("twice", lambda box: box.add([7, 7], np.ones((2, 4))), vs.DuplicateIdError, "7 is given twice"),
        ("known", lambda box: box.add([9, 3], np.ones((2, 4))), vs.DuplicateIdError, "3 is in the collection"),
        ("bool id", lambda box: box.add([True], one), vs.DTypeError, "must be ints or strs; got True"),
        ("float id", lambda box: box.add([1.5], one), vs.DTypeError, "must be ints or strs; got 1.5"),
        ("big id", lambda box: box.add([2**63], one), vs.ParameterError, "64 bits"),
        ("surrogate id", lambda box: box.add(["\ud800"], one), vs.ParameterError, "lone surrogate"),
        ("NUL id", lambda box: box.add(["a\0"], one), vs.ParameterError, "NUL"),
        ("ids as text", lambda box: box.add("abc", np.ones((3, 4))), vs.DimensionError, "must have 1 rows"),
        ("rows", lambda box: box.add([8, 9], one), vs.DimensionError, "`vectors` must have 2 rows"),
        ("dim", lambda box: box.add([8], np.ones((1, 5))), vs.DimensionError, "d=4"),
        ("NaN", lambda box: box.add([8], np.full((1, 4), np.nan)), vs.ParameterError, "must be finite"),
        ("no vectors", lambda box: box.add([8]), vs.ParameterError, "`vectors` must be given"),
        ("texts", lambda box: box.add([8], one, ["a", "b"]), vs.DimensionError, "`documents` must have 1 texts"),
        ("text type", lambda box: box.add([8], one, [5]), vs.DTypeError, "row 0 is 5"),
        ("one text", lambda box: box.add([8], one, "text"), vs.DTypeError, "`documents` must be a list"),
        ("surrogate", lambda box: box.add([8], one, ["\ud800"]), vs.ParameterError, "lone surrogate"),
        ("metadata count", lambda box: box.add([8], one, None, [{}, {}]), vs.DimensionError, "one dict per id"),
        ("metadata type", lambda box: box.add([8], one, None, [{"a": b"x"}]), vs.DTypeError, "row 0 is"),
        ("metadata NaN", lambda box: box.add([8], one, None, [{"a": float("nan")}]), vs.DTypeError, "row 0 is"),
        ("metadata key", lambda box: box.add([8], one, None, [{1: 2}]), vs.ParameterError, "str as keys"),
        ("metadata NUL", lambda box: box.add([8], one, None, [{"a": "x\0"}]), vs.DTypeError, "nul character"),
        ("metadata text", lambda box: box.add([8], one, None, [{"a": "\udfff"}]), vs.ParameterError, "surrogate"),
        ("query dim", lambda box: box.query(np.ones(3)), vs.DimensionError, "`queries` must have d=4"),
        ("query k", lambda box: box.query(np.ones(4), 0), vs.ParameterError, "`k` must be"),
        ("recall", lambda box: box.query(np.ones(4), recall=2.0), vs.ParameterError, "`recall` must be"),
        ("include", lambda box: box.query(np.ones(4), include=["text"]), vs.ParameterError, "`include` must name"),
        ("where", lambda box: box.query(np.ones(4), where=5), vs.DTypeError, "`where` must be a dict"),
        ("limit", lambda box: box.get(limit=-1), vs.ParameterError, "`limit` must be"),
        ("getitem", lambda box: box["nobody"], vs.UnknownIdError, "'nobody' is not in the collection"),
    ]


@pytest.mark.parametrize(("call", "error", "words"), [pytest.param(*case[1:], id=case[0]) for case in bad_calls()])
def test_a_bad_call_is_refused_and_changes_nothing(
    box: vs.Collection, call: Any, error: type[Exception], words: str
) -> None:
    fill(box)
    before = list(box.iterate(include=("documents", "metadata")))
    with pytest.raises(error) as caught:
        call(box)
    assert words in str(caught.value)
    assert list(box.iterate(include=("documents", "metadata"))) == before
    assert [hit.id for hit in box.query(np.zeros(4), k=9)] == [0, 1, 2, 3, 4, 5]


def test_cosine_refuses_zero_vectors(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "c") as box:
        with pytest.raises(vs.ParameterError, match="`vectors` must not hold zero vectors"):
            box.add([1], np.zeros((1, 3)))
        box.add([1], np.ones((1, 3)))
        with pytest.raises(vs.ParameterError, match="`queries` must not hold zero vectors"):
            box.query(np.zeros(3))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dim": 0}, vs.ParameterError, "`dim` must be"),
        ({"metric": "euclid"}, vs.ParameterError, "`metric` must be one of"),
        ({"index": "hnsw"}, vs.ParameterError, "`index` must be 'auto', 'exact' or a function from a metric to an"),
        ({"index": vs.Graph()}, vs.ParameterError, "such as `lambda metric: vs.Graph(metric)`; got Graph(metric="),
        ({"embedding": "model"}, vs.DTypeError, "`embedding` must be a function"),
        ({"read_only": 1}, vs.DTypeError, "`read_only` must be True or False"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        vs.Collection.open(tmp_path / "o", **options)
    assert words in str(caught.value)
    assert not (tmp_path / "o").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "ten.py"
    file.write_text("print(10)")
    for options in ({}, {"read_only": True}):
        with pytest.raises(vs.ParameterError) as caught:
            vs.Collection.open(file, **options)
        assert str(caught.value) == f"`path` must be a folder; {str(file)!r} is a file."
    assert file.read_text() == "print(10)"


def test_vectors_of_another_dimension_are_told_whose_it_is(box: vs.Collection) -> None:
    box.add([1], np.ones((1, 3)))
    for call in (lambda X: box.add([2], X), lambda X: box.query(X)):
        with pytest.raises(vs.DimensionError, match="must have d=3 like the collection; got d=2"):
            call(np.ones((1, 2)))


def test_repr_of_one_record(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "one") as box:
        assert "0 records of no dimension yet, " in repr(box)
        box.add([1], np.ones((1, 3)))
        assert "1 record of 3 dimensions, " in repr(box)


def test_any_text_comes_back(box: vs.Collection) -> None:
    texts = ["a\0b", "\\u0000", '"', "\U0001f600", "\r\n", ""]
    box.add(list(range(6)), np.eye(6), texts, [{"t": text} for text in [*texts[1:], "'"]])
    assert [record.document for record in box] == texts
    assert [record.metadata["t"] for record in box] == [*texts[1:], "'"]


def test_numpy_values_are_taken(box: vs.Collection) -> None:
    box.add(np.array([4, 5]), np.eye(2), metadata=[{"x": np.float32(0.5)}, {"x": np.int64(3)}])
    assert [record.metadata for record in box] == [{"x": 0.5}, {"x": 3}]
    box.upsert([np.str_("s"), np.int32(4)], np.eye(2))
    assert [record.id for record in box] == [5, "s", 4]


def test_a_closed_collection_says_so(tmp_path: Path) -> None:
    box = vs.Collection.open(tmp_path / "x")
    box.close()
    box.close()
    assert "closed" in repr(box)
    for call in (
        box.count,
        box.optimize,
        box.peek,
        lambda: box.query(np.ones(2)),
        lambda: box.add([1], np.ones((1, 2))),
    ):
        with pytest.raises(vs.ClosedError, match="is closed"):
            call()


def test_a_forgotten_collection_lets_go(tmp_path: Path) -> None:
    box = vs.Collection.open(tmp_path / "x")
    del box
    gc.collect()
    vs.Collection.open(tmp_path / "x").close()


def test_repr_says_what_it_holds(box: vs.Collection) -> None:
    fill(box)
    assert "6 records of 4 dimensions, searched exactly" in repr(box)


def test_the_full_text_stays_in_step(box: vs.Collection, tmp_path: Path) -> None:
    fill(box)
    box.update([1], documents=["other words"])
    box.delete([2])
    box.upsert([3], np.ones((1, 4)), [None])
    connection = sqlite3.connect(tmp_path / "box" / "collection.db")
    connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
    connection.close()
    assert [record.id for record in box.get(where_document={"$match": "text"})] == [0, 4, 5]


def test_records_without_vectors_are_found_otherwise(box: vs.Collection, tmp_path: Path) -> None:
    fill(box, 3)
    box.add(["x", "y", "z"], [None, [9, 9, 9, 9], None], ["bare one", "vector", "bare two"])
    assert [hit.id for hit in box.query(np.zeros(4))] == [0, 1, 2, "y"]
    assert [record.vector is None for record in box.get(["x", "y"], include=("vectors",))] == [True, False]
    assert [record.id for record in box.get(where_document={"$match": "bare"})] == ["x", "z"]
    hits = box.query(np.zeros(4), text="bare", hybrid=0.5)
    assert [hit.id for hit in hits][:3] == [0, "x", "z"]
    assert hits[1].distance == np.inf
    assert {hit.id for hit in box.query(np.zeros(4), text="bare", diversity=0.5)} == {0, 1, 2, "y"}
    box.update(["x"], documents=["still bare"])
    box.update(["y", "z"], [None, [0, 0, 0, 0.5]])
    assert [hit.id for hit in box.query(np.zeros(4))] == [0, "z", 1, 2]
    assert box.delete(["x", "y"]) == 2
    box.close()
    with vs.Collection.open(tmp_path / "box") as again:
        assert [hit.id for hit in again.query(np.zeros(4))] == [0, "z", 1, 2]
        again.upsert([0, "z"], [None, None])
        assert [hit.id for hit in again.query(np.zeros(4))] == [1, 2]
        assert len(again) == 4


def test_a_collection_without_any_vector(box: vs.Collection) -> None:
    box.add([1, 2], [None, None], ["red sea", "blue"])
    assert box.dim is None
    assert box.query([1.0, 2.0], text="sea")[0].id == 1
    box.update([2], documents=["green"])
    box.add([3], [[1, 2]])
    assert box.dim == 2
    assert [hit.id for hit in box.query([1.0, 2.0])] == [3]
