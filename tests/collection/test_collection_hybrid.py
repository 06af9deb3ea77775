"""Search by words and vectors together, and answers that are unlike each other."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch as vs
from vsearch.collection import diversity as spread
from vsearch.collection.text import RRF_CONSTANT

TEXTS = [
    "the red fox jumps over the lazy dog",
    "a red dog",
    "the sea is blue, the sky is blue",
    "blue dogs do not exist; foxes do",
    "nothing here matches",
    None,
    "Red, RED, red!",
]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[vs.Collection]:
    """Records 0 .. 6 at distance i from the origin."""
    with vs.Collection.open(tmp_path / "box", metric="l2") as opened:
        X = np.zeros((len(TEXTS), 3), np.float32)
        X[:, 0] = np.arange(len(TEXTS))
        opened.add(list(range(len(TEXTS))), X, TEXTS, [{"even": i % 2 == 0} for i in range(len(TEXTS))])
        yield opened


def bm25(query: list[str]) -> dict[int, float]:
    """Okapi BM25 over TEXTS, k1 = 1.2, b = 0.75, as FTS5 documents it."""
    words = ["".join(c.lower() if c.isalnum() else " " for c in text or "").split() for text in TEXTS]
    mean = sum(map(len, words)) / len(words)
    scores = {}
    for row, held in enumerate(words):
        counts, score = Counter(held), 0.0
        for word in query:
            df = sum(word in other for other in words)
            idf = max(math.log((len(words) - df + 0.5) / (df + 0.5)), 1e-6)
            tf = counts[word]
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(held) / mean))
        if any(counts[word] for word in query):
            scores[row] = score
    return scores


def test_weight_zero_ranks_by_bm25(box: vs.Collection) -> None:
    for query in ("fox red", "blue dog", "RED"):
        wanted = bm25(query.lower().split())
        best = max(wanted.values())
        hits = [hit for hit in box.query(np.zeros(3), 7, text=query, hybrid=0.0) if hit.score]
        assert [hit.id for hit in hits] == sorted(wanted, key=lambda row: -wanted[row])
        assert np.allclose([hit.score for hit in hits], [wanted[int(hit.id)] / best for hit in hits])


def test_weight_one_ranks_by_distance(box: vs.Collection) -> None:
    hits = box.query(np.zeros(3), 7, text="blue", hybrid=1.0)
    assert [hit.id for hit in hits] == list(range(7))
    assert [hit.distance for hit in hits] == [float(i * i) for i in range(7)]


def test_reciprocal_ranks(box: vs.Collection) -> None:
    hits = box.query(np.zeros(3), 7, text="fox red")
    by_words = sorted(bm25(["fox", "red"]), key=lambda row: -bm25(["fox", "red"])[row])
    wanted = {
        row: 1 / (RRF_CONSTANT + 1 + row) + (1 / (RRF_CONSTANT + 1 + by_words.index(row)) if row in by_words else 0)
        for row in range(7)
    }
    assert [hit.id for hit in hits] == sorted(wanted, key=lambda row: -wanted[row])
    assert np.allclose([hit.score for hit in hits], [wanted[int(hit.id)] for hit in hits])
    assert [hit.distance for hit in hits] == [float(int(hit.id) ** 2) for hit in hits]


def test_hybrid_keeps_to_filters_and_takes_many_queries(box: vs.Collection) -> None:
    hits = box.query(np.zeros(3), text="red", hybrid=0.3, where={"even": True})
    assert {hit.id for hit in hits} == {0, 2, 4, 6}
    assert hits[0].id in (0, 6)
    two = box.query(np.zeros((2, 3)), 1, text=["sea", "exist"], hybrid=0.1)
    assert [answer[0].id for answer in two] == [2, 3]
    assert box.query(np.zeros(3), text="red", where={"even": 5}) == []
    assert [hit.id for hit in box.query(np.zeros(3), 2, text="?!")] == [0, 1]


def test_texts_as_queries_are_their_own_words(tmp_path: Path) -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[len(text), 1] for text in texts])

    with vs.Collection.open(tmp_path / "t", metric="l2", embedding=lambda texts: embed(texts).astype(float)) as box:
        box.add(["a", "b"], documents=["aaaa", "red"])
        assert box.query("blue", 1)[0].id == "a"
        assert box.query("redx red", 1, hybrid=0.0)[0].id == "b"
    with vs.Collection.open(tmp_path / "t") as box:
        with pytest.raises(vs.ParameterError, match="`text` must be given"):
            box.query([1.0, 2.0], hybrid="rrf")
        for options, words in (
            ({"hybrid": "rff"}, r"`hybrid` must be 'rrf' or a number in \[0, 1\]; got 'rff'\.$"),
            ({"hybrid": 1.5}, "`hybrid` must be a number"),
            ({"diversity": -1}, "`diversity` must be"),
            ({"reranker": "mrm"}, "`reranker` must be one of"),
            ({"text": ["a", "b"]}, "`text` must have 1 texts"),
            ({"text": [None]}, "`text` must be a str"),
            ({"text": 3}, r"^`text` must be a str, or one for each query; got 3\.$"),
            ({"text": ["a", 3]}, r"^`text` must be a str, or one for each query; got \['a', 3\] \(list\)\.$"),
        ):
            with pytest.raises((vs.ParameterError, vs.DTypeError), match=words):
                box.query([1.0, 2.0], **{"text": "x", **options})


def test_diverse_answers_are_not_near_copies(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "d") as box:
        step = 0.002 * np.arange(12)[:, None]  # three heaps of near copies, the first around the query
        heaps = [np.array([1, 0, 0]), np.array([1, 0, 0.9]), np.array([1, -0.9, 0])]
        box.add(list(range(36)), np.concatenate([heap + step * [0, 1, 0] for heap in heaps]))
        plain = box.query([1.0, 0, 0], 3)
        assert [hit.id for hit in plain] == [0, 1, 2]
        for reranker in ("mmr", "coverage"):
            hits = box.query([1.0, 0, 0], 3, diversity=0.6, reranker=reranker)
            assert {int(hit.id) // 12 for hit in hits} == {0, 1, 2}, reranker
        same = box.query([1.0, 0, 0], 3, diversity=1e-9)
        assert [hit.id for hit in same] == [0, 1, 2]
        assert [hit.distance for hit in same] == pytest.approx([hit.distance for hit in plain], abs=1e-6)
        assert box.query([1.0, 0, 0], 3, diversity=0.5, where={"a": 1}) == []


def pools(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    n = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(-3, 4, (n, 3)).astype(np.float32)
    return X, rng.random(n), draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))


def worth(chosen: list[int], relevance: np.ndarray, alike: np.ndarray, diversity: float) -> float:
    """The facility-location function that `coverage` maximises."""
    nearest = alike[chosen].max(axis=0) if chosen else np.zeros(len(relevance))
    return float((1 - diversity) * relevance[chosen].sum() + diversity * relevance @ nearest)


@settings(max_examples=100, deadline=None)
@given(st.composite(pools)(), st.integers(1, 5), st.sampled_from(["l2", "cosine"]))
def test_lazy_greedy_is_greedy_and_near_the_best(
    pool: tuple[np.ndarray, np.ndarray, float], k: int, metric: str
) -> None:
    X, relevance, diversity = pool
    alike, k = spread.similarities(X, metric), min(k, len(X))
    assert ((alike >= 0) & (alike <= 1)).all()
    chosen = spread.coverage(relevance, alike, k, diversity)
    assert len(set(chosen)) == k
    for i in range(k):  # each is the best to add, evaluated anew
        left = [j for j in range(len(X)) if j not in chosen[:i]]
        best = max(worth([*chosen[:i], j], relevance, alike, diversity) for j in left)
        assert worth(chosen[: i + 1], relevance, alike, diversity) == pytest.approx(best, abs=1e-9)
    best = max(worth(list(some), relevance, alike, diversity) for some in itertools.combinations(range(len(X)), k))
    assert worth(chosen, relevance, alike, diversity) >= (1 - 1 / math.e) * best - 1e-9


@settings(max_examples=100, deadline=None)
@given(st.composite(pools)(), st.integers(1, 5))
def test_mmr_takes_the_best_at_each_step(pool: tuple[np.ndarray, np.ndarray, float], k: int) -> None:
    X, relevance, diversity = pool
    alike, k = spread.similarities(X, "cosine"), min(k, len(X))
    chosen = spread.mmr(relevance, alike, k, diversity)
    assert len(set(chosen)) == k
    for i, taken in enumerate(chosen):

        def value(j: int, before: list[int] = chosen[:i]) -> float:
            return float((1 - diversity) * relevance[j] - diversity * max(alike[before, j], default=0.0))

        assert value(taken) == pytest.approx(max(value(j) for j in range(len(X)) if j not in chosen[:i]), abs=1e-9)
