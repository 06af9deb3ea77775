"""What the measured points say: the table, ours against every peer within its bytes, the bars, and the figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import peer

Row = dict[str, Any]

# Codes behind a random rotation, which give every dimension the same bits whatever the data's covariance.
ROTATED = ("RaBitQ", "RaBitQ fast", "EDEN", "EDEN biased", "TurboQuant mse")
ERROR_BAR = 0.6
SHANNON_BARS = {2: 2.3, 4: 3.0}


def heading(figures: dict[str, Any]) -> str:
    """Two lines above the table."""
    least = ", ".join(f"{bits}: {error:.5f}" for bits, error in figures["least_error"].items())
    what = f"{figures['rows']:,} vectors of {figures['dim']} dimensions, {figures['metric']}"
    return (
        f"{figures['data']}: {what}, {figures['queries']} queries\n"
        f"least relative squared error of a Gaussian of this covariance at bits {least}\n\n"
        f"{'':<10}{'quantizer':<25}{'bytes':>6}{'bits':>6}{'rel. error':>11}{'x Shannon':>10}{'IP std':>9}"
        f"{'recall@10':>10}{'with 3x':>9}{'train s':>9}{'encode k/s':>11}{'scan M/s':>9}"
    )


def line(row: Row) -> str:
    """One row of the table."""
    head = f"{row['side']:<10}{row['name']:<25}"
    if "failed" in row:
        return f"{head} not measured: {row['failed'].splitlines()[0][:110]}"

    def cell(key: str, width: int, digits: int, unit: float = 1.0) -> str:
        return f"{row[key] / unit:>{width},.{digits}f}" if key in row else " " * (width - 1) + "-"

    return (
        head
        + cell("bytes", 6, 0)
        + cell("bits_per_dim", 6, 2)
        + cell("relative_error", 11, 5)
        + cell("x_shannon", 10, 2)
        + cell("ip_std", 9, 5)
        + cell("recall", 10, 4)
        + cell("recall_refined", 9, 4)
        + cell("train_s", 9, 1)
        + cell("encode_per_s", 11, 1, 1e3)
        + cell("scan_per_s", 9, 1, 1e6)
        + (f"  from {row['from']}" if "from" in row else "")
    )


def measured(points: list[Row]) -> tuple[list[Row], list[Row]]:
    """Ours and the peers', without what failed; the smaller first."""
    good = sorted((row for row in points if "failed" not in row), key=lambda row: row["bytes"])
    return [row for row in good if row["side"] == "ours"], [row for row in good if row["side"] != "ours"]


def best_within(rows: list[Row], nbytes: float) -> Row | None:
    """The row of highest recall among those of at most so many bytes."""
    return max((row for row in rows if row["bytes"] <= nbytes + 1e-9), key=lambda row: row["recall"], default=None)


def on_front(row: Row, rows: list[Row]) -> bool:
    """Whether no other of the rows has at least its recall in at most its bytes (and one of the two better)."""
    return not any(
        other["bytes"] <= row["bytes"]
        and other["recall"] >= row["recall"]
        and (other["bytes"], other["recall"]) != (row["bytes"], row["recall"])
        for other in rows
    )


def compare(points: list[Row]) -> list[Row]:
    """For every point of the peers our best within its bytes, and the gap in recall."""
    our_rows, peers = measured(points)
    out: list[Row] = []
    for row in peers:
        best = best_within(our_rows, row["bytes"])
        verdict = {"peer": f"{row['side']} {row['name']}", "bytes": row["bytes"], "bits_per_dim": row["bits_per_dim"]}
        verdict |= {"recall": row["recall"], "front": on_front(row, peers)}
        if best is not None:
            verdict |= {"ours": best["name"], "our_bytes": best["bytes"], "our_recall": best["recall"]}
            verdict["gap"] = best["recall"] - row["recall"]
        out.append(verdict)
    return out


def summary(points: list[Row]) -> Iterator[str]:
    """Lines that compare the recall of codes alone with every point of the peers; a star marks the peers' best."""
    our_rows, _ = measured(points)
    verdicts = compare(points)
    if not our_rows or not verdicts:
        return
    yield "\nrecall@10 of codes alone: every point of the peers (* no peer has more in fewer bytes), our best within it"
    for one in verdicts:
        head = f"{'*' if one['front'] else ' '} {one['peer']:<36}{one['bytes']:>5.0f} B {one['recall']:.4f}"
        if "gap" not in one:
            yield f"{head}   ours: none this small"
            continue
        sign = ">" if one["gap"] > 1e-9 else "=" if one["gap"] > -1e-9 else "<"
        mine = f"{one['ours']:<20}{one['our_bytes']:>5.0f} B {one['our_recall']:.4f}"
        yield f"{head} {one['gap']:+.4f}   {mine} {sign} peer"
    barred = [one for one in verdicts if 1 <= one["bits_per_dim"] <= 8 + 1e-9]
    gaps = [one["gap"] for one in barred if "gap" in one]
    won, none = sum(gap > 1e-9 for gap in gaps), len(barred) - len(gaps)
    smallest = f"smallest gap {min(gaps):+.4f}" if gaps else "no gap to tell"
    yield f"between 1 and 8 bits a dimension: ours > peer at {won} of {len(gaps)} points; {smallest}"
    if none:
        yield f"at {none} more of them no quantizer of ours is as small"


def at_most(value: float, limit: float) -> str:
    """The bar in words."""
    return f"{'<=' if value <= limit else '>'} {limit}"


def bars(figures: dict[str, Any]) -> Iterator[str]:
    """Lines on SAQ's squared error: against the best code behind a rotation, and against Shannon."""
    our_rows, peers = measured(figures["points"])
    by_name = {row["name"]: row for row in our_rows}
    for bits, limit in SHANNON_BARS.items():
        saq = by_name.get(f"SAQ {bits}")
        if saq is None:
            continue
        yield f"\nSAQ at {bits} bits: {saq['x_shannon']:.2f} x Shannon {at_most(saq['x_shannon'], limit)}"
        rivals = [row for row in peers if row["family"] in ROTATED and row["bits"] == bits and "relative_error" in row]
        if not rivals:
            continue
        rival = min(rivals, key=lambda row: row["relative_error"])
        ratio = saq["relative_error"] / rival["relative_error"]
        model = figures["least_error"][str(bits)] / 4.0**-bits
        yield (
            f"SAQ at {bits} bits ({saq['bytes']:.0f} B): relative error {saq['relative_error']:.5f} = {ratio:.2f} x "
            f"{rival['side']} {rival['name']} ({rival['bytes']:.0f} B), {at_most(ratio, ERROR_BAR)}; "
            f"ideal allocation against equal bits in the Gaussian model: {model:.2f} x"
        )


def draw(figures: dict[str, Any], path: Path) -> str:
    """Draw recall over bytes and x Shannon over bits, one line for each family; returns what to print."""
    if peer("matplotlib") is None:
        return "no figure: matplotlib is not installed"
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from vsearch.evaluate.axes import colour, recall_ticks, recall_to_x

    our_rows, peers = measured(figures["points"])
    figure = Figure(figsize=(14.5, 6.4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    families = dict.fromkeys((row["side"], row["family"]) for row in (*our_rows, *peers))
    for position, (side, family) in enumerate(families):
        rows = [row for row in (*our_rows, *peers) if (row["side"], row["family"]) == (side, family)]
        style = {"color": colour(position), "label": f"{side} {family}", "linewidth": 2.2 if side == "ours" else 1.2}
        style |= {"linestyle": "-" if side == "ours" else "--" if side == "faiss" else ":"}
        style |= {"marker": "o" if side == "ours" else "x" if position // 8 % 2 else "s", "markersize": 4}
        left.plot([row["bytes"] for row in rows], [recall_to_x(row["recall"]) for row in rows], **style)
        known = [row for row in rows if "x_shannon" in row]
        right.plot([row["bits_per_dim"] for row in known], [row["x_shannon"] for row in known], **style)
    ticks = recall_ticks([row["recall"] for row in (*our_rows, *peers)])
    left.set_yticks([recall_to_x(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    left.set_title("recall@10 of a scan of codes alone, over bytes a vector, factors included", fontsize=10, loc="left")
    right.set_title("squared error over Shannon's limit, over bits a dimension", fontsize=10, loc="left")
    sizes = sorted({round(row["bytes"]) for row in (*our_rows, *peers)})
    left.set_xscale("log")
    left.xaxis.set_minor_locator(NullLocator())
    powers = [
        size for size in (8, 16, 32, 64, 128, 256, 512, 1024, 2048) if sizes and sizes[0] / 2 < size < 2 * sizes[-1]
    ]
    left.set_xticks(powers, [str(size) for size in powers])
    right.set_yscale("log")
    right.set_yticks(shown := [0.5, 1, 2, 5, 10, 20], [f"{tick:g} x" for tick in shown])
    right.yaxis.set_minor_locator(NullLocator())
    for axes in (left, right):
        axes.grid(True, color="#e4e8ec", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{figures['data']}: {figures['rows']:,} vectors of {figures['dim']} dimensions", x=0.05, ha="left")
    figure.legend(*left.get_legend_handles_labels(), loc="center right", fontsize=8, frameon=False)
    figure.subplots_adjust(left=0.04, right=0.85, top=0.88, bottom=0.07, wspace=0.12)
    figure.savefig(path, dpi=130, facecolor="white")
    return str(path)
