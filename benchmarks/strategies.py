"""Twelve strategies on 10,000 virtual (synthetic) patients each: cost, and what they do.

    python benchmarks/strategies.py                        10,000 patients of axi-cel in LBCL, two workers
    python benchmarks/strategies.py --patients 500 --workers 1

Writes benchmarks/results/strategies.md and .json. CPU seconds are those of the work itself (process time of every
chunk), so that they mean something on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import pandas as pd

from icans.core.execute import Processes, Serial
from icans.intervene.compare.forecasting import LandmarkForecasts
from icans.intervene.compare.results import join
from icans.intervene.compare.running import Group, Task, parts_of, run_task
from icans.intervene.compare.summary import differences, pareto, summary
from icans.intervene.compare.watch import Ward
from icans.intervene.strategy.reading import strategy

STRATEGIES = (
    "never", "guideline", "early_steroids_care", "tocilizumab_prophylaxis", "dexamethasone_prophylaxis",
    "anakinra_prophylaxis", "anakinra_upon_fever", "anakinra_upon_ferritin", "dexamethasone_upon_forecast",
    "lenzilumab_prophylaxis", "fractionated", "rimiducid_at_grade_3",
)  # fmt: skip
SEED = 20240201
SHOWN = ("icans_any", "icans_3", "crs_3", "icu_days", "death", "response", "infection_days", "treated")
TO = Path(__file__).parent / "results"


def timed(task: Task) -> tuple[pd.DataFrame, float]:
    """A chunk's outcomes and the CPU seconds that it took."""
    begun = time.process_time()
    return run_task(task), time.process_time() - begun


def main(patients: int, workers: int) -> None:
    """Run, and write the results."""
    listed = tuple(strategy(n) for n in STRATEGIES)
    group, ward = Group("axi-cel", "LBCL", patients), Ward(seed=SEED)
    begun, cpu = time.time(), time.process_time()
    forecasts = LandmarkForecasts.for_groups([group], listed, SEED, ward)
    tasks = [Task(part, listed, SEED, ward, forecasts) for part in parts_of(group)]
    for one in listed:  # kernels are compiled once and kept on disk; not part of what is measured for the chunks
        run_task(Task(Group("axi-cel", "LBCL", 4), (one,), SEED, ward, forecasts))
    prepared, ready = time.process_time() - cpu, time.time()
    executor = Serial() if workers == 1 else Processes(workers)
    done = executor.map(timed, tasks, "strategies")
    wall = time.time() - ready
    found = join([t for t, _ in done], {s.name: s for s in listed}, SEED)
    work = sum(seconds for _, seconds in done)
    table = summary(found)
    table = table[table["measure"].isin(SHOWN)]
    against = differences(found, "guideline")
    record = {
        "synthetic": True, "patients": patients, "strategies": list(STRATEGIES), "seed": SEED, "workers": workers,
        "failed": int((~found.table["ok"]).sum()), "cpu_s": round(work, 1), "prepare_cpu_s": round(prepared, 1),
        "wall_s": round(wall, 1), "ms_per_patient_and_strategy": round(1e3 * work / patients / len(listed), 2),
        "on_two_quiet_cores_s": round(work / 2, 1), "load_average": os.getloadavg()[1],
        "summary": table.to_dict("records"),
        "per_1000_against_guideline": against[against["measure"].isin(SHOWN)].to_dict("records"),
        "pareto": pareto(found).to_dict("records"),
    }  # fmt: skip
    TO.mkdir(exist_ok=True)
    (TO / "strategies.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (TO / "strategies.md").write_text(_markdown(record, table), encoding="utf-8")
    print((TO / "strategies.md").read_text(encoding="utf-8"), f"all in {time.time() - begun:.0f} s")


def _markdown(record: dict, table: pd.DataFrame) -> str:
    wide = table.assign(
        shown=[f"{v:.3g} ({a:.3g} to {b:.3g})" for v, a, b in table[["value", "low", "high"]].to_numpy()]
    )
    wide = wide.pivot(index="strategy", columns="label", values="shown").loc[list(STRATEGIES)]
    wide = wide[list(dict.fromkeys(table["label"]))]
    front = {p["strategy"]: p for p in record["pareto"]}
    rows = ["| strategy | " + " | ".join(wide.columns) + " | on the front |", "|---" * (len(wide.columns) + 2) + "|"]
    for name, row in wide.iterrows():
        mark = "**HYPOTHETICAL** " if strategy(str(name)).hypothetical else ""
        rows.append(f"| {mark}{name} | " + " | ".join(row) + f" | {front[str(name)]['probability']:.2f} |")
    return (
        "# Twelve strategies\n\nMade by `python benchmarks/strategies.py`. All of it is simulated (synthetic); shares "
        "as fractions with 95 % intervals of the sample.\n\n"
        f"{record['patients']:,} patients (axi-cel, LBCL) under each of {len(STRATEGIES)} strategies: "
        f"{record['cpu_s']:.0f} CPU seconds, {record['ms_per_patient_and_strategy']:.2f} ms a patient and strategy, so "
        f"{record['on_two_quiet_cores_s']:.0f} s on two quiet cores; {record['wall_s']:.0f} s by the clock with "
        f"{record['workers']} workers on a machine of two cores under a load of {record['load_average']:.0f}. Before, "
        f"{record['prepare_cpu_s']:.0f} CPU seconds for the forecasts of the rules and loading kernels. "
        f"{record['failed']} integrations failed.\n\n" + "\n".join(rows) + "\n\nOn the front: share of bootstrap "
        "resamples in which no other strategy has less severe ICANS and more complete responses.\n"
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    main(options.patients, options.workers)
