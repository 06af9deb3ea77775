"""The commands do what they say, and say in one sentence what they cannot do."""

from __future__ import annotations

import builtins
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import vsearch as vs
from vsearch import cli
from vsearch.cli import show
from vsearch.cli.app import app

RUNNER = CliRunner()
show.console.width = show.WIDTH_OF_FILES  # the workers of pytest-xdist are told that they have 80 columns


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(40, 1, 24)) + 0.3 * rng.normal(size=(40, 50, 24))).reshape(-1, 24).astype(np.float32)
    path = tmp_path_factory.mktemp("vectors") / "points.npy"
    np.save(path, X)
    return path


@pytest.fixture(scope="module")
def index(vectors: Path) -> Path:
    path = vectors.with_name("points.vsx")
    run("build", vectors, path, "--index", "ivf16", "--bits", "4", "--metric", "cosine")
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("demo")
    return run("demo", "--out", out, "--passes", "1").output, out


def test_demo_measures_three_indexes(demo: tuple[str, Path]) -> None:
    text, _ = demo
    rows = re.findall(
        r"^  (Flat|IVF|IVF \+ RaBitQ 1 bit) +([\d.]+) +([\d,]+) +([\d,.]+) +([\d,]+) +([\d,]+) ", text, re.M
    )
    assert [row[0] for row in rows] == ["Flat", "IVF", "IVF + RaBitQ 1 bit"]
    flat, ivf, codes = rows
    assert float(flat[1]) == 1.0 and min(float(ivf[1]), float(codes[1])) > 0.9
    assert all(len(line) <= 100 for line in text.splitlines() if "recall.png" not in line and "report.html" not in line)


def test_demo_answers_in_words(demo: tuple[str, Path]) -> None:
    text, _ = demo
    assert text.count("“") == 5
    assert "arachnophobia" in text and "parasol mushroom" in text


def test_demo_writes_a_figure_and_a_report(demo: tuple[str, Path]) -> None:
    text, out = demo
    assert (out / "recall.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count('class="series"') == 4 and "arachnophobia" in report
    assert str(out / "recall.png") in text and str(out / "report.html") in text


def test_bench_measures_any_file(vectors: Path, tmp_path: Path) -> None:
    text = run(
        "bench", vectors, "--index", "flat,ivf8", "--queries", "50", "--passes", "1", "--out", tmp_path, "--k", "5"
    ).output
    assert "recall@5" in text and "QPS at 0.95" in text and "IVF 8" in text
    content = json.loads((tmp_path / "points.json").read_text(encoding="utf-8"))
    assert content["k"] == 5 and {one["label"] for one in content["indexes"]} == {"Flat", "IVF 8"}
    assert all(0 <= point["recall"] <= 1 and point["qps"] > 0 for point in content["points"])
    assert (tmp_path / "recall.png").exists() and (tmp_path / "report.html").exists()


def test_build_saves_what_was_named(index: Path) -> None:
    loaded = vs.load(index)
    assert isinstance(loaded, vs.IVF) and len(loaded) == 2000 and loaded.dim == 24


def test_info_says_what_a_file_holds(index: Path) -> None:
    text = run("info", index).output
    assert "IVF" in text and "2,000" in text and "RaBitQ" in text and "on disk" in text


def test_query_prints_neighbours(index: Path, vectors: Path) -> None:
    text = run("query", index, vectors, "--k", "3", "--limit", "2", "--recall", "0.99").output
    assert "“query 0”" in text and "“query 1”" in text and "query 2" not in text
    assert re.search(r"query 0”\n    -?0\.000  id 0\n", text)


def test_query_prints_json(index: Path, vectors: Path) -> None:
    lines = run("query", index, vectors, "--k", "3", "--limit", "2", "--effort", "16", "--json").output.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["ids"][0] for answer in answers] == [0, 1] and len(answers[0]["distances"]) == 3


def test_query_saves_all_answers(index: Path, vectors: Path, tmp_path: Path) -> None:
    run("query", index, vectors, "--k", "4", "--out", tmp_path / "near.npz")
    with np.load(tmp_path / "near.npz") as answers:
        assert answers["ids"].shape == answers["distances"].shape == (2000, 4)


def test_query_by_words_looks_vectors_up(tmp_path: Path) -> None:
    run("build", "wordnet-10k-384-angular", tmp_path / "words.vsx", "--index", "flat")
    text = run(
        "query", tmp_path / "words.vsx", "--text", "IRRATIONAL fears", "--text", "arachnophobia", "--k", "3"
    ).output
    assert "“irrational fears”" in text and text.count("arachnophobia: a morbid fear of spiders") == 3
    text = run("query", tmp_path / "words.vsx", "--text", "no such words", code=2).output
    assert "vsearch holds no embedding model" in text


def test_datasets_list_shows_what_is_here() -> None:
    text = run("datasets", "list").output
    assert re.search(r"wordnet-10k-384-angular +10,000 +384 +cosine +8.65 MB +yes", text)
    assert "sift-128-euclidean" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "no-such-set"), "must be"),
        (("bench", "wordnet-10k-384-angular", "--index", "hnsw"), "`index` must be a name such as flat"),
        (("bench", "wordnet-10k-384-angular", "--targets", "1.5"), "`targets` must be recalls in (0, 1]"),
        (("build", "wordnet-10k-384-angular", "x.vsx", "--index", "flat", "--lists", "4"), "`lists` must not be given"),
        (("build", "wordnet-10k-384-angular", "x.vsx", "--metric", "hamming"), "`metric` must be"),
        (("info", "no-such-file.vsx"), "no-such-file.vsx"),
        (("query", "no-such-file.vsx"), "either a file of vectors or --text; got neither"),
        (("datasets", "get", "wordnet-11k"), "wordnet-10k"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, code=2)
    assert words in result.stderr and "Traceback" not in result.output and result.stderr.count("\n") == 1


def test_a_foreign_file_is_one_sentence(vectors: Path) -> None:
    assert run("info", vectors, code=2).stderr.count("\n") == 1


def test_version_and_module_entry(tmp_path: Path) -> None:
    assert run("--version").output.strip() == f"vsearch {vs.__version__}"
    where = os.environ | {"PYTHONPATH": str(Path(vs.__file__).parent.parent)}
    command = [sys.executable, "-m", "vsearch", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"vsearch {vs.__version__}" and done.returncode == 0


def test_without_typer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "typer":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == "The vsearch command needs typer: pip install 'vsearch-ann[cli]'\n"
