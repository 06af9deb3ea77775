"""One query from checked arguments to rows: nearest vectors, fused with texts, spread out."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import numpy as np

from vsearch._validate import MAX_K
from vsearch.collection import diversity, text
from vsearch.collection.memory import Matches, Memory
from vsearch.collection.rows import vectors_of


class Wish(NamedTuple):
    """What a query asks for, the same for all its vectors."""

    k: int
    recall: float | None = None
    threads: int | None = None
    weight: float | None = None
    """Of the vectors in a hybrid search; None fuses ranks."""
    diversity: float = 0.0
    reranker: str = "mmr"
    pool: int | None = None
    """Candidates among which answers are chosen to be diverse."""


class Found(NamedTuple):
    """Rows of one answer, best first."""

    rows: list[int]
    distances: list[float]
    scores: list[float] | None = None


def search(
    connection: sqlite3.Connection | None,
    memory: Memory,
    Q: np.ndarray,
    texts: list[str] | None,
    wish: Wish,
    matches: Matches | None,
) -> list[Found]:
    """The answer to each row of ``Q``, with the words of ``texts`` where they are given.

    ``connection`` is needed for texts and for diversity only.
    """
    pool = wish.k
    if wish.diversity:
        pool = max(wish.k, wish.pool or max(diversity.POOL * wish.k, diversity.POOL_LEAST))
    if texts is not None:
        pool = max(pool, text.DEPTH * wish.k, text.DEPTH_LEAST)
    pool = min(pool, MAX_K)
    rows, distances = memory.search(Q, pool, wish.recall, matches, wish.threads)
    if pool == wish.k and texts is None:
        return [
            Found(near, far) if not near or near[-1] >= 0 else _whole(near, far)
            for near, far in zip(rows.tolist(), distances.tolist())
        ]
    assert connection is not None
    answers = []
    for i, (near, far) in enumerate(zip(rows, distances)):
        near, far = near[near >= 0], far[near >= 0]
        scores = None
        if texts is not None:
            near, far, scores = _fused(connection, Q[i], texts[i], near, pool, wish, matches, memory.metric)
        if wish.diversity and len(near):
            vectors, places = vectors_of(connection, near.tolist(), len(Q[i]))
            near, far, scores = near[places], far[places], None if scores is None else scores[places]
        if wish.diversity and len(near):
            order = diversity.rerank(vectors, far, scores, wish.k, wish.diversity, wish.reranker, memory.metric)
            near, far, scores = near[order], far[order], None if scores is None else scores[order]
        answers.append(
            Found(
                near[: wish.k].tolist(), far[: wish.k].tolist(), None if scores is None else scores[: wish.k].tolist()
            )
        )
    return answers


def _whole(near: list[int], far: list[float]) -> Found:
    """An answer without the padding at its end."""
    n = near.index(-1)
    return Found(near[:n], far[:n])


def _fused(
    connection: sqlite3.Connection,
    q: np.ndarray,
    words: str,
    near: np.ndarray,
    depth: int,
    wish: Wish,
    matches: Matches | None,
    metric: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, distances and scores of both rankings together, best first."""
    texts, bm25 = text.best_texts(connection, words, depth, None if matches is None else matches.rows)
    rows = np.unique(np.concatenate([near, texts]))
    vectors, places = vectors_of(connection, rows.tolist(), len(q))
    exact = np.full(len(rows), np.inf, np.float32)
    exact[places] = distances_to(q, vectors, metric)
    if wish.weight is None:
        order, scores = text.fuse_ranks(near, texts)
    else:
        order, scores = text.fuse_weighted(rows, exact, texts, bm25, wish.weight)
    return order, exact[np.searchsorted(rows, order)], scores


def distances_to(q: np.ndarray, X: np.ndarray, metric: str) -> np.ndarray:
    """Exact distances of vectors to one query, as an index counts them."""
    if metric == "l2":
        return ((X - q) ** 2).sum(axis=1)
    products = X @ q
    if metric == "ip":
        return -products
    return 1 - products / (np.linalg.norm(X, axis=1) * np.linalg.norm(q))
