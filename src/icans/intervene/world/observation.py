"""What the ward knows of every patient at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Vital signs, in order; outputs of the model.
VITALS = ("TEMP", "map_mmhg", "heart_rate_bpm", "spo2_percent")


@dataclass(frozen=True)
class Observation:
    """What is known at ``time_h``, arrays over patients (synthetic).

    Attributes
    ----------
    time_h
        Hours since infusion, shape (n,).
    value, age_h, below, pending
        Latest result of each analyte (order of :data:`icans.intervene.world.ANALYTES`): its value (at the limit where
        below the limit of quantification; NaN: none yet), hours since its sample was drawn (NaN), whether it is below
        the limit, samples under way. Shape (n, analytes).
    first, peak
        First result, and highest so far, NaN without any; shape (n, analytes).
    vitals
        Shape (n, 4), in the order of :data:`VITALS`: Cel, mm[Hg], /min, %.
    crs, icans
        Grades as read at the bedside.
    crs_peak, icans_peak
        Highest grade read so far, on the grid of hours and at the times of decision.
    ice
        ICE score, 0 to 10.
    eeg
        Slowing of the EEG, 0 to 1; NaN while there is none.
    eeg_on, seizure, icu
        Whether EEG runs; whether a seizure was seen by now; whether the patient is in intensive care.
    doses_mg
        What was given so far, mg (cells for ``car_t``), shape (n, drugs).
    """

    time_h: Array
    value: Array
    age_h: Array
    below: Mask
    pending: Ints
    first: Array
    peak: Array
    vitals: Array
    crs: Ints
    icans: Ints
    crs_peak: Ints
    icans_peak: Ints
    ice: Ints
    eeg: Array
    eeg_on: Mask
    seizure: Mask
    icu: Mask
    doses_mg: Array
    drugs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.time_h)

    def rows(self, chosen: npt.ArrayLike) -> Observation:
        """Some patients."""
        at = np.asarray(chosen)
        made = {f.name: getattr(self, f.name) for f in fields(self)}
        return Observation(**{k: v if k == "drugs" else v[at] for k, v in made.items()})
