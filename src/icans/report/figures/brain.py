"""A schematic brain: one stylised section that shows every region of the model. Drawn, not traced.

The shapes are a drawing aid (a parasagittal section, frontal pole to the left, that shows deep nuclei lying in
different planes side by side); areas are not to scale. Coordinates run from 0 to 10 across and 0 to 8 up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

Curve = npt.NDArray[np.float64]

#: Names for people, in the order of the key.
REGION_LABELS: dict[str, str] = {
    "cortex": "Cortex",
    "white_matter": "White matter",
    "basal_ganglia": "Basal ganglia",
    "thalamus": "Thalamus",
    "hippocampus": "Hippocampus",
    "brainstem": "Brainstem",
    "cerebellum": "Cerebellum",
}

#: Where the leader line of a label ends (in the region) and where the words stand: x, y, x of text, y of text, side.
LEADERS: dict[str, tuple[float, float, float, float, str]] = {
    "cortex": (1.62, 6.32, -0.3, 7.3, "right"),
    "white_matter": (1.85, 4.9, -0.3, 5.6, "right"),
    "hippocampus": (3.7, 2.6, -0.3, 2.2, "right"),
    "basal_ganglia": (3.6, 4.55, -0.3, 3.9, "right"),
    "thalamus": (5.55, 4.3, 10.2, 5.9, "left"),
    "cerebellum": (8.3, 2.1, 10.2, 3.1, "left"),
    "brainstem": (6.0, 1.2, 10.2, 0.9, "left"),
}

_CEREBRUM = (
    (0.62, 4.25), (0.92, 5.55), (1.95, 6.75), (3.55, 7.5), (5.35, 7.65), (7.15, 7.15), (8.65, 6.05), (9.38, 4.75),
    (9.1, 3.75), (8.1, 3.35), (6.9, 3.35), (5.95, 2.95), (5.1, 2.1), (3.9, 1.5), (2.7, 1.6), (2.2, 2.3),
    (2.15, 3.0), (1.35, 3.25),
)  # fmt: skip
_WHITE = (
    (1.25, 4.2), (1.5, 5.3), (2.35, 6.2), (3.75, 6.85), (5.35, 7.0), (6.95, 6.55), (8.15, 5.65), (8.75, 4.75),
    (8.45, 4.2), (7.6, 3.95), (6.6, 3.9), (5.7, 3.5), (4.95, 2.7), (3.95, 2.1), (3.05, 2.1), (2.75, 2.55),
    (2.75, 3.35), (1.9, 3.75),
)  # fmt: skip
_BRAINSTEM = (
    (5.05, 3.6), (5.9, 3.72), (6.35, 3.25), (6.45, 2.5), (6.6, 1.6), (6.75, 0.8), (6.85, 0.05), (6.25, 0.0),
    (6.05, 0.75), (5.75, 1.15), (5.35, 1.45), (5.1, 2.0), (5.3, 2.6), (5.15, 3.1),
)  # fmt: skip
_CEREBELLUM = (
    (6.62, 2.75), (7.4, 3.2), (8.5, 3.1), (9.15, 2.45), (9.0, 1.55), (8.2, 0.95), (7.3, 1.0), (6.75, 1.55),
)  # fmt: skip
_THALAMUS = ((4.75, 4.2), (5.1, 4.65), (5.75, 4.72), (6.25, 4.4), (6.1, 3.95), (5.4, 3.78), (4.9, 3.85))
_STRIATUM = ((3.0, 4.45), (3.35, 5.0), (4.05, 5.15), (4.6, 4.8), (4.5, 4.3), (3.95, 4.05), (3.3, 4.1))
_HIPPOCAMPUS = (
    (3.08, 2.5), (3.35, 2.88), (3.95, 2.95), (4.75, 3.2), (5.15, 3.45), (5.32, 3.25), (4.9, 2.92), (4.2, 2.55),
    (3.5, 2.28),
)  # fmt: skip
_VENTRICLE = (
    (3.15, 5.35), (3.9, 5.62), (5.0, 5.62), (6.1, 5.3), (6.95, 4.6), (6.75, 4.5), (6.0, 5.02), (5.0, 5.32),
    (3.95, 5.36),
)  # fmt: skip

#: Regions from back to front.
_ORDER = ("brainstem", "cerebellum", "cortex", "white_matter", "basal_ganglia", "thalamus", "hippocampus")


def spline(points: tuple[tuple[float, float], ...], per_segment: int = 24) -> Curve:
    """A closed, smooth curve through points (centripetal Catmull-Rom), shape (n, 2)."""
    knots = np.array(points)
    pieces = []
    for i in range(len(knots)):
        p = np.array([knots[(i + k) % len(knots)] for k in (-1, 0, 1, 2)])
        t = np.concatenate([[0.0], np.cumsum(np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1)))])
        s = np.linspace(t[1], t[2], per_segment, endpoint=False)[:, None]
        a = [((t[k + 1] - s) * p[k] + (s - t[k]) * p[k + 1]) / (t[k + 1] - t[k]) for k in range(3)]
        b = [((t[k + 2] - s) * a[k] + (s - t[k]) * a[k + 1]) / (t[k + 2] - t[k]) for k in range(2)]
        pieces.append(((t[2] - s) * b[0] + (s - t[1]) * b[1]) / (t[2] - t[1]))
    return np.concatenate(pieces)


def even(curve: Curve, count: int) -> Curve:
    """The same closed curve with points at even distances."""
    closed = np.vstack([curve, curve[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    where = np.linspace(0, length[-1], count, endpoint=False)
    return np.column_stack([np.interp(where, length, closed[:, k]) for k in (0, 1)])


def folded(curve: Curve, folds: int, depth: float, inset: float = 0.0, sharp: float = 3.0) -> Curve:
    """A closed curve (counted clockwise) moved inwards by ``inset``, with ``folds`` notches of ``depth``.

    The distance between notches wanders a little, as gyri do.
    """
    points = even(curve, 1200)
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    inward = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    place = np.arange(len(points)) / len(points)
    phase = folds * place + 0.32 * np.sin(2 * np.pi * 3 * place + 0.7) + 0.2 * np.sin(2 * np.pi * 7 * place)
    notch = (1 - np.abs(np.sin(np.pi * phase))) ** sharp * (0.75 + 0.35 * np.sin(2 * np.pi * 5 * place + 1.0))
    moved = inset + depth * notch
    width = 9
    smooth = np.convolve(np.concatenate([moved[-width:], moved, moved[:width]]), np.ones(width) / width, "same")
    return np.asarray((points + inward * smooth[width:-width, None])[::3])


@cache
def shapes() -> Mapping[str, Curve]:
    """Outline of every region (and of the ventricle), shape (n, 2) each."""
    return {
        "cortex": folded(spline(_CEREBRUM), 21, 0.34, sharp=4.0),
        "white_matter": folded(spline(_WHITE), 21, 0.3, sharp=2.0),
        "basal_ganglia": spline(_STRIATUM),
        "thalamus": spline(_THALAMUS),
        "hippocampus": spline(_HIPPOCAMPUS),
        "brainstem": spline(_BRAINSTEM),
        "cerebellum": folded(spline(_CEREBELLUM), 15, 0.10),
        "ventricle": spline(_VENTRICLE),
    }


def draw(
    ax: Axes, values: Mapping[str, float], cmap: Colormap, norm: Normalize, *, line: float = 0.6, scale: bool = False
) -> None:
    """The section with each region in the colour of its value; a region without a value is hatched.

    Parameters
    ----------
    values
        By region name.
    line
        Width of the outlines, points.
    scale
        Whether there is room left and right for labels.
    """
    from matplotlib.patches import Polygon

    for name in _ORDER:
        value = values.get(name, float("nan"))
        known = value == value
        look: dict[str, Any] = {"facecolor": cmap(norm(value))} if known else {"facecolor": "#eceff1", "hatch": "////"}
        ax.add_artist(Polygon(shapes()[name], closed=True, edgecolor=_LINE, linewidth=line, joinstyle="round", **look))
    for start, end in _FOLIA:
        ax.plot(*zip(start, end), color=_LINE, lw=0.5 * line, alpha=0.55, solid_capstyle="round")
    ax.add_artist(
        Polygon(shapes()["ventricle"], closed=True, facecolor="#dfe9f1", edgecolor="#8fa1b1", linewidth=0.5 * line)
    )
    ax.set_xlim((-3.6, 13.4) if scale else (0.3, 9.7))
    ax.set_ylim(-0.25, 8.0)
    ax.set_aspect("equal")
    ax.set_axis_off()


_LINE = "#4d5864"

#: Lines that make the cerebellum look like one.
_FOLIA = (
    ((6.8, 2.05), (8.95, 2.35)), ((6.85, 1.85), (8.95, 1.85)), ((6.95, 2.45), (8.5, 2.92)), ((7.0, 1.55), (8.6, 1.35)),
)  # fmt: skip


def label(ax: Axes, size: float = 8.5) -> None:
    """Names of the regions with leader lines."""
    for name, (x, y, tx, ty, side) in LEADERS.items():
        ax.annotate(
            REGION_LABELS[name], (x, y), (tx, ty), ha=side, va="center", fontsize=size, color=style.INK,
            arrowprops={"arrowstyle": "-", "color": style.SOFT, "lw": 0.7, "shrinkA": 2, "shrinkB": 0},
        )  # fmt: skip
        ax.plot([x], [y], marker="o", ms=2.4, color=style.INK, mec=style.PAPER, mew=0.4)
