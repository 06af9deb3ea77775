"""The half of a collection that asks: by id, by filter, by nearness, by words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np

from vsearch._text import counted
from vsearch._threads import resolve_threads
from vsearch._validate import MAX_K, _show, check_choice, check_float, check_int, check_k, check_queries
from vsearch.collection import diversity as spread
from vsearch.collection import reading
from vsearch.collection.batch import Embedding, Id, check_documents, check_ids, check_rows
from vsearch.collection.filters import Filters
from vsearch.collection.rows import Record
from vsearch.collection.search import Wish, search
from vsearch.collection.session import Session
from vsearch.collection.where import Where, parse
from vsearch.errors import DTypeError, ParameterError, UnknownIdError
from vsearch.index.base import unit_rows

DEFAULT_INCLUDE = ("documents", "metadata")
MAX_INT = 2**63 - 1


class Readable:
    """What a collection answers; `Collection` adds writing."""

    path: str
    embedding: Embedding | None
    _session: Session
    _filters: Filters

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
        except (DTypeError, ParameterError):  # no id
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
        shape = "no dimension yet" if self.dim is None else counted(self.dim, "dimension")
        return f"Collection({self.path!r}, metric={self.metric!r}): {counted(n, 'record')} of {shape}, {kind}"

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
        text: str | Sequence[str] | None = None,
        hybrid: str | float | None = None,
        diversity: float = 0.0,
        reranker: str = "mmr",
        pool: int | None = None,
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
            $lt $lte $in $nin $exists $empty $contains $not_contains $icontains on fields ("a.b" is inside "a"), and
            $and $or $not around conditions. Values compare within their kind; a missing key satisfies only $ne, $nin,
            ``{"$exists": False}``, ``{"$empty": True}``, $not_contains and $not. At most 2000 conditions, at most 20
            deep.
        where_document : dict, optional
            Condition on the text: $contains and $not_contains (characters), $match (words), $and $or $not.
        include : subset of "documents", "metadata", "vectors"
            What records hold beside id and distance.
        recall : float in (0, 1], default 0.95
            Share of the true neighbours wanted, where the collection is large enough not to be searched exactly.
        text : str, or one for each query, optional
            Words to look for too, ranked by BM25: hybrid search. By default, with `hybrid`, the queries where these
            are texts.
        hybrid : "rrf" or float in [0, 1], default "rrf" where `text` is given
            How the two rankings become one: by reciprocal ranks, or by scores of which the vector's has this weight.
        diversity : float in [0, 1], default 0
            Above 0, answers are chosen among more candidates to be unlike each other; 1 looks at nothing else.
        reranker : "mmr" or "coverage", default "mmr"
            How they are chosen: each unlike those before it, or so that all candidates have one near.
        pool : int, default the larger of 40 and 4 k
            Candidates among which they are chosen.
        threads : int, default one for one query, else all cores

        Returns
        -------
        list of Record for one query, list of such lists for many; shorter than k where fewer match. Hybrid records have
        a score, and come by it; distances are to the vectors in any case
        """
        wish = _wish(k, recall, threads, hybrid, diversity, reranker, pool)
        columns, tree = reading.check_include(include), parse(where, where_document)
        Q, single = self._vectors_of(queries)
        texts = _check_texts(queries, text, hybrid, len(Q))
        self._asked(Q)
        session = self._session
        answers = None if texts is not None or wish.diversity else self._promptly(Q, wish, tree, columns)
        if answers is not None:
            return answers[0] if single else answers

        def look(connection: sqlite3.Connection) -> list[list[Record]]:
            memory, matches = session.memory, None
            if tree is not None:
                matches = self._filters.matches(connection, tree, memory.version, memory.next_row)
            return reading.hits(connection, search(connection, memory, Q, texts, wish, matches), columns)

        answers = session.view(look)
        return answers[0] if single else answers

    def _asked(self, Q: np.ndarray) -> None:
        """Told of the queries."""

    def _promptly(
        self, Q: np.ndarray, wish: Wish, tree: Where | None, columns: tuple[str, ...]
    ) -> list[list[Record]] | None:
        """The answers, if memory turns out to show what the file does when their records are read; else None.

        Rows never change, so that it does not matter that they are read after the search and not in one transaction.
        """
        session = self._session
        session.check_open()
        token = object()
        try:
            session.lock.acquire_shared(token)
            memory = session.memory
            version = memory.version
            matches = None if tree is None else self._filters.known(tree, version)
            if tree is not None and matches is None:
                return None
            found = search(None, memory, Q, None, wish, matches)
        finally:
            session.lock.readers.discard(token)
            session.lock.wake()
        return reading.hits_at(session, version, found, columns)

    def _vectors_of(self, queries: Any) -> tuple[np.ndarray, bool]:
        """Queries as float32 (nq, d), and whether there was one alone."""
        self._session.check_open()
        texts = [queries] if isinstance(queries, str) else queries
        if isinstance(texts, (list, tuple)) and texts and all(isinstance(text, str) for text in texts):
            if self.embedding is None:
                raise ParameterError("`queries` must be vectors; for texts, give `embedding` when opening.")
            found = check_rows(self.embedding(list(texts)), len(texts), self.dim, self.metric, "queries")
            return found, isinstance(queries, str)
        found, single = check_queries("queries", queries, self.dim or _dim_of(queries), like="the collection")
        if self.metric == "cosine" and not (single and found[0].dot(found[0]) > 0):
            unit_rows(found, "queries")
        return found, single


def _wish(*numbers: Any) -> Wish:
    """The numbers of a query, checked once and remembered."""
    try:
        return _remembered(*numbers)
    except TypeError:  # an array, say, cannot be remembered; or it is wrong, and then is so again
        return _check_wish(*numbers)


def _check_wish(k: Any, recall: Any, threads: Any, hybrid: Any, diversity: Any, reranker: Any, pool: Any) -> Wish:
    """The numbers of a query."""
    if recall is not None:
        recall = check_float("recall", recall, 0, 1, open_low=True)
    if threads is not None:
        threads = resolve_threads(threads)
    weight = None
    if isinstance(hybrid, str):
        if hybrid != "rrf":
            raise ParameterError(f"`hybrid` must be 'rrf' or a number in [0, 1]; got {_show(hybrid)}.")
    elif hybrid is not None:
        weight = check_float("hybrid", hybrid, 0, 1)
    diversity = check_float("diversity", diversity, 0, 1)
    reranker = check_choice("reranker", reranker, spread.METHODS)
    pool = None if pool is None else check_int("pool", pool, 1, MAX_K)
    return Wish(check_k(k), recall, threads, weight, diversity, reranker, pool)


_remembered = lru_cache(maxsize=256, typed=True)(_check_wish)


def _check_texts(queries: Any, text: Any, hybrid: Any, n: int) -> list[str] | None:
    """The words to look for with each of n queries, None where only vectors count."""
    if text is None:
        if hybrid is None:
            return None
        listed = [queries] if isinstance(queries, str) else list(queries)
        if not all(isinstance(one, str) for one in listed):
            raise ParameterError("`text` must be given for a hybrid search by vectors.")
        return listed
    listed = [text] if isinstance(text, str) else list(text) if isinstance(text, Iterable) else [None]
    if isinstance(text, (bytes, dict)) or not all(isinstance(one, str) for one in listed):
        raise DTypeError(f"`text` must be a str, or one for each query; got {_show(text)}.")
    return cast("list[str]", check_documents(listed, n, "text"))


def _dim_of(queries: Any) -> int:
    """The dimension of queries to a collection that has none yet; 1 for what is refused anyway."""
    try:
        shape = np.shape(queries)
    except ValueError:
        return 1
    return int(shape[-1]) if shape and shape[-1] else 1
