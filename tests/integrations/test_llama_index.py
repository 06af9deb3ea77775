"""The LlamaIndex store: nodes come back whole, filters mean what they say, and an index can be built on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

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
        ([one("author", "D", "text_match_insensitive")], "and", "ad"),
        ([one("n", None, "is_empty")], "and", "d"),
        ([one("tags", None, "is_empty")], "and", "cd"),
        ([one("n", 1), one("n", 3)], "or", "ac"),
        ([one("n", 1), one("author", "Ada")], "and", "a"),
        ([one("n", 1)], "not", "bcd"),
        ([one("n", 1), one("author", "Bob")], "not", "cd"),
        ([MetadataFilters(filters=[one("n", 1), one("n", 2)], condition=FilterCondition.OR), one("n", 2)], "and", "b"),
        ([], "and", "abcd"),
    ],
)
def test_filters(store: VsearchVectorStore, parts: list[Any], condition: str, wanted: str) -> None:
    filters = MetadataFilters(filters=parts, condition=FilterCondition(condition))
    assert sorted(ask(store, filters=filters)) == list(wanted)
    assert sorted(node.node_id for node in store.get_nodes(filters=filters)) == list(wanted)


def holds(part: MetadataFilter | MetadataFilters, metadata: dict[str, Any]) -> bool:
    """What a filter means: the oracle of what the store makes of it."""
    if isinstance(part, MetadataFilters):
        parts = [holds(inner, metadata) for inner in part.filters]
        if part.condition == FilterCondition.NOT:
            return not any(parts)
        return any(parts) if part.condition == FilterCondition.OR else all(parts)
    value, wanted = metadata.get(part.key), part.value
    listed = value if isinstance(value, list) else []
    alike = value is not None and type(value) is type(wanted)
    return {
        FilterOperator.EQ: lambda: value == wanted,
        FilterOperator.NE: lambda: value != wanted,
        FilterOperator.GT: lambda: alike and value > wanted,
        FilterOperator.GTE: lambda: alike and value >= wanted,
        FilterOperator.LT: lambda: alike and value < wanted,
        FilterOperator.LTE: lambda: alike and value <= wanted,
        FilterOperator.IN: lambda: value in wanted,
        FilterOperator.NIN: lambda: value not in wanted,
        FilterOperator.ANY: lambda: any(one in listed for one in wanted),
        FilterOperator.ALL: lambda: all(one in listed for one in wanted),
        FilterOperator.CONTAINS: lambda: wanted in listed or (isinstance(value, str) and wanted in value),
        FilterOperator.TEXT_MATCH: lambda: isinstance(value, str) and wanted in value,
        FilterOperator.TEXT_MATCH_INSENSITIVE: lambda: isinstance(value, str) and wanted.lower() in value.lower(),
        FilterOperator.IS_EMPTY: lambda: value in (None, "", []),
    }[part.operator]()


NUMBERS, WORDS = st.integers(-2, 4), st.sampled_from(["x", "y", "xy", "Ada", "e"])
ORDERS = [FilterOperator(sign) for sign in ("==", "!=", ">", ">=", "<", "<=")]
TESTS = st.one_of(
    st.builds(MetadataFilter, key=st.just("n"), value=NUMBERS, operator=st.sampled_from(ORDERS)),
    st.builds(MetadataFilter, key=st.just("author"), value=WORDS, operator=st.sampled_from(ORDERS)),
    st.builds(
        MetadataFilter,
        key=st.sampled_from(["n", "author"]),
        value=st.one_of(st.lists(NUMBERS, min_size=1, max_size=3), st.lists(WORDS, min_size=1, max_size=3)),
        operator=st.sampled_from([FilterOperator.IN, FilterOperator.NIN]),
    ),
    st.builds(
        MetadataFilter,
        key=st.just("tags"),
        value=st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2),
        operator=st.sampled_from([FilterOperator.ANY, FilterOperator.ALL]),
    ),
    st.builds(MetadataFilter, key=st.just("tags"), value=WORDS, operator=st.just(FilterOperator.CONTAINS)),
    st.builds(
        MetadataFilter,
        key=st.just("author"),
        value=WORDS,
        operator=st.sampled_from([FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE]),
    ),
    st.builds(
        MetadataFilter,
        key=st.sampled_from(["n", "author", "tags", "missing"]),
        value=st.none(),
        operator=st.just(FilterOperator.IS_EMPTY),
    ),
)
NESTED = st.recursive(
    TESTS,
    lambda inner: st.builds(
        MetadataFilters,
        filters=st.lists(inner, min_size=1, max_size=3),
        condition=st.sampled_from(list(FilterCondition)),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NESTED, min_size=1, max_size=3), st.sampled_from(list(FilterCondition)))
def test_every_operator_and_condition_at_any_depth(
    store: VsearchVectorStore, parts: list[Any], condition: FilterCondition
) -> None:
    filters = MetadataFilters(filters=parts, condition=condition)
    wanted = [id for id, _, _, metadata in NODES if holds(filters, metadata)]
    assert sorted(ask(store, filters=filters)) == wanted
    assert [node.node_id for node in store.get_nodes(filters=filters)] == wanted


def suited(operator: FilterOperator) -> tuple[str, Any]:
    """A field and a value that this operator can be asked about."""
    if operator in (FilterOperator.ANY, FilterOperator.ALL):
        return "tags", ["y"]
    if operator == FilterOperator.CONTAINS:
        return "tags", "y"
    return "author", ["Bob", "Cy"] if operator in (FilterOperator.IN, FilterOperator.NIN) else "Bob"


@pytest.mark.parametrize("condition", list(FilterCondition))
@pytest.mark.parametrize("operator", list(FilterOperator))
def test_filters_are_those_of_llama_index(
    store: VsearchVectorStore, operator: FilterOperator, condition: FilterCondition
) -> None:
    """The library's own evaluation, of its store in memory, is the reference for what is not nested."""
    key, value = suited(operator)
    parts = [one(key, value, operator.value), one("author", "Ada")]
    filters = MetadataFilters(filters=parts, condition=condition)
    passes = build_metadata_filter_fn({id: metadata for id, _, _, metadata in NODES}.__getitem__, filters)
    wanted = [id for id, *_ in NODES if passes(id)]
    assert sorted(ask(store, filters=filters)) == wanted
    assert [node.node_id for node in store.get_nodes(filters=filters)] == wanted


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
