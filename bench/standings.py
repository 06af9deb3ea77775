"""What a race says: QPS at named recalls, ours over the best peer, the table, the JSON and the figures.

QPS at a recall is interpolated between neighbouring points of a sweep's front, log(QPS) over recall, never beyond the
last point (vsearch.evaluate.pareto). `qps` takes each point at its best (arena.Sample); `rounds` interpolates in every
round alone, `median` is that of the rounds, and a ratio's `median` that of the ratios of every round.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arena import Contestant, Sample

from vsearch.evaluate.pareto import qps_at

Row = dict[str, Any]


class Curve(NamedTuple):
    """A point of a curve."""

    recall: float
    qps: float


def level(recall: float) -> str:
    """A recall as the key of a JSON object.

    >>> level(0.9), level(0.999)
    ('0.9', '0.999')
    """
    return f"{recall:g}"


def at_levels(samples: Sequence[Sample], queries: int, levels: Sequence[float], rounds: int) -> dict[str, Row]:
    """By level: best and median QPS, and for each round the QPS in it (None where the level is not reached)."""
    best = [Curve(one.recall, queries / one.best) for one in samples]
    alone = [
        [Curve(one.recall, queries / one.seconds[number]) for one in samples if number in one.seconds]
        for number in range(rounds)
    ]
    out = {}
    for recall in levels:
        every = [known(qps_at(points, recall)) for points in alone]
        reached = [qps for qps in every if qps is not None]
        out[level(recall)] = {
            "qps": known(qps_at(best, recall)),
            "median": statistics.median(reached) if reached else None,
            "rounds": every,
        }
    return out


def batch_at_levels(samples: Sequence[Sample], queries: int, levels: Sequence[float]) -> dict[str, dict[str, Any]]:
    """By threads and level: best QPS of batches, at the recall of single queries of the same effort."""
    threads = sorted({count for one in samples for count in one.batches})
    out: dict[str, dict[str, Any]] = {}
    for count in threads:
        timed = [one for one in samples if count in one.batches]
        points = [Curve(one.recall, queries / min(one.batches[count].values())) for one in timed]
        out[str(count)] = {level(recall): known(qps_at(points, recall)) for recall in levels}
    return out


def known(value: float) -> float | None:
    """None for nan, which JSON has not."""
    return None if math.isnan(value) else value


def row(contestant: Contestant, queries: int, levels: Sequence[float], rounds: int) -> Row:
    """Everything about one contestant, ready for JSON."""
    out: Row = {"name": contestant.name, "ours": contestant.entry.ours, "status": contestant.status}
    out["options"] = contestant.entry.options
    if contestant.why:
        out["why"] = contestant.why
    out |= {key: value for key, value in contestant.facts.items() if key not in ("ladders", "shape")}
    samples = [one for one in contestant.samples if one.seconds]
    if samples:
        out["at"] = at_levels(samples, queries, levels, rounds)
        out["batch_at"] = batch_at_levels(samples, queries, levels)
        out["points"] = [
            {
                "effort": one.effort,
                "recall": one.recall,
                "qps": queries / one.best,
                "seconds": list(one.seconds.values()),
                "batch_qps": {str(count): queries / min(times.values()) for count, times in one.batches.items()},
            }
            for one in samples
        ]
    return out


def ratios(rows: Sequence[Row], levels: Sequence[float]) -> dict[str, dict[str, Row]]:
    """By our index and level: QPS over that of the best peer, best over best, and the median of ratios by round.

    The median is given where index and peer ran in the same rounds, which `together` of a row names.
    """
    out: dict[str, dict[str, Row]] = {}
    for mine in (one for one in rows if one["ours"] and "at" in one):
        for recall in levels:
            key = level(recall)
            reached = [one for one in rows if not one["ours"] and one.get("at", {}).get(key, {}).get("qps")]
            if not reached or mine["at"][key]["qps"] is None:
                continue
            rival = max(reached, key=lambda one: one["at"][key]["qps"])
            verdict = {"peer": rival["name"], "best": mine["at"][key]["qps"] / rival["at"][key]["qps"]}
            if mine.get("together") is not None and mine.get("together") == rival.get("together"):
                pairs = zip(mine["at"][key]["rounds"], rival["at"][key]["rounds"])
                both = [ours / theirs for ours, theirs in pairs if ours and theirs]
                if both:
                    verdict["median"] = statistics.median(both)
            out.setdefault(mine["name"], {})[key] = verdict
    return out


def table(figures: Row) -> Iterator[str]:
    """Lines: contestants by QPS at recall 0.95 (or the middle level), those that are out, and our ratios."""
    levels = figures["levels"]
    middle = level(0.95 if 0.95 in levels else levels[len(levels) // 2])
    threads = sorted({count for one in figures["contestants"] for count in one.get("batch_at", {})}, key=int)
    heads = [f"QPS@{level(recall)[1:]}" for recall in levels]
    heads += [f"batch{count}@{middle[1:]}" for count in threads] + ["B/vector", "build s", "peak MiB"]
    yield "| index | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    ran = [one for one in figures["contestants"] if "at" in one]
    for one in sorted(ran, key=lambda one: -(one["at"][middle]["qps"] or 0)):
        cells = [cell(one["at"][level(recall)]["qps"]) for recall in levels]
        cells += [cell(one["batch_at"].get(count, {}).get(middle)) for count in threads]
        peak = one.get("peak_bytes")
        elsewhere = one["build_threads"] != figures["threads"]
        cells += [cell(one["bytes_per_vector"]), cell(one["build_s"], 1) + ("*" if elsewhere else "")]
        cells += [cell(None if peak is None else peak / 2**20)]
        yield f"| {one['name']} | " + " | ".join(cells) + " |"
    for one in ran:
        if one["build_threads"] != figures["threads"]:
            busy = cell(one.get("build_cpu_s"), 1)
            yield f"* {one['name']} was built by an earlier run, threads: {one['build_threads']}, CPU time {busy} s"
    for one in figures["contestants"]:
        if one["status"] != "measured":
            yield f"{one['name']}: {one['status']}" + ("" if one["why"] == one["status"] else f" ({one['why']})")
    for name, verdicts in figures["ratios"].items():
        parts = [
            f"{key}: {one['best']:.2f} x {one['peer']}" + (f" (median {one['median']:.2f})" if "median" in one else "")
            for key, one in verdicts.items()
        ]
        yield f"{name} over the best peer at recall " + ", ".join(parts)


def cell(value: float | None, digits: int = 0) -> str:
    """A number of the table, a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def champions(rows: Iterable[Row], key: str, most: int = 8) -> list[Row]:
    """Our indexes, then the best index of each library at this level, at most so many in all, fastest first."""
    best: dict[str, Row] = {}
    for one in rows:
        if "at" in one:
            family = one["name"] if one["ours"] else one["name"].split("-")[0]
            if family not in best or (one["at"][key]["qps"] or 0) > (best[family]["at"][key]["qps"] or 0):
                best[family] = one
    return sorted(best.values(), key=lambda one: (not one["ours"], -(one["at"][key]["qps"] or 0)))[:most]


def draw(figures: Row, stem: Path) -> list[str]:
    """Two PNGs: QPS over recall of the best index of each library, and QPS at 0.95 over bytes; returns their paths."""
    from measure import peer

    if peer("matplotlib") is None:
        return ["no figures: matplotlib is not installed"]
    from vsearch.evaluate.figures import recall_figure

    levels = figures["levels"]
    key = level(0.95 if 0.95 in levels else levels[len(levels) // 2])
    curves = {
        one["name"]: [Curve(point["recall"], point["qps"]) for point in one["points"] if point["recall"] >= 0.7]
        for one in champions(figures["contestants"], key)
    }
    paths = []
    what = f"{figures['data']}: {figures['n']:,} vectors of {figures['dim']} dimensions, {figures['metric']}"
    if any(curves.values()):
        path = stem.with_name(stem.name + "-recall.png")
        title = f"vsearch and the best index of each library at recall {key}"
        paths.append(str(recall_figure(curves, path, k=figures["k"], title=title, subtitle=what, targets=levels)))
    placed = [one for one in figures["contestants"] if "at" in one and one["at"][key]["qps"]]
    if placed:
        paths.append(_draw_memory(placed, key, what, stem.with_name(stem.name + "-memory.png")))
    return paths


def _draw_memory(rows: Sequence[Row], key: str, what: str, path: Path) -> str:
    """QPS at one recall over bytes a vector, a dot for each index."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vsearch.evaluate.axes import colour, compact

    figure = Figure(figsize=(9.6, 5.6))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.11, 0.89, 0.77))
    axes.set_xscale("log")
    axes.set_yscale("log")
    named: list[tuple[float, float]] = []  # places whose names stand on the right
    for one in sorted(rows, key=lambda one: -one["bytes_per_vector"]):
        place, ink = (one["bytes_per_vector"], one["at"][key]["qps"]), colour(0 if one["ours"] else 6)
        axes.plot(*place, "D" if one["ours"] else "o", color=ink, markersize=8 if one["ours"] else 6)
        close = [(abs(math.log(size / place[0])), abs(math.log(speed / place[1]))) for size, speed in named]
        crowded = any(across < 0.6 and above < 0.06 for across, above in close)
        named += [] if crowded else [place]
        side, beside = ("right", (-7, -3)) if crowded else ("left", (7, -3))
        axes.annotate(one["name"], place, beside, textcoords="offset points", ha=side, fontsize=8.5, color=ink)
    sizes = [one["bytes_per_vector"] for one in rows]
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: compact(value))
        axis.set_minor_formatter(lambda value, _: compact(value) if f"{value:e}"[0] in "25" else "")
    axes.grid(True, which="both", color="#e4e8ec", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("bytes a vector, all parts of the index", fontsize=10)
    axes.set_title(
        f"queries per second at recall {key}, one at a time on one thread (up and to the left is better)\n{what}",
        fontsize=10, loc="left",
    )  # fmt: skip
    figure.savefig(path, dpi=130, facecolor="white")
    return str(path)
