"""From a recording to features: survey, windows, features of every window, summary."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.progress import track
from icans.signals.eeg import artefacts, spectral
from icans.signals.eeg.asymmetry import asymmetry_features
from icans.signals.eeg.background import background_features, muscle
from icans.signals.eeg.connectivity import Coupling, coupling_features, scene_couplings
from icans.signals.eeg.delta_waves import delta_features
from icans.signals.eeg.flags import Flag
from icans.signals.eeg.periodic import periodic_features
from icans.signals.eeg.reading import Recording, open_recording
from icans.signals.eeg.rhythms import rhythm_features
from icans.signals.eeg.scene import Leads, Scene, leads
from icans.signals.eeg.seizures import seizure_features
from icans.signals.eeg.suppression import suppression_features
from icans.signals.eeg.survey import Survey, survey
from icans.signals.eeg.windows import WINDOW_S, Window, stream

Array = npt.NDArray[np.float64]

#: Families of features by name, in the order of the columns: a scene in, numbers out.
FAMILIES: dict[str, Callable[[Scene], dict[str, float]]] = {
    "spectral": lambda scene: spectral.band_features(*scene.spectra),
    "background": background_features,
    "suppression": lambda scene: suppression_features(scene.bipolar, scene.bipolar_good),
    "periodic": periodic_features,
    "rhythmic": rhythm_features,
    "seizure": seizure_features,
    "delta": delta_features,
    "asymmetry": asymmetry_features,
}
#: Below this share of usable seconds a window gives no features.
ENOUGH, MOSTLY = 0.3, 0.8
SHORT_S = 60.0
#: Share of power that heart beats must take to be told.
HEART = 0.05
SPECTROGRAM_HZ = np.arange(0.5, 30.01, 0.25)


@dataclass(frozen=True)
class EegResult:
    """What a recording gave.

    ``windows``: one row a window (start_s, stop_s, usable_share and features). ``left_out``: one row a stretch that
    no feature used. ``topography``: one row a channel, relative band powers, median over windows. ``spectrogram``: one
    row a window, one column a frequency (Hz), power density of the median channel, uV2/Hz. ``coupling``: sums over the
    whole recording, None without connectivity.
    """

    recording: Recording
    survey: Survey
    windows: pd.DataFrame
    left_out: pd.DataFrame
    topography: pd.DataFrame
    spectrogram: pd.DataFrame
    coupling: Coupling | None
    flags: tuple[Flag, ...]

    @property
    def usable(self) -> bool:
        """Whether any number was made."""
        return len(self.windows) > 0 and not any(flag.severity == "unusable" for flag in self.flags)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Codes of the flags that put the numbers in doubt."""
        return tuple(sorted({flag.code for flag in self.flags if flag.severity == "doubt"}))


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
        remedy = "A piece this short has no spectrum worth the name."
        raise DataError([Problem(recording.path, None, "length", f"{recording.seconds:.2g} s", expected, remedy)])
    first = survey(recording)
    flags = [*recording.flags, *first.flags]
    if recording.seconds < SHORT_S:
        text = f"{recording.seconds:.0f} s is short: values vary by chance, and rare patterns may be missed"
        flags.append(Flag("recording.short", "doubt", text))
    gathered = _Gathered()
    if first.names and not any(flag.severity == "unusable" for flag in flags):
        _run(recording, first, gathered, connectivity, heart)
        flags += gathered.flags()
    return EegResult(
        recording, first, pd.DataFrame(gathered.rows), pd.DataFrame(gathered.left_out),
        gathered.topography(first.names),
        gathered.spectrogram(), gathered.coupling if connectivity else None, tuple(flags),
    )  # fmt: skip


@dataclass
class _Gathered:
    """What the windows gave so far."""

    rows: list[dict[str, float]] = field(default_factory=list)
    left_out: list[artefacts.LeftOut] = field(default_factory=list)
    maps: list[Array] = field(default_factory=list)
    spectra: list[Array] = field(default_factory=list)
    muscle: list[float] = field(default_factory=list)
    coupling: Coupling | None = None

    def topography(self, names: tuple[str, ...]) -> pd.DataFrame:
        """One row a channel: relative band powers, the median over windows."""
        if not self.maps:
            return pd.DataFrame()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is never usable has no median
            middle = np.nanmedian(np.stack(self.maps), axis=0)
        return pd.DataFrame(middle, columns=list(spectral.BANDS), index=pd.Index(names, name="channel"))

    def spectrogram(self) -> pd.DataFrame:
        """One row a window (its start), one column a frequency."""
        if not self.spectra:
            return pd.DataFrame()
        starts = pd.Index([row["start_s"] for row in self.rows], name="start_s")
        return pd.DataFrame(np.stack(self.spectra), index=starts, columns=SPECTROGRAM_HZ)

    def flags(self) -> list[Flag]:
        """What the windows say about the recording."""
        flags = []
        share = float(np.mean([row["usable_share"] for row in self.rows]))
        if share < ENOUGH:
            flags.append(Flag("artefact", "unusable", f"{1 - share:.0%} of the seconds of channels are artefact"))
        elif share < MOSTLY:
            flags.append(Flag("artefact", "doubt", f"{1 - share:.0%} of the seconds of channels were left out"))
        broken = {(gone.start_s, gone.stop_s) for gone in self.left_out if gone.reason == "no number"}
        if broken:
            where = ", ".join(f"{start:.0f}-{stop:.0f} s" for start, stop in sorted(broken)[:10])
            flags.append(Flag("samples.missing", "doubt", "samples that are no numbers were left out", where))
        heart = float(np.median([row["heart_share"] for row in self.rows]))
        if heart > HEART:
            text = f"heart beats made {heart:.0%} of the power of the median channel and were removed"
            flags.append(Flag("heart", "note", text))
        rising = spectral.median(np.array(self.muscle))
        if rising > 0:
            text = "power rises from 20 to 38 Hz, as muscle does; beta, spectral edge and median frequency are too high"
            flags.append(Flag("muscle", "doubt", text))
        return flags


def _run(recording: Recording, first: Survey, gathered: _Gathered, connectivity: bool, heart: bool) -> None:
    with_leads = leads(first.names)
    total = int(np.ceil(recording.seconds / WINDOW_S))
    for window in track(stream(recording, first.names, first.scale, heart=heart), "EEG windows", total):
        good, gone = artefacts.good_seconds(window, first.names)
        scene = Scene(with_leads, window, good)
        row = window_features(scene)
        if connectivity and scene.usable_share >= ENOUGH and len(with_leads.average.names) > 1:
            coupling = scene_couplings(scene)
            row |= coupling_features(coupling)
            gathered.coupling = gathered.coupling or Coupling(coupling.frequency)
            gathered.coupling += coupling
        gathered.left_out += gone
        gathered.rows.append(row)
        frequency, density = scene.spectra
        gathered.maps.append(_map(scene.leads, frequency, density))
        gathered.spectra.append(_middle(frequency, density))
        gathered.muscle.append(muscle(frequency, density[np.isfinite(density[:, 1])]))


def window_features(scene: Scene) -> dict[str, float]:
    """Features of one window, without connectivity; none where too little of it is usable."""
    window: Window = scene.window
    row = {"start_s": window.start_s, "stop_s": window.stop_s, "usable_share": scene.usable_share,
           "heart_share": spectral.median(window.heart)}  # fmt: skip
    if scene.usable_share >= ENOUGH:
        for family in FAMILIES.values():
            row |= family(scene)
    return row


def _map(with_leads: Leads, frequency: Array, density: Array) -> Array:
    """Relative band powers, shape (channels of the recording, bands)."""
    total = spectral.band(frequency, density, *spectral.TOTAL)
    out = np.full((len(with_leads.names), len(spectral.BANDS)), np.nan)
    rows = [with_leads.names.index(name) for name in with_leads.average.names]
    with np.errstate(invalid="ignore", divide="ignore"):
        for column, edges in enumerate(spectral.BANDS.values()):
            out[rows, column] = spectral.band(frequency, density, *edges) / total
    return out


def _middle(frequency: Array, density: Array) -> Array:
    """Power density of the median channel at :data:`SPECTROGRAM_HZ`."""
    usable = density[np.isfinite(density[:, 1])]
    if not len(usable):
        return np.full(len(SPECTROGRAM_HZ), np.nan)
    return np.interp(SPECTROGRAM_HZ, frequency, np.median(usable, axis=0))
