"""`vsearch rag-demo`: retrieval as a RAG application needs it, on real text that comes with vsearch."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vsearch._text import counted
from vsearch.cli import given, show
from vsearch.errors import MissingExtraError, ParameterError
from vsearch.evaluate.datasets import Dataset, load_dataset

PARTS_OF_SPEECH = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
BATCH = 1000
SHOWN = 3

#: A usage example from WordNet, asked four ways: as it is, filtered, with a word that must count, spread out.
QUESTION = "The cattle roam across the prairie"
WORD = "prairie"

#: Characters of one passage of a text file.
PASSAGE = 800


def rag_demo(
    path: Annotated[Path | None, typer.Option(help="Keep the collection in this folder.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help="A folder of .txt and .md files of your own; needs sentence-transformers.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="What to ask of your own texts.")] = None,
    model: Annotated[str, typer.Option(help="Embedding model for them.")] = "all-MiniLM-L6-v2",
) -> None:
    """Fill a collection with texts, then ask with filters, words and diversity."""
    if path is not None:
        given.check_folder(path, "path")
    folder = path or Path(tempfile.mkdtemp(prefix="vsearch-rag-"))
    try:
        if texts is None:
            _wordnet(folder)
        else:
            _own_texts(folder, texts, question, model)
    finally:
        if path is None:
            shutil.rmtree(folder, ignore_errors=True)
    if path is not None:
        show.heading("Kept")
        show.path("folder", folder)


def _wordnet(folder: Path) -> None:
    import vsearch as vs

    data = load_dataset()
    show.heading("vsearch rag-demo", f"{data.n:,} glosses of WordNet with their embeddings and parts of speech")
    with vs.Collection.open(folder, data.dim, data.metric) as collection:
        seconds = _fill(collection, data)
        show.remark(
            f"{data.n:,} records on disk in {seconds:.2f} s ({data.n / seconds:,.0f}/s), each safe once written."
        )
        row = (data.query_texts or []).index(QUESTION)
        _ask_four_ways(collection, np.asarray(data.test, np.float32)[row])
    start = time.perf_counter()
    with vs.Collection.open(folder, read_only=True) as collection:
        n = len(collection)
        show.remark(f"Opened again in {1e3 * (time.perf_counter() - start):.0f} ms, with {n:,} records.")


def _fill(collection: Any, data: Dataset) -> float:
    vectors, texts = np.asarray(data.train, np.float32), data.texts or []
    kinds = [PARTS_OF_SPEECH.get(str(kind), "other") for kind in data.metadata["pos"].tolist()]
    start = time.perf_counter()
    for first in range(0, data.n, BATCH):
        rows = range(first, min(first + BATCH, data.n))
        collection.upsert(
            list(rows),
            vectors[first : rows.stop],
            [texts[row] for row in rows],
            [{"kind": kinds[row], "length": len(texts[row])} for row in rows],
        )
    return time.perf_counter() - start


def _ask_four_ways(collection: Any, query: np.ndarray) -> None:
    show.heading(f"“{QUESTION}”")
    _ask("as it is", lambda: collection.query(query, SHOWN))
    _ask('where={"kind": "verb"}', lambda: collection.query(query, SHOWN, where={"kind": "verb"}))
    _ask(f'text="{WORD}", hybrid="rrf"', lambda: collection.query(query, SHOWN, text=WORD, hybrid="rrf"))
    _ask("diversity=0.4", lambda: collection.query(query, SHOWN, diversity=0.4))


def _ask(how: str, query: Callable[[], Any]) -> None:
    query()  # the first translates the filter and warms caches
    start = time.perf_counter()
    hits = query()
    show.way(how, 1e6 * (time.perf_counter() - start))
    for hit in hits:
        show.hit(hit.distance, " ".join((hit.document or "").split()))


def _own_texts(folder: Path, texts: Path, question: str | None, model: str) -> None:
    import vsearch as vs

    if question is None:
        raise ParameterError("`question` must be given with `texts`: what should be asked?")
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError("Embedding your own texts needs: pip install sentence-transformers") from error
    encoder = SentenceTransformer(model)
    passages = read_passages(texts)
    show.heading("vsearch rag-demo", f"{counted(len(passages), 'passage')} of {texts}")
    with vs.Collection.open(folder, embedding=lambda batch: np.asarray(encoder.encode(batch))) as collection:
        for first in range(0, len(passages), BATCH):
            batch = passages[first : first + BATCH]
            collection.upsert(
                [f"{name}#{number}" for name, number, _ in batch],
                documents=[text for _, _, text in batch],
                metadata=[{"file": name} for name, _, _ in batch],
            )
        show.heading(f"“{question}”")
        _ask("as it is", lambda: collection.query(question, SHOWN))
        _ask('hybrid="rrf"', lambda: collection.query(question, SHOWN, hybrid="rrf"))
        _ask("diversity=0.4", lambda: collection.query(question, SHOWN, diversity=0.4))


def read_passages(folder: Path) -> list[tuple[str, int, str]]:
    """Passages of the text files in a folder, as (file, number, text): whole paragraphs up to about `PASSAGE`.

    Raises
    ------
    ParameterError
        The folder holds no text.
    """
    found = []
    for file in sorted([*folder.rglob("*.txt"), *folder.rglob("*.md")]):
        passage, number = "", 0
        for paragraph in [*file.read_text("utf-8", "replace").split("\n\n"), None]:
            if passage and (paragraph is None or len(passage) + len(paragraph) > PASSAGE):
                found.append((str(file.relative_to(folder)), number, passage))
                passage, number = "", number + 1
            if paragraph and paragraph.strip():
                passage = f"{passage}\n\n{paragraph.strip()}".strip()
    if not found:
        raise ParameterError(f"`texts` must hold .txt or .md files with text; {folder} has none.")
    return found
