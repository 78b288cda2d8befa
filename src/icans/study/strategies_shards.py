"""A comparison of strategies as an array job: each shard has some chunks of the patients. All of it is synthetic."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from icans.core.execute import Executor, Serial, opened
from icans.core.provenance import now
from icans.core.shards import Job, Shard, Whole
from icans.intervene.compare.results import join
from icans.intervene.compare.running import parts_of, run_task, tasks_for
from icans.study.folder import check_target
from icans.study.merge import PartResult
from icans.study.shards import Made, run_shard
from icans.study.strategies import Compared, conclude
from icans.study.strategies_config import Comparison, parse_comparison

KIND, UNIT = "strategies", "chunks of patients"


def job_of(comparison: Comparison) -> Job:
    """The job whose items are the chunks of patients of a comparison."""
    total = sum(len(parts_of(group)) for group in comparison.groups)
    return Job(KIND, {"file": comparison.text}, total)


def strategies_shard(
    comparison: Comparison, shard: Shard | str, *, output: Path | str, executor: Executor | str | None = None
) -> PartResult:
    """Run one shard of a comparison and write its part to ``<output>.parts``; a part that is there is not made again.

    The file's further questions (latency, decision, sensitivity) are answered when the parts are put together.

    Raises
    ------
    ConfigError
        No shard, or more shards than chunks.
    DataError
        There is a part of another job in its place.
    ModelError
        Strategies that are not for a product.
    """

    def make(rows: slice) -> Made:
        tasks = tasks_for(comparison.groups, comparison.strategies, comparison.seed)[rows]
        with opened(Serial() if executor is None else executor) as where:
            tables = where.map(run_task, tasks, KIND)
        return {"outcomes": pd.concat(tables, ignore_index=True)}, {}

    return run_shard(job_of(comparison), shard, Path(output), make, unit=UNIT)


def finish(whole: Whole, output: Path, *, overwrite: bool, command: str) -> Compared:
    """The results folder of a comparison from all its parts.

    Raises
    ------
    FileExistsError
        The folder exists and must not be replaced.
    """
    check_target(output, overwrite)
    started = now()
    comparison = parse_comparison(whole.job.spec["file"], "part.json")
    found = join([whole.tables["outcomes"]], comparison.strategies, comparison.seed)
    with opened() as where:
        return conclude(comparison, found, where, output=output, overwrite=overwrite, started=started, command=command)
