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
TEXT = ("strategy", "product", "disease")
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
    return table.astype({**dict.fromkeys(floats, np.float32), **dict.fromkeys(TEXT, "category")})


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
        merged = join([whole.astype(dict.fromkeys(TEXT, str))], names, SEED).table
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
    per = cost["cpu_s"] / cost["courses"]
    total, done = PATIENTS * len(STRATEGIES), int(cost["courses"].sum())
    size = sum(p.stat().st_size for p in folder.glob("part-*/*"))
    return {
        "patients": PATIENTS, "strategies": list(STRATEGIES), "product": PRODUCT, "disease": DISEASE, "seed": SEED,
        "courses": total, "shards": SHARDS, "shards_done": len(found), "courses_done": done,
        "share_done": done / total, "failed": int(cost["failed"].sum()), "cpu_s_done": float(cost["cpu_s"].sum()),
        "wall_s_done": float(cost["wall_s"].sum()), "cpu_ms_per_course": 1e3 * float(cost["cpu_s"].sum()) / done,
        "cpu_ms_per_course_least": 1e3 * float(per.min()), "cpu_ms_per_course_most": 1e3 * float(per.max()),
        "cpu_hours_whole": total * float(cost["cpu_s"].sum()) / done / 3600, "bytes_done": size,
        "bytes_whole": round(size * total / done), "processor": processor(),
    }  # fmt: skip


def write(name: str, value: dict[str, object]) -> None:
    """Keep a result, and tell all of them."""
    path = RESULTS / "scale_out.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    known[name] = value
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    (RESULTS / "scale_out.md").write_text(page(known))
    print(json.dumps(value, indent=1))


def page(known: dict[str, dict]) -> str:
    """The results in words."""
    lines = ["# Scale out", "", "Made by `benchmarks/scale_out.py`. All patients are virtual (synthetic).", ""]
    if check := known.get("checks"):
        lines += [
            "## The same bytes however it is run", "",
            f"{check['patients']} patients x {check['strategies']} strategies in {check['chunks']} chunks, kept as "
            "Parquet. Compared with the serial run:", "",
            "| run | same bytes |", "|---|---|",
            f"| Dask, two workers, {check['workers_killed']} killed (SIGKILL) after the first result | "
            f"{_yes(check['cluster_bytes_equal'])} |",
            f"| three shards, run in the order 3, 1, 2, put together | {_yes(check['shards_bytes_equal'])} |", "",
        ]  # fmt: skip
    if big := known.get("large"):
        hours, ms = big["cpu_hours_whole"], big["cpu_ms_per_course"]
        rest = big["courses"] - big["courses_done"]
        least, most = big["cpu_ms_per_course_least"], big["cpu_ms_per_course_most"]
        spread = f" (shards: {least:.2f} to {most:.2f})" if big["shards_done"] > 1 else ""
        lines += [
            f"## {big['patients']:,} patients x {len(big['strategies'])} strategies", "",
            f"{big['product']} in {big['disease']}, seed {big['seed']}, 30 days, {big['shards']} shards of "
            f"{big['patients'] // big['shards']:,} patients, one process of one thread. Strategies: "
            f"{', '.join(big['strategies'])}.", "",
            f"**Run: {big['shards_done']} of {big['shards']} shards, {big['courses_done']:,} of {big['courses']:,} "
            f"courses ({100 * big['share_done']:.1f} %).** {EXTRAPOLATED}", "",
            "| | measured | the whole |", "|---|---|---|",
            f"| courses | {big['courses_done']:,} | {big['courses']:,} |",
            f"| CPU time | {big['cpu_s_done']:.0f} s | {hours:.2f} h{'' if rest == 0 else ' (extrapolated)'} |",
            f"| CPU time of one course | {ms:.2f} ms{spread} | |",
            f"| on two cores | | {60 * hours / 2:.0f} min |", f"| on 64 cores | | {60 * hours / 64:.1f} min |",
            f"| disk | {big['bytes_done'] / 1e6:.1f} MB | {big['bytes_whole'] / 1e6:.0f} MB |",
            f"| patients not integrated (courses) | {big['failed']} | |", "",
            f"Processor: {big['processor']}; {big['wall_s_done']:.0f} s by the clock. {MEASURED}", "",
        ]  # fmt: skip
    return "\n".join(lines)


EXTRAPOLATED = (
    "The rest is extrapolated in proportion to the courses: patients are numbered at random, so that one shard costs "
    "about what another does."
)
MEASURED = (
    "CPU time is that of the process, with drawing the patients, fitting the forecast that one strategy uses (once a "
    "shard), and compiling where a kernel was not on disk yet. The machine was shared with other work, so that time "
    "by the clock says nothing, and even CPU time is higher than on a quiet one (caches are shared). Times for more "
    "cores divide the CPU time; no run on them was made."
)


def _yes(value: object) -> str:
    return "yes" if value else "NO"


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
