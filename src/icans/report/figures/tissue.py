"""Figures of simulated tissue: cells in time, a picture of cells on a field, an animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arrays = Mapping[str, Any]
#: Written on every figure.
LABEL = "SIMULATED TISSUE, NO MEASURED DATA"
#: A dead cell is drawn nearly black; where there is no tissue, pale grey.
DEAD, NO_TISSUE = "#20262c", "#eceff1"


def colours(labels: Arrays) -> list[str]:
    """One colour for each kind: its own, or the next of the report's set."""
    own = labels["colours"]
    return [own[k] or style.QUALITATIVE[k % len(style.QUALITATIVE)] for k in range(len(labels["kinds"]))]


@base.figure
def fig_counts(runs: Sequence[Arrays], labels: Arrays) -> Figure:
    """Live cells of each kind in time: the median of the replicates, and the range of all of them.

    Parameters
    ----------
    runs
        Arrays of the replicates; ``counts`` (times, kinds, states), ``counts_time_h`` (times,).
    labels
        Attributes of one of them.
    """
    hours = runs[0]["counts_time_h"]
    live = np.stack([run["counts"][:, :, 0] for run in runs])
    shown = [k for k in range(live.shape[2]) if live[:, :, k].any()]
    fig = base.new(6.6, 2.9)
    ax = fig.subplots()
    tints = colours(labels)
    for place, k in enumerate(shown):
        ax.plot(hours, np.median(live[:, :, k], axis=0), color=tints[k], label=labels["kinds"][k],
                linestyle=style.DASHES[place % len(style.DASHES)])  # fmt: skip
        if len(runs) > 1:
            ax.fill_between(hours, live[:, :, k].min(axis=0), live[:, :, k].max(axis=0), color=tints[k], alpha=0.18)
    ax.set_xlabel("Time, h")
    ax.set_ylabel("Live cells")
    ax.set_ylim(bottom=0)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _label(fig, len(runs))
    return fig


@base.figure
def fig_scene(run: Arrays, labels: Arrays, frame: int = -1, substance: int = 0) -> Figure:
    """Cells of one frame on the level of one substance; a slab about the middle where there are three dimensions."""
    fig = base.new(5.2, 4.6)
    ax = fig.subplots()
    top = float(run["fields"][frame, substance].max()) or 1.0
    image = _draw(ax, run, labels, frame, substance, top)
    fig.colorbar(image, ax=ax, label=_level(labels, substance), shrink=0.85)
    _legend(ax, run, labels)
    _label(fig, 1)
    return fig


def animate(run: Arrays, labels: Arrays, path: Path, substance: int = 0, per_second: int = 6) -> Path:
    """Write all frames as a GIF; returns the path."""
    from matplotlib import rc_context
    from matplotlib.animation import FuncAnimation, PillowWriter

    with rc_context(style.RC):
        fig = base.new(5.2, 4.7)
        fig.set_layout_engine("none")
        ax = fig.add_axes((0.12, 0.17, 0.66, 0.73))
        top = float(np.percentile(run["fields"][:, substance], 99.9)) or 1.0
        image = _draw(ax, run, labels, 0, substance, top)
        fig.colorbar(image, cax=fig.add_axes((0.82, 0.25, 0.025, 0.56)), label=_level(labels, substance))
        fig.text(0.1, 0.96, LABEL, fontsize=7.5, fontweight="bold", color=style.WARM)

        def show(frame: int) -> list[Any]:
            ax.clear()
            drawn = _draw(ax, run, labels, frame, substance, top)
            _legend(ax, run, labels)
            return [drawn]

        animation = FuncAnimation(fig, show, frames=len(run["time_h"]), blit=False)
        animation.save(str(path), writer=PillowWriter(fps=per_second), dpi=90)
    return path


def _draw(ax: Axes, run: Arrays, labels: Arrays, frame: int, substance: int, top: float) -> Any:
    """Field and cells of one frame on an axes; returns the image."""
    from matplotlib.collections import EllipseCollection

    count = len(run["time_h"])
    frame = frame % count
    cells = slice(int(run["first"][frame]), int(run["first"][frame + 1]))
    level, h = run["fields"][frame, substance].astype(float), float(labels["spacing_um"])
    level.reshape(-1)[np.array(labels.get("voxels_without_tissue", []), int)] = np.nan
    x, radius = run["cells/x"][:, cells], run["cells/radius"][cells]
    seen = np.ones(radius.size, bool)
    if level.ndim == 3:
        middle = level.shape[0] // 2
        level = level[middle]
        seen = abs(x[2] - (middle + 0.5) * h) < radius
    ny, nx = level.shape
    ax.set_facecolor(NO_TISSUE)
    ax.grid(False)
    image = ax.imshow(
        level, origin="lower", extent=(0, nx * h, 0, ny * h), cmap="cividis", vmin=0, vmax=top, alpha=0.75
    )
    tint = np.array([*colours(labels), DEAD])
    kind = np.where(run["cells/state"][cells] == 0, run["cells/kind"][cells], len(labels["kinds"]))
    width = 2 * radius[seen]
    ax.add_collection(EllipseCollection(
        width, width, np.zeros(width.size), units="xy", offsets=x[:2, seen].T, transOffset=ax.transData,
        facecolors=tint[kind[seen]], edgecolors="white", linewidths=0.2,
    ))  # fmt: skip
    ax.set_xlim(0, nx * h)
    ax.set_ylim(0, ny * h)
    ax.set_xlabel("x, µm")
    ax.set_ylabel("y, µm")
    _scale_bar(ax, nx * h)
    ax.set_title(f"{run['time_h'][frame]:.1f} h")
    return image


def _level(labels: Arrays, substance: int) -> str:
    """Name and unit of a substance's level."""
    units = labels.get("substance_units") or ["pg/mL"] * len(labels["substances"])
    return f"{labels['substances'][substance]}, {units[substance]}"


def _scale_bar(ax: Axes, width: float) -> None:
    """A bar of a round length, no longer than a quarter of the picture, at its lower right."""
    ten = 10 ** np.floor(np.log10(width / 4))
    length = float(max(step * ten for step in (1, 2, 5) if step * ten <= width / 4))
    end, height = 0.965 * width, 0.04 * width
    ax.plot([end - length, end], [height, height], color="white", linewidth=5, solid_capstyle="butt", zorder=5)
    ax.plot([end - length, end], [height, height], color=style.INK, linewidth=2.5, solid_capstyle="butt", zorder=6)
    ax.text(end - length / 2, height + 0.015 * width, f"{length:g} µm", ha="center", va="bottom", fontsize=7, zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0})  # fmt: skip


def _legend(ax: Axes, run: Arrays, labels: Arrays) -> None:
    from matplotlib.lines import Line2D

    tints, there = colours(labels), np.unique(run["cells/kind"])
    handles = [Line2D([], [], marker="o", linestyle="", color=tints[k], label=labels["kinds"][k]) for k in there]
    if (run["cells/state"] != 0).any():
        handles.append(Line2D([], [], marker="o", linestyle="", color=DEAD, label="dead"))
    if labels.get("voxels_without_tissue"):
        handles.append(Line2D([], [], marker="s", linestyle="", color=NO_TISSUE, markeredgecolor=DEAD,
                              markeredgewidth=0.5, label="no tissue"))  # fmt: skip
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=7)


def _label(fig: Figure, replicates: int) -> None:
    more = f", {replicates} replicates" if replicates > 1 else ""
    fig.suptitle(LABEL + more, fontsize=7.5, fontweight="bold", color=style.WARM, x=0.02, ha="left")


@base.figure
def fig_drivers(table: Any, outcome: str) -> Figure:
    """How much each parameter of a sweep moves an outcome, with its 95 % interval, beside chance; strongest on top.

    Parameters
    ----------
    table
        Columns ``parameter``, ``effect``, ``low``, ``high``, ``what``, ``noise_sd``.
    outcome
        Name and unit of the outcome.
    """
    rows = table.sort_values("effect")
    fig = base.new(6.6, 1.15 + 0.28 * len(rows))
    ax = fig.subplots()
    places = np.arange(len(rows))
    ax.barh(places, rows["effect"], color=style.ACCENT, height=0.55, alpha=0.55)
    ax.hlines(places, rows["low"], rows["high"], color=style.INK, linewidth=1.1)
    shares = "share" in str(rows["what"].iloc[0]) or "correlation" in str(rows["what"].iloc[0])
    if not shares and np.isfinite(noise := float(rows["noise_sd"].iloc[0])):
        ax.axvline(noise, color=style.WARM, linestyle=":", linewidth=1.2)
        ax.set_title("dotted: one standard deviation by chance alone", fontsize=7.5, loc="right")
    ax.set_yticks(places, list(rows["parameter"]))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"{rows['what'].iloc[0]}\non {outcome}")
    _label(fig, 1)
    return fig
