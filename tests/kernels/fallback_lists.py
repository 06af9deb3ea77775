"""Codecs and lists for the comparison of the Numba twin with the compiled core, made from calls of the core alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle

from vsearch.kernels import core
from vsearch.quantize.table_training import grouped

RULES = ["scaled", "plain", "interval", "clipped", "optimized"]


def vectors(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rotation(module: Any, dim: int) -> Any:
    signs = np.random.default_rng(dim).integers(0, 256, core.Rotation.sign_bytes(dim), dtype=np.uint8)
    return module.Rotation(dim, signs)


def matrix(module: Any, dim: int) -> Any:
    """A map that is not orthogonal, with queries mapped by its inverse transposed, as sphering does."""
    padded = -(-dim // 16) * 16
    square = np.linalg.qr(vectors(dim, padded, padded).astype(np.float64))[0][:, :dim]
    stretch = np.linspace(0.5, 2.0, padded)[:, None]
    parts = square * stretch, square / stretch, (square / stretch).T
    return module.Matrix(*(np.ascontiguousarray(part, dtype=np.float32) for part in parts))


def stretched(module: Any, dim: int) -> Any:
    """A map whose outputs are one input each times a power of two: every order of sums gives the same bits."""
    padded = -(-dim // 16) * 16
    rng = np.random.default_rng(dim)
    base, query = np.zeros((2, padded, dim), np.float32)
    rows, powers = rng.permutation(padded)[:dim], np.exp2(rng.integers(-1, 2, dim))
    base[rows, np.arange(dim)], query[rows, np.arange(dim)] = -powers, -1 / powers
    return module.Matrix(base, query, np.ascontiguousarray(query.T))


# --------------------------------------------------------------------------------------------------------- codecs


def normal_levels(bits: int) -> np.ndarray:
    """2^bits levels that are closer in the middle."""
    steps = (np.arange(1 << bits) + 0.5) / (1 << bits) * 2 - 1
    return (np.sign(steps) * np.abs(steps) ** 1.3 * (0.8 + 0.4 * bits)).astype(np.float32)


def prefix_of(levels: np.ndarray, prefix: int) -> np.ndarray:
    return levels.reshape(1 << prefix, -1).mean(axis=1)


def levels_codec(
    module: Any,
    dim: int,
    segments: list[tuple[int, int, int, int]],
    rule: str = "scaled",
    unbiased: bool = True,
    lead: int = 0,
) -> Any:
    """Segments (begin, length, bits, prefix) that vary less from one to the next."""
    tables, prefixes, scales = [], [], []
    for i, (_, _, bits, prefix) in enumerate(segments):
        sigma, levels = 1.5 / (1 + i), normal_levels(bits)
        if rule in ("interval", "clipped", "optimized"):
            levels = np.arange(1 << bits, dtype=np.float32) - ((1 << bits) - 1) / np.float32(2)
            sigma = 1 / ((1 << bits) - 1)
        tables.append(levels)
        prefixes.append(prefix_of(levels, prefix))
        scales.append((sigma, sigma * 1.1 if rule in ("scaled", "plain") else 1.0, float((prefixes[-1] ** 2).mean())))
    arrays = np.int64(segments), np.float32(scales), np.concatenate(tables), np.concatenate(prefixes)
    profile = np.linspace(2, 0.5, 2 * dim, dtype=np.float32).reshape(2, dim) if len(segments) > 1 else None
    return module.LevelsCodec(dim, *arrays, profile, rule, unbiased, lead)


def table_codec(
    module: Any,
    dim: int,
    books: int,
    count: int,
    splits: int | None = None,
    norms: bool = False,
    step: float = 0.02,
    eta: float = 1.0,
) -> Any:
    """Random codebooks of falling size over 40 dims, as many as there are splits or several to each."""
    splits = books if splits is None else splits
    starts, first = np.arange(splits + 1) * 40 // splits, np.arange(splits + 1) * books // splits
    centroids = vectors(dim, books, count, int(np.diff(starts).max()))
    for s in range(splits):
        for stage, b in enumerate(range(first[s], first[s + 1])):
            centroids[b] *= np.float32(0.6) ** stage
            centroids[b, :, starts[s + 1] - starts[s] :] = 0
    ordered = grouped(centroids) if count > 16 else centroids
    rescale = -2.0 if norms else -1.1
    model = np.float32([rescale, 1.2, 0.2, 3.0, 8.0 if norms else 4.0, 0.1, -4.0, step])
    parts = starts.astype(np.int64), first.astype(np.int64), np.ascontiguousarray(ordered)
    return module.TableCodec(dim, *parts, model, norms, 4, 2, eta)


def whole(dim: int, bits: int, prefix: int) -> list[tuple[int, int, int, int]]:
    return [(0, dim, bits, prefix)]


# By name: a dimension and what makes the codec of it by either module.
CODECS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    **{f"rabitq-{bits}": (48, lambda m, bits=bits: m.RabitqCodec(48, bits)) for bits in (1, 2, 4, 5, 6, 8)},
    "lloyd-max-1": (64, lambda m: levels_codec(m, 64, whole(64, 1, 1))),
    "lloyd-max-3": (64, lambda m: levels_codec(m, 64, whole(64, 3, 1))),
    "two-symbols": (64, lambda m: levels_codec(m, 64, whole(64, 2, 2))),
    "sixteen": (48, lambda m: levels_codec(m, 48, whole(48, 4, 4))),
    "plain-3": (80, lambda m: levels_codec(m, 80, whole(80, 3, 1), "plain")),
    "saq": (
        112,
        lambda m: levels_codec(m, 112, [(0, 16, 7, 4), (16, 32, 4, 4), (48, 16, 3, 2), (64, 32, 1, 1)], lead=2),
    ),
    "saq-symbols": (96, lambda m: levels_codec(m, 96, [(0, 16, 4, 4), (16, 32, 2, 2), (64, 32, 1, 1)], lead=1)),
    **{
        f"{rule}-{bits}": (
            64,
            lambda m, rule=rule, bits=bits, prefix=prefix: levels_codec(m, 64, whole(64, bits, prefix), rule, bits < 8),
        )
        for rule in RULES[2:]
        for bits, prefix in [(1, 1), (4, 4), (8, 2)]
    },
    "pq": (48, lambda m: table_codec(m, 48, 10, 256)),
    "pq-norms": (48, lambda m: table_codec(m, 48, 10, 256, norms=True, step=0)),
    "pq-4": (48, lambda m: table_codec(m, 48, 11, 16)),
    "pq-4-norms": (48, lambda m: table_codec(m, 48, 13, 16, norms=True, step=0)),
    "pq-anisotropic": (48, lambda m: table_codec(m, 48, 10, 256, eta=3.0)),
    "residual": (48, lambda m: table_codec(m, 48, 7, 256, 3)),
    "residual-4": (48, lambda m: table_codec(m, 48, 10, 16, 2)),
}


# ---------------------------------------------------------------------------------------------------------- lists


class Lists:
    """Clustered vectors in lists, coded; `bind` gives them to a scan of either module."""

    def __init__(
        self, metric: str, dim: int, make: Callable[[Any], Any] | None, dtype: str | None, n: int, lists: int, map_: Any
    ) -> None:
        X = vectors(dim, n, dim)
        X[: n // 2] += 2 * vectors(5, 12, dim)[np.arange(n // 2) % 12]
        X = core.unit_rows(X)[0] if metric == "cosine" and n else X
        self.metric, self.make, self.map, self.n, self.dim = metric, make, map_, n, dim
        self.stretch = 4.0 if map_ is stretched else 1.0  # of lengths, and so of what rounding adds to distances
        transform = map_(core, dim)
        self.mean = transform.apply(X.mean(axis=0, keepdims=True))[0] if n else np.zeros(transform.padded, np.float32)
        turned = transform.apply(X) - self.mean
        self.centroids = turned[:lists].copy() if lists > 1 else np.zeros((1, transform.padded), np.float32)
        assign = core.assign(turned, self.centroids)[0].astype(np.uint32) if n else np.zeros(0, np.uint32)
        order = np.argsort(assign, kind="stable")
        self._lay_out(assign[order], lists)
        self.rows, self.row_factors = oracle.stored(X[order], dtype) if dtype else (None, None)
        self.dtype, self.ids = dtype or "f32", np.random.default_rng(n).permutation(n) * 3
        self.codes = None
        if make:
            codes = make(core).encode(turned[order], assign[order], self.centroids, self.mean, metric)
            self.codes = {name: np.array(values) for name, values in codes.items()}

    def _lay_out(self, assign: np.ndarray, lists: int) -> None:
        size = np.bincount(assign, minlength=lists)
        blocks = -(-size // 32)
        first = np.cumsum(blocks) - blocks
        inside = np.arange(self.n) - np.repeat(np.cumsum(size) - size, size)
        self.arrays = {
            "list_block": first.astype(np.uint32),
            "list_size": size.astype(np.uint32),
            "block_list": np.repeat(np.arange(lists), blocks).astype(np.uint32),
            "position": (np.repeat(first * 32, size) + inside).astype(np.uint32),
        }

    def blocks_and_extra(self, module: Any, columns: int | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Blocks with f32 factors, or (columns given) with f16 ones, the extra rows, and a compact index's table."""
        slots, table = np.arange(self.n, dtype=np.uint32), np.float32([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
        symbols, factors, extra, size = np.zeros((self.n, 0), np.uint8), np.zeros((self.n, 0), np.uint8), None, 4
        if self.codes is not None and self.make is not None:
            codec, symbols = self.make(module), self.codes["symbols"]
            used = [0, 1, 2] if codec.shifted else [0, 1]
            first, full, extra = self.codes["first"][:, used], self.codes["full"][:, used], self.codes["extra"]
            if columns is not None:
                used = [i for i in range(3) if columns >> i & 1]
                own = self.codes["full"]
                table[:3] = np.where([i in used for i in range(3)], own.min(axis=0), own.mean(axis=0))
                is_even = self.metric == "l2"  # equal steps in uint16; or f16, told by a negative step
                table[3:6] = (np.ptp(own, axis=0) + np.float32(1e-30)) / (65535 if is_even else -1000)
                table[6] = self.codes["first"][:, 1].sum() / own[:, 1].sum()
                if columns == 1:  # rescale from the length of the residual, which is `add` under l2
                    table[7:10] = (self.codes["first"][:, 1] / np.sqrt(self.codes["first"][:, 0])).mean(), 0, 1
                table[10] = 0.02 if codec.extra_bytes else 0
                stored = ((own - table[:3]) / np.abs(table[3:6]))[:, used]
                held = np.clip(np.rint(stored), 0, 65535).astype(np.uint16) if is_even else stored.astype(np.float16)
                factors = np.ascontiguousarray(held).view(np.uint8)
                size = 2
            else:
                factors = np.ascontiguousarray(first).view(np.uint8)
                if codec.extra_bytes:
                    extra = np.hstack([np.ascontiguousarray(full).view(np.uint8), extra])
            extra = extra if codec.extra_bytes else None
        wide = module.block_bytes(2 * symbols.shape[1], factors.shape[1] // size, size)
        blocks = np.zeros((len(self.arrays["block_list"]), wide), np.uint8)
        module.write_blocks(
            blocks, self.arrays["position"].astype(np.int64), slots, symbols, np.ascontiguousarray(factors), size
        )
        return blocks, extra, table

    def scan(
        self, module: Any, columns: int | None = None, damage: Callable[[dict[str, Any]], None] | None = None
    ) -> Any:
        """An IvfScan of `module` over these arrays, which `damage` may change."""
        blocks, extra, table = self.blocks_and_extra(core, columns)
        arrays = {name: values.copy() for name, values in self.arrays.items()} | {"blocks": blocks}
        if damage:
            damage(arrays)
        transform, codec = self.map(module, self.dim), self.make(module) if self.make else None
        scan = module.IvfScan(self.metric, transform, codec, columns is not None, columns or 0)
        scan.bind_centroids(self.centroids, self.mean)
        spreads = self.codes["spreads"].mean(axis=0) if self.codes is not None and self.n else (0.01, 0.01)
        scan.bind(
            ids=self.ids, extra=extra, first_spread=float(spreads[0]), full_spread=float(spreads[1]), compact=table,
            row_dtype=self.dtype, rows=self.rows, factors=self.row_factors, n=self.n, **arrays,
        )  # fmt: skip
        return scan
