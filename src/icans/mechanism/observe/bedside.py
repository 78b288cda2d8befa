"""Bedside findings of every patient and day, from latent quantities and the patient's own thresholds.

A patient has one factor for all neurological findings and one for each item; a finding changes where the latent
quantity times the factors passes a cut. The same draws and a higher latent quantity never give a milder finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.random import stream
from icans.mechanism.observe.daily import Latent
from icans.mechanism.observe.tables import Cuts, read_cuts

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]

#: Items that share the patient's factor.
NEUROLOGICAL = "encephalopathy"
#: Seizures that are told apart by number: the first (of three kinds), the second, the third and later.
_COUNTED = 3


@dataclass(frozen=True)
class Draws:
    """What is random about patients at the bedside; row i depends on the seed and on i alone.

    Attributes
    ----------
    common
        Standard normal, shape (patients,).
    item
        Standard normal by item, shape (patients,).
    seizure
        Exponential times to the first, second and third seizure, shape (patients, 3).
    kind
        Uniform, decides the kind of the first seizure, shape (patients,).
    background
        By item, uniform: whether, when and how strong a background symptom is, shape (patients, 3).
    """

    common: Array
    item: Mapping[str, Array]
    seizure: Array
    kind: Array
    background: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.common)


def draw(patients: int, seed: int = 0, *, cuts: Cuts | None = None) -> Draws:
    """Random thresholds of so many patients. A larger number gives the same ones first."""
    cuts = cuts or read_cuts()

    def normal(key: str) -> Array:
        return stream(seed, "observe", key).standard_normal(patients)

    return Draws(
        normal("common"),
        {name: normal(name) for name in cuts.items},
        stream(seed, "observe", "seizure").standard_exponential((patients, _COUNTED)),
        stream(seed, "observe", "seizure kind").random(patients),
        {name: stream(seed, "observe", "background", name).random((patients, 3))
         for name, item in cuts.items.items() if item.background > 0},
    )  # fmt: skip


@dataclass(frozen=True)
class Bedside:
    """Findings: ``codes[item]`` of shape (patients, days) counts up ``words[item]`` from none to worst. Synthetic."""

    days: npt.NDArray[np.int64]
    codes: Mapping[str, Codes]
    words: Mapping[str, tuple[str, ...]]

    def __getitem__(self, item: str) -> npt.NDArray[np.str_]:
        """Words found, shape (patients, days)."""
        return np.array(self.words[item])[self.codes[item]]

    def assessments(self, patient_id: npt.ArrayLike | None = None, *, hour: float = 12.0) -> pd.DataFrame:
        """The findings as rows of the cohort's table ``assessments``: patient_id, time_h, item, value.

        Blood pressure and oxygen are told by the items that the cohort has for them (pressors, device, flow).
        """
        import pandas as pd

        count = len(next(iter(self.codes.values())))
        names = np.arange(1, count + 1).astype(str) if patient_id is None else np.asarray(patient_id)
        rows = []
        for item, values in chart_items(self).items():
            rows.append(pd.DataFrame({
                "patient_id": np.repeat(names, len(self.days)), "time_h": np.tile(self.days * 24.0 + hour, count),
                "item": item, "value": values.ravel(),
            }))  # fmt: skip
        return pd.concat(rows, ignore_index=True)


#: Items of the cohort's chart that one item here stands for, by word.
CHART: dict[str, dict[str, dict[str, str]]] = {
    "blood_pressure": {
        "none": {"hypotension": "no", "vasopressors": "0", "vasopressin": "no", "vasopressor_dose": "none"},
        "fluids": {"hypotension": "yes", "vasopressors": "0", "vasopressin": "no", "vasopressor_dose": "none"},
        "low_dose": {"hypotension": "yes", "vasopressors": "1", "vasopressin": "no", "vasopressor_dose": "low"},
        "high_dose": {"hypotension": "yes", "vasopressors": "1", "vasopressin": "no", "vasopressor_dose": "high"},
        "several": {"hypotension": "yes", "vasopressors": "2", "vasopressin": "no", "vasopressor_dose": "high"},
    },
    "oxygen": {
        "none": {"oxygen_device": "none", "oxygen_flow_l_min": "0", "fio2_percent": "21"},
        "low_flow": {"oxygen_device": "nasal_cannula", "oxygen_flow_l_min": "3", "fio2_percent": "32"},
        "low_flow_40": {"oxygen_device": "nasal_cannula", "oxygen_flow_l_min": "6", "fio2_percent": "44"},
        "high_flow": {"oxygen_device": "high_flow_cannula", "oxygen_flow_l_min": "30", "fio2_percent": "60"},
        "positive_pressure": {"oxygen_device": "bipap", "oxygen_flow_l_min": "30", "fio2_percent": "60"},
        "ventilator": {"oxygen_device": "ventilator", "oxygen_flow_l_min": "30", "fio2_percent": "80"},
    },
}  # fmt: skip


def chart_items(found: Bedside) -> dict[str, npt.NDArray[np.str_]]:
    """The findings under the names of the cohort's items, as words, each of shape (patients, days)."""
    made: dict[str, npt.NDArray[np.str_]] = {}
    for item, codes in found.codes.items():
        table = CHART.get(item)
        if table is None:
            made[item] = np.array(found.words[item])[codes]
            continue
        for name in next(iter(table.values())):
            made[name] = np.array([table[word][name] for word in found.words[item]])[codes]
    return made


def bedside(latent: Latent, draws: Draws, *, cuts: Cuts | None = None) -> Bedside:
    """Findings of each patient and day.

    Raises
    ------
    ValueError
        Another number of draws than of patients.
    """
    cuts = cuts or read_cuts()
    if len(draws) != len(latent):
        raise ValueError(f"{len(draws)} draws for {len(latent)} patients; draw as many")
    codes: dict[str, Codes] = {}
    for name, item in cuts.items.items():
        value: Array = getattr(latent, item.latent)
        own = item.spread * draws.item[name]
        if item.shift:
            shown = value + own[:, None]
        else:
            shared = cuts.common_spread * draws.common if item.latent == NEUROLOGICAL else 0.0
            shown = value * np.exp(own + shared)[:, None]
        codes[name] = np.searchsorted(item.cuts, shown, side="right").astype(np.int8)
        if item.background > 0:
            np.maximum(codes[name], _background(draws.background[name], item.background, latent, cuts), out=codes[name])
    codes["seizure"] = _seizures(latent.seizure_hazard, draws, cuts)
    words = {name: item.words for name, item in cuts.items.items()} | {"seizure": cuts.seizure_words}
    return Bedside(latent.days, codes, words)


def _background(uniform: Array, share: float, latent: Latent, cuts: Cuts) -> Codes:
    """A symptom of another cause, on some days in a row: 1 mild, 2 moderate, 3 severe."""
    strength = 1 + (uniform[:, 2] < cuts.moderate + cuts.severe).astype(np.int8) + (uniform[:, 2] < cuts.severe)
    first = np.floor(uniform[:, 1] * max(len(latent.days) - cuts.background_days, 1))
    on = (latent.days >= first[:, None]) & (latent.days < (first + cuts.background_days)[:, None])
    return np.where((uniform[:, 0] < share)[:, None] & on, strength[:, None], 0).astype(np.int8)


def _seizures(hazard: Array, draws: Draws, cuts: Cuts) -> Codes:
    """Seizures by day: the number so far decides how bad the day is, days without a new one are free."""
    due = np.cumsum(draws.seizure, axis=1)
    so_far = (hazard[:, :, None] >= due[:, None, :]).sum(axis=2)
    new = np.diff(so_far, axis=1, prepend=0) > 0
    steps: Any = np.cumsum(cuts.seizure_first)[:-1]
    first = 1 + np.searchsorted(steps, draws.kind, side="right")
    kind = np.where(so_far == 1, first[:, None], so_far + len(cuts.seizure_first) - 1)
    return np.where(new, kind, 0).astype(np.int8)
