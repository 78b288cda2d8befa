"""A comparison of twelve strategies cut into shards: the same bytes however it is run, and what 100,000 patients cost.

    python benchmarks/scale_out.py                     # checks: serial, cluster with a killed worker, shards and merge
    python benchmarks/scale_out.py run FOLDER          # the large job, shard by shard; stop it and start it at will
    python benchmarks/scale_out.py run FOLDER 3/50     # one shard of it (an array job)
    python benchmarks/scale_out.py report FOLDER       # cost so far, and what the whole would cost

All patients are virtual (synthetic). CPU seconds are those of the process (``time.process_time``), which other work on
the machine hardly changes; wall time is told, too, but means little where the machine is shared.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd

from icans.core.cluster import Dask, connected
from icans.core.execute import Serial
from icans.core.provenance import processor
from icans.core.shards import Job, Shard, have_part, read_parts, read_shard, write_part
from icans.intervene.compare.results import join
from icans.intervene.compare.running import CHUNK, Group, Task, run_task, tasks_for
from icans.intervene.strategy.reading import strategy

RESULTS = Path(__file__).parent / "results"
PRODUCT, DISEASE, SEED = "axi-cel", "LBCL", 20261125
PATIENTS, SHARDS = 100_000, 50
STRATEGIES = (
    "never", "guideline", "present", "late", "early_steroids_care", "tocilizumab_prophylaxis",
    "dexamethasone_prophylaxis", "anakinra_prophylaxis", "lenzilumab_prophylaxis", "defibrotide_prophylaxis",
    "anakinra_upon_ferritin", "dexamethasone_upon_forecast",
)  # fmt: skip


def job_of(patients: int, chunk: int) -> Job:
    spec = {"product": PRODUCT, "disease": DISEASE, "seed": SEED, "patients": patients, "chunk": chunk,
            "strategies": list(STRATEGIES)}  # fmt: skip
    return Job("benchmark strategies", spec, -(-patients // chunk))


def tasks(patients: int, chunk: int) -> list[Task]:
    return tasks_for(Group(PRODUCT, DISEASE, patients), [strategy(s) for s in STRATEGIES], SEED, chunk=chunk)


def narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Outcomes in single precision, names as categories: what is kept of the large job."""
    floats = table.select_dtypes("float64").columns
    text = ["strategy", "product", "disease"]
    return table.astype({**dict.fromkeys(floats, np.float32), **dict.fromkeys(text, "category")})


def part(folder: Path, shard: Shard, patients: int, chunk: int) -> bool:
    """Run one shard, unless it is there; whether it was run."""
    job = job_of(patients, chunk)
    if have_part(folder, job, shard):
        return False
    wall, cpu = time.perf_counter(), time.process_time()
    table = narrow(pd.concat(Serial().map(run_task, tasks(patients, chunk)[shard.rows(job.total)], "strategies"),
                             ignore_index=True))  # fmt: skip
    cost = pd.DataFrame({"cpu_s": [time.process_time() - cpu], "wall_s": [time.perf_counter() - wall],
                         "courses": [len(table)], "failed": [int((~table["ok"]).sum())]})  # fmt: skip
    write_part(folder, job, shard, tables={"outcomes": table, "cost": cost}, seconds=float(cost["cpu_s"].iloc[0]))
    print(f"shard {shard}: {len(table)} courses, {cost['cpu_s'].iloc[0]:.1f} s CPU", flush=True)
    return True


def run(folder: Path, shard: str | None) -> None:
    wanted = [read_shard(shard)] if shard else [Shard(k, SHARDS) for k in range(1, SHARDS + 1)]
    for one in wanted:
        part(folder, one, PATIENTS, CHUNK)


def checks() -> dict[str, object]:
    """The same comparison serially, by a cluster of which a worker is killed, and in shards put together again."""
    n, chunk = 96, 12
    work = tasks(n, chunk)
    names = {s: strategy(s) for s in STRATEGIES}
    cpu = time.process_time()
    serial = narrow(join(Serial().map(run_task, work), names, SEED).table)
    cpu = time.process_time() - cpu
    killed: list[int] = []
    with connected(workers=2) as cluster:
        by_cluster = narrow(join(cluster.map(run_task, work, "strategies", done=_killer(cluster, killed)), names,
                                 SEED).table)  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k in (3, 1, 2):
            part(folder, Shard(k, 3), n, chunk)
        whole = read_parts(folder).tables["outcomes"]
        merged = join([whole], names, SEED).table
        # narrowing before or after putting together must not matter, nor may the file's bytes differ
        same = [_bytes(folder, t) == _bytes(folder, serial) for t in (by_cluster, narrow(merged))]
    assert killed, "no worker was killed"
    assert all(same), same
    return {"patients": n, "strategies": len(STRATEGIES), "chunks": len(work), "serial_cpu_s": round(cpu, 1),
            "workers_killed": len(killed), "cluster_bytes_equal": same[0], "shards_bytes_equal": same[1]}  # fmt: skip


def _killer(cluster: Dask, killed: list[int]):
    def kill(place: int, result: pd.DataFrame) -> None:
        if not killed:
            killed.append(sorted(cluster.client.run(os.getpid).values())[0])
            os.kill(killed[0], signal.SIGKILL)

    return kill


def _bytes(folder: Path, table: pd.DataFrame) -> bytes:
    table.to_parquet(folder / "table.parquet", index=False)
    return (folder / "table.parquet").read_bytes()


def report(folder: Path) -> dict[str, object]:
    """Cost of the parts that are there, and of the whole by them."""
    found = sorted(folder.glob("part-*/cost.parquet"))
    cost = pd.concat([pd.read_parquet(p) for p in found], ignore_index=True)
    per = (cost["cpu_s"] / cost["courses"]).to_numpy()
    total = PATIENTS * len(STRATEGIES)
    done = int(cost["courses"].sum())
    hours = total * cost["cpu_s"].sum() / done / 3600
    half = 1.96 * stdev(per) / len(per) ** 0.5 * total / 3600 if len(per) > 1 else float("nan")
    size = sum(p.stat().st_size for p in folder.glob("part-*/*"))
    return {
        "patients": PATIENTS, "strategies": len(STRATEGIES), "courses": total, "shards": SHARDS,
        "shards_done": len(found), "courses_done": done, "share_done": done / total,
        "failed": int(cost["failed"].sum()), "cpu_s_done": round(float(cost["cpu_s"].sum()), 1),
        "cpu_ms_per_course": round(1e3 * mean(per), 3), "cpu_hours_whole": round(hours, 2),
        "cpu_hours_whole_half_width": round(half, 3), "bytes_done": size, "bytes_whole": round(size * total / done),
        "complete": len(found) == SHARDS, "processor": processor(),
    }  # fmt: skip


def write(name: str, value: dict[str, object]) -> None:
    path = RESULTS / "scale_out.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    known[name] = value
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(json.dumps(value, indent=1))


def main(arguments: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    if not arguments:
        write("checks", checks())
    elif arguments[0] == "run":
        run(Path(arguments[1]), arguments[2] if len(arguments) > 2 else None)
    elif arguments[0] == "report":
        write("large", report(Path(arguments[1])))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
