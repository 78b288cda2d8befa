"""One patient with and without a therapy: courses with bands, differences, and how late it still matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.intervene.whatif.pairs import WhatIf, bands
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Panels of the courses: output, heading, logarithmic scale, analyte whose results are drawn in.
PANELS = (
    ("encephalopathy", "ICANS, latent severity", False, ""), ("crs_severity", "CRS, latent severity", False, ""),
    ("car_blood", "CAR T cells in blood, /µL", True, "car_t_count"), ("TUM", "Tumour burden, relative", True, ""),
    ("BCELL", "Normal cells, antigen +", True, ""), ("ANC", "Neutrophils, ×10⁹/L", False, "anc"),
    ("IL6", "Interleukin 6, pg/mL", True, "il_6"), ("FERRITIN", "Ferritin, ng/mL", True, "ferritin"),
)  # fmt: skip
ARMS = (("without", style.colour(0)), ("with", style.colour(1)))
LEAST = 1e-4


@base.figure
def fig_courses(found: WhatIf) -> Figure:
    """Median and 90 % band of every quantity with and without; dots: the patient's results known by the landmark."""
    fig = base.new(8.4, 4.6)
    axes = fig.subplots(2, 4, sharex=True)
    days = found.without.times_h / 24.0
    for ax, (name, title, log, analyte) in zip(axes.flat, PANELS, strict=True):
        for arm, colour in ARMS:
            low, middle, high = bands(found.without if arm == "without" else found.with_, name)
            low, middle, high = (np.maximum(v, LEAST) if log else v for v in (low, middle, high))
            ax.fill_between(days, low, high, color=colour, alpha=0.15, lw=0)
            ax.plot(days, middle, color=colour, lw=1.4, ls="-" if arm == "without" else (0, (4, 2)), label=arm)
        seen = found.draws.seen
        mine = seen[(seen["analyte"] == analyte) & seen["value"].notna()]
        if len(mine):
            ax.plot(mine["time_h"] / 24.0, mine["value"], "o", ms=2.5, color=style.INK)
        ax.axvline(found.draws.landmark_h / 24.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)))
        ax.set_title(title, fontsize=8)
        if log:
            ax.set_yscale("log")
            base.plain_log_ticks(ax.yaxis)
        ax.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7, title="therapy", title_fontsize=7)
    fig.supxlabel("Days since the infusion (dashed line: what was known ends here)", fontsize=8.5, color=style.SOFT)
    return fig


@base.figure
def fig_effects(effects: pd.DataFrame) -> Figure:
    """Differences in units of the spread of their draws, so that they share an axis; numbers stand beside them."""
    fig = base.new(7.4, 0.27 * len(effects) + 0.6)
    ax = fig.subplots()
    for y, row in enumerate(effects.itertuples(index=False)):
        scale = max(abs(row.q05), abs(row.q95), abs(row.low), abs(row.high), 1e-12)
        ax.plot([row.q05 / scale, row.q95 / scale], [y, y], color=style.FAINT, lw=5, solid_capstyle="butt")
        ax.plot([row.low / scale, row.high / scale], [y, y], color=style.colour(1), lw=2, solid_capstyle="butt")
        ax.plot([row.difference / scale], [y], "o", ms=5, color=style.colour(1), mec=style.PAPER)
        text = f"{row.difference:+.3g} ({row.low:+.3g} to {row.high:+.3g})"
        ax.annotate(text, (1.08, y), fontsize=7, va="center", annotation_clip=False)
    ax.axvline(0.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)))
    ax.set_xlim(-1.05, 1.05)
    ax.set_yticks(range(len(effects)), effects["label"], fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set_xticks([0.0], ["no difference"])
    ax.invert_yaxis()
    return fig


@base.figure
def fig_window(window: pd.DataFrame) -> Figure:
    """What the therapy changes by when it begins; a panel an outcome."""
    titles = {"icans_3": "P(ICANS grade 3+)", "days_icans_ge2": "Days with ICANS grade 2+", "icu_days": "ICU days"}
    fig = base.new(7.4, 2.3)
    axes = fig.subplots(1, len(titles))
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        mine = window[window["outcome"] == name].sort_values("after_h")
        ax.fill_between(mine["after_h"], mine["low"], mine["high"], color=style.colour(0), alpha=0.18, lw=0)
        ax.plot(mine["after_h"], mine["difference"], "o-", ms=3.5, color=style.colour(0))
        ax.axhline(0.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)))
        ax.set_title(title, fontsize=8.5)
        ax.grid(axis="y")
    axes[0].set_ylabel("Difference")
    fig.supxlabel("Start, hours after what was known ends", fontsize=8.5, color=style.SOFT)
    return fig
