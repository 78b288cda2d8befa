"""The leakage audit: can anything but the biology tell the outcome?

Checks of three kinds. *Provenance*: where rows came from and how they were written (source, site, product, batch,
unit regime, filled-in fields, decimals). It cannot cause the outcome; if it tells it, a model may be recognising the
delivery instead of the patient. *Process*: which values exist, how many, for how long. Sicker patients are watched
more closely, so it may tell the outcome honestly once toxicity has begun; before that it should tell little. *Fill*:
single values that give a grade away. Two further checks of a given model are in :mod:`icans.evaluate.audit_shuffle`.

The rule: occurrence cannot be validated when a provenance check, or a process check that sees only what was known by
a landmark, has an AUROC whose interval lies wholly above ``SEPARATES``; when a grouping and the outcome nearly
coincide; or when fill values give the outcome away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.execute import Executor, Serial
from icans.evaluate import audit_features as features
from icans.evaluate.audit_fill import grade_labels, outcome_fills
from icans.evaluate.audit_score import Score, score
from icans.evaluate.audit_words import MEANINGS, sentences
from icans.forecast.outcomes import Task, subjects

#: Lower end of the interval above which features alone separate the outcome. The best honest single predictors of
#: ICANS reach about 0.72-0.74 (maximum temperature and CRS grade of days 0-3 in two public cohorts).
SEPARATES = 0.8
#: Lower end above which features alone tell something of the outcome: above chance by more than small imbalances do.
TELLS = 0.6
#: A grouping and the outcome nearly coincide when guessing each level's commoner outcome has this balanced accuracy.
COINCIDES = 0.9
#: Patients with and without the outcome that a level needs for occurrence to be studied within it (as many as the
#: audit's own cross-validation needs).
ENOUGH = 10

TABLE = ["check", "kind", "scope", "data", "n", "events", "columns", "auroc", "low", "high", "verdict", "meaning"]
GROUPS = ["grouping", "level", "n", "events", "enough"]
PATIENT_FIELDS = ("source", "site", "product")
ROW_FIELDS = ("batch", "assay", "method", "unit")


@dataclass(frozen=True)
class Audit:
    """Result of the leakage audit.

    Attributes
    ----------
    task
        What outcome was audited.
    table
        One row for each check: check, kind (provenance, process, fill, model), scope, data (delivered or
        harmonised), n, events, columns, auroc, low, high, verdict (separates, tells, quiet, not estimable, found,
        passes, fails), meaning.
    fills
        Suspicious fill values (columns of :data:`icans.evaluate.audit_fill.COLUMNS`).
    groupings
        Patients and events in each level of each grouping: grouping, level, n, events, enough (both outcomes often
        enough to study occurrence within the level).
    occurrence_can_be_validated
        False where the rule in the module's text says so.
    reasons
        Why not (empty when it can).
    recommended_tasks
        Of ``occurrence``, ``within_batch``, ``cases_only``.
    sentences
        For the report.
    """

    task: str
    table: pd.DataFrame
    fills: pd.DataFrame
    groupings: pd.DataFrame
    occurrence_can_be_validated: bool
    reasons: tuple[str, ...]
    recommended_tasks: tuple[str, ...]
    sentences: tuple[str, ...]

    def with_checks(self, *rows: dict[str, object]) -> Audit:
        """The audit with rows of the model checks added (see :mod:`icans.evaluate.audit_shuffle`)."""
        table = pd.concat([self.table, pd.DataFrame(rows, columns=TABLE)], ignore_index=True)
        said = tuple(str(row["meaning"]) for row in rows)
        return replace(self, table=table, sentences=(*self.sentences, *said))


@dataclass(frozen=True)
class _Check:
    name: str
    kind: str
    scope: str
    data: str
    features: pd.DataFrame
    outcome: pd.Series


def audit(
    delivered: Cohort,
    harmonised: Cohort,
    outcome: pd.DataFrame,
    *,
    task: str = "the outcome",
    regimes: pd.DataFrame | None = None,
    landmarks_h: tuple[float, ...] = (72.0,),
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
    executor: Executor | None = None,
) -> Audit:
    """Run every check that needs no model.

    Parameters
    ----------
    delivered, harmonised
        The cohort before and after harmonisation.
    outcome
        One row for each patient: patient_id, outcome (0/1, ever), and, for the landmark scopes, onset_h (hours since
        infusion, NaN: none), end_h (end of follow-up) and anchor_h (0 unless landmarks count from elsewhere); see
        :func:`outcome_of`.
    task
        Name used in sentences.
    regimes
        Detected unit regimes: patient_id, analyte, regime.
    landmarks_h
        Landmarks of the scopes "known by"; only patients still at risk then are looked at.
    n_boot, seed, level, executor
        Patient bootstrap, and where checks run.
    """
    regimes = pd.DataFrame(columns=["patient_id", "analyte", "regime"]) if regimes is None else regimes
    table = outcome.set_index(outcome["patient_id"].astype(str))
    ever = table["outcome"].astype(float)
    checks = _whole_record(delivered, harmonised, regimes, ever)
    for landmark in landmarks_h:
        checks += _by_landmark(delivered, harmonised, table, landmark)
    scored = (executor or Serial()).map(partial(_score, n_boot=n_boot, seed=seed, level=level), checks, "audit")
    rows = [_row(check, found) for check, found in zip(checks, scored, strict=True)]
    fills = outcome_fills(delivered, grade_labels(delivered, ever))
    rows.append(_fill_row(fills, len(ever), int(ever.sum())))
    groupings = _groupings(delivered, regimes, ever)
    return _conclude(task, pd.DataFrame(rows, columns=TABLE), fills, groupings)


def audit_task(delivered: Cohort, harmonised: Cohort, task: Task, **options: object) -> Audit:
    """:func:`audit` for a forecasting task (outcome, onset and follow-up as the task defines them)."""
    return audit(delivered, harmonised, outcome_of(harmonised, task), task=task.name, **options)  # type: ignore[arg-type]


def outcome_of(cohort: Cohort, task: Task) -> pd.DataFrame:
    """Outcome table of the audit: patient_id, outcome (event observed), onset_h, end_h, anchor_h."""
    table = subjects(cohort, task)
    return pd.DataFrame(
        {
            "patient_id": table.index.astype(str),
            "outcome": table["onset_h"].notna().astype(int).to_numpy(),
            "onset_h": table["onset_h"].to_numpy(),
            "end_h": table["end_h"].to_numpy(),
            "anchor_h": table["anchor_h"].to_numpy(),
        }
    )


def _whole_record(delivered: Cohort, harmonised: Cohort, regimes: pd.DataFrame, ever: pd.Series) -> list[_Check]:
    ids = delivered.patient_ids
    scope = "whole record"
    checks = [
        _Check(name, "provenance", "any time", "delivered",
               features.level_features(features.field_levels(delivered, name), ids), ever)
        for name in PATIENT_FIELDS
    ]  # fmt: skip
    checks += [
        _Check(name, "provenance", scope, "delivered",
               features.level_features(features.row_levels(delivered, name), ids), ever)
        for name in ROW_FIELDS
    ]  # fmt: skip
    checks += [
        _Check("unit regime", "provenance", scope, "delivered", features.regime_features(regimes, ids), ever),
        _Check("filled-in fields", "provenance", "any time", "delivered", features.missing_fields(delivered), ever),
        _Check("decimals", "provenance", scope, "delivered", features.value_format(delivered), ever),
        _Check("decimals", "provenance", scope, "harmonised", features.value_format(harmonised), ever),
        *_process(delivered, scope, ever),
    ]
    return checks


def _by_landmark(delivered: Cohort, harmonised: Cohort, table: pd.DataFrame, landmark: float) -> list[_Check]:
    """Checks on what was known by a landmark, for patients at risk there."""
    if not {"onset_h", "end_h"} <= set(table.columns):
        return []
    anchor = table["anchor_h"] if "anchor_h" in table else pd.Series(0.0, index=table.index)
    limit = anchor + landmark
    at_risk = ~(table["onset_h"] <= limit) & (table["end_h"] > limit)
    later = table.loc[at_risk, "outcome"].astype(float)
    if later.empty:
        return []
    ids = [p for p in delivered.patient_ids if p in later.index]
    known = {str(p): float(limit[p]) for p in ids}
    old, new = delivered.subset(ids).available_by(known), harmonised.subset(ids).available_by(known)
    scope = f"known by day {landmark / 24:g}"
    return [
        _Check("decimals", "provenance", scope, "delivered", features.value_format(old), later),
        _Check("decimals", "provenance", scope, "harmonised", features.value_format(new), later),
        *_process(old, scope, later),
    ]


def _process(cohort: Cohort, scope: str, outcome: pd.Series) -> list[_Check]:
    return [
        _Check("missingness pattern", "process", scope, "delivered", features.presence(cohort), outcome),
        _Check("row counts", "process", scope, "delivered", features.row_counts(cohort), outcome),
        _Check("record length", "process", scope, "delivered", features.record_length(cohort), outcome),
    ]


def _score(check: _Check, n_boot: int, seed: int, level: float) -> Score:
    return score(check.features, check.outcome, n_boot=n_boot, seed=seed, level=level)


def _row(check: _Check, found: Score) -> dict[str, object]:
    interval = found.auroc
    value, low, high = (np.nan,) * 3 if interval is None else (interval.value, interval.low, interval.high)
    return {
        "check": check.name,
        "kind": check.kind,
        "scope": check.scope,
        "data": check.data,
        "n": found.n,
        "events": found.events,
        "columns": found.columns,
        "auroc": value,
        "low": low,
        "high": high,
        "verdict": _verdict(low),
        "meaning": found.reason or MEANINGS[check.name],
    }


def _verdict(low: float) -> str:
    if np.isnan(low):
        return "not estimable"
    return "separates" if low > SEPARATES else "tells" if low > TELLS else "quiet"


def _fill_row(fills: pd.DataFrame, n: int, events: int) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(TABLE, np.nan)
    row |= {"check": "fill values", "kind": "fill", "scope": "whole record"}
    count = len(fills[["analyte", "value"]].drop_duplicates())
    return row | {
        "data": "delivered",
        "n": n,
        "events": events,
        "columns": count,
        "verdict": "found" if count else "quiet",
        "meaning": MEANINGS["fill values"],
    }


def _groupings(cohort: Cohort, regimes: pd.DataFrame, ever: pd.Series) -> pd.DataFrame:
    """Patients and events in each level of every grouping with at least two levels beside "missing"."""
    found: dict[str, pd.Series] = {name: features.field_levels(cohort, name) for name in PATIENT_FIELDS}
    for name in ("batch", "assay"):
        rows = features.row_levels(cohort, name).dropna()
        found[name] = features.commonest(rows.index.to_series(), rows)
    for analyte, part in regimes.groupby("analyte"):
        found[f"unit regime of {analyte}"] = features.commonest(part["patient_id"], part["regime"])
    frames = []
    for name, labels in found.items():
        level = labels.reindex(ever.index).astype("object")
        if level.nunique() < 2:
            continue
        level = level.where(level.notna(), "(missing)").astype(str)
        counts = ever.groupby(level.to_numpy()).agg(["size", "sum"])
        frame = pd.DataFrame(
            {"grouping": name, "level": counts.index, "n": counts["size"], "events": counts["sum"].astype(int)}
        )
        frame["enough"] = np.minimum(frame["events"], frame["n"] - frame["events"]) >= ENOUGH
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=GROUPS)


def coincidence(groupings: pd.DataFrame) -> pd.Series:
    """Balanced accuracy of guessing, in each level of a grouping, the outcome that is more usual there than overall.

    0.5: the grouping says nothing; 1: it is the outcome. Index: grouping.
    """
    found = {}
    for name, part in groupings.groupby("grouping"):
        events, others = part["events"].to_numpy(float), (part["n"] - part["events"]).to_numpy(float)
        if events.sum() and others.sum():
            found[str(name)] = float(np.maximum(events / events.sum(), others / others.sum()).sum() / 2)
    return pd.Series(found, dtype=float).sort_values(ascending=False)


def _conclude(task: str, table: pd.DataFrame, fills: pd.DataFrame, groupings: pd.DataFrame) -> Audit:
    separates = table["verdict"] == "separates"
    early = table["scope"].str.startswith("known by")
    damning = table[separates & ((table["kind"] == "provenance") | ((table["kind"] == "process") & early))]
    reasons = [_reason(rows) for _, rows in damning.groupby("check", sort=False)]
    same = coincidence(groupings)
    reasons += [
        f"{name} and outcome nearly coincide (balanced accuracy {value:.2f})"
        for name, value in same.items()
        if value >= COINCIDES
    ]
    telling = fills.loc[fills["label"] == "outcome", "analyte"].unique().tolist()
    if telling:
        reasons.append(f"repeated values give the outcome away in: {', '.join(telling)}")
    allowed = not reasons
    worst = str(same.index[0]) if len(same) else ""
    tasks = ("occurrence",) if allowed else _alternatives(groupings, worst)
    said = sentences(task, table, fills, groupings, worst, reasons)
    return Audit(task, table, fills, groupings, allowed, tuple(reasons), tasks, said)


def _reason(rows: pd.DataFrame) -> str:
    """One check that separates, at its strongest; in how many other scopes and versions of the data it does, too."""
    top = rows.loc[rows["auroc"].idxmax()]
    rest = len(rows) - 1
    more = f", and in {rest} other scope{'s' if rest > 1 else ''}" if rest else ""
    return f"{top.check} alone: AUROC {top.auroc:.2f} ({top.low:.2f} to {top.high:.2f}; {top.scope}, {top.data}{more})"


def _alternatives(groupings: pd.DataFrame, worst: str) -> tuple[str, ...]:
    """Tasks that a confounded grouping leaves open: occurrence within one of its levels, and cases only."""
    inside = groupings[(groupings["grouping"] == worst) & groupings["enough"].astype(bool)]
    return ("within_batch", "cases_only") if len(inside) else ("cases_only",)
