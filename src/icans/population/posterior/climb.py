"""The normal approximation of every subject in every class, in whitened effects (:mod:`icans.population.fit.modes`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.population.fit.modes import find_modes
from icans.population.posterior.target import Target

Array = npt.NDArray[np.float64]

#: Draws of the population tried as starts, against a lower second mode; length of a step (in SDs) that has arrived.
STARTS, ARRIVED = 16, 1e-4


@dataclass(frozen=True)
class Tops:
    """Of N subjects in C classes: mode ``z`` (N, C, D), ``precision`` (N, C, D, D) there, ``log_evidence`` by Laplace
    (N, C; minus infinity where no effects have a likelihood), and which climbs ``arrived`` (N, C).
    """

    z: Array
    precision: Array
    log_evidence: Array
    arrived: npt.NDArray[np.bool_]

    @property
    def factor(self) -> Array:
        """Cholesky factors of the covariances, (N, C, D, D)."""
        return np.asarray(np.linalg.cholesky(np.linalg.inv(self.precision)))


def find_tops(target: Target) -> Tops:
    """Modes of all subjects in all classes."""
    ids = target.bound.records.ids
    parts = [
        find_modes(target.bound, target.population, cls=c, tolerance=ARRIVED, explore=STARTS)
        for c in range(target.classes)
    ]
    precision = np.stack([target.root.T @ m.precision @ target.root for m in parts], axis=1)
    return Tops(
        np.stack([target.z(m.mode) for m in parts], axis=1),
        0.5 * (precision + np.swapaxes(precision, -1, -2)),
        np.stack([np.where(np.isfinite(m.log_joint), m.log_evidence, -np.inf) for m in parts], axis=1),
        np.array([[i not in m.failed for m in parts] for i in ids]),
    )
