"""The bedside: a hidden severity read as grades, vital signs, ICE and EEG, with the patient's own reader's error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.intervene.world import chance
from icans.intervene.world.assays import table
from icans.intervene.world.observation import VITALS
from icans.population import artefact
from icans.population.quantities import Readings
from icans.population.readings import reading_errors

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reader:
    """Cuts of the severities and each patient's errors, as :mod:`icans.population.observe` has them.

    ``crs_cuts``, ``icans_cuts``: grades 1 to 4, and a fifth beyond which a case may be fatal. ``noise``: ln, shape
    (n, 2), CRS and ICANS. ``seizure``: uniform, (n,). ``iechs``: level from which hyperinflammation is one.
    ``seizure_share``: seizures seen per cumulative hazard.
    """

    crs_cuts: Array
    icans_cuts: Array
    iechs: float
    seizure_share: float
    noise: Array
    seizure: Array
    keys: dict[str, np.uint64]

    def rows(self, chosen: Ints) -> Reader:
        """Readers of some patients."""
        return replace(self, noise=self.noise[chosen], seizure=self.seizure[chosen])

    def put(self, rows: Ints, other: Reader) -> Reader:
        """Readers of other patients in the place of some."""
        noise, seizure = self.noise.copy(), self.seizure.copy()
        noise[rows], seizure[rows] = other.noise, other.seizure
        return replace(self, noise=noise, seizure=seizure)

    def crs(self, severity: Array) -> Ints:
        """Grades of CRS, 0 to 4, from latent severity of shape (n, ...)."""
        return _grades(self.crs_cuts, severity, self.noise[:, 0])

    def icans(self, severity: Array) -> Ints:
        """Grades of ICANS, 0 to 4."""
        return _grades(self.icans_cuts, severity, self.noise[:, 1])

    def extreme(self, crs: Array, icans: Array) -> Mask:
        """Whether either severity lies beyond the last cut, where patients may die."""
        return np.asarray((_factor(crs, self.noise[:, 0]) >= self.crs_cuts[4])
                          | (_factor(icans, self.noise[:, 1]) >= self.icans_cuts[4]))  # fmt: skip

    def seized(self, hazard: Array) -> Mask:
        """Whether a seizure was seen by a cumulative hazard of shape (n,)."""
        return np.asarray(self.seizure < -np.expm1(-self.seizure_share * hazard))


def _factor(severity: Array, noise: Array) -> Array:
    return np.asarray(np.nan_to_num(severity) * np.exp(noise).reshape(len(noise), *([1] * (severity.ndim - 1))))


def _grades(cuts: Array, severity: Array, noise: Array) -> Ints:
    """Grade 5 is death, which no reading tells: it is a probability among the outcomes."""
    return np.asarray(np.searchsorted(cuts[:4], _factor(severity, noise), side="right"), dtype=np.int64)


def make_reader(
    numbers: Ints, seed: int, *, scheme: tuple[str, str] = ("astct", "astct"), error: bool = True,
    readings: Readings | None = None,
) -> Reader:  # fmt: skip
    """Readers of patients by number; the same as in the calibrated population of that seed.

    Raises
    ------
    KeyError
        Schemes of CRS and ICANS that do not exist.
    """
    known = readings or artefact.read().readings
    noise, _, uniform = reading_errors(int(numbers.max()), seed)
    at = numbers - 1
    both = np.stack([noise["crs"][at], noise["nt"][at]], axis=1)
    keys = {name: chance.key(seed, "bedside", name) for name in (*VITALS, "eeg", "ice")}
    return Reader(np.asarray(known.crs[scheme[0]].cuts), np.asarray(known.nt[scheme[1]].cuts), known.cut["iechs"],
                  known.cut["seizure_share"], both if error else np.zeros_like(both), uniform["seizure"][at],
                  keys)  # fmt: skip


def vital_signs(reader: Reader, numbers: Ints, time_h: Array, truth: Array) -> Array:
    """Readings of vital signs, shape (n, 4), from their true values."""
    count = np.rint(time_h * 60.0).astype(np.int64)
    made = truth.astype(float)
    for k, name in enumerate(VITALS):
        made[:, k] += table()["bedside"]["sd"][name] * chance.normals(reader.keys[name], numbers, count)
    made[:, VITALS.index("spo2_percent")] = np.clip(made[:, VITALS.index("spo2_percent")], 50.0, 100.0)
    return made


def ice_score(reader: Reader, numbers: Ints, time_h: Array, expected: Array, icans: Ints) -> Ints:
    """ICE score, 0 to 10, within what the grade says of it (Lee 2019: 7 to 9, 3 to 6, 0 to 2, 0 for grades 1 to 4)."""
    count = np.rint(time_h * 60.0).astype(np.int64)
    sd = float(table()["bedside"]["ice_sd"])
    score = np.rint(expected + sd * chance.normals(reader.keys["ice"], numbers, count))
    low = np.array([10, 7, 3, 0, 0])[icans]
    high = np.array([10, 9, 6, 2, 0])[icans]
    return np.asarray(np.clip(score, low, high), dtype=np.int64)


def eeg_slowing(reader: Reader, numbers: Ints, time_h: Array, truth: Array) -> Array:
    """Slowing of the EEG as read, 0 to 1."""
    count = np.rint(time_h * 60.0).astype(np.int64)
    sd = float(table()["bedside"]["eeg_sd"])
    return np.asarray(np.clip(truth + sd * chance.normals(reader.keys["eeg"], numbers, count), 0.0, 1.0))
