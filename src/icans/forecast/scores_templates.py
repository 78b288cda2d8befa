"""Regression formulas as papers print them: a logistic model, or a Cox model with its baseline survival.

Where a publication gives coefficients, write them down as a :class:`Formula` (each term with its unit) and turn it
into a :class:`~icans.forecast.scores.Score`, which then has units, cohort values and recalibration like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icans.forecast.scores import Input, Score
from icans.forecast.scores_formulas import Array, Inputs

TRANSFORMS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
}


@dataclass(frozen=True)
class Term:
    """``coefficient * (transform(value) - centre)``, the value in ``unit``; above a limit when ``limit`` is given."""

    analyte: str
    unit: str
    coefficient: float
    transform: Literal["none", "log", "log2", "log10", "sqrt"] = "none"
    centre: float = 0.0
    limit: float | None = None

    def contribution(self, value: Array) -> Array:
        """What the term adds to the linear predictor."""
        if self.limit is not None:
            return np.where(np.isnan(value), np.nan, self.coefficient * (value >= self.limit))
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = TRANSFORMS[self.transform](value) - self.centre
        return np.where(np.isfinite(moved), self.coefficient * moved, np.nan)


@dataclass(frozen=True)
class Formula:
    """A printed regression formula.

    ``kind="logistic"``: risk = expit(intercept + terms). ``kind="cox"``: risk by ``horizon_h`` =
    1 - baseline_survival ** exp(terms).
    """

    kind: Literal["logistic", "cox"]
    terms: tuple[Term, ...]
    intercept: float = 0.0
    baseline_survival: float | None = None
    horizon_h: float | None = None

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a formula needs at least one term")
        if self.kind == "cox" and not (self.baseline_survival is not None and 0 < self.baseline_survival < 1):
            raise ValueError("a Cox formula needs its baseline survival, between 0 and 1")

    def linear_predictor(self, values: Inputs) -> Array:
        """Intercept and terms added up, shape (n,); NaN where an input is missing."""
        terms = np.sum([term.contribution(values[term.analyte]) for term in self.terms], axis=0)
        return np.asarray(self.intercept + terms)

    def log_odds(self, values: Inputs) -> Array:
        """Log-odds of the event, on which recalibration works."""
        linear = self.linear_predictor(values)
        if self.kind == "logistic":
            return linear
        cumulative = -np.log(self.baseline_survival) * np.exp(linear)  # type: ignore[arg-type]
        return np.log(np.expm1(cumulative))

    def risk(self, values: Inputs) -> Array:
        """Probability of the event as printed, before any recalibration."""
        return 1.0 / (1.0 + np.exp(-self.log_odds(values)))


def as_score(formula: Formula, name: str, *, label: str, window: str, cite: str, basis: str = "read") -> Score:
    """The formula as a score whose value is the log-odds of the event."""
    if basis not in ("read", "checked", "recalled"):
        raise ValueError(f"basis must be read, checked or recalled, not {basis!r}")
    inputs = {term.analyte: Input(term.analyte, term.unit) for term in formula.terms}
    clash = [t.analyte for t in formula.terms if inputs[t.analyte].unit != t.unit]
    if clash:
        raise ValueError(f"terms of {clash} want different units; write them in one")
    words = " + ".join(f"{t.coefficient:g} x {t.transform} {t.analyte} [{t.unit}]" for t in formula.terms)
    return Score(name, label, tuple(inputs.values()), f"{formula.kind}: {words}", window, cite, basis, formula.log_odds)
