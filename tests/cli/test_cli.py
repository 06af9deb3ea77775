"""The commands do what they say, and say in one sentence what they cannot do."""

from __future__ import annotations

import builtins
import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

import vsearch as vs
from vsearch import cli
from vsearch.cli import show
from vsearch.cli.app import app
from vsearch.evaluate import Table
from vsearch.evaluate.datasets import load_dataset

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


def test_build_chooses_what_does_as_asked(vectors: Path, tmp_path: Path) -> None:
    path = tmp_path / "chosen.vsx"
    text = run("build", vectors, path, "--metric", "cosine", "--recall", "0.9").output
    chosen = vs.load(path)
    assert isinstance(chosen, vs.Graph) and chosen.recall == 0.9 and text.startswith("Graph(metric='cosine'")
    run("build", vectors, path, "--metric", "cosine", "--memory", "400kB")
    assert isinstance(vs.load(path), vs.IVF) and vs.load(path).nbytes <= 400_000
    doubt = run("build", vectors, path, "--metric", "cosine", "--memory", "130kB", "--recall", "1").output
    assert "recall 1 was not reached within 130 kB; Flat(" in doubt and vs.load(path).nbytes <= 130_000
    run("build", vectors, path, "--metric", "cosine", "--index", "ivf16", "--recall", "0.8")
    assert isinstance(vs.load(path), vs.IVF) and vs.load(path).recall == 0.8


def test_demo_measures_three_indexes(demo: tuple[str, Path]) -> None:
    text, _ = demo
    rows = re.findall(
        r"^  (Flat|IVF|IVF \+ RaBitQ 1 bit) +([\d.]+) +([\d,]+) +([\d,.]+) +([\d,]+) +([\d,]+) ", text, re.M
    )
    assert [row[0] for row in rows] == ["Flat", "IVF", "IVF + RaBitQ 1 bit"]
    flat, ivf, codes = rows
    assert float(flat[1]) == 1.0 and min(float(ivf[1]), float(codes[1])) > 0.9
    assert all(len(line) <= 100 for line in text.splitlines() if "recall.png" not in line and "report.html" not in line)
    assert "4 indexes of the same vectors" in text and "recall=0.95 was calibrated on 250 other queries" in text


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


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the first rows of the data set with texts, by codes that stand for them only roughly."""
    path = tmp_path_factory.mktemp("words") / "words.vsx"
    run("build", "wordnet-10k-384-angular", path, "--index", "flat-rabitq1-norefine", "--limit", "3000")
    return path


def test_a_part_of_a_data_set_is_shown_by_its_texts(words: Path) -> None:
    text = run("query", words, "--text", "arachnophobia", "--k", "3").output
    assert " id " not in text and "whose texts are not shown" not in text and ": " in text
    answer = json.loads(run("query", words, "--text", "arachnophobia", "--k", "3", "--json").output)
    assert len(answer["texts"]) == 3


@pytest.mark.parametrize("n", [1, 40, 10_000])
def test_other_vectors_are_not_shown_by_texts(tmp_path: Path, n: int) -> None:
    np.save(tmp_path / "r.npy", np.random.default_rng(3).normal(size=(n, 384)).astype(np.float32))
    run("build", tmp_path / "r.npy", tmp_path / "r.vsx", "--index", "flat", "--metric", "cosine")
    for more in ((), ("--data", "wordnet-10k-384-angular")):
        text = run("query", tmp_path / "r.vsx", "--text", "arachnophobia", "--k", "1", *more).output
        assert re.search(r"^    \d\.\d{3}  id \d+$", text, re.M) and "whose texts are not shown" in text
    assert "texts" not in json.loads(run("query", tmp_path / "r.vsx", "--text", "arachnophobia", "--json").output)


def test_a_shuffled_data_set_is_not_shown_by_texts(tmp_path: Path) -> None:
    rows = np.asarray(load_dataset().train[::-1], np.float32)
    vs.Flat("cosine").fit(rows).save(tmp_path / "r.vsx")
    assert " id " in run("query", tmp_path / "r.vsx", "--text", "arachnophobia", "--k", "1").output


def test_words_are_looked_up_whole_first(words: Path) -> None:
    text = run("query", words, "--text", "cat", "--k", "1", "--limit", "1").output
    assert re.search(r"“.*\bcat\b.*”", text)
    assert "rachnopho" in run("query", words, "--text", "rachnopho", "--k", "1").output


def test_the_limit_of_queries_is_kept_and_told(index: Path, vectors: Path, tmp_path: Path) -> None:
    text = run("query", index, vectors, "--k", "1").output
    assert text.count("“query ") == 10 and "10 of 2,000 queries; --limit asks more" in text
    assert run("query", index, vectors, "--k", "1", "--json").output.count("\n") == 2000
    run("query", index, vectors, "--k", "1", "--limit", "2", "--out", tmp_path / "near.npz")
    with np.load(tmp_path / "near.npz") as answers:
        assert answers["ids"].shape == (2, 1)
    both = ("--text", "arachnophobia", "--text", "irrational fears", "--limit", "1")
    run("build", "wordnet-10k-384-angular", tmp_path / "w.vsx", "--index", "flat", "--limit", "20")
    assert "1 of 2 queries" in run("query", tmp_path / "w.vsx", *both).output


def test_effort_is_explained_for_every_index() -> None:
    (option,) = [option for option in get_command(app).commands["query"].params if option.name == "effort"]  # type: ignore[attr-defined]
    assert option.help == "Effort instead of a recall: lists looked at (IVF), most vertices visited (graph)."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("query", "no.vsx", "POINTS", "--out", "."), "`out` must be a file that ends in .npz; '.' is a folder."),
        (("query", "no.vsx", "POINTS", "--out", "o.csv"), "`out` must be a file that ends in .npz; got 'o.csv'."),
        (("build", "no.npy", "."), "`out` must be a file; '.' is a folder."),
        (("build", "no.npy", "no/x.vsx"), "`out` must be a file in a folder that exists; got"),
        (("bench", "no.npy", "--out", "POINTS"), "`out` must be a folder; 'POINTS' is a file."),
        (("demo", "--out", "POINTS/deep/er"), "`out` must be a folder; 'POINTS' is a file."),
        (("rag-demo", "--path", "POINTS"), "`path` must be a folder; 'POINTS' is a file."),
    ],
)
def test_where_nothing_can_be_written_no_work_is_done(vectors: Path, arguments: tuple[str, ...], words: str) -> None:
    where = [argument.replace("POINTS", str(vectors)) for argument in arguments]
    assert words.replace("POINTS", str(vectors)) in run(*where, code=2).stderr


def test_tables_fit_their_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [1.0, 64772.0, 700.1, 104282.0, 1544.0, 10.11]
    columns = ["index", "recall@10", "QPS", "µs a query", "batch QPS, 16 thr.", "bytes a vector", "build s"]
    for label, width in product(("IVF + RaBitQ 1 bit", "Graph 96 compact + SAQ 4 bits, int8"), (60, 80, 100)):
        monkeypatch.setattr(show.console, "_width", width)
        table = Table(
            "", columns, [["Flat", *numbers], [label, *numbers]], ["", *[".4f", ",.0f", ",.1f"], *3 * [",.0f"]]
        )
        show.table(table)
        text = capsys.readouterr().out
        assert all(len(line) <= width for line in text.splitlines()) and "…" not in text
        assert all(text.count(cell) == 2 for cell in ("1.0000", " 64,772 ", " 700.1 ", " 104,282 ", " 1,544 "))
        assert set(label.split()) <= set(text.split())
        assert (label in text) == (width == 100 or (width == 80 and "RaBitQ" in label))


def test_a_missing_extra_is_named_whole(capsys: pytest.CaptureFixture[str], vectors: Path, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise vs.MissingExtraError("pip install 'vsearch-ann[report]'")

    options = ("--passes", "1", "--out", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.cli.demo.recall_figure", refuse)
        patch.setattr("vsearch.cli.demo.INDEXES", "flat")
        patch.setattr("vsearch.cli.bench.recall_figure", refuse)
        assert "pip install 'vsearch-ann[report]'" in run("demo", *options).output
        text = run("bench", vectors, "--index", "flat", "--queries", "50", "--limit", "100", *options).output
    assert "pip install 'vsearch-ann[report]'" in text
    assert "calibrated" not in text  # what is exact has nothing to calibrate
    assert "50 vectors of 24 dimensions" in text


def test_one_of_a_thing_is_singular(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.ones((1, 3), np.float32))
    run("build", tmp_path / "one.npy", tmp_path / "one.vsx", "--index", "flat")
    assert "1 vector, whole" in run("check", tmp_path / "one.vsx").output


def test_datasets_list_shows_what_is_here() -> None:
    text = run("datasets", "list").output
    assert re.search(r"wordnet-10k-384-angular +10,000 +384 +cosine +8.65 MB +yes", text)
    assert "sift-128-euclidean" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "no-such-set"), "must be"),
        (("build", "nope", "x.vsx"), "`data` must be the name of a known data set or an existing file; got 'nope'."),
        (("bench", "wordnet-10k-384"), "or an existing file; got 'wordnet-10k-384'. Did you mean wordnet-10k-384-angu"),
        (("bench", "wordnet-10k-384-angular", "--index", "hnsw"), "`index` must be a name such as flat"),
        (("bench", "wordnet-10k-384-angular", "--targets", "1.5"), "`targets` must be recalls in (0, 1]"),
        (
            ("build", "x.npy", "x.vsx", "--lists", "4"),
            "`lists` must be given with an `index`, such as ivf-rabitq; got 4.",
        ),
        (
            ("build", "x.npy", "x.vsx", "--bits", "4"),
            "`bits` must be given with an `index`, such as ivf-rabitq; got 4.",
        ),
        (
            ("build", "x.npy", "x.vsx", "--index", "flat", "--memory", "1MB"),
            "`memory` must not be given with `index`, whose size is its own; got '1MB'.",
        ),
        (
            ("build", "wordnet-10k-384-angular", "x.vsx", "--memory", "lots"),
            "`memory` must be a number of bytes, or in",
        ),
        (
            ("build", "wordnet-10k-384-angular", "x.vsx", "--recall", "2"),
            "`recall` must be a number in (0, 1]; got 2.0.",
        ),
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


@pytest.mark.parametrize("needed", ["typer", "rich"])
def test_without_typer_the_extra_is_named(
    needed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == needed:
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == f"The vsearch command needs {needed}: pip install 'vsearch-ann[cli]'\n"
