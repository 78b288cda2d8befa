"""The page of a what-if: one patient with and without a therapy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from icans.core.files import write_text
from icans.intervene.whatif.pairs import WhatIf, last_useful_h
from icans.report import format as fmt
from icans.report.figures import whatif as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Callout, Code, Facts, PlainNames, Section, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section


@dataclass(frozen=True)
class WhatIfPage(PlainNames):
    """Everything that the page shows."""

    study: str
    found: WhatIf
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = True


def render_whatif(data: WhatIfPage) -> str:
    """The page as HTML. What is drawn is simulated, also where the patient is real: it is labelled synthetic."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind
    sections = [_glance(data), _courses(builder, data), _effects(builder, data)]
    if len(data.found.window):
        sections.append(_window(builder, data))
    sections.append(run_section.section(builder))
    found = data.found
    subtitle = f"{found.therapy.title} · known by {fmt.landmark(found.draws.landmark_h)}"
    return html_page(sections, title=data.study, kicker="icans whatif", subtitle=subtitle, synthetic=True)


def write_whatif(data: WhatIfPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_whatif(data))
    return Path(path)


def sentence(found: WhatIf) -> str:
    """How long the therapy still matters, in words."""
    if not len(found.window):
        return "No window was asked for."
    last = last_useful_h(found.window)
    if last is None:
        return "At no start tried does the therapy shorten ICANS of grade 2 beyond what chance of the draws explains."
    return (f"It keeps at least half of its largest effect on days with ICANS of grade 2 if begun within {last:g} h "
            "of what was known.")  # fmt: skip


def _glance(data: WhatIfPage) -> Section:
    found, told = data.found, data.found.effects.set_index("outcome")
    facts = []
    for name, label in (("icans_3", "P(ICANS of grade 3 or more)"), ("days_icans_ge2", "Days with ICANS of grade 2+"),
                        ("response_probability", "P(complete response)")):  # fmt: skip
        row = told.loc[name]
        shown = fmt.estimate(float(row["difference"]), float(row["low"]), float(row["high"]), digits=2)
        facts.append((shown, f"Change of {label}", f"{row['without']:.2f} without, {row['with']:.2f} with"))
    boxes = []
    if found.hypothetical:
        boxes.append(Callout("HYPOTHETICAL: no patient has been treated so", (found.therapy.title.upper(),), "bad"))
    kept = f"{100 * found.draws.power:.0f} % of the evidence could be kept."
    kept = f"{100 * found.draws.power:.0f} % of the evidence could be kept."
    size = f"{len(found.draws)} draws, worth {found.draws.ess:.0f} independent ones; {kept}"
    lines = (size, *found.draws.notes, "The future of a model's patient, not of this one; no advice on treatment.")
    boxes.append(Callout("What this rests on", lines, "caution"))
    boxes.append(Callout("How long it matters", (sentence(found),), "neutral"))
    words = Code(f"{found.therapy.describe()}\n\nagainst\n\n{found.care.describe()}", "In words")
    lead = "The same draws of this patient, with and without the therapy, from what was known by the landmark."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), boxes, words))


def _courses(builder: Builder, data: WhatIfPage) -> Section:
    picture = builder.picture(
        draw.fig_courses(data.found), "Courses", "Median and 90 % of the draws, without (line) and with (dashed); "
        "dots are results that were available by the landmark.", "Eight panels of simulated courses.",
    )  # fmt: skip
    return Section("courses", "Courses", "Toxicity and efficacy, side by side.", blocks_of(picture))


def _effects(builder: Builder, data: WhatIfPage) -> Section:
    told = data.found.effects
    picture = builder.picture(
        draw.fig_effects(told), "What the therapy changes", "Dot and line: mean difference with 95 % interval as far "
        "as the draws go; grey: where 90 % of the draws' differences lie. Each row has a scale of its own.",
        "Differences of every outcome.",
    )  # fmt: skip
    names = {"q05": "5 % of draws", "q95": "95 % of draws", "better": "better in"}
    grid = builder.table(told.drop(columns="outcome"), "Every outcome", names=names, row_heads=True, fold=False,
                         file="effects.parquet")  # fmt: skip
    return Section("effects", "What it changes", "Every toxicity, and efficacy.", blocks_of(picture, grid))


def _window(builder: Builder, data: WhatIfPage) -> Section:
    picture = builder.picture(
        draw.fig_window(data.found.window), "By start", "Difference with 95 % interval when it begins so many hours "
        "after what was known ends.", "Curves by hours of the start.",
    )  # fmt: skip
    grid = builder.table(data.found.window, "By start", file="window.parquet", fold=True)
    return Section("window", "When it is too late", sentence(data.found), blocks_of(picture, grid))
