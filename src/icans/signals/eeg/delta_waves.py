"""Polymorphic delta activity in one channel, after the bedside score of ICANS on Fp2-Pz.

The published score (Blood Immunology and Cellular Therapy 2025, doi:10.1016/j.bict.2025.100006; abstract read) is
given by a reader, from 1 to 5, and reached an AUROC of 0.83 with a median lead of 68 h. Its rules were not to be had:
what is counted here is the share of time with irregular waves of 1 to 4 Hz of at least 50 uV, put into the five
classes of prevalence of the American Clinical Neurophysiology Society (below 1, 10, 50 and 90 %). The number is ours,
and was not validated against that score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import filters
from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.rhythms import RHYTHMIC, regularity
from icans.signals.eeg.scene import Scene

Array = npt.NDArray[np.float64]

PAIR = ("Fp2", "Pz")
BAND = (1.0, 4.0)
LEAST_UV = 50.0
#: Upper ends of the classes rare, occasional, frequent and abundant; what is above is continuous.
CLASSES = (0.01, 0.10, 0.50, 0.90)


def delta_features(scene: Scene) -> dict[str, float]:
    """``pda_prevalence``: share of time with irregular delta of at least 50 uV in Fp2-Pz (or the best stand-in);
    ``pda_amplitude_uv``: the median amplitude of its delta, peak to peak in 2 s.
    """
    found = _lead(scene)
    if found is None:
        return {"pda_prevalence": float("nan"), "pda_amplitude_uv": float("nan")}
    slow = filters.band_pass(found[None], *BAND)
    short = filters.pieces(slow, 2.0)[:, 0]
    span = short.max(axis=1) - short.min(axis=1)
    long = filters.pieces(slow, 4.0)[:, 0]
    height, _ = regularity(long, *BAND)
    at = np.minimum((np.arange(len(span)) * RATE) // (2 * RATE), len(height) - 1)
    irregular = height[at] < RHYTHMIC
    return {
        "pda_prevalence": float(((span >= LEAST_UV) & irregular).mean()),
        "pda_amplitude_uv": float(np.median(span)),
    }


def _lead(scene: Scene) -> Array | None:
    """Fp2-Pz; else the first derivation that the file itself holds, or its only channel."""
    names = scene.leads.names
    data = scene.window.data
    if all(name in names for name in PAIR):
        pair = [names.index(name) for name in PAIR]
        if not scene.good[pair].any(axis=1).all():
            return None
        return np.asarray(data[pair[0]] - data[pair[1]])
    usable = [i for i in range(len(names)) if scene.good[i].any() and ("-" in names[i] or len(names) == 1)]
    return np.asarray(data[usable[0]]) if usable else None


def prevalence_class(share: float) -> int:
    """0 where there is none, else 1 (rare) to 5 (continuous).

    >>> [prevalence_class(s) for s in (0.0, 0.005, 0.2, 0.95)]
    [0, 1, 3, 5]
    """
    return 0 if share <= 0 else 1 + int(np.searchsorted(CLASSES, share, side="right"))
