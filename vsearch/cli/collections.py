"""`vsearch check`, `vsearch export` and `vsearch import`: collections on disk."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from vsearch._text import counted
from vsearch.cli import given, show
from vsearch.errors import ParameterError

Folder = Annotated[Path, typer.Argument(help="The folder of a collection.")]


def check(path: Annotated[Path, typer.Argument(help="A collection, or an index written by vsearch build.")]) -> None:
    """Read everything and say whether it is whole. Exit code 1 where it is not."""
    import vsearch as vs
    from vsearch.collection import checking

    start = time.perf_counter()
    if path.is_file():
        held = vs.load(path)
        show.console.print(f"{path}: {counted(len(held), 'vector')}, whole", markup=False, soft_wrap=True)
        return
    report = checking.check(str(path))
    what = f"{counted(report.records, 'record')}, {counted(report.vectors, 'vector')}"
    what += "" if report.dim is None else f" of {counted(report.dim, 'dimension')}"
    show.console.print(f"{path}: {what}, {report.metric}", markup=False, soft_wrap=True)
    for problem in report.problems:
        show.console.print(f"  {problem}", markup=False, style="red", soft_wrap=True)
    if report.problems:
        raise typer.Exit(1)
    show.console.print(f"  whole; read in {time.perf_counter() - start:.2f} s", style="dim")


def export(
    path: Folder,
    out: Annotated[Path, typer.Argument(help="A .jsonl or .parquet file.")],
    where: Annotated[str | None, typer.Option(help='Only what matches, as JSON: \'{"year": {"$gte": 2020}}\'.')] = None,
) -> None:
    """Write a collection to a file of JSON lines or Parquet."""
    import vsearch as vs
    from vsearch.collection import exchange, schema

    if not (path / schema.DATABASE).exists():  # that opening it would make one is no way out here
        raise FileNotFoundError(f"{path} holds no collection.")
    given.check_file(out)
    with vs.Collection.open(path, read_only=True) as opened:
        count = exchange.export(opened, out, None if where is None else _json("where", where))
    show.console.print(f"{counted(count, 'record')}")
    show.path("written", out)


def load(
    file: Annotated[Path, typer.Argument(help="A .jsonl or .parquet file: id, document, metadata, vector.")],
    path: Folder,
    metric: Annotated[str | None, typer.Option(help="Of a new collection: cosine, l2 or ip.")] = None,
) -> None:
    """Put the records of a file into a collection; ids that are there are replaced."""
    import vsearch as vs
    from vsearch.collection import exchange, schema

    given.check_folder(path, "path")
    is_new = not (path / schema.DATABASE).exists()
    parts = exchange.begun(exchange.read(file), (metric or "cosine") if is_new else None)
    with vs.Collection.open(path, metric=metric) as opened:
        count = exchange.put(opened, parts)
        show.console.print(f"{counted(count, 'record')} read, {len(opened):,} in the collection")
    show.path("folder", path)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ParameterError(f"`{name}` must be JSON; got {text!r} ({error}).") from None
