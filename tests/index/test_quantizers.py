"""Every quantizer inside Flat and IVF, under every metric: vectors find themselves, changes and files change no
answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import wordnet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsearch as vs

pytestmark = pytest.mark.usefixtures("briefly_calibrated")
Make = Callable[[], vs.Quantizer]

#: With the recall@10 on WordNet that the codes alone must reach, Flat or IVF with all lists probed.
QUANTIZERS: dict[str, tuple[Make, float]] = {
    "rabitq 1": (lambda: vs.RaBitQ(), 0.66),
    "rabitq 4": (lambda: vs.RaBitQ(4), 0.935),
    "rabitq 8 dense": (lambda: vs.RaBitQ(8, rotation="dense"), 0.985),
    "lloydmax 3": (lambda: vs.LloydMax(3), 0.90),
    "turboquant": (lambda: vs.TurboQuant(4), 0.93),
    "turboquant prod": (lambda: vs.TurboQuant(4, "prod"), 0.91),
    "lvq": (lambda: vs.LVQ(4), 0.94),
    "lvq two levels": (lambda: vs.LVQ(4, 4), 0.985),
    "lvq published": (lambda: vs.LVQ(8, unbiased=False), 0.985),
    "osq": (lambda: vs.OSQ(4), 0.93),
    "saq": (lambda: vs.SAQ(4), 0.95),
    "saq 1.5": (lambda: vs.SAQ(1.5), 0.80),
    "binary sign": (lambda: vs.Binary("sign"), 0.65),
    "recurrent": (lambda: vs.Binary("recurrent", 4), 0.94),
    "pq": (lambda: vs.PQ(12, 4), 0.0),
    "pq of bytes": (lambda: vs.PQ(6, 8), 0.0),
    "opq": (lambda: vs.OPQ(12, 4), 0.0),
    "residual": (lambda: vs.ResidualQuantizer(8, 4), 0.0),
}
SMALL = [name for name in QUANTIZERS if name not in ("pq of bytes", "opq", "residual")]
PROBE_ALL = 1e6


def made(kind: str, name: str, metric: str, refine: str | None, lists: int = 5) -> Any:
    quantizer = QUANTIZERS[name][0]()
    if kind == "flat":
        return vs.Flat(metric, quantizer=quantizer, refine=refine)
    return vs.IVF(lists, metric, quantizer=quantizer, refine=refine)


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Of unit length, so that each is nearest to itself under all three metrics; unequal variances."""
    X = np.random.default_rng(seed).standard_normal((n, dim)) * np.linspace(1.5, 0.5, dim)
    return oracle.unit(X).astype(np.float32)


# ------------ answers


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_vectors_find_themselves(name: str, kind: str, metric: str) -> None:
    X = vectors(400, 24, 1)
    own = np.arange(400)
    index = made(kind, name, metric, None).fit(X, threads=1)
    ids, distances = index.search(X, 1, effort=PROBE_ALL)
    assert (ids[:, 0] == own).mean() > (0.75 if name in ("rabitq 1", "binary sign", "saq 1.5") else 0.95)
    exact = -1.0 if metric == "ip" else 0.0
    assert np.abs(distances[:, 0] - exact).mean() < 0.35
    refined = made(kind, name, metric, "f32").fit(X, threads=1)
    ids, distances = refined.search(X, 3, effort=PROBE_ALL)
    assert (ids[:, 0] == own).all() and np.allclose(distances[:, 0], exact, atol=1e-5)
    truth = oracle.nearest(oracle.distances(metric, X, X), own, 3)[0]
    assert wordnet.recall(ids, truth) > 0.99
    decoded = np.stack([index.vector(i) for i in own])
    assert (decoded * X).sum(axis=1).mean() > 0.7 * np.linalg.norm(decoded, axis=1).mean()


@lru_cache(maxsize=1)
def some_of_wordnet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = wordnet.load()
    X, Q = np.ascontiguousarray(data.X[:3000]), np.ascontiguousarray(data.Q[:150])
    return X, Q, np.argsort(-(oracle.unit(Q) @ oracle.unit(X).T), axis=1, kind="stable")[:, :10]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ivf", "rabitq 4"), ("ivf", "lloydmax 3"), ("ivf", "osq"), ("ivf", "saq 1.5")]
    + [
        pytest.param("flat", name, marks=pytest.mark.slow if name == "recurrent" else ())
        for name, (_, floor) in QUANTIZERS.items()
        if floor
    ],
)
def test_recall_on_real_embeddings(kind: str, name: str) -> None:
    X, Q, truth = some_of_wordnet()
    floor = QUANTIZERS[name][1]
    index = made(kind, name, "cosine", None, 12).fit(X, threads=2)
    assert wordnet.recall(index.search(Q, 10, effort=PROBE_ALL)[0], truth) > floor
    if kind == "ivf":
        refined = made(kind, name, "cosine", "bf16", 12).fit(X, threads=2)
        assert wordnet.recall(refined.search(Q, 10, effort=PROBE_ALL)[0], truth) > 0.985


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_saq_that_knows_the_queries(metric: str) -> None:
    """Queries of a few directions, in which the vectors vary little: weighed by them, codes spend their bits there."""
    rng = np.random.default_rng(2)
    X = (rng.standard_normal((3000, 64)) * np.linspace(3, 0.3, 64)).astype(np.float32)
    Q = (rng.standard_normal((400, 64)) * np.r_[np.full(48, 0.05), np.full(16, 2.0)]).astype(np.float32)
    truth = np.argsort(-(Q[:100] @ (oracle.unit(X) if metric == "cosine" else X).T), axis=1)[:, :10]
    recalls = []
    for transform, known in (("auto", None), ("auto", Q[100:]), ("sphering", Q[100:]), ("sphering", None)):
        index = vs.Flat(metric, quantizer=vs.SAQ(2, transform=transform), refine=None).fit(X, queries=known)
        recalls.append(wordnet.recall(index.search(Q[:100], 10)[0], truth))
        refined = vs.IVF(4, metric, quantizer=vs.SAQ(2, transform=transform), refine="f32").fit(X, queries=known)
        found = wordnet.recall(refined.search(Q[:100], 10, effort=4)[0], truth)
        assert found > (0.99 if transform == "sphering" and known is not None else 0.85)
    alone, weighed, sphered, without = recalls
    assert sphered > alone + 0.2 and weighed > alone and without == alone


def test_sphering_costs_little_where_queries_are_like_the_vectors() -> None:
    """.024 of recall at 3 bits with 350 queries to learn 384 dimensions from, by three parts of the others."""
    data, X = wordnet.load(), some_of_wordnet()[0]
    nearest = np.argsort(-(oracle.unit(data.Q) @ oracle.unit(X).T), axis=1, kind="stable")[:, :10]
    recalls: dict[str, list[float]] = {"pca": [], "sphering": []}
    for part in range(3):
        asked = np.arange(len(data.Q)) // 150 == part
        for transform, reached in recalls.items():
            index = vs.Flat("cosine", quantizer=vs.SAQ(3, transform=transform), refine=None)
            index.fit(X, queries=data.Q[~asked])
            reached.append(wordnet.recall(index.search(data.Q[asked], 10)[0], nearest[asked]))
    assert np.mean(recalls["sphering"]) > np.mean(recalls["pca"]) - 0.03


# ------------ changes and files


def seen(index: Any, Q: np.ndarray) -> list[bytes]:
    """All answers, to the last bit."""
    answers = [index.search(Q, 6, effort=PROBE_ALL), index.search(Q[0], 3, effort=2)]
    vectors = [index.vector(i) for i in index.ids[:9]]
    return [a.tobytes() for answer in answers for a in answer] + [v.tobytes() for v in vectors]


def shown(index: Any) -> str:
    return re.sub(r"[\d,]+ bytes each", "", repr(index))  # a table of ids may not have been needed yet


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_long_vectors_are_found_like_short_ones(name: str, metric: str) -> None:
    """Models and bounds hold products of lengths, which must not leave float32."""
    X = vectors(300, 24, 8)
    short, long = (made("flat", name, metric, None).fit(Z, threads=1) for Z in (X, X * np.float32(2.0**58)))
    (ids, distances), (others, far) = short.search(X[:50], 3), long.search(X[:50] * np.float32(2.0**58), 3)
    assert (ids == others).mean() > 0.99 and np.allclose(far / 2.0**116, distances, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [lambda: vs.SAQ(4), lambda: vs.SAQ(2), lambda: vs.PQ(192, 4), lambda: vs.LVQ(4)])
def test_unequal_variances_cost_the_scan_no_neighbour(make: Make) -> None:
    """Tables of narrow symbols round to zero beside those of wide ones, and must not shift the bounds."""
    rng = np.random.default_rng(9)
    X = (rng.standard_normal((3030, 384)) / np.sqrt(np.arange(1, 385))).astype(np.float32)
    X, Q = X[:3000], X[3000:]
    by_estimates = make().fit(X)
    nearest = np.argsort(by_estimates.estimate(Q, by_estimates.encode(X)), axis=1)[:, :10]
    for index in (vs.Flat(quantizer=make(), refine=None), vs.IVF(1, quantizer=make(), refine=None)):
        ids = index.fit(X, threads=1).search(Q, 10, effort=PROBE_ALL)[0]
        assert wordnet.recall(ids, nearest) > 0.98


@pytest.mark.parametrize("metric", oracle.METRICS)
@pytest.mark.parametrize(
    "make", [lambda: vs.PQ(96, 8), lambda: vs.PQ(48, 8), lambda: vs.OPQ(48, 8), lambda: vs.OPQ(12, 8)]
)
def test_groups_of_centroids_exclude_no_neighbour(make: Make, metric: str) -> None:
    """Where the outer groups of a codebook are wide their means say little, of products and of lengths."""
    rng = np.random.default_rng(10)
    basis = np.linalg.qr(rng.standard_normal((96, 96)))[0]
    X = ((rng.standard_normal((2600, 96)) / np.sqrt(np.arange(1, 97))) @ basis.T).astype(np.float32)
    index = vs.Flat(metric, quantizer=make(), refine=None).fit(X[:2500], threads=1)
    nearest = index.search(X[2500:], 2500, threads=1)[0][:, :10]  # by whole codes: nothing is excluded
    assert wordnet.recall(index.search(X[2500:], 10, threads=1)[0], nearest) > 0.99


@settings(max_examples=45, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(SMALL),
    kind=st.sampled_from(["flat", "ivf"]),
    metric=st.sampled_from(oracle.METRICS),
    refine=st.sampled_from([None, "f32", "bf16", "int8"]),
    n=st.integers(5, 80),
    dim=st.sampled_from([12, 16, 17, 40]),
    longer=st.sampled_from([1.0, 3.0, 200.0]),
    mmap=st.booleans(),
)
def test_added_removed_saved_and_loaded(
    tmp_path: Path, name: str, kind: str, metric: str, refine: str | None, n: int, dim: int, longer: float, mmap: bool
) -> None:
    X, more, Q = vectors(n, dim, 3), longer * vectors(40, dim, 4), vectors(7, dim, 5)
    index = made(kind, name, metric, refine, 3).fit(X, np.arange(10, 10 + n), threads=1)
    index.add(more, np.arange(1000, 1040))
    index.remove(np.r_[np.arange(10, 10 + n, 3), 1000:1040:4])
    expected = np.sort(np.r_[np.setdiff1d(np.arange(10, 10 + n), np.arange(10, 10 + n, 3)),
                             np.setdiff1d(np.arange(1000, 1040), np.arange(1000, 1040, 4))])  # fmt: skip
    assert np.array_equal(index.ids, expected)
    every = np.sort(index.search(Q, len(index), effort=PROBE_ALL)[0], axis=1)
    assert (every == expected).all()  # each once
    path = tmp_path / "x.vsx"
    index.save(path)
    before = seen(index, Q)
    loaded = vs.load(path, mmap=mmap)
    assert seen(loaded, Q) == before and shown(loaded) == shown(index)
    for each in (index, loaded):
        each.add(X[:3], [1, 2, 3])
        each.remove(each.ids[3:20:2])
    assert seen(loaded, Q) == seen(index, Q)
    loaded.save(path)
    assert seen(vs.load(path, mmap=mmap), Q) == seen(index, Q)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_quantizer_of_the_user_stays_as_it_is(name: str, kind: str, tmp_path: Path) -> None:
    X = vectors(300, 24, 6)
    index = made(kind, name, "l2", None)
    given_ = index.quantizer
    index.fit(X)
    assert given_.transform is None and given_.codec is None and given_.dim is None
    again = made(kind, name, "l2", None).fit(X)
    assert seen(again, X[:5]) == seen(index, X[:5])  # the same seed, the same index
    index.fit(X[:150, :17])
    assert index.dim == 17 and len(index) == 150 and index.search(X[0, :17], 1, effort=PROBE_ALL)[0].tolist() == [0]
    index.save(tmp_path / "x.vsx")
    assert vs.load(tmp_path / "x.vsx").quantizer.params() == given_.params()


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("name", SMALL)
def test_codes_take_the_bytes_that_are_told(name: str, metric: str) -> None:
    X = vectors(3200, 48, 7)
    index = made("flat", name, metric, None).fit(X)
    alone = QUANTIZERS[name][0]().fit(X)
    learnt = sum(a.nbytes for a in index._core.quantizer.arrays.values())
    # Beside codes and factors a slot and a position of 4 bytes each, and the list of each block.
    codes = (index._core.nbytes - learnt - index._core.transformed_centroids.nbytes) / 3200
    assert codes == pytest.approx(alone.bytes_per_vector(48, metric) + 8, abs=0.2)
