"""What ran where, in words: the data set, the machine, the kernels."""

from __future__ import annotations

import vsearch as vs
from vsearch import kernels
from vsearch._text import counted
from vsearch.evaluate import machine_facts
from vsearch.evaluate.datasets import Dataset


def facts_of(data: Dataset) -> dict[str, str]:
    """Return the facts that head a table and close a report."""
    info = kernels.info()
    size = f"{counted(data.n, 'vector')} of {counted(data.dim, 'dimension')}"
    facts = {"Data set": data.name, "Data": f"{size}, {data.metric}"}
    if data.source:
        facts["Source"] = data.source
    return facts | machine_facts() | {"Kernels": f"{info['backend']} ({info['isa']})", "vsearch": vs.__version__}


def headline(facts: dict[str, str]) -> tuple[str, str]:
    """Return the facts that matter most in two lines: what was searched, and on what."""
    return f"{facts['Data set']}: {facts['Data']}", f"{facts['Processor']}; {facts['Kernels']}"
