"""vs.build: the fastest index that reaches a recall within a memory; and the recall that an index remembers."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wordnet

import vsearch as vs
from vsearch._validate import check_size
from vsearch.index.auto import SOON_SCANNED
from vsearch.storage import container

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 1, 32)) + 0.4 * RNG.normal(size=(60, 50, 32))).reshape(-1, 32).astype(np.float32)
Q = X[::20] + RNG.normal(scale=0.1, size=(150, 32)).astype(np.float32)
IDS = np.arange(len(X)) * 3 + 5


@lru_cache(maxsize=4)
def truth(metric: str) -> np.ndarray:
    return vs.Flat(metric).fit(X, IDS).search(Q, 10)[0]


def held(index: vs.Index) -> str:
    """Kind and what it keeps of vectors, in short."""
    return " ".join(str(getattr(index, name, "")) for name in ("kind", "layout", "refine", "dtype"))


# ------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_without_a_memory_it_is_a_graph_that_reaches_the_recall(metric: str) -> None:
    index = vs.build(X, metric, recall=0.9, ids=IDS)
    assert (index.kind, index.metric, index.recall, len(index)) == ("graph", metric, 0.9, len(X))
    found = index.search(Q, 10)[0]
    np.testing.assert_array_equal(found, index.search(Q, 10, recall=0.9)[0])
    assert wordnet.recall(found, truth(metric)) > 0.87


def test_few_vectors_and_all_neighbours_are_scanned() -> None:
    few = vs.build(X[:SOON_SCANNED])
    assert held(few) == "flat  None f32" and vs.build(X[: SOON_SCANNED + 1]).kind == "graph"
    every = vs.build(X, "cosine", recall=1.0, ids=IDS)
    assert held(every) == "flat  None f32"
    np.testing.assert_array_equal(every.search(Q, 10)[0], truth("cosine"))


@pytest.mark.parametrize(
    ("memory", "kept"),
    [
        ("2MB", "graph fast f16 "),
        ("1.2 MB", "graph compact None "),
        ("500kB", "ivf  f16 f32"),
        ("230 kB", "flat  None f16"),
    ],
)
def test_the_less_memory_the_less_is_kept(memory: str, kept: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = vs.build(X, recall=0.95, memory=memory, ids=IDS)
    assert held(index) == kept and index.nbytes <= check_size("memory", memory)
    assert wordnet.recall(index.search(Q, 10)[0], truth("l2")) > 0.93


def test_real_embeddings_in_a_third_of_their_memory() -> None:
    data = wordnet.load()
    some = data.X[:4000]
    index = vs.build(some, "cosine", recall=0.9, memory="2MB", queries=data.Q[:250])
    assert index.nbytes <= 2e6 < 4 * some.size / 3
    true = vs.Flat("cosine").fit(some).search(data.Q[250:], 10)[0]
    assert wordnet.recall(index.search(data.Q[250:], 10)[0], true) > 0.87


def test_what_comes_nearest_is_returned_and_told() -> None:
    with pytest.warns(UserWarning, match=r"^recall 0\.99 was not reached within 210 kB; IVF\(.* has 0\.\d+\.$") as told:
        index = vs.build(X, recall=0.99, memory="210 kB")
    assert told[0].filename == __file__
    assert index.kind == "ivf" and index.nbytes <= 210_000 and index.recall == 0.99
    assert index.calibration is not None and 0.6 < index.calibration.recalls[10][-1] < 0.99


def test_vectors_that_no_walk_finds_are_found_another_way() -> None:
    """Inner products of vectors whose lengths differ by orders of magnitude (README, Limits)."""
    rng = np.random.default_rng(1)
    far = rng.standard_normal((6000, 24)) * rng.lognormal(0, 1.5, (6000, 1))
    index = vs.build(far.astype(np.float32), "ip", recall=0.97)
    asked = rng.standard_normal((100, 24)).astype(np.float32)
    true = vs.Flat("ip").fit(far.astype(np.float32)).search(asked, 10)[0]
    assert wordnet.recall(index.search(asked, 10)[0], true) > 0.94


def test_values_beyond_16_bits_are_kept_in_others() -> None:
    index = vs.build(X * 1e6, recall=0.9, ids=IDS)
    assert held(index) == "graph fast bf16 "
    assert wordnet.recall(index.search(Q * np.float32(1e6), 10)[0], truth("l2")) > 0.87


def test_arguments_are_handed_on() -> None:
    index = vs.build(X, queries=Q, ids=IDS, seed=7, threads=1, progress=False)
    again = vs.build(X, queries=Q, ids=IDS, seed=7, threads=1)
    assert isinstance(index, vs.Graph) and index.seed == 7
    assert index.calibration is not None and index.calibration.source == "queries"
    np.testing.assert_array_equal(index.ids, IDS)
    for one, other in zip(index.search(Q, 5), again.search(Q, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_memory_for_nothing_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (vs.Flat, vs.IVF, vs.Graph):
        monkeypatch.setattr(cls, "fit", lambda *_, **__: pytest.fail("was fitted"))
    with pytest.raises(vs.ParameterError, match=r"`memory` must be at least \d+ kB or so for 3,000 vectors of 32 dim"):
        vs.build(X, memory="20kB")


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("512MB", 512_000_000),
        ("1.5 GiB", 3 << 29),
        ("9 kb", 9_000),
        (".5Ki B", 512),
        ("2 t", 2 * 10**12),
        ("1mi", 2**20),
    ],
)
def test_sizes_in_words(words: str, size: int) -> None:
    assert check_size("memory", words) == size
    assert check_size("memory", np.int64(size)) == size


EXPECTED: list[Any] = [
    lambda m: vs.Flat(m), lambda m: vs.Flat(m, dtype="int8"), lambda m: vs.IVF(metric=m),
    lambda m: vs.Flat(m, quantizer=vs.SAQ(4), refine="f16"), lambda m: vs.Flat(m, quantizer=vs.RaBitQ(1), refine=None),
    lambda m: vs.IVF(metric=m, quantizer=vs.RaBitQ(1), refine="f16"),
    lambda m: vs.Graph(m), lambda m: vs.Graph(m, degree=64, refine="int8"), lambda m: vs.Graph(m, layout="compact"),
    lambda m: vs.Graph(m, layout="compact", quantizer=vs.LVQ(4), refine="bf16"),
]  # fmt: skip


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("made", EXPECTED, ids=lambda made: repr(made("l2"))[:70])
def test_bytes_are_expected_before_they_are_there(made: Any, metric: str) -> None:
    index = made(metric)
    expected = index._expected_nbytes(len(X), X.shape[1])
    assert expected == pytest.approx(index.fit(X).nbytes, rel=0.12)


# ------------------------------------------------------------------------------------------- the recall of an index


@pytest.fixture(scope="module")
def index() -> vs.Index:
    made = vs.Graph("cosine")
    made.recall = 0.99
    return made.fit(X, IDS)


def test_a_recall_that_was_set_is_what_searches_aim_at(index: vs.Index) -> None:
    assert index.recall == 0.99 and vs.Graph().recall == 0.95
    for some in (Q, Q[0]):
        np.testing.assert_array_equal(index.search(some, 10)[0], index.search(some, 10, recall=0.99)[0])
    assert isinstance(index, vs.Graph)
    work = []
    for recall in (0.5, 0.999, 0.5):
        index.recall, before = recall, index.counters()["visited"]
        for query in Q:  # one at a time: plans are remembered there
            index.search(query, 10)
        work.append(index.counters()["visited"] - before)
    index.recall = 0.99
    assert work[0] == work[2] < work[1]


def test_files_keep_the_recall(index: vs.Index, tmp_path: Path) -> None:
    path = tmp_path / "x.vsx"
    index.save(path)
    assert vs.load(path).recall == 0.99
    held = container.read(path)
    meta = {name: value for name, value in held.meta.items() if name != "recall"}
    container.write(path, held.kind, meta, held.arrays)  # as they were before it was kept
    assert vs.load(path).recall == 0.95
    for wrong in (0, 1.5, "0.9", None, True):
        container.write(path, held.kind, meta | {"recall": wrong}, held.arrays)
        with pytest.raises(vs.CorruptFileError, match="recall"):
            vs.load(path)
