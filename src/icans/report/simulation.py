"""The page of a simulation: what was simulated, in whom, and what came of it. Everything on it is synthetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from icans.core.files import write_text
from icans.report import format as fmt
from icans.report import quantities as words
from icans.report.figures.barrier import fig_barrier_map, fig_barrier_open
from icans.report.figures.courses import MANY_ARMS, fig_courses, fig_patient
from icans.report.figures.diagram import fig_diagram
from icans.report.figures.therapy import HYPOTHETICAL, fig_differences, fig_incidence, fig_worst_grades
from icans.report.model import RunInfo
from icans.report.page import (
    Builder,
    Bullets,
    Callout,
    Facts,
    Fold,
    Heading,
    PlainNames,
    Section,
    Text,
    absent,
    blocks_of,
)
from icans.report.render import html_page
from icans.report.sections import run as run_section

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel


@dataclass(frozen=True)
class SimulationData(PlainNames):
    """Everything that the page shows; tables as the figures want them (see there).

    Attributes
    ----------
    arms
        In the order in which they are compared; the first is the reference.
    drugs
        One row per drug: drug, label, target, hypothetical, sources.
    bands
        Median and bands of quantities over time by arm; for one patient the median is the patient.
    summary
        One row per arm and quantity: peak (median with interquartile range) and its day.
    model
        What was simulated, for its diagram.
    timing
        Onset and duration by toxicity and arm, as text.
    as_needed
        Share of patients given a drug as needed: arm, drug, share, first_day.
    regional_who
        Whose median the barrier map shows.
    hypothetical_arms
        Arms with a drug, or a use of one, that has no human data.
    courses, grades
        Of the patients shown one by one: patient_id -> course; patient_id -> daily grades.
    """

    study: str
    question: str
    product: str
    disease: str
    patients: int
    days: float
    arms: tuple[str, ...]
    units: Mapping[str, str]
    bands: pd.DataFrame
    regional: pd.DataFrame
    heads: pd.DataFrame
    drugs: pd.DataFrame
    regimens: pd.DataFrame
    incidence: pd.DataFrame
    differences: pd.DataFrame
    worst: pd.DataFrame
    summary: pd.DataFrame
    courses: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    grades: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    doses: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    as_needed: pd.DataFrame | None = None
    timing: pd.DataFrame | None = None
    model: PatientModel | None = None
    regional_who: str = "the virtual patients"
    hypothetical_arms: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: pd.DataFrame | None = None
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = True

    @property
    def hypothetical(self) -> tuple[str, ...]:
        """Drugs without human data in this use."""
        return tuple(self.drugs.loc[self.drugs["hypothetical"].astype(bool), "drug"])


def render_simulation(data: SimulationData) -> str:
    """The page as HTML that needs nothing else."""
    builder = Builder(data)  # type: ignore[arg-type]  # it reads only what both kinds of data have
    made = [make(builder, data) for make in SECTIONS]
    return html_page(
        [s for s in made if s is not None],
        title=data.study,
        kicker="icans simulation",
        subtitle=_subtitle(data),
        synthetic=True,
    )


def write_simulation(data: SimulationData, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_simulation(data))
    return Path(path)


def _subtitle(data: SimulationData) -> str:
    who = fmt.plural(data.patients, "virtual patient")
    parts = [who, f"{data.product} in {data.disease}", f"{fmt.number(data.days, 0)} days"]
    if data.run.seed is not None:
        parts.append(f"seed {data.run.seed}")
    return " · ".join(parts)


def _glance(builder: Builder, data: SimulationData) -> Section:
    lead = data.question or "What the model says would happen to virtual patients; no patient was observed."
    who = "Virtual patient" if data.patients == 1 else "Virtual patients"
    facts = [(fmt.whole(data.patients), who, "the same in every arm" if len(data.arms) > 1 else "")]
    facts.append((fmt.whole(len(data.arms)), "Arms" if len(data.arms) > 1 else "Arm", ""))
    first = data.incidence[data.incidence["arm"] == data.arms[0]]
    if data.patients > 1:
        for label in ("ICANS, grade 3+", "CRS, grade 3+"):
            for row in first[first["label"] == label].itertuples():
                facts.append((fmt.percent(row.value), label, f"in “{data.arms[0]}”"))
    loud = None
    if data.hypothetical or data.hypothetical_arms:
        names = [_drug_label(data, d) for d in data.hypothetical] or [f"“{a}”" for a in data.hypothetical_arms]
        loud = Callout(
            f"{HYPOTHETICAL}: {fmt.joined(names)}",
            ("No human data support this use. Its potency and its effect are assumptions of the model, and whatever "
             "follows from them is a thought experiment.",),
            "bad",
        )  # fmt: skip
    care = Callout(
        "Synthetic, and for research only",
        (
            "Every number on this page was computed by a model. It is no evidence that a treatment works or harms, and "
            "must not guide the care of a patient.",
        ),
        "caution",
    )
    return Section("glance", "At a glance", lead, blocks_of(
        Facts(tuple(facts)), loud, care, Bullets(data.notes) if data.notes else None,
    ))  # fmt: skip


def _drug_label(data: SimulationData, drug: str) -> str:
    found = data.drugs.loc[data.drugs["drug"] == drug, "label"]
    return str(found.iloc[0]) if len(found) else drug


def _treatment(builder: Builder, data: SimulationData) -> Section:
    lead = "What each arm is given, and what is known of the drugs."
    named = {
        "arm": lambda arm: words.arm_label(str(arm), data.hypothetical_arms),
        "drug": lambda drug: "CAR T cells" if drug == "car_t" else _drug_label(data, str(drug)),
    }
    regimens = builder.table(
        data.regimens, "What is given", "Days and hours count from the infusion of the product.",
        show=named, fold=False,
    )  # fmt: skip
    needed = None
    if data.as_needed is not None and len(data.as_needed):
        needed = builder.table(
            data.as_needed, "Given as needed", "Share of the virtual patients, and the median day of the first dose.",
            show=named | {"share": fmt.percent, "first_day": lambda day: fmt.number(day, 1)},
            names={"first_day": "first on day"}, fold=False,
        )  # fmt: skip
    drugs = None
    if len(data.drugs):
        shown = data.drugs.assign(
            status=[
                "HYPOTHETICAL: no human data in this use" if h else "human data" for h in data.drugs["hypothetical"]
            ]
        )[["label", "target", "status", "sources"]]
        drugs = builder.table(shown, "Drugs in the model", names={"label": "Drug"}, fold=False)
    where = None
    if data.model is not None:
        where = builder.picture(
            fig_diagram(data.model),
            "The model, and where the drugs enter it",
            "Boxes: modules, with the states that they follow (×: members of a family) and the drugs whose effect "
            "enters there. Arrows: what the equations of one use of another; thick: the way from the infusion to the "
            "brain.",
            "Modules of the patient model with arrows between them.",
        )
    return Section("treatment", "Treatment", lead, blocks_of(regimens, needed, drugs, where))


def _compared(builder: Builder, data: SimulationData) -> Section | None:
    if data.patients < 2 or data.incidence.empty:
        return None
    many = len(data.arms) > 1
    lead = "The same virtual patients in every arm, so that only the treatment differs." if many else (
        "How many virtual patients have each toxicity, and how severe it is."
    )  # fmt: skip
    scheme = ", ".join(f"{tox} under {name}" for tox, name in data.schemes.items())
    loud = f" Arms marked {HYPOTHETICAL} rest on assumptions alone." if data.hypothetical_arms else ""
    blocks = [
        builder.picture(
            fig_incidence(data.incidence, data.arms, data.hypothetical_arms),
            "Incidence of toxicity",
            f"Graded {scheme}. Bars: 95% interval from the number of virtual patients (Wilson); the uncertainty of the "
            f"model itself is not in them.{' Dashed: the first arm.' if many else ''}{loud}",
            "Share of patients with each outcome, by arm.",
        ),
        builder.picture(
            fig_worst_grades(data.worst, data.arms, data.hypothetical_arms),
            "Worst grade of every patient",
            f"Shares of virtual patients in percent; shares below 7% are not labelled.{loud}",
            "Stacked bars of the worst ICANS and CRS grade, by arm.",
        ),
    ]
    if many and len(data.differences):
        blocks.append(
            builder.picture(
                fig_differences(data.differences, data.arms, data.hypothetical_arms),
                f"What each arm changes against “{data.arms[0]}”",
                f"Paired by patient; 95% intervals from resampling the virtual patients.{loud}",
                "Differences of incidence in percentage points, by outcome and arm.",
            )
        )
    shown = data.incidence.assign(
        share=[fmt.percent(v, 1) for v in data.incidence["value"]],
        interval=[
            f"{fmt.percent(a, 1)} to {fmt.percent(b, 1)}" for a, b in zip(data.incidence["low"], data.incidence["high"])
        ],
    )[["label", "arm", "share", "interval"]]  # fmt: skip
    table = builder.table(
        shown,
        "Incidences",
        names={"label": "Outcome", "interval": "95% interval"},
        fold=True,
        show={"arm": lambda arm: words.arm_label(str(arm), data.hypothetical_arms)},
    )
    times = None
    if data.timing is not None and len(data.timing):
        times = builder.table(
            data.timing, "Onset and duration", "Days; median and interquartile range of the patients who have it.",
            show={"arm": lambda arm: words.arm_label(str(arm), data.hypothetical_arms)}, fold=False,
            names={"onset": "first day", "duration": "days it lasts"},
        )  # fmt: skip
    return Section("compared", "Toxicity", lead, blocks_of(blocks, table, times))


def _courses(builder: Builder, data: SimulationData) -> Section:
    many = data.patients > 1
    lead = "Median of the virtual patients over time." if many else "The patient over time."
    if many and len(data.arms) == 1:
        band = "Line: median; dark band: half of the patients; pale band: 90% of them."
    elif many and len(data.arms) <= MANY_ARMS:
        band = "Lines: medians; bands: half of the patients of each arm."
    else:
        band = "Lines: medians." if many else ""
    blocks: list[object] = []
    for group in words.known(data.bands["quantity"].unique()):
        figure = fig_courses(data.bands, group, data.units, data.arms, hypothetical=data.hypothetical_arms)
        blocks += [
            Heading(group.title),
            builder.picture(figure, group.title, f"{group.lead} {band}".strip(), group.lead),
        ]
    summary = builder.table(
        data.summary, "Peaks", "Median, and in a population the interquartile range in brackets.", fold=True
    )
    return Section("courses", "Courses", lead, blocks_of(blocks, summary))


def _barrier(builder: Builder, data: SimulationData) -> Section:
    lead = "Where and when the blood-brain barrier opens, and how sure three ways of reading the markers are of it."
    blocks: list[object] = []
    if len(data.regional):
        blocks.append(
            builder.picture(
                fig_barrier_map(data.regional, data.arms[:4], hypothetical=data.hypothetical_arms),
                "Integrity of the barrier by region",
                f"Schematic section, not to scale; colour: median over {data.regional_who} (1: intact). How vulnerable "
                "the regions are relative to each other is an assumption from where lesions are seen on MRI.",
                "Brains coloured by the integrity of the barrier in seven regions over days.",
            )
        )
    if len(data.heads):
        blocks.append(
            builder.picture(
                fig_barrier_open(data.heads, data.arms, data.hypothetical_arms),
                "Probability that the barrier has opened",
                "Mean over the virtual patients, by three interchangeable definitions: markers beyond a threshold, a "
                "regression on them, and a hazard that adds up. Where the lines part, the definition matters.",
                "Probability of an open barrier by day under three definitions.",
            )
        )
    return Section(
        "barrier", "Blood-brain barrier", lead, blocks_of(blocks or [absent("The barrier was not simulated.")])
    )


def _patients(builder: Builder, data: SimulationData) -> Section | None:
    if not data.courses:
        return None
    blocks = []
    for number, (name, course) in enumerate(data.courses.items()):
        doses = data.doses.get(name, pd.DataFrame(columns=["time_h", "duration_h", "drug"]))
        picture = builder.picture(
            fig_patient(course, data.units, data.grades.get(name), doses, data.hypothetical),
            f"{name} over time",
            "Grades are the worst of each day, as the observation model reads them off the latent severity. Grade 5 is "
            "death: what is drawn beyond it is what the model would go on with.",
            f"Grades, doses and quantities of {name}.",
        )
        blocks.append(picture if number < 2 else Fold(name, (picture,)))
    return Section(
        "patients", "One by one", "Single virtual patients: grades, doses, and what lies beneath.", blocks_of(blocks)
    )


def _limits(builder: Builder, data: SimulationData) -> Section:
    points = (
        "The model is calibrated to published summaries of trials, not to patients; the documentation lists target by "
        "target what it meets and what it misses.",
        "Intervals on this page are about the number of virtual patients. They do not contain the uncertainty of "
        "parameters or of the model's form.",
        "Production of cytokines per cell, the endothelial layer and every link to the brain have no published "
        "parameters; they are calibrated.",
        "Lumbar albumin cannot tell an open barrier from slow flow of cerebrospinal fluid.",
    )
    failed = None
    if data.failures is not None and len(data.failures):
        failed = builder.table(
            data.failures, "Patients that could not be integrated", "They are left out of everything above."
        )
    return Section("limits", "Limits", "What this page cannot say.", blocks_of(Bullets(points), failed))


def _run(builder: Builder, data: SimulationData) -> Section:
    return run_section.section(builder)


SECTIONS: Sequence[Callable[[Builder, SimulationData], Section | None]] = (
    _glance, _compared, _treatment, _courses, _barrier, _patients, _limits, _run,
)  # fmt: skip

__all__ = ["SimulationData", "Text", "render_simulation", "write_simulation"]
