"""`Collection`: documents, their vectors and metadata in a folder, durable and searchable."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vsearch._threads import resolve_threads
from vsearch._typing import Path, Vectors
from vsearch._validate import (
    MAX_DIM,
    _show,
    check_choice,
    check_flag,
    check_float,
    check_int,
    check_k,
    check_path,
    check_queries,
)
from vsearch.collection import reading, writing
from vsearch.collection.batch import Batch, Embedding, Id, check_batch, check_ids, check_rows
from vsearch.collection.filters import Filters
from vsearch.collection.rows import Record
from vsearch.collection.session import Change, Session, Work
from vsearch.collection.upkeep import IndexFactory, Upkeep, default_index
from vsearch.collection.where import parse
from vsearch.errors import DTypeError, ParameterError, ReadOnlyError, UnknownIdError
from vsearch.index.base import METRICS, unit_rows

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_INCLUDE = ("documents", "metadata")
MAX_INT = 2**63 - 1


class Collection:
    """Documents with ids, vectors and metadata in a folder: what was written is on disk when the call returns.

    Parameters
    ----------
    path : str or path
        The folder; made if it is not there.
    dim : int in [1, 65536], optional
        Dimension of the vectors; by default that of the first that are added.
    metric : "l2", "ip" or "cosine", default "cosine"
        Of a new collection; one that exists has its own, and another is refused.
    index : "auto", "exact", or function from a metric to an unfitted index, default "auto"
        "auto" searches exactly below 20,000 records; above, it builds an approximate index in the background, and
        searches exactly beside it what that does not hold yet. "exact" never builds one.
    embedding : function from a list of texts to an array (n, d), optional
        Makes the vectors wherever only texts are given.
    read_only : bool, default False
        Take no lock and write nothing. Any number of readers may look while one process writes; every call sees what
        was committed when it began.

    Raises
    ------
    LockedError
        Another process, or another `Collection` of this one, is writing here; the message names it.
    FormatError
        The folder holds something damaged, foreign, or of a newer version.

    Notes
    -----
    SQLite holds the truth (ids, vectors, documents, metadata) and the index is derived from it, so that opening after a
    crash needs no repair. All methods may be called from any thread.

    Examples
    --------
    >>> import tempfile, numpy as np, vsearch as vs
    >>> with vs.Collection.open(tempfile.mkdtemp()) as wiki:
    ...     _ = wiki.add(["a", "b"], np.eye(2), ["on apples", "on bees"], [{"year": 2020}, {"year": 2024}])
    ...     [hit.id for hit in wiki.query(np.array([1.0, 0.2]), k=1, where={"year": {"$gt": 2021}})]
    ['b']
    """

    def __init__(
        self,
        path: Path,
        dim: int | None = None,
        metric: str | None = None,
        index: str | IndexFactory = "auto",
        embedding: Embedding | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self.path = check_path("path", path)
        if dim is not None:
            check_int("dim", dim, 1, MAX_DIM)
        if metric is not None:
            check_choice("metric", metric, METRICS)
        factory = _factory(index)
        if embedding is not None and not callable(embedding):
            raise DTypeError(f"`embedding` must be a function from texts to vectors; got {_show(embedding)}.")
        self.embedding = embedding
        self._session = Session(self.path, metric, dim, check_flag("read_only", read_only))
        self._filters = Filters()
        self._upkeep = None if read_only else Upkeep(self._session, factory)
        self._closing = threading.Lock()
        self._finalizer = weakref.finalize(self, Session.close, self._session)

    @classmethod
    def open(
        cls,
        path: Path,
        dim: int | None = None,
        metric: str | None = None,
        index: str | IndexFactory = "auto",
        embedding: Embedding | None = None,
        *,
        read_only: bool = False,
    ) -> Collection:
        """Opens the collection in a folder, or makes one there.

        Parameters
        ----------
        path, dim, metric, index, embedding, read_only
            As for the class.
        """
        return cls(path, dim, metric, index, embedding, read_only=read_only)

    # ------------------------------------------------------------------ facts

    @property
    def metric(self) -> str:
        """What nearness means: "l2", "ip" or "cosine"."""
        return self._session.metric

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None until the first are added, where none was given."""
        return self._session.dim

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, id: object) -> bool:
        try:
            return bool(self.get([cast(Id, id)], include=()))
        except (TypeError, ValueError):
            return False

    def __getitem__(self, id: Id) -> Record:
        found = self.get([id])
        if not found:
            raise UnknownIdError(f"id {id!r} is not in the collection.")
        return found[0]

    def __repr__(self) -> str:
        if self._session.closed:
            return f"Collection({self.path!r}): closed"
        n, index = len(self), self._session.memory.index
        kind = "searched exactly" if index is None else f"{len(index):,} in {type(index).__name__}"
        return f"Collection({self.path!r}, metric={self.metric!r}): {n:,} records of {self.dim} dimensions, {kind}"

    def count(self, where: Any = None, where_document: Any = None) -> int:
        """How many records there are, or match.

        Parameters
        ----------
        where, where_document : dict, optional
            As in `query`.
        """
        tree = parse(where, where_document)
        with self._session.reading() as connection:
            return reading.count(connection, tree)

    # ------------------------------------------------------------------ writing

    def add(
        self,
        ids: Sequence[Id] | None = None,
        vectors: Vectors | None = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> list[Id]:
        """Adds records, all or none, and returns their ids.

        Parameters
        ----------
        ids : list of int or str, optional
            Unique and not in the collection; 1 and "1" are two ids. By default random strings.
        vectors : array-like of shape (n, d), optional
            Made by `embedding` from the documents where they are not given.
        documents : list of str or None, optional
        metadata : list of dict, optional
            Keys are str; values are str, numbers, booleans, None, and lists and dicts of these.

        Raises
        ------
        DuplicateIdError
            An id is given twice or is in the collection.
        DTypeError, DimensionError, ParameterError
            Before anything has changed.
        """
        return self._put(ids, vectors, documents, metadata, replace=False)

    def upsert(
        self,
        ids: Sequence[Id] | None = None,
        vectors: Vectors | None = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> list[Id]:
        """Adds records as `add` does, and replaces those whose id is in the collection as a whole.

        Parameters
        ----------
        ids, vectors, documents, metadata
            As in `add`.
        """
        return self._put(ids, vectors, documents, metadata, replace=True)

    def _put(self, ids: Any, vectors: Any, documents: Any, metadata: Any, *, replace: bool) -> list[Id]:
        if ids is None:
            given = next((column for column in (vectors, documents, metadata) if column is not None), ())
            ids = [uuid.uuid4().hex for _ in range(len(given))]
        batch = self._checked(ids, vectors, documents, metadata)
        if batch.vectors is None and batch.ids:
            raise ParameterError("`vectors` must be given, or `documents` and, when opening, `embedding`.")
        if batch.ids:
            self._write(lambda connection, state: writing.insert(connection, state, batch, replace=replace))
        return batch.ids

    def update(
        self,
        ids: Sequence[Id],
        vectors: Vectors | None = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Replaces parts of records: what is given takes the place of what was there, the rest stays.

        Parameters
        ----------
        ids : list of int or str
            Unique and in the collection.
        vectors, documents, metadata
            As in `add`; a dict of metadata replaces the whole of the old one, and new documents are embedded anew where
            there is an `embedding` and no vectors are given.

        Raises
        ------
        UnknownIdError
            An id is not in the collection; nothing has changed then.
        """
        batch = self._checked(ids, vectors, documents, metadata)
        if batch.ids:
            self._write(lambda connection, state: writing.change(connection, state, batch))

    def delete(self, ids: Sequence[Id] | None = None, where: Any = None, where_document: Any = None) -> int:
        """Deletes records and returns how many there were.

        Parameters
        ----------
        ids : list of int or str, optional
            Those that are not in the collection are passed over, so that deleting twice does no harm.
        where, where_document : dict, optional
            As in `query`; with `ids`, both must hold.

        Raises
        ------
        ParameterError
            None of the three is given.
        """
        if ids is None and where is None and where_document is None:
            raise ParameterError("`delete` must be given ids, where or where_document. `where={}` means everything.")
        wanted = None if ids is None else check_ids(ids)
        tree = parse(where, where_document)
        change = self._write(lambda connection, state: writing.delete(connection, state, wanted, tree))
        return 0 if change is None else len(change.removed)

    def _checked(self, ids: Any, vectors: Any, documents: Any, metadata: Any) -> Batch:
        self._session.check_open()
        return check_batch(
            ids, vectors, documents, metadata, dim=self.dim, metric=self.metric, embedding=self.embedding
        )

    def _write(self, work: Work) -> Change | None:
        change = self._session.write(work)
        if self._upkeep is not None:
            self._upkeep.nudge()
        return change

    # ------------------------------------------------------------------ reading

    def get(
        self,
        ids: Sequence[Id] | None = None,
        where: Any = None,
        where_document: Any = None,
        limit: int | None = None,
        offset: int = 0,
        include: Iterable[str] = DEFAULT_INCLUDE,
    ) -> list[Record]:
        """Records by id or filter, or all.

        Parameters
        ----------
        ids : list of int or str, optional
            Records come in this order, without those that are not there; by default in the order of writing, where an
            updated record counts as new.
        where, where_document : dict, optional
            As in `query`.
        limit, offset : int, optional
            At most so many, after leaving out so many.
        include : subset of "documents", "metadata", "vectors"
            What records hold beside the id.
        """
        wanted = None if ids is None else check_ids(ids)
        tree, columns = parse(where, where_document), reading.check_include(include)
        limit = None if limit is None else check_int("limit", limit, 0, MAX_INT)
        offset = check_int("offset", offset, 0, MAX_INT)
        with self._session.reading() as connection:
            if wanted is None:
                found = reading.select(connection, None, tree, columns, self.dim, limit=limit, offset=offset)
                return [record for _, record in found]
            found = reading.select(connection, wanted, tree, columns, self.dim)
        return reading.in_order(found, wanted)[offset : None if limit is None else offset + limit]

    def peek(self, k: int = 10) -> list[Record]:
        """The first `k` records, to see what the collection is about."""
        return self.get(limit=check_int("k", k, 0, MAX_INT))

    def iterate(
        self,
        where: Any = None,
        where_document: Any = None,
        include: Iterable[str] = DEFAULT_INCLUDE,
        batch: int = 1000,
    ) -> Iterator[Record]:
        """All records that match, one after the other, in the order of writing.

        Writing may go on meanwhile: a record that is there from beginning to end comes once, one that is updated
        meanwhile may come twice, as it was and as it is.

        Parameters
        ----------
        where, where_document, include
            As in `get`.
        batch : int, default 1000
            Records read at a time.
        """
        tree, columns = parse(where, where_document), reading.check_include(include)
        batch = check_int("batch", batch, 1, MAX_INT)

        def pages() -> Iterator[Record]:
            after = -1
            while True:
                with self._session.reading() as connection:
                    found = reading.select(connection, None, tree, columns, self.dim, after=after, limit=batch)
                yield from (record for _, record in found)
                if len(found) < batch:
                    return
                after = found[-1][0]

        return pages()

    def __iter__(self) -> Iterator[Record]:
        return self.iterate()

    def query(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: Any = None,
        where_document: Any = None,
        include: Iterable[str] = DEFAULT_INCLUDE,
        recall: float | None = None,
        threads: int | None = None,
    ) -> Any:
        """The k nearest records, the nearest first.

        Parameters
        ----------
        queries : array-like (d,) or (n, d), str, or list of str
            One vector or many; texts are given to `embedding`.
        k : int in [1, 65536], default 10
        where : dict, optional
            Condition on metadata: ``{"year": {"$gte": 2020}, "lang": {"$in": ["en", "de"]}}``, with $eq $ne $gt $gte
            $lt $lte $in $nin $exists on fields ("a.b" is inside "a"), and $and $or $not around conditions. Values
            compare within their kind; a missing key satisfies only $ne, $nin, ``{"$exists": False}`` and $not.
        where_document : dict, optional
            Condition on the text: $contains and $not_contains (characters), $match (words), $and $or $not.
        include : subset of "documents", "metadata", "vectors"
            What records hold beside id and distance.
        recall : float in (0, 1], default 0.95
            Share of the true neighbours wanted, where the collection is large enough not to be searched exactly.
        threads : int, default one for one query, else all cores

        Returns
        -------
        list of Record for one query, list of such lists for many; shorter than k where fewer match
        """
        Q, single = self._vectors_of(queries)
        k, columns, tree = check_k(k), reading.check_include(include), parse(where, where_document)
        if recall is not None:
            check_float("recall", recall, 0, 1, open_low=True)
        if threads is not None:
            resolve_threads(threads)
        session = self._session
        with session.view() as connection:
            memory, matches = session.memory, None
            if tree is not None:
                matches = self._filters.matches(connection, tree, memory.version, memory.next_row)
            found, distances = memory.search(Q, k, recall, matches, threads)
            answers = reading.hits(connection, found, distances, columns, session.dim)
        return answers[0] if single else answers

    def _vectors_of(self, queries: Any) -> tuple[np.ndarray, bool]:
        """Queries as float32 (nq, d), and whether there was one alone."""
        self._session.check_open()
        texts = [queries] if isinstance(queries, str) else queries
        if isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) for text in texts):
            if self.embedding is None:
                raise ParameterError("`queries` must be vectors; for texts, give `embedding` when opening.")
            found = check_rows(self.embedding(list(texts)), len(texts), self.dim, self.metric, "queries")
            return found, isinstance(queries, str)
        found, single = check_queries("queries", queries, self.dim or _dim_of(queries))
        if self.metric == "cosine":
            unit_rows(found, "queries")
        return found, single

    # ------------------------------------------------------------------ the rest

    def refresh(self) -> bool:
        """Follows what another process has written and says whether there was anything; queries do so unasked."""
        self._session.check_open()
        return self._session.follow()

    def optimize(self) -> None:
        """Builds what the background would build, now: the index over all records, saved, and a compact log."""
        if self._upkeep is None:
            raise ReadOnlyError(f"The collection {self.path} was opened with read_only=True.")
        self._session.check_open()
        self._upkeep.finish()

    def close(self) -> None:
        """Ends the background work, saves the index and lets go of the folder; a second call does nothing."""
        with self._closing:
            if not self._session.closed:
                try:
                    if self._upkeep is not None:
                        self._upkeep.stop()
                finally:
                    self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _dim_of(queries: Any) -> int:
    """The dimension of queries to a collection that has none yet; 1 for what is refused anyway."""
    try:
        shape = np.shape(queries)
    except ValueError:
        return 1
    return int(shape[-1]) if shape and shape[-1] else 1


def _factory(index: Any) -> IndexFactory | None:
    if callable(index):
        return cast("IndexFactory", index)
    return default_index if check_choice("index", index, ("auto", "exact")) == "auto" else None
