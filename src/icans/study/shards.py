"""One shard of an array job: what every kind of job does before and after its own work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy.typing as npt
import pandas as pd

from icans.core.errors import ConfigError, Problem
from icans.core.shards import Job, Shard, have_part, part_folder, read_shard, write_part
from icans.study.merge import PartResult, parts_of

#: Tables and arrays of a shard, by name.
Made = tuple[Mapping[str, pd.DataFrame], Mapping[str, npt.NDArray[Any]]]


def run_shard(
    job: Job, shard: Shard | str, output: Path, make: Callable[[slice], Made], *, unit: str = "patients"
) -> PartResult:
    """Make one shard of a job and write its part to ``<output>.parts``; a part that is there is not made again.

    So the same array job can be handed in until it is complete.

    Parameters
    ----------
    shard
        A shard, or its text ``i/n``.
    output
        The results folder of the whole.
    make
        Tables and arrays of the items of a slice; not called where the part is there.
    unit
        What an item is called.

    Raises
    ------
    ConfigError
        No shard, or more shards than items.
    DataError
        There is a part of another job in its place.
    """
    one = read_shard(shard) if isinstance(shard, str) else shard
    if one.count > job.total:
        remedy = f"A shard needs work to do: there are {job.total} {unit}."
        raise ConfigError([Problem("options", None, "--shard", str(one), f"at most {job.total} shards", remedy)])
    folder = parts_of(output)
    rows = one.rows(job.total)
    items = rows.stop - rows.start
    if have_part(folder, job, one):
        return PartResult(part_folder(folder, one), one, items, False, unit)
    clock = perf_counter()
    tables, arrays = make(rows)
    written = write_part(folder, job, one, tables=tables, arrays=arrays, seconds=perf_counter() - clock)
    return PartResult(written, one, items, True, unit)
