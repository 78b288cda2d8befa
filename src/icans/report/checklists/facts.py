"""What a run can say of itself, in the words that reporting checklists ask for. Nothing is made up for an item."""

from __future__ import annotations

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.report import format as fmt
from icans.report.model import ReportData
from icans.report.outcomes import ANY_GRADE, main_scheme, worst_grade

SYNTHETIC = "SYNTHETIC DATA: made by a generator. "


def facts(data: ReportData) -> dict[str, str]:
    """Facts by name (:file:`tripod.toml` says which item takes which); what the run cannot say is not there."""
    found: dict[str, str] = {"title": data.study, **_method_facts(data)}
    if data.cohort is not None:
        found |= _cohort_facts(data.cohort, data)
    found |= _result_facts(data)
    if data.sample_size:
        found["sample_size"] = " ".join(data.sample_size)
    if data.limits:
        found["limitations"] = " ".join(data.limits)
    if data.run.versions:
        version = data.run.versions.get("icans", "unknown")
        found["code"] = (
            f"icans {version} (open source); command, study file, versions and hashes are in the run section"
        )
    return {name: text for name, text in found.items() if text}


def _method_facts(data: ReportData) -> dict[str, str]:
    """From the method facts that the study wrote."""
    m = data.methods
    asked = m.get("Question", "")
    found = {
        "question": "" if asked in ("", "not stated") else asked,
        "risk_set": m.get("Risk set", ""),
        "splits": m.get("Validation", ""),
        "models": m.get("Models", ""),
        "missing": m.get("Missing values in features", ""),
        "predictor_choice": m.get("What a forecast may use", ""),
    }
    if data.tasks:
        found["target"] = "; ".join(f"{t.label}: {t.description}" for t in data.tasks if t.description)
    if "Models" in m:
        found |= {
            "handling": "inside the training fold: transformation, winsorising and scaling for linear models, one "
            "yes/no a category; trees take values as they are",
            "imbalance": "no resampling and no class weights: forecasts are probabilities, calibration is reported",
            "output": "probability of the event within the horizon, under usual care; no class is assigned. "
            + (f"Decision curves: {m['Decision curves']}" if "Decision curves" in m else ""),
            "calculation": "each patient is forecast by the models of the folds that did not train on that patient; "
            "forecasts of the repeats are averaged in curves",
            "input_handling": "a missing value is filled by the rule of the training data; values beyond an assay's "
            "limit enter as the limit; unknown units are refused or proposed for mending",
            "interaction": "none for forecasts from a cohort in the schema; mending of units is proposed and listed",
        }
    return found


def _cohort_facts(cohort: Cohort, data: ReportData) -> dict[str, str]:
    about, n = cohort.provenance, len(cohort)
    label = SYNTHETIC if cohort.synthetic else ""
    sites = cohort.patients["site"].dropna()
    dates = pd.to_datetime(cohort.patients["infusion_date"].astype(object), errors="coerce", format="ISO8601").dropna()
    scheme = main_scheme(cohort, "ICANS")
    worst = worst_grade(cohort, "ICANS")
    cases = int((worst >= ANY_GRADE).sum())
    drugs = cohort.treatments["drug"].nunique()
    found = {
        "source": label + " ".join(p for p in (about.source, about.citation) if p),
        "dates": f"infusions {dates.min():%Y-%m-%d} to {dates.max():%Y-%m-%d} ({len(dates)} of {n} patients dated)"
        if len(dates) else "",
        "sites": f"{sites.nunique()} centre{'s' if sites.nunique() != 1 else ''} named for {len(sites)} of {n} patients"
        if len(sites) else "",
        "treatments": f"{drugs} drugs recorded; given before a landmark they are predictors, after it they are part of "
        "usual care" if drugs else "",
        "preparation": f"{fmt.whole(len(cohort.changes))} changes by named rules, each listed with its reason (table "
        "changes); problems and findings in the data section",
        "outcome": f"ICANS, {scheme[0]} grades as {scheme[1]}; the first grade at or above the task's threshold, on "
        "the clock of what could be known" if scheme else "",
        "predictors": f"{fmt.plural(len(cohort.analytes()), 'analyte')}, grades and drugs as known, patient columns; "
        "a value counts from the time its result was known",
        "flow": f"{label}{fmt.plural(n, 'patient')}, {fmt.whole(cases)} with ICANS, "
        f"{fmt.whole(int(worst.isna().sum()))} never graded",
        "characteristics": "table 1 and the missingness section of this report",
        "data_sharing": f"licence of the data: {about.licence}" if about.licence else "",
    }  # fmt: skip
    return found


def _result_facts(data: ReportData) -> dict[str, str]:
    found: dict[str, str] = {}
    rows = data.performance
    if rows is not None and len(rows):
        found["measures"] = fmt.joined([fmt.metric(m) for m in dict.fromkeys(rows["metric"])]) + "; calibration and "
        found["measures"] += "decision curves, distribution of risks by outcome"
        cells = rows.drop_duplicates(["task", "landmark_h", "horizon_h"])
        found["numbers"] = f"events and patients of all {len(cells)} judged cells are in the forecasts section"
        found["performance"] = _headline(data) or "in the forecasts section, every cell with intervals"
    behaviour = data.behaviour
    if behaviour is None:
        return found
    found["specification"] = "the fitted model is among the results (models/), with its card"
    if (groups := behaviour.table("groups")) is not None:
        by = fmt.joined(sorted(groups["by"].astype(str).unique()))
        found["heterogeneity"] = f"leave one {by} out; random-effects meta-analysis with a prediction interval"
        found["differences"] = f"training and evaluation differ in {by} where one was left out, else in patients only"
    if (pooled := behaviour.table("pooled")) is not None:
        found["heterogeneity_results"] = _pooled_words(pooled)
    if (updating := behaviour.table("updating")) is not None:
        found["updating"] = "closed test between none, intercept, and intercept and slope in each left-out group"
        chosen = updating["choice"].value_counts()
        found["updating_results"] = "asked for: " + ", ".join(f"{k} ({v} groups)" for k, v in chosen.items())
    if (subgroups := behaviour.table("subgroups")) is not None:
        names = fmt.joined(sorted(subgroups["grouping"].astype(str).unique()))
        found["fairness"] = f"performance by {names}; no verdict with fewer than 20 events"
    return found


def _headline(data: ReportData) -> str:
    head, rows = data.headline, data.performance
    if head is None or rows is None:
        return ""
    mine = rows[
        (rows["task"] == head.task) & (rows["model"] == head.model) & (rows["metric"] == head.metric)
        & (rows["landmark_h"] == head.landmark_h) & (rows["horizon_h"] == head.horizon_h)
    ]  # fmt: skip
    if mine.empty:
        return ""
    r = mine.iloc[0]
    return (
        f"declared cell: {fmt.metric(head.metric)} {fmt.estimate(r['value'], r['low'], r['high'])}, {r['events']} "
        f"events in {r['n']} patients; every cell in the forecasts section"
    )


def _pooled_words(pooled: pd.DataFrame) -> str:
    said = []
    for row in pooled[(pooled["metric"] == "auc") & pooled["value"].notna()].itertuples():
        low, high = getattr(row, "expect_low", float("nan")), getattr(row, "expect_high", float("nan"))
        new = "" if fmt.absent(low) else f", in a new {row.by} {fmt.number(low)} to {fmt.number(high)}"
        said.append(f"AUROC over {row.groups} {row.by}s {fmt.estimate(row.value, row.low, row.high)}{new}")
    return "; ".join(said)
