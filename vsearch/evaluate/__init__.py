"""Measure an index: exact truth, recall with fair ties, sweeps, the Pareto front, figures and reports.

data = load_dataset("glove-100-angular")               a known set or a file (datasets.py, formats.py, hdf5.py)
truth = Truth(X, Q, k=10, metric="cosine")            what is right (truth.py, recall.py)
points = sweep(index, Q, truth, efforts=[1, 4, 16])   recall and speed of each effort (sweep.py)
qps_at(points, 0.95)                                  speed at a named recall (pareto.py)
recall_figure({"IVF": points}, "recall.png")          a PNG (figures.py, needs matplotlib)
write_report("report.html", ...)                      one HTML file that needs no network (report.py)
"""

from __future__ import annotations

from vsearch.evaluate.datasets import Dataset, download, list_datasets, load_dataset
from vsearch.evaluate.figures import recall_figure
from vsearch.evaluate.pareto import pareto, qps_at
from vsearch.evaluate.recall import Truth, id_recall, recall_at_k
from vsearch.evaluate.report import Answer, Table, machine_facts, write_report
from vsearch.evaluate.sweep import Point, default_efforts, sweep, sweep_all
from vsearch.evaluate.truth import ground_truth, pair_distances

__all__ = [
    "Answer",
    "Dataset",
    "Point",
    "Table",
    "Truth",
    "default_efforts",
    "download",
    "ground_truth",
    "id_recall",
    "list_datasets",
    "load_dataset",
    "machine_facts",
    "pair_distances",
    "pareto",
    "qps_at",
    "recall_at_k",
    "recall_figure",
    "sweep",
    "sweep_all",
    "write_report",
]
