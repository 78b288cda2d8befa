"""Speed of the field at equal error, against BioFVM.

    python benchmarks/tissue_field.py [--biofvm FOLDER] [--mesa]

``FOLDER`` holds BioFVM's sources (the folder ``BioFVM`` of https://github.com/MathCancer/PhysiCell); they are compiled
with g++ -O3 -march=native in a temporary folder, and both codes run one after the other on one thread, several times
in turn; the best CPU seconds count. Without it, the published rate is scaled to this machine by Mesa's rate
(``--mesa``; both from the same machine: 8.1e7 voxel-substrate-steps/CPU-s at 100 x 100 x 4, and 1.5e5 to 1.9e5
agent-steps/s). Errors are against the solution of the same grid that is exact in time. Writes
``benchmarks/results/tissue_field.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.tissue.field.field import Field
from icans.tissue.field.grid import Grid, Substance

Array = npt.NDArray[np.float64]
HERE = Path(__file__).resolve().parent
END_MIN, SPACING = 1.0, 20.0
#: Rates of this file's docstring.
PUBLISHED, MESA_THERE = 8.1e7, (1.5e5, 1.9e5)
OURS = (
    ("euler", 0.01), ("explicit", 0.05), ("explicit", 0.1), ("explicit", 0.2), ("implicit", 0.02), ("implicit", 0.05),
    ("implicit", 0.1), ("implicit", 0.2), ("implicit", 0.5), ("exact", 0.1), ("exact", 1.0),
)  # fmt: skip
THEIRS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Case:
    """A box with a start and, or not, sources."""

    name: str
    grid: Grid
    substances: tuple[Substance, ...]
    start: Array
    sources: tuple[Array, Array] | None

    @property
    def work(self) -> int:
        """Voxels times substances."""
        return self.grid.voxels * len(self.substances)


def make_case(shape: tuple[int, ...], count: int, kind: str) -> Case:
    """``blob``: a smooth start; ``cells``: the same with sources and sinks of 10,000 cells spread at random."""
    grid = Grid(shape, SPACING)
    substances = tuple(Substance(f"s{i}", 2800.0 - 300.0 * i, 0.005 * (i + 1)) for i in range(count))
    middle = [size / 2 for size in grid.size_um]
    far = sum((c - m) ** 2 for c, m in zip(grid.centres(), middle, strict=True))
    start = np.broadcast_to(np.exp(-np.asarray(far) / (2 * 60.0**2)), (count, *shape)).copy()
    if kind == "blob":
        return Case(f"{kind} {'x'.join(map(str, shape))} x {count}", grid, substances, start, None)
    rng = np.random.default_rng(8)
    cells = np.bincount(rng.integers(0, grid.voxels, 10_000), minlength=grid.voxels).astype(float)
    made, lost = (np.stack([scale * cells * rng.random(grid.voxels) for _ in range(count)]) for scale in (0.2, 0.5))
    return Case(f"{kind} {'x'.join(map(str, shape))} x {count}", grid, substances, start, (made, lost))


def exact(case: Case) -> Array:
    """The end, exact in time: the propagator without sources, else Richardson's limit of short steps."""
    if case.sources is None:
        field = Field(case.grid, case.substances, case.start)
        field.step(END_MIN, scheme="exact")
        return field.values
    ends = []
    for dt in (0.002, 0.001):
        field = Field(case.grid, case.substances, case.start)
        for _ in range(round(END_MIN / dt)):
            field.step(dt, case.sources, "implicit")
        ends.append(field.values)
    return np.asarray((4 * ends[1] - ends[0]) / 3)


def ours(case: Case, scheme: str, dt: float) -> tuple[float, Array]:
    """CPU seconds of a simulated minute, and its end. What is prepared once for all steps is not timed."""
    field = Field(case.grid, case.substances, case.start)
    field.step(dt, case.sources, scheme)
    field.values[:] = case.start
    steps = round(END_MIN / dt)
    began = time.process_time()
    for _ in range(steps):
        field.step(dt, case.sources, scheme)
    once = time.process_time() - began
    end = field.values.copy()
    more = max(0, min(50, int(0.2 / max(once, 1e-6))))
    began = time.process_time()
    for _ in range(more):
        for _ in range(steps):
            field.step(dt, case.sources, scheme)
    return ((time.process_time() - began) / more if more else once), end


def build(folder: Path, into: Path) -> Path:
    """BioFVM with the small program around it."""
    files = [f for f in folder.glob("*.cpp") if "MultiCellDS" not in f.name]
    files += [f for f in (folder / "BioFVM_MultiCellDS.cpp",) if f.exists()]
    program = into / "biofvm_field"
    command = ["g++", "-O3", "-march=native", "-std=c++11", "-fopenmp", "-w", f"-I{folder}",
               str(HERE / "peers" / "biofvm_field.cpp"), *map(str, files), "-o", str(program)]  # fmt: skip
    subprocess.run(command, check=True)
    return program


def theirs(case: Case, program: Path, dt: float, into: Path) -> tuple[float, Array]:
    """The same for BioFVM."""
    shape = (1,) * (3 - case.grid.dimensions) + case.grid.shape
    parts = [[s.diffusion_um2_min for s in case.substances], [s.decay_per_min for s in case.substances], case.start]
    parts += list(case.sources or ())
    np.concatenate([np.ravel(p) for p in parts]).tofile(into / "start.bin")
    steps = round(END_MIN / dt)
    arguments = [shape[2], shape[1], shape[0], len(case.substances), dt, steps, int(case.sources is not None), SPACING]
    told = subprocess.run([str(program), str(into / "start.bin"), str(into / "end.bin"), *map(str, arguments)],
                          check=True, capture_output=True, text=True).stdout  # fmt: skip
    seconds = float(told.rsplit("CPU ", 1)[1])
    end = np.fromfile(into / "end.bin").reshape(case.start.shape)
    return seconds * steps / max(1, steps - 1), end


def compare(case: Case, program: Path | None, rounds: int, into: Path) -> list[dict[str, Any]]:
    """Best CPU seconds per simulated minute and error of every scheme and step, the codes in turn."""
    truth = exact(case)
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for _ in range(rounds):
        jobs = [("BioFVM", dt) for dt in THEIRS if program and case.work / dt < 1e8] + list(OURS)
        for name, dt in jobs:
            if name == "exact" and case.sources is not None and dt > 0.5:
                continue
            if name == "BioFVM":
                assert program is not None
                seconds, end = theirs(case, program, dt, into)
            else:
                try:
                    seconds, end = ours(case, name, dt)
                except Exception as error:  # a step that is refused is no result
                    print(case.name, name, dt, str(error)[:80])
                    continue
            error = float(np.linalg.norm(end - truth) / np.linalg.norm(truth))
            row = found.setdefault((name, dt), {"case": case.name, "code": name, "dt_min": dt, "error": error,
                                                "cpu_s_per_min": seconds})  # fmt: skip
            row["cpu_s_per_min"] = min(row["cpu_s_per_min"], seconds)
    for row in found.values():
        row["rate"] = case.work * (END_MIN / row["dt_min"]) / row["cpu_s_per_min"]
    rows = list(found.values())
    for row in rows:
        # Against the cheapest of BioFVM's steps whose error is no smaller than this one's.
        rivals = [r for r in rows if r["code"] == "BioFVM" and r["error"] >= row["error"]]
        if rivals and row["code"] != "BioFVM":
            rival = min(rivals, key=lambda r: r["error"])
            row["against_dt"], row["times"] = rival["dt_min"], rival["cpu_s_per_min"] / row["cpu_s_per_min"]
            row["equal_rate"] = case.work * (END_MIN / rival["dt_min"]) / row["cpu_s_per_min"]
    return rows


def mesa_rate(agents: int = 10_000, steps: int = 10) -> float:
    """Agent-steps per CPU-second of Mesa: random walk, uptake, secretion and an explicit step of a numpy field."""
    import mesa

    class Walker(mesa.Agent):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            self.x, self.y = model.random.uniform(0, 2000), model.random.uniform(0, 2000)

        def step(self) -> None:
            self.x = (self.x + self.model.random.gauss(0, 2)) % 2000
            self.y = (self.y + self.model.random.gauss(0, 2)) % 2000
            i, j = int(self.y / 20), int(self.x / 20)
            self.model.field[i, j] += 0.1 - 0.01 * self.model.field[i, j]

    class Space(mesa.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(seed=1)
            self.field = np.zeros((100, 100))
            for _ in range(agents):
                Walker(self)

        def step(self) -> None:
            self.agents.shuffle_do("step")
            c = np.pad(self.field, 1, mode="edge")
            self.field += 0.06 * (c[2:, 1:-1] + c[:-2, 1:-1] + c[1:-1, 2:] + c[1:-1, :-2] - 4 * self.field)

    model = Space()
    model.step()
    began = time.process_time()
    for _ in range(steps):
        model.step()
    return agents * steps / (time.process_time() - began)


def scaling() -> list[dict[str, float]]:
    """CPU seconds of one implicit step per voxel and substance, by size."""
    rows = []
    for shape in ((50, 50), (100, 100), (200, 200), (400, 400), (25, 25, 25), (50, 50, 50), (80, 80, 80)):
        case = make_case(shape, 5, "cells")
        field = Field(case.grid, case.substances, case.start)
        field.step(0.1, case.sources)
        best = np.inf
        for _ in range(5):
            count = max(1, int(2e6 / case.work))
            began = time.process_time()
            for _ in range(count):
                field.step(0.1, case.sources)
            best = min(best, (time.process_time() - began) / count)
        rows.append({"voxels": float(case.grid.voxels), "dimensions": float(len(shape)), "ns": 1e9 * best / case.work})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--biofvm", type=Path)
    parser.add_argument("--mesa", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    result: dict[str, Any] = {"machine": _processor(), "date": time.strftime("%Y-%m-%d"), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder)
        program = build(given.biofvm, into) if given.biofvm else None
        for shape, count, kind in (((100, 100), 5, "blob"), ((100, 100), 5, "cells"), ((50, 50, 50), 4, "blob")):
            result["rows"] += compare(make_case(shape, count, kind), program, given.rounds, into)
    result["scaling"] = scaling()
    if given.mesa:
        here = max(mesa_rate() for _ in range(given.rounds))
        result["mesa"] = here
        result["published_here"] = [PUBLISHED * here / there for there in MESA_THERE[::-1]]
    (HERE / "results" / "tissue_field.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results" / "tissue_field.md").write_text(text(result))
    print(text(result))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line] \
        if info.exists() else []  # fmt: skip
    return names[0] if names else platform.processor()


def text(result: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Speed of the field",
        "",
        f"{result['machine']}, one thread, {result['date']}; CPU seconds, best of the rounds. Rate: "
        "voxel-substrate-steps per CPU-second. Error: relative L2 after one minute against the solution of the same "
        "grid exact in time. Against BioFVM: its cheapest step with no smaller error, the ratio of CPU seconds, and "
        "the rate at which BioFVM would have to step to keep up.",
        "",
    ]
    for case in dict.fromkeys(row["case"] for row in result["rows"]):
        lines += [f"## {case}", "", "| code | step, min | error | CPU-s per minute | rate | BioFVM's step "
                  "| times faster | rate at equal error |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in result["rows"]:
            if row["case"] != case:
                continue
            equal = (f"{row['against_dt']:g} | {row['times']:.1f} | {row['equal_rate']:.2e}" if "times" in row
                     else "| |")  # fmt: skip
            lines.append(f"| {row['code']} | {row['dt_min']:g} | {row['error']:.2e} | {row['cpu_s_per_min']:.4f} "
                         f"| {row['rate']:.2e} | {equal} |")  # fmt: skip
        lines.append("")
    lines += ["## Cost and size (implicit step with sources, 5 substances)", "",
              "| voxels | dimensions | ns per voxel and substance |", "|---|---|---|"]  # fmt: skip
    lines += [f"| {r['voxels']:.0f} | {r['dimensions']:.0f} | {r['ns']:.1f} |" for r in result["scaling"]]
    if "mesa" in result:
        low, high = result["published_here"]
        lines += ["", f"Mesa here: {result['mesa']:.2e} agent-steps/CPU-s; BioFVM's published 2-D rate scaled by it: "
                  f"{low:.2e} to {high:.2e}."]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
