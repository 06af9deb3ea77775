"""Files and functions stay small enough to be read in one go: 600 lines a file, 80 a function, at the very most."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import cpp_files, files, python_files, shown

FILE_LINES = 600
FUNCTION_LINES = 80
FOLDERS = ("vsearch", "csrc", "tests", "bench", "datasets")

# In this house style a function's first line ends in "{" and its last starts with "}" at the same indentation.
_NOT_A_FUNCTION = re.compile(r"\s*(namespace|class|struct|enum|union|extern|if|for|while|switch|else|do|try|case)\b")


def python_functions(source: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def cpp_functions(source: str) -> Iterator[tuple[str, int, int]]:
    lines = source.splitlines()
    for start, line in enumerate(lines):
        if not re.match(r"( {4})?[A-Za-z~].*\(", line) or _NOT_A_FUNCTION.match(line):
            continue
        indent = line[: len(line) - len(line.lstrip())]
        body = start  # a long signature goes on over deeper lines
        while not lines[body].endswith("{") and body + 1 < len(lines) and lines[body + 1].startswith(indent + "    "):
            body += 1
        if lines[body].endswith("{"):
            end = next((i for i in range(body + 1, len(lines)) if lines[i].startswith(indent + "}")), body)
            yield line.strip(), start + 1, end - start + 1


def test_files_stay_under_the_cap() -> None:
    long = [
        f"{shown(path)}: {count} lines"
        for path in files(*FOLDERS, suffixes={".py", ".cpp", ".hpp", ".txt", ".cmake"})
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES
    ]
    assert not long, "\n".join(long)


def long_functions(paths: list[Path], functions: object) -> list[str]:
    return [
        f"{shown(path)}:{line}: {name} has {count} lines"
        for path in paths
        for name, line, count in functions(path.read_text(encoding="utf-8"))  # type: ignore[operator]
        if count > FUNCTION_LINES
    ]


def test_python_functions_stay_under_the_cap() -> None:
    long = long_functions(python_files(*FOLDERS), python_functions)
    assert not long, "\n".join(long)


def test_cpp_functions_stay_under_the_cap() -> None:
    long = long_functions(cpp_files("csrc", "tests"), cpp_functions)
    assert not long, "\n".join(long)


@pytest.mark.parametrize("head", ["void f(int a) {", "    bool g() const {", "T h(const T& t,\n    int k) noexcept {"])
def test_the_measure_sees_a_long_cpp_function(head: str) -> None:
    indent = head[: len(head) - len(head.lstrip())]
    source = "\n".join(["namespace n {", head, *[f"{indent}    ++a;"] * 90, indent + "}", "}"])
    assert [count for _, _, count in cpp_functions(source)] == [91 + len(head.splitlines())]
