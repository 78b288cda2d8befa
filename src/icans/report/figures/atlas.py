"""The temporal biomarker atlas as a grid: rows are analytes grouped by source, columns are windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icans.report import format as fmt
from icans.report import style
from icans.report.atlas import ALL
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

#: Change at which the colour is full: an eightfold rise or fall, or three baseline SDs.
FULL_COLOUR = 3.0

_CELL_WIDTH, _NARROW_CELL, _CELL_HEIGHT = 0.98, 0.78, 0.36


@base.figure
def fig_atlas(table: pd.DataFrame, strata: tuple[str, ...] = (ALL,), row_limit: int = 60) -> Figure:
    """Median and n in every cell, colour by change from baseline, one block of columns a stratum.

    Parameters
    ----------
    table
        From :func:`icans.report.atlas.atlas`.
    strata
        Blocks, left to right.
    row_limit
        Rows drawn at most (those with most patients), so that the figure stays readable.
    """
    rows = _rows(table, row_limit)
    windows = list(dict.fromkeys(table["window"]))
    if not rows:
        fig = base.new(7, 1.2)
        base.note(fig, "No analyte has a result in these windows.")
        return fig
    lines = _lines(rows)
    width = _CELL_WIDTH if len(strata) == 1 else _NARROW_CELL
    fig = base.new(2.3 + width * len(windows) * len(strata), 1.25 + _CELL_HEIGHT * len(lines))
    axes = fig.subplots(1, len(strata), sharey=True, squeeze=False)[0]
    for ax, stratum in zip(axes, strata, strict=True):
        _draw_block(ax, table[table["stratum"] == stratum], lines, windows)
        ax.set_title(stratum if len(strata) > 1 or stratum != ALL else "", pad=24)
    _name_rows(axes[0], lines)
    _colour_bar(fig, axes)
    return fig


def _rows(table: pd.DataFrame, limit: int) -> list[tuple[str, str, str, str, str]]:
    """(source, group, analyte, matrix, label with unit) in the order of the table."""
    total = table[table["stratum"] == ALL].groupby(["analyte", "matrix"])["n"].sum()
    kept = set(total.sort_values(ascending=False).index[:limit])
    unique = table.drop_duplicates(["analyte", "matrix"])
    found = []
    for row in unique.itertuples():
        if (row.analyte, row.matrix) in kept:
            mark = " †" if row.scale == "sd" else ""
            label = f"{row.label}{mark}\n{fmt.unit(row.unit)}"
            found.append((row.source, row.group, row.analyte, row.matrix, label))
    return found


def _lines(rows: list[tuple[str, str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """Lines of the grid: ("source"|"row", text, analyte, matrix); a heading line before each source."""
    lines: list[tuple[str, str, str, str]] = []
    source = None
    for here, _, analyte, matrix, label in rows:
        if here != source:
            lines.append(("source", here, "", ""))
            source = here
        lines.append(("row", label, analyte, matrix))
    return lines


def _draw_block(ax: Axes, table: pd.DataFrame, lines: list[tuple[str, str, str, str]], windows: list[str]) -> None:
    cells = {(r.analyte, r.matrix, r.window): r for r in table.itertuples()}
    for y, (kind, _, analyte, matrix) in enumerate(lines):
        if kind == "source":
            continue
        for x, window in enumerate(windows):
            _draw_cell(ax, x, y, cells.get((analyte, matrix, window)))
    ax.set(xlim=(0, len(windows)), ylim=(len(lines), 0))
    ax.set_xticks(np.arange(len(windows)) + 0.5, [w.replace(" (", "\n(") for w in windows])
    ax.xaxis.tick_top()
    base.bare(ax)


def _draw_cell(ax: Axes, x: int, y: int, cell: Any) -> None:
    """One cell: nothing measured (blank), too few (hatched, n only), or median, n and colour."""
    n = 0 if cell is None else int(cell.n)
    if n == 0:
        ax.add_patch(_box(x, y, facecolor=style.PANEL))
        return
    if not cell.shown:
        ax.add_patch(_box(x, y, facecolor=style.PAPER, edgecolor="#b9c2cb", hatch="////"))
        _cell_text(ax, x, y + 0.5, f"n {n}", 6.5, style.SOFT, backed=True)
        return
    change = cell.change
    face = "#eef0f2" if fmt.absent(change) else style.diverging()(0.5 + np.clip(change / FULL_COLOUR, -1, 1) / 2)
    ax.add_patch(_box(x, y, facecolor=face))
    ink = style.INK if isinstance(face, str) else style.readable_on(face)
    bound = "≤ " if cell.is_bound else ""
    _cell_text(ax, x, y + 0.37, bound + fmt.significant(cell.median), 8, ink)
    _cell_text(ax, x, y + 0.74, f"n {n}", 6.2, ink)


def _box(x: int, y: int, **looks: Any) -> Rectangle:
    """The rectangle of a cell, with a hair's breadth of paper round it."""
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.03, y + 0.05), 0.94, 0.90, linewidth=0, **looks)


def _cell_text(ax: Axes, x: int, y: float, text: str, size: float, ink: str, backed: bool = False) -> None:
    box = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.2} if backed else None
    ax.text(x + 0.5, y, text, ha="center", va="center", fontsize=size, color=ink, bbox=box)


def _name_rows(ax: Axes, lines: list[tuple[str, str, str, str]]) -> None:
    ax.set_yticks(np.arange(len(lines)) + 0.5, ["" if kind == "source" else text for kind, text, *_ in lines])
    for label in ax.get_yticklabels():
        label.set_fontsize(7.5)
        label.set_linespacing(1.1)
    for y, (kind, text, *_) in enumerate(lines):
        if kind == "source":
            ax.annotate(
                text, (0, y + 0.72), xytext=(-2, 0), textcoords="offset points", ha="right", va="center",
                fontsize=8.5, fontweight="bold", color=style.ACCENT, annotation_clip=False,
            )  # fmt: skip


def _colour_bar(fig: Figure, axes: np.ndarray) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-FULL_COLOUR, FULL_COLOUR), style.diverging())
    bar = fig.colorbar(scale, ax=list(axes), location="bottom", fraction=0.03, aspect=50, pad=0.02, shrink=0.75)
    bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["÷8", "÷4", "÷2", "no change", "×2", "×4", "×8"])
    bar.set_label("Change of the median from baseline († change in baseline SDs, −3 to +3)")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
