"""From one product to another: which step of the ladder from how many local patients on. All data are SYNTHETIC.

Run with ``python benchmarks/transfer.py``. Worlds: ``shifted`` (the same effects at a lower level, half as strong),
``turned`` (one effect has the other sign), ``same`` (nothing to repair), and tisa-cel patients of the demo cohort with
a model trained on its axi-cel patients.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from icans.datasets.demo import demo_cohort
from icans.evaluate.learning_curve import learning_curve
from icans.forecast.dataset import examples
from icans.forecast.features import FeatureSpec
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import Rung
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.transfer.learning import learning_predictions, transfer_ladder
from icans.harmonize.pipeline import harmonize
from integrate_tables import HORIZONS, truth

RESULTS = Path(__file__).parent / "results"
SIZES, REPEATS = (25, 50, 100, 200), 15
EFFECTS = {"static.age_y": 0.6, "lab.crp.last": 0.8, "lab.il_6.last": 0.5}
TURNED = {"static.age_y": -0.6, "lab.crp.last": 0.8, "lab.il_6.last": 0.5}
RUNG = Rung("logistic", "", LastValueLogistic((1.0, 0.3, 0.1, 0.03, 0.01, 0.003), inner_folds=3))
METRICS = ("auc", "brier", "slope", "oe")


def worlds() -> dict[str, tuple]:
    """Name -> (source inputs, outcome, local inputs, outcome, horizon)."""
    source = truth(500, 1, effects=EFFECTS, missing=0.1, landmarks=(24.0,))
    arms = {
        "shifted": truth(500, 2, effects=EFFECTS, missing=0.1, shift=-1.0, slope=0.5, landmarks=(24.0,)),
        "turned": truth(500, 3, effects=TURNED, missing=0.1, landmarks=(24.0,)),
        "same": truth(500, 4, effects=EFFECTS, missing=0.1, landmarks=(24.0,)),
    }
    found = {
        name: (Inputs.of(source.table), source.outcome, Inputs.of(local.table), local.outcome, HORIZONS[1])
        for name, local in arms.items()
    }
    cohort = harmonize(demo_cohort(n=900, seed=11)).cohort
    spec = FeatureSpec(statistics=(), windows_d=(), scores=())
    data = examples(cohort, TASKS["icans_any"], (72.0,), spec)
    product = data.table["static.product"].astype(str)
    old, new = data.where((product == "axi-cel").to_numpy()), data.where((product == "tisa-cel").to_numpy())
    found["demo: axi-cel to tisa-cel"] = (old.inputs, old.outcome, new.inputs, new.outcome, Horizon(120.0))
    return found


def main() -> None:
    frames = []
    for name, (inputs, outcome, local, known, horizon) in worlds().items():
        source = RUNG.fit(inputs, outcome, [horizon], 1)
        made, failures = learning_predictions(
            transfer_ladder(source), local, known, [horizon], sizes=SIZES, repeats=REPEATS, seed=1, task=name
        )
        curve = learning_curve(made)
        frames.append(curve[curve["metric"].isin(METRICS)].assign(world=name))
        print(name, len(made), failures.groupby(["model", "n_local"]).size().to_dict(), flush=True)
    table = pd.concat(frames, ignore_index=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transfer.json").write_text(json.dumps(table.to_dict("records"), indent=1) + "\n")
    lines = ["# Transfer: steps of the ladder against local patients (SYNTHETIC)", "",
             f"Source: a ridge logistic rung. Means over {REPEATS} draws of local patients; in brackets 95 % of the "
             "draws. Brier differences are to the model as it came (`none`), within draws.", "",
             "| world | n local | step | AUC | Brier | Brier - none | slope | O/E |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    steps = {name: k for k, name in enumerate(("none", "intercept", "slope", "update", "local"))}
    for world in table["world"].unique():
        mine = table[table["world"] == world]
        for n in sorted(mine["n_local"].unique()):
            for step in steps:
                v = mine[(mine["n_local"] == n) & (mine["model"] == step)].set_index("metric")
                if v.empty:
                    continue
                gap = v.loc["brier"]
                parts = [f"{gap[k]:+.4f}" for k in ("difference", "difference_low", "difference_high")]
                shown = "" if step == "none" else f"{parts[0]} ({parts[1]} to {parts[2]})"
                cells = [f"{v.loc[m, 'value']:.{d}f} ({v.loc[m, 'low']:.{d}f}-{v.loc[m, 'high']:.{d}f})"
                         for m, d in (("auc", 3), ("brier", 4), ("slope", 2), ("oe", 2))]  # fmt: skip
                lines.append(
                    f"| {world} | {n} | {step} | {cells[0]} | {cells[1]} | {shown} | {cells[2]} | {cells[3]} |"
                )
    (RESULTS / "transfer.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
