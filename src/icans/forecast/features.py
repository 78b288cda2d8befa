"""Features at a landmark, from what could be known by then, for a whole cohort at once.

A row of the feature table speaks of one patient at one landmark t and uses only rows with
``available_h <= t`` (:meth:`icans.cohort.cohort.Cohort.available_by`). Column names tell what a column is:

===========================  =========================================================================
``day``                      days since infusion of the landmark
``static.<column>``          a column of the patients table
``lab.<analyte>.last``       newest value (by sample time)
``lab.<analyte>.max_all``    statistic (max, min, mean, slope per day, area in value x day) over all known
``lab.<analyte>.max_3d``     rows, or over the last 3 days before the landmark
``lab.<analyte>.age_d``      days since the newest sample, ``.count_...``: number of samples (see below)
``grade.<toxicity>.now``     newest grade; ``.max`` largest so far; ``.max_d0_3`` largest of days 0-3 so far
``drug.<class>.given``       1 when the drug class was given by then; ``.recent`` in the last 3 days
``score.<name>``             a published score of what was known (see :mod:`icans.forecast.scores`)
===========================  =========================================================================

How often and how lately something was measured tells what the ward feared, and where the record came from.
Such columns (age, count) are made only with ``missingness_features=True``. A grade not yet recorded counts as 0,
a drug not recorded as not given: both are facts of the record at t, not fill values for a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.forecast.grouped import Rows, summarise
from icans.forecast.scores import SCORES, score_at

#: Statistics over a window that the grouped summary knows.
STATISTICS = ("max", "min", "mean", "slope", "area", "count")
#: Patient columns used by default: known at infusion and not a name of the place the record came from.
STATIC = ("age_y", "sex", "disease", "product", "costimulation", "tumour_burden", "prior_lines")
#: Drugs that are taken together, because records name them together or by the molecule.
DRUG_CLASSES: dict[str, tuple[str, ...]] = {
    "tocilizumab": ("tocilizumab",),
    "siltuximab": ("siltuximab",),
    "anakinra": ("anakinra",),
    "steroid": (
        "corticosteroid", "dexamethasone", "methylprednisolone", "prednisone", "prednisolone", "hydrocortisone",
    ),
}  # fmt: skip
#: Days of the clinical rule "largest CRS grade of days 0-3": grades that start before this hour.
EARLY_CRS_H = 96.0
_BLOOD = {"plasma", "serum", "blood"}


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Which features to make.

    Parameters
    ----------
    analytes
        Names in the vocabulary; one measured in another matrix is ``name@matrix`` (e.g. ``il_6@csf``). None:
        every analyte of the cohort; fix it with :meth:`resolve` before a study, so that the columns do not
        depend on who or what is added later.
    static
        Columns of the patients table.
    statistics
        Statistics over each window.
    windows_d
        Windows before the landmark, days; None: everything known.
    toxicities
        Toxicities whose known grades are features.
    drugs
        Drug classes (name: members) as known.
    recent_d
        What counts as given recently, days.
    scores
        Published scores. None: those whose inputs the cohort has, each with a declared unit.
    missingness_features
        Also age and count of samples. Only when the audit of the cohort allows it.
    """

    analytes: tuple[str, ...] | None = None
    static: tuple[str, ...] = STATIC
    statistics: tuple[str, ...] = ("max", "min", "mean", "slope", "area")
    windows_d: tuple[float | None, ...] = (3.0, None)
    toxicities: tuple[str, ...] = ("CRS", "ICANS")
    drugs: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DRUG_CLASSES))
    recent_d: float = 3.0
    scores: tuple[str, ...] | None = None
    missingness_features: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.statistics if name not in STATISTICS]
        if unknown:
            raise ValueError(f"statistics must be of {STATISTICS}; got {unknown}")

    def resolve(self, cohort: Cohort) -> FeatureSpec:
        """The specification with the cohort's analytes and scores written out (unchanged where they are)."""
        analytes = self.analytes
        if analytes is None:
            analytes = tuple(sorted(set(analyte_keys(cohort.measurements).dropna())))
        scores = self.scores
        if scores is None:
            declared = set(cohort.measurements.loc[cohort.measurements["unit"].notna(), "analyte"])
            scores = tuple(name for name, s in SCORES.items() if declared >= {i.analyte for i in s.inputs})
        return replace(self, analytes=analytes, scores=scores)


def analyte_keys(measurements: pd.DataFrame) -> pd.Series:
    """The feature name of each measurement: the analyte, with ``@matrix`` where it is not the usual one."""
    usual = {name: entry.matrix for name, entry in vocabulary.analytes().items()}
    name, matrix = measurements["analyte"].astype(object), measurements["matrix"].astype(object)
    expected = name.map(usual)
    blood = matrix.isin(_BLOOD) & (expected.isin(_BLOOD) | expected.isna())
    same = matrix.isna() | (matrix == expected) | blood
    return name.where(same, name + "@" + matrix.fillna(""))


def feature_table(
    cohort: Cohort, landmarks_h: Sequence[float] | pd.Series | Mapping[str, float], spec: FeatureSpec | None = None
) -> pd.DataFrame:
    """Features of every patient at every landmark.

    Parameters
    ----------
    cohort
        Harmonised: one unit for each analyte.
    landmarks_h
        Landmarks for all (hours since infusion), or one for each patient (a mapping; the others are left out).
    spec
        What to make.

    Returns
    -------
    DataFrame
        Indexed by (patient_id, landmark_h), sorted by landmark and patient; text columns are categorical.

    Raises
    ------
    DataError
        An analyte comes in more than one unit.
    """
    spec = (spec or FeatureSpec()).resolve(cohort)
    if isinstance(landmarks_h, (Mapping, pd.Series)):
        at = pd.Series(landmarks_h, dtype=float)
        plan = pd.DataFrame({"patient_id": at.index.astype(str), "landmark_h": at.to_numpy()})
    else:
        ids, times = cohort.patient_ids, sorted(set(map(float, landmarks_h)))
        plan = pd.DataFrame({"patient_id": ids * len(times), "landmark_h": np.repeat(times, len(ids))})
    return features_at(cohort, plan, plan["landmark_h"].to_numpy(dtype=float), spec)


def features_at(cohort: Cohort, plan: pd.DataFrame, at_h: np.ndarray, spec: FeatureSpec) -> pd.DataFrame:
    """Features for the rows of ``plan`` (patient_id, landmark_h), as known at ``at_h`` hours since infusion.

    ``at_h`` differs from ``landmark_h`` only where landmarks count from a patient's own onset. A patient may
    come with many landmarks; rows keep the order of ``plan``.
    """
    _one_unit(cohort, spec)
    ids = cohort.patient_ids
    code = pd.Series(range(len(ids)), index=ids)
    patient = plan["patient_id"].map(code).to_numpy()
    if np.isnan(patient.astype(float)).any():
        missing = sorted(set(plan["patient_id"]) - set(ids))
        raise KeyError(f"{len(missing)} patients are not in cohort {cohort.name!r}, e.g. {missing[:3]}")
    patient = patient.astype(np.intp)
    index = pd.MultiIndex.from_frame(plan[["patient_id", "landmark_h"]])
    parts: dict[str, object] = {"day": at_h / 24.0}
    parts |= _static(cohort, patient, spec)
    rows = _Rows(cohort, spec, code)
    dynamic = {name: np.full(len(plan), np.nan) for name in rows.names}
    for chosen in _laps(patient):
        limit = np.full(len(ids), -np.inf)
        limit[patient[chosen]] = at_h[chosen]
        for name, values in rows.at(limit).items():
            dynamic[name][chosen] = values[patient[chosen]]
    return pd.DataFrame(parts | dynamic, index=index)


def _laps(patient: np.ndarray) -> list[np.ndarray]:
    """Rows in batches in which no patient comes twice."""
    lap = pd.Series(patient).groupby(patient).cumcount().to_numpy()
    order = np.argsort(lap, kind="stable")
    starts = np.searchsorted(lap[order], np.arange(lap.max() + 2 if len(lap) else 0))
    return [order[a:b] for a, b in pairwise(starts) if b > a]


def _static(cohort: Cohort, patient: np.ndarray, spec: FeatureSpec) -> dict[str, object]:
    columns: dict[str, object] = {}
    for name in spec.static:
        series = cohort.patients[name]
        if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_integer_dtype(series.dtype):
            series = series.astype("Float64").astype(float)
        if pd.api.types.is_numeric_dtype(series.dtype):
            columns[f"static.{name}"] = series.to_numpy(dtype=float)[patient]
        else:
            columns[f"static.{name}"] = pd.Categorical(series.astype(object).to_numpy()[patient])
    return columns


class _Rows:
    """The dated tables, sorted once, ready to be asked at many landmarks."""

    def __init__(self, cohort: Cohort, spec: FeatureSpec, code: pd.Series) -> None:
        self.spec = spec
        self.count = len(code)
        self.labs = spec.analytes or ()
        self.values = lab_rows(cohort, self.labs, code)
        self.grades = {name: grade_rows(cohort, name, code) for name in spec.toxicities}
        self.drugs = {name: drug_rows(cohort, members, code) for name, members in spec.drugs.items()}
        self.cohort = cohort
        self.scores = tuple(spec.scores or ())
        scored = [f"score.{name}" for name in self.scores]
        self.names = [*self._lab_names(), *self._grade_names(), *self._drug_names(), *scored]

    def _lab_names(self) -> list[str]:
        kinds = ["last", *(f"{s}_{_window(w)}" for w in self.spec.windows_d for s in self.spec.statistics)]
        if self.spec.missingness_features:
            kinds += [
                "age_d",
                *(f"count_{_window(w)}" for w in self.spec.windows_d if "count" not in self.spec.statistics),
            ]
        return [f"lab.{analyte}.{kind}" for analyte in self.labs for kind in kinds]

    def _grade_names(self) -> list[str]:
        names = [f"grade.{name}.{kind}" for name in self.spec.toxicities for kind in ("now", "max")]
        return names + (["grade.CRS.max_d0_3"] if "CRS" in self.spec.toxicities else [])

    def _drug_names(self) -> list[str]:
        return [f"drug.{name}.{kind}" for name in self.spec.drugs for kind in ("given", "recent")]

    def at(self, limit: np.ndarray) -> dict[str, np.ndarray]:
        """Every dynamic feature, shape (patients,), when patient i knows rows available by ``limit[i]``."""
        found: dict[str, np.ndarray] = {}
        self._labs_at(limit, found)
        for name, rows in self.grades.items():
            summary = summarise(rows.known(limit), limit, None, self.count, ("last", "max"))
            found[f"grade.{name}.now"] = np.nan_to_num(summary["last"])
            found[f"grade.{name}.max"] = np.nan_to_num(summary["max"])
            if name == "CRS":
                early = rows.known(limit).before(EARLY_CRS_H)
                found["grade.CRS.max_d0_3"] = np.nan_to_num(summarise(early, limit, None, self.count, ("max",))["max"])
        for name, rows in self.drugs.items():
            known = rows.known(limit)
            found[f"drug.{name}.given"] = (summarise(known, limit, None, self.count, ("count",))["count"] > 0) * 1.0
            recent = summarise(known, limit, self.spec.recent_d * 24.0, self.count, ("count",))["count"]
            found[f"drug.{name}.recent"] = (recent > 0) * 1.0
        if self.scores:
            limits = dict(zip(self.cohort.patient_ids, limit.tolist(), strict=True))
            for name in self.scores:
                found[f"score.{name}"] = score_at(self.cohort, limits, name)["value"].to_numpy(dtype=float)
        return found

    def _labs_at(self, limit: np.ndarray, found: dict[str, np.ndarray]) -> None:
        if not self.labs:
            return
        shape = (self.count, len(self.labs))
        wide = np.repeat(limit, len(self.labs))
        known = self.values.known(wide)
        wanted = tuple(self.spec.statistics)
        if self.spec.missingness_features and "count" not in wanted:
            wanted = (*wanted, "count")
        blocks = {"last": summarise(known, wide, None, len(wide), ("last", "age"))}
        for window in self.spec.windows_d:
            hours = None if window is None else window * 24.0
            blocks[_window(window)] = summarise(known, wide, hours, len(wide), wanted)
        for j, analyte in enumerate(self.labs):
            found[f"lab.{analyte}.last"] = blocks["last"]["last"].reshape(shape)[:, j]
            if self.spec.missingness_features:
                found[f"lab.{analyte}.age_d"] = blocks["last"]["age"].reshape(shape)[:, j]
            for name in map(_window, self.spec.windows_d):
                for statistic in wanted:
                    found[f"lab.{analyte}.{statistic}_{name}"] = blocks[name][statistic].reshape(shape)[:, j]


def _window(window_d: float | None) -> str:
    return "all" if window_d is None else f"{window_d:g}d"


def lab_rows(cohort: Cohort, labs: Sequence[str], code: pd.Series) -> Rows:
    """Values of the analytes ``labs``, in groups patient x len(labs) + analyte; ``code`` numbers the patients."""
    frame = cohort.measurements
    keys = analyte_keys(frame)
    # A result beyond a limit of the assay enters with the limit: the most that is known of it.
    value = frame["value"].where(frame["value"].notna() | (frame["censor"] == "none"), frame["limit"])
    mine = keys.isin(labs) & value.notna()
    position = keys[mine].map({name: j for j, name in enumerate(labs)}).to_numpy(dtype=np.intp)
    patient = frame.loc[mine, "patient_id"].map(code).to_numpy(dtype=np.intp)
    return Rows.build(patient * max(len(labs), 1) + position, frame[mine], value[mine].to_numpy(dtype=float))


def grade_rows(cohort: Cohort, toxicity: str, code: pd.Series) -> Rows:
    """Grades of a toxicity in one scheme and from one source, grouped by patient."""
    frame = cohort.grades[(cohort.grades["toxicity"] == toxicity) & cohort.grades["grade"].notna()]
    # Schemes give different numbers to the same patient: one of them is taken, the first that the cohort has in the
    # order of the schema (ASTCT first), and delivered grades before derived ones.
    scheme = next((name for name in schema.SCHEMES if (frame["scheme"] == name).any()), None)
    frame = frame[frame["scheme"] == scheme]
    source = "delivered" if (frame["source"] == "delivered").any() else "derived"
    frame = frame[frame["source"] == source]
    return Rows.build(
        frame["patient_id"].map(code).to_numpy(dtype=np.intp), frame, frame["grade"].to_numpy(dtype=float)
    )


def drug_rows(cohort: Cohort, members: Sequence[str], code: pd.Series) -> Rows:
    """Administrations of drugs of a class, grouped by patient; the value is 1."""
    frame = cohort.treatments[cohort.treatments["drug"].isin(list(members))]
    return Rows.build(frame["patient_id"].map(code).to_numpy(dtype=np.intp), frame, np.ones(len(frame)))


def _one_unit(cohort: Cohort, spec: FeatureSpec) -> None:
    frame = cohort.measurements
    units = frame.assign(key=analyte_keys(frame)).groupby("key")["unit"].agg(lambda s: sorted(s.dropna().unique()))
    problems = [
        Problem("measurements", None, "unit", ", ".join(found), f"one unit for {name}", "Harmonise the cohort first.")
        for name, found in units.items()
        if len(found) > 1 and name in (spec.analytes or ())
    ]
    if problems:
        raise DataError(problems)
