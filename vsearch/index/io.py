"""Opening index files."""

from __future__ import annotations

from vsearch._typing import Path
from vsearch._validate import check_flag, check_path
from vsearch.errors import CorruptFileError, ForeignFileError, FormatError
from vsearch.index.base import Index
from vsearch.index.flat import Flat
from vsearch.index.graph import Graph
from vsearch.index.ivf import IVF
from vsearch.storage import container

KINDS: dict[str, type[Index]] = {cls.kind: cls for cls in (Flat, IVF, Graph)}


def load(path: Path, *, mmap: bool = False, check: bool = True) -> Index:
    """Opens an index that `Index.save` wrote.

    Parameters
    ----------
    path : file name
    mmap : bool, default False
        Map the arrays instead of reading them: opening is immediate, and processes share the pages. Adding or removing
        then copies what it changes.
    check : bool, default True
        Verify the checksum of every array. Without it a mapped file opens faster, but damage to codes or vectors goes
        unseen; what a search follows as an index into memory is checked in any case.

    Returns
    -------
    Flat, IVF or Graph

    Raises
    ------
    FormatError
        If the file is damaged, foreign, or from a newer version; the message says which.
    FileNotFoundError, OSError

    Examples
    --------
    >>> import os, tempfile, numpy as np, vsearch as vs
    >>> path = os.path.join(tempfile.mkdtemp(), "x.vsx")
    >>> vs.Flat().fit(np.eye(4)).save(path)
    >>> len(vs.load(path))
    4
    """
    path = check_path("path", path)
    held = container.read(path, mmap=check_flag("mmap", mmap), check=check_flag("check", check))
    if held.kind not in KINDS:
        raise ForeignFileError(f"{path} holds a vsearch {held.kind!r}, which is not an index.")
    try:
        return KINDS[held.kind]._open(held.meta, held.arrays)
    except FormatError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:  # what forged parts lead to
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0].rstrip(".")
        raise CorruptFileError(f"{path} is a damaged vsearch index: {why}.") from error
