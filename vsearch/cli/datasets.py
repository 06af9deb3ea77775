"""`vsearch datasets list | get`: the public data sets that vsearch knows by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vsearch._text import kilobytes
from vsearch.cli import show
from vsearch.evaluate import Table
from vsearch.evaluate.datasets import download, list_datasets


def list_known() -> None:
    """Show the known data sets and which of them are on this machine."""
    rows = [
        [entry.name, entry.n, entry.dim, entry.metric, kilobytes(entry.size), "yes" if entry.is_here() else ""]
        for entry in list_datasets()
    ]
    show.table(Table("", ["data set", "vectors", "dim", "metric", "size", "here"], rows, ["", ",d", "d", "", "", ""]))


def get(
    name: Annotated[str, typer.Argument(help="A name from vsearch datasets list.")],
    folder: Annotated[Path | None, typer.Option(help="Where it goes; $VSEARCH_DATA or ~/.cache/vsearch.")] = None,
) -> None:
    """Download a data set; resumes where it was interrupted, and checks what arrived."""
    for path in download(name, folder, progress=True):
        show.path("here", path)
