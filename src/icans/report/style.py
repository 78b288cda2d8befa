"""Colours and type of the report, in one place: figures and style sheet both read them.

Colours were chosen so that they stay apart for readers with colour vision deficiencies: the qualitative set is
that of Okabe and Ito (2008, "Color Universal Design"), sequential colours follow matplotlib's ``cividis`` and
``magma`` families (perceptually uniform), and the diverging map is symmetrical in lightness (a test holds it).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.typing import RcKeyType

INK = "#1c2733"
SOFT = "#566270"
FAINT = "#d5dbe1"
PAPER = "#ffffff"
PANEL = "#f5f7f9"
ACCENT = "#0b5a7d"
WARM = "#a8480b"
NOT_GRADED = "#ffffff"

#: Okabe and Ito 2008, without the yellow (too faint for lines on white) and with ink for black.
QUALITATIVE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", INK)

#: Dash patterns and markers, so that models stay apart without colour.
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 2)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X")

#: Toxicity grades 0 to 5: from pale to dark with even steps of lightness.
GRADES = ("#e4ebd8", "#fbc873", "#f79a5b", "#dc5b5c", "#992d6b", "#3b0f51")

#: Verdicts, as (background, text) of a chip; the word is always printed, colour only helps.
CHIPS: dict[str, tuple[str, str]] = {
    "good": ("#dff0e6", "#0f5132"),
    "caution": ("#fdf0d0", "#6b4700"),
    "bad": ("#fbe0dc", "#86200f"),
    "neutral": ("#e8edf2", "#37434f"),
}

_DIVERGING = ("#123f6d", "#2f74ad", "#84b1d6", "#cfdeeb", "#f5f4f2", "#f0d8c4", "#dca273", "#b4622a", "#6e3206")

_BARRIER = ("#3b0f51", "#7d2a70", "#c04d63", "#ea8a5e", "#f6cf9d", "#f3efe6")

#: Settings of every figure. Text stays text (it can be searched, and takes the page's font); sizes in points.
RC: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#8b96a1",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "icans",
}


def colour(index: int) -> str:
    """Colour of the model at a place of the ladder."""
    return QUALITATIVE[index % len(QUALITATIVE)]


def grade_colour(grade: float) -> str:
    """Colour of a grade; half grades take the colour of the grade above."""
    if grade != grade:
        return NOT_GRADED
    return GRADES[min(5, max(0, int(-(-grade // 1))))]


def readable_on(background: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with an RGB background (components 0 to 1): always 4.5 or more."""
    light = luminance(background)
    return PAPER if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000000"


def luminance(rgb: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@cache
def diverging() -> Colormap:
    """Blue below, white at zero, brown above; grey where there is no value."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("icans_diverging", _DIVERGING).with_extremes(bad=PAPER)


@cache
def barrier() -> Colormap:
    """Integrity of a barrier: pale where intact, through orange to dark violet where open; lightness rises evenly."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("icans_barrier", _BARRIER).with_extremes(bad="#eceff1")


@cache
def sequential() -> Colormap:
    """White to dark blue, for shares: white is nothing."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ("#f7f9fb", "#d3e2ef", "#9dc0dd", "#5c96c4", "#2a6ba3", "#123f6d")
    return LinearSegmentedColormap.from_list("icans_sequential", stops).with_extremes(bad="#eceff1")
