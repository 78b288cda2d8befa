"""One replicate of a run: from the file to its record, with checkpoints in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.files import atomic_path
from icans.tissue.agents.state import restore, state_of
from icans.tissue.run.build import Scene, as_tables, build
from icans.tissue.run.record import Record, labels
from icans.tissue.run.spec import Spec


@dataclass(frozen=True)
class Task:
    """What one replicate needs; can be sent to another process. ``keep``: file of the checkpoint, or none."""

    spec: Spec
    base: Path
    replicate: int = 0
    threads: int = 1
    keep: Path | None = None
    frames: bool = True

    def __str__(self) -> str:
        return f"replicate {self.replicate}"


@dataclass(frozen=True)
class Outcome:
    """What a replicate gave: arrays (:meth:`icans.tissue.run.record.Record.arrays`), their labels, what was mended."""

    arrays: Mapping[str, Any]
    labels: Mapping[str, Any]
    mended: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0


def run_replicate(task: Task) -> Outcome:
    """Run one replicate to its end, from its checkpoint if there is one.

    Times of counts and frames are moved to the nearest step of phenotypes, where a tissue can be stopped.
    """
    scene = build(task.spec, task.base, replicate=task.replicate, threads=task.threads)
    tissue, run = scene.tissue, task.spec.tissue
    beat = tissue.steps.phenotype_min
    end = max(1, round(run.hours * 60 / beat))
    counts = _beats(run.every_h, end, beat)
    frames = _beats(run.frames_h or run.hours / 24, end, beat) if task.frames else set()
    saves = _beats(run.checkpoint_h, end, beat) if task.keep else set()
    record = Record()
    done = _take_up(scene, record, task.keep) if task.keep else -1
    for stop in sorted(counts | frames | saves | {end}):
        if stop <= done:
            continue
        scene.run(stop * beat)
        if stop in counts:
            record.count(tissue)
        if stop in frames:
            record.frame(tissue)
        if stop in saves and stop < end and task.keep is not None:
            _keep(scene, record, task.keep)
    if task.keep is not None:
        task.keep.unlink(missing_ok=True)
    units = [s.unit for s in task.spec.substance] or ["pg/mL"] * len(tissue.field.names)
    return Outcome(record.arrays(), labels(tissue) | {"substance_units": units}, as_tables(scene.mended), tissue.lost)


def _beats(every_h: float, end: int, beat: float) -> set[int]:
    step = max(1, round(every_h * 60 / beat))
    return set(range(0, end + 1, step)) | {end}


def _keep(scene: Scene, record: Record, path: Path) -> None:
    """Write state and record of now; a file of this program for itself, without code in it."""
    parts = {f"state.{k}": v for k, v in state_of(scene.tissue).items()}
    for name in ("time_h", "counts", "kills", "levels", "damage", "frame_h", "fields"):
        parts[f"record.{name}"] = np.array(getattr(record, name))
    for number, frame in enumerate(record.frames):
        parts |= {f"frame.{number}.{name}": values for name, values in frame.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **parts)  # type: ignore[arg-type]


def _take_up(scene: Scene, record: Record, path: Path) -> int:
    """Go on from a checkpoint; returns the beat at which it was taken, -1 without one."""
    if not path.exists():
        return -1
    with np.load(path, allow_pickle=False) as stored:
        restore(scene.tissue, {k[6:]: stored[k] for k in stored.files if k.startswith("state.")}, str(path))
        for name in ("time_h", "counts", "kills", "levels", "damage", "frame_h", "fields"):
            setattr(record, name, list(stored[f"record.{name}"]))
        for number in range(len(record.frame_h)):
            mark = f"frame.{number}."
            record.frames.append({k[len(mark) :]: stored[k] for k in stored.files if k.startswith(mark)})
    return round(scene.tissue.time_min / scene.tissue.steps.phenotype_min)
