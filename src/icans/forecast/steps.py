"""Harmonisation that learns from patients, as steps that cross-validation refits in every fold.

A correction fitted on all patients, the held-out ones included, has seen the test data. These steps are fitted on
the training cohort and applied to both parts: ``cross_validate(..., steps=[BatchStep(), AssayStep()])``.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort, change_rows
from icans.core.errors import NotEstimableError
from icans.forecast.models.parts import Arrays, Meta, Parts
from icans.harmonize.assay_scale import AssayScale
from icans.harmonize.batch import ComBat, Fitted, Prior

Floats = NDArray[np.float64]

#: Values of an analyte that every batch must have before its shift is estimated: fewer give no variance worth having.
MIN_VALUES = 5


@dataclass(frozen=True)
class BatchStep:
    """ComBat on the logarithms of analytes that came in several batches.

    The day since infusion (and its square) is kept: batches are often runs of one week, and a correction that does
    not know the day would remove the course of the disease.

    Parameters
    ----------
    combat
        Settings. By default a batch that training did not have (a left-out one) is estimated from its own values,
        shrunk to the others; outcomes play no part.
    """

    combat: ComBat = field(default_factory=lambda: ComBat(unseen="shrink"))

    def fit(self, cohort: Cohort) -> FittedBatchStep:
        """Learn the batches' shifts and spreads; analytes that cannot be estimated are left as they are."""
        rows = _batched(cohort)
        count = rows.groupby(["analyte", "batch"], observed=True).size().unstack(fill_value=0)
        analytes = tuple(count.index[(count >= MIN_VALUES).all(axis=1) & (count.shape[1] > 1)]) if len(count) else ()
        if not analytes:
            return FittedBatchStep((), self.combat)
        values, batch, day, _ = _panel(rows, analytes)
        try:
            return FittedBatchStep(analytes, self.combat.fit(values, batch, day))
        except NotEstimableError:
            return FittedBatchStep((), self.combat)


@dataclass(frozen=True)
class FittedBatchStep:
    """Shifts and spreads of batches, for the analytes named."""

    analytes: tuple[str, ...]
    combat: ComBat

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with corrected values, and a row of ``changes`` for each analyte."""
        rows = _batched(cohort)
        rows = rows[rows["analyte"].isin(self.analytes)]
        if rows.empty:
            return cohort
        values, batch, day, place = _panel(rows, self.analytes)
        corrected = np.exp(self.combat.transform(values, batch, day))
        moved = cohort.measurements["value"].copy()
        moved.loc[rows.index] = corrected[place]
        changes = [
            change_rows("measurements", "batch.combat", "batches brought to a common level and spread, fitted on the "
                        "training patients", item=name, column="value", rows=len(part))
            for name, part in rows.groupby("analyte", observed=True)
        ]  # fmt: skip
        return cohort.with_table("measurements", cohort.measurements.assign(value=moved), pd.concat(changes))

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        fitted = self.combat.fitted
        settings = asdict(replace(self.combat, fitted=None))
        meta = {"kind": "batch_step", "analytes": list(self.analytes), "combat": settings, "batches": None}
        if fitted is None:
            return meta, {}
        arrays = {name: getattr(fitted, name) for name in ("intercept", "effects", "sd", "shift", "spread")}
        priors = np.array([astuple(prior) for prior in fitted.priors], dtype=float)
        return meta | {"batches": list(fitted.batches)}, arrays | {"priors": priors}


@dataclass(frozen=True)
class AssayStep:
    """Factors between assays of one analyte, from patients measured on both."""

    scale: AssayScale = field(default_factory=lambda: AssayScale(unknown="identity"))

    def fit(self, cohort: Cohort) -> FittedAssayStep:
        """Estimate the factors; without overlapping patients nothing is changed."""
        try:
            return FittedAssayStep(self.scale.fit(cohort.measurements))
        except NotEstimableError:
            return FittedAssayStep(None)


@dataclass(frozen=True)
class FittedAssayStep:
    """Factors between assays (None: not estimable)."""

    scale: AssayScale | None

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort on the reference assays, with rows of ``changes``."""
        if self.scale is None or self.scale.factors is None or self.scale.factors.empty:
            return cohort
        table, changes = self.scale.transform(cohort.measurements)
        return cohort.with_table("measurements", table, changes)

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        if self.scale is None or self.scale.factors is None:
            return {"kind": "assay_step", "factors": None}, {}
        names = self.scale.factors[["analyte", "assay", "reference"]].astype(object)
        numbers = self.scale.factors[["factor", "se_log", "n_patients"]].to_numpy(dtype=float)
        settings = {"window_h": self.scale.window_h, "reference": dict(self.scale.reference),
                    "unknown": self.scale.unknown}  # fmt: skip
        named = names.where(names.notna(), None).to_numpy().tolist()
        return {"kind": "assay_step", "factors": named, **settings}, {"numbers": numbers}


def from_parts(meta: Meta, arrays: Arrays) -> FittedBatchStep | FittedAssayStep:
    """The fitted step that ``to_parts`` took apart."""
    if meta["kind"] == "assay_step":
        return _assay_step(meta, arrays)
    fitted = None
    if meta["batches"] is not None:
        names = ("intercept", "effects", "sd", "shift", "spread")
        numbers = {name: np.asarray(arrays[name], dtype=float) for name in names}
        priors = tuple(Prior(*row) for row in np.asarray(arrays["priors"], dtype=float).tolist())
        fitted = Fitted(batches=tuple(meta["batches"]), priors=priors, **numbers)
    return FittedBatchStep(tuple(meta["analytes"]), ComBat(**(meta["combat"] | {"fitted": fitted})))


def _assay_step(meta: Meta, arrays: Arrays) -> FittedAssayStep:
    if meta["factors"] is None:
        return FittedAssayStep(None)
    frame = pd.DataFrame(meta["factors"], columns=["analyte", "assay", "reference"])
    numbers = np.asarray(arrays["numbers"], dtype=float).reshape(-1, 3)
    for k, name in enumerate(("factor", "se_log", "n_patients")):
        frame[name] = numbers[:, k]
    return FittedAssayStep(AssayScale(meta["window_h"], dict(meta["reference"]), meta["unknown"], frame))


def _batched(cohort: Cohort) -> pd.DataFrame:
    """Positive, uncensored values with a batch."""
    rows = cohort.measurements
    return rows[rows["batch"].notna() & (rows["value"] > 0) & (rows["censor"] == "none")]


def _panel(
    rows: pd.DataFrame, analytes: tuple[str, ...]
) -> tuple[Floats, list[str], Floats, tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Samples x analytes of log values; batch and day terms of each sample; where each row of ``rows`` lies.

    A sample is a patient, time and batch; a second value of an analyte in it opens a sample of its own.
    """
    mine = rows[rows["analyte"].isin(analytes)]
    again = mine.groupby(["patient_id", "time_h", "batch", "analyte"], observed=True).cumcount()
    keys = pd.MultiIndex.from_arrays([mine["patient_id"], mine["time_h"], mine["batch"], again])
    sample, samples = pd.factorize(keys)
    column = pd.Index(analytes).get_indexer(mine["analyte"])
    values = np.full((len(samples), len(analytes)), np.nan)
    values[sample, column] = np.log(mine["value"].to_numpy(dtype=float))
    frame = samples.to_frame(index=False)
    day = frame.iloc[:, 1].to_numpy(dtype=float) / 24.0
    return values, frame.iloc[:, 2].astype(str).tolist(), np.column_stack([day, day**2]), (sample, column)
