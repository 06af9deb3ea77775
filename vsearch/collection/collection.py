"""`Collection`: documents, their vectors and metadata in a folder, durable and searchable."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vsearch._typing import Path, Vectors
from vsearch._validate import (
    MAX_DIM,
    _show,
    check_choice,
    check_flag,
    check_int,
    check_path,
)
from vsearch.collection import writing
from vsearch.collection.batch import Batch, Embedding, Id, check_batch, check_ids
from vsearch.collection.filters import Filters
from vsearch.collection.readable import Readable
from vsearch.collection.sampling import QuerySample
from vsearch.collection.session import Change, Session, Work
from vsearch.collection.upkeep import IndexFactory, Upkeep, default_index
from vsearch.collection.where import parse
from vsearch.errors import DTypeError, ParameterError, ReadOnlyError
from vsearch.index.base import METRICS

if TYPE_CHECKING:
    from typing_extensions import Self


class Collection(Readable):
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
        "auto" looks at everything below 20,000 records; above, it builds an approximate index in the background, and
        looks at everything that this does not hold yet. The index learns the effort that a recall takes from the first
        300 queries, which it keeps in memory; until then vectors of the collection stand in for them. "exact" always
        looks at everything, and at vectors instead of codes.
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
        self._session = Session(self.path, metric, dim, check_flag("read_only", read_only), factory is not None)
        self._filters = Filters()
        self._sample = QuerySample()
        self._upkeep = None if read_only else Upkeep(self._session, factory, self._sample)
        self._closing = threading.Lock()
        if self._upkeep is not None:
            self._upkeep.nudge()
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
            Made by `embedding` from the documents where they are not given. A list may hold None for records that have
            no vector: these are found by id, filter and words only.
        documents : list of str or None, optional
        metadata : list of dict, optional
            Keys are str; values are str, numbers, booleans, None, and lists and dicts of these, at most 200 deep.

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
        return 0 if change is None else change.deleted

    def _checked(self, ids: Any, vectors: Any, documents: Any, metadata: Any) -> Batch:
        self._session.check_open()
        return check_batch(
            ids, vectors, documents, metadata, dim=self.dim, metric=self.metric, embedding=self.embedding
        )

    def _asked(self, Q: np.ndarray) -> None:
        if self._upkeep is not None and self._sample.add(Q):
            self._upkeep.nudge()

    def _write(self, work: Work) -> Change | None:
        change = self._session.write(work)
        if self._upkeep is not None:
            self._upkeep.nudge()
        return change

    # ------------------------------------------------------------------ the rest

    def refresh(self) -> bool:
        """Follows what another process has written and says whether there was anything; queries do so unasked."""
        self._session.check_open()
        return self._session.follow()

    def optimize(self) -> None:
        """Builds what the background would build, now and on all cores: the index over all records, saved."""
        if self._upkeep is None:
            raise ReadOnlyError(f"The collection {self.path} was opened with read_only=True.")
        self._session.check_open()
        self._upkeep.finish()

    def close(self) -> None:
        """Lets go of the folder; a second call does nothing.

        What the background is building is given up, and begun again when the collection is opened: call `optimize`
        first to have it. An index that is there is saved.
        """
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


def _factory(index: Any) -> IndexFactory | None:
    if callable(index):
        return cast("IndexFactory", index)
    if not isinstance(index, str) or index not in ("auto", "exact"):
        raise ParameterError(
            "`index` must be 'auto', 'exact' or a function from a metric to an unfitted index, such as"
            f" `lambda metric: vs.Graph(metric)`; got {_show(index)}."
        )
    return default_index if index == "auto" else None
