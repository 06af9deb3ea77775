"""`vsearch build`, `vsearch query` and `vsearch info`: an index as a file."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from vsearch._text import kilobytes
from vsearch.cli import given, show
from vsearch.cli.specs import EXAMPLES, IndexSpec
from vsearch.errors import ParameterError
from vsearch.evaluate.datasets import Dataset, load_dataset
from vsearch.index.auto import build as choose
from vsearch.index.base import DEFAULT_RECALL

#: Queries of a file that are asked where the answers are printed for reading and nothing says how many.
READ = 10

#: Vectors of an index that are compared with a data set's, to see whether it is one of that data set.
SAMPLE = 32

Threads = Annotated[int | None, typer.Option(min=1, help="Threads; all by default.")]


def build(
    data: Annotated[str, typer.Argument(help="A known data set (vsearch datasets list) or a file of vectors.")],
    out: Annotated[Path, typer.Argument(help="Where the index goes, such as words.vsx.")],
    index: Annotated[
        str | None, typer.Option(help=f"A name such as {EXAMPLES}; by default the fastest that does what is asked.")
    ] = None,
    recall: Annotated[float, typer.Option(help="What searches aim at where they are not told.")] = DEFAULT_RECALL,
    memory: Annotated[str | None, typer.Option(help="Most that the index may keep, such as 512MB.")] = None,
    metric: Annotated[str | None, typer.Option(help="l2, ip or cosine; by default what the data set says.")] = None,
    bits: Annotated[int | None, typer.Option(min=1, max=8, help="Bits of the codes, as in ivf-rabitq4.")] = None,
    lists: Annotated[int | None, typer.Option(min=1, help="Lists of an IVF, as in ivf512.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many vectors.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same index.")] = 0,
    threads: Threads = None,
) -> None:
    """Build an index from vectors and save it."""
    spec = _spec(index, memory, bits, lists)
    given.check_file(out)
    loaded = given.data_set(data, metric=metric, limit=limit)
    start = time.perf_counter()
    if spec is None:
        options: dict[str, Any] = {"recall": recall, "memory": memory, "seed": seed, "threads": threads}
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            built = choose(loaded.train, loaded.metric, **options)
        for doubt in doubts:
            show.problems.print(Text(str(doubt.message), style="yellow"), soft_wrap=True)
    else:
        made = spec.make(loaded.metric, seed)
        made.recall = recall
        built = made.fit(loaded.train, threads=threads)
    seconds = time.perf_counter() - start
    built.save(out)
    show.console.print(str(built), markup=False)
    show.console.print(f"\n  built in {seconds:.2f} s, {kilobytes(out.stat().st_size)} on disk", style="dim")
    show.path("index", out)


def _spec(index: str | None, memory: str | None, bits: int | None, lists: int | None) -> IndexSpec | None:
    """The index that was named, None where it is to be chosen; what does not go with that is refused."""
    if index is not None and memory is not None:
        raise ParameterError(f"`memory` must not be given with `index`, whose size is its own; got {memory!r}.")
    if index is not None:
        return IndexSpec.parse(index).adjusted(bits=bits, lists=lists)
    for name, value in (("bits", bits), ("lists", lists)):
        if value is not None:
            raise ParameterError(f"`{name}` must be given with an `index`, such as ivf-rabitq; got {value}.")
    return None


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
        float | None,
        typer.Option(help="Effort instead of a recall: lists looked at (IVF), most vertices visited (graph)."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Ask only the first so many; by default {READ} of a file, all for --out and --json."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Save ids and distances in this .npz file instead of printing them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per query.")] = False,
    threads: Threads = None,
) -> None:
    """Ask an index for the nearest neighbours of vectors or texts."""
    import vsearch as vs

    if (vectors is None) == (not text):
        raise ParameterError(
            "`query` must get either a file of vectors or --text; got " + ("both." if text else "neither.")
        )
    if out is not None:
        given.check_file(out, ".npz")
    loaded = vs.load(index)
    texts = given.data_set(data) if data else load_dataset() if text else None
    if limit is None and vectors is not None and out is None and not as_json:
        limit = READ
    names, Q, there = _queries(vectors or "", text, texts, limit)
    ids, distances = loaded.search(Q, k, recall=recall, effort=effort, threads=threads)
    if out is not None:
        np.savez(out, ids=ids, distances=distances)
        show.path("answers", out)
        return
    words = None if texts is None else _texts_of(loaded, texts)
    for name, row, near in zip(names, ids, distances, strict=True):
        if as_json:
            print(json.dumps(_record(name, row, near, words)))
        else:
            _print(name, row, near, words)
    if not as_json:
        _remark(len(names), there, index, None if words else texts)


def info(index: Annotated[Path, typer.Argument(help="An index written by vsearch build.")]) -> None:
    """Say what an index file holds."""
    import vsearch as vs

    loaded = vs.load(index, mmap=True)
    show.console.print(str(loaded), markup=False)
    show.console.print(f"\n  {kilobytes(index.stat().st_size)} on disk", style="dim")


def _queries(
    source: str, text: list[str] | None, texts: Dataset | None, limit: int | None
) -> tuple[list[str], np.ndarray, int]:
    """Names and vectors of what is asked, and how many there were to ask."""
    if text and texts is not None:
        return *_look_up(texts, text[:limit]), len(text)
    data = given.data_set(source, "vectors")
    chosen = data.train if data.test is None else data.test
    rows = np.asarray(chosen[:limit], dtype=np.float32)
    return [f"query {row}" for row in range(len(rows))], rows, len(chosen)


def _look_up(data: Dataset, wanted: list[str]) -> tuple[list[str], np.ndarray]:
    """Find the vectors of texts."""
    found = []
    for words in wanted:
        best = _find(data, words)
        if best is None:
            raise ParameterError(
                f"`text` must occur in the texts of {data.name}; got {words!r}. "
                "vsearch holds no embedding model: other texts must come as vectors."
            )
        found.append(best)
    names, rows = zip(*found, strict=True)
    return list(names), np.asarray(rows, dtype=np.float32)


def _find(data: Dataset, words: str) -> tuple[str, np.ndarray] | None:
    """Return a text and its vector: the words themselves, else the first that has them whole, else within others."""
    wanted = words.lower()
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    tests: tuple[Callable[[str], object], ...] = (wanted.__eq__, whole.search, lambda text: wanted in text)
    pools: list[tuple[list[str], Any]] = [(data.query_texts or [], data.test), (data.texts or [], data.train)]
    for matches in tests:
        for texts, vectors in pools:
            for position, text in enumerate(texts):
                if matches(text.lower()):
                    return text, vectors[position]
    return None


def _texts_of(index: Any, data: Dataset) -> list[str] | None:
    """Return the texts of a data set where the index is one of it, or of its first rows; else its ids mean others.

    Codes may stand for a vector only roughly, at a cosine of 0.7 to it. So a stored vector is not asked to be its row,
    but to be nearer to it than to other rows, which a vector of something else is by chance only.
    """
    ids = index.ids
    if data.texts is None or index.dim != data.dim or not len(ids) or ids[0] < 0 or ids[-1] >= data.n:
        return None
    chosen = _spread(ids)
    rows = np.concatenate([chosen, _spread(np.arange(data.n))])
    held = _unit(np.stack([index.vector(int(id)) for id in chosen]))
    near = held @ _unit(np.asarray(data.train[rows], dtype=np.float32)).T
    own = np.diagonal(near)  # of the chosen rows, which come first
    nearest = own >= near.max(axis=1) - 1e-4  # rows may be there twice
    return data.texts if nearest.mean() > 0.9 and own.mean() > 0.5 else None


def _spread(ids: np.ndarray) -> np.ndarray:
    """Return up to SAMPLE of them, at equal steps."""
    chosen: np.ndarray = ids[np.linspace(0, len(ids) - 1, min(len(ids), SAMPLE)).astype(np.int64)]
    return chosen


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))
    return unit


def _record(name: str, ids: np.ndarray, distances: np.ndarray, texts: list[str] | None) -> dict[str, Any]:
    real = ids >= 0
    record: dict[str, Any] = {"query": name, "ids": ids[real].tolist(), "distances": distances[real].tolist()}
    if texts is not None:
        record["texts"] = [texts[i] for i in ids[real].tolist()]
    return record


def _print(name: str, ids: np.ndarray, distances: np.ndarray, texts: list[str] | None) -> None:
    show.question(name)
    for i, distance in zip(ids.tolist(), distances.tolist(), strict=True):
        if i >= 0:
            show.hit(distance, texts[i] if texts is not None else f"id {i}")


def _remark(asked: int, there: int, index: Path, stranger: Dataset | None) -> None:
    """Say what the answers leave out: queries, and texts that are not those of the index."""
    words = []
    if asked < there:
        words.append(f"{asked:,} of {there:,} queries; --limit asks more.")
    if stranger is not None and stranger.texts is not None:
        words.append(f"{index} holds other vectors than {stranger.name}, whose texts are not shown.")
    if words:
        show.console.print()
    for sentence in words:
        show.remark(sentence)
