"""Speed of the cells of a tissue: ours, Mesa's, PhysiCell's, one after the other in one run, on one thread.

10,000 cells on a square of 2 mm with five substances: persistent walk drawn to a gradient, push and pull of
neighbours, secretion and uptake, rules, volumes, division, one step 0.1 min. Speeds are agent-steps per second of
processor time, medians of repeats; ours advances all five substances in its steps, as Mesa's does; PhysiCell takes ten
steps of diffusion of 0.01 min.

    python benchmarks/tissue_agents.py                          # ours and Mesa; PhysiCell's figure scaled by Mesa
    python benchmarks/tissue_agents.py --physicell /path/to/PhysiCell      # built there: make template && make
    python benchmarks/tissue_agents.py --week                   # also the run of 7 days on two threads
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Grid, Substance

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tissue"
NAMES = ("IFN", "TNF", "IL1", "IL6", "CCL2")
#: Measured where the brief's figures come from: PhysiCell's agent-steps per CPU-second over Mesa's lean ones.
PHYSICELL_THERE, MESA_THERE = 6.8e4, (1.5e5, 1.9e5)


def places(cells: int, size: float) -> dict[int, np.ndarray]:
    """A fifth walkers, the rest grow; at random on a square."""
    rng = np.random.default_rng(1)
    return {0: rng.random((cells // 5, 2)) * size, 1: rng.random((cells - cells // 5, 2)) * size}


def ours(cells: int, n: int, *, mechanics: bool = True, threads: int = 1, attack: bool = False) -> Tissue:
    """The benchmark's tissue; with ``attack``, walkers kill."""
    walker = {
        "migration speed": 5.0, "migration bias": 0.5, "migration persistence time": 10.0,
        "chemotactic response to IFN": 1.0, "TNF secretion": 1.0, "TNF secretion target": 10.0, "IFN uptake": 1.0,
    }  # fmt: skip
    if attack:
        walker |= {"attack tumour": 0.0002, "kill rate": 0.0667, "cell detachment rate": 0.0167}
    kinds = [
        Kind("walker", walker),
        Kind("tumour", {"IFN secretion": 1.0, "IFN secretion target": 10.0, "IL1 uptake": 1.0, "cycle entry": 1e-4}),
    ]
    rules = [
        Rule("walker", "TNF", "increases", "migration speed", 8.0, 1.0, 2.0),
        Rule("tumour", "pressure", "decreases", "cycle entry", 0.0, 1.0, 4.0),
    ]
    field = Field(Grid((n, n), 20.0), [Substance(name, 1000.0, 0.1) for name in NAMES])
    steps = Steps(fluid_share=1.0, mechanics=mechanics)
    model = Tissue(field, kinds, rules, seed=1, steps=steps, threads=threads, capacity=4 * cells)
    for kind, points in places(cells, n * 20.0).items():
        model.add(("walker", "tumour")[kind], points)
    return model


def speed_ours(cells: int, n: int, steps: int, repeats: int, **options: Any) -> float:
    """Agent-steps per second of processor time."""
    model = ours(cells, n, **options)
    model.run(6.1)
    found = []
    for _ in range(repeats):
        start, count = time.process_time(), 0
        for _ in range(steps):
            model.step()
            count += model.cells.n
        found.append(count / (time.process_time() - start))
    return statistics.median(found)


def speed_mesa(cells: int, n: int, steps: int, repeats: int, mechanics: bool) -> float:
    """The same for Mesa."""
    sys.path.insert(0, str(HERE / "peers"))
    from tissue_mesa import Tissue as MesaTissue

    model = MesaTissue(places(cells, n * 20.0), n, mechanics)
    model.step()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(steps):
            model.step()
        found.append(cells * steps / (time.process_time() - start))
    return statistics.median(found)


def speed_physicell(folder: Path, cells: int) -> dict[str, float]:
    """The same for a PhysiCell built in ``folder``: processor time of a run of 13 min less that of one of 3 min."""
    used = {}
    for minutes in (3, 13):
        (folder / "config" / "bench.xml").write_text(physicell_config(folder, cells, minutes))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(["./project", "config/bench.xml"], cwd=folder, check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used[minutes] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = used[13] - used[3]
    return {"agent_steps_per_cpu_s": cells * 100 / seconds, "cpu_ms_per_step": 10 * seconds}


def physicell_config(folder: Path, cells: int, minutes: int) -> str:
    """The template's configuration with five substrates, motion with chemotaxis, secretion and uptake, 10,000 cells."""
    import re

    points = places(cells, 2000.0)
    rows = ["x,y,z,type"] + [f"{x - 1000:.3f},{y - 1000:.3f},0,default" for p in points.values() for x, y in p]
    (folder / "config" / "bench_cells.csv").write_text("\n".join(rows) + "\n")
    (folder / "output").mkdir(exist_ok=True)
    text = (folder / "sample_projects" / "template" / "config" / "PhysiCell_settings.xml").read_text()
    for axis in "xy":
        text = re.sub(rf"<{axis}_min>.*?<", f"<{axis}_min>-1000<", text)
        text = re.sub(rf"<{axis}_max>.*?<", f"<{axis}_max>1000<", text)
    text = re.sub(r'(<max_time units="min">).*?<', rf"\g<1>{minutes}<", text)
    text = re.sub(r"<omp_num_threads>.*?<", "<omp_num_threads>1<", text)
    text = re.sub(r'(<interval units="min">).*?<', r"\g<1>100000<", text)
    text = re.sub(r'(<interval units="min">100000</interval>\s*<enable>)true', r"\g<1>false", text)
    variable = re.search(r"<variable .*?</variable>", text, re.S).group(0)
    variable = variable.replace("100000.0", "1000.0").replace(">10<", ">0.1<")
    variables = "".join(variable.replace('"substrate"', f'"{name}"').replace('ID="0"', f'ID="{k}"')
                        for k, name in enumerate(NAMES))  # fmt: skip
    text = re.sub(r"<variable .*?</variable>", lambda _: variables, text, flags=re.S)
    secretes = {"IFN": (1, 10, 0), "TNF": (1, 10, 0), "IL1": (0, 1, 1)}
    substances = ""
    for name in NAMES:
        rate, target, uptake = secretes.get(name, (0, 1, 0))
        substances += (
            f'<substrate name="{name}"><secretion_rate>{rate}</secretion_rate><secretion_target>{target}'
            f"</secretion_target><uptake_rate>{uptake}</uptake_rate><net_export_rate>0</net_export_rate></substrate>"
        )
    text = re.sub(r"(<secretion>).*?(</secretion>)", lambda m: m[1] + substances + m[2], text, flags=re.S)
    text = text.replace("<substrate>substrate</substrate>", "<substrate>IFN</substrate>")
    text = text.replace('substrate="substrate"', 'substrate="IFN"').replace('name="substrate"', 'name="IFN"')
    text = re.sub(r"(<motility>.*?<options>\s*<enabled>)false", r"\g<1>true", text, flags=re.S)
    text = re.sub(r"(<chemotaxis>\s*<enabled>)false", r"\g<1>true", text)
    text = text.replace(
        "<track_internalized_substrates_in_each_agent>true", "<track_internalized_substrates_in_each_agent>false"
    )
    text = text.replace('<cell_positions type="csv" enabled="false">', '<cell_positions type="csv" enabled="true">')
    text = text.replace("<filename>cells.csv<", "<filename>bench_cells.csv<")
    return re.sub(r"(<number_of_cells[^>]*>)\d+", r"\g<1>0", text)


def week(cells: int, n: int, hours: float) -> dict[str, float]:
    """A run on two threads, with killing: wall and processor time, memory, for 7 days by the steps done."""
    model = ours(cells, n, threads=2, attack=True)
    model.run(6.1)
    wall, cpu = time.perf_counter(), time.process_time()
    before = model.time_min
    model.run(before + hours * 60)
    scale = 7 * 1440 / (model.time_min - before)
    return {
        "hours_done": hours, "wall_min_per_7_d": (time.perf_counter() - wall) * scale / 60,
        "cpu_min_per_7_d": (time.process_time() - cpu) * scale / 60, "cells_at_end": model.cells.n,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }  # fmt: skip


def linear(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Cost of a step over cells at equal density: squares of growing area."""
    rows = []
    for cells in sizes:
        n = round(100 * np.sqrt(cells / 10_000))
        rows.append({"cells": cells, "voxels": n * n, "ns_per_agent_step": 1e9 / speed_ours(cells, n, 60, 3)})
    return rows


def report(found: dict[str, Any]) -> str:
    """The figures as markdown."""
    a, mesa = found["ours"], found["mesa"]
    lines = [
        "# Speed of the cells of a tissue", "",
        "Agent-steps per second of processor time; 10,000 cells, square of 2 mm, five substances, one thread.", "",
        "| what | ours | Mesa 3.3.1 | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for what, key in (("push and pull, walk, secretion, rules, volumes", "full"), ("without push and pull", "lean")):
        lines.append(f"| {what} | {a[key]:.3g} | {mesa[key]:.3g} | {a[key] / mesa[key]:.0f} |")
    if "physicell" in found:
        p = found["physicell"]
        rate, cost = p["agent_steps_per_cpu_s"], p["cpu_ms_per_step"]
        lines += ["", f"PhysiCell 1.14.2 (built here, -O3 -march=native, one thread): {rate:.3g}",
                  f"({cost:.0f} ms a step; all its cells walk, a fifth of ours); ours is",
                  f"{a['full'] / rate:.0f} times as fast."]  # fmt: skip
    low, high = found["physicell_scaled"]
    lines += ["", "PhysiCell's earlier figure (6.8e4, beside a lean Mesa at 1.5e5 to 1.9e5) scaled by Mesa here:",
              f"{low:.3g} to {high:.3g}; ours is {a['full'] / high:.0f} to {a['full'] / low:.0f} times as fast.", "",
              "| cells | voxels | ns per agent-step |", "|---|---|---|"]  # fmt: skip
    lines += [f"| {r['cells']} | {r['voxels']} | {r['ns_per_agent_step']:.0f} |" for r in found["linear"]]
    if "week" in found:
        w = found["week"]
        lines += ["", f"Two threads, killing on, {w['hours_done']:g} h run and scaled to 7 days: "
                  f"{w['wall_min_per_7_d']:.1f} min of wall time,",
                  f"{w['cpu_min_per_7_d']:.1f} min of processor time, {w['memory_mb']:.0f} MB at most."]  # fmt: skip
    lines += ["", f"{found['machine']}; load when it began {found['load']:.1f}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--physicell", type=Path, help="folder of a PhysiCell where `make template && make` was done")
    parser.add_argument("--week", type=float, nargs="?", const=168.0, help="hours to run on two threads (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2500, 10_000, 40_000, 160_000])
    given = parser.parse_args()
    # First, since the memory that is told is the most that the process has had.
    weekly = {"week": week(10_000, 100, given.week)} if given.week else {}
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "load": os.getloadavg()[0],
        "ours": {"full": speed_ours(10_000, 100, 60, given.repeats),
                 "lean": speed_ours(10_000, 100, 60, given.repeats, mechanics=False)},
        "mesa": {"full": speed_mesa(10_000, 100, 2, given.repeats, True),
                 "lean": speed_mesa(10_000, 100, 4, given.repeats, False)},
    }  # fmt: skip
    found |= weekly
    found["physicell_scaled"] = sorted(PHYSICELL_THERE * found["mesa"]["lean"] / there for there in MESA_THERE)
    if given.physicell:
        found["physicell"] = speed_physicell(given.physicell, 10_000)
    found["linear"] = linear(tuple(given.sizes))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "agents.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "agents.md").write_text(report(found))
    print(report(found))


if __name__ == "__main__":
    main()
