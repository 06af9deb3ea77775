"""The collections that bench/rag.py compares, each behind the same few calls and at its own defaults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Store(Protocol):
    """One library's collection in a folder."""

    name: str
    tunings: Sequence[Any]
    """What `query` takes to find more, the cheapest first."""

    def insert(self, ids: list[str], X: np.ndarray, texts: list[str], metadata: list[dict[str, Any]]) -> None:
        """Write a batch; on return it is as durable as the library makes it."""

    def finish(self) -> None:
        """Build what is not built while inserting."""

    def query(self, q: np.ndarray, k: int, low: int | None, high: int | None, tuning: Any) -> list[str]:
        """Ids of the nearest, with their documents fetched, where low <= rank < high."""

    def close(self) -> None:
        """Let go of the folder."""


class Vsearch:
    """`vs.Collection` as it comes; its tuning is the recall asked for."""

    name = "vsearch"
    tunings = (0.95, 0.97, 0.98, 0.99, 0.995)

    def __init__(self, folder: Path, dim: int) -> None:
        import vsearch as vs

        self.collection = vs.Collection.open(folder, dim, "cosine")

    def insert(self, ids: list[str], X: np.ndarray, texts: list[str], metadata: list[dict[str, Any]]) -> None:
        self.collection.add(ids, X, texts, metadata)

    def finish(self) -> None:
        self.collection.optimize()

    def query(self, q: np.ndarray, k: int, low: int | None, high: int | None, tuning: Any) -> list[str]:
        where = None if low is None else {"rank": {"$gte": low, "$lt": high}}
        return [hit.id for hit in self.collection.query(q, k, where=where, recall=tuning)]

    def close(self) -> None:
        self.collection.close()


class Chroma:
    """chromadb's persistent client, cosine space."""

    name = "chroma"
    tunings = (None,)

    def __init__(self, folder: Path, dim: int) -> None:
        import chromadb

        client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        self.collection = client.get_or_create_collection("bench", metadata={"hnsw:space": "cosine"})

    def insert(self, ids: list[str], X: np.ndarray, texts: list[str], metadata: list[dict[str, Any]]) -> None:
        self.collection.add(ids=ids, embeddings=X, documents=texts, metadatas=metadata)

    def finish(self) -> None:
        pass

    def query(self, q: np.ndarray, k: int, low: int | None, high: int | None, tuning: Any) -> list[str]:
        where = None if low is None else {"$and": [{"rank": {"$gte": low}}, {"rank": {"$lt": high}}]}
        return self.collection.query(query_embeddings=[q], n_results=k, where=where)["ids"][0]

    def close(self) -> None:
        pass


class Lance:
    """LanceDB with its IVF_HNSW_SQ index, 20 probes and refine 3, and a scalar index for the filter."""

    name = "lancedb"
    tunings = (None,)

    def __init__(self, folder: Path, dim: int) -> None:
        import lancedb

        self.database = lancedb.connect(str(folder))
        self.table = self.database.open_table("bench") if "bench" in self.database.table_names() else None

    def insert(self, ids: list[str], X: np.ndarray, texts: list[str], metadata: list[dict[str, Any]]) -> None:
        rows = [
            {"id": id, "vector": x, "document": text, "metadata": json.dumps(extra), "rank": extra["rank"]}
            for id, x, text, extra in zip(ids, X, texts, metadata)
        ]
        if self.table is None:
            self.table = self.database.create_table("bench", rows)
        else:
            self.table.add(rows)

    def finish(self) -> None:
        assert self.table is not None
        self.table.create_index(metric="cosine", index_type="IVF_HNSW_SQ")
        self.table.create_scalar_index("rank")
        self.table.optimize()

    def query(self, q: np.ndarray, k: int, low: int | None, high: int | None, tuning: Any) -> list[str]:
        assert self.table is not None
        search = self.table.search(q).distance_type("cosine").nprobes(20).refine_factor(3).limit(k)
        if low is not None:
            search = search.where(f"rank >= {low} AND rank < {high}", prefilter=True)
        return [row["id"] for row in search.select(["id", "document", "metadata", "_distance"]).to_list()]

    def close(self) -> None:
        pass


STORES: dict[str, Any] = {store.name: store for store in (Vsearch, Chroma, Lance)}
"""By name; those whose library is not installed say so when they are opened."""
