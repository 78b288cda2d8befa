"""What a report is made from: one frozen value, every part of it optional.

Tables are tidy data frames; :data:`COLUMNS` says which columns each must have (more are welcome). Times are
hours, as everywhere inside the package; the report shows days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.report.behaviour import Behaviour

_CELL = ("task", "model", "landmark_h", "horizon_h")

#: Columns that a table must have when it is given, by field of :class:`ReportData`.
COLUMNS: dict[str, tuple[str, ...]] = {
    "findings": ("analyte", "scope", "kind", "proposal", "n_rows", "confidence", "evidence"),
    "performance": (*_CELL, "metric", "value", "low", "high", "n", "events"),
    "comparisons": (*_CELL, "reference_model", "metric", "difference", "low", "high"),
    "calibration": (*_CELL, "predicted", "observed"),
    "decision": (*_CELL, "threshold", "net_benefit"),
    "grade_paths": ("model", "landmark_h", "lead_h", "rps"),
    "crosswalk": ("toxicity", "scheme_a", "scheme_b", "grade_a", "grade_b", "n"),
    "agreement": ("toxicity", "scheme_a", "scheme_b", "n"),
    "predictions": (*_CELL, "patient_id", "risk"),
    "forecasts": (*_CELL, "patient_id", "risk"),
}


#: Longest text that is used as the label of a model in figures.
LABEL_LENGTH = 28


@dataclass(frozen=True)
class Task:
    """One thing that was forecast.

    ``cases_only`` marks a task that compares patients who all had ICANS (severity, onset day, path): it does not
    suffer when the outcome and the source of the data coincide. ``anchor`` is what landmarks count from:
    ``"infusion"``, or ``"onset"`` (each patient's own).
    """

    name: str
    label: str
    description: str = ""
    cases_only: bool = False
    anchor: str = "infusion"


@dataclass(frozen=True)
class Headline:
    """The result that the study declared, before it saw any, to be its main one."""

    task: str
    model: str
    landmark_h: float
    horizon_h: float
    metric: str = "auc"


@dataclass(frozen=True)
class Audit:
    """The leakage audit: a tidy table (any columns; ``verdict`` becomes a chip), and what it means in words.

    ``occurrence_can_be_validated`` is False when the audit found that whether a patient had ICANS can be told
    from how the data were delivered; None when it could not decide.
    """

    table: pd.DataFrame
    sentences: tuple[str, ...] = ()
    occurrence_can_be_validated: bool | None = None


@dataclass(frozen=True)
class RunInfo:
    """What is needed to do the run again.

    ``config`` is the study file as text; ``inputs`` maps file names to SHA-256; ``seconds`` maps stages to time
    taken; ``command`` is what to type.
    """

    config: str = ""
    command: str = ""
    seed: int | None = None
    started: str = ""
    finished: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mechanism:
    """The standing experiment: the same learner with clinical columns, with mechanistic ones, with both.

    Attributes
    ----------
    differences
        task, model, reference_model, metric, difference, low, high, better (yes, no, unclear).
    performance
        task, model, metric, value, low, high, averaged over the judged cells.
    sentences
        What it says, in words.
    """

    differences: pd.DataFrame
    performance: pd.DataFrame
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report may show. What is absent is said to be absent; nothing is made up for it.

    Attributes
    ----------
    delivered, harmonised
        The cohort as read, and as analysed (with its ``changes``).
    findings
        What the harmonisation found (units, batches, censoring): one row per finding.
    problems
        Warnings of the checks.
    performance
        One row per task, model, landmark, horizon and metric, with interval, patients and events.
    comparisons
        Paired differences ``model - reference_model`` with interval.
    calibration
        Points of the flexible calibration curves (``low``/``high``: band).
    decision
        Net benefit by threshold; models ``treat all`` and ``treat none`` are drawn as references.
    grade_paths
        Ranked probability score of the forecast grade path, by model, landmark and lead time.
    crosswalk, agreement
        Grades of the same findings under two schemes: counts, and agreement statistics.
    predictions
        Out-of-sample risks joined with outcomes (``time_h`` from landmark, ``event``): the risk histograms.
    forecasts
        Risks of single patients over landmarks (``low``/``high``: interval).
    behaviour
        What the rest of the evaluation protocol found (alarms, groups, drift, latency, instability, explanation).
    mechanism
        Whether the mechanistic model of the patient helps the forecasts.
    models
        Label or description by model name, in the order of the ladder, which is that of figures and tables. What is
        too long for a label (:data:`LABEL_LENGTH`) is printed once, as a description.
    shown_models
        Models drawn in calibration and decision curves (default: the headline's model and its neighbours).
    sample_patients
        Patients shown one by one (default: chosen by the rule in :mod:`icans.report.sections.individuals`).
    tables_folder
        Where the full tables lie, as shown to the reader.
    synthetic
        None: as the cohort says.
    """

    study: str
    delivered: Cohort | None = None
    harmonised: Cohort | None = None
    findings: pd.DataFrame | None = None
    problems: Sequence[Problem] = ()
    audit: Audit | None = None
    tasks: tuple[Task, ...] = ()
    headline: Headline | None = None
    performance: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    decision: pd.DataFrame | None = None
    grade_paths: pd.DataFrame | None = None
    crosswalk: pd.DataFrame | None = None
    agreement: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    forecasts: pd.DataFrame | None = None
    behaviour: Behaviour | None = None
    mechanism: Mechanism | None = None
    sample_size: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    shown_models: tuple[str, ...] = ()
    sample_patients: tuple[str, ...] = ()
    extra_tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    synthetic: bool | None = None

    @property
    def cohort(self) -> Cohort | None:
        """The harmonised cohort, or the delivered one where there is no other."""
        return self.harmonised if self.harmonised is not None else self.delivered

    @property
    def is_synthetic(self) -> bool:
        """True when any of the data were simulated."""
        if self.synthetic is not None:
            return self.synthetic
        return any(c.synthetic for c in (self.delivered, self.harmonised) if c is not None)

    def task(self, name: str) -> Task:
        """The task called ``name``; one made from the name where it was not declared."""
        known = {task.name: task for task in self.tasks}
        return known.get(name, Task(name, name.replace("_", " ")))

    def model_label(self, name: str) -> str:
        """How a model is called in figures and tables."""
        label = self.models.get(name, name)
        return label if len(label) <= LABEL_LENGTH and label != name else name.replace("_", " ")

    def model_order(self, names: Sequence[str]) -> list[str]:
        """``names`` without repeats, in the order of the ladder; undeclared ones last, as met."""
        met = list(dict.fromkeys(names))
        ladder = [name for name in self.models if name in met]
        return ladder + [name for name in met if name not in self.models]


def check(data: ReportData) -> None:
    """See that the tables have the columns that the report reads.

    Raises
    ------
    DataError
        Carries one problem for every table that lacks columns.
    """
    problems = []
    for name, wanted in COLUMNS.items():
        frame = getattr(data, name)
        missing = [] if frame is None else [column for column in wanted if column not in frame.columns]
        if missing:
            problems.append(
                Problem(
                    file=f"ReportData.{name}",
                    row=None,
                    column=", ".join(missing),
                    value=None,
                    expected=f"columns {', '.join(wanted)}",
                    remedy="Add the missing columns, or leave the table out (None).",
                )
            )
    if problems:
        raise DataError(problems)
