"""The data sets vsearch knows by name: datasets/registry.toml, read and checked.

The file lies in ``vsearch/_datasets`` of an installed package and in ``datasets`` beside the package in a source
checkout, together with the one set that comes with vsearch. Nothing here touches the network.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsearch.errors import FormatError, ParameterError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What benches, the demo and the examples use when no data set is named.
DEFAULT = "wordnet-10k-384-angular"

#: What the makers of data sets call a metric -> what vsearch calls it.
METRIC_NAMES = {
    "angular": "cosine",
    "cosine": "cosine",
    "euclidean": "l2",
    "l2": "l2",
    "dot": "ip",
    "ip": "ip",
}

#: Names become file names, so they hold nothing that a path could read as anything else.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_SUFFIX = {"all": "", "train": ".train", "test": ".test", "truth": ".truth"}


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes
    ----------
    name : str
        Its name in the folder of downloads.
    url : str or None
        Where it comes from; None for a file that comes with vsearch.
    size : int
        Bytes as kept here.
    approximate : bool
        ``size`` is only known roughly.
    sha256 : str or None
        Checksum in hexadecimal, where it is known.
    crop : int or None
        Fetch only the first ``size`` bytes and write this row count into the header.
    """

    name: str
    url: str | None
    size: int
    approximate: bool = False
    sha256: str | None = None
    crop: int | None = None


@dataclass(frozen=True)
class Entry:
    """One data set of the registry.

    Attributes
    ----------
    name, about, licence, source : str
        What it is, under which terms (empty where the makers state none), and the page that describes it.
    format : str
        "hdf5", "fbin", "u8bin" or "i8bin".
    metric : str
        "l2", "ip" or "cosine".
    n, nq, dim : int
        Base vectors, queries, dimensions.
    files : dict of str to File
        By role: "all", or "train", "test" and "truth".
    embedded : bool
        It comes with vsearch.
    """

    name: str
    about: str
    format: str
    metric: str
    n: int
    nq: int
    dim: int
    licence: str
    source: str
    embedded: bool
    files: dict[str, File] = field(hash=False)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())

    def paths(self, folder: str | os.PathLike[str] | None = None) -> dict[str, Path]:
        """Return where the files lie, or would lie once downloaded, by role."""
        home = data_folder() if self.embedded else download_folder(folder)
        return {role: home / file.name for role, file in self.files.items()}

    def is_here(self, folder: str | os.PathLike[str] | None = None) -> bool:
        """Tell whether all files are on this machine."""
        return all(path.is_file() for path in self.paths(folder).values())


def data_folder() -> Path:
    """Return the folder that holds registry.toml and the embedded set."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_datasets", package.parent / "datasets"):
        if (folder / "registry.toml").is_file():
            return folder
    raise FormatError(
        f"registry.toml must lie in {package / '_datasets'} and is missing. Was vsearch installed completely?"
    )


def download_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return ``folder``, or else $VSEARCH_DATA, or else ~/.cache/vsearch."""
    chosen = folder if folder is not None else os.environ.get("VSEARCH_DATA") or Path.home() / ".cache" / "vsearch"
    return Path(chosen).expanduser()


@functools.cache
def registry() -> dict[str, Entry]:
    """Return every known data set by name, in the order of the file."""
    path = data_folder() / "registry.toml"
    return parse_registry(path.read_text(encoding="utf-8"), str(path))


def parse_registry(text: str, path: str = "registry.toml") -> dict[str, Entry]:
    """Return the data sets that a registry file describes.

    Parameters
    ----------
    text : str
        The file's TOML.
    path : str
        What errors call the file.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{path} is not valid TOML: {error}.") from error
    return {name: _entry(name, table, path) for name, table in tables.items()}


def lookup(name: str) -> Entry:
    """Return the data set called ``name``.

    Raises
    ------
    ParameterError
        There is none; the message suggests names that look alike.
    """
    entry = registry().get(name)
    if entry is None:
        close = difflib.get_close_matches(name, registry(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "`vsearch datasets list` shows what there is."
        raise ParameterError(f"`name` must be the name of a known data set; got {name!r}. {hint}")
    return entry


def metric_of(name: Any, where: str) -> str:
    """Return vsearch's name of a data set's metric.

    Raises
    ------
    FormatError
        vsearch does not measure it (Hamming, Jaccard).
    """
    metric = METRIC_NAMES.get(str(name).lower())
    if metric is None:
        raise FormatError(f"{where} is measured by {name!r} distance; vsearch measures l2, ip and cosine.")
    return metric


def _entry(name: str, table: Any, path: str) -> Entry:
    try:
        if not _NAME.fullmatch(name):
            raise ValueError("a name holds letters, digits, - and _ only")
        format_, n = str(table["format"]), int(table["n"])
        files = {
            role: _file(f"{name}{_SUFFIX[role]}.{format_ if role != 'truth' else 'ibin'}", facts, n)
            for role, facts in table["files"].items()
        }
        if set(files) not in ({"all"}, {"train", "test", "truth"}):
            raise ValueError("files must be `all`, or `train`, `test` and `truth`")
        return Entry(
            name=name,
            about=str(table["about"]),
            format=format_,
            metric=metric_of(table["metric"], name),
            n=n,
            nq=int(table["nq"]),
            dim=int(table["dim"]),
            licence=str(table.get("licence", "")),
            source=str(table.get("source", "")),
            embedded=bool(table.get("embedded", False)),
            files=files,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"The entry {name!r} of {path} is wrong: {error}.") from error


def _file(name: str, facts: dict[str, Any], n: int) -> File:
    return File(
        name=name,
        url=facts.get("url"),
        size=int(facts["size"]),
        approximate=bool(facts.get("approximate", False)),
        sha256=facts.get("sha256"),
        crop=n if facts.get("crop", False) else None,
    )
