"""The page of policies in the closed loop: what they achieve, at what price, and what all of it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.intervene.loop.compare import FRONT
from icans.intervene.loop.menu import table as menu
from icans.intervene.loop.menu import weights
from icans.intervene.world.outcomes import meanings
from icans.intervene.world.outcomes import table as outcome_table
from icans.report import format as fmt
from icans.report.figures import loop as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Callout, Facts, PlainNames, Section, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section

#: Columns of the table that come first, and their heads.
MAIN = {
    "policy": "Policy", "loss": "Loss", "difference": "Against the baseline", "icans_ge1_percent": "ICANS, %",
    "icans_ge3_percent": "ICANS ≥ 3, %", "crs_ge3_percent": "CRS ≥ 3, %", "days_icans_ge2": "Days ICANS ≥ 2",
    "response_probability": "Complete response", "steroid_mg_dex_equivalent": "Steroid, mg",
    "infection_days": "Infection days", "icu_days": "ICU days", "death_probability": "Death", "on_front": "On front",
}  # fmt: skip
#: What each policy is, by the beginning of its name.
WORDS = {
    "never": "nothing is ever given", "guideline": "answers to grades that are read",
    "anakinra": "to everybody, and the guideline", "steroid": "to everybody, and the guideline",
    "forecast": "ahead where the forecast passes a risk, and the guideline",
    "one-step": "the plan of least expected loss over the next day, from weighted virtual patients",
    "MPC, certainty": "plays plans forward in the likeliest virtual patient",
    "MPC, scenarios": "plays plans forward in several virtual patients",
    "oracle": "plays plans forward in the patient's own truth: a bound, no policy for people",
}  # fmt: skip


@dataclass(frozen=True)
class LoopPage(PlainNames):
    """Everything that the page shows. ``table``: :meth:`icans.intervene.loop.compare.Comparison.table`."""

    study: str
    product: str
    disease: str
    baseline: str
    table: pd.DataFrame
    weights: dict[str, float]
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = True


def render_loop(data: LoopPage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind
    sections = [_glance(data), _policies(builder, data), _assumptions(builder, data), run_section.section(builder)]
    patients = int(data.table["patients"].iloc[0])
    subtitle = f"{data.product} in {data.disease} · {fmt.plural(patients, 'virtual patient')} under every policy"
    return html_page(sections, title=data.study, kicker="icans loop", subtitle=subtitle, synthetic=True)


def write_loop(data: LoopPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_loop(data))
    return Path(path)


def _glance(data: LoopPage) -> Section:
    table = data.table[data.table["policy"] != "oracle"]
    best = table.loc[table["loss"].idxmin()]
    facts: list[tuple[str, str, str]] = [
        (fmt.estimate(best["loss"], best["loss_low"], best["loss_high"], digits=1), "Least loss", str(best["policy"]))
    ]
    for column, label in (("icans_ge3_percent", "Fewest severe ICANS, %"), ("death_probability", "Fewest deaths")):
        row = table.loc[table[column].idxmin()]
        facts.append((fmt.significant(row[column]), label, str(row["policy"])))
    box = Callout("A statement about a model, not about patients",
                  ("All patients are simulated. Nothing here is advice on treatment.",), "caution")  # fmt: skip
    lead = "What deciding better, with what a ward really knows at the time, could be worth."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), box))


def _policies(builder: Builder, data: LoopPage) -> Section:
    (x, _), (y, _) = FRONT
    losses = builder.picture(draw.fig_losses(data.table, data.baseline), "Loss against the baseline",
                             "The same patients under every policy; bars: 95 % of the mean paired difference, for the "
                             "number of patients, not for the model.", "Forest plot of losses.")  # fmt: skip
    front = builder.picture(
        draw.fig_front(data.table, x, y, ("days with ICANS of grade 2 or more", "probability of complete response")),
        "Toxicity and efficacy", "Policies that no other beats on both are joined.", "Scatter of two outcomes.",
    )  # fmt: skip
    shown = data.table[list(MAIN)].copy()
    for name in ("loss", "difference"):
        three = data.table[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
        shown[name] = [fmt.estimate(v, low, high, digits=2) for v, low, high in three]
    shown.insert(1, "what", [_what(str(name)) for name in shown["policy"]])
    grid = builder.table(shown, "Policies", names=MAIN | {"what": "What it does"}, row_heads=True, fold=False,
                         file="policies.parquet", note="Means over patients; in brackets 95 %.")  # fmt: skip
    lead = "Each policy sees grades, vital signs and what the laboratory has sent back by then; the oracle sees all."
    return Section("policies", "Policies", lead, blocks_of(losses, front, grid))


def _what(name: str) -> str:
    return next((words for start, words in WORDS.items() if name.startswith(start)), "")


def _assumptions(builder: Builder, data: LoopPage) -> Section:
    usual = weights()
    rows = [(meanings()[k], w, "as usual" if usual.get(k) == w else "changed") for k, w in data.weights.items()]
    told = builder.table(pd.DataFrame(rows, columns=["outcome", "weight", "which"]), "Weights of the loss", fold=False,
                         note=f"A negative weight is a gain. {menu()['weights']['source'].capitalize()}.")  # fmt: skip
    limits = [(d, e["lockout_h"], e["most_day_mg"], e["most_times"], e["status"], e["source"])
              for d, e in menu()["drug"].items()]  # fmt: skip
    heads = ["drug", "lock-out, h", "most a day, mg", "most doses", "status", "source"]
    limit = builder.table(pd.DataFrame(limits, columns=heads), "Limits of the menu", fold=True)
    entries = [(k, e["value"], e["unit"], e["status"], e["source"]) for k, e in outcome_table()["parameter"].items()]
    assumed = builder.table(pd.DataFrame(entries, columns=["parameter", "value", "unit", "status", "source"]),
                            "What outcomes assume", fold=True)  # fmt: skip
    lead = "Losses depend on these weights and assumptions; others may weigh differently."
    return Section("assumptions", "What it rests on", lead, blocks_of(told, limit, assumed))
