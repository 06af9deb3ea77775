"""A LangChain vector store over a collection; asynchronous calls run in LangChain's threads.

>>> from langchain_core.embeddings import DeterministicFakeEmbedding
>>> store = VsearchStore(DeterministicFakeEmbedding(size=8))
>>> store.add_texts(["red", "blue"], [{"warm": True}, {"warm": False}], ids=["r", "b"])
['r', 'b']
>>> [document.id for document in store.similarity_search("red", k=1)]
['r']
>>> store.similarity_search("red", filter={"warm": False})[0].page_content
'blue'
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vsearch.collection import Collection, Record
from vsearch.errors import DimensionError, MissingExtraError
from vsearch.integrations.folders import collection_for

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
except ModuleNotFoundError as error:
    raise MissingExtraError("The LangChain store needs langchain-core: pip install 'vsearch-ann[langchain]'") from error


class VsearchStore(VectorStore):
    """A LangChain `VectorStore`: durable, filtered, hybrid.

    Parameters
    ----------
    embedding : Embeddings
        Makes the vectors of documents and queries.
    path : str or path, optional
        Folder of the collection; without one it is temporary.
    collection : Collection, optional
        An open one, in place of a path.
    options
        For `Collection.open`: metric, index.
    """

    def __init__(
        self, embedding: Embeddings, path: Any = None, *, collection: Collection | None = None, **options: Any
    ) -> None:
        self._embedding = embedding
        self.collection = collection_for(self, collection, path, **options)

    @property
    def embeddings(self) -> Embeddings:
        """What makes the vectors."""
        return self._embedding

    # ------------------------------------------------------------------ writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Embeds and writes texts, replacing those whose id is there; texts without an id get one."""
        texts = list(texts)
        wished: Sequence[str | None] = [None] * len(texts) if ids is None else ids
        if len(wished) != len(texts) or (metadatas is not None and len(metadatas) != len(texts)):
            raise DimensionError(f"`ids` and `metadatas` must have one entry for each of {len(texts)} texts.")
        named = [uuid.uuid4().hex if id is None else id for id in wished]
        last = {id: row for row, id in enumerate(named)}  # of an id given twice, the last counts
        rows = list(last.values())
        if texts:
            vectors = self._embedding.embed_documents([texts[row] for row in rows])
            metadata = None if metadatas is None else [metadatas[row] for row in rows]
            self.collection.upsert(list(last), vectors, [texts[row] for row in rows], metadata)
        return named

    def delete(self, ids: list[str] | None = None, *, where: dict[str, Any] | None = None, **_: Any) -> bool:
        """Deletes documents by id or by a condition on their metadata; those that are not there do no harm."""
        if ids is None and where is None:
            where = {}
        self.collection.delete(ids, where)
        return True

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: Any = None,
        **options: Any,
    ) -> VsearchStore:
        """A store that holds these texts."""
        store = cls(embedding, path, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    # ------------------------------------------------------------------ reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in this order, without those that are not there."""
        return [_document(record) for record in self.collection.get(list(ids))]

    def similarity_search(
        self, query: str, k: int = 4, filter: dict[str, Any] | None = None, **options: Any
    ) -> list[Document]:
        """The k documents nearest to a text; ``filter`` is a `where` of `Collection.query`, which takes ``options``."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **options)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: dict[str, Any] | None = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Documents with their distances, or with their scores where the search is ``hybrid``."""
        if options.get("hybrid") is not None:
            options.setdefault("text", query)
        return self._search(self._embedding.embed_query(query), k, filter, **options)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: dict[str, Any] | None = None, **options: Any
    ) -> list[Document]:
        """The k documents nearest to a vector."""
        return [document for document, _ in self._search(embedding, k, filter, **options)]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Document]:
        """Documents that are near and unlike each other; ``lambda_mult`` 1 looks at nearness alone."""
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter, **options)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Document]:
        """The same for a vector."""
        found = self._search(embedding, k, filter, diversity=1 - lambda_mult, pool=max(fetch_k, k), **options)
        return [document for document, _ in found]

    def _search(
        self, vector: list[float], k: int, filter: dict[str, Any] | None, **options: Any
    ) -> list[tuple[Document, float]]:
        hits = self.collection.query(vector, k, where=filter, **options)
        return [(_document(hit), float(hit.distance if hit.score is None else hit.score)) for hit in hits]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From a distance to 1 for the same and 0 for nothing in common."""
        if self.collection.metric == "cosine":
            return lambda distance: 1 - distance
        if self.collection.metric == "ip":
            return lambda distance: -distance
        return lambda distance: 1 / (1 + distance)


def _document(record: Record) -> Document:
    return Document(id=str(record.id), page_content=record.document or "", metadata=record.metadata)
