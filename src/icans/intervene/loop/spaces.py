"""Spaces of the environment: observations and actions as arrays that Gymnasium can check.

Nothing is NaN: what is not known is 0 and said so by a flag (``known``, ``eeg[1]``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from icans.intervene.loop.menu import Actions, Menu
from icans.intervene.loop.ward import Chart
from icans.intervene.world import ANALYTES
from icans.intervene.world.observation import VITALS

#: Largest number of samples of one analyte under way that an observation tells.
MOST_PENDING = 64
#: Larger results and doses (cells in millions) are told as this.
MOST_VALUE = 1e9


def observation_space(menu: Menu, drugs: int) -> spaces.Dict:
    """Space of one patient's observation; ``drugs``: how many the world has."""
    a, k, f = len(ANALYTES), len(menu.items), np.float32
    return spaces.Dict({
        "time_h": spaces.Box(0.0, 2000.0, (1,), f),
        "value": spaces.Box(0.0, MOST_VALUE, (a,), f),
        "age_of_result_h": spaces.Box(0.0, 2000.0, (a,), f),
        "known": spaces.MultiBinary(a),
        "below_lloq": spaces.MultiBinary(a),
        "pending": spaces.Box(0, MOST_PENDING, (a,), np.int64),
        "vitals": spaces.Box(0.0, 400.0, (len(VITALS),), f),
        "grades": spaces.Box(0, 4, (4,), np.int64),
        "ice": spaces.Box(0, 10, (1,), np.int64),
        "eeg": spaces.Box(0.0, 1.0, (3,), f),
        "flags": spaces.MultiBinary(3),
        "doses_mg": spaces.Box(0.0, MOST_VALUE, (drugs,), f),
        "allowed": spaces.MultiBinary(k),
    })  # fmt: skip


def action_space(menu: Menu) -> spaces.Dict:
    """Space of one patient's action."""
    return spaces.Dict({
        "doses": spaces.MultiDiscrete(list(menu.sizes)),
        "assays": spaces.MultiBinary(len(ANALYTES)),
        "eeg": spaces.Discrete(2),
        "switch": spaces.Discrete(2),
        "icu": spaces.Discrete(2),
    })  # fmt: skip


def arrays(chart: Chart) -> dict[str, npt.NDArray[Any]]:
    """A chart as the arrays of the space, a row per patient."""
    seen, f = chart.seen, np.float32
    known = np.isfinite(seen.value)
    eeg = np.stack([seen.eeg_on, np.isfinite(seen.eeg), np.nan_to_num(seen.eeg)], axis=1)
    return {
        "time_h": seen.time_h[:, None].astype(f),
        "value": np.where(known, np.clip(seen.value, 0.0, MOST_VALUE), 0.0).astype(f),
        "age_of_result_h": np.where(known, seen.age_h, 0.0).astype(f),
        "known": known.astype(np.int8),
        "below_lloq": (known & seen.below).astype(np.int8),
        "pending": np.minimum(seen.pending, MOST_PENDING).astype(np.int64),
        "vitals": np.clip(seen.vitals, 0.0, 400.0).astype(f),
        "grades": np.stack([seen.crs, seen.icans, seen.crs_peak, seen.icans_peak], axis=1),
        "ice": seen.ice[:, None],
        "eeg": eeg.astype(f),
        "flags": np.stack([seen.seizure, seen.icu, chart.switched], axis=1).astype(np.int8),
        "doses_mg": np.minimum(_amounts(chart), MOST_VALUE).astype(f),
        "allowed": chart.allowed.astype(np.int8),
    }  # fmt: skip


def _amounts(chart: Chart) -> npt.NDArray[np.float64]:
    """Doses by drug, the cells in millions so that single precision holds them."""
    scale = np.array([1e-6 if d == "car_t" else 1.0 for d in chart.seen.drugs])
    return np.asarray(chart.seen.doses_mg * scale)


def to_actions(given: Mapping[str, Any], n: int) -> Actions:
    """Actions of a batch (a row per patient) as the loop takes them."""
    return Actions(
        np.asarray(given["doses"], np.int64).reshape(n, -1), np.asarray(given["assays"]).reshape(n, -1).astype(bool),
        np.asarray(given["eeg"]).reshape(n).astype(bool), np.asarray(given["switch"]).reshape(n).astype(bool),
        np.asarray(given["icu"]).reshape(n).astype(bool),
    )  # fmt: skip


def from_actions(actions: Actions) -> dict[str, npt.NDArray[Any]]:
    """The loop's actions as arrays of the batched space."""
    return {"doses": actions.doses, "assays": actions.assays.astype(np.int8), "eeg": actions.eeg.astype(np.int64),
            "switch": actions.switch.astype(np.int64), "icu": actions.icu.astype(np.int64)}  # fmt: skip
