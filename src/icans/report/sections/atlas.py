"""6. Temporal biomarker atlas: each analyte in each window after infusion."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.report import format as fmt
from icans.report.atlas import ALL, MIN_PATIENTS, atlas, unclear_units
from icans.report.figures.atlas import fig_atlas
from icans.report.model import ReportData
from icans.report.outcomes import outcome_groups
from icans.report.page import Builder, Callout, Heading, Section, Text, absent, blocks_of

LEAD = "How each marker moved in the windows before, during and after the toxicity. Every cell comes from this cohort."

CAPTION = (
    "Each cell: median over patients (a patient counts once), n patients, colour by change from the baseline. "
    f"Hatched: fewer than {MIN_PATIENTS} patients, or several units: not summarised. Empty: nobody measured. "
    "≤: at least half of the patients were below a limit. Patients differ between windows: those who stay in hospital "
    "are sicker."
)


def section(builder: Builder) -> Section:
    """The atlas of all patients, then split as far as the audit allows."""
    cohort = builder.data.cohort
    if cohort is None or cohort.measurements.empty:
        return Section("atlas", "Temporal biomarker atlas", LEAD, (absent("The cohort has no measurements."),))
    table = atlas(cohort)
    split, why = _split(builder.data, cohort)
    blocks = [_units(table), _picture(builder, table, (ALL,), "Temporal biomarker atlas, all patients")]
    if split is not None:
        parted = atlas(cohort, by=split)
        strata = tuple(s for s in dict.fromkeys(parted["stratum"]) if s != ALL)
        if len(strata) > 1 and parted.loc[parted["stratum"] != ALL, "shown"].any():
            blocks += [
                Heading("By outcome"),
                why,
                _picture(builder, parted, strata, "Temporal biomarker atlas by outcome"),
            ]
            table = parted
    elif why is not None:
        blocks.append(why)
    return Section("atlas", "Temporal biomarker atlas", LEAD, blocks_of(blocks, _numbers(builder, table)))


def _units(table: pd.DataFrame) -> Callout | None:
    """Says which rows are not in one known unit."""
    several, undeclared = unclear_units(table)
    lines = []
    if several:
        lines.append(f"In several units, therefore not summarised: {fmt.joined(several)}.")
    if undeclared:
        lines.append(f"Unit not declared, shown as delivered; values may mix units: {fmt.joined(undeclared)}.")
    return Callout("Units are not settled", tuple(lines), "caution") if lines else None


def _split(data: ReportData, cohort: Cohort) -> tuple[str | None, Any]:
    """By ICANS where the audit allows it, else among cases by severity; with the reason."""
    groups = outcome_groups(cohort).value_counts()
    can = data.audit.occurrence_can_be_validated if data.audit is not None else None
    if can:
        return "icans", Text("Patients with ICANS at any time against those without. Days after onset are included.")
    severe = groups.get("ICANS grade ≥ 3", 0) >= MIN_PATIENTS and groups.get("ICANS grade 1–2", 0) >= MIN_PATIENTS
    reason = (
        "the leakage audit found that how data were delivered tells who had ICANS"
        if can is False
        else "no leakage audit has cleared the comparison of patients with and without ICANS"
    )
    if severe:
        lines = (f"Not split into ICANS and no ICANS: {reason}. Split among cases, by severity, instead.",)
        return "severity", Callout("Cases only", lines, "caution")
    return None, Callout("Not split by outcome", (f"{reason[0].upper()}{reason[1:]}.",), "caution")


def _picture(builder: Builder, table: pd.DataFrame, strata: tuple[str, ...], title: str) -> Any:
    shown = table[table["shown"] & table["stratum"].isin(strata)]
    moved = shown.dropna(subset=["change"])
    moved = moved[moved["scale"] == "log2"].sort_values("change", ascending=False).head(3)
    words = "; ".join(
        f"{r.label}, {r.window}: median {fmt.significant(r.median)} {fmt.unit(r.unit)}" for r in moved.itertuples()
    )
    alt = f"Grid of analytes by time window with median and number of patients. Largest rises: {words or 'none'}."
    return builder.picture(fig_atlas(table, strata), title, CAPTION, alt)


def _numbers(builder: Builder, table: pd.DataFrame) -> Any:
    rows = table[table["n"] > 0]
    shown = pd.DataFrame(
        {
            "Analyte": rows["label"],
            "Unit": rows["unit"].map(fmt.unit),
            "Source": rows["source"],
            "Patients who": rows["stratum"],
            "Window": rows["window"],
            "n": rows["n"],
            "At limit": rows["n_at_limit"],
            "Median [IQR]": [
                f"{fmt.significant(m)} [{fmt.significant(a)} to {fmt.significant(b)}]" if s else f"n < {MIN_PATIENTS}"
                for m, a, b, s in rows[["median", "q1", "q3", "shown"]].itertuples(index=False)
            ],
            "Change": [fmt.number(c, 1) for c in rows["change"]],
        }
    )
    note = "Change: log2 of the ratio to baseline; for †-analytes the difference in baseline SDs."
    return builder.table(shown, "The atlas in numbers", note=note, file="atlas.parquet", fold=True)
