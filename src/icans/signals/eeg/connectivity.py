"""Phase coupling of every pair of channels, and what the network of couplings looks like.

Debiased squared weighted phase lag index (Vinck et al. 2011, doi:10.1016/j.neuroimage.2011.01.055): no coupling from
volume conduction at zero lag, no inflation from few epochs. Two-second epochs, three tapers. Written here, as one
product of matrices an epoch, because the general tool takes most of an hour for eight hours of EEG; a test holds the
two to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.scene import Scene
from icans.signals.eeg.spectral import TAPERS, median

Array = npt.NDArray[np.float64]

EPOCH_S = 2.0
BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}
#: Channels below which a network has no shape.
NETWORK = 6


@dataclass
class Coupling:
    """Sums over epochs of the imaginary cross-spectrum: shape (frequencies, channels, channels)."""

    frequency: Array
    epochs: int = 0
    total: Array = field(default_factory=lambda: np.zeros(0))
    absolute: Array = field(default_factory=lambda: np.zeros(0))
    square: Array = field(default_factory=lambda: np.zeros(0))

    def __iadd__(self, other: Coupling) -> Coupling:
        """Sums of both (of the same channels)."""
        if not other.epochs:
            return self
        if not self.epochs:
            self.total, self.absolute, self.square = other.total.copy(), other.absolute.copy(), other.square.copy()
        else:
            self.total += other.total
            self.absolute += other.absolute
            self.square += other.square
        self.epochs += other.epochs
        return self

    def index(self) -> dict[str, Array]:
        """Debiased squared index, shape (channels, channels), by band; NaN with fewer than two epochs."""
        if self.epochs < 2:
            return {}
        top = self.total**2 - self.square
        bottom = self.absolute**2 - self.square
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(bottom > 0, top / bottom, np.nan)
        found = {}
        for name, (low, high) in BANDS.items():
            inside = (self.frequency >= low) & (self.frequency < high)
            matrix = each[inside].mean(axis=0)
            np.fill_diagonal(matrix, 0.0)
            found[name] = matrix
        return found


def couplings(data: Array, good: npt.NDArray[np.bool_]) -> Coupling:
    """Sums of the epochs in which every channel of ``data`` (channels, samples) is good (channels, seconds)."""
    from scipy.signal.windows import dpss

    length = int(EPOCH_S * RATE)
    seconds = int(EPOCH_S)
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    inside = (frequency >= BANDS["delta"][0]) & (frequency < BANDS["beta"][1])
    coupling = Coupling(np.asarray(frequency[inside], dtype=float))
    starts = [s for s in range(0, data.shape[1] - length + 1, length) if good[:, s // RATE : s // RATE + seconds].all()]
    if not starts:
        return coupling
    tapers = dpss(length, 2.0, TAPERS)
    shape = (len(coupling.frequency), len(data), len(data))
    total, absolute, square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for start in starts:
        piece = data[:, start : start + length]
        spectrum = np.fft.rfft((piece - piece.mean(axis=1, keepdims=True))[:, None] * tapers, axis=2)[:, :, inside]
        real, imag = spectrum.real.transpose(2, 0, 1), spectrum.imag.transpose(2, 0, 1)
        cross = imag @ real.transpose(0, 2, 1)
        cross -= cross.transpose(0, 2, 1).copy()
        total += cross
        absolute += np.abs(cross)
        square += cross**2
    return Coupling(coupling.frequency, len(starts), total, absolute, square)


def scene_couplings(scene: Scene) -> Coupling:
    """Couplings of the average reference of one window.

    Channels that are bad throughout are left at zero, so that shapes agree from window to window.
    """
    usable = scene.average_good.mean(axis=1) >= 0.5
    good = scene.average_good.copy()
    good[~usable] = True
    data = np.where(usable[:, None], scene.average, 0.0)
    return couplings(data, good)


def coupling_features(coupling: Coupling) -> dict[str, float]:
    """Features of the couplings of one window or recording.

    Returns
    -------
    dict
        ``wpli_*`` by band: mean over pairs (near 0 without coupling, and just below it as often as above).
        ``clustering_*``, ``efficiency_*``, ``hub_*`` for theta and alpha: weighted clustering (Onnela et al. 2005,
        doi:10.1103/PhysRevE.71.065103), global efficiency (Latora and Marchiori 2001,
        doi:10.1103/PhysRevLett.87.198701), and the largest share of all coupling that one channel takes part in.
    """
    bands = coupling.index()
    out: dict[str, float] = {}
    for name in BANDS:
        matrix = bands.get(name)
        pairs = matrix[np.triu_indices(len(matrix), 1)] if matrix is not None and len(matrix) > 1 else np.zeros(0)
        finite = pairs[np.isfinite(pairs)]
        out[f"wpli_{name}"] = float(finite.mean()) if finite.size else float("nan")
    for name in ("theta", "alpha"):
        out |= {f"{key}_{name}": value for key, value in network(bands.get(name)).items()}
    return out


def network(matrix: Array | None) -> dict[str, float]:
    """Clustering, global efficiency and the largest hub of a matrix of couplings (negative ones count as none)."""
    unknown = dict.fromkeys(("clustering", "efficiency", "hub"), float("nan"))
    if matrix is None:
        return unknown
    alive = np.isfinite(matrix).sum(axis=1) > 1
    weights = np.clip(np.nan_to_num(matrix[np.ix_(alive, alive)]), 0.0, None)
    if len(weights) < NETWORK or weights.max() <= 0:
        return unknown
    from scipy.sparse.csgraph import shortest_path

    n = len(weights)
    root = np.cbrt(weights / weights.max())
    degree = (weights > 0).sum(axis=1)
    triangles = np.diagonal(root @ root @ root)
    possible = degree * (degree - 1)
    clustering = float(np.mean(np.where(possible > 0, triangles / np.maximum(possible, 1), 0.0)))
    with np.errstate(divide="ignore"):
        length = np.where(weights > 0, 1.0 / weights, np.inf)
    np.fill_diagonal(length, 0.0)
    path = shortest_path(np.where(np.isfinite(length), length, 0.0), directed=False)
    off = ~np.eye(n, dtype=bool)
    efficiency = float(np.mean(1.0 / path[off]))
    strength = weights.sum(axis=1)
    return {"clustering": clustering, "efficiency": efficiency, "hub": float(strength.max() / strength.sum())}


def coupling_of_channels(coupling: Coupling, band: str = "alpha") -> Array:
    """Mean coupling of each channel with the others; NaN where it is unknown."""
    matrix = coupling.index().get(band)
    if matrix is None:
        return np.zeros(0)
    return np.array([median(np.delete(row, i)) for i, row in enumerate(matrix)])
