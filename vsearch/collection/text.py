"""Search by words, and its fusion with search by vectors.

BM25 comes from SQLite's FTS5, over the table that every write keeps in step. Two rankings are fused by reciprocal ranks
(Cormack, Clarke, Buettcher 2009: the sum of 1 / (60 + rank)) or by weight, where both scores are scaled to [0, 1] over
the candidates and a text without any of the words scores 0.
"""

from __future__ import annotations

import sqlite3

import numpy as np

from vsearch.collection.diversity import scaled
from vsearch.collection.where import words_of
from vsearch.collection.where_sql import match_query

RRF_CONSTANT = 60
#: Candidates of each ranking per answer wanted.
DEPTH = 4
DEPTH_LEAST = 50
_CHUNK = 256


def best_texts(
    connection: sqlite3.Connection, text: str, depth: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the documents that any of the words of ``text`` fit best, and their BM25, larger is better.

    ``allowed``, ascending rows, restricts them.
    """
    rows: list[int] = []
    scores: list[float] = []
    words = words_of(text)
    if words:
        query = "SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank"
        parameters: tuple[object, ...] = (match_query(words, " OR "),)
        if allowed is None:
            query, parameters = query + " LIMIT ?", (*parameters, depth)
        cursor = connection.execute(query, parameters)
        while len(rows) < depth and (found := cursor.fetchmany(_CHUNK)):
            if allowed is not None:
                numbers = np.array([row for row, _ in found])
                at = np.minimum(np.searchsorted(allowed, numbers), max(len(allowed) - 1, 0))
                keep = allowed[at] == numbers if len(allowed) else np.zeros(len(numbers), bool)
                found = [pair for pair, kept in zip(found, keep) if kept]
            rows += [row for row, _ in found]
            scores += [-rank for _, rank in found]
    return np.array(rows[:depth], np.int64), np.array(scores[:depth], np.float64)


def fuse_ranks(near: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two rankings, best first, and their fused scores.

    >>> rows, scores = fuse_ranks(np.array([1, 2]), np.array([2, 3]))
    >>> rows.tolist()
    [2, 1, 3]
    """
    rows, place = np.unique(np.concatenate([near, texts]), return_inverse=True)
    scores = np.zeros(len(rows))
    ranks = np.concatenate([np.arange(1, len(near) + 1), np.arange(1, len(texts) + 1)])
    np.add.at(scores, place, 1 / (RRF_CONSTANT + ranks))
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


def fuse_weighted(
    rows: np.ndarray, distances: np.ndarray, texts: np.ndarray, scores: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """All candidate rows, best first, and ``weight`` times their nearness plus the rest times their BM25."""
    if not len(rows):
        return rows, np.empty(0)
    words = np.zeros(len(rows))
    words[np.searchsorted(rows, texts)] = scores / scores.max() if len(scores) and scores.max() > 0 else 0.0
    known = np.isfinite(distances)
    nearness = np.zeros(len(rows))
    nearness[known] = scaled(-distances[known]) if known.any() else 0.0
    fused = weight * nearness + (1 - weight) * words
    order = np.argsort(-fused, kind="stable")
    return rows[order], fused[order]
