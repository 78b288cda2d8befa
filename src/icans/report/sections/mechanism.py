"""Does mechanism help? The same learner with and without the columns of the patient model, in every report."""

from __future__ import annotations

import pandas as pd

from icans.report.figures.performance import fig_differences
from icans.report.page import Builder, Bullets, Section, Text, absent, blocks_of, merge_interval

LEAD = (
    "The same learner is shown clinical columns only, those of the mechanistic model of the patient only, and both. "
    "The model's population and each patient's posterior are fitted inside the training folds."
)
#: Metrics that are drawn, and what is better.
DRAWN = {"auc_within_fold": "AUROC within folds (higher is better)", "log_score": "log score (higher is better)"}


def section(builder: Builder) -> Section:
    """Sentences, paired differences with intervals, and where each learner stands."""
    found = builder.data.mechanism
    title = "Does mechanism help?"
    if found is None or found.differences.empty:
        why = "" if found is None else " ".join(found.sentences)
        return Section("mechanism", title, LEAD, (absent("The experiment was not run, or could not be judged.", why),))
    pictures = []
    for metric, words in DRAWN.items():
        rows = found.differences[found.differences["metric"] == metric]
        if len(rows):
            pictures.append(
                builder.picture(
                    fig_differences(rows, words),
                    f"Paired differences, {words}",
                    "Dot and interval over patients, averaged over the judged landmarks and horizons; right of the "
                    "line the first model is better.",
                    _words(rows),
                )
            )
    differences = builder.table(
        merge_interval(found.differences, "difference"), "Paired differences", file="mechanism.parquet", fold=True
    )
    stand = builder.table(
        merge_interval(found.performance), "Where each learner stands", file="mechanism_performance.parquet", fold=True
    )
    note = Text(
        "A model is said to help only where the interval of its difference excludes no difference. Intervals hold the "
        "patients' variation, not that of refitting.",
        soft=True,
    )
    return Section("mechanism", title, LEAD, blocks_of(Bullets(found.sentences), pictures, note, differences, stand))


def _words(rows: pd.DataFrame) -> str:
    said = [f"{r.model} minus {r.reference_model}: {r.difference:+.3f} ({r.low:+.3f} to {r.high:+.3f})"
            for r in rows.itertuples()]  # fmt: skip
    return "; ".join(said)
