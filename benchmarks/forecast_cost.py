"""What models cost on 200 synthetic patients: training every named model, one forecast in a new process, memory.

``python benchmarks/forecast_cost.py train [NAME ...]`` trains models (all by default), each group in processes of its
own; what is done is stored, so that a run that was stopped goes on. ``... refits`` trains some again with the 50 refits
that intervals come from (some twenty minutes). ``... forecast`` measures ``icans forecast`` for one patient with the
hybrids so trained, the start of the program, and what libraries take of it. ``... report`` writes
``benchmarks/results/forecast_cost.md`` and ``.json``. Processor seconds (user and system, all threads) are what counts;
they are longer on a busy machine than on a quiet one.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from icans.core.files import write_text

PATIENTS, SEED = 200, 5
STORE = Path(tempfile.gettempdir()) / f"icans-forecast-cost-{PATIENTS}-{SEED}"
RESULTS = Path(__file__).parent / "results"
#: Hybrids whose forecast is timed: the tabular ones, the stack of experts, networks with and inside the equations.
TIMED = ("logistic_both", "boosting_both", "hybrid", "net_mechanism", "net_ude", "net_experts")
#: Models that are trained with refits as well (``icans train`` does by default), and timed.
WITH_REFITS = ("logistic_both", "hybrid")
#: Bars: seconds of one forecast, minutes of training on two cores, MiB.
BAR_S, BAR_MIN, CORES, BAR_MIB = 2.0, 30.0, 2, 4096.0
REPEATS = 4
#: Refits of `icans train` by default.
REFITS = 50


def groups() -> list[list[str]]:
    """Models by process: the quick ones share one, networks and hybrids have one each."""
    from icans.forecast.catalogue import HYBRID, model_names

    names = model_names()
    alone = [n for n in names if n.startswith("net_") or n in ("integration", HYBRID)]
    mechanistic = [n for n in names if n == "mechanistic" or n.endswith(("_clinical", "_mechanistic", "_both"))]
    rest = [n for n in names if n not in {*alone, *mechanistic}]
    return [rest, mechanistic, *([name] for name in reversed(alone))]


def cohorts() -> None:
    """The synthetic training cohort, harmonised, and one patient of another seed as delivered."""
    from icans.cohort.folder import write_folder
    from icans.datasets.demo import demo_cohort
    from icans.harmonize.grading.cohort import grade_cohort
    from icans.harmonize.pipeline import harmonize

    if not (STORE / "training").is_dir():
        write_folder(grade_cohort(harmonize(demo_cohort(n=PATIENTS, seed=SEED)).cohort), STORE / "training")
    if not (STORE / "patient").is_dir():
        new = demo_cohort(n=20, seed=SEED + 1)
        write_folder(new.subset(new.patient_ids[:1]), STORE / "patient")


def train(names: list[str], refits: int = 0) -> None:
    """Train models in this process, one after the other; a file of figures and a model file for each."""
    from icans.cohort.folder import read_folder
    from icans.core.errors import NotEstimableError
    from icans.forecast.catalogue import recipe
    from icans.forecast.crossval import Design
    from icans.forecast.final import fit_final
    from icans.forecast.model_file import write_model
    from icans.study.config import ForecastSection, OutcomeSection
    from icans.study.tasks import study_tasks

    cohort = read_folder(STORE / "training")
    task = study_tasks(cohort, OutcomeSection(), ForecastSection())[0]
    design = Design(landmarks_h=task.landmarks_h, horizons=task.horizons, seed=SEED)
    for name in names:
        stored = f"{name}_refits" if refits else name
        if (STORE / f"{stored}.json").exists():
            continue
        Path("/proc/self/clear_refs").write_text("5")  # peak memory counts from here
        wall, cpu = time.perf_counter(), time.process_time()
        line: dict[str, Any] = {"model": name, "refused": ""}
        made = recipe(name)
        try:
            model = fit_final(cohort, task.task, made.rung, design, blocks=made.blocks, refits=refits)
        except NotEstimableError as error:
            line["refused"] = str(error)
        else:
            line["parameters"] = model.fitted.parameters
            line["refits"] = len(model.refits)
            write_model(model, STORE / f"{stored}.icans")
        line |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mib": peak_mib(),
                 "load": os.getloadavg()[0]}  # fmt: skip
        write_text(STORE / f"{stored}.json", json.dumps(line))
        print(line, flush=True)


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


#: Libraries without which no cohort is read and no command is understood.
LIBRARIES = "import pandas, pyarrow.compute, pydantic, typer"
#: A process that times forecasts of one patient within it: the first, and the median of the next ones.
INSIDE = """
import json, statistics, sys, time
from icans.forecast.model_file import read_model
from icans.study.preparing import prepare
from icans.study.source import study_for
def cpu(work):
    start = time.process_time(); found = work(); return time.process_time() - start, found
load, model = cpu(lambda: read_model(sys.argv[1]))
read, ready = cpu(lambda: prepare(study_for(sys.argv[2])).cohort)
spent = [cpu(lambda: model.forecast(ready, 72.0))[0] for _ in range(6)]
print(json.dumps({"load_s": load, "read_s": read, "first_s": spent[0], "next_s": statistics.median(spent[1:])}))
"""


def spend(command: list[str]) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds, peak MiB and standard output of a new process."""
    begin = time.perf_counter()
    # Byte code is kept, as in any installation, and away from the source tree.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, encoding="utf-8", env=kept | {"PYTHONPYCACHEPREFIX": str(STORE / "pyc")}
    )
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begin, used.ru_maxrss / 1024, told


def forecast() -> None:
    """One forecast for one patient, again and again in new processes, and within one."""
    rows, plain = [], [sys.executable, "-m", "icans.cli"]
    for name in (*TIMED, *map(_with_refits, WITH_REFITS)):
        model, patient = str(STORE / f"{name}.icans"), str(STORE / "patient")
        if not Path(model).exists():
            continue
        command = [*plain, "forecast", model, patient, "--at", "3", "--json", "-q"]
        libraries = [sys.executable, "-c", LIBRARIES]
        # The first one compiles byte code and fills caches. Libraries are timed in turns with it: the load changes.
        turns = [(spend(command), spend(libraries)[0]) for _ in range(REPEATS + 1)][1:]
        found, pandas = [turn[0] for turn in turns], statistics.median(turn[1] for turn in turns)
        inside = json.loads(spend([sys.executable, "-c", INSIDE, model, patient])[3])
        rows.append({
            "model": name, "cpu_s": statistics.median(f[0] for f in found), "cpu_least_s": min(f[0] for f in found),
            "cpu_most_s": max(f[0] for f in found), "wall_s": statistics.median(f[1] for f in found),
            "peak_mib": max(f[2] for f in found), "libraries_s": pandas, "load": os.getloadavg()[0], **inside,
        })  # fmt: skip
        print(rows[-1], flush=True)
        write_text(STORE / "forecasts.json", json.dumps(rows))
    starts = {"icans --help": [*plain, "--help"], "import icans": [sys.executable, "-c", "import icans"]}
    told = {name: statistics.median(spend(command)[0] for _ in range(REPEATS)) for name, command in starts.items()}
    write_text(STORE / "starts.json", json.dumps(told))


def _with_refits(name: str) -> str:
    """The stored model with its refits; where they were not trained, one whose refits are copies of the model."""
    from dataclasses import replace

    from icans.forecast.model_file import read_model, write_model

    if (STORE / f"{name}_refits.json").exists():
        return f"{name}_refits"
    if (STORE / f"{name}.icans").exists():
        model = read_model(STORE / f"{name}.icans")
        write_model(replace(model, refits=(model.fitted,) * REFITS), STORE / f"{name}_copies.icans")
    return f"{name}_copies"


def report() -> None:
    """Tables as text and as JSON, from what is stored."""
    from icans.forecast.catalogue import model_names

    trained = [json.loads(p.read_text()) for n in model_names() if (p := STORE / f"{n}.json").exists()]
    missing = [n for n in model_names() if not (STORE / f"{n}.json").exists()]
    told = STORE / "forecasts.json"
    made = json.loads(told.read_text()) if told.exists() else []
    again = [json.loads(p.read_text()) for n in WITH_REFITS if (p := STORE / f"{n}_refits.json").exists()]
    begun = json.loads(p.read_text()) if (p := STORE / "starts.json").exists() else {}
    write_text(
        RESULTS / "forecast_cost.md",
        "\n".join([*_head(trained, missing), *_refits(again), *_forecasts(made, begun)]) + "\n",
    )
    values = {"patients": PATIENTS, "seed": SEED, "synthetic": True, "cores": os.cpu_count(),
              "python": platform.python_version(), "training": trained, "missing": missing,
              "with_refits": again, "forecasts": made, "starts_cpu_s": begun}  # fmt: skip
    write_text(RESULTS / "forecast_cost.json", json.dumps(values, indent=1) + "\n")


def _head(trained: list[dict[str, Any]], missing: list[str]) -> list[str]:
    total, wall = sum(r["cpu_s"] for r in trained), sum(r["wall_s"] for r in trained)
    fitted = sum(not r["refused"] for r in trained)
    peak, load = max(r["peak_mib"] for r in trained), [r["load"] for r in trained]
    lines = [
        "# What training and one forecast cost",
        "",
        f"SYNTHETIC demo cohort, {PATIENTS} patients, seed {SEED}; landmarks, horizons and features of a study "
        "without settings (six landmarks, five horizons). Each model is fitted on its own, without validation and "
        "refits (features and the mechanistic block included, each time anew), on one thread. The machine has two "
        f"cores and was busy (load {min(load):.0f} to {max(load):.0f}): CPU seconds count, wall seconds tell how busy.",
        "",
        f"**{fitted} models trained, {len(trained) - fitted} refused: {total:.0f} s of CPU "
        f"({total / 60:.1f} min; {total / CORES / 60:.1f} min "
        f"shared evenly by two cores; bar {BAR_MIN:g} min). Wall, summed, several at once: {wall:.0f} s. Largest "
        f"process: {peak:.0f} MiB (two at once at most twice that; bar {BAR_MIB:g} MiB).**",
        "",
    ]
    if missing:
        lines += [
            f"**Not measured here, and not in the sum: {', '.join(missing)}.** For networks and hybrids on three "
            "landmarks and two horizons see `sequence_cost.md`.",
            "",
        ]
    lines += ["| model | parameters | CPU s | wall s | peak MiB | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r['model']} | {r.get('parameters', '')} | {r['cpu_s']:.1f} | {r['wall_s']:.1f} | {r['peak_mib']:.0f} "
        f"| {'refused: ' + r['refused'] if r['refused'] else ''} |"
        for r in trained
    ]
    return [*lines, ""]


def _refits(again: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"`icans train` fits a model {r['refits']} times more for its intervals (`--refits`): {r['model']} then takes "
        f"{r['cpu_s'] / 60:.1f} min of CPU in all." for r in again
    ]  # fmt: skip
    return [" ".join(lines), ""] if lines else []


def _forecasts(made: list[dict[str, Any]], begun: dict[str, float]) -> list[str]:
    if not made:
        return []
    least = ", ".join(f"{r['model']} {r['cpu_least_s']:.2f}" for r in made)
    lines = [
        "## One forecast for one patient",
        "",
        f"`icans forecast MODEL PATIENT --at 3 --json` in a new process, {REPEATS} times after one that is not "
        f"counted: start of Python, imports, model file, cohort folder, harmonisation, features, forecast. Bar: "
        f"{BAR_S:g} s. *Libraries*: the part that `{LIBRARIES}` alone takes at that time (median, in turns with the "
        "forecasts). Within a running process the model file and the cohort are read once, and each further forecast "
        "costs what the column *next* says. Models named *_refits* are those with the refits behind "
        "intervals; of *_copies* the refits are copies of the model, because to train them would take too long here: "
        "they cost as much to read and to ask. Peak memory is an upper bound: that of the starting process counts.",
        "",
        f"Least of {REPEATS}, CPU s, which is nearest to a quiet machine: {least}.",
        "",
        *(
            [f"Start of the program: {', '.join(f'`{k}` {v:.2f} s of CPU' for k, v in begun.items())} (bar 0.5 s).", ""]
            if begun
            else []
        ),
        "| model | CPU s, median (range) | wall s | peak MiB | libraries, CPU s | in process: model file | cohort "
        "| first forecast | next | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in made:
        lines.append(
            f"| {r['model']} | {r['cpu_s']:.2f} ({r['cpu_least_s']:.2f}-{r['cpu_most_s']:.2f}) | {r['wall_s']:.1f} | "
            f"{r['peak_mib']:.0f} | {r['libraries_s']:.2f} | {r['load_s']:.2f} | {r['read_s']:.2f} | "
            f"{r['first_s']:.3f} | {r['next_s']:.3f} | {r['load']:.0f} |"
        )
    return lines


def main() -> None:
    """See the module's text."""
    what, *names = sys.argv[1:] or ["train"]
    STORE.mkdir(exist_ok=True)
    if what == "train" and names:
        train(names)
    elif what == "train":
        cohorts()
        for group in groups():
            subprocess.run([sys.executable, __file__, "train", *group], check=True)
    elif what == "refits":
        cohorts()
        train(list(WITH_REFITS), refits=REFITS)
    elif what == "forecast":
        cohorts()
        forecast()
    report()


if __name__ == "__main__":
    main()
