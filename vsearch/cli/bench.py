"""`vsearch bench DATA`: recall and speed of chosen indexes on any data set or file of vectors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vsearch.cli import given, measure, show
from vsearch.cli.facts import facts_of, headline
from vsearch.cli.specs import EXAMPLES, parse_indexes
from vsearch.errors import MissingExtraError, ParameterError
from vsearch.evaluate import Point, recall_figure, write_report


def bench(
    data: Annotated[str, typer.Argument(help="A known data set (vsearch datasets list) or a file of vectors.")],
    index: Annotated[
        str,
        typer.Option(help=f"Names with commas between, such as {EXAMPLES}."),
    ] = "flat,ivf,ivf-rabitq,graph",
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbours per query.")] = 10,
    metric: Annotated[str | None, typer.Option(help="l2, ip or cosine; by default what the data set says.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Most queries to measure with; others calibrate.")] = 1000,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many vectors.")] = None,
    targets: Annotated[str, typer.Option(help="Recalls to ask for by name, commas between.")] = "0.9,0.95,0.99",
    passes: Annotated[int, typer.Option(min=1, help="Timed passes over every setting; the best counts.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="Longest single pass over one setting.")] = 10.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for building and batches; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for points.json, the figure and the report.")] = Path(
        "vsearch-bench"
    ),
) -> None:
    """Measure recall and speed of indexes, and write a figure and a report."""
    specs, recalls = parse_indexes(index), parse_recalls(targets)
    given.check_folder(out)
    trial = measure.Trial.of(given.data_set(data, metric=metric, limit=limit), queries)
    facts = facts_of(trial.data)
    show.heading("vsearch bench", *headline(facts))
    built = measure.build(trial, specs, threads)
    points = measure.measure(trial, built, k, targets=recalls, passes=passes, threads=threads, seconds=seconds)
    tables = [
        measure.overview("Indexes", trial, built, points, k, recalls[-1]),
        measure.speed_at_recalls(built, points, recalls),
    ]
    named = measure.named_recalls(points, k)
    tables += [named] if named else []
    for table in tables:
        show.table(table)
    curves = measure.curves(points)
    show.heading("Written")
    show.path("points", write_points(out / "points.json", built, points, facts, k))
    try:
        figure = recall_figure(
            curves, out / "recall.png", k=k, title=trial.data.name, subtitle=facts["Data"], targets=recalls
        )
        show.path("figure", figure)
    except MissingExtraError as error:
        show.missing(error)
    title = f"vsearch on {trial.data.name}"
    report = write_report(
        out / "report.html", title=title, lead="; ".join(headline(facts)), curves=curves, k=k,
        targets=recalls, tables=tables, facts=facts,
    )  # fmt: skip
    show.path("report", report)


def parse_recalls(text: str) -> list[float]:
    """Read recalls with commas between, smallest first.

    Examples
    --------
    >>> parse_recalls("0.95,0.9")
    [0.9, 0.95]
    """
    try:
        recalls = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        recalls = []
    if not recalls or recalls[0] <= 0 or recalls[-1] > 1:
        raise ParameterError(
            f"`targets` must be recalls in (0, 1] with commas between, such as 0.9,0.95; got {text!r}."
        )
    return recalls


def write_points(path: Path, built: list[measure.Built], points: list[Point], facts: dict[str, str], k: int) -> Path:
    """Write every measured point as JSON, for other programs to draw or compare."""
    content = {
        "facts": facts,
        "k": k,
        "indexes": [
            {"label": one.label, "build_s": one.seconds, "bytes_per_vector": float(one.index.bytes_per_vector)}
            for one in built
        ],
        "points": [asdict(point) for point in points],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
