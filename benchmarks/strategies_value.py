"""What a result is worth and what a faster one is worth, on virtual (synthetic) patients of axi-cel in LBCL.

    python benchmarks/strategies_value.py

Writes benchmarks/results/strategies_value.md and .json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pandas as pd

from icans.intervene.compare.running import Group
from icans.intervene.compare.value import Decision, decision_curve, latency_sweep
from icans.intervene.strategy.reading import strategy, strategy_of

SEED = 20240201
WAITING = ("anakinra_upon_il6", "anakinra_upon_ang2")
LATENCIES = (0.0, 6.0, 24.0, 72.0)
TO = Path(__file__).parent / "results"


def main(patients: int) -> None:
    """Run, and write the results."""
    begun = time.process_time()
    group, care = Group("axi-cel", "LBCL", patients), strategy("guideline")
    sweeps = [latency_sweep(group, strategy(n), care, SEED, latencies_h=LATENCIES).assign(strategy=n) for n in WAITING]
    sweep = pd.concat(sweeps, ignore_index=True)
    dose = {"time_h": 72, "drug": "anakinra", "amount": 100, "unit": "mg", "route": "sc", "every_h": 12, "count": 14}
    treat = strategy_of(
        "anakinra_from_day_3", {"include": ["guideline"], "source": "a decision on day 3", "doses": [dose]}
    )
    curve = decision_curve(group, Decision(treat, care, ("il_6", "ferritin")), SEED, latencies_h=(0.0, 24.0, 72.0))
    cpu = time.process_time() - begun
    record = {"synthetic": True, "patients": patients, "seed": SEED, "cpu_s": round(cpu, 1),
              "latency": sweep.to_dict("records"),
              "decision": curve.astype(object).where(curve.notna(), None).to_dict("records")}  # fmt: skip
    TO.mkdir(exist_ok=True)
    (TO / "strategies_value.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (TO / "strategies_value.md").write_text(_markdown(record, sweep, curve), encoding="utf-8")


def _markdown(record: dict, sweep: pd.DataFrame, curve: pd.DataFrame) -> str:
    shown = sweep.assign(
        shown=[f"{d:+.1f} ({a:+.1f} to {b:+.1f})" for d, a, b in sweep[["difference", "low", "high"]].to_numpy()]
    )
    wide = shown.pivot(index=["strategy", "latency_h"], columns="measure", values="shown").reset_index()
    lines = ["# Value of a result", "", "Made by `python benchmarks/strategies_value.py`; all of it is simulated "
             f"(synthetic). {record['patients']:,} patients, {record['cpu_s']:.0f} CPU seconds. Differences from "
             "guideline care per 1,000 patients, 95 % paired intervals of the sample.", "",
             "| strategy | hours to the result | severe ICANS | ICU days | deaths |",
             "|---|---|---|---|---|"]  # fmt: skip
    lines += [f"| {r['strategy']} | {r['latency_h']:g} | {r['icans_3']} | {r['icu_days']} | {r['death']} |"
              for r in wide.to_dict("records")]  # fmt: skip
    lines += ["", "A decision on day 3 for or against anakinra, by the risk of severe ICANS from what is back by then; "
              "those above the threshold are treated.", "",
              "| results | threshold | treated | net benefit | treat all | severe ICANS per 1,000 |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    for row in curve[curve["threshold"].isin([0.15, 0.25, 0.35, 0.45])].to_dict("records"):
        old = "none: bedside alone" if pd.isna(row["latency_h"]) else f"back after {row['latency_h']:g} h"
        lines.append(f"| {old} | {row['threshold']:g} | {100 * row['treated']:.0f} % | {row['net_benefit']:.3f} | "
                     f"{row['treat_all']:.3f} | {row['icans_3']:+.1f} ({row['icans_3_low']:+.1f} to "
                     f"{row['icans_3_high']:+.1f}) |")  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1000)
    main(parser.parse_args().patients)
