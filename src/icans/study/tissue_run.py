"""``icans tissue run``: a file in; replicates on all cores, with checkpoints; Zarr, tables and figures out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, slug, write_json
from icans.core.progress import stage
from icans.core.provenance import code_digest, digest, now, versions
from icans.study.folder import MARK, check_target
from icans.tissue.run.build import build
from icans.tissue.run.record import write_zarr
from icans.tissue.run.replicate import Outcome, Task, run_replicate
from icans.tissue.run.spec import Spec, read_spec

LABEL = "simulated: no measured data"


@dataclass(frozen=True)
class TissueReport:
    """What a run gave, as people and programs want to know it."""

    spec: Spec
    outcomes: Sequence[Outcome]
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": True, "name": self.spec.tissue.name, "origin": LABEL, "folder": str(self.folder),
            "replicates": len(self.outcomes), "final": final_counts(self.outcomes).to_dict("records"),
            "mended": [each for outcome in self.outcomes for each in outcome.mended],
            "cells_without_room": [outcome.lost for outcome in self.outcomes],
        }  # fmt: skip

    def text(self) -> str:
        """The result in words."""
        count = len(self.outcomes)
        several = f"{count} replicate{'s' if count > 1 else ''}"
        lines = [f"{self.spec.tissue.name}: {several}, {LABEL}. Results in {self.folder}"]
        for row in final_counts(self.outcomes).to_dict("records"):
            lines.append(
                f"  {row['kind']:<22} live at the end {row['live_median']:.0f} "
                f"({row['live_low']:.0f} to {row['live_high']:.0f}), killed {row['killed_median']:.0f}"
            )
        return "\n".join(lines + _mended(self.outcomes))


def _mended(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each kind of cell: how many were pushed apart in a replicate, how far, how many are not."""
    every = [each for outcome in outcomes for each in outcome.mended]
    lines = []
    for kind in dict.fromkeys(each["place"] for each in every):
        own = [each for each in every if each["place"] == kind]
        count = [each["overlapping"] for each in own]
        spread = f"{min(count)}" if min(count) == max(count) else f"{min(count)} to {max(count)}"
        far, still = (max(each[name] for each in own) for name in ("moved_um", "still_overlapping"))
        line = f"  mended: {spread} overlapping {kind} cells pushed apart by up to {far:.1f} um"
        lines.append(line + (f"; up to {still} still overlap for want of room" if still else ""))
    return lines


def tissue_run(
    path: Path | str, output: Path | None = None, *, overwrite: bool = False, fresh: bool = False,
    workers: int | None = None, executor: Executor | str | None = None,
) -> TissueReport:  # fmt: skip
    """Run the tissue of a file and write its results.

    An interrupted run leaves checkpoints beside the results (``<folder>.unfinished``); the same command goes on there,
    to the same results as without interruption. ``fresh`` begins anew.

    Raises
    ------
    ConfigError, ModelError
        The file is wrong; all problems at once, before anything moves.
    FileExistsError
        The folder holds something else, or earlier results and no ``overwrite``.
    """
    path = Path(path)
    spec = read_spec(path)
    folder = output or Path("results") / slug(spec.tissue.name, "tissue")
    check_target(folder, overwrite)
    build(spec, path.parent)
    keep = folder.with_name(f"{folder.name}.unfinished") / digest([spec.model_dump(), code_digest()])[:16]
    if fresh:
        shutil.rmtree(keep.parent, ignore_errors=True)
    tasks = [Task(spec, path.parent, r, keep=keep / f"{r:05d}.npz") for r in range(spec.tissue.replicates)]
    with stage("tissue"), opened(executor, workers) as where:
        outcomes = where.map(run_replicate, tasks, "replicates")
    with stage("results"), atomic_folder(folder, overwrite=overwrite) as target:
        _write(target, path, spec, outcomes)
    shutil.rmtree(keep.parent, ignore_errors=True)
    return TissueReport(spec, outcomes, folder)


def _write(target: Path, path: Path, spec: Spec, outcomes: Sequence[Outcome]) -> None:
    for number, outcome in enumerate(outcomes):
        named = {**outcome.labels, "name": spec.tissue.name, "replicate": number, "seed": spec.tissue.seed}
        write_zarr(target / f"replicate-{number:05d}.zarr", dict(outcome.arrays), named)
    course(outcomes).to_csv(target / "counts.csv", index=False)
    final_counts(outcomes).to_csv(target / "final.csv", index=False)
    shutil.copyfile(path, target / "spec.toml")
    _figures(target, outcomes)
    write_json(target / MARK, {
        "what": "tissue", "origin": LABEL, "name": spec.tissue.name, "spec": spec.model_dump(mode="json"),
        "written": now(), "versions": versions(), "code": code_digest(),
        "mended": [outcome.mended for outcome in outcomes], "cells_without_room": [o.lost for o in outcomes],
    }, default=str)  # fmt: skip


def _figures(target: Path, outcomes: Sequence[Outcome]) -> None:
    from icans.report.figures.tissue import animate, fig_counts, fig_scene

    first = outcomes[0]
    fig_counts([o.arrays for o in outcomes], first.labels).savefig(target / "counts.png", dpi=150)
    for number, name in enumerate(first.labels["substances"]):
        figure = fig_scene(first.arrays, first.labels, substance=number)
        figure.savefig(target / f"scene-{slug(name, str(number))}.png", dpi=150)
    animate(first.arrays, first.labels, target / "animation.gif")


def course(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Counts in time as a table: replicate, time_h, kind, state, cells."""
    parts = []
    for number, outcome in enumerate(outcomes):
        counts = outcome.arrays["counts"]
        names = [outcome.arrays["counts_time_h"], outcome.labels["kinds"], outcome.labels["states"]]
        index = pd.MultiIndex.from_product(names, names=["time_h", "kind", "state"])
        part = pd.DataFrame({"cells": counts.reshape(-1)}, index=index).reset_index()
        parts.append(part.assign(replicate=number))
    return pd.concat(parts)[["replicate", "time_h", "kind", "state", "cells"]]


def final_counts(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """For each kind: live at the end and killed by others, median and range of the replicates, mean damage."""
    live = np.stack([o.arrays["counts"][-1, :, 0] for o in outcomes])
    killed = np.stack([o.arrays["kills"][-1].sum(axis=0) for o in outcomes])
    damage = np.stack([o.arrays["damage"][-1] for o in outcomes])
    return pd.DataFrame({
        "kind": outcomes[0].labels["kinds"], "live_median": np.median(live, axis=0), "live_low": live.min(axis=0),
        "live_high": live.max(axis=0), "killed_median": np.median(killed, axis=0),
        "damage_mean": damage.mean(axis=0).round(6),
    })  # fmt: skip
