"""The page of a trial that has not been run: protocol synopsis, analysis, operating characteristics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.intervene.trial import words
from icans.intervene.trial.assess import Assurance
from icans.intervene.trial.design import TrialDesign
from icans.intervene.trial.engines import adaptive_rules
from icans.intervene.trial.operate import Operating
from icans.report import format as fmt
from icans.report.figures import trial as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Bullets, Callout, Facts, Heading, PlainNames, Section, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section

SUMMARY = {
    "scenario": "Scenario", "rejects_any": "Rejects", "patients_mean": "Patients, mean", "patients_sd": "SD",
    "patients_p10": "10th percentile", "patients_p90": "90th percentile", "months_mean": "Months, mean",
    "events_mean": "Events, mean", "stopped_for_success": "Stopped for success",
    "stopped_for_futility": "Stopped for futility",
}  # fmt: skip


@dataclass(frozen=True)
class TrialPage(PlainNames):
    """Everything that the page shows. All outcomes are simulated."""

    study: str
    design: TrialDesign
    found: tuple[Operating, ...]
    curve: pd.DataFrame
    strained: pd.DataFrame
    belief: Assurance | None = None
    drift: pd.DataFrame | None = None
    virtual: int = 0
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = True


def render_trial(data: TrialPage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind, as that of an MRI
    sections = [_glance(data), _protocol(builder, data), _analysis(builder, data), _operating(builder, data),
                _strain(builder, data), run_section.section(builder)]  # fmt: skip
    subtitle = (
        f"{words.KINDS[data.design.design.kind]} · {fmt.whole(data.found[0].simulations)} simulated trials a scenario"
    )
    return html_page(sections, title=data.study, kicker="icans trial", subtitle=subtitle, synthetic=True)


def write_trial(data: TrialPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_trial(data))
    return Path(path)


def _glance(data: TrialPage) -> Section:
    null, real = (one.summary() for one in data.found[:2])
    facts = [
        (fmt.percent(real["rejects_any"], 1), "Power", f"{_range(real)} (simulation error)"),
        (fmt.percent(null["rejects_any"], 1), "Error where nothing works", f"{_range(null)} (simulation error)"),
        (
            fmt.number(real["patients_mean"], 0),
            "Patients, mean",
            f"{fmt.number(null['patients_mean'], 0)} without effect",
        ),
        (fmt.number(real["months_mean"], 0), "Months to the result, mean", ""),
    ]
    if data.belief is not None:
        facts.append((fmt.percent(data.belief.value, 1), "Assurance", "success averaged over what is believed"))
    care = Callout(
        "Simulated, for research only",
        (
            "Power is that against the effect of the model, which is a hypothesis: no trial has shown it.",
            "Where the effect is smaller in patients, read the curve of power, not the figure above.",
        ),
        "caution",
    )
    rates = ", ".join(f"{arm.name} {fmt.percent(rate, 1)}" for arm, rate in zip(data.design.arms, data.found[1].rates))
    lead = f"How often this design decides, right and wrong. Share with the event by arm, as simulated: {rates}."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), care))


def _range(summary: dict) -> str:
    low, high = (fmt.percent(summary[f"rejects_any_{end}"], 1) for end in ("low", "high"))
    return f"{low} to {high}"


def _protocol(builder: Builder, data: TrialPage) -> Section:
    synopsis = builder.table(words.synopsis(data.design), "Synopsis", fold=False, row_heads=True,
                             names={"item": "Item", "text": "As planned"})  # fmt: skip
    estimand = builder.table(words.estimand(data.design), "Estimand", fold=False, row_heads=True,
                             names={"attribute": "Attribute", "text": "As planned"})  # fmt: skip
    lead = "What a protocol needs, from the design file."
    return Section("protocol", "Protocol", lead, blocks_of(synopsis, estimand))


def _analysis(builder: Builder, data: TrialPage) -> Section:
    blocks: list[object] = [Bullets(tuple(words.analysis(data.design)))]
    looks = words.looks_table(data.design)
    if looks is not None:
        blocks.append(builder.table(looks, "Bounds of the score", fold=False, note="By exact recursion."))
        blocks.append(builder.picture(draw.fig_bounds(looks, data.design.analysis.sided), "Bounds", "Beyond them the "
                                      "trial stops.", "Bounds of the score by information."))  # fmt: skip
    return Section("analysis", "Analysis", "Prespecified, before the first patient.", blocks_of(*blocks))


def _operating(builder: Builder, data: TrialPage) -> Section:
    summaries = pd.DataFrame([one.summary() for one in data.found])
    shown = builder.table(summaries[list(SUMMARY)], "By scenario", fold=False, row_heads=True, names=SUMMARY,
                          file="scenarios.parquet")  # fmt: skip
    hypotheses = builder.table(pd.concat([one.table() for one in data.found], ignore_index=True), "By hypothesis",
                               fold=False, file="hypotheses.parquet",
                               note="Coverage: of the interval of 95 %. Early stops move estimates.")  # fmt: skip
    blocks: list[object] = [shown, hypotheses]
    blocks.append(builder.picture(
        draw.fig_power(data.curve, data.design.analysis.alpha, data.belief), "Power",
        "In the share of patients shown the effect is as simulated; all others do as in the control arm.",
        "Share of trials that reject against the share of the effect that is real.",
    ))  # fmt: skip
    if any(one.found["n"].std() > 0 for one in data.found):
        blocks.append(builder.picture(draw.fig_sizes(list(data.found)), "Size", "Trials stop early or late.",
                                      "Share of trials up to each number of patients."))  # fmt: skip
    if data.design.design.kind == "adaptive":
        names = [arm.name for arm in data.design.arms]
        picture = draw.fig_allocation(data.found[1], names, adaptive_rules(data.design).known)
        blocks.append(builder.picture(picture, "Allocation", "Mean over the trials still running, effect as designed.",
                                      "Allocation to each arm at each look."))  # fmt: skip
    return Section(
        "operating", "Operating characteristics", "What the design does, trial after trial.", blocks_of(*blocks)
    )


def _strain(builder: Builder, data: TrialPage) -> Section:
    shares = dict.fromkeys(("error", "power"), lambda v: fmt.percent(v, 1))
    table = builder.table(data.strained, "Under strain", fold=False, row_heads=True, file="strained.parquet",
                          show=shares)  # fmt: skip
    blocks: list[object] = [table]
    if data.drift is not None:
        blocks += [Heading("A control from the past"), builder.picture(
            draw.fig_drift(data.drift, data.design.analysis.alpha), "Drift of the control",
            "Exact. A single arm cannot tell a better treatment from better times.",
            "Chance of a false call against the drift of the control.",
        )]  # fmt: skip
    return Section("strain", "Under strain", "One thing at a time is worse than planned; the same patients.",
                   blocks_of(*blocks))  # fmt: skip


def sentences(found: Sequence[Operating], belief: Assurance | None) -> list[str]:
    """The result in a few sentences."""
    null, real = (one.summary() for one in found[:2])
    said = [
        f"power {fmt.percent(real['rejects_any'], 1)} (simulation error: {_range(real)})",
        f"{real['patients_mean']:,.4g} patients and {fmt.number(real['months_mean'], 1)} months on average",
        f"error where nothing works {fmt.percent(null['rejects_any'], 1)} ({_range(null)})",
    ]
    if belief is not None:
        said.append(f"assurance {fmt.percent(belief.value, 1)}")
    return said
