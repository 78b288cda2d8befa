"""What is known at the end of each day of a grade path: results, other toxicities, drugs, and the path so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.forecast.features import FeatureSpec, features_at

Floats = NDArray[np.float64]

#: Prefixes of columns that a path may carry, as in a feature table.
PREFIXES = ("static.", "lab.", "grade.", "drug.", "score.", "mech.", "eeg.", "mri.", "csf.", "omics.")


def with_covariates(path: pd.DataFrame, cohort: Cohort, spec: FeatureSpec | None = None) -> pd.DataFrame:
    """The path with the feature table's columns as known at the end of each day (:mod:`icans.forecast.features`).

    Parameters
    ----------
    path
        From :func:`icans.forecast.grade_path.daily_path` of the same cohort.
    spec
        Which features; published scores are left out unless named. Of the toxicities' own grades only other
        toxicities than the path's should be taken: its own are in the path.

    Returns
    -------
    DataFrame
        The path's rows and columns, and one column for each feature (its ``day`` is the path's already).
    """
    chosen = spec or FeatureSpec()
    chosen = replace(chosen, scores=chosen.scores or ()).resolve(cohort)
    at = 24.0 * (path["day"].to_numpy(dtype=float) + 1.0)
    plan = pd.DataFrame({"patient_id": path["patient_id"].to_numpy(), "landmark_h": at})
    features = features_at(cohort, plan, at, chosen).drop(columns="day").reset_index(drop=True)
    return pd.concat([path.reset_index(drop=True), features], axis=1)


def covariates(path: pd.DataFrame) -> list[str]:
    """The columns of a path that hold features."""
    return [name for name in path.columns if name.startswith(PREFIXES)]


def so_far(path: pd.DataFrame) -> pd.DataFrame:
    """What a path itself tells at each of its rows, from rows up to it; aligned with ``path``.

    Columns: ``yesterday`` (grade of the graded day before, else today's), ``worst`` (largest so far), ``onset_d``
    (days since the first positive grade, 0 before it), ``since_worst_d`` (days since the largest was last reached,
    0 without toxicity), ``well_d`` (days without toxicity since the last positive grade, 0 if there was none).
    """
    ordered = path.sort_values(["patient_id", "day"])
    group = ordered["patient_id"]
    day, state = ordered["day"].astype(float), ordered["state"].astype(float)
    worst = state.groupby(group).cummax()
    positive = state > 0
    first = day.where(positive).groupby(group).transform("min")
    # The day of the first positive grade is known only from that day on.
    onset = (day - first).clip(lower=0).fillna(0.0)
    last_worst = day.where((state == worst) & positive).groupby(group).ffill()
    last_positive = day.where(positive).groupby(group).ffill()
    out = pd.DataFrame(
        {
            "yesterday": state.groupby(group).shift(1).fillna(state),
            "worst": worst,
            "onset_d": onset,
            "since_worst_d": (day - last_worst).fillna(0.0),
            "well_d": (day - last_positive).fillna(0.0),
        }
    )
    return out.reindex(path.index)


def number_columns(path: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Columns as numbers, those that are absent left out."""
    return path[[name for name in names if name in path.columns]].astype(float)
