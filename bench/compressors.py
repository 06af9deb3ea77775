"""The quantizers that are compared, each behind the same six calls: fit, add, decode, estimate, search, bytes.

All of them search by the metric of the data (l2, or cosine over vectors of length 1), in one thread, from codes alone;
`estimate` gives squared Euclidean distances in either case. A `Spec` says which quantizer is meant; `open_codec` makes
it, in the process that measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KEEP_LENGTHS = ("RaBitQ", "RaBitQfs", "EDEN", "EDEN biased")
ALL_BITS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Spec:
    """One quantizer at one size: whose, its family, its name in tables, nominal bits, how to make it."""

    side: str
    family: str
    name: str
    bits: float
    make: Any
    options: dict[str, Any] = field(default_factory=dict)


# Family, class of vsearch, its arguments at `bits` bits for each of `dim` dimensions, the bits it is asked for.
Arguments = Callable[[int, float], dict[str, Any]]
OURS: tuple[tuple[str, str, Arguments, tuple[float, ...]], ...] = (
    ("RaBitQ", "RaBitQ", lambda dim, bits: {"bits": bits}, ALL_BITS),
    ("LloydMax", "LloydMax", lambda dim, bits: {"bits": bits}, ALL_BITS),
    ("TurboQuant mse", "TurboQuant", lambda dim, bits: {"bits": bits, "mode": "mse"}, (1, 2, 3, 4, 8)),
    ("TurboQuant prod", "TurboQuant", lambda dim, bits: {"bits": bits, "mode": "prod"}, (2, 3, 4)),
    ("LVQ", "LVQ", lambda dim, bits: {"bits": bits}, (2, 4, 8)),
    ("LVQ two levels", "LVQ", lambda dim, bits: {"bits": bits // 2, "residual_bits": bits - bits // 2}, (4, 8)),
    ("OSQ", "OSQ", lambda dim, bits: {"bits": bits}, (1, 2, 4, 8)),
    ("SAQ", "SAQ", lambda dim, bits: {"bits": bits}, (0.5, *ALL_BITS)),
    ("PQ 4", "PQ", lambda dim, bits: {"within": dim * bits / 8, "code": 4}, (0.5, 1, 2, 4)),
    ("PQ 8", "PQ", lambda dim, bits: {"within": dim * bits / 8, "code": 8}, (0.5, 1, 2, 4, 8)),
    ("OPQ 4", "OPQ", lambda dim, bits: {"within": dim * bits / 8, "code": 4}, (0.5, 1, 2)),
    ("OPQ 8", "OPQ", lambda dim, bits: {"within": dim * bits / 8, "code": 8}, (0.5, 1, 2)),
    ("Residual", "ResidualQuantizer", lambda dim, bits: {"within": dim * bits / 8, "code": 8}, (0.25, 0.5, 1, 2)),
    ("Binary sign", "Binary", lambda dim, bits: {"method": "sign", "bits_per_dim": bits}, (1,)),
    ("Binary itq", "Binary", lambda dim, bits: {"method": "itq", "bits_per_dim": bits}, (1,)),
    ("Binary recurrent", "Binary", lambda dim, bits: {"method": "recurrent", "bits_per_dim": bits}, (1, 2, 4)),
)


# Bytes of factors beside b bits for each dimension, of which the peers' codes have some: what SAQ, whose bits may be
# any number, is also measured at.
PEERS_FACTORS = (0, 8, 20)


def ours(dim: int) -> Iterator[Spec]:
    """Ours, from the table above, and SAQ in the very bytes of the peers."""
    for family, name, arguments, sizes in OURS:
        for bits in sizes:
            yield Spec("ours", family, f"{family} {bits:g}", bits, name, arguments(dim, bits))
    for bits in ALL_BITS:
        for size in (dim * bits // 8 + factors for factors in PEERS_FACTORS):
            yield Spec("ours", "SAQ", f"SAQ in {size} B", bits, "SAQ", {"within": size})


def faiss_codes(dim: int) -> Iterator[Spec]:
    """faiss, by its factory strings (RR: a random rotation). The bits of a PQ are its code over the dimensions."""

    def spec(family: str, name: str, bits: float, factory: str) -> Spec:
        return Spec("faiss", family, name, bits, factory)

    for bits in ALL_BITS:
        yield spec("RaBitQ", f"RR,RaBitQ{bits}", bits, f"RR,RaBitQ{bits}")
    for bits in ALL_BITS:
        yield spec("RaBitQfs", f"RR,RaBitQfs{bits}", bits, f"RR,RaBitQfs{bits}")
    for bits in ALL_BITS:
        yield spec("EDEN", f"RR,EDEN{bits}", bits, f"RR,EDEN{bits}")
    for bits in ALL_BITS:
        yield spec("EDEN biased", f"RR,EDEN{bits}BIASED", bits, f"RR,EDEN{bits}BIASED")
    for bits in (1, 2, 3, 4, 8):
        yield spec("TurboQuant mse", f"RR,TurboQuant_mse{bits}", bits, f"RR,SQtqmse{bits}")
    for bits in (2, 3, 4, 5):
        yield spec("TurboQuant prod", f"RR,TurboQuant_prod{bits}", bits, f"RR,SQtq{bits}")
    for bits in (4, 6, 8):
        yield spec("SQ", f"SQ{bits}", bits, f"SQ{bits}")
    for share in (1, 2, 4):
        if dim * share % 4 == 0:
            yield spec("PQfs", f"PQ{dim * share // 4}x4fs", share, f"PQ{dim * share // 4}x4fs")
    for share in (1, 2, 4, 8):
        if dim * share % 8 == 0:
            yield spec("PQ", f"PQ{dim * share // 8}x8", share, f"PQ{dim * share // 8}x8")
    for share in (1, 2, 4):
        if dim * share % 8 == 0:
            m = dim * share // 8
            yield spec("OPQ", f"OPQ{m}x8", share, f"OPQ{m},PQ{m}x8")


def rabitqlib_codes(dim: int) -> Iterator[Spec]:
    """rabitqlib has no quantizer of its own in Python: its IVF index with one list, whose centroid is the mean."""
    for fast in (False, True):
        for bits in ALL_BITS:
            family = "RaBitQ fast" if fast else "RaBitQ"
            yield Spec("rabitqlib", family, f"{family} {bits}", bits, bits, {"fast": fast})


SIDES = {"ours": ours, "faiss": faiss_codes, "rabitqlib": rabitqlib_codes}


def open_codec(spec: Spec, metric: str) -> Any:
    """The codec of a Spec, unfitted. LookupError where vsearch has no such quantizer, ImportError without the peer."""
    return {"ours": Ours, "faiss": Faiss, "rabitqlib": Rabitqlib}[spec.side](spec, metric)


class Ours:
    """A quantizer of vsearch, through the face that all of them share; scans are those of vs.Flat."""

    def __init__(self, spec: Spec, metric: str) -> None:
        import vsearch as vs

        self.maker: Any = getattr(vs, spec.make, None)
        if self.maker is None:
            raise LookupError(f"vsearch has no {spec.make}")
        self.options = spec.options
        self.metric = metric
        self.index: Any = None
        self.scans = True

    def fit(self, X: np.ndarray) -> None:
        self.dim = X.shape[1]
        options = self.options
        if "code" in options:
            options = {"m": codes_within(self.maker, self.dim, self.metric, options["within"], options["code"])}
            options["bits"] = self.options["code"]
        elif "within" in options:
            options = {"bits": bits_within(self.maker, self.dim, options["within"])}
        self.quantizer = self.maker(**options)
        self.quantizer.fit(X)

    def add(self, X: np.ndarray) -> None:
        self.X, self.index = X, None
        self.codes = self.quantizer.encode(X)

    def bytes_per_vector(self) -> float:
        return float(self.quantizer.bytes_per_vector(self.dim, self.metric))

    def decode(self) -> np.ndarray:
        return self.quantizer.decode(self.codes)

    def estimate(self, Q: np.ndarray) -> np.ndarray:
        return np.asarray(self.quantizer.estimate(Q, self.codes))

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        if self.index is None:
            self._index()
        if self.scans:
            return self.index.search(query, k)[0]
        estimates = self.quantizer.estimate(query, self.codes)
        near = np.argpartition(estimates, k)[:k]
        return near[np.argsort(estimates[near], kind="stable")]

    def _index(self) -> None:
        import vsearch as vs

        try:
            flat = vs.Flat(self.metric, quantizer=self.quantizer, refine=None)
            self.index = flat.fit(self.X, threads=1, progress=False)
        except vs.VsearchError:  # a quantizer that Flat does not take: its estimates are ranked here, and not timed
            self.index, self.scans = (), False


def bits_within(maker: Any, dim: int, nbytes: float) -> float:
    """The most bits for each dimension, of which there may be fractions, that fit into so many bytes."""
    one, two = (maker(bits=bits).bytes_per_vector(dim) for bits in (1, 2))
    return min(8.0, 1 + (nbytes - one) / (two - one))


def codes_within(maker: Any, dim: int, metric: str, nbytes: float, bits: int) -> int:
    """The most codes of 4 or 8 bits that fit into so many bytes, the corrections of this metric among them."""
    m = int(nbytes * 8 // bits)
    while maker(m=m, bits=bits).bytes_per_vector(dim, metric) > nbytes:
        m -= 1
    return m


class Faiss:
    """A faiss index of flat codes, by its factory string.

    For cosine the codes that keep no length search by inner product: better by a point or two than l2 of their decoded
    vectors, which are not of length 1. RaBitQ and EDEN keep lengths, and l2 orders unit vectors as cosine does.
    """

    scans = True

    def __init__(self, spec: Spec, metric: str) -> None:
        import faiss

        self.faiss, self.factory = faiss, spec.make
        self.cosine = metric == "cosine" and spec.family not in KEEP_LENGTHS
        self.metric = faiss.METRIC_INNER_PRODUCT if self.cosine else faiss.METRIC_L2
        self.unit = "TurboQuant" in spec.family
        faiss.omp_set_num_threads(1)

    def fit(self, X: np.ndarray) -> None:
        # faiss's TurboQuant expects vectors of length 1: one factor for the whole set brings them near it.
        self.scale = np.float32(1 / np.sqrt(np.einsum("ij,ij->", X, X) / len(X)) if self.unit else 1)
        self.index = self.faiss.index_factory(X.shape[1], self.factory, self.metric)
        self.index.train(self._scaled(X))

    def add(self, X: np.ndarray) -> None:
        self.rows = self._scaled(X)
        self.index.reset()
        self.index.add(self.rows)

    def bytes_per_vector(self) -> float:
        return float(self.index.sa_code_size())

    def decode(self) -> np.ndarray | None:
        if "RaBitQfs" in self.factory:
            return None  # the codes are those of RaBitQ in another order
        if "RaBitQ" in self.factory:
            return rabitq_vectors(self.faiss, self.index, self.rows)
        return self.index.sa_decode(self.index.sa_encode(self.rows)) / self.scale

    def estimate(self, Q: np.ndarray) -> np.ndarray:
        answers, ids = self.index.search(self._scaled(Q), self.index.ntotal)
        answers = in_order(ids, answers) / self.scale**2
        return 2 - 2 * answers if self.cosine else answers

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(self._scaled(query[None]), k)[1][0]

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return X * self.scale if self.unit else X


def rabitq_vectors(faiss: Any, index: Any, X: np.ndarray) -> np.ndarray:
    """Vectors that faiss's RaBitQ codes of X stand for, from all their bits.

    faiss's own decoder reads the first bit alone. A code holds signs, factors (8 bytes at 1 bit, 12 above), the
    lower bits from the lowest, and the factors |o|^2 and -2 |o|^2 / <o, y>; the reconstruction of least squares is
    (<o, y> / |y|^2) y, as in vsearch's.
    """
    inner = faiss.downcast_index(index.index)
    n, dim, bits = len(X), inner.d, inner.rabitq.nb_bits
    codes = index.sa_encode(X)
    levels = np.unpackbits(codes[:, : dim // 8], axis=1, bitorder="little").astype(np.float32)
    head = dim // 8
    if bits == 1:
        factors = np.ascontiguousarray(codes[:, head : head + 8]).view(np.float32)
        norms, product = factors[:, 0], factors[:, 0] * np.sqrt(np.float32(dim)) / 2 / factors[:, 1]
    else:
        lower = codes[:, head + 12 : -8]
        lower = np.unpackbits(lower, axis=1, bitorder="little")[:, : dim * (bits - 1)].reshape(n, dim, bits - 1)
        levels = levels * 2 ** (bits - 1) + lower @ (2.0 ** np.arange(bits - 1)).astype(np.float32)
        factors = np.ascontiguousarray(codes[:, -8:]).view(np.float32)
        norms, product = factors[:, 0], -2 * factors[:, 0] / factors[:, 1]
    grid = levels - np.float32((2**bits - 1) / 2)
    grid *= np.where(norms > 0, product / np.einsum("ij,ij->i", grid, grid), 0)[:, None]
    return index.chain.at(0).reverse_transform(grid + faiss.vector_to_array(inner.center))


class Rabitqlib:
    """rabitqlib.IvfIndex with one list. It keeps lengths, and l2 orders vectors of length 1 as cosine does."""

    scans = True

    def __init__(self, spec: Spec, metric: str) -> None:
        import rabitqlib

        self.library, self.bits, self.fast = rabitqlib, spec.make, spec.options["fast"]

    def fit(self, X: np.ndarray) -> None:
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)

    def add(self, X: np.ndarray) -> None:
        n, dim = X.shape
        self.index = self.library.IvfIndex(dim, n, 1, self.bits, "l2")
        one_list = np.zeros(n, dtype=np.uint32)
        self.index.build(X, self.mean[None], one_list, num_threads=1, fast_quantization=self.fast)

    def bytes_per_vector(self) -> float:
        """Codes, three factors and above one bit two more; not the ids, which no flat code needs."""
        padded = -(-len(self.mean) // 64) * 64
        return padded * self.bits / 8 + (12 if self.bits == 1 else 20)

    def decode(self) -> np.ndarray:
        """From estimates, which are linear in q - c: d' = |o|^2 + |q - c|^2 + <w, q - c>.

        The gradient w = -2 (|o|^2 / <o, y>) y gives the reconstruction of least squares, -2 |o|^2 w / |w|^2.
        """
        norms = self.estimate(self.mean[None])[0]
        step = np.float32(np.sqrt(norms.mean()))
        ahead = self.estimate(self.mean + step * np.eye(len(self.mean), dtype=np.float32))
        gradient = ((ahead - norms - step**2) / step).T
        lengths = np.maximum(np.einsum("ij,ij->i", gradient, gradient), np.finfo(np.float32).tiny)
        return self.mean - gradient * (2 * norms / lengths)[:, None]

    def estimate(self, Q: np.ndarray) -> np.ndarray:
        answer = self.index.search(Q, self.index.num_points, 1, num_threads=1)
        return in_order(*ids_first(answer))

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return ids_first(self.index.search(query[None], k, 1, num_threads=1))[0][0].astype(np.int64)


def ids_first(answer: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The ids and the distances of rabitqlib's answer, whichever comes first."""
    first, second = answer[:2]
    return (first, second) if np.issubdtype(first.dtype, np.integer) else (second, first)


def in_order(ids: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Distances of all vectors in the order of their ids, from an answer that lists them by distance."""
    out = np.full(distances.shape, np.nan, dtype=np.float64)
    np.put_along_axis(out, ids.astype(np.int64), distances, axis=1)
    if np.isnan(out).any():
        raise RuntimeError("a search for all vectors left some out")
    return out
