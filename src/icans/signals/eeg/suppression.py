"""Suppression, attenuation, burst suppression and low voltage, on the envelope of bipolar derivations.

Terms of the American Clinical Neurophysiology Society (Hirsch et al. 2021, doi:10.1097/WNP.0000000000000806;
recalled), all peak to peak in a longitudinal bipolar montage: suppression below 10 uV; low voltage below 20 uV;
attenuation: 10 uV or more and less than half of the background; burst suppression: more than half of the record
suppressed or attenuated, with bursts between. Referential amplitudes do not show it: a common reference carries
signal into silent channels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import filters
from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.spectral import median

Array = npt.NDArray[np.float64]

ENVELOPE_S = 0.5
SUPPRESSED_UV, LOW_UV = 10.0, 20.0
#: An attenuation is a dip of at least this length between stretches of background.
DIP_S = 0.5
#: Muscle lies above, cortical bursts and slow waves below (Hz).
BRAIN_HZ = 20.0


def envelope(data: Array, seconds: float = ENVELOPE_S) -> Array:
    """Peak-to-peak amplitude in half-overlapping pieces, shape (derivations, pieces), microvolts.

    Taken below 20 Hz: scalp muscle, which a reader looks through, would hide a silent brain.
    """
    from numpy.lib.stride_tricks import sliding_window_view

    length = int(seconds * RATE)
    views = sliding_window_view(filters.band_pass(data, None, BRAIN_HZ, order=4), length, axis=1)[:, :: length // 2]
    span: Array = views.max(axis=2) - views.min(axis=2)
    return span


def suppression_features(bipolar: Array, good: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Suppression and low voltage of one window.

    Parameters
    ----------
    bipolar
        Shape (derivations, samples), microvolts.
    good
        Seconds of each derivation free of artefact, shape (derivations, seconds).

    Returns
    -------
    dict
        ``suppression_share``: time with less than 10 uV in the median derivation. ``low_share``: less than 20 uV.
        ``burst_floor_ratio``: 95th over 10th percentile of the envelope. ``attenuation_share``: time below half of
        the background (75th percentile of the envelope) and below 20 uV (half of a large discharge is no attenuation).
        ``quiet_share``: suppressed or attenuated. ``dips_per_min``: attenuations of at least half a second.
        ``voltage_uv``: the median envelope.
    """
    global_envelope = _across(envelope(bipolar), good)
    if global_envelope.size < 8:
        names = ("suppression_share", "low_share", "burst_floor_ratio", "attenuation_share", "quiet_share",
                 "dips_per_min", "voltage_uv")  # fmt: skip
        return dict.fromkeys(names, float("nan"))
    high, low, background = np.percentile(global_envelope, [95, 10, 75])
    dip = (global_envelope < 0.5 * background) & (global_envelope < LOW_UV)
    quiet = dip | (global_envelope < SUPPRESSED_UV)
    return {
        "suppression_share": float((global_envelope < SUPPRESSED_UV).mean()),
        "low_share": float((global_envelope < LOW_UV).mean()),
        "burst_floor_ratio": float(high / max(low, 0.1)),
        "attenuation_share": float(dip.mean()),
        "quiet_share": float(quiet.mean()),
        "dips_per_min": _dips(dip) * 60.0 / (len(dip) * ENVELOPE_S / 2),
        "voltage_uv": float(np.median(global_envelope)),
    }


def _across(span: Array, good: npt.NDArray[np.bool_]) -> Array:
    """Median over derivations at each piece, artefacts left out; pieces with fewer than half the derivations go."""
    pieces = span.shape[1]
    second = np.minimum((np.arange(pieces) * ENVELOPE_S / 2).astype(int), good.shape[1] - 1)
    usable = good[:, second]
    if usable.all():
        return np.asarray(np.median(span, axis=0), dtype=float)
    kept = usable.mean(axis=0) >= 0.5
    return np.array([median(span[usable[:, i], i]) for i in np.flatnonzero(kept)])


def _dips(dip: npt.NDArray[np.bool_]) -> int:
    """Runs of at least :data:`DIP_S`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dip.astype(int), [0]])))
    lengths = (edges[1::2] - edges[::2]) * ENVELOPE_S / 2
    return int((lengths >= DIP_S).sum())
