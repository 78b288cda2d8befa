"""Trials checked at size: error over 10,000 null trials of every design, closed forms, a published adaptive design.

    python benchmarks/trials.py               all parts, about six CPU minutes
    python benchmarks/trials.py published     one part: stated, closed_forms, published, examples, emulation
    python benchmarks/trials.py "stated:single arm, exact"      one design of stated or examples

Writes benchmarks/results/trials.md and .json; parts that were not run stay as they are there. All outcomes are
simulated (synthetic).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.random import stream
from icans.intervene.emulate.courses import Protocol
from icans.intervene.emulate.estimate import emulate
from icans.intervene.emulate.simulation import simulated
from icans.intervene.trial import adaptive, closed
from icans.intervene.trial.bank import make_bank
from icans.intervene.trial.boundaries import boundaries, crossing
from icans.intervene.trial.design import make_design, read_design
from icans.intervene.trial.operate import operate

TO = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
TRIALS = 10_000
RATES = [{"name": "control", "rate": 0.4}, {"name": "new", "rate": 0.25}]
HAZARDS = [{"name": "control", "hazard": 0.05}, {"name": "new", "hazard": 0.03}]
MARKED = [{"name": "control", "rate": 0.3, "rate_positive": 0.5}, {"name": "new", "rate": 0.28, "rate_positive": 0.25}]
MARKER = {"prevalence": 0.4, "sensitivity": 0.9, "specificity": 0.9, "failure": 0.05}
STATED: dict[str, dict[str, Any]] = {
    "two arms, binary": {"arms": RATES, "design": {"patients": 300}},
    "two arms, log rank": {"arms": HAZARDS, "endpoint": {"kind": "time"}, "design": {"patients": 160}},
    "two arms, competing": {"arms": HAZARDS, "endpoint": {"kind": "competing", "against_hazard": 0.02},
                            "design": {"patients": 200}},
    "two arms, ordinal": {"arms": [{"name": "control", "grades": [0.4, 0.2, 0.2, 0.15, 0.05]},
                                   {"name": "new", "grades": [0.55, 0.2, 0.15, 0.08, 0.02]}],
                          "endpoint": {"kind": "ordinal"}, "design": {"patients": 240}},
    "three arms, Hochberg": {"arms": [*RATES, {"name": "other", "rate": 0.3}], "design": {"patients": 420}},
    "stratified by a marker": {"arms": MARKED, "biomarker": MARKER, "design": {"kind": "stratified", "patients": 300}},
    "guided by a marker": {"arms": MARKED, "biomarker": MARKER, "design": {"kind": "guided", "patients": 600}},
    "group sequential, O'Brien-Fleming": {"arms": RATES, "design": {
        "kind": "group_sequential", "patients": 320, "looks": [1 / 3, 2 / 3, 1.0], "boundary": "obrien_fleming"}},
    "group sequential, Pocock": {"arms": RATES, "design": {
        "kind": "group_sequential", "patients": 340, "looks": [1 / 3, 2 / 3, 1.0], "boundary": "pocock"}},
    "group sequential, Lan-DeMets, events": {"arms": HAZARDS, "endpoint": {"kind": "time"}, "design": {
        "kind": "group_sequential", "patients": 200, "looks": [0.5, 1.0], "events_planned": 130}},
    "single arm, exact": {"arms": [{"name": "history", "rate": 0.7}, {"name": "new", "rate": 0.5}],
                          "design": {"kind": "single_arm", "method": "exact", "patients": 50, "p0": 0.3, "p1": 0.5},
                          "analysis": {"sided": 1}},
    "single arm, Simon": {"arms": [{"name": "history", "rate": 0.7}, {"name": "new", "rate": 0.5}],
                          "design": {"kind": "single_arm", "p0": 0.3, "p1": 0.5}, "analysis": {"sided": 1}},
    "Bayesian, response-adaptive": {"arms": [*RATES, {"name": "other", "rate": 0.35}], "design": {
        "kind": "adaptive", "patients": 300, "superiority": 0.992, "pipeline": 20, "least_allocation": 0.15,
        "futility": 0.05, "fixed_control": 0.34}},
}  # fmt: skip


def stated(only: str = "") -> list[dict[str, Any]]:
    """Error and power of every kind of design with stated outcomes, or of one."""
    rows = []
    for name, raw in STATED.items():
        if only and name != only:
            continue
        design = make_design({"trial": {"name": name, "simulations": TRIALS, "seed": 1}, **raw})
        start = time.process_time()
        null, real = operate(design)
        rows.append({"design": name, **_both(null, real), "cpu_s": round(time.process_time() - start, 1)})
        print(rows[-1], file=sys.stderr)
    return rows


def _both(null: Any, real: Any) -> dict[str, float]:
    n, r = null.summary(), real.summary()
    return {"error": n["rejects_any"], "error_low": n["rejects_any_low"], "error_high": n["rejects_any_high"],
            "power": r["rejects_any"], "patients_null": n["patients_mean"], "patients": r["patients_mean"]}  # fmt: skip


def closed_forms() -> list[dict[str, Any]]:
    """Simulated power against what can be written down; ``off_se``: difference in Monte-Carlo standard errors."""
    rows = []

    def add(what: str, simulated_share: float, exact: float) -> None:
        se = np.sqrt(max(exact * (1 - exact), 1e-9) / TRIALS)
        rows.append(
            {"what": what, "simulated": simulated_share, "closed form": exact, "off_se": (simulated_share - exact) / se}
        )

    for p1 in (0.4, 0.3, 0.25, 0.2):
        raw = {"trial": {"name": "c", "simulations": TRIALS, "seed": 2}, "design": {"patients": 240},
               "arms": [RATES[0], {"name": "new", "rate": p1}]}  # fmt: skip
        real = operate(make_design(raw))[1]
        add(f"binary, 0.40 against {p1:g}, 120 an arm, exact sum", real.any_rejected,
            closed.exact_power_two_proportions(0.4, p1, 120, 120))  # fmt: skip
    for hazard in (0.04, 0.035, 0.03):
        raw = {"trial": {"name": "c", "simulations": TRIALS, "seed": 3}, "design": {"patients": 400},
               "endpoint": {"kind": "time"}, "arms": [HAZARDS[0], {"name": "new", "hazard": hazard}]}  # fmt: skip
        real = operate(make_design(raw))[1]
        events = 200 * sum(1 - np.exp(-30 * h) for h in (0.05, hazard))
        add(f"log rank, hazard ratio {hazard / 0.05:g}, {events:.0f} events, Schoenfeld", real.any_rejected,
            closed.schoenfeld_power(hazard / 0.05, events))  # fmt: skip
    looks = [1 / 3, 2 / 3, 1.0]
    raw = {"trial": {"name": "c", "simulations": TRIALS, "seed": 4}, "arms": RATES,
           "design": {"kind": "group_sequential", "patients": 600, "looks": looks}}  # fmt: skip
    null, real = operate(make_design(raw))
    bound = boundaries("spend_obrien_fleming", looks)
    drift = 0.15 / np.sqrt((0.24 + 0.1875) / 300)
    for one, d, name in ((null, 0.0, "error"), (real, drift, "power")):
        seen = crossing(looks, -bound, bound, d)
        add(
            f"three looks, {name}, exact recursion",
            one.any_rejected,
            float(seen.above.sum() + (seen.below.sum() if d == 0 else 0)),
        )
        add(f"three looks, {name}: stopped by the second", float((one.found["look"] < 2).mean()),
            float(seen.above[:2].sum() + seen.below[:2].sum()))  # fmt: skip
    return rows


#: adaptr 1.4.0, README (repository INCEPTdk/adaptr, commit 039aa48), 1,000 trials a scenario: value, low, high.
ADAPTR = {
    "no difference (0.25, 0.25, 0.25)": ((0.25, 0.25, 0.25), {
        "superior": (0.048, 0.04, 0.06), "equivalent": (0.381, 0.35, 0.41), "at most patients": (0.571, 0.54, 0.60),
        "patients, mean": (1749.6, 1727.2, 1772.1), "patients, SD": (373.74, 355.15, 392.58),
        "events, mean": (438.69, 432.74, 444.66)}),
    "difference (0.25, 0.20, 0.30)": ((0.25, 0.20, 0.30), {
        "superior": (0.731, 0.706, 0.759), "equivalent": (0.146, 0.125, 0.167),
        "at most patients": (0.123, 0.102, 0.143),
        "patients, mean": (1242.3, 1209.895, 1273.025),
        "patients, SD": (531.19, 516.617, 544.091),
        "events, mean": (284.999, 277.724, 291.991), "selects arm B": (0.962, 0.951, 0.974)}),
}  # fmt: skip


def published() -> list[dict[str, Any]]:
    """The two scenarios of adaptr with 10,000 trials of ours."""
    rows = []
    looks = tuple(range(300, 2001, 100))
    rules = adaptive.Rules(looks, (*range(400, 2001, 100), 2000), 3, superiority=0.9814318, inferiority=1 - 0.9814318,
                           equivalence=0.9, equivalence_margin=0.05, least=0.2)  # fmt: skip
    for scenario, (rates, theirs) in ADAPTR.items():
        parts = []
        for block in range(TRIALS // 500):
            rng = stream(5, "adaptr", scenario, block)
            parts.append(adaptive.run(rng.random((500, 2000, 3)) < np.array(rates), rules, rng.random((500, 2000))))
        state = np.concatenate([p.state for p in parts])
        n = np.concatenate([p.n.sum(axis=1) for p in parts])
        events = np.concatenate([p.events.sum(axis=1) for p in parts])
        chosen = np.concatenate([np.where(p.winner >= 0, p.winner, p.best) for p in parts])
        ours = {"superior": float((state == 1).mean()), "equivalent": float((state == 2).mean()),
                "at most patients": float((state == 0).mean()), "patients, mean": float(n.mean()),
                "patients, SD": float(n.std()), "events, mean": float(events.mean()),
                "selects arm B": float((chosen == 1).mean())}  # fmt: skip
        for what, (value, low, high) in theirs.items():
            rows.append({"scenario": scenario, "what": what, "published": value, "published low": low,
                         "published high": high, "ours": ours[what]})  # fmt: skip
    return rows


def examples(only: str = "*") -> list[dict[str, Any]]:
    """The designs of examples/trials on virtual patients, or one of them."""
    rows = []
    for path in sorted((ROOT / "examples" / "trials").glob(f"{only}.toml")):
        design = read_design(path)
        start = time.process_time()
        bank = make_bank(design.patients, design.arms, design.trial.seed)
        made = time.process_time() - start
        start = time.process_time()
        null, real = operate(design, bank, simulations=TRIALS)
        rows.append({"design": path.stem, **_both(null, real), "cpu_s": round(time.process_time() - start, 1),
                     "bank_cpu_s": round(made, 1)})  # fmt: skip
        print(rows[-1], file=sys.stderr)
    return rows


def emulation() -> dict[str, Any]:
    """Virtual cohorts whose answer is known: what the emulation finds in each, and how often its interval holds it."""
    protocol = Protocol(grace=0, ridge=0.1, most_weight=1.0, covariates=("crs", "day", "first"))
    model = simulated("axi-cel", "LBCL", 2000, 3, protocol)
    truth = model.difference()[0]
    found, crude, held = [], [], []
    for seed in range(40):
        one = emulate(model.observed(seed), protocol, 1, 60)
        found.append(one.difference[0])
        held.append(one.difference[1] <= truth <= one.difference[2])
        (a, b), (c, d) = one.naive.values()
        crude.append(a / b - c / d)
    return {"truth": truth, "emulated_mean": float(np.mean(found)), "emulated_sd": float(np.std(found)),
            "crude_mean": float(np.mean(crude)), "interval_holds_truth": float(np.mean(held)), "cohorts": 40,
            "patients": int(model.event.shape[1])}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    return "\n".join(lines)


PARTS: dict[str, Any] = {"stated": stated, "closed_forms": closed_forms, "published": published, "examples": examples,
         "emulation": emulation}  # fmt: skip
HEADS = {
    "stated": ("Stated outcomes", f"{TRIALS:,} trials a row and scenario; error: where nothing works."),
    "closed_forms": ("Closed forms", "off_se: difference in Monte-Carlo standard errors."),
    "published": ("Published: adaptr 1.4.0", "README of the repository INCEPTdk/adaptr, commit 039aa48 (Granholm "
                  "et al. 2022, doi 10.21105/joss.04284): 1,000 trials a scenario, bootstrap intervals of 95 %. Ours: "
                  "10,000."),
    "examples": ("Virtual patients: the designs of examples/trials", f"{TRIALS:,} trials a scenario."),
    "emulation": ("Emulation in virtual cohorts whose answer is known", "Early less wait, risk of grade 3 in 10 days."),
}  # fmt: skip


def main() -> None:
    """Run the parts that are asked for and write the results."""
    path = TO / "trials.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"synthetic": True}
    for name in sys.argv[1:] or PARTS:
        part, _, only = name.partition(":")
        if only:
            (row,) = PARTS[part](only)
            found[part] = [row if r["design"] == row["design"] else r for r in found[part]]
        else:
            found[part] = PARTS[part]()
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = ["# Trials: error, power, closed forms, a published adaptive design", "",
            "Synthetic. Made by `python benchmarks/trials.py`.", ""]  # fmt: skip
    for name, (head, note) in HEADS.items():
        if name in found:
            rows = found[name] if isinstance(found[name], list) else [found[name]]
            text += [f"## {head}", "", note, "", table(rows), ""]
    (TO / "trials.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
