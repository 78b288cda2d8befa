"""The study of the piece of brain, one command: drivers, regions, closure; results beside the other benchmarks.

    python benchmarks/tissue_study.py [--quick] [--workers N]

Writes ``benchmarks/results/tissue_study.json`` and ``.md`` and, for the documentation, ``docs/images/tissue-*.png``.
Everything is synthetic: a micro model driven by a patient model.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.execute import Processes, Serial
from icans.study import tissue_study as study
from icans.tissue.closure import PARAMETERS, Closure

HERE = Path(__file__).resolve().parent
RESULTS, IMAGES = HERE / "results", HERE.parent / "docs" / "images"
SEED = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few, short runs: does it go through?")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    settings = study.Settings()
    if given.quick:
        settings = study.Settings(2, 4, 2, 12.0, 24.0, 24.0, 200.0, (0.0, 75.0, 1000.0), (0.0, 0.3, 0.9))
    executor = Processes(given.workers) if given.workers > 1 else Serial()
    course = study.typical_course()
    began = time.process_time()
    fitted, runs = study.closure(course, settings, SEED, executor)
    regions = study.regional(course, settings, SEED, executor)
    ranked = study.drivers(course, settings, SEED, executor)
    result = collect(course, settings, fitted, runs, regions, ranked, time.process_time() - began)
    if given.quick:
        print(text(result))
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tissue_study.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "tissue_study.md").write_text(text(result))
    figures(result, fitted)
    print(text(result))


def collect(
    course: study.Course, settings: study.Settings, fitted: Closure, runs: list[dict[str, float]],
    regions: list[dict[str, Any]], ranked: list[dict[str, Any]], cpu_s: float,
) -> dict[str, Any]:  # fmt: skip
    """Everything as plain JSON values."""
    return {
        "origin": "synthetic: a micro model driven by the patient model",
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": SEED,
        "cpu_s": round(cpu_s),
        "settings": asdict(settings),
        "peak": course.peak,
        "drivers": ranked,
        "regions": regions,
        "ranking": {b: dict(zip(("order", "tau"), study.ranking(regions, b))) for b in ("equal", "weighted")},
        "closure": {
            "values": dict(zip(PARAMETERS, fitted.values.tolist())),
            "low": dict(zip(PARAMETERS, np.quantile(fitted.draws, 0.05, axis=0).tolist())),
            "high": dict(zip(PARAMETERS, np.quantile(fitted.draws, 0.95, axis=0).tolist())),
            "fit": fitted.fit,
            "error": fitted.error,
            "noise": fitted.noise,
            "runs": runs,
        },
    }


def text(result: dict[str, Any]) -> str:
    """The results as a page."""
    lines = ["# The piece of brain: drivers, regions, closure", "",
             f"Synthetic: a micro model driven by the patient model. {result['date']}, seed {result['seed']}, "
             "`python benchmarks/tissue_study.py`.", "",
             "## Drivers (Morris, effect over the whole range: mu* and half-width of its 95 % interval)", "",
             "| driver | neuronal injury | direction | log10 IL-6 production | direction |",
             "|---|---|---|---|---|"]  # fmt: skip
    for row in result["drivers"]:
        injury = f"{row['injury']:.3f} ± {row['injury_half_width']:.3f} | {row['injury_direction']:+.3f}"
        made = f"{row['production']:.2f} ± {row['production_half_width']:.2f} | {row['production_direction']:+.2f}"
        lines.append(f"| {row['driver']} | {injury} | {made} |")
    lines += ["", "## Regions (typical patient's course; mean ± standard error over replicates)", "",
              "| region | barrier | highest injury | highest IL-6 production, pg/mL/h | made / from blood "
              "| microglia active | plugged | clearance of IL-6, 1/h |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in result["regions"]:
        lines.append(
            f"| {row['region']} | {row['barrier']} | {row['injury']:.3f} ± {row['injury_se']:.3f} "
            f"| {row['production']:.0f} ± {row['production_se']:.0f} | {row['amplification']:.0f} "
            f"| {row['active']:.2f} | {row['plugged']:.3f} | {row['clearance']:.2f} |"
        )
    for barrier, found in result["ranking"].items():
        lines += ["", f"Order with {barrier} barriers: {' > '.join(found['order'])}; Kendall's tau with MRI "
                  f"{found['tau']:.2f}."]  # fmt: skip
    made = result["closure"]
    lines += ["", "## Closure", "", "| parameter | value | 5 to 95 % |", "|---|---|---|"]
    lines += [f"| {p} | {made['values'][p]:.3g} | {made['low'][p]:.3g} to {made['high'][p]:.3g} |" for p in PARAMETERS]
    lines += [
        "",
        f"Error of the fit: {100 * made['fit']:.1f} % of the largest production; at levels of plasma left out (the "
        f"lowest and the highest among them): {100 * made['error']:.1f} %; noise between replicates: "
        f"{100 * made['noise']:.1f} %.",
        "",
    ]
    return "\n".join(lines)


def figures(result: dict[str, Any], fitted: Any) -> None:
    """Drivers, and the closure over its runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = result["drivers"][:14][::-1]
    figure, axis = plt.subplots(figsize=(7, 4.6))
    axis.barh([r["driver"] for r in rows], [r["injury"] for r in rows], xerr=[r["injury_half_width"] for r in rows],
              color="#4477aa", ecolor="#222222")  # fmt: skip
    axis.set_xlabel("effect on neuronal injury over the whole range (Morris mu*)")
    axis.set_title("What drives injury in the piece of brain (synthetic)")
    figure.tight_layout()
    figure.savefig(IMAGES / "tissue-drivers.png", dpi=110)
    figure, axis = plt.subplots(figsize=(6, 4.2))
    runs = result["closure"]["runs"]
    levels = np.geomspace(5, 1500, 60)
    for loss, colour in zip(sorted({r["loss"] for r in runs}), plt.cm.viridis(np.linspace(0, 0.9, 5))):
        own = [r for r in runs if r["loss"] == loss]
        axis.plot([max(r["plasma"], 5) for r in own], [r["production"] for r in own], "o", ms=3, color=colour)
        axis.plot(levels, fitted.production(levels, loss), color=colour, label=f"barrier loss {loss:g}")
        axis.fill_between(levels, *fitted.interval(levels, loss), color=colour, alpha=0.2)
    axis.set_xscale("log")
    axis.set_xlabel("IL-6 in plasma above health, pg/mL (0 drawn at 5)")
    axis.set_ylabel("IL-6 made by tissue, pg/mL/h")
    axis.set_title("Closure of the cortex (synthetic)")
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(IMAGES / "tissue-closure.png", dpi=110)


if __name__ == "__main__":
    main()
