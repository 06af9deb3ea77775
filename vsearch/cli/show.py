"""How the command line looks: one console, tables without boxes, paths that can be copied whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from vsearch.errors import MissingExtraError
from vsearch.evaluate import Table

#: Columns of output that goes to a file or a pipe; rich would take 80, too few for the tables here.
WIDTH_OF_FILES = 100

#: Columns left free before what stands below a heading.
INDENT = 2

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
    rows = [content.text(row) for row in content.rows]
    gap, widths = _layout(content.columns, rows)
    shown = RichTable(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for position, (name, width) in enumerate(zip(content.columns, widths, strict=True)):
        left = position == 0
        justify: Literal["left", "right"] = "left" if left else "right"
        shown.add_column(name, justify=justify, vertical="bottom", style="bold" if left else "", width=width)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    if content.title:
        heading(content.title)
    console.print(Padding(shown, (0, 0, 0, INDENT)))
    if content.note:
        console.print(Padding(Text(content.note, style="dim"), (0, 0, 0, INDENT)))


def _layout(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[int, list[int]]:
    """Return the gap between columns and the width of each.

    Where the terminal is narrow, headings take several lines, then labels do; numbers never. Left to choose, rich cuts
    labels short or numbers off.
    """
    cells = [[row[position] for row in rows] for position in range(len(columns))]
    widths = [max(map(len, [*name.split(), *column]), default=0) for name, column in zip(columns, cells, strict=True)]
    room = console.width - INDENT - sum(widths)
    gap = 3 if console.width >= WIDTH_OF_FILES and room >= 3 * len(widths) else 2
    room -= gap * len(widths)  # rich leaves a gap after the last column as well
    if room < 0:
        widths[0] = max([1, widths[0] + room, *(len(word) for label in cells[0] for word in label.split())])
    for position in sorted(range(len(widths)), key=lambda position: len(columns[position]) - widths[position]):
        more = max(0, min(len(columns[position]) - widths[position], room))
        widths[position] += more
        room -= more
    return gap, widths


def remark(words: str) -> None:
    """Print a sentence that the numbers above it say."""
    console.print(Padding(Text(words), (0, 0, 0, INDENT)))


def question(words: str, us: float | None = None) -> None:
    """Print what was asked, and in how many microseconds it was answered."""
    took = "" if us is None else f"   {us:,.0f} µs"
    console.print()
    console.print(Text.assemble(("  “" + words + "”", "bold cyan"), (took, "dim")))


def way(how: str, us: float) -> None:
    """Print one of several ways to ask the same, and in how many microseconds it was answered."""
    console.print()
    console.print(Text.assemble(("  " + how, "bold cyan"), (f"   {us:,.0f} µs", "dim")))


def missing(error: MissingExtraError) -> None:
    """Print what would have to be installed; not as markup, in which the extra's name is a style."""
    console.print(f"  {error}", style="yellow", markup=False)


def hit(distance: float, text: str) -> None:
    """Print one text that was found, on one line; in "words: gloss" the words stand out."""
    head, mark, rest = text.partition(": ")
    line = Text.assemble((f"    {distance:.3f}  ", "dim"), (head, "bold" if mark else ""), mark + rest)
    line.truncate(max(40, console.width), overflow="ellipsis")
    console.print(line, no_wrap=True)


def path(what: str, where: Path) -> None:
    """Print a path on a line of its own, never wrapped, so that it can be copied or clicked."""
    console.print(Text.assemble((f"  {what:<8}", "dim"), str(where.resolve())), soft_wrap=True)
