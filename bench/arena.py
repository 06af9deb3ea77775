"""Contestants in processes of their own, seen from the parent: start, build or load, sweep in turn, stop.

A contestant that is not installed, refuses, crashes or takes too long is out: `status` and `why` say so, and the others
go on. Passes take turns (a round: each contestant sweeps once, all on the same core), so that a slow moment of the
machine hits nobody alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from libraries import Entry

WORKER = Path(__file__).with_name("worker.py")
FULL = 0.9995
"""A ladder of efforts is left once it reached this recall."""
SLACK = 1.25
"""Points that are slower by more than this than a point of better recall are measured in the first round only."""


class OutError(Exception):
    """The contestant takes no further part."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclasses.dataclass
class Sample:
    """One effort of one contestant: its recall, and seconds over all queries in every round it was measured in.

    `best` puts together, for each part of the queries (25 of them), the round that was shortest: another program takes
    the core for milliseconds at a time, and on a busy machine a whole round without that is rare.
    """

    effort: Any
    recall: float
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    parts: list[float] = dataclasses.field(default_factory=list)
    batches: dict[int, dict[int, float]] = dataclasses.field(default_factory=dict)  # threads -> round -> seconds

    def add(self, number: int, parts: list[float]) -> None:
        """Take in the parts of one round."""
        self.seconds[number] = sum(parts)
        self.parts = [min(pair) for pair in zip(self.parts, parts)] if self.parts else parts

    @property
    def best(self) -> float:
        """Seconds of the best round of every part."""
        return sum(self.parts)


class Contestant:
    """One library's process."""

    def __init__(self, entry: Entry, python: str | None = None, patience: float = 3600.0) -> None:
        self.entry, self.name = entry, entry.name
        self.patience = patience
        self.status, self.why = "measured", ""
        self.facts: dict[str, Any] = {}
        self.samples: list[Sample] = []
        self._words = tempfile.TemporaryFile()  # noqa: SIM115, closed by `stop`
        question = json.dumps({"module": entry.module, "kind": entry.kind, "options": entry.options})
        command = [python or sys.executable, str(WORKER), question]
        pipe = subprocess.PIPE
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._words, text=True, encoding="utf-8"
            )
        except OSError as error:
            self._process = None
            self._leave(OutError("failed", f"{command[0]}: {error.strerror}"))

    @property
    def alive(self) -> bool:
        """Whether it still takes part."""
        return self.status == "measured"

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """The answer to one question; OutError where none comes."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OutError("failed", self.why or "it was stopped")
        late = threading.Timer(self.patience, process.kill)
        late.start()
        try:
            process.stdin.write(json.dumps({"do": do, **question}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            on_time = not late.finished.is_set()
            late.cancel()
        if not line:
            code = process.wait()
            if not on_time:
                raise OutError("too slow", f"`{do}` took more than {self.patience:.0f} s")
            raise OutError("crashed", self._last_words(do, code))
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise OutError("failed", f"{do}: {reply['failed']}")
        return reply

    def _last_words(self, do: str, code: int) -> str:
        end = f"exit code {code}"
        if code < 0:
            end = next((one.name for one in signal.Signals if one.value == -code), f"signal {-code}")
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f"{end} in `{do}`" + (f": {lines[-1][:200]}" if lines else "")

    def attempt(self, step: Callable[..., Any], *args: Any) -> Any:
        """What the step returns; where the contestant fails in it, it is out and None comes back."""
        if not self.alive:
            return None
        try:
            return step(*args)
        except OutError as out:
            self._leave(out)
            return None

    def _leave(self, out: OutError) -> None:
        self.status, self.why = out.status, str(out)
        self.stop()

    def stop(self) -> None:
        """End the process and free its memory; what was measured stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what it was told and never read
                        pipe.close()
            process.wait()
        self._words.close()


@dataclasses.dataclass
class Arena:
    """What all contestants get: the files of the base and the queries, and how to measure.

    `recall` judges ids (nq, k). With a `store` the peers' indexes are built once and loaded by later runs, but
    for those named `fresh`.
    """

    base: Path
    queries: Path
    shape: tuple[int, int]
    metric: str
    k: int
    recall: Callable[[np.ndarray], float]
    build_threads: int = 2
    batch_threads: tuple[int, ...] = (1, 2)
    core: int | None = 0
    floor: float = 0.8
    store: Path | None = None
    fresh: frozenset[str] = frozenset()

    def ready(self, contestant: Contestant) -> None:
        """Check that the library is here, build the index or load it, hand over the queries."""
        contestant.attempt(self._ready, contestant)

    def _ready(self, contestant: Contestant) -> None:
        hello = contestant.ask("hello")
        if hello["absent"]:
            raise OutError("not installed" if hello["absent"] == "not installed" else "absent", hello["absent"])
        contestant.facts["version"] = hello["version"]
        if self.store is None or contestant.entry.ours:
            with tempfile.TemporaryDirectory() as folder:
                contestant.facts |= self._build(contestant, Path(folder))
        else:
            contestant.facts |= self._stored(contestant, self.store / contestant.name)
        contestant.ask("ask", queries=str(self.queries))

    def _build(self, contestant: Contestant, folder: Path) -> dict[str, Any]:
        question = {"base": str(self.base), "metric": self.metric, "threads": self.build_threads}
        return contestant.ask("build", **question, folder=str(folder)) | {"build_threads": self.build_threads}

    def _stored(self, contestant: Contestant, folder: Path) -> dict[str, Any]:
        """Load the index of an earlier run of the same library, or build and keep it."""
        notes, files = folder / "facts.json", folder / "files"
        if notes.is_file() and contestant.name not in self.fresh:
            facts: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8"))
            if facts["version"] == contestant.facts["version"] and facts["shape"] == list(self.shape):
                n, dim = self.shape
                return facts | contestant.ask("load", folder=str(files), n=n, dim=dim, metric=self.metric)
        new = folder.with_name(folder.name + ".new")  # the old one stays until the new one is whole
        shutil.rmtree(new, ignore_errors=True)
        (new / files.name).mkdir(parents=True)
        facts = contestant.facts | self._build(contestant, new / files.name) | {"shape": list(self.shape)}
        (new / notes.name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
        return facts

    def round(self, contestants: Iterable[Contestant], number: int, note: Callable[[str], None]) -> None:
        """One sweep of each contestant, one after another: queries one by one, then all at once."""
        for contestant in contestants:
            if not contestant.alive:
                continue
            if number == 0:
                contestant.attempt(self._explore, contestant)
            else:
                for sample in self._worth(contestant.samples):
                    contestant.attempt(self._again, contestant, sample, number)
            for sample in self._worth(contestant.samples):
                contestant.attempt(self._batch, contestant, sample, number)
            note(f"round {number + 1}: {contestant.name}")

    def _explore(self, contestant: Contestant) -> None:
        """Every ladder from below until full recall."""
        for ladder in contestant.facts["ladders"]:
            for effort in ladder:
                question = {"k": self.k, "effort": effort, "core": self.core}
                reply = contestant.ask("one_by_one", **question, ids=True)
                sample = Sample(effort, self.recall(self._found(reply["ids"])))
                sample.add(0, reply["parts"])
                contestant.samples.append(sample)
                if sample.recall >= FULL:
                    break

    def _found(self, ids: list[list[int]]) -> np.ndarray:
        """Ids as an array; some libraries fill up with what is in memory where they find fewer: not found, too."""
        return np.array([[id if 0 <= id < self.shape[0] else -1 for id in row] for row in ids], dtype=np.int64)

    def _worth(self, samples: list[Sample]) -> list[Sample]:
        """The points near the front, from the last one below the floor upwards."""
        least = float("inf")
        near = []
        for sample in sorted(samples, key=lambda one: (-one.recall, one.best)):
            if sample.best <= SLACK * least:
                near.append(sample)
            least = min(least, sample.best)
        low = max((sample.recall for sample in near if sample.recall < self.floor), default=0.0)
        return [sample for sample in near if sample.recall >= low][::-1]

    def _again(self, contestant: Contestant, sample: Sample, number: int) -> None:
        question = {"k": self.k, "effort": sample.effort, "core": self.core}
        sample.add(number, contestant.ask("one_by_one", **question, ids=False)["parts"])

    def _batch(self, contestant: Contestant, sample: Sample, number: int) -> None:
        for threads in self.batch_threads:
            question = {"k": self.k, "effort": sample.effort, "threads": threads, "core": self.core}
            seconds = contestant.ask("at_once", **question)["seconds"]
            if seconds is not None:
                sample.batches.setdefault(threads, {})[number] = seconds
