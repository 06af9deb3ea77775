"""Collections as files that other programs read: JSON lines, and Parquet where pyarrow is installed.

A line, or a row, is one record: id, document, metadata, vector. Decimals of nine digits give each float32 back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vsearch._typing import Path as AnyPath
from vsearch._validate import _show, check_path
from vsearch.collection.batch import check_batch
from vsearch.collection.collection import Collection
from vsearch.collection.rows import Record
from vsearch.errors import DTypeError, FormatError, MissingExtraError, ParameterError
from vsearch.storage.atomic import replacing, write_all

BATCH = 1000
EVERYTHING = ("documents", "metadata", "vectors")
FIELDS = ("id", "document", "metadata", "vector")


class Part(NamedTuple):
    """Records of a file that go into one transaction; ``first`` is the number of the first of them, from 1 on."""

    file: str
    first: int
    records: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """What errors call it.

        Examples
        --------
        >>> Part("a.jsonl", 1001, [{"id": 1}, {"id": 2}]).name
        'a.jsonl, records 1001 to 1002'
        """
        last = self.first + len(self.records) - 1
        return f"{self.file}, " + (f"record {last}" if last == self.first else f"records {self.first} to {last}")


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
    return put(collection, read(path))


def read(path: AnyPath) -> Iterator[Part]:
    """The records of a .jsonl or .parquet file, a thousand at a time; the name is checked now, the rest as it is read.

    Raises
    ------
    ParameterError
        The name ends in something else.
    FormatError
        From the iterator: what is there is no record, or has fields that a collection does not.
    """
    file = check_path("path", path)
    if file.endswith(".parquet"):
        return _parts(file, _read_parquet(file))
    if file.endswith((".jsonl", ".ndjson")):
        return _parts(file, _read_lines(file))
    raise ParameterError(f"`path` must end in .jsonl or .parquet; got {file!r}.")


def begun(parts: Iterator[Part], metric: str | None = None) -> Iterator[Part]:
    """The same parts with the first of them read already, so that nothing is made for a file that cannot be.

    Where a new collection is to be made, with ``metric``, the first part must be what that will take.
    """
    first = next(parts, None)
    if first is None:
        return iter(())
    if metric is not None:
        with _named(first):
            check_batch(*_columns(first), dim=None, metric=metric, embedding=None)
    return chain([first], parts)


def put(collection: Collection, parts: Iterable[Part]) -> int:
    """Upsert the records, a part in a transaction, and return how many were read."""
    count = 0
    for part in parts:
        ids, vectors, documents, metadata = _columns(part)
        embed = collection.embedding is not None and all(vector is None for vector in vectors)
        with _named(part):
            collection.upsert(ids, None if embed else vectors, documents, metadata)
        count += len(part.records)
    return count


def _parts(file: str, rows: Iterator[dict[str, Any]]) -> Iterator[Part]:
    first = 1
    while batch := list(islice(rows, BATCH)):
        for number, row in enumerate(batch, first):
            _check_fields(file, number, row)
        yield Part(file, first, batch)
        first += len(batch)


def _check_fields(file: str, number: int, row: dict[str, Any]) -> None:
    unknown = next((field for field in row if field not in FIELDS), None)
    if unknown is not None:  # dropped without a word, what it holds would be lost
        raise FormatError(f"{file}: record {number} has the unknown field {unknown!r}; known are {', '.join(FIELDS)}.")
    if "id" not in row:
        raise FormatError(f"{file}: record {number} has no id.")
    if isinstance(row["id"], bool) or not isinstance(row["id"], (int, str)):
        raise FormatError(f"{file}: record {number} must have an int or a str as its id; got {_show(row['id'])}.")


def _columns(part: Part) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Ids, vectors, documents and metadata; of an id that comes twice, the last counts."""
    last = {row["id"]: row for row in part.records}.values()
    return (
        [row["id"] for row in last],
        [row.get("vector") for row in last],
        [row.get("document") for row in last],
        [row.get("metadata") or {} for row in last],
    )


@contextmanager
def _named(part: Part) -> Iterator[None]:
    """Say of what a collection refuses where in which file it stands."""
    try:
        yield
    except (ParameterError, DTypeError) as error:
        raise FormatError(f"{part.name}: {error}") from error


def _line(record: Record) -> str:
    head = json.dumps({"id": record.id, "document": record.document, "metadata": record.metadata}, ensure_ascii=False)
    numbers = "null" if record.vector is None else "[" + ",".join(map("{:.9g}".format, record.vector.tolist())) + "]"
    return f'{head[:-1]}, "vector": {numbers}}}\n'


def _read_lines(file: str) -> Iterator[dict[str, Any]]:
    with open(file, "rb") as opened:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))  # decoded here, so that bad bytes are told with their line
            except (ValueError, RecursionError) as error:
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
