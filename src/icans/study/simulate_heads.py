"""P(the blood-brain barrier has opened by t), under each of the interchangeable heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.study.simulate_results import ArmRun

if TYPE_CHECKING:
    from icans.study.simulate_config import Scenario


def heads_table(runs: Sequence[ArmRun], scenario: Scenario, both: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Mean probability over patients by arm, head and time."""
    rows = []
    for run in runs:
        if "BBB_HAZ" in run.series:
            haz = run.series["BBB_HAZ"][both]
            rows.append(_frame(run, "hazard", 1 - np.exp(-(haz - haz[:, :1]))))
    columns = ["arm", "head", "time_h", "value"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def _frame(run: ArmRun, head: str, values: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({"arm": run.name, "head": head, "time_h": run.times_h, "value": values.mean(axis=0)})
