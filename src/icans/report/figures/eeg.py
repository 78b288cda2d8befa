"""Figures of an EEG: heads with the share of each band, spectrogram with patterns marked, one page of traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.figures import base
from icans.signals.eeg.montage import positions
from icans.signals.eeg.prepare import RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from icans.signals.eeg.scene import Scene

BANDS = {"delta": "delta 0.5–4 Hz", "theta": "theta 4–8 Hz", "alpha": "alpha 8–13 Hz", "beta": "beta 13–30 Hz"}
#: Findings as they are called in figures and tables.
FINDINGS = {
    "diffuse_theta": "Diffuse theta", "diffuse_delta": "Diffuse delta", "grda": "GRDA", "lrda": "LRDA", "lpd": "LPD",
    "gpd": "GPD", "moderately_low_voltage": "Low voltage, moderate", "extreme_low_voltage": "Low voltage, extreme",
    "intermittent_brief_attenuation": "Brief attenuations", "burst_suppression": "Burst suppression",
    "ncse": "Seizure suspected",
}  # fmt: skip
_GRID = 72
#: Windows below which a spectrogram shows nothing that a table does not.
LEAST_WINDOWS = 4


@base.figure
def fig_topography(topography: pd.DataFrame) -> Figure:
    """Heads seen from above, nose up: share of the power from 0.5 to 30 Hz in each band.

    Parameters
    ----------
    topography
        One row a channel (index), one column a band; from :class:`icans.signals.eeg.analyse.EegResult`.
    """
    known = positions()
    placed = topography[[name in known for name in topography.index]].dropna()
    if len(placed) < 6:
        fig = base.new(7, 1.2)
        base.note(fig, "Too few electrodes for a map.")
        return fig
    spots = np.array([_flat(known[name]) for name in placed.index])
    fig = base.new(8.4, 2.7)
    axes = fig.subplots(1, len(BANDS))
    for ax, (band, label) in zip(axes, BANDS.items(), strict=True):
        image = _draw_head(ax, spots, placed[band].to_numpy(dtype=float))
        ax.set_title(label)
    fig.colorbar(image, ax=axes, shrink=0.75, label="share of power")
    base.percent_ticks(fig.axes[-1].yaxis)
    return fig


def _flat(place: tuple[float, float, float]) -> tuple[float, float]:
    """Azimuthal equidistant projection; the equator of the head is the unit circle."""
    x, y, z = place
    angle = np.arccos(np.clip(z, -1, 1)) / (np.pi / 2)
    across = max(float(np.hypot(x, y)), 1e-9)
    return x / across * angle, y / across * angle


def _draw_head(ax: Axes, spots: np.ndarray, values: np.ndarray) -> Any:
    from scipy.interpolate import RBFInterpolator

    reach = max(1.0, float(np.hypot(*spots.T).max()))
    line = np.linspace(-reach, reach, _GRID)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    spline = RBFInterpolator(spots, values, kernel="thin_plate_spline", smoothing=1e-3)
    field = np.clip(spline(grid), 0, 1).reshape(_GRID, _GRID)
    field[np.hypot(*grid.T).reshape(_GRID, _GRID) > reach] = np.nan
    image = ax.imshow(field, origin="lower", extent=(-reach, reach, -reach, reach), vmin=0, vmax=1,
                      cmap=style.sequential().with_extremes(bad=style.PAPER), interpolation="bilinear")  # fmt: skip
    turn = np.linspace(0, 2 * np.pi, 120)
    ax.plot(reach * np.sin(turn), reach * np.cos(turn), color=style.INK, linewidth=1)
    ax.plot([-0.12 * reach, 0, 0.12 * reach], [0.99 * reach, 1.12 * reach, 0.99 * reach], color=style.INK, linewidth=1)
    ax.plot(*spots.T, "o", markersize=1.8, color=style.INK)
    ax.set(xlim=(-1.15 * reach, 1.15 * reach), ylim=(-1.1 * reach, 1.2 * reach), aspect="equal")
    ax.set_xticks([])
    ax.set_yticks([])
    base.bare(ax)
    return image


@base.figure
def fig_spectrogram(spectrogram: pd.DataFrame, findings: pd.DataFrame, window_s: float) -> Figure:
    """Power by time and frequency, and beneath it when each finding was there.

    Parameters
    ----------
    spectrogram
        One row a window (index: start in seconds), one column a frequency in Hz, power density in uV2/Hz.
    findings
        One row a window, one column a finding: 1 there, 0 not, NaN unknown.
    window_s
        Length of a window, seconds.
    """
    if len(spectrogram) < LEAST_WINDOWS:
        fig = base.new(7, 1.2)
        base.note(fig, f"The recording is shorter than {LEAST_WINDOWS} windows: there is no course to show.")
        return fig
    shown = [name for name in FINDINGS if name in findings and findings[name].sum() > 0]
    fig = base.new(8.4, 3.0 + 0.2 * max(len(shown), 1))
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=[2.6, 0.35 + 0.2 * max(len(shown), 1)])
    unit, divisor = ("h", 3600.0) if spectrogram.index.max() > 7200 else ("min", 60.0)
    edges = np.append(spectrogram.index.to_numpy(), spectrogram.index.max() + window_s) / divisor
    hertz = spectrogram.columns.to_numpy(dtype=float)
    step = hertz[1] - hertz[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10 * np.log10(spectrogram.to_numpy(dtype=float).T)
    low, high = np.nanpercentile(power[np.isfinite(power)], [2, 99.5])
    mesh = above.pcolormesh(edges, np.append(hertz - step / 2, hertz[-1] + step / 2), power, cmap="magma", vmin=low,
                            vmax=high, rasterized=True)  # fmt: skip
    above.set(ylabel="frequency, Hz", ylim=(0.5, 30))
    fig.colorbar(mesh, ax=[above, below], label="power, dB (1 µV²/Hz)", shrink=0.8)
    _mark(below, findings, shown, edges)
    below.set(xlabel=f"time from the start, {unit}")
    return fig


def _mark(ax: Axes, findings: pd.DataFrame, shown: list[str], edges: np.ndarray) -> None:
    if not shown:
        ax.set_yticks([])
        ax.text(0.01, 0.5, "no finding in any window", transform=ax.transAxes, va="center", color=style.SOFT)
        return
    for row, name in enumerate(shown):
        there = findings[name].to_numpy(dtype=float) == 1
        spans = [(a, b - a) for a, b, on in zip(edges[:-1], edges[1:], there, strict=True) if on]
        ax.broken_barh(spans, (row - 0.38, 0.76), color=style.WARM, linewidth=0)
    ax.set_yticks(range(len(shown)), [FINDINGS[name] for name in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.grid(axis="y")


@base.figure
def fig_traces(scene: Scene, marks_s: np.ndarray, spacing_uv: float | None = None) -> Figure:
    """One window in the longitudinal bipolar montage, as a reader sees it; discharges marked, artefact in grey.

    Parameters
    ----------
    marks_s
        Seconds (in the window) to mark with a thin line.
    spacing_uv
        Microvolts between two lines; by default four times the median amplitude, at least 30.
    """
    data, good, names = scene.bipolar, scene.bipolar_good, scene.leads.bipolar.names
    if spacing_uv is None:
        spacing_uv = max(30.0, float(np.ceil(4 * np.median(data.std(axis=1)) / 10) * 10))
    fig = base.new(8.4, 1.0 + 0.24 * len(names))
    ax = fig.subplots()
    time = scene.window.start_s + np.arange(data.shape[1]) / RATE
    for mark in marks_s:
        ax.axvline(scene.window.start_s + mark, color=style.ACCENT, linewidth=0.5, alpha=0.6, zorder=0)
    bad = ~good[:, np.minimum(np.arange(data.shape[1]) // RATE, good.shape[1] - 1)]
    for row, line in enumerate(data):
        drawn = -row + np.clip(line / spacing_uv, -1.6, 1.6)
        ax.plot(time, np.where(bad[row], np.nan, drawn), color=style.INK, linewidth=0.45)
        if bad[row].any():
            ax.plot(time, np.where(bad[row], drawn, np.nan), color=style.FAINT, linewidth=0.45)
    ax.set_yticks(-np.arange(len(names)), list(names), fontsize=6.5)
    ax.set(xlabel="seconds from the start", xlim=(time[0], time[-1]), ylim=(-len(names) + 0.2, 1.2))
    ax.grid(axis="x")
    ax.set_title(f"{spacing_uv:.0f} µV from line to line; {0.5:g}–40 Hz")
    return fig
