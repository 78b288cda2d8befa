"""A window made ready for features: average reference, bipolar derivations, and which seconds of each are good."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import artefacts, montage, spectral
from icans.signals.eeg.windows import Window

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Leads:
    """The channels of a recording and the derivations made from them; the same for every window."""

    names: tuple[str, ...]
    average: montage.Derivation
    bipolar: montage.Derivation

    @property
    def chained(self) -> bool:
        """Whether the bipolar derivations are differences of scalp electrodes (not single referential leads)."""
        return all("-" in name for name in self.bipolar.names)


def leads(names: tuple[str, ...]) -> Leads:
    """Derivations of the channels ``names``."""
    return Leads(names, montage.average(names), montage.bipolar(names))


@dataclass(frozen=True)
class Scene:
    """One window of a recording, seen in both montages. Signals have shape (derivations, samples), microvolts."""

    leads: Leads
    window: Window
    good: Mask

    @cached_property
    def average(self) -> Array:
        """Average reference; channels that are bad throughout the window take no part in the mean."""
        alive = self.good.any(axis=1)
        if alive.all() or alive.sum() < montage.AVERAGE_NEEDS or not self.referential:
            return self.leads.average.of(self.window.data)
        data = self.window.data[[self.leads.names.index(n) for n in self.leads.average.names]]
        rows = np.array([self.good[self.leads.names.index(n)].any() for n in self.leads.average.names])
        return np.asarray(data - data[rows].mean(axis=0))

    @property
    def referential(self) -> bool:
        """Whether there is an average reference."""
        matrix = self.leads.average.matrix
        return bool(matrix.shape[0] >= montage.AVERAGE_NEEDS and np.abs(matrix.sum(axis=1)).max() < 1e-9)

    @cached_property
    def average_good(self) -> Mask:
        """Good seconds in the average reference."""
        return artefacts.derived(self.good, self.leads.average.matrix)

    @cached_property
    def bipolar(self) -> Array:
        """Longitudinal bipolar derivations."""
        return self.leads.bipolar.of(self.window.data)

    @cached_property
    def bipolar_good(self) -> Mask:
        """Good seconds of the bipolar derivations."""
        return artefacts.derived(self.good, self.leads.bipolar.matrix)

    @cached_property
    def spectra(self) -> tuple[Array, Array]:
        """Frequencies and power density of the average reference."""
        return spectral.spectra(self.average, self.average_good)

    @property
    def usable_share(self) -> float:
        """Share of seconds of channels that may be used."""
        return float(self.good.mean()) if self.good.size else 0.0
