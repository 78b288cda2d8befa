"""Recalibration inside the training data: how far a flexible learner's risks are to be believed.

Trees and networks give risks whose spread is not that of the truth (forests too narrow, networks too wide). From
predictions for patients that the learner has not seen (out of bag, or held-out inner folds) an intercept and a slope
are fitted, shared by all horizons:

    logit risk = baseline + intercept + slope * (learner's logit - baseline),

the baseline being the incidence by day. A slope of one leaves the learner alone, a slope of nought is the incidence
by day. The slope is drawn to one by a small ridge and never negative. Cox DR, Biometrika 1958;45:562.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.ridge import fit_path
from icans.forecast.tuning import ever_event

Floats = NDArray[np.float64]

#: Ridge on (slope - 1), on the mean log likelihood: with 200 patients as much as one standard deviation of the slope
#: known to be about 1 in advance (rows of one patient and horizons of one row say nearly the same).
SLOPE_PENALTY = 0.004
#: A learner's risk is held this far off 0 and 1 before its log odds are taken.
MIN_RISK = 1e-3
#: Patients with the event, and without it, that a flexible learner needs: with fewer neither its size nor its
#: recalibration can be told from unseen patients.
MIN_PATIENTS = 10


def check_enough(outcome: pd.DataFrame, learner: str) -> None:
    """Refuse too few patients for a flexible learner.

    Raises
    ------
    NotEstimableError
        Fewer than ten patients with an event, or without.
    """
    had = ever_event(outcome) == 2
    events, others = int(had.sum()), int((~had).sum())
    if min(events, others) < MIN_PATIENTS:
        raise NotEstimableError(
            f"{events} patients with an event and {others} without: {learner} needs {MIN_PATIENTS} of each"
        )


@dataclass(frozen=True)
class Shrink:
    """Intercept and slope, on the log odds against the incidence by day."""

    intercept: float = 0.0
    slope: float = 1.0

    def logit(self, baseline: Floats, deviation: Floats) -> Floats:
        """Recalibrated log odds from the baseline's and the learner's deviation from it, shape (n,)."""
        return baseline + self.intercept + self.slope * deviation


def fit_shrink(
    baseline: Sequence[Floats], deviation: Sequence[Floats], y: Sequence[Floats], weight: Sequence[Floats]
) -> Shrink:
    """Intercept and slope from predictions of unseen patients, pooled over horizons.

    Parameters
    ----------
    baseline, deviation, y, weight
        For each horizon arrays of shape (n,): log odds of the incidence by day, the learner's log odds less those,
        status within the horizon, and weight (0: not known, or no prediction).

    Returns
    -------
    Shrink
        The identity where all outcomes are alike or the learner says nothing.
    """
    base, x, status, w = (np.concatenate(list(part)) for part in (baseline, deviation, y, weight))
    seen = w > 0
    if not seen.any() or np.ptp(x[seen]) == 0:
        return Shrink()
    try:
        model = fit_path(x[seen, None], status[seen], w[seen], (SLOPE_PENALTY,), (base + x)[seen])[0]
    except NotEstimableError:
        return Shrink()
    slope = 1.0 + float(model.coefficients[0])
    if slope > 0:
        return Shrink(model.intercept, slope)
    return Shrink(0.0, 0.0)
