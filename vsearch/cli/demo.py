"""`vsearch demo`: the whole engine in half a minute, on real embeddings that come with it.

Builds an exact index, an IVF, an IVF over RaBitQ codes and a graph of 10,000 WordNet glosses, measures them, answers
questions in words, and leaves a figure and a report. Nothing is downloaded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vsearch.cli import given, measure, show
from vsearch.cli.facts import facts_of, headline
from vsearch.cli.specs import parse_indexes
from vsearch.errors import MissingExtraError
from vsearch.evaluate import Answer, Point, recall_figure, write_report
from vsearch.evaluate.datasets import Dataset, load_dataset

INDEXES = "flat,ivf,ivf-rabitq,graph"
RECALL = 0.95
K = 10

#: Usage examples from WordNet: to be looked up among glosses that were embedded without them.
QUESTIONS = (
    "Sputnik was the first man-made satellite to orbit the earth",
    "they collected mushrooms in the wild",
    "irrational fears",
    "The cattle roam across the prairie",
    "beat the egg whites",
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the report.")] = Path("vsearch-demo"),
    passes: Annotated[int, typer.Option(min=1, help="Timed passes over every setting; the best counts.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for building and batches; all by default.")
    ] = None,
) -> None:
    """Build, measure and ask four indexes of real text embeddings. Downloads nothing."""
    given.check_folder(out)
    start = time.perf_counter()
    data = load_dataset()
    facts = facts_of(data)
    show.heading("vsearch demo", *headline(facts))
    trial = measure.Trial.of(data, limit=data.nq)
    built = measure.build(trial, parse_indexes(INDEXES), threads)
    points = measure.measure(trial, built, K, targets=[RECALL], passes=passes, threads=threads, seconds=1.0)
    table = measure.overview(f"{len(built)} indexes of the same vectors", trial, built, points, K, RECALL)
    show.table(table)
    show.remark(comparison(points, built))

    answers = answer_in_words(data, built[-1])
    show.heading("Answers in words", f"by {built[-1].label}, recall={RECALL:g}; smaller distances are nearer")
    for answer in answers:
        show.question(answer.question, answer.us)
        for distance, text in answer.hits:
            show.hit(distance, text)

    curves = measure.curves(points)
    subtitle = f"{facts['Data']}; {facts['Processor']}"
    show.heading("Written")
    try:
        figure = recall_figure(curves, out / "recall.png", k=K, title=data.name, subtitle=subtitle)
        show.path("figure", figure)
    except MissingExtraError as error:
        show.missing(error)
    report = write_report(
        out / "report.html", title="vsearch demo", lead="; ".join(headline(facts)), curves=curves, k=K, tables=[table],
        answers=answers, facts=facts,
    )  # fmt: skip
    show.path("report", report)
    show.console.print(f"\n  {time.perf_counter() - start:.1f} s in all.", style="dim")


def comparison(points: list[Point], built: list[measure.Built]) -> str:
    """Say what the last index gains over the first, which is exact."""
    exact, chosen = built[0], built[-1]
    speed = {one.label: next(p.qps for p in reversed(points) if p.label == one.label) for one in (exact, chosen)}
    faster = speed[chosen.label] / speed[exact.label]
    smaller = chosen.index.bytes_per_vector / exact.index.bytes_per_vector
    return f"{chosen.label}: {faster:.1f} times the speed of {exact.label} in {smaller:.0%} of the memory."


def answer_in_words(data: Dataset, chosen: measure.Built) -> list[Answer]:
    """Ask the questions of QUESTIONS, or the first queries of a data set that lacks them."""
    texts, query_texts = data.texts or [], data.query_texts or []
    rows = [query_texts.index(question) for question in QUESTIONS if question in query_texts] or range(5)
    answers = []
    for row in rows:
        query = np.asarray(data.test, dtype=np.float32)[row]
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            ids, distances = chosen.index.search(query, 3, recall=RECALL)
            best = min(best, time.perf_counter() - start)
        hits = [(float(distance), texts[int(i)]) for i, distance in zip(ids, distances, strict=True) if i >= 0]
        answers.append(Answer(query_texts[row], f"{chosen.label}, recall={RECALL:g}", best * 1e6, hits))
    return answers
