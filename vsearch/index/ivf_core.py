"""The inside of an IVF: rotation, centroids, lists of codes, and the bound scan. `ivf.py` wraps it into an index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vsearch.index.lists import BLOCK, BlockLists, grown
from vsearch.kernels import core
from vsearch.quantize.grid import Codes, RaBitQ, random_signs
from vsearch.quantize.kmeans import kmeans


class IvfCore:
    """Everything of an IVF but ids, stored rows and files: rotation, centroids, lists of codes, and the bound scan.

    Parameters
    ----------
    metric : "l2", "ip" or "cosine" (unit vectors)
    dim : dimension of the vectors
    quantizer : RaBitQ or None (lists hold slots alone, and rows are scanned)
    seed : of the rotation and the k-means
    """

    def __init__(
        self, metric: str, dim: int, quantizer: RaBitQ | None, seed: int, rotation_signs: np.ndarray | None = None
    ) -> None:
        self.metric = metric
        self.dim = dim
        self.bits = quantizer.bits if quantizer is not None else 0
        self.quantizer = quantizer
        self.seed = seed
        if rotation_signs is None:
            rotation_signs = random_signs(dim, quantizer.seed if quantizer is not None else seed)
        self.rotation_signs = np.ascontiguousarray(rotation_signs)
        self.rotation = core.Rotation(dim, self.rotation_signs)
        self.scan = core.IvfScan(metric, dim, self.bits, self.rotation_signs)
        self.spreads = np.zeros(2)
        self.extra = np.zeros((0, self.extra_stride), dtype=np.uint8)

    @property
    def padded(self) -> int:
        return self.rotation.padded

    @property
    def extra_stride(self) -> int:
        return 8 + 8 * (self.bits - 1) * -(-self.padded // 64) if self.bits > 1 else 0

    def train(self, X: np.ndarray, lists: int, threads: int, on_round: Callable[[], object] | None = None) -> None:
        """Learns the mean and the centroids."""
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        if lists == 1:
            self.centroids = self.mean[None].copy()
        else:
            self.centroids = kmeans(X, lists, seed=self.seed, threads=threads, on_iteration=on_round)
        self._bind_centroids()

    def _bind_centroids(self) -> None:
        self.rotated_mean = self.rotation.apply(self.mean[None])[0]
        self.rotated_centroids = np.ascontiguousarray(self.rotation.apply(self.centroids) - self.rotated_mean)
        self.scan.bind_centroids(self.rotated_centroids, self.rotated_mean)

    def assign(self, X: np.ndarray, threads: int) -> np.ndarray:
        """List of each vector: the centroid nearest in Euclidean distance, for every metric."""
        if len(self.centroids) == 1:
            return np.zeros(len(X), dtype=np.uint32)
        return core.assign(X, self.centroids, threads)[0]

    def start_lists(self, assign: np.ndarray) -> np.ndarray:
        """Lays out the lists of a fit and returns the order in which the vectors become slots: list by list."""
        self.lists = BlockLists(len(self.centroids), self.padded if self.bits else 0)
        self.lists.reserve(np.bincount(assign, minlength=len(self.centroids)), len(assign))
        self.extra = np.zeros((len(assign) if self.bits > 1 else 0, self.extra_stride), dtype=np.uint8)
        return np.argsort(assign, kind="stable")

    def encode(self, X: np.ndarray, assign: np.ndarray, threads: int) -> Codes | None:
        """Codes of vectors relative to the centroids of their lists, None without a quantizer."""
        if self.quantizer is None:
            return None
        rotated = self.rotation.apply(X, threads)
        rotated -= self.rotated_mean
        return self.quantizer.encode_residuals(
            rotated, assign, self.rotated_centroids, self.rotated_mean, self.metric, threads
        )

    def append(self, slots: np.ndarray, assign: np.ndarray, codes: Codes | None) -> None:
        """Commits encoded vectors; the caller holds the scan's exclusive pass, or nobody searches yet."""
        total = int(slots[-1]) + 1
        if codes is not None:
            share = len(slots) / total
            self.spreads = (1 - share) * self.spreads + share * codes.spreads.mean(axis=0, dtype=np.float64)
            if self.bits > 1:
                self.extra = grown(self.extra, total)
                if not self.extra.flags.writeable:
                    self.extra = np.array(self.extra)
                self.extra[slots] = codes.extra
        self.lists.append(slots, assign, codes)

    def remove(self, slots: np.ndarray, moved_from: np.ndarray, moved_to: np.ndarray) -> None:
        """Takes slots out, and renames those whose rows moved into the holes."""
        if self.bits > 1 and not self.extra.flags.writeable:
            self.extra = np.array(self.extra)
        self.lists.remove(slots)
        if len(moved_from):
            self.lists.rename(moved_from.astype(np.uint32), moved_to.astype(np.uint32))
            if self.bits > 1:
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
            extra=self.extra if self.bits > 1 else None,
            sign_spread=float(self.spreads[0]),
            full_spread=float(self.spreads[1]),
            row_dtype=row_dtype,
            rows=rows,
            factors=factors,
            n=n,
        )

    def decode(self, slots: np.ndarray) -> np.ndarray:
        """What the codes of some slots stand for, float32 (m, d): the centroid and the grid point, scaled to least
        squares.

        The best scale is <o, y>/|y|^2 = S cos^2; S is stored, and cos^2 = 1 - sin^2 comes from the mean spread
        |y| sin / sqrt(D - 1).
        """
        positions = self.lists.position[slots].astype(np.int64)
        owners = self.lists.block_list[positions // BLOCK]
        _, signs, _, rescale = core.read_blocks(self.lists.blocks, self.padded, positions)
        extra = np.ascontiguousarray(self.extra[slots]) if self.bits > 1 else np.zeros((len(slots), 0), np.uint8)
        grid = core.rabitq_levels(signs, extra, self.bits) - np.float32((2**self.bits - 1) / 2)
        if self.bits > 1:
            rescale = extra[:, 4:8].copy().view(np.float32)[:, 0]
        norm2 = np.einsum("ij,ij->i", grid, grid)
        sin2 = np.minimum(1, self.spreads[1] ** 2 * (self.padded - 1) / norm2)
        scale = -rescale * (0.5 if self.metric == "l2" else 1.0) * (1 - sin2)
        rotated = grid * scale[:, None].astype(np.float32) + self.rotated_centroids[owners] + self.rotated_mean
        return self.rotation.apply_inverse(np.ascontiguousarray(rotated, dtype=np.float32))

    @property
    def nbytes(self) -> int:
        """Bytes of codes, lists, extra bits and centroids."""
        n = len(self.lists.position)
        return self.lists.nbytes + 4 * n + self.extra_stride * n + self.rotated_centroids.nbytes

    def arrays(self, n: int) -> dict[str, np.ndarray]:
        """What a file keeps; the lists are compacted first."""
        lists = self.lists
        out = {
            "rotation": self.rotation_signs,
            "mean": self.mean,
            "centroids": self.centroids,
            "lists.block": lists.list_block,
            "lists.size": lists.list_size,
            "lists.blocks": lists.blocks[: lists.used],
            "lists.position": lists.position[:n],
            "spreads": np.asarray(self.spreads, dtype=np.float64),
        }
        if self.bits > 1:
            out["extra"] = self.extra[:n]
        return out

    @classmethod
    def from_arrays(
        cls, metric: str, dim: int, quantizer: RaBitQ | None, seed: int, n: int, arrays: dict[str, np.ndarray]
    ) -> IvfCore:
        """The core of a file; ValueError where shapes or dtypes are not those that `arrays` wrote."""
        if arrays["rotation"].dtype != np.uint8:
            raise ValueError(f"rotation has dtype {arrays['rotation'].dtype}")
        made = cls(metric, dim, quantizer, seed, arrays["rotation"])
        lists = len(arrays["centroids"])
        expected = {
            "mean": (np.float32, (dim,)),
            "centroids": (np.float32, (lists, dim)),
            "lists.block": (np.uint32, (lists,)),
            "lists.size": (np.uint32, (lists,)),
            "lists.position": (np.uint32, (n,)),
            "spreads": (np.float64, (2,)),
        }
        if made.bits > 1:
            expected["extra"] = (np.uint8, (n, made.extra_stride))
        for name, (dtype, shape) in expected.items():
            if arrays[name].dtype != dtype or arrays[name].shape != shape:
                raise ValueError(f"{name} has dtype {arrays[name].dtype} and shape {arrays[name].shape}")
        if lists == 0 or not all(np.isfinite(arrays[name]).all() for name in ("mean", "centroids", "spreads")):
            raise ValueError("centroids must be there and finite")
        made.mean, made.centroids, made.spreads = arrays["mean"], arrays["centroids"], arrays["spreads"]
        made.extra = arrays["extra"] if made.bits > 1 else made.extra
        made._bind_centroids()
        made.lists = BlockLists.from_arrays(arrays, made.padded if made.bits else 0)
        return made
