"""P(the blood-brain barrier has opened by t), under three interchangeable heads, averaged over virtual patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.mechanism.heads import HazardHead, Head, LogisticHead, ThresholdHead
from icans.study.simulate_results import ArmRun

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

COLUMNS = ["arm", "head", "time_h", "value"]


@dataclass(frozen=True)
class _Course:
    """An arm as the heads read it."""

    run: ArmRun
    kept: npt.NDArray[np.bool_]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.run.series)

    @property
    def times_h(self) -> npt.NDArray[np.float64]:
        return self.run.times_h

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        return self.run.series[name][self.kept].astype(float)


def heads_of(model: PatientModel) -> dict[str, Head]:
    """The heads by the names that figures use; the threshold lies where the model's regression says one half."""
    table = model.parameters
    if "bbb_logit_a" not in table or "bbb_logit_c" not in table:
        return {}
    cut = -table["bbb_logit_a"].value / table["bbb_logit_c"].value
    return {"threshold": ThresholdHead(cut), "regression": LogisticHead(), "hazard": HazardHead()}


def heads_table(runs: Sequence[ArmRun], model: PatientModel, kept: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Mean probability over patients by arm, head and time."""
    parts = []
    for run in runs:
        course = _Course(run, kept)
        for name, head in heads_of(model).items():
            if set(head.needs) <= set(course.names):
                mean = head.probability(course).mean(axis=0)
                parts.append(pd.DataFrame({"arm": run.name, "head": name, "time_h": run.times_h, "value": mean}))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)
