"""`vsearch build`, `vsearch query` and `vsearch info`: an index as a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vsearch.cli import show
from vsearch.cli.specs import EXAMPLES, IndexSpec
from vsearch.errors import ParameterError
from vsearch.evaluate.datasets import Dataset, load_dataset

Threads = Annotated[int | None, typer.Option(min=1, help="Threads; all by default.")]


def build(
    data: Annotated[str, typer.Argument(help="A known data set (vsearch datasets list) or a file of vectors.")],
    out: Annotated[Path, typer.Argument(help="Where the index goes, such as words.vsx.")],
    index: Annotated[str, typer.Option(help=f"A name such as {EXAMPLES}.")] = "ivf",
    metric: Annotated[str | None, typer.Option(help="l2, ip or cosine; by default what the data set says.")] = None,
    bits: Annotated[int | None, typer.Option(min=1, max=8, help="Bits of the codes, as in ivf-rabitq4.")] = None,
    lists: Annotated[int | None, typer.Option(min=1, help="Lists of an IVF, as in ivf512.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many vectors.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same index.")] = 0,
    threads: Threads = None,
) -> None:
    """Build an index from vectors and save it."""
    spec = IndexSpec.parse(index).adjusted(bits=bits, lists=lists)
    loaded = load_dataset(data, metric=metric, limit=limit)
    start = time.perf_counter()
    built = spec.make(loaded.metric, seed).fit(loaded.train, threads=threads)
    seconds = time.perf_counter() - start
    built.save(out)
    show.console.print(str(built), markup=False)
    show.console.print(f"\n  built in {seconds:.2f} s, {show.kilobytes(out.stat().st_size)} on disk", style="dim")
    show.path("index", out)


def query(
    index: Annotated[Path, typer.Argument(help="An index written by vsearch build.")],
    vectors: Annotated[
        str | None, typer.Argument(help="Queries: a file of vectors, or a data set (its queries).")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Ask by words: a text of --data (its vector is looked up).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set with texts, to look up --text and to show answers.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbours per query.")] = 10,
    recall: Annotated[float | None, typer.Option(help="Recall to reach, such as 0.95.")] = None,
    effort: Annotated[
        float | None, typer.Option(help="Effort instead of a recall; an IVF's is lists looked at.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Ask only the first so many queries of a file.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Save ids and distances as .npz instead of printing them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per query.")] = False,
    threads: Threads = None,
) -> None:
    """Ask an index for the nearest neighbours of vectors or texts."""
    import vsearch as vs

    if (vectors is None) == (not text):
        raise ParameterError(
            "`query` must get either a file of vectors or --text; got " + ("both." if text else "neither.")
        )
    loaded = vs.load(index)
    texts = load_dataset(data) if data else load_dataset() if text else None
    names, Q = _look_up(texts, text) if text and texts else _read(vectors or "", None if out else limit)
    ids, distances = loaded.search(Q, k, recall=recall, effort=effort, threads=threads)
    if out is not None:
        np.savez(out, ids=ids, distances=distances)
        show.path("answers", out if out.suffix == ".npz" else out.with_name(out.name + ".npz"))
        return
    words = texts.texts if texts is not None and texts.n == len(loaded) else None
    for name, row, near in zip(names, ids, distances, strict=True):
        if as_json:
            print(json.dumps(_record(name, row, near, words)))
        else:
            _print(name, row, near, words)


def info(index: Annotated[Path, typer.Argument(help="An index written by vsearch build.")]) -> None:
    """Say what an index file holds."""
    import vsearch as vs

    loaded = vs.load(index, mmap=True)
    show.console.print(str(loaded), markup=False)
    show.console.print(f"\n  {show.kilobytes(index.stat().st_size)} on disk", style="dim")


def _read(source: str, limit: int | None) -> tuple[list[str], np.ndarray]:
    data = load_dataset(source)
    chosen = data.train if data.test is None else data.test
    rows = np.asarray(chosen[:limit], dtype=np.float32)
    return [f"query {row}" for row in range(len(rows))], rows


def _look_up(data: Dataset, wanted: list[str]) -> tuple[list[str], np.ndarray]:
    """Find the vectors of texts: an exact match first, else the first text that contains the words."""
    names, rows = [], []
    pools: list[tuple[list[str], Any]] = [(data.query_texts or [], data.test), (data.texts or [], data.train)]
    for words in wanted:
        found = next(
            (
                (text, vectors[position])
                for matches in (str.__eq__, str.__contains__)
                for texts, vectors in pools
                for position, text in enumerate(texts)
                if matches(text.lower(), words.lower())
            ),
            None,
        )
        if found is None:
            raise ParameterError(
                f"`text` must occur in the texts of {data.name}; got {words!r}. "
                "vsearch holds no embedding model: other texts must come as vectors."
            )
        names.append(found[0])
        rows.append(found[1])
    return names, np.asarray(rows, dtype=np.float32)


def _record(name: str, ids: np.ndarray, distances: np.ndarray, texts: list[str] | None) -> dict[str, Any]:
    real = ids >= 0
    record: dict[str, Any] = {"query": name, "ids": ids[real].tolist(), "distances": distances[real].tolist()}
    if texts is not None:
        record["texts"] = [_text(texts, i) for i in ids[real].tolist()]
    return record


def _print(name: str, ids: np.ndarray, distances: np.ndarray, texts: list[str] | None) -> None:
    show.question(name)
    for i, distance in zip(ids.tolist(), distances.tolist(), strict=True):
        if i >= 0:
            show.hit(distance, _text(texts, i) if texts is not None else f"id {i}")


def _text(texts: list[str], i: int) -> str:
    return texts[i] if i < len(texts) else f"id {i}"
