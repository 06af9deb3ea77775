"""Transforms in files of their own, for who fits one once and uses it in many places."""

from __future__ import annotations

from vsearch._typing import Path
from vsearch._validate import check_path
from vsearch.errors import CorruptFileError, DTypeError, ForeignFileError, ParameterError
from vsearch.quantize.transforms import Transform
from vsearch.storage import container

KIND = "transform"


def save_transform(transform: Transform, path: Path) -> None:
    """Writes a fitted transform, which takes the place of the file `path` at once or not at all.

    Parameters
    ----------
    transform : Transform, fitted
    path : file name

    Raises
    ------
    NotFittedError, DTypeError, OSError

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.transforms import PCA, Rotation
    >>> save_transform((PCA(2) >> Rotation()).fit(np.eye(4)), "pca.vsx")
    >>> load_transform("pca.vsx")
    PCA(dim=2, metric='l2', seed=0) >> Rotation(kind='hadamard', seed=0)
    """
    if not isinstance(transform, Transform):
        raise DTypeError(f"`transform` must be a Transform; got {transform!r:.60} ({type(transform).__name__}).")
    params, arrays = transform.state()
    container.write(check_path("path", path), KIND, params, arrays)


def load_transform(path: Path) -> Transform:
    """Reads a transform that `save_transform` wrote.

    Parameters
    ----------
    path : file name

    Returns
    -------
    Transform
        It maps as the one that was saved.

    Raises
    ------
    FormatError
        If the file is damaged, foreign, or from a newer version; the message says which.
    FileNotFoundError, OSError
    """
    path = check_path("path", path)
    held = container.read(path)
    if held.kind != KIND:
        raise ForeignFileError(f"{path} holds a vsearch {held.kind!r}, which is not a transform.")
    try:
        return Transform.from_state(held.meta, held.arrays)
    except ParameterError as error:
        raise CorruptFileError(f"{path} is a damaged vsearch transform: {error}") from error
