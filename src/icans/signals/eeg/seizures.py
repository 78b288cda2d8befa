"""Suspicion of an electrographic seizure: rhythmic waves above 2.5 Hz, larger than the background, that evolve.

Criteria of the American Clinical Neurophysiology Society (Hirsch et al. 2021, doi:10.1097/WNP.0000000000000806;
recalled): discharges above 2.5 Hz for at least ten seconds, or any pattern with definite evolution. A number to sort
recordings for a reader by, not a diagnosis.
"""

from __future__ import annotations

import numpy as np

from icans.signals.eeg import filters
from icans.signals.eeg.rhythms import regularity
from icans.signals.eeg.scene import Scene

BAND = (2.5, 12.0)
RHYTHM = (2.5, 8.0)
PIECE_S = 4.0
#: Waves below this peak-to-peak amplitude are not counted (a posterior alpha rhythm of usual size stays out).
LEAST_UV = 40.0
#: Derivations that make a focus.
FOCUS = 4
SUSPECT = 0.4


def seizure_features(scene: Scene) -> dict[str, float]:
    """Suspicion of one window.

    Returns
    -------
    dict
        ``seizure_index``: regularity (0 to 1) at 2.5 to 8 Hz in the four derivations where it is highest, among waves
        of at least 40 uV, mean over pieces of 4 s. ``seizure_share``: share of pieces with 0.4 or more.
        ``seizure_evolution``: change of frequency of those derivations from first to last third, octaves.
    """
    names = ("seizure_index", "seizure_share", "seizure_evolution")
    rows = scene.bipolar_good.mean(axis=1) >= 0.5
    if not rows.any():
        return dict.fromkeys(names, float("nan"))
    waves = filters.pieces(filters.band_pass(scene.bipolar[rows], *BAND), PIECE_S)
    height, frequency = regularity(waves, *RHYTHM)
    large = waves.max(axis=2) - waves.min(axis=2) >= LEAST_UV
    strength = np.where(large, height, 0.0)
    count = min(FOCUS, strength.shape[1])
    order = np.argsort(strength, axis=1)[:, -count:]
    focus = np.take_along_axis(strength, order, axis=1).mean(axis=1)
    at = np.nanmedian(np.take_along_axis(np.nan_to_num(frequency, nan=RHYTHM[0]), order, axis=1), axis=1)
    third = max(1, len(at) // 3)
    change = abs(float(np.log2(np.median(at[-third:]) / np.median(at[:third])))) if len(at) >= 3 else float("nan")
    share = float((focus >= SUSPECT).mean())
    return {
        "seizure_index": float(focus.mean()),
        "seizure_share": share,
        "seizure_evolution": change if share > 0 else 0.0,
    }
