"""A LlamaIndex vector store over a collection: nodes with their text, metadata and relations.

>>> from llama_index.core.schema import TextNode
>>> from llama_index.core.vector_stores.types import VectorStoreQuery
>>> store = VsearchVectorStore()
>>> store.add([TextNode(id_="a", text="red", embedding=[1.0, 0.0])])
['a']
>>> store.query(VectorStoreQuery(query_embedding=[1.0, 0.2], similarity_top_k=1)).ids
['a']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vsearch.collection import Collection, Record
from vsearch.errors import MissingExtraError, ParameterError
from vsearch.integrations.folders import collection_for

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "The LlamaIndex store needs llama-index-core: pip install 'vsearch-ann[llama-index]'"
    ) from error

_COMPARISONS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.CONTAINS: "$contains",
    FilterOperator.TEXT_MATCH: "$contains",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "$icontains",
}

#: Modes that look for the words of ``query_str``.
_HYBRID = (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SEMANTIC_HYBRID)
_WORDS = (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE)
_NODE_ID = "_node_id"
_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR, *_HYBRID, *_WORDS)


class VsearchVectorStore(BasePydanticVectorStore):
    """A LlamaIndex vector store: durable, filtered, hybrid, and diverse by MMR.

    Parameters
    ----------
    path : str or path, optional
        Folder of the collection; without one it is temporary.
    collection : Collection, optional
        An open one, in place of a path.
    options
        For `Collection.open`: metric, index.
    """

    stores_text: bool = True
    flat_metadata: bool = False
    _collection: Collection = PrivateAttr()

    def __init__(self, path: Any = None, *, collection: Collection | None = None, **options: Any) -> None:
        super().__init__(stores_text=True)
        self._collection = collection_for(self, collection, path, **options)

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls it."""
        return "VsearchVectorStore"

    @property
    def client(self) -> Collection:
        """The collection."""
        return self._collection

    # ------------------------------------------------------------------ writing

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Writes nodes, replacing those whose id is there."""
        last = {node.node_id: node for node in nodes}
        chosen = list(last.values())
        self._collection.upsert(
            list(last),
            [node.embedding for node in chosen],
            [node.get_content(metadata_mode=MetadataMode.NONE) for node in chosen],
            [
                {**node_to_metadata_dict(node, remove_text=True, flat_metadata=False), _NODE_ID: node.node_id}
                for node in chosen
            ],
        )
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Deletes the nodes that came from this document."""
        self._collection.delete(where={"ref_doc_id": ref_doc_id})

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """Deletes nodes by id, by filter, or by both together."""
        if node_ids is not None or filters is not None:
            self._collection.delete(node_ids, _where(filters))

    def clear(self) -> None:
        """Deletes everything."""
        self._collection.delete(where={})

    # ------------------------------------------------------------------ reading

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes by id, by filter, or by both together."""
        include = ("documents", "metadata", "vectors")
        return [_node(record) for record in self._collection.get(node_ids, _where(filters), include=include)]

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """The nearest nodes, by the mode of the query; ``options`` are those of `Collection.query`.

        In modes that look for words, ``alpha`` weighs vectors against words (1 is vectors alone); without it, the two
        rankings are fused by reciprocal ranks.
        """
        if query.mode not in _MODES:
            raise ParameterError(
                f"`mode` must be one of {', '.join(mode.value for mode in _MODES)}; got {query.mode!r}."
            )
        if query.query_embedding is None:
            raise ParameterError("`query_embedding` must be given: the store embeds nothing itself.")
        k = query.similarity_top_k
        if query.mode in (*_HYBRID, *_WORDS):
            k = query.hybrid_top_k or k
            weight = 0.0 if query.mode in _WORDS else query.alpha
            options = {"text": query.query_str or "", "hybrid": weight, **options}
        elif query.mode == VectorStoreQueryMode.MMR:
            threshold = 0.5 if query.mmr_threshold is None else query.mmr_threshold
            options = {"diversity": 1 - threshold, **options}
        parts = [_where(query.filters)] + [
            {key: {"$in": ids}} for key, ids in (("ref_doc_id", query.doc_ids), (_NODE_ID, query.node_ids)) if ids
        ]
        where = {"$and": [part or {} for part in parts]}
        hits = self._collection.query(query.query_embedding, k, where=where if any(parts) else None, **options)
        if query.mode in _WORDS:
            hits = [hit for hit in hits if hit.score]
        return VectorStoreQueryResult(
            nodes=[_node(hit) for hit in hits],
            similarities=[self._similarity(hit) for hit in hits],
            ids=[str(hit.id) for hit in hits],
        )

    def _similarity(self, hit: Record) -> float:
        if hit.score is not None:
            return float(hit.score)
        distance = float(hit.distance or 0.0)
        if self._collection.metric == "cosine":
            return 1 - distance
        return -distance if self._collection.metric == "ip" else 1 / (1 + distance)


def _node(record: Record) -> BaseNode:
    node = metadata_dict_to_node(record.metadata, text=record.document)
    if record.vector is not None:
        node.embedding = record.vector.tolist()
    return node


def _where(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """The `where` of LlamaIndex's filters."""
    if filters is None or not filters.filters:
        return None
    parts = [_where(part) if isinstance(part, MetadataFilters) else _condition(part) for part in filters.filters]
    found = [part for part in parts if part is not None]
    if filters.condition == FilterCondition.NOT:  # "match when none of the filters match", says LlamaIndex
        return {"$not": {"$or": found}}
    return {"$or" if filters.condition == FilterCondition.OR else "$and": found}


def _condition(part: MetadataFilter) -> dict[str, Any]:
    if part.operator in (FilterOperator.ANY, FilterOperator.ALL):
        values = part.value if isinstance(part.value, list) else [part.value]
        joint = "$or" if part.operator == FilterOperator.ANY else "$and"
        return {joint: [{part.key: {"$contains": value}} for value in values]}
    if part.operator == FilterOperator.IS_EMPTY:
        return {part.key: {"$empty": True}}
    if part.operator not in _COMPARISONS:  # one of a later LlamaIndex
        raise ParameterError(f"`filters` must not use {part.operator.value!r}: a collection cannot compare that way.")
    return {part.key: {_COMPARISONS[part.operator]: part.value}}
