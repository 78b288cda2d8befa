"""``icans tissue sweep``: which numbers of a run move what. Morris screening, Sobol shares, or a random sample.

Morris 1991 (DOI 10.1080/00401706.1991.10484804), Sobol indices by Saltelli's sample (Saltelli et al. 2010,
DOI 10.1016/j.cpc.2009.09.018), both by SALib. Every point is run ``replicates`` times, and outcomes are their means;
the spread between replicates is told beside the effects, since a parameter that moves less than chance moves nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ConfigError, IcansError, Problem
from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, slug, write_json
from icans.core.progress import stage
from icans.core.provenance import code_digest, now, versions
from icans.study.folder import MARK, check_target
from icans.tissue.run.replicate import Outcome, Task, run_replicate
from icans.tissue.run.spec import Spec, SweepAxis, make_spec, read_spec

METHODS = ("morris", "sobol", "random")
LABEL = "simulated: no measured data"


@dataclass(frozen=True)
class SweepReport:
    """Effects of the parameters on every outcome, with what chance alone does."""

    effects: pd.DataFrame
    runs: pd.DataFrame
    method: str
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        rows = self.effects.astype(object).where(self.effects.notna(), None).to_dict("records")
        return {"ok": True, "origin": LABEL, "method": self.method, "runs": len(self.runs), "effects": rows,
                "folder": str(self.folder)}  # fmt: skip

    def text(self) -> str:
        """The strongest parameters of every outcome."""
        lines = [f"{self.method}: {len(self.runs)} points, {LABEL}. Results in {self.folder}"]
        for outcome, rows in self.effects.groupby("outcome", sort=False):
            if not rows["effect"].any():
                lines.append(f"  {outcome}: the same at every point")
                continue
            best = rows.sort_values("effect", ascending=False).head(3)
            told = ", ".join(f"{r.parameter} {r.effect:.3g} ({r.low:.3g} to {r.high:.3g})" for r in best.itertuples())
            lines.append(f"  {outcome}: {told}; standard deviation by chance alone {rows['noise_sd'].iloc[0]:.3g}")
        return "\n".join(lines)


def tissue_sweep(
    path: Path | str, output: Path | None = None, *, method: str = "morris", size: int = 10, overwrite: bool = False,
    workers: int | None = None, executor: Executor | str | None = None,
) -> SweepReport:  # fmt: skip
    """Run the tissue of a file at many points of its ``[[sweep]]`` axes and write the effects.

    Raises
    ------
    ConfigError
        The file is wrong, has no axes, names something that is not there, or the method is unknown.
    """
    plan = plan_sweep(path, method, size)
    folder = output or sweep_folder(plan)
    check_target(folder, overwrite)
    with stage("sweep"), opened(executor, workers) as where:
        found = where.map(run_outcomes, plan.tasks(slice(None)), "points")
    return conclude(plan, found, folder, overwrite=overwrite)


@dataclass(frozen=True)
class Plan:
    """A sweep before it is run: the run, its folder, how it is sampled, its points (points, axes)."""

    spec: Spec
    base: Path
    method: str
    size: int
    points: npt.NDArray[np.float64]

    def tasks(self, rows: slice) -> list[Task]:
        """All replicates of some of the points, one point after the other."""
        spec, file = self.spec, "sweep"
        return [
            Task(changed(spec, spec.sweep, point, file), self.base, r, frames=False)
            for point in self.points[rows]
            for r in range(spec.tissue.replicates)
        ]


def plan_sweep(path: Path | str, method: str, size: int) -> Plan:
    """Read a file and sample the points of its axes; see :func:`tissue_sweep` for what is refused."""
    path = Path(path)
    return make_plan(read_spec(path), path.parent, method, size, str(path))


def make_plan(spec: Spec, base: Path, method: str, size: int, file: str = "sweep") -> Plan:
    """The plan of a run that was read; see :func:`plan_sweep`."""
    axes = spec.sweep
    if method not in METHODS or not axes:
        column, value, expected = (
            ("--method", method, f"one of {METHODS}") if axes else ("sweep", None, "at least one [[sweep]] axis")
        )
        raise ConfigError([Problem(file, None, column, value, expected, "Correct it.")])
    changed(spec, axes, np.array([axis.low for axis in axes]), file)
    return Plan(spec, base, method, size, sample(axes, method, size, spec.tissue.seed))


def sweep_folder(plan: Plan) -> Path:
    """Where results go that are not told where to."""
    return Path("results") / f"{slug(plan.spec.tissue.name, 'tissue')}-{plan.method}"


def conclude(plan: Plan, found: list[dict[str, float]], folder: Path, *, overwrite: bool) -> SweepReport:
    """Effects and the results folder, from the outcomes of every replicate of every point."""
    spec, axes, method, size = plan.spec, plan.spec.sweep, plan.method, plan.size
    runs = _table(plan.points, axes, found, spec.tissue.replicates)
    table = effects(plan.points, axes, runs, method, size, spec.tissue.seed)
    with atomic_folder(folder, overwrite=overwrite) as target:
        runs.to_csv(target / "points.csv", index=False)
        table.to_csv(target / "effects.csv", index=False)
        _figures(target, table, spec)
        write_json(target / MARK, {
            "what": "tissue sweep", "origin": LABEL, "method": method, "size": size, "written": now(),
            "spec": spec.model_dump(mode="json"), "versions": versions(), "code": code_digest(),
        }, default=str)  # fmt: skip
    return SweepReport(table, runs, method, folder)


def run_outcomes(task: Task) -> dict[str, float]:
    """Run one replicate of one point and keep its outcomes only."""
    return outcomes_of(run_replicate(task))


def outcomes_of(outcome: Outcome) -> dict[str, float]:
    """Numbers that sum a run up: live cells and deaths, damage, mean and highest mean level of each substance."""
    a, named = outcome.arrays, outcome.labels
    found: dict[str, float] = {}
    for k, kind in enumerate(named["kinds"]):
        if a["counts"][:, k].any():
            found[f"live {kind}"] = float(a["counts"][-1, k, 0])
            if a["damage"][:, k].any():
                found[f"damage {kind}"] = float(a["damage"][-1, k])
            if a["kills"][-1, :, k].any():
                found[f"killed {kind}"] = float(a["kills"][-1, :, k].sum())
    for s, name in enumerate(named["substances"]):
        found[f"mean {name}"] = float(np.trapezoid(a["levels"][:, s], a["counts_time_h"]) / a["counts_time_h"][-1])
    return found


def changed(spec: Spec, axes: tuple[SweepAxis, ...], point: npt.NDArray[np.float64], file: str) -> Spec:
    """The run with the numbers of the axes set to a point.

    Raises
    ------
    ConfigError
        A path leads nowhere; all of them at once.
    """
    raw = copy.deepcopy(spec.model_dump())
    problems = []
    for axis, value in zip(axes, point, strict=True):
        if not _set(raw, axis.path.split("."), float(value)):
            expected = "cell.<kind>.<behaviour>, rule.<n>.<column>, substance.<name>.<key>, brain.<name> or blood.…"
            problems.append(Problem(file, None, "sweep.path", axis.path, expected, "Name something of the file."))
    if problems:
        raise ConfigError(problems)
    return make_spec(raw, file)


def _set(raw: dict[str, Any], path: list[str], value: float) -> bool:
    head, rest = path[0], path[1:]
    if head == "brain" and len(rest) == 1 and raw["brain"] is not None:
        raw["brain"]["changed"][rest[0]] = value
        return True
    if head in ("cell", "substance") and len(rest) >= 2:
        key = ".".join(rest[1:])
        for each in raw[head]:
            if each["name"] == rest[0]:
                table = each["behaviours"] if head == "cell" else each
                table[key] = value
                return head == "cell" or key in each
    if head == "rule" and len(rest) == 2 and rest[0].isdigit() and 1 <= int(rest[0]) <= len(raw["rule"]):
        raw["rule"][int(rest[0]) - 1][rest[1]] = value
        return rest[1] in ("saturation", "half_max", "hill")
    if head == "blood" and len(rest) == 2 and rest[1] in raw["blood"].get(rest[0], {}):
        course = raw["blood"][rest[0]]
        course[rest[1]] = tuple(value * v for v in course[rest[1]])
        return True
    return False


def sample(axes: tuple[SweepAxis, ...], method: str, size: int, seed: int) -> npt.NDArray[np.float64]:
    """Points of the parameters, shape (points, axes)."""
    unit = _unit(axes, method, size, seed)
    low = np.array([np.log(a.low) if a.log else a.low for a in axes])
    high = np.array([np.log(a.high) if a.log else a.high for a in axes])
    scaled = low + unit * (high - low)
    logs = np.array([a.log for a in axes])
    return np.where(logs, np.exp(np.where(logs, scaled, 0.0)), scaled)


def _problem(axes: tuple[SweepAxis, ...]) -> dict[str, Any]:
    return {"num_vars": len(axes), "names": [a.path for a in axes], "bounds": [[0.0, 1.0]] * len(axes)}


def _unit(axes: tuple[SweepAxis, ...], method: str, size: int, seed: int) -> npt.NDArray[np.float64]:
    if method == "random":
        from scipy.stats import qmc

        return np.asarray(qmc.LatinHypercube(len(axes), rng=seed).random(size))
    salib = _salib()
    if method == "morris":
        return np.asarray(salib.sample.morris.sample(_problem(axes), size, seed=seed))
    power = 1 << (size - 1).bit_length()  # Sobol points are balanced for powers of 2 only
    return np.asarray(salib.sample.sobol.sample(_problem(axes), power, calc_second_order=False, seed=seed))


def effects(
    points: npt.NDArray[np.float64], axes: tuple[SweepAxis, ...], runs: pd.DataFrame, method: str, size: int, seed: int
) -> pd.DataFrame:
    """Effect of each parameter on each outcome with its 95 % interval: outcome, parameter, effect, low, high, noise_sd.

    ``noise_sd`` is the standard deviation of the mean of the replicates at a point: what chance alone does.
    """
    rows = []
    unit = _unit(axes, method, size, seed)
    for outcome in [c.removeprefix("mean of ") for c in runs.columns if c.startswith("mean of ")]:
        y = runs[f"mean of {outcome}"].to_numpy(float)
        what, effect, spread = _effect(unit, y, axes, method, seed)
        noise = float(np.sqrt(np.mean(runs[f"sd of {outcome}"] ** 2 / runs["replicates"])))
        for axis, value, half in zip(axes, effect, spread, strict=True):
            rows.append((outcome, axis.path, what, value, value - half, value + half, noise))
    return pd.DataFrame(rows, columns=["outcome", "parameter", "what", "effect", "low", "high", "noise_sd"])


def _effect(
    unit: npt.NDArray[np.float64], y: npt.NDArray[np.float64], axes: tuple[SweepAxis, ...], method: str, seed: int
) -> tuple[str, Any, Any]:
    none = np.zeros(len(axes))
    if np.ptp(y) == 0:
        return "effect", none, none
    if method == "morris":
        found = _salib().analyze.morris.analyze(_problem(axes), unit, y, seed=seed)
        return "mean absolute effect over the range", found["mu_star"], found["mu_star_conf"]
    if method == "sobol":
        found = _salib().analyze.sobol.analyze(_problem(axes), y, calc_second_order=False, seed=seed)
        return "total share of variance", found["ST"], found["ST_conf"]
    from scipy.stats import spearmanr

    rank = np.array([spearmanr(unit[:, j], y).statistic for j in range(len(axes))])
    return "rank correlation", rank, 1.96 / np.sqrt(max(len(y) - 3, 1)) * np.ones(len(axes))


def _table(
    points: npt.NDArray[np.float64], axes: tuple[SweepAxis, ...], found: list[dict[str, float]], replicates: int
) -> pd.DataFrame:
    """Parameters, and mean and standard deviation of the replicates' outcomes, of every point."""
    names = list(dict.fromkeys(name for each in found for name in each))
    values = np.array([[each.get(name, 0.0) for name in names] for each in found]).reshape(len(points), replicates, -1)
    columns = {axis.path: points[:, j] for j, axis in enumerate(axes)}
    columns |= {f"mean of {n}": values[:, :, j].mean(axis=1) for j, n in enumerate(names)}
    columns |= {f"sd of {n}": values[:, :, j].std(axis=1, ddof=1 if replicates > 1 else 0) for j, n in enumerate(names)}
    return pd.DataFrame(columns).assign(replicates=replicates)


def _figures(target: Path, table: pd.DataFrame, spec: Spec) -> None:
    """One figure for each outcome that moves."""
    from icans.report.figures.tissue import fig_drivers

    units = {f"mean {s.name}": s.unit for s in spec.substance}
    for number, (outcome, rows) in enumerate(table.groupby("outcome", sort=False)):
        what = str(outcome).partition(" ")[0]
        unit = {"live": "cells at the end", "killed": "cells", "damage": "mean of the cells"}.get(what, "pg/mL")
        if rows["effect"].any():
            figure = fig_drivers(rows, f"{outcome}, {units.get(str(outcome), unit)}")
            figure.savefig(target / f"drivers-{slug(str(outcome), str(number))}.png", dpi=150)


def _salib() -> Any:
    try:
        import SALib.analyze.morris
        import SALib.analyze.sobol
        import SALib.sample.morris
        import SALib.sample.sobol
    except ImportError:
        raise IcansError("Morris and Sobol designs come from SALib: install icans[sensitivity]") from None
    return SALib
