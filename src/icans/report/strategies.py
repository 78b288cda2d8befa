"""The page of a comparison of strategies: what each does, on whom, what results are worth, what it all rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.intervene.compare.running import Group
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world.outcomes import meanings
from icans.intervene.world.outcomes import table as outcome_table
from icans.report import format as fmt
from icans.report.figures import strategies as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Callout, Code, Facts, Fold, PlainNames, Section, Text, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section

#: Largest parts of captions, apart for their length.
PAIRED = (
    "Per 1,000 patients, each the same patient under both; bars are 95 % intervals of the simulation's sample, not of "
    "the model. Reference: "
)
FRONT = (
    "The grey line joins strategies that no other beats on both. Squares: for all; triangles: pre-emptive; circles: "
    "reactive; crosses: none. Hollow: hypothetical."
)
FASTER = (
    "What the strategy that waits for the result changes per 1,000 patients against the reference, by turnaround; "
    "bands: 95 %, paired."
)
BY_RISK = (
    "Left: net benefit of the forecast. Right: what treating those above each threshold changes, by how many are "
    "treated. Risks were learned on other patients."
)
MOVED = (
    "Bars: difference from the reference per 1,000 patients with the parameter down and up; the black line is the "
    "difference as it is."
)


@dataclass(frozen=True)
class StrategiesPage(PlainNames):
    """Everything that the page shows. ``tables`` as :func:`icans.study.strategies.compare_strategies` makes them."""

    study: str
    question: str
    reference: str
    strategies: Mapping[str, Strategy]
    groups: Sequence[Group]
    tables: Mapping[str, pd.DataFrame]
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = True

    @property
    def hypothetical(self) -> list[str]:
        """Strategies that no patient has received."""
        return [n for n, s in self.strategies.items() if s.hypothetical]

    @property
    def labels(self) -> dict[str, str]:
        """Label of every strategy for figures."""
        return {n: draw.label_of(s.title, s.hypothetical) for n, s in self.strategies.items()}


def render_strategies(data: StrategiesPage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind
    sections = [_glance(data), _words(data), _effects(builder, data), _groups(builder, data)]
    if "latency" in data.tables or "decision" in data.tables:
        sections.append(_value(builder, data))
    if "sensitivity" in data.tables:
        sections.append(_sensitivity(builder, data))
    sections += [_assumptions(builder), run_section.section(builder)]
    n = sum(g.n for g in data.groups)
    subtitle = f"{len(data.strategies)} strategies · {n:,} virtual patients each"
    return html_page(sections, title=data.study, kicker="icans strategies", subtitle=subtitle, synthetic=True)


def write_strategies(data: StrategiesPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_strategies(data))
    return Path(path)


def _glance(data: StrategiesPage) -> Section:
    told = data.tables["differences"].set_index(["strategy", "measure"])
    others = [n for n in data.strategies if n != data.reference]
    facts = []
    for measure, label, digits in (("icans_3", "Fewest severe ICANS", 0), ("icu_days", "Fewest ICU days", 0),
                                   ("death", "Fewest deaths", 1), ("response", "Most responses", 1)):  # fmt: skip
        sign = -1.0 if measure == "response" else 1.0
        best = min(others, key=lambda n: sign * float(told.loc[(n, measure), "difference"]))
        row = told.loc[(best, measure)]
        shown = _estimate(row[["difference", "low", "high"]], digits)
        facts.append((shown, label, f"{data.strategies[best].title}; per 1,000, against the reference"))
    boxes = [Callout("A statement about a model, not about patients",
                     ("All patients are simulated. Nothing here is advice on treatment.",), "caution")]  # fmt: skip
    if data.hypothetical:
        titles = tuple(data.strategies[n].title.upper() for n in data.hypothetical)
        boxes.append(Callout("HYPOTHETICAL: no patient has been treated so", titles, "bad"))
    lead = data.question or f"Against: {data.strategies[data.reference].title}."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)) if others else None, boxes))


def _words(data: StrategiesPage) -> Section:
    blocks = []
    for name, one in data.strategies.items():
        told = f"\nSeen: {one.evidence}" if one.evidence else ""
        text = f"{one.describe()}{told}\nSource ({one.status}): {one.source}"
        blocks.append(Fold(f"{one.title} · {one.kind}", (Code(text, name),)))
    lead = "Each strategy in plain words, with what was seen with it and where it comes from."
    return Section("strategies", "What is compared", lead, blocks_of(blocks))


def _effects(builder: Builder, data: StrategiesPage) -> Section:
    labels = {n: t for n, t in data.labels.items() if n != data.reference}
    reference = data.strategies[data.reference].title
    forest = builder.picture(
        draw.fig_differences(data.tables["differences"], labels, data.hypothetical), "Differences from the reference",
        f"{PAIRED}{reference}.", "Forest plots of the differences of every strategy.",
    )  # fmt: skip
    kinds = {n: s.kind for n, s in data.strategies.items()}
    pareto = builder.picture(
        draw.fig_pareto(data.tables["pareto"], data.labels, kinds, data.hypothetical), "Toxicity and efficacy",
        FRONT, "Scatter of severe ICANS and complete response.",
    )  # fmt: skip
    table = data.tables["summary"]
    wide = table.assign(shown=[_estimate(v, 3) for v in table[["value", "low", "high"]].to_numpy()])
    wide = wide.pivot(index="label", columns="strategy", values="shown").loc[table["label"].drop_duplicates()]
    wide = wide[list(data.strategies)].reset_index()
    grid = builder.table(wide, "Every measure", names={n: s.title for n, s in data.strategies.items()}, row_heads=True,
                         note="Shares as fractions; 95 % intervals.", file="summary.parquet", fold=True)  # fmt: skip
    front = data.tables["pareto"].assign(strategy=[data.strategies[n].title for n in data.tables["pareto"]["strategy"]])
    names = {"toxicity": "severe ICANS", "efficacy": "complete response", "front": "on the front",
             "probability": "in resamples"}  # fmt: skip
    resampled = "In resamples: share of bootstrap resamples of patients in which it is on the front."
    fronts = builder.table(front, "The front", names=names, file="pareto.parquet", note=resampled)
    lead = "What every strategy changes in the same patients, toxicity and efficacy together."
    return Section("effects", "What they do", lead, blocks_of(forest, pareto, fronts, grid))


def _groups(builder: Builder, data: StrategiesPage) -> Section:
    told = data.tables["by_group"]
    labels = {n: t for n, t in data.labels.items() if n != data.reference}
    forest = builder.picture(
        draw.fig_groups(told, "icans_3", labels, data.hypothetical), "Severe ICANS by group",
        "Per 1,000 patients of the group against the reference, 95 % intervals; high burden: most tumour. In "
        "brackets: patients.", "Forest plots of the differences by group.",
    )  # fmt: skip
    kept = told[told["measure"].isin(["icans_3", "icu_days", "death", "response"])]
    three = kept[["difference", "low", "high"]].to_numpy()
    shown = kept.assign(difference=[_estimate(v, 1) for v in three])
    wide = shown.pivot(index=["strategy", "product", "disease", "risk", "n"], columns="label", values="difference")
    wide = wide.reset_index()
    wide["strategy"] = [data.strategies[n].title for n in wide["strategy"]]
    grid = builder.table(wide, "By product and risk", file="by_group.parquet", fold=True, row_heads=True,
                         note="Per 1,000 patients against the reference. High burden: most tumour.")  # fmt: skip
    return Section("groups", "By product and risk", "Who gains most, and who least.", blocks_of(forest, grid))


def _value(builder: Builder, data: StrategiesPage) -> Section:
    blocks: list[object] = []
    if "latency" in data.tables:
        sweep = data.tables["latency"]
        blocks.append(builder.picture(
            draw.fig_latency(sweep), "A faster result", FASTER, "Curves by hours of turnaround.",
        ))  # fmt: skip
        blocks.append(builder.table(sweep, "By turnaround", file="latency.parquet", fold=True))
    if "decision" in data.tables:
        curve = data.tables["decision"]
        blocks.append(builder.picture(
            draw.fig_decision(curve), "Deciding by risk", BY_RISK,
            "Decision curves by age of the results.",
        ))  # fmt: skip
        blocks.append(builder.table(curve, "By threshold", file="decision.parquet", fold=True))
    lead = "What a result is worth to a strategy, and what a faster one is worth: severe events, ICU days, lives."
    return Section("value", "Value of a result", lead, blocks_of(blocks))


def _sensitivity(builder: Builder, data: StrategiesPage) -> Section:
    blocks: list[object] = [Text("Each parameter that the therapies bring with them and that is assumed or calibrated "
                                 "was moved down and up within its bounds, one at a time, in both arms.")]  # fmt: skip
    for name, part in data.tables["sensitivity"].groupby("strategy", sort=False):
        title = data.strategies[str(name)].title if str(name) in data.strategies else str(name)
        blocks.append(builder.picture(
            draw.fig_tornado(part), f"Severe ICANS: {title}", MOVED, "Tornado of parameters.",
        ))  # fmt: skip
    blocks.append(builder.table(data.tables["sensitivity"], "Every parameter", file="sensitivity.parquet", fold=True))
    if "outcome_sensitivity" in data.tables:
        table = data.tables["outcome_sensitivity"]
        for name, part in table.groupby("strategy", sort=False):
            title = data.strategies[str(name)].title if str(name) in data.strategies else str(name)
            blocks.append(builder.picture(
                draw.fig_tornado(part, "death"), f"Deaths: {title}", "The same for what turns a course into infections "
                "and deaths.", "Tornado of the outcomes' assumptions.",
            ))  # fmt: skip
        blocks.append(builder.table(table, "Every assumption", file="outcome_sensitivity.parquet", fold=True))
    return Section(
        "sensitivity", "What it rests on", "How much the answer hangs on what is assumed.", blocks_of(blocks)
    )


def _estimate(three: Sequence[float], digits: int) -> str:
    value, low, high = (float(v) for v in three)
    return fmt.estimate(value, low, high, digits=digits)


def _assumptions(builder: Builder) -> Section:
    rows = [(k, e["value"], e["unit"], e["status"], e["source"]) for k, e in outcome_table()["parameter"].items()]
    frame = pd.DataFrame(rows, columns=["assumption", "value", "unit", "status", "source"])
    told = pd.DataFrame(list(meanings().items()), columns=["outcome", "what it is"])
    blocks = (builder.table(told, "Outcomes", row_heads=True, fold=True),
              builder.table(frame, "Behind the outcomes", row_heads=True, fold=True))  # fmt: skip
    lead = "Response, infections, deaths and costs are computed from the simulated course by these numbers."
    return Section("assumptions", "Assumptions", lead, blocks)
