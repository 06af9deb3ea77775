"""`vsearch check`, `export`, `import` and `rag-demo` from the outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import vsearch as vs
from vsearch.cli import rag
from vsearch.cli.app import app

RUNNER = CliRunner()


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with vs.Collection.open(tmp_path / "box", metric="l2") as box:
        box.add(["a", "b"], np.eye(2), ["one", "two"], [{"n": 1}, {"n": 2}])
    return tmp_path / "box"


def test_out_and_in_again(folder: Path, tmp_path: Path) -> None:
    assert "2 records" in run("export", folder, tmp_path / "out.jsonl").output
    assert "1 record\n" in run("export", folder, tmp_path / "one.jsonl", "--where", '{"n": {"$gt": 1}}').output
    assert json.loads((tmp_path / "one.jsonl").read_text("utf-8"))["id"] == "b"
    output = run("import", tmp_path / "out.jsonl", tmp_path / "back", "--metric", "l2").output
    assert "2 records read, 2 in the collection" in output
    assert "2 records, 2 vectors of 2 dimensions, l2" in run("check", tmp_path / "back").output
    assert "must be JSON" in run("export", folder, tmp_path / "x.jsonl", "--where", "{", code=2).output
    run("import", tmp_path / "nothing.jsonl", tmp_path / "new", code=2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"id": ', "line 1, is not JSON"),
        ("a.csv", "", "must end in .jsonl or .parquet"),
        ("a.jsonl", '{"id": 1, "vector": [1, 2]}\n{"id": 2, "vector": [1]}', "a.jsonl, records 1 to 2: `vectors` must"),
        ("a.jsonl", '{"id": 1, "vector": [0, 0]}', "a.jsonl, record 1: "),
        ("a.jsonl", '{"id": 1, "vector": [1, 2], "text": "hello"}', "record 1 has the unknown field 'text'"),
    ],
)
def test_a_refused_file_leaves_no_folder(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    result = run("import", tmp_path / name, tmp_path / "new", code=2)
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_new_collection_is_asked_by_its_own_metric(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "vector": [0, 0]}', "utf-8")
    text = run("import", tmp_path / "a.jsonl", tmp_path / "new", "--metric", "l2").output
    assert "1 record read, 1 in the collection" in text
    assert "1 record read" in run("import", tmp_path / "a.jsonl", tmp_path / "new").output  # which is l2 already
    assert "1 record, 1 vector of 2 dimensions, l2" in run("check", tmp_path / "new").output
    (tmp_path / "none.jsonl").write_text("", "utf-8")
    assert "0 records read" in run("import", tmp_path / "none.jsonl", tmp_path / "empty").output
    assert "0 records, 0 vectors, cosine" in run("check", tmp_path / "empty").output


def test_what_is_no_collection_is_named(folder: Path, tmp_path: Path) -> None:
    result = run("export", tmp_path / "nope", tmp_path / "x.jsonl", code=2)
    assert result.stderr == f"{tmp_path / 'nope'} holds no collection.\n"
    run("export", folder, tmp_path / "x.jsonl")
    result = run("import", tmp_path / "x.jsonl", tmp_path / "x.jsonl", code=2)
    assert result.stderr == f"`path` must be a folder; {str(tmp_path / 'x.jsonl')!r} is a file.\n"
    assert "`out` must be a file" in run("export", folder, tmp_path, code=2).stderr


def test_check_tells_by_its_exit_code(folder: Path, tmp_path: Path) -> None:
    assert "whole" in run("check", folder).output
    database = folder / "collection.db"
    database.write_bytes(database.read_bytes()[:8192])
    assert run("check", folder, code=2).output
    vs.Flat().fit(np.eye(3)).save(tmp_path / "x.vsx")
    assert "3 vectors, whole" in run("check", tmp_path / "x.vsx").output
    run("check", tmp_path / "nothing", code=2)


def test_rag_demo_answers_four_ways(tmp_path: Path) -> None:
    output = run("rag-demo", "--path", tmp_path / "kept").output
    for words in ("10,000 records on disk", "as it is", '"kind": "verb"', "hybrid", "diversity", "Opened again"):
        assert words in output
    assert output.count(rag.QUESTION) == 1 and re.search(r'^  text="prairie", hybrid="rrf"   [\d,]+ µs$', output, re.M)
    with vs.Collection.open(tmp_path / "kept", read_only=True) as box:
        assert len(box) == 10_000
    assert "`question` must be given" in run("rag-demo", "--texts", tmp_path, code=2).output


def test_passages_are_whole_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("short\n\n" + "x" * rag.PASSAGE + "\n\nlast", "utf-8")
    (tmp_path / "a.txt").write_text("one\n\n\n\ntwo", "utf-8")
    assert rag.read_passages(tmp_path) == [
        ("a.txt", 0, "one\n\ntwo"),
        (str(Path("sub", "b.md")), 0, "short"),
        (str(Path("sub", "b.md")), 1, "x" * rag.PASSAGE),
        (str(Path("sub", "b.md")), 2, "last"),
    ]
    with pytest.raises(vs.ParameterError, match=r"must hold \.txt or \.md files"):
        rag.read_passages(tmp_path / "sub" / "nothing")
