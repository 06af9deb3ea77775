"""One HTML file that tells a benchmark: table, interactive figure, answers in words, the machine it ran on.

Self-contained on purpose: style, script and figure are in the file and it asks the network for nothing, so it can be
mailed, put on a wiki or opened in ten years. It is readable with scripts off; they add tool tips, hiding a line by
clicking its name, and sorting a table by clicking a heading.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from vsearch.evaluate.chart import recall_chart
from vsearch.evaluate.sweep import Point

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table of a report: headings, rows of text and numbers, how each column's numbers are written.

    ``formats`` holds one format specification per column ("" for text), such as ",.0f"; None cells stay empty.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    formats: Sequence[str]
    note: str = ""

    def text(self, row: Sequence[Cell]) -> list[str]:
        """Return one row as it is shown.

        Examples
        --------
        >>> from vsearch.evaluate import Table
        >>> Table("", ["index", "QPS"], [], ["", ",.0f"]).text(["Flat", 12345.6])
        ['Flat', '12,346']
        """
        shown = zip(row, self.formats, strict=True)
        return ["" if cell is None else cell if isinstance(cell, str) else format(cell, spec) for cell, spec in shown]


@dataclass(frozen=True)
class Answer:
    """A question in words, who answered it in how many microseconds, and the texts found with their distances."""

    question: str
    by: str
    us: float
    hits: Sequence[tuple[float, str]]


def write_report(
    path: str | Path,
    *,
    title: str,
    lead: str = "",
    curves: Mapping[str, Sequence[Point]] | None = None,
    k: int = 10,
    targets: Sequence[float] = (0.95,),
    tables: Sequence[Table] = (),
    answers: Sequence[Answer] = (),
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write the report and return its path.

    Parameters
    ----------
    path : str or Path
        Where the HTML file goes; missing folders are made.
    title, lead : str
        Heading and the sentence below it.
    curves : mapping of str to list of Point
        One sweep per index, for the figure.
    k : int
        Neighbours per query.
    targets : sequence of float
        Recalls marked in the figure.
    tables : sequence of Table
        The first stands above the figure, the others below it.
    answers : sequence of Answer
        Questions answered in words.
    facts : mapping of str to str
        What ran where; `machine_facts` by default.

    Examples
    --------
    >>> write_report("report.html", title="IVF on sift", curves={"IVF": points})  # doctest: +SKIP
    """
    body = [_table(table) for table in tables[:1]]
    chart = recall_chart(curves or {}, k, targets)
    if chart:
        body.append(
            f"<h2>Speed and recall</h2>{chart}"
            '<p class="note">Each dot is one effort; up and to the right is better. Point at a dot for its numbers, '
            "click a name to hide its line.</p>"
        )
    body += [_table(table) for table in tables[1:]]
    if answers:
        body.append(f'<h2>Answers in words</h2><div class="answers">{"".join(map(_answer, answers))}</div>')
    facts = machine_facts() if facts is None else facts
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    body.append(f"<h2>Where this was measured</h2><dl>{rows}</dl>")
    footer = "Written by vsearch. This file needs no network and asks for nothing from it."
    page = Template(files("vsearch.evaluate").joinpath("report.html").read_text(encoding="utf-8"))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = page.substitute(title=escape(title), lead=escape(lead), body="\n".join(body), footer=footer)
    path.write_text(text, encoding="utf-8")
    return path


def machine_facts() -> dict[str, str]:
    """Return what a reader needs to place a measurement: processor, memory, system, versions.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import machine_facts
    >>> machine_facts()["NumPy"] == np.__version__
    True
    """
    facts = {"Processor": f"{_processor()}, {os.cpu_count()} cores visible"}
    memory = _memory_gib()
    if memory:
        facts["Memory"] = f"{memory:.0f} GiB"
    facts["System"] = f"{platform.system()} {platform.release()}, {platform.machine()}"
    facts["Python"] = platform.python_version()
    facts["NumPy"] = np.__version__
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # not a POSIX system, or one that does not say
        return 0.0


def _table(table: Table) -> str:
    heads = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = []
    for row in table.rows:
        cells = []
        for cell, text in zip(row, table.text(row), strict=True):
            value = f' data-value="{cell}"' if isinstance(cell, (int, float)) else ""
            cells.append(f"<td{value}>{escape(text)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _answer(answer: Answer) -> str:
    hits = []
    for distance, text in answer.hits:
        head, mark, rest = text.partition(": ")
        words = f"<b>{escape(head)}</b>{mark}{escape(rest)}" if mark else escape(text)
        hits.append(f'<li>{words} <span class="d">{distance:.3f}</span></li>')
    by = f"{escape(answer.by)}, {answer.us:,.0f} µs"
    return (
        f'<div class="answer"><q>{escape(answer.question)}</q><div class="by">{by}</div><ol>{"".join(hits)}</ol></div>'
    )
