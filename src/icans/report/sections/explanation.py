"""What the declared forecast rests on, how stable that is, and rules that come near to it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.evaluate.explain.reasons import feature_words
from icans.report import format as fmt
from icans.report.behaviour import Behaviour
from icans.report.figures.behaviour import fig_importance
from icans.report.page import Builder, Callout, Heading, Section, Text, absent, blocks_of

LEAD = "Which values the forecast draws on. It says nothing about causes, nor what changing a value would do."


def section(builder: Builder) -> Section:
    """Importance on unseen patients, contributions over refits, rules."""
    b = builder.data.behaviour
    if b is None or not any(b.table(name) is not None for name in ("importance", "contributions", "rules")):
        return Section("explanation", "What the forecast rests on", LEAD, (absent("No explanation was made."),))
    warning = Callout(
        "Not causes", ("Groups of values that stand in for one another share their importance.",), "neutral"
    )
    return Section(
        "explanation",
        "What the forecast rests on",
        LEAD,
        blocks_of(
            warning, _importance(builder, b), _contributions(builder, b), _shapley(builder, b), _rules(builder, b)
        ),
    )


def group_words(name: str) -> str:
    """A group of features in words."""
    parts = name.split(".")
    if parts[0] == "lab" and len(parts) == 2:
        return ", ".join(feature_words(f"lab.{a}.last").removeprefix("newest ") for a in parts[1].split("+"))
    if parts[0] == "grade" and len(parts) == 2:
        return f"{parts[1]} grades so far"
    if parts[0] == "drug" and len(parts) == 2:
        return f"{parts[1]} given"
    return feature_words(name)


def _importance(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("importance")
    if table is None:
        return [Heading("Importance"), Text(f"Not made: {b.reasons.get('importance', 'no fold models')}.", soft=True)]
    words = {str(g): group_words(str(g)) for g in table["group"]}
    picture = builder.picture(
        fig_importance(table, words, "Loss of AUROC when the values go to other patients"),
        "Importance on patients that the model has not seen",
        "All values of a group are handed to other patients together; dot: mean over folds, line: smallest and largest "
        "fold. " + " ".join(b.words.get("importance", ())),
        "; ".join(f"{words[str(r.group)]} {fmt.number(r.value, 3)}" for r in table.head(6).itertuples()),
    )
    return [Heading("Importance"), picture]


def _contributions(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("contributions")
    if table is None:
        return []
    shown = pd.DataFrame(
        {
            "Values": [group_words(str(g)) for g in table["group"]],
            "Mean contribution (log odds)": [fmt.estimate(*r) for r in table[["value", "low", "high"]].to_numpy()],
            "Rank, 95 % of refits": [f"{r.rank_low:.0f} to {r.rank_high:.0f}" for r in table.itertuples()],
            "Among the first five": table["top"].map(lambda v: fmt.percent(v)),
            "Same direction": table["sign"].map(lambda v: fmt.percent(v)),
        }
    )
    title = f"Contributions and their stability over {b.refits} refits"
    note = " ".join(b.words.get("contributions", ()))
    return [Heading("Stability of contributions"), builder.table(shown, title, note, row_heads=True)]


def _shapley(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("shapley")
    if table is None:
        return []
    parts = table.drop(columns=["patient_id", "landmark_h"])
    size = parts.abs().mean().sort_values(ascending=False)
    shown = pd.DataFrame(
        {"Values": [group_words(str(g)) for g in size.index], "Mean |Shapley value| (log odds)": size.to_numpy()}
    )
    note = f"{len(table)} patients, each by a model that has not seen the patient."
    return [builder.table(shown, "Shapley values by group of values", note, file="protocol_shapley.parquet")]


def _rules(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("rules")
    if table is None:
        return []
    shown = pd.DataFrame(
        {
            "Rule": [_in_words(str(r)) for r in table["rule"]], "Patients": table["n"],
            "Mean forecast": table["risk"].map(lambda v: fmt.percent(v)),
            "10th to 90th centile": [f"{fmt.percent(r.low)} to {fmt.percent(r.high)}" for r in table.itertuples()],
        }
    )  # fmt: skip
    note = " ".join(b.words.get("rules", ()))
    return [Heading("In a few rules"), builder.table(shown, "A shallow tree that follows the model", note, fold=False)]


def _in_words(rule: str) -> str:
    """A rule with its features' names in words."""
    said = []
    for condition in rule.split(" and "):
        tokens = condition.split(" ")
        said.append(" ".join(feature_words(t) if "." in t and not t.replace(".", "").isdigit() else t for t in tokens))
    return " and ".join(said)
