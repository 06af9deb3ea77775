"""Find and read data sets: by the name of a known one, or by the path of a file in any format that is read here.

list_datasets()                            what there is
download("sift-128-euclidean")             fetch it, once
load_dataset()                             the set that comes with vsearch: nothing to download
load_dataset("sift-128-euclidean")         a known set that was downloaded
load_dataset("mine.npy", metric="cosine")  one's own vectors
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from vsearch.errors import DownloadError, FormatError, ParameterError
from vsearch.evaluate.dataset import Dataset
from vsearch.evaluate.formats import read_truth, read_vectors
from vsearch.evaluate.hdf5 import read_hdf5
from vsearch.evaluate.registry import DEFAULT, Entry, lookup, registry
from vsearch.evaluate.transfer import fetch

__all__ = ["Dataset", "download", "list_datasets", "load_dataset"]

_HDF5 = (".hdf5", ".h5")
_ROW_NUMBERS = (".ivecs", ".ibin")


def load_dataset(
    source: str | os.PathLike[str] = DEFAULT,
    *,
    metric: str | None = None,
    limit: int | None = None,
    mmap: bool = False,
    column: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Return a data set, by name or by path.

    Parameters
    ----------
    source : str or path
        A name of `list_datasets`, or a file. An HDF5 file of the ann-benchmarks layout gives base, queries and truth;
        any other gives the base alone.
    metric : {"l2", "ip", "cosine"}, optional
        What nearness means; by default what the data set says, and l2 where it says nothing. Known true neighbours
        are left out where they are true of another metric.
    limit : int, optional
        Read only the first ``limit`` base vectors. Known true neighbours are left out then, as they no longer hold.
    mmap : bool
        Map the base instead of reading it, where the format allows.
    column : str, optional
        The column of vectors in a Parquet file that has several.
    folder : path, optional
        Where downloads lie; by default $VSEARCH_DATA or ~/.cache/vsearch.

    Examples
    --------
    >>> from vsearch.evaluate import load_dataset
    >>> data = load_dataset()
    >>> data.train.shape, data.metric
    ((10000, 384), 'cosine')
    """
    if metric not in (None, "l2", "ip", "cosine"):
        raise ParameterError(f"`metric` must be one of l2, ip, cosine; got {metric!r}.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ParameterError(f"`limit` must be an int of at least 1; got {limit!r}.")
    if isinstance(source, str) and source in registry():
        return _load_known(lookup(source), metric, limit, mmap, folder)
    path = Path(source).expanduser()
    if not path.is_file():
        return _refuse(source)
    if path.suffix.lower() in _HDF5:
        return read_hdf5(path, metric=metric, limit=limit, mmap=mmap)
    if path.suffix.lower() in _ROW_NUMBERS:
        raise FormatError(f"{path} holds row numbers (known neighbours), not vectors. `read_truth` reads it.")
    train = read_vectors(path, limit=limit, mmap=mmap, column=column)
    return Dataset(path.stem, train, metric or "l2", source=str(path))


def list_datasets() -> list[Entry]:
    """Return the known data sets; those with ``is_here()`` need no download.

    Examples
    --------
    >>> from vsearch.evaluate import list_datasets
    >>> [entry.name for entry in list_datasets()][0]
    'wordnet-10k-384-angular'
    """
    return list(registry().values())


def download(name: str, folder: str | os.PathLike[str] | None = None, *, progress: bool = True) -> list[Path]:
    """Fetch a known data set, or what is missing of it, and return its files.

    Parameters
    ----------
    name : str
        A name of `list_datasets`.
    folder : path, optional
        Where to put it; by default $VSEARCH_DATA or ~/.cache/vsearch.
    progress : bool
        Show a bar.

    Raises
    ------
    DownloadError
        It could not be fetched, or is not what the registry says. What did arrive is kept, and the next call continues.

    Examples
    --------
    >>> from vsearch.evaluate import download
    >>> [path.name for path in download("wordnet-10k-384-angular")]  # comes with vsearch
    ['wordnet-10k-384-angular.hdf5']
    """
    entry = lookup(name)
    paths = entry.paths(folder)
    if not entry.embedded:
        for role, path in paths.items():
            fetch(entry.files[role], path.parent, progress=progress)
    return list(paths.values())


def _load_known(
    entry: Entry, metric: str | None, limit: int | None, mmap: bool, folder: str | os.PathLike[str] | None
) -> Dataset:
    if not entry.is_here(folder):
        raise DownloadError(
            f"The data set {entry.name} is not on this machine. "
            f"Fetch it with `vsearch datasets get {entry.name}` (about {entry.size / 1e6:,.0f} MB)."
        )
    paths = entry.paths(folder)
    if "all" in paths:
        return replace(read_hdf5(paths["all"], metric=metric, limit=limit, mmap=mmap), name=entry.name)
    train = read_vectors(paths["train"], limit=limit, mmap=mmap)
    test = read_vectors(paths["test"])
    neighbors = read_truth(paths["truth"])
    if test.shape[1] != train.shape[1]:
        raise FormatError(f"{paths['test']} has {test.shape[1]} dimensions, {paths['train']} has {train.shape[1]}.")
    if len(neighbors) != len(test):
        raise FormatError(f"{paths['truth']} knows {len(neighbors):,} queries, {paths['test']} has {len(test):,}.")
    known: np.ndarray | None = neighbors
    if len(train) < entry.n or metric not in (None, entry.metric):
        known = None  # they are true of the whole base and of its own metric only
    elif neighbors.size and (neighbors.min() < 0 or neighbors.max() >= len(train)):
        raise FormatError(f"{paths['truth']} names rows outside of the base, which has {len(train):,}.")
    return Dataset(entry.name, train, metric or entry.metric, test=test, neighbors=known, source=entry.source)


def _refuse(source: str | os.PathLike[str]) -> Dataset:
    if isinstance(source, str) and Path(source).name == source and not Path(source).suffix:
        lookup(source)  # raises, with names that look alike
    raise ParameterError(f"`source` must be the name of a known data set or an existing file; got {str(source)!r}.")
