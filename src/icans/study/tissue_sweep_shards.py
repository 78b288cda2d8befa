"""A sweep of a tissue as an array job: each shard runs all replicates of some of the points. All of it is simulated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.execute import Executor, Serial, opened
from icans.core.shards import Job, Shard, Whole
from icans.study.folder import check_target
from icans.study.merge import PartResult
from icans.study.shards import Made, run_shard
from icans.study.tissue_sweep import Plan, SweepReport, conclude, make_plan, plan_sweep, run_outcomes, sweep_folder
from icans.tissue.run.spec import make_spec

KIND, UNIT = "tissue sweep", "points"


def job_of(plan: Plan) -> Job:
    """The job whose items are the points of a sweep; rules that lie in files of their own are part of it."""
    spec = plan.spec.model_dump(mode="json")
    spec["rule"] = [dict(vars(rule)) for rule in plan.spec.rules(plan.base)]
    spec["rules_csv"] = []
    return Job(KIND, {"spec": spec, "method": plan.method, "size": plan.size}, len(plan.points))


def sweep_shard(
    path: Path | str, shard: Shard | str, output: Path | None = None, *, method: str = "morris", size: int = 10,
    executor: Executor | str | None = None,
) -> PartResult:  # fmt: skip
    """Run one shard of a sweep and write its part to ``<results folder>.parts``; ``icans merge`` makes the results.

    Parameters
    ----------
    path, output, method, size
        As for :func:`icans.study.tissue_sweep.tissue_sweep`, the same for every shard.
    shard
        A shard, or its text ``i/n``.

    Raises
    ------
    ConfigError
        As there; no shard, or more shards than points.
    DataError
        There is a part of another job in its place.
    """
    plan = plan_sweep(path, method, size)

    def make(rows: slice) -> Made:
        with opened(Serial() if executor is None else executor) as where:
            found = where.map(run_outcomes, plan.tasks(rows), KIND)
        replicates = plan.spec.tissue.replicates
        lines = [
            (rows.start + k // replicates, k % replicates, name, value)
            for k, each in enumerate(found)
            for name, value in each.items()
        ]
        return {"outcomes": pd.DataFrame(lines, columns=["point", "replicate", "outcome", "value"])}, {}

    return run_shard(job_of(plan), shard, output or sweep_folder(plan), make, unit=UNIT)


def finish(whole: Whole, output: Path, *, overwrite: bool, command: str) -> SweepReport:
    """The results folder of a sweep from all its parts: the tables of a run in one piece, to the byte.

    Raises
    ------
    FileExistsError
        The folder exists and must not be replaced.
    DataError
        The parts do not fit the run that they name.
    """
    check_target(output, overwrite)
    kept = whole.job.spec
    plan = make_plan(make_spec(dict(kept["spec"]), "part.json"), Path(), kept["method"], kept["size"], "part.json")
    table = whole.tables["outcomes"]
    found = [
        dict(zip(own["outcome"], own["value"], strict=True))
        for _, own in table.groupby(["point", "replicate"], sort=True)
    ]
    expected = len(plan.points) * plan.spec.tissue.replicates
    if len(found) != expected:
        remedy = "Run the shards again."
        raise DataError([Problem("parts", None, "outcomes", str(len(found)), f"{expected} runs", remedy)])
    return conclude(plan, found, output, overwrite=overwrite)
