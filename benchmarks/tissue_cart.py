"""CAR T cells against a tumour organoid: our killing curve beside the published one.

Published: Luque et al. 2024 (Sci Rep 14, DOI 10.1038/s41598-024-63125-5) and its re-implementation CARTopiaX, whose
figures compare both over 30 days (mean of five runs each; assets/images/dose_scale1_day0_num_cells.png and
no_doses_num_cells_and_tumor_radius.png, Apache-2.0). The curves were read off the figures' pixels, one of which is 14
cells (33 without a dose); a reading is as good as half the width of a line, 60 cells.

    python benchmarks/tissue_cart.py --workers 2               # one dose, ten seeds (8 minutes of one core a seed)
    python benchmarks/tissue_cart.py --days 4 --seeds 1 --arm "no dose"

Seeds that are stored already, of the same file, are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.execute import Processes, Serial
from icans.core.provenance import digest
from icans.tissue.agents.model import Tissue
from icans.tissue.run.build import build
from icans.tissue.run.spec import read_spec

HERE = Path(__file__).parent
SPEC = HERE.parent / "examples" / "tissue_coculture.toml"
CURVES = HERE / "peers" / "cartopiax_curves.csv"
RESULTS = HERE / "results" / "tissue"


def simulate(arm: str, days: float, seed: int, step_min: float | None = None) -> list[dict[str, float]]:
    """Half-daily counts of one run, stored as the run goes on; a stored run of the same file and length is taken."""
    spec = read_spec(SPEC)
    if arm == "no dose":
        cells = tuple(c if c.name == "tumour" else c.model_copy(update={"place": ()}) for c in spec.cell)
        spec = spec.model_copy(update={"cell": cells})
    spec = spec.model_copy(update={"tissue": spec.tissue.model_copy(update={"seed": seed})})
    if step_min is not None:
        spec = spec.model_copy(update={"steps": spec.steps.model_copy(update={"mechanics_min": step_min})})
    file = RESULTS / f"cart_{arm.replace(' ', '_')}_{seed}{'' if step_min is None else f'_step{step_min:g}'}.json"
    key = digest(spec.model_dump(mode="json"))
    if file.exists():
        stored = json.loads(file.read_text())
        if stored.get("key") == key and stored["rows"][-1]["day"] >= days:
            return list(stored["rows"])
    scene, rows, start = build(spec, SPEC.parent), [], time.process_time()
    for half in range(int(2 * days) + 1):
        scene.run(half * 720.0)
        rows.append(counted(scene.tissue, half, time.process_time() - start))
        print(seed, rows[-1], flush=True)
        if half == int(2 * days) or half % 4 == 0:
            RESULTS.mkdir(parents=True, exist_ok=True)
            stored = {"arm": arm, "seed": seed, "step_min": spec.steps.mechanics_min, "key": key, "rows": rows}
            file.write_text(json.dumps(stored, indent=1) + "\n")
    return rows


def counted(tissue: Tissue, half: int, cpu_s: float) -> dict[str, float]:
    """What the published figures show, at this half day."""
    live = tissue.of("tumour") & (tissue.cells["state"] == 0)
    oxygen = tissue.field.of("oxygen").reshape(-1)
    return {
        "day": half / 2, "tumour_cells": tissue.count("tumour", None), "live_tumour": int(live.sum()),
        "live_car_t": tissue.count("CAR T"), "killed": int(tissue.kills.sum()),
        "mean_oncoprotein": round(float(tissue.cells["trait"][live].mean()), 4) if live.any() else float("nan"),
        "mean_oxygen": round(float(oxygen[tissue._voxel[: tissue.cells.n][tissue.of("tumour")]].mean()), 2)
        if half else 38.0,
        "cpu_s": round(cpu_s, 1),
    }  # fmt: skip


def report() -> str:
    """All stored runs beside the published curves, as markdown."""
    published = pd.read_csv(CURVES)
    lines = [
        "# CAR T cells against a tumour organoid: killing curve", "",
        "Simulated. Published: read off the figures of CARTopiaX (means of five runs), to about 60 cells; the band is",
        "the published spread, from the lower edge of the lower to the upper edge of the upper of its two bands (five",
        "runs of CARTopiaX, five of Luque et al. 2024). Ours: mean and, of several runs, range. On day 10 ours are",
        "counted after the step in which the last CAR T cells die, theirs before it.", "",
    ]  # fmt: skip
    for arm in ("one dose", "no dose"):
        files = sorted(RESULTS.glob(f"cart_{arm.replace(' ', '_')}_*.json"))
        runs = [json.loads(p.read_text()) for p in files if "_step" not in p.name]
        if runs:
            lines += _arm(arm, runs, published[published.arm == arm].set_index("day").drop(columns="arm"))
        for other in (json.loads(p.read_text()) for p in files if "_step" in p.name):
            end = other["rows"][-1]
            counted = f"{end['tumour_cells']} tumour cells and {end['killed']} killed on day {end['day']:g}"
            lines += [f"At a step of {other['step_min']:g} min, seed {other['seed']}: {counted}.", ""]
    return "\n".join(lines)


def _arm(arm: str, runs: list[dict[str, Any]], published: pd.DataFrame) -> list[str]:
    every = pd.concat([pd.DataFrame(r["rows"]) for r in runs])
    by_day = every.groupby("day")
    table = by_day.mean(numeric_only=True).rename(columns={"live_car_t": "ours_t"})
    table["low"], table["high"], table["runs"] = by_day.tumour_cells.min(), by_day.tumour_cells.max(), by_day.size()
    both = table.join(published, how="left")
    many = len(runs) > 1
    lines = [
        f"## {arm} ({len(runs)} run{'s' if many else ''}, step {runs[0]['step_min']:g} min)", "",
        "| day | tumour cells | published | band | CAR T alive | published | killed | oncoprotein | oxygen |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for day, row in both.iterrows():
        spread = f" ({row.low:.0f} to {row.high:.0f})" if many else ""
        band = "–" if np.isnan(row.tumour_low) else f"{row.tumour_low:.0f} to {row.tumour_high:.0f}"
        lines.append(
            f"| {day:g} | {row.tumour_cells:.0f}{spread} | {_shown(row.tumour_cells_cartopiax)} | {band} | "
            f"{row.ours_t:.0f} | {_shown(row.live_car_t)} | {row.killed:.0f} | {_shown(row.mean_oncoprotein, 3)} | "
            f"{row.mean_oxygen:.1f} |"
        )
    return [*lines, "", *_verdict(both), ""]


def _verdict(both: pd.DataFrame) -> list[str]:
    """How far the means are apart, where ours lies in the published band, and at the lowest point."""
    known = both.dropna(subset=["tumour_cells_cartopiax"])
    gap = np.sqrt(((known.tumour_cells - known.tumour_cells_cartopiax) ** 2).mean())
    part = 100 * gap / known.tumour_cells_cartopiax.mean()
    lines = [f"Tumour cells: root mean square gap {gap:.0f} cells ({part:.1f} % of the published mean)."]
    banded = both.dropna(subset=["tumour_low"])
    if len(banded):
        inside = (banded.tumour_cells >= banded.tumour_low) & (banded.tumour_cells <= banded.tumour_high)
        out = ", ".join(f"{day:g}" for day in banded.index[~inside]) or "none"
        lines.append(f"In the published band on {inside.sum()} of {len(banded)} half days (outside: day {out}).")
    if len(known) and known.index.max() >= 10.5:
        low = known.tumour_cells.idxmin()
        ours, theirs = known.tumour_cells[low], known.tumour_cells_cartopiax.min()
        lines.append(
            f"Lowest: ours {ours:.0f} on day {low:g}, published {theirs:.0f} ({100 * (ours / theirs - 1):+.0f} %)."
        )
    alive = both.dropna(subset=["live_car_t"])
    if len(alive):
        gap = np.sqrt(((alive.ours_t - alive.live_car_t) ** 2).mean())
        lines.append(f"CAR T cells alive: root mean square gap {gap:.0f} cells.")
    return lines


def _shown(value: float, digits: int = 0) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=11.0)
    parser.add_argument("--arm", default="one dose", choices=("one dose", "no dose"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--step-min", type=float, default=None, help="step of mechanics, min, to see what it changes")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only write the table from the stored runs")
    given = parser.parse_args()
    if not given.report:
        jobs = [(given.arm, given.days, seed, given.step_min) for seed in given.seeds]
        (Processes(given.workers) if given.workers > 1 else Serial()).map(_one, jobs, "seeds")
    (RESULTS / "cart.md").write_text(report())


def _one(job: tuple[str, float, int, float | None]) -> None:
    simulate(*job)


if __name__ == "__main__":
    main()
