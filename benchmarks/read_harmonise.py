"""How long reading, checking and harmonising a large cohort takes, and how that grows.

The cohort is the public intensive care set (``cinc2012_icu``, 417,000 rows where ``ICANS_DATA`` holds the part of
1,000 stays), repeated 1, 4 and 16 times under new patient numbers and written as a folder of CSV. Without the data
a synthetic cohort of as many rows takes its place, and the table says so. Every measurement is a process of its
own, so that peak memory is that of the task. Peers, on the same ``measurements.csv``: pandas reading it and
describing every column; pandera validating the same contract (types, words, required cells) and nothing else.

Run: ``python benchmarks/read_harmonise.py`` (about three minutes). Results: ``benchmarks/results/read_harmonise.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from icans.cohort.cohort import Cohort

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results" / "read_harmonise.md"
#: Patients of the synthetic stand-in: about as many rows as the real set.
SYNTHETIC_PATIENTS = 2300
TASKS = ("icans", "pandas", "pandera")
#: What the package promises at the size of the real set.
TARGET_S, TARGET_GB = 15.0, 1.5


def write_inputs(folder: Path, scales: list[int]) -> tuple[str, dict[int, int]]:
    """Write one cohort folder per scale; the name of the data and the rows of measurements per scale."""
    from icans.cohort.folder import write_folder
    from icans.core.errors import DataError
    from icans.datasets import load
    from icans.datasets.demo import demo_cohort

    try:
        cohort = load("cinc2012_icu")
    except DataError:
        cohort = demo_cohort(SYNTHETIC_PATIENTS)
    rows = {}
    for scale in scales:
        grown = repeat(cohort, scale)
        write_folder(grown, folder / f"x{scale}")
        rows[scale] = len(grown.measurements)
    return cohort.name, rows


def repeat(cohort: Cohort, times: int) -> Cohort:
    """The cohort with every patient ``times`` times, under numbers of their own."""
    import pandas as pd

    from icans.cohort import schema
    from icans.cohort.cohort import make

    tables = {}
    for name in schema.TABLES:
        frame = cohort.table(name)
        copies = [frame.assign(patient_id=frame["patient_id"] + f"-{i}") for i in range(times)]
        tables[name] = pd.concat(copies, ignore_index=True)
    return make(cohort.name, tables, provenance=cohort.provenance)


def run_icans(folder: Path) -> dict[str, float]:
    """Read with every check, then harmonise."""
    from icans.cohort.folder import read_folder
    from icans.harmonize.pipeline import harmonize

    cohort, read = timed(lambda: read_folder(folder))
    done, harmonise = timed(lambda: harmonize(cohort))
    assert len(done.cohort.patients) == len(cohort.patients)
    both = {key: read[key] + harmonise[key] for key in read}
    return {"read": read["cpu"], "harmonise": harmonise["cpu"], **both}


def timed(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """The result, and the seconds it took: of the clock (``wall``) and of the processor (``cpu``)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def run_pandas(folder: Path) -> dict[str, float]:
    """Read the measurements and describe every column: the least that anybody does."""
    import pandas as pd

    return timed(lambda: pd.read_csv(folder / "measurements.csv").describe(include="all"))[1]


def run_pandera(folder: Path) -> dict[str, float]:
    """Read the measurements and validate the contract of the table, all problems at once; nothing is harmonised."""
    import pandas as pd
    import pandera.pandas as pa

    from icans.cohort.schema import MEASUREMENTS

    kinds = {"text": object, "number": float, "integer": float, "yesno": object}
    columns = {}
    for column in MEASUREMENTS.columns:
        checks = [pa.Check.isin(column.allowed)] if column.allowed else []
        checks += [pa.Check.ge(column.low)] if column.low is not None else []
        checks += [pa.Check.le(column.high)] if column.high is not None else []
        columns[column.name] = pa.Column(kinds[column.kind], checks, nullable=not column.required)
    contract = pa.DataFrameSchema(columns, strict=True, unique=list(MEASUREMENTS.key))
    types = {c.name: kinds[c.kind] for c in MEASUREMENTS.columns}
    return timed(lambda: contract.validate(pd.read_csv(folder / "measurements.csv", dtype=types), lazy=True))[1]


def measure(task: str, folder: Path) -> dict[str, float]:
    """One task in a process of its own: seconds (without imports of the process) and peak memory in GB."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task} on {folder} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def one_task(task: str, folder: Path) -> None:
    """Run one task here and print what it took as JSON."""
    result = {"icans": run_icans, "pandas": run_pandas, "pandera": run_pandera}[task](folder)
    print(json.dumps({**result, "gb": peak_gb()}))


def peak_gb() -> float:
    """Peak resident memory of this process, GB (``ru_maxrss`` would include that of the process that started it)."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return float(found[0].split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def exponent(rows: dict[int, int], seconds: dict[int, float]) -> float:
    """Slope of ln seconds on ln rows; NaN with one size."""
    if len(rows) < 2:
        return float("nan")
    x = np.log([rows[s] for s in rows])
    return float(np.polyfit(x, np.log([seconds[s] for s in rows]), 1)[0])


def report(name: str, rows: dict[int, int], found: dict[tuple[str, int], dict[str, float]]) -> str:
    """The results as markdown."""
    power = exponent(rows, {s: found["icans", s]["cpu"] for s in rows})
    lines = [
        "# Reading, checking and harmonising a large cohort", "",
        f"Data: `{name}`, repeated under new patient numbers. Command: `python benchmarks/read_harmonise.py`.",
        f"Machine: {cpu()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, "
        f"load average {os.getloadavg()[0]:.1f}.",
        "All times in seconds: of the processor (other work on the machine hardly changes them), and of the clock.",
        "Peers work on `measurements.csv` alone and harmonise nothing; a ratio is icans / peer, processor seconds.", "",
        "| rows | read and check | harmonise | both | clock | peak, GB | pandas | ratio | pandera | ratio |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for scale, count in rows.items():
        mine, plain, contract = (found[task, scale] for task in TASKS)
        lines.append(
            f"| {count:,} | {mine['read']:.1f} | {mine['harmonise']:.1f} | {mine['cpu']:.1f} | {mine['wall']:.1f} "
            f"| {mine['gb']:.2f} | {plain['cpu']:.1f} | {mine['cpu'] / plain['cpu']:.1f} "
            f"| {contract['cpu']:.1f} | {mine['cpu'] / contract['cpu']:.1f} |"
        )
    first = found["icans", min(rows)]
    small = first["gb"] < TARGET_GB
    verdict = {key: "met" if first[key] < TARGET_S and small else "NOT met" for key in ("cpu", "wall")}
    lines += ["", f"Processor time grows as rows to the power {power:.2f}."]
    target = f"Target at the smallest size, {TARGET_S:.0f} s and {TARGET_GB} GB"
    why = "a load average above the number of threads stretches the clock"
    lines += [f"{target}: {verdict['wall']} by the clock of this run, {verdict['cpu']} by the processor ({why})."]
    return "\n".join(lines) + "\n"


def cpu() -> str:
    """The processor's name, where the system tells."""
    path = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if line.startswith("model name")] \
        if path.is_file() else []  # fmt: skip
    return f"{names[0]} ({len(names)} threads)" if names else platform.processor() or platform.machine()


def main() -> None:
    """Measure every task at every scale, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", default="1,4,16", help="how many times the cohort is repeated")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        one_task(options.task, options.folder)
        return
    scales = [int(s) for s in options.scales.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        name, rows = write_inputs(Path(temporary), scales)
        found = {}
        for scale in scales:
            for task in TASKS:
                found[task, scale] = measure(task, Path(temporary) / f"x{scale}")
                print(f"{task} x{scale}: {found[task, scale]}", file=sys.stderr, flush=True)
    text = report(name, rows, found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
