"""Export and import give the same collection; `check` sees what is wrong with one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import checking, exchange, upkeep

EVERYTHING = ("documents", "metadata", "vectors")


def comparable(box: vs.Collection) -> list[Any]:
    return [
        (record[:3], None if record.vector is None else record.vector.tolist())
        for record in box.iterate(include=EVERYTHING)
    ]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[vs.Collection]:
    with vs.Collection.open(tmp_path / "box", metric="l2") as opened:
        X = np.random.default_rng(1).standard_normal((30, 3)).astype(np.float32)
        texts = [None if i == 3 else f'"line"\n{i} é' for i in range(30)]
        opened.add(list(range(30)), [None if i == 4 else X[i] for i in range(30)], texts, [{"i": i} for i in range(30)])
        yield opened


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_there_and_back(box: vs.Collection, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(exchange, "BATCH", 7)
    file = tmp_path / f"out.{kind}"
    assert exchange.export(box, file) == 30
    with vs.Collection.open(tmp_path / "back", metric="l2") as back:
        for _ in range(2):  # a second time replaces
            assert exchange.load_into(back, file) == 30
            assert comparable(back) == comparable(box)
    assert exchange.export(box, file, where={"i": {"$lt": 2}}) == 2


def test_ids_of_both_kinds_need_json(box: vs.Collection, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    box.add(["5"], [[1, 2, 3]])
    with pytest.raises(vs.ParameterError, match="both ints and strs"):
        exchange.export(box, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    exchange.export(box, tmp_path / "out.jsonl")
    with vs.Collection.open(tmp_path / "back", metric="l2") as back:
        assert exchange.load_into(back, tmp_path / "out.jsonl") == 31
        assert comparable(back) == comparable(box)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"id": 1, "vector": [1, 2]}\n{"id":', "line 2, is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1, must be a JSON object"),
        ("a.jsonl", b'{"id": 1, "vector": [1, 2]}\n{"vector": [1, 2]}\n', "record 2 has no id"),
        (
            "a.jsonl",
            b'{"id": 1, "text": "lost"}',
            "a.jsonl: record 1 has the unknown field 'text'; known are id, document,",
        ),
        ("a.jsonl", b'{"id": [1]}', r"a.jsonl: record 1 must have an int or a str as its id; got \[1\]"),
        ("a.jsonl", b'{"id": true}', "record 1 must have an int or a str as its id; got True"),
        ("a.jsonl", b'{"id": 1}\n{"id": 2, "document": 3}\n', "a.jsonl, records 1 to 2: `documents` must be a str"),
        ("a.jsonl", b'{"id": 1, "vector": [1, 2]}\n{"id": 2, "vector": [1]}\n', "a.jsonl, records 1 to 2: `vectors`"),
        ("a.jsonl", b'{"id": 1, "vector": ["x"]}', "a.jsonl, record 1: `vectors`"),
        ("a.jsonl", b'{"id": 1, "document": "\xff"}', "line 1, is not JSON: 'utf-8' codec"),
        ("a.parquet", b"PAR1 and nothing else", "cannot be read as Parquet"),
        ("a.csv", b"", "must end in .jsonl or .parquet"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with vs.Collection.open(tmp_path / "box") as box, pytest.raises((vs.FormatError, vs.ParameterError), match=words):
        exchange.load_into(box, tmp_path / name)


def test_errors_count_records_of_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BATCH", 2)
    lines = [json.dumps({"id": i, "vector": [1, 2] if i < 3 else [1]}) for i in range(4)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    with vs.Collection.open(tmp_path / "box") as box:
        with pytest.raises(vs.FormatError, match=r"a\.jsonl, records 3 to 4: `vectors`"):
            exchange.load_into(box, tmp_path / "a.jsonl")
        assert len(box) == 2


def test_unknown_columns_of_parquet_are_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"id": [1], "text": ["lost"]}), tmp_path / "a.parquet")
    with vs.Collection.open(tmp_path / "box") as box, pytest.raises(vs.FormatError, match="unknown field 'text'"):
        exchange.load_into(box, tmp_path / "a.parquet")


def test_a_file_of_texts_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"id": text, "document": text}) for text in ("aa", "b", "aa")), "utf-8"
    )
    with vs.Collection.open(tmp_path / "box", embedding=lambda texts: [[len(text), 1.0] for text in texts]) as box:
        assert exchange.load_into(box, tmp_path / "a.jsonl") == 3
        assert [vector for _, vector in comparable(box)] == [[2, 1], [1, 1]]
        assert box.query("cc", 1)[0].id == "aa"


def sick(folder: Path, sql: str) -> list[str]:
    """Problems after damage done behind the collection's back."""
    connection = sqlite3.connect(folder / "collection.db")
    connection.execute(sql)
    connection.commit()
    connection.close()
    return checking.check(str(folder)).problems


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM documents WHERE row = 2", "1 vectors belong to no record"),
        ("UPDATE documents SET document = 'other' WHERE row = 2", "full-text index does not fit"),
        ("UPDATE documents SET metadata = '{' WHERE row = 2", "1 records have metadata that is not JSON"),
        ("UPDATE documents SET id = 1.5 WHERE row = 2", "neither int nor str"),
        ("UPDATE vectors SET vector = x'00' WHERE row = 2", "1 vectors do not have 3 dimensions"),
        ("UPDATE vectors SET vector = x'0000c07f0000000000000000' WHERE row = 2", "1 vectors are not finite"),
        ("UPDATE state SET next_row = 7", "still to be given"),
        ("INSERT INTO removed VALUES (2, 9)", "logged as removed"),
        ("UPDATE state SET snapshot = 5, snapshot_end = 9", "made again"),
    ],
)
def test_check_sees_damage(box: vs.Collection, tmp_path: Path, sql: str, words: str) -> None:
    box.close()
    report = checking.check(str(tmp_path / "box"))
    assert report == checking.Report(30, 29, "l2", 3, [])
    problems = sick(tmp_path / "box", sql)
    assert any(words in problem for problem in problems), problems


def test_check_looks_at_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "EXACT_BELOW", 10)
    with vs.Collection.open(tmp_path / "box", metric="l2", index=lambda metric: vs.IVF(2, metric)) as box:
        box.add(list(range(40)), np.random.default_rng(0).standard_normal((40, 3)))
        box.optimize()
    assert checking.check(str(tmp_path / "box")).problems == []
    (file,) = (tmp_path / "box").glob("*.vsx")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    assert "is made again" in checking.check(str(tmp_path / "box")).problems[0]
    vs.IVF(1).fit(np.eye(3)).save(file)
    assert checking.check(str(tmp_path / "box")).problems == [
        "the index lacks records, and is made again when the collection is opened"
    ]
    with pytest.raises(FileNotFoundError, match="holds no collection"):
        checking.check(str(tmp_path))
