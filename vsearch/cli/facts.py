"""What ran where, in words: the data set, the machine, the kernels."""

from __future__ import annotations

from vsearch import kernels
from vsearch.evaluate import machine_facts
from vsearch.evaluate.datasets import Dataset


def facts_of(data: Dataset) -> dict[str, str]:
    """Return the facts that head a table and close a report."""
    info = kernels.info()
    what = f"{data.n:,} vectors of {data.dim} dimensions, {data.metric}, {data.nq:,} queries ({data.name})"
    facts = {"Data": what}
    if data.source:
        facts["Source"] = data.source
    return facts | machine_facts() | {"Kernels": f"{info['backend']} ({info['isa']})"}
