"""The model card: what a model is, for whom, how well it does, where it must not be used; filled from a run.

Reference: Mitchell M et al., FAT* 2019, doi 10.1145/3287560.3287596 (model cards).
"""

from __future__ import annotations

from collections.abc import Mapping

from icans.report import format as fmt
from icans.report.checklists.facts import facts
from icans.report.model import ReportData

#: Never to be used for.
OUT_OF_SCOPE = (
    "decisions on the care of a patient (not a medical device)",
    "what a treatment would do: risks hold under the care that the training patients had",
    "products, assays or diseases that the training patients did not have",
    "patients who already have the event, and landmarks outside those it was fitted for",
)


def model_card(data: ReportData, model: Mapping[str, object] | None = None) -> dict[str, object]:
    """The card as plain JSON values.

    Parameters
    ----------
    data
        The report of the run that fitted the model.
    model
        What the model file says of itself (task, settings, training digest ...).
    """
    known = facts(data)
    behaviour = data.behaviour
    card: dict[str, object] = {
        "research_use_only": True,
        "synthetic": data.is_synthetic,
        "model": dict(model or {}),
        "intended_use": "research on forecasting ICANS after CAR T-cell infusion; " + known.get("target", ""),
        "out_of_scope": list(OUT_OF_SCOPE),
        "data": {k: known[k] for k in ("source", "dates", "sites", "flow", "outcome", "predictors") if k in known},
        "training": {k: known[k] for k in ("models", "splits", "handling", "missing", "sample_size") if k in known},
        "performance": known.get("performance", "not judged"),
        "other_groups": known.get("heterogeneity_results", "not left out of training one by one"),
        "fairness": _fairness(data),
        "explanation": _explanation(data),
        "limits": list(data.limits),
        "audit": list(data.audit.sentences) if data.audit is not None else ["no leakage audit was run"],
        "environment": {"versions": dict(data.run.versions), "seed": data.run.seed, "inputs": dict(data.run.inputs)},
    }
    if behaviour is not None and (table := behaviour.table("instability_summary")) is not None:
        card["instability"] = dict(zip(table["metric"], table["value"].round(4).tolist(), strict=True))
    return card


def card_text(card: Mapping[str, object]) -> str:
    """The card as Markdown."""
    lines = ["# Model card", ""]
    if card.get("synthetic"):
        lines += ["**SYNTHETIC DATA: shows that the program works, not how patients fare.**", ""]
    lines += ["Research use only. Not a medical device.", ""]
    for name, value in card.items():
        if name in ("research_use_only", "synthetic") or value in ("", [], {}):
            continue
        lines += [f"## {name.replace('_', ' ').capitalize()}", "", *_lines(value), ""]
    return "\n".join(lines)


def _lines(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [
            f"- {k}: {'; '.join(map(str, v)) if isinstance(v, list) else v}"
            for k, v in value.items()
            if v not in ("", None)
        ]
    if isinstance(value, (list, tuple)):
        return [f"- {v}" for v in value]
    return [str(value)]


def _fairness(data: ReportData) -> str:
    table = None if data.behaviour is None else data.behaviour.table("subgroups")
    if table is None:
        return "not looked at"
    seen = table[table["verdict"] != "uninformative"]
    off = seen[seen["verdict"].isin(["differs", "off target"])]
    said = f"{len(seen)} of {len(table)} comparisons have enough events"
    if len(seen) == 0:
        return said + "; nothing can be said about fairness"
    named = [f"{r.grouping} {r.level} ({fmt.metric(r.metric)} {fmt.number(r.value)})" for r in off.head(8).itertuples()]
    return said + ("; differing or off target: " + ", ".join(named) if named else "; none differs")


def _explanation(data: ReportData) -> str:
    table = None if data.behaviour is None else data.behaviour.table("importance")
    if table is None:
        return "not made"
    top = table.head(5)["group"].astype(str).tolist()
    return f"the forecast draws most on {fmt.joined(top)} (permutation on unseen patients); these are not causes"
