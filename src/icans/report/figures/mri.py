"""Figures of an MRI: slices with lesions and regions marked, and the burden of every region with its range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.figures import base
from icans.signals.mri.atlas import regions
from icans.signals.mri.measure import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Slices shown, and the share of the brain's height between the first and the last.
SLICES = 6
SPAN = (0.18, 0.82)
#: Regions whose outlines are drawn; cortex and white matter fill the rest.
OUTLINED = (
    "thalamus",
    "basal_ganglia",
    "hippocampus",
    "brainstem",
    "cerebellum",
    "external_capsule_insula",
    "splenium",
)


@base.figure
def fig_slices(measured: Measured) -> Figure:
    """Axial slices as a radiologist sees them (the patient's right on the left), lesions filled, regions outlined.

    The slices with most lesion are among them; the others are spread over the brain.
    """
    image, found = measured.home.image, measured.home.found
    lesions = np.zeros(image.data.shape, bool) if measured.lesions is None else measured.lesions.mask
    fig = base.new(8.6, 2.4)
    axes = fig.subplots(1, SLICES)
    box = _box(found.brain)
    top = float(np.percentile(image.data[found.brain], 99.5))
    for ax, k in zip(axes, _chosen(found.brain, lesions), strict=True):
        _slice(ax, image.data[box[0], box[1], k], found.labels[box[0], box[1], k], lesions[box[0], box[1], k], top,
               image.spacing[1] / image.spacing[0])  # fmt: skip
        height = (measured.home.to_mni @ image.affine @ _middle(box, k))[2]
        ax.set_title(f"z {height:+.0f} mm".replace("-", "−"), fontsize=7.5, fontweight="normal")
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    codes = {r.name: r.label for r in regions()}
    handles: list[Line2D | Patch] = [Line2D([], [], color=_colour(n), label=codes[n], linewidth=1.2) for n in OUTLINED]
    handles.append(Patch(color=style.WARM, label="Lesion"))
    fig.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7)
    return fig


@base.figure
def fig_burden(table: pd.DataFrame) -> Figure:
    """Volume of bright tissue in every region, with the range over thresholds and borders as a line.

    Parameters
    ----------
    table
        The region table with ``flair_ml`` and its bounds.
    """
    labels = {r.name: r.label for r in regions()}
    rows = table[table["region"].isin(list(labels))]
    fig = base.new(6.4, 2.9)
    ax = fig.subplots()
    places = np.arange(len(rows))
    ax.barh(places, rows["flair_ml"], color=style.ACCENT, height=0.55)
    ax.hlines(places, rows["flair_ml_low"], rows["flair_ml_high"], color=style.INK, linewidth=1.1)
    ax.set_yticks(places, [labels[name] for name in rows["region"]])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, max(1.0, 1.05 * float(rows["flair_ml_high"].max())))
    ax.set_xlabel("bright tissue on FLAIR, mL")
    return fig


def _slice(ax: Axes, data: np.ndarray, labels: np.ndarray, lesions: np.ndarray, top: float, aspect: float) -> None:
    # Right of the patient on the left of the picture: the first axis runs to the right and is turned.
    def seen(plane: np.ndarray) -> np.ndarray:
        return np.asarray(plane[::-1].T)

    ax.imshow(seen(data), cmap="gray", origin="lower", vmin=0, vmax=top, aspect=aspect, interpolation="nearest")
    codes = {r.name: r.code for r in regions()}
    for name in OUTLINED:
        plane = seen(labels == codes[name])
        if plane.any():
            ax.contour(plane, [0.5], colors=[_colour(name)], linewidths=0.7)
    if lesions.any():
        shown = np.ma.masked_equal(seen(lesions), False)
        ax.imshow(shown, cmap=_one_colour(), origin="lower", alpha=0.8, aspect=aspect, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    base.bare(ax)


def _one_colour() -> Colormap:
    from matplotlib.colors import ListedColormap

    return ListedColormap([style.WARM])


def _colour(name: str) -> str:
    return style.QUALITATIVE[OUTLINED.index(name) % 6] if name != "splenium" else "#f0e442"


def _box(brain: np.ndarray) -> tuple[slice, slice]:
    where = np.argwhere(brain.any(axis=2))
    low, high = np.maximum(where.min(axis=0) - 2, 0), where.max(axis=0) + 3
    return slice(low[0], high[0]), slice(low[1], high[1])


def _chosen(brain: np.ndarray, lesions: np.ndarray) -> list[int]:
    """Slices spread over the brain, the nearest of them moved to where most lesion is."""
    heights = np.flatnonzero(brain.any(axis=(0, 1)))
    first, last = heights[0], heights[-1]
    spread = np.round(first + np.linspace(*SPAN, SLICES) * (last - first)).astype(int)
    load = lesions.sum(axis=(0, 1))
    for part in np.array_split(np.arange(first, last + 1), SLICES):
        if load[part].max(initial=0) > 0:
            best = int(part[np.argmax(load[part])])
            spread[np.argmin(np.abs(spread - best))] = best
    return [int(k) for k in np.sort(spread)]


def _middle(box: tuple[slice, slice], k: int) -> np.ndarray:
    return np.array([(box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2, k, 1.0])
