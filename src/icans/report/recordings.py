"""EEG and MRI of a cohort as tables: what was recorded, what was doubted, and features against the outcome."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.cohort.vocabulary import analytes
from icans.core.random import stream
from icans.report.outcomes import grades_of, worst_grade

KINDS = ("eeg", "mri")
#: A grade this near to a recording is the grade of the recording, hours.
NEAR_H = 24.0
#: Recordings below which no association is told.
FEWEST = 8
#: Features whose name holds the finding itself in ``method``.
NAMED_BY_METHOD = ("eeg_feature", "eeg_severity_rank")
DRAWS, SEED = 500, 20261125
#: Outcome groups by ICANS grade: lower ends.
GRADE_GROUPS = {"ICANS 0": 0.0, "ICANS 1–2": 1.0, "ICANS 3–4": 3.0}


@dataclass(frozen=True)
class Examinations:
    """The recordings of one kind.

    Attributes
    ----------
    values
        One row a recording (patient_id, time_h), one column a feature.
    labels
        Feature to words.
    outcome, outcome_name
        Number that each recording is held against; NaN where there is none.
    groups
        Group of each recording by outcome, in order; empty where it has none.
    """

    values: pd.DataFrame
    labels: dict[str, str]
    outcome: pd.Series
    outcome_name: str
    groups: pd.Series

    @property
    def patients(self) -> npt.NDArray[np.object_]:
        """Patient of every recording."""
        return np.asarray(self.values.index.get_level_values("patient_id"), dtype=object)


def rows_of(cohort: Cohort, kind: str) -> pd.DataFrame:
    """Measured rows with a value of one matrix (``eeg`` or ``mri``)."""
    rows = cohort.measurements[cohort.measurements["matrix"].eq(kind)]
    return rows[rows["value"].notna()]


def overview(cohort: Cohort) -> pd.DataFrame:
    """One row a kind: files listed, recordings measured, patients, median per patient, days, share in doubt."""
    found = []
    for kind in KINDS:
        rows = rows_of(cohort, kind)
        listed = cohort.recordings[cohort.recordings["kind"].eq(kind)]
        if rows.empty and listed.empty:
            continue
        each = rows.groupby(["patient_id", "time_h"], dropna=False)
        doubtful = each["method"].apply(lambda m: m.str.contains("flagged:", na=False).any())
        times = each.ngroups and rows["time_h"] / 24.0
        people = pd.concat([rows["patient_id"], listed["patient_id"]]).nunique()
        found.append({
            "kind": kind.upper(), "files listed": len(listed), "recordings measured": each.ngroups, "patients": people,
            "of all patients": people / max(len(cohort), 1),
            "recordings a patient, median": rows.groupby("patient_id")["time_h"].nunique().median(),
            "first day": np.min(times) if len(rows) else np.nan, "last day": np.max(times) if len(rows) else np.nan,
            "in doubt": float(doubtful.mean()) if len(doubtful) else np.nan,
        })  # fmt: skip
    return pd.DataFrame(found)


def doubts(cohort: Cohort) -> pd.DataFrame:
    """One row a flag: kind, flag, recordings that carry it, their share; from the methods of the rows."""
    found = []
    for kind in KINDS:
        rows = rows_of(cohort, kind)
        total = rows.groupby(["patient_id", "time_h"], dropna=False).ngroups
        flagged = rows[rows["method"].str.contains("flagged:", na=False)].drop_duplicates(["patient_id", "time_h"])
        codes = [code for text in flagged["method"] for code in re.split(r",\s*", text.split("flagged:")[1].strip())]
        for code, count in pd.Series(codes, dtype=object).value_counts().items():
            found.append({"kind": kind.upper(), "flag": str(code), "recordings": int(count), "share": count / total})
    return pd.DataFrame(found, columns=["kind", "flag", "recordings", "share"])


def examinations(cohort: Cohort, kind: str) -> Examinations | None:
    """Features of every recording of a kind beside the outcome; None without any.

    The outcome is the ICANS grade nearest to the recording (within a day, else the patient's worst); without grades
    of ICANS an EEG is held against the VE-CAM-S that was read.
    """
    rows = rows_of(cohort, kind)
    if rows.empty:
        return None
    rows = rows.assign(time_h=rows["time_h"].fillna(0.0), feature=_feature(rows))
    values = rows.pivot_table(index=["patient_id", "time_h"], columns="feature", values="value", aggfunc="median")
    outcome, name = _outcome(cohort, values)
    if name == "VE-CAM-S":
        values = values.drop(columns="ve_cam_s")
    values = values.loc[:, values.nunique() > 1]
    known = analytes()
    labels = {str(f): known[f].label if f in known else str(f).replace("_", " ") for f in values.columns}
    labels = {f: re.sub(r"^(EEG|MRI):? (volume of )?", "", word) for f, word in labels.items()}
    return Examinations(values, labels, outcome, name, _groups(outcome, name))


def _feature(rows: pd.DataFrame) -> pd.Series:
    by_method = rows["analyte"].isin(NAMED_BY_METHOD) & rows["method"].notna()
    return rows["analyte"].where(~by_method, rows["method"])


def _outcome(cohort: Cohort, values: pd.DataFrame) -> tuple[pd.Series, str]:
    worst = worst_grade(cohort, "ICANS")
    if worst.notna().any():
        graded = grades_of(cohort, "ICANS")
        graded = graded[graded["grade"].notna()]
        found = []
        for patient, at in values.index:
            mine = graded[graded["patient_id"].eq(patient)]
            away = (mine["time_h"] - at).abs()
            near = len(away) and away.min() <= NEAR_H
            found.append(mine.loc[away.idxmin(), "grade"] if near else worst.get(patient, np.nan))
        return pd.Series(found, index=values.index, dtype=float), "ICANS grade"
    if "ve_cam_s" in values:
        return values["ve_cam_s"], "VE-CAM-S"
    return pd.Series(np.nan, index=values.index), ""


def _groups(outcome: pd.Series, name: str) -> pd.Series:
    """ICANS by grade; another score by thirds of its values."""
    if name == "ICANS grade":
        edges, words = [*GRADE_GROUPS.values(), np.inf], list(GRADE_GROUPS)
    elif outcome.notna().sum() >= FEWEST:
        low, high = outcome.quantile([1 / 3, 2 / 3])
        edges = [-np.inf, low + 1e-9, high + 1e-9, np.inf]
        words = [f"{name} ≤ {low:g}", f"{name} > {low:g} to {high:g}", f"{name} > {high:g}"]
    else:
        return pd.Series(pd.Categorical([None] * len(outcome)), index=outcome.index)
    cut = pd.cut(outcome, edges, labels=words, right=False, duplicates="drop")
    return cut.cat.remove_unused_categories()


def associations(found: Examinations) -> pd.DataFrame:
    """One row a feature: recordings, patients, rank correlation with the outcome and its interval, strongest first.

    The interval resamples patients (percentiles 2.5 and 97.5 of :data:`DRAWS` draws, ranks of the whole sample), as
    recordings of one patient are no independent news. Features are many: no row is a test.
    """
    patients = found.patients
    rows = []
    for feature in found.values.columns:
        kept = (found.values[feature].notna() & found.outcome.notna()).to_numpy()
        x, y = found.values[feature].to_numpy()[kept], found.outcome.to_numpy()[kept]
        if len(x) < FEWEST or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
            continue
        value, low, high = _rank_correlation(x, y, patients[kept])
        rows.append((str(feature), len(x), len(set(patients[kept])), value, low, high))
    table = pd.DataFrame(rows, columns=["feature", "recordings", "patients", "correlation", "low", "high"])
    order = table["correlation"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _rank_correlation(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], patients: Sequence[object] | npt.NDArray[np.object_]
) -> tuple[float, float, float]:
    """Spearman's correlation with an interval over patients."""
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    codes, people = pd.factorize(np.asarray(patients, dtype=object))
    rng = stream(SEED, "recordings", "patients")
    drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), DRAWS)[:, codes].astype(float)
    weights = np.vstack([np.ones(len(a)), drawn])
    total = weights.sum(axis=1)
    mean_a, mean_b = weights @ a / total, weights @ b / total
    both = weights @ (a * b) / total - mean_a * mean_b
    spread = (weights @ a**2 / total - mean_a**2) * (weights @ b**2 / total - mean_b**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(spread > 1e-12, both / np.sqrt(np.maximum(spread, 1e-300)), np.nan)
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def by_group(found: Examinations, features: Sequence[str]) -> pd.DataFrame:
    """Median and quartiles of features in each outcome group: feature, group, recordings, median, low, high."""
    rows = []
    for feature in features:
        for group in found.groups.cat.categories:
            values = found.values.loc[found.groups.eq(group).to_numpy(), feature].dropna()
            if len(values):
                low, middle, high = values.quantile([0.25, 0.5, 0.75])
                rows.append((feature, str(group), len(values), middle, low, high))
    return pd.DataFrame(rows, columns=["feature", "group", "recordings", "median", "low", "high"])
