"""The recall/QPS figure as a PNG (matplotlib, extra ``report``): up and to the right is better.

One line per index along its Pareto front, named at its end in its own colour, so that no legend has to be looked
up; a single point (an exact index, say) is a diamond. QPS is logarithmic, recall stretched towards 1 (axes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vsearch.errors import MissingExtraError, ParameterError
from vsearch.evaluate.axes import colour, compact, recall_ticks, recall_to_x, spread
from vsearch.evaluate.pareto import Measured, pareto

INK, MUTED, GRID = "#1d2733", "#6a7683", "#e4e8ec"

#: Left edge of the plot and of the titles above it, as a share of the width.
LEFT = 0.075


def recall_figure(
    curves: Mapping[str, Sequence[Measured]],
    path: str | Path,
    *,
    k: int = 10,
    title: str = "Recall and speed",
    subtitle: str = "",
    targets: Sequence[float] = (0.95,),
) -> Path:
    """Draw QPS over recall and save it as a PNG.

    Parameters
    ----------
    curves : mapping of str to points
        One sweep per index; the order gives the colours.
    path : str or Path
        Where the PNG goes.
    k : int
        Named on the axis.
    title, subtitle : str
        Above the figure.
    targets : sequence of float
        Recalls marked with a thin vertical line.

    Returns
    -------
    Path
        ``path``.

    Examples
    --------
    >>> from types import SimpleNamespace as P
    >>> recall_figure({"IVF": [P(recall=0.9, qps=1e4)]}, "recall.png")  # doctest: +SKIP
    """
    fronts = {label: pareto(points) for label, points in curves.items() if points}
    if not fronts:
        raise ParameterError("`curves` must hold at least one measured point; got none.")
    figure, axes = _canvas(longest=max(len(label) for label in fronts))
    _frame(axes, fronts, k, targets)
    ends = []
    for position, front in enumerate(fronts.values()):
        xs, ys = [recall_to_x(p.recall) for p in front], [p.qps for p in front]
        alone = len(front) == 1
        axes.plot(
            xs, ys, color=colour(position), linewidth=2.2,
            solid_capstyle="round", zorder=4 if alone else 3, clip_on=False,
            marker="D" if alone else "o", markersize=8 if alone else 4.5, markeredgecolor="white", markeredgewidth=0.8,
        )  # fmt: skip
        ends.append((xs[-1], ys[-1]))
    _name_lines(figure, axes, list(fronts), ends)
    figure.text(LEFT, 0.955, title, fontsize=15, fontweight="bold", color=INK, va="top")
    figure.text(LEFT, 0.890, subtitle, fontsize=10, color=MUTED, va="top")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160, facecolor="white")
    return path


def _canvas(longest: int) -> tuple[Any, Any]:
    """Return a figure that belongs to nobody (no pyplot: no window system, no state left behind) and its axes.

    The room on the right is for the names, the longest of which has ``longest`` letters.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Figures need matplotlib: pip install 'vsearch-ann[report]'.") from error
    figure = Figure(figsize=(9.6, 5.6))
    FigureCanvasAgg(figure)
    return figure, figure.add_axes((LEFT, 0.11, 0.97 - LEFT - 0.035 - min(0.0092 * longest, 0.3), 0.67))


def _frame(axes: Any, fronts: Mapping[str, Sequence[Measured]], k: int, targets: Sequence[float]) -> None:
    recalls = [p.recall for front in fronts.values() for p in front]
    speeds = [p.qps for front in fronts.values() for p in front]
    ticks = recall_ticks(recalls)
    axes.set_yscale("log")
    axes.set_xlim(recall_to_x(ticks[0]), recall_to_x(1.0))
    axes.set_ylim(min(speeds) / 1.35, max(speeds) * 1.35)
    axes.set_xticks([recall_to_x(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_major_formatter(lambda value, _: compact(value))
    axes.yaxis.set_minor_formatter(lambda value, _: compact(value) if f"{value:e}"[0] in "25" else "")
    axes.grid(True, which="major", color=GRID, linewidth=0.9)
    axes.grid(True, which="minor", axis="y", color=GRID, linewidth=0.4)
    axes.tick_params(which="both", length=0, colors=MUTED, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#b8c0c8")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"recall@{k}, stretched towards 1", fontsize=10, color=MUTED, labelpad=8)
    axes.set_title(
        "queries per second, one at a time on one thread (up and to the right is better)",
        fontsize=10,
        color=MUTED,
        loc="left",
        pad=9,
    )
    for target in targets:
        axes.axvline(recall_to_x(target), color="#9aa5b1", linewidth=1, linestyle=(0, (2, 3)), zorder=1)


def _name_lines(figure: Any, axes: Any, labels: Sequence[str], ends: Sequence[tuple[float, float]]) -> None:
    """Write each name right of the plot, level with its line's end but clear of the other names."""
    heights = [axes.transAxes.inverted().transform(axes.transData.transform(end))[1] for end in ends]
    places = spread([float(height) for height in heights], 0.06, 0.02, 0.98)
    for position, (label, place, end, height) in enumerate(zip(labels, places, ends, heights, strict=True)):
        right = float(axes.transAxes.inverted().transform(axes.transData.transform(end))[0])
        axes.plot(
            [right + 0.008, 1.012, 1.028], [height, place if right > 0.97 else height, place],
            transform=axes.transAxes, color=colour(position), linewidth=0.9, alpha=0.55, clip_on=False, zorder=2,
        )  # fmt: skip
        axes.text(
            1.035, place, label, transform=axes.transAxes, color=colour(position), fontsize=10.5, fontweight="bold",
            va="center", clip_on=False,
        )  # fmt: skip
