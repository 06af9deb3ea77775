"""LangChain's own conformance tests of vector stores, and what they leave out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
standard = pytest.importorskip("langchain_tests.integration_tests.vectorstores")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding  # noqa: E402

import vsearch as vs  # noqa: E402
from vsearch.integrations.langchain import VsearchStore  # noqa: E402


class TestConformance(standard.VectorStoreIntegrationTests):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VsearchStore]:
        store = VsearchStore(self.get_embeddings(), tmp_path / "store")
        yield store
        store.collection.close()


@pytest.fixture
def store() -> VsearchStore:
    return VsearchStore.from_texts(
        ["red fox", "blue sea", "red sea", "green hill"],
        DeterministicFakeEmbedding(size=16),
        [{"n": n, "even": n % 2 == 0} for n in range(4)],
        ids=["a", "b", "c", "d"],
    )


def ids(found: list[Document]) -> list[Any]:
    return [document.id for document in found]


def test_filters_scores_and_words(store: VsearchStore) -> None:
    assert ids(store.similarity_search("red fox", 2, {"n": {"$lt": 1}})) == ["a"]
    assert set(ids(store.similarity_search("x", filter={"even": True}))) == {"a", "c"}
    ((found, distance),) = store.similarity_search_with_score("blue sea", 1)
    assert (found.id, round(distance, 5)) == ("b", 0)
    assert store.similarity_search_with_relevance_scores("blue sea", 1)[0][1] == pytest.approx(1)
    assert ids(store.similarity_search("sea", 2, hybrid=0.0)) in (["b", "c"], ["c", "b"])
    assert set(ids(store.similarity_search("x", where_document={"$contains": "red"}))) == {"a", "c"}


def test_maximal_marginal_relevance(store: VsearchStore) -> None:
    assert ids(store.max_marginal_relevance_search("red fox", 4, lambda_mult=1.0)) == ids(
        store.similarity_search("red fox", 4)
    )
    assert len(set(ids(store.max_marginal_relevance_search("red fox", 3, fetch_k=4, lambda_mult=0.2)))) == 3
    assert ids(store.max_marginal_relevance_search("red fox", 3, filter={"n": 2})) == ["c"]
    assert len(store.max_marginal_relevance_search("red fox", 3, fetch_k=2)) == 3


@pytest.mark.asyncio
async def test_asynchronous_calls(store: VsearchStore) -> None:
    assert ids(await store.asimilarity_search("green hill", 1)) == ["d"]
    assert ids(await store.amax_marginal_relevance_search("green hill", 1)) == ["d"]
    other = await VsearchStore.afrom_texts(["one"], DeterministicFakeEmbedding(size=16))
    assert len(other.collection) == 1


def test_a_retriever_and_deleting(store: VsearchStore) -> None:
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "filter": {"even": False}})
    assert set(ids(retriever.invoke("anything"))) == {"b", "d"}
    assert store.delete(where={"even": True})
    assert len(store.collection) == 2
    assert store.delete()
    assert len(store.collection) == 0


def test_ids_and_metadata_must_fit_the_texts(store: VsearchStore) -> None:
    for options in ({"ids": ["x"]}, {"metadatas": [{}]}):
        with pytest.raises(vs.DimensionError, match="one entry for each of 2 texts"):
            store.add_texts(["one", "two"], **options)
    assert store.add_texts(["old", "new"], ids=["x", "x"]) == ["x", "x"]
    assert store.get_by_ids(["x"])[0].page_content == "new"


def test_a_temporary_folder_goes_with_its_store(store: VsearchStore) -> None:
    with pytest.raises(vs.ParameterError, match="must not both be given"):
        VsearchStore(DeterministicFakeEmbedding(size=4), "elsewhere", collection=store.collection)
    other = VsearchStore(DeterministicFakeEmbedding(size=4))
    folder = Path(other.collection.path)
    assert folder.exists()
    del other
    gc.collect()
    assert not folder.exists()
