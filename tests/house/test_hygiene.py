"""What must not be in the tree: unsafe loading, code for one machine, paths of one disk, unfinished work."""

from __future__ import annotations

import re

import pytest
from repository import ROOT, files, shown

TEXT = {".py", ".pyi", ".cpp", ".hpp", ".h", ".txt", ".cmake", ".toml", ".md", ".sh", ""}
TREE = [
    path
    for folder in ("vsearch", "csrc", "tests", "bench", "datasets", ".ci")
    for path in files(folder, suffixes=TEXT)
    if path.name != "test_hygiene.py"
] + sorted([*ROOT.glob("*.toml"), *ROOT.glob("*.md")])

RULES = {
    "unpickling runs code: never load a pickle": r"pickle\.load|allow_pickle\s*=\s*True|torch\.load",
    "what is built here runs on other machines": r"^[^#/]*-(march=native|Ofast|ffast-math)",
    "a path of one machine": r"/(home|Users|root|opt|work)/\w",
    "unfinished: do it, or name it in an issue": r"\b(TODO|FIXME|XXX|HACK)\b",
    "OpenMP: two runtimes in one process crash": r"^\s*#\s*(pragma\s+omp|include\s+<omp\.h>)|find_package\(OpenMP",
}


@pytest.mark.parametrize("why", RULES)
def test_tree_has_none(why: str) -> None:
    rule = re.compile(RULES[why])
    faults = [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in TREE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if rule.search(line)
    ]
    assert not faults, why + "\n" + "\n".join(faults)


def test_text_ends_in_one_newline_and_has_no_tabs() -> None:
    faults = []
    for path in TREE:
        text = path.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or text.endswith("\n\n") or "\t" in text or "\r" in text):
            faults.append(shown(path))
    assert not faults, "\n".join(faults)
