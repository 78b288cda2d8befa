"""The therapies and regimens of the model as a page of documentation (Markdown)."""

from __future__ import annotations

from collections import Counter

from icans.mechanism.patient import patient_model
from icans.mechanism.regimens import Regimen, regimens
from icans.mechanism.therapies import Therapy, therapies

LOUD = "**HYPOTHETICAL**"

HEAD = """# Therapies

<!-- Made by `python -m icans.mechanism.emit.therapies`; a test holds that it is up to date. -->

What the model can give, where each therapy acts, and what is known of it. **Research use only; nothing here is advice
on treatment.** A therapy or regimen marked **HYPOTHETICAL** has no human data in this use: its pharmacokinetics may be
real, its effect here is an assumption, and every result that rests on it carries the mark.

Numbers stand in `parameters/drug_*.toml`, each with unit, variability, bounds, source and one of these marks: *read*
(in the source), *computed* (from numbers that were read), *recalled* (from memory of the source; check before relying
on it), *calibrated*, *assumed*. The [equations](model.md#every-equation) show them all.

## Drugs

| drug | name in scenarios | target | routes | human data in this use | parameters | sources |
|---|---|---|---|---|---|---|"""

HANDLES = """
## Where they act

Drugs act at *handles*: quantities from 0 (no effect) to 1, declared by the module where the drug acts. Two drugs at one
handle combine as `1 - (1 - a)(1 - b)`. Handles that end in `_cns` follow the drug's own concentration in the
interstitial fluid of the brain.

| handle | what it is | drugs |
|---|---|---|"""

PLANS = """
Rimiducid acts on CAR T cells by flows of its own: an iCasp9 kill with a fraction of cells that resists it.

## Regimens

By name, as in `icans simulate --regimen NAME`, or `regimens = ["NAME"]` in a scenario.
"""


def therapies_markdown() -> str:
    """The page: a table of drugs, what they do, and the regimens with what was seen."""
    drugs = [_drug_row(entry) for entry in therapies().values()]
    plans = [line for entry in regimens().values() for line in _regimen_lines(entry)]
    return "\n".join([HEAD, *drugs, HANDLES, *_handle_rows(), PLANS, *plans]).rstrip() + "\n"


def _drug_row(entry: Therapy) -> str:
    model = patient_model((entry.name,))
    marks = Counter(row.status for row in model.parameters.rows if row.module == f"drug_{entry.name}")
    told = ", ".join(f"{count} {mark}" for mark, count in marks.most_common()) or "shared with others"
    data = LOUD if entry.hypothetical else "yes"
    sources = "; ".join(entry.sources) or "none: assumed"
    return (
        f"| {entry.label} | `{entry.name}` | {entry.target} | {', '.join(entry.routes)} | {data} | {told} | {sources} |"
    )


def _handle_rows() -> list[str]:
    meanings = {d.name: d.meaning for d in patient_model().definitions}
    rows = []
    for handle in dict.fromkeys(h for entry in therapies().values() for h in entry.handles):
        users = [entry.title for entry in therapies().values() if handle in entry.handles]
        rows.append(f"| `{handle}` | {meanings.get(handle, '')} | {', '.join(users)} |")
    return sorted(rows)


def _regimen_lines(entry: Regimen) -> list[str]:
    mark = f" {LOUD}" if entry.hypothetical else ""
    lines = [f"### `{entry.name}`{mark}", "", entry.label + ".", ""]
    lines += entry.describe().splitlines()[1:]
    seen = f"Seen: {entry.evidence} " if entry.evidence else ""
    lines += ["", f"{seen}Source ({entry.status}): {entry.source.rstrip('.')}.", ""]
    return lines


if __name__ == "__main__":
    print(therapies_markdown(), end="")
