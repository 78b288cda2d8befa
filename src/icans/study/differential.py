"""ICANS or TIAN from a cohort: the findings of one patient as they were known at one hour.

Only rows with ``available_h`` at or before that hour are seen. What nobody recorded is left out and stays unknown; what
tables cannot tell (on which side the tumour lies, whether an MRI is focal without a mask of the tumour) can be added by
hand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.signals.differential.case import (
    Case,
    eeg_state,
    mri_state,
    onset_state,
    ratio_state,
    setting_of,
    ventricle_state,
)
from icans.signals.differential.odds import Differential, differentiate

#: Ways of giving cells that reach a tumour of the nervous system without the blood.
LOCAL_ROUTES = ("it", "icv", "intrathecal", "intraventricular", "intracerebroventricular", "intratumoural")
BLOOD = ("serum", "plasma", "blood")


def differential_at(
    cohort: Cohort,
    patient_id: str,
    at_h: float,
    *,
    findings: Mapping[str, str] | None = None,
    tumour_side: str | None = None,
    seed: int = 1,
) -> Differential:
    """The differential of one patient as known at ``at_h`` hours after infusion.

    Parameters
    ----------
    findings
        Findings that tables do not hold, in the words of the differential; they take the place of derived ones.
    tumour_side
        ``left`` or ``right`` where the tumour of the nervous system lies on one side: an EEG that is slow on one side
        then tells whether it is that of the tumour. None: such an EEG says nothing here.

    Raises
    ------
    KeyError
        The cohort has no such patient.
    DataError
        A finding added by hand is unknown.
    """
    return differentiate(case_at(cohort, patient_id, at_h, findings=findings, tumour_side=tumour_side), seed=seed)


def case_at(
    cohort: Cohort,
    patient_id: str,
    at_h: float,
    *,
    findings: Mapping[str, str] | None = None,
    tumour_side: str | None = None,
) -> Case:
    """What was known of a patient at an hour; see :func:`differential_at`."""
    people = cohort.patients.set_index("patient_id")
    if patient_id not in people.index:
        raise KeyError(f"no patient {patient_id!r} in the cohort")

    def known(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["patient_id"] == patient_id) & (table["available_h"] <= at_h)]

    cells = known(cohort.treatments)
    cells = cells[cells["drug"] == "car_t"]
    assessed, measured, grades = known(cohort.assessments), known(cohort.measurements), known(cohort.grades)
    involved = people.loc[patient_id, "cns_involvement"]
    tumour = None if pd.isna(involved) else bool(involved)
    local = bool(cells["route"].isin(LOCAL_ROUTES).any()) if len(cells) else None
    recent = _latest(assessed[assessed["time_h"] >= at_h - _cut("window_h")])
    found = _bedside(recent)
    found |= _onset(assessed, cells)
    found |= _systemic(measured[measured["time_h"] >= at_h - _cut("window_h")], grades)
    found |= _imaging(measured, bool(tumour))
    found |= _signals(measured[measured["time_h"] >= at_h - _cut("eeg_window_h")], bool(tumour), tumour_side)
    found |= dict(findings or {})
    flags = ("haemorrhage",) if _yes(recent.get("intracranial_haemorrhage")) else ()
    return Case(setting_of(cns_tumour=tumour, local_cells=local), found, flags, bool(len(cells)))


@cache
def _cuts() -> dict:
    return tomllib.loads((resources.files(__package__) / "differential.toml").read_text(encoding="utf-8"))


def _cut(name: str) -> float:
    return float(_cuts()[name])


def _latest(assessed: pd.DataFrame) -> dict[str, str]:
    """Last value of every item that was not judged to have another cause."""
    kept = assessed[assessed["attributable"].fillna(True).astype(bool)]
    last = kept.sort_values("time_h").groupby("item")["value"].last().dropna()
    return {str(item): str(value) for item, value in last.items()}


def _yes(value: str | None) -> bool:
    return value is not None and value.strip().lower() in ("yes", "true", "1")


def _bedside(recent: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if _yes(recent.get("cognitive_test_untestable")) or recent.get("consciousness") == "unarousable":
        found["cognition"] = "untestable"
    elif "ice_total" in recent:
        found["cognition"] = "normal" if float(recent["ice_total"]) >= 10 else "impaired"
    for item in ("aphasia", "tremor"):
        if item in recent:
            found[item] = "no" if recent[item] == "none" else "yes"
    if "seizure" in recent:
        found["seizure"] = "none" if recent["seizure"] == "none" else "present"
    if _yes(recent.get("cns_tumour_inflammation")):
        found["focal_deficit"] = "at_tumour"
    elif "motor" in recent:
        found["focal_deficit"] = "none" if recent["motor"] == "none" else "elsewhere"
    pressure = recent.get("csf_opening_pressure_mmhg")
    signs = recent.get("icp_sign")
    if signs is not None or pressure is not None:
        high = pressure is not None and float(pressure) > _cut("pressure_mmhg")
        found["pressure"] = "present" if high or signs not in (None, "none") else "none"
    return found


def _onset(assessed: pd.DataFrame, cells: pd.DataFrame) -> dict[str, str]:
    """Hours from the last cells before it to the first abnormal finding of cognition, speech, strength or seizure."""
    number = pd.to_numeric(assessed["value"], errors="coerce")
    ill = (assessed["item"].eq("ice_total") & (number < 10)) | (
        assessed["item"].isin(["aphasia", "seizure", "motor"]) & assessed["value"].ne("none")
    )
    times = assessed.loc[ill.fillna(False).astype(bool), "time_h"]
    if times.empty:
        return {}
    before = cells.loc[cells["time_h"] <= times.min(), "time_h"]
    return {} if before.empty else {"onset": onset_state(float(times.min() - before.max()))}


def _systemic(measured: pd.DataFrame, grades: pd.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    crs = grades.loc[grades["toxicity"].eq("CRS"), "grade"].dropna()
    if len(crs):
        found["crs"] = "yes" if (crs > 0).any() else "no"

    def highest(analyte: str, matrices: tuple[str, ...]) -> float | None:
        rows = measured[measured["analyte"].eq(analyte) & measured["matrix"].isin(matrices)]
        values = rows["value"].dropna()
        return float(values.max()) if len(values) else None

    crp, ferritin = highest("crp", BLOOD), highest("ferritin", BLOOD)
    if crp is not None or ferritin is not None:
        raised = (crp or 0.0) >= _cut("crp_mg_l") or (ferritin or 0.0) >= _cut("ferritin_ng_ml")
        found["inflammation"] = "yes" if raised else "no"
    marker = highest("procalcitonin", BLOOD)
    if marker is not None and marker >= _cut("infection_procalcitonin_ng_ml"):
        found["infection"] = "yes"
    elif marker is not None and marker < _cut("no_infection_procalcitonin_ng_ml"):
        found["infection"] = "no"
    csf, blood = highest("il_6", ("csf",)), highest("il_6", BLOOD)
    ratio = None if csf is None or blood is None else ratio_state(csf, blood)
    return found if ratio is None else {**found, "cytokine_ratio": ratio}


def _imaging(measured: pd.DataFrame, tumour: bool) -> dict[str, str]:
    """The last MRI, where it was measured."""
    seen = measured[measured["matrix"].eq("mri")].dropna(subset=["value"])
    if seen.empty:
        return {}
    last = seen[seen["time_h"] == seen["time_h"].max()].groupby("analyte")["value"].last()
    found: dict[str, str] = {}
    if "mri_ventricle_change" in last:
        found["ventricles"] = ventricle_state(float(last["mri_ventricle_change"]))
    if "mri_flair_brain" in last:
        share, excess = last.get("mri_near_tumour_share"), last.get("mri_focality", 0.0)
        state = mri_state(
            float(last["mri_flair_brain"]),
            tumour=tumour,
            near_share=None if share is None else float(share),
            focality_low=float(excess),
        )
        found |= {} if state is None else {"mri": state}
    return found


def _signals(measured: pd.DataFrame, tumour: bool, tumour_side: str | None) -> dict[str, str]:
    """The last EEG, where features of it were measured."""
    seen = measured[measured["matrix"].eq("eeg")].dropna(subset=["value"])
    if seen.empty:
        return {}
    last = seen[seen["time_h"] == seen["time_h"].max()].groupby("analyte")["value"].last()
    if "eeg_median_frequency" not in last:
        return {}
    limit = _cut("eeg_slow_with_rhythm_hz" if last.get("eeg_pdr_present", 0.0) >= 0.5 else "eeg_slow_hz")
    lean, focal = float(last.get("eeg_asymmetry_delta", 0.0)), float(last.get("eeg_focal_delta", 0.0))
    state = eeg_state(
        slow=float(last["eeg_median_frequency"]) < limit,
        local=focal >= _cut("eeg_focal_log2") or abs(lean) >= _cut("eeg_lean_log2"),
        lean=lean,
        least=_cut("eeg_side_log2"),
        tumour=tumour,
        tumour_side=tumour_side,
    )
    return {} if state is None else {"eeg": state}
