"""bench/peers.py: processes, tables and arithmetic, over our own indexes and stand-ins for peers."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / "bench"), str(Path(__file__).parent)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of bench/ by its bare name; worker processes find the stand-ins, and vsearch, where we do."""
    for path in PATHS:
        monkeypatch.syspath_prepend(path)
    import vsearch

    where = [*PATHS, str(Path(vsearch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, where)))
    return importlib.import_module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "small.npy"
    np.save(path, rng.standard_normal((1200, 16)).astype(np.float32))
    return path


def entry(libraries: ModuleType, kind: str, name: str = "", **options: Any) -> Any:
    return libraries.Entry(name or f"fake-{kind.lower()}", "fake_libraries", kind, options)


def field(libraries: ModuleType, *kinds: str) -> dict[str, Any]:
    """Our IVF and Flat, and these stand-ins."""
    ours = {name: one for name, one in libraries.entries().items() if name in ("vsearch-ivf", "vsearch-flat")}
    return ours | {one.name: one for one in (entry(libraries, kind) for kind in kinds)}


@pytest.mark.slow
def test_a_run_lists_everybody(bench: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = field(bench("libraries"), "Exact", "Padded", "Missing", "Crash", "LateCrash", "Refuse")
    command = [str(data), "--queries", "50", "--rounds", "2", "--threads", "1", "--out", str(tmp_path / "out" / "all")]
    [path] = bench("peers").main(command, known)
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in figures["contestants"]}
    assert list(rows) == list(known) and figures["n"] == 1150 and figures["queries"] == 50
    assert {name: row["status"] for name, row in rows.items()} == {
        "vsearch-ivf": "measured",
        "vsearch-flat": "measured",
        "fake-exact": "measured",
        "fake-padded": "measured",
        "fake-missing": "not installed",
        "fake-crash": "crashed",
        "fake-latecrash": "crashed",
        "fake-refuse": "failed",
    }
    assert rows["fake-crash"]["why"] == "SIGABRT in `build`: about to fall"
    assert rows["fake-latecrash"]["why"] == "exit code 3 in `one_by_one`: a library that talks on standard output"
    assert len(rows["fake-latecrash"]["points"]) == 2, "what was measured before the crash stays"
    assert rows["fake-refuse"]["why"] == "build: ValueError: not on this processor"
    assert [point["recall"] for point in rows["fake-padded"]["points"]][-2:] == [0.5, 0.5]
    exact = rows["fake-exact"]
    assert exact["version"] == np.__version__ and exact["peak_bytes"] >= 0
    assert exact["bytes_per_vector"] == pytest.approx(64, abs=1) and exact["bytes_from"] == "saved files"
    recalls = [point["recall"] for point in exact["points"]]
    assert recalls == sorted(recalls) and recalls[-1] == 1.0
    assert [point["effort"] for point in exact["points"]] == [100, 500, 900, 1000], "left at full recall"
    assert len(exact["points"][-1]["seconds"]) == 2 and set(exact["points"][-1]["batch_qps"]) == {"1", "2"}
    assert rows["vsearch-flat"]["points"][0]["recall"] == 1.0
    assert rows["vsearch-flat"]["bytes_from"] == "its own count"
    assert figures["ratios"]["vsearch-flat"]["0.999"]["peer"] == "fake-exact"
    assert "median" not in figures["ratios"]["vsearch-flat"]["0.999"], "they did not run in turn"
    printed = capsys.readouterr().out
    assert "| fake-exact | " in printed and "\nfake-missing: not installed\n" in printed
    assert "fake-crash: crashed (SIGABRT" in printed and "| fake-crash |" not in printed


@pytest.mark.slow
def test_a_race_takes_turns(bench: Any, data: Path, tmp_path: Path) -> None:
    known = field(bench("libraries"), "Exact")
    out = str(tmp_path / "race")
    names = "vsearch-flat,fake-exact"
    command = [str(data), "--race", names, "--queries", "20", "--rounds", "3", "--threads", "1"]
    [path] = bench("peers").main([*command, "--out", out, "--batch-threads", "0"], known)
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in figures["contestants"]}
    assert all(row["together"] == names.split(",") for row in rows.values())
    at = {name: rows[name]["at"]["0.95"] for name in ("vsearch-flat", "fake-exact")}
    assert all(len(one["rounds"]) == 3 and None not in one["rounds"] for one in at.values())
    pairs = zip(at["vsearch-flat"]["rounds"], at["fake-exact"]["rounds"])
    verdict = figures["ratios"]["vsearch-flat"]["0.95"]
    assert verdict["median"] == pytest.approx(sorted(ours / theirs for ours, theirs in pairs)[1])
    assert verdict["best"] == pytest.approx(at["vsearch-flat"]["qps"] / at["fake-exact"]["qps"])
    assert rows["fake-exact"]["batch_at"] == {}


def test_a_store_builds_once(bench: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    libraries = bench("libraries")
    once = entry(libraries, "Once", mark=str(tmp_path / "built"))
    command = [str(data), "--queries", "10", "--rounds", "1", "--threads", "1", "--store", str(tmp_path / "store")]
    runs = []
    for number in range(2):
        command += ["--threads", str(1 + number)]
        [path] = bench("peers").main([*command, "--out", str(tmp_path / f"run{number}")], {once.name: once})
        runs.append(json.loads(path.read_text(encoding="utf-8"))["contestants"][0])
    assert (tmp_path / "built").exists()
    assert runs[0]["status"] == runs[1]["status"] == "measured"
    assert runs[0]["build_s"] == runs[1]["build_s"], "that of the one build"
    assert "* fake-once was built by an earlier run, threads: 1" in capsys.readouterr().out
    [path] = bench("peers").main([*command, "--out", str(tmp_path / "run2"), "--fresh", once.name], {once.name: once})
    again = json.loads(path.read_text(encoding="utf-8"))["contestants"][0]
    assert again["status"] == "failed" and "FileExistsError" in again["why"], "it was built anew"
    assert [point["recall"] for point in runs[0]["points"]] == [point["recall"] for point in runs[1]["points"]]


def sample(arena: ModuleType, recall: float, *seconds: float) -> Any:
    one = arena.Sample(recall, recall)
    for number, total in enumerate(seconds):
        one.add(number, [total])
    return one


def test_the_best_is_that_of_every_part(bench: Any) -> None:
    one = bench("arena").Sample(10, 0.9)
    for number, parts in enumerate([[1.0, 5.0, 2.0], [4.0, 2.0, 2.0], [1.5, 3.0, 9.0]]):
        one.add(number, parts)
    assert one.best == 5.0 and one.seconds == {0: 8.0, 1: 8.0, 2: 13.5}


def test_speed_at_a_recall_is_interpolated_in_the_logarithm(bench: Any) -> None:
    arena, standings = bench("arena"), bench("standings")
    # 100 queries: 1000 QPS at recall .8 and 10 at recall 1 in the best round; the second round is half as fast.
    samples = [sample(arena, 0.8, 0.1, 0.2), sample(arena, 1.0, 20.0, 10.0), sample(arena, 0.7, 5.0)]
    at = standings.at_levels(samples, 100, [0.5, 0.9, 0.999], 2)
    assert at["0.9"]["qps"] == pytest.approx(100)
    assert at["0.9"]["rounds"] == pytest.approx([np.sqrt(1000 * 5), np.sqrt(500 * 10)])
    assert at["0.9"]["median"] == pytest.approx(np.sqrt(5000))
    assert at["0.5"]["qps"] == pytest.approx(1000), "the fastest point reached it"
    assert at["0.999"]["qps"] == pytest.approx(10 ** (1 + 2 * 0.005))
    assert standings.at_levels(samples[:1], 100, [0.9], 1)["0.9"]["qps"] is None, "nothing is extrapolated"


def test_ratios_are_to_the_best_peer_of_each_level(bench: Any) -> None:
    standings = bench("standings")

    def row(name: str, ours: bool, qps: list[float | None]) -> dict[str, Any]:
        keys = ("0.9", "0.99")
        return {"name": name, "ours": ours, "at": {key: {"qps": one, "rounds": [one]} for key, one in zip(keys, qps)}}

    rows = [row("mine", True, [300, 100]), row("a", False, [200, None]), row("b", False, [100, 50])]
    verdicts = standings.ratios(rows, [0.9, 0.99])["mine"]
    assert verdicts["0.9"] == {"peer": "a", "best": 1.5} and verdicts["0.99"] == {"peer": "b", "best": 2.0}


def test_later_rounds_keep_the_points_that_matter(bench: Any) -> None:
    arena = bench("arena")
    ladder = [(0.4, 1.0), (0.7, 2.0), (0.85, 3.0), (0.9, 9.0), (0.95, 4.0), (0.96, 5.0)]
    samples = [sample(arena, recall, seconds) for recall, seconds in ladder]
    ring = arena.Arena(Path(), Path(), (0, 0), "l2", 10, float, floor=0.8)
    kept = [one.recall for one in ring._worth(samples)]
    assert kept == [0.7, 0.85, 0.95, 0.96], "one below the floor, none far from the front"


def test_names_choose_contestants_and_their_python(bench: Any) -> None:
    peers, known = bench("peers"), bench("libraries").entries()
    assert [one.name for one in peers.choose(known, ["svs", "hnswlib-M16"])] == ["hnswlib-M16", "svs-f32"]
    assert [one.name for one in peers.choose(known, ["vsearch-graph"])] == ["vsearch-graph"], "an exact name is itself"
    with pytest.raises(SystemExit, match="no contestant is called 'nobody'"):
        peers.choose(known, ["nobody"])
    assert peers.python_of(known["scann"], ["usearch,scann=there/python"]) == "there/python"
    assert peers.python_of(known["hnswlib-M16"], ["usearch,scann=there/python"]) is None


def test_a_python_that_is_not_there_is_said(bench: Any) -> None:
    contestant = bench("arena").Contestant(entry(bench("libraries"), "Exact"), "no/such/python")
    assert contestant.status == "failed" and "No such file" in contestant.why


def test_patience_ends(bench: Any, data: Path) -> None:
    contestant = bench("arena").Contestant(entry(bench("libraries"), "Hang"))
    contestant.ask("hello")
    contestant.patience = 0.2
    contestant.attempt(lambda: contestant.ask("build", base=str(data), metric="l2", threads=1, folder=""))
    assert contestant.status == "too slow" and not contestant.alive


def test_every_contestant_can_be_made(bench: Any) -> None:
    libraries = bench("libraries")
    for name, one in libraries.entries().items():
        library = getattr(importlib.import_module(one.module), one.kind)(**one.options)
        assert library.module and one.name == name
        for ladder in library.ladders(10_000):
            assert ladder and ladder == sorted(ladder), name


def test_a_worker_leaves_with_its_parent(bench: Any) -> None:
    contestant = bench("arena").Contestant(entry(bench("libraries"), "Exact"))
    process = contestant._process
    assert contestant.ask("hello")["absent"] is None
    process.stdin.close()
    for _ in range(100):
        if process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() == 0
    contestant.stop()
