"""What networks on sequences cost: training on 200 patients, a forecast for one with loading, memory; ONNX check.

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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from forecast_cohorts import simulated
from icans.core.files import write_text
from icans.core.resume import Checkpoints
from icans.forecast.dataset import examples
from icans.forecast.models import parts
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.sequence.onnx import export_onnx
from icans.forecast.sequence.rungs import sequence_rungs

PATIENTS, LANDMARKS, HORIZONS = 200, (24.0, 72.0, 120.0), (Horizon(72.0), Horizon(168.0))
RESULTS = Path(__file__).parent / "results"

#: A new process that loads a stored model and forecasts one patient; prints seconds from its start and peak memory.
ONE = """
import time; start = time.perf_counter(), time.process_time()
import pickle, resource, sys
meta, arrays, inputs, horizon = pickle.load(open(sys.argv[1], "rb"))
from icans.forecast.models.parts import from_parts
risk = from_parts(meta, arrays).predict(inputs, horizon)
used = time.perf_counter() - start[0], time.process_time() - start[1]
print(*used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "jax" in sys.modules)
"""


def trained(name: str) -> dict[str, Any]:
    """Train one rung in this process."""
    data = examples(simulated(PATIENTS, seed=3), TASKS["icans_any"], LANDMARKS, stream=True)
    rung = sequence_rungs([name], missingness=True)[0]
    begin = time.perf_counter(), time.process_time()
    fitted = rung.fit(data.inputs, data.outcome, HORIZONS, seed=1)
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    one = rung.shown(data.inputs[np.array([0])])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pickle"
        path.write_bytes(pickle.dumps((*parts.to_parts(fitted.model), one, HORIZONS[0])))
        told = subprocess.run([sys.executable, "-c", ONE, path], check=True, capture_output=True, encoding="utf-8")
    wall, cpu, memory, jax = told.stdout.split()
    line = {"rung": name, "train_wall_s": spent[0], "train_cpu_s": spent[1], "parameters": fitted.parameters,
            "one_wall_s": float(wall), "one_cpu_s": float(cpu), "one_mib": float(memory), "one_uses_jax": jax == "True",
            "train_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    if not name.startswith(("net_ude", "net_mechanism")):
        shown = rung.shown(data.inputs[np.arange(3)])
        with tempfile.TemporaryDirectory() as folder:
            try:
                line["onnx_difference"] = export_onnx(fitted.model, shown, Path(folder) / "net.onnx")
            except ImportError:
                line["onnx_difference"] = None
    return line


def main() -> None:
    """Each rung in turn; then the tables."""
    store = Checkpoints(Path(tempfile.gettempdir()) / "icans-sequence-cost", [PATIENTS, LANDMARKS])
    rows = []
    for rung in sequence_rungs():
        if rung.name == "net_experts":  # without a mechanistic block it is net_grud
            continue
        rows.append(store.step(rung.name, lambda n=rung.name: trained(n), repr(rung)))
        print(rows[-1], flush=True)
    total = sum(r["train_cpu_s"] for r in rows)
    lines = [
        "# What networks on sequences cost",
        "",
        f"{PATIENTS} synthetic patients, landmarks at hours {', '.join(f'{s:g}' for s in LANDMARKS)}, two networks a "
        "model, compilation included, one core of a machine shared with other work (wall time is an upper bound). The "
        "forecast for one patient is a new process that imports, loads the model and predicts. ONNX: largest "
        "difference of a logit between ONNX Runtime and this package; the hybrids are not exported.",
        "",
        f"All of them together: {total:.0f} s of CPU ({total / 60:.1f} minutes).",
        "",
        "| rung | parameters | training, CPU s (wall) | peak MiB | one forecast, CPU s (wall) | peak MiB | ONNX |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        onnx = r.get("onnx_difference")
        lines.append(
            f"| {r['rung']} | {r['parameters']} | {r['train_cpu_s']:.1f} ({r['train_wall_s']:.1f}) | "
            f"{r['train_mib']:.0f} | {r['one_cpu_s']:.2f} ({r['one_wall_s']:.2f}) | {r['one_mib']:.0f} | "
            f"{'-' if onnx is None else f'{onnx:.1e}'} |"
        )
    write_text(RESULTS / "sequence_cost.md", "\n".join(lines) + "\n")
    write_text(RESULTS / "sequence_cost.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
