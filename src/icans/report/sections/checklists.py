"""Reporting checklists filled from the run: TRIPOD+AI, a self-check after PROBAST+AI, the model card."""

from __future__ import annotations

import pandas as pd

from icans.report import format as fmt
from icans.report.checklists.card import card_text, model_card
from icans.report.checklists.facts import facts
from icans.report.checklists.probast import domain_summary, probast_table
from icans.report.checklists.tripod import ABSENT, ANSWERED, PARTLY, PERSON, tripod_table
from icans.report.page import Builder, Chip, Code, Fold, Grid, Heading, Section, Text, blocks_of

LEAD = (
    "What a reader of a prediction study must be told, as far as the run can say it. Items that need a person are "
    "named and left open."
)
LOOKS = {ANSWERED: "good", PARTLY: "caution", PERSON: "neutral", ABSENT: "neutral"}
ANSWER_LOOKS = {"yes": "good", "probably yes": "good", "probably no": "bad", "no": "bad"}
CONCERN_LOOKS = {"high": "bad", "unclear": "caution", "low": "good"}


def section(builder: Builder) -> Section:
    """Three parts, the long ones folded."""
    data = builder.data
    items = tripod_table(facts(data))
    counts = items["status"].value_counts()
    count = ", ".join(f"{counts[s]} {s}" for s in (ANSWERED, PARTLY, PERSON, ABSENT) if s in counts)
    questions = probast_table(data)
    return Section(
        "checklists",
        "Reporting checklists",
        LEAD,
        blocks_of(
            Heading("TRIPOD+AI"), Text(f"Of {len(items)} items: {count}."), _tripod(builder, items),
            Heading("Self-check after PROBAST+AI"),
            Text(
                "Questions in our own words, in the domains of the instrument, answered by rules. It warns the "
                "authors; it is not an assessment by people who did not make the model (Moons et al. 2025)."
            ),
            _concerns(builder, questions), _probast(builder, questions),
            Fold("Model card", (Code(card_text(model_card(data)), "Model card"),)),
        ),
    )  # fmt: skip


def _chips(values: pd.Series, looks: dict[str, str]) -> pd.Series:
    return pd.Series([Chip(str(v), looks.get(str(v), "neutral")) for v in values], index=values.index, dtype=object)


def _tripod(builder: Builder, items: pd.DataFrame) -> Grid:
    shown = items.drop(columns="phase").assign(status=_chips(items["status"], LOOKS))
    note = (
        "Items after Collins et al., BMJ 2024;385:e078378 (in our own words; compare with the published form before a "
        "submission)."
    )
    return builder.table(shown, "TRIPOD+AI items", note, names={"in_this_run": "In this run"}, row_heads=True)


def _concerns(builder: Builder, questions: pd.DataFrame) -> Grid:
    table = domain_summary(questions[questions["part"] != "applicability"])
    shown = table.assign(concern=_chips(table["concern"], CONCERN_LOOKS))
    return builder.table(shown, "Concern by domain, as the rules see it", fold=False)


def _probast(builder: Builder, questions: pd.DataFrame) -> Grid:
    shown = questions.assign(answer=_chips(questions["answer"], ANSWER_LOOKS))
    shown = shown.assign(because=shown["because"].where(shown["because"] != "", fmt.NOTHING))
    return builder.table(shown.drop(columns="part"), "Questions and answers", fold=True, row_heads=True)
