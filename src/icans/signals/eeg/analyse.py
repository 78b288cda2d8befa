"""From a recording to features: survey, windows, features of every window, summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.progress import track
from icans.signals.eeg import artefacts, spectral
from icans.signals.eeg.flags import Flag
from icans.signals.eeg.reading import Recording, open_recording
from icans.signals.eeg.scene import Leads, Scene, leads
from icans.signals.eeg.suppression import suppression_features
from icans.signals.eeg.survey import Survey, survey
from icans.signals.eeg.windows import WINDOW_S, Window, stream

#: Families of features by name, in the order of the columns: a scene in, numbers out.
FAMILIES: dict[str, Callable[[Scene], dict[str, float]]] = {
    "spectral": lambda scene: spectral.band_features(*scene.spectra),
    "suppression": lambda scene: suppression_features(scene.bipolar, scene.bipolar_good),
}
#: Below this share of usable seconds a window gives no features.
ENOUGH = 0.3
SHORT_S = 60.0


@dataclass(frozen=True)
class EegResult:
    """What a recording gave.

    ``windows``: one row a window (start_s, stop_s, usable_share and features). ``left_out``: one row a stretch that
    no feature used. ``topography``: one row a channel, relative band powers, median over windows.
    """

    recording: Recording
    survey: Survey
    windows: pd.DataFrame
    left_out: pd.DataFrame
    topography: pd.DataFrame
    flags: tuple[Flag, ...]

    @property
    def usable(self) -> bool:
        """Whether any number was made."""
        return len(self.windows) > 0 and not any(flag.severity == "unusable" for flag in self.flags)


def analyse(source: str | Path | Recording, *, connectivity: bool = True, heart: bool = True) -> EegResult:
    """Features of a recording, window by window, within a memory bound.

    Parameters
    ----------
    source
        A file, or an open recording.
    connectivity
        Also phase coupling of every pair of channels, which takes most of the time.
    heart
        Remove heart beats where the file has an ECG.

    Raises
    ------
    DataError
        The file cannot be read, or is too short for a single feature (4 s).
    """
    recording = source if isinstance(source, Recording) else open_recording(source)
    if recording.seconds < spectral.SEGMENT_S:
        expected = f"at least {spectral.SEGMENT_S:g} s of EEG"
        raise DataError([Problem(recording.path, None, "length", f"{recording.seconds:.2g} s", expected, "")])
    first = survey(recording)
    flags = [*recording.flags, *first.flags]
    if recording.seconds < SHORT_S:
        text = f"{recording.seconds:.0f} s is short: values vary by chance, and rare patterns may be missed"
        flags.append(Flag("recording.short", "doubt", text))
    if not first.names or any(flag.severity == "unusable" for flag in flags):
        empty = pd.DataFrame()
        return EegResult(recording, first, empty, empty, empty, tuple(flags))
    rows, left_out, maps = _run(recording, first, leads(first.names), connectivity, heart)
    windows = pd.DataFrame(rows)
    flags += _flags_of(windows)
    topography = _topography(first.names, maps)
    return EegResult(recording, first, windows, pd.DataFrame(left_out), topography, tuple(flags))


def _run(
    recording: Recording, first: Survey, with_leads: Leads, connectivity: bool, heart: bool
) -> tuple[list[dict[str, float]], list[artefacts.LeftOut], list[np.ndarray]]:
    rows, left_out, maps = [], [], []
    total = int(np.ceil(recording.seconds / WINDOW_S))
    for window in track(stream(recording, first.names, first.scale, heart=heart), "EEG windows", total):
        good, gone = artefacts.good_seconds(window, first.names)
        left_out += gone
        scene = Scene(with_leads, window, good)
        rows.append(window_features(scene))
        maps.append(_map(scene))
    return rows, left_out, maps


def window_features(scene: Scene) -> dict[str, float]:
    """Features of one window; all NaN where too little of it is usable."""
    window: Window = scene.window
    row = {"start_s": window.start_s, "stop_s": window.stop_s, "usable_share": scene.usable_share,
           "heart_share": spectral.median(window.heart)}  # fmt: skip
    for family in FAMILIES.values():
        values = family(scene)
        row |= values if scene.usable_share >= ENOUGH else dict.fromkeys(values, float("nan"))
    return row


def _map(scene: Scene) -> np.ndarray:
    """Relative band powers, shape (channels, bands)."""
    frequency, density = scene.spectra
    total = spectral.band(frequency, density, *spectral.TOTAL)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([spectral.band(frequency, density, *edges) / total for edges in spectral.BANDS.values()], 1)


def _topography(names: tuple[str, ...], maps: list[np.ndarray]) -> pd.DataFrame:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is never usable has no median
        middle = np.nanmedian(np.stack(maps), axis=0)
    return pd.DataFrame(middle, columns=list(spectral.BANDS)).assign(channel=list(names))


def _flags_of(windows: pd.DataFrame) -> list[Flag]:
    flags = []
    share = float(windows["usable_share"].mean())
    if share < 0.8:
        flags.append(Flag("artefact", "doubt", f"{1 - share:.0%} of the seconds of channels were left out"))
    heart = float(windows["heart_share"].median())
    if heart > 0.05:
        flags.append(Flag("heart", "note", f"heart beats made {heart:.0%} of the power and were removed"))
    return flags
