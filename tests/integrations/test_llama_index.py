"""The LlamaIndex store: nodes come back whole, filters mean what they say, and an index can be built on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

import vsearch as vs
from vsearch.integrations.llama_index import VsearchVectorStore

NODES = [
    ("a", "red fox", [1.0, 0.0, 0.0], {"n": 1, "tags": ["x", "y"], "author": "Ada"}),
    ("b", "blue sea", [0.9, 0.1, 0.0], {"n": 2, "tags": ["y"], "author": "Bob"}),
    ("c", "red sea", [0.0, 1.0, 0.0], {"n": 3, "tags": [], "author": "Cy"}),
    ("d", "green hill", [0.0, 0.0, 1.0], {"author": "Dee"}),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VsearchVectorStore]:
    opened = VsearchVectorStore(tmp_path / "store")
    nodes = [
        TextNode(
            id_=id,
            text=text,
            embedding=vector,
            metadata=metadata,
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc {id > 'b'}")},
        )
        for id, text, vector, metadata in NODES
    ]
    assert opened.add(nodes) == ["a", "b", "c", "d"]
    yield opened
    opened.client.close()


def ask(store: VsearchVectorStore, **options: Any) -> list[str]:
    options = {"query_embedding": [1.0, 0.05, 0.0], "similarity_top_k": 4, **options}
    found = store.query(VectorStoreQuery(**options))
    assert found.ids is not None
    assert found.nodes is not None
    assert found.similarities is not None
    assert [node.node_id for node in found.nodes] == found.ids
    assert sorted(found.similarities, reverse=True) == found.similarities or options.get("mode") == "mmr"
    return found.ids


def test_nodes_come_back_whole(store: VsearchVectorStore) -> None:
    (node,) = store.get_nodes(["b"])
    assert (node.get_content(), node.metadata, node.ref_doc_id) == ("blue sea", NODES[1][3], "doc False")
    assert node.embedding == pytest.approx([0.9, 0.1, 0.0])
    assert ask(store) == ["a", "b", "c", "d"]
    assert store.query(VectorStoreQuery([1.0, 0.0, 0.0], 1)).similarities == [pytest.approx(1)]


def one(key: str, value: Any, operator: str = "==") -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


@pytest.mark.parametrize(
    ("parts", "condition", "wanted"),
    [
        ([one("n", 2)], "and", "b"),
        ([one("author", "Ada")], "and", "a"),
        ([one("n", 2, "!=")], "and", "acd"),
        ([one("n", 1, ">")], "and", "bc"),
        ([one("n", 2, ">=")], "and", "bc"),
        ([one("n", 2, "<")], "and", "a"),
        ([one("n", 2, "<=")], "and", "ab"),
        ([one("n", [1, 3], "in")], "and", "ac"),
        ([one("n", [1, 3], "nin")], "and", "bd"),
        ([one("tags", "y", "contains")], "and", "ab"),
        ([one("tags", ["x", "z"], "any")], "and", "a"),
        ([one("tags", ["x", "y"], "all")], "and", "a"),
        ([one("author", "e", "text_match")], "and", "d"),
        ([one("n", None, "is_empty")], "and", "d"),
        ([one("n", 1), one("n", 3)], "or", "ac"),
        ([one("n", 1), one("author", "Ada")], "and", "a"),
        ([one("n", 1)], "not", "bcd"),
        ([MetadataFilters(filters=[one("n", 1), one("n", 2)], condition=FilterCondition.OR), one("n", 2)], "and", "b"),
        ([], "and", "abcd"),
    ],
)
def test_filters(store: VsearchVectorStore, parts: list[Any], condition: str, wanted: str) -> None:
    filters = MetadataFilters(filters=parts, condition=FilterCondition(condition))
    assert sorted(ask(store, filters=filters)) == list(wanted)
    assert sorted(node.node_id for node in store.get_nodes(filters=filters)) == list(wanted)


def test_modes(store: VsearchVectorStore) -> None:
    assert ask(store, mode=VectorStoreQueryMode.HYBRID, query_str="hill", alpha=0.0)[0] == "d"
    assert ask(store, mode=VectorStoreQueryMode.HYBRID, query_str="hill", alpha=1.0)[0] == "a"
    assert set(ask(store, mode=VectorStoreQueryMode.HYBRID, query_str="sea", hybrid_top_k=2)) <= {"a", "b", "c"}
    assert sorted(ask(store, mode=VectorStoreQueryMode.TEXT_SEARCH, query_str="sea")) == ["b", "c"]
    assert ask(store, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.3, similarity_top_k=2)[1] != "b"
    assert ask(store, mode=VectorStoreQueryMode.MMR, mmr_threshold=1.0) == ["a", "b", "c", "d"]
    assert ask(store, node_ids=["c", "d", "nobody"]) == ["c", "d"]
    assert ask(store, doc_ids=["doc False"]) == ["a", "b"]
    with pytest.raises(vs.ParameterError, match="`mode` must be one of"):
        ask(store, mode=VectorStoreQueryMode.SVM)
    with pytest.raises(vs.ParameterError, match="`query_embedding` must be given"):
        ask(store, query_embedding=None)
    with pytest.raises(vs.ParameterError, match="cannot compare that way"):
        ask(store, filters=MetadataFilters(filters=[one("author", "ada", "text_match_insensitive")]))


def test_deleting(store: VsearchVectorStore) -> None:
    store.delete_nodes()
    store.delete_nodes(["a", "nobody"])
    store.delete_nodes(filters=MetadataFilters(filters=[one("n", 3)]))
    assert ask(store) == ["b", "d"]
    store.delete("doc False")
    assert ask(store) == ["d"]
    asyncio.run(store.aclear())
    assert ask(store) == []


def test_an_index_is_built_on_it_and_found_again(tmp_path: Path) -> None:
    store = VsearchVectorStore(tmp_path / "store")
    embedding = MockEmbedding(embed_dim=4)
    nodes = [TextNode(text=text) for _, text, _, _ in NODES]
    context = StorageContext.from_defaults(vector_store=store)
    VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)
    store.client.close()
    again = VsearchVectorStore(tmp_path / "store")
    index = VectorStoreIndex.from_vector_store(again, embed_model=embedding)
    found = index.as_retriever(similarity_top_k=2).retrieve("anything")
    assert len(found) == 2
    assert {hit.node.get_content() for hit in found} <= {text for _, text, _, _ in NODES}
    again.client.close()
