"""The inside of an IVF: transform, centroids, lists of codes, and the bound scan. `ivf.py` wraps it into an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch.index.lists import BLOCK, BlockLists, grown
from vsearch.kernels import core
from vsearch.quantize.base import TRAIN_ROWS, Quantizer, random_signs
from vsearch.quantize.codes import CompactFactors, Encoded
from vsearch.quantize.kmeans import kmeans

PREFIX = "quantizer."
PLAIN_COLUMNS = 3
"""Add and rescale, of codes that are centred on zero."""


@dataclass
class Coded:
    """Codes of a batch of vectors, and the lengths of their residuals where a compact index wants them."""

    encoded: Encoded
    norms: np.ndarray | None


class IvfCore:
    """Everything of an IVF but ids, stored rows and files: transform, centroids, lists of codes, and the bound scan.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine" (unit vectors)
    dim : dimension of the vectors
    quantizer : Quantizer, trained or not, or None (lists hold slots alone, and rows are scanned)
    seed : of the k-means and, without a quantizer, the rotation
    compact : whether there is but one list, whose codes keep one set of factors in 16 bits

    Attributes
    ----------
    quantizer : the trained one; the user's own is not changed
    extra : uint8 (n, stride), what of each code is not in its block
    spreads : float64 (2,), mean error spreads of the symbols and of the whole codes
    """

    def __init__(self, metric: str, dim: int, quantizer: Quantizer | None, seed: int, compact: bool = False) -> None:
        self.metric = metric
        self.dim = dim
        self.seed = seed
        self.is_compact = compact and quantizer is not None
        self.quantizer = quantizer.fresh() if quantizer is not None else None
        self.spreads = np.zeros(2)
        self.compact = CompactFactors(0)

    def _start(self, rotation_signs: np.ndarray | None = None) -> None:
        """Makes the scan, once the quantizer is trained."""
        if self.quantizer is None:
            signs = random_signs(self.dim, self.seed) if rotation_signs is None else rotation_signs
            self.rotation_signs = np.ascontiguousarray(signs)
            self.transform = core.Rotation(self.dim, self.rotation_signs)
            self.scan = core.IvfScan(self.metric, self.transform, None)
            self.columns, self.symbols, self.extra_stride = 0, 0, 0
        else:
            self.transform, codec = self.quantizer.transform, self.quantizer.codec
            self.columns = self.quantizer.columns(self.metric) if self.is_compact else PLAIN_COLUMNS | 4 * codec.shifted
            mean_norm2 = float(self.mean.astype(np.float64) @ self.mean) if hasattr(self, "mean") else 0.0
            self.compact = self.quantizer.compact(self.metric, mean_norm2)
            self.symbols = codec.symbols
            header = 0 if self.is_compact else 4 * bin(self.columns).count("1")
            self.extra_stride = header + codec.extra_bytes if codec.extra_bytes else 0
            self.scan = core.IvfScan(self.metric, self.transform, codec, self.is_compact, self.columns)
        self.extra = np.zeros((0, self.extra_stride), dtype=np.uint8)

    @property
    def padded(self) -> int:
        """Dimensions after the transform."""
        return int(self.transform.padded)

    @property
    def _factor_size(self) -> int:
        return 2 if self.is_compact else 4

    def _empty_lists(self, lists: int) -> BlockLists:
        return BlockLists(lists, self.symbols, bin(self.columns).count("1"), self._factor_size)

    def train(
        self,
        X: np.ndarray,
        lists: int,
        threads: int,
        on_round: Callable[[], object] | None = None,
        queries: np.ndarray | None = None,
    ) -> None:
        """Learns the mean, the centroids and the quantizer."""
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        if lists == 1:
            self.centroids = self.mean[None].copy()
        else:
            self.centroids = kmeans(X, lists, seed=self.seed, threads=threads, on_iteration=on_round)
        if self.quantizer is not None:
            residuals = np.zeros((0, self.dim), dtype=np.float32)
            if self.quantizer.needs_data:
                rng = np.random.default_rng(self.seed)
                rows = X if len(X) <= TRAIN_ROWS else X[np.sort(rng.choice(len(X), TRAIN_ROWS, replace=False))]
                residuals = rows - self.centroids[self.assign(rows, threads)]
            asked = None if queries is None or self.metric == "l2" else queries
            self.quantizer.train(residuals, self.dim, self.metric, queries=asked, mean=self.mean, threads=threads)
        self._start()
        self._bind_centroids()

    def _bind_centroids(self) -> None:
        self.transformed_mean = self._apply(self.mean[None], 1)[0]
        self.transformed_centroids = np.ascontiguousarray(self._apply(self.centroids, 1) - self.transformed_mean)
        self.scan.bind_centroids(self.transformed_centroids, self.transformed_mean)

    def _apply(self, X: np.ndarray, threads: int) -> np.ndarray:
        made = self.transform.apply(X, threads) if self.quantizer is None else self.quantizer.apply(X, threads)
        return np.asarray(made, dtype=np.float32)

    def assign(self, X: np.ndarray, threads: int) -> np.ndarray:
        """List of each vector: the centroid nearest in Euclidean distance, for every metric."""
        if len(self.centroids) == 1:
            return np.zeros(len(X), dtype=np.uint32)
        return core.assign(X, self.centroids, threads)[0]

    def start_lists(self, assign: np.ndarray) -> np.ndarray:
        """Lays out the lists of a fit and returns the order in which the vectors become slots: list by list."""
        self.lists = self._empty_lists(len(self.centroids))
        self.lists.reserve(np.bincount(assign, minlength=len(self.centroids)), len(assign))
        self.extra = np.zeros((len(assign) if self.extra_stride else 0, self.extra_stride), dtype=np.uint8)
        return np.argsort(assign, kind="stable")

    def encode(self, X: np.ndarray, assign: np.ndarray, threads: int) -> Coded | None:
        """Codes of vectors relative to the centroids of their lists, None without a quantizer."""
        if self.quantizer is None:
            return None
        transformed = self._apply(X, threads)
        transformed -= self.transformed_mean
        encoded = self.quantizer.encode_residuals(
            transformed, assign, self.transformed_centroids, self.transformed_mean, self.metric, threads
        )
        norms = np.sqrt(np.einsum("ij,ij->i", transformed, transformed)) if self.is_compact else None
        return Coded(encoded, norms)

    def append(self, slots: np.ndarray, assign: np.ndarray, coded: Coded | None) -> None:
        """Commits encoded vectors; the caller holds the scan's exclusive pass, or nobody searches yet."""
        total = int(slots[-1]) + 1
        if coded is None:
            self.lists.append(slots, assign)
            return
        symbols, factors, extra = self._rows(coded, total - len(slots))
        if self.extra_stride:
            self.extra = grown(self.extra, total)
            self.extra[slots] = extra
        self.lists.append(slots, assign, symbols, factors)

    def _rows(self, coded: Coded, before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(symbols, factors, extra rows) as they are stored; their spreads join the means of the `before` vectors."""
        encoded = coded.encoded
        if not self.is_compact or coded.norms is None:
            if len(encoded):
                share = len(encoded) / (before + len(encoded))
                self.spreads = (1 - share) * self.spreads + share * encoded.spreads.mean(axis=0, dtype=np.float64)
            return encoded.rows(self.columns)
        self.compact.count = before  # of those that are there, as a loaded index has it
        wider = self.compact.widened(encoded)
        if wider is not None:
            if self.compact.count:
                narrow = self.compact
                self.lists.change_factors(lambda stored: wider.store(narrow.read(stored)))
            self.compact = wider
        self.compact.learn(encoded, coded.norms)
        self.spreads = self.compact.spreads
        return encoded.symbols, self.compact.store(encoded.full), encoded.extra

    def own(self) -> None:
        """Copies arrays that belong to a read-only file, before they are changed."""
        self.lists.own()
        if not self.extra.flags.writeable:
            self.extra = np.array(self.extra)

    def remove(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        """Takes slots out, and renames those whose rows moved into the holes."""
        self.lists.remove(slots)
        if len(moved_from):
            self.lists.rename(moved_from.astype(np.uint32), moved_to.astype(np.uint32))
            if self.extra_stride:
                self.extra[moved_to] = self.extra[moved_from]

    def bind(
        self, ids: np.ndarray, n: int, row_dtype: str, rows: np.ndarray | None, factors: np.ndarray | None
    ) -> None:
        """Hands the arrays of the present state to the scan."""
        lists = self.lists
        self.scan.bind(
            ids=ids,
            list_block=lists.list_block,
            list_size=lists.list_size,
            blocks=lists.blocks,
            block_list=lists.block_list,
            position=lists.position,
            extra=self.extra if self.extra_stride else None,
            first_spread=float(self.spreads[0]),
            full_spread=float(self.spreads[1]),
            compact=self.compact.as_array() if self.is_compact else None,
            row_dtype=row_dtype,
            rows=rows,
            factors=factors,
            n=n,
        )

    def decode(self, slots: np.ndarray) -> np.ndarray:
        """What the codes of some slots stand for, float32 (m, d): the centroid and the residual's reconstruction."""
        if self.quantizer is None:
            raise AssertionError("lists without a quantizer hold no codes")
        positions = self.lists.position[slots].astype(np.int64)
        owners = self.lists.block_list[positions // BLOCK]
        _, symbols, factors = self.lists.read(positions)
        extra = np.ascontiguousarray(self.extra[slots]) if self.extra_stride else np.zeros((len(slots), 0), np.uint8)
        full = self._full_factors(factors, extra)
        extra = np.ascontiguousarray(extra[:, extra.shape[1] - self.quantizer.codec.extra_bytes :])
        residual = self.quantizer.reconstruct(symbols, extra, full, self.metric, float(self.spreads[1]))
        transformed = residual + self.transformed_centroids[owners] + self.transformed_mean
        return np.asarray(self.transform.apply_inverse(np.ascontiguousarray(transformed, dtype=np.float32)))

    def _full_factors(self, factors: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """(add, rescale, shift) of whole codes, float32 (m, 3), from stored factors and extra rows."""
        if self.is_compact:
            return self.compact.read(factors)
        columns = bin(self.columns).count("1")
        stored = extra[:, : 4 * columns] if self.extra_stride else factors
        full = np.zeros((len(stored), 3), dtype=np.float32)
        full[:, :columns] = np.ascontiguousarray(stored).view(np.float32).reshape(len(stored), columns)
        return full

    @property
    def nbytes(self) -> int:
        """Bytes of codes, lists, extra bits, centroids and what the quantizer learnt."""
        n = len(self.lists.position)
        learnt = sum(a.nbytes for a in self.quantizer.arrays.values()) if self.quantizer is not None else 0
        return self.lists.nbytes + 4 * n + self.extra_stride * n + self.transformed_centroids.nbytes + learnt

    def meta(self) -> Any:
        """What a file says of the quantizer, None without one."""
        return self.quantizer.state()[0] if self.quantizer is not None else None

    def arrays(self, n: int) -> dict[str, np.ndarray]:
        """What a file keeps; the lists are compacted first."""
        lists = self.lists
        out = {
            "mean": self.mean,
            "centroids": self.centroids,
            "lists.block": lists.list_block,
            "lists.size": lists.list_size,
            "lists.blocks": lists.blocks[: lists.used],
            "lists.position": lists.position[:n],
            "spreads": np.asarray(self.spreads, dtype=np.float64),
        }
        if self.quantizer is None:
            return out | {"rotation": self.rotation_signs}
        out |= {PREFIX + name: array for name, array in self.quantizer.arrays.items()}
        if self.is_compact:
            out["compact"] = self.compact.as_array()
        if self.extra_stride:
            out["extra"] = self.extra[:n]
        return out

    @classmethod
    def from_arrays(
        cls,
        metric: str,
        dim: int,
        quantizer: Any,
        seed: int,
        n: int,
        arrays: dict[str, np.ndarray],
        compact: bool = False,
    ) -> IvfCore:
        """The core of a file, `quantizer` as `meta` gave it; ValueError where shapes or dtypes are not those that
        `arrays` wrote."""
        learnt = {name[len(PREFIX) :]: array for name, array in arrays.items() if name.startswith(PREFIX)}
        made = cls(metric, dim, None, seed)
        if quantizer is not None:
            made.quantizer = Quantizer.restore(quantizer, dim, metric, learnt)
            made.is_compact = compact
        made._start(None if quantizer is not None else _rotation(arrays, dim))
        lists = len(arrays["centroids"])
        expected: dict[str, tuple[Any, tuple[int, ...]]] = {
            "mean": (np.float32, (dim,)),
            "centroids": (np.float32, (lists, dim)),
            "lists.block": (np.uint32, (lists,)),
            "lists.size": (np.uint32, (lists,)),
            "lists.position": (np.uint32, (n,)),
            "spreads": (np.float64, (2,)),
        }
        if made.is_compact:
            expected["compact"] = (np.float32, (11,))
        if made.extra_stride:
            expected["extra"] = (np.uint8, (n, made.extra_stride))
        for name, (dtype, shape) in expected.items():
            if arrays[name].dtype != dtype or arrays[name].shape != shape:
                raise ValueError(f"{name} has dtype {arrays[name].dtype} and shape {arrays[name].shape}")
        finite = ("mean", "centroids", "spreads", *(("compact",) if made.is_compact else ()))
        if lists == 0 or not all(np.isfinite(arrays[name]).all() for name in finite):
            raise ValueError("centroids must be there and finite")
        made.mean, made.centroids, made.spreads = arrays["mean"], arrays["centroids"], arrays["spreads"]
        made.extra = arrays["extra"] if made.extra_stride else made.extra
        if made.is_compact:
            made.compact.restore(arrays["compact"], made.spreads, n)
        made._bind_centroids()
        made.lists = made._empty_lists(lists)
        made.lists.restore(arrays)
        return made


def _rotation(arrays: dict[str, np.ndarray], dim: int) -> np.ndarray:
    signs = arrays["rotation"]
    if signs.dtype != np.uint8 or signs.shape != (core.Rotation.sign_bytes(dim),):
        raise ValueError(f"rotation has dtype {signs.dtype} and shape {signs.shape}")
    return signs
