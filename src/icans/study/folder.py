"""What every results folder holds: tables with their label, and a record from which the run can be done again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from icans.core.files import atomic_path, hashes, write_json
from icans.core.provenance import code_digest, versions
from icans.report.model import RunInfo

#: The file that marks a folder as results of ours, which may be replaced on request.
MARK = "run.json"


def check_target(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError when a folder must not be written."""
    if not folder.exists():
        return
    if not (folder / MARK).is_file():
        raise FileExistsError(f"{folder} exists and holds no results of this program; choose another folder")
    if not overwrite:
        raise FileExistsError(f"{folder} holds earlier results; choose another folder or allow --overwrite")


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame], synthetic: bool) -> None:
    """Write ``tables/NAME.parquet``, each row with a column ``synthetic``; of an index only named levels are kept."""
    for name, frame in tables.items():
        named = any(level is not None for level in frame.index.names)
        with atomic_path(folder / "tables" / f"{name}.parquet") as target:
            frame.assign(synthetic=synthetic).to_parquet(target, index=named)


def write_mark(folder: Path, told: Mapping[str, object], run: RunInfo, synthetic: bool) -> None:
    """Write the record of a run, last: what was asked and found, seed, inputs, outputs, versions and times.

    Parameters
    ----------
    folder
        The results; every file in it is listed with its SHA-256.
    told
        What this kind of run tells of itself, beside what all tell.
    """
    write_json(folder / MARK, {
        **told, "synthetic": synthetic, "seed": run.seed, "versions": dict(run.versions or versions()),
        "code": code_digest(), "inputs": dict(run.inputs), "started": run.started, "finished": run.finished,
        "seconds": dict(run.seconds), "outputs": hashes(folder),
    })  # fmt: skip
