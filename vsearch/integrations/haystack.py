"""A Haystack document store over a collection, with all of the optional methods, synchronous and asynchronous.

>>> from haystack import Document
>>> store = VsearchDocumentStore()
>>> store.write_documents([Document(content="red fox", embedding=[1.0, 0.0]), Document(content="blue", meta={"a": 1})])
2
>>> store.embedding_retrieval([1.0, 0.1], top_k=1)[0].content
'red fox'
>>> [document.content for document in store.filter_documents({"field": "meta.a", "operator": "==", "value": 1})]
['blue']
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from vsearch.collection import Collection, Record
from vsearch.errors import DuplicateIdError, MissingExtraError
from vsearch.integrations.folders import collection_for
from vsearch.integrations.haystack_filters import field_of, where_of

try:
    from haystack import Document, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy
except ModuleNotFoundError as error:
    raise MissingExtraError("The Haystack store needs haystack-ai: pip install 'vsearch-ann[haystack]'") from error

Filters = dict[str, Any] | None
_ALL = ("documents", "metadata", "vectors")


class VsearchDocumentStore:
    """A Haystack `DocumentStore`: durable, filtered, by vectors and words.

    Parameters
    ----------
    path : str, optional
        Folder of the collection; without one it is temporary.
    metric : "cosine", "l2" or "ip", default "cosine"
    index : "auto" or "exact", default "auto"
    collection : Collection, optional
        An open one, in place of the rest.
    """

    def __init__(
        self,
        path: str | None = None,
        metric: str = "cosine",
        index: str = "auto",
        *,
        collection: Collection | None = None,
    ) -> None:
        self._parameters = {"path": path, "metric": metric, "index": index}
        self.collection = collection_for(self, collection, path, metric=metric, index=index)

    def to_dict(self) -> dict[str, Any]:
        """The parameters, for a pipeline's file."""
        return default_to_dict(self, **self._parameters)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VsearchDocumentStore:
        """The store that `to_dict` described."""
        return default_from_dict(cls, data)

    # ------------------------------------------------------------------ writing

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Writes documents and returns how many; ``policy`` says what happens to ids that are there, NONE fails."""
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise ValueError("`documents` must be a list of haystack Documents.")
        chosen = {document.id: document for document in documents}
        if policy == DuplicatePolicy.SKIP:
            for record in self.collection.get(list(chosen), include=()):
                del chosen[str(record.id)]
        elif policy != DuplicatePolicy.OVERWRITE and len(chosen) < len(documents):
            raise DuplicateDocumentError("`documents` must have ids of their own; one is given twice.")
        columns = (
            list(chosen),
            [document.embedding for document in chosen.values()],
            [document.content for document in chosen.values()],
            [_metadata(document) for document in chosen.values()],
        )
        try:
            (self.collection.upsert if policy == DuplicatePolicy.OVERWRITE else self.collection.add)(*columns)
        except DuplicateIdError as error:
            raise DuplicateDocumentError(str(error)) from error
        return len(chosen)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Deletes documents; ids that are not there do no harm."""
        self.collection.delete(document_ids)

    def delete_all_documents(self) -> None:
        """Deletes everything."""
        self.collection.delete(where={})

    def delete_by_filter(self, filters: Filters) -> int:
        """Deletes what matches and returns how many there were."""
        return self.collection.delete(where=where_of(filters))

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Sets these keys of the metadata of what matches, and returns how many documents that were."""
        found = self.collection.get(where=where_of(filters), include=("metadata",))
        changed = [{**record.metadata, "meta": {**record.metadata.get("meta", {}), **meta}} for record in found]
        self.collection.update([record.id for record in found], metadata=changed)
        return len(found)

    # ------------------------------------------------------------------ reading

    def count_documents(self) -> int:
        """How many documents there are."""
        return len(self.collection)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """How many documents match."""
        return self.collection.count(where_of(filters))

    def filter_documents(self, filters: Filters = None) -> list[Document]:
        """The documents that match, in the order of writing."""
        return [_document(record) for record in self.collection.get(where=where_of(filters), include=_ALL)]

    def embedding_retrieval(
        self, query_embedding: list[float], filters: Filters = None, top_k: int = 10, **options: Any
    ) -> list[Document]:
        """The nearest documents, scored by -distance or by the fused score; ``options`` as in `Collection.query`."""
        hits = self.collection.query(query_embedding, top_k, where=where_of(filters), include=_ALL, **options)
        return [_document(hit) for hit in hits]

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """How many different values each field has among what matches."""
        return {name.removeprefix("meta."): len(self._values(name, filters)) for name in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Name and kind of every field of metadata that occurs."""
        kinds = {bool: "bool", int: "int", float: "float", str: "text", list: "list", dict: "dict"}
        found: dict[str, dict[str, str]] = {}
        for record in self.collection.iterate(include=("metadata",)):
            for name, value in record.metadata.get("meta", {}).items():
                found.setdefault(name, {"type": kinds.get(type(value), "null")})
        return found

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """The least and the greatest value of a field, None where no document has it."""
        values = [value for kind, value in self._values(metadata_field, None) if kind in (int, float, str)]
        numbers = [value for value in values if not isinstance(value, str)] or values
        return {"min": min(numbers, default=None), "max": max(numbers, default=None)}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters = None,
    ) -> tuple[list[Any], int]:
        """The different values of a field, ``size`` of them from ``from_`` on, and how many there are in all."""
        values = [
            value
            for _, value in self._values(metadata_field, filters)
            if search_term is None or search_term.lower() in str(value).lower()
        ]
        values.sort(key=lambda value: (str(value), type(value).__name__))
        return values[from_ : from_ + size], len(values)

    def _values(self, name: str, filters: Filters) -> list[tuple[type, Any]]:
        """The different values of a field, told apart by type as well."""
        path = field_of(name).split(".")
        found: dict[tuple[type, Any], None] = {}
        for record in self.collection.iterate(where_of(filters), include=("metadata",)):
            value: Any = record.metadata
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, (str, int, float)):
                found[type(value), value] = None
        return list(found)


def _in_thread(method: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The asynchronous form of a method: SQLite and searches release the interpreter, so that a thread is enough."""

    @functools.wraps(method)
    async def run(*arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(method, *arguments, **options)

    return run


for _name, _method in list(vars(VsearchDocumentStore).items()):
    if callable(_method) and not _name.startswith("_") and _name not in ("to_dict", "from_dict"):
        setattr(VsearchDocumentStore, f"{_name}_async", _in_thread(_method))


def _metadata(document: Document) -> dict[str, Any]:
    held: dict[str, Any] = {"id": document.id, "meta": document.meta}
    for name in ("blob", "sparse_embedding"):
        value = getattr(document, name, None)
        if value is not None:
            held[name] = value.to_dict()
    return held


def _document(record: Record) -> Document:
    held = {name: value for name, value in record.metadata.items() if name != "id"}
    score = record.score
    if score is None and record.distance is not None:
        score = -record.distance
    vector = None if record.vector is None else record.vector.tolist()
    return Document.from_dict(
        {"id": str(record.id), "content": record.document, "embedding": vector, "score": score, **held}
    )
