"""What a command is given: data sets by name or file, and places to write to, refused before there is work to lose."""

from __future__ import annotations

import os
from pathlib import Path

from vsearch.errors import ParameterError
from vsearch.evaluate.datasets import Dataset, list_datasets, load_dataset


def data_set(source: str, parameter: str = "data", *, metric: str | None = None, limit: int | None = None) -> Dataset:
    """Load a known data set or a file; errors call it by the command's own parameter.

    Examples
    --------
    >>> data_set("wordnet-10k-384-angular", limit=3).n
    3
    """
    try:
        return load_dataset(source, metric=metric, limit=limit)
    except ParameterError as error:
        if any(known.name == source for known in list_datasets()) or Path(source).expanduser().is_file():
            raise
        hint = str(error).partition(f"got {source!r}.")[2]  # names that look alike
        raise ParameterError(
            f"`{parameter}` must be the name of a known data set or an existing file; got {source!r}.{hint}"
        ) from None


def check_file(out: Path, suffix: str = "") -> None:
    """Refuse a name under which no file can be written.

    Examples
    --------
    >>> check_file(Path("answers.npz"), ".npz")
    """
    wanted = f"`out` must be a file{f' that ends in {suffix}' if suffix else ''}"
    parent = out.resolve().parent
    if out.is_dir():
        raise ParameterError(f"{wanted}; {str(out)!r} is a folder.")
    if suffix and out.suffix != suffix:
        raise ParameterError(f"{wanted}; got {str(out)!r}.")
    if not parent.is_dir():
        raise ParameterError(f"{wanted} in a folder that exists; got {str(out)!r}, and there is no {str(parent)!r}.")
    if not out.exists():
        _check_writable("out", parent)


def check_folder(path: Path, parameter: str = "out") -> None:
    """Refuse a name under which there is no folder and none can be made.

    Examples
    --------
    >>> check_folder(Path("report"))
    """
    whole = path.absolute()
    there = next((folder for folder in (whole, *whole.parents) if os.path.lexists(folder)), None)
    if there is None:
        return
    if not there.is_dir():
        shown = str(path if there == whole else there)
        raise ParameterError(f"`{parameter}` must be a folder; {shown!r} is a file.")
    _check_writable(parameter, there)


def _check_writable(parameter: str, folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise ParameterError(f"`{parameter}` must be where you may write; got {str(folder)!r}.")
