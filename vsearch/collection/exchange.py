"""Collections as files that other programs read: JSON lines, and Parquet where pyarrow is installed.

A line, or a row, is one record: id, document, metadata, vector. Decimals of nine digits give each float32 back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vsearch._typing import Path as AnyPath
from vsearch._validate import check_path
from vsearch.collection.collection import Collection
from vsearch.collection.rows import Record
from vsearch.errors import FormatError, MissingExtraError, ParameterError
from vsearch.storage.atomic import replacing, write_all

BATCH = 1000
EVERYTHING = ("documents", "metadata", "vectors")


def export(collection: Collection, path: AnyPath, where: Any = None) -> int:
    """Write all records that match to a .jsonl or .parquet file, whole or not at all, and return how many.

    Examples
    --------
    >>> import os, tempfile, numpy as np, vsearch as vs
    >>> folder = tempfile.mkdtemp()
    >>> with vs.Collection.open(os.path.join(folder, "a")) as box:
    ...     _ = box.add(["x"], np.ones((1, 2)), ["text"])
    ...     export(box, os.path.join(folder, "a.jsonl"))
    1
    """
    file = check_path("path", path)
    records = collection.iterate(where, include=EVERYTHING)
    if file.endswith(".parquet"):
        return _write_parquet(file, records)
    if not file.endswith((".jsonl", ".ndjson")):
        raise ParameterError(f"`path` must end in .jsonl or .parquet; got {file!r}.")
    count = 0
    with replacing(file) as opened:
        while batch := list(islice(records, BATCH)):
            write_all(opened, memoryview("".join(map(_line, batch)).encode()))
            count += len(batch)
    return count


def load_into(collection: Collection, path: AnyPath) -> int:
    """Upsert the records of a .jsonl or .parquet file, a thousand in a transaction, and return how many.

    Examples
    --------
    >>> import os, tempfile, vsearch as vs
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "a.jsonl"), "w") as file:
    ...     _ = file.write('{"id": 1, "vector": [1, 2], "document": "text"}')
    >>> with vs.Collection.open(os.path.join(folder, "a")) as box:
    ...     load_into(box, os.path.join(folder, "a.jsonl"))
    1
    """
    file = check_path("path", path)
    if file.endswith(".parquet"):
        rows = _read_parquet(file)
    elif file.endswith((".jsonl", ".ndjson")):
        rows = _read_lines(file)
    else:
        raise ParameterError(f"`path` must end in .jsonl or .parquet; got {file!r}.")
    count = 0
    while batch := list(islice(rows, BATCH)):
        missing = next((row for row in batch if "id" not in row), None)
        if missing is not None:
            raise FormatError(f"{file}: record {count + batch.index(missing) + 1} has no id.")
        last = {row["id"]: row for row in batch}.values()  # of an id that comes twice, the last counts
        vectors: list[Any] = [row.get("vector") for row in last]
        embed = collection.embedding is not None and all(vector is None for vector in vectors)
        collection.upsert(
            [row["id"] for row in last],
            None if embed else vectors,
            [row.get("document") for row in last],
            [row.get("metadata") or {} for row in last],
        )
        count += len(batch)
    return count


def _line(record: Record) -> str:
    head = json.dumps({"id": record.id, "document": record.document, "metadata": record.metadata}, ensure_ascii=False)
    numbers = "null" if record.vector is None else "[" + ",".join(map("{:.9g}".format, record.vector.tolist())) + "]"
    return f'{head[:-1]}, "vector": {numbers}}}\n'


def _read_lines(file: str) -> Iterator[dict[str, Any]]:
    with open(file, encoding="utf-8") as opened:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise FormatError(f"{file}, line {number}, is not JSON: {error}.") from None
            if not isinstance(record, dict):
                raise FormatError(f"{file}, line {number}, must be a JSON object.")
            yield record


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'vsearch-ann[datasets]'") from error
    return pyarrow, parquet


def _write_parquet(file: str, records: Iterable[Record]) -> int:
    arrow, parquet = _arrow()
    columns = list(records)
    kinds = {type(record.id) for record in columns}
    if len(kinds) > 1:
        raise ParameterError("A Parquet column has one type, and the ids are both ints and strs; export to .jsonl.")
    table = arrow.table(
        {
            "id": arrow.array([record.id for record in columns], arrow.int64() if kinds == {int} else arrow.string()),
            "document": arrow.array([record.document for record in columns], arrow.string()),
            "metadata": arrow.array([json.dumps(record.metadata, ensure_ascii=False) for record in columns]),
            "vector": arrow.array(
                [None if record.vector is None else record.vector for record in columns], arrow.list_(arrow.float32())
            ),
        }
    )
    with replacing(file) as opened:
        parquet.write_table(table, opened)
    return len(columns)


def _read_parquet(file: str) -> Iterator[dict[str, Any]]:
    _, parquet = _arrow()
    Path(file).stat()  # a missing file is no format error
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(BATCH):
                for row in batch.to_pylist():
                    if isinstance(row.get("metadata"), str):
                        row["metadata"] = json.loads(row["metadata"])
                    if row.get("vector") is not None:
                        row["vector"] = np.array(row["vector"], np.float32)
                    yield row
    except Exception as error:  # Arrow's own errors have no one root, and its wrappers raise Python's too
        raise FormatError(f"{file} cannot be read as Parquet: {error}. It may be damaged or cut off.") from error
