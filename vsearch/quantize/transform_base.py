"""What every transform is: fitted once, an affine map on either side, composable and savable.

A transform maps vectors x to M (x - offset) and queries q to A (q - query_offset). For most of them the two sides are
one map; sphering has two, and transforms made for inner products leave the queries where they are. A new transform
with matrices derives from `MatrixTransform` and adds how they are learnt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from vsearch._validate import MAX_DIM, check_int, check_queries, check_vectors
from vsearch.errors import DTypeError, NotFittedError, ParameterError

if TYPE_CHECKING:
    from typing_extensions import Self

    from vsearch.quantize.transform_chain import Compose

METRICS = ("l2", "ip")
MAX_SEED = 2**63 - 1
State = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Parameters that JSON can hold, and arrays."""


class Affine(NamedTuple):
    """x -> matrix (x - offset): float32 (out, in) and (in,)."""

    matrix: np.ndarray
    offset: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Rows of X (n, in) mapped, float32 (n, out)."""
        return (X - self.offset) @ self.matrix.T if self.offset.any() else X @ self.matrix.T


class Transform(ABC):
    """A map of vectors that is fitted to data before they are coded.

    `params`, `is_orthogonal` and the hooks at the end are what a subclass adds; its `name` is what saved states call
    it.
    """

    name: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, type[Transform]]] = {}
    _dims: tuple[int, int] | None = None
    _version: int = 0  # counts fits, so that a composition knows when to fold again

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.name:
            Transform._kinds[cls.name] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params().items())})"

    def __rshift__(self, after: Transform) -> Compose:
        """This one, then `after`."""
        from vsearch.quantize.transform_chain import Compose

        return Compose([self, after])

    # ---------------------------------------------------------- for users

    @property
    def in_dim(self) -> int | None:
        """Dimensions of what it takes, None before fitting."""
        return None if self._dims is None else self._dims[0]

    @property
    def out_dim(self) -> int | None:
        """Dimensions of what it gives, None before fitting."""
        return None if self._dims is None else self._dims[1]

    @property
    def is_affine(self) -> bool:
        """Whether there are a matrix and an offset."""
        return True

    @property
    def is_dense(self) -> bool:
        """Whether it costs a matrix product, into which others can be folded."""
        return False

    @property
    @abstractmethod
    def is_orthogonal(self) -> bool:
        """Whether all distances between vectors stay as they are: the columns of the matrix are orthonormal."""

    def fit(self, X: Any, *, queries: Any = None) -> Self:
        """Learns the map from vectors X (n, d), and from `queries` (nq, d) where the transform looks at them.

        Raises
        ------
        ParameterError, DimensionError, DTypeError
            If X or the queries are no finite vectors of one dimension, or too few for what is wanted.
        """
        X = check_vectors("X", X)
        queries = None if queries is None else check_vectors("queries", queries, X.shape[1], like="`X`")
        self._fit(X, queries)
        self._version += 1
        return self

    def apply(self, X: Any) -> np.ndarray:
        """Transformed vectors, float32: (n, out_dim) of a batch (n, in_dim), (out_dim,) of one vector (in_dim,)."""
        rows, single = check_queries("X", X, self._fitted()[0], like="the transform")
        made = self._forward(rows, False)
        return made[0] if single else made

    def apply_query(self, Q: Any) -> np.ndarray:
        """Transformed queries, float32; as `apply` unless the sides differ."""
        rows, single = check_queries("Q", Q, self._fitted()[0], like="the transform")
        made = self._forward(rows, True)
        return made[0] if single else made

    def inverse(self, Y: Any) -> np.ndarray:
        """Vectors, float32 (n, in_dim) or (in_dim,), that `apply` takes to Y.

        Where dimensions were dropped there are many, and this is the one that the transform's own documentation names.

        Raises
        ------
        ParameterError
            If there is no inverse.
        """
        rows, single = check_queries("Y", Y, self._fitted()[1], like="what the transform makes")
        made = self._back(rows)
        return made[0] if single else made

    @property
    def matrix(self) -> np.ndarray:
        """M of x -> M (x - offset), float32 (out_dim, in_dim)."""
        return self._affine(False).matrix

    @property
    def offset(self) -> np.ndarray:
        """The offset of x -> M (x - offset), float32 (in_dim,).

        Where only the vectors are moved, <q, x> = <apply_query(q), apply(x)> + <q, offset>: the last term is one number
        for each query and changes no ranking.
        """
        return self._affine(False).offset

    @property
    def query_matrix(self) -> np.ndarray:
        """A of q -> A (q - query_offset), float32 (out_dim, in_dim)."""
        return self._affine(True).matrix

    @property
    def query_offset(self) -> np.ndarray:
        """The offset of q -> A (q - query_offset), float32 (in_dim,)."""
        return self._affine(True).offset

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Arguments of the constructor."""

    def state(self) -> State:
        """Parameters (JSON) and arrays, from which `Transform.from_state` makes the same transform again."""
        return {"transform": self.name, **self.params(), "in_dim": self._fitted()[0]}, self._arrays()

    @staticmethod
    def from_state(params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Transform:
        """The transform that `state` describes.

        Raises
        ------
        ParameterError
            If these are not the parameters and arrays of a transform. Any input whatever is either refused so, or gives
            a transform whose arrays have the right shapes and finite values.
        """
        why = "it is no mapping of parameters and one of arrays"
        try:
            if isinstance(params, Mapping) and isinstance(arrays, Mapping):
                kind = Transform._kinds.get(str(params.get("transform")))
                why = f"there is no transform {params.get('transform')!r:.40}"
                if kind is not None:
                    return kind._restore(params, arrays)
        except KeyError as error:
            why = f"{error} is missing"
        except (ValueError, TypeError, OverflowError) as error:
            why = str(error).split("\n")[0].rstrip(".")
        raise ParameterError(f"`params` and `arrays` must be the state of a transform; {why}.")

    # --------------------------------------------------------- for subclasses

    @abstractmethod
    def _fit(self, X: np.ndarray, queries: np.ndarray | None) -> None:
        """Learns from checked vectors; sets `_dims` last, when nothing can fail any more."""

    @abstractmethod
    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        """Rows of X mapped, as queries where `query`."""

    @abstractmethod
    def _back(self, Y: np.ndarray) -> np.ndarray:
        """Rows of Y mapped back."""

    def _affine(self, query: bool) -> Affine:
        """One side as matrix and offset; either this or `_times` is overridden."""
        matrix = self._times(np.eye(self._fitted()[1]), query)
        return Affine(np.ascontiguousarray(matrix, dtype=np.float32), self._offset(query))

    def _times(self, product: np.ndarray, query: bool) -> np.ndarray:
        """`product` (k, out_dim) times the matrix of one side: (k, in_dim)."""
        return product @ self._affine(query).matrix

    def _lift(self, shift: np.ndarray, query: bool) -> np.ndarray:
        """What the matrix of one side takes to `shift` (out_dim,), or as near to it as it can; (in_dim,).

        That is the transposed matrix of the other side: see `MatrixTransform`.
        """
        return shift @ self._affine(not query).matrix

    def _offset(self, query: bool) -> np.ndarray:
        """The offset of one side, float32 (in_dim,)."""
        return np.zeros(self._fitted()[0], np.float32)

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """What was learnt."""

    @classmethod
    @abstractmethod
    def _restore(cls, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Transform:
        """The inverse of `state`; refuses by ValueError, TypeError or KeyError."""

    def _fitted(self) -> tuple[int, int]:
        if self._dims is None:
            raise NotFittedError(f"{self!r} is not fitted; call fit(X) first.")
        return self._dims


def check_array(arrays: Mapping[str, np.ndarray], name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array `name` of a state, C-contiguous; refused where dtype, shape or a value is not as it must be."""
    array = arrays[name]
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise DTypeError(f"array `{name}` should be {np.dtype(dtype)} {shape} and is {got}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ParameterError(f"array `{name}` is not finite")
    return np.ascontiguousarray(array)


def check_in_dim(params: Mapping[str, Any]) -> int:
    """`in_dim` of a state."""
    return check_int("in_dim", params["in_dim"], 1, MAX_DIM)


class MatrixTransform(Transform):
    """A transform that is one matrix for each side, and all of whose state those are.

    The two matrices M and A satisfy M A^T = 1: what comes out has the inner products of what went in, in the part of
    space that is kept. For an orthogonal M that means A = M.
    """

    _sides: dict[bool, Affine]

    def _keep(self, base: Affine, query: Affine) -> None:
        """Takes over what `_fit` or `_restore` found."""
        own = Affine(*(np.ascontiguousarray(part, dtype=np.float32) for part in base))
        matrix = own.matrix if query.matrix is base.matrix else np.ascontiguousarray(query.matrix, dtype=np.float32)
        self._sides = {False: own, True: Affine(matrix, query.offset.astype(np.float32))}
        out, dim = base.matrix.shape
        self._dims = dim, out

    @property
    def is_dense(self) -> bool:
        """Whether it costs a matrix product: yes."""
        return True

    def _forward(self, X: np.ndarray, query: bool) -> np.ndarray:
        return self._sides[query](X)

    def _back(self, Y: np.ndarray) -> np.ndarray:
        return Y @ self._sides[True].matrix + self._sides[False].offset

    def _offset(self, query: bool) -> np.ndarray:
        return self._sides[query].offset

    def _affine(self, query: bool) -> Affine:
        self._fitted()
        return self._sides[query]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"matrix": self._sides[False].matrix, "offset": self._sides[False].offset}
