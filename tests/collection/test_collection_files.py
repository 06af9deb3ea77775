"""The folder of a collection: who may open it, what a reader sees, and what happens where it is damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch as vs
from vsearch.collection import schema, upkeep
from vsearch.collection.schema import DATABASE, LOCK


def fill(box: vs.Collection, first: int, n: int) -> None:
    X = np.zeros((n, 4), np.float32)
    X[:, 0] = np.arange(first, first + n)
    box.add(list(range(first, first + n)), X, [f"text {i}" for i in range(first, first + n)])


def nearest(box: vs.Collection, at: float, k: int = 3) -> list[Any]:
    return [hit.id for hit in box.query([at, 0, 0, 0], k=k, recall=1.0)]


def plain(metric: str) -> vs.Index:
    return vs.IVF(2, metric, dtype="f32")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes from the tenth record on."""
    monkeypatch.setattr(upkeep, "EXACT_BELOW", 10)
    monkeypatch.setattr(upkeep, "MERGE_AT", 4)


def indexed(folder: Path, n: int = 40) -> None:
    """A collection on disk with an index and a snapshot of it."""
    with vs.Collection.open(folder, metric="l2", index=plain) as box:
        fill(box, 0, n)
        box.optimize()
    assert len(list(folder.glob("index-*.vsx"))) == 1


# ---------------------------------------------------------------------- one writer, many readers


def test_the_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a"):
        with pytest.raises(vs.LockedError, match=r"locked by this process.*read_only=True"):
            vs.Collection.open(tmp_path / "a")
        code = "import sys, vsearch as vs; vs.Collection.open(sys.argv[1])"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a")], env=environment, capture_output=True, text=True
        )
        assert child.returncode
        assert f"is locked by process {os.getpid()}" in child.stderr
    vs.Collection.open(tmp_path / "a").close()


def test_a_reader_follows_the_writer(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2") as writer:
        fill(writer, 0, 5)
        with vs.Collection.open(tmp_path / "a", read_only=True) as reader:
            assert nearest(reader, 0) == [0, 1, 2]
            fill(writer, 5, 5)
            writer.delete([0])
            assert reader.refresh()
            assert not reader.refresh()
            assert nearest(reader, 9) == [9, 8, 7]
            writer.update([9], [[0.5, 0, 0, 0]])
            assert nearest(reader, 0) == [9, 1, 2]  # without `refresh`
            assert len(reader) == 9
            for call in (
                lambda: reader.add([77], np.ones((1, 4))),
                lambda: reader.delete([1]),
                reader.optimize,
            ):
                with pytest.raises(vs.ReadOnlyError, match="read_only=True"):
                    call()


def test_a_reader_opens_before_the_first_vector(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with vs.Collection.open(folder, metric="l2") as writer, vs.Collection.open(folder, read_only=True) as reader:
        assert reader.query(np.zeros(4)) == []
        fill(writer, 0, 3)
        assert nearest(reader, 0) == [0, 1, 2]
        assert reader.dim == 4


def test_a_reader_that_was_left_behind_compares_everything(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2") as writer:
        fill(writer, 0, 6)
    with vs.Collection.open(tmp_path / "a", read_only=True) as reader:
        for first in (6, 9):  # the writer forgets removals each time it opens
            with vs.Collection.open(tmp_path / "a") as writer:
                writer.delete([first - 6, first - 5])
                fill(writer, first, 3)
        assert nearest(reader, 0) == [2, 5, 6]
        assert len(reader.query(np.zeros(4), k=50)) == 8


def test_a_reader_needs_no_permission_to_write(request: pytest.FixtureRequest) -> None:
    # Not pytest's folder: its parents are closed to the other user that root becomes.
    folder = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(folder))
    os.chmod(folder, 0o755)
    with vs.Collection.open(folder / "a", metric="l2") as box:
        fill(box, 0, 3)
    code = """if True:
        import os, sys
        import numpy as np
        import vsearch as vs
        folder = sys.argv[1]
        # What is imported on first use is read now: this Python's files may be closed to the other user.
        with vs.Collection.open(folder + "-mine", 4, "l2") as box:
            box.add([0], np.ones((1, 4)))
        with vs.Collection.open(folder + "-mine", read_only=True) as box:
            box.query(np.zeros(4), k=1)
        if os.name == "posix" and os.getuid() == 0:
            os.setgid(65534), os.setuid(65534)  # root may write whatever the permissions say
        try:
            vs.Collection.open(folder)
        except PermissionError as error:
            assert "read_only=True" in str(error), error
        else:
            raise SystemExit("it was opened for writing")
        with vs.Collection.open(folder, read_only=True) as box:
            print([hit.id for hit in box.query(np.zeros(4), k=2)])
    """
    os.chmod(folder / "a", 0o555)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(folder)}
    child = subprocess.run(
        [sys.executable, "-c", code, str(folder / "a")], env=environment, capture_output=True, text=True
    )
    os.chmod(folder / "a", 0o755)
    if "Permission denied" in child.stderr and "site-packages" in child.stderr:
        pytest.skip("this Python cannot be run by another user")
    assert child.stdout.strip() == "[0, 1]", child.stderr


def test_reading_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no collection"):
        vs.Collection.open(tmp_path / "a", read_only=True)
    assert not (tmp_path / "a").exists()


def test_options_must_agree_with_what_is_there(tmp_path: Path) -> None:
    vs.Collection.open(tmp_path / "a", 4, "l2").close()
    vs.Collection.open(tmp_path / "a", 4, "l2").close()
    with pytest.raises(vs.ParameterError, match=r"`metric` must be 'l2'.*got 'ip'"):
        vs.Collection.open(tmp_path / "a", metric="ip")
    with pytest.raises(vs.ParameterError, match=r"`dim` must be 4.*got 5"):
        vs.Collection.open(tmp_path / "a", 5)
    vs.Collection.open(tmp_path / "a").close()  # a refused opening holds no lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_must_open_anew(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2") as box:
        fill(box, 0, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            child = os.fork()
        if not child:
            try:
                len(box)
            except vs.ClosedError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(box) == 3


# ---------------------------------------------------------------------- snapshots


@pytest.mark.usefixtures("small")
def test_opening_takes_the_snapshot_and_what_came_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed(tmp_path / "a")
    monkeypatch.setattr(upkeep, "MERGE_AT", 1000)
    with vs.Collection.open(tmp_path / "a", index=plain) as box:
        assert "40 in IVF" in repr(box)
        box.delete([0, 39])
        fill(box, 100, 3)
        assert "38 in IVF" in repr(box)
    with vs.Collection.open(tmp_path / "a", index=plain) as box:
        assert "41 records" in repr(box)
        assert "38 in IVF" in repr(box)
        assert nearest(box, 0) == [1, 2, 3]
        assert nearest(box, 100) == [100, 101, 102]
        assert len(box.query(np.zeros(4), k=99, recall=1.0)) == 41


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "foreign", "other"])
def test_a_damaged_snapshot_is_made_again(tmp_path: Path, damage: str) -> None:
    indexed(tmp_path / "a")
    (file,) = (tmp_path / "a").glob("index-*.vsx")
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        file.unlink()
    elif damage == "foreign":
        file.write_bytes(b"not an index" * 99)
    else:
        vs.Flat("l2").fit(np.eye(4)).save(file)  # whole, and of something else
    with pytest.warns(RuntimeWarning, match="is made again from its documents"):
        box = vs.Collection.open(tmp_path / "a", index=plain)
    with box:
        assert nearest(box, 7) == [7, 6, 8] or nearest(box, 7) == [7, 8, 6]
        assert len(box.query(np.zeros(4), k=99, recall=1.0)) == 40
        box.optimize()
    with vs.Collection.open(tmp_path / "a", index=plain) as box:  # without a warning
        assert "40 in IVF" in repr(box)


@pytest.mark.usefixtures("small")
def test_a_snapshot_that_nobody_names_is_swept(tmp_path: Path) -> None:
    indexed(tmp_path / "a")
    (tmp_path / "a" / "index-9-9.vsx").write_bytes(b"of a writer that died")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    vs.Collection.open(tmp_path / "a", index=plain).close()
    assert len(list((tmp_path / "a").glob("index-*.vsx"))) == 1
    assert (tmp_path / "a" / "notes.txt").exists()


# ---------------------------------------------------------------------- damage of the database


def test_a_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"a letter to my aunt" * 500)
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(vs.ForeignFileError, match="not an SQLite file"):
        vs.Collection.open(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before
    (tmp_path / DATABASE).unlink()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("CREATE TABLE recipes(name)")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(vs.ForeignFileError, match="not a vsearch collection"):
            vs.Collection.open(tmp_path, read_only=read_only)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    vs.Collection.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute(f"PRAGMA user_version={schema.SCHEMA + 1}")
    connection.close()
    with pytest.raises(vs.NewerFormatError, match="Install a newer vsearch"):
        vs.Collection.open(tmp_path)


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vs.Collection.open(tmp_path, metric="l2") as box:
        fill(box, 0, 3)
    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    monkeypatch.setattr(
        schema, "MIGRATIONS", {schema.SCHEMA - 1: "CREATE TABLE extra(a);\nINSERT INTO extra VALUES (1)"}
    )
    with pytest.raises(vs.LockedError, match="must once be opened for writing"):
        vs.Collection.open(tmp_path, read_only=True)
    for _ in range(2):
        with vs.Collection.open(tmp_path) as box:
            assert nearest(box, 0) == [0, 1, 2]
    connection = sqlite3.connect(tmp_path / DATABASE)
    assert connection.execute("SELECT a FROM extra").fetchall() == [(1,)]
    connection.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vs.Collection.open(tmp_path).close()
    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    monkeypatch.setattr(
        schema, "MIGRATIONS", {schema.SCHEMA - 1: "CREATE TABLE extra(a);\nINSERT INTO nowhere VALUES (1)"}
    )
    with pytest.raises(vs.CorruptFileError, match="no such table: nowhere"):
        vs.Collection.open(tmp_path)
    monkeypatch.undo()
    with vs.Collection.open(tmp_path) as box:
        assert len(box) == 0


@pytest.mark.fuzz
def test_a_lost_page_is_noticed_or_not_needed(tmp_path: Path) -> None:
    with vs.Collection.open(tmp_path / "a", metric="l2") as box:
        for first in range(0, 200, 20):
            fill(box, first, 20)
    file = tmp_path / "a" / DATABASE
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for trial in range(40):
        data = bytearray(whole)
        at = int(rng.integers(0, len(data) // schema.PAGE_SIZE)) * schema.PAGE_SIZE
        if trial % 2:
            data[at : at + schema.PAGE_SIZE] = rng.bytes(schema.PAGE_SIZE)
        else:
            data = data[:at]
        file.write_bytes(data)
        (tmp_path / "a" / LOCK).unlink(missing_ok=True)
        try:
            with vs.Collection.open(tmp_path / "a") as box:
                assert [record.id for record in box] == list(range(200))
                assert nearest(box, 7.1) == [7, 8, 6]
        except (vs.FormatError, OSError):
            refused += 1
    assert refused >= 10  # free pages and the full-text index are not read here


def test_without_full_text_search_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> Any:
            return super().execute("SELECT 'THREADSAFE=1'" if "compile_options" in sql else sql, *arguments)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Poor))
    with pytest.raises(vs.MissingExtraError, match="FTS5"):
        vs.Collection.open(tmp_path / "a")
