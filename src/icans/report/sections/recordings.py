"""EEG and MRI: what was recorded, how far it can be trusted, and how it goes with the toxicity."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.report import format as fmt
from icans.report.figures.recordings import fig_features, fig_regions
from icans.report.page import Builder, Callout, Heading, Section, Text, absent, blocks_of, merge_interval
from icans.report.recordings import Examinations, associations, by_group, doubts, examinations, overview

TITLE = "EEG and MRI"
LEAD = (
    "Signals and images as measurements: what was recorded, what was doubted, and how it goes with the toxicity. "
    "Patients are not recorded at random: who looks sick gets an EEG."
)
#: Features drawn at most.
DRAWN = 6
REGION = "mri_flair_"
CARE = {
    "eeg": "Features are made by rules; agreement with experts was measured on 30 public clips. Detection of "
    "bilateral independent periodic discharges (BiPD) does not work (AUROC 0.45 there): its rate is told for "
    "completeness, no score counts it, and nothing should rest on it.",
    "mri": "It measures; it does not detect. Accuracy was measured on synthetic heads only.",
}


def section(builder: Builder) -> Section:
    """Counts, doubts, and features by outcome, EEG first."""
    cohort = builder.data.cohort
    counts = pd.DataFrame() if cohort is None else overview(cohort)
    if cohort is None or counts.empty:
        return Section("recordings", TITLE, LEAD, (absent("The cohort has no EEG and no MRI."),))
    parts: list[Any] = [builder.table(_upright(counts), "Recordings", row_heads=True)]
    parts += _quality(builder, cohort)
    for kind in ("eeg", "mri"):
        found = examinations(cohort, kind)
        if found is not None:
            parts += [Heading(kind.upper()), *_features(builder, found, kind)]
    return Section("recordings", TITLE, LEAD, blocks_of(parts))


def _upright(counts: pd.DataFrame) -> pd.DataFrame:
    """One column a kind."""
    shares = ["of all patients", "in doubt"]
    words = counts.astype(object)
    for name in counts.columns.drop("kind"):
        words[name] = [fmt.percent(v) if name in shares else _count(float(v)) for v in counts[name]]
    return words.set_index("kind").T.rename_axis("what").reset_index().rename_axis(None, axis=1)


def _count(value: float) -> str:
    return fmt.whole(value) if value.is_integer() else fmt.significant(value)


def _quality(builder: Builder, cohort: Cohort) -> list[Any]:
    """Flags of the measured recordings, and recordings that gave nothing."""
    flags = doubts(cohort)
    blocks: list[Any] = []
    if len(flags):
        blocks.append(builder.table(flags, "Flags that put numbers in doubt", show={"share": fmt.percent}))
    if len(cohort.changes):
        lost = cohort.changes[cohort.changes["rule"].isin(["eeg.unusable", "mri.unusable"])]
        if len(lost):
            columns = ["patient_id", "time_h", "item", "why"]
            blocks.append(builder.table(lost[columns], "Recordings that gave no number", file="changes.parquet"))
    return blocks or [Text("No recording carries a flag that puts its numbers in doubt.")]


def _features(builder: Builder, found: Examinations, kind: str) -> list[Any]:
    made_here = any(str(f).startswith(f"{kind}_") for f in found.values.columns)
    care = CARE[kind] if made_here else "Findings read by people: another reader may read otherwise."
    blocks: list[Any] = [Callout(care, (), "caution")]
    table = associations(found)
    if table.empty:
        text = (
            "No outcome beside the recordings, or too few of them: features are in the cohort, no association is told."
        )
        return [*blocks, Text(text)]
    groups = [str(g) for g in found.groups.cat.categories]
    top = table["feature"].head(DRAWN).tolist()
    drawn = by_group(found, top)
    sizes = ", ".join(f"{g}: {fmt.whole(int(found.groups.eq(g).sum()))}" for g in groups)
    blocks.append(
        builder.picture(
            fig_features(found, drawn, top),
            f"{kind.upper()} features by {found.outcome_name}",
            f"The {len(top)} features that go with the {found.outcome_name} most closely in these data: chosen by what "
            "they show, so they look better here than they will elsewhere. Dots: recordings; thick line: median; thin: "
            f"quartiles; a finding that is there or not: its share, with the 95 % interval. Recordings: {sizes}.",
            f"Dots of {kind.upper()} features in the groups {', '.join(groups)}; the table beneath has the numbers.",
        )
    )
    regions = {f: w for f, w in _regions(found).items() if kind == "mri"}
    if regions:
        blocks.append(
            builder.picture(
                fig_regions(by_group(found, list(regions)), regions, groups),
                f"Bright tissue by region and {found.outcome_name}",
                f"Median and quartiles over recordings. {sizes}.",
                "Dots and lines of the volume of bright tissue in each brain region by outcome group.",
            )
        )
    named = merge_interval(table.assign(feature=table["feature"].map(found.labels)), "correlation")
    blocks.append(
        builder.table(
            named.rename(columns={"correlation": f"rank correlation with {found.outcome_name}"}),
            f"{kind.upper()} features and {found.outcome_name}",
            note="Spearman's correlation; the interval (95 %) resamples patients. Many features are looked at: some "
            "intervals exclude zero by chance.",
            row_heads=True,
        )
    )
    return blocks


def _regions(found: Examinations) -> dict[str, str]:
    """Regional burden of bright tissue: feature to the region's name; the whole brain is left out."""
    names = [str(f) for f in found.values.columns if str(f).startswith(REGION) and str(f) != f"{REGION}brain"]
    return {name: name.removeprefix(REGION).replace("_", " ").capitalize() for name in names}
