"""CAR T cells against a tumour organoid: our killing curve beside the published one.

Published: Luque et al. 2024 (Sci Rep 14, DOI 10.1038/s41598-024-63125-5) and its re-implementation CARTopiaX, whose
figures compare both over 30 days (mean of five runs each; assets/images/dose_scale1_day0_num_cells.png and
no_doses_num_cells_and_tumor_radius.png, Apache-2.0). The curves were read off the figures' pixels, one of which is 14
cells (33 without a dose); a reading is as good as half the width of a line, 60 cells.

    python benchmarks/tissue_cart.py --days 12                # one dose at the start (about 10 minutes of one core)
    python benchmarks/tissue_cart.py --days 8 --arm "no dose"
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.tissue.run.build import build
from icans.tissue.run.spec import read_spec

HERE = Path(__file__).parent
SPEC = HERE.parent / "examples" / "tissue_coculture.toml"
CURVES = HERE / "peers" / "cartopiax_curves.csv"
RESULTS = HERE / "results" / "tissue"


def simulate(arm: str, days: float, seed: int) -> list[dict[str, float]]:
    """Half-daily counts of one run; the file is rewritten as the run goes on."""
    spec = read_spec(SPEC)
    if arm == "no dose":
        cells = tuple(c if c.name == "tumour" else c.model_copy(update={"place": ()}) for c in spec.cell)
        spec = spec.model_copy(update={"cell": cells})
    spec = spec.model_copy(update={"tissue": spec.tissue.model_copy(update={"seed": seed})})
    scene, rows, start = build(spec, SPEC.parent), [], time.process_time()
    tissue = scene.tissue
    for half in range(int(2 * days) + 1):
        scene.run(half * 720.0)
        live = tissue.of("tumour") & (tissue.cells["state"] == 0)
        oxygen = tissue.field.of("oxygen").reshape(-1)
        rows.append({
            "day": half / 2, "tumour_cells": tissue.count("tumour", None), "live_tumour": int(live.sum()),
            "live_car_t": tissue.count("CAR T"), "killed": int(tissue.kills.sum()),
            "mean_oncoprotein": round(float(tissue.cells["trait"][live].mean()), 4) if live.any() else None,
            "mean_oxygen": round(float(oxygen[tissue._voxel[: tissue.cells.n][tissue.of("tumour")]].mean()), 2)
            if half else 38.0,
            "cpu_s": round(time.process_time() - start, 1),
        })  # fmt: skip
        print(rows[-1], flush=True)
        write(arm, seed, rows)
    return rows


def write(arm: str, seed: int, rows: list[dict[str, float]]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = f"cart_{arm.replace(' ', '_')}_{seed}"
    (RESULTS / f"{name}.json").write_text(json.dumps({"arm": arm, "seed": seed, "rows": rows}, indent=1) + "\n")


def report() -> str:
    """All stored runs beside the published curves, as markdown."""
    published = pd.read_csv(CURVES)
    lines = [
        "# CAR T cells against a tumour organoid: killing curve", "",
        "Simulated. Published: read off the figures of CARTopiaX (means of five runs; its lines for CARTopiaX and",
        "for Luque et al. 2024 lie on one another up to day 10.5), to about 60 cells.", "",
    ]  # fmt: skip
    for arm in ("one dose", "no dose"):
        runs = [json.loads(p.read_text()) for p in sorted(RESULTS.glob(f"cart_{arm.replace(' ', '_')}_*.json"))]
        if runs:
            lines += _arm(arm, runs, published[published.arm == arm].set_index("day").drop(columns="arm"))
    return "\n".join(lines)


def _arm(arm: str, runs: list[dict[str, Any]], published: pd.DataFrame) -> list[str]:
    table = pd.concat([pd.DataFrame(r["rows"]) for r in runs]).groupby("day").mean(numeric_only=True)
    both = table.rename(columns={"live_car_t": "ours_t"}).join(published, how="left")
    lines = [
        f"## {arm} ({len(runs)} run{'s' if len(runs) > 1 else ''})", "",
        "| day | tumour cells, ours | published | CAR T alive, ours | published | killed | oncoprotein | oxygen |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for day, row in both.iterrows():
        lines.append(
            f"| {day:g} | {row.tumour_cells:.0f} | {_shown(row.tumour_cells_cartopiax)} | {row.ours_t:.0f} | "
            f"{_shown(row.live_car_t)} | {row.killed:.0f} | {_shown(row.mean_oncoprotein, 3)} | {row.mean_oxygen:.1f} |"
        )
    known = both.dropna(subset=["tumour_cells_cartopiax"])
    gap = np.sqrt(((known.tumour_cells - known.tumour_cells_cartopiax) ** 2).mean())
    part = 100 * gap / known.tumour_cells_cartopiax.mean()
    lines += ["", f"Tumour cells: root mean square gap {gap:.0f} cells ({part:.1f} % of the published mean)."]
    known = both.dropna(subset=["live_car_t"])
    if len(known):
        gap = np.sqrt(((known.ours_t - known.live_car_t) ** 2).mean())
        lines.append(f"CAR T cells alive: root mean square gap {gap:.0f} cells.")
    return [*lines, ""]


def _shown(value: float, digits: int = 0) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=12.0)
    parser.add_argument("--arm", default="one dose", choices=("one dose", "no dose"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only write the table from the stored runs")
    given = parser.parse_args()
    if not given.report:
        simulate(given.arm, given.days, given.seed)
    (RESULTS / "cart.md").write_text(report())


if __name__ == "__main__":
    main()
