"""What networks on sequences cost and give on 200 synthetic patients: training, a forecast, memory, AUC; ONNX check.

The cohort is synthetic (that of the tests: daily CRP, ferritin, temperature and grades over 14 days). Run:
``python benchmarks/sequence_cost.py``; the tables go to ``benchmarks/results/sequence_cost.md`` and ``.json``. Finished
models are stored, so that a run that was stopped goes on.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from forecast_cohorts import simulated
from icans.core.files import write_text
from icans.core.resume import Checkpoints
from icans.evaluate.performance import measure
from icans.forecast.crossval import PREDICTION_COLUMNS
from icans.forecast.dataset import examples
from icans.forecast.models import parts
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.sequence.onnx import export_onnx
from icans.forecast.sequence.rungs import sequence_rungs

PATIENTS, LANDMARKS, HORIZONS = 200, (24.0, 72.0, 120.0), (Horizon(72.0), Horizon(168.0))
RESULTS = Path(__file__).parent / "results"

#: A new process that imports what it needs, loads a stored model and forecasts one patient.
ONE = """
import time; start = time.perf_counter(), time.process_time()
import pickle, re, sys, pathlib
import pandas, icans.forecast.models.parts, icans.forecast.sequence.hybrid
ready = time.perf_counter(), time.process_time()
meta, arrays, inputs, horizon = pickle.load(open(sys.argv[1], "rb"))
risk = icans.forecast.models.parts.from_parts(meta, arrays).predict(inputs, horizon)
done = time.perf_counter(), time.process_time()
peak = re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)
print(*(ready[k] - start[k] for k in (0, 1)), *(done[k] - ready[k] for k in (0, 1)), int(peak) / 1024,
      "jax" in sys.modules)
"""


def trained(name: str) -> dict[str, Any]:
    """Train one rung in this process; what it took, its parts and one patient."""
    data = examples(simulated(PATIENTS, seed=3), TASKS["icans_any"], LANDMARKS, stream=True)
    rung = sequence_rungs([name], missingness=True)[0]
    begin = time.perf_counter(), time.process_time()
    fitted = rung.fit(data.inputs, data.outcome, HORIZONS, seed=1)
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": spent[0], "cpu_s": spent[1], "parameters": fitted.parameters, "train_mib": memory,
            "parts": parts.to_parts(fitted.model), "rows": rung.shown(data.inputs[np.arange(3)])}  # fmt: skip


def one_forecast(found: dict[str, Any]) -> dict[str, Any]:
    """A forecast for one patient in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pickle"
        path.write_bytes(pickle.dumps((*found["parts"], found["rows"][np.array([0])], HORIZONS[0])))
        told = subprocess.run([sys.executable, "-c", ONE, path], check=True, capture_output=True, encoding="utf-8")
    *numbers, jax = told.stdout.split()
    names = ("import_wall_s", "import_cpu_s", "one_wall_s", "one_cpu_s", "one_mib")
    return dict(zip(names, map(float, numbers), strict=True)) | {"one_uses_jax": jax == "True"}


def exported(found: dict[str, Any]) -> float:
    """Largest difference of a logit after export."""
    with tempfile.TemporaryDirectory() as folder:
        return export_onnx(parts.from_parts(*found["parts"]), found["rows"], Path(folder) / "net.onnx")


def forecasts(found: dict[str, Any] | None, name: str) -> pd.DataFrame:
    """Forecasts of a rung (None: logistic regression on newest values) for new synthetic patients, next three days."""
    task = TASKS["icans_any"]
    new = examples(simulated(2 * PATIENTS, seed=9), task, LANDMARKS, stream=True)
    if found is None:
        data = examples(simulated(PATIENTS, seed=3), task, LANDMARKS, stream=True)
        risk = LastValueLogistic().fit(data.table, data.outcome, HORIZONS, seed=1).predict(new.table, HORIZONS[0])
    else:
        shown = sequence_rungs([name], missingness=True)[0].shown(new.inputs)
        risk = parts.from_parts(*found["parts"]).predict(shown, HORIZONS[0])
    rows = new.outcome.assign(task=task.name, model=name, horizon_h=HORIZONS[0].hours, repeat=0, fold=0, risk=risk)
    return rows[PREDICTION_COLUMNS]


def main() -> None:
    """Each rung in turn; then the tables."""
    store = Checkpoints(Path(tempfile.gettempdir()) / "icans-sequence-cost", [PATIENTS, LANDMARKS])
    rows: list[dict[str, Any]] = []
    judged = [forecasts(None, "logistic_last")]
    for rung in sequence_rungs():
        if rung.name == "net_experts":  # without a mechanistic block it is net_grud
            continue
        found = store.step(f"train-{rung.name}", lambda n=rung.name: trained(n), repr(rung))
        line = {"rung": rung.name} | {k: v for k, v in found.items() if k not in ("parts", "rows")}
        line |= store.step(f"one-{rung.name}", lambda f=found: one_forecast(f), repr(rung))
        if rung.name not in ("net_ude", "net_mechanism"):
            line["onnx_difference"] = store.step(f"onnx-{rung.name}", lambda f=found: exported(f), repr(rung))
        judged.append(store.step(f"new-{rung.name}", lambda f=found, n=rung.name: forecasts(f, n), repr(rung)))
        rows.append(line)
        print(line, flush=True)
    report(rows, pd.concat(judged, ignore_index=True))


def report(rows: list[dict[str, Any]], predictions: pd.DataFrame) -> None:
    """The tables, as text and as JSON."""
    measured = measure(predictions, n_boot=300, seed=1)
    found = measured.performance().query("metric == 'auc'")
    gaps = measured.compare("logistic_last").query("metric == 'auc'").set_index(["model", "landmark_h"])
    total = sum(r["cpu_s"] for r in rows)
    lines = [
        "# What networks on sequences cost",
        "",
        f"{PATIENTS} synthetic patients, landmarks at hours {', '.join(f'{s:g}' for s in LANDMARKS)}, two networks a "
        "model, compilation included. One core of a machine with ten times as much work as cores: CPU seconds are what "
        "counts, and they too are longer than on a quiet machine. The forecast for one patient is made in a new "
        "process: imports first, then loading the model, encoding and predicting. Peak MiB of training is that of the "
        "whole run so far, ONNX export included. ONNX: largest difference of a logit "
        "between ONNX Runtime and this package; the hybrids are not exported.",
        "",
        f"All of them together: {total:.0f} s of CPU ({total / 60:.1f} minutes).",
        "",
        "| rung | parameters | training, CPU s (wall) | peak MiB | imports, CPU s | load and forecast, CPU s (wall) "
        "| peak MiB | ONNX |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        onnx = r.get("onnx_difference")
        lines.append(
            f"| {r['rung']} | {r['parameters']} | {r['cpu_s']:.1f} ({r['wall_s']:.1f}) | {r['train_mib']:.0f} | "
            f"{r['import_cpu_s']:.2f} | {r['one_cpu_s']:.2f} ({r['one_wall_s']:.2f}) | {r['one_mib']:.0f} | "
            f"{'-' if onnx is None else f'{onnx:.1e}'} |"
        )
    lines += [
        "",
        f"## Forecasts for {2 * PATIENTS} new synthetic patients, next three days",
        "",
        "The courses of these patients are not those of the patient model. AUC with 95 % intervals (300 resamples of "
        "patients); difference from logistic regression on newest values, paired.",
        "",
        "| landmark, h | rung | n (events) | AUC | minus logistic regression |",
        "|---|---|---|---|---|",
    ]
    for r in found.sort_values("landmark_h", kind="stable").itertuples():
        gap = gaps.loc[(r.model, r.landmark_h)] if (r.model, r.landmark_h) in gaps.index else None
        told = "" if gap is None else f"{gap['difference']:+.3f} ({gap['low']:+.3f}, {gap['high']:+.3f})"
        auc = f"{r.value:.3f} ({r.low:.3f}-{r.high:.3f})"
        lines.append(f"| {r.landmark_h:g} | {r.model} | {r.n} ({r.events}) | {auc} | {told} |")
    write_text(RESULTS / "sequence_cost.md", "\n".join(lines) + "\n")
    write_text(RESULTS / "sequence_cost.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
