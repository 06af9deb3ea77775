"""A collection for an adapter: one that is handed in, one in a named folder, or one that goes with its owner."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import Any

from vsearch.collection import Collection
from vsearch.errors import ParameterError


def collection_for(owner: Any, collection: Collection | None, path: Any, **options: Any) -> Collection:
    """``collection`` itself, or one opened at ``path``, or, without a path, in a folder that dies with ``owner``.

    >>> class Owner: pass
    >>> collection_for(Owner(), None, None, metric="l2").metric
    'l2'
    """
    if collection is not None:
        if path is not None:
            raise ParameterError("`collection` and `path` must not both be given.")
        return collection
    if path is not None:
        return Collection.open(path, **options)
    folder = tempfile.mkdtemp(prefix="vsearch-")
    opened = Collection.open(folder, **options)
    weakref.finalize(owner, _forget, opened, folder, os.getpid())
    return opened


def _forget(collection: Collection, folder: str, process: int) -> None:
    if os.getpid() != process:  # a forked child ends; the folder is the parent's
        return
    collection.close()
    shutil.rmtree(folder, ignore_errors=True)
