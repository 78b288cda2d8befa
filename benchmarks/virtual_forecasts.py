"""Fit on some patients of a virtual world, forecast others: for the benchmarks of mechanism and of known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from virtual_cohorts import World

from icans.cohort.cohort import Cohort
from icans.forecast.blocks import with_blocks
from icans.forecast.dataset import Examples, examples_for
from icans.forecast.features import FeatureSpec
from icans.forecast.ladder import Rung
from icans.forecast.mechanistic.block import FittedMechanistic, MechanisticBlock
from icans.forecast.models.base import labels
from icans.forecast.outcomes import TASKS, Horizon, Task, known_status, outcome_table

TASK = TASKS["icans_any"]
LANDMARKS_H = (24.0, 72.0, 120.0)
HORIZONS = (Horizon(72.0), Horizon(168.0))


@dataclass
class Bench:
    """A world as one delivery of data shows it (some values missing), with clinical features made once."""

    world: World
    cohort: Cohort
    data: Examples

    @classmethod
    def of(cls, world: World, cohort: Cohort | None = None, task: Task = TASK) -> Bench:
        """A world, seen as ``cohort`` (its own by default)."""
        cohort = cohort or world.cohort
        outcome = outcome_table(cohort, task, LANDMARKS_H)
        spec = FeatureSpec().resolve(cohort)
        return cls(world, cohort, examples_for(cohort, task, outcome, spec))

    def split(self, train: list[str], test: list[str]) -> tuple[Examples, Examples, FittedMechanistic]:
        """Features of both parts, with the mechanistic block fitted to the first."""
        parts = [self.cohort.subset(train), self.cohort.subset(test)]
        block = MechanisticBlock().fit(parts[0], 1)
        made = []
        for ids, cohort in ((train, parts[0]), (test, parts[1])):
            data = self.data.of(ids)
            table = with_blocks(data.table, data.inputs.at_h, cohort, [block])
            made.append(Examples(replace(data.inputs, table=table), data.outcome))
        return made[0], made[1], block

    def forecasts(self, train: Examples, test: Examples, rungs: tuple[Rung, ...], seed: int) -> pd.DataFrame:
        """Risks of the test rows with outcome (``y``, its censoring ``weight``) and ``truth``."""
        frames = []
        for rung in rungs:
            model = rung.fit(train.inputs, train.outcome, HORIZONS, seed)
            for horizon in HORIZONS:
                frames.append(self.told(test, model.predict(test.inputs, horizon), horizon, rung.name))
        return pd.concat(frames, ignore_index=True)

    def told(self, test: Examples, risk: np.ndarray, horizon: Horizon, name: str) -> pd.DataFrame:
        """Rows of a prediction with outcome (NaN: not known) and truth."""
        frame = test.outcome[["patient_id", "landmark_h"]].assign(model=name, horizon_h=horizon.hours, risk=risk)
        frame["y"] = known_status(test.outcome["time_h"], test.outcome["event"], horizon.hours)
        frame["weight"] = labels(test.outcome, horizon)[1]
        frame["truth"] = np.nan
        for landmark in LANDMARKS_H:
            mine = frame["landmark_h"] == landmark
            frame.loc[mine, "truth"] = self.world.risk(frame.loc[mine, "patient_id"], landmark, horizon.hours)
        return frame


def ids_of(world: World, start: int, count: int) -> list[str]:
    """Some patients, by position."""
    return list(world.ids[start : start + count])
