"""Sentences of a study that do not depend on its numbers: methods and limits of use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from icans.cohort.cohort import Cohort
from icans.core.errors import Problem
from icans.forecast.final import REFITS
from icans.forecast.ladder import Rung
from icans.study.config import Study

#: Short names of the models for figures and tables (the ladder's descriptions are in the methods).
MODEL_LABELS = {
    "prevalence": "Prevalence on that day",
    "crs_rule": "Rule: highest early CRS",
    "logistic_last": "Logistic, last values",
    "cox_last": "Cox, last values",
    "cox_supermodel": "Cox, changing effects",
    "boosting": "Boosted trees",
}
PATH_LABELS = {
    "persistence": "Persistence",
    "grades_of_day": "Grades of that day",
    "markov": "Markov chain",
    "markov_split": "Markov chain by CRS",
    "hmm_lasso": "HMM + lasso",
    "ordinal": "Ordinal",
    "hmm": "Phases",
    "path_pool": "Pool",
}


def model_label(name: str) -> str:
    """A model's name for people; published scores keep their own."""
    return MODEL_LABELS.get(name, name.removeprefix("score_") if name.startswith("score_") else name.replace("_", " "))


def summarised(warnings: Sequence[Problem]) -> tuple[Problem, ...]:
    """One line for each kind of warning: how many rows it speaks of, with the first as an example."""
    kinds: dict[tuple[object, ...], list[Problem]] = {}
    for w in warnings:
        kinds.setdefault((w.file, w.column, w.expected, w.remedy), []).append(w)
    lines = []
    for group in kinds.values():
        rest = [re.fullmatch(r"(\d+) more of this kind", w.value or "") for w in group]
        count = sum(int(found.group(1)) if found else 1 for found in rest)
        first = group[0]
        example = first.value if first.value is None or count == 1 else f"{count:,} rows, e.g. {first.value}"
        lines.append(replace(first, row=first.row if count == 1 else None, value=example))
    return tuple(lines)


def limits(cohort: Cohort) -> tuple[str, ...]:
    """What the results must not be taken for."""
    said = [
        "Research use only. Not a medical device; not for decisions on the care of a patient.",
        "Risks hold under the care that these patients had: drugs given before a landmark are features, drugs given "
        "after it are part of the outcome. Nothing here says what a treatment would do.",
        "Intervals come from resampling these patients with the forecasts held fixed. They do not hold the "
        "uncertainty of fitting anew elsewhere; only validation in other centres can.",
        "Grades that are missing after discharge are taken as censoring that does not depend on the grade.",
    ]
    if cohort.synthetic:
        said.insert(0, "SYNTHETIC PATIENTS: every number is made by a generator and has no clinical meaning.")
    if cohort.patients["site"].dropna().nunique() < 2:
        said.append("One centre, or centres not recorded: there is no external validation.")
    if cohort.provenance.licence:
        said.append(f"Licence of the data: {cohort.provenance.licence}")
    return tuple(said)


def methods(study: Study, rungs: Sequence[Rung]) -> dict[str, str]:
    """Method facts, by item."""
    f, e = study.forecast, study.evaluate
    days = ", ".join(f"{d:g}" for d in f.landmarks_d)
    ahead = ", ".join(f"{d:g}" for d in f.horizons_d)
    return {
        "Question": study.study.question or "not stated",
        "Risk set": "patients followed beyond the landmark who have not had the event, as known by then",
        "Landmarks and horizons": f"days {days}; {ahead} days ahead" + (", and to day 30" if f.by_day_30 else ""),
        "Models": "; ".join(f"{model_label(rung.name)}: {rung.description}" for rung in rungs),
        "What a forecast may use": "rows with available_h <= landmark (result time, not sample time)",
        "Validation": f"nested cross-validation: {f.folds} patient-grouped folds stratified by outcome, {f.repeats} "
        "repeats; settings chosen, and everything that learns from patients fitted, inside the training fold",
        "Censoring": "inverse probability of censoring weights; death is a competing event",
        "Uncertainty": f"percentile intervals of {e.bootstrap} resamples of patients; paired for differences; "
        f"single patients: {REFITS} refits on resampled patients",
        "Decision curves": f"thresholds {e.threshold_low:.0%} to {e.threshold_high:.0%}",
        "Missing values in features": "median of the training fold; counts and times of measurements are "
        + ("allowed as features" if f.allow_missingness_features else "not used as features"),
    }
