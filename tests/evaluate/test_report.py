"""Figures and reports hold the measured numbers, survive hostile names, and ask the network for nothing."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import MissingExtraError, ParameterError
from vsearch.evaluate import Answer, Point, Table, machine_facts, recall_figure, write_report
from vsearch.evaluate.axes import RECALL_TICKS, recall_ticks, recall_to_x, spread

VOID = {"meta", "line", "circle", "polyline"}  # written without a closing tag


def point(label: str, effort: float | None, recall: float, qps: float) -> Point:
    return Point(label, effort, None, recall, qps, 1e6 / qps, 2e6 / qps, 2 * qps, 2)


CURVES = {
    "Flat": [point("Flat", None, 1.0, 3_000.0)],
    "IVF": [point("IVF", float(e), 1 - 0.5 / e, 50_000.0 / e) for e in (1, 4, 16)],
}


class Balanced(HTMLParser):
    """Collects the elements and fails when they do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def page(folder: Path, **parts: Any) -> str:
    return write_report(folder / "new" / "report.html", title="T", **parts).read_text(encoding="utf-8")


def test_report_holds_table_figure_answers_and_machine(tmp_path: Path) -> None:
    table = Table(
        "Three", ["index", "QPS", "note"], [["Flat", 1234.5, None], ["IVF", 9.0, "x"]], ["", ",.0f", ""], "why"
    )
    text = page(
        tmp_path, curves=CURVES, tables=[table], answers=[Answer("who?", "IVF", 12.4, [(0.25, "dog: an animal")])]
    )
    tags = Balanced(text).seen
    assert '<td data-value="1234.5">1,234</td>' in text and "<td></td>" in text and "why" in text
    assert "<q>who?</q>" in text and "<b>dog</b>: an animal" in text and "0.250" in text and "IVF, 12 µs" in text
    assert all(f"<dt>{name}</dt>" in text for name in machine_facts())
    dots = [attributes["data-tip"] or "" for tag, attributes in tags if tag == "circle"]
    assert len(dots) == 4 and any("effort 16" in tip and "3,125 queries/s" in tip for tip in dots)


def test_report_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    text = page(tmp_path, curves=CURVES)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace("</", ""))
    assert not any({"src", "href", "srcset"} & set(attributes) for _, attributes in Balanced(text).seen)


def test_names_and_texts_cannot_break_the_page(tmp_path: Path) -> None:
    evil = "</title></script><script>alert('1')</script>&\"$body"
    table = Table(evil, [evil], [[evil]], [""], evil)
    curves = {evil: [point(evil, 1.0, 0.5, 10.0)]}
    answers = [Answer(evil, evil, 1.0, [(1.0, evil), (2.0, evil + ": " + evil)])]
    text = page(tmp_path, lead=evil, curves=curves, tables=[table], answers=answers, facts={evil: evil})
    assert text.count("<script>") == 1 and "$title" not in text
    Balanced(text)


def test_report_of_nothing_measured_is_still_a_page(tmp_path: Path) -> None:
    assert "<svg" not in page(tmp_path, curves={"IVF": []})


def test_figure_is_a_png(tmp_path: Path) -> None:
    path = recall_figure(CURVES, tmp_path / "new" / "figure.png", title="wordnet", subtitle="here")
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_figure_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="`curves` must hold at least one measured point"):
        recall_figure({"IVF": []}, tmp_path / "figure.png")


def test_figure_without_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., ModuleType] = builtins.__import__

    def refuse(name: str, *rest: Any) -> ModuleType:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'vsearch-ann\[report\]'"):
        recall_figure(CURVES, tmp_path / "figure.png")


@given(st.floats(0, 1), st.floats(0, 1))
def test_stretched_axis_keeps_the_order(a: float, b: float) -> None:
    assert (recall_to_x(a) < recall_to_x(b)) == (a < b) or abs(a - b) < 1e-9


@given(st.lists(st.floats(0, 1)))
def test_ticks_frame_every_recall(recalls: list[float]) -> None:
    ticks = recall_ticks(recalls)
    assert ticks[0] <= min(recalls, default=1.0) + 1e-9 and ticks[-1] == 1.0 and set(ticks) <= set(RECALL_TICKS)


@given(st.lists(st.floats(-5, 105), max_size=9))
def test_spread_labels_keep_their_order_and_distance(places: list[float]) -> None:
    out = spread(places, 10.0, 0.0, 100.0)
    ordered = sorted(out)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(ordered))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in out)
    clipped = [min(max(place, 0.0), 100.0) for place in places]
    assert all(out[i] < out[j] for i in range(len(places)) for j in range(len(places)) if clipped[i] < clipped[j])
