"""How the command line looks: one console, tables without boxes, paths that can be copied whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from vsearch.evaluate import Table

#: Columns of output that goes to a file or a pipe; rich would take 80, too few for the tables here.
WIDTH_OF_FILES = 100

console = Console(highlight=False, width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else WIDTH_OF_FILES)
problems = Console(stderr=True, highlight=False)


def heading(title: str, *below: str) -> None:
    """Print a bold line, and dim ones below it."""
    console.print()
    console.print(Text(title, style="bold"))
    for line in below:
        console.print(Text(line, style="dim"))


def table(content: Table) -> None:
    """Print a table: first column left and bold, numbers right."""
    shown = RichTable(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for position, name in enumerate(content.columns):
        left = position == 0
        shown.add_column(name, justify="left" if left else "right", style="bold" if left else "", no_wrap=not left)
    for row in content.rows:
        shown.add_row(*(Text(cell) for cell in content.text(row)))
    if content.title:
        heading(content.title)
    console.print(Padding(shown, (0, 0, 0, 2)))
    if content.note:
        console.print(Padding(Text(content.note, style="dim"), (0, 0, 0, 2)))


def remark(words: str) -> None:
    """Print a sentence that the numbers above it say."""
    console.print(Padding(Text(words), (0, 0, 0, 2)))


def question(words: str, us: float | None = None) -> None:
    """Print what was asked, and in how many microseconds it was answered."""
    took = "" if us is None else f"   {us:,.0f} µs"
    console.print()
    console.print(Text.assemble(("  “" + words + "”", "bold cyan"), (took, "dim")))


def hit(distance: float, text: str) -> None:
    """Print one text that was found, on one line; in "words: gloss" the words stand out."""
    head, mark, rest = text.partition(": ")
    line = Text.assemble((f"    {distance:.3f}  ", "dim"), (head, "bold" if mark else ""), mark + rest)
    line.truncate(max(40, console.width), overflow="ellipsis")
    console.print(line, no_wrap=True)


def path(what: str, where: Path) -> None:
    """Print a path on a line of its own, never wrapped, so that it can be copied or clicked."""
    console.print(Text.assemble((f"  {what:<8}", "dim"), str(where.resolve())), soft_wrap=True)


def kilobytes(count: float) -> str:
    """Return a number of bytes for a reader.

    Examples
    --------
    >>> kilobytes(512), kilobytes(15_360_000)
    ('512 B', '15.4 MB')
    """
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
