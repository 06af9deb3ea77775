"""What every quantizer is: parameters, a linear transform and a codec, learnt together from a sample of residuals.

A subclass says what it learns (`_learn`: arrays) and how transform and codec are made of that (`_assemble`); the rest,
from compressing on its own to what an index asks of it, is here. An index never changes the quantizer that it was
given: it trains a `fresh()` one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vsearch._threads import resolve_threads
from vsearch._validate import (
    MAX_DIM,
    check_choice,
    check_codable,
    check_float,
    check_int,
    check_lengths,
    check_queries,
    check_vectors,
)
from vsearch.errors import DimensionError, DTypeError, NotFittedError, ParameterError
from vsearch.kernels import core
from vsearch.quantize.codes import ADD, RESCALE, SHIFT, Codes, CompactFactors, Encoded

if TYPE_CHECKING:
    from typing_extensions import Self

METRICS = ("l2", "ip", "cosine")
BLOCK = 32
EPSILON = 1.9
"""z-score of the lower bounds: 2.9 % of true distances lie below them."""
SURE_EPSILON = 3.5
"""That of a Flat index, which has no effort to trade: a true neighbour is excluded once in some 4,000 times."""
TRAIN_ROWS = 65536
"""Most vectors that a quantizer learns from."""


def padded(dim: int) -> int:
    """Dimensions after a rotation: the next multiple of 16."""
    return -(-dim // 16) * 16


def random_signs(dim: int, seed: int) -> np.ndarray:
    """The Rademacher masks of a random rotation of `dim` dimensions, packed (uint8)."""
    return np.random.default_rng(seed).integers(0, 256, core.Rotation.sign_bytes(dim), dtype=np.uint8)


class Quantizer(ABC):
    """Base of all quantizers; see the subclasses for what each is good for.

    Attributes
    ----------
    transform, codec : objects of the compiled core (or its Numba twin), None before training
    arrays : what was learnt, from which `restore` makes the same quantizer again
    center : mean of the vectors that it is trained for, where there is one
    """

    name: ClassVar[str] = ""
    needs_data: ClassVar[bool] = False
    """Whether it learns from residuals; a random rotation does not."""
    needs_queries: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    """Whether it drops coordinates, so that codes alone do not tell distances."""
    rounds: ClassVar[bool] = False
    """Whether it rounds coordinates to the levels of their segments, as a compact graph must have it."""
    _kinds: ClassVar[dict[str, type[Quantizer]]] = {}

    transform: Any = None
    codec: Any = None
    arrays: dict[str, np.ndarray]
    center: np.ndarray | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.name:
            Quantizer._kinds[cls.name] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._shown().items())})"

    # ------------------------------------------------------------- subclasses

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""

    @abstractmethod
    def _learn(
        self, residuals: np.ndarray, dim: int, metric: str, queries: np.ndarray | None, threads: int
    ) -> dict[str, np.ndarray]:
        """What is learnt from residuals (n, dim), n = 0 where `needs_data` is false."""

    @abstractmethod
    def _assemble(self, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets `transform` and `codec`; ValueError where the arrays are not those that `_learn` makes."""

    @abstractmethod
    def _size(self, dim: int, metric: str) -> float:
        """What `bytes_per_vector` returns."""

    def columns(self, metric: str) -> int:
        """Which factors a compact index of this `metric` stores for each vector."""
        return ADD | RESCALE

    def constants(self, metric: str) -> tuple[float, float, float]:
        """The factors that a compact index of this `metric` does not store."""
        return 0.0, 0.0, 0.0

    def _shown(self) -> dict[str, Any]:
        """Parameters that `repr` names: all but the seed."""
        return {k: v for k, v in self.params().items() if k != "seed"}

    _scale_is_plain: ClassVar[bool] = False
    """Whether the factor of the estimate is also that of the reconstruction."""

    _add_is_of_code: ClassVar[bool] = False
    """Whether `add` is made of the code's own length in place of the vector's."""

    # ---------------------------------------------------------------- indexes

    def fresh(self) -> Self:
        """An untrained quantizer with the same parameters."""
        return type(self)(**self.params())

    def train(
        self,
        residuals: np.ndarray,
        dim: int,
        metric: str = "l2",
        *,
        queries: np.ndarray | None = None,
        mean: np.ndarray | None = None,
        threads: int = 1,
    ) -> Self:
        """Learns transform and codec from float32 residuals (n, dim) of vectors to the centroids of their lists.

        `metric` is that of the index, `queries` (m, dim) a sample of what it will be asked, `mean` (dim,) that of the
        vectors; `threads` threads share the work.
        """
        self.center = mean
        learnt = self._learn(residuals, dim, metric, queries, threads)
        self._assemble(dim, metric, learnt)
        self.arrays = dict(learnt)
        return self

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Name and parameters (JSON), and arrays."""
        return {"name": self.name, "params": self.params()}, self.arrays

    @staticmethod
    def restore(meta: Any, dim: int, metric: str, arrays: Mapping[str, np.ndarray]) -> Quantizer:
        """The trained quantizer of a file for `dim` dimensions and a `metric`, from the `meta` and `arrays` that
        `state` gave; ValueError where these are not what it gave.
        """
        made = Quantizer.from_params(meta)
        made._assemble(dim, metric, arrays)
        made.arrays = dict(arrays)
        return made

    @staticmethod
    def from_params(meta: Any) -> Quantizer:
        """The untrained quantizer that `meta`, the first part of `state`, names; ValueError where it is none."""
        kind = Quantizer._kinds.get(str(meta.get("name"))) if isinstance(meta, Mapping) else None
        if kind is None or not isinstance(meta.get("params"), Mapping):
            raise ValueError(f"there is no quantizer {meta!r:.60}")
        try:
            return kind(**meta["params"])
        except TypeError as error:
            raise ValueError(f"the parameters of {kind.__name__} are others: {error}") from None

    def encode_residuals(
        self,
        transformed: np.ndarray,
        assign: np.ndarray,
        centroids: np.ndarray,
        mean: np.ndarray,
        metric: str,
        threads: int,
    ) -> Encoded:
        """Codes of transformed vectors relative to `centroids[assign]`, all without the mean: what an index stores.

        The factors are those of `metric`; `threads` threads share the rows.
        """
        return Encoded(**self.codec.encode(transformed, assign, centroids, mean, metric, threads))

    def reconstruct(
        self, symbols: np.ndarray, extra: np.ndarray, full: np.ndarray, metric: str, spread: float | None = None
    ) -> np.ndarray:
        """Transformed residuals that codes (symbols and extra bits) stand for, float32 (n, padded), scaled to least
        squares by their `full` factors of `metric`.

        The best scale is <o, y>/|y|^2 = S cos^2 with S = |o|^2/<o, y>. Of codes alone |o|^2 is `add` (the centroid is
        the origin); in an index cos^2 = 1 - sin^2 comes from the mean spread |y| sin / sqrt(D - 1).
        """
        y = self.codec.decode(symbols, extra)
        scale = -full[:, 1] * np.float32(0.5 if metric == "l2" else 1.0)
        t = np.divide(full[:, 2], full[:, 1], out=np.zeros(len(y), dtype=np.float32), where=full[:, 1] != 0)
        y += t[:, None]
        if not self._scale_is_plain:
            norm2 = np.einsum("ij,ij->i", y, y)
            if spread is not None:
                sin2 = np.minimum(1, spread**2 * (y.shape[1] - 1) / np.maximum(norm2, 1e-30))
                return y * (scale * (1 - sin2)).astype(np.float32)[:, None]
            best = np.divide(full[:, 0], scale * norm2, out=np.zeros_like(scale), where=scale * norm2 != 0)
            scale = np.clip(best, 0, scale)  # cos^2 is at most 1, whatever 16 bits make of the factors of short vectors
        return y * scale[:, None]

    # ------------------------------------------------------------------ alone

    def bytes_per_vector(self, dim: int, metric: str = "l2") -> float:
        """Bytes of code and factors for one vector of `dim` dimensions in a Flat index of a `metric` ("l2", "ip" or
        "cosine"), or compressed alone (as under "l2"); of `SAQ` before it is trained the most that it can be.
        """
        return self._size(check_dim(dim), check_choice("metric", metric, METRICS))

    @property
    def dim(self) -> int | None:
        """Dimension it was fitted to, or None."""
        return None if self.transform is None else self.transform.dim

    def fit(self, X: Any, *, queries: Any = None, threads: int | None = None) -> Self:
        """Learns the mean of X (n, d), about which vectors are coded, and what the quantizer takes from the data.

        Parameters
        ----------
        X : array-like (n, d)
        queries : array-like (m, d), optional
            A sample of the queries that will be asked, for quantizers that spend bits where queries look.
        threads : int, optional

        Raises
        ------
        ParameterError, DimensionError, DTypeError
            If X or queries are no finite vectors of one dimension, or a row of X is longer than 1e18.
        """
        X = check_lengths("X", check_vectors("X", X))
        queries = None if queries is None else check_vectors("queries", queries, X.shape[1], like="`X`")
        mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        sample = sample_of(X) - mean if self.needs_data else np.zeros((0, X.shape[1]), dtype=np.float32)
        sampled = None if queries is None else sample_of(queries) - mean
        self.train(sample, X.shape[1], "l2", queries=sampled, mean=mean, threads=resolve_threads(threads))
        self.mean = mean
        self.transformed_mean = self.transform.apply(mean[None])[0]
        return self

    def encode(self, X: Any, *, threads: int = 1) -> Codes:
        """Codes of the rows of X (n, d), for estimates of squared Euclidean distance, made by `threads` threads.

        Raises
        ------
        NotFittedError, DimensionError, DTypeError, ParameterError
            Before `fit`, or if X are no finite vectors of its dimension, or one is longer than 1e18.
        """
        self._check_fitted()
        X, threads = check_codable("X", X, self.transform.dim), resolve_threads(threads)
        encoded, norms = self._about_mean(X, threads)
        compact = self.compact("l2")
        compact = compact.widened(encoded) or compact
        compact.learn(encoded, norms)
        return Codes(encoded.symbols, encoded.extra, compact.store(encoded.full), compact)

    def _about_mean(self, X: np.ndarray, threads: int) -> tuple[Encoded, np.ndarray]:
        """Codes of the rows of X relative to the mean, and the lengths of what they code.

        Vectors behind a fast rotation go through it and the codec one by one, without leaving the cache between; a
        matrix is faster with many.
        """
        mean = self.transformed_mean
        if "rotation" in self.arrays:
            encoded = Encoded(**self.codec.compress(self.transform, X, mean, threads))
            return encoded, np.sqrt(encoded.first[:, 0])  # about the origin `add` is the squared length
        transformed = self.apply(X, threads) - mean
        origin, lists = np.zeros((1, len(mean)), dtype=np.float32), np.zeros(len(X), dtype=np.uint32)
        encoded = self.encode_residuals(transformed, lists, origin, mean, "l2", threads)
        return encoded, np.sqrt(np.einsum("ij,ij->i", transformed, transformed))

    def compact(self, metric: str, mean_norm2: float = 0.0) -> CompactFactors:
        """Empty compact factors for `metric`; `mean_norm2` is the squared length of the mean of unit vectors."""
        made = CompactFactors(self.columns(metric), low=np.asarray(self.constants(metric), dtype=np.float32))
        if made.columns & ADD and metric != "ip" and not self._add_is_of_code:
            made.norm2, made.norm2_add = (0.0, 1.0) if metric == "l2" else (1.0 - mean_norm2, 2.0)
        return made

    def apply(self, X: np.ndarray, threads: int = 1) -> np.ndarray:
        """Transformed rows of X, float32 (n, padded): by one matrix product where the transform is a matrix, else by
        `threads` threads.
        """
        base = self.arrays.get("base")
        return self.transform.apply(X, threads) if base is None else X @ base.T

    def decode(self, codes: Codes) -> np.ndarray:
        """Vectors that the codes stand for, float32 (n, d)."""
        self._check_codes(codes)
        full = codes.compact.read(codes.factors)
        rotated = self.reconstruct(codes.symbols, codes.extra, full, "l2") + self.transformed_mean
        return self.transform.apply_inverse(np.ascontiguousarray(rotated, dtype=np.float32))

    def estimate(self, query: Any, codes: Codes) -> np.ndarray:
        """Estimated squared Euclidean distances to codes, float32: (n,) from one query (d,), (nq, n) from many
        (nq, d).
        """
        self._check_codes(codes)
        queries, single = check_queries("query", query, self.transform.dim, like="the quantizer")
        scan = self._scan(codes)
        estimates = [scan.estimate(np.ascontiguousarray(q), EPSILON)[2] for q in queries]
        return estimates[0] if single else np.stack(estimates) if estimates else np.zeros((0, len(codes)), np.float32)

    def estimate_stages(
        self, query: Any, codes: Codes, epsilon: float = EPSILON
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each of the codes: the distance to one query from its symbols alone, the lower bound of that at `epsilon`
        standard deviations, and the distance from all bits.
        """
        self._check_codes(codes)
        queries, single = check_queries("query", query, self.transform.dim, like="the quantizer")
        if not single:
            raise DimensionError(f"`query` must be one vector of shape ({self.dim},); got {queries.shape}.")
        return self._scan(codes).estimate(np.ascontiguousarray(queries[0]), check_float("epsilon", epsilon, 0))

    def _scan(self, codes: Codes) -> Any:
        n, compact = len(codes), codes.compact
        columns = len(compact.picked)
        blocks = np.zeros((-(-n // BLOCK), core.block_bytes(self.codec.symbols, columns, 2)), dtype=np.uint8)
        slots = np.arange(n, dtype=np.uint32)
        core.write_blocks(blocks, slots.astype(np.int64), slots, codes.symbols, codes.factors, 2)
        scan = core.IvfScan("l2", self.transform, self.codec, True, compact.columns)
        scan.bind_centroids(np.zeros((1, self.transform.padded), dtype=np.float32), self.transformed_mean)
        scan.bind(
            ids=np.arange(n, dtype=np.int64),
            list_block=np.zeros(1, dtype=np.uint32),
            list_size=np.array([n], dtype=np.uint32),
            blocks=blocks,
            block_list=np.zeros(len(blocks), dtype=np.uint32),
            position=slots,
            extra=codes.extra if codes.extra.shape[1] else None,
            first_spread=float(compact.spreads[0]),
            full_spread=float(compact.spreads[1]),
            compact=compact.as_array(),
            row_dtype="f32",
            rows=None,
            factors=None,
            n=n,
        )
        return scan

    def _check_codes(self, codes: Any) -> None:
        self._check_fitted()
        if not isinstance(codes, Codes):
            raise DTypeError(f"`codes` must be what encode(X) returned; got a {type(codes).__name__}.")
        n = len(codes)
        stride = 2 * len(codes.compact.picked)
        shapes = (codes.symbols.shape, codes.extra.shape, codes.factors.shape)
        wanted = ((n, self.codec.symbols // 2), (n, self.codec.extra_bytes), (n, stride))
        if shapes != wanted or codes.compact.columns != self.columns("l2"):
            whose = f"of {self!r} for {self.dim} dimensions"
            raise ParameterError(f"`codes` must be {whose}; these are of another quantizer.")

    def _check_fitted(self) -> None:
        if self.transform is None or not hasattr(self, "mean"):
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(X) first.")


def sample_of(X: np.ndarray, rows: int = TRAIN_ROWS) -> np.ndarray:
    """At most `rows` rows of X, evenly spaced."""
    return X if len(X) <= rows else X[np.linspace(0, len(X) - 1, rows).astype(np.int64)]


def check_dim(dim: Any) -> int:
    """A dimension that a quantizer can be asked about."""
    return check_int("dim", dim, 1, MAX_DIM)


def take(arrays: Mapping[str, np.ndarray], name: str, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of a file; ValueError where it is missing or not of this dtype and shape (None: any length)."""
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"{name} is missing")
    fits = len(shape) == array.ndim and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    return array


__all__ = ["ADD", "RESCALE", "SHIFT", "Quantizer"]
