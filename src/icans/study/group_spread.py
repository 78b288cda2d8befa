"""How far apart the groups of a cohort lie in their incidence: the SD of a level that a model will not have seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.evaluate.meta_analysis import random_effects
from icans.forecast.outcomes import EVENT

#: Levels, each with as many patients of either outcome, from which an SD between levels is worth estimating.
LEAST_LEVELS, LEAST_EACH = 3, 5


def group_spreads(cohort: Cohort, outcome: pd.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    """SD (log odds) between the levels of patients' columns, by random-effects meta-analysis.

    Parameters
    ----------
    outcome
        Outcome table at one landmark: whether the event was ever seen. Censored patients count as without it, alike
        in every level.

    Returns
    -------
    dict
        Only columns with at least :data:`LEAST_LEVELS` levels that have :data:`LEAST_EACH` patients of each kind.
    """
    ever = outcome.groupby("patient_id")["event"].agg(lambda codes: float((codes == EVENT).any()))
    patients = cohort.patients.set_index("patient_id").reindex(ever.index)
    found = {}
    for column in columns:
        counts = ever.groupby(patients[column].astype(object)).agg(["sum", "count"])
        events, free = counts["sum"].to_numpy(float), (counts["count"] - counts["sum"]).to_numpy(float)
        enough = (events >= LEAST_EACH) & (free >= LEAST_EACH)
        if enough.sum() >= LEAST_LEVELS:
            log_odds = np.log(events[enough] / free[enough])
            variance = 1.0 / events[enough] + 1.0 / free[enough]
            found[column] = float(np.sqrt(random_effects(log_odds, variance).tau2))
    return found
