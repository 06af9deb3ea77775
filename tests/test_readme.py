"""What README.md tells a reader to type works: the example runs, the commands are the ones CI runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vsearch

#: Where this vsearch was imported from: another Python started elsewhere shall take the same one.
INSTALLED = Path(vsearch.__file__).parent.parent

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def command_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```", README, flags=re.DOTALL)
    assert found, f"README.md has no <!-- {marker} --> before a code block"
    return found[1].strip()


def test_the_example_runs(tmp_path: Path) -> None:
    examples = blocks("python")
    assert all(len([line for line in example.splitlines() if line]) <= 12 for example in examples)
    example = "\n".join(examples)  # the later ones go on where the first ends
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(INSTALLED)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Graph(metric='cosine'" in done.stdout and (tmp_path / "vectors.vsx").stat().st_size > 100_000


@pytest.mark.parametrize(("marker", "ends"), [("demo-command", "vsearch demo"), ("test-command", "pytest -n auto")])
def test_commands_are_single_lines(marker: str, ends: str) -> None:
    command = command_after(marker)
    assert "\n" not in command and command.startswith("python3 -m venv .venv && ") and command.endswith(ends)


def test_every_extra_that_is_named_exists() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    known = set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))
    named = {extra for group in re.findall(r"'\.\[([\w,]+)\]'", README) for extra in group.split(",")}
    assert named and named <= known
