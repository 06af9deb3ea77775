"""Data sets are found by name and by path, HDF5 is read with care, and the registry says what it should."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsearch.errors import DownloadError, FormatError, ParameterError
from vsearch.evaluate import Dataset, Truth, download, ground_truth, list_datasets, load_dataset
from vsearch.evaluate.formats import write_vectors
from vsearch.evaluate.registry import DEFAULT, data_folder, lookup, parse_registry, registry

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 8)).astype(np.float32)
Q = RNG.normal(size=(6, 8)).astype(np.float32)


def write_hdf5(path: Path, *, distance: str | np.bytes_ | None = "euclidean", **arrays: Any) -> Path:
    content: dict[str, Any] = {"train": X, "test": Q, **arrays}
    with h5py.File(path, "w") as file:
        if distance is not None:
            file.attrs["distance"] = distance
        for name, values in content.items():
            if values is not None:
                file[name] = values
    return path


def truth(metric: str = "l2", k: int = 4) -> dict[str, np.ndarray]:
    ids, distances = ground_truth(X, Q, k, metric)
    return {"neighbors": ids.astype(np.int32), "distances": np.sqrt(distances) if metric == "l2" else distances}


def test_default_set_comes_with_vsearch() -> None:
    data = load_dataset()
    assert data.name == DEFAULT
    assert (data.train.shape, data.train.dtype) == ((10_000, 384), np.float16)
    assert (data.n, data.dim, data.nq, data.metric) == (10_000, 384, 500, "cosine")
    assert data.texts is not None
    assert data.texts[0] == "thing: a separate and self-contained entity"
    assert data.query_texts is not None
    assert len(data.query_texts) == 500
    assert data.query_targets is not None
    assert data.texts[data.query_targets[0]].startswith("containment: ")
    assert set(data.metadata) == {"length", "lexfile", "pos"}
    assert set(data.metadata["pos"]) <= set("nvars")
    assert str(data) == (
        "wordnet-10k-384-angular: 10,000 x 384 float16, cosine, 500 queries, 100 true neighbours each, with texts"
    )


def test_known_neighbours_of_the_default_set_are_right() -> None:
    data = load_dataset()
    assert data.test is not None
    assert data.distances is not None
    mine = Truth(data.train, data.test[:100], k=10, metric="cosine")
    assert mine.recall(data.neighbors[:100]) > 0.999  # type: ignore[index]
    _, distances = ground_truth(data.train, data.test[:20], 10, "cosine")
    np.testing.assert_allclose(data.distances[:20, :10], distances, atol=1e-4)


def test_embedded_file_is_the_one_in_the_registry() -> None:
    (path,) = download(DEFAULT)
    (file,) = lookup(DEFAULT).files.values()
    content = path.read_bytes()
    assert path.parent == data_folder()
    assert len(content) == file.size
    assert hashlib.sha256(content).hexdigest() == file.sha256


def test_registry_names_the_public_sets() -> None:
    names = [entry.name for entry in list_datasets()]
    assert names[0] == DEFAULT
    wanted = "sift-128-euclidean gist-960-euclidean glove-100-angular deep-image-96-angular fashion-mnist-784-euclidean"
    assert {*wanted.split(), "nytimes-256-angular", "lastfm-64-dot", "bigann-10M", "text2image-10M"} <= set(names)


@pytest.mark.parametrize("entry", list_datasets(), ids=lambda entry: entry.name)
def test_registry_entry_agrees_with_itself(entry: Any) -> None:
    assert entry.metric in ("l2", "ip", "cosine")
    assert entry.embedded == all(file.url is None for file in entry.files.values())
    assert entry.about
    assert entry.source
    width = {"u8bin": 1, "i8bin": 1}.get(entry.format, 4)
    for role, file in entry.files.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]+(\.(train|test|truth))?\.(hdf5|fbin|u8bin|i8bin|ibin)", file.name)
        assert file.url is None or file.url.startswith("https://")
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        payload = {
            "all": (entry.n + entry.nq) * entry.dim * width + entry.nq * 800,
            "train": 8 + entry.n * entry.dim * width,
            "test": 8 + entry.nq * entry.dim * width,
            "truth": 8 + entry.nq * 100 * 8,
        }[role]
        if file.crop is not None:
            assert file.size == payload
        elif not entry.embedded:  # sizes that are only known roughly
            assert file.size == pytest.approx(payload, rel=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x", "is not valid TOML"),
        ("x = 1", "entry 'x'"),
        ("[x]", "entry 'x' of registry.toml is wrong: 'format'"),
        ('["../x"]', "letters, digits, - and _ only"),
        ('["/x"]', "letters, digits, - and _ only"),
        ('[""]', "letters, digits, - and _ only"),
    ],
)
def test_damaged_registry_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_registry(text)


ENTRY = 'about=""\nformat="hdf5"\nn=1\nnq=1\ndim=1\nmetric="{}"\n[x.files.{}]\nsize=1\n'


def test_registry_refuses_metrics_and_files_it_cannot_use() -> None:
    assert parse_registry("[x]\n" + ENTRY.format("dot", "all"))["x"].metric == "ip"
    with pytest.raises(FormatError, match="x is measured by 'hamming' distance; vsearch measures l2, ip and cosine"):
        parse_registry("[x]\n" + ENTRY.format("hamming", "all"))
    with pytest.raises(FormatError, match="files must be `all`, or `train`, `test` and `truth`"):
        parse_registry("[x]\n" + ENTRY.format("dot", "train"))


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(ParameterError, match=r"got 'sift-128'. Did you mean sift-128-euclidean\?"):
        load_dataset("sift-128")
    with pytest.raises(ParameterError, match=r"got 'zzz'. `vsearch datasets list` shows what there is"):
        load_dataset("zzz")
    with pytest.raises(
        ParameterError, match=r"must be the name of a known data set or an existing file; got 'no.fbin'"
    ):
        load_dataset("no.fbin")


def test_set_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    assert not lookup("sift-128-euclidean").is_here(tmp_path)
    with pytest.raises(
        DownloadError, match=r"Fetch it with `vsearch datasets get sift-128-euclidean` \(about 525 MB\)"
    ):
        load_dataset("sift-128-euclidean", folder=tmp_path)


def test_downloaded_set_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSEARCH_DATA", str(tmp_path))
    write_hdf5(tmp_path / "sift-128-euclidean.hdf5", **truth())
    assert lookup("sift-128-euclidean").is_here()
    assert load_dataset("sift-128-euclidean").name == "sift-128-euclidean"


def test_hdf5_distances_become_those_of_vsearch(tmp_path: Path) -> None:
    for distance, metric in (("euclidean", "l2"), ("angular", "cosine"), ("dot", "ip")):
        facts = truth(metric)
        data = load_dataset(write_hdf5(tmp_path / "x.hdf5", distance=distance, **facts))
        assert data.metric == metric
        np.testing.assert_array_equal(data.train, X)
        np.testing.assert_array_equal(data.test, Q)
        np.testing.assert_array_equal(data.neighbors, facts["neighbors"])
        if metric == "ip":
            assert data.distances is None
        else:
            np.testing.assert_allclose(data.distances, ground_truth(X, Q, 4, metric)[1], rtol=1e-5)


@pytest.mark.parametrize("distance", ["hamming", "jaccard"])
def test_hdf5_of_other_metrics_is_refused(distance: str, tmp_path: Path) -> None:
    message = f"is measured by '{distance}' distance; vsearch measures l2, ip and cosine"
    with pytest.raises(FormatError, match=message):
        load_dataset(write_hdf5(tmp_path / "x.hdf5", distance=distance))
    with pytest.raises(FormatError, match=message):
        load_dataset(write_hdf5(tmp_path / f"x-{distance}.hdf5", distance=None))
    with pytest.raises(FormatError, match="holds bits, which Hamming distance compares"):
        load_dataset(write_hdf5(tmp_path / "x.hdf5", distance=None, train=X > 0))


def test_hdf5_metric_is_told_by_attribute_then_name_then_caller(tmp_path: Path) -> None:
    assert load_dataset(write_hdf5(tmp_path / "a-8-angular.hdf5", distance=None)).metric == "cosine"
    assert load_dataset(write_hdf5(tmp_path / "a-8-angular.hdf5")).metric == "l2"
    assert load_dataset(write_hdf5(tmp_path / "plain.h5", distance=None)).metric == "l2"
    assert load_dataset(tmp_path / "plain.h5", metric="ip").metric == "ip"


def test_neighbours_by_another_metric_are_left_out(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "x.hdf5", **truth())
    assert load_dataset(path, metric="l2").neighbors is not None
    assert load_dataset(path, metric="cosine").neighbors is None


@pytest.mark.parametrize("dtype", ["f4", "f2", "u1", "i1"])
@pytest.mark.parametrize("packed", [False, True])
def test_hdf5_types_stay_as_they_are(dtype: str, packed: bool, tmp_path: Path) -> None:
    values = (X * 20 + 60).clip(0, 120).astype(dtype)
    path = write_hdf5(tmp_path / "x.hdf5", train=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("train", data=values, **({"compression": "gzip", "shuffle": True} if packed else {}))
    for mmap in (False, True):
        data = load_dataset(path, mmap=mmap)
        assert data.train.dtype == np.dtype(dtype)
        assert isinstance(data.train, np.memmap) == (mmap and not packed)
        np.testing.assert_array_equal(data.train, values)


@pytest.mark.parametrize("dtype", ["f8", ">f4", "i4", "u2"])
def test_hdf5_of_other_numbers_becomes_float32(dtype: str, tmp_path: Path) -> None:
    values = (X * 20).round().clip(0, None).astype(dtype)
    for mmap in (False, True):
        data = load_dataset(write_hdf5(tmp_path / "x.hdf5", train=values), mmap=mmap)
        assert data.train.dtype == np.float32
        np.testing.assert_array_equal(data.train, values.astype(np.float32))


def test_limit_drops_what_no_longer_holds(tmp_path: Path) -> None:
    texts = np.array([f"text {i}" for i in range(50)], dtype=h5py.string_dtype())
    path = write_hdf5(tmp_path / "x.hdf5", texts=texts, query_target=np.arange(6), **truth())
    data = load_dataset(path, limit=5)
    np.testing.assert_array_equal(data.train, X[:5])
    assert data.texts == ["text 0", "text 1", "text 2", "text 3", "text 4"]
    assert data.neighbors is None
    assert data.distances is None
    assert data.query_targets is None
    assert load_dataset(path, limit=50).neighbors is not None
    assert load_dataset(path, limit=99).query_targets is not None


def wrong(**arrays: Any) -> dict[str, Any]:
    return {**truth(), **arrays}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": None}, "holds no array named train"),
        ({"train": X[0]}, "train must be an array of 2 dimensions"),
        ({"train": np.full((50, 8), b"a")}, "train must hold real numbers"),
        ({"train": X[:, :0], "test": Q[:, :0]}, "has vectors of 0 dimensions"),
        ({"test": Q[:, :5]}, "train has 8 dimensions, test has 5"),
        (wrong(neighbors=np.full((6, 4), 50)), "neighbors names rows outside of train, which has 50"),
        (wrong(neighbors=np.full((6, 4), -2)), "neighbors names rows outside of train"),
        (wrong(neighbors=np.zeros((5, 4), int)), "neighbors has 5 rows, 6 expected"),
        (wrong(neighbors=np.zeros((6, 4))), "neighbors must hold integers; got float64"),
        (wrong(distances=np.zeros((6, 3))), "distances must be numbers of the same shape as neighbors"),
        (wrong(texts=np.zeros(50)), "texts must hold strings; got float64"),
        (wrong(texts=np.array([b"a"])), "texts has 1 rows, 50 expected"),
        (wrong(query_target=np.zeros(6)), "query_target must hold integers"),
        ({"metadata/pos": np.zeros(49)}, "metadata/pos has 49 rows, 50 expected"),
        ({"metadata/deep/pos": np.zeros(50)}, "metadata/deep must be an array of 1 dimension"),
        ({"train": h5py.SoftLink("/test")}, "train is a link, and links are not followed"),
        ({"train": h5py.ExternalLink("other.hdf5", "train")}, "train is a link"),
        ({"metadata": h5py.ExternalLink("other.hdf5", "train")}, "metadata is a link"),
    ],
)
def test_hdf5_that_contradicts_itself_is_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_hdf5(tmp_path / "other.hdf5")
    with pytest.raises(FormatError, match=message):
        load_dataset(write_hdf5(tmp_path / "x.hdf5", **arrays))


def test_hdf5_never_reads_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(50 * 8 * 4))
    path = write_hdf5(tmp_path / "x.hdf5", train=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("train", (50, 8), "f4", external=[(str(tmp_path / "secret"), 0, 1600)])
    with pytest.raises(FormatError, match="train is stored outside the file"):
        load_dataset(path)
    layout = h5py.VirtualLayout((50, 8), "f4")
    layout[:] = h5py.VirtualSource(write_hdf5(tmp_path / "other.hdf5"), "train", (50, 8))
    with h5py.File(path, "a") as file:
        del file["train"]
        file.create_virtual_dataset("train", layout)
    with pytest.raises(FormatError, match="train is stored outside the file"):
        load_dataset(path)


def test_hdf5_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "x.hdf5", train=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("train", (2**40, 8), "f4", chunks=(1024, 8), compression="gzip")
    with pytest.raises(FormatError, match="train declares 35,184,372,088,832 bytes and stores 0"):
        load_dataset(path)


@pytest.mark.fuzz
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_hdf5_gives_a_data_set_or_format_error(data: st.DataObject, tmp_path: Path) -> None:
    # No strings of variable length: damage to their heap sends the HDF5 library itself into an endless loop.
    path = write_hdf5(tmp_path / "whole.hdf5", distance=np.bytes_("euclidean"), texts=np.full(50, b"gloss"), **truth())
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.hdf5"
    path.write_bytes(whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))])
    try:
        read = load_dataset(path)
    except FormatError:
        pass
    else:
        assert read.train.nbytes < 10 * len(whole)


def test_missing_folder_or_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "x.hdf5").write_text("no such thing")
    with pytest.raises(FormatError, match=r"cannot be read as HDF5: .* It may be damaged or not downloaded fully"):
        load_dataset(tmp_path / "x.hdf5")
    with pytest.raises(ParameterError, match="existing file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("name", ["mine.npy", "mine.fvecs", "mine.fbin"])
def test_plain_files_give_the_base_alone(name: str, tmp_path: Path) -> None:
    write_vectors(tmp_path / name, X)
    data = load_dataset(str(tmp_path / name), metric="cosine", limit=20)
    np.testing.assert_array_equal(data.train, X[:20])
    assert (data.name, data.metric, data.nq, data.test) == ("mine", "cosine", 0, None)
    assert load_dataset(tmp_path / name).metric == "l2"
    assert repr(data) == "<Dataset mine: 20 x 8 float32, cosine, no queries>"


@pytest.mark.parametrize("name", ["gt.ivecs", "gt.ibin"])
def test_row_numbers_are_no_vectors(name: str, tmp_path: Path) -> None:
    write_vectors(tmp_path / name, np.eye(3, dtype=int))
    with pytest.raises(FormatError, match=r"holds row numbers \(known neighbours\), not vectors"):
        load_dataset(tmp_path / name)


def test_queries_are_held_out_where_there_are_none() -> None:
    data = Dataset("toy", X, texts=[str(i) for i in range(50)], metadata={"row": np.arange(50)})
    split = data.with_queries(10, seed=3)
    assert (split.n, split.nq) == (40, 10)
    assert split.texts is not None
    assert split.query_texts is not None
    np.testing.assert_array_equal(split.train, X[[int(text) for text in split.texts]])
    np.testing.assert_array_equal(split.test, X[[int(text) for text in split.query_texts]])
    np.testing.assert_array_equal(split.metadata["row"], [int(text) for text in split.texts])
    np.testing.assert_array_equal(split.train, data.with_queries(10, seed=3).train)
    assert split.with_queries(3) is split
    assert data.with_queries(1000).nq == 25
    with pytest.raises(ParameterError, match="at least 2 vectors to hold queries out; got 1"):
        Dataset("one", X[:1]).with_queries()


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5"])
def test_limit_is_checked(limit: Any) -> None:
    with pytest.raises(ParameterError, match=r"`limit` must be an int of at least 1; got "):
        load_dataset(limit=limit)


def test_metric_is_checked() -> None:
    with pytest.raises(ParameterError, match="`metric` must be one of l2, ip, cosine; got 'angular'"):
        load_dataset(metric="angular")


def test_registry_is_read_once() -> None:
    assert registry() is registry()


def test_installed_package_finds_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vsearch"
    monkeypatch.setattr("vsearch.evaluate.registry.__file__", str(package / "evaluate" / "registry.py"))
    with pytest.raises(FormatError, match=r"registry\.toml must lie in .*_datasets and is missing"):
        data_folder()
    for folder in (tmp_path / "datasets", package / "_datasets"):
        folder.mkdir(parents=True)
        (folder / "registry.toml").touch()
        assert data_folder() == folder
