"""The page of a target trial emulated in an observed cohort, beside the same question put to virtual patients."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.intervene.emulate import diagnose
from icans.intervene.emulate.estimate import ARMS, Emulated
from icans.intervene.emulate.simulation import Simulated
from icans.report import format as fmt
from icans.report.figures import trial as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Bullets, Callout, Facts, Heading, PlainNames, Section, Text, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section


@dataclass(frozen=True)
class EmulatePage(PlainNames):
    """Everything that the page shows. ``model``: the same question in virtual patients (synthetic), if asked."""

    study: str
    found: Emulated
    model: Simulated | None = None
    virtual: str = ""
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = False


def render_emulate(data: EmulatePage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind, as that of an MRI
    sections = [_glance(data), _trial(builder, data), _risks(builder, data), _trust(builder, data)]
    if data.model is not None:
        sections.append(_model(data))
    sections.append(run_section.section(builder))
    subtitle = f"{fmt.plural(len(data.found.courses.patients), 'eligible patient')} · clone, censor, weight"
    return html_page(sections, title=data.study, kicker="icans emulate", subtitle=subtitle, synthetic=data.is_synthetic)


def write_emulate(data: EmulatePage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_emulate(data))
    return Path(path)


def labels(found: Emulated) -> dict[str, str]:
    """Names of the arms for people."""
    p = found.protocol
    return {
        "early": f"{p.drug} within {fmt.plural(p.grace, 'day')} of grade {p.entry}",
        "wait": f"no {p.drug} before grade {p.wait}",
    }


def verdict(found: Emulated) -> str:
    """What the data say, in one sentence."""
    value, low, high = found.difference
    text = f"risk of grade {found.protocol.outcome} or more within {found.protocol.days} days"
    shown = f"early less wait {signed(value)} points ({signed(low)} to {signed(high)})"
    if low < 0 < high:
        return f"The data do not tell whether starting early changes the {text}: {shown}."
    return f"Starting early goes with a {'lower' if value < 0 else 'higher'} {text}: {shown}."


def signed(share: float) -> str:
    """A difference of risks in points with its sign."""
    return f"{100 * share:+.0f}".replace("-", "−")


def agreement(found: Emulated, model: Simulated) -> str:
    """Whether the cohort and the virtual patients say the same, in one sentence."""
    _, low, high = found.difference
    theirs = model.difference()
    inside = low <= theirs[0] <= high
    told = f"virtual patients: {signed(theirs[0])} points ({signed(theirs[1])} to {signed(theirs[2])}, patients alone)"
    if not inside:
        return f"They disagree; {told}."
    wide = high - low > 0.3
    return f"They do not disagree; {told}" + (
        ", but the interval of the cohort is so wide that this is no support." if wide else "."
    )


def _glance(data: EmulatePage) -> Section:
    found = data.found
    risks = {arm: fmt.percent(found.risk[a, -1]) for a, arm in enumerate(ARMS)}
    value, low, high = found.difference
    facts = [
        (risks["early"], "Risk, early", labels(found)["early"]),
        (risks["wait"], "Risk, waiting", labels(found)["wait"]),
        (f"{signed(value)} points", "Difference", f"{signed(low)} to {signed(high)}, bootstrap over patients"),
    ]
    look = "caution" if low < 0 < high else "neutral"
    boxes = [Callout("What it says", (verdict(found),), look)]
    boxes.append(Callout("What it does not say", tuple(diagnose.limits(found)), "bad"))
    lead = "An observed cohort, read as the trial that nobody ran. Research use only."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), boxes))


def _trial(builder: Builder, data: EmulatePage) -> Section:
    p = data.found.protocol
    rows = [
        ("Eligible", f"first day with a grade of {p.toxicity}, if it is grade {p.entry}; no {p.drug} before"),
        ("Arms", "; ".join(labels(data.found).values())),
        ("Assigned", "nobody was: choices of a day are taken to hang on " + ", ".join(p.covariates)),
        ("From, to", f"the first day with grade {p.entry}; {p.days} days"),
        ("Outcome", f"{p.toxicity} of grade {p.outcome} or more"),
        ("Contrast", "difference of risks had all followed one arm (per protocol)"),
        ("After the last grade", {"resolved": "no event", "censored": "lost, with weights"}[p.after_last]),
    ]
    frame = pd.DataFrame(rows, columns=["part", "text"])
    table = builder.table(frame, "The target trial", fold=False, row_heads=True,
                          names={"part": "Part", "text": "As emulated"})  # fmt: skip
    flow = pd.DataFrame(data.found.courses.flow, columns=["who", "patients"])
    who = builder.table(flow, "Who is left", fold=False, row_heads=True)
    return Section("trial", "Target trial", "What would have been randomised, and who could have been.",
                   blocks_of(table, who))  # fmt: skip


def _risks(builder: Builder, data: EmulatePage) -> Section:
    found = data.found
    curve = found.curve()
    picture = builder.picture(
        draw.fig_emulated(curve, labels(found)), "Weighted risk by day",
        "Bands: bootstrap over patients, weights fitted anew. Below: clones still followed; dots: effective number.",
        "Curves of the weighted risk in both arms with intervals, and numbers followed.",
    )  # fmt: skip
    rows = [(name, f"{events} of {count}") for name, (events, count) in found.naive.items()]
    naive = builder.table(pd.DataFrame(rows, columns=["what was done", "events"]), "What was done, unweighted",
                          fold=False, row_heads=True,
                          note="Biased: the sickest fall ill before they can be treated early.")  # fmt: skip
    return Section("risks", "Risks", "What the weights make of the courses.", blocks_of(picture, naive))


def _trust(builder: Builder, data: EmulatePage) -> Section:
    found = data.found
    weights = builder.table(diagnose.weights_table(found), "Weights at the end", fold=False, row_heads=True)
    positivity = builder.table(diagnose.positivity(found.courses, found.cloned, found.protocol),
                               "Chance to start treatment, by day", fold=False, row_heads=True)  # fmt: skip
    balance = builder.table(diagnose.balance(found.courses, found.cloned), "Balance at time zero", fold=False,
                            note="Standardised differences; beyond 0.1 is usually called unbalanced.")  # fmt: skip
    share = (
        f"Both arms could be estimated in {fmt.percent(found.shares_estimable)} of {found.resamples} bootstrap samples."
    )
    return Section("trust", "What it rests on", "Positivity, weights and balance.",
                   blocks_of(weights, positivity, balance, Text(share)))  # fmt: skip


def _model(data: EmulatePage) -> Section:
    model = data.model
    assert model is not None  # only made where there is one
    early, wait = model.event.mean(axis=1)
    lines = (
        f"SYNTHETIC: {data.virtual}; {model.event.shape[1]} reached grade {model.protocol.entry}.",
        f"Risk {fmt.percent(early)} early, {fmt.percent(wait)} waiting.",
        agreement(data.found, model),
        "Steroids are dexamethasone 10 mg every 6 h as long as the grade lasts, in either arm; doses in the cohort "
        "are not known.",
    )
    return Section("model", "The same question to virtual patients", "The calibrated model, both ways, same patients.",
                   blocks_of(Heading("Agreement"), Bullets(lines)))  # fmt: skip
