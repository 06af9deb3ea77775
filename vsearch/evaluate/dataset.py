"""What a data set is: base vectors, and where they are known, queries, their true neighbours and texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vsearch.errors import ParameterError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Vectors to search, and what is known about them.

    Attributes
    ----------
    name : str
        What it is called in tables and figures.
    train : array of shape (n, dim)
        The base, in the file's own type (float32, float16, uint8 or int8); may be a memory map.
    metric : {"l2", "ip", "cosine"}
        What nearness means here.
    test : array of shape (nq, dim), optional
        Queries.
    neighbors : int64 array of shape (nq, known), optional
        Row numbers in ``train`` of each query's true neighbours, nearest first.
    distances : float32 array of shape (nq, known), optional
        Their distances as vsearch counts them (squared for l2, 1 - cos for cosine).
    texts, query_texts : list of str, optional
        What each vector of ``train`` and ``test`` is the embedding of.
    query_targets : int64 array of shape (nq,), optional
        The row of ``train`` each query was made from, where there is one; not always its nearest.
    metadata : dict of str to array
        Further columns, one value per row of ``train``.
    source : str
        Where the file says it comes from.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.evaluate import Dataset
    >>> data = Dataset("toy", train=np.eye(4, dtype=np.float32))
    >>> print(data)
    toy: 4 x 4 float32, l2, no queries
    """

    name: str
    train: np.ndarray
    metric: str = "l2"
    test: np.ndarray | None = None
    neighbors: np.ndarray | None = None
    distances: np.ndarray | None = None
    texts: list[str] | None = None
    query_texts: list[str] | None = None
    query_targets: np.ndarray | None = None
    metadata: dict[str, np.ndarray] = field(default_factory=dict)
    source: str = ""

    @property
    def n(self) -> int:
        """Vectors in the base."""
        return int(self.train.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions of every vector."""
        return int(self.train.shape[1])

    @property
    def nq(self) -> int:
        """Queries, 0 where there are none."""
        return 0 if self.test is None else int(self.test.shape[0])

    def with_queries(self, nq: int = 1000, seed: int = 0) -> Dataset:
        """Return a data set that has queries: this one if it does, else one with random rows held out of the base.

        Parameters
        ----------
        nq : int
            Rows to hold out; never more than half of the base.
        seed : int
            Chooses the rows; the same seed chooses the same rows.

        Examples
        --------
        >>> import numpy as np
        >>> from vsearch.evaluate import Dataset
        >>> data = Dataset("toy", train=np.eye(4, dtype=np.float32)).with_queries(1)
        >>> data.n, data.nq
        (3, 1)
        """
        if self.test is not None:
            return self
        if self.n < 2:
            raise ParameterError(f"`{self.name}` must have at least 2 vectors to hold queries out; got {self.n}.")
        held = np.zeros(self.n, dtype=bool)
        rows = np.random.default_rng(seed).choice(self.n, size=max(1, min(nq, self.n // 2)), replace=False)
        held[rows] = True
        texts = self.texts
        return replace(
            self,
            train=self.train[~held],
            test=np.asarray(self.train[held]),
            texts=None if texts is None else [text for text, out in zip(texts, held, strict=True) if not out],
            query_texts=None if texts is None else [text for text, out in zip(texts, held, strict=True) if out],
            metadata={key: column[~held] for key, column in self.metadata.items()},
        )

    def __str__(self) -> str:
        known = "" if self.neighbors is None else f", {self.neighbors.shape[1]} true neighbours each"
        queries = f"{self.nq:,} queries{known}" if self.nq else "no queries"
        texts = ", with texts" if self.texts is not None else ""
        return f"{self.name}: {self.n:,} x {self.dim} {self.train.dtype}, {self.metric}, {queries}{texts}"

    def __repr__(self) -> str:
        return f"<Dataset {self}>"
