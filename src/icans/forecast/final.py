"""The model fitted on every patient, its bootstrap refits, and forecasts for single patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort import schema
from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, NotEstimableError
from icans.core.execute import Executor, Serial
from icans.core.provenance import package_version
from icans.core.random import stream
from icans.forecast.blocks import FeatureBlock, FittedBlock, with_blocks
from icans.forecast.envelope import Z95, Envelope, Note, widened
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.forecast import Forecast, Reason
from icans.forecast.inputs import Inputs, history
from icans.forecast.outcomes import Horizon, Task, outcome_table, task_grades
from icans.forecast.ridge import expit, log_odds
from icans.forecast.rung import FittedRung, Rung

if TYPE_CHECKING:
    from icans.forecast.crossval import Design
    from icans.forecast.dataset import CohortStep, Examples, FittedStep

Floats = NDArray[np.float64]

#: Refits behind an interval and behind what is said of instability; an SD from fifty is known to a tenth.
REFITS = 50
#: Reasons listed with a forecast.
REASONS = 5


@dataclass(frozen=True)
class FinalModel:
    """A rung fitted on all patients of a cohort, ready to forecast.

    Attributes
    ----------
    task, rung, spec, horizons
        What it forecasts, how, from which features, how far.
    fitted, refits
        The model and its bootstrap refits.
    steps
        Fitted steps that a new cohort goes through first.
    blocks
        Fitted blocks whose columns join the feature table.
    training
        Patients, patients with the event, digest of the training tables.
    envelope
        What the training cohort looked like: what is new about a patient is told, and widens his interval.
    card
        Plain JSON values about the model: how it was validated, what the audit of its cohort said.
    program, digest
        Version of the program that trained it; digest of the file that it was read from.
    """

    task: Task
    rung: Rung
    spec: FeatureSpec
    horizons: tuple[Horizon, ...]
    fitted: FittedRung
    refits: tuple[FittedRung, ...]
    steps: tuple[FittedStep, ...]
    blocks: tuple[FittedBlock, ...]
    training: tuple[int, int, str]
    synthetic: bool
    envelope: Envelope
    card: dict[str, Any] = field(default_factory=dict)
    program: str = field(default_factory=package_version)
    digest: str = ""

    @property
    def version(self) -> str:
        """Version of the program that trained it and digest of the training data."""
        return f"icans {self.program}, training data {self.training[2]}"

    def forecast(
        self, cohort: Cohort, landmark_h: float, patient_ids: Sequence[str] | None = None
    ) -> tuple[list[Forecast], pd.DataFrame]:
        """Forecasts at a landmark, and who gets none.

        Parameters
        ----------
        cohort
            Patients to forecast; only rows with ``available_h <= landmark_h`` are used.
        landmark_h
            Hours since infusion.
        patient_ids
            Some of its patients; None: all.

        Returns
        -------
        (list of Forecast, DataFrame)
            One forecast per patient and horizon; patients who are no longer at risk (patient_id, reason).

        Raises
        ------
        NotEstimableError
            The task counts from a patient's own onset, so that a landmark since infusion has no meaning for it; or
            the landmark lies before the infusion, or after the end of every horizon.
        DataError
            An analyte comes in another unit than the model has learned.
        """
        self._check(cohort, landmark_h)
        if self.task.anchor != "infusion":
            raise NotEstimableError(f"task {self.task.name!r} counts from onset; it is a study task, not a forecast")
        ids = cohort.patient_ids if patient_ids is None else list(patient_ids)
        known = cohort.subset(ids).available_by(landmark_h)
        for step in self.steps:
            known = step.apply(known)
        gone = _gone(known, self.task)
        open_ids = [p for p in known.patient_ids if p not in gone]
        excluded = pd.DataFrame(sorted(gone.items()), columns=["patient_id", "reason"])
        if not open_ids:
            return [], excluded
        inputs = self._inputs(known, open_ids, landmark_h)
        newest = _newest(known)
        made: list[Forecast] = []
        open_horizons = [h for h in self.horizons if float(h.window(landmark_h)) > 0]
        risk = self.fitted.risks(inputs, open_horizons)
        notes = self.envelope.notes_of(known, inputs.table, self.used(inputs.table))
        bounds = self.fitted.bounds(inputs, open_horizons)
        if bounds is None:
            refits = [model.risks(inputs, open_horizons) for model in self.refits]
            bounds = spread(risk, np.array(refits).reshape(-1, *risk.shape))
        reasons = self.fitted.every_reasons(inputs, open_horizons)
        for k, horizon in enumerate(open_horizons):
            told = _reasons(reasons[k], inputs.table)
            now = np.stack([risk[:, k], *bounds[:, :, k]])
            made += self._one_horizon(inputs, horizon, now, told, newest, notes, known.synthetic)
        return made, excluded

    def _check(self, cohort: Cohort, landmark_h: float) -> None:
        if landmark_h < 0:
            raise NotEstimableError(
                f"day {landmark_h / 24:g} lies before the infusion: the model forecasts from the infusion on"
            )
        if all(float(h.window(landmark_h)) <= 0 for h in self.horizons):
            raise NotEstimableError(f"day {landmark_h / 24:g} lies after the end of every horizon of the model")
        problems = self.envelope.unit_problems(cohort)
        if problems:
            raise DataError(problems)

    def used(self, table: pd.DataFrame) -> list[str]:
        """The features that the fitted model looks at."""
        seen = Inputs.of(table).only(self.rung.groups).table.columns
        model = self.fitted.model
        own = getattr(model, "columns", getattr(getattr(model, "stack", None), "columns", None))
        known = None if own is None else set(own)
        return [name for name in seen if known is None or name in known]

    def inputs_of(self, cohort: Cohort, patient_ids: Sequence[str], landmark_h: float) -> Inputs:
        """What the model sees of some patients at a landmark."""
        known = cohort.subset(list(patient_ids)).available_by(landmark_h)
        for step in self.steps:
            known = step.apply(known)
        return self._inputs(known, list(patient_ids), landmark_h)

    def _inputs(self, known: Cohort, patient_ids: Sequence[str], landmark_h: float) -> Inputs:
        plan = pd.DataFrame({"patient_id": list(patient_ids), "landmark_h": float(landmark_h)})
        at_h = np.full(len(plan), float(landmark_h))
        table = features_at(known, plan, at_h, self.spec)
        table = with_blocks(table, at_h, known, self.blocks) if self.blocks else table
        return Inputs(table, at_h, history(known, self.spec) if self.rung.uses_history else None)

    def _one_horizon(
        self, inputs: Inputs, horizon: Horizon, risks: Floats, reasons: list[tuple[Reason, ...]], newest: pd.Series,
        notes: list[tuple[Note, ...]], synthetic: bool,
    ) -> list[Forecast]:  # fmt: skip
        """Forecasts for one horizon; ``risks``: risk and ends of its interval, shape (3, patients)."""
        table, landmark = inputs.table, float(inputs.at_h[0])
        risk = risks[0]
        low, high = widened(risk, np.minimum(risks[1], risk), np.maximum(risks[2], risk), notes)
        return [
            Forecast(
                patient_id=patient,
                landmark_h=landmark,
                horizon_h=float(horizon.window(landmark)),
                task=self.task.name,
                risk=float(risk[k]),
                low=float(low[k]),
                high=float(high[k]),
                reasons=reasons[k],
                data_cutoff_h=landmark,
                newest_data_h=float(newest.get(patient, np.nan)),
                model=self.rung.name,
                version=self.version,
                synthetic=self.synthetic or synthetic,
                notes=tuple(note.text for note in notes[k]),
            )
            for k, patient in enumerate(table.index.get_level_values("patient_id"))
        ]


def spread(risk: Floats, refits: Floats) -> Floats:
    """Ends of 95 % intervals from refits to resampled patients, shape (2, *risk.shape); NaN without refits.

    1.96 times the root mean square of the refits' distance *from the model*, on the log odds: a refit learns from fewer
    different patients and strays in the direction in which the model itself is wrong, which percentiles leave out. For
    a penalised fit it still covers less than it says (``docs/train-forecast.md``).
    """
    if not len(refits):
        return np.full((2, *risk.shape), np.nan)
    at = log_odds(risk)
    reach = Z95 * np.sqrt(((log_odds(refits) - at) ** 2).mean(axis=0))
    return np.stack([expit(at - reach), expit(at + reach)])


def fit_final(
    cohort: Cohort,
    task: Task,
    rung: Rung,
    design: Design | None = None,
    *,
    spec: FeatureSpec | None = None,
    steps: Sequence[CohortStep] = (),
    blocks: Sequence[FeatureBlock] = (),
    refits: int = REFITS,
    executor: Executor | None = None,
) -> FinalModel:
    """Fit a rung on every patient, and again on bootstrap samples of patients.

    With refits (``refits`` > 0) forecasts have intervals: from the model's posterior where it can have one
    (:mod:`icans.forecast.shrinkage`), else from the refits (:func:`spread`).

    A refit repeats everything that learns from the feature table: preprocessing, choice of the penalty, fit. Steps
    and blocks that learn from the cohort are fitted once on all patients (their variation over samples is not part
    of the intervals). Samples in which the model cannot be estimated are left out.

    Raises
    ------
    NotEstimableError
        The model cannot be estimated from these patients.
    """
    # One forecast needs neither these nor the rungs of the ladder that they bring.
    from icans.forecast.crossval import Design, horizons_for
    from icans.forecast.dataset import examples_for, table_digest

    design = design or Design()
    fitted_steps = []
    outcome = outcome_table(cohort, task, design.landmarks_h)
    horizons, _ = horizons_for(outcome, design)
    for step in steps:
        fitted_steps.append(step.fit(cohort))
        cohort = fitted_steps[-1].apply(cohort)
    spec = (spec or FeatureSpec()).resolve(cohort)
    seed = int(stream(design.seed, "final", rung.name).integers(2**31 - 1))
    fitted_blocks = tuple(block.fit(cohort, seed) for block in blocks)
    data = examples_for(cohort, task, outcome, spec, blocks=fitted_blocks, stream=rung.uses_history)
    fitted = rung.fit(data.inputs, data.outcome, horizons, seed)
    if refits:
        fitted = fitted.with_posterior(data.inputs, data.outcome, seed)
    work = [_Refit(rung, data, horizons, seed, k) for k in range(refits)]
    drawn = (executor or Serial()).map(_refit, work, f"refits of {rung.name}")
    events = int(outcome.loc[outcome["event"] == 1, "patient_id"].nunique())
    training = (int(outcome["patient_id"].nunique()), events, table_digest([data.outcome, data.table])[:16])
    kept = tuple(model for model in drawn if model is not None)
    return FinalModel(
        task=task, rung=rung, spec=spec, horizons=horizons, fitted=fitted, refits=kept, steps=tuple(fitted_steps),
        blocks=fitted_blocks, training=training, synthetic=cohort.synthetic,
        envelope=Envelope.of(cohort, data.table, data.outcome, getattr(fitted.model, "group_sd", dict)()),
    )  # fmt: skip


@dataclass(frozen=True)
class _Refit:
    rung: Rung
    data: Examples
    horizons: tuple[Horizon, ...]
    seed: int
    number: int


def _refit(work: _Refit) -> FittedRung | None:
    ids = np.sort(work.data.outcome["patient_id"].unique())
    drawn = stream(work.seed, "refit", work.number).choice(ids, len(ids))
    sample = work.data.repeated(drawn.tolist())
    try:
        return work.rung.fit(sample.inputs, sample.outcome, work.horizons, work.seed)
    except NotEstimableError:
        return None


def _gone(known: Cohort, task: Task) -> dict[str, str]:
    """Patients who are known to be no longer at risk, and why."""
    grades = task_grades(known, task, required=False)
    reasons = {p: "has had the event" for p in grades.loc[task.hit(grades["grade"]), "patient_id"]}
    events = known.events[known.events["event"].isin(task.competing)]
    return {**reasons, **{p: str(e) for p, e in zip(events["patient_id"], events["event"], strict=True)}}


def _newest(known: Cohort) -> pd.Series:
    frames = [known.table(name)[["patient_id", "available_h"]] for name in schema.TABLES if name != "patients"]
    return pd.concat(frames, ignore_index=True).groupby("patient_id")["available_h"].max()


def _reasons(parts: pd.DataFrame, table: pd.DataFrame) -> list[tuple[Reason, ...]]:
    """The largest contributions to each row's forecast, with the values of their features."""
    names, contributions = parts.columns.tolist(), parts.to_numpy(dtype=float)
    values: dict[object, list[object]] = {}
    found = []
    for k, row in enumerate(contributions):
        largest = [j for j in np.argsort(-np.abs(row), kind="stable").tolist() if row[j] != 0.0][:REASONS]
        for name in (names[j] for j in largest):
            if name not in values:
                values[name] = table[name].tolist() if name in table else [None] * len(table)
        found.append(tuple(Reason(str(names[j]), _value(values[names[j]][k]), float(row[j])) for j in largest))
    return found


def _value(value: object) -> float | str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
