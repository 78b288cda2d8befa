"""Harmonisation of a cohort's measurements, step by step; every change and every finding is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import Cohort, change_rows, stack
from icans.harmonize import duplicates, precision
from icans.harmonize.censoring import find_limits
from icans.harmonize.findings import FINDINGS, finding, from_judged, row_confidence
from icans.harmonize.placeholders import find_placeholders
from icans.harmonize.regimes import Judged, judge
from icans.harmonize.units import convert_declared, tidy


@dataclass(frozen=True, slots=True)
class HarmonizeSettings:
    """What harmonisation does, and what it only reports.

    Parameters
    ----------
    apply
        Confidence from which a detected unit or an impossible value is acted upon. 0.9: a wrong conversion
        costs more than a missed one, and what stays below is still reported.
    soft
        Also look for units by comparing groups of series (batches, precision), not by impossible values alone.
    ddu_factor
        Factor from D-dimer units to fibrinogen-equivalent units; None: only propose.
    placeholders
        Find default values that fill one day of many patients, and take them as missing.
    limits
        Find undeclared limits of quantification and mark values at them as censored.
    precision
        ``"regimes"``: values converted by a detected unit are rounded to the decimals of the rest of the analyte,
        so that digits do not tell the source; ``"batches"``: every batch is rounded to the coarsest; ``"none"``.
    two_series
        What to do with a patient identity that holds two interleaved series: ``"report"``, ``"split"`` (the
        second becomes a patient of its own, ``<id>#2``) or ``"set_aside"`` (all of the patient's measurements).
    conflicts
        Rule for several values of one key: ``"median"`` merges them where they differ by no more than rounding.
        ``"keep"`` keeps them all. Either way larger conflicts are kept and reported.
    """

    apply: float = 0.9
    soft: bool = True
    ddu_factor: float | None = None
    limits: bool = True
    placeholders: bool = True
    precision: Literal["regimes", "batches", "none"] = "regimes"
    two_series: Literal["report", "split", "set_aside"] = "report"
    conflicts: Literal["median", "keep"] = "median"

    def __post_init__(self) -> None:
        if not 0.5 <= self.apply <= 1.0:
            raise ValueError(f"apply must lie between 0.5 and 1, got {self.apply}")
        allowed = {
            "precision": ("regimes", "batches", "none"),
            "two_series": ("report", "split", "set_aside"),
            "conflicts": ("median", "keep"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Harmonized:
    """A harmonised cohort, what was found, and the unit that each patient's series was found in.

    ``findings`` has the columns of :data:`icans.harmonize.findings.FINDINGS`; ``regimes`` has ``patient_id,
    analyte, regime, basis (declared, detected, assumed), n_rows, confidence``.
    """

    cohort: Cohort
    findings: pd.DataFrame
    regimes: pd.DataFrame


def harmonize(cohort: Cohort, settings: HarmonizeSettings | None = None) -> Harmonized:
    """Bring the measurements of a cohort to one footing: units, duplicates, limits, precision.

    Nothing fitted here uses outcomes. Units, limits and duplicates are facts of the delivery and may be found on
    the whole cohort; corrections that are estimated (assays, batches, imputation) have ``fit`` and ``transform``
    of their own and belong inside a training fold.
    """
    settings = settings or HarmonizeSettings()
    cohort, series_findings = duplicates.two_series(cohort, settings.two_series)
    declared = convert_declared(cohort.measurements, ddu_factor=settings.ddu_factor)
    order = declared.table
    kept = duplicates.exact(order)
    changes, found = [declared.changes, *kept.changes], [series_findings, declared.findings]
    table = order[kept.keep].reset_index(drop=True)
    is_declared, labels = declared.declared[kept.keep], declared.labels[kept.keep]

    judged = judge(table.assign(unit_declared=is_declared), features=_features(cohort), soft=settings.soft)
    found.extend(from_judged(j, table, settings.apply) for j in judged)
    regimes = _regimes(table, judged, is_declared, labels, settings.apply)
    table, applied, moved = _apply(table, judged, settings.apply)
    changes.extend(applied)
    table, rounded, notes = _precision(table, moved, settings.precision)
    changes.extend(rounded)
    found.append(notes)
    merged = duplicates.conflicts(table, settings.conflicts)
    table = merged.table
    changes.extend(merged.changes)
    found.append(merged.findings)
    if settings.placeholders:
        defaults = find_placeholders(table, settings.apply)
        table = defaults.table
        changes.append(defaults.changes)
        found.append(defaults.findings)
    if settings.limits:
        limits = find_limits(table)
        table = limits.table
        changes.append(limits.changes)
        found.append(limits.findings)
    result = cohort.with_table("measurements", table, stack(schema.CHANGES, changes))
    return Harmonized(result, stack(FINDINGS, found), regimes)


def _features(cohort: Cohort) -> pd.DataFrame | None:
    """Site and delivery of each patient, where they differ between patients."""
    names = [n for n in ("site", "source") if cohort.patients[n].nunique() > 1]
    return cohort.patients.set_index("patient_id")[names] if names else None


def _apply(
    table: pd.DataFrame, judged: list[Judged], threshold: float
) -> tuple[pd.DataFrame, list[pd.DataFrame], npt.NDArray[np.bool_]]:
    """Carry out the proposals that are sure enough; the rows that were converted are flagged."""
    value, limit = table["value"].to_numpy().copy(), table["limit"].to_numpy().copy()
    moved = np.zeros(len(table), dtype=bool)
    changes = []
    for j in judged:
        confidence = row_confidence(j, table["value"].to_numpy())
        act = (j.state > 0) & (confidence >= threshold)
        if not act.any():
            continue
        index, state = j.index[act], j.state[act]
        old = value[index].copy()
        slope = np.array([r.slope for r in j.readings] + [np.nan])[state]
        offset = np.array([r.offset for r in j.readings] + [np.nan])[state]
        value[index] = tidy(slope * old + offset)
        limit[index] = tidy(slope * limit[index] + offset)
        junk = state == len(j.readings)
        moved[index[~junk]] = True
        words = np.array([r.words for r in j.readings] + ["no reading makes the value possible; set aside"], object)
        rule = np.where(junk, "value.implausible", "unit.detected")
        for name in np.unique(rule):
            rows = rule == name
            part = table.iloc[index[rows]]
            note = change_rows(
                "measurements", str(name), "", patient_id=part["patient_id"], time_h=part["time_h"], item=j.analyte,
                column="value", old=old[rows], new=value[index[rows]], confidence=confidence[act][rows],
            )  # fmt: skip
            changes.append(note.assign(why=pd.array(words[state[rows]], dtype=schema.TEXT)))
    return table.assign(value=value, limit=limit), changes, moved


def _precision(
    table: pd.DataFrame, moved: npt.NDArray[np.bool_], mode: str
) -> tuple[pd.DataFrame, list[pd.DataFrame], pd.DataFrame]:
    """Report differences in precision and round where asked."""
    group = np.where(moved, "converted", "as stored")
    by = table["batch"].fillna("").to_numpy(object)
    work = table.assign(group=group, batch=by)
    regimes = precision.common_precision(work[work["analyte"].isin(work.loc[moved, "analyte"])], by="group")
    batches = precision.common_precision(work) if pd.unique(by).size > 1 else regimes.iloc[:0]
    notes = [
        finding(
            r.analyte, "precision.differs", scope="batch" if source == "batch" else "analyte", n_rows=r.n_rows,
            batch=r.batch if source == "batch" else None, confidence=1.0, applied=mode != "none",
            proposal=f"round to {r.common_decimals} decimals",
            evidence=f"rows of {source} {r.batch!r} have {r.decimals} decimals, others {r.common_decimals}",
        )
        for source, frame in (("regime", regimes), ("batch", batches))
        for r in frame.itertuples()
        if r.differs and r.decimals > r.common_decimals
    ]  # fmt: skip
    changes: list[pd.DataFrame] = []
    if mode == "regimes":
        # Only what this program converted is rounded; the delivered digits of other rows stay.
        places = regimes[regimes["batch"] == "as stored"].set_index("analyte")["decimals"]
        table, changes = _round(table, moved, places)
    elif mode == "batches":
        frame = pd.concat([regimes, batches])
        places = frame.groupby("analyte")["common_decimals"].min()
        table, changes = _round(table, np.ones(len(table), dtype=bool), places)
    return table, changes, FINDINGS.shape_up(pd.DataFrame(notes)) if notes else FINDINGS.empty()


def _round(
    table: pd.DataFrame, rows: npt.NDArray[np.bool_], places: pd.Series
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    target = table["analyte"].map(places).to_numpy(dtype=float)
    value = table["value"].to_numpy().copy()
    act = rows & np.isfinite(target) & np.isfinite(value)
    if not act.any():
        return table, []
    old = value.copy()
    value[act] = precision.round_half_even(value[act], target[act].astype(np.int64))
    altered = act & (np.abs(value - old) > 1e-9 * np.maximum(1.0, np.abs(old)))
    counts = table.loc[altered, "analyte"].value_counts()
    notes = [
        change_rows("measurements", "precision.rounded", "written with more digits than the rest of the analyte",
                    item=name, column="value", new=f"{int(places[name])} decimals", rows=int(count))
        for name, count in sorted(counts.items())
    ]  # fmt: skip
    return table.assign(value=value), notes


def _regimes(
    table: pd.DataFrame, judged: list[Judged], declared: npt.NDArray[np.bool_], labels: npt.NDArray[np.object_],
    threshold: float,
) -> pd.DataFrame:  # fmt: skip
    """The unit of each patient's series of each analyte."""
    units = {name: a.unit for name, a in vocabulary.analytes().items()}
    regime = np.where(declared, labels, table["analyte"].map(units).to_numpy(object))
    basis = np.where(declared, "declared", "assumed").astype(object)
    confidence = np.full(len(table), np.nan)
    counted = table["value"].notna().to_numpy().copy()
    for j in judged:
        names = np.array([r.label for r in j.readings] + ["implausible"], dtype=object)
        shifted = (j.state > 0) & (row_confidence(j, table["value"].to_numpy()) >= 0.5)
        regime[j.index[shifted]] = names[j.state[shifted]]
        basis[j.index] = np.where(len(j.readings) > 1, "detected", basis[j.index])
        confidence[j.index] = j.confidence
        counted[j.index[j.state == len(j.readings)]] = False
    frame = pd.DataFrame(
        {
            "patient_id": table["patient_id"].astype("category"), "analyte": table["analyte"].astype("category"),
            "regime": pd.Categorical(regime), "basis": pd.Categorical(basis), "confidence": confidence,
        }
    )[counted]  # fmt: skip
    keys = ["patient_id", "analyte"]
    each = frame.groupby([*keys, "regime", "basis"], observed=True).agg(
        n_rows=("confidence", "size"), confidence=("confidence", "min")
    )
    each = each.reset_index().sort_values([*keys, "n_rows"], ascending=[True, True, False], kind="stable")
    each = each.astype({"patient_id": str, "analyte": str, "regime": object, "basis": object})
    mixed = each.duplicated(keys, keep=False)
    both = each[mixed].groupby(keys).agg(
        regime=("regime", lambda x: " + ".join(dict.fromkeys(map(str, x)))), basis=("basis", "first"),
        n_rows=("n_rows", "sum"), confidence=("confidence", "min"),
    )  # fmt: skip
    out = pd.concat([each[~mixed], both.reset_index()]) if mixed.any() else each
    columns = [*keys, "regime", "basis", "n_rows", "confidence"]
    return out[columns].sort_values(keys, ignore_index=True)
