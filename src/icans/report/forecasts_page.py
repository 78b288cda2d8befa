"""The page of ``icans forecast``: one section a patient, with what was known, the risk, reasons, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.forecast.final import FinalModel
from icans.forecast.forecast import Forecast
from icans.report import format as fmt
from icans.report.figures.forecast import fig_reasons, fig_worth
from icans.report.figures.timeline import fig_timeline
from icans.report.page import Builder, Bullets, Callout, Heading, PlainNames, Section, Text, blocks_of, merge_interval
from icans.report.render import html_page


@dataclass(frozen=True)
class PatientForecasts:
    """One patient's part of the page.

    Attributes
    ----------
    patient_id, known
        Whom; his record as known at the landmark.
    course
        Forecasts of one horizon at earlier landmarks and now (:func:`icans.forecast.forecast.to_frame`).
    now
        Forecasts of every horizon now.
    lead
        The forecast that the reasons speak of.
    sentences
        It in words.
    worth
        What is missing and how far it could move the forecast.
    """

    patient_id: str
    known: Cohort
    course: pd.DataFrame
    now: pd.DataFrame
    lead: Forecast
    sentences: tuple[str, ...]
    worth: pd.DataFrame


@dataclass(frozen=True)
class _Data(PlainNames):
    """What a builder asks of any page's data."""

    is_synthetic: bool
    tables_folder: str = "forecasts.parquet"


def forecasts_page(
    model: FinalModel, cohort: Cohort, patients: Sequence[PatientForecasts], without: pd.DataFrame, *, total: int
) -> str:
    """The page as HTML that needs nothing else."""
    synthetic = model.synthetic or cohort.synthetic
    builder = Builder(_Data(synthetic))  # type: ignore[arg-type]  # it reads only what all kinds of data have
    sections = [_model_section(builder, model)]
    sections += [_patient_section(builder, one) for one in patients]
    if total > len(patients):
        note = Text(f"{len(patients)} of {total} patients are shown; forecasts.parquet holds all.", soft=True)
        sections.append(Section("more", "More patients", "", (note,)))
    if len(without):
        table = builder.table(without, "Patients without a forecast", names={"patient_id": "Patient"})
        sections.append(Section("without", "No forecast", "Whom the model was not asked about, and why.", (table,)))
    label = model.card.get("label", model.task.name)
    return html_page(
        sections, title=f"{label}: forecasts", kicker="icans forecast", synthetic=synthetic,
        subtitle=f"{model.rung.name} · {fmt.plural(total, 'patient')} · {model.version}",
    )  # fmt: skip


def _model_section(builder: Builder, model: FinalModel) -> Section:
    patients, events, _ = model.training
    card = model.card
    facts = [
        f"{model.rung.description[:1].upper()}{model.rung.description[1:]}.",
        f"Trained on {patients} patients, {events} with the event"
        + (f", of cohort {card['cohort']}" if card.get("cohort") else "")
        + ("; the training data are SYNTHETIC." if model.synthetic else "."),
        f"File {model.digest[:16] or 'not stored'}; made by icans {model.program}.",
    ]
    warning = None
    if card.get("audit", {}).get("declined"):
        why = tuple(map(str, card["audit"]["reasons"]))
        warning = Callout("The leakage audit declines this task on the training cohort", why, "bad")
    use = Callout(
        "Research use only", ("Not a medical device; not for decisions on the care of a patient.",), "caution"
    )
    rows = pd.DataFrame(card.get("validation", []))
    table = None
    if len(rows):
        mine = rows[(rows["model"] == model.rung.name) & rows["metric"].isin(["auc", "oe", "slope"])]
        numbers = ["value", "low", "high"]
        shown = mine[["landmark_h", "horizon_h", "metric", *numbers, "n", "events"]].astype(
            dict.fromkeys(numbers, float)
        )
        table = builder.table(
            merge_interval(shown), "How well it did inside its own cohort (cross-validation)", fold=True,
            note="Another hospital, product or year may differ; icans validate measures it.",
        )  # fmt: skip
    lead = "What was asked, of which model, and how far it can be trusted."
    return Section("model", "The model", lead, blocks_of(use, warning, Bullets(tuple(facts)), table))


def _patient_section(builder: Builder, one: PatientForecasts) -> Section:
    lead = one.lead
    when = f"day {lead.landmark_h / 24:g}"
    table = one.now[["horizon_h", "risk", "low", "high"]].rename(columns={"risk": "value"})
    shown = [
        f"{v:.0%}" + ("" if pd.isna(a) else f" ({a:.0%} to {b:.0%})")
        for v, a, b in table[["value", "low", "high"]].values
    ]
    risks = builder.table(
        pd.DataFrame({"horizon_h": table["horizon_h"], "risk": shown}), f"Risk as seen on {when}",
        names={"risk": "Risk (95% interval)", "horizon_h": "Within"},
        note="The interval holds what the training patients leave open about the model, widened for what is new to it; "
        "the chance that remains when the risk is known is not in it.",
    )  # fmt: skip
    figure = fig_timeline(one.known, one.patient_id, one.course, last_day=max(lead.landmark_h / 24 + 1, 7))
    timeline = builder.picture(
        figure, f"Patient {one.patient_id} until {when}",
        "Risk at each day as the model would have given it then; nothing right of a dotted line was used at it.",
        f"Timeline of patient {one.patient_id} with forecast risk.",
    )  # fmt: skip
    parts: list[Any] = [Text(sentence) for sentence in one.sentences[:-1]]
    small = []
    if lead.reasons:
        small.append(
            builder.picture(
                fig_reasons(lead),
                "What moves this forecast",
                "Log odds against the average training patient; how the model reckons, not what causes ICANS.",
                "Bars of the largest contributions to the forecast.",
            )
        )
    if len(one.worth):
        small.append(
            builder.picture(
                fig_worth(one.worth),
                "What is missing, and what it would add",
                "Risk if a missing result were at the tenth or ninetieth percentile of the training patients.",
                "For each missing input the risk with a low and with a high result.",
            )
        )
    notes = Callout("Reasons for caution", lead.notes, "caution") if lead.notes else None
    blocks = blocks_of(Heading(f"Risk within {fmt.horizon(lead.horizon_h)}"), parts, notes, risks, timeline,
                       small)  # fmt: skip
    return Section(f"patient-{one.patient_id}", f"Patient {one.patient_id}", f"As known on {when}.", blocks)
