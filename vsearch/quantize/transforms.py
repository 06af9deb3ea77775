"""Maps of vectors before they are coded: random rotation, PCA, sphering, truncation, centring, and compositions.

What a transform is for: a rotation spreads every vector evenly over the dimensions, so that one grid fits them all; PCA
gathers the variance in the first dimensions, where more bits can be spent; sphering does the same with regard to the
inner products that queries will ask for. They compose (``PCA() >> Rotation()``), fold into one matrix, and are saved
with whatever uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vsearch._validate import MAX_DIM, check_choice, check_flag, check_int
from vsearch.errors import ParameterError
from vsearch.kernels import core
from vsearch.quantize.base import random_signs
from vsearch.quantize.moments import mean_of
from vsearch.quantize.transform_base import (
    MAX_SEED,
    METRICS,
    MatrixTransform,
    Transform,
    check_array,
    check_in_dim,
)
from vsearch.quantize.transform_chain import Compose
from vsearch.quantize.transform_learnt import PCA, Sphering

__all__ = ["PCA", "Center", "Compose", "MatrixTransform", "Rotation", "Sphering", "Transform", "Truncate"]


class Center(Transform):
    """Subtracts the mean of the vectors it was fitted to.

    Parameters
    ----------
    metric : "l2" or "ip", default "l2"
        "l2": queries are moved like the vectors, and no distance changes. Inner products do, and would rank
        differently. "ip": queries stay where they are, so that <q, x> = <q, apply(x)> + <q, offset>; the last term is
        the same for all vectors and changes no ranking. Distances do change.

    Examples
    --------
    >>> from vsearch.quantize.transforms import Center
    >>> t = Center().fit([[1.0, 2.0], [3.0, 6.0]])
    >>> t.apply([1.0, 2.0])
    array([-1., -2.], dtype=float32)
    """

    name: ClassVar[str] = "center"

    def __init__(self, metric: str = "l2") -> None:
        self.metric = check_choice("metric", metric, METRICS)

    @property
    def is_orthogonal(self) -> bool:
        """Whether distances between vectors stay: yes."""
        return True

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"metric": self.metric}

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        self._mean = mean_of(X).astype(np.float32)
        self._dims = X.shape[1], X.shape[1]

    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        return X - self._offset(query)

    def _back(self, Y: np.ndarray) -> np.ndarray:
        return Y + self._mean

    def _offset(self, query: bool) -> np.ndarray:
        return np.zeros_like(self._mean) if query and self.metric == "ip" else self._mean

    def _times(self, product: np.ndarray, query: bool) -> np.ndarray:
        return product

    def _lift(self, shift: np.ndarray, query: bool) -> np.ndarray:
        return shift

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean}

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Center:
        made, dim = cls(params["metric"]), check_in_dim(params)
        made._mean = check_array(arrays, "mean", np.float32, (dim,))
        made._dims = dim, dim
        return made


class Truncate(Transform):
    """Keeps the first dimensions, as Matryoshka embeddings are made for (Kusupati et al., NeurIPS 2022, 2205.13147).

    Parameters
    ----------
    dim : int in [1, 65536]
        How many to keep.
    normalize : bool, default False
        Scale what is left of each vector to length 1, as models that were trained with truncation expect under cosine;
        a vector of zeros stays one. This is no affine map: it has no matrix and no inverse.

    Notes
    -----
    `inverse` fills up with zeros.

    Examples
    --------
    >>> from vsearch.quantize.transforms import Truncate
    >>> Truncate(2).fit([[3.0, 4.0, 5.0]]).apply([[3.0, 4.0, 5.0]])
    array([[3., 4.]], dtype=float32)
    """

    name: ClassVar[str] = "truncate"

    def __init__(self, dim: int, normalize: bool = False) -> None:
        self.dim = check_int("dim", dim, 1, MAX_DIM)
        self.normalize = check_flag("normalize", normalize)

    @property
    def is_affine(self) -> bool:
        """Whether there is a matrix: unless vectors are scaled."""
        return not self.normalize

    @property
    def is_orthogonal(self) -> bool:
        """Whether distances stay: only if all dimensions are kept, and lengths."""
        return self._fitted()[0] == self.dim and not self.normalize

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"dim": self.dim, "normalize": self.normalize}

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        check_int("dim", self.dim, 1, X.shape[1])
        self._dims = X.shape[1], self.dim

    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        kept = np.ascontiguousarray(X[:, : self.dim])
        if not self.normalize:
            return kept
        lengths = np.sqrt(np.einsum("ij,ij->i", kept, kept, dtype=np.float64))
        return kept / np.where(lengths > 0, lengths, 1)[:, None].astype(np.float32)

    def _back(self, Y: np.ndarray) -> np.ndarray:
        self._check_affine("inverse: lengths are gone")
        return self._widen(Y)

    def _times(self, product: np.ndarray, query: bool) -> np.ndarray:
        self._check_affine("matrix and no offset: it is no affine map")
        return self._widen(product)

    def _lift(self, shift: np.ndarray, query: bool) -> np.ndarray:
        return self._widen(shift)

    def _widen(self, Y: np.ndarray) -> np.ndarray:
        """Y (..., dim) with zeros for what was cut off."""
        return np.concatenate([Y, np.zeros((*Y.shape[:-1], self._fitted()[0] - self.dim), Y.dtype)], axis=-1)

    def _check_affine(self, what: str) -> None:
        if self.normalize:
            raise ParameterError(f"{self!r} has no {what}. With normalize=False it has.")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Truncate:
        made, dim = cls(params["dim"], params["normalize"]), check_in_dim(params)
        check_int("dim", made.dim, 1, dim)
        made._dims = dim, made.dim
        return made


class Rotation(Transform):
    """A random rotation: distances and inner products stay, and no dimension is special any more.

    Parameters
    ----------
    kind : "hadamard" or "dense", default "hadamard"
        "hadamard": sign flips and Walsh-Hadamard transforms, O(d log d) a vector; the result is as long as the next
        multiple of 16. "dense": uniform among all rotations and reflections, O(d^2), and as many dimensions as before.
    seed : int, default 0
        The same seed and dimension give the same rotation; the data are not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from vsearch.quantize.transforms import Rotation
    >>> X = np.eye(20, dtype=np.float32)
    >>> t = Rotation().fit(X)
    >>> t.apply(X).shape, bool(np.allclose(t.inverse(t.apply(X)), X, atol=1e-6))
    ((20, 32), True)
    """

    name: ClassVar[str] = "rotation"

    def __init__(self, kind: str = "hadamard", seed: int = 0) -> None:
        self.kind = check_choice("kind", kind, ("hadamard", "dense"))
        self.seed = check_int("seed", seed, 0, MAX_SEED)

    @property
    def is_dense(self) -> bool:
        """Whether it costs a matrix product: the dense one does."""
        return self.kind == "dense"

    @property
    def is_orthogonal(self) -> bool:
        """Whether distances stay: yes."""
        return True

    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"kind": self.kind, "seed": self.seed}

    def start(self, dim: int) -> Rotation:
        """Makes the rotation of `dim` dimensions: all of fitting, for it looks at no data."""
        dim = check_int("dim", dim, 1, MAX_DIM)
        return self._set(random_signs(dim, self.seed) if self.kind == "hadamard" else haar(dim, self.seed), dim)

    def _set(self, array: np.ndarray, dim: int) -> Rotation:
        """Takes the packed signs of a fast rotation, or the matrix of a dense one."""
        self._array = array
        self._fast = core.Rotation(dim, array) if self.kind == "hadamard" else None
        self._dims = dim, dim if self._fast is None else self._fast.padded
        self._version += 1
        return self

    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        self.start(X.shape[1])

    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        return X @ self._array.T if self._fast is None else self._fast.apply(X)

    def _back(self, Y: np.ndarray) -> np.ndarray:
        return Y @ self._array if self._fast is None else self._fast.apply_inverse(Y)

    def _times(self, product: np.ndarray, query: bool) -> np.ndarray:
        return product @ self._array if self._fast is None else self._back(np.ascontiguousarray(product, np.float32))

    def _lift(self, shift: np.ndarray, query: bool) -> np.ndarray:
        return self._times(shift[None], query)[0]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"matrix" if self._fast is None else "signs": self._array}

    @classmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Rotation:
        made, dim = cls(params["kind"], params["seed"]), check_in_dim(params)
        if made.kind == "dense":
            return made._set(check_array(arrays, "matrix", np.float32, (dim, dim)), dim)
        return made._set(check_array(arrays, "signs", np.uint8, (core.Rotation.sign_bytes(dim),)), dim)


def haar(dim: int, seed: int) -> np.ndarray:
    """A matrix uniform among the orthogonal ones of `dim` dimensions, float32 (dim, dim).

    QR alone leaves R's signs to the algorithm and Q is then not uniform; with a positive diagonal it is (Mezzadri,
    arXiv math-ph/0609050).

    >>> haar(3, 0).shape
    (3, 3)
    """
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    return np.ascontiguousarray(q * np.where(np.diag(r) < 0, -1.0, 1.0), dtype=np.float32)
