"""The onset hazard of Amidi et al. 2022: lasso logistic regression on patient-days up to onset.

Amidi Y et al., J Immunother Cancer 2022;10:e005459, doi 10.1136/jitc-2022-005459, re-implemented from the paper's
description and the order of operations of its published scripts. Predictors of a day: the largest value so far of
temperature, CRP, ferritin, procalcitonin, IL-6 and white cells, age, the day, its square, and the usual course of
onset over days. What is not known is filled with the training median; columns are standardised; the penalty has the
least cross-validated deviance.

Departures: folds keep patients together (theirs deal single days); patients without onset count on the days that
were graded (theirs count to day 100, record or not); the usual course of onset is a smoothed histogram of the
training patients' onset days (theirs comes in a file made from all patients).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.random import stream
from icans.forecast.filters.lasso import Lasso, fit_lasso

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: The paper's laboratory values and temperature.
PUBLISHED = ("temperature", "crp", "ferritin", "procalcitonin", "il_6", "wbc")
#: SD of the kernel that smooths the histogram of onset days.
CURVE_SD_D = 1.5
FOLDS = 10


@dataclass(frozen=True)
class OnsetHazard:
    """Daily hazard of onset.

    ``median``, ``centre``, ``scale`` (p + 3,): of the training days' columns; ``curve`` (days,): usual course.
    """

    lasso: Lasso
    median: Floats
    centre: Floats
    scale: Floats
    curve: Floats

    @classmethod
    def fit(cls, values: Floats, day: Ints, onset: Floats, patient: Ints, seed: int) -> OnsetHazard:
        """Learn from patient-days at risk.

        Parameters
        ----------
        values
            Largest values so far and age, (n, p); NaN: not known.
        day, onset, patient
            Day, whether onset came (1) on the day that is asked about, and the patient's number, each (n,).
        """
        curve = _curve(day[onset == 1], int(day.max()) + 1)
        columns = cls._columns(values, day, curve)
        known = ~np.isnan(columns)
        median = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(columns.T, known.T, strict=True)])
        filled = np.where(known, columns, median)
        centre, spread = filled.mean(axis=0), filled.std(axis=0)
        scale = np.where(spread > 1e-9, spread, np.inf)
        X = (filled - centre) / scale
        numbers = np.unique(patient)
        folds = min(FOLDS, len(numbers))
        dealt = stream(seed, "onset lasso").permutation(len(numbers)) % folds
        fold = dealt[np.searchsorted(numbers, patient)]
        return cls(fit_lasso(X, onset, fold, folds), median, centre, scale, curve)

    def hazard(self, values: Floats, day: Ints) -> Floats:
        """Probability of onset on the day asked about, shape (n,)."""
        return self.lasso.probability(self._prepared(values, day))

    def contributions(self, values: Floats, day: Ints) -> Floats:
        """Coefficient x distance from the training mean, log odds, (n, p + 3)."""
        return self._prepared(values, day) * self.lasso.coefficients

    def _prepared(self, values: Floats, day: Ints) -> Floats:
        columns = self._columns(values, day, self.curve)
        filled = np.where(np.isnan(columns), self.median, columns)
        return np.asarray((filled - self.centre) / self.scale)

    @staticmethod
    def _columns(values: Floats, day: Ints, curve: Floats) -> Floats:
        usual = np.where(day < len(curve), curve[np.clip(day, 0, len(curve) - 1)], 0.0)
        return np.column_stack([values, usual, day.astype(float), day.astype(float) ** 2])


def _curve(onset_days: Ints, days: int) -> Floats:
    """Smoothed histogram of onset days, largest value 1."""
    grid = np.arange(days, dtype=float)
    kernel = np.exp(-0.5 * ((grid[:, None] - onset_days[None]) / CURVE_SD_D) ** 2).sum(axis=1)
    top = float(kernel.max()) if kernel.size else 0.0
    return kernel / top if top > 0 else kernel
