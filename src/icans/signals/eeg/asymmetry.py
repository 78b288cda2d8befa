"""Differences between the sides: brain symmetry index, band asymmetries, focal slowing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import spectral
from icans.signals.eeg.channels import mirror, side
from icans.signals.eeg.scene import Scene
from icans.signals.eeg.spectral import median

Array = npt.NDArray[np.float64]

#: Range of the brain symmetry index, Hz (van Putten and Tavy 2004, doi:10.1161/01.STR.0000144649.49861.1d; recalled).
BSI = (1.0, 25.0)


def asymmetry_features(scene: Scene) -> dict[str, float]:
    """Asymmetry of one window.

    Returns
    -------
    dict
        ``symmetry_index``: mean over frequencies of |right - left| / (right + left) of the power of the pairs, 0 same,
        1 one-sided. ``asymmetry_delta``, ``asymmetry_alpha``: log2 of left over right, median over pairs.
        ``focal_delta``: the largest absolute log2 ratio of delta of any pair, less the median one.
    """
    frequency, density = scene.spectra
    names = list(scene.leads.average.names)
    pairs = [(i, names.index(mirror(n))) for i, n in enumerate(names) if side(n) == "left" and mirror(n) in names]
    pairs = [(i, j) for i, j in pairs if np.isfinite(density[[i, j], 1]).all()]
    keys = ("symmetry_index", "asymmetry_delta", "asymmetry_alpha", "focal_delta")
    if not pairs:
        return dict.fromkeys(keys, float("nan"))
    left, right = density[[i for i, _ in pairs]], density[[j for _, j in pairs]]
    inside = (frequency >= BSI[0]) & (frequency <= BSI[1])
    a, b = left[:, inside].mean(axis=0), right[:, inside].mean(axis=0)
    ratio = {}
    for name in ("delta", "alpha"):
        edges = spectral.BANDS[name]
        power = [spectral.band(frequency, rows, *edges) for rows in (left, right)]
        ratio[name] = np.log2(np.maximum(power[0], 1e-9) / np.maximum(power[1], 1e-9))
    delta = ratio["delta"]
    return {
        "symmetry_index": float(np.mean(np.abs(b - a) / np.maximum(a + b, 1e-12))),
        "asymmetry_delta": median(delta),
        "asymmetry_alpha": median(ratio["alpha"]),
        "focal_delta": float(np.abs(delta - np.median(delta)).max()),
    }
