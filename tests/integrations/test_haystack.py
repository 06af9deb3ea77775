"""Haystack's own conformance tests of document stores, all that apply, and what they leave out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("haystack")
suite = pytest.importorskip("haystack.testing.document_store")
asynchronous = pytest.importorskip("haystack.testing.document_store_async")

from haystack import Document  # noqa: E402
from haystack.dataclasses import ByteStream  # noqa: E402
from haystack.document_stores.errors import DuplicateDocumentError  # noqa: E402
from haystack.errors import FilterError  # noqa: E402

from vsearch.integrations.haystack import VsearchDocumentStore  # noqa: E402

#: Whatever the installed Haystack has of the optional mixins.
OPTIONAL = [
    getattr(module, name)
    for module, names in (
        (
            suite,
            [
                "DocumentStoreBaseExtendedTests",
                "CountDocumentsByFilterTest",
                "CountUniqueMetadataByFilterTest",
                "GetMetadataFieldsInfoTest",
                "GetMetadataFieldMinMaxTest",
                "GetMetadataFieldUniqueValuesTest",
            ],
        ),
        (asynchronous, [name for name in vars(asynchronous) if name.endswith("AsyncTest")]),
    )
    for name in names
    if hasattr(module, name)
]


class TestConformance(*OPTIONAL):  # type: ignore[misc]
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> Iterator[VsearchDocumentStore]:
        store = VsearchDocumentStore(str(tmp_path / "store"))
        yield store
        store.collection.close()

    def test_write_documents(self, document_store: VsearchDocumentStore) -> None:
        """Left to each store: ours fails by default where an id is there."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([Document(id="x", content="a"), Document(id="x", content="b")])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])

    async def test_write_documents_async(self, document_store: VsearchDocumentStore) -> None:
        await asyncio.to_thread(self.test_write_documents, document_store)
        assert await document_store.count_documents_async() == 1  # type: ignore[attr-defined]

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        """Embeddings are stored in float32; everything else must be the same."""
        assert [replace(one, embedding=None) for one in received] == [replace(one, embedding=None) for one in expected]
        for one, other in zip(received, expected):
            assert (one.embedding is None) == (other.embedding is None)
            if one.embedding is not None:
                assert one.embedding == np.array(other.embedding, np.float32).tolist()


def test_a_pipeline_can_save_the_store(tmp_path: Path) -> None:
    store = VsearchDocumentStore(str(tmp_path / "store"), metric="l2")
    store.write_documents([Document(content="a", embedding=[1.0, 2.0])])
    data = store.to_dict()
    store.collection.close()
    again = VsearchDocumentStore.from_dict(data)
    assert (again.count_documents(), again.collection.metric) == (1, "l2")
    again.collection.close()


def test_retrieval_by_vectors_and_words() -> None:
    store = VsearchDocumentStore()
    blob = ByteStream(b"\x00\xff", meta={"a": 1}, mime_type="x/y")
    store.write_documents(
        [
            Document(id="a", content="red fox", embedding=[1.0, 0.0], meta={"n": 1}, blob=blob),
            Document(id="b", content="blue sea", embedding=[0.0, 1.0], meta={"n": 2}),
            Document(id="c", content="red sea"),
        ]
    )
    found = store.embedding_retrieval([1.0, 0.1], top_k=2)
    assert [document.id for document in found] == ["a", "b"]
    assert found[0].blob == blob
    assert found[0].score > found[1].score
    assert [d.id for d in store.embedding_retrieval([1.0, 0.1], {"field": "n", "operator": "==", "value": 2})] == ["b"]
    assert store.embedding_retrieval([0.0, 1.0], text="red", hybrid=0.2, top_k=3)[-1].id == "b"
    assert [d.id for d in store.filter_documents({"field": "id", "operator": "in", "value": ["c", "x"]})] == ["c"]


@pytest.mark.parametrize(
    "filters",
    [
        {"operator": "XOR", "conditions": [{"field": "a", "operator": "==", "value": 1}]},
        {"operator": "AND", "conditions": []},
        {"field": "a", "operator": "~", "value": 1},
        {"field": "a", "operator": "==", "value": [1]},
        {"field": "a", "operator": ">", "value": True},
        "meta.a == 1",
    ],
)
def test_what_is_no_filter_is_refused(filters: object) -> None:
    with pytest.raises(FilterError):
        VsearchDocumentStore().filter_documents(filters)  # type: ignore[arg-type]
