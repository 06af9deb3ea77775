"""A download ends with the right bytes in place, or with nothing in place, whatever the server does."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_site import Site, serve

from vsearch.errors import DownloadError, LockedError, ParameterError
from vsearch.evaluate import datasets, registry, transfer
from vsearch.evaluate.formats import read_vectors
from vsearch.evaluate.registry import File, parse_registry
from vsearch.evaluate.transfer import fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site(CONTENT)) as site:
        yield site


def described(site: Site, **facts: Any) -> File:
    return File(**{"name": "set.bin", "url": site.url, "size": len(CONTENT), **facts})


def get(site: Site, folder: Path, attempts: int = 3, **facts: Any) -> Path:
    return fetch(described(site, **facts), folder, attempts=attempts, pause=0.001)


def only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_download_puts_the_bytes_in_place(site: Site, tmp_path: Path) -> None:
    path = get(site, tmp_path / "new" / "folder", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert path.read_bytes() == CONTENT
    assert only(path.parent, "set.bin")
    assert "Range" not in site.requests[0]
    assert "urllib" not in site.requests[0]["User-Agent"]


def test_download_of_a_file_that_is_there_asks_nobody(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.bin").write_bytes(b"mine")
    assert get(site, tmp_path).read_bytes() == b"mine"
    assert site.requests == []


def test_download_resumes_where_the_connection_broke(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000_000, 1_500_000]
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert [request.get("Range") for request in site.requests] == [None, "bytes=1000000-", "bytes=2500000-"]
    assert site.requests[1]["If-Range"] == '"one"'


def test_download_resumes_in_a_later_call(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000_000]
    with pytest.raises(DownloadError, match=r"1,000,000 bytes are kept; run the same command again"):
        get(site, tmp_path, attempts=0)
    assert only(tmp_path, "set.bin.part", "set.bin.part.json")
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1]["Range"] == "bytes=1000000-"
    assert only(tmp_path, "set.bin")


def test_complete_part_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    origin = {"url": site.url, "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "set.bin.part.json").write_text(json.dumps(origin))
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.requests == []


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        '{"url": 1}',
        '{"url": "http://other/", "validator": "a", "total": 3}',
        '{"url": "URL", "validator": 1, "total": 1000}',
        '{"url": "URL", "validator": "a", "total": "1000"}',
        '{"url": "URL", "validator": null, "total": null}',
    ],
)
def test_part_of_unknown_origin_is_not_trusted(record: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(b"x" * 1000)
    (tmp_path / "set.bin.part.json").write_text(record.replace("URL", site.url))
    assert get(site, tmp_path).read_bytes() == CONTENT


def test_server_that_ignores_ranges_is_asked_for_everything(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cuts = [1_000_000, 500]
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert len(site.requests) == 3


def test_server_that_ignores_ranges_and_always_breaks_is_given_up(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cuts = [1_000_000] * 50
    with pytest.raises(DownloadError, match=r"closed after 1,000,000 of 3,000,000 bytes"):
        get(site, tmp_path)
    assert len(site.requests) < 10


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("size", [3_000_000, 2_000_000, 4_000_000])
def test_file_that_changes_during_a_resume_is_fetched_afresh(
    conditions: bool, size: int, site: Site, tmp_path: Path
) -> None:
    site.conditions = conditions
    site.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        get(site, tmp_path, attempts=0, approximate=True)
    site.replace(CONTENT[::-1][:1000] + bytes(size - 1000), '"two"')
    assert get(site, tmp_path, approximate=True).read_bytes() == site.content


def test_file_that_became_shorter_than_the_part_is_fetched_afresh(site: Site, tmp_path: Path) -> None:
    site.cuts = [2_900_000]
    with pytest.raises(DownloadError):
        get(site, tmp_path, attempts=0, approximate=True)
    site.conditions = False
    site.replace(bytes(2_000_000), '"two"')
    assert get(site, tmp_path, approximate=True).read_bytes() == site.content


def test_change_is_seen_by_length_where_there_is_no_etag(site: Site, tmp_path: Path) -> None:
    site.etag = None
    site.cuts = [1_000_000]
    with pytest.raises(DownloadError):
        get(site, tmp_path, attempts=0, approximate=True)
    site.replace(bytes(2_999_999), None)
    assert get(site, tmp_path, approximate=True).read_bytes() == site.content


def test_weak_etag_is_compared_but_not_asked_with(site: Site, tmp_path: Path) -> None:
    site.etag = 'W/"weak"'
    site.cuts = [1_000_000]
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert "If-Range" not in site.requests[1]


def test_wrong_checksum_deletes_the_file_and_says_so(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"has SHA-256 [0-9a-f]{64}, expected 0{64}. It was deleted"):
        get(site, tmp_path, sha256="0" * 64)
    assert not (tmp_path / "set.bin").exists()
    assert (tmp_path / "set.bin.part").stat().st_size == 0


@pytest.mark.parametrize(("size", "approximate"), [(2_999_999, False), (3_000_001, False), (100_000_000, True)])
def test_wrong_size_is_refused_before_the_download(size: int, approximate: bool, site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"offers 3,000,000 bytes, expected {size:,}"):
        get(site, tmp_path, size=size, approximate=approximate)
    assert not (tmp_path / "set.bin").exists()


def test_wrong_size_is_seen_where_the_server_states_none(site: Site, tmp_path: Path) -> None:
    site.lengths = False
    assert get(site, tmp_path).read_bytes() == CONTENT
    (tmp_path / "set.bin").unlink()
    site.cuts = [5]
    with pytest.raises(DownloadError, match="offers 5 bytes, expected 3,000,000"):
        get(site, tmp_path)


def test_missing_file_is_a_final_answer(site: Site, tmp_path: Path) -> None:
    site.statuses = [404]
    with pytest.raises(DownloadError, match=r"answered 404 Not Found. The address may have moved"):
        get(site, tmp_path)
    assert len(site.requests) == 1


def test_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert get(site, tmp_path).read_bytes() == CONTENT


def test_pauses_grow(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    site.statuses = [503] * 9
    with pytest.raises(DownloadError, match="the server answered 503"):
        fetch(described(site), tmp_path, attempts=7)
    assert pauses == [2, 4, 8, 16, 30, 30]


def test_redirect_keeps_the_range(site: Site, tmp_path: Path) -> None:
    site.moved = True
    site.cuts = [1_000_000]
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.requests[-1]["Range"] == "bytes=1000000-"


def test_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.bin"
    with pytest.raises(DownloadError, match=r"set\.bin could not be downloaded from http://127.0.0.1"):
        fetch(File("set.bin", url, 10), tmp_path, attempts=2, pause=0.001)


def test_compressed_answer_is_refused(site: Site, tmp_path: Path) -> None:
    site.headers["Content-Encoding"] = "gzip"
    with pytest.raises(DownloadError, match=r"sends it compressed \(gzip\), though not asked to"):
        get(site, tmp_path)


def test_part_without_its_place_is_refused(site: Site, tmp_path: Path) -> None:
    site.cuts = [1000]
    site.headers["Content-Range"] = "bytes nowhere"
    with pytest.raises(DownloadError, match="sent a part without saying which"):
        get(site, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", None, ""])
def test_only_web_addresses_are_opened(url: str | None, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="which is no web address"):
        fetch(File("set.bin", url, 10), tmp_path)


def test_full_disk_is_noticed_before_the_download(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DownloadError, match=r"needs 3,000,000 more bytes in .*, which has 100 free"):
        get(site, tmp_path)


def test_two_downloads_of_one_file_exclude_each_other(site: Site, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "set.bin.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match=r"Another process is downloading set\.bin already"):
            get(site, tmp_path)
    assert get(site, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_crop_fetches_the_first_rows_and_corrects_the_header(ranges: bool, tmp_path: Path) -> None:
    X = np.arange(100 * 6, dtype=np.float32).reshape(100, 6)
    size = 8 + 10 * 6 * 4
    with serve(Site(struct.pack("<II", *X.shape) + X.tobytes(), ranges=ranges, cuts=[50])) as site:
        path = fetch(File("base.fbin", site.url, size, crop=10), tmp_path, pause=0.001)
    np.testing.assert_array_equal(read_vectors(path), X[:10])
    assert site.requests[0]["Range"] == f"bytes=0-{size - 1}"


def test_crop_of_another_data_set_is_refused(tmp_path: Path) -> None:
    with (
        serve(Site(struct.pack("<II", 100, 7) + bytes(100 * 7 * 4))) as site,
        pytest.raises(DownloadError, match="holds 100 x 7, which is another data set"),
    ):
        fetch(File("base.fbin", site.url, 8 + 10 * 6 * 4, crop=10), tmp_path)
    assert not (tmp_path / "base.fbin").exists()


TRIO = """
[toy-10]
about = "toy"
format = "fbin"
metric = "euclidean"
n = 10
nq = 3
dim = 6
[toy-10.files.train]
url = "{0}"
size = 248
crop = true
[toy-10.files.test]
url = "{1}"
size = 80
[toy-10.files.truth]
url = "{2}"
size = 56
"""


def test_data_set_of_three_files_downloads_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(1).normal(size=(100, 6)).astype(np.float32)
    ids = np.array([[1, 2], [3, 4], [9, 0]], dtype="<i4")
    with (
        serve(Site(struct.pack("<II", 100, 6) + X.tobytes())) as base,
        serve(Site(struct.pack("<II", 3, 6) + X[:3].tobytes())) as queries,
        serve(Site(struct.pack("<II", 3, 2) + ids.tobytes() + bytes(24))) as truth,
    ):
        known = parse_registry(TRIO.format(base.url, queries.url, truth.url))
        monkeypatch.setattr(registry, "registry", lambda: known)
        monkeypatch.setattr(datasets, "registry", lambda: known)
        with pytest.raises(DownloadError, match=r"vsearch datasets get toy-10"):
            datasets.load_dataset("toy-10", folder=tmp_path)
        paths = datasets.download("toy-10", tmp_path, progress=False)
    assert [path.name for path in paths] == ["toy-10.train.fbin", "toy-10.test.fbin", "toy-10.truth.ibin"]
    data = datasets.load_dataset("toy-10", folder=tmp_path)
    np.testing.assert_array_equal(data.train, X[:10])
    np.testing.assert_array_equal(data.test, X[:3])
    np.testing.assert_array_equal(data.neighbors, ids)
    assert data.metric == "l2"
    assert datasets.load_dataset("toy-10", folder=tmp_path, limit=5).neighbors is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "", ".", "nul\0"])
def test_names_are_never_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=re.escape(f"must be the name of a known data set; got {name!r}")):
        datasets.download(name, tmp_path)
    assert only(tmp_path)


def test_download_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSEARCH_DATA", str(tmp_path / "here"))
    assert registry.download_folder() == tmp_path / "here"
    assert registry.download_folder(tmp_path) == tmp_path
    monkeypatch.delenv("VSEARCH_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.download_folder() == tmp_path / ".cache" / "vsearch"


def test_progress_bar_counts_the_bytes(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(described(site), tmp_path, progress=True)
    assert "set.bin: 100%" in capsys.readouterr().err
